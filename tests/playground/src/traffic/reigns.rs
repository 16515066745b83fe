//! Who accepted messages when, as probers saw it that ask every broker directly.

use std::time::Duration;

use serde::Serialize;

/// One message that a broker accepted. Times are since the start of the probing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    /// The broker, as its prober calls it.
    pub broker: String,
    /// When the request was begun.
    pub sent: Duration,
    /// When its acknowledgement was there. The broker accepted somewhere between the two.
    pub acknowledged: Duration,
}

/// A time in which one broker accepted, and no other one did in between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reign {
    /// The broker.
    pub broker: String,
    /// Its first acceptance was acknowledged here.
    pub first: Duration,
    /// Its last accepted message was sent here: until then it certainly went on.
    pub last: Duration,
    /// How many it accepted.
    pub accepted: u64,
}

/// Two brokers that accepted at the same time, beyond doubt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dispute {
    /// Accepted before the other did …
    pub old: String,
    /// … and again after this one had begun to.
    pub new: String,
    /// The newcomer's acceptance was acknowledged here.
    pub from: Duration,
    /// A later acceptance of the old one was sent here.
    pub to: Duration,
}

/// The reigns in their order. One per role change is what a healthy group shows.
#[must_use]
pub fn reigns(acceptances: &[Acceptance]) -> Vec<Reign> {
    let mut reigns: Vec<Reign> = Vec::new();
    for one in in_order(acceptances) {
        match reigns.last_mut() {
            Some(current) if current.broker == one.broker => {
                current.last = current.last.max(one.sent);
                current.accepted += 1;
            }
            _ => reigns.push(Reign {
                broker: one.broker.clone(),
                first: one.acknowledged,
                last: one.sent,
                accepted: 1,
            }),
        }
    }
    reigns
}

/// Every return of a broker within `shortest_reign` after another one took over: no honest group changes
/// its master twice in so short a time, so for that while both accepted.
#[must_use]
pub fn disputes(acceptances: &[Acceptance], shortest_reign: Duration) -> Vec<Dispute> {
    let reigns = reigns(acceptances);
    reigns
        .iter()
        .zip(reigns.iter().skip(1))
        .zip(reigns.iter().skip(2))
        .filter(|((old, _), back)| old.broker == back.broker)
        .filter(|((old, _), back)| back.first.saturating_sub(old.last) < shortest_reign)
        .map(|((old, new), back)| Dispute {
            old: old.broker.clone(),
            new: new.broker.clone(),
            from: new.first,
            to: back.last,
        })
        .collect()
}

fn in_order(acceptances: &[Acceptance]) -> Vec<&Acceptance> {
    let mut all: Vec<&Acceptance> = acceptances.iter().collect();
    all.sort_by_key(|one| (one.acknowledged, one.sent));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORTEST: Duration = Duration::from_millis(500);

    fn at(broker: &str, ms: u64) -> Acceptance {
        Acceptance {
            broker: broker.to_owned(),
            sent: Duration::from_millis(ms),
            acknowledged: Duration::from_millis(ms + 1),
        }
    }

    #[test]
    fn a_fail_over_and_a_switch_back_are_three_reigns_and_no_dispute() {
        let seen = [
            at("a", 0),
            at("a", 20),
            at("b", 4_000),
            at("b", 9_000),
            at("a", 9_600),
        ];
        let reigns = reigns(&seen);
        let order: Vec<&str> = reigns.iter().map(|reign| reign.broker.as_str()).collect();
        assert_eq!(order, ["a", "b", "a"]);
        assert_eq!(reigns[0].accepted, 2);
        assert_eq!(disputes(&seen, SHORTEST), vec![]);
    }

    #[test]
    fn two_masters_at_once_are_a_dispute() {
        // Probers report in any order.
        let seen = [at("a", 0), at("a", 40), at("b", 20), at("b", 60)];
        let found = disputes(&seen, SHORTEST);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].old.as_str(), found[0].new.as_str()), ("a", "b"));
    }

    #[test]
    fn nothing_accepted_is_no_reign() {
        assert_eq!(reigns(&[]), vec![]);
        assert_eq!(disputes(&[], SHORTEST), vec![]);
    }
}
