//! What breaks, and how it is mended.

use crate::machine::{Machine, Mind, Power, Way};
use crate::world::World;
use agent_core::observation::{EndCause, Upstream};
use serde::Serialize;
use std::time::Duration;

/// A fault of one member. Where its broker serves, a message is answered just before that nobody else has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Fault {
    /// The pod is gone: agent, launcher, broker.
    Crash,
    /// The machine loses its power, and the last message with its unflushed pages.
    PowerLoss,
    /// The broker process dies.
    JvmDies,
    /// The agent's process dies; launcher and broker live on.
    AgentDies,
    /// The agent stands still.
    AgentFreezes,
    /// The whole member stands still.
    Pause,
    /// The API server is out of reach.
    CutFromApi,
    /// The other members are out of reach, both ways.
    CutFromPeers,
}

impl Fault {
    /// All kinds.
    pub const ALL: &[Self] = &[
        Self::Crash,
        Self::PowerLoss,
        Self::JvmDies,
        Self::AgentDies,
        Self::AgentFreezes,
        Self::Pause,
        Self::CutFromApi,
        Self::CutFromPeers,
    ];
}

/// What is mended, at any time and for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Mend {
    /// Another pod.
    Pod,
    /// Another agent.
    Agent,
    /// The agent goes on.
    ThawAgent,
    /// The member goes on.
    Thaw,
    /// The API server is reached again.
    Api,
    /// The others are reached again.
    Peers,
}

impl World {
    pub(crate) fn can(&self, i: usize, fault: Fault) -> bool {
        let m = &self.machines[i];
        let on = m.power == Power::On;
        match fault {
            Fault::Crash => m.power != Power::Off,
            Fault::PowerLoss => m.power != Power::Off && !m.log.all().is_empty(),
            Fault::JvmDies => on && m.jvm.is_some(),
            Fault::AgentDies => on && !matches!(m.mind, Mind::Away),
            Fault::AgentFreezes => on && matches!(m.mind, Mind::Awake(_)),
            Fault::Pause => on,
            Fault::CutFromApi => m.power != Power::Off && m.api == Way::Open,
            Fault::CutFromPeers => m.power != Power::Off && m.peers == Way::Open,
        }
    }

    pub(crate) fn strike(&mut self, i: usize, fault: Fault) {
        self.faults += 1;
        let m = &mut self.machines[i];
        match fault {
            Fault::Crash => {
                self.answer_one_more(i);
                self.machines[i].crash();
            }
            Fault::PowerLoss => {
                let lost = m.log.lose();
                m.crash();
                m.new_session();
                let kept = |m: &Machine| lost.is_some_and(|l| m.log.all().contains(&l));
                if let Some(lost) = lost.filter(|_| !self.machines.iter().any(kept)) {
                    self.written.remove(&lost);
                }
            }
            Fault::JvmDies => {
                self.answer_one_more(i);
                self.machines[i].ends(EndCause::Crashed);
            }
            Fault::AgentDies => m.forget_mind(),
            Fault::AgentFreezes => {
                if let Mind::Awake(state) = std::mem::replace(&mut m.mind, Mind::Away) {
                    m.mind = Mind::Frozen(state);
                }
            }
            Fault::Pause => {
                self.answer_one_more(i);
                self.machines[i].power = Power::Still;
            }
            Fault::CutFromApi => m.api = Way::Cut,
            Fault::CutFromPeers => {
                self.answer_one_more(i);
                self.machines[i].peers = Way::Cut;
            }
        }
        self.machines[i].news = true;
        self.tell_others(i);
    }

    /// A message that is not replicated any more.
    fn answer_one_more(&mut self, i: usize) {
        let m = &mut self.machines[i];
        if m.accepts()
            && let Some(term) = m.master().map(|j| j.term)
        {
            let msg = m.log.append(term);
            self.written.insert(msg);
        }
    }

    pub(crate) fn mends(&self, i: usize) -> Vec<Mend> {
        let m = &self.machines[i];
        let on = m.power == Power::On;
        let all = [
            (m.power == Power::Off, Mend::Pod),
            (m.power == Power::Still, Mend::Thaw),
            (on && matches!(m.mind, Mind::Away), Mend::Agent),
            (on && matches!(m.mind, Mind::Frozen(_)), Mend::ThawAgent),
            (m.api == Way::Cut, Mend::Api),
            (m.peers == Way::Cut, Mend::Peers),
        ];
        let due = all.into_iter().filter(|(due, _)| *due);
        due.map(|(_, mend)| mend).collect()
    }

    pub(crate) fn mend(&mut self, i: usize, mend: Mend) {
        let m = &mut self.machines[i];
        match mend {
            Mend::Pod => {
                m.power = Power::On;
                m.life += 1;
                m.mind = Mind::Awake(Box::default());
            }
            Mend::Agent => m.mind = Mind::Awake(Box::default()),
            Mend::ThawAgent => {
                if let Mind::Frozen(state) = std::mem::replace(&mut m.mind, Mind::Away) {
                    m.mind = Mind::Awake(state);
                }
            }
            Mend::Thaw => {
                m.power = Power::On;
                // The launcher's timer comes first.
                m.obey_permit(Duration::ZERO);
            }
            Mend::Api => m.api = Way::Open,
            Mend::Peers => m.peers = Way::Open,
        }
        self.machines[i].news = true;
        self.tell_others(i);
    }
}

impl Machine {
    pub(crate) fn crash(&mut self) {
        self.forget_mind();
        self.power = Power::Off;
        self.jvm = None;
        self.ended = None;
        self.admitted = None;
        self.attached = None;
        self.upstream = Upstream::Parked;
        self.link = None;
    }
}
