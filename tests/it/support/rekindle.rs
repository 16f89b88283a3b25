//! One `rekindle run` under test: what it answers, what it logs, how it ends.
#![expect(clippy::disallowed_methods, reason = "tests start the supervisor themselves")]

use std::cell::Cell;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::http::{Answer, get_unix};
use super::time::{PATIENCE, Stopwatch, holds_within};
use super::{World, processes};

/// What is in a log line of this level.
pub(crate) const DEBUG: &str = r#""level":"debug""#;
pub(crate) const WARN: &str = r#""level":"warn""#;
const ERROR: &str = r#""level":"error""#;

/// Where the supervisor's streams go.
pub(crate) enum Streams {
    /// stdin from `/dev/null`, the others to files.
    Files,
    /// The same, with another stdout.
    Stdout(OwnedFd),
    /// The same, with another stderr.
    Stderr(OwnedFd),
    /// All three are this terminal.
    Terminal(OwnedFd),
}

/// A running supervisor. Dropped, it is stopped as an operator would stop it, and looked after.
pub(crate) struct Rekindle<'w> {
    world: &'w World,
    child: Child,
    /// The supervisor's own pid (in a PID namespace: seen from outside).
    pid: i32,
    stdout: PathBuf,
    stderr: PathBuf,
    expects_errors: Cell<bool>,
    over: bool,
}

impl<'w> Rekindle<'w> {
    pub(super) fn start(
        world: &'w World,
        run: u32,
        mut command: Command,
        streams: Streams,
    ) -> Self {
        let stdout = world.path(&format!("stdout-{run}"));
        let stderr = world.path(&format!("stderr-{run}"));
        let file = |path: &PathBuf| Stdio::from(File::create(path).expect("an output file"));
        match streams {
            Streams::Files => {
                command.stdin(Stdio::null()).stdout(file(&stdout)).stderr(file(&stderr));
            }
            Streams::Stdout(other) => {
                command.stdin(Stdio::null()).stdout(other).stderr(file(&stderr));
            }
            Streams::Stderr(other) => {
                command.stdin(Stdio::null()).stdout(file(&stdout)).stderr(other);
            }
            Streams::Terminal(slave) => {
                let again = || slave.try_clone().expect("a descriptor");
                command.stdin(again()).stdout(again()).stderr(again());
            }
        }
        let child = command.spawn().expect("rekindle can be started");
        let pid = child.id().cast_signed();
        Self { world, child, pid, stdout, stderr, expects_errors: Cell::new(false), over: false }
    }

    /// The supervisor's pid.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Allows `ERROR` lines in the log.
    pub(crate) fn expect_errors(&self) {
        self.expects_errors.set(true);
    }

    /// Makes `pid`, a descendant of what was started, the supervisor to signal.
    pub(crate) fn is_really(&mut self, pid: i32) {
        self.pid = pid;
    }

    // Asking it.

    /// GETs `path` through the control socket.
    pub(crate) fn get(&self, path: &str) -> std::io::Result<Answer> {
        get_unix(&self.world.path("run/control.sock"), path)
    }

    /// The state of the service in the word that the metric uses; empty before there is an answer.
    pub(crate) fn state(&self) -> String {
        let page = self.get("/metrics").map(|answer| answer.body).unwrap_or_default();
        let states = samples(&page, "rekindle_service_state", "");
        let on = states.into_iter().find(|(_, value)| value == "1");
        on.and_then(|(labels, _)| label(&labels, "state")).unwrap_or_default()
    }

    /// `/status` as JSON; null before there is an answer.
    pub(crate) fn status(&self) -> Value {
        let answer = self.get("/status");
        answer.ok().and_then(|answer| serde_json::from_str(&answer.body).ok()).unwrap_or_default()
    }

    /// The sum of a whole-number metric over all series whose labels contain `labels`.
    ///
    /// Fails if there is no such series: a misspelt name must not read as zero.
    pub(crate) fn count(&self, name: &str, labels: &str) -> u64 {
        let page = self.get("/metrics").expect("/metrics answers").body;
        let found = samples(&page, name, labels);
        assert!(!found.is_empty(), "there is no {name}{{{labels}}} on the page:\n{page}");
        found.iter().map(|(_, value)| value.parse::<u64>().expect("a whole number")).sum()
    }

    /// How often the service was restarted for this reason.
    pub(crate) fn restarts(&self, reason: &str) -> u64 {
        self.count("rekindle_restarts_total", &format!("reason=\"{reason}\""))
    }

    /// How often the service was restarted at all.
    pub(crate) fn all_restarts(&self) -> u64 {
        self.count("rekindle_restarts_total", "")
    }

    /// How often a probe of this role had this result.
    pub(crate) fn probes(&self, role: &str, result: &str) -> u64 {
        let labels = [format!("probe=\"{role}\""), format!("result=\"{result}\"")];
        let page = self.get("/metrics").expect("/metrics answers").body;
        let found = samples(&page, "rekindle_probe_attempts_total", &labels[0]);
        let found = found.into_iter().find(|(at, _)| at.contains(&labels[1]));
        let (_, value) = found.unwrap_or_else(|| panic!("no attempts with {labels:?}:\n{page}"));
        value.parse().expect("a whole number")
    }

    /// How often the boot hook had this result.
    pub(crate) fn hooks(&self, result: &str) -> u64 {
        self.count("rekindle_hook_runs_total", &format!("result=\"{result}\""))
    }

    // Reading what it says.

    /// All that has come on stderr: the log, and the child's stderr.
    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(&self.stderr).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// All that has come on stdout: what the child wrote there.
    pub(crate) fn output(&self) -> Vec<u8> {
        std::fs::read(&self.stdout).unwrap_or_default()
    }

    /// The log lines that contain `text`.
    pub(crate) fn lines_with(&self, text: &str) -> Vec<String> {
        self.log().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    /// Whether one log line contains all of `texts`.
    pub(crate) fn said(&self, texts: &[&str]) -> bool {
        self.log().lines().any(|line| texts.iter().all(|text| line.contains(text)))
    }

    // Waiting for it.

    /// Waits until its control socket answers or it has ended.
    pub(crate) fn wait_up(&self) {
        let up = || self.get("/metrics").is_ok() || !processes::is_alive(self.pid);
        assert!(holds_within(PATIENCE, up), "it does not come up; {}", self.story());
    }

    /// Waits until `done`; fails with the log if that takes too long or the supervisor ends.
    pub(crate) fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let mut held = false;
        holds_within(PATIENCE, || {
            held = done();
            held || !processes::is_alive(self.pid)
        });
        assert!(held || done(), "waited in vain until {what}; {}", self.story());
    }

    /// Waits until the service is in this state.
    pub(crate) fn wait_state(&self, state: &str) {
        self.wait(&format!("it is {state}"), || self.state() == state);
    }

    /// Waits until one log line contains all of `texts`.
    pub(crate) fn wait_said(&self, texts: &[&str]) {
        self.wait(&format!("the log says {texts:?}"), || self.said(texts));
    }

    /// Waits until `count` restarts for this reason are counted.
    pub(crate) fn wait_restarts(&self, reason: &str, count: u64) {
        self.wait(&format!("{count} restarts because of {reason}"), || {
            self.restarts(reason) >= count
        });
    }

    /// Waits until it has ended by itself, and says how (128+n for a signal).
    pub(crate) fn wait_exit(&mut self) -> i32 {
        self.exits_within(PATIENCE).unwrap_or_else(|| panic!("it does not end; {}", self.story()))
    }

    /// How it ended, if it does so within `limit`.
    pub(crate) fn exits_within(&mut self, limit: Duration) -> Option<i32> {
        let mut status = None;
        holds_within(limit, || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        self.over = status.is_some();
        status.map(|status| status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }

    // Ending it.

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        processes::send(self.pid, signal);
    }

    /// Asks it to stop; returns its exit code and how long it took.
    pub(crate) fn stop(&mut self) -> (i32, Duration) {
        let watch = Stopwatch::start();
        self.signal(Signal::TERM);
        (self.wait_exit(), watch.elapsed())
    }

    /// Ends it as a power cut would end it alone: SIGKILL, without a word.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait_exit();
    }

    /// Where it is and what it said, for a failure message.
    pub(crate) fn story(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().filter(|line| !line.contains(DEBUG)).collect();
        let tail = lines[lines.len().saturating_sub(60)..].join("\n");
        format!("status: {}\nlog:\n{tail}", self.status())
    }
}

impl Drop for Rekindle<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Its world kills what it has started.
            drop(self.child.kill());
            drop(self.child.wait());
            return;
        }
        if !self.over {
            self.stop();
        }
        if !self.expects_errors.get() {
            let errors = self.lines_with(ERROR);
            assert!(errors.is_empty(), "unexpected errors in the log:\n{}", errors.join("\n"));
        }
    }
}

/// The samples of a metric: the text of the labels, the text of the value.
fn samples(page: &str, name: &str, labels: &str) -> Vec<(String, String)> {
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let (found, rest) = series.split_once('{').unwrap_or((series, ""));
        (found == name && rest.contains(labels)).then(|| (rest.to_owned(), value.to_owned()))
    };
    page.lines().filter_map(sample).collect()
}

/// The value of one label.
fn label(labels: &str, name: &str) -> Option<String> {
    let (_, rest) = labels.split_once(&format!("{name}=\""))?;
    rest.split('"').next().map(str::to_owned)
}
