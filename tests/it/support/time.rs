//! Waiting for conditions and measuring spans.
#![expect(clippy::disallowed_methods, reason = "tests wait in real time")]

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
