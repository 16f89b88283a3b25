//! Runs of verdicts against thresholds: when to probe, what to count, when to doubt.

use std::time::Duration;

use super::backoff::Dice;
use super::event::{Moment, Verdict};
use super::policy::ProbePolicy;
use super::words::{FailKind, Why};

/// A probe that has not answered so long after its own timeout never will.
const LOST_AFTER: Duration = Duration::from_secs(1);

/// So many periods without a conclusive verdict, and we say that we are blind.
const BLIND_AFTER_PERIODS: u32 = 10;

/// Rounds whose failures are not believed after we came late: the one in flight and the next,
/// because whoever was stopped together with us may be continued a moment after us.
const DOUBTED_ROUNDS: u8 = 2;

/// Quick rounds are doubted for so long, also after a pass, which may have been sent before we all
/// stopped: whoever is continued within a second of us needs a moment more to answer.
const LATE_FOR: Duration = Duration::from_millis(1500);

/// One probe's rhythm and its run of verdicts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Watch {
    pub(super) probing: Probing,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Failures that were not believed since the last pass, counted up to the threshold.
    pub(super) doubts: u32,
    /// Until when we can say that we see; `None` when we have said that we are blind.
    pub(super) sighted_until: Option<Moment>,
}

/// Exactly one of: waiting to probe, or waiting for a probe (which the core itself times out).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Probing {
    NextAt(Moment),
    InFlight { probe: u32, lost_at: Moment, next_at: Moment },
}

/// What a verdict did to a run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Effect {
    /// The run of failures it ended.
    pub(super) forgotten: u32,
    /// It would have reached the threshold, had it been believed.
    pub(super) avoided: bool,
    /// Sight was lost (`false`) or came back (`true`) with it.
    pub(super) sight: Option<bool>,
}

impl Watch {
    /// A watch whose first probe starts at a random phase of its period.
    pub(super) fn new(now: Moment, policy: ProbePolicy, dice: &mut Dice) -> Self {
        Self {
            probing: Probing::NextAt(now + dice.share_of(policy.period)),
            failures: 0,
            doubts: 0,
            sighted_until: Some(now + policy.period * BLIND_AFTER_PERIODS),
        }
    }

    pub(super) const fn deadline(&self) -> Moment {
        match self.probing {
            Probing::NextAt(at) => at,
            Probing::InFlight { lost_at, .. } => lost_at,
        }
    }

    /// Whether a probe is due: then it must be ordered.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        matches!(self.probing, Probing::NextAt(at) if at <= now)
    }

    /// Whether the probe in flight is overdue: then its verdict is `lost`.
    pub(super) fn is_lost(&self, now: Moment) -> bool {
        matches!(self.probing, Probing::InFlight { lost_at, .. } if lost_at <= now)
    }

    /// The number of the probe in flight.
    pub(super) const fn in_flight(&self) -> Option<u32> {
        match self.probing {
            Probing::NextAt(_) => None,
            Probing::InFlight { probe, .. } => Some(probe),
        }
    }

    /// A wake-up that comes a little late does not delay all later probes, so that rounds last as
    /// long as they are taken for.
    pub(super) fn ordered(&mut self, now: Moment, probe: u32, policy: ProbePolicy) {
        let due = match self.probing {
            Probing::NextAt(at) if now.since(at) * 2 <= policy.period => at,
            Probing::NextAt(_) | Probing::InFlight { .. } => now,
        };
        self.probing = Probing::InFlight {
            probe,
            lost_at: now + policy.timeout + LOST_AFTER,
            next_at: due + policy.period,
        };
    }

    /// How long the round lasts that a verdict ends now: at least a period, longer if it was slow.
    pub(super) fn round(&self, now: Moment, policy: ProbePolicy) -> Duration {
        match self.probing {
            Probing::NextAt(_) => policy.period,
            Probing::InFlight { next_at, .. } => policy.period + now.since(next_at),
        }
    }

    /// We slept, and our clock shows `by`: what is overdue is due now, an answer that is on its way
    /// may still come, and the time that we slept through says nothing.
    pub(super) fn catch_up(&mut self, now: Moment, by: Duration) {
        self.sighted_until = self.sighted_until.map(|until| until + by);
        match &mut self.probing {
            Probing::NextAt(at) => *at = now.max(*at),
            Probing::InFlight { lost_at, next_at, .. } => {
                *next_at = *next_at + by;
                if *lost_at < now {
                    *lost_at = now + LOST_AFTER;
                }
            }
        }
    }

    /// Counts the verdict of the probe in flight and plans the next one, a period after the last.
    pub(super) fn count(&mut self, now: Moment, verdict: Verdict, policy: ProbePolicy) -> Effect {
        if let Probing::InFlight { next_at, .. } = self.probing {
            self.probing = Probing::NextAt(next_at.max(now));
        }
        let mut effect = Effect { forgotten: 0, avoided: false, sight: None };
        let conclusive = match verdict {
            Verdict::Pass => {
                effect.forgotten = std::mem::take(&mut self.failures);
                self.doubts = 0;
                true
            }
            Verdict::Fail(_) => {
                self.failures = self.failures.saturating_add(1).min(policy.failure_threshold);
                true
            }
            Verdict::Inconclusive { instead_of: None, .. } => false,
            Verdict::Inconclusive { instead_of: Some(_), .. } => {
                let before = self.failures + self.doubts;
                self.doubts = self.doubts.saturating_add(1).min(policy.failure_threshold);
                effect.avoided = before < policy.failure_threshold
                    && self.failures + self.doubts >= policy.failure_threshold;
                false
            }
        };
        effect.sight = self.look(now, conclusive, policy);
        effect
    }

    fn look(&mut self, now: Moment, conclusive: bool, policy: ProbePolicy) -> Option<bool> {
        if conclusive {
            let was_blind = self.sighted_until.is_none();
            self.sighted_until = Some(now + policy.period * BLIND_AFTER_PERIODS);
            return was_blind.then_some(true);
        }
        let blind = self.sighted_until.is_some_and(|until| until <= now);
        if blind {
            self.sighted_until = None;
        }
        blind.then_some(false)
    }
}

/// Readiness: reported, never healed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Readiness {
    pub(super) watch: Watch,
    /// The side that the last runs of verdicts put us on.
    pub(super) ready: bool,
    /// Passes in a row while not ready.
    passes: u32,
}

impl Readiness {
    pub(super) const fn new(watch: Watch) -> Self {
        Self { watch, ready: false, passes: 0 }
    }

    /// Changes sides when a run is long enough; whether it did.
    pub(super) fn count(&mut self, verdict: Verdict, policy: ProbePolicy) -> bool {
        let before = self.ready;
        match verdict {
            Verdict::Pass if self.ready => {}
            Verdict::Pass => {
                self.passes = self.passes.saturating_add(1);
                self.ready = self.passes >= policy.success_threshold;
            }
            Verdict::Fail(_) => {
                self.passes = 0;
                self.ready &= self.watch.failures < policy.failure_threshold;
            }
            Verdict::Inconclusive { .. } => {}
        }
        if self.ready {
            self.passes = 0;
        }
        before != self.ready
    }
}

/// Whether failures are believed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Doubt {
    /// Rounds whose failures are still put down to our own lateness.
    rounds: u8,
    /// Until when failures are put down to it in any case.
    pub(super) late_until: Moment,
    /// When doubt has lasted long enough; `None` while there is none.
    pub(super) until: Option<Moment>,
}

impl Doubt {
    pub(super) const NONE: Self = Self { rounds: 0, late_until: Moment::ZERO, until: None };

    /// We or the machine slept; what our clock shows of it does not count towards `max_doubt`.
    pub(super) fn came_late(&mut self, now: Moment, by: Duration) {
        self.rounds = DOUBTED_ROUNDS;
        self.late_until = now + LATE_FOR;
        self.until = self.until.map(|until| until + by);
    }

    /// Whether doubt has lasted as long as it may.
    pub(super) fn is_over(&self, now: Moment) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// What is left of `verdict` after doubt. Only a pass dispels it, but for `LATE_FOR`; once it has
    /// lasted `max_doubt`, failures count, so that a hung child under permanent load is still healed.
    pub(super) fn weigh(&mut self, now: Moment, verdict: Verdict, max_doubt: Duration) -> Verdict {
        let (why, kind) = match verdict {
            Verdict::Pass => {
                (self.rounds, self.until) = (0, None);
                return verdict;
            }
            Verdict::Fail(kind) if self.rounds > 0 || now < self.late_until => {
                self.rounds = self.rounds.saturating_sub(1);
                (Why::Late, kind)
            }
            Verdict::Inconclusive { why, instead_of: Some(kind) } => (why, kind),
            Verdict::Fail(_) | Verdict::Inconclusive { instead_of: None, .. } => return verdict,
        };
        self.until.get_or_insert(now + max_doubt);
        if self.is_over(now) {
            Verdict::Fail(kind)
        } else {
            Verdict::Inconclusive { why, instead_of: Some(kind) }
        }
    }
}

/// What the startup probe has been answered so far in this launch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Answers {
    /// Nothing yet (refusals and timeouts are no answers).
    None,
    /// Only 401, 403, 404 or 405; this was the last.
    LooksWrong(u16),
    /// Something else too.
    Mixed,
}

impl Answers {
    /// The last status, if all answers looked as if the probe were wrong.
    pub(super) const fn looks_wrong(self) -> Option<u16> {
        match self {
            Self::LooksWrong(status) => Some(status),
            Self::None | Self::Mixed => None,
        }
    }

    pub(super) const fn add(self, verdict: Verdict) -> Self {
        match (self, verdict) {
            (Self::Mixed, _) => Self::Mixed,
            (_, Verdict::Fail(FailKind::BadStatus(status @ (401 | 403 | 404 | 405)))) => {
                Self::LooksWrong(status)
            }
            (_, Verdict::Fail(FailKind::BadStatus(_) | FailKind::BadBody)) => Self::Mixed,
            (before, _) => before,
        }
    }
}
