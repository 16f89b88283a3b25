//! What the tests of real processes share.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions, getrlimit, setrlimit};

use super::{Launchable, Process, Sink, kill, spawn};
use crate::supervisor::Exit;

const ALONE: &str = "REKINDLE_TEST_ALONE";

/// Runs a test in a process of its own: reaping everything and being a subreaper concern the whole
/// process, and other tests have children, too. Its session is its own as well, so that a mistake
/// about whose a session is cannot reach whoever runs the tests.
pub(crate) fn alone(body: impl FnOnce()) {
    again(body, |program, test| {
        let argv = ["setsid", "--wait", &program, &test, "--exact", "--nocapture"];
        argv.map(str::to_owned).to_vec()
    });
}

/// Runs a test in a process of its own that has a terminal.
pub(crate) fn alone_on_terminal(body: impl FnOnce()) {
    again(body, |program, test| {
        let command = format!("exec {program} {test} --exact --nocapture");
        vec!["script".into(), "-qefc".into(), command, "/dev/null".into()]
    });
}

/// Runs a test as PID 1 of a PID namespace of its own, where that is allowed.
pub(crate) fn alone_as_init(body: impl FnOnce()) {
    if root() {
        again(body, |program, test| {
            let unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
            let test = [&program, &test, "--exact", "--nocapture"];
            unshare.iter().copied().chain(test).map(str::to_owned).collect()
        });
    }
}

/// Runs a test as root in a process of its own that may not look into other users' processes, as
/// in most containers, where that is allowed.
pub(crate) fn alone_as_contained_root(body: impl FnOnce()) {
    if root() {
        again(body, |program, test| {
            let rights = "-all,+chown,+dac_override,+fowner,+kill,+setgid,+setuid,+setpcap";
            let setpriv = ["setpriv", "--bounding-set", rights];
            let test = [&program, &test, "--exact", "--nocapture"];
            setpriv.iter().copied().chain(test).map(str::to_owned).collect()
        });
    }
}

/// Runs something while only so many more files can be opened; in a process of its own.
pub(crate) fn with_free_descriptors<T>(free: u64, body: impl FnOnce() -> T) -> T {
    let next = File::open("/dev/null").expect("a descriptor").as_raw_fd();
    let enough = getrlimit(Resource::Nofile);
    let current = u64::try_from(next).expect("a descriptor") + free;
    setrlimit(Resource::Nofile, Rlimit { current: Some(current), ..enough }).expect("less");
    let result = body();
    setrlimit(Resource::Nofile, enough).expect("no more than before");
    result
}

/// What this process has in memory that is no file's, in KB; nobody else's if it is alone.
pub(crate) fn anonymous_kb() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("we live");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number of KB")
}

fn again(body: impl FnOnce(), argv: impl FnOnce(String, String) -> Vec<String>) {
    if std::env::var_os(ALONE).is_some() {
        return body();
    }
    let name = std::thread::current().name().expect("tests are named").to_owned();
    let program = std::env::current_exe().expect("there is one").display().to_string();
    let mut test = Launchable::new(argv(program, name.clone()));
    test.env = std::env::vars_os().collect();
    test.env.insert(ALONE.into(), "1".into());
    let (exit, output) = output(test);
    assert!(exit == Exit::Code(0) && output.contains("1 passed"), "{name} alone: {exit}\n{output}");
}

/// A process that is killed, with its group, and reaped when the test is over.
pub(crate) struct Started(pub(crate) Process);

impl Started {
    pub(crate) fn new(launchable: Launchable) -> Self {
        Self(spawn(launchable).expect("it can be started"))
    }

    pub(crate) fn wait(&self) -> Exit {
        wait(self.0.pid)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if super::proc::stat(self.0.pid).is_some_and(|stat| stat.start_time == self.0.start_time) {
            kill::group(self.0.pid, Signal::KILL).ok();
            let pid = i32::try_from(self.0.pid).ok().and_then(Pid::from_raw);
            rustix::process::waitpid(pid, WaitOptions::empty()).ok();
        }
    }
}

/// `/bin/sh -c script` with a `PATH`, its output dropped.
pub(crate) fn sh(script: &str) -> Launchable {
    let mut launchable = Launchable::new(["/bin/sh", "-c", script]);
    launchable.env.insert("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into());
    launchable.stdout = Sink::Null;
    launchable
}

/// Runs to the end; the exit, and stdout and stderr together.
pub(crate) fn output(mut launchable: Launchable) -> (Exit, String) {
    let (read, write) = pipe();
    launchable.stderr = Sink::To(write.try_clone().expect("a descriptor"));
    launchable.stdout = Sink::To(write);
    let started = Started::new(launchable);
    let mut output = Vec::new();
    File::from(read).read_to_end(&mut output).expect("a pipe");
    (started.wait(), String::from_utf8_lossy(&output).into_owned())
}

pub(crate) fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).expect("descriptors")
}

/// Reaps this pid when it ends.
pub(crate) fn wait(pid: u32) -> Exit {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let (_, status) = rustix::process::waitpid(pid, WaitOptions::empty())
        .expect("a child of ours")
        .expect("it has ended");
    match status.exit_status() {
        Some(code) => Exit::Code(u8::try_from(code).expect("a code")),
        None => Exit::Signal(
            status.terminating_signal().and_then(|s| s.try_into().ok()).expect("one of both"),
        ),
    }
}

/// Waits until the condition holds; a test that waits for more than 20 seconds fails.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..4000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("waited in vain: {what}");
}

/// Whether the test runs as root; says so if it must be skipped.
pub(crate) fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}
