//! Keeps the board: whenever a source, the probe or the operator has news, or time is up, every list is made anew.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use agent_core::Tick;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::board::{Account, Board, Downgraded, Entry, Place, Published, SourceAccount};
use crate::change::{Change, Outcome, Rules, Seen, Word};
use crate::clock::Clock;
use crate::desk::Desk;
use crate::event::{Announcer, Note};
use crate::kept::Kept;
use crate::list::List;
use crate::list_name::ListName;
use crate::name_server::ServerSet;
use crate::probe::Findings;

/// So many changes of a list are remembered.
const HISTORY: usize = 50;
/// Without news it is looked again after this time, so that nothing depends on a bell alone.
const SLOWEST: Duration = Duration::from_secs(10);

/// A source as the site sees it.
#[derive(Debug)]
pub struct Ear {
    /// As the operator wrote it.
    pub text: String,
    /// What it says.
    pub words: watch::Receiver<Word>,
}

/// One list and what belongs to it.
#[derive(Debug)]
struct Line {
    name: ListName,
    partner: Option<ListName>,
    ears: Vec<Ear>,
    change: Change,
    published: watch::Sender<Option<Arc<Published>>>,
    account: watch::Sender<Account>,
    history: VecDeque<Entry>,
    downgraded: Option<Downgraded>,
    fresh_at: Option<Tick>,
}

/// All lists.
#[derive(Debug)]
pub struct Site {
    lines: Vec<Line>,
    board: Board,
    rules: Rules,
    clock: Clock,
    desk: watch::Receiver<Desk>,
    findings: watch::Receiver<Findings>,
    targets: watch::Sender<ServerSet>,
    bell: Arc<Notify>,
    announcer: Announcer,
    kept: Option<Kept>,
}

/// What a site listens to.
#[derive(Debug)]
pub struct Inputs {
    /// The operator's orders.
    pub desk: watch::Receiver<Desk>,
    /// The probe's findings.
    pub findings: watch::Receiver<Findings>,
    /// Whom to probe.
    pub targets: watch::Sender<ServerSet>,
    /// Rings at news.
    pub bell: Arc<Notify>,
    /// Takes Events.
    pub announcer: Announcer,
    /// The lists on disk.
    pub kept: Option<Kept>,
}

impl Site {
    /// A site without lists.
    pub fn new(rules: Rules, clock: Clock, inputs: Inputs) -> Self {
        let Inputs {
            desk,
            findings,
            targets,
            bell,
            announcer,
            kept,
        } = inputs;
        Self {
            lines: Vec::new(),
            board: Board::default(),
            rules,
            clock,
            desk,
            findings,
            targets,
            bell,
            announcer,
            kept,
        }
    }

    /// Adds a list.
    pub fn add(&mut self, name: ListName, partner: Option<ListName>, ears: Vec<Ear>) {
        let published = watch::Sender::new(None);
        let account = watch::Sender::new(Account::default());
        let place = Place {
            published: published.subscribe(),
            account: account.subscribe(),
        };
        self.board.add(name.clone(), place);
        let on_disk = self.kept.as_ref().and_then(|kept| kept.read(&name));
        self.lines.push(Line {
            name,
            partner,
            ears,
            change: Change::new(self.rules, on_disk, self.clock.tick()),
            published,
            account,
            history: VecDeque::new(),
            downgraded: None,
            fresh_at: None,
        });
    }

    /// The board, once all lists are added.
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// One look at everything; when the next one is due.
    pub fn look(&mut self) -> Option<Tick> {
        let now = self.clock.tick();
        let desk = self.desk.borrow_and_update().clone();
        let findings = self.findings.borrow_and_update().clone();
        let outcomes: Vec<Outcome> = self
            .lines
            .iter_mut()
            .map(|line| line.step(&desk, &findings, now))
            .collect();
        let own: Vec<(ListName, Option<List>)> = self
            .lines
            .iter()
            .zip(&outcomes)
            .map(|(line, outcome)| (line.name.clone(), outcome.list.clone()))
            .collect();
        let mut known = ServerSet::new();
        for outcome in &outcomes {
            known.extend(outcome.standing.keys().cloned());
        }
        self.targets.send_if_modified(|targets| {
            let other = *targets != known;
            if other {
                *targets = known;
            }
            other
        });
        let wake_at = outcomes.iter().filter_map(|outcome| outcome.wake_at).min();
        for (line, outcome) in self.lines.iter_mut().zip(outcomes) {
            let order = line.order(&desk, &own);
            line.tell_downgrade(
                order.as_ref().map(|(order, _)| order),
                &desk,
                &self.announcer,
            );
            let list = match order {
                Some((_, list)) => Some(list),
                None => outcome.list.clone(),
            };
            line.publish(list, outcome, self.clock, self.kept.as_ref());
        }
        wake_at
    }

    /// Looks whenever there are news; for ever.
    pub async fn run(mut self) {
        let bell = Arc::clone(&self.bell);
        loop {
            let due = self.look();
            let pause = due.map_or(SLOWEST, |due| due.since(self.clock.tick()).min(SLOWEST));
            tokio::select! {
                () = bell.notified() => {}
                () = sleep(pause) => {}
            }
        }
    }
}

impl Line {
    fn step(&mut self, desk: &Desk, findings: &Findings, now: Tick) -> Outcome {
        let seen = Seen {
            words: self
                .ears
                .iter_mut()
                .map(|ear| ear.words.borrow_and_update().clone())
                .collect(),
            overriding: desk.overrides.get(&self.name).cloned(),
            health: findings
                .iter()
                .map(|(server, finding)| (server.clone(), finding.health))
                .collect(),
        };
        self.change.step(&seen, now)
    }

    /// The downgrade that is ordered and can be done: the partner's own list. A partner's own downgrade does not count, so
    /// two lists cannot send their clients round in circles.
    fn order(&self, desk: &Desk, own: &[(ListName, Option<List>)]) -> Option<(Downgraded, List)> {
        let said = desk.downgrades.get(&self.name)?;
        let partner = self.partner.as_ref()?;
        let (_, list) = own.iter().find(|(name, _)| name == partner)?;
        let downgraded = Downgraded {
            to: partner.to_string(),
            said: said.clone(),
        };
        Some((downgraded, list.clone()?))
    }

    /// One audit line and one Event per change.
    fn tell_downgrade(&mut self, order: Option<&Downgraded>, desk: &Desk, announcer: &Announcer) {
        if self.downgraded.as_ref() == order {
            return;
        }
        let note = match (order, &self.downgraded) {
            (Some(now), _) => Note {
                reason: "Downgraded",
                message: format!(
                    "clients of {} are sent to the name servers of {}; {}",
                    self.name, now.to, now.said
                ),
            },
            (None, Some(before)) => Note {
                reason: "DowngradeEnded",
                message: format!(
                    "clients of {} are back at their own name servers, after {}; {}",
                    self.name, before.to, before.said
                ),
            },
            (None, None) => return,
        };
        warn!(audit = note.reason, list = %self.name, "{}", note.message);
        announcer.announce(note, &self.name, &desk.version);
        self.downgraded = order.cloned();
    }

    fn publish(&mut self, list: Option<List>, outcome: Outcome, clock: Clock, kept: Option<&Kept>) {
        let now = clock.tick();
        if !outcome.stale && outcome.list.is_some() {
            self.fresh_at = Some(now);
        }
        if let Some(list) = list {
            let before = self.published.borrow().clone();
            if before.as_ref().is_none_or(|before| before.list != list) {
                let entry = Entry {
                    time: clock.wall(),
                    line: list.line().trim_end().to_owned(),
                    origin: outcome.origin,
                    note: note(before.as_deref().map(|before| &before.list), &list),
                };
                info!(list = %self.name, line = entry.line, origin = outcome.origin.as_str(), note = entry.note, "the list changed");
                self.history.push_front(entry);
                self.history.truncate(HISTORY);
                self.published
                    .send_replace(Some(Arc::new(Published::new(list, now))));
            }
        }
        if let (Some(kept), Some(list)) = (kept, &outcome.list)
            && !outcome.stale
        {
            kept.write(&self.name, list, self.change.exits());
        }
        self.account.send_replace(Account {
            origin: outcome.list.as_ref().map(|_| outcome.origin),
            stale: outcome.stale,
            fresh_at: self.fresh_at,
            downgraded: self.downgraded.clone(),
            partner: self.partner.as_ref().map(ToString::to_string),
            standing: outcome.standing,
            sources: self.ears.iter().map(account).collect(),
            history: self.history.iter().cloned().collect(),
        });
    }
}

fn account(ear: &Ear) -> SourceAccount {
    let word = ear.words.borrow();
    SourceAccount {
        text: ear.text.clone(),
        servers: word.servers.as_ref().map(ServerSet::len),
        fault: word.fault.clone(),
    }
}

/// What came and what went, in words.
fn note(before: Option<&List>, after: &List) -> String {
    let Some(before) = before else {
        return "the first list".to_owned();
    };
    let items = |servers: Vec<&crate::name_server::NameServer>, sign: char| {
        servers
            .iter()
            .map(|server| format!("{sign}{server}"))
            .collect::<Vec<_>>()
    };
    let mut words = items(after.servers().difference(before.servers()).collect(), '+');
    words.extend(items(
        before.servers().difference(after.servers()).collect(),
        '-',
    ));
    words.join(" ")
}
