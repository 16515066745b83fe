//! One member: its machine's clocks, its volume, its launcher with the broker, its agent.

use crate::clock::Clocks;
use crate::log::Log;
use agent_core::action::Action;
use agent_core::ids::{Epoch, Instance, Member, Nonce, Offset, Rv, Session, VolumeId, Zone};
use agent_core::observation::{
    EndCause, Gate, Hung, Job, Launcher, LeaseSeen, Me, PodSeen, Process, Reading, Stopping,
    Upstream, Volume,
};
use agent_core::record::{MemberSession, TermId, Tuple};
use agent_core::report::{Addresses, Report, Role};
use agent_core::time::{Boot, Now, Tick};
use agent_core::{Lineage, Observation, State};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// What members are called.
pub(crate) const NAMES: &[&str] = &["a", "b", "c", "d", "e"];

/// How far behind a healthy slave is, at most: milliseconds.
pub(crate) const LAG: u64 = 40;

/// What lasts a while and then is over; each member has at most one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    /// The pod is gone.
    Away,
    /// The machine stands still.
    Still,
    /// It sleeps: its monotonic clock, too.
    Asleep,
    /// The agent alone stands still.
    AgentFrozen,
    /// The launcher and its broker stand still.
    ContainerFrozen,
    /// No agent runs.
    AgentAway,
    /// The API server is out of reach.
    CutOff,
    /// It answers only now and then.
    Flaps,
    /// It refuses writes.
    Refused,
    /// The other members are out of reach, both ways.
    Alone,
    /// It hears none of them.
    HearsNobody,
    /// The watch tells nothing.
    Deaf,
    /// Replication makes no way.
    Stalls,
    /// Brokers crash while they start.
    FailsToStart,
    /// Brokers take long to recover.
    StartsSlowly,
}

pub(crate) const WINDOWS: usize = 15;

/// A running broker.
#[derive(Clone, Debug)]
pub(crate) struct Jvm {
    pub(crate) id: u64,
    pub(crate) role: Role,
    pub(crate) term: TermId,
    pub(crate) instance: Instance,
    pub(crate) permit: Boot,
    /// It answers.
    pub(crate) up: bool,
    pub(crate) recovered: Option<Offset>,
    pub(crate) gate: Gate,
    /// It is being killed.
    pub(crate) dying: bool,
    /// It does nothing any more, since (true time), and until then not even a kill ends it.
    pub(crate) hangs: Option<(u64, u64)>,
    /// Sends are acknowledged since then (true time), from that log end on.
    pub(crate) traffic: Option<(u64, u64)>,
}

/// A proven replication stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) from: usize,
    pub(crate) since: u64,
    /// Log end when it began.
    pub(crate) base: u64,
    pub(crate) lag: u64,
    /// Nothing arrives before that: it is under way.
    pub(crate) hold: u64,
}

/// What the wait for a free Lease may count from (J21).
#[derive(Clone, Debug, Default)]
pub(crate) struct Sights {
    /// The newest version it was noted for.
    pub(crate) newest: u64,
    pub(crate) era: u64,
    pub(crate) sound: Option<Tick>,
    pub(crate) damaged: Option<Tick>,
    pub(crate) highest: (Epoch, Tick),
    /// How many terms its history names, the newest one's nonce, and since when.
    pub(crate) lineage: (usize, Nonce, Tick),
    /// When a peer last said that it runs a master.
    pub(crate) master: Tick,
}

pub(crate) struct Agent {
    pub(crate) state: State,
    pub(crate) seen: Observation,
    /// The newest version of the Lease seen.
    pub(crate) newest: u64,
    pub(crate) reading: bool,
    pub(crate) job: Option<Action>,
    pub(crate) jobs: u64,
    pub(crate) start: Option<Action>,
    pub(crate) starts: u64,
    pub(crate) report: Option<Rc<Report>>,
    /// Counts what it says; peers hear the newest.
    pub(crate) version: u64,
    /// The newest version heard of each.
    pub(crate) heard: [u64; 5],
    /// The newest version read of each one's member Lease.
    pub(crate) read: [u64; 5],
    /// Its member Lease is about to be written.
    pub(crate) publishing: bool,
    /// The next decision is due then.
    pub(crate) think_at: Option<u64>,
    /// Something came in while it stood still.
    pub(crate) steady: bool,
    pub(crate) sights: Sights,
    pub(crate) told: VecDeque<String>,
    pub(crate) counts: [VecDeque<u64>; 9],
    /// The vacancy that its log was last seen frozen for, and since when.
    pub(crate) frozen: Option<(Tuple, Tick)>,
    /// The call of a Lease write is under way.
    pub(crate) writing: bool,
    /// When the last Lease write ended, if it was not committed.
    pub(crate) failed_at: Option<Tick>,
    /// An epoch that it waits on and that is not on its disk, and since when (true time).
    pub(crate) unwritten: Option<(Epoch, u64)>,
}

/// Promotions that failed one after the other in one life of an agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    pub(crate) life: u64,
    /// When the last one's broker died, true time.
    pub(crate) at: u64,
    pub(crate) times: u32,
}

/// What is on the disk.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    pub(crate) log: Log,
    /// The volume as an agent sees it.
    pub(crate) volume: Volume,
    /// Bytes taken off by cuts, and bytes archived.
    pub(crate) cut: u64,
    pub(crate) archived: u64,
    /// Its bytes changed by themselves.
    pub(crate) rotten: bool,
}

pub(crate) struct Machine {
    pub(crate) index: usize,
    pub(crate) name: Member,
    pub(crate) zone: Zone,
    /// It belongs to the group, as the settings say; one that leaves is stopped first.
    pub(crate) belongs: bool,
    pub(crate) leaves: bool,
    /// No kubelet shows words of its containers.
    pub(crate) wordless: bool,
    pub(crate) priority: i32,
    pub(crate) clocks: Clocks,
    pub(crate) disk: Disk,
    windows: [Option<u64>; WINDOWS],
    /// Since when its machine sleeps, true time.
    pub(crate) slept_since: Option<u64>,
    /// When its last trouble was over, true time.
    pub(crate) well_since: u64,
    pub(crate) life: u64,
    pub(crate) agent: Option<Agent>,
    pub(crate) pod: u64,
    pub(crate) nonce: u64,
    pub(crate) agent_container: u64,
    pub(crate) instance: Instance,
    pub(crate) jvm: Option<Jvm>,
    pub(crate) ended: Option<(Role, TermId, EndCause)>,
    pub(crate) ended_at: u64,
    /// The broker that was started last: its term, and in which life of the agent.
    pub(crate) started: Option<(TermId, u64)>,
    pub(crate) failure: Option<Failure>,
    /// Who had answered when its last acquisition was sent.
    pub(crate) answered: Vec<Member>,
    pub(crate) admitted: Option<(TermId, BTreeSet<MemberSession>)>,
    pub(crate) attached: Option<(TermId, usize, Instance)>,
    pub(crate) upstream: Upstream,
    pub(crate) link: Option<Link>,
    /// What the launcher says changed.
    pub(crate) dirty: bool,
    /// Milliseconds between two sends to it.
    pub(crate) interval: u64,
    /// When it last lost bytes with its machine or its volume.
    pub(crate) lost_at: Option<u64>,
    /// Crashes still to come (a crash loop).
    pub(crate) crashes_left: u64,
    /// The newest renewal of each term that was committed for an instance.
    pub(crate) renewed: Vec<(TermId, Instance, Boot)>,
}

impl Machine {
    pub(crate) fn new(index: usize, zone: &str, priority: i32, clocks: Clocks) -> Self {
        let name = Member::from(NAMES.get(index).copied().unwrap_or("?"));
        let mut machine = Self {
            index,
            zone: zone.into(),
            priority,
            belongs: true,
            leaves: false,
            wordless: false,
            clocks,
            disk: Disk::new(&name, "1"),
            windows: [None; WINDOWS],
            slept_since: None,
            well_since: 0,
            life: 1,
            agent: None,
            pod: 1,
            nonce: 1,
            agent_container: 1,
            instance: Instance::default(),
            jvm: None,
            ended: None,
            ended_at: 0,
            started: None,
            failure: None,
            answered: Vec::new(),
            admitted: None,
            attached: None,
            upstream: Upstream::Parked,
            link: None,
            dirty: true,
            interval: 100,
            lost_at: None,
            crashes_left: 0,
            renewed: Vec::new(),
            name,
        };
        machine.renamed();
        machine
    }

    /// Another pod or launcher: another instance.
    pub(crate) fn renamed(&mut self) {
        self.instance = Instance::new(format!("{}.n{}", self.uid(), self.nonce));
        self.dirty = true;
    }

    pub(crate) fn now(&self, t: u64) -> Now {
        self.clocks.now(t)
    }

    pub(crate) fn uid(&self) -> String {
        format!("{}-p{}", self.name, self.pod)
    }

    pub(crate) fn containers(&self) -> Vec<String> {
        if self.wordless {
            return Vec::new();
        }
        vec![
            format!("{}-broker-{}", self.uid(), self.nonce),
            format!("{}-agent-{}", self.uid(), self.agent_container),
        ]
    }

    /// What the kubelet shows of it.
    pub(crate) fn pod_seen(&self) -> PodSeen {
        let gone = u64::from(self.is(Window::Away));
        let uid = self.uid();
        let brokers = (1..self.nonce + gone).map(|n| format!("{uid}-broker-{n}"));
        let agents = (1..self.agent_container + gone).map(|n| format!("{uid}-agent-{n}"));
        let terminated: BTreeSet<String> = brokers.chain(agents).collect();
        PodSeen { uid, terminated }
    }

    pub(crate) fn is(&self, window: Window) -> bool {
        self.windows
            .get(window as usize)
            .is_some_and(Option::is_some)
    }

    pub(crate) fn begin(&mut self, window: Window, until: u64) {
        if let Some(slot) = self.windows.get_mut(window as usize) {
            *slot = Some(until);
        }
    }

    /// Whether this very window is over; it is then.
    pub(crate) fn over(&mut self, window: Window, until: u64) -> bool {
        match self.windows.get_mut(window as usize) {
            Some(slot) if *slot == Some(until) => {
                *slot = None;
                true
            }
            Some(_) | None => false,
        }
    }

    pub(crate) fn troubled(&self) -> bool {
        self.windows.iter().any(Option::is_some)
    }

    /// Its machine runs.
    pub(crate) fn up(&self) -> bool {
        !self.is(Window::Away) && !self.is(Window::Still) && !self.is(Window::Asleep)
    }

    /// Its agent runs.
    pub(crate) fn minds(&self) -> bool {
        self.up() && self.agent.is_some() && !self.is(Window::AgentFrozen)
    }

    /// Its launcher and broker run.
    pub(crate) fn launches(&self) -> bool {
        self.up() && !self.is(Window::ContainerFrozen)
    }

    /// Its broker answers.
    pub(crate) fn answers(&self) -> bool {
        let lives = |j: &Jvm| j.up && j.hangs.is_none();
        self.launches() && self.jvm.as_ref().is_some_and(lives)
    }

    /// Whether it acknowledges sends.
    pub(crate) fn accepts(&self) -> bool {
        let open = |j: &Jvm| j.role == Role::Master && j.gate == Gate::Open;
        self.answers() && self.jvm.as_ref().is_some_and(open)
    }

    /// What looks every five seconds have found since it hangs.
    pub(crate) fn hung(&self, t: u64) -> Option<Hung> {
        let (hangs, _) = self.jvm.as_ref()?.hangs?;
        let at = |t: u64| self.now(t).tick;
        let (first, last) = (hangs.div_ceil(5_000) * 5_000, t / 5_000 * 5_000);
        (first <= last).then(|| Hung {
            since: at(first),
            seen: at(last),
        })
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

    /// What the launcher says.
    pub(crate) fn launcher(&self, replicas: BTreeMap<Member, Offset>) -> Launcher {
        Launcher {
            instance: self.instance.clone(),
            process: self.process(),
            replicas,
            admitted: self.admitted.clone(),
            upstream: self.upstream.clone(),
        }
    }

    /// The log end as the agent of a stopped broker would walk it, put where the agent sees it.
    pub(crate) fn show_volume(&mut self, t: u64) {
        let tick = self.now(t).tick;
        let volume = self.disk.volume.clone();
        if let Some(agent) = &mut self.agent {
            agent.seen.volume = Reading::known(volume, tick);
        }
    }

    pub(crate) fn new_agent(&mut self, t: u64, expected: BTreeSet<Member>) {
        // What was walked is not known to another agent.
        self.disk.forget_walk();
        let tick = self.now(t).tick;
        let seen = Observation {
            me: Me {
                member: self.name.clone(),
                zone: self.zone.clone(),
                priority: self.priority,
                expected,
                no_failover: false,
                containers: self.containers(),
                addresses: Addresses::default(),
                version: "1".into(),
            },
            lease: Reading::Unknown,
            write: None,
            volume: Reading::known(self.disk.volume.clone(), tick),
            launcher: Reading::Unknown,
            broker: Reading::Unknown,
            hung: None,
            peers: BTreeMap::new(),
            job: Job::Idle,
            stopping: if self.leaves {
                Stopping::Yes
            } else {
                Stopping::No
            },
            nonce: Nonce::default(),
        };
        self.dirty = true;
        self.agent = Some(Agent {
            state: State::default(),
            seen,
            newest: 0,
            reading: false,
            job: None,
            jobs: 0,
            start: None,
            starts: 0,
            report: None,
            version: 0,
            heard: [0; 5],
            read: [0; 5],
            publishing: false,
            think_at: None,
            steady: false,
            sights: Sights::default(),
            told: VecDeque::new(),
            counts: Default::default(),
            frozen: None,
            writing: false,
            failed_at: None,
            unwritten: None,
        });
    }
}

impl Agent {
    /// Puts a view of the Lease in unless something newer is known; a view is never made to look older. Whether it is news.
    pub(crate) fn see(&mut self, rv: u64, lease: impl FnOnce() -> LeaseSeen, at: Tick) -> bool {
        if rv < self.newest {
            return false;
        }
        if rv == self.newest
            && let Reading::Known { at: known, .. } = &mut self.seen.lease
        {
            *known = at.max(*known);
            return false;
        }
        self.newest = rv;
        self.seen.lease = Reading::known(lease(), at);
        true
    }

    /// The version it would write on.
    pub(crate) fn carries(&self) -> Option<Rv> {
        match self.seen.lease.last() {
            Some(LeaseSeen::Record { rv, .. } | LeaseSeen::Damaged { rv, .. }) => Some(*rv),
            Some(LeaseSeen::Absent | LeaseSeen::Stranger { .. } | LeaseSeen::Newer { .. })
            | None => None,
        }
    }
}

impl Disk {
    pub(crate) fn new(name: &Member, mark: &str) -> Self {
        let who = MemberSession {
            member: name.clone(),
            session: Session::new(format!("{name}-s{mark}")),
            volume: VolumeId::new(format!("{name}-v{mark}")),
        };
        Self {
            log: Log::default(),
            volume: Volume {
                who,
                lineage: Lineage::default(),
                highest_epoch: Epoch::default(),
                extent: None,
                frozen: None,
                pending_cut: None,
                repaired: None,
                proof: None,
                joined: None,
                seeding: None,
            },
            cut: 0,
            archived: 0,
            rotten: false,
        }
    }

    pub(crate) fn forget_walk(&mut self) {
        self.volume.extent = None;
        self.volume.repaired = None;
        self.volume.proof = None;
    }
}
