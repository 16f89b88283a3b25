//! What shows, while a probe waits for its answer, that the child could not run.
//!
//! A wait for a processor that goes on when the probe ends is told by nothing afterwards: the end of
//! a probe wakes the child, so that it waits then in any case. So the probe looks some times in
//! between. What its answer is worth is judged elsewhere.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::timeout;

use crate::process::Queue;
use crate::supervisor::Moment;

/// Looks come after every such part of the probe's timeout: of a wait as much can stay unseen.
const PARTS: u32 = 4;

/// Whoever has just been started often waits for the most part of so short a time.
const SHORTEST: Duration = Duration::from_millis(50);

/// Who waits for a processor without a turn, and since when that is known.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Standstill(Option<(Moment, Queue)>);

impl Standstill {
    /// These are in the queue now.
    pub(super) fn look(&mut self, now: Moment, queue: Queue) {
        self.0 = self.goes_on(&queue).or_else(|| (!queue.is_empty()).then_some((now, queue)));
    }

    /// How long it has lasted at least, if these are in the queue now.
    pub(super) fn until(&self, now: Moment, queue: &Queue) -> Duration {
        self.goes_on(queue).map_or(Duration::ZERO, |(since, _)| now.since(since))
    }

    fn goes_on(&self, queue: &Queue) -> Option<(Moment, Queue)> {
        let (since, before) = self.0.as_ref()?;
        let still = before.still_in(queue);
        (!still.is_empty()).then_some((*since, still))
    }
}

/// How the tree fares from one answer of the startup probe to the next. Who has got no processor has
/// not even begun to listen: what he refuses at once says as little as what he does not answer.
#[derive(Default, Debug)]
pub(super) struct Rounds {
    last: Option<(Moment, Duration)>,
    standstill: Standstill,
    starved: bool,
}

impl Rounds {
    /// Since a moment at which the tree had waited for so long.
    pub(super) fn since(began: Moment, waited: Duration) -> Self {
        Self { last: Some((began, waited)), ..Self::default() }
    }

    /// A round is over, the tree has waited so long by now, and these are in the queue: whether it
    /// waited for more than half of the round. One too short to tell is like the last, and a part of
    /// the next.
    pub(super) fn was_starved(&mut self, now: Moment, waited: Duration, queue: Queue) -> bool {
        let Some((began, before)) = self.last else { return false };
        let round = now.since(began);
        if round < SHORTEST {
            return self.starved;
        }
        self.last = Some((now, waited));
        let stood = self.standstill.until(now, &queue).min(round);
        self.standstill.look(now, queue);
        self.starved = (waited.saturating_sub(before) + stood) * 2 > round;
        self.starved
    }
}

/// Waits for `work`, which can take as long as `timeout`, and looks in between.
pub(super) async fn with_looks<T>(
    work: impl Future<Output = T>,
    longest: Duration,
    mut look: impl FnMut(),
) -> T {
    let mut work = pin!(work);
    loop {
        match timeout(longest / PARTS, &mut work).await {
            Ok(done) => return done,
            Err(_) => look(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;

    #[test]
    fn a_wait_counts_from_the_first_look_that_saw_it_until_somebody_has_had_a_turn() {
        let at = |millis| Moment::new(Duration::from_millis(millis));
        let mut standstill = Standstill::default();
        for (millis, queue, known) in [
            // It sleeps, and is woken just now.
            (250, &[][..], 0),
            (500, &[(7, 10)], 0),
            (750, &[(7, 10)], 250),
            // One of them has run, the other one never.
            (1000, &[(7, 10), (8, 5)], 500),
            (1250, &[(7, 11), (8, 5)], 0),
            (1500, &[(7, 11), (8, 6)], 250),
            // It sleeps again.
            (1750, &[], 0),
        ] {
            let queue = Queue::of(queue);
            let lasted = standstill.until(at(millis), &queue);
            assert_eq!(lasted, Duration::from_millis(known), "{millis}");
            standstill.look(at(millis), queue);
        }
    }

    #[test]
    fn a_start_is_starved_in_rounds_of_which_the_tree_waits_for_more_than_half() {
        let millis = Duration::from_millis;
        let mut rounds = Rounds::since(Moment::new(millis(0)), millis(40));
        for (now, waited, queue, starved) in [
            (49, 80, &[][..], false),
            (500, 290, &[][..], false),
            (1000, 541, &[(7, 10)], true),
            // It goes on waiting, which the kernel does not tell before it is over.
            (1500, 541, &[(7, 10)], true),
            (2000, 541, &[(7, 10), (8, 1)], true),
            (2030, 541, &[(7, 11), (8, 1)], true),
            (2500, 541, &[(7, 11), (8, 2)], false),
            (3000, 541, &[], false),
        ] {
            let now = Moment::new(millis(now));
            let was = rounds.was_starved(now, millis(waited), Queue::of(queue));
            assert_eq!(was, starved, "{now:?}");
        }
    }

    #[tokio::test]
    async fn looks_are_taken_as_long_as_the_work_lasts() {
        let (enough, mut looks) = (Notify::new(), 0);
        let look = || {
            looks += 1;
            if looks == 3 {
                enough.notify_one();
            }
        };
        with_looks(enough.notified(), Duration::from_millis(4), look).await;
        assert_eq!(looks, 3);
    }
}
