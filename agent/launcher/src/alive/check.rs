//! One look: asks the launcher, then the broker, within one budget of time.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use remoting::{
    AnswerError, CallError, ClientOptions,
    blocking::Connection,
    calls::{BrokerRole, GetBrokerConfig, GetRuntimeInfo, RuntimeInfo, SendMessage},
    code::ResponseCode,
};

use super::{Answer, Dispatch, Evidence, Info, Limits, Memory, Trial, Verdict, judge};
use crate::{
    client::Client,
    clock,
    protocol::{Broker, BrokerState, Op, Role},
};

/// Whom to ask, and for how long.
#[derive(Debug, Clone)]
pub struct Target {
    /// The launcher's socket.
    pub socket: PathBuf,
    /// The broker's address; `None` = loopback and the port that the launcher says.
    pub addr: Option<SocketAddr>,
    /// For the whole look.
    pub budget: Duration,
}

/// A broker's answer holds a few KiB; a configuration some 20 KiB.
const FRAME_LIMIT: usize = 1024 * 1024;

/// Looks once and judges. Blocks at most for the budget.
#[must_use]
pub fn check(target: &Target, memory: &mut Memory, limits: &Limits) -> Verdict {
    let until_ms = clock::boottime_ms().saturating_add(millis(target.budget));
    let launcher = ask_launcher(target);
    let answer = match &launcher {
        Ok(broker) => ask_broker(target, broker, memory, limits, until_ms),
        Err(_) => Answer::NotAsked,
    };
    judge(
        &Evidence {
            now_ms: clock::boottime_ms(),
            launcher,
            answer,
        },
        memory,
        limits,
    )
}

fn ask_launcher(target: &Target) -> Result<Broker, String> {
    // The launcher answers within a millisecond; most of the budget is for it all the same, since its silence means death.
    let limit = target.budget.mul_f64(0.6);
    let asked =
        Client::connect(&target.socket).and_then(|mut client| client.ask(Op::Status, limit));
    asked.map(|status| status.broker).map_err(|error| {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        format!("{error}{}", source.unwrap_or_default())
    })
}

fn ask_broker(
    target: &Target,
    broker: &Broker,
    memory: &Memory,
    limits: &Limits,
    until_ms: u64,
) -> Answer {
    match broker.state {
        BrokerState::Starting | BrokerState::Running => {}
        BrokerState::Waiting | BrokerState::Stopping | BrokerState::Ended => {
            return Answer::NotAsked;
        }
    }
    let own = broker
        .listen_port
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let Some(addr) = target.addr.or(own) else {
        return Answer::NotAsked;
    };
    let options = ClientOptions {
        connect_timeout: left(until_ms),
        call_timeout: left(until_ms),
        frame_limit: FRAME_LIMIT,
        ..ClientOptions::default()
    };
    let asked = Connection::connect(addr, &options).and_then(|mut connection| {
        let info = connection.ask_within(&GetRuntimeInfo, left(until_ms))?;
        let mut seen = read_info(&info, clock::wall_ms());
        if broker.role == Some(Role::Master) && !seen.refuses_writes {
            seen.refuses_writes = is_hot_slave(&mut connection, until_ms);
        }
        if memory.wants_trial(clock::boottime_ms(), &seen, limits) {
            seen.trial = try_to_send(&mut connection, until_ms);
        }
        Ok(seen)
    });
    match asked {
        Ok(info) => Answer::Info(info),
        Err(error) => read_failure(&error),
    }
}

fn read_info(info: &RuntimeInfo, wall_ms: u64) -> Info {
    let ratios = [info.commit_log_disk_ratio, info.consume_queue_disk_ratio];
    Info {
        disk_ratio: ratios.into_iter().flatten().reduce(f64::max),
        store_wait_ms: info
            .page_cache_lock_ms
            .max(info.send_queue_wait_ms)
            .unwrap_or(0),
        refuses_writes: info
            .sends_refused_until_ms
            .is_some_and(|until_ms| until_ms > wall_ms),
        dispatch: read_dispatch(info),
        stored: info.put_total_today,
        sends_waiting: info.send_queue_size.unwrap_or(0),
        trial: Trial::NotMade,
    }
}

fn read_dispatch(info: &RuntimeInfo) -> Dispatch {
    let behind = info.dispatch_behind_bytes;
    Dispatch {
        to: info.commit_log_max.get().saturating_sub(behind),
        behind,
    }
}

/// The hot gate: a master whose role was set to SLAVE (facts §3.3). Not knowing means no: the broker has answered.
fn is_hot_slave(connection: &mut Connection, until_ms: u64) -> bool {
    let asked = connection.ask_within(&GetBrokerConfig, left(until_ms));
    asked.is_ok_and(|config| config.role() == Some(BrokerRole::Slave))
}

/// A broker that is busy says so after 200 ms, also when its threads will never be free again: that is no answer.
fn try_to_send(connection: &mut Connection, until_ms: u64) -> Trial {
    // A topic that every broker makes for itself.
    let message = SendMessage::new("BenchmarkTest", 0, "brokerAliveTest").without_waiting();
    match connection.ask_within(&message, left(until_ms)) {
        Ok(_) => Trial::Answered,
        Err(CallError::Answer {
            source: AnswerError::Refused { code, .. },
            ..
        }) if code == ResponseCode::SYSTEM_BUSY => Trial::Unanswered,
        Err(CallError::Answer { .. }) => Trial::Answered,
        Err(_) => Trial::Unanswered,
    }
}

fn read_failure(error: &CallError) -> Answer {
    match error {
        CallError::Connect { source, .. }
            if source.kind() == std::io::ErrorKind::ConnectionRefused =>
        {
            Answer::Closed
        }
        CallError::Connect { .. }
        | CallError::ConnectTimeout { .. }
        | CallError::Timeout { .. } => Answer::Silent,
        CallError::Answer {
            source: AnswerError::NotReady { .. },
            ..
        } => Answer::NotReady,
        CallError::Answer { source, .. } => Answer::Odd(source.to_string()),
        CallError::Closed { .. } | CallError::Encode { .. } => Answer::Odd(error.to_string()),
        _ => Answer::Odd(error.to_string()),
    }
}

fn left(until_ms: u64) -> Duration {
    Duration::from_millis(until_ms.saturating_sub(clock::boottime_ms()).max(1))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
