//! Waiting for conditions and measuring spans.
#![expect(clippy::disallowed_methods, reason = "tests wait in real time")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// How long a condition may take on a busy machine before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Measures from its making.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The wall clock, by which the log tells times.
pub(crate) fn wall_time() -> SystemTime {
    SystemTime::now()
}

/// Waits until `done`, and fails naming `what` if that takes longer than [`PATIENCE`].
pub(crate) fn wait_until(what: &str, done: impl FnMut() -> bool) {
    assert!(holds_within(PATIENCE, done), "waited {PATIENCE:?} in vain until {what}");
}

/// Whether `done` comes true within `limit`.
pub(crate) fn holds_within(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let watch = Stopwatch::start();
    loop {
        if done() {
            return true;
        }
        if watch.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A thread that only sleeps: what it comes late is this machine's doing, not that of what is
/// tested beside it.
pub(crate) struct Witness {
    over: Arc<AtomicBool>,
    late: JoinHandle<Vec<Duration>>,
}

/// How late an idle thread was.
#[derive(Debug)]
pub(crate) struct MachineLateness {
    /// In 99 of a hundred cases no more.
    pub(crate) p99: Duration,
    worst: Duration,
}

impl Witness {
    pub(crate) fn start() -> Self {
        const NAP: Duration = Duration::from_millis(5);
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let late = std::thread::spawn(move || {
            let mut late = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let watch = Stopwatch::start();
                std::thread::sleep(NAP);
                late.push(watch.elapsed().saturating_sub(NAP));
            }
            late
        });
        Self { over, late }
    }

    /// Ends it; it has slept at least once.
    pub(crate) fn lateness(self) -> MachineLateness {
        self.over.store(true, Ordering::Relaxed);
        let mut late = self.late.join().expect("it sleeps");
        late.sort();
        let p99 = late.get(late.len() * 99 / 100).copied().unwrap_or_default();
        let worst = late.last().copied().unwrap_or_default();
        MachineLateness { p99, worst }
    }
}

impl MachineLateness {
    /// What a busy machine may cost: what is tested is woken several times on its way.
    pub(crate) fn allowance(&self) -> Duration {
        4 * self.p99
    }

    /// The same for the worst case.
    pub(crate) fn worst_allowance(&self) -> Duration {
        4 * self.worst
    }
}
