//! What the edges tell: everything worth a line that is not a fact of the state machine.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::Level;

use super::announcing::Announcing;
use super::remembering::Remembering;
use crate::comeback::Comeback;
use crate::metrics::{Metric, Metrics};
use crate::output::Stream;
use crate::status::human;
use crate::supervisor::{DrillFault, Program, Signal};

const PROC_HIDES: &str = "/proc hides processes (hidepid): what an earlier run left is not found \
    where it has another user or more rights; run as root, or mount /proc without hidepid, or with \
    gid= of a group of ours";

/// Something that an edge saw or did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// The supervisor has started.
    Started {
        /// What it supervises, the program only: arguments may hold secrets.
        program: String,
    },
    /// The supervisor ends.
    Ended {
        /// Its exit code.
        code: u8,
    },
    /// Something about what outlives a run.
    Remembering(Remembering),
    /// Something about telling others of incidents.
    Announcing(Announcing),
    /// Something in the configuration is valid but probably not what was meant.
    ConfigWarning {
        /// What, and the way out.
        text: String,
    },
    /// What a start from what is on disk now would come to.
    OnDisk(Comeback),
    /// HTTP is served.
    Listening {
        /// Where.
        address: SocketAddr,
    },
    /// HTTP cannot be served yet.
    CannotListen {
        /// Where.
        address: SocketAddr,
        /// Who holds the port, if that is known.
        holder: Option<String>,
        /// Why not.
        error: String,
        /// When it is tried again.
        again_in: Duration,
    },
    /// The control socket cannot be made yet.
    NoControlSocket {
        /// Where.
        path: PathBuf,
        /// Why not.
        error: String,
        /// When it is tried again.
        again_in: Duration,
    },
    /// Somebody has removed the control socket's file; it is made again.
    ControlSocketLost {
        /// Where it was.
        path: PathBuf,
    },
    /// Somebody who is neither root nor us has reached the control socket, for the first time.
    PeerRefused {
        /// Whose process it is.
        uid: u32,
        /// Its pid; 0 if it is in another PID namespace.
        pid: i32,
    },
    /// The boot hook was found.
    HookFound {
        /// Where.
        path: PathBuf,
        /// It is not executable and is run by `/bin/sh`.
        by_shell: bool,
    },
    /// The health URL answers from the hook's own processes.
    HookServes {
        /// Where the hook is.
        path: PathBuf,
    },
    /// A process of an earlier run was still there and is killed.
    LeftOverKilled {
        /// Its pid.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// A process could not be ended and is left behind at our exit.
    LeftBehind {
        /// Its pid.
        pid: u32,
        /// Its name.
        name: String,
    },
    /// It cannot be told whether a process of an earlier run is still there.
    CannotLook {
        /// Why not.
        error: String,
    },
    /// `/proc` hides other users' processes.
    ProcHides,
    /// Nothing can be remembered across runs.
    StateNotDurable {
        /// Where it should have been.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The state directory is in use; we wait for it.
    StateDirInUse {
        /// Which.
        path: PathBuf,
        /// By whom, in words.
        holder: String,
    },
    /// Who holds the probed port.
    PortHolder {
        /// The port.
        port: u16,
        /// Who, in words; `None`: it cannot be told.
        holder: Option<String>,
    },
    /// Our output is not being read and the child's is being dropped.
    OutputDropping {
        /// Which stream.
        stream: Stream,
    },
    /// The dropping is over.
    OutputDropped {
        /// Which stream.
        stream: Stream,
        /// Bytes of the child.
        bytes: u64,
        /// Lines of our log.
        log_lines: u64,
    },
    /// A program could not be launched: the whole story behind `Fact::SpawnFailed`.
    LaunchFailed {
        /// Which.
        program: Program,
        /// Why not, and the way out.
        text: String,
    },
    /// A drill could not break the service.
    DrillFailed {
        /// What it was to do.
        fault: DrillFault,
        /// The system's reason.
        why: String,
    },
    /// A signal did not reach a living process of the tree.
    Undelivered {
        /// Which signal.
        signal: Signal,
        /// Whom it did not reach, and why.
        text: String,
    },
    /// The state directory could be written once, and cannot any more.
    StateWriteFailed {
        /// Why not.
        error: String,
    },
    /// A program could not be prepared as configured; it goes on without.
    LaunchDegraded {
        /// Which.
        program: Program,
        /// What does not work, and why.
        text: String,
    },
    /// A helper thread panicked.
    ThreadPanicked {
        /// Which.
        thread: &'static str,
        /// What it said.
        message: String,
        /// When it starts again.
        again_in: Duration,
    },
    /// HUP came: there is no reload.
    HupIgnored,
}

/// Tells notes, from any thread.
#[derive(Clone)]
pub struct Teller {
    service: Arc<str>,
    metrics: Arc<Metrics>,
}

impl Teller {
    /// Speaks for the service of this name.
    pub fn new(service: &str, metrics: Arc<Metrics>) -> Self {
        Self { service: service.into(), metrics }
    }

    /// Counts output that was dropped since the last call.
    pub fn count_dropped(&self, stream: Stream, bytes: u64, log_lines: u64) {
        self.metrics.add(Metric::OutputDropped, &[stream.label()], bytes);
        self.metrics.add(Metric::LogDropped, &[], log_lines);
    }

    /// Turns a note into its log line and its metric.
    pub fn note(&self, note: &Note) {
        if let Some(metric) = note.counted() {
            self.metrics.add(metric, &[], 1);
        }
        let service = &*self.service;
        match note.level() {
            Level::ERROR => tracing::error!(service, "{note}"),
            Level::WARN => tracing::warn!(service, "{note}"),
            _ => tracing::info!(service, "{note}"),
        }
    }
}

impl Note {
    /// The counter that a note adds to. (Panics are counted where they are caught.)
    fn counted(&self) -> Option<Metric> {
        let shut = matches!(self, Self::CannotListen { .. } | Self::NoControlSocket { .. });
        shut.then_some(Metric::HttpBindFailures)
    }

    /// INFO: a person may ask for it. WARN: somebody may want to do something. ERROR: we cannot do
    /// our job.
    fn level(&self) -> Level {
        match self {
            Self::Remembering(note) => note.level(),
            Self::Announcing(note) => note.level(),
            Self::OnDisk(found) if *found == Comeback::default() => Level::INFO,
            Self::Started { .. }
            | Self::Ended { .. }
            | Self::Listening { .. }
            | Self::HookFound { .. }
            | Self::PortHolder { .. }
            | Self::HupIgnored => Level::INFO,
            Self::ConfigWarning { .. }
            | Self::CannotListen { .. }
            | Self::NoControlSocket { .. }
            | Self::ControlSocketLost { .. }
            | Self::PeerRefused { .. }
            | Self::HookServes { .. }
            | Self::LeftOverKilled { .. }
            | Self::CannotLook { .. }
            | Self::ProcHides
            | Self::StateNotDurable { .. }
            | Self::StateDirInUse { .. }
            | Self::OutputDropping { .. }
            | Self::OutputDropped { .. }
            | Self::LaunchFailed { .. }
            | Self::Undelivered { .. }
            | Self::DrillFailed { .. }
            | Self::StateWriteFailed { .. }
            | Self::LaunchDegraded { .. }
            | Self::OnDisk(_) => Level::WARN,
            Self::LeftBehind { .. } | Self::ThreadPanicked { .. } => Level::ERROR,
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { program } => {
                write!(f, "rekindle {} supervises {program}", env!("CARGO_PKG_VERSION"))
            }
            Self::Remembering(note) => note.fmt(f),
            Self::Announcing(note) => note.fmt(f),
            Self::OnDisk(found) => found.fmt(f),
            Self::Ended { code } => write!(f, "rekindle ends with code {code}"),
            Self::ConfigWarning { text } => f.write_str(text),
            Self::Listening { address } => write!(f, "metrics and status at http://{address}"),
            Self::CannotListen { address, holder, error, again_in } => {
                tell_shut(f, *address, holder.as_deref(), error, *again_in)
            }
            Self::NoControlSocket { path, error, again_in } => {
                let (path, again_in) = (path.display(), human(*again_in));
                write!(f, "cannot make the control socket {path}: {error}; again in {again_in}")
            }
            Self::ControlSocketLost { path } => {
                write!(f, "the control socket {} was removed: it is made again", path.display())
            }
            Self::PeerRefused { uid, pid } => write!(
                f,
                "refused uid {uid} (pid {pid}) at the control socket, which is for root and our own \
                 user only; others are refused without a word"
            ),
            Self::HookFound { path, by_shell } => {
                let how = if *by_shell { " (not executable: run by /bin/sh)" } else { "" };
                write!(f, "the boot hook is {}{how}", path.display())
            }
            Self::HookServes { path } => {
                let path = path.display();
                write!(f, "the hook {path} is running the service itself; give it as the command")
            }
            Self::LeftOverKilled { pid, name } => {
                write!(f, "killed pid {pid} ({name}), left over from an earlier run")
            }
            Self::LeftBehind { pid, name } => {
                write!(f, "pid {pid} ({name}) could not be ended and is left behind")
            }
            Self::CannotLook { error } => {
                write!(f, "cannot see what an earlier run has left, tried again: {error}")
            }
            Self::ProcHides => f.write_str(PROC_HIDES),
            Self::StateNotDurable { path, why } => {
                write!(f, "nothing is remembered across runs: {}: {why}", path.display())
            }
            Self::StateDirInUse { path, holder } => {
                write!(f, "waiting for {}, in use by {holder}", path.display())
            }
            Self::PortHolder { port, holder: Some(holder) } => {
                write!(f, "port {port} is held by {holder}")
            }
            Self::PortHolder { port, holder: None } => write!(
                f,
                "who holds port {port} cannot be told (it belongs to another user); taken as ours"
            ),
            Self::OutputDropping { stream } => {
                write!(f, "dropping output: {} is not being read", stream.label())
            }
            Self::OutputDropped { stream, bytes, log_lines } => {
                tell_dropped(f, *stream, *bytes, *log_lines)
            }
            Self::LaunchFailed { program, text } | Self::LaunchDegraded { program, text } => {
                write!(f, "{program}: {text}")
            }
            Self::Undelivered { signal, text } => write!(f, "cannot send {signal} to {text}"),
            Self::DrillFailed { fault, why } => write!(f, "cannot do the drill ({fault}): {why}"),
            Self::StateWriteFailed { error } => {
                write!(f, "cannot write to the state directory, healing goes on: {error}")
            }
            Self::ThreadPanicked { thread, message, again_in } => {
                let again_in = human(*again_in);
                write!(f, "the {thread} thread panicked, it starts again in {again_in}: {message}")
            }
            Self::HupIgnored => f.write_str("HUP has no effect: restart to change the settings"),
        }
    }
}

fn tell_shut(
    f: &mut fmt::Formatter<'_>,
    address: SocketAddr,
    holder: Option<&str>,
    error: &str,
    again_in: Duration,
) -> fmt::Result {
    write!(f, "cannot listen on {address}: {error}")?;
    if let Some(holder) = holder {
        write!(f, ", it is held by {holder}")?;
    }
    write!(f, "; healing goes on without, tried again in {}", human(again_in))
}

fn tell_dropped(
    f: &mut fmt::Formatter<'_>,
    stream: Stream,
    bytes: u64,
    log_lines: u64,
) -> fmt::Result {
    write!(f, "dropped {} of the child's output", size(bytes))?;
    if log_lines > 0 {
        write!(f, " and {log_lines} lines of this log")?;
    }
    write!(f, ": {} was not being read", stream.label())
}

/// A number of bytes for people: `512 B`, `1.2 MB`.
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
fn size(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "kB", "MB"] {
        if size < 1000.0 {
            let decimals = usize::from(unit != "B");
            return format!("{size:.decimals$} {unit}");
        }
        size /= 1000.0;
    }
    format!("{size:.1} GB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_note_reads_well() {
        let path = PathBuf::from("/etc/openshell/boot.sh");
        let address = ([127, 0, 0, 1], 7354).into();
        let again_in = Duration::from_secs(2);
        let error = "address in use".to_owned();
        let holder = Some("pid 4711 (node)".to_owned());
        let name = "node".to_owned();
        let stream = Stream::Stdout;
        let notes = [
            Note::Ended { code: 0 },
            Note::ConfigWarning { text: "no probe: hangs are not healed".to_owned() },
            Note::Listening { address },
            Note::PeerRefused { uid: 65534, pid: 4711 },
            Note::CannotListen { address, holder: None, error: error.clone(), again_in },
            Note::CannotListen { address, holder: holder.clone(), error: error.clone(), again_in },
            Note::NoControlSocket { path: "/run/x/control.sock".into(), error, again_in },
            Note::ControlSocketLost { path: "/run/x/control.sock".into() },
            Note::HookFound { path: path.clone(), by_shell: false },
            Note::HookFound { path: path.clone(), by_shell: true },
            Note::HookServes { path: path.clone() },
            Note::LeftOverKilled { pid: 4711, name: name.clone() },
            Note::LeftBehind { pid: 4711, name },
            Note::CannotLook { error: "too many open files".to_owned() },
            Note::ProcHides,
            Note::StateNotDurable { path: "/var/lib/rekindle".into(), why: "read-only".to_owned() },
            Note::StateDirInUse { path: "/var/lib/rekindle".into(), holder: "pid 7".to_owned() },
            Note::PortHolder { port: 18789, holder },
            Note::PortHolder { port: 18789, holder: None },
            Note::OutputDropping { stream },
            Note::OutputDropped { stream, bytes: 1_234_567, log_lines: 3 },
            Note::LaunchFailed { program: Program::Child, text: "cannot start \"x\"".to_owned() },
            Note::Undelivered { signal: Signal::Kill, text: "pid 4711: not permitted".to_owned() },
            Note::StateWriteFailed { error: "disk full".to_owned() },
            Note::LaunchDegraded { program: Program::Child, text: "no cgroup".to_owned() },
            Note::ThreadPanicked { thread: "http", message: "planted".to_owned(), again_in },
            Note::HupIgnored,
        ];
        let lines: Vec<_> =
            notes.iter().map(|note| format!("{:<5} {note}", note.level().as_str())).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        INFO  rekindle ends with code 0
        WARN  no probe: hangs are not healed
        INFO  metrics and status at http://127.0.0.1:7354
        WARN  refused uid 65534 (pid 4711) at the control socket, which is for root and our own user only; others are refused without a word
        WARN  cannot listen on 127.0.0.1:7354: address in use; healing goes on without, tried again in 2.0 s
        WARN  cannot listen on 127.0.0.1:7354: address in use, it is held by pid 4711 (node); healing goes on without, tried again in 2.0 s
        WARN  cannot make the control socket /run/x/control.sock: address in use; again in 2.0 s
        WARN  the control socket /run/x/control.sock was removed: it is made again
        INFO  the boot hook is /etc/openshell/boot.sh
        INFO  the boot hook is /etc/openshell/boot.sh (not executable: run by /bin/sh)
        WARN  the hook /etc/openshell/boot.sh is running the service itself; give it as the command
        WARN  killed pid 4711 (node), left over from an earlier run
        ERROR pid 4711 (node) could not be ended and is left behind
        WARN  cannot see what an earlier run has left, tried again: too many open files
        WARN  /proc hides processes (hidepid): what an earlier run left is not found where it has another user or more rights; run as root, or mount /proc without hidepid, or with gid= of a group of ours
        WARN  nothing is remembered across runs: /var/lib/rekindle: read-only
        WARN  waiting for /var/lib/rekindle, in use by pid 7
        INFO  port 18789 is held by pid 4711 (node)
        INFO  who holds port 18789 cannot be told (it belongs to another user); taken as ours
        WARN  dropping output: stdout is not being read
        WARN  dropped 1.2 MB of the child's output and 3 lines of this log: stdout was not being read
        WARN  child: cannot start "x"
        WARN  cannot send kill to pid 4711: not permitted
        WARN  cannot write to the state directory, healing goes on: disk full
        WARN  child: no cgroup
        ERROR the http thread panicked, it starts again in 2.0 s: planted
        INFO  HUP has no effect: restart to change the settings
        "#);
    }

    #[test]
    fn sizes_read_well() {
        for (bytes, expected) in
            [(0, "0 B"), (999, "999 B"), (1_234_567, "1.2 MB"), (5_000_000_000, "5.0 GB")]
        {
            assert_eq!(size(bytes), expected);
        }
    }
}
