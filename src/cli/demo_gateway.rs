//! `rekindle demo-gateway`: a small gateway to play with, the child of the demo.

use crate::demo::{self, Options};

/// The hidden argument that makes `demo-gateway` the orphan that another one leaves behind.
pub const ORPHAN_FLAG: &str = "--orphan";

/// Runs it until it is told to end; returns the exit code.
pub fn run(options: &Options, orphan: bool) -> u8 {
    if orphan { demo::run_orphan() } else { demo::run(options) }
}
