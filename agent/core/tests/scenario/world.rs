//! One agent and what it sees: lines of a story change it, `done` lets the last actions take effect.

use agent_core::action::Action;
use agent_core::ids::*;
use agent_core::observation::*;
use agent_core::record::*;
use agent_core::report::{Addresses, Frozen, LogReport, Report, Role};
use agent_core::time::{Boot, Now, Tick};
use agent_core::{Decision, Lineage, Observation, Policy, State, Timing, decide};
use std::collections::{BTreeMap, BTreeSet};

/// The clocks differ, so that a story notices when one is taken for the other.
const BOOT_AHEAD_MS: u64 = 1_000_000;

/// How another member's word reaches us.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It answers, at every look.
    Spoken,
    /// Its member Lease is read, at every look.
    Published,
    /// It is long ago that its member Lease was read.
    Past,
}

pub struct World {
    pub now_ms: u64,
    pub policy: Policy,
    pub state: State,
    pub me: Me,
    pub launcher_nonce: String,
    pub lease: Option<LeaseSeen>,
    pub lease_at: Tick,
    pub lease_current: bool,
    pub rv: u64,
    pub write: Option<WriteOutcome>,
    pub volume: Option<Volume>,
    pub process: Process,
    pub launcher_silent: bool,
    pub replicas: BTreeMap<Member, Offset>,
    pub admitted: Option<(TermId, BTreeSet<MemberSession>)>,
    pub upstream: Upstream,
    pub broker: Option<Broker>,
    pub broker_at: Tick,
    pub hung: Option<Hung>,
    pub peers: BTreeMap<Member, (Report, Heard)>,
    pub pods: BTreeMap<Member, PodSeen>,
    pub job: Job,
    pub stopping: Stopping,
    pub last: Option<Decision>,
}

impl World {
    pub fn new() -> Self {
        let addresses = Addresses::default();
        Self {
            now_ms: 100_000,
            policy: Policy::new(Timing::default(), Qos::Async).unwrap(),
            state: State::default(),
            me: Me {
                member: "a-0".into(),
                zone: "".into(),
                priority: 0,
                expected: ["a-0".into(), "a-1".into()].into(),
                no_failover: false,
                containers: vec![],
                addresses,
                version: "1".into(),
            },
            launcher_nonce: "n1".into(),
            lease: None,
            lease_at: Tick::default(),
            lease_current: true,
            rv: 10,
            write: None,
            volume: None,
            process: Process::Idle,
            launcher_silent: false,
            replicas: BTreeMap::new(),
            admitted: None,
            upstream: Upstream::Parked,
            broker: None,
            broker_at: Tick::default(),
            hung: None,
            peers: BTreeMap::new(),
            pods: BTreeMap::new(),
            job: Job::Idle,
            stopping: Stopping::No,
            last: None,
        }
    }

    pub fn now(&self) -> Now {
        Now {
            tick: Tick::from_millis(self.now_ms),
            boot: Boot::from_millis(self.now_ms + BOOT_AHEAD_MS),
        }
    }

    pub fn instance(&self) -> Instance {
        instance_of(self.me.member.as_str(), &self.launcher_nonce)
    }

    pub fn observation(&self) -> Observation {
        let tick = self.now().tick;
        let launcher = Launcher {
            instance: self.instance(),
            process: self.process.clone(),
            replicas: self.replicas.clone(),
            admitted: self.admitted.clone(),
            upstream: self.upstream.clone(),
        };
        let stale = Tick::from_millis(self.now_ms.saturating_sub(60_000));
        let launcher_at = if self.launcher_silent { stale } else { tick };
        let mut peers: BTreeMap<Member, Peer> = BTreeMap::new();
        for (member, (report, heard)) in &self.peers {
            let peer = peers.entry(member.clone()).or_default();
            peer.published = Reading::known(
                Report {
                    lineage: None,
                    ..report.clone()
                },
                if *heard == Heard::Published {
                    tick
                } else {
                    stale
                },
            );
            if *heard == Heard::Spoken {
                peer.answer = Reading::known(report.clone(), tick);
            }
        }
        for (member, pod) in &self.pods {
            peers.entry(member.clone()).or_default().pod = Reading::known(pod.clone(), tick);
        }
        let lease_at = if self.lease_current {
            tick
        } else {
            self.lease_at
        };
        Observation {
            me: self.me.clone(),
            lease: self
                .lease
                .clone()
                .map_or(Reading::Unknown, |l| Reading::known(l, lease_at)),
            write: self.write.clone(),
            volume: self
                .volume
                .clone()
                .map_or(Reading::Unknown, |v| Reading::known(v, tick)),
            launcher: Reading::known(launcher, launcher_at),
            broker: self
                .broker
                .clone()
                .map_or(Reading::Unknown, |b| Reading::known(b, self.broker_at)),
            hung: self.hung,
            peers,
            job: self.job,
            stopping: self.stopping,
            nonce: Nonce::new(0),
        }
    }

    pub fn decide(&mut self) -> Decision {
        let decision = decide(&self.state, &self.observation(), self.now(), &self.policy);
        self.state = decision.next.clone();
        self.last = Some(decision.clone());
        decision
    }

    pub fn set_lease(&mut self, lease: LeaseSeen) {
        self.lease = Some(lease);
        self.lease_at = self.now().tick;
    }

    pub fn record_mut(&mut self) -> Result<&mut GroupRecord, String> {
        match &mut self.lease {
            Some(LeaseSeen::Record { record, .. }) => Ok(record),
            _ => Err("there is no lease record to change".into()),
        }
    }

    pub fn broker_seen(&mut self, broker: Broker) {
        self.broker = Some(broker);
        self.broker_at = self.now().tick;
    }

    /// Lets what was ordered happen, as a healthy shell would.
    pub fn done(&mut self) -> Result<(), String> {
        let decision = self.last.clone().ok_or("nothing was decided yet")?;
        for action in &decision.actions {
            self.take_effect(action)?;
        }
        Ok(())
    }

    fn take_effect(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::ReadLease => {
                self.lease_current = true;
            }
            Action::Write(write) => {
                self.rv += 1;
                let requests = match &self.lease {
                    Some(LeaseSeen::Record { requests, .. }) => requests.clone(),
                    _ => Requests::default(),
                };
                let switchover = requests.switchover.filter(|_| !write.clear_switchover);
                let requests = Requests {
                    switchover,
                    ..requests
                };
                let (rv, record) = (Rv::new(self.rv), write.record.clone());
                self.set_lease(LeaseSeen::Record {
                    rv,
                    record,
                    requests,
                });
                self.write = Some(WriteOutcome {
                    id: write.id,
                    sent: self.now().boot,
                    result: WriteResult::Committed,
                });
            }
            Action::Permit { until, .. } => {
                if let Process::Live { permit, .. } = &mut self.process {
                    *permit = *until;
                }
            }
            Action::Kill { .. } => self.end(EndCause::Ordered),
            Action::Stop => self.end(EndCause::Ordered),
            Action::Shut { .. } => self.gate(Gate::Shut),
            Action::Open { .. } => self.gate(Gate::Open),
            Action::Register { .. } | Action::Announce(_) => {}
            Action::Examine => {
                let volume = self.volume_mut()?;
                volume.pending_cut = None;
                if volume.extent.is_none() {
                    return Err("tell the volume's end before `done` examines it".into());
                }
            }
            Action::Freeze { vacancy } => {
                let volume = self.volume_mut()?;
                let extent = volume
                    .extent
                    .ok_or("tell the volume's end before `done` freezes it")?;
                let last_epoch = volume.lineage.last_epoch(extent.end);
                volume.frozen = Some(Frozen {
                    vacancy: vacancy.clone(),
                    end: extent.end,
                    last_epoch,
                });
            }
            Action::Repair { term, .. } => self.volume_mut()?.repaired = Some(*term),
            Action::Prove { term, upto, .. } => {
                let proof = Proof {
                    term: *term,
                    upto: *upto,
                    equal: *upto,
                };
                self.volume_mut()?.proof = Some(proof);
            }
            Action::Cut { to, .. } => {
                let volume = self.volume_mut()?;
                let min = volume.extent.map_or(Offset::ZERO, |e| e.min).min(*to);
                volume.extent = Some(Extent { min, end: *to });
                volume.who.session = Session::new(format!("{}+", volume.who.session));
                volume.frozen = None;
            }
            Action::Persist {
                lineage,
                highest,
                joined,
                seeding,
            } => {
                let volume = self.volume_mut()?;
                volume.lineage = lineage.clone();
                volume.highest_epoch = *highest;
                volume.joined = *joined;
                volume.seeding = *seeding;
            }
            Action::Start {
                role,
                term,
                instance,
                permit,
            } => {
                self.process = Process::Live {
                    role: *role,
                    term: *term,
                    instance: instance.clone(),
                    permit: *permit,
                };
                self.upstream = Upstream::Parked;
                let volume = self.volume_mut()?;
                let extent = volume.extent.take().unwrap_or(Extent {
                    min: Offset::ZERO,
                    end: Offset::ZERO,
                });
                volume.proof = None;
                volume.repaired = None;
                let gate = Gate::Shut;
                self.broker_seen(Broker {
                    min: extent.min,
                    end: extent.end,
                    recovered: Some(extent.end),
                    gate,
                });
            }
            Action::Admit { term, members, .. } => self.admitted = Some((*term, members.clone())),
            Action::Attach { term, .. } => self.upstream = Upstream::Streaming { term: *term },
        }
        Ok(())
    }

    pub fn end(&mut self, why: EndCause) {
        self.hung = None;
        if let Process::Live { role, term, .. } = &self.process {
            self.process = Process::Ended {
                role: *role,
                term: *term,
                why,
            };
        }
        if let (Some(broker), Some(volume)) = (self.broker.take(), self.volume.as_mut()) {
            volume.extent = Some(Extent {
                min: broker.min,
                end: broker.end,
            });
        }
        self.upstream = Upstream::Parked;
        self.replicas.clear();
    }

    fn gate(&mut self, gate: Gate) {
        if let Some(mut broker) = self.broker.clone() {
            broker.gate = gate;
            self.broker_seen(broker);
        }
    }

    pub fn volume_mut(&mut self) -> Result<&mut Volume, String> {
        self.volume
            .as_mut()
            .ok_or_else(|| "tell the volume first".into())
    }
}

/// In a story a member's pod uid is `<member>-uid`, and its launcher's nonce n1, n2 …
pub fn instance_of(member: &str, nonce: &str) -> Instance {
    Instance::new(format!("{member}-uid.{nonce}"))
}

pub fn blank_report(member: &str) -> Report {
    Report {
        format: FORMAT,
        who: MemberSession {
            member: member.into(),
            session: "s1".into(),
            volume: format!("v-{member}").as_str().into(),
        },
        instance: instance_of(member, "n1"),
        zone: "".into(),
        priority: 0,
        role: None,
        term: None,
        joined: false,
        log: Some(LogReport {
            min: Offset::ZERO,
            end: Offset::ZERO,
        }),
        last_epoch: Epoch::new(0),
        highest_epoch: Epoch::new(0),
        blank: true,
        frozen: None,
        electable: agent_core::report::Electable::Yes,
        addresses: Addresses::default(),
        version: "1".into(),
        lineage: Some(Lineage::default()),
    }
}

pub fn role(word: &str) -> Result<Role, String> {
    match word {
        "master" => Ok(Role::Master),
        "slave" => Ok(Role::Slave),
        other => Err(format!("{other:?} is no role")),
    }
}
