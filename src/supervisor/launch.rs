//! From nothing to a running child: sweep, repair, hook, spawn; and when the next attempt is due.

use std::time::Duration;

use super::event::{
    Action, Errno, Exit, Incarnation, Launch, Moment, Outcome, PortHolder, StopCause,
};
use super::fact::Fact;
use super::health::{Answers, Doubt, Watch};
use super::phase::{Phase, Stopping};
use super::policy::{ExitAction, RestartPolicy};
use super::words::{Program, Slow};
use super::{Intent, Repair, Supervisor, Turn};

/// A sweep whose answer does not come is ordered again after so long.
const SWEEP_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// A sweep that left something alive is ordered again after so long.
const SWEEP_PAUSE: Duration = Duration::from_secs(5);
/// Where something was lacking, the next attempt waits no longer (but for jitter): when there is
/// enough again nobody tells us.
const SCARCE_AT_MOST: Duration = Duration::from_secs(5);

impl Supervisor {
    pub(super) fn sweep(&mut self, turn: &mut Turn) {
        turn.order(Action::Sweep);
        self.phase = Phase::Sweeping { again_at: turn.now + SWEEP_AGAIN_AFTER };
    }

    // Sweeping => Spawning | BackingOff. A stranger on the port never prevents the first launch.
    pub(super) fn swept(&mut self, turn: &mut Turn, port: PortHolder) {
        if !matches!(self.phase, Phase::Sweeping { .. }) {
            return turn.report(Fact::StaleEvent);
        }
        if self.intent != Intent::Run {
            return self.finish(turn, Outcome::Asked { killed: false, left: false });
        }
        if let PortHolder::Stranger { pid } = port {
            turn.report(Fact::PortHeld { pid, launching_anyway: true });
        }
        let delay = self.policy.first_delay;
        if delay.is_zero() {
            return self.begin_attempt(turn);
        }
        turn.report(Fact::FirstLaunchDelayed { delay });
        self.phase = Phase::BackingOff { until: turn.now + delay, slow: None };
    }

    // Sweeping => Sweeping | Finished. Nothing is launched beside what is left.
    pub(super) fn sweep_failed(&mut self, turn: &mut Turn) {
        if !matches!(self.phase, Phase::Sweeping { .. }) {
            return turn.report(Fact::StaleEvent);
        }
        turn.report(Fact::LeftOversRemain);
        if self.intent == Intent::Run {
            self.phase = Phase::Sweeping { again_at: turn.now + SWEEP_PAUSE };
        } else {
            self.finish(turn, Outcome::Asked { killed: false, left: true });
        }
    }

    // Sweeping => Sweeping | Finished. Whoever wants it stopped waits no longer for the answer.
    pub(super) fn tick_sweeping(&mut self, turn: &mut Turn) {
        if self.intent == Intent::Run {
            self.sweep(turn);
        } else {
            self.finish(turn, Outcome::Asked { killed: false, left: true });
        }
    }

    /// Repair if due, then the hook if there is one, then the child.
    pub(super) fn begin_attempt(&mut self, turn: &mut Turn) {
        if self.repair == Repair::Due && self.policy.repair.is_some() {
            self.repair = Repair::Tried;
            self.spawn(turn, Program::Repair);
        } else {
            self.begin_boot(turn);
        }
    }

    pub(super) fn begin_boot(&mut self, turn: &mut Turn) {
        let first = if self.policy.hook.is_some() { Program::BootHook } else { Program::Child };
        self.spawn(turn, first);
    }

    fn spawn(&mut self, turn: &mut Turn, program: Program) {
        self.launched = Incarnation(self.launched.0.wrapping_add(1));
        let id = self.launched;
        turn.order(Action::Spawn { program, id, why: self.why() });
        self.phase = Phase::Spawning { program, id };
    }

    fn why(&self) -> Launch {
        Launch { reason: self.reason, attempt: self.pace.attempt, last_exit: self.last_exit }
    }

    // Spawning => Booting | Starting | Stopping
    pub(super) fn spawned(&mut self, turn: &mut Turn, id: Incarnation) {
        let Some(program) = self.expected(id) else { return turn.report(Fact::StaleEvent) };
        turn.report(Fact::Launched { program, id, why: self.why() });
        self.phase = match program {
            Program::BootHook | Program::Repair => self.booting(turn.now, program, id),
            Program::Child => {
                self.child_ran = true;
                self.starting(turn.now, id)
            }
        };
        if self.intent != Intent::Run {
            self.begin_stop(turn, program, id, StopCause::Asked, false);
        }
    }

    /// The program that was ordered under this number, if its answer is still awaited.
    fn expected(&self, id: Incarnation) -> Option<Program> {
        let Phase::Spawning { program, id: expected } = self.phase else { return None };
        (id == expected).then_some(program)
    }

    fn booting(&self, now: Moment, program: Program, id: Incarnation) -> Phase {
        let until = now + self.policy.patience_with(program);
        Phase::Booting { program, id, until, spared: false }
    }

    fn starting(&mut self, now: Moment, id: Incarnation) -> Phase {
        let startup = self.policy.startup.map(|probe| Watch::new(now, probe, &mut self.dice));
        let patience =
            if startup.is_some() { self.policy.startup_timeout } else { self.policy.settle };
        self.doubt = Doubt::NONE;
        Phase::Starting { id, until: now + patience, startup, answers: Answers::None }
    }

    // Spawning(hook) => Spawning(child)
    pub(super) fn hook_missing(&mut self, turn: &mut Turn, id: Incarnation) {
        if self.phase != (Phase::Spawning { program: Program::BootHook, id }) {
            return turn.report(Fact::StaleEvent);
        }
        turn.report(Fact::HookSkipped);
        if self.intent == Intent::Run {
            self.spawn(turn, Program::Child);
        } else {
            self.finish(turn, Outcome::Asked { killed: false, left: false });
        }
    }

    // Spawning => Stopping: what the hook left must go before the next attempt.
    pub(super) fn spawn_failed(&mut self, turn: &mut Turn, id: Incarnation, errno: Errno) {
        let Some(program) = self.expected(id) else { return turn.report(Fact::StaleEvent) };
        turn.report(Fact::SpawnFailed { program, errno });
        self.scarce = errno.is_scarcity();
        let cause = match program {
            Program::BootHook | Program::Repair => StopCause::HookFailed,
            Program::Child => StopCause::SpawnFailed,
        };
        self.kill_tree(turn, program, id, cause, None);
    }

    // Booting(hook) => Spawning(child); Booting(repair) => Stopping => Spawning(hook)
    pub(super) fn hook_ended(
        &mut self,
        turn: &mut Turn,
        program: Program,
        id: Incarnation,
        exit: Exit,
    ) {
        if !exit.is_success() {
            turn.report(Fact::HookFailed { program, exit });
            return self.kill_tree(turn, program, id, StopCause::HookFailed, Some(exit));
        }
        turn.report(Fact::HookSucceeded { program });
        if program == Program::Repair {
            self.kill_tree(turn, program, id, StopCause::Repaired, Some(exit));
        } else {
            self.spawn(turn, Program::Child);
        }
    }

    /// What follows when a launch is over and its tree is gone.
    pub(super) fn after(&mut self, turn: &mut Turn, ended: Stopping) {
        if let Some(outcome) = self.ends_the_run(ended) {
            return self.finish(turn, outcome);
        }
        if ended.cause == StopCause::Repaired {
            return self.begin_boot(turn);
        }
        let mut slow = self.slow(ended);
        if let Some(budget) = self.policy.budget
            && !self.pace.spend(turn.now, budget)
        {
            if budget.exit {
                return self.finish(turn, Outcome::BudgetSpent);
            }
            slow = slow.or(Some(Slow::BudgetSpent));
        }
        let delay = self.pace.advance(&self.policy);
        let most = if std::mem::take(&mut self.scarce) { SCARCE_AT_MOST } else { Duration::MAX };
        let delay = match slow {
            Some(_) => self.policy.slow_retry,
            None => self.dice.jittered(delay.min(most), self.policy.jitter_permille),
        };
        self.reason = ended.cause.reason();
        let (reason, attempt) = (self.reason, self.pace.attempt);
        turn.report(Fact::RestartScheduled { reason, attempt, delay, slow });
        self.phase = Phase::BackingOff { until: turn.now + delay, slow };
        if slow.is_none() && ended.program == Program::Child && !ended.served {
            turn.order(Action::CheckPort(ended.id));
        }
    }

    /// Whether the policy, a rule or the hook's contract ends the run here.
    fn ends_the_run(&self, ended: Stopping) -> Option<Outcome> {
        match (ended.program, ended.cause) {
            (Program::BootHook, StopCause::HookFailed | StopCause::HookTimedOut) => {
                let strict = self.policy.hook.is_some_and(|hook| hook.exit_on_failure);
                (strict && !self.child_ran).then_some(Outcome::BootHookFailed)
            }
            (Program::Child, StopCause::Exited(exit)) => {
                self.policy.ends_with(exit).then_some(Outcome::ChildEnded(exit))
            }
            (Program::Child, StopCause::NeverReady { .. } | StopCause::Unhealthy(_)) => ended
                .exit
                .filter(|_| self.policy.restart == RestartPolicy::Never)
                .map(Outcome::ChildEnded),
            _ => None,
        }
    }

    /// Why the next attempt goes at the slow pace, if it does.
    fn slow(&mut self, ended: Stopping) -> Option<Slow> {
        match ended.cause {
            StopCause::Exited(exit) => match self.policy.rule(exit) {
                Some(ExitAction::Slow) => Some(Slow::ExitRule),
                Some(ExitAction::RepairOnce) if self.policy.repair.is_none() => {
                    Some(Slow::ExitRule)
                }
                Some(ExitAction::RepairOnce) if self.repair == Repair::Untried => {
                    self.repair = Repair::Due;
                    None
                }
                Some(ExitAction::RepairOnce) => Some(Slow::RepairFailed),
                Some(ExitAction::Restart | ExitAction::Stop) | None => None,
            },
            StopCause::NeverReady { probe_looks_wrong } => {
                probe_looks_wrong.then_some(Slow::ProbeProbablyWrong)
            }
            StopCause::HookFailed
            | StopCause::HookTimedOut
            | StopCause::SpawnFailed
            | StopCause::Unhealthy(_)
            | StopCause::Asked
            | StopCause::Repaired => None,
        }
    }

    // BackingOff => BackingOff: with a stranger on the port, one launch per `slow_retry`.
    pub(super) fn port_checked(&mut self, turn: &mut Turn, id: Incarnation, holder: PortHolder) {
        match (&mut self.phase, holder) {
            (Phase::BackingOff { until, slow }, PortHolder::Stranger { pid })
                if id == self.launched && slow.is_none() =>
            {
                *until = turn.now + self.policy.slow_retry;
                *slow = Some(Slow::PortHeld);
                turn.report(Fact::PortHeld { pid, launching_anyway: false });
                let (reason, attempt) = (self.reason, self.pace.attempt);
                let (delay, slow) = (self.policy.slow_retry, Some(Slow::PortHeld));
                turn.report(Fact::RestartScheduled { reason, attempt, delay, slow });
            }
            (Phase::BackingOff { .. }, _) => {}
            _ => turn.report(Fact::StaleEvent),
        }
    }

    pub(super) fn finish(&mut self, turn: &mut Turn, outcome: Outcome) {
        self.phase = Phase::Finished;
        turn.report(Fact::Finished(outcome));
        turn.order(Action::Finish(outcome));
    }
}
