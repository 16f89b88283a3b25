//! `rekindle demo-gateway`: not merged.

use std::process::ExitCode;

use super::DemoGatewayArgs;

/// Serves the demo gateway.
pub fn run(_args: &DemoGatewayArgs) -> ExitCode {
    ExitCode::FAILURE
}
