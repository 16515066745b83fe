//! What the volume remembers: the small files under `<store root>/ha`, and what of them the core is shown.
//!
//! | file | what it holds | written |
//! |---|---|---|
//! | `identity.json` | cluster, brokerName, member, volume id | once |
//! | `session.json` | the log's unbroken life ([`SessionFile`]) | at a new life, before a start, after an orderly stop |
//! | `lineage.json` | which term wrote what, and the highest epoch ever seen | by [`agent_core::Action::Persist`] |
//! | `join.json` | the term the log was proven for; until where it is a copy in the making | by the same |
//! | `frozen.json` | the end fixed for a vacancy ([`Frozen`]) | by a freeze; removed before a start |
//! | `owner.json` | the instance that last started a broker here | before a start |
//!
//! [`crate::act::volume`] writes them.

use agent_core::observation::{Extent, Proof, Volume};
use agent_core::record::{MemberSession, TermId};
use agent_core::report::Frozen;
use agent_core::session::SessionFile;
use agent_core::{Epoch, Instance, Lineage, Member, Offset, VolumeId};
use serde::{Deserialize, Serialize};
use store::{HaDir, HaFileError};

/// Whose volume it is. Never changed once written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `brokerClusterName`.
    pub cluster: String,
    /// `brokerName`.
    pub broker: String,
    /// The member.
    pub member: Member,
    /// The volume's own name.
    pub volume: VolumeId,
}

/// `lineage.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Which term wrote what.
    pub lineage: Lineage,
    /// The highest epoch ever seen.
    pub highest: Epoch,
}

/// `join.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// The term the log was proven for.
    pub joined: Option<TermId>,
    /// The whole history is here only once the log reaches this offset.
    pub seeding: Option<Offset>,
}

/// `owner.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Who last started a broker on this volume.
    pub instance: Instance,
}

/// Names of the files.
pub mod file {
    /// [`super::Identity`].
    pub const IDENTITY: &str = "identity.json";
    /// [`super::SessionFile`].
    pub const SESSION: &str = "session.json";
    /// [`super::History`].
    pub const LINEAGE: &str = "lineage.json";
    /// [`super::Join`].
    pub const JOIN: &str = "join.json";
    /// [`super::Frozen`].
    pub const FROZEN: &str = "frozen.json";
    /// [`super::Owner`].
    pub const OWNER: &str = "owner.json";
}

/// All files as they stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// `identity.json`.
    pub identity: Option<Identity>,
    /// `session.json`.
    pub session: Option<SessionFile>,
    /// `lineage.json`; absent means lost or never written.
    pub history: Option<History>,
    /// `join.json`.
    pub join: Join,
    /// `frozen.json`.
    pub frozen: Option<Frozen>,
}

impl Files {
    /// Reads them all.
    ///
    /// # Errors
    /// A file that cannot be read or understood; it is named with a remedy.
    pub fn read(ha: &HaDir) -> Result<Self, HaFileError> {
        Ok(Self {
            identity: ha.read(file::IDENTITY)?,
            session: ha.read(file::SESSION)?,
            history: ha.read(file::LINEAGE)?,
            join: ha.read(file::JOIN)?.unwrap_or_default(),
            frozen: ha.read(file::FROZEN)?,
        })
    }
}

/// What is known about the volume beside its files; lost with the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// The log as the last walk found it; absent while a broker runs.
    pub extent: Option<Extent>,
    /// A cut that was begun and not finished.
    pub pending_cut: Option<Offset>,
    /// The term the tail was repaired for.
    pub repaired: Option<TermId>,
    /// The last comparison with a master.
    pub proof: Option<Proof>,
}

/// The volume in the core's words; `None` until identity and session are there.
#[must_use]
pub fn volume(files: &Files, walked: &Walked) -> Option<Volume> {
    let identity = files.identity.as_ref()?;
    let session = files.session.as_ref()?;
    let history = files.history.clone().unwrap_or_default();
    Some(Volume {
        who: MemberSession {
            member: identity.member.clone(),
            session: session.session.clone(),
            volume: identity.volume.clone(),
        },
        lineage: history.lineage,
        highest_epoch: history.highest,
        extent: walked.extent,
        frozen: files.frozen.clone(),
        pending_cut: walked.pending_cut,
        repaired: walked.repaired,
        proof: walked.proof.clone(),
        joined: files.join.joined,
        seeding: files.join.seeding,
    })
}
