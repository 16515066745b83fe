//! A read-only view of a broker's commit log, through our own descriptors, while its JVM runs (facts §5.1).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A file's name is its first offset in this many digits.
const NAME_DIGITS: usize = 20;

/// The first offset of the first file; 0 if there is none yet.
pub(crate) fn min_offset(folder: &Path) -> io::Result<u64> {
    let mut min = None;
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let Some(offset) = name.to_str().and_then(offset_of_name) else {
            continue;
        };
        min = Some(min.map_or(offset, |least: u64| least.min(offset)));
    }
    Ok(min.unwrap_or(0))
}

fn offset_of_name(name: &str) -> Option<u64> {
    let digits = name.len() == NAME_DIGITS && name.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| name.parse().ok()).flatten()
}

/// Compares stretches of a log with bytes from elsewhere.
#[derive(Debug)]
pub(crate) struct LogComparer {
    folder: PathBuf,
    file_size: u64,
    open: Option<(u64, File)>,
    buffer: Vec<u8>,
}

impl LogComparer {
    pub(crate) fn new(folder: &Path, file_size: u64) -> Self {
        Self {
            folder: folder.to_owned(),
            file_size: file_size.max(1),
            open: None,
            buffer: Vec::new(),
        }
    }

    /// The first offset at which the log differs from `theirs`, which begins at `offset`.
    ///
    /// # Errors
    /// If the log has no such bytes or cannot be read: that is no proof of anything.
    pub(crate) fn first_difference(
        &mut self,
        offset: u64,
        theirs: &[u8],
    ) -> io::Result<Option<u64>> {
        let mut at = offset;
        let mut rest = theirs;
        while !rest.is_empty() {
            let first = at - at % self.file_size;
            let in_file = usize::try_from(first + self.file_size - at).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(rest.len().min(in_file));
            self.read(first, at - first, now.len())?;
            if self.buffer != now {
                let same = self
                    .buffer
                    .iter()
                    .zip(now)
                    .take_while(|(mine, other)| mine == other)
                    .count();
                return Ok(Some(at + same as u64));
            }
            at += now.len() as u64;
            rest = later;
        }
        Ok(None)
    }

    fn read(&mut self, first: u64, within: u64, count: usize) -> io::Result<()> {
        let file = match self.open.take() {
            Some((opened, file)) if opened == first => file,
            _ => File::open(self.folder.join(format!("{first:0NAME_DIGITS$}")))?,
        };
        self.buffer.resize(count, 0);
        let read = file.read_exact_at(&mut self.buffer, within);
        self.open = Some((first, file));
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(files: &[(u64, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (first, bytes) in files {
            std::fs::write(folder.path().join(format!("{first:020}")), bytes).unwrap();
        }
        folder
    }

    #[test]
    fn the_first_file_gives_the_min_offset() {
        let folder = log(&[(4096, b"b"), (2048, b"a"), (8192, b"c")]);
        std::fs::write(folder.path().join("0000000000000000000x"), b"").unwrap();
        std::fs::write(folder.path().join("12"), b"").unwrap();
        assert_eq!(min_offset(folder.path()).unwrap(), 2048);
        assert_eq!(min_offset(log(&[]).path()).unwrap(), 0);
        assert!(min_offset(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_difference_is_found_across_files() {
        let folder = log(&[(0, b"abcd"), (4, b"efgh"), (8, b"ijkl")]);
        let mut mine = LogComparer::new(folder.path(), 4);
        assert_eq!(mine.first_difference(1, b"bcdefghij").unwrap(), None);
        assert_eq!(mine.first_difference(1, b"bcdefgXij").unwrap(), Some(7));
        assert!(mine.first_difference(10, b"klm").is_err());
        let mut short = LogComparer::new(folder.path(), 8);
        assert!(short.first_difference(0, b"abcdefgh").is_err());
    }
}
