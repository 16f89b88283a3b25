//! Runs one short program beside the tree to its end, and leaves nothing of it.
pub const PROBE_VARIABLE: &str = "REKINDLE_PROBE";
