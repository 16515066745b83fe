//! CRC-32 over ranges of the log: the proof that two members hold the same bytes.

use std::os::unix::fs::FileExt;

use crate::error::{At, StoreError};
use crate::segments::Segments;
use crate::sparse::BLOCK;

/// CRC-32 (IEEE, as in zlib) of the bytes in `from..to`.
pub(crate) fn of_range(segments: &Segments, from: u64, to: u64) -> Result<u32, StoreError> {
    let (min, end) = (segments.min(), segments.limit());
    for asked in [from, to] {
        if !(min..=end).contains(&asked) {
            return Err(StoreError::OutOfRange { asked, min, end });
        }
    }
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = Vec::new();
    for segment in segments.all() {
        let file_to = to.min(segment.end);
        let mut at = from.max(segment.start);
        if at >= file_to {
            continue;
        }
        let file = segment.open()?;
        while at < file_to {
            let count = usize::try_from(file_to - at).map_or(BLOCK, |left| left.min(BLOCK));
            buffer.resize(count, 0);
            file.read_exact_at(&mut buffer, at - segment.start)
                .at("read", &segment.path)?;
            hasher.update(&buffer);
            at += u64::try_from(count).unwrap_or(u64::MAX);
        }
    }
    Ok(hasher.finalize())
}
