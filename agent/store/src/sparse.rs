//! Files that are mostly holes: find what is not zero, make zeros.
//!
//! Commit-log files are preallocated at full length, so most of the last one was never written. Reading its holes
//! would fill the page cache with a gigabyte of nothing; the file system knows where the data is.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::unistd::{Whence, lseek};

/// Bytes read or written at a time.
pub(crate) const BLOCK: usize = 1 << 20;

/// Calls `visit` with the offset and content of each block in `from..to` that may hold data, in order. `visit` returns
/// whether to go on.
pub(crate) fn for_each_block(
    file: &File,
    from: u64,
    to: u64,
    mut visit: impl FnMut(u64, &[u8]) -> io::Result<bool>,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut at = from;
    while at < to {
        let Some((start, end)) = data_range(file, at, to)? else {
            return Ok(());
        };
        at = start;
        while at < end {
            let want = usize::try_from(end - at).map_or(BLOCK, |left| left.min(BLOCK));
            buffer.resize(want.max(buffer.len()), 0);
            let block = buffer.get_mut(..want).unwrap_or_default();
            file.read_exact_at(block, at)?;
            if !visit(at, block)? {
                return Ok(());
            }
            at += len(block);
        }
    }
    Ok(())
}

/// Calls `visit` with the position and bytes of each unit of `unit` bytes, in order, leaving out units that lie in
/// holes. `visit` returns whether to go on. A last part shorter than a unit is left out.
pub(crate) fn for_each_unit(
    file: &File,
    unit: usize,
    mut visit: impl FnMut(u64, &[u8]) -> bool,
) -> io::Result<()> {
    let mut pending = Pending {
        unit,
        at: 0,
        bytes: Vec::new(),
    };
    let mut go_on = true;
    for_each_block(file, 0, file.metadata()?.len(), |at, block| {
        go_on = pending.jump_to(at, &mut visit) && pending.take(block, &mut visit);
        Ok(go_on)
    })?;
    if go_on && !pending.bytes.is_empty() {
        pending.jump_to(u64::MAX, &mut visit);
    }
    Ok(())
}

/// The unit that a block ended in the middle of.
struct Pending {
    unit: usize,
    /// File position of the first byte.
    at: u64,
    bytes: Vec<u8>,
}

impl Pending {
    /// Skips a hole: the unit it begins in and the unit it ends in are completed with zeros.
    fn jump_to(&mut self, at: u64, visit: &mut impl FnMut(u64, &[u8]) -> bool) -> bool {
        let end = self.at + len(&self.bytes);
        if at == end {
            return true;
        }
        let mut go_on = true;
        if !self.bytes.is_empty() {
            self.bytes.resize(self.unit, 0);
            go_on = visit(self.at, &self.bytes);
        }
        let unit = u64::try_from(self.unit).unwrap_or(u64::MAX);
        self.at = at - at % unit;
        self.bytes.clear();
        let lead = usize::try_from(at % unit).unwrap_or_default();
        self.bytes.resize(lead, 0);
        go_on
    }

    fn take(&mut self, block: &[u8], visit: &mut impl FnMut(u64, &[u8]) -> bool) -> bool {
        self.bytes.extend_from_slice(block);
        let mut at = self.at;
        let mut units = self.bytes.chunks_exact(self.unit);
        for bytes in &mut units {
            if !visit(at, bytes) {
                return false;
            }
            at += len(bytes);
        }
        let rest = units.remainder().len();
        self.bytes.drain(..self.bytes.len() - rest);
        self.at = at;
        true
    }
}

/// The next range of data in `from..to`.
fn data_range(file: &File, from: u64, to: u64) -> io::Result<Option<(u64, u64)>> {
    let start = match seek(file, from, Whence::SeekData) {
        Ok(start) => start,
        Err(Errno::ENXIO) => return Ok(None),
        // A file system that does not know: everything is data.
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => return Ok(Some((from, to))),
        Err(error) => return Err(error.into()),
    };
    if start >= to {
        return Ok(None);
    }
    let end = seek(file, start, Whence::SeekHole)?.min(to);
    Ok(Some((start, end)))
}

fn seek(file: &File, at: u64, whence: Whence) -> Result<u64, Errno> {
    let at = i64::try_from(at).map_err(|_| Errno::EOVERFLOW)?;
    let found = lseek(file, at, whence)?;
    u64::try_from(found).map_err(|_| Errno::EOVERFLOW)
}

/// Offset just behind the last byte in `from..to` that is not zero.
pub(crate) fn end_of_data(file: &File, from: u64, to: u64) -> io::Result<Option<u64>> {
    let mut end = None;
    for_each_block(file, from, to, |at, block| {
        if !is_zero(block) {
            let last = block.iter().rposition(|b| *b != 0).unwrap_or_default();
            end = Some(at + len(block.get(..=last).unwrap_or_default()));
        }
        Ok(true)
    })?;
    Ok(end)
}

/// Whether every byte is zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Whole chunks without a branch per byte, so that the compiler uses wide registers.
    let mut chunks = bytes.chunks_exact(64);
    chunks.all(|chunk| chunk.iter().fold(0, |any, b| any | b) == 0)
        && chunks.remainder().iter().all(|b| *b == 0)
}

/// Makes `from..to` read as zeros without changing the file's length; the caller syncs.
pub(crate) fn zero(file: &File, from: u64, to: u64) -> io::Result<()> {
    let (Ok(at), Ok(count)) = (i64::try_from(from), i64::try_from(to.saturating_sub(from))) else {
        return Err(Errno::EOVERFLOW.into());
    };
    if count == 0 {
        return Ok(());
    }
    let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    match fallocate(file, hole, at, count) {
        Ok(()) => Ok(()),
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) => write_zeros(file, from, to),
        Err(error) => Err(error.into()),
    }
}

fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; BLOCK];
    for_each_block(file, from, to, |at, block| {
        if !is_zero(block) {
            file.write_all_at(zeros.get(..block.len()).unwrap_or_default(), at)?;
        }
        Ok(true)
    })
}

fn len(bytes: &[u8]) -> u64 {
    // A slice is never longer than u64 can say.
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(len: u64, writes: &[(u64, &[u8])]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        for (at, bytes) in writes {
            file.write_all_at(bytes, *at).unwrap();
        }
        file
    }

    #[test]
    fn the_end_of_data_is_found_between_holes() {
        let size = 8 << 20;
        let file = file_of(size, &[(10, b"a"), (5 << 20, b"bc\0\0")]);
        assert_eq!(end_of_data(&file, 0, size).unwrap(), Some((5 << 20) + 2));
        assert_eq!(end_of_data(&file, 0, 5 << 20).unwrap(), Some(11));
        assert_eq!(end_of_data(&file, 11, 5 << 20).unwrap(), None);
        assert_eq!(end_of_data(&file, (5 << 20) + 2, size).unwrap(), None);
        assert_eq!(end_of_data(&file_of(0, &[]), 0, 0).unwrap(), None);
    }

    #[test]
    fn units_across_holes_keep_their_places() {
        // The first unit of the second data block began in a hole, the one at 4080 ends in one.
        let size = 4 << 20;
        let data = (2 << 20) + 3;
        let file = file_of(size, &[(4080, &[1; 16]), (data, &[2; 30])]);
        let mut seen = Vec::new();
        for_each_unit(&file, 20, |at, bytes| {
            if !is_zero(bytes) {
                seen.push((at, bytes.iter().filter(|b| **b != 0).count()));
            }
            true
        })
        .unwrap();
        let at = data - data % 20;
        let first = usize::try_from(20 - data % 20).unwrap();
        assert_eq!(seen[0], (4080, 16));
        assert_eq!(seen[1], (at, first));
        let rest: usize = seen[1..].iter().map(|(_, count)| count).sum();
        assert_eq!(rest, 30);
    }

    #[test]
    fn zeroing_keeps_the_length_and_the_bytes_before() {
        type Zero = fn(&File, u64, u64) -> io::Result<()>;
        for zero in [zero as Zero, write_zeros] {
            let size = 3 << 20;
            let text = vec![7; 3 << 20];
            let file = file_of(size, &[(0, &text)]);
            zero(&file, 12_345, size).unwrap();
            assert_eq!(file.metadata().unwrap().len(), size);
            assert_eq!(end_of_data(&file, 0, size).unwrap(), Some(12_345));
        }
    }
}
