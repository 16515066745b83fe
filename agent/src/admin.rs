//! The admin port: probes, metrics, status, and the other members' questions.
//!
//! | path | answer |
//! |---|---|
//! | `/live` | 200 while the cycle goes round |
//! | `/ready` | 200 once Lease, launcher and volume were seen and something was decided on them |
//! | `/metrics` | for Prometheus |
//! | `/status` | the last observation and decision, and the history, as JSON |
//! | `/brokerAliveTest` | one check of the broker: 200 alive, 503 dead; `?mode=readiness` or `startup` as the program's |
//! | `/peer/v1/…` | see [`crate::peer`] |

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agent_core::{Member, Reason, Tick};
use bytes::Bytes;
use hyper::{Method, Request, StatusCode};
use launcher::alive::Mode;
use serde_json::json;
use serve::answer::{self, Answer};

use crate::clock::Clock;
use crate::health::Health;
use crate::history::History;
use crate::metrics::Metrics;
use crate::peer::server::Server;

/// A cycle that did not go round for so long hangs.
const HANGS: Duration = Duration::from_secs(10);

/// Answers every request on the admin port.
#[derive(Clone)]
pub struct Admin {
    /// `brokerClusterName`.
    pub cluster: String,
    /// `brokerName`.
    pub broker: String,
    /// This member.
    pub member: Member,
    /// When the cycle last went round.
    pub heartbeat: Arc<AtomicU64>,
    /// The last decisions.
    pub history: History,
    /// Counters.
    pub metrics: Metrics,
    /// The broker's health.
    pub health: Health,
    /// The other members' questions.
    pub peers: Server,
    /// Our clocks.
    pub clock: Clock,
}

impl Admin {
    /// The answer.
    pub async fn answer(&self, request: &Request<Bytes>) -> Answer {
        let path = request.uri().path();
        if path.starts_with("/peer/") {
            return self.peers.answer(request).await;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return answer::method_not_allowed("GET, HEAD");
        }
        match path {
            "/live" => self.live(),
            "/ready" => self.ready(),
            "/metrics" => answer::whole(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                self.metrics.text().into(),
            ),
            "/status" => self.status(),
            "/brokerAliveTest" => self.alive(request.uri().query().unwrap_or_default()).await,
            _ => answer::not_found(),
        }
    }

    fn live(&self) -> Answer {
        let last = Tick::from_millis(self.heartbeat.load(Ordering::Relaxed));
        if self.clock.tick().since(last) < HANGS {
            answer::text(StatusCode::OK, "live\n")
        } else {
            answer::text(StatusCode::SERVICE_UNAVAILABLE, "the cycle hangs\n")
        }
    }

    fn ready(&self) -> Answer {
        let reason = self.history.moment().map(|moment| moment.decision.reason);
        let blind = [
            Reason::LeaseUnknown,
            Reason::LauncherUnknown,
            Reason::VolumeUnknown,
        ];
        match reason {
            Some(reason) if !blind.contains(&reason) => {
                answer::text(StatusCode::OK, format!("{reason}\n"))
            }
            Some(reason) => answer::text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{reason}: {}\n", reason.sentence()),
            ),
            None => answer::text(StatusCode::SERVICE_UNAVAILABLE, "nothing decided yet\n"),
        }
    }

    fn status(&self) -> Answer {
        let Some(moment) = self.history.moment() else {
            return answer::text(StatusCode::SERVICE_UNAVAILABLE, "nothing decided yet\n");
        };
        let decision = &moment.decision;
        let status = json!({
            "version": crate::VERSION,
            "cluster": self.cluster,
            "broker": self.broker,
            "member": self.member,
            "time": self.clock.wall(),
            "tick_ms": self.clock.tick(),
            "boot_ms": self.clock.boot(),
            "reason": decision.reason,
            "sentence": decision.reason.sentence(),
            "alive": self.health.verdict(),
            "observation": *moment.seen,
            "decision": **decision,
            "history": self.history.entries(),
        });
        answer::json(StatusCode::OK, status.to_string())
    }

    async fn alive(&self, query: &str) -> Answer {
        let mode = match query {
            "" | "mode=liveness" => Mode::Liveness,
            "mode=readiness" => Mode::Readiness,
            "mode=startup" => Mode::Startup,
            _ => {
                return answer::text(
                    StatusCode::BAD_REQUEST,
                    "mode is liveness, readiness or startup\n",
                );
            }
        };
        let Some(verdict) = self.health.look().await else {
            return answer::text(StatusCode::SERVICE_UNAVAILABLE, "this agent is ending\n");
        };
        let status = if verdict.state.passes(mode) {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        answer::json(status, json!(verdict).to_string())
    }
}
