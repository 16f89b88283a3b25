//! `rekindle drill`: breaks a service on purpose and reports how it comes back.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use super::probe::Instance;
use super::settings::Settings;
use super::sources::{self, NoConfig};
use super::{DrillArgs, EXIT_INTERRUPTED, EXIT_USAGE};
use crate::drill::{self, NoDrill, Own, Plan, Progress, Scenario, Subject};
use crate::paths::{Environment, PathError};

/// Why there was no drill.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("there is no scenario {}; there are {}", .0.join(", "), names())]
    Unknown(Vec<String>),
    #[error("the scenario {0} cannot be done to this service, only to the demo gateway")]
    DoesNotFit(&'static str),
    #[error("nobody was asked whether the running service may be broken; give --yes")]
    NotAsked,
    #[error("nothing was broken")]
    No,
    #[error(transparent)]
    NotFound(#[from] PathError),
    #[error("{0}")]
    Config(#[from] NoConfig),
    #[error(transparent)]
    Drill(#[from] NoDrill),
    #[error("cannot write the report: {0}")]
    Report(#[from] io::Error),
}

impl Refused {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Unknown(_) | Self::DoesNotFit(_) | Self::NotAsked => EXIT_USAGE,
            Self::Config(error) => error.exit_code(),
            Self::No | Self::NotFound(_) | Self::Drill(_) | Self::Report(_) => 1,
        }
    }
}

/// Drills, prints the report, and gives 0 if everything has passed.
pub fn run(args: &DrillArgs) -> ExitCode {
    let done = match &args.inside {
        // A process of the sandbox, not the drill.
        Some(directory) => drill::enter(directory, &args.command).map_err(|why| (why, 1)),
        None if args.list => list().map_err(|error| (Refused::from(error).to_string(), 1)),
        None => drill(args).map_err(|error| (error.to_string(), error.exit_code())),
    };
    let code = done.unwrap_or_else(|(why, code)| {
        for line in why.lines() {
            // If stderr is closed nobody can be told; the exit code still says it.
            writeln!(io::stderr(), "rekindle: {line}").ok();
        }
        code
    });
    ExitCode::from(code)
}

fn list() -> io::Result<u8> {
    let mut out = io::stdout();
    for Scenario { name, simulates, .. } in drill::all() {
        writeln!(out, "{name:21} {simulates}")?;
    }
    Ok(0)
}

fn drill(args: &DrillArgs) -> Result<u8, Refused> {
    let subject = subject(args)?;
    let plan = Plan {
        scenarios: chosen(&args.scenario, &subject)?,
        repeat: args.repeat,
        seed: args.seed.unwrap_or_else(|| crate::clock::wall().as_secs()),
        objective: args.rto.or_else(|| subject.objective()),
        own_tree: args.own_tree,
        subject,
    };
    if let Subject::Running { name, .. } = &plan.subject
        && !args.yes
    {
        ask_whether_to_break(name, &plan.scenarios)?;
    }
    let (all, shown) = (plan.size(), io::stderr().is_terminal());
    let clear = if shown { "\r\x1b[K" } else { "" };
    // If stderr is closed nobody can be told.
    let report = drill::run(&plan, &mut |progress| match progress {
        Progress::Scenario(number, Scenario { name, simulates, .. }) if shown => {
            write!(io::stderr(), "{clear}{number}/{all} {name}: {simulates}").ok();
        }
        Progress::Scenario(..) => {}
        Progress::Waiting(news) => {
            writeln!(io::stderr(), "{clear}rekindle: {news}").ok();
        }
    });
    write!(io::stderr(), "{clear}").ok();
    let report = report?;
    io::stdout().write_all(report.written(args.output).as_bytes())?;
    if report.is_interrupted() {
        return Ok(EXIT_INTERRUPTED);
    }
    Ok(u8::from(!report.has_passed()))
}

fn subject(args: &DrillArgs) -> Result<Subject, Refused> {
    if let Some(name) = &args.live {
        // Read by hand: clap would have a drill that is not of a running service refuse it.
        let variable = || std::env::var_os("REKINDLE_STATE_DIR").map(PathBuf::from);
        let state_dir = args.state_dir.clone().or_else(variable);
        let state_dir = state_dir.filter(|path| !path.as_os_str().is_empty());
        let instance = Instance { name: Some(name.clone()), state_dir };
        let socket = instance.control_socket(&Environment::of_process())?;
        return Ok(Subject::Running { name: name.clone(), socket });
    }
    let Some(file) = &args.config else { return Ok(Subject::Demo) };
    let loaded = sources::config(Some(file), &Settings::default(), &[])?;
    // A configuration without a service is refused when it is read.
    let own = Own::new(file.clone(), loaded.config);
    Ok(own.map_or(Subject::Demo, |own| Subject::Own(Box::new(own))))
}

/// Whoever breaks a running service has said yes to that.
fn ask_whether_to_break(name: &str, scenarios: &[&Scenario]) -> Result<(), Refused> {
    if !io::stdin().is_terminal() {
        return Err(Refused::NotAsked);
    }
    let what: Vec<_> = scenarios.iter().map(|scenario| scenario.name).collect();
    let what = what.join(", ");
    write!(io::stderr(), "This breaks the running service {name}: {what}. Go on? [y/N] ").ok();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(Refused::No) }
}

/// The scenarios of these names, or all that can be done.
fn chosen(names: &[String], subject: &Subject) -> Result<Vec<&'static Scenario>, Refused> {
    let fits = |scenario: &Scenario| subject.fits(scenario);
    if names.is_empty() {
        return Ok(drill::all().filter(|scenario| fits(scenario)).collect());
    }
    let find = |name: &str| drill::all().find(|scenario| scenario.name == name);
    let unknown = names.iter().filter(|name| find(name).is_none());
    let unknown: Vec<_> = unknown.cloned().collect();
    if !unknown.is_empty() {
        return Err(Refused::Unknown(unknown));
    }
    let fitting = |scenario: &'static Scenario| {
        if fits(scenario) { Ok(scenario) } else { Err(Refused::DoesNotFit(scenario.name)) }
    };
    names.iter().filter_map(|name| find(name)).map(fitting).collect()
}

/// All names, for whoever has misspelt one.
fn names() -> String {
    drill::all().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ")
}
