//! How long processes have waited for a processor.
//!
//! Any thread may be the one that serves, so a process has waited as long as that of its threads
//! that has waited longest. The kernel adds a wait only when it is over. While it goes on, all that
//! shows is who is runnable and how long each has run so far: who is runnable at two moments without
//! having run between them has waited all the time between them. This reads no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use super::kill::Identified;
use super::proc;
use crate::gather::gather;

/// A thread of a process.
type Thread = (Identified, u32);

/// Adds up the waits that are over, of a changing set of processes.
#[derive(Default, Debug)]
pub(super) struct WaitMeter {
    total: Duration,
    calls: u32,
    last: BTreeMap<Thread, Duration>,
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

    /// From now on the waits of these processes count, those of new ones, too.
    pub(super) fn meet(&mut self, processes: impl Iterator<Item = Identified>) {
        let is_new = |process: &Identified| {
            self.last.range((*process, 0)..=(*process, u32::MAX)).next().is_none()
        };
        let new: Vec<Identified> = processes.filter(is_new).collect();
        self.last.extend(new.into_iter().flat_map(threads).filter_map(waited));
    }

    /// What a process had waited before it was first seen does not count.
    pub(super) fn sample(&mut self, processes: impl Iterator<Item = Identified>) -> Duration {
        let now: BTreeMap<Thread, Duration> =
            gather(processes.flat_map(threads).filter_map(waited));
        self.total += grown(&self.last, &now);
        self.last = now;
        self.total
    }
}

/// By how much the waits of processes have grown, each by that of one of its threads.
fn grown(before: &BTreeMap<Thread, Duration>, now: &BTreeMap<Thread, Duration>) -> Duration {
    let mut longest = BTreeMap::<Identified, Duration>::new();
    for (thread, waited) in now {
        let process = (thread.0, 0)..=(thread.0, u32::MAX);
        // A thread that was begun since then has waited only since then.
        let new = if before.range(process).next().is_some() { Duration::ZERO } else { *waited };
        let grown = waited.saturating_sub(before.get(thread).copied().unwrap_or(new));
        let longest = longest.entry(thread.0).or_default();
        *longest = grown.max(*longest);
    }
    longest.values().sum()
}

fn waited(thread: Thread) -> Option<(Thread, Duration)> {
    Some((thread, proc::share(thread.1)?.waited))
}

fn threads(process: Identified) -> impl Iterator<Item = Thread> {
    proc::threads(process.pid).map(move |id| (process, id))
}

/// Who was runnable at a moment, and how long each had run by then.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Queue(BTreeMap<Thread, Duration>);

impl Queue {
    /// Those threads of `processes` that are runnable now.
    pub(super) fn look(processes: impl Iterator<Item = Identified>) -> Self {
        let is_runnable =
            |thread: &Thread| proc::stat(thread.1).is_some_and(|stat| stat.state == b'R');
        let ran = |thread: Thread| Some((thread, proc::share(thread.1)?.ran));
        Self(gather(processes.flat_map(threads).filter(is_runnable).filter_map(ran)))
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those who are in the `later` one, too, and have not run in between.
    #[must_use]
    pub fn still_in(&self, later: &Self) -> Self {
        let waits = |entry: &(&Thread, &Duration)| later.0.get(entry.0) == Some(entry.1);
        Self(self.0.iter().filter(waits).map(|(thread, ran)| (*thread, *ran)).collect())
    }
}

#[cfg(test)]
impl Queue {
    /// Processes with one thread by their pid, and for how many milliseconds each has run.
    pub(crate) fn of(entries: &[(u32, u64)]) -> Self {
        let entry = |(pid, ran): &(u32, u64)| {
            ((Identified { pid: *pid, start_time: 1 }, *pid), Duration::from_millis(*ran))
        };
        Self(entries.iter().map(entry).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, mpsc};
    use std::{hint, thread};

    use super::*;
    use crate::process::testing::until;

    /// This process, whose main thread sleeps while the tests run.
    fn ourselves() -> impl Iterator<Item = Identified> {
        let stat = proc::stat(std::process::id()).expect("we live");
        std::iter::once(Identified::from(&stat))
    }

    fn look() -> Queue {
        Queue::look(ourselves())
    }

    /// Threads that spin until this is dropped.
    struct Spinning(Arc<AtomicBool>);

    impl Spinning {
        fn start(count: usize) -> (Self, Vec<u32>) {
            let (over, (tell, ids)) = (Arc::new(AtomicBool::new(false)), mpsc::channel());
            for _ in 0..count {
                let (over, tell) = (Arc::clone(&over), tell.clone());
                thread::spawn(move || {
                    tell.send(rustix::thread::gettid().as_raw_pid().unsigned_abs()).ok();
                    while !over.load(Ordering::Relaxed) {
                        hint::spin_loop();
                    }
                });
            }
            (Self(over), ids.iter().take(count).collect())
        }
    }

    impl Drop for Spinning {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_thread_that_spins_is_in_the_queue_and_gets_on_and_one_that_sleeps_is_not() {
        let (_spinning, ids) = Spinning::start(1);
        let holds = |queue: &Queue, id| queue.0.keys().any(|(_, thread)| *thread == id);
        until("the main thread sleeps, the other one does not", || {
            let queue = look();
            holds(&queue, ids[0]) && !holds(&queue, std::process::id())
        });
        let first = look();
        until("it gets a processor", || !holds(&first.still_in(&look()), ids[0]));
    }

    #[test]
    fn threads_that_wait_for_each_other_are_a_wait_of_their_process() {
        let more = 4 * thread::available_parallelism().map_or(2, usize::from);
        let (_spinning, _) = Spinning::start(more);
        let mut meter = WaitMeter::default();
        until("they wait", || meter.sample(ourselves()) > Duration::from_millis(50));
    }

    #[test]
    fn a_process_has_waited_as_long_as_that_of_its_threads_that_has_waited_longest() {
        let waits = |entries: &[(u32, u32, u64)]| -> BTreeMap<Thread, Duration> {
            let wait = |(pid, id, millis): &(u32, u32, u64)| {
                ((Identified { pid: *pid, start_time: 1 }, *id), Duration::from_millis(*millis))
            };
            entries.iter().map(wait).collect()
        };
        let before = waits(&[(1, 1, 500), (1, 2, 0), (5, 5, 7), (6, 6, 100)]);
        // One process is new, and one is gone.
        let now = waits(&[(1, 1, 510), (1, 2, 30), (5, 5, 12), (8, 8, 900), (8, 9, 70)]);
        assert_eq!(grown(&before, &now), Duration::from_millis(30 + 5));
        // One thread is new.
        let now = waits(&[(1, 1, 510), (1, 2, 30), (1, 3, 90), (5, 5, 12)]);
        assert_eq!(grown(&before, &now), Duration::from_millis(90 + 5));
    }

    #[test]
    fn only_who_has_not_run_in_between_is_still_in_it() {
        let before = Queue::of(&[(1, 10), (2, 20), (3, 30)]);
        let later = Queue::of(&[(1, 10), (2, 21), (4, 0)]);
        assert_eq!(before.still_in(&later), Queue::of(&[(1, 10)]));
    }
}
