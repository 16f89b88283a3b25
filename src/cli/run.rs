//! `rekindle run`: not merged.

use std::process::ExitCode;

use crate::config::Config;

/// Runs the supervisor.
pub fn run(_config: Config, _warnings: &[String]) -> ExitCode {
    ExitCode::FAILURE
}
