//! Wakes the loop after a time.
//!
//! The runtime's own timers are kept on a wheel, which wakes up once to turn it and once again for
//! a timer that is more than 64 ms away. The loop nearly always waits for one, so it has the
//! kernel's timer instead. It rings at about the right time; whether a deadline has passed is
//! decided by the clock.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use crate::process::awaitable;

/// A timer of the kernel's.
#[derive(Debug)]
pub(super) struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// One that is not set. Needs a running runtime.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self(awaitable(timerfd_create(TimerfdClockId::Monotonic, flags)?)?))
    }

    /// Rings once, after `span`; whoever stops waiting has it set anew the next time.
    pub(super) async fn rings_in(&self, span: Duration) {
        if self.set(span).is_err() {
            return tokio::time::sleep(span).await;
        }
        // What rang for an earlier wait is not readable any more: setting it took that back.
        while let Ok(mut ready) = self.0.readable().await {
            let rang = ready.try_io(|timer| Ok(rustix::io::read(timer, &mut [0; 8])?));
            if rang.is_ok() {
                return;
            }
        }
    }

    fn set(&self, span: Duration) -> io::Result<()> {
        // Zero would switch it off.
        let span = span.max(Duration::from_nanos(1));
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: span.try_into().map_err(io::Error::other)?,
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::clock::Clock;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn it_rings_after_the_span_and_not_before() {
        let (alarm, clock) = (Alarm::new().unwrap(), Clock::start());
        for span in [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(150)] {
            let began = clock.now();
            timeout(PATIENCE, alarm.rings_in(span)).await.expect("it rings");
            assert!(clock.now().since(began) >= span);
        }
    }

    #[tokio::test]
    async fn what_rang_for_a_wait_that_was_given_up_does_not_end_the_next_one() {
        let (alarm, clock) = (Alarm::new().unwrap(), Clock::start());
        // So long that even a busy machine gives up before it rings.
        let span = Duration::from_millis(300);
        timeout(Duration::ZERO, alarm.rings_in(span)).await.expect_err("given up");
        alarm.0.readable().await.unwrap().retain_ready();
        let (began, span) = (clock.now(), Duration::from_millis(100));
        timeout(PATIENCE, alarm.rings_in(span)).await.expect("it rings");
        assert!(clock.now().since(began) >= span);
    }
}
