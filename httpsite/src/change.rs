//! The order of change: from what sources, override and probe say to the list that clients get. Pure: time is passed in.
//!
//! The rules, each with a test below:
//!
//! 1. What any source names is wanted. A source that fails keeps its last word.
//! 2. The first list waits until every source has spoken, or for `first_wait`.
//! 3. An address that is new is listed at once, before any probe.
//! 4. One that is no longer wanted stays for `overlap`, because brokers drop a removed name server at once but register with
//!    new ones only at their next tick, and clients read the list every 120 s (facts §6.4, §7.3). If it does not answer its
//!    probe it goes at once.
//! 5. A suspicious loss (everything gone at once, or two or more with at most one left) is more likely a broken source
//!    than a wish: what still answers stays for `hold` instead.
//! 6. A wanted address that fails its probe is left out.
//! 7. Rules 4 to 6 take an address away only while another one that is not known to be dead is left. If all are dead, all
//!    wanted ones are listed: the fault may be ours.
//! 8. The operator's override is listed exactly, at once, without overlap and whatever the probe says.
//! 9. The list is never empty: where nothing is left, the last one stays, and is stale.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_core::Tick;
use serde::Serialize;

use crate::list::List;
use crate::name_server::{NameServer, ServerSet};

/// How long things stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long an address that left stays listed while it answers.
    pub overlap: Duration,
    /// The same after a suspicious loss.
    pub hold: Duration,
    /// How long the first list waits for sources that have not spoken.
    pub first_wait: Duration,
}

/// What the probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It answers.
    Alive,
    /// It failed several times in a row.
    Dead,
    /// Not probed, or not often enough to say.
    Unknown,
}

/// What one source says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// Its last sound word; none while it never had one.
    pub servers: Option<ServerSet>,
    /// Why the newest look brought nothing.
    pub fault: Option<String>,
}

impl Word {
    const fn has_spoken(&self) -> bool {
        self.servers.is_some() || self.fault.is_some()
    }
}

/// Everything the rules look at.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The sources' words.
    pub words: Vec<Word>,
    /// The operator's own list, which wins.
    pub overriding: Option<ServerSet>,
    /// The probe's findings; what is missing is unknown.
    pub health: BTreeMap<NameServer, Health>,
}

/// Why an address is on the list, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// A source names it.
    Wanted,
    /// The operator named it.
    Override,
    /// No source names it any more; it is listed for an overlap.
    Leaving,
    /// It was lost together with too many others; it is listed for a while.
    Held,
    /// A source names it, but it fails its probe: not listed.
    Dead,
    /// Nothing better is known: from the last list.
    LastGood,
}

impl Standing {
    /// The word used on the status page.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Override => "override",
            Self::Leaving => "leaving",
            Self::Held => "held",
            Self::Dead => "dead",
            Self::LastGood => "last good",
        }
    }
}

/// Where the list comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The sources.
    Sources,
    /// The operator's override.
    Override,
    /// The last good list of this process, since nothing else is left.
    LastGood,
    /// The list that was kept on disk.
    Disk,
}

impl Origin {
    /// All, for metrics.
    pub const ALL: [Self; 4] = [Self::Sources, Self::Override, Self::LastGood, Self::Disk];

    /// The word used in metrics and on the status page.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sources => "sources",
            Self::Override => "override",
            Self::LastGood => "last_good",
            Self::Disk => "disk",
        }
    }
}

/// An address on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// So long it stays while it answers.
    pub until: Tick,
    /// Whether it was lost together with too many others.
    pub held: bool,
}

/// Addresses on their way out.
pub type Exits = BTreeMap<NameServer, Exit>;

/// What a process that ended left on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Its last list.
    pub list: List,
    /// Who of it was on its way out; maybe since gone.
    pub exits: Exits,
}

/// What the rules remember between two looks.
#[derive(Clone, Debug)]
pub struct Change {
    rules: Rules,
    began: Tick,
    wanted: ServerSet,
    leaving: Exits,
    last: Option<List>,
    from_disk: bool,
}

/// One look's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The list; none while there never was one.
    pub list: Option<List>,
    /// Where it comes from.
    pub origin: Origin,
    /// No source that gives it is in working order: it may be out of date.
    pub stale: bool,
    /// Every address that is known, and why it is listed or not.
    pub standing: BTreeMap<NameServer, Standing>,
    /// When to look again though nothing was heard.
    pub wake_at: Option<Tick>,
}

impl Change {
    /// Begins with what was kept on disk, if anything was. Who was leaving leaves at its time, and no later than if it left
    /// now: two replicas of which one was restarted go on saying the same.
    pub fn new(rules: Rules, kept: Option<Memory>, now: Tick) -> Self {
        let (list, mut exits) = match kept {
            Some(Memory { list, exits }) => (Some(list), exits),
            None => (None, Exits::new()),
        };
        let named = list.iter().flat_map(List::servers);
        let wanted = named.filter(|server| !exits.contains_key(*server));
        let wanted = wanted.cloned().collect();
        exits.retain(|server, exit| {
            let longest = now.plus(stay(&rules, exit.held));
            exit.until = exit.until.min(longest);
            exit.until > now && list.as_ref().is_some_and(|list| list.has(server))
        });
        Self {
            rules,
            began: now,
            wanted,
            leaving: exits,
            from_disk: list.is_some(),
            last: list,
        }
    }

    /// Who is on its way out.
    pub const fn exits(&self) -> &Exits {
        &self.leaving
    }

    /// Applies the rules to what is seen now.
    pub fn step(&mut self, seen: &Seen, now: Tick) -> Outcome {
        if let Some(list) = seen.overriding.clone().and_then(List::new) {
            return self.overridden(list, seen, now);
        }
        let spoken = seen.words.iter().all(Word::has_spoken);
        let first_at = self.began.plus(self.rules.first_wait);
        let named = named(&seen.words);
        // Until every source has spoken, silence is no word: nothing leaves, and there is no first list (rule 2).
        let waits = !spoken && now < first_at;
        if waits || named.is_none() {
            let wake_at = waits.then_some(first_at);
            return self.last_good(wake_at);
        }
        let named = named.unwrap_or_default();
        self.from_disk = false;
        self.note_exits(&named, now);
        self.wanted = named;
        self.listed(seen, now)
    }

    fn overridden(&mut self, list: List, seen: &Seen, now: Tick) -> Outcome {
        // What the sources say meanwhile is what counts when the override ends; nothing of it leaves slowly then.
        if let Some(named) = named(&seen.words).filter(|named| !named.is_empty()) {
            self.wanted = named;
        }
        self.leaving.clear();
        self.from_disk = false;
        self.began = self.began.min(now);
        let standing = list
            .servers()
            .iter()
            .map(|server| (server.clone(), Standing::Override))
            .collect();
        self.last = Some(list.clone());
        Outcome {
            list: Some(list),
            origin: Origin::Override,
            stale: false,
            standing,
            wake_at: None,
        }
    }

    fn last_good(&self, wake_at: Option<Tick>) -> Outcome {
        let servers = self.last.iter().flat_map(List::servers);
        let standing = servers
            .map(|server| (server.clone(), Standing::LastGood))
            .collect();
        Outcome {
            list: self.last.clone(),
            origin: if self.from_disk {
                Origin::Disk
            } else {
                Origin::LastGood
            },
            stale: true,
            standing,
            wake_at,
        }
    }

    /// Rules 4 and 5: who begins to leave, who came back, whose time is over.
    fn note_exits(&mut self, named: &ServerSet, now: Tick) {
        self.leaving
            .retain(|server, exit| now < exit.until && !named.contains(server));
        let lost: Vec<_> = self.wanted.difference(named).cloned().collect();
        if lost.is_empty() {
            return;
        }
        let held = named.is_empty() || (lost.len() >= 2 && named.len() <= 1);
        for server in lost {
            let until = now.plus(stay(&self.rules, held));
            if until > now {
                self.leaving.insert(server, Exit { until, held });
            }
        }
    }

    /// Rules 3, 4, 6, 7 and 9.
    fn listed(&mut self, seen: &Seen, now: Tick) -> Outcome {
        let dead = |server: &NameServer| seen.health.get(server) == Some(&Health::Dead);
        let candidates: ServerSet = self
            .wanted
            .iter()
            .chain(self.leaving.keys())
            .cloned()
            .collect();
        let sound: ServerSet = candidates.iter().filter(|s| !dead(s)).cloned().collect();
        let chosen = if !sound.is_empty() {
            sound
        } else if !self.wanted.is_empty() {
            self.wanted.clone()
        } else {
            candidates
        };
        let Some(list) = List::new(chosen) else {
            return self.last_good(None);
        };
        let standing = self
            .wanted
            .iter()
            .chain(self.leaving.keys())
            .map(|server| (server.clone(), self.standing(server, list.has(server))))
            .collect();
        self.last = Some(list.clone());
        Outcome {
            list: Some(list),
            origin: Origin::Sources,
            stale: self.wanted.is_empty() || seen.words.iter().all(|word| !in_order(word)),
            standing,
            wake_at: self
                .leaving
                .values()
                .map(|exit| exit.until)
                .filter(|until| *until > now)
                .min(),
        }
    }

    fn standing(&self, server: &NameServer, is_listed: bool) -> Standing {
        match self.leaving.get(server) {
            _ if !is_listed => Standing::Dead,
            Some(Exit { held: true, .. }) => Standing::Held,
            Some(Exit { held: false, .. }) => Standing::Leaving,
            None => Standing::Wanted,
        }
    }
}

fn stay(rules: &Rules, held: bool) -> Duration {
    if held {
        rules.hold.max(rules.overlap)
    } else {
        rules.overlap
    }
}

/// The union of what the sources name; none if none of them ever said anything sound.
fn named(words: &[Word]) -> Option<ServerSet> {
    let mut spoken = words
        .iter()
        .filter_map(|word| word.servers.as_ref())
        .peekable();
    spoken.peek()?;
    Some(spoken.flatten().cloned().collect())
}

const fn in_order(word: &Word) -> bool {
    word.servers.is_some() && word.fault.is_none()
}

#[cfg(test)]
mod tests;
