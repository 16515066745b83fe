//! What it costs: figures printed, never asserted.
