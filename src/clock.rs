//! The only reader of the clocks.
#![expect(clippy::disallowed_methods, reason = "this is the one place that reads clocks")]

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use crate::supervisor::Moment;

/// A wall clock that shows an earlier time (2025-01-01) has not been set.
pub const EARLIEST: Duration = Duration::from_hours(482_136);

/// The supervisor's clock: monotonic, zero at its start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Duration,
}

impl Clock {
    /// Starts the clock: now is [`Moment::ZERO`].
    pub fn start() -> Self {
        Self { start: monotonic() }
    }

    /// The present moment.
    pub fn now(&self) -> Moment {
        Moment::new(monotonic().saturating_sub(self.start))
    }

    /// How long until `moment`; zero if it has passed.
    pub fn until(&self, moment: Moment) -> Duration {
        moment.since(self.now())
    }
}

fn monotonic() -> Duration {
    read(ClockId::Monotonic)
}

/// How long the machine has been suspended since it booted, as far as its clocks tell.
pub fn suspended() -> Duration {
    // Monotonic first: a suspension between the two reads shows up now rather than never.
    let monotonic = read(ClockId::Monotonic);
    read(ClockId::Boottime).saturating_sub(monotonic)
}

/// How long ago the machine booted, suspensions included.
pub fn since_boot() -> Duration {
    read(ClockId::Boottime)
}

/// The wall clock, as the time since 1970; for telling, never for deciding.
pub fn wall() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn read(id: ClockId) -> Duration {
    let time = clock_gettime(id);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}
