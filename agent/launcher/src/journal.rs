//! One line on stderr per change. stdout and stderr are the broker's too; the container's runtime adds the time.

use std::{
    fmt,
    io::{Write, stderr},
    os::fd::AsFd,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Longer lines are cut: a pipe that is ready takes this much without blocking.
const MAX_LINE: usize = 2_048;

/// Writes lines, and never waits for a reader: the same thread enforces the permit.
#[derive(Debug)]
pub(crate) struct Journal {
    program: &'static str,
    dropped: u64,
}

impl Journal {
    pub(crate) fn new(program: &'static str) -> Self {
        Self {
            program,
            dropped: 0,
        }
    }

    /// Writes one line, or counts it as dropped when nobody reads stderr.
    pub(crate) fn say(&mut self, text: fmt::Arguments<'_>) {
        let err = stderr();
        let mut ready = [PollFd::new(err.as_fd(), PollFlags::POLLOUT)];
        if !matches!(poll(&mut ready, PollTimeout::ZERO), Ok(1)) {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        let mut line = match self.dropped {
            0 => format!("{}: {text}", self.program),
            dropped => format!(
                "{}: {text} ({dropped} lines before this one were dropped)",
                self.program
            ),
        };
        self.dropped = 0;
        let mut end = line.len().min(MAX_LINE);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        line.truncate(end);
        line.push('\n');
        // A stderr that is gone must not stop the launcher.
        let _ = err.lock().write_all(line.as_bytes());
    }
}
