//! Taking a tree down: the main process first, then the rest, then SIGKILL until nothing is left.
//! One that hangs may be looked at before.

use std::time::Duration;

use super::event::{Action, Exit, Incarnation, Moment, Outcome, StopCause};
use super::fact::Fact;
use super::phase::{Phase, Step, Stopping};
use super::words::{Program, Signal, Target};
use super::{Intent, Supervisor, Turn};

/// What the main process leaves gets so long to end by itself.
const REST_GRACE: Duration = Duration::from_secs(1);
/// A capture command that has not ended so long after its timeout is not waited for.
const CAPTURE_LOST_AFTER: Duration = Duration::from_secs(1);
/// SIGKILL is repeated so often.
const KILL_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// A tree that survives SIGKILL for so long is called unkillable.
const UNKILLABLE_AFTER: Duration = Duration::from_secs(30);
/// When stopping for good we wait so long after SIGKILL, and leave.
const LEAVE_AFTER: Duration = Duration::from_secs(1);

impl Supervisor {
    pub(super) fn stop_requested(&mut self, turn: &mut Turn) {
        if self.phase == Phase::Finished {
            return turn.report(Fact::StaleEvent);
        }
        let again = self.intent != Intent::Run;
        turn.report(Fact::StopRequested { again });
        self.intent = if again { Intent::StopNow } else { Intent::Stop };
        match self.phase {
            Phase::Idle | Phase::BackingOff { .. } | Phase::Finished => {
                self.finish(turn, Outcome::Asked { killed: false, left: false });
            }
            // What earlier runs left is still being ended.
            Phase::Sweeping { .. } if again => {
                self.finish(turn, Outcome::Asked { killed: false, left: true });
            }
            Phase::Sweeping { .. } => {
                self.phase = Phase::Sweeping { again_at: turn.now + self.policy.stop_timeout };
            }
            // The driver's answer is on its way; it decides.
            Phase::Spawning { .. } => {}
            Phase::Booting { program, id, .. } => {
                self.begin_stop(turn, program, id, StopCause::Asked, false);
            }
            Phase::Starting { id, .. } => {
                self.begin_stop(turn, Program::Child, id, StopCause::Asked, false);
            }
            Phase::Healthy { id, .. } => {
                self.begin_stop(turn, Program::Child, id, StopCause::Asked, true);
            }
            Phase::Stopping(stopping) => self.hasten(turn, stopping),
        }
    }

    /// A stop order while the tree is being taken down anyway: never later than it would be.
    fn hasten(&mut self, turn: &mut Turn, stopping: Stopping) {
        let step = match stopping.step {
            Step::Capture { .. } | Step::Main { .. } | Step::Rest { .. }
                if self.intent == Intent::StopNow =>
            {
                return self.escalate(turn, stopping);
            }
            Step::Capture { .. } => {
                return self.ask_main(turn, Stopping { cause: StopCause::Asked, ..stopping });
            }
            Step::Main { kill_at } => {
                Step::Main { kill_at: kill_at.min(turn.now + self.policy.stop_timeout) }
            }
            Step::Rest { kill_at } => {
                Step::Rest { kill_at: kill_at.min(turn.now + self.policy.stop_timeout) }
            }
            Step::Kill { again_at, unkillable_at, leave_at, main_killed } => {
                let leave_at = leave_at.or(Some(turn.now + LEAVE_AFTER));
                Step::Kill { again_at, unkillable_at, leave_at, main_killed }
            }
        };
        self.phase = Phase::Stopping(Stopping { cause: StopCause::Asked, step, ..stopping });
    }

    // Booting, Starting, Healthy => Stopping
    pub(super) fn begin_stop(
        &mut self,
        turn: &mut Turn,
        program: Program,
        id: Incarnation,
        cause: StopCause,
        served: bool,
    ) {
        turn.report(Fact::StopStarted { id, cause });
        let step = Step::Main { kill_at: turn.now };
        let stopping = Stopping::new(id, program, cause, served, step);
        match self.policy.capture.filter(|_| cause.leaves_it_running()) {
            _ if self.intent == Intent::StopNow => self.escalate(turn, stopping),
            Some(timeout) => {
                turn.order(Action::Capture(id));
                let step = Step::Capture { until: turn.now + timeout + CAPTURE_LOST_AFTER };
                self.phase = Phase::Stopping(Stopping { step, ..stopping });
            }
            None => self.ask_main(turn, stopping),
        }
    }

    /// The main process is asked to end.
    fn ask_main(&mut self, turn: &mut Turn, stopping: Stopping) {
        let timeout = if stopping.cause == StopCause::Asked {
            self.policy.stop_timeout
        } else {
            self.policy.unhealthy_stop_timeout
        };
        let child = stopping.program == Program::Child;
        let signal = if child { Signal::Stop } else { Signal::Term };
        turn.order(Action::Signal { id: stopping.id, to: Target::Main, signal });
        let step = Step::Main { kill_at: turn.now + timeout };
        self.phase = Phase::Stopping(Stopping { step, ..stopping });
    }

    // Stopping(Capture) => Stopping(Main)
    pub(super) fn captured(&mut self, turn: &mut Turn, id: Incarnation) {
        match self.phase {
            Phase::Stopping(stopping @ Stopping { step: Step::Capture { .. }, .. })
                if stopping.id == id =>
            {
                self.ask_main(turn, stopping);
            }
            Phase::Idle
            | Phase::Sweeping { .. }
            | Phase::Spawning { .. }
            | Phase::Booting { .. }
            | Phase::Starting { .. }
            | Phase::Healthy { .. }
            | Phase::Stopping(_)
            | Phase::BackingOff { .. }
            | Phase::Finished => turn.report(Fact::StaleEvent),
        }
    }

    /// Takes down, without grace, what a program left that was never meant to leave anything.
    pub(super) fn kill_tree(
        &mut self,
        turn: &mut Turn,
        program: Program,
        id: Incarnation,
        cause: StopCause,
        exit: Option<Exit>,
    ) {
        turn.report(Fact::StopStarted { id, cause });
        let step = Step::Rest { kill_at: turn.now };
        let stopping = Stopping { exit, ..Stopping::new(id, program, cause, false, step) };
        self.kill(turn, stopping);
    }

    /// The main process has ended by itself: what it left is asked to end, then killed.
    pub(super) fn clear_up(&mut self, turn: &mut Turn, id: Incarnation, exit: Exit, served: bool) {
        turn.report(Fact::Exited { id, exit, expected: false });
        self.last_exit = Some(exit);
        let kill_at = turn.now + REST_GRACE.min(self.policy.unhealthy_stop_timeout);
        let (cause, step) = (StopCause::Exited(exit), Step::Rest { kill_at });
        let stopping = Stopping::new(id, Program::Child, cause, served, step);
        self.phase = Phase::Stopping(Stopping { exit: Some(exit), ..stopping });
        turn.order(Action::Signal { id, to: Target::Tree, signal: Signal::Term });
    }

    pub(super) fn exited(&mut self, turn: &mut Turn, id: Incarnation, exit: Exit) {
        match self.phase {
            Phase::Booting { program, id: current, .. } if id == current => {
                self.hook_ended(turn, program, id, exit);
            }
            Phase::Starting { id: current, .. } if id == current => {
                self.clear_up(turn, id, exit, false);
            }
            Phase::Healthy { id: current, .. } if id == current => {
                self.clear_up(turn, id, exit, true);
            }
            Phase::Stopping(stopping) if id == stopping.id && stopping.exit.is_none() => {
                self.exited_while_stopping(turn, stopping, exit);
            }
            Phase::Idle
            | Phase::Sweeping { .. }
            | Phase::Spawning { .. }
            | Phase::Booting { .. }
            | Phase::Starting { .. }
            | Phase::Healthy { .. }
            | Phase::Stopping(_)
            | Phase::BackingOff { .. }
            | Phase::Finished => turn.report(Fact::StaleEvent),
        }
    }

    // Stopping(Capture | Main) => Stopping(Rest)
    fn exited_while_stopping(&mut self, turn: &mut Turn, mut stopping: Stopping, exit: Exit) {
        stopping.exit = Some(exit);
        let expected = !matches!(stopping.step, Step::Capture { .. });
        if stopping.program == Program::Child {
            self.last_exit = Some(exit);
            turn.report(Fact::Exited { id: stopping.id, exit, expected });
        }
        let kill_at = match stopping.step {
            Step::Main { kill_at } => Some(kill_at),
            Step::Capture { .. } => Some(turn.now + self.policy.unhealthy_stop_timeout),
            Step::Rest { .. } | Step::Kill { .. } => None,
        };
        if let Some(kill_at) = kill_at {
            stopping.step = Step::Rest { kill_at: kill_at.min(turn.now + REST_GRACE) };
            let (id, to, signal) = (stopping.id, Target::Tree, Signal::Term);
            turn.order(Action::Signal { id, to, signal });
        }
        self.phase = Phase::Stopping(stopping);
    }

    pub(super) fn tick_stopping(&mut self, turn: &mut Turn, stopping: Stopping) {
        match stopping.step {
            Step::Capture { until } if until <= turn.now => self.ask_main(turn, stopping),
            Step::Main { kill_at } | Step::Rest { kill_at } if kill_at <= turn.now => {
                self.escalate(turn, stopping);
            }
            Step::Capture { .. } | Step::Main { .. } | Step::Rest { .. } => {}
            Step::Kill { leave_at: Some(leave_at), .. } if leave_at <= turn.now => {
                self.finish(turn, Outcome::Asked { killed: true, left: true });
            }
            Step::Kill { again_at, unkillable_at, leave_at, main_killed } => {
                go_on_killing(turn, stopping.id, again_at, unkillable_at);
                let due = |at: Moment| at <= turn.now;
                let step = Step::Kill {
                    again_at: if due(again_at) { turn.now + KILL_AGAIN_AFTER } else { again_at },
                    unkillable_at: unkillable_at.filter(|at| !due(*at)),
                    leave_at,
                    main_killed,
                };
                self.phase = Phase::Stopping(Stopping { step, ..stopping });
            }
        }
    }

    /// The grace is over.
    fn escalate(&mut self, turn: &mut Turn, stopping: Stopping) {
        turn.report(Fact::KillEscalated { id: stopping.id });
        self.kill(turn, stopping);
    }

    // Stopping => Stopping(Kill)
    fn kill(&mut self, turn: &mut Turn, stopping: Stopping) {
        let id = stopping.id;
        turn.order(Action::Signal { id, to: Target::Tree, signal: Signal::Kill });
        let step = Step::Kill {
            again_at: turn.now + KILL_AGAIN_AFTER,
            unkillable_at: Some(turn.now + UNKILLABLE_AFTER),
            leave_at: (self.intent != Intent::Run).then(|| turn.now + LEAVE_AFTER),
            main_killed: matches!(stopping.step, Step::Capture { .. } | Step::Main { .. }),
        };
        self.phase = Phase::Stopping(Stopping { step, ..stopping });
    }

    // Stopping => BackingOff | Spawning | Finished
    pub(super) fn gone(&mut self, turn: &mut Turn, id: Incarnation) {
        let Phase::Stopping(stopping) = self.phase else {
            return turn.report(Fact::StaleEvent);
        };
        if id != stopping.id {
            return turn.report(Fact::StaleEvent);
        }
        turn.report(Fact::TreeGone { id });
        if self.intent == Intent::Run {
            self.after(turn, stopping);
        } else {
            let killed = matches!(stopping.step, Step::Kill { main_killed: true, .. });
            self.finish(turn, Outcome::Asked { killed, left: false });
        }
    }
}

fn go_on_killing(
    turn: &mut Turn,
    id: Incarnation,
    again_at: Moment,
    unkillable_at: Option<Moment>,
) {
    if again_at <= turn.now {
        turn.order(Action::Signal { id, to: Target::Tree, signal: Signal::Kill });
    }
    if unkillable_at.is_some_and(|at| at <= turn.now) {
        turn.report(Fact::Unkillable { id });
    }
}
