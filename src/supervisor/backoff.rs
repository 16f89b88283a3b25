//! How long to wait before an attempt: the series, its jitter, and the budget of restarts.

use std::time::Duration;

use super::event::Moment;
use super::policy::{Budget, Policy};

/// Where the core's randomness comes from: owned, seeded, part of the state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dice {
    /// Pseudo-random (`SplitMix64`); equal seeds throw equal numbers.
    Seeded(u64),
    /// Always this many thousandths, so that a test can take the least and the greatest.
    Fixed(u32),
}

impl Dice {
    /// A number from 0 to 1000.
    fn throw(&mut self) -> u32 {
        match self {
            Self::Fixed(permille) => *permille,
            Self::Seeded(seed) => {
                *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = *seed;
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                u32::try_from((mixed ^ (mixed >> 31)) % 1001).unwrap_or(0)
            }
        }
    }

    /// A span from nothing to `whole`.
    pub fn share_of(&mut self, whole: Duration) -> Duration {
        whole * self.throw() / 1000
    }

    /// `delay` spread over ±`permille` thousandths of itself.
    pub(super) fn jittered(&mut self, delay: Duration, permille: u32) -> Duration {
        let least = delay * (1000 - permille.min(1000)) / 1000;
        least + self.share_of(delay * 2 * permille.min(1000) / 1000)
    }
}

/// The pace of restarts since the last stable run.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Pace {
    /// The number that the current attempt has, from 1.
    pub(super) attempt: u32,
    /// Which delay of the series comes next. The first one is for a child that was stable.
    pub(super) next_delay: usize,
    /// When each restart of the budget's window is forgotten.
    pub(super) spent: Vec<Moment>,
}

impl Pace {
    /// The pace at the start of a run: the immediate restart is for those who were stable.
    pub(super) const fn new() -> Self {
        Self { attempt: 1, next_delay: 1, spent: Vec::new() }
    }

    /// The run was stable: attempts and delays start afresh.
    pub(super) const fn reset(&mut self) {
        self.attempt = 0;
        self.next_delay = 0;
    }

    /// Counts one more attempt and returns the series' delay before it, without jitter.
    pub(super) fn advance(&mut self, policy: &Policy) -> Duration {
        let last = policy.delays.len().saturating_sub(1);
        let delay = policy.delays.get(self.next_delay.min(last)).copied().unwrap_or_default();
        self.attempt = self.attempt.saturating_add(1);
        self.next_delay = self.next_delay.saturating_add(1).min(last);
        delay
    }

    /// Takes one restart from the budget; `false` if there is none left.
    pub(super) fn spend(&mut self, now: Moment, budget: Budget) -> bool {
        if self.left(now, budget) == 0 {
            return false;
        }
        self.spent.retain(|forgotten_at| *forgotten_at > now);
        self.spent.push(now + budget.window);
        true
    }

    /// Restarts left in the budget.
    pub(super) fn left(&self, now: Moment, budget: Budget) -> u32 {
        let spent = self.spent.iter().filter(|forgotten_at| **forgotten_at > now).count();
        budget.max_restarts.saturating_sub(u32::try_from(spent).unwrap_or(u32::MAX))
    }
}
