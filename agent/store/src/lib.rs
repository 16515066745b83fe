//! Offline work on a stopped broker's store: walk, cut, archive.
