//! What goes wrong: a list made up front from the seed, so that a run can be told again with some of it left out.

use crate::chance::Chance;
use std::fmt;

/// Simulated time of one run, milliseconds.
pub(crate) const RUN: u64 = 30 * 60_000;
/// No fault begins after this.
const LAST: u64 = 25 * 60_000;

macro_rules! kinds {
    ($($name:ident = $text:literal,)+) => {
        /// A kind of fault, or something an operator does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Kind { $($name,)+ }

        impl Kind {
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)+];

            pub(crate) const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

kinds! {
    Crash = "broker crashes",
    CrashLoop = "broker crashes again and again",
    FailedStarts = "brokers started now crash while they recover",
    SlowStart = "brokers started now recover slowly",
    Hang = "broker hangs",
    HangBeyondKilling = "broker hangs and cannot even be killed",
    PodDies = "pod dies",
    MachineLost = "machine is lost with its unflushed pages",
    PowerLoss = "all machines lose power",
    AgentRestarts = "agent restarts",
    LauncherRestarts = "launcher restarts",
    StandsStill = "machine stands still",
    Sleeps = "machine sleeps, monotonic time with it",
    AgentFrozen = "agent is frozen",
    ContainerFrozen = "launcher and broker are frozen",
    CutOff = "API out of reach",
    ApiAway = "API away for all",
    ApiFlaps = "API answers only now and then",
    ApiRefuses = "API refuses writes",
    Alone = "others out of reach",
    OneWay = "hears nobody, is heard by all",
    Deaf = "watch is deaf",
    Stalls = "its replication stalls",
    Drift = "clocks change their rate",
    LeaseDeleted = "Lease is deleted",
    Touched = "somebody edits the Lease over and over",
    Damaged = "somebody damages the Lease over and over",
    RolledBack = "Lease is rolled back to a backup",
    Forgotten = "the only one that knows the term is lost, and the Lease rolled back behind it",
    Switchover = "switchover asked for",
    Paused = "group is paused for a while",
    Stops = "agent is asked to stop",
    EmptyVolume = "comes back with an empty volume",
    Rot = "bytes on its disk rot",
    Scaled = "group is scaled in, or out again",
    MasterDies = "the pod that serves dies",
    Behind = "one slave falls behind, another misses the next term, and its master dies",
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// When, in milliseconds of the run.
    pub(crate) at: u64,
    pub(crate) kind: Kind,
    /// Which member.
    pub(crate) who: usize,
    /// For how long, where it lasts.
    pub(crate) span: u64,
    /// What else there is to choose.
    pub(crate) coin: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = crate::machine::NAMES.get(self.who).unwrap_or(&"?");
        write!(
            f,
            "{:>5}.{:03}s {who}: {} ({} ms)",
            self.at / 1000,
            self.at % 1000,
            self.kind.text(),
            self.span
        )
    }
}

/// The faults of a seed: at least ten, some of them close together.
pub(crate) fn plan(chance: &mut Chance, members: usize) -> Vec<Fault> {
    // Each seed knows some kinds only, so that these meet each other more often.
    let mut known: Vec<Kind> = Vec::new();
    while known.len() < 4 {
        known = Kind::ALL
            .iter()
            .copied()
            .filter(|_| chance.often(40))
            .collect();
    }
    let count = chance.range(10, 16);
    let mut at = chance.range(5_000, 60_000);
    let mut faults = Vec::new();
    for n in 0..count {
        let span = match chance.range(0, 9) {
            0..=2 => chance.range(100, 2_500),
            3..=7 => chance.range(2_000, 14_000),
            _ => chance.range(10_000, 40_000),
        };
        let kind = known.get(chance.index(known.len())).copied();
        faults.push(Fault {
            at,
            kind: kind.unwrap_or(Kind::Crash),
            who: chance.index(members),
            span,
            coin: chance.next(),
        });
        let rest = (LAST.saturating_sub(at)) / (count - n);
        at += if chance.often(55) {
            chance.range(100, 9_000)
        } else {
            chance.range(9_000, rest.max(10_000) * 2)
        };
        at = at.min(LAST);
    }
    faults
}
