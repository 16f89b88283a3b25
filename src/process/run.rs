//! Runs one short program beside the tree to its end, and leaves nothing of it: for `exec` probes.
//!
//! It does not reap: the driver's reaper hands the end to the [`Registry`].

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::oneshot::Receiver;

use super::kill::{self, Identified};
use super::proc::Stat;
use super::registry::Whose;
use super::world;
use super::{Launchable, MARK_VARIABLE, Mark, Registry, SpawnError, proc, spawn};
use crate::supervisor::Exit;

/// The variable by which what a program leaves behind is known.
pub const PROBE_VARIABLE: &str = "REKINDLE_PROBE";

/// How often, and how far apart, what is left is killed again until nothing is.
const KILL_ROUNDS: usize = 50;
const KILL_PAUSE: Duration = Duration::from_millis(2);

/// How long what was killed is given to end before we go on without it.
const KILL_GRACE: Duration = Duration::from_secs(1);

/// How a run went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ran {
    /// It ended in time.
    Exited(Exit),
    /// It did not.
    TimedOut,
    /// It could not be started.
    CannotStart(SpawnError),
}

/// Runs a program for at most `timeout`. Then neither it nor anything that it started is alive,
/// except what SIGKILL does not end, and a descendant that gave up group, parents and environment
/// before: that falls to the tree.
///
/// Dropped before, it kills all of that at once.
pub async fn run(
    launchable: Launchable,
    timeout: Duration,
    id: String,
    registry: &Registry,
) -> Ran {
    match Run::start(launchable, id, registry) {
        Ok(mut run) => {
            let ran = run.wait(timeout).await;
            run.clean_up().await;
            ran
        }
        Err(error) => Ran::CannotStart(error),
    }
}

/// What a run of this mark's service is told by, and no other.
pub fn new_id(mark: &Mark) -> String {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    mark.of_run(RUNS.fetch_add(1, Ordering::Relaxed))
}

/// Ends whatever the runs of this mark's service have left, and waits up to a second for that.
pub async fn clear(mark: &Mark, registry: &Registry) {
    let is_left = |stat: &Stat| match registry.whose(stat) {
        Some(whose) => whose != Whose::Tree,
        None => run_of(stat.pid).is_some_and(|run| mark.has_run(&run)),
    };
    let cleared = async {
        while kill_each(&world::left(is_left)) {
            tokio::time::sleep(KILL_PAUSE).await;
        }
    };
    // What cannot be killed now dies as soon as the kernel lets it.
    tokio::time::timeout(KILL_GRACE, cleared).await.ok();
}

/// A run that goes on. Dropped, because it is over or because nobody waits for it any more, it has
/// killed what was left.
pub struct Run {
    main: u32,
    end: Receiver<Exit>,
    has_ended: bool,
    id: String,
    registry: Registry,
}

impl Run {
    /// Starts a program; an error says why it cannot be started.
    pub fn start(
        mut launchable: Launchable,
        id: String,
        registry: &Registry,
    ) -> Result<Self, SpawnError> {
        // What was left of others has mostly died by now.
        registry.settle();
        // With the service's mark it would pass for a member of the tree.
        launchable.env.remove(OsStr::new(MARK_VARIABLE));
        launchable.env.insert(PROBE_VARIABLE.into(), id.clone().into());
        let main = spawn(launchable)?.pid;
        let end = registry.begin(&id, main);
        Ok(Self { main, end, has_ended: false, id, registry: registry.clone() })
    }

    /// Waits for at most `timeout`, and tells the end as soon as it is known: what it started, and
    /// after a timeout itself, may be alive yet.
    pub async fn wait(&mut self, timeout: Duration) -> Ran {
        let ended = tokio::time::timeout(timeout, &mut self.end).await;
        self.has_ended = ended.is_ok();
        match ended {
            Ok(Ok(exit)) => Ran::Exited(exit),
            // Nobody claims deaths any more: we are being shut down.
            Ok(Err(_)) | Err(_) => Ran::TimedOut,
        }
    }

    /// Kills what is left, and waits for that.
    pub async fn clean_up(mut self) {
        if !self.has_ended {
            self.kill();
            // One that does not end even now is reaped whenever it does.
            self.has_ended = tokio::time::timeout(KILL_GRACE, &mut self.end).await.is_ok();
        }
        for _ in 0..KILL_ROUNDS {
            let remains = self.remains();
            self.registry.killed(&self.id, &remains);
            if !kill_each(&remains) {
                break;
            }
            tokio::time::sleep(KILL_PAUSE).await;
        }
    }

    /// Kills until no new process appears.
    fn kill(&self) {
        let mut reached = BTreeSet::new();
        for _ in 0..KILL_ROUNDS {
            let mut fresh = self.remains();
            fresh.retain(|process| reached.insert(*process));
            self.registry.killed(&self.id, &fresh);
            if !kill_each(&fresh) {
                break;
            }
        }
        // Last, as what it started can be told by its parents only while it lives.
        if self.main_is_ours() {
            kill::group(self.main, Signal::KILL).ok();
        }
    }

    fn remains(&self) -> Vec<Identified> {
        world::left(|stat| match self.registry.whose(stat) {
            Some(whose) => whose == Whose::Run(self.id.clone()),
            None => run_of(stat.pid).is_some_and(|run| run == self.id.as_bytes()),
        })
    }

    /// While it is registered it is not reaped, so that its pid and group are its own.
    fn main_is_ours(&self) -> bool {
        !self.has_ended && self.registry.holds(self.main)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.kill();
        // What cannot die must not pass for a part of the tree, which would never be gone.
        self.registry.give_up(&self.id);
    }
}

/// The run that a process says it is a part of.
fn run_of(pid: u32) -> Option<Vec<u8>> {
    proc::variable(pid, PROBE_VARIABLE)
}

/// Whether there was anything to kill.
fn kill_each(processes: &[Identified]) -> bool {
    for process in processes {
        // ESRCH: it has just ended.
        kill::exactly(*process, Signal::KILL).ok();
    }
    !processes.is_empty()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::signal::unix::{SignalKind, signal};

    use super::*;
    use crate::process::reaper;
    use crate::process::testing::{Started, alone, sh, until};

    fn mark() -> Mark {
        // Tests run beside each other, and instances are told apart by their ids.
        Mark { instance: format!("{:032x}", std::process::id()), service: "gateway".to_owned() }
    }

    fn ran(launchable: Launchable, timeout: Duration) -> Ran {
        ran_unless(launchable, timeout, std::future::pending()).expect("it is waited for")
    }

    /// Runs with a reaper beside it, as under the driver, gives it up when `lost` is ready, and
    /// checks that nothing is left.
    fn ran_unless(
        launchable: Launchable,
        timeout: Duration,
        lost: impl Future<Output = ()>,
    ) -> Option<Ran> {
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
                ran = run(launchable, timeout, new_id(&mark), &registry) => Some(ran),
                () = lost => None,
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
    fn a_program_that_nobody_waits_for_any_more_is_killed_with_all_that_it_started() {
        alone(|| {
            let scratch = tempfile::tempdir().expect("a directory");
            let mut detached =
                sh("setsid sleep 60 & (setsid sh -c 'echo > ready; exec sleep 60' &); wait");
            detached.cwd = Some(scratch.path().to_owned());
            let ready = scratch.path().join("ready");
            let lost = async {
                while !ready.exists() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            assert_eq!(ran_unless(detached, Duration::from_mins(1), lost), None);
        });
    }

    #[test]
    fn what_earlier_runs_left_is_cleared_and_nothing_else() {
        alone(|| {
            reaper::adopt_orphans().expect("allowed");
            let started = |run: &str| {
                let mut sleep = sh("exec sleep 60");
                sleep.env.insert(PROBE_VARIABLE.into(), run.into());
                Started::new(sleep)
            };
            let (mark, other) = (mark(), Mark { service: "gate".to_owned(), ..mark() });
            let (left, others) = (started(&mark.of_run(7)), started(&other.of_run(7)));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(clear(&mark, &Registry::default()));
            assert_eq!(left.wait(), Exit::Signal(9));
            assert!(proc::stat(others.0.pid).is_some_and(|stat| stat.is_alive()));
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
