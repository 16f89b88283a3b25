//! A test's world: a scratch directory, the supervisor under test in it, and the proof that nothing
//! is left behind.
//!
//! Everything that a test starts carries a mark of its own in its environment ([`World`]), so that
//! whatever descends from it is found again, however it has detached itself. A test that ends well
//! stops its supervisor as an operator would; then no marked process may be alive, and the log may
//! hold no `ERROR` unless the test expects one.
//!
//! Tests wait for conditions, never for a guessed time. What is slept is the length of a fault.

pub(crate) mod cgroup;
pub(crate) mod config;
pub(crate) mod fault;
pub(crate) mod freezer;
pub(crate) mod http;
pub(crate) mod lateness;
pub(crate) mod processes;
pub(crate) mod rekindle;
pub(crate) mod schema;
pub(crate) mod seeded;
pub(crate) mod stub;
pub(crate) mod time;

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

pub(crate) use config::Config;
pub(crate) use fault::{Fault, Part, this_test};
pub(crate) use http::{get, port_answers};
pub(crate) use rekindle::{Rekindle, Streams};
pub(crate) use time::{Stopwatch, wait_until};

/// The binary under test.
pub(crate) const REKINDLE: &str = env!("CARGO_BIN_EXE_rekindle");

/// One test's scratch directory and the mark on all its processes.
pub(crate) struct World {
    dir: TempDir,
    mark: String,
    runs: Cell<u32>,
}

impl World {
    pub(crate) fn new() -> Self {
        static WORLDS: AtomicU32 = AtomicU32::new(0);
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let dir = tempfile::Builder::new().prefix("rekindle-it-").tempdir().expect("a scratch dir");
        // A child that has dropped its rights must be able to reach its files.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        Self { dir, mark: format!("{}.{number}", std::process::id()), runs: Cell::new(0) }
    }

    /// The absolute path of `name` in the scratch directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as text, for configurations and scripts.
    pub(crate) fn at(&self, name: &str) -> String {
        self.path(name).to_str().expect("scratch paths are UTF-8").to_owned()
    }

    /// Writes a file, which nobody sees half written, and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let part = self.path(&format!("{name}.part"));
        fs::write(&part, text).expect("a scratch file is written");
        fs::rename(&part, self.path(name)).expect("it takes its place");
        self.at(name)
    }

    /// Writes an executable file that begins with its own `#!` line.
    pub(crate) fn script(&self, name: &str, text: &str) -> String {
        let path = self.write(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        path
    }

    /// What is in a file; nothing if it is not there (yet).
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// What is in a file, once a script has written it and its line end.
    pub(crate) fn written(&self, name: &str) -> String {
        wait_until(&format!("{name} is written"), || self.read(name).ends_with('\n'));
        self.read(name)
    }

    /// The lines of a file.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        self.read(name).lines().map(str::to_owned).collect()
    }

    /// The number in a file, for example a pid that a script has written.
    pub(crate) fn number(&self, name: &str) -> Option<i32> {
        let text = self.read(name);
        // Without its line end it may be half written.
        text.strip_suffix('\n')?.trim().parse().ok()
    }

    /// A command with this world's environment, not started yet.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("REKINDLE_") || name.to_lowercase().ends_with("_proxy") {
                command.env_remove(&*name);
            }
        }
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "RUST_LOG"] {
            command.env_remove(name);
        }
        command
            .env(processes::MARK, &self.mark)
            .env("STATE_DIRECTORY", self.path("state"))
            .env("RUNTIME_DIRECTORY", self.path("run"))
            .env("HOME", self.dir.path())
            .current_dir(self.dir.path());
        command
    }

    /// `rekindle run` with this configuration, not started yet.
    pub(crate) fn prepare(&self, config: &Config) -> Command {
        let file = self.write(&format!("rekindle-{}.toml", self.runs.get()), &config.text());
        let mut command = self.command(REKINDLE);
        command.args(["run", "--config", &file]);
        command
    }

    /// `run` started by another program, which executes what its last arguments say.
    pub(crate) fn wrapped(&self, wrapper: &[&str], run: &Command) -> Command {
        let mut command = self.command(wrapper[0]);
        command.args(&wrapper[1..]).arg(run.get_program()).args(run.get_args());
        command
    }

    /// `run` after a line of shell, which may change what is inherited.
    pub(crate) fn after(&self, shell: &str, run: &Command) -> Command {
        self.wrapped(&["sh", "-c", &format!("{shell} && exec \"$@\""), "sh"], run)
    }

    /// `run` with mounts of its own, made by a line of shell; nothing where that is not allowed.
    pub(crate) fn remounted(&self, shell: &str, run: &Command) -> Option<Command> {
        let allowed = is_root("a mount namespace") && has_tool("unshare");
        allowed.then(|| self.wrapped(&["unshare", "--mount"], &self.after(shell, run)))
    }

    /// Starts `rekindle run` with this configuration, and waits until it answers (or has ended).
    pub(crate) fn run(&self, config: &Config) -> Rekindle<'_> {
        let rekindle = self.start(self.prepare(config));
        rekindle.wait_up();
        rekindle
    }

    /// Starts a prepared `rekindle run`; its stdout and stderr go to files.
    pub(crate) fn start(&self, command: Command) -> Rekindle<'_> {
        Rekindle::start(self, self.next_run(), command, Streams::Files)
    }

    /// The same with other streams, and waits until it answers.
    pub(crate) fn start_with(&self, streams: Streams, command: Command) -> Rekindle<'_> {
        let rekindle = Rekindle::start(self, self.next_run(), command, streams);
        rekindle.wait_up();
        rekindle
    }

    /// The same in namespaces of its own (flags of `unshare`), unless the machine does not let us.
    pub(crate) fn run_unshared(&self, config: &Config, flags: &[&str]) -> Option<Rekindle<'_>> {
        if !(is_root("a namespace") && has_tool("unshare")) {
            return None;
        }
        let run = self.prepare(config);
        let mut command = self.command("unshare");
        command.args(flags).args(["--fork", "--kill-child"]);
        command.arg(run.get_program()).args(run.get_args());
        let mut rekindle = self.start(command);
        rekindle.wait_up();
        let forked = processes::children(rekindle.pid()).first().copied();
        rekindle.is_really(forked.expect("unshare has forked"));
        Some(rekindle)
    }

    /// Every live process of this test.
    pub(crate) fn processes(&self) -> Vec<i32> {
        processes::marked(&self.mark)
    }

    /// The live processes of this test whose command line contains `text`.
    pub(crate) fn processes_like(&self, text: &str) -> Vec<i32> {
        let alike = |pid: &i32| processes::command_line(*pid).contains(text);
        self.processes().into_iter().filter(alike).collect()
    }

    fn next_run(&self) -> u32 {
        self.runs.replace(self.runs.get() + 1)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let left = processes::kill_marked(&self.mark);
        assert!(
            left.is_empty() || std::thread::panicking(),
            "processes were left behind in {}:\n{}",
            self.dir.path().display(),
            left.join("\n")
        );
    }
}

#[test]
#[should_panic(expected = "processes were left behind")]
fn a_left_over_fails_its_test_however_it_has_detached_itself() {
    let world = World::new();
    let mut command = world.command("setsid");
    command.args(["--fork", "env", "-u", "HOME", "nohup", "sleep", "1000"]);
    assert_eq!(world.start(command).wait_exit(), 0);
}

/// Whether this test may go on: what needs root is said and skipped without it.
pub(crate) fn is_root(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(&format!("{what} needs root"));
    }
    root
}

/// Whether this test may go on: what needs a missing tool is said and skipped.
pub(crate) fn has_tool(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    if !found {
        skip(&format!("{name} is not installed"));
    }
    found
}

/// Says why a test is skipped; where everything is there (`REKINDLE_REQUIRE_ALL=1`) none may be.
#[expect(clippy::print_stderr, reason = "the test harness shows it beside the test's name")]
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("REKINDLE_REQUIRE_ALL").is_none(), "{why}");
    eprintln!("skipped: {why}");
}
