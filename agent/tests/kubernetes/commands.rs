//! The operator's commands, against groups that stand on the API server and agents that answer.

use std::net::SocketAddr;
use std::time::Duration;

use agent::command::desk::Desk;
use agent::command::explain::{ExplainArgs, explain};
use agent::command::history::{HistoryArgs, history};
use agent::command::pause::{PauseArgs, Wish, pause};
use agent::command::status::{StatusArgs, status};
use agent::command::switchover::{SwitchoverArgs, switchover};
use agent::command::{Form, Outcome, Place, Which};
use agent::names::{self, GroupNames};
use agent_core::observation::{LeaseSeen, Reading};
use agent_core::record::Stage;
use agent_core::report::Role;
use agent_core::{GroupRecord, Offset, Report};
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::PostParams;
use kube_api::{Mode, Verb};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::ground::{Agent, Ground, NAMESPACE, Running, order, record, record_of, report};

/// A group of `a-0`, which serves, and `a-1`, as their agents would have written it.
async fn group(ground: &Ground) -> (Agent, Running) {
    let (agent, running) = ground.watcher().await;
    agent.write(None, record("a-0", 7, 1)).await;
    member(ground, &as_role(report("a-0", 1_200), Role::Master)).await;
    member(ground, &as_role(report("a-1", 1_150), Role::Slave)).await;
    (agent, running)
}

fn as_role(report: Report, role: Role) -> Report {
    Report {
        role: Some(role),
        ..report
    }
}

async fn member(ground: &Ground, report: &Report) {
    let lease = serde_json::from_value(json!({
        "metadata": {
            "name": ground.names.member_lease(&report.who.member),
            "labels": {names::GROUP_LABEL: ground.names.lease, names::KIND_LABEL: "member"},
            "annotations": {names::REPORT: serde_json::to_string(report).unwrap()},
        },
        "spec": {"renewTime": "2026-01-01T00:00:00.000000Z"},
    }))
    .unwrap();
    let params = PostParams::default();
    ground.leases().create(&params, &lease).await.unwrap();
}

/// An agent's admin port that answers `/status` for a member.
async fn admin(report: &Report) -> (SocketAddr, Running) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let body = json!({
        "version": "0.1.0", "cluster": "DefaultCluster", "broker": "broker-a", "member": report.who.member,
        "time": "2026-01-01T00:00:05Z", "reason": "serving", "sentence": "Serving as master.",
        "observation": {}, "decision": {"reason": "serving", "report": report, "actions": []},
        "history": [
            {"time": "2026-01-01T00:00:01Z", "tick_ms": 5, "reason": "acquire",
             "sentence": "This member takes the Lease.", "observation": "00",
             "actions": ["read_lease", {"kill": {"term": {"epoch": 6, "nonce": 1}, "why": "term_changed"}}]},
            {"time": "2026-01-01T00:00:02Z", "tick_ms": 9, "reason": "serving",
             "sentence": "Serving as master.", "observation": "01", "actions": []},
        ],
    })
    .to_string();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0_u8; 1024];
            let _ = stream.read(&mut request).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all((head + &body).as_bytes()).await;
        }
    });
    (address, Running(task))
}

fn desk(ground: &Ground) -> Desk {
    Desk::new(ground.client.clone(), NAMESPACE).unwrap()
}

const JSON: Form = Form { json: true };

fn parsed(out: &[u8]) -> Value {
    let last = out.trim_ascii().rsplit(|b| *b == b'\n').next().unwrap();
    serde_json::from_slice(last).unwrap()
}

fn shown(out: &[u8]) -> String {
    String::from_utf8(out.to_vec()).unwrap()
}

#[tokio::test]
async fn status_tells_who_serves_and_how_far_the_others_are() {
    let ground = Ground::new().await;
    let (agent, _task) = group(&ground).await;
    let mut out = Vec::new();
    let outcome = status(&desk(&ground), &StatusArgs::default(), &mut out).await;
    assert_eq!(outcome.unwrap(), Outcome::Done);
    let text = shown(&out);
    assert!(
        text.starts_with("broker-a of DefaultCluster: serving, master a-0, term 7 from offset 900"),
        "{text}"
    );
    let row = |member: &str| {
        let line = text.lines().find(|l| l.trim().starts_with(member)).unwrap();
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(row("a-0")[..6], ["a-0", "master", "-", "1200", "-", "yes"]);
    assert_eq!(row("a-1")[..6], ["a-1", "slave", "-", "1150", "50", "yes"]);

    let mut released = record("a-0", 7, 2);
    released.holder = "".into();
    agent.write(agent.rv(), released).await;
    let args = StatusArgs {
        form: JSON,
        ..StatusArgs::default()
    };
    let mut out = Vec::new();
    let outcome = status(&desk(&ground), &args, &mut out).await.unwrap();
    assert_eq!(outcome, Outcome::NotDone);
    let groups = parsed(&out);
    assert_eq!(groups[0]["state"], "released");
    assert_eq!(groups[0]["members"][1]["lag_bytes"], 50);
}

#[tokio::test]
async fn status_asks_the_agents_where_they_are_reached() {
    let ground = Ground::new().await;
    let (agent, _task) = ground.watcher().await;
    agent.write(None, record("a-0", 7, 1)).await;
    let mut newest = as_role(report("a-0", 5_000), Role::Master);
    let (address, _admin) = admin(&newest).await;
    newest.addresses.agent = address.to_string();
    newest.log = report("a-0", 1_200).log;
    member(&ground, &newest).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut silent = as_role(report("a-1", 1_150), Role::Slave);
    silent.addresses.agent = gone.local_addr().unwrap().to_string();
    drop(gone);
    member(&ground, &silent).await;
    let args = StatusArgs {
        form: JSON,
        ..StatusArgs::default()
    };
    let mut out = Vec::new();
    status(&desk(&ground), &args, &mut out).await.unwrap();
    let members = &parsed(&out)[0]["members"];
    assert_eq!(members[0]["end"], 5_000);
    assert_eq!(members[0]["live"], true);
    assert_eq!(members[0]["reason"], "serving");
    assert_eq!(members[1]["live"], false);
    assert_eq!(members[1]["lag_bytes"], 3_850);
}

#[tokio::test]
async fn status_shows_what_a_person_must_mend() {
    let ground = Ground::new().await;
    let (_agent, _task) = group(&ground).await;
    ground.annotate(names::STATE, "{\"format\":1}").await;
    ground.annotate(names::SWITCHOVER, "now!").await;
    ground.annotate(names::PAUSED, "true").await;
    let mut out = Vec::new();
    let outcome = status(&desk(&ground), &StatusArgs::default(), &mut out).await;
    assert_eq!(outcome.unwrap(), Outcome::NotDone);
    let text = shown(&out);
    for part in ["unreadable", "changed by hand", "\"now!\"", "PAUSED", "a-1"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[tokio::test]
async fn a_command_for_one_group_says_what_there_is_to_choose_from() {
    let ground = Ground::new().await;
    let none = pause(
        &desk(&ground),
        &PauseArgs::default(),
        Wish::Rest,
        &mut Vec::new(),
    )
    .await;
    assert!(
        none.unwrap_err()
            .to_string()
            .contains("no Lease with label")
    );
    let (_agent, _task) = group(&ground).await;
    let mut other = Ground::new().await;
    other.client = ground.client.clone();
    other.names = GroupNames::new("DefaultCluster", "broker-b");
    let (second, _blind) = other.agent();
    second.write(None, record("b-0", 1, 1)).await;
    let many = pause(
        &desk(&ground),
        &PauseArgs::default(),
        Wish::Rest,
        &mut Vec::new(),
    )
    .await;
    let said = many.unwrap_err().to_string();
    assert!(
        said.contains("broker-a of DefaultCluster") && said.contains("--broker-name"),
        "{said}"
    );
    let which = Which {
        broker_name: Some("broker-b".into()),
        cluster: None,
    };
    let args = PauseArgs {
        which,
        ..PauseArgs::default()
    };
    pause(&desk(&ground), &args, Wish::Rest, &mut Vec::new())
        .await
        .unwrap();
    assert!(
        !ground
            .lease()
            .await
            .metadata
            .annotations
            .unwrap()
            .contains_key(names::PAUSED)
    );
}

#[tokio::test]
async fn pause_and_resume_are_seen_by_agents_and_change_nothing_twice() {
    let ground = Ground::new().await;
    let (mut agent, _task) = group(&ground).await;
    let paused = |seen: &Reading<LeaseSeen>| matches!(seen.last(), Some(LeaseSeen::Record { requests, .. }) if requests.paused);
    let desk = desk(&ground);
    let args = PauseArgs {
        form: JSON,
        ..PauseArgs::default()
    };
    for (wish, is, changes) in [
        (Wish::Rest, true, true),
        (Wish::Rest, true, false),
        (Wish::GoOn, false, true),
        (Wish::GoOn, false, false),
    ] {
        let writes = ground.api.writes();
        let mut out = Vec::new();
        assert_eq!(
            pause(&desk, &args, wish, &mut out).await.unwrap(),
            Outcome::Done
        );
        assert_eq!(parsed(&out)["changed"], changes);
        assert_eq!(ground.api.writes() - writes, u64::from(changes));
        agent.until(|seen| paused(seen) == is).await;
    }
    assert_eq!(record_of(&agent.now()).unwrap().1, record("a-0", 7, 1));
}

#[tokio::test]
async fn an_edit_that_meets_another_is_made_again() {
    let ground = Ground::new().await;
    let (_agent, _task) = group(&ground).await;
    let (desk, patches) = (desk(&ground), ground.count(Verb::Patch));
    let mut tries = 0;
    let editing = desk.annotate(&ground.names.lease, |_| {
        tries += 1;
        if tries == 1 {
            ground.api.set_mode(Mode::Failing(409));
        }
        Ok(Some(json!({"example.org/note": "x"})))
    });
    let meeting = async {
        while ground.count(Verb::Patch) == patches {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        ground.api.set_mode(Mode::Up);
    };
    let (changed, ()) = tokio::join!(editing, meeting);
    assert!(changed.unwrap());
    assert_eq!(tries, 2);
    let lease = ground.lease().await;
    assert_eq!(lease.metadata.annotations.unwrap()["example.org/note"], "x");
}

fn to(member: &str) -> SwitchoverArgs {
    SwitchoverArgs {
        to: Some(member.to_owned()),
        wait: true,
        form: JSON,
        ..SwitchoverArgs::default()
    }
}

/// Plays the holder until a request is seen, then writes these records one after the other.
async fn holder(mut agent: Agent, steps: Vec<(GroupRecord, bool)>) {
    agent
        .until(|seen| matches!(seen.last(), Some(LeaseSeen::Record { requests, .. }) if requests.switchover.is_some()))
        .await;
    for (record, clears) in steps {
        let mut write = order(agent.rv(), record);
        write.clear_switchover = clears;
        agent.writer.write(&write).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn at_stage(record: GroupRecord, stage: Stage) -> GroupRecord {
    let mut record = record;
    record.term.stage = stage;
    record
}

#[tokio::test]
async fn a_switchover_is_followed_until_the_target_serves() {
    let ground = Ground::new().await;
    let (agent, _task) = group(&ground).await;
    let mut released = record("a-0", 7, 2);
    released.holder = "".into();
    released.target = Some("a-1".into());
    let steps = vec![
        (released, false),
        (at_stage(record("a-1", 8, 1), Stage::Opening), true),
        (record("a-1", 8, 2), false),
    ];
    let playing = Running(tokio::spawn(holder(agent, steps)));
    let args = SwitchoverArgs {
        form: Form::default(),
        limit: Some(Duration::from_secs(5)),
        ..to("a-1")
    };
    let mut out = Vec::new();
    let outcome = switchover(&desk(&ground), &args, &mut out).await.unwrap();
    let text = shown(&out);
    assert_eq!(outcome, Outcome::Done, "{text}");
    for step in [
        "a-0 is asked to hand over to a-1",
        "let go; a-1 may take over",
        "is being started as master of term 8",
        "done: a-1 is master of term 8, from offset 900",
    ] {
        assert!(text.contains(step), "{step} in {text}");
    }
    drop(playing);
    // Asked again, it is there already.
    let mut out = Vec::new();
    let again = switchover(&desk(&ground), &to("a-1"), &mut out)
        .await
        .unwrap();
    assert_eq!(again, Outcome::Done);
    assert_eq!(parsed(&out)["result"], "done");
}

#[tokio::test]
async fn a_switchover_that_is_turned_down_gives_the_masters_own_reason() {
    let ground = Ground::new().await;
    let (agent, _task) = group(&ground).await;
    let _playing = Running(tokio::spawn(holder(
        agent,
        vec![(record("a-0", 7, 2), true)],
    )));
    let event: Event = serde_json::from_value(json!({
        "metadata": {"generateName": "x.", "namespace": NAMESPACE},
        "involvedObject": {"kind": "Lease", "name": ground.names.lease, "namespace": NAMESPACE},
        "reason": "SwitchOverFailed", "type": "Warning", "message": "a-0: The target lags too far behind.",
    }))
    .unwrap();
    let events: Api<Event> = Api::namespaced(ground.client.clone(), NAMESPACE);
    let telling = async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        events.create(&PostParams::default(), &event).await.unwrap();
    };
    let mut out = Vec::new();
    let (desk, args) = (desk(&ground), to("a-1"));
    let (outcome, ()) = tokio::join!(switchover(&desk, &args, &mut out), telling);
    assert_eq!(outcome.unwrap(), Outcome::NotDone);
    let said = parsed(&out);
    assert_eq!(said["result"], "failed");
    assert_eq!(said["text"], "a-0: The target lags too far behind.");
}

#[tokio::test]
async fn a_switchover_that_ends_otherwise_has_failed() {
    for (after, words) in [
        (record("a-2", 8, 1), "a-2 became master of term 8 instead"),
        (record("a-0", 8, 1), "a-0 began term 8 itself"),
    ] {
        let ground = Ground::new().await;
        let (agent, _task) = group(&ground).await;
        let _playing = Running(tokio::spawn(holder(agent, vec![(after, true)])));
        let mut out = Vec::new();
        let outcome = switchover(&desk(&ground), &to("a-1"), &mut out)
            .await
            .unwrap();
        assert_eq!(outcome, Outcome::NotDone);
        assert_eq!(parsed(&out)["text"], words);
    }
}

#[tokio::test]
async fn a_switchover_that_nobody_could_carry_out_is_not_asked_for() {
    let ground = Ground::new().await;
    let (agent, _task) = group(&ground).await;
    let asks = async |args: SwitchoverArgs| {
        let writes = ground.api.writes();
        let error = switchover(&desk(&ground), &args, &mut Vec::new()).await;
        assert_eq!(ground.api.writes(), writes, "nothing is written");
        error.unwrap_err().to_string()
    };
    let said = asks(to("a-9")).await;
    assert!(said.contains("known are a-0, a-1"), "{said}");
    ground.annotate(names::PAUSED, "true").await;
    assert!(asks(to("a-1")).await.contains("rocketmq-ha resume"));
    ground.annotate(names::PAUSED, Value::Null).await;
    let open = SwitchoverArgs {
        wait: false,
        ..to("a-1")
    };
    let mut out = Vec::new();
    switchover(&desk(&ground), &open, &mut out).await.unwrap();
    assert_eq!(parsed(&out)["result"], "asked");
    assert!(asks(to("a-1")).await.contains("one is asked for already"));
    agent.view.refresh();
    let mut agent = agent;
    agent
        .until(|seen| matches!(seen.last(), Some(LeaseSeen::Record { requests, .. }) if requests.switchover.is_some()))
        .await;
    agent
        .write(agent.rv(), at_stage(record("a-1", 8, 1), Stage::Opening))
        .await;
    assert!(asks(to("a-0")).await.contains("no master serves now"));
}

#[tokio::test]
async fn history_lists_terms_and_events() {
    let ground = Ground::new().await;
    let (agent, _task) = group(&ground).await;
    let mut later = record("a-1", 8, 1);
    later.term.start = Offset::new(1_500);
    let mut terms = record("a-0", 7, 1).lineage.entries().to_vec();
    terms.push(later.term.entry());
    later.lineage = agent_core::Lineage::new(terms).unwrap();
    agent.write(agent.rv(), later).await;
    let mut out = Vec::new();
    history(&desk(&ground), &HistoryArgs::default(), &mut out)
        .await
        .unwrap();
    let text = shown(&out);
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert!(rows.contains(&vec!["7", "a-0", "900", "600"]), "{text}");
    assert!(rows.contains(&vec!["8", "a-1", "1500", "now"]), "{text}");
    let args = HistoryArgs {
        form: JSON,
        ..HistoryArgs::default()
    };
    let mut out = Vec::new();
    history(&desk(&ground), &args, &mut out).await.unwrap();
    assert_eq!(parsed(&out)["terms"][1]["epoch"], 8);
}

#[tokio::test]
async fn explain_shows_the_agents_own_words() {
    let ground = Ground::new().await;
    let (_agent, _task) = group(&ground).await;
    let mut third = report("a-2", 5);
    let (address, _admin) = admin(&third).await;
    third.addresses.agent = address.to_string();
    member(&ground, &third).await;
    let args = |member: Option<&str>| ExplainArgs {
        place: Place::default(),
        which: Which::default(),
        form: Form::default(),
        member: member.map(str::to_owned),
        agent: None,
        last: 20,
    };
    let mut out = Vec::new();
    let outcome = explain(&desk(&ground), &args(Some("a-2")), &mut out).await;
    assert_eq!(outcome.unwrap(), Outcome::Done);
    let text = shown(&out);
    for part in [
        "serving: Serving as master.",
        "acquire: This member takes the Lease.",
        "-> read_lease",
        "-> kill(term=6 why=term_changed)",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    // The others have no address: said, and not silently left out.
    let mut out = Vec::new();
    let outcome = explain(&desk(&ground), &args(None), &mut out)
        .await
        .unwrap();
    assert_eq!(outcome, Outcome::NotDone);
    assert!(shown(&out).contains("a-1: no answer"), "{}", shown(&out));
    let nobody = explain(&desk(&ground), &args(Some("a-9")), &mut Vec::new()).await;
    assert!(nobody.unwrap_err().to_string().contains("a-0, a-1, a-2"));
}

#[tokio::test]
async fn what_cannot_be_asked_names_what_where_and_the_remedy() {
    let ground = Ground::new().await;
    let (_agent, _task) = group(&ground).await;
    ground.api.set_mode(Mode::Failing(403));
    let error = status(&desk(&ground), &StatusArgs::default(), &mut Vec::new()).await;
    let said = format!("{:#}", error.unwrap_err());
    assert!(
        said.contains("leases") && said.contains("default") && said.contains("Role"),
        "{said}"
    );
}
