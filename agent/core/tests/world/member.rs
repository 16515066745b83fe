//! One member: its machine's clocks, its volume, its launcher with the broker, its agent and what that one sees.

use super::log::Log;
use agent_core::action::Action;
use agent_core::ids::*;
use agent_core::observation::*;
use agent_core::record::*;
use agent_core::report::{Addresses, Frozen, Report, Role};
use agent_core::time::{Boot, Now, Tick};
use agent_core::{Lineage, Observation, State};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A running broker.
#[derive(Clone, Debug)]
pub struct Jvm {
    pub id: u64,
    pub role: Role,
    pub term: TermId,
    pub instance: Instance,
    pub permit: Boot,
    /// When it answers, in true time.
    pub up_at: u64,
    pub recovered: Option<Offset>,
    pub gate: Gate,
    /// It is being killed and gone then, in true time.
    pub dies: Option<(u64, EndCause)>,
    /// It hangs.
    pub hangs: Option<Hang>,
}

/// A process that does nothing any more.
#[derive(Clone, Copy, Debug)]
pub struct Hang {
    /// Since, in true time.
    pub since: u64,
    /// Until then not even a kill ends it, in true time.
    pub stuck: u64,
}

/// Between two looks for a sign of life, ms.
const LOOK: u64 = 5_000;

impl Jvm {
    /// When a kill that would end it at `t` does.
    pub fn killed_at(&self, t: u64) -> u64 {
        self.hangs.map_or(t, |hang| t.max(hang.stuck))
    }
}

/// What is on the disk.
#[derive(Clone, Debug)]
pub struct Disk {
    pub log: Log,
    pub who: MemberSession,
    pub lineage: Lineage,
    pub highest: Epoch,
    pub frozen: Option<Frozen>,
    pub joined: Option<TermId>,
    pub seeding: Option<Offset>,
    pub pending_cut: Option<u64>,
    /// Bytes taken off by cuts, and bytes archived.
    pub cut: u64,
    pub archived: u64,
}

/// What the agent knows of the volume beside its files.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    pub extent: Option<Extent>,
    pub repaired: Option<TermId>,
    pub proof: Option<Proof>,
}

pub struct Agent {
    pub state: State,
    pub view: Option<(LeaseSeen, Tick)>,
    pub newest: u64,
    pub write: Option<WriteOutcome>,
    pub peers: BTreeMap<Member, Peer>,
    pub asked_peers_at: u64,
    pub asked_broker_at: u64,
    pub broker: Option<(u64, Broker, Tick)>,
    pub job: Option<(u64, Action)>,
    pub start: Option<(u64, Action)>,
    pub walked: Walked,
    pub report: Option<Report>,
    pub stopping: bool,
    pub reading: bool,
    pub told: VecDeque<String>,
    pub sights: Sights,
}

/// What the wait for a free Lease may count from (J21).
#[derive(Clone, Debug, Default)]
pub struct Sights {
    pub era: u64,
    pub sound: Option<Tick>,
    pub damaged: Option<Tick>,
    pub highest: (Epoch, Tick),
    pub lineage: (Lineage, Tick),
    /// When a peer last said that it runs a master.
    pub master: Tick,
}

impl Agent {
    pub fn new() -> Self {
        Self {
            state: State::default(),
            view: None,
            newest: 0,
            write: None,
            peers: BTreeMap::new(),
            asked_peers_at: 0,
            asked_broker_at: 0,
            broker: None,
            job: None,
            start: None,
            walked: Walked::default(),
            report: None,
            stopping: false,
            reading: false,
            told: VecDeque::new(),
            sights: Sights::default(),
        }
    }
}

/// Whether something is there, and if not, when it comes back (true time; `u64::MAX`: when the faults are over).
pub type Away = Option<u64>;

pub struct MemberWorld {
    pub name: Member,
    /// Its clocks' rate in thousandths.
    pub rate: u64,
    pub boot_zero: u64,
    pub tick_zero: u64,
    pub disk: Disk,
    /// The pod is gone.
    pub away: Away,
    /// The machine stands still.
    pub paused: Away,
    /// The API server is out of reach.
    pub cut_off: Away,
    /// The other members are out of reach.
    pub alone: Away,
    /// The watch tells nothing.
    pub deaf: Away,
    pub agent_away: Away,
    pub life: u64,
    pub agent: Option<Agent>,
    pub pod: u64,
    pub nonce: u64,
    pub agent_container: u64,
    pub jvm: Option<Jvm>,
    pub ended: Option<(Role, TermId, EndCause)>,
    pub admitted: Option<(TermId, BTreeSet<MemberSession>)>,
    pub attached: Option<(TermId, Member, Instance)>,
    pub upstream: Upstream,
    pub replicas: BTreeMap<Member, Offset>,
    /// Log end after the last acknowledged write.
    pub acked: u64,
    /// Its replication makes no way until then.
    pub stalls: u64,
    /// When it last lost bytes with its machine or its volume.
    pub lost_at: Option<u64>,
}

impl MemberWorld {
    pub fn new(name: &str, rate: u64, zero: u64) -> Self {
        let who = MemberSession {
            member: name.into(),
            session: Session::new(format!("{name}-s1")),
            volume: VolumeId::new(format!("{name}-v1")),
        };
        Self {
            name: name.into(),
            rate,
            boot_zero: 5_000_000 + zero,
            tick_zero: 1_000_000 + zero / 3,
            disk: Disk {
                log: Log::default(),
                who,
                lineage: Lineage::default(),
                highest: Epoch::default(),
                frozen: None,
                joined: None,
                seeding: None,
                pending_cut: None,
                cut: 0,
                archived: 0,
            },
            away: None,
            paused: None,
            cut_off: None,
            alone: None,
            deaf: None,
            agent_away: None,
            life: 1,
            agent: Some(Agent::new()),
            pod: 1,
            nonce: 1,
            agent_container: 1,
            jvm: None,
            ended: None,
            admitted: None,
            attached: None,
            upstream: Upstream::Parked,
            replicas: BTreeMap::new(),
            acked: 0,
            stalls: 0,
            lost_at: None,
        }
    }

    pub fn now(&self, t: u64) -> Now {
        let local = t * self.rate / 1000;
        Now {
            tick: Tick::from_millis(self.tick_zero + local),
            boot: Boot::from_millis(self.boot_zero + local),
        }
    }

    pub fn uid(&self) -> String {
        format!("{}-p{}", self.name, self.pod)
    }

    pub fn instance(&self) -> Instance {
        Instance::new(format!("{}.n{}", self.uid(), self.nonce))
    }

    pub fn containers(&self) -> Vec<String> {
        vec![
            format!("{}-broker-{}", self.uid(), self.nonce),
            format!("{}-agent-{}", self.uid(), self.agent_container),
        ]
    }

    /// What the kubelet shows of it.
    pub fn pod_seen(&self) -> PodSeen {
        let mut terminated: BTreeSet<String> = BTreeSet::new();
        let gone = self.away.is_some();
        for n in 1..self.nonce + u64::from(gone) {
            terminated.insert(format!("{}-broker-{n}", self.uid()));
        }
        for n in 1..self.agent_container + u64::from(gone) {
            terminated.insert(format!("{}-agent-{n}", self.uid()));
        }
        PodSeen {
            uid: self.uid(),
            terminated,
        }
    }

    pub fn up(&self) -> bool {
        self.away.is_none() && self.paused.is_none()
    }

    /// Whether it acknowledges sends.
    pub fn accepts(&self, t: u64) -> bool {
        self.up()
            && self.jvm.as_ref().is_some_and(|j| {
                j.role == Role::Master && j.gate == Gate::Open && j.hangs.is_none() && t >= j.up_at
            })
    }

    /// What looks every [`LOOK`] have found since it hangs.
    fn hung(&self, t: u64) -> Option<Hung> {
        let hang = self.jvm.as_ref()?.hangs?;
        let at = |t: u64| self.now(t).tick;
        let (first, last) = (hang.since.div_ceil(LOOK) * LOOK, t / LOOK * LOOK);
        (first <= last).then(|| Hung {
            since: at(first),
            seen: at(last),
        })
    }

    /// Forgets what only a running launcher knows.
    pub fn launcher_gone(&mut self) {
        self.jvm = None;
        self.ended = None;
        self.admitted = None;
        self.attached = None;
        self.upstream = Upstream::Parked;
        self.replicas.clear();
    }

    pub fn jvm_ends(&mut self, why: EndCause) {
        if let Some(jvm) = self.jvm.take() {
            self.ended = Some((jvm.role, jvm.term, why));
        }
        self.upstream = Upstream::Parked;
        self.replicas.clear();
    }

    fn process(&self) -> Process {
        match (&self.jvm, self.ended) {
            (Some(j), _) => Process::Live {
                role: j.role,
                term: j.term,
                instance: j.instance.clone(),
                permit: j.permit,
            },
            (None, Some((role, term, why))) => Process::Ended { role, term, why },
            (None, None) => Process::Idle,
        }
    }

    pub fn observation(&self, t: u64, members: &[Member], nonce: u64) -> Option<Observation> {
        let agent = self.agent.as_ref()?;
        let tick = self.now(t).tick;
        let disk = &self.disk;
        let volume = Volume {
            who: disk.who.clone(),
            lineage: disk.lineage.clone(),
            highest_epoch: disk.highest,
            extent: agent.walked.extent,
            frozen: disk.frozen.clone(),
            pending_cut: disk.pending_cut.map(Offset::new),
            repaired: agent.walked.repaired,
            proof: agent.walked.proof.clone(),
            joined: disk.joined,
            seeding: disk.seeding,
        };
        let jvm = self.jvm.as_ref().map(|j| j.id);
        let broker = agent
            .broker
            .as_ref()
            .filter(|(id, ..)| Some(*id) == jvm)
            .map_or(Reading::Unknown, |(_, b, at)| {
                Reading::known(b.clone(), *at)
            });
        Some(Observation {
            me: Me {
                member: self.name.clone(),
                zone: "".into(),
                priority: 0,
                expected: members.iter().cloned().collect(),
                no_failover: false,
                containers: self.containers(),
                addresses: Addresses::default(),
                version: "1".into(),
            },
            lease: agent
                .view
                .clone()
                .map_or(Reading::Unknown, |(l, at)| Reading::known(l, at)),
            write: agent.write.clone(),
            volume: Reading::known(volume, tick),
            launcher: Reading::known(
                Launcher {
                    instance: self.instance(),
                    process: self.process(),
                    replicas: self.replicas.clone(),
                    admitted: self.admitted.clone(),
                    upstream: self.upstream.clone(),
                },
                tick,
            ),
            broker,
            hung: self.hung(t),
            peers: agent.peers.clone(),
            job: if agent.job.is_some() || agent.start.is_some() {
                Job::Busy
            } else {
                Job::Idle
            },
            stopping: if agent.stopping {
                Stopping::Yes
            } else {
                Stopping::No
            },
            nonce: Nonce::new(nonce),
        })
    }
}
