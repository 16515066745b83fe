//! One member: its volume, its launcher with the broker, its agent, and the ways to the others.

use crate::msg::Log;
use crate::time;
use agent_core::action::LeaseWrite;
use agent_core::ids::{Epoch, Instance, Member, Session, VolumeId};
use agent_core::observation::{
    EndCause, Gate, LeaseSeen, Process, Reading, Upstream, Volume, WriteOutcome,
};
use agent_core::record::{MemberSession, TermId};
use agent_core::report::{Report, Role};
use agent_core::time::Boot;
use agent_core::{Lineage, Offset, State};
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The machine as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Power {
    On,
    /// Everything on it stands still.
    Still,
    /// The pod is gone.
    Off,
}

/// The agent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) enum Mind {
    Awake(Box<State>),
    Frozen(Box<State>),
    Away,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Way {
    Open,
    Cut,
}

/// A running broker.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Jvm {
    pub(crate) role: Role,
    pub(crate) term: TermId,
    pub(crate) instance: Instance,
    pub(crate) permit: Boot,
    pub(crate) up: bool,
    pub(crate) recovered: Offset,
    pub(crate) gate: Gate,
}

/// A Lease write on its way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Request {
    pub(crate) write: LeaseWrite,
    pub(crate) sent: Boot,
    /// Its sender has given it up, or is gone.
    pub(crate) told: bool,
    /// It will not land any more.
    pub(crate) dead: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Machine {
    pub(crate) name: Member,
    pub(crate) power: Power,
    pub(crate) mind: Mind,
    /// Lives of the launcher.
    pub(crate) life: u32,
    /// Lives of the log.
    pub(crate) lives: u32,
    pub(crate) api: Way,
    pub(crate) peers: Way,
    pub(crate) view: Reading<LeaseSeen>,
    pub(crate) outcome: Option<WriteOutcome>,
    pub(crate) requests: Vec<Request>,
    pub(crate) jvm: Option<Jvm>,
    pub(crate) ended: Option<(Role, TermId, EndCause)>,
    pub(crate) admitted: Option<(TermId, BTreeSet<MemberSession>)>,
    pub(crate) attached: Option<(TermId, usize, Instance)>,
    pub(crate) upstream: Upstream,
    /// Bytes come from there.
    pub(crate) link: Option<usize>,
    pub(crate) volume: Volume,
    pub(crate) log: Log,
    pub(crate) archived: Vec<crate::msg::Msg>,
    pub(crate) report: Option<Arc<Report>>,
    /// The last write of a held Lease that landed, and when it was sent (J5).
    pub(crate) landed: Option<(TermId, Boot)>,
    /// Elections tried in this term.
    pub(crate) tries: u64,
    /// Something it sees changed since it thought.
    pub(crate) news: bool,
}

impl Machine {
    pub(crate) fn new(name: &str) -> Self {
        let name = Member::from(name);
        let who = MemberSession {
            session: Session::new(format!("{name}1")),
            volume: VolumeId::new(name.as_str()),
            member: name.clone(),
        };
        Self {
            name,
            power: Power::On,
            mind: Mind::Awake(Box::default()),
            life: 1,
            lives: 1,
            api: Way::Open,
            peers: Way::Open,
            view: Reading::Unknown,
            outcome: None,
            requests: Vec::new(),
            jvm: None,
            ended: None,
            admitted: None,
            attached: None,
            upstream: Upstream::Parked,
            link: None,
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
            log: Log::default(),
            archived: Vec::new(),
            report: None,
            landed: None,
            tries: 0,
            news: true,
        }
    }

    pub(crate) fn instance(&self) -> Instance {
        Instance::new(format!("{}.{}", self.name, self.life))
    }

    /// Its agent runs.
    pub(crate) fn minds(&self) -> bool {
        self.power == Power::On && matches!(self.mind, Mind::Awake(_))
    }

    /// It will think before time passes.
    pub(crate) fn due(&self) -> bool {
        self.minds() && self.news
    }

    pub(crate) fn master(&self) -> Option<&Jvm> {
        self.jvm.as_ref().filter(|j| j.role == Role::Master)
    }

    /// Its broker answers sends.
    pub(crate) fn accepts(&self) -> bool {
        let open = |j: &Jvm| j.up && j.gate == Gate::Open;
        self.power == Power::On && self.master().is_some_and(open)
    }

    pub(crate) fn process(&self) -> Process {
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

    /// The broker process is gone.
    pub(crate) fn ends(&mut self, why: EndCause) {
        if let Some(jvm) = self.jvm.take() {
            self.ended = Some((jvm.role, jvm.term, why));
            self.attached = None;
            self.upstream = Upstream::Parked;
            self.news = true;
        }
    }

    /// What the launcher does when it looks at the clock.
    pub(crate) fn obey_permit(&mut self, late: std::time::Duration) {
        let now = time::now().boot;
        let over = self.jvm.as_ref().is_some_and(|j| match j.role {
            Role::Master => now >= j.permit.plus(late),
            Role::Slave => now >= j.permit,
        });
        if over && self.power == Power::On {
            self.ends(EndCause::Fenced);
        }
    }

    /// Whether its broker is on its way up.
    pub(crate) fn starts(&self) -> bool {
        self.power == Power::On && self.jvm.as_ref().is_some_and(|j| !j.up)
    }

    /// The broker has recovered its log, and answers.
    pub(crate) fn come_up(&mut self) {
        let (starts, end) = (self.starts(), self.log.end());
        if let Some(jvm) = self.jvm.as_mut().filter(|_| starts) {
            (jvm.up, jvm.recovered) = (true, end);
            self.news = true;
        }
    }

    pub(crate) fn forget_walk(&mut self) {
        self.volume.extent = None;
        self.volume.repaired = None;
        self.volume.proof = None;
    }

    /// Another life of its log begins (H25).
    pub(crate) fn new_session(&mut self) {
        self.lives += 1;
        self.volume.who.session = Session::new(format!("{}{}", self.name, self.lives));
    }

    /// The agent's process is gone.
    pub(crate) fn forget_mind(&mut self) {
        self.mind = Mind::Away;
        self.view = Reading::Unknown;
        self.outcome = None;
        self.report = None;
        self.forget_walk();
        for request in &mut self.requests {
            request.told = true;
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let agent = match self.mind {
            Mind::Awake(_) => "",
            Mind::Frozen(_) => " agent frozen",
            Mind::Away => " no agent",
        };
        write!(f, "{} {:?}{agent}", self.instance(), self.power)?;
        for (way, what) in [(self.api, "API"), (self.peers, "peers")] {
            if way == Way::Cut {
                write!(f, " cut from {what}")?;
            }
        }
        if let Some(j) = &self.jvm {
            let left = i128::from(j.permit.as_millis()) - i128::from(time::now().boot.as_millis());
            let (role, up) = (j.role.as_str(), if j.up { "" } else { " starting" });
            write!(f, " {role} of {}{up} {:?} for {left} ms", j.term, j.gate)?;
        }
        write!(f, " log")?;
        for msg in self.log.all() {
            write!(f, " {}.{}", msg.term, msg.n)?;
        }
        if !self.requests.is_empty() {
            write!(f, " {} requests", self.requests.len())?;
        }
        Ok(())
    }
}
