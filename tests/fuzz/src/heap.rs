//! What an input costs in memory: all bytes that were asked for while it was read, given back or not.

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Does it, and counts the bytes.
pub(crate) fn counted<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let region = Region::new(HEAP);
    let made = work();
    let change = region.change();
    let grown = usize::try_from(change.bytes_reallocated).unwrap_or_default();
    (made, change.bytes_allocated.saturating_add(grown))
}
