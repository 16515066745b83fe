//! Jobs on the volume of a stopped broker, one at a time, each on a blocking thread.
//!
//! The [`Keeper`] holds the volume's lock for the life of the process. What a job found is shown at its end as one new
//! [`Volume`]; a job that failed shows nothing new. The core orders jobs only while the launcher says that no broker
//! lives; [`Keeper::before_start`] forgets what a running broker would make untrue.

use std::sync::{Mutex, PoisonError};

use agent_core::observation::{Extent, Proof, Reading, Volume};
use agent_core::record::{TermId, Tuple};
use agent_core::report::Frozen;
use agent_core::session::{SessionFile, unbroken};
use agent_core::{Epoch, Instance, Lineage, Member, Offset, Session, VolumeId};
use store::{LastRecord, Layout, Store, StoreError, StoreLock};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::observe::volume::{Files, History, Identity, Join, Owner, Walked, file, volume};
use crate::peer::PeerError;

/// The piece of log that one checksum stands for when two logs are compared.
pub const BLOCK: u64 = 64 * 1024;

/// How many pieces are asked for at once.
pub const BLOCKS: u64 = 256;

/// Work on the volume.
#[derive(Clone, Debug, PartialEq)]
pub enum Job {
    /// Walk the log; settle the session; finish what a dead predecessor began.
    Examine,
    /// Write the log's end down for a vacancy.
    Freeze {
        /// Which.
        vacancy: Tuple,
    },
    /// Make the tail clean before a start as master.
    Repair {
        /// The term that starts there.
        term: TermId,
        /// The log end it claimed.
        end: Offset,
    },
    /// Compare our bytes with a master's.
    Prove {
        /// Under which term.
        term: TermId,
        /// Whose.
        holder: Member,
        /// First byte.
        from: Offset,
        /// Behind the last byte.
        upto: Offset,
    },
    /// Archive and cut.
    Cut {
        /// Under which term.
        term: TermId,
        /// What is kept.
        to: Offset,
        /// What is there.
        end: Offset,
    },
    /// Write the history down.
    Persist {
        /// The history.
        history: History,
        /// The log's standing.
        join: Join,
    },
}

impl Job {
    /// The job's name in logs and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Examine => "examine",
            Self::Freeze { .. } => "freeze",
            Self::Repair { .. } => "repair",
            Self::Prove { .. } => "prove",
            Self::Cut { .. } => "cut",
            Self::Persist { .. } => "persist",
        }
    }
}

/// Another member's log, as far as it can be compared.
pub trait CrcSource: Send {
    /// The CRC-32 of each piece of `block` bytes in `from..upto` of a member's log; the last piece may be shorter.
    /// Blocks the thread.
    ///
    /// # Errors
    /// No sound answer in time.
    fn blocks(
        &self,
        member: &Member,
        from: u64,
        upto: u64,
        block: u64,
    ) -> Result<Vec<u32>, PeerError>;
}

/// Who works on which volume.
#[derive(Clone, Debug)]
pub struct Owned {
    /// `brokerClusterName`.
    pub cluster: String,
    /// `brokerName`.
    pub broker: String,
    /// This member.
    pub member: Member,
    /// This boot of the machine.
    pub boot_id: String,
    /// Our clocks.
    pub clock: Clock,
}

/// Why a job was not done.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// One of our files.
    #[error(transparent)]
    File(#[from] store::HaFileError),
    /// The volume is somebody else's.
    #[error(
        "use the volume at {path}: it belongs to {found}, this is {expected}; give each member a volume of its own, \
         or move the file away if the member was renamed on purpose"
    )]
    Foreign {
        /// The identity file.
        path: String,
        /// Whose it is.
        found: String,
        /// Who we are.
        expected: String,
    },
    /// The log is not what the order was decided on.
    #[error(
        "{job} the log: it ends at {found}, the order was for {expected}; a new walk decides again"
    )]
    Moved {
        /// Which job.
        job: &'static str,
        /// What is there.
        found: u64,
        /// What was expected.
        expected: u64,
    },
    /// The other member did not help.
    #[error("compare the log with {member}'s")]
    Peer {
        /// Who.
        member: Member,
        /// Why not.
        source: PeerError,
    },
    /// Its answer does not fit the question.
    #[error("compare the log with {member}'s: {found} checksums came for {asked} pieces")]
    Count {
        /// Who.
        member: Member,
        /// How many were asked for.
        asked: u64,
        /// How many came.
        found: usize,
    },
    /// No random bytes.
    #[error("draw a random name: {0}")]
    Random(getrandom::Error),
}

/// Works on this member's volume.
pub struct Keeper {
    owned: Owned,
    layout: Layout,
    work: Mutex<Work>,
    seen: watch::Sender<Reading<Volume>>,
}

#[derive(Default)]
struct Work {
    lock: Option<StoreLock>,
    files: Files,
    walked: Walked,
    hint: Option<LastRecord>,
    /// The session was judged against this boot and the walked end.
    settled: bool,
    /// The end of the last walk: what a slave's relay may begin with.
    last_end: Option<Offset>,
}

impl Keeper {
    /// A keeper of the store laid out so. Reads the files if the volume is ours; a first walk comes as a job.
    #[must_use]
    pub fn new(owned: Owned, layout: Layout) -> (Self, watch::Receiver<Reading<Volume>>) {
        let (seen, receiver) = watch::channel(Reading::Unknown);
        let keeper = Self {
            owned,
            layout,
            work: Mutex::default(),
            seen,
        };
        {
            let mut work = keeper.work();
            if let Err(error) = keeper.adopt(&mut work) {
                warn!(error = %crate::error_chain(&error), "volume not read");
            }
        }
        (keeper, receiver)
    }

    /// Does a job. Blocks.
    ///
    /// # Errors
    /// [`VolumeError`]; the volume's reading is then [`Reading::Unknown`] if the job was an examination, else what it was.
    pub fn run(&self, job: &Job, others: &dyn CrcSource) -> Result<(), VolumeError> {
        let mut work = self.work();
        let done = self.work_on(&mut work, job, others);
        if done.is_err() {
            self.after_failure(&mut work, job);
        }
        done
    }

    /// A job that failed half-way may have left a cut to be finished, and a walk that is no longer true.
    fn after_failure(&self, work: &mut Work, job: &Job) {
        if matches!(job, Job::Examine) {
            self.seen.send_replace(Reading::Unknown);
            return;
        }
        let store = Store::open(self.layout.clone());
        if let Ok(Some(pending)) = store.and_then(|store| store.pending_cut()) {
            work.walked = Walked {
                pending_cut: Some(Offset::new(pending.to)),
                ..Walked::default()
            };
            self.show(work);
        }
    }

    /// A broker is about to be started: what it will change is forgotten, on the disk too. Blocks.
    ///
    /// # Errors
    /// The volume cannot be written; the broker must not be started then.
    pub fn before_start(&self, instance: &Instance) -> Result<(), VolumeError> {
        let mut work = self.work();
        let store = self.open(&mut work)?;
        let ha = store.ha();
        ha.remove(file::FROZEN)?;
        if let Some(session) = &mut work.files.session {
            session.clean = None;
            session.boot_id.clone_from(&self.owned.boot_id);
            ha.write(file::SESSION, session)?;
        }
        let owner = Owner {
            instance: instance.clone(),
        };
        ha.write(file::OWNER, &owner)?;
        work.files.frozen = None;
        work.walked = Walked::default();
        self.show(&work);
        Ok(())
    }

    /// The broker stopped in order and nothing will follow: the log's life outlasts a reboot from here. Blocks.
    ///
    /// # Errors
    /// The volume cannot be walked or written; the life then ends with this boot.
    pub fn mark_clean(&self) -> Result<(), VolumeError> {
        let mut work = self.work();
        let store = self.open(&mut work)?;
        if store.unclean() {
            return Ok(());
        }
        let end = self.walk(&mut work, &store)?.end;
        if let Some(session) = &mut work.files.session {
            session.clean = Some(end);
            store.ha().write(file::SESSION, session)?;
        }
        Ok(())
    }

    /// Where the log ended when it was last walked.
    #[must_use]
    pub fn last_end(&self) -> Option<Offset> {
        self.work().last_end
    }

    /// What the last walk found at the end of the log: where it ended, and where its last record begins if it has one.
    /// `None` while a job is at work.
    #[must_use]
    pub fn last_record(&self) -> Option<(Offset, Option<Offset>)> {
        let work = self.work.try_lock().ok()?;
        let last = work.hint.map(|hint| Offset::new(hint.offset));
        Some((work.last_end?, last))
    }

    /// Where the store is.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    fn work(&self) -> std::sync::MutexGuard<'_, Work> {
        // A panicking job is a bug; what it left is judged again by the next walk.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, work: &Work) {
        let reading = volume(&work.files, &work.walked).map_or(Reading::Unknown, |volume| {
            Reading::known(volume, self.owned.clock.tick())
        });
        self.seen.send_replace(reading);
    }

    fn open(&self, work: &mut Work) -> Result<Store, VolumeError> {
        let store = Store::open(self.layout.clone())?;
        if work.lock.is_none() {
            work.lock = Some(store.lock()?);
        }
        Ok(store)
    }

    /// Reads what a predecessor wrote, if the volume was ever used.
    fn adopt(&self, work: &mut Work) -> Result<(), VolumeError> {
        let ha = store::HaDir::of(&self.layout.root);
        let files = Files::read(&ha)?;
        let Some(identity) = &files.identity else {
            return Ok(());
        };
        self.is_ours(identity)?;
        let store = self.open(work)?;
        work.files = files;
        // A cut that a dead predecessor began comes before anything else: no end is fixed on a half-cut log.
        work.walked.pending_cut = store.pending_cut()?.map(|pending| Offset::new(pending.to));
        self.show(work);
        Ok(())
    }

    fn is_ours(&self, identity: &Identity) -> Result<(), VolumeError> {
        let Owned {
            cluster,
            broker,
            member,
            ..
        } = &self.owned;
        if identity.cluster == *cluster && identity.broker == *broker && identity.member == *member
        {
            return Ok(());
        }
        let path = self.layout.root.join("ha").join(file::IDENTITY);
        Err(VolumeError::Foreign {
            path: path.display().to_string(),
            found: format!(
                "{}/{} member {}",
                identity.cluster, identity.broker, identity.member
            ),
            expected: format!("{cluster}/{broker} member {member}"),
        })
    }

    fn work_on(
        &self,
        work: &mut Work,
        job: &Job,
        others: &dyn CrcSource,
    ) -> Result<(), VolumeError> {
        let store = self.open(work)?;
        match job {
            Job::Examine => self.examine(work, &store)?,
            Job::Freeze { vacancy } => self.freeze(work, &store, vacancy)?,
            Job::Repair { term, end } => self.repair(work, &store, *term, *end)?,
            Job::Prove {
                term,
                holder,
                from,
                upto,
            } => {
                let equal = compare(&store, others, holder, from.get(), upto.get())?;
                work.walked.proof = Some(Proof {
                    term: *term,
                    upto: *upto,
                    equal: Offset::new(equal),
                });
            }
            Job::Cut { term, to, end } => self.cut(work, &store, *term, *to, *end)?,
            Job::Persist { history, join } => {
                store.ha().write(file::LINEAGE, history)?;
                work.files.history = Some(history.clone());
                store.ha().write(file::JOIN, join)?;
                work.files.join = join.clone();
            }
        }
        self.show(work);
        Ok(())
    }

    fn examine(&self, work: &mut Work, store: &Store) -> Result<(), VolumeError> {
        let files = Files::read(store.ha())?;
        if let Some(identity) = &files.identity {
            self.is_ours(identity)?;
        }
        work.files = files;
        if work.files.identity.is_none() {
            self.found(work, store)?;
        }
        if let Some(pending) = store.pending_cut()? {
            work.walked.pending_cut = Some(Offset::new(pending.to));
            self.renew_session(work, store, "an unfinished cut")?;
            if let Some(report) = store.resume_cut(self.lock(work)?)? {
                warn!(
                    ?report,
                    "an unfinished cut was finished; what was cut is archived"
                );
            }
        }
        work.walked = Walked::default();
        work.hint = None;
        self.walk(work, store)?;
        Ok(())
    }

    /// The first use of a volume. The lineage file comes before the session file: a session without it has lost it.
    fn found(&self, work: &mut Work, store: &Store) -> Result<(), VolumeError> {
        let identity = Identity {
            cluster: self.owned.cluster.clone(),
            broker: self.owned.broker.clone(),
            member: self.owned.member.clone(),
            volume: VolumeId::new(random(16)?),
        };
        info!(volume = %identity.volume, root = %self.layout.root.display(), "volume used for the first time");
        let history = work.files.history.clone().unwrap_or_default();
        store.ha().write(file::LINEAGE, &history)?;
        store.ha().write(file::IDENTITY, &identity)?;
        work.files.history = Some(history);
        work.files.identity = Some(identity);
        Ok(())
    }

    fn lock<'a>(&self, work: &'a Work) -> Result<&'a StoreLock, VolumeError> {
        work.lock.as_ref().ok_or_else(|| {
            VolumeError::Store(StoreError::Locked {
                path: self.layout.root.join("ha").join("lock"),
            })
        })
    }

    /// Finds the log's end, and judges the session by it once in the life of this process.
    fn walk(&self, work: &mut Work, store: &Store) -> Result<Extent, VolumeError> {
        if let Some(extent) = work.walked.extent {
            return Ok(extent);
        }
        let found = match work.hint {
            Some(hint) => store.extent_after(hint)?,
            None => store.extent()?,
        };
        work.hint = found.last;
        let extent = Extent {
            min: Offset::new(found.min),
            end: Offset::new(found.end),
        };
        if !work.settled {
            self.settle(work, store, extent.end)?;
            work.settled = true;
        }
        work.walked.extent = Some(extent);
        work.last_end = Some(extent.end);
        Ok(extent)
    }

    fn settle(&self, work: &mut Work, store: &Store, end: Offset) -> Result<(), VolumeError> {
        if work.files.identity.is_none() {
            self.found(work, store)?;
        }
        let Some(identity) = work.files.identity.clone() else {
            return Ok(());
        };
        if work.files.history.is_none() {
            let history = History::default();
            store.ha().write(file::LINEAGE, &history)?;
            work.files.history = Some(history);
            return self.renew_session(work, store, "the lineage file was lost");
        }
        let Some(session) = &work.files.session else {
            return self.renew_session(work, store, "no session yet");
        };
        let boot_id = &self.owned.boot_id;
        if !unbroken(session, &identity.member, &identity.volume, boot_id, end) {
            return self.renew_session(work, store, "bytes may have been lost since it began");
        }
        Ok(())
    }

    fn renew_session(
        &self,
        work: &mut Work,
        store: &Store,
        why: &'static str,
    ) -> Result<(), VolumeError> {
        let Some(identity) = &work.files.identity else {
            return Ok(());
        };
        let session = SessionFile {
            session: Session::new(random(8)?),
            member: identity.member.clone(),
            volume: identity.volume.clone(),
            boot_id: self.owned.boot_id.clone(),
            clean: None,
        };
        store.ha().write(file::SESSION, &session)?;
        info!(session = %session.session, why, "the log begins a new life");
        work.files.session = Some(session);
        work.settled = true;
        Ok(())
    }

    fn freeze(&self, work: &mut Work, store: &Store, vacancy: &Tuple) -> Result<(), VolumeError> {
        let end = self.walk(work, store)?.end;
        let history = work.files.history.clone().unwrap_or_default();
        let frozen = Frozen {
            vacancy: vacancy.clone(),
            end,
            last_epoch: history.lineage.last_epoch(end),
        };
        store.ha().write(file::FROZEN, &frozen)?;
        work.files.frozen = Some(frozen);
        Ok(())
    }

    fn repair(
        &self,
        work: &mut Work,
        store: &Store,
        term: TermId,
        end: Offset,
    ) -> Result<(), VolumeError> {
        let found = self.walk(work, store)?.end;
        stands("repair", found, end)?;
        let report = store.repair_tail(self.lock(work)?, term.epoch.get(), work.hint)?;
        if report.removed_bytes() {
            warn!(
                ?report,
                "stale bytes behind the log's end archived and cleared"
            );
        }
        work.walked.repaired = Some(term);
        Ok(())
    }

    fn cut(
        &self,
        work: &mut Work,
        store: &Store,
        term: TermId,
        to: Offset,
        end: Offset,
    ) -> Result<(), VolumeError> {
        let found = self.walk(work, store)?;
        stands("cut", found.end, end)?;
        // Before the cut: a crash in between must not leave the old life on a shorter log (H25).
        self.renew_session(work, store, "the log is cut")?;
        store.ha().remove(file::FROZEN)?;
        work.files.frozen = None;
        let order = store::CutOrder {
            to: to.max(found.min).get(),
            epoch: term.epoch.get(),
            why: format!(
                "the master of term {} does not have these bytes",
                term.epoch
            ),
            lost_and_found: store.lost_and_found(),
        };
        let report = store.cut(self.lock(work)?, &order)?;
        if to < found.min {
            clear(&store.layout().commitlog)?;
        }
        warn!(
            to = to.get(),
            end = end.get(),
            ?report,
            "log cut; what was cut is archived"
        );
        work.walked = Walked::default();
        work.hint = None;
        self.walk(work, store)?;
        Ok(())
    }
}

fn stands(job: &'static str, found: Offset, expected: Offset) -> Result<(), VolumeError> {
    if found == expected {
        return Ok(());
    }
    Err(VolumeError::Moved {
        job,
        found: found.get(),
        expected: expected.get(),
    })
}

/// Takes the emptied files of a log away whose beginning is no longer known: a broker then begins at 0, and gets the whole
/// history from its master.
fn clear(commitlog: &std::path::Path) -> Result<(), VolumeError> {
    let io = |action, source| {
        VolumeError::Store(StoreError::Io {
            action,
            path: commitlog.to_owned(),
            source,
        })
    };
    let files = std::fs::read_dir(commitlog).map_err(|error| io("list", error))?;
    for file in files {
        let file = file.map_err(|error| io("list", error))?;
        std::fs::remove_file(file.path()).map_err(|error| io("clear", error))?;
    }
    std::fs::File::open(commitlog)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| io("fsync", error))
}

fn random(bytes: usize) -> Result<String, VolumeError> {
    let mut raw = vec![0_u8; bytes];
    getrandom::fill(&mut raw).map_err(VolumeError::Random)?;
    Ok(raw.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Up to where our log and `holder`'s are equal in `from..upto`: `upto`, or the last record boundary before the first
/// difference.
fn compare(
    store: &Store,
    others: &dyn CrcSource,
    holder: &Member,
    from: u64,
    upto: u64,
) -> Result<u64, VolumeError> {
    let ask = |from: u64, upto: u64, block: u64| {
        let answer =
            others
                .blocks(holder, from, upto, block)
                .map_err(|source| VolumeError::Peer {
                    member: holder.clone(),
                    source,
                })?;
        let asked = (upto - from).div_ceil(block);
        if u64::try_from(answer.len()).is_ok_and(|found| found == asked) {
            return Ok(answer);
        }
        Err(VolumeError::Count {
            member: holder.clone(),
            asked,
            found: answer.len(),
        })
    };
    let mut at = from;
    while at < upto {
        let window = upto.min(at.saturating_add(BLOCK * BLOCKS));
        for theirs in ask(at, window, BLOCK)? {
            let end = window.min(at + BLOCK);
            if store.crc_of(at, end)? != theirs {
                return last_equal_boundary(store, from, at, end, |from, upto| {
                    let theirs = ask(from, upto, upto - from)?;
                    Ok(theirs.first() == Some(&store.crc_of(from, upto)?))
                });
            }
            at = end;
        }
    }
    Ok(upto)
}

/// The last record boundary up to which the logs are equal, given that they are equal up to `at` and differ before
/// `end`; `from` when there is none.
fn last_equal_boundary(
    store: &Store,
    from: u64,
    at: u64,
    end: u64,
    mut equal: impl FnMut(u64, u64) -> Result<bool, VolumeError>,
) -> Result<u64, VolumeError> {
    let start = store.boundary_at_or_below(at)?.max(from);
    let mut candidates = Vec::new();
    for boundary in store.boundaries(start, end)? {
        candidates.push(boundary?);
    }
    // Those up to `at` are equal already; of the rest, "equal up to here" is true for a first part and false after it.
    let mut low = candidates.partition_point(|boundary| *boundary <= at);
    let mut high = candidates.len();
    while low < high {
        let middle = low + (high - low) / 2;
        let Some(boundary) = candidates.get(middle) else {
            break;
        };
        if equal(start, *boundary)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low
        .checked_sub(1)
        .and_then(|index| candidates.get(index))
        .copied()
        .unwrap_or(from))
}

/// The history and standing that the core asks to be written.
#[must_use]
pub fn persist(
    lineage: Lineage,
    highest: Epoch,
    joined: Option<TermId>,
    seeding: Option<Offset>,
) -> Job {
    Job::Persist {
        history: History { lineage, highest },
        join: Join { joined, seeding },
    }
}
