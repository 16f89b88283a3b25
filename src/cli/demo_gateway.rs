//! `rekindle demo-gateway`: a small gateway to play with, the child of the demo.

use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use crate::demo::{self, Options};

/// Runs it until it is told to end, or, as an `orphan`, for ever.
pub fn run(
    host: IpAddr,
    port: u16,
    slow_start: Duration,
    ready_after: Duration,
    orphan: bool,
) -> ExitCode {
    if orphan {
        return ExitCode::from(demo::run_orphan());
    }
    let orphan_arguments = ["demo-gateway", "--orphan"].map(str::to_owned).into();
    let options = Options { host, port, slow_start, ready_after, orphan_arguments };
    ExitCode::from(demo::run(&options))
}
