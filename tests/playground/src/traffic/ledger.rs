//! The books: each message's fate as its producer saw it, settled against what can be read afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::numbered::Number;
use crate::timeline::whole_ms;

/// What a producer learned about one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// Acknowledged (code 0): it must never be lost where that is promised.
    Accepted,
    /// Certainly not stored: nobody to send to, or the broker said so.
    Refused,
    /// No answer, or an answer that says "stored, but not as safely as you asked" (10, 11, 12): it may be
    /// there or not, both are right.
    Unknown,
}

/// One message's try. Every number is tried once; times are since the start of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Which message.
    pub number: Number,
    /// When the request was begun.
    pub sent: Duration,
    /// When its fate was known.
    pub settled: Duration,
    /// Its fate.
    pub outcome: Outcome,
}

/// All attempts of a producer, in their order.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    attempts: Vec<Attempt>,
}

/// A time without a single accepted message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gap {
    /// The last accepted message before it was settled.
    pub from: Duration,
    /// The first one after it was.
    pub to: Duration,
}

impl Gap {
    /// How long.
    #[must_use]
    pub fn length(self) -> Duration {
        self.to.saturating_sub(self.from)
    }
}

impl Ledger {
    /// Adds an attempt.
    pub fn record(&mut self, attempt: Attempt) {
        self.attempts.push(attempt);
    }

    /// All attempts.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// How many had this outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> u64 {
        let count = self
            .attempts
            .iter()
            .filter(|one| one.outcome == outcome)
            .count();
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// The longest time without an accepted message, among those that end after `since`.
    #[must_use]
    pub fn largest_gap(&self, since: Duration) -> Gap {
        let accepted = || {
            self.attempts
                .iter()
                .filter(|one| one.outcome == Outcome::Accepted)
                .map(|one| one.settled)
        };
        accepted()
            .zip(accepted().skip(1))
            .filter(|(_, to)| *to > since)
            .map(|(from, to)| Gap { from, to })
            .max_by_key(|gap| gap.length())
            .unwrap_or_default()
    }

    /// Settles the books against everything that can be read, in any order, repetitions included.
    #[must_use]
    pub fn settle(&self, readable: impl IntoIterator<Item = Number>) -> Settlement {
        let mut copies = BTreeMap::<Number, u64>::new();
        for number in readable {
            *copies.entry(number).or_default() += 1;
        }
        let fates: BTreeMap<Number, Outcome> = self
            .attempts
            .iter()
            .map(|one| (one.number, one.outcome))
            .collect();
        let with = |outcome: Outcome, stored: bool| -> Vec<Number> {
            fates
                .iter()
                .filter(|(_, fate)| **fate == outcome)
                .map(|(number, _)| *number)
                .filter(|number| copies.contains_key(number) == stored)
                .collect()
        };
        Settlement {
            attempted: counted(self.attempts.len()),
            accepted: self.count(Outcome::Accepted),
            refused: self.count(Outcome::Refused),
            unknown: self.count(Outcome::Unknown),
            readable: counted(copies.len()),
            lost: with(Outcome::Accepted, false),
            unknown_stored: counted(with(Outcome::Unknown, true).len()),
            refused_stored: with(Outcome::Refused, true),
            duplicated: copies
                .iter()
                .filter(|(_, count)| **count > 1)
                .map(|(number, _)| *number)
                .collect(),
            largest_gap_ms: whole_ms(self.largest_gap(Duration::ZERO).length()),
            consumed: None,
        }
    }
}

/// What the books say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Settlement {
    /// Messages that were tried.
    pub attempted: u64,
    /// Acknowledged.
    pub accepted: u64,
    /// Not taken.
    pub refused: u64,
    /// No clear answer.
    pub unknown: u64,
    /// Different messages that can be read.
    pub readable: u64,
    /// Acknowledged and not readable.
    pub lost: Vec<Number>,
    /// Without a clear answer, and readable.
    pub unknown_stored: u64,
    /// Refused and readable all the same: the broker lied.
    pub refused_stored: Vec<Number>,
    /// Readable more than once, though sent once.
    pub duplicated: Vec<Number>,
    /// The longest time between two accepted messages.
    pub largest_gap_ms: u64,
    /// What a live consumer saw, where one ran.
    pub consumed: Option<Consumed>,
}

/// What a live consumer saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Consumed {
    /// Different messages.
    pub different: u64,
    /// Messages seen once more than before.
    pub repeated: u64,
    /// Times it found its position beyond the end of a queue and went back to it.
    pub rewound: u64,
}

impl fmt::Display for Settlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: &dyn fmt::Display| writeln!(f, "  {name:<60} {value}");
        row("messages tried", &self.attempted)?;
        row("  acknowledged", &self.accepted)?;
        row("  refused", &self.refused)?;
        row(
            "  answer unknown",
            &format!("{} ({} of them stored)", self.unknown, self.unknown_stored),
        )?;
        row("messages readable at the end", &self.readable)?;
        row("  acknowledged and lost", &listed(&self.lost))?;
        row("  duplicated", &listed(&self.duplicated))?;
        row(
            "  refused and stored all the same",
            &listed(&self.refused_stored),
        )?;
        if let Some(consumed) = &self.consumed {
            row(
                "messages seen by the live consumer",
                &format!("{} ({} repeated)", consumed.different, consumed.repeated),
            )?;
        }
        let (seconds, millis) = (self.largest_gap_ms / 1000, self.largest_gap_ms % 1000);
        row(
            "longest time without an acknowledged message",
            &format!("{seconds}.{millis:03} s"),
        )
    }
}

/// `0`, or `3 (numbers 17–19)`.
fn listed(numbers: &[Number]) -> String {
    match (numbers.first(), numbers.last()) {
        (Some(first), Some(last)) if first != last => {
            format!("{} (numbers {first} to {last})", numbers.len())
        }
        (Some(only), _) => format!("1 (number {only})"),
        _ => "0".to_owned(),
    }
}

fn counted(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{Accepted, Refused, Unknown};

    fn ledger(fates: &[(u64, Outcome)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (at, (number, outcome)) in (0..).zip(fates) {
            ledger.record(Attempt {
                number: Number::new(*number),
                sent: Duration::from_millis(at * 100),
                settled: Duration::from_millis(at * 100 + 1),
                outcome: *outcome,
            });
        }
        ledger
    }

    fn numbers(all: &[u64]) -> Vec<Number> {
        all.iter().copied().map(Number::new).collect()
    }

    #[test]
    fn acknowledged_and_unreadable_is_lost() {
        let books = ledger(&[(0, Accepted), (1, Accepted), (2, Accepted)]);
        let settled = books.settle(numbers(&[0, 2]));
        assert_eq!(settled.lost, numbers(&[1]));
        assert_eq!(settled.duplicated, vec![]);
        assert_eq!(settled.readable, 2);
    }

    #[test]
    fn an_unknown_message_may_be_there_or_not() {
        let books = ledger(&[(0, Unknown), (1, Unknown)]);
        let settled = books.settle(numbers(&[1]));
        assert_eq!(settled.lost, vec![]);
        assert_eq!((settled.unknown, settled.unknown_stored), (2, 1));
    }

    #[test]
    fn a_message_read_twice_is_duplicated_once() {
        let books = ledger(&[(0, Accepted), (1, Accepted)]);
        let settled = books.settle(numbers(&[1, 0, 1, 1]));
        assert_eq!(settled.duplicated, numbers(&[1]));
        assert_eq!(settled.readable, 2);
    }

    #[test]
    fn a_refused_message_that_is_stored_shows() {
        let books = ledger(&[(0, Refused)]);
        assert_eq!(books.settle(numbers(&[0])).refused_stored, numbers(&[0]));
    }

    #[test]
    fn the_largest_gap_is_between_accepted_messages_only() {
        let books = ledger(&[
            (0, Accepted),
            (1, Refused),
            (2, Unknown),
            (3, Accepted),
            (4, Accepted),
        ]);
        let gap = books.largest_gap(Duration::ZERO);
        assert_eq!(gap.length(), Duration::from_millis(300));
        // The first gap ended before: only the short one is left.
        let later = books.largest_gap(Duration::from_millis(301));
        assert_eq!(later.length(), Duration::from_millis(100));
        assert_eq!(
            Ledger::default().largest_gap(Duration::ZERO),
            Gap::default()
        );
    }

    #[test]
    fn the_report_names_what_was_lost() {
        let settled = ledger(&[(0, Accepted), (7, Accepted), (9, Accepted)]).settle(numbers(&[0]));
        let text = settled.to_string();
        assert!(text.contains("2 (numbers 7 to 9)"), "{text}");
    }
}
