//! Why a decision was taken. The same word in the log, the Event, the metric and on the command line.

use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal : $text:literal),+ $(,)?) => {
        /// Why.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Reason { $($(#[$doc])* #[doc = $text] $name,)+ }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The word for logs, metrics and scenarios.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// One sentence for people.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

reasons! {
    LeaseUnknown = "lease_unknown": "The group Lease has not been read yet, or not lately.",
    LeaseStranger = "lease_stranger": "The Lease under this name belongs to another group: rename one of them.",
    LeaseNewer = "lease_newer": "The Lease was written by a newer version: this agent only watches; upgrade it.",
    LeaseHeld = "lease_held": "Another member holds the Lease.",
    LeaseSilent = "lease_silent": "The holder has not renewed; the wait is running.",
    LeaseLost = "lease_lost": "The Lease no longer names this term: its broker is stopped.",
    LauncherUnknown = "launcher_unknown": "The launcher does not answer: nothing can be started or proven stopped.",
    VolumeUnknown = "volume_unknown": "The volume has not been examined.",
    JobRunning = "job_running": "Work on the volume is under way.",
    WriteUnsettled = "write_unsettled": "A Lease write is under way or its outcome is not known.",
    Paused = "paused": "The group is paused: no elections, switchovers or cuts.",
    Freezing = "freezing": "The broker is stopped and its log end is being fixed for the vacancy.",
    Collecting = "collecting": "Waiting for the other members' frozen ends.",
    NotElectable = "not_electable": "This member may not stand.",
    NoCandidate = "no_candidate": "No member that answered may be elected.",
    BetterCandidate = "better_candidate": "Another member ranks before this one and is given its time.",
    TargetFirst = "target_first": "The release named another member, which goes first.",
    MembersMissing = "members_missing": "No Lease, and not all expected members have answered.",
    Acquire = "acquire": "This member takes the Lease.",
    InPlace = "in_place": "The master's process died on a log that lost nothing: it is started again in place.",
    Opening = "opening": "The promotion is under way.",
    OpeningFailed = "opening_failed": "The promotion failed; the Lease is given back.",
    StartMismatch = "start_mismatch": "The broker recovered to another log end than the term claimed.",
    OpeningTimeout = "opening_timeout": "The broker did not come up in time.",
    Serving = "serving": "Serving as master.",
    Renew = "renew": "The Lease is renewed.",
    PermitEnding = "permit_ending": "The Lease could not be renewed in time: the broker is stopped before anyone may take over.",
    BrokerHung = "broker_hung": "The broker shows no sign of life any more: it is killed, and that counts as a crash.",
    CrashLoop = "crash_loop": "The broker crashed too often: another member shall try.",
    Following = "following": "Following the master.",
    WaitingForMaster = "waiting_for_master": "The master is not serving yet.",
    WaitingForAnswer = "waiting_for_answer": "The master's agent has not answered.",
    HistoryForked = "history_forked": "Our history and the group's use one epoch for two terms, as after an etcd restore: we follow once the holder answers, giving up what we alone have (archived); at QoS 2 save our newer messages and give this member an empty volume.",
    TermChanged = "term_changed": "A new term began: the broker is stopped and its log proven again.",
    Proving = "proving": "Our log is compared with the master's.",
    Cutting = "cutting": "Our log has bytes that the group does not share: they are archived and cut.",
    Reseed = "reseed": "Our log shares nothing with the master's: it is set aside and filled anew.",
    Joining = "joining": "The history is written down and the broker started as slave.",
    Switchover = "switchover": "A planned switchover is under way.",
    SwitchoverTarget = "switchover_target": "The target of the switchover is not a member that can take over now.",
    SwitchoverLag = "switchover_lag": "The target of the switchover lags too far behind.",
    SwitchoverTimeout = "switchover_timeout": "The switchover did not finish in its time; nothing was released.",
    SwitchoverStale = "switchover_stale": "The switchover request was meant for another term.",
    Stopping = "stopping": "The agent is asked to stop.",
    Stopped = "stopped": "This member is stopped.",
    Released = "released": "The Lease was given up.",
    Repairing = "repairing": "The log's tail is made clean before the start.",
    GateOpening = "gate_opening": "The gate is opened.",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
