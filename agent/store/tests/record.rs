//! Records: round trip, garbage, ids.

use std::net::IpAddr;

use proptest::prelude::*;
use store::record::{Head, Record, RecordFault};
use store::testing::Message;

fn message() -> Message {
    Message::new("orders", 3, 40)
        .with("KEYS", "a b")
        .with("TAGS", "red")
        .with("UNIQ_KEY", "7F0000010000000000000000000A0001")
}

#[test]
fn fields_and_ids_are_read() {
    let bytes = message().encode(0x1234, 9);
    let record = Record::parse(&bytes).unwrap();
    assert_eq!(usize::try_from(record.size).unwrap(), bytes.len());
    assert_eq!((record.queue_id, record.queue_offset), (3, 9));
    assert_eq!(record.physical_offset, 0x1234);
    assert_eq!(record.topic, b"orders");
    assert_eq!(record.body.len(), 40);
    assert_eq!(record.store_timestamp_ms, 1_700_000_000_000);
    assert_eq!(record.keys().as_deref(), Some("a b"));
    assert_eq!(record.tags().as_deref(), Some("red"));
    assert_eq!(record.property("KEY"), None);
    assert!(record.unique_key().unwrap().starts_with("7F000001"));
    assert_eq!(
        record.offset_message_id(),
        "7F00000100002A9F0000000000001234"
    );
}

#[test]
fn ipv6_ids_have_56_digits() {
    let mut message = message();
    message.host = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]);
    let bytes = message.encode(0, 0);
    let record = Record::parse(&bytes).unwrap();
    assert_eq!(record.offset_message_id().len(), 56);
}

#[test]
fn faults_are_told_apart() {
    let good = message().encode(0, 0);
    let fault = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        Record::parse(&bytes).unwrap_err()
    };
    assert_eq!(fault(&|b| b.fill(0)), RecordFault::Zero);
    assert_eq!(fault(&|b| b[7] = 1), RecordFault::Magic(0xDAA3_2001));
    assert!(matches!(
        fault(&|b| b.truncate(100)),
        RecordFault::Short { .. }
    ));
    assert!(matches!(
        fault(&|b| b.truncate(3)),
        RecordFault::Short { .. }
    ));
    assert!(matches!(
        fault(&|b| b[28] = 0xFF),
        RecordFault::Offset { .. }
    ));
    assert!(matches!(fault(&|b| b[100] ^= 1), RecordFault::Crc { .. }));
    assert!(matches!(fault(&|b| b[3] -= 1), RecordFault::Size(_)));
    // Lengths that claim gigabytes.
    assert!(matches!(fault(&|b| b[84] = 0x7F), RecordFault::Size(_)));
    assert!(matches!(fault(&|b| b[0] = 0x7F), RecordFault::Size(_)));
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Head::parse(&bytes);
        let _ = Record::parse(&bytes);
    }

    #[test]
    fn damaged_records_never_panic(
        flips in proptest::collection::vec((0_usize..300, any::<u8>()), 1..6),
        cut in 0_usize..300,
    ) {
        let mut bytes = message().encode(77, 1);
        for (at, value) in flips {
            let len = bytes.len();
            bytes[at % len] = value;
        }
        bytes.truncate(bytes.len().min(cut.max(1)));
        if let Ok(record) = Record::parse(&bytes) {
            let _ = (record.keys(), record.offset_message_id());
        }
    }

    #[test]
    fn what_is_written_is_read(
        topic in "[a-zA-Z%_]{1,200}",
        queue in 0_u32..1000,
        body in proptest::collection::vec(any::<u8>(), 0..500),
        key in "[ -~]{0,40}",
        offset in 0_u64..(1 << 60),
        ipv6 in any::<bool>(),
    ) {
        let mut message = Message::new(&topic, queue, 0).with("KEYS", &key);
        message.body = body.clone();
        if ipv6 {
            message.host = IpAddr::from([1, 2, 3, 4, 5, 6, 7, 8]);
        }
        let mut bytes = message.encode(offset, 5);
        bytes.extend_from_slice(b"what follows is not its business");
        let record = Record::parse(&bytes).unwrap();
        prop_assert_eq!(record.topic, topic.as_bytes());
        prop_assert_eq!(record.body, &body[..]);
        prop_assert_eq!(record.physical_offset, offset);
        prop_assert_eq!(record.store_host.ip, message.host);
        prop_assert_eq!(record.keys(), Some(key));
    }
}
