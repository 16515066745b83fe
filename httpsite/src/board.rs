//! The board: what every list's clients are answered now, with the bytes made beforehand.

use std::collections::BTreeMap;
use std::sync::Arc;

use agent_core::Tick;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue};
use serde::Serialize;
use serve::Prepared;
use tokio::sync::watch;

use crate::change::{Origin, Standing};
use crate::list::List;
use crate::list_name::ListName;
use crate::name_server::NameServer;

/// The header with a list's index, for a long-poll.
pub const INDEX_HEADER: HeaderName = HeaderName::from_static("x-list-index");

/// A list as it is given to clients.
#[derive(Debug)]
pub struct Published {
    /// The list.
    pub list: List,
    /// 200 with the line.
    pub whole: Arc<Prepared>,
    /// 304.
    pub not_modified: Arc<Prepared>,
    /// Since when it is this one.
    pub since: Tick,
}

impl Published {
    /// With both answers made.
    pub fn new(list: List, since: Tick) -> Self {
        let etag = value(&list.index().etag());
        let headers = vec![
            (CONTENT_TYPE, HeaderValue::from_static("text/plain")),
            (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (ETAG, etag),
            (INDEX_HEADER, value(&list.index().to_string())),
        ];
        Self {
            whole: Arc::new(Prepared::new(
                StatusCode::OK,
                headers.clone(),
                list.line().to_owned(),
            )),
            // What a 304 has beside the tag is what the 200 would have had for caches.
            not_modified: Arc::new(Prepared::new(
                StatusCode::NOT_MODIFIED,
                headers.into_iter().skip(1).collect(),
                "",
            )),
            list,
            since,
        }
    }
}

fn value(text: &str) -> HeaderValue {
    // Quotes and hex digits always are one.
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// What people are told about a list.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Account {
    /// Where it comes from; none while there is none.
    pub origin: Option<Origin>,
    /// Nothing in working order gives it.
    pub stale: bool,
    /// Milliseconds on our clock when it last was not stale.
    #[serde(skip)]
    pub fresh_at: Option<Tick>,
    /// Set while its clients are sent to its partner: to whom, and who said so and why.
    pub downgraded: Option<Downgraded>,
    /// Its partner, to which it could be downgraded.
    pub partner: Option<String>,
    /// Every known address and why it is listed or not.
    pub standing: BTreeMap<NameServer, Standing>,
    /// The sources, in the order they were given.
    pub sources: Vec<SourceAccount>,
    /// The last changes, newest first.
    pub history: Vec<Entry>,
}

/// A downgrade in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Downgraded {
    /// The list that is given instead.
    pub to: String,
    /// Who and why.
    pub said: String,
}

/// What people are told about a source.
#[derive(Clone, Debug, Serialize)]
pub struct SourceAccount {
    /// As it was given.
    pub text: String,
    /// How many servers it names; none while it never said anything.
    pub servers: Option<usize>,
    /// Why the newest look brought nothing.
    pub fault: Option<String>,
}

/// A change of a list.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// When.
    pub time: jiff::Timestamp,
    /// The line from then on.
    pub line: String,
    /// Where it came from.
    pub origin: Origin,
    /// What changed.
    pub note: String,
}

/// One list's place on the board.
#[derive(Clone, Debug)]
pub struct Place {
    /// What clients get; none while there is no list.
    pub published: watch::Receiver<Option<Arc<Published>>>,
    /// What people are told.
    pub account: watch::Receiver<Account>,
}

/// All lists.
#[derive(Clone, Debug, Default)]
pub struct Board {
    places: BTreeMap<ListName, Place>,
}

impl Board {
    /// Adds a list.
    pub fn add(&mut self, name: ListName, place: Place) {
        self.places.insert(name, place);
    }

    /// The list of a URL's last part. A unit that is not set up has its sub-group's list: clients append `-<unit>` of
    /// their own accord (facts §7.1).
    pub fn find(&self, name: &str) -> Option<&Place> {
        if let Some(place) = self.places.get(name) {
            return Some(place);
        }
        let mut head = name;
        while let Some((shorter, _unit)) = head.rsplit_once('-') {
            if let Some(place) = self.places.get(shorter) {
                return Some(place);
            }
            head = shorter;
        }
        None
    }

    /// All, by name.
    pub fn places(&self) -> impl Iterator<Item = (&ListName, &Place)> {
        self.places.iter()
    }

    /// Whether every list has something to give.
    pub fn is_complete(&self) -> bool {
        self.places
            .values()
            .all(|place| place.published.borrow().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_without_a_list_of_its_own_has_its_sub_groups() {
        let mut board = Board::default();
        let mut senders = Vec::new();
        for name in ["nsaddr", "nsaddr-u1", "other"] {
            let (sender, published) = watch::channel(None);
            let (told, account) = watch::channel(Account::default());
            senders.push((sender, told));
            board.add(name.parse().unwrap(), Place { published, account });
        }
        let same = |one: &str, other: &str| {
            let (one, other) = (board.find(one).unwrap(), board.find(other).unwrap());
            one.published.same_channel(&other.published)
        };
        assert!(same("nsaddr-u2", "nsaddr") && same("nsaddr-a-b", "nsaddr"));
        assert!(same("nsaddr-u1-x", "nsaddr-u1") && !same("nsaddr-u1", "nsaddr"));
        for unknown in ["", "ns", "nsaddrx", "-nsaddr", "nothing-u1"] {
            assert!(board.find(unknown).is_none(), "{unknown}");
        }
    }
}
