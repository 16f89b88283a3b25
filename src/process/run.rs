//! Runs one short program beside the tree to its end, and leaves nothing of it: for `exec` probes.
//!
//! It does not reap: the driver's reaper hands the end to the [`Registry`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use super::kill::{self, Identified};
use super::world::World;
use super::{Launchable, MARK_VARIABLE, Mark, Registry, SpawnError, proc, spawn};
use crate::supervisor::Exit;

/// The variable by which what a program leaves behind is known.
pub const PROBE_VARIABLE: &str = "REKINDLE_PROBE";

/// How often, and how far apart, what is left is killed again until nothing is.
const KILL_ROUNDS: usize = 50;
const KILL_PAUSE: Duration = Duration::from_millis(2);

/// How long a killed program is given to end before we go on without it.
const KILL_GRACE: Duration = Duration::from_secs(1);

/// How a run went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ran {
    /// It ended in time.
    Exited(Exit),
    /// It did not, and was killed.
    TimedOut,
    /// It could not be started.
    CannotStart(SpawnError),
}

/// Runs a program for at most `timeout`. Then neither it nor anything that it started is alive,
/// except a descendant that gave up group, parents and environment: that falls to the tree.
pub async fn run(
    mut launchable: Launchable,
    timeout: Duration,
    mark: &Mark,
    registry: &Registry,
) -> Ran {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let id = format!("{}/{}/{run}", mark.instance, mark.service);
    // With the service's mark it would pass for a member of the tree.
    launchable.env.remove(std::ffi::OsStr::new(MARK_VARIABLE));
    launchable.env.insert(PROBE_VARIABLE.into(), id.clone().into());

    let process = match spawn(launchable) {
        Ok(process) => process,
        Err(error) => return Ran::CannotStart(error),
    };
    let mut end = registry.expect(process.pid);
    let guard = KillOnDrop { pid: process.pid, registry: registry.clone() };
    let entry = format!("{PROBE_VARIABLE}={id}").into_bytes();
    let ended = tokio::time::timeout(timeout, &mut end).await;
    if ended.is_err() {
        // Before it ends, while what it started can still be told by its parents.
        kill_remains(process.pid, &entry);
        guard.kill();
        // One that does not end even now is reaped whenever it does.
        tokio::time::timeout(KILL_GRACE, &mut end).await.ok();
    }
    for _ in 0..KILL_ROUNDS {
        if !kill_remains(process.pid, &entry) {
            break;
        }
        tokio::time::sleep(KILL_PAUSE).await;
    }
    match ended {
        Ok(Ok(exit)) => Ran::Exited(exit),
        // Nobody claims deaths any more: we are being shut down.
        Ok(Err(_)) | Err(_) => Ran::TimedOut,
    }
}

/// Kills the program, its descendants, and whatever has its mark; whether there was anything.
fn kill_remains(main: u32, entry: &[u8]) -> bool {
    let world = World::look();
    let remains = world.select(|stat| {
        if stat.pid == world.own {
            return Some(false);
        }
        (stat.pid == main || proc::has_variable(stat.pid, entry)).then_some(true)
    });
    for stat in &remains {
        // ESRCH: it has just ended.
        kill::exactly(Identified::from(stat), Signal::KILL).ok();
    }
    !remains.is_empty()
}

/// Kills the program's group when the wait for it is given up.
struct KillOnDrop {
    pid: u32,
    registry: Registry,
}

impl KillOnDrop {
    fn kill(&self) {
        // While it is registered it is not reaped, so that its pid and group are its own.
        if self.registry.holds(self.pid) {
            kill::group(self.pid, Signal::KILL).ok();
        }
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::signal::unix::{SignalKind, signal};

    use super::*;
    use crate::process::reaper;
    use crate::process::testing::{alone, sh, until};

    fn mark() -> Mark {
        // Tests run beside each other, and instances are told apart by their ids.
        Mark { instance: format!("{:032x}", std::process::id()), service: "gateway".to_owned() }
    }

    /// Runs with a reaper beside it, as under the driver, and checks that nothing is left.
    fn ran(launchable: Launchable, timeout: Duration) -> Ran {
        reaper::adopt_orphans().expect("allowed");
        let registry = Registry::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let result = runtime.expect("a runtime").block_on(async {
            let mark = mark();
            let mut dead = signal(SignalKind::child()).expect("a handler");
            let reaping = async {
                loop {
                    while let Some(dead) = reaper::peek() {
                        registry.claim(dead);
                        reaper::reap(dead.pid);
                    }
                    dead.recv().await;
                }
            };
            tokio::select! {
                ran = run(launchable, timeout, &mark, &registry) => ran,
                () = reaping => unreachable!(),
            }
        });
        until("all of it is reaped", || {
            while let Some(dead) = reaper::peek() {
                reaper::reap(dead.pid);
            }
            !reaper::has_children()
        });
        result
    }

    #[test]
    fn a_program_that_ends_leaves_nothing_of_what_it_started() {
        alone(|| {
            let script = "env -i sleep 60 & setsid sleep 60 & exit 4";
            assert_eq!(ran(sh(script), Duration::from_secs(20)), Ran::Exited(Exit::Code(4)));
        });
    }

    #[test]
    fn a_program_that_does_not_end_is_killed_with_all_that_it_started() {
        alone(|| {
            let scratch = tempfile::tempdir().expect("a directory");
            let mut deaf = sh(
                "trap '' TERM; env -i setsid sh -c 'echo > ready; exec sleep 60' & wait; sleep 60",
            );
            deaf.cwd = Some(scratch.path().to_owned());
            assert_eq!(ran(deaf, Duration::from_millis(500)), Ran::TimedOut);
            assert!(fs::exists(scratch.path().join("ready")).expect("readable"));
        });
    }

    #[test]
    fn a_program_that_is_missing_is_told_from_one_that_fails() {
        alone(|| {
            let missing = Launchable::new(["/nonexistent/probe"]);
            assert!(matches!(ran(missing, Duration::from_secs(20)), Ran::CannotStart(_)));
            assert_eq!(ran(sh("exit 127"), Duration::from_secs(20)), Ran::Exited(Exit::Code(127)));
        });
    }
}
