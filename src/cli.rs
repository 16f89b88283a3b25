//! What can be written on the command line, and nothing of what it does: each command is carried
//! out by the file of its name in `cli/`.

pub mod check;
pub mod demo_gateway;
pub mod drill;
pub mod incidents;
pub mod probe;
pub mod run;
pub mod settings;
pub mod sources;
pub mod status;

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgGroup, Args, Parser, Subcommand};

use crate::config::{StatusSet, keys, parse_duration};
use crate::drill::Format;
use settings::Settings;

/// Usage was wrong.
pub const EXIT_USAGE: u8 = 2;
/// Somebody interrupted it (128 + SIGINT).
pub const EXIT_INTERRUPTED: u8 = 130;
/// The configuration is invalid (`EX_CONFIG`).
pub const EXIT_CONFIG: u8 = 78;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "rekindle",
    version,
    about = "Keeps one long-running process healthy: boot hook, child, probes, restart",
    long_about = "Rekindle starts a process in the place where you would start it yourself, and \
                  keeps it healthy: it runs the boot hook, starts the child, probes its /health, \
                  and whenever the child exits, hangs or never comes up, it takes the whole \
                  process tree down, runs the hook again and starts the child again with \
                  backoff, until a probe passes. Every outage is measured for Prometheus.",
    after_help = AFTER_HELP,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a process and keep it healthy
    #[command(after_help = RUN_AFTER_HELP)]
    Run(RunArgs),
    /// Validate a configuration and print what would happen when
    #[command(after_help = CHECK_AFTER_HELP)]
    Check(CheckArgs),
    /// Ask once whether something is healthy: exit code 0 if it is, 1 if not
    #[command(after_help = PROBE_AFTER_HELP)]
    Probe(ProbeArgs),
    /// Show what the service is doing, since when, and what comes next
    #[command(after_help = STATUS_AFTER_HELP)]
    Status(StatusArgs),
    /// Show what broke, when, for how long and why
    #[command(after_help = INCIDENTS_AFTER_HELP)]
    Incidents(IncidentsArgs),
    /// Break a service on purpose, and report how it comes back
    #[command(after_help = DRILL_AFTER_HELP)]
    Drill(DrillArgs),
    /// Serve a small gateway that can be broken on purpose, to try things out
    #[command(after_help = DEMO_AFTER_HELP)]
    DemoGateway(DemoGatewayArgs),
}

/// `rekindle run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Configuration file [default: /etc/rekindle/rekindle.toml if no COMMAND is given]
    #[arg(long, value_name = "FILE", env = keys::CONFIG.env, hide_env_values = true)]
    #[arg(value_parser = file())]
    pub config: Option<PathBuf>,
    /// What lies over the file.
    #[command(flatten)]
    pub settings: Settings,
    /// The process to keep healthy, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `rekindle check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Configuration file [default: /etc/rekindle/rekindle.toml if no COMMAND is given]
    #[arg(value_name = "FILE", env = keys::CONFIG.env, hide_env_values = true)]
    #[arg(value_parser = file())]
    pub file: Option<PathBuf>,
    /// What lies over the file.
    #[command(flatten)]
    pub settings: Settings,
    /// The process to keep healthy, as it would be given to run
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `rekindle probe`.
#[derive(Args, Debug)]
#[group(skip)]
#[command(group(ArgGroup::new("target").required(true).args(["url", "ready", "live"])))]
pub struct ProbeArgs {
    /// URL that must answer with an expected status
    #[arg(value_name = "URL")]
    pub url: Option<String>,
    /// Ask the running rekindle whether its service serves
    #[arg(long)]
    pub ready: bool,
    /// Ask the running rekindle whether it is alive itself
    #[arg(long)]
    pub live: bool,
    /// Which rekindle is asked.
    #[command(flatten)]
    pub instance: InstanceArgs,
    /// How long the answer may take in all
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub timeout: Duration,
    /// Statuses that are good, with URL
    #[arg(long, value_name = "SET", default_value = "200-299", value_parser = statuses)]
    pub expect_status: StatusSet,
}

/// `rekindle status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Show it again every second, until interrupted
    #[arg(long)]
    pub watch: bool,
    /// Print the document of /status, on one line
    #[arg(long)]
    pub json: bool,
    /// Which rekindle is asked.
    #[command(flatten)]
    pub instance: InstanceArgs,
}

/// `rekindle incidents`.
#[derive(Args, Debug)]
pub struct IncidentsArgs {
    /// Show this one in full: its ID, how its full ID begins, or last
    #[arg(value_name = "ID")]
    pub id: Option<String>,
    /// Only the latest so many [default: 20, with --json all]
    #[arg(long, value_name = "N", conflicts_with = "id")]
    pub last: Option<NonZeroUsize>,
    /// Print them as they are kept, one JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Configuration file that says where they are kept
    #[arg(long, value_name = "FILE", env = keys::CONFIG.env, hide_env_values = true)]
    #[arg(value_parser = file())]
    pub config: Option<PathBuf>,
    /// Whose they are.
    #[command(flatten)]
    pub instance: InstanceArgs,
}

/// Which of the running rekindles is asked.
#[derive(Args, Debug)]
pub struct InstanceArgs {
    /// Which rekindle to ask, if several run here
    #[arg(long, value_name = "NAME", env = "REKINDLE_NAME", hide_env_values = true)]
    pub name: Option<String>,
    /// Its state directory, if it was given one
    #[arg(long, value_name = "DIR", env = "REKINDLE_STATE_DIR", hide_env_values = true)]
    pub state_dir: Option<PathBuf>,
}

/// `rekindle drill`.
#[derive(Args, Debug)]
pub struct DrillArgs {
    /// Drill the service of this file instead of the demo gateway
    #[arg(long, value_name = "FILE", value_parser = file())]
    pub config: Option<PathBuf>,
    /// Drill the running instance of this name, where it runs
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub live: Option<String>,
    /// Its state directory, if it was given one [default: `$REKINDLE_STATE_DIR`]
    #[arg(long, value_name = "DIR", requires = "live")]
    pub state_dir: Option<PathBuf>,
    /// Break the running service without asking
    #[arg(long, requires = "live")]
    pub yes: bool,
    /// Only these scenarios; may be given several times [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub scenario: Vec<String>,
    /// Name the scenarios, and do nothing
    #[arg(long)]
    pub list: bool,
    /// Do everything so often
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// Choose the random moments as in the drill that reported this
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Fail if a recovery takes longer [default: the objective of FILE]
    #[arg(long, value_name = "DURATION", value_parser = objective)]
    pub rto: Option<Duration>,
    /// Form of the report: table, json, junit, html
    #[arg(long, value_name = "FORM", value_enum, default_value_t = Format::Table)]
    #[arg(hide_possible_values = true)]
    pub output: Format,
    /// Use no namespaces even where they are allowed
    #[arg(long)]
    pub own_tree: bool,
    /// Be the first process of the drill's sandbox in this directory.
    #[arg(long, hide = true, value_name = "DIR")]
    pub inside: Option<PathBuf>,
    /// What that becomes.
    #[arg(last = true, hide = true)]
    pub command: Vec<String>,
}

/// `rekindle demo-gateway`.
#[derive(Args, Debug)]
pub struct DemoGatewayArgs {
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 18789)]
    pub port: u16,
    /// Open the port only after this
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub slow_start: Duration,
    /// Answer /readyz with 503 until this has passed
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub ready_after: Duration,
    /// Be the orphan that a broken gateway leaves behind.
    #[arg(long, hide = true)]
    pub orphan: bool,
}

/// A path that may be empty, as an unset variable is in a Compose file.
fn file() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|why| format!("it {why}"))
}

fn objective(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it leaves no time to recover".to_owned()),
        objective => Ok(objective),
    }
}

fn statuses(text: &str) -> Result<StatusSet, String> {
    text.parse().map_err(|why| format!("it {why}"))
}

const AFTER_HELP: &str = "\
Examples:
  rekindle run --health http://127.0.0.1:18789/health -- openclaw gateway run --port 18789
  rekindle run --config rekindle.toml
  rekindle check rekindle.toml
  rekindle probe --ready

Exit codes of run:
  0    asked to stop, and everything ended by itself
  137  asked to stop, and something had to be killed
  2    wrong usage      78  invalid configuration
  10   restarts spent   69  boot hook failed (each only if configured so)
  73   another rekindle uses the state directory
  1    anything else; a run that ends with its child has the child's code";

const RUN_AFTER_HELP: &str = "\
Examples:
  rekindle run --health http://127.0.0.1:18789/health -- openclaw gateway run --port 18789
  rekindle run --config rekindle.toml --listen 0.0.0.0:7354
  REKINDLE_CONFIG=rekindle.toml rekindle run

Every flag is a key of the configuration file and an environment variable too
(--stop-timeout: REKINDLE_STOP_TIMEOUT).
A flag wins over the environment, the environment over the file, the file over the default.
An empty variable counts as unset, and none of them is passed on to the child.
Relative paths start in the working directory, those in the file where the file is.
`rekindle check` takes the same arguments and says what would happen when.";

const CHECK_AFTER_HELP: &str = "\
Examples:
  rekindle check rekindle.toml
  rekindle check --health http://127.0.0.1:18789/health -- openclaw gateway run

Exit code 78 if anything is wrong, with one line for each problem.";

const PROBE_AFTER_HELP: &str = "\
Examples:
  rekindle probe http://127.0.0.1:18789/health --expect-status 200-299,401
  HEALTHCHECK CMD [\"rekindle\", \"probe\", \"--ready\"]

--ready and --live ask the rekindle of this sandbox through its control socket, never a port.";

const DRILL_AFTER_HELP: &str = "\
Examples:
  rekindle drill
  rekindle drill --rto 5s --scenario power-cycle --repeat 10
  rekindle drill --config rekindle.toml --output html > drill.html
  rekindle drill --live gateway --scenario killed

Nothing outside a disposable sandbox is touched: PID and mount namespaces where they are allowed,
else a process tree of its own. The state directory is a scratch one.
With --config the service must not be running, and only what fits any gateway is done.
With --live a running instance breaks its own service, if its configuration says drills = true.
Exit code 1 if a service was not healed, too late, or left something behind; 130 if interrupted.";

const STATUS_AFTER_HELP: &str = "\
Examples:
  rekindle status --watch
  rekindle status --json | jq -r '.services[].state'

It asks the rekindle of this sandbox through its control socket, never a port.
Exit code 0 if the service is healthy, 1 if not or if no answer comes, 3 if no rekindle runs here.";

const INCIDENTS_AFTER_HELP: &str = "\
Examples:
  rekindle incidents --last 5
  rekindle incidents last
  rekindle incidents --json | jq -r 'select(.cause == \"crash\") | .summary'

It reads the files in the state directory and needs no running rekindle.
What is going on now is not in there: ask rekindle status.
Exit code 1 if there is no such record or it cannot be read.";

const DEMO_AFTER_HELP: &str = "\
Break it with:
  curl 'http://127.0.0.1:18789/fault?mode=hang'
Modes: hang, 500, slow, wrong-body, crash, exit&code=N, close, orphan, ignore-term, leak, flood";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_has_exactly_one_target_beside_its_options() {
        let probe = |arguments: &[&str]| {
            let cli = Cli::try_parse_from(["rekindle", "probe"].iter().chain(arguments)).ok()?;
            let Command::Probe(args) = cli.command else { panic!("{cli:?}") };
            Some(args)
        };
        let args = probe(&["http://x/", "--expect-status", "204,401", "--timeout", "1s"]).unwrap();
        assert!(args.expect_status.contains(401) && !args.expect_status.contains(200));
        assert_eq!(args.timeout, Duration::from_secs(1));
        assert!(probe(&["--ready", "--name", "x"]).unwrap().ready);
        assert!(probe(&["--live", "--timeout", "1s"]).unwrap().live);
        for wrong in [&["--ready", "--live"][..], &["http://x/", "--live"], &["--timeout", "1s"]] {
            assert!(probe(wrong).is_none(), "{wrong:?}");
        }
        assert!(probe(&["http://x/", "--expect-status", "2xx"]).is_none());
    }
}
