//! What people see: the page, and the same as JSON.

use std::sync::Arc;

use agent_core::Tick;
use hyper::StatusCode;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use serde::Serialize;
use serde_json::json;
use serve::answer::{self, Answer};
use tokio::sync::watch;

use crate::board::{Account, Board};
use crate::change::{Health, Standing};
use crate::clock::Clock;
use crate::groups::Groups;
use crate::groups::view::GroupView;
use crate::page::{self, Pace};
use crate::probe::{Finding, Findings};
use crate::trouble::{self, Trouble};

/// Nothing is loaded, nothing runs, nothing is kept: whatever stands in a name is only text.
const PROTECTION: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
];

/// Makes the page and the JSON of what is known.
#[derive(Clone, Debug)]
pub struct Status {
    /// The lists.
    pub board: Arc<Board>,
    /// The probe's findings.
    pub findings: watch::Receiver<Findings>,
    /// The groups of brokers; none without Kubernetes.
    pub groups: Option<watch::Receiver<Groups>>,
    /// What could not be read on the operator's desk.
    pub desk: watch::Receiver<crate::desk::Desk>,
    /// Our clock.
    pub clock: Clock,
}

/// Everything that is shown.
#[derive(Debug, Serialize)]
pub struct View {
    /// Our version.
    pub version: &'static str,
    /// Our wall clock.
    pub time: jiff::Timestamp,
    /// What is wrong, worst first; empty: all is well.
    pub troubles: Vec<Trouble>,
    /// All lists.
    pub lists: Vec<ListView>,
    /// Orders on the desk that cannot be read.
    pub desk_faults: Vec<String>,
    /// All groups; none where there is no Kubernetes to ask.
    pub groups: Option<Vec<GroupView>>,
    /// Why the groups cannot be read.
    pub groups_fault: Option<String>,
}

/// One list.
#[derive(Debug, Serialize)]
pub struct ListView {
    /// Its name.
    pub name: String,
    /// What clients get.
    pub line: Option<String>,
    /// Its index for a long-poll.
    pub index: Option<String>,
    /// For how long it is this one, seconds.
    pub unchanged_seconds: Option<u64>,
    /// Since a source in working order last stood behind it, seconds; 0 while one does.
    pub age_seconds: Option<u64>,
    /// The rest.
    #[serde(flatten)]
    pub account: Account,
    /// The probe's findings of its servers.
    pub health: Vec<ServerView>,
}

/// One name server of a list.
#[derive(Debug, Serialize)]
pub struct ServerView {
    /// `ip:port`
    pub name_server: String,
    /// Why it is listed or not.
    pub standing: Standing,
    /// Whether clients get it.
    pub listed: bool,
    /// What the probe found.
    pub probe: Option<Finding>,
}

impl ServerView {
    /// The probe's verdict; none where nothing is probed.
    pub fn health(&self) -> Option<Health> {
        self.probe.as_ref().map(|probe| probe.health)
    }
}

impl Status {
    /// The page for `/`, JSON for anything else. With the query `still` the page does not renew itself, and tells more of
    /// the past.
    pub fn answer(&self, path: &str, query: Option<&str>) -> Answer {
        let view = self.view();
        let mut answer = if path == "/" {
            let pace = match query {
                Some("still") => Pace::Still,
                _ => Pace::Renewed,
            };
            let page = page::render(&view, pace);
            answer::whole(StatusCode::OK, "text/html; charset=utf-8", page.into())
        } else {
            answer::json(StatusCode::OK, json!(view).to_string())
        };
        for (name, value) in PROTECTION {
            answer
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        answer
    }

    fn view(&self) -> View {
        let groups = self.groups.as_ref().map(|groups| groups.borrow().clone());
        let now = self.clock.tick();
        let lists = self.lists(now);
        let desk_faults = self.desk.borrow().faults.clone();
        let groups_fault = groups.as_ref().and_then(|groups| groups.fault.clone());
        let groups = groups.map(|groups| groups.views(now));
        View {
            version: crate::VERSION,
            time: self.clock.wall(),
            troubles: trouble::all(
                &lists,
                &desk_faults,
                groups.as_deref().unwrap_or_default(),
                groups_fault.as_deref(),
            ),
            lists,
            desk_faults,
            groups,
            groups_fault,
        }
    }

    fn lists(&self, now: Tick) -> Vec<ListView> {
        let findings = self.findings.borrow().clone();
        let views = self.board.places().map(|(name, place)| {
            let account = place.account.borrow().clone();
            let published = place.published.borrow().clone();
            let age = account.fresh_at.map(|at| now.since(at).as_secs());
            ListView {
                name: name.to_string(),
                line: published
                    .as_ref()
                    .map(|p| p.list.line().trim_end().to_owned()),
                index: published.as_ref().map(|p| p.list.index().to_string()),
                unchanged_seconds: published.as_ref().map(|p| now.since(p.since).as_secs()),
                age_seconds: if account.stale { age } else { age.map(|_| 0) },
                health: account
                    .standing
                    .iter()
                    .map(|(server, standing)| ServerView {
                        name_server: server.to_string(),
                        standing: *standing,
                        listed: published.as_ref().is_some_and(|p| p.list.has(server)),
                        probe: findings.get(server).cloned(),
                    })
                    .collect(),
                account,
            }
        });
        views.collect()
    }
}
