//! Carries decisions out. Nothing is decided here: an action is handed on, or dropped because it is under way already.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use agent_core::action::{Action, Event, LeaseWrite};
use agent_core::observation::{Job as JobState, LeaseSeen, Observation, WriteOutcome, WriteResult};
use agent_core::record::TermId;
use agent_core::report::{Report, Role};
use agent_core::{Decision, Instance, Member, Reason};
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::sight::word;
use crate::act::event::Announcer;
use crate::act::gate::{GateOrder, Orders as GateOrders};
use crate::act::launcher::{Orders, Relay, Start};
use crate::act::lease::LeaseWriter;
use crate::act::report::Publisher;
use crate::act::route::{Route, register};
use crate::act::volume::{Job, Keeper, persist};
use crate::base_conf;
use crate::broker_conf::Generation;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::nameservers::NameServers;
use crate::observe::broker::BrokerSeen;
use crate::observe::lease::LeaseView;
use crate::peer::client::BlockingCaller;
use crate::settings::Settings;
use tokio::sync::watch;

/// After a job that failed the next one waits this long; it doubles up to the cap.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Everything that acts.
pub struct Hands {
    /// Our settings.
    pub settings: Arc<Settings>,
    /// Our clocks.
    pub clock: Clock,
    /// Counters.
    pub metrics: Metrics,
    /// The group Lease: reads.
    pub lease: LeaseView,
    /// The group Lease: writes.
    pub writer: LeaseWriter,
    /// The launcher.
    pub orders: Orders,
    /// The gate.
    pub gate: GateOrders,
    /// The volume.
    pub keeper: Arc<Keeper>,
    /// The other members, for jobs.
    pub caller: Arc<BlockingCaller>,
    /// Kubernetes Events.
    pub announcer: Announcer,
    /// Our member Lease.
    pub publisher: Publisher,
    /// Our role, for the label on our pod.
    pub role: watch::Sender<Option<Role>>,
    /// Name servers.
    pub name_servers: watch::Receiver<NameServers>,
    /// The operator's conf.
    pub base: watch::Receiver<base_conf::Reading>,
    /// The broker, for its version.
    pub broker: watch::Receiver<BrokerSeen>,
    /// What a registration needs.
    pub route: Route,
    /// Outcomes of Lease writes.
    pub outcomes: mpsc::Sender<WriteOutcome>,
    /// Wakes the cycle.
    pub wake: Arc<Notify>,
    /// What is under way.
    pub under_way: UnderWay,
}

/// What was begun and may not be begun again.
#[derive(Default)]
pub struct UnderWay {
    job: Arc<std::sync::atomic::AtomicBool>,
    failures: Arc<std::sync::atomic::AtomicU32>,
    registration: Option<AbortHandle>,
    killed: Option<(TermId, Reason)>,
    stopped: bool,
}

use std::sync::atomic::Ordering::SeqCst;

impl Hands {
    /// Whether anything works on the volume, or is about to start a broker on it.
    #[must_use]
    pub fn job(&self) -> JobState {
        if self.under_way.job.load(SeqCst) || self.orders.starting() {
            JobState::Busy
        } else {
            JobState::Idle
        }
    }

    /// Does all that a decision asks for.
    pub fn act(&mut self, seen: &Observation, decision: &Decision) {
        for action in &decision.actions {
            self.one(seen, action);
        }
        if let Some(report) = &decision.report {
            self.publisher.offer(report);
            self.role.send_if_modified(|shown| {
                let news = *shown != report.role;
                *shown = report.role;
                news
            });
        }
        if decision.next.held.is_none()
            && let Some(registration) = self.under_way.registration.take()
        {
            registration.abort();
        }
    }

    fn one(&mut self, seen: &Observation, action: &Action) {
        match action {
            Action::ReadLease => self.lease.refresh(),
            Action::Write(write) => self.write(write.clone()),
            Action::Permit {
                term,
                instance,
                until,
            } => self.orders.permit(*term, instance, *until),
            Action::Kill { term, why } => self.kill(*term, *why),
            Action::Stop => self.stop(),
            Action::Shut { term } => self.gate.give(*term, GateOrder::Shut),
            Action::Open { term, before } => {
                self.gate.give(*term, GateOrder::Open { before: *before });
            }
            Action::Register { term } => self.register(*term),
            Action::Examine => self.work(Job::Examine),
            Action::Freeze { vacancy } => self.work(Job::Freeze {
                vacancy: vacancy.clone(),
            }),
            Action::Repair { term, end } => self.work(Job::Repair {
                term: *term,
                end: *end,
            }),
            Action::Prove {
                term,
                holder,
                from,
                upto,
            } => self.work(Job::Prove {
                term: *term,
                holder: holder.clone(),
                from: *from,
                upto: *upto,
            }),
            Action::Cut { term, to, end } => self.work(Job::Cut {
                term: *term,
                to: *to,
                end: *end,
            }),
            Action::Persist {
                lineage,
                highest,
                joined,
                seeding,
            } => self.work(persist(lineage.clone(), *highest, *joined, *seeding)),
            Action::Start {
                role,
                term,
                instance,
                permit,
            } => {
                self.under_way.stopped = false;
                self.under_way.killed = None;
                self.orders.start(Start {
                    role: *role,
                    term: *term,
                    instance: instance.clone(),
                    permit: *permit,
                });
            }
            Action::Admit {
                term,
                members,
                acks,
            } => match self.master_orders(seen, *term, members, *acks) {
                Some(orders) => self.orders.relay(Relay::Admit {
                    orders,
                    admitted: (*term, members.clone()),
                }),
                None => debug!("nobody is admitted yet: term, launcher or conf is not known"),
            },
            Action::Attach {
                term,
                holder,
                instance,
            } => match self.attach(seen, *term, holder, instance) {
                Some(orders) => self.orders.relay(Relay::Attach {
                    orders: Box::new(orders),
                    term: *term,
                }),
                None => debug!(%holder, "not attached yet: the holder's relay is not known"),
            },
            Action::Announce(event) => self.announce(event),
        }
    }

    fn write(&self, write: LeaseWrite) {
        let (writer, outcomes, metrics) = (
            self.writer.clone(),
            self.outcomes.clone(),
            self.metrics.clone(),
        );
        let (clock, began) = (self.clock, self.clock.tick());
        tokio::spawn(async move {
            let outcome = writer.write(&write).await;
            let took = clock.tick().since(began);
            match outcome.result {
                WriteResult::Committed => metrics.lease_renew_duration.observe(took.as_secs_f64()),
                WriteResult::Conflict => count(&metrics, "conflict"),
                WriteResult::Refused => count(&metrics, "refused"),
                WriteResult::Unknown => count(&metrics, "unknown"),
            }
            debug!(id = outcome.id, why = ?write.why, result = ?outcome.result, ?took, "Lease written");
            // The cycle is gone only when the process ends.
            let _ = outcomes.send(outcome).await;
        });
    }

    fn kill(&mut self, term: TermId, why: Reason) {
        if self.under_way.killed.replace((term, why)) != Some((term, why)) {
            info!(epoch = %term.epoch, %why, "broker is killed");
        }
        self.orders.kill();
    }

    fn stop(&mut self) {
        if !std::mem::replace(&mut self.under_way.stopped, true) {
            info!("broker is stopped in order");
            self.orders.stop();
        }
    }

    fn register(&mut self, term: TermId) {
        let servers = Arc::clone(&self.name_servers.borrow().servers);
        let task = tokio::spawn(register(self.route.clone(), servers, term));
        if let Some(older) = self.under_way.registration.replace(task.abort_handle()) {
            older.abort();
        }
    }

    fn work(&mut self, job: Job) {
        if self.job() == JobState::Busy {
            debug!(job = job.name(), "the volume is busy");
            return;
        }
        self.under_way.job.store(true, SeqCst);
        let busy = Arc::clone(&self.under_way.job);
        let failures = Arc::clone(&self.under_way.failures);
        let (keeper, caller) = (Arc::clone(&self.keeper), Arc::clone(&self.caller));
        let (metrics, wake, clock) = (self.metrics.clone(), Arc::clone(&self.wake), self.clock);
        tokio::spawn(async move {
            let (name, began) = (job.name(), clock.tick());
            let done = tokio::task::spawn_blocking(move || keeper.run(&job, &*caller)).await;
            let took_ms = clock.tick().since(began).as_millis();
            let result = match done {
                Ok(Ok(())) => {
                    debug!(job = name, took_ms, "volume job done");
                    failures.store(0, SeqCst);
                    "done"
                }
                Ok(Err(error)) => {
                    let before = failures.fetch_add(1, SeqCst);
                    warn!(job = name, error = %crate::error_chain(&error), "volume job failed; it is tried again");
                    pause(before).await;
                    "failed"
                }
                Err(_) => {
                    let before = failures.fetch_add(1, SeqCst);
                    warn!(job = name, "volume job panicked; it is tried again");
                    pause(before).await;
                    "panicked"
                }
            };
            metrics.jobs.with_label_values(&[name, result]).inc();
            busy.store(false, SeqCst);
            wake.notify_one();
        });
    }

    fn announce(&self, event: &Event) {
        self.announcer.announce(event);
        let (kind, result) = match event {
            Event::FailOver { .. } => ("failover", "done"),
            Event::FailOverFailed { .. } => ("failover", "failed"),
            Event::SwitchOver { .. } => ("switchover", "done"),
            Event::SwitchOverFailed { .. } => ("switchover", "failed"),
            Event::Fenced { .. } => ("fence", "done"),
            Event::BrokerRestarted { why } => {
                self.metrics
                    .broker_restarts
                    .with_label_values(&[why.word()])
                    .inc();
                return;
            }
            Event::LeaderElected { .. }
            | Event::Diverged { .. }
            | Event::DataLossPossible { .. }
            | Event::SlaveHollow { .. } => return,
        };
        self.metrics.transition(kind, result, self.clock);
    }

    fn master_orders(
        &self,
        seen: &Observation,
        term: TermId,
        members: &std::collections::BTreeSet<agent_core::MemberSession>,
        acks: u32,
    ) -> Option<relay::MasterOrders> {
        let Some(LeaseSeen::Record { record, .. }) = seen.lease.last() else {
            return None;
        };
        let launcher = seen.launcher.last()?;
        let base = self.base.borrow().last_good().cloned()?;
        let layout = self.keeper.layout();
        let ha = SocketAddr::new(
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            base.ha_port(self.generation()),
        );
        Some(relay::MasterOrders {
            member: relay::Member::new(self.settings.member.as_str()),
            instance: relay::Instance::new(launcher.instance.as_str()),
            term: crate::launcher_link::to_launcher(term),
            start: record.term.start.get(),
            admit: members
                .iter()
                .map(|admitted| relay::Peer {
                    member: relay::Member::new(admitted.member.as_str()),
                    session: relay::Session::new(admitted.session.as_str()),
                })
                .collect(),
            k: acks,
            ha,
            commitlog_dir: layout.commitlog.clone(),
            local_ack: relay::LocalAck::Off,
        })
    }

    fn attach(
        &self,
        seen: &Observation,
        term: TermId,
        holder: &Member,
        instance: &Instance,
    ) -> Option<relay::Attach> {
        let upstream = seen
            .peers
            .get(holder)
            .and_then(word)
            .filter(|report: &&Report| report.instance == *instance)?
            .addresses
            .relay
            .parse()
            .ok()?;
        let launcher = seen.launcher.last()?;
        let volume = seen.volume.last()?;
        let layout = self.keeper.layout();
        Some(relay::Attach {
            upstream,
            term: crate::launcher_link::to_launcher(term),
            holder_member: relay::Member::new(holder.as_str()),
            holder_instance: relay::Instance::new(instance.as_str()),
            member: relay::Member::new(self.settings.member.as_str()),
            session: relay::Session::new(volume.who.session.as_str()),
            instance: relay::Instance::new(launcher.instance.as_str()),
            commitlog_dir: layout.commitlog.clone(),
            commitlog_file_size: layout.commitlog_file_size,
            end_hint: self.keeper.last_end().map(agent_core::Offset::get),
        })
    }

    /// 5.x unless the running broker says otherwise.
    fn generation(&self) -> Generation {
        let v4 = self
            .broker
            .borrow()
            .version
            .as_ref()
            .is_some_and(|version| version.starts_with("V4"));
        if v4 { Generation::V4 } else { Generation::V5 }
    }
}

fn count(metrics: &Metrics, reason: &str) {
    metrics
        .lease_renew_failures
        .with_label_values(&[reason])
        .inc();
}

async fn pause(failures_before: u32) {
    let pause = FIRST_PAUSE.saturating_mul(1 << failures_before.min(8));
    sleep(pause.min(LONGEST_PAUSE)).await;
}
