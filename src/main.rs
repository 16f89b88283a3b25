//! `rekindle`: arguments → configuration → command → exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use rekindle::cli::sources::{self, NoConfig};
use rekindle::cli::{Cli, Command, check, demo_gateway, drill, incidents, probe, run, status};

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => {
            run::wait_for_descriptors();
            let file = run::watched_file(&args);
            match sources::config(args.config.as_deref(), &args.settings, &args.command) {
                Ok(loaded) => run::run(loaded, args, file),
                Err(error) => refuse(&error),
            }
        }
        Command::Check(args) => match check::report(&args) {
            Ok(report) => print(&report),
            Err(error) => refuse(&error),
        },
        Command::Probe(args) => probe::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Incidents(args) => incidents::run(&args),
        Command::Drill(args) => drill::run(&args),
        Command::DemoGateway(args) => demo_gateway::run(&args),
    }
}

fn refuse(error: &NoConfig) -> ExitCode {
    for line in error.to_string().lines() {
        complain(line);
    }
    ExitCode::from(error.exit_code())
}

fn print(text: &str) -> ExitCode {
    let mut output = io::stdout();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // `rekindle check | head`: the reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("cannot write to stdout: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn complain(line: &str) {
    // If stderr is closed nobody can be told; the exit code still says it.
    writeln!(io::stderr(), "rekindle: {line}").ok();
}
