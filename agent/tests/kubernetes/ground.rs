//! An API server, a group on it, and records to write.

use std::fmt::Debug;
use std::time::Duration;

use agent::act::lease::LeaseWriter;
use agent::clock::Clock;
use agent::kubernetes::{ApiCounter, connect};
use agent::names::GroupNames;
use agent::observe::lease::{self, LeaseView};
use agent::settings::KubeSettings;
use agent_core::action::{LeaseWrite, WriteReason};
use agent_core::ids::Rv;
use agent_core::observation::{LeaseSeen, Reading, WriteResult};
use agent_core::record::{FORMAT, GroupRecord, Phase, Qos, Stage, Term, TermId};
use agent_core::report::{Addresses, Electable, LogReport};
use agent_core::{Epoch, Lineage, MemberSession, Nonce, Offset, Report};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use kube_access::{Access, AccessArgs};
use kube_api::{KubeApi, Mode, Options, Verb};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long anything may take that is sure to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// The deadline of a request.
pub(crate) const LIMIT: Duration = Duration::from_secs(1);
pub(crate) const NAMESPACE: &str = "default";

pub(crate) struct Ground {
    pub(crate) api: KubeApi,
    pub(crate) client: Client,
    pub(crate) names: GroupNames,
    pub(crate) counter: ApiCounter,
}

impl Ground {
    pub(crate) async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let api = KubeApi::start(options).await.unwrap();
        let access = AccessArgs {
            kube_url: Some(api.url()),
            ..AccessArgs::default()
        };
        let settings = KubeSettings {
            access: Access::new(access).unwrap(),
            namespace: NAMESPACE.to_owned(),
            request: LIMIT,
        };
        Self {
            client: connect(&settings).unwrap(),
            api,
            names: GroupNames::new("DefaultCluster", "broker-a"),
            counter: ApiCounter::register(&prometheus::Registry::new(), "test").unwrap(),
        }
    }

    pub(crate) fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub(crate) async fn lease(&self) -> Lease {
        self.leases().get(&self.names.lease).await.unwrap()
    }

    /// A bystander's edit.
    pub(crate) async fn edit(&self, change: Value) {
        let (name, params) = (&self.names.lease, PatchParams::default());
        let patch = Patch::Merge(change);
        self.leases().patch(name, &params, &patch).await.unwrap();
    }

    pub(crate) async fn annotate(&self, key: &str, value: impl Into<Value>) {
        let value: Value = value.into();
        self.edit(json!({"metadata": {"annotations": {key: value}}}))
            .await;
    }

    pub(crate) async fn delete(&self) {
        let (name, params) = (&self.names.lease, DeleteParams::default());
        self.leases().delete(name, &params).await.unwrap();
    }

    /// Cuts every connection.
    pub(crate) async fn outage(&self) {
        self.api.set_mode(Mode::Down);
        assert!(
            self.leases()
                .get("any")
                .await
                .is_err_and(|error| !matches!(error, kube::Error::Api(_)))
        );
        self.api.set_mode(Mode::Up);
    }

    pub(crate) fn count(&self, verb: Verb) -> u64 {
        let counts = self.api.counts();
        counts.get(&(verb, "leases")).copied().unwrap_or(0)
    }

    /// An agent's view and pen. The view is fed only where its task runs.
    pub(crate) fn agent(&self) -> (Agent, impl Future<Output = ()> + Send + 'static) {
        let (view, task) = lease::observe(
            self.client.clone(),
            NAMESPACE,
            self.names.clone(),
            Clock,
            self.counter.clone(),
            LIMIT,
        );
        let agent = Agent {
            writer: LeaseWriter::new(view.clone(), Clock),
            seen: view.subscribe(),
            view,
        };
        (agent, task)
    }

    /// An agent that watches, and has seen something.
    pub(crate) async fn watcher(&self) -> (Agent, Running) {
        let (mut agent, task) = self.agent();
        let running = Running(tokio::spawn(task));
        agent.until(|seen| seen.last().is_some()).await;
        (agent, running)
    }
}

/// Ends its task when it is dropped.
pub(crate) struct Running(pub(crate) JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) struct Agent {
    pub(crate) view: LeaseView,
    pub(crate) writer: LeaseWriter,
    pub(crate) seen: watch::Receiver<Reading<LeaseSeen>>,
}

impl Agent {
    pub(crate) fn now(&self) -> Reading<LeaseSeen> {
        self.seen.borrow().clone()
    }

    pub(crate) async fn until(&mut self, wanted: impl Fn(&Reading<LeaseSeen>) -> bool) {
        until(&mut self.seen, wanted).await;
    }

    pub(crate) async fn until_seq(&mut self, seq: u64) {
        self.until(|seen| record_of(seen).is_some_and(|(_, r)| r.seq == seq))
            .await;
    }

    pub(crate) async fn write(&self, carries: Option<Rv>, record: GroupRecord) -> WriteResult {
        self.writer.write(&order(carries, record)).await.result
    }

    /// The version it sees.
    pub(crate) fn rv(&self) -> Option<Rv> {
        record_of(&self.now()).map(|(rv, _)| rv)
    }
}

pub(crate) async fn until<T: Debug>(
    receiver: &mut watch::Receiver<T>,
    wanted: impl Fn(&T) -> bool,
) {
    let seen = timeout(PATIENCE, receiver.wait_for(|value| wanted(value)))
        .await
        .map(|seen| drop(seen.unwrap()));
    assert!(seen.is_ok(), "in vain; last seen: {:?}", receiver.borrow());
}

pub(crate) fn record_of(seen: &Reading<LeaseSeen>) -> Option<(Rv, GroupRecord)> {
    match seen.last()? {
        LeaseSeen::Record { rv, record, .. } => Some((*rv, (**record).clone())),
        _ => None,
    }
}

pub(crate) fn order(carries: Option<Rv>, record: GroupRecord) -> LeaseWrite {
    LeaseWrite {
        id: record.seq,
        carries,
        record: Box::new(record),
        why: WriteReason::Renew,
        clear_switchover: false,
    }
}

pub(crate) fn record(master: &str, epoch: u64, seq: u64) -> GroupRecord {
    let id = TermId {
        epoch: Epoch::new(epoch),
        nonce: Nonce::new(epoch * 100),
    };
    let term = Term {
        id,
        start: Offset::new(900),
        master: master.into(),
        stage: Stage::Serving,
    };
    GroupRecord {
        format: FORMAT,
        lineage: Lineage::new(vec![term.entry()]).unwrap(),
        term,
        holder: format!("uid-{master}.n").as_str().into(),
        containers: vec![],
        seq,
        replication: None,
        members: [("a-0".into(), "v0".into()), ("a-1".into(), "v1".into())].into(),
        log_min: Offset::ZERO,
        qos_enforced: Qos::Async,
        phase: Phase::Single,
        target: None,
        take_wait_ms: 10_000,
    }
}

pub(crate) fn report(member: &str, end: u64) -> Report {
    Report {
        format: FORMAT,
        who: MemberSession {
            member: member.into(),
            session: "s".into(),
            volume: "v".into(),
        },
        instance: format!("uid-{member}.n").as_str().into(),
        zone: "z".into(),
        priority: 0,
        role: None,
        term: None,
        joined: true,
        log: Some(LogReport {
            min: Offset::ZERO,
            end: Offset::new(end),
        }),
        last_epoch: Epoch::new(1),
        highest_epoch: Epoch::new(1),
        blank: false,
        frozen: None,
        electable: Electable::Yes,
        addresses: Addresses::default(),
        version: "0.1.0".into(),
        lineage: None,
    }
}
