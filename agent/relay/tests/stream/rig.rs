//! Both relays with fakes at their ends, and the orders that make them replicate.

use crate::fakes::{FILE_SIZE, FakeMaster, FakeSlave, until};
use relay::{
    Attach, GroupKey, GroupName, Instance, MasterOrders, MasterRelay, Member, Peer, Session,
    SlaveOrders, SlaveRelay, SlaveState, Term, Tuning,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const TERM: Term = Term {
    epoch: 7,
    nonce: 0xfeed,
};
pub(crate) const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
pub(crate) const FOREVER: u64 = u64::MAX - 1;

pub(crate) fn key() -> GroupKey {
    GroupKey::from_bytes(b"the key of the group under test").unwrap()
}

pub(crate) fn group() -> GroupName {
    GroupName {
        cluster: "c".into(),
        broker: "b".into(),
    }
}

/// Production's proportions, a tenth of its times.
pub(crate) fn quick() -> Tuning {
    Tuning {
        tick: Duration::from_millis(20),
        heartbeat: Duration::from_millis(100),
        silence: Duration::from_millis(800),
        handshake: Duration::from_millis(500),
        proof: Duration::from_millis(700),
        jvm_stuck: Duration::from_secs(2),
        retry: (Duration::from_millis(5), Duration::from_millis(50)),
        ..Tuning::default()
    }
}

pub(crate) fn peer(member: &str) -> Peer {
    Peer {
        member: Member::new(member),
        session: Session::new("s1"),
    }
}

/// The master's half.
pub(crate) struct MasterEnd {
    pub(crate) broker: FakeMaster,
    pub(crate) relay: MasterRelay,
}

impl MasterEnd {
    /// A master whose term starts at the end of `log`, admitting "b" and "c", with a permit.
    pub(crate) fn new(min: u64, log: &[u8], k: u32) -> Self {
        let broker = FakeMaster::new(min, log);
        let relay = MasterRelay::bind_tuned(ANY_PORT, group(), key(), quick()).unwrap();
        let end = Self { broker, relay };
        end.relay.order(Some(end.orders(k)));
        assert!(end.relay.permit(TERM, FOREVER));
        end
    }

    pub(crate) fn orders(&self, k: u32) -> MasterOrders {
        MasterOrders {
            member: Member::new("a"),
            instance: Instance::new("ia"),
            term: TERM,
            start: self.broker.end(),
            admit: vec![peer("b"), peer("c")],
            k,
            ha: self.broker.address,
            commitlog_dir: self.broker.folder.path().to_owned(),
            local_ack: relay::LocalAck::Off,
        }
    }
}

/// The slave's half.
pub(crate) struct SlaveEnd {
    pub(crate) broker: FakeSlave,
    pub(crate) relay: SlaveRelay,
    member: String,
}

impl SlaveEnd {
    /// A slave "b" whose log holds `log`, parked.
    pub(crate) fn new(log: &[u8]) -> Self {
        Self::named("b", log)
    }

    pub(crate) fn named(member: &str, log: &[u8]) -> Self {
        let relay = SlaveRelay::bind_tuned(ANY_PORT, group(), key(), quick()).unwrap();
        let broker = FakeSlave::new(relay.local(), log);
        Self {
            broker,
            relay,
            member: member.to_owned(),
        }
    }

    pub(crate) fn attach_orders(&self, upstream: SocketAddr) -> Attach {
        attach_orders(&self.member, upstream, self.broker.folder.path().to_owned())
    }

    pub(crate) fn attach(&self, upstream: SocketAddr) {
        self.relay
            .order(SlaveOrders::Attach(Box::new(self.attach_orders(upstream))));
    }

    /// Attached to `master` and level with it.
    pub(crate) fn follow(&self, master: &MasterEnd) {
        self.attach(master.relay.listen());
        self.catch_up(master);
    }

    pub(crate) fn catch_up(&self, master: &MasterEnd) {
        until("the slave catches up", || {
            self.broker.end() == master.broker.end()
                && self.relay.status().state == SlaveState::Streaming
        });
    }

    /// Parked, with nothing in flight.
    pub(crate) fn freeze(&self) -> u64 {
        self.relay.order(SlaveOrders::Park);
        let frozen = || {
            let status = self.relay.status();
            status.state == SlaveState::Parked && status.reported == status.forwarded
        };
        until("the slave is frozen", frozen);
        self.relay.status().forwarded.unwrap()
    }
}

pub(crate) fn attach_orders(member: &str, upstream: SocketAddr, commitlog_dir: PathBuf) -> Attach {
    Attach {
        upstream,
        term: TERM,
        holder_member: Member::new("a"),
        holder_instance: Instance::new("ia"),
        member: Member::new(member),
        session: Session::new("s1"),
        instance: Instance::new("ib"),
        commitlog_dir,
        commitlog_file_size: FILE_SIZE,
        end_hint: None,
    }
}
