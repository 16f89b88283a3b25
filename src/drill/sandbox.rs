//! A disposable sandbox: starts `rekindle run` in it, knows every process in it, ends all of it.
//!
//! It is a PID and a mount namespace where the kernel allows that, else a tree of processes that
//! carry a mark. Nothing outside it is ever signalled. What is started is this very executable, in
//! the place where an image starts it; the drill itself looks on from outside.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Signal;

use super::inside;
use super::watch::surely_within;
use crate::process::kill::{self, Identified};
use crate::process::proc::{self, Stat};

/// The variable that every process of a sandbox carries.
const MARK: &str = "DRILL_SANDBOX";

/// What is started is there after this, and what is killed is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a sandbox is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// PID and mount namespaces of its own.
    Namespaces,
    /// A tree of marked processes beside all others.
    OwnTree,
}

impl Kind {
    /// Finds out by trying whether namespaces are allowed; if not, says why.
    pub fn allowed(directory: &Path) -> Result<(), String> {
        let mut check = inside_command(directory, &["--version".to_owned()]);
        check.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        #[expect(clippy::disallowed_methods, reason = "the drill is no supervisor: it may wait")]
        let output = check.output().map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&output.stderr);
        Err(why.trim().trim_start_matches("rekindle: ").to_owned())
    }
}

/// One sandbox: its directory, and the supervisor in it while that runs.
pub(super) struct Sandbox {
    kind: Kind,
    /// What belongs to the sandbox, and nothing else.
    pub(super) directory: PathBuf,
    mark: String,
    arguments: Vec<String>,
    started: Option<Child>,
}

impl Sandbox {
    /// Prepares one in `directory`; `arguments` are those of `rekindle`.
    pub(super) fn new(kind: Kind, directory: PathBuf, arguments: Vec<String>) -> io::Result<Self> {
        fs::create_dir_all(directory.join(inside::STATE))?;
        if kind == Kind::OwnTree {
            fs::write(directory.join(inside::OWN_TREE), "")?;
        }
        let mark = directory.display().to_string();
        Ok(Self { kind, directory, mark, arguments, started: None })
    }

    /// Starts the supervisor, as whatever starts the sandbox does.
    pub(super) fn start(&mut self) -> io::Result<()> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = inside_command(&self.directory, &self.arguments);
        for (name, _) in std::env::vars_os() {
            // A planted fault is there to be noticed by the drill.
            if name.as_encoded_bytes().starts_with(b"REKINDLE_") && name != "REKINDLE_PLANT" {
                command.env_remove(name);
            }
        }
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "RUST_LOG"] {
            command.env_remove(name);
        }
        command
            .env(MARK, &self.mark)
            .env("RUNTIME_DIRECTORY", self.directory.join("run"))
            // Ctrl-C at a terminal is for us; we end what is to be ended.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        #[expect(clippy::disallowed_methods, reason = "it plays what starts a sandbox")]
        let started = command.spawn()?;
        self.started = Some(started);
        // Before there is an init, nothing could be cut off, and it would come to life later.
        if surely_within(PATIENCE, || self.supervisor().is_some()) {
            return Ok(());
        }
        Err(io::Error::other("its first process does not appear"))
    }

    /// Where all that the sandbox writes is found.
    pub(super) fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Where its supervisor listens.
    pub(super) fn control_socket(&self) -> PathBuf {
        self.directory.join("run/control.sock")
    }

    /// Gives the sandbox a machine that was booted just now. Only namespaces can.
    pub(super) fn boot_anew(&self) -> io::Result<()> {
        if self.kind == Kind::OwnTree {
            return Ok(());
        }
        let mut random = [0; 16];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::NONBLOCK)?;
        let hex = format!("{:032x}", u128::from_le_bytes(random));
        let (a, rest) = hex.split_at(8);
        let id = format!("{a}-{}-{}-{}-{}\n", &rest[..4], &rest[4..8], &rest[8..12], &rest[12..]);
        let booted = format!("btime {}", crate::clock::wall().as_secs());
        let stat = fs::read_to_string("/proc/stat")?;
        let stat = stat.lines().map(|line| if line.starts_with("btime ") { &booted } else { line });
        let stat: String = stat.flat_map(|line| [line, "\n"]).collect();
        // Written beside and moved: the old ones may still be mounted.
        for (name, text) in [(inside::BOOT_ID, id), (inside::STAT, stat)] {
            let new = self.directory.join("new");
            fs::write(&new, text)?;
            fs::rename(&new, self.directory.join(name))?;
        }
        Ok(())
    }

    /// Every process in the sandbox that is alive, the supervisor included; an error if we cannot
    /// look at all of them.
    pub(super) fn members(&self) -> io::Result<Vec<Stat>> {
        // Without an init there is no namespace, and so nobody in it.
        let namespace = self.supervisor().and_then(|init| namespace_of(init.pid));
        let belongs = |stat: &Stat| match self.kind {
            Kind::Namespaces => namespace.is_some() && namespace_of(stat.pid) == namespace,
            Kind::OwnTree => {
                proc::variable(stat.pid, MARK).is_some_and(|mark| mark == self.mark.as_bytes())
            }
        };
        let alive = |stat: &Stat| stat.is_alive() && stat.pid != std::process::id();
        let mut members = proc::processes()?;
        members.retain(|stat| alive(stat) && belongs(stat));
        Ok(members)
    }

    /// The supervisor, as it is seen from here.
    pub(super) fn supervisor(&self) -> Option<Identified> {
        let started = self.started.as_ref()?.id();
        let pid = match self.kind {
            Kind::OwnTree => started,
            Kind::Namespaces => *proc::children(started)?.first()?,
        };
        proc::stat(pid).filter(Stat::is_alive).map(|stat| Identified::from(&stat))
    }

    /// The process that is called `pid` in the sandbox, as it is seen from here.
    pub(super) fn seen_from_here(&self, pid: u32) -> Option<Identified> {
        let known_as = |stat: &Stat| match self.kind {
            Kind::OwnTree => stat.pid == pid,
            Kind::Namespaces => innermost_pid(stat.pid) == Some(pid),
        };
        self.members().ok()?.iter().find(|stat| known_as(stat)).map(Identified::from)
    }

    /// Ends everything in it at once and without a word, as a power cut does.
    pub(super) fn cut_power(&mut self) -> Result<(), String> {
        // In namespaces the kernel ends the rest of them together with their init.
        self.signal_supervisor(Signal::KILL);
        let gone = surely_within(PATIENCE, || {
            let Ok(left) = self.members() else { return false };
            for stat in &left {
                signal(stat.into(), Signal::KILL);
            }
            left.is_empty()
        });
        let gone = gone && (self.started.is_none() || self.exit_within(PATIENCE).is_some());
        if gone { Ok(()) } else { Err("SIGKILL does not end the sandbox".to_owned()) }
    }

    /// Kills the supervisor and nothing else.
    pub(super) fn kill_supervisor(&mut self) -> Result<(), String> {
        self.signal_supervisor(Signal::KILL);
        match self.exit_within(PATIENCE) {
            Some(_) => Ok(()),
            None => Err("SIGKILL does not end the supervisor".to_owned()),
        }
    }

    /// Asks the supervisor to stop, as an operator would.
    pub(super) fn ask_to_stop(&self) {
        self.signal_supervisor(Signal::TERM);
    }

    /// How the supervisor ended, if it does within `limit`.
    pub(super) fn exit_within(&mut self, limit: Duration) -> Option<i32> {
        let child = self.started.as_mut()?;
        let mut ended = None;
        surely_within(limit, || {
            ended = child.try_wait().ok().flatten();
            ended.is_some()
        });
        self.started.take_if(|_| ended.is_some())?;
        ended.map(|status| status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }

    fn signal_supervisor(&self, number: Signal) {
        if let Some(supervisor) = self.supervisor() {
            signal(supervisor, number);
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // A verdict is there already; this is for a drill that broke off.
        self.cut_power().ok();
    }
}

/// `rekindle drill --inside DIR -- ARGUMENTS`, not started yet.
fn inside_command(directory: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(["drill", "--inside"]).arg(directory).arg("--").args(arguments);
    command
}

/// Signals exactly this process, if it is still there.
pub(super) fn signal(process: Identified, signal: Signal) {
    // One that is gone needs no signal, and others are not refused: they are our own.
    kill::exactly(process, signal)
        .or_else(|errno| if errno == Errno::SRCH { Ok(()) } else { Err(errno) })
        .ok();
}

fn namespace_of(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// The pid that a process has in the innermost of its PID namespaces.
fn innermost_pid(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("NSpid:"))?;
    line.split_ascii_whitespace().next_back()?.parse().ok()
}
