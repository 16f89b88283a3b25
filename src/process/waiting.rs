//! How long processes have waited for a processor.
//!
//! The kernel adds a wait only when it is over. While it goes on, all that shows is who is runnable
//! and how long each has run so far: who is runnable at two moments without having run between them
//! has waited all the time between them. This reads no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use super::kill::Identified;
use super::proc::{self, Share};
use crate::gather::gather;

/// Adds up the waits that are over, of a changing set of processes.
#[derive(Default, Debug)]
pub(super) struct WaitMeter {
    total: Duration,
    calls: u32,
    last: BTreeMap<Identified, Share>,
}

impl WaitMeter {
    /// The processes that were measured are over: the next call looks for the new ones.
    pub(super) fn look_again(&mut self) {
        self.calls = 0;
    }

    /// Whether it is time to look for new processes: in the 1st, 2nd, 4th … and every 64th call.
    pub(super) fn is_lookup_due(&mut self) -> bool {
        self.calls = self.calls.wrapping_add(1);
        self.calls.is_multiple_of(64) || (self.calls < 64 && self.calls.is_power_of_two())
    }

    /// What a process had waited before it was first seen does not count.
    pub(super) fn sample(&mut self, processes: impl Iterator<Item = Identified>) -> Duration {
        let share = |process: Identified| Some((process, proc::share(process.pid)?));
        let now: BTreeMap<Identified, Share> = gather(processes.filter_map(share));
        for (process, share) in &now {
            let before = self.last.get(process).copied().unwrap_or(*share);
            self.total += share.waited.saturating_sub(before.waited);
        }
        self.last = now;
        self.total
    }
}

/// Who was runnable at a moment, and how long each had run by then.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Queue(BTreeMap<Identified, Duration>);

impl Queue {
    /// Those of `processes` who are runnable now.
    pub(super) fn look(processes: impl Iterator<Item = Identified>) -> Self {
        let is_runnable = |pid: u32| proc::stat(pid).is_some_and(|stat| stat.state == b'R');
        let ran = |process: Identified| Some((process, proc::share(process.pid)?.ran));
        Self(gather(processes.filter(|process| is_runnable(process.pid)).filter_map(ran)))
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those who are in the `later` one, too, and have not run in between.
    #[must_use]
    pub fn still_in(&self, later: &Self) -> Self {
        let waits = |entry: &(&Identified, &Duration)| later.0.get(entry.0) == Some(entry.1);
        Self(self.0.iter().filter(waits).map(|(process, ran)| (*process, *ran)).collect())
    }
}

#[cfg(test)]
impl Queue {
    /// Processes by their pid, and for how many milliseconds each has run.
    pub(crate) fn of(entries: &[(u32, u64)]) -> Self {
        let entry = |(pid, ran): &(u32, u64)| {
            (Identified { pid: *pid, start_time: 1 }, Duration::from_millis(*ran))
        };
        Self(entries.iter().map(entry).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::testing::{Started, sh, until};

    #[test]
    fn who_spins_is_in_the_queue_and_gets_on_and_who_sleeps_is_not() {
        let [spinning, sleeping] =
            ["while :; do :; done", "exec sleep 60"].map(|script| Started::new(sh(script)));
        let [spins, sleeps] = [&spinning, &sleeping]
            .map(|started| Identified { pid: started.0.pid, start_time: started.0.start_time });
        let look = || Queue::look([spins, sleeps].into_iter());
        until("one sleeps, the other one does not", || {
            let queue = look();
            queue.0.contains_key(&spins) && !queue.0.contains_key(&sleeps)
        });
        let first = look();
        until("it gets a processor", || first.still_in(&look()).is_empty());
    }

    #[test]
    fn only_who_has_not_run_in_between_is_still_in_it() {
        let before = Queue::of(&[(1, 10), (2, 20), (3, 30)]);
        let later = Queue::of(&[(1, 10), (2, 21), (4, 0)]);
        assert_eq!(before.still_in(&later), Queue::of(&[(1, 10)]));
    }
}
