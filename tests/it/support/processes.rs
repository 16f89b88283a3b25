//! Looking at processes through `/proc`, and ending those that carry a test's mark.

use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::time::wait_until;

/// The environment variable that all processes of a test inherit.
pub(crate) const MARK: &str = "IT_MARK";

/// The live processes that carry this mark. A zombie does not: its environment is gone.
pub(crate) fn marked(mark: &str) -> Vec<i32> {
    let wanted = format!("{MARK}={mark}");
    let carries = |pid: &i32| {
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|env| env.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
    };
    all().into_iter().filter(carries).collect()
}

/// Kills all that carries this mark, again and again until nothing is left; says what it was.
pub(crate) fn kill_marked(mark: &str) -> Vec<String> {
    let mut killed = Vec::new();
    wait_until("the test's processes are gone", || {
        let left = marked(mark);
        for pid in &left {
            let line = format!("{pid} {} {}", state(*pid).unwrap_or('?'), command_line(*pid));
            if !killed.contains(&line) {
                killed.push(line);
            }
            send(*pid, Signal::KILL);
        }
        left.is_empty()
    });
    killed
}

/// Sends a signal to a process that may just have ended.
pub(crate) fn send(pid: i32, signal: Signal) {
    assert!(pid > 1, "never a group of processes, never init");
    let pid = Pid::from_raw(pid).expect("more than 1");
    // It may have ended in the meantime.
    let sent = rustix::process::kill_process(pid, signal);
    assert!(matches!(sent, Ok(()) | Err(Errno::SRCH)), "cannot signal {pid:?}: {sent:?}");
}

/// Whether a process runs (a zombie does not).
pub(crate) fn is_alive(pid: i32) -> bool {
    state(pid).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// The state letter of a process, if it exists.
pub(crate) fn state(pid: i32) -> Option<char> {
    stat_field(pid, 0)?.chars().next()
}

/// The pid of a process' parent, if it exists.
pub(crate) fn parent(pid: i32) -> Option<i32> {
    stat_field(pid, 1)?.parse().ok()
}

/// The children of a process, zombies included.
pub(crate) fn children(pid: i32) -> Vec<i32> {
    all().into_iter().filter(|other| parent(*other) == Some(pid)).collect()
}

/// How much memory a process has resident, in kB.
pub(crate) fn resident_kb(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number of kB")
}

/// The command line of a process, with blanks between its arguments.
pub(crate) fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// A field of `/proc/PID/stat`, counted from the state, which follows the parenthesised name.
fn stat_field(pid: i32, index: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(index).map(str::to_owned)
}

fn all() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}
