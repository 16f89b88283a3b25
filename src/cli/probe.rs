//! `rekindle probe`: not merged.

use std::process::ExitCode;

use super::ProbeArgs;

/// Probes once.
pub fn run(_args: &ProbeArgs) -> ExitCode {
    ExitCode::FAILURE
}
