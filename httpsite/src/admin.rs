//! The admin port: `/live /ready /metrics`, the page for people, and the switch.

use std::sync::Arc;

use bytes::Bytes;
use hyper::{Method, Request, StatusCode};
use serve::answer::{self, Answer};
use tokio::sync::watch;

use crate::board::Board;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::probe::Findings;
use crate::status::Status;
use crate::switch::Switch;

/// Answers on the admin port.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The lists.
    pub board: Arc<Board>,
    /// The probe's findings.
    pub findings: watch::Receiver<Findings>,
    /// Counters.
    pub metrics: Metrics,
    /// The page for people.
    pub status: Status,
    /// The downgrade switch; none where it is not set up.
    pub switch: Option<Switch>,
    /// True from the signal to stop on.
    pub stopping: watch::Receiver<bool>,
    /// Our clock.
    pub clock: Clock,
}

impl Admin {
    /// The answer.
    pub async fn answer(self, request: Request<Bytes>) -> Answer {
        let path = request.uri().path();
        if let Some(list) = path.strip_prefix("/downgrade/") {
            return match &self.switch {
                Some(switch) => switch.answer(list, &request).await,
                None => answer::text(
                    StatusCode::NOT_FOUND,
                    "no switch here: start with --desk configmap:… and --admin-token-file\n",
                ),
            };
        }
        let known = matches!(path, "/live" | "/ready" | "/metrics" | "/" | "/status.json");
        if !known {
            return answer::not_found();
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return answer::method_not_allowed("GET, HEAD");
        }
        match path {
            "/live" => answer::text(StatusCode::OK, "live\n"),
            "/ready" => self.ready(),
            "/metrics" => answer::whole(
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                self.metrics
                    .text(&self.board, &self.findings.borrow(), self.clock)
                    .into(),
            ),
            _ => self.status.answer(path, request.uri().query()),
        }
    }

    fn ready(&self) -> Answer {
        if *self.stopping.borrow() {
            return answer::text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
        }
        let missing: Vec<&str> = self
            .board
            .places()
            .filter(|(_, place)| place.published.borrow().is_none())
            .map(|(name, _)| name.as_str())
            .collect();
        if missing.is_empty() {
            return answer::text(StatusCode::OK, "ready\n");
        }
        answer::text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("no name server known for {}\n", missing.join(", ")),
        )
    }
}
