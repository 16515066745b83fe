//! A commit log as who wrote what: enough to tell whether two logs are the same bytes.

/// Runs of bytes by one broker process each: (process, end). A byte is the same where process and offset are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log(Vec<(u64, u64)>);

impl Log {
    pub fn end(&self) -> u64 {
        self.0.last().map_or(0, |(_, end)| *end)
    }

    pub fn append(&mut self, process: u64, bytes: u64) {
        let end = self.end() + bytes;
        match self.0.last_mut() {
            Some((last, run)) if *last == process => *run = end,
            _ => self.0.push((process, end)),
        }
    }

    pub fn cut(&mut self, to: u64) {
        while let Some((process, end)) = self.0.pop() {
            if self.end() < to {
                self.0.push((process, to.min(end)));
                return;
            }
        }
    }

    fn writer(&self, at: u64) -> Option<(u64, u64)> {
        self.0.iter().find(|(_, end)| *end > at).copied()
    }

    /// Up to where both hold the same bytes.
    pub fn common(&self, other: &Self) -> u64 {
        let mut at = 0;
        while let (Some((a, end_a)), Some((b, end_b))) = (self.writer(at), other.writer(at)) {
            if a != b {
                return at;
            }
            at = end_a.min(end_b);
        }
        at
    }

    pub fn is_prefix_of(&self, other: &Self) -> bool {
        self.common(other) == self.end()
    }

    /// Takes up to `most` bytes over from a log that this one is a prefix of.
    pub fn copy(&mut self, from: &Self, most: u64) {
        let upto = from.end().min(self.end() + most);
        while self.end() < upto {
            let Some((process, end)) = from.writer(self.end()) else {
                return;
            };
            let bytes = end.min(upto) - self.end();
            self.append(process, bytes);
        }
    }
}
