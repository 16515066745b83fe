//! How far two logs agree: the last record boundary up to which their bytes are equal (safety §1.5).

use crate::error::StoreError;
use crate::store::Store;

impl Store {
    /// The last record boundary in `from..=to` up to which the other log holds the same bytes from `from` on.
    ///
    /// `from` and `to` are boundaries of this log. `same(a, b, crc)` says whether the other log's bytes in `a..b`
    /// have that CRC-32; it is asked about once per halving, and every byte is summed at most twice here.
    ///
    /// # Errors
    /// What `same` returns, or as [`Store::extent`].
    pub fn last_equal_boundary<E: From<StoreError>>(
        &self,
        from: u64,
        to: u64,
        mut same: impl FnMut(u64, u64, u32) -> Result<bool, E>,
    ) -> Result<u64, E> {
        let mut equal = from;
        // The smallest boundary known to lie behind a difference.
        let mut differs = None;
        while let Some(next) = self.probe(equal, differs, to)? {
            let crc = self.crc_of(equal, next)?;
            if same(equal, next, crc)? {
                equal = next;
            } else {
                differs = Some(next);
            }
        }
        Ok(equal)
    }

    /// The boundary to ask about next: first the end, then halfway; `None` when nothing is left between.
    fn probe(&self, equal: u64, differs: Option<u64>, to: u64) -> Result<Option<u64>, StoreError> {
        let Some(differs) = differs else {
            return Ok((equal < to).then_some(to));
        };
        let middle = equal + (differs - equal) / 2;
        let below = self.boundary_between(equal, middle)?;
        if below > equal {
            return Ok(Some(below));
        }
        // One record spans the middle: its end is the last candidate.
        let next = self.boundaries(equal, differs)?.nth(1).transpose()?;
        Ok(next.filter(|next| *next < differs))
    }
}
