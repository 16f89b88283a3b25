//! The rules that need arithmetic, worked out a second time and in another way than the core does.
//!
//! What the core says is compared with this: two hands rarely make the same mistake. Nothing here
//! looks at the core's own counts; it knows the policy, the time, and what the world did.

use super::check::ensure;
use super::*;

/// Failures of the liveness probe, and which of them may be believed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Tally {
    /// Failures that count, since the last pass.
    pub(super) failures: u32,
    /// So many more failures are put down to our own lateness.
    late_rounds: u8,
    /// And all of them until then.
    late_until: Moment,
    /// Until when a failure may be doubted, once one was.
    doubt_until: Option<Moment>,
}

impl Tally {
    pub(super) fn slept(&mut self, now: Moment, late: Duration) {
        self.late_rounds = 2;
        self.late_until = now + Duration::from_millis(1500);
        self.doubt_until = self.doubt_until.map(|until| until + late);
    }

    /// Takes in one answer of the startup or the liveness probe; whether it is conclusive.
    pub(super) fn add(
        &mut self,
        now: Moment,
        role: Role,
        verdict: Verdict,
        most: Duration,
    ) -> bool {
        let doubted = match verdict {
            Verdict::Pass => {
                *self = Self { late_until: self.late_until, ..Self::default() };
                return true;
            }
            Verdict::Fail(_) if self.late_rounds == 0 => now < self.late_until,
            Verdict::Fail(_) => {
                self.late_rounds -= 1;
                true
            }
            Verdict::Inconclusive { instead_of: None, .. } => return false,
            Verdict::Inconclusive { instead_of: Some(_), .. } => true,
        };
        if doubted && *self.doubt_until.get_or_insert(now + most) > now {
            return false;
        }
        self.failures += u32::from(role == Role::Liveness);
        true
    }

    pub(super) fn rebased(self, most: u32, rebase: impl Fn(Moment) -> Moment) -> Self {
        let failures = self.failures.min(most);
        let (late_until, doubt_until) = (rebase(self.late_until), self.doubt_until.map(rebase));
        Self { failures, late_until, doubt_until, ..self }
    }
}

/// Which delay is due next, and which restarts the budget remembers.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Series {
    /// Attempts in a row since the last stable run; the run itself begins with one.
    attempts: usize,
    /// When restarts within the budget's window were made.
    restarts: Vec<Moment>,
}

impl Series {
    pub(super) fn new() -> Self {
        Self { attempts: 1, restarts: vec![] }
    }

    pub(super) fn begin_afresh(&mut self) {
        self.attempts = 0;
    }

    /// Whether `max_restarts` within `window` have been made.
    pub(super) fn is_spent(&self, now: Moment, budget: Budget) -> bool {
        let recent = self.restarts.iter().filter(|made| **made + budget.window > now);
        recent.count() >= budget.max_restarts as usize
    }

    /// One more restart is announced: is it within the series and the budget?
    pub(super) fn add(
        &mut self,
        policy: &Policy,
        now: Moment,
        delay: Duration,
        slow: Option<Slow>,
        most: Duration,
    ) -> Result<(), String> {
        let base = policy.delays[self.attempts.min(policy.delays.len() - 1)].min(most);
        self.attempts = (self.attempts + 1).min(policy.delays.len());
        if let Some(budget) = policy.budget {
            let spent = self.is_spent(now, budget);
            ensure(!spent || slow.is_some(), "a restart beyond the budget")?;
            ensure(spent || slow != Some(Slow::BudgetSpent), "a budget that is called spent")?;
            self.restarts.retain(|made| *made + budget.window > now);
            if !spent {
                self.restarts.push(now);
            }
        }
        if slow.is_some() {
            return ensure(delay == policy.slow_retry, "the slow pace is `slow_retry`");
        }
        let spread = base * policy.jitter_permille / 1000;
        let fits = delay + spread >= base && delay <= base + spread;
        ensure(fits, "a backoff outside its series")
    }

    pub(super) fn rebased(&self, policy: &Policy, now: Moment) -> Self {
        let window = policy.budget.map_or(Duration::ZERO, |budget| budget.window);
        let recent = self.restarts.iter().filter(|made| **made + window > now);
        let restarts = recent.map(|made| Moment::new(now.since(*made))).collect();
        Self { restarts, ..*self }
    }
}

/// Later than this, and a round is late.
pub(super) fn tolerance(core: &Supervisor) -> Duration {
    let starting = matches!(core.phase, Phase::Starting { .. });
    let probe = if starting { core.policy.startup } else { core.policy.liveness };
    let timeout = probe.map_or(Duration::ZERO, |probe| probe.timeout);
    (timeout / 4).max(Duration::from_millis(200))
}

/// No wake-up may be further away than the longest span that means anything in this phase.
pub(super) fn longest_span(core: &Supervisor) -> Duration {
    let policy = &core.policy;
    let second = Duration::from_secs(1);
    let round = |probe: ProbePolicy| probe.period.max(probe.timeout + second);
    let rounds = |probes: [Option<ProbePolicy>; 2]| probes.into_iter().flatten().map(round).min();
    match core.phase {
        Phase::Idle | Phase::Spawning { .. } | Phase::Finished => Duration::ZERO,
        Phase::Sweeping { .. } => second * 30,
        Phase::Booting { program, .. } => policy.patience_with(program),
        Phase::Starting { .. } => policy.startup.map_or(policy.settle, round),
        Phase::Healthy { .. } => rounds([policy.liveness, policy.readiness])
            .unwrap_or(policy.settle.max(policy.stable_after)),
        Phase::Stopping(Stopping { step: Step::Kill { .. }, .. }) => second * 5,
        Phase::Stopping(Stopping { step: Step::Capture { .. }, .. }) => {
            policy.capture.unwrap_or_default() + second
        }
        Phase::Stopping(_) => policy.stop_timeout.max(policy.unhealthy_stop_timeout),
        Phase::BackingOff { slow: Some(_), .. } => policy.slow_retry,
        Phase::BackingOff { slow: None, .. } => {
            let longest = policy.delays.iter().max().copied().unwrap_or_default();
            (longest + longest * policy.jitter_permille / 1000).max(policy.first_delay)
        }
    }
}

/// Whether the policy lets a run end with a child that ended so.
pub(super) fn may_end_with(policy: &Policy, exit: Exit) -> bool {
    let rule = policy.exit_rules.iter().find(|rule| rule.codes.contains(&exit.code()));
    match policy.restart {
        RestartPolicy::Never => true,
        RestartPolicy::OnFailure if rule.is_none() => exit.is_success(),
        RestartPolicy::OnFailure | RestartPolicy::Always => {
            rule.is_some_and(|rule| rule.action == ExitAction::Stop)
        }
    }
}
