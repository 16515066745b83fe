//! Replies of real brokers and name servers, in both header encodings. How they were captured: README beside them.

use std::fs;
use std::path::{Path, PathBuf};

use remoting::calls::{
    BrokerRole, CreateTopic, GetBrokerConfig, GetClusterInfo, GetConsumerOffset, GetHaInfo,
    GetHaStatus, GetMaxOffset, GetMetadata, GetMinOffset, GetRoute, GetRuntimeInfo, MetadataTable,
    Permission, ProbeNameServer, PullMessages, PullStatus, SendMessage, SendStatus,
    SetConsumerOffset, UnregisterBroker, UpdateBrokerConfig,
};
use remoting::{
    AnswerError, Call, Command, HeaderKind, LogOffset, QueueOffset, ResponseCode, decode, encode,
};

const LIMIT: usize = 64 * 1024;
/// Every capture of a master.
const MASTERS: [&str; 4] = ["4.9.7-json", "4.9.7-binary", "5.5.0-json", "5.5.0-binary"];
const SLAVES: [&str; 2] = ["4.9.7-slave-json", "5.5.0-slave-json"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/remoting")
}

fn bytes(folder: &str, name: &str) -> Vec<u8> {
    let path = fixtures().join(folder).join(format!("{name}.frame"));
    fs::read(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

fn reply(folder: &str, name: &str) -> Command {
    let bytes = bytes(folder, name);
    let (command, used) = decode(&bytes, LIMIT)
        .ok()
        .flatten()
        .unwrap_or_else(|| panic!("{folder}/{name}: no whole frame"));
    assert_eq!(used, bytes.len(), "{folder}/{name}");
    command
}

fn answer<C: Call>(folder: &str, name: &str, call: &C) -> Result<C::Answer, AnswerError> {
    call.answer(&reply(folder, name))
}

fn is_5(folder: &str) -> bool {
    folder.starts_with('5')
}

#[test]
fn every_frame_is_read_and_written_back() {
    let mut count = 0;
    for folder in MASTERS.into_iter().chain(SLAVES) {
        for file in fs::read_dir(fixtures().join(folder)).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let bytes = bytes(folder, name);
            let command = reply(folder, name);
            assert!(command.is_reply(), "{folder}/{name}");
            let kind = if folder.ends_with("binary") {
                HeaderKind::Binary
            } else {
                HeaderKind::Json
            };
            assert_eq!(
                bytes[4],
                u8::from(kind == HeaderKind::Binary),
                "{folder}/{name}"
            );
            let written = encode(&command, kind).unwrap();
            assert_eq!(decode(&written, LIMIT).unwrap().unwrap().0, command);
            if kind == HeaderKind::Binary {
                // Arguments come in another order from a Java HashMap, everything else is the same byte for byte.
                assert_eq!(written.len(), bytes.len(), "{folder}/{name}");
                assert_eq!(written[..21], bytes[..21], "{folder}/{name}");
            }
            count += 1;
        }
    }
    assert!(count > 80, "{count} frames only");
}

#[test]
fn runtime_info() {
    for folder in MASTERS.into_iter().chain(SLAVES) {
        let info = answer(folder, "runtime-info", &GetRuntimeInfo).unwrap();
        assert!(info.commit_log_max > LogOffset::new(0), "{folder}");
        assert_eq!(info.commit_log_min, Some(LogOffset::new(0)), "{folder}");
        assert_eq!(info.dispatch_behind_bytes, 0, "{folder}");
        assert!(info.boot_timestamp_ms > 1_700_000_000_000, "{folder}");
        assert_eq!(info.version, if is_5(folder) { "V5_5_0" } else { "V4_9_7" });
        assert_eq!(
            info.active,
            is_5(folder).then_some(MASTERS.contains(&folder)),
            "{folder}"
        );
        assert!(
            info.commit_log_disk_ratio.is_some_and(|ratio| ratio > 0.0),
            "{folder}"
        );
        assert!(
            info.consume_queue_disk_ratio
                .is_some_and(|ratio| ratio > 0.0),
            "{folder}"
        );
        assert_eq!(info.send_queue_size, Some(0), "{folder}");
        assert_eq!(info.sends_refused_until_ms, Some(0), "{folder}");
    }
}

#[test]
fn broker_config() {
    for folder in MASTERS.into_iter().chain(SLAVES) {
        let config = answer(folder, "broker-config", &GetBrokerConfig).unwrap();
        let is_master = MASTERS.contains(&folder);
        let role = if is_master {
            BrokerRole::AsyncMaster
        } else {
            BrokerRole::Slave
        };
        assert_eq!(config.role(), Some(role), "{folder}");
        assert_eq!(config.broker_id(), Some(u64::from(!is_master)), "{folder}");
        assert_eq!(config.get("brokerName"), Some("b"), "{folder}");
        assert!(config.values.len() > 100, "{folder}");
        answer(
            folder,
            "update-broker-config",
            &UpdateBrokerConfig::force_registration("6"),
        )
        .unwrap();
    }
}

#[test]
fn replication_of_a_5_x_broker() {
    for folder in ["5.5.0-json", "5.5.0-binary"] {
        let status = answer(folder, "ha-status", &GetHaStatus).unwrap();
        assert!(status.is_master && status.source.is_none(), "{folder}");
        assert_eq!(status.connections.len(), 1, "{folder}");
        assert_eq!(status.connections[0].behind_bytes, 0, "{folder}");
        assert_eq!(
            status.connections[0].slave_ack, status.master_end,
            "{folder}"
        );
        let info = answer(folder, "ha-info", &GetHaInfo).unwrap().unwrap();
        assert!(
            info.ha_address.starts_with("127.0.0.1:") && info.address.starts_with("127.0.0.1:")
        );
        assert_eq!(info.started_at, Some(LogOffset::new(0)));
    }
    let slave = answer("5.5.0-slave-json", "ha-status", &GetHaStatus).unwrap();
    assert!(!slave.is_master && slave.connections.is_empty());
    let source = slave.source.unwrap();
    assert!(source.master_addr.is_some() && source.last_read_ms > 0);
    assert!(source.end > Some(LogOffset::new(0)));
    assert_eq!(
        answer("5.5.0-slave-json", "ha-info", &GetHaInfo).unwrap(),
        None
    );
}

#[test]
fn replication_of_a_4_9_broker_is_not_told() {
    for folder in ["4.9.7-json", "4.9.7-binary", "4.9.7-slave-json"] {
        for error in [
            answer(folder, "ha-status", &GetHaStatus).unwrap_err(),
            answer(folder, "ha-info", &GetHaInfo).unwrap_err(),
        ] {
            let AnswerError::Refused { code, remark } = error else {
                panic!("refused expected, not {error:?}");
            };
            assert_eq!(code, ResponseCode::REQUEST_CODE_NOT_SUPPORTED);
            assert!(remark.contains("not supported"), "{remark}");
        }
    }
}

#[test]
fn messages() {
    for folder in MASTERS {
        let (topic, group) = ("capture".to_owned(), "capture-group".to_owned());
        let permission = Permission::READ_WRITE;
        let create = CreateTopic {
            topic: topic.clone(),
            queues: 1,
            permission,
        };
        answer(folder, "create-topic", &create).unwrap();
        let sent = answer(folder, "send", &SendMessage::new("capture", 0, "a body")).unwrap();
        assert_eq!(
            (sent.status, sent.queue_id),
            (SendStatus::Ok, 0),
            "{folder}"
        );
        let pull = PullMessages {
            topic: topic.clone(),
            queue_id: 0,
            from: QueueOffset::new(0),
            at_most: 1,
            group: group.clone(),
        };
        let found = answer(folder, "pull-found", &pull).unwrap();
        assert_eq!(
            (found.status, found.next),
            (PullStatus::Found, QueueOffset::new(1)),
            "{folder}"
        );
        let [message] = &found.messages[..] else {
            panic!("{folder}: one message expected");
        };
        assert_eq!(
            (message.topic.as_str(), message.body.as_slice()),
            ("capture", &b"a body"[..])
        );
        assert_eq!(
            (message.queue_offset, message.log_offset),
            (QueueOffset::new(0), LogOffset::new(0))
        );
        assert_eq!(
            (message.keys(), message.born_timestamp_ms),
            (Some("key-1"), 1_700_000_000_000)
        );
        let moved = answer(folder, "pull-moved", &pull).unwrap();
        assert_eq!(
            (moved.status, Some(moved.next)),
            (PullStatus::Moved, moved.max),
            "{folder}"
        );
        let refused = answer(
            folder,
            "send-refused",
            &SendMessage::new("no such topic / at all", 0, "x"),
        );
        assert!(
            matches!(refused, Err(AnswerError::Refused { .. })),
            "{folder}"
        );
    }
}

#[test]
fn queue_offsets() {
    for folder in MASTERS {
        let (topic, group, queue_id) = ("capture".to_owned(), "capture-group".to_owned(), 0);
        let max = answer(
            folder,
            "max-offset",
            &GetMaxOffset {
                topic: topic.clone(),
                queue_id,
            },
        )
        .unwrap();
        assert!(max > Some(QueueOffset::new(0)), "{folder}");
        let min = answer(
            folder,
            "min-offset",
            &GetMinOffset {
                topic: topic.clone(),
                queue_id,
            },
        )
        .unwrap();
        assert_eq!(min, Some(QueueOffset::new(0)), "{folder}");
        let position = GetConsumerOffset {
            group: group.clone(),
            topic: topic.clone(),
            queue_id,
        };
        // Of a queue that does not exist. 4.9 starts every unknown group at the start of a young queue.
        let none = answer(folder, "consumer-offset-none", &position).unwrap();
        assert_eq!(
            none,
            (!is_5(folder)).then_some(QueueOffset::new(0)),
            "{folder}"
        );
        let offset = QueueOffset::new(1);
        answer(
            folder,
            "set-consumer-offset",
            &SetConsumerOffset {
                group,
                topic,
                queue_id,
                offset,
            },
        )
        .unwrap();
        assert_eq!(
            answer(folder, "consumer-offset", &position).unwrap(),
            Some(offset),
            "{folder}"
        );
    }
}

#[test]
fn metadata() {
    for folder in MASTERS {
        for table in MetadataTable::ALL {
            let name = format!("metadata-{}", table.file_name());
            let metadata = answer(folder, &name, &GetMetadata(table)).unwrap();
            let content: serde_json::Value = serde_json::from_str(metadata.as_json()).unwrap();
            let field = |name: &str| content[name].as_object().cloned().unwrap_or_default();
            match table {
                MetadataTable::Topics => {
                    assert_eq!(
                        field("topicConfigTable")["capture"]["writeQueueNums"],
                        1,
                        "{folder}"
                    );
                }
                MetadataTable::SubscriptionGroups => {
                    assert!(field("subscriptionGroupTable").len() > 5, "{folder}");
                }
                MetadataTable::ConsumerOffsets => {
                    assert_eq!(
                        field("offsetTable")["capture@capture-group"]["0"],
                        1,
                        "{folder}"
                    );
                }
                MetadataTable::DelayOffsets => {
                    assert!(content["offsetTable"].is_object(), "{folder}");
                }
            }
        }
    }
}

#[test]
fn name_servers() {
    for folder in MASTERS {
        answer(folder, "probe-name-server", &ProbeNameServer).unwrap();
        let info = answer(folder, "cluster-info", &GetClusterInfo).unwrap();
        let group = &info.groups["b"];
        assert_eq!(group.addresses.len(), 2, "{folder}: master and slave");
        assert!(
            group.master().is_some() && info.clusters["c"].contains("b"),
            "{folder}"
        );
        let route = answer(
            folder,
            "route",
            &GetRoute {
                topic: "capture".to_owned(),
            },
        )
        .unwrap()
        .unwrap();
        assert_eq!(route.groups.first(), Some(group), "{folder}");
        assert!(route.queues[0].permission.may_write() && route.queues[0].write_queue_nums == 1);
        let none = answer(
            folder,
            "route-none",
            &GetRoute {
                topic: "no-such-topic".to_owned(),
            },
        );
        assert_eq!(none.unwrap(), None, "{folder}");
        let nobody = UnregisterBroker {
            cluster: String::new(),
            broker_name: String::new(),
            address: String::new(),
            broker_id: 0,
        };
        answer(folder, "unregister", &nobody).unwrap();
    }
}
