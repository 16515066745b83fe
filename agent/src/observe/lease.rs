//! The group Lease, as last seen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_core::Tick;
use agent_core::observation::{LeaseSeen, Reading};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::sync::{Notify, watch};
use tracing::{debug, warn};

use super::objects::{Objects, Sight, chain};
use crate::clock::Clock;
use crate::kubernetes::ApiCounter;
use crate::names::GroupNames;
use crate::record_codec;

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

#[derive(Default)]
struct Known {
    object: Option<Lease>,
    /// Counts what we put in ourselves: an answer that was asked for before that is older and is dropped.
    own: u64,
    /// When the list under way was asked for, and at which count.
    asked: (Tick, u64),
    /// The last complaint about a request, so that it is made once.
    complaint: Option<String>,
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

    /// Puts in what our own write returned: newer than anything asked for before.
    pub fn committed(&self, object: Lease) {
        let mut known = self.shared.known();
        known.own += 1;
        known.object = Some(object);
        let now = self.shared.clock.tick();
        self.shared.show(&mut known, now);
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
            counter: self.counter.clone(),
        };
        objects.follow(&self.again, |sight| self.take(sight)).await;
    }

    fn take(&self, sight: Sight<Lease>) {
        let mut known = self.known();
        let now = self.clock.tick();
        match sight {
            Sight::Asking => known.asked = (now, known.own),
            Sight::All(items) => {
                let (at, own) = known.asked;
                if own == known.own {
                    known.object = items.into_iter().next();
                    self.show(&mut known, at);
                } else {
                    self.again.notify_one();
                }
            }
            Sight::Changed(lease) => {
                if !older(&lease, known.object.as_ref()) {
                    known.object = Some(lease);
                    self.show(&mut known, now);
                }
            }
            Sight::Gone(lease) => {
                if !older(&lease, known.object.as_ref()) {
                    known.object = None;
                    self.show(&mut known, now);
                }
            }
            Sight::Current => {}
        }
    }

    /// Reads on demand, at most every 200 ms.
    async fn reads(&self) {
        loop {
            self.read.notified().await;
            self.read_once().await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn read_once(&self) {
        let (at, own) = (self.clock.tick(), self.known().own);
        let request = self.api.get_opt(&self.names.lease);
        let object = match self
            .counter
            .call("get", "leases", self.limit, request)
            .await
        {
            Ok(object) => object,
            Err(error) => {
                debug!(error = %chain(&error), "the group Lease could not be read");
                return;
            }
        };
        let mut known = self.known();
        if own != known.own {
            return;
        }
        if version(object.as_ref()) != version(known.object.as_ref()) {
            // The watch did not tell: it is behind, or dead.
            self.again.notify_one();
        }
        known.object = object;
        self.show(&mut known, at);
    }

    fn show(&self, known: &mut Known, at: Tick) {
        let mut said = None;
        let seen = record_codec::see(known.object.as_ref(), &self.names, &mut |line| {
            said = Some(line)
        });
        if said.is_some() && said != known.complaint {
            warn!(
                lease = self.names.lease,
                request = said.as_deref(),
                "a request on the Lease cannot be read"
            );
        }
        known.complaint = said;
        if let LeaseSeen::Damaged { why, .. } = &seen {
            debug!(
                lease = self.names.lease,
                why, "the Lease's record is not sound"
            );
        }
        self.publish.send_replace(Reading::known(seen, at));
    }
}

/// Whether `lease` is an older version of the same object than the one we know. Only watch events are asked: what a
/// list or a read says is taken as it is, also when a backup brought lower numbers.
fn older(lease: &Lease, known: Option<&Lease>) -> bool {
    let Some(known) = known else { return false };
    let same = lease.metadata.uid == known.metadata.uid;
    let numbers = record_codec::version(lease).zip(record_codec::version(known));
    same && numbers.is_some_and(|(new, old)| new < old)
}

fn version(lease: Option<&Lease>) -> Option<&String> {
    lease.and_then(|l| l.metadata.resource_version.as_ref())
}
