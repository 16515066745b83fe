//! What is wrong, worst first: the few lines a person reads before anything else.

use serde::Serialize;

use crate::change::{Health, Origin, Standing};
use crate::groups::view::{FAR_BEHIND, GroupView, MemberView};
use crate::quantity::{Bytes, Span};
use crate::status::ListView;

/// How bad something is; the worst comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Clients or brokers suffer now.
    Fault,
    /// They would if one more thing went wrong.
    Warning,
    /// A person ordered it.
    Note,
}

impl Level {
    /// The word used on the page.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing that is wrong, or not as usual.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// How bad.
    pub level: Level,
    /// What it is about, by name.
    pub about: String,
    /// What is wrong.
    pub says: String,
    /// Where the page tells more.
    #[serde(skip)]
    pub place: Place,
}

/// A part of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The list with this number.
    List(usize),
    /// All groups.
    Groups,
    /// The group with this number.
    Group(usize),
    /// None has more to tell.
    Nowhere,
}

/// All there is, worst first, else in the order of the page.
pub fn all(
    lists: &[ListView],
    desk_faults: &[String],
    groups: &[GroupView],
    groups_fault: Option<&str>,
) -> Vec<Trouble> {
    let mut book = Book::default();
    for fault in desk_faults {
        let says = format!("an order cannot be read: {fault}");
        book.note(Level::Warning, "desk", Place::Nowhere, says);
    }
    for (number, list) in lists.iter().enumerate() {
        book.list(list, Place::List(number));
    }
    if let Some(fault) = groups_fault {
        let says = format!("what is shown of them is the last that was seen: {fault}");
        book.note(Level::Warning, "groups", Place::Groups, says);
    }
    for (number, group) in groups.iter().enumerate() {
        book.group(group, Place::Group(number));
    }
    book.0.sort_by_key(|trouble| trouble.level);
    book.0
}

#[derive(Default)]
struct Book(Vec<Trouble>);

impl Book {
    fn note(&mut self, level: Level, about: &str, place: Place, says: String) {
        self.0.push(Trouble {
            level,
            about: about.to_owned(),
            says,
            place,
        });
    }

    fn list(&mut self, list: &ListView, place: Place) {
        let about = format!("list {}", list.name);
        let mut note = |level, says| self.note(level, &about, place, says);
        let account = &list.account;
        if list.line.is_none() {
            let says = "no name server is known yet: clients get 503";
            note(Level::Fault, says.to_owned());
        }
        let dead: Vec<&str> = list
            .health
            .iter()
            .filter(|server| server.health() == Some(Health::Dead))
            .map(|server| server.name_server.as_str())
            .collect();
        if !dead.is_empty() && dead.len() == list.health.len() {
            // Clients do not depend on them while they are sent elsewhere.
            let level = match account.downgraded {
                Some(_) => Level::Warning,
                None => Level::Fault,
            };
            note(level, "none of its name servers answers".to_owned());
        } else if let Some((first, more)) = dead.split_first() {
            let more = match more.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            note(Level::Warning, format!("{first}{more} does not answer"));
        }
        if list.line.is_some() && account.stale && account.origin != Some(Origin::Override) {
            let since = list
                .age_seconds
                .map_or_else(|| " yet".to_owned(), |age| format!(" for {}", Span(age)));
            note(
                Level::Warning,
                format!("may be out of date: no source in working order stands behind it{since}"),
            );
        }
        let held = |server: &&crate::status::ServerView| server.standing == Standing::Held;
        match list.health.iter().filter(held).count() {
            0 => {}
            held => note(
                Level::Warning,
                format!(
                    "{held} of its name servers were lost at once; they stay listed for a while"
                ),
            ),
        }
        for source in &account.sources {
            if let Some(fault) = &source.fault {
                note(Level::Warning, format!("source {}: {fault}", source.text));
            }
        }
        if let Some(downgraded) = &account.downgraded {
            let says = format!("downgraded to {}: {}", downgraded.to, downgraded.said);
            note(Level::Note, says);
        }
        if account.origin == Some(Origin::Override) {
            note(Level::Note, "an operator gave the list by hand".to_owned());
        }
    }

    fn group(&mut self, group: &GroupView, place: Place) {
        let about = format!("group {}", group.title());
        let mut note = |level, says| self.note(level, &about, place, says);
        if let Some(fault) = &group.fault {
            let says = format!(
                "the record in Lease {} cannot be read: {fault}",
                group.lease
            );
            note(Level::Fault, says);
        }
        if group.paused {
            let says = "paused: no elections, switchovers or cuts";
            note(Level::Note, says.to_owned());
        }
        if group.silent {
            let says = format!("every agent is silent, for {}", Span(group.youngest()));
            // Nothing else that is known of it is younger.
            return note(Level::Fault, says);
        }
        if !group.master_present {
            note(Level::Fault, "no master".to_owned());
        }
        for member in &group.members {
            if let Some(says) = of(member) {
                note(Level::Warning, format!("{}: {says}", member.member));
            }
        }
        if group.members.len() > 1 && group.phase == Some("single") {
            let says = "no usable slave: new messages are on the master alone";
            note(Level::Warning, says.to_owned());
        }
    }
}

fn of(member: &MemberView) -> Option<String> {
    if let Some(fault) = &member.fault {
        return Some(format!("its report cannot be read: {fault}"));
    }
    let Some(age) = member.age_seconds else {
        return Some("no report".to_owned());
    };
    if !member.is_heard() {
        return Some(format!("silent for {}", Span(age)));
    }
    if member.far_behind {
        return Some(format!(
            "{} behind, too far for RocketMQ to count it ({})",
            Bytes(member.lag.unwrap_or_default()),
            Bytes(FAR_BEHIND)
        ));
    }
    match member.electable {
        Some(why) if !member.is_electable() => Some(format!("cannot be elected: {why}")),
        _ => None,
    }
}

impl GroupView {
    /// Since anything of it was heard, seconds.
    fn youngest(&self) -> u64 {
        let members = self.members.iter().filter_map(|member| member.age_seconds);
        members
            .min()
            .unwrap_or(self.age_seconds)
            .min(self.age_seconds)
    }
}
