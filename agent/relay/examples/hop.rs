//! One end of the replication relay by hand, between real brokers.
//!
//! ```text
//! hop master listen=0.0.0.0:9001 ha=127.0.0.1:10912 commitlog=a/store/commitlog start=0 [k=0] [admit=b,c]
//! hop slave local=127.0.0.1:9002 upstream=127.0.0.1:9001 commitlog=b/store/commitlog file_size=1073741824 [member=b]
//! ```
//! Then commands on standard input, one per line: `status`; master: `permit MS` (from now), `none`, `orders`, `k N`, `local 0|1`; slave:
//! `attach [HINT]`, `park`. End of input ends the program. Each command is answered by one line of JSON.

#![allow(
    clippy::print_stdout,
    reason = "a program for a terminal or a script to talk to"
)]

use arguments::{Failure, Settings};
use relay::clock::boottime_ms;
use relay::{
    Attach, GroupKey, GroupName, Instance, LocalAck, MasterOrders, MasterRelay, Member, Peer,
    Session, SlaveOrders, SlaveRelay, Term,
};
use std::io::BufRead;

const TERM: Term = Term { epoch: 1, nonce: 1 };
const KEY: &[u8] = b"for experiments by hand only";

fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let side = words.next().unwrap_or_default();
    let settings = Settings::parse(words)?;
    match side.as_str() {
        "master" => master(&settings),
        "slave" => slave(&settings),
        _ => Err("say `hop master …` or `hop slave …`".into()),
    }
}

fn group() -> GroupName {
    GroupName {
        cluster: "c".into(),
        broker: "b".into(),
    }
}

fn commands() -> impl Iterator<Item = (String, u64)> {
    std::io::stdin()
        .lock()
        .lines()
        .map_while(Result::ok)
        .map(|line| {
            let mut words = line.split_whitespace();
            let command = words.next().unwrap_or_default().to_owned();
            let number = words.next().and_then(|word| word.parse().ok());
            (command, number.unwrap_or(0))
        })
}

fn master(settings: &Settings) -> Result<(), Failure> {
    let key = GroupKey::from_bytes(KEY)?;
    let relay = MasterRelay::bind(settings.get("listen")?, group(), key)?;
    let admit = settings.text("admit").unwrap_or("b");
    let mut orders = MasterOrders {
        member: Member::new("a"),
        instance: Instance::new("a"),
        term: TERM,
        start: settings.get("start")?,
        admit: admit.split(',').map(peer).collect(),
        k: settings.get("k").unwrap_or(0),
        ha: settings.get("ha")?,
        commitlog_dir: settings.get("commitlog")?,
        local_ack: LocalAck::Off,
    };
    relay.order(Some(orders.clone()));
    for (command, number) in commands() {
        match command.as_str() {
            "permit" => {
                let taken = relay.permit(TERM, boottime_ms().saturating_add(number));
                println!("{taken}");
                continue;
            }
            "none" => relay.order(None),
            "orders" => relay.order(Some(orders.clone())),
            "local" => {
                orders.local_ack = if number == 0 {
                    LocalAck::Off
                } else {
                    LocalAck::On
                };
                relay.order(Some(orders.clone()));
            }
            "k" => {
                orders.k = u32::try_from(number)?;
                relay.order(Some(orders.clone()));
            }
            _ => {}
        }
        println!("{}", serde_json::to_string(&relay.status())?);
    }
    Ok(())
}

fn slave(settings: &Settings) -> Result<(), Failure> {
    let key = GroupKey::from_bytes(KEY)?;
    let relay = SlaveRelay::bind(settings.get("local")?, group(), key)?;
    let member = settings.text("member").unwrap_or("b");
    for (command, number) in commands() {
        match command.as_str() {
            "attach" => {
                let attach = Attach {
                    upstream: settings.get("upstream")?,
                    term: TERM,
                    holder_member: Member::new("a"),
                    holder_instance: Instance::new("a"),
                    member: Member::new(member),
                    session: Session::new("s"),
                    instance: Instance::new("b"),
                    commitlog_dir: settings.get("commitlog")?,
                    commitlog_file_size: settings.get("file_size")?,
                    end_hint: (number > 0).then_some(number),
                };
                relay.order(SlaveOrders::Attach(Box::new(attach)));
            }
            "park" => relay.order(SlaveOrders::Park),
            _ => {}
        }
        println!("{}", serde_json::to_string(&relay.status())?);
    }
    Ok(())
}

fn peer(member: &str) -> Peer {
    Peer {
        member: Member::new(member),
        session: Session::new("s"),
    }
}

/// `key=value` arguments.
mod arguments {
    use std::collections::BTreeMap;
    use std::str::FromStr;

    /// Any error, for a program whose user reads it at once.
    pub(crate) type Failure = Box<dyn std::error::Error>;

    pub(crate) struct Settings(BTreeMap<String, String>);

    impl Settings {
        pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
            arguments
                .map(|argument| {
                    let (name, value) = argument
                        .split_once('=')
                        .ok_or_else(|| format!("take {argument}: name=value expected"))?;
                    Ok((name.to_owned(), value.to_owned()))
                })
                .collect::<Result<_, Failure>>()
                .map(Self)
        }

        pub(crate) fn text(&self, name: &str) -> Option<&str> {
            self.0.get(name).map(String::as_str)
        }

        pub(crate) fn get<T: FromStr>(&self, name: &str) -> Result<T, Failure>
        where
            T::Err: std::error::Error + 'static,
        {
            let text = self
                .text(name)
                .ok_or_else(|| format!("{name}= is missing"))?;
            Ok(text.parse()?)
        }
    }
}
