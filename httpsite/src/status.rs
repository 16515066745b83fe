//! What people see: the page, and the same as JSON.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use serde::Serialize;
use serde_json::{Value, json};
use serve::answer::{self, Answer};
use tokio::sync::watch;

use crate::board::{Account, Board};
use crate::clock::Clock;
use crate::groups::Groups;
use crate::page;
use crate::probe::{Finding, Findings};

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
    /// All lists.
    pub lists: Vec<ListView>,
    /// Orders on the desk that cannot be read.
    pub desk_faults: Vec<String>,
    /// All groups; none where there is no Kubernetes to ask.
    pub groups: Option<Vec<crate::groups::GroupView>>,
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
    pub standing: crate::change::Standing,
    /// Whether clients get it.
    pub listed: bool,
    /// What the probe found.
    pub probe: Option<Finding>,
}

impl Status {
    /// The page for `/`, JSON for anything else.
    pub fn answer(&self, path: &str) -> Answer {
        let view = self.view();
        if path != "/" {
            let value: Value = json!(view);
            return answer::json(StatusCode::OK, value.to_string());
        }
        let mut page = answer::whole(
            StatusCode::OK,
            "text/html; charset=utf-8",
            page::render(&view).into(),
        );
        // Nothing is loaded, nothing runs: whatever stands in a name is only text.
        page.headers_mut().insert(
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(
                "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
            ),
        );
        page
    }

    fn view(&self) -> View {
        let findings = self.findings.borrow().clone();
        let groups = self.groups.as_ref().map(|groups| groups.borrow().clone());
        let now = self.clock.tick();
        View {
            version: crate::VERSION,
            time: self.clock.wall(),
            lists: self
                .board
                .places()
                .map(|(name, place)| {
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
                })
                .collect(),
            desk_faults: self.desk.borrow().faults.clone(),
            groups_fault: groups.as_ref().and_then(|groups| groups.fault.clone()),
            groups: groups.map(|groups| groups.views(now)),
        }
    }
}
