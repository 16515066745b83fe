//! Pauses between tries: doubling, capped, jittered.

use std::time::Duration;

/// Grows from the first pause to the longest.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new((first, longest): (Duration, Duration)) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// The next pause: 75 … 125 % of its step, so that slaves that failed together do not try again together.
    pub(crate) fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.longest);
        let roll = getrandom::u32().unwrap_or(u32::MAX / 2) % 51;
        step * (75 + roll) / 100
    }

    pub(crate) const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_cap_and_starts_again() {
        let mut backoff = Backoff::new((Duration::from_millis(100), Duration::from_millis(400)));
        for step in [100, 200, 400, 400, 400] {
            let pause = backoff.pause();
            assert!(
                pause >= Duration::from_millis(step * 3 / 4)
                    && pause <= Duration::from_millis(step * 5 / 4)
            );
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(125));
    }
}
