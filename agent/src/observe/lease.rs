//! The group Lease, as last seen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_core::Tick;
use agent_core::ids::Rv;
use agent_core::observation::{LeaseSeen, Reading};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use kube_access::{ApiError, Failure, IDLE, Objects, Sight, chain};
use tokio::sync::{Notify, watch};
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::kubernetes::ApiCounter;
use crate::names::GroupNames;
use crate::record_codec;

/// Between two readings on demand.
const READ_PAUSE: Duration = Duration::from_millis(200);
/// The same while they are forbidden.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(1);

/// The newest view of the group Lease, fed by a watch, by reads on demand and by our own writes.
#[derive(Clone)]
pub struct LeaseView {
    shared: Arc<Shared>,
}

struct Shared {
    api: Api<Lease>,
    names: GroupNames,
    clock: Clock,
    counter: ApiCounter,
    limit: Duration,
    known: Mutex<Known>,
    publish: watch::Sender<Reading<LeaseSeen>>,
    read: Notify,
    again: Notify,
}

/// What is known, and how an answer that took its time is told from what was heard meanwhile.
#[derive(Default)]
struct Known {
    object: Option<Lease>,
    /// The newest version that is known to have been, that of a deletion included: an event below it is late.
    newest: Option<Rv>,
    /// Counts what came in unasked: events, and what our own writes returned.
    heard: u64,
    /// When the list under way was asked for, and at which count.
    asked: (Tick, u64),
    /// The last complaints about requests, so that they are made once.
    complaint: String,
    /// What was wrong with the record at the last look, so that it is said once.
    damage: Option<String>,
}

impl Known {
    /// Takes what an event or an own write brought, unless something newer is known. A group that is restored from a
    /// backup has lower numbers again: no watch and no write survives that, and [`Known::answer`] takes them as they are.
    fn hear(&mut self, version: Option<Rv>, object: Option<Lease>) -> bool {
        if version
            .zip(self.newest)
            .is_some_and(|(new, known)| new < known)
        {
            return false;
        }
        self.heard += 1;
        self.newest = version.or(self.newest);
        self.object = object;
        true
    }

    /// Takes the answer to a question that was asked at `count`, unless it may be older than what was heard since.
    fn answer(&mut self, count: u64, object: Option<Lease>) -> bool {
        let version = object.as_ref().and_then(record_codec::version);
        let overtaken = count != self.heard && version.is_none_or(|new| Some(new) < self.newest);
        if !overtaken {
            self.newest = version;
            self.object = object;
        }
        !overtaken
    }
}

/// Starts watching the group Lease. The returned future runs until it is dropped.
pub fn observe(
    client: Client,
    namespace: &str,
    names: GroupNames,
    clock: Clock,
    counter: ApiCounter,
    limit: Duration,
) -> (LeaseView, impl Future<Output = ()> + Send + 'static) {
    let (publish, _) = watch::channel(Reading::Unknown);
    let shared = Arc::new(Shared {
        api: Api::namespaced(client, namespace),
        names,
        clock,
        counter,
        limit,
        known: Mutex::default(),
        publish,
        read: Notify::new(),
        again: Notify::new(),
    });
    let view = LeaseView {
        shared: shared.clone(),
    };
    let task = async move {
        let watching = shared.watch();
        let reading = shared.reads();
        tokio::join!(watching, reading);
    };
    (view, task)
}

impl LeaseView {
    /// The view, and its changes.
    pub fn subscribe(&self) -> watch::Receiver<Reading<LeaseSeen>> {
        self.shared.publish.subscribe()
    }

    /// Asks for a read now. Several wishes while one is under way are one.
    pub fn refresh(&self) {
        self.shared.read.notify_one();
    }

    /// The object as last seen, to be changed and written back.
    pub fn object(&self) -> Option<Lease> {
        self.shared.known().object.clone()
    }

    /// Puts in what our own write returned. The watch may have told of something newer already: then that stays.
    pub fn committed(&self, object: Lease) {
        let mut known = self.shared.known();
        if known.hear(record_codec::version(&object), Some(object)) {
            let now = self.shared.clock.tick();
            self.shared.show(&mut known, now);
        }
    }

    /// The Lease's API and the deadline of a request.
    pub(crate) fn api(&self) -> (&Api<Lease>, &ApiCounter, Duration) {
        (&self.shared.api, &self.shared.counter, self.shared.limit)
    }

    /// The group's names.
    pub fn names(&self) -> &GroupNames {
        &self.shared.names
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing here panics while it holds the lock; a poisoned view is still the last one.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn watch(&self) {
        let objects = Objects {
            api: self.api.clone(),
            resource: "leases",
            labels: None,
            fields: Some(format!("metadata.name={}", self.names.lease)),
            limit: self.limit,
            idle: IDLE,
            counter: self.counter.clone(),
        };
        objects.follow(&self.again, |sight| self.take(sight)).await;
    }

    fn take(&self, sight: Sight<Lease>) {
        let mut known = self.known();
        let now = self.clock.tick();
        match sight {
            Sight::Asking => known.asked = (now, known.heard),
            Sight::All(items) => {
                let (at, count) = known.asked;
                if known.answer(count, items.into_iter().next()) {
                    self.show(&mut known, at);
                } else {
                    self.again.notify_one();
                }
            }
            Sight::Changed(lease) => {
                if known.hear(record_codec::version(&lease), Some(lease)) {
                    self.show(&mut known, now);
                }
            }
            Sight::Gone(lease) => {
                if known.hear(record_codec::version(&lease), None) {
                    self.show(&mut known, now);
                }
            }
            // A bookmark says how far the watch is, not how far the server is: the view is no fresher for it.
            Sight::Current => {}
        }
    }

    /// Reads on demand, at most every [`READ_PAUSE`]; more rarely while it is forbidden, which only a person changes.
    async fn reads(&self) {
        let mut forbidden = false;
        loop {
            self.read.notified().await;
            match self.read_once().await {
                Ok(()) => forbidden = false,
                Err(error) if error.failure() == Failure::Forbidden => {
                    // Said once: this is asked again for as long as it is needed.
                    if !std::mem::replace(&mut forbidden, true) {
                        let remedy = "grant get in the Role, or no group can form";
                        warn!(error = %chain(&error), remedy, "the group Lease may not be read");
                    }
                }
                Err(error) => debug!(error = %chain(&error), "the group Lease could not be read"),
            }
            let pause = if forbidden {
                FORBIDDEN_PAUSE
            } else {
                READ_PAUSE
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn read_once(&self) -> Result<(), ApiError> {
        let (at, count) = (self.clock.tick(), self.known().heard);
        let request = self.api.get_opt(&self.names.lease);
        let call = self.counter.call("get", "leases", self.limit, request);
        let object = call.await?;
        let mut known = self.known();
        let before = version(known.object.as_ref()).cloned();
        if !known.answer(count, object) {
            self.read.notify_one();
            return Ok(());
        }
        if version(known.object.as_ref()) != before.as_ref() {
            // The watch did not tell: it is behind, or dead.
            self.again.notify_one();
        }
        self.show(&mut known, at);
        Ok(())
    }

    fn show(&self, known: &mut Known, at: Tick) {
        let mut said: Vec<String> = Vec::new();
        let seen = record_codec::see(known.object.as_ref(), &self.names, &mut |line| {
            said.push(line);
        });
        let said = said.join("; ");
        if !said.is_empty() && said != known.complaint {
            warn!(
                lease = self.names.lease,
                request = said,
                "a request on the Lease cannot be read"
            );
        }
        known.complaint = said;
        let damage = match &seen {
            LeaseSeen::Damaged { why, .. } => Some(why.clone()),
            LeaseSeen::Absent
            | LeaseSeen::Stranger { .. }
            | LeaseSeen::Newer { .. }
            | LeaseSeen::Record { .. } => None,
        };
        if let Some(why) = damage.as_ref().filter(|_| damage != known.damage) {
            warn!(
                lease = self.names.lease,
                why,
                "the Lease's record is not sound and gives nobody rights: its holder restores it, else the group elects again"
            );
        }
        known.damage = damage;
        self.publish.send_replace(Reading::known(seen, at));
    }
}

fn version(lease: Option<&Lease>) -> Option<&String> {
    lease.and_then(|l| l.metadata.resource_version.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(version: u64) -> Lease {
        let mut lease = Lease::default();
        lease.metadata.resource_version = Some(version.to_string());
        lease
    }

    fn heard(known: &mut Known, version: u64) -> bool {
        known.hear(Some(Rv::new(version)), Some(lease(version)))
    }

    fn shown(known: &Known) -> Option<u64> {
        let version = known.object.as_ref().and_then(record_codec::version);
        version.map(Rv::get)
    }

    #[test]
    fn a_commit_that_an_event_has_overtaken_does_not_bring_the_old_object_back() {
        let mut known = Known::default();
        assert!(heard(&mut known, 13));
        assert!(!heard(&mut known, 12));
        assert_eq!(shown(&known), Some(13));
        // Also when what overtook it was a deletion.
        assert!(known.hear(Some(Rv::new(15)), None));
        assert!(!heard(&mut known, 14));
        assert_eq!(shown(&known), None);
        // The event of our own commit is no news, and no harm.
        assert!(heard(&mut known, 16) && heard(&mut known, 16));
    }

    #[test]
    fn a_late_event_about_a_deleted_namesake_does_not_hide_the_new_lease() {
        let mut known = Known::default();
        assert!(known.answer(0, None));
        assert!(heard(&mut known, 11));
        assert!(!known.hear(Some(Rv::new(10)), None));
        assert_eq!(shown(&known), Some(11));
    }

    #[test]
    fn an_answer_that_was_overtaken_is_dropped_unless_it_is_as_new() {
        let mut known = Known::default();
        assert!(heard(&mut known, 10));
        let asked = known.heard;
        assert!(heard(&mut known, 11));
        assert!(!known.answer(asked, Some(lease(10))));
        assert!(
            !known.answer(asked, None),
            "it may be from before the Lease was made"
        );
        assert_eq!(shown(&known), Some(11));
        assert!(known.answer(asked, Some(lease(11))));
        assert!(known.answer(asked, Some(lease(12))));
        assert_eq!(shown(&known), Some(12));
    }

    #[test]
    fn what_a_restored_backup_says_is_taken_as_it_is() {
        let mut known = Known::default();
        assert!(heard(&mut known, 900));
        assert!(known.answer(known.heard, Some(lease(40))));
        assert!(heard(&mut known, 41));
        assert_eq!(shown(&known), Some(41));
    }
}
