//! brokerAliveTest as a real process: each state's word and exit codes.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
};

use launcher::{
    conf::Conf,
    protocol::{BrokerState, Op},
};
use nix::sys::signal::Signal;
use remoting::{Command as Frame, HeaderKind, command, decode, encode};

use crate::lab::{LIMIT, Lab, Manners, wait_until};

/// The state's word, and the exit code.
fn probe(socket: &Path, mode: &str) -> (String, i32) {
    let flags = ["--mode", mode, "--timeout-ms", "1500"];
    let out = Command::new(env!("CARGO_BIN_EXE_brokerAliveTest"))
        .arg("--socket")
        .arg(socket)
        .args(flags)
        .env_remove("ROCKETMQ_HA_SOCKET")
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    (
        text.split(':').next().unwrap().to_owned(),
        out.status.code().unwrap(),
    )
}

fn assert_state(lab: &Lab, word: &str, codes: [i32; 3]) {
    let seen = ["liveness", "readiness", "startup"].map(|mode| probe(&lab.socket(), mode));
    assert_eq!(seen, codes.map(|code| (word.to_owned(), code)));
}

fn state(lab: &Lab) -> String {
    probe(&lab.socket(), "liveness").0
}

const ALIVE: [i32; 3] = [0, 1, 0];
const DEAD: [i32; 3] = [1, 1, 1];

#[test]
fn states_that_the_launcher_tells() {
    let mut lab = Lab::with_tree(Manners::Obeys);
    assert_state(&lab, "waiting", ALIVE);
    let mut agent = lab.agent();
    let tree = lab.start(&mut agent, 60_000);
    assert_state(&lab, "starting", ALIVE);
    tree.signal(2, Signal::SIGSTOP);
    wait_until("hung", || state(&lab) == "hung");
    assert_state(&lab, "hung", DEAD);
    tree.signal(2, Signal::SIGKILL);
    wait_until("ended", || state(&lab) == "ended");
    assert_state(&lab, "ended", DEAD);
    lab.start_as(&mut agent, lab.order(2, 60_000));
    agent.ask(Op::Stop { grace_ms: 20_000 }, LIMIT).unwrap();
    wait_until("stopped", || state(&lab) == "stopped");
    assert_state(&lab, "stopped", ALIVE);
    lab.start_as(&mut agent, lab.order(3, 300));
    wait_until("fenced", || state(&lab) == "fenced");
    assert_state(&lab, "fenced", ALIVE);
    lab.signal(Signal::SIGKILL);
    lab.wait_for_exit();
    assert_state(&lab, "no_launcher", DEAD);
}

#[test]
fn states_that_the_broker_tells() {
    let exe = std::env::current_exe().unwrap().display().to_string();
    let text = "exec \"$0\" --ignored --exact probe::a_broker # $ROCKETMQ_HA_CONF";
    let lab = Lab::with_command(&["sh", "-c", text, &exe]);
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    fs::write(lab.path("broker.conf"), format!("listenPort={port}\n")).unwrap();
    let say = |text: &str| {
        fs::write(lab.path("say.part"), text).unwrap();
        fs::rename(lab.path("say.part"), lab.path("say")).unwrap();
    };
    say("0.5 0 0");
    let mut agent = lab.agent();
    agent.ask(Op::Start(lab.order(1, 60_000)), LIMIT).unwrap();
    // The broker's answer may come before the launcher has seen the port: silence would be a start until then.
    wait_until("running", || {
        let broker = agent.ask(Op::Status, LIMIT).unwrap().broker;
        broker.state == BrokerState::Running && state(&lab) == "running"
    });
    assert_state(&lab, "running", [0, 0, 0]);
    say("0.93 0 0");
    assert_state(&lab, "disk_full", ALIVE);
    say("0.5 0 9999999999999");
    assert_state(&lab, "fenced", ALIVE);
    say("0.5 40000 0");
    assert_state(&lab, "hung", DEAD);
    // It accepts and says nothing: alive until it has been seen idle for 10 s.
    say("");
    assert_eq!(state(&lab), "busy");
}

/// Not a test: a broker that answers 28 with what the file `say` holds: disk ratio, store wait, start gate.
#[test]
#[ignore = "a fake broker that another test starts"]
fn a_broker() {
    let conf = std::env::var_os("ROCKETMQ_HA_CONF").unwrap();
    let port = Conf::read(conf.as_ref()).unwrap().listen_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut silent = Vec::new();
    for stream in listener.incoming() {
        let said = fs::read_to_string("say").unwrap();
        let mut stream = stream.unwrap();
        if said.is_empty() {
            silent.push(stream);
            continue;
        }
        while let Some(request) = read_request(&mut stream) {
            let fields: Vec<&str> = said.split(' ').collect();
            let body = format!(
                r#"{{"table":{{"commitLogMaxOffset":"0","commitLogMinOffset":"0","dispatchBehindBytes":"0","bootTimestamp":"1",
                "brokerVersionDesc":"V5_5_0","commitLogDiskRatio":"{}","pageCacheLockTimeMills":"{}",
                "startAcceptSendRequestTimeStamp":"{}"}}}}"#,
                fields[0], fields[1], fields[2]
            );
            let reply = match request.code {
                28 => Frame::reply_to(&request, 0).with_body(body.into_bytes()),
                _ => Frame::reply_to(&request, 16),
            };
            stream
                .write_all(&encode(&reply, HeaderKind::Json).unwrap())
                .unwrap();
        }
    }
}

fn read_request(stream: &mut TcpStream) -> Option<command::Command> {
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        bytes.extend(byte);
        if let Some((request, _)) = decode(&bytes, 100_000).unwrap() {
            return Some(request);
        }
    }
}

#[test]
fn wrong_arguments_are_exit_code_2_and_help_shows_the_table() {
    let run = |arguments: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_brokerAliveTest"))
            .args(arguments)
            .output()
            .unwrap();
        (
            out.status.code().unwrap(),
            String::from_utf8(out.stdout).unwrap(),
            String::from_utf8(out.stderr).unwrap(),
        )
    };
    let wrong = [
        &["--mode", "life"][..],
        &["--timeout-ms", "5"],
        &["--addr", "here"],
        &["--conf", "/none"],
        &["--socket"],
        &["x"],
        &["--json=1"],
    ];
    for arguments in wrong {
        let (code, out, err) = run(arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(
            err.starts_with("brokerAliveTest: ") && err.lines().count() == 1,
            "{err}"
        );
    }
    let (code, help, _) = run(&["--help"]);
    assert_eq!(code, 0);
    assert!(help.contains("no_launcher"));
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("none").display().to_string();
    let (code, json, _) = run(&["--json", "--socket", &socket]);
    assert_eq!(code, 1);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["alive"], &json["state"]),
        (&false.into(), &"no_launcher".into())
    );
}
