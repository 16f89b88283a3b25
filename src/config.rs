//! The configuration, valid by construction.
//!
//! [`load`] makes a [`Config`] of what the file and the flags say, or tells everything that is
//! wrong with it. Whoever holds a `Config` need not check anything again.
//!
//! ```text
//! file → document ┐
//!                 ├ load → section → service, probes, policy → Config → plan
//! flags ──────────┘          ↑
//!                           keys → flags of `run`, docs/configuration.md, config/rekindle.toml
//! ```
#![expect(clippy::wildcard_enum_match_arm, reason = "whatever else is written is refused alike")]

mod document;
pub mod keys;
mod load;
mod notify;
mod pages;
mod plan;
mod policy;
mod probes;
#[cfg(any(test, fuzzing))]
pub(crate) mod property;
mod section;
mod service;
#[cfg(test)]
mod tests;
mod unknown;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use document::Origin;
pub use load::{File, Loaded, Problems, Setting, Sources, load};
pub use pages::{example_file, reference};
pub use plan::plan;
pub use values::parse_duration;

use crate::incident::mask::Pattern;
use crate::supervisor::Policy;

/// Everything that `rekindle run` was told.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[supervisor]`.
    pub supervisor: Supervisor,
    /// `[notify]`.
    pub notify: Notify,
    /// `[service.NAME]`; exactly one for now.
    pub services: Vec<Service>,
}

/// `[supervisor]`: what concerns Rekindle itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Supervisor {
    /// Name of this instance: directories and the control socket are named after it.
    pub name: String,
    /// Where `/metrics`, `/livez`, `/readyz` and `/status` are served; `None` for `"off"`.
    pub listen: Option<SocketAddr>,
    /// Where state is kept across runs; `None`: the default, worked out at start.
    pub state_dir: Option<PathBuf>,
    /// The least level that is logged.
    pub log_level: LogLevel,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Whether a cgroup of our own is used for the tree.
    pub cgroup: CgroupMode,
    /// Whether a drill may break the running service.
    pub drills: bool,
    /// What is taken out of records of outages, beside what always is.
    pub mask: Vec<Pattern>,
}

/// `[notify]`: who is told of incidents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notify {
    /// Who gets a document.
    pub webhook: Option<Webhook>,
    /// What is run, and how long it may take.
    pub exec: Option<Command>,
}

/// Who gets a document by HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    /// Where; it may hold a secret.
    pub url: String,
    /// Headers to send; they may hold secrets.
    pub headers: BTreeMap<String, String>,
    /// How long one attempt may take.
    pub timeout: Duration,
}

/// `log_level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the levels' names say it")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// `log_format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people on a terminal, JSON otherwise.
    Auto,
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

/// `cgroup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupMode {
    /// Where one was delegated to us.
    Auto,
    /// Wherever our directory can be written.
    Force,
    /// Never.
    Off,
}

/// `[service.NAME]`: one supervised program.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name: the `service` label, and part of the mark.
    pub name: String,
    /// Program and arguments, at least one.
    pub command: Vec<String>,
    /// What it runs as and in.
    pub context: ExecContext,
    /// Where its input comes from.
    pub stdin: Stdin,
    /// Where its output goes.
    pub output: Output,
    /// The signal that asks it to end, by number.
    pub stop_signal: i32,
    /// The boot hook, unless switched off.
    pub boot_hook: Option<BootHook>,
    /// The `repair` command and how long it may take.
    pub repair: Option<Command>,
    /// The `capture` command and how long it may take.
    pub capture: Option<Command>,
    /// What to probe for each role.
    pub probes: Probes,
    /// What a stranger on the probed port means.
    pub impostor: ImpostorMode,
    /// After the host has booted, the first launch waits for a share of this.
    pub boot_splay: Duration,
    /// The recovery time objective, exported as a metric.
    pub recovery_objective: Option<Duration>,
    /// What the state machine decides by.
    pub policy: Policy,
}

/// What a program runs as and in: shared by child, hook, repair and `exec` probes.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ExecContext {
    /// Working directory; `None`: ours.
    pub cwd: Option<PathBuf>,
    /// User (and with it its primary and supplementary groups) to become, by name or number.
    pub user: Option<String>,
    /// Group to become instead of the user's own, by name or number.
    pub group: Option<String>,
    /// File mode creation mask.
    pub umask: Option<u32>,
    /// Resource limits: name as in `prlimit` without `RLIMIT_`, lower case (`nofile`, `core` …).
    pub limits: BTreeMap<String, Limit>,
    /// Set `no_new_privs`.
    pub no_new_privs: bool,
    /// Whether our own environment is passed on (without `REKINDLE_*` and the like).
    pub inherit_env: bool,
    /// Files of `KEY=VALUE` lines, read before each launch; a leading `-` in the configuration
    /// makes a missing one a skip.
    pub env_files: Vec<EnvFile>,
    /// Variables set on top, `${VAR}` already replaced.
    pub env: BTreeMap<String, String>,
}

/// One soft and hard limit; `None` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The limit in force.
    pub soft: Option<u64>,
    /// The ceiling for it.
    pub hard: Option<u64>,
}

/// One `env_file`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvFile {
    /// Where it is.
    pub path: PathBuf,
    /// Whether a missing one is a skip rather than a failed launch.
    pub optional: bool,
}

/// `stdin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// `/dev/null`.
    Null,
    /// Ours; the child's group becomes the terminal's foreground group.
    Inherit,
}

/// `output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Inherited on a terminal, pumped otherwise.
    Auto,
    /// Read by us and written on unchanged; the tail is kept.
    Pump,
    /// The child writes to our stdout and stderr itself.
    Inherit,
}

/// The boot hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootHook {
    /// Where it is, if it is there.
    pub path: PathBuf,
    /// User to run it as instead of the child's.
    pub user: Option<String>,
}

/// A command with a time limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Killed after so long.
    pub timeout: Duration,
}

/// What to probe for each role. The rhythm is in the [`Policy`].
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Probes {
    /// Present exactly if `Policy::startup` is.
    pub startup: Option<Probe>,
    /// Present exactly if `Policy::liveness` is.
    pub liveness: Option<Probe>,
    /// Present exactly if `Policy::readiness` is.
    pub readiness: Option<Probe>,
}

/// One probe: what to ask. Its timeout is the rhythm's.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// What to ask.
    pub target: ProbeTarget,
    /// One probe may take so long in all: name resolution, connection and body.
    pub timeout: Duration,
}

/// The kinds of probe.
#[derive(Clone, Debug, PartialEq)]
pub enum ProbeTarget {
    /// An HTTP GET.
    Http(Box<HttpProbe>),
    /// A TCP connection that is accepted.
    Tcp {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A program that exits with 0.
    Exec {
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// A file whose modification time keeps changing.
    File {
        /// The file.
        path: PathBuf,
        /// It must change at least once within this, by our monotonic clock.
        within: Duration,
    },
}

/// An HTTP GET and what must come back.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpProbe {
    /// Scheme `http` or `https`, host, port, path.
    pub url: String,
    /// Connect to this unix socket instead of the URL's host.
    pub unix_socket: Option<PathBuf>,
    /// Headers to send.
    pub headers: BTreeMap<String, String>,
    /// Accepted statuses.
    pub expect_status: StatusSet,
    /// Headers that must be there with exactly this value (names in lower case).
    pub expect_header: BTreeMap<String, String>,
    /// The body must contain this.
    pub expect_body: Option<String>,
    /// JSON pointers (RFC 6901) into the body and the values that must stand there.
    pub expect_json: BTreeMap<String, serde_json::Value>,
    /// Trust this PEM file of certificates instead of the system's; also switches verification on
    /// for loopback.
    pub ca: Option<PathBuf>,
}

/// A set of HTTP statuses such as `200-299,401`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StatusSet {
    /// Inclusive ranges, in the order written.
    pub ranges: Vec<(u16, u16)>,
}

impl StatusSet {
    /// Whether `status` is accepted.
    pub fn contains(&self, status: u16) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&status))
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (low, high)) in self.ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if low == high { write!(f, "{comma}{low}")? } else { write!(f, "{comma}{low}-{high}")? }
        }
        Ok(())
    }
}

/// `impostor`: what a stranger on the probed port means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImpostorMode {
    /// Fail a probe when a stranger is identified and the port was ours before, or his before us.
    Auto,
    /// Say it, and believe the probe.
    Report,
    /// Do not look.
    Off,
}
