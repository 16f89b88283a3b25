//! `rekindle demo-gateway`: a small gateway to play with, the child of the demo.

use std::process::ExitCode;

use super::DemoGatewayArgs;
use crate::demo::{self, Options};

/// Runs it until it is told to end, or, as an `orphan`, for ever.
pub fn run(args: &DemoGatewayArgs) -> ExitCode {
    if args.orphan {
        return ExitCode::from(demo::run_orphan());
    }
    ExitCode::from(demo::run(&Options {
        host: args.host,
        port: args.port,
        slow_start: args.slow_start,
        ready_after: args.ready_after,
        orphan_arguments: ["demo-gateway", "--orphan"].map(str::to_owned).into(),
    }))
}
