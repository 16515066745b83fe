//! A commit log as who wrote what: every byte belongs to one message of one process, and one process is one term.

/// Bytes of one message.
pub(crate) const MESSAGE: u64 = 1_000;

/// Runs of messages by one broker process each: (process, end). A byte is the same where process and offset are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log(Vec<(u64, u64)>);

impl Log {
    pub(crate) fn end(&self) -> u64 {
        self.0.last().map_or(0, |(_, end)| *end)
    }

    /// Who wrote from where to where, oldest first.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        let starts = std::iter::once(0).chain(self.0.iter().map(|(_, end)| *end));
        starts
            .zip(self.0.iter())
            .map(|(start, (who, end))| (*who, start, *end))
    }

    pub(crate) fn append(&mut self, process: u64, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let end = self.end() + bytes;
        match self.0.last_mut() {
            Some((last, run)) if *last == process => *run = end,
            _ => self.0.push((process, end)),
        }
    }

    /// Keeps what lies below `to`.
    pub(crate) fn cut(&mut self, to: u64) {
        while let Some((process, end)) = self.0.pop() {
            if self.end() < to {
                self.0.push((process, to.min(end)));
                return;
            }
        }
    }

    /// The last bytes are lost, down to `to` or the next whole message below.
    pub(crate) fn tear(&mut self, to: u64) {
        self.cut(self.whole(to));
    }

    /// The end of the last whole message at or below `to`.
    fn whole(&self, to: u64) -> u64 {
        let run = self.runs().find(|(_, start, end)| *start < to && to < *end);
        run.map_or(to, |(_, start, _)| start + (to - start) / MESSAGE * MESSAGE)
    }

    /// Other bytes from `from` on, as long as before: nobody wrote them.
    pub(crate) fn rot(&mut self, from: u64, nobody: u64) {
        let end = self.end();
        let from = self.whole(from);
        self.cut(from);
        self.append(nobody, end.saturating_sub(from));
    }

    /// Up to where both hold the same bytes.
    pub(crate) fn common(&self, other: &Self) -> u64 {
        let mut at = 0;
        for (x, y) in self.0.iter().zip(&other.0) {
            if x.0 != y.0 {
                break;
            }
            at = x.1.min(y.1);
            if x.1 != y.1 {
                break;
            }
        }
        at
    }

    pub(crate) fn is_prefix_of(&self, other: &Self) -> bool {
        self.common(other) == self.end()
    }

    /// Takes whole messages up to `upto` over from a log that this one is a prefix of.
    pub(crate) fn copy(&mut self, from: &Self, upto: u64) {
        let upto = from.whole(upto.min(from.end()));
        if upto <= self.end() {
            return;
        }
        for (who, _, end) in from.runs() {
            let end = end.min(upto);
            if end > self.end() {
                let bytes = end - self.end();
                self.append(who, bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(runs: &[(u64, u64)]) -> Log {
        let mut log = Log::default();
        for (who, bytes) in runs {
            log.append(*who, *bytes);
        }
        log
    }

    #[test]
    fn logs_are_compared_by_who_wrote_what() {
        let (a, b) = (log(&[(1, 3000), (2, 5000)]), log(&[(1, 3000), (3, 5000)]));
        assert_eq!(a.common(&b), 3000);
        assert_eq!(log(&[(1, 2000)]).common(&a), 2000);
        assert_eq!(log(&[(1, 4000)]).common(&a), 3000);
        assert!(log(&[(1, 3000), (2, 1000)]).is_prefix_of(&a) && !a.is_prefix_of(&b));
    }

    #[test]
    fn a_copy_and_a_tear_end_at_a_whole_message() {
        let from = log(&[(1, 100), (1, 3000), (2, 5000)]);
        let mut to = Log::default();
        to.copy(&from, 4_650);
        assert_eq!(to, log(&[(1, 3100), (2, 1000)]));
        to.tear(3_999);
        assert_eq!(to, log(&[(1, 3100)]));
        to.rot(2_500, 9);
        assert_eq!(to, log(&[(1, 2000), (9, 1100)]));
    }
}
