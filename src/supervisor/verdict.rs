//! What probe answers lead to: coming up, staying up, healing.

use super::event::{Action, Incarnation, StopCause, Verdict};
use super::fact::Fact;
use super::health::{Effect, Readiness, Watch};
use super::phase::Phase;
use super::policy::ProbePolicy;
use super::words::{FailKind, Program, Role, Why};
use super::{Repair, Supervisor, Turn};

impl Supervisor {
    pub(super) fn probed(
        &mut self,
        turn: &mut Turn,
        id: Incarnation,
        role: Role,
        probe: u32,
        verdict: Verdict,
    ) {
        let asked = |watch: Option<Watch>| watch.and_then(|watch| watch.in_flight());
        match (role, self.phase) {
            (Role::Startup, Phase::Starting { id: current, startup, .. })
                if id == current && asked(startup) == Some(probe) =>
            {
                self.startup_answered(turn, verdict);
            }
            (Role::Liveness, Phase::Healthy { id: current, liveness, .. })
                if id == current && asked(liveness) == Some(probe) =>
            {
                self.liveness_answered(turn, verdict);
            }
            (Role::Readiness, Phase::Healthy { id: current, readiness, .. })
                if id == current
                    && asked(readiness.map(|readiness| readiness.watch)) == Some(probe) =>
            {
                self.readiness_answered(turn, verdict);
            }
            _ => turn.report(Fact::StaleEvent),
        }
    }

    // Starting => Healthy | Starting
    fn startup_answered(&mut self, turn: &mut Turn, verdict: Verdict) {
        let Some(policy) = self.policy.startup else { return };
        let verdict = self.doubt.weigh(turn.now, verdict, self.policy.max_doubt);
        let Phase::Starting { id, until, startup: Some(watch), answers } = &mut self.phase else {
            return;
        };
        let id = *id;
        let round = watch.round(turn.now, policy);
        let effect = watch.count(turn.now, verdict, policy);
        *answers = answers.add(verdict);
        if matches!(verdict, Verdict::Inconclusive { .. }) {
            *until = *until + round;
        }
        // Its time may have been over while this answer was waited for: we did not come late.
        *until = turn.now.max(*until);
        let left = until.since(turn.now);
        tell_sight(turn, Role::Startup, effect, verdict);
        if verdict == Verdict::Pass {
            self.become_healthy(turn, id);
        } else {
            turn.report(Fact::NotReadyYet { verdict, left });
        }
    }

    // Healthy => Healthy | Stopping
    fn liveness_answered(&mut self, turn: &mut Turn, verdict: Verdict) {
        let Some(policy) = self.policy.liveness else { return };
        let verdict = self.doubt.weigh(turn.now, verdict, self.policy.max_doubt);
        let Phase::Healthy { id, liveness: Some(watch), .. } = &mut self.phase else { return };
        let id = *id;
        let effect = watch.count(turn.now, verdict, policy);
        let (failures, threshold) = (watch.failures, policy.failure_threshold);
        tell_sight(turn, Role::Liveness, effect, verdict);
        match verdict {
            Verdict::Pass if effect.forgotten > 0 => {
                turn.report(Fact::ProbeRecovered { failures: effect.forgotten });
            }
            Verdict::Pass => {}
            Verdict::Inconclusive { why, .. } if effect.avoided => {
                turn.report(Fact::RestartAvoided { why });
            }
            Verdict::Inconclusive { .. } => {}
            Verdict::Fail(kind) => {
                turn.report(Fact::ProbeFailed { role: Role::Liveness, kind, failures, threshold });
                if failures >= threshold {
                    self.heal(turn, id, kind, failures);
                }
            }
        }
    }

    fn heal(&mut self, turn: &mut Turn, id: Incarnation, kind: FailKind, failures: u32) {
        turn.report(Fact::Unhealthy { kind, failures });
        self.begin_stop(turn, Program::Child, id, StopCause::Unhealthy(kind), true);
    }

    fn readiness_answered(&mut self, turn: &mut Turn, verdict: Verdict) {
        let Some(policy) = self.policy.readiness else { return };
        let Phase::Healthy { readiness: Some(readiness), .. } = &mut self.phase else { return };
        let effect = readiness.watch.count(turn.now, verdict, policy);
        let changed = readiness.count(verdict, policy);
        let (ready, failures) = (readiness.ready, readiness.watch.failures);
        tell_sight(turn, Role::Readiness, effect, verdict);
        if let Verdict::Fail(kind) = verdict {
            let (role, threshold) = (Role::Readiness, policy.failure_threshold);
            turn.report(Fact::ProbeFailed { role, kind, failures, threshold });
        }
        if changed {
            turn.report(Fact::Ready(ready));
        }
    }

    // Starting => Healthy
    fn become_healthy(&mut self, turn: &mut Turn, id: Incarnation) {
        let now = turn.now;
        let settles = self.policy.startup.is_some();
        let liveness = self.policy.liveness.map(|probe| Watch::new(now, probe, &mut self.dice));
        let readiness = self
            .policy
            .readiness
            .map(|probe| Readiness::new(Watch::new(now, probe, &mut self.dice)));
        self.phase = Phase::Healthy {
            id,
            settle_at: settles.then(|| now + self.policy.settle),
            stable_at: Some(now + self.policy.stable_after),
            liveness,
            readiness,
        };
        turn.report(Fact::Healthy { id, settles });
    }

    pub(super) fn tick_starting(&mut self, turn: &mut Turn) {
        let Phase::Starting { id, until, startup, answers } = self.phase else { return };
        let is_asked = startup.is_some_and(|watch| watch.in_flight().is_some());
        let due = until <= turn.now && !is_asked;
        match (startup, self.policy.startup) {
            (Some(watch), Some(_)) if watch.is_lost(turn.now) => {
                self.startup_answered(turn, Verdict::unknown(Why::Lost));
                self.tick_starting(turn);
            }
            (Some(_), Some(_)) if due => {
                let probably_wrong_probe = answers.looks_wrong();
                turn.report(Fact::NeverReady { probably_wrong_probe });
                let probe_looks_wrong = probably_wrong_probe.is_some();
                let cause = StopCause::NeverReady { probe_looks_wrong };
                self.begin_stop(turn, Program::Child, id, cause, false);
            }
            (Some(mut watch), Some(policy)) => {
                self.order_probe(turn, id, Role::Startup, &mut watch, policy);
                self.phase = Phase::Starting { id, until, startup: Some(watch), answers };
            }
            // Without a probe, a child that has run for `settle` is called healthy.
            (None, _) | (_, None) => {
                if due {
                    self.become_healthy(turn, id);
                    self.tick_healthy(turn);
                }
            }
        }
    }

    pub(super) fn tick_healthy(&mut self, turn: &mut Turn) {
        self.settle_down(turn);
        if let Phase::Healthy { liveness: Some(watch), .. } = self.phase
            && watch.is_lost(turn.now)
        {
            self.liveness_answered(turn, Verdict::unknown(Why::Lost));
        }
        if let Phase::Healthy { readiness: Some(readiness), .. } = self.phase
            && readiness.watch.is_lost(turn.now)
        {
            self.readiness_answered(turn, Verdict::unknown(Why::Lost));
        }
        let Phase::Healthy { id, settle_at, stable_at, mut liveness, mut readiness } = self.phase
        else {
            return;
        };
        if let (Some(watch), Some(policy)) = (&mut liveness, self.policy.liveness) {
            self.order_probe(turn, id, Role::Liveness, watch, policy);
        }
        if let (Some(readiness), Some(policy)) = (&mut readiness, self.policy.readiness) {
            self.order_probe(turn, id, Role::Readiness, &mut readiness.watch, policy);
        }
        self.phase = Phase::Healthy { id, settle_at, stable_at, liveness, readiness };
    }

    fn settle_down(&mut self, turn: &mut Turn) {
        let Phase::Healthy { settle_at, stable_at, .. } = &mut self.phase else { return };
        if settle_at.take_if(|at| *at <= turn.now).is_some() {
            turn.report(Fact::Settled);
        }
        if stable_at.take_if(|at| *at <= turn.now).is_some() {
            turn.report(Fact::Stable);
            self.pace.reset();
            self.repair = Repair::Untried;
        }
    }

    fn order_probe(
        &mut self,
        turn: &mut Turn,
        id: Incarnation,
        role: Role,
        watch: &mut Watch,
        policy: ProbePolicy,
    ) {
        if watch.is_due(turn.now) {
            self.probed = self.probed.wrapping_add(1);
            watch.ordered(turn.now, self.probed, policy);
            turn.order(Action::Probe { id, role, probe: self.probed });
        }
    }
}

fn tell_sight(turn: &mut Turn, role: Role, effect: Effect, verdict: Verdict) {
    match (effect.sight, verdict) {
        (Some(true), _) => turn.report(Fact::Sighted { role }),
        (Some(false), Verdict::Inconclusive { why, .. }) => {
            turn.report(Fact::Blind { role, why });
        }
        (Some(false) | None, _) => {}
    }
}
