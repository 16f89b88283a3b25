//! The pure state machine of one service: `on(now, event) -> actions`, `deadline()`.
//!
//! It decides when and how to heal, and nothing else: no clock, no randomness that it was not
//! given, no I/O, no async, no `Result`. It is small, comparable and hashable, so that a test can
//! walk every state it can reach.
//!
//! **The contract with the driver**, all of it:
//! - Actions are carried out in order; then the next event may come.
//! - Every `Spawn` is answered by exactly one `Spawned`, `SpawnFailed` or `HookMissing`, and every
//!   `Spawned` is followed by exactly one `Exited`, when the main process has ended.
//! - Once the tree was signalled, exactly one `Gone` follows, when nothing of it is alive.
//! - A `Tick` comes at or after `deadline()`; an early or repeated one does nothing.
//!
//! Nothing else is relied upon: lost, late or repeated probe answers are harmless.

mod backoff;
mod event;
mod fact;
mod health;
mod launch;
mod phase;
mod policy;
mod stop;
mod verdict;
mod words;

#[cfg(test)]
mod check;
#[cfg(test)]
mod diagram;
#[cfg(test)]
mod explore;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod simulate;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trace;

use std::time::Duration;

pub use backoff::Dice;
pub use event::*;
pub use fact::*;
pub use phase::{Phase, Step, Stopping};
pub use policy::*;
pub use words::*;

use backoff::Pace;
use health::Doubt;
use policy::LEAST_LATENESS;

/// What the operator wants, kept apart from what is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Intent {
    /// The service is wanted.
    Run,
    /// It is not: end it, with grace.
    Stop,
    /// It is not: end it at once.
    StopNow,
}

/// Where the `repair` of an exit rule stands, between two stable runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Repair {
    Untried,
    Due,
    Tried,
}

/// The whole state of supervising one service.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Supervisor {
    policy: Policy,
    intent: Intent,
    phase: Phase,
    /// The number of the last launch.
    launched: Incarnation,
    /// The number of the last probe that was ordered.
    probed: u32,
    pace: Pace,
    dice: Dice,
    doubt: Doubt,
    /// Something was lacking when the last launch failed.
    scarce: bool,
    repair: Repair,
    /// Why the next launch is made.
    reason: Reason,
    /// How the child ended last.
    last_exit: Option<Exit>,
    /// Whether a child has ever run in this run of the supervisor.
    child_ran: bool,
}

/// What one call of `on` collects.
struct Turn {
    now: Moment,
    actions: Vec<Action>,
}

impl Turn {
    fn order(&mut self, action: Action) {
        self.actions.push(action);
    }

    fn report(&mut self, fact: Fact) {
        self.actions.push(Action::Report(fact));
    }
}

impl Supervisor {
    /// A supervisor at rest; `Event::Start` sets it going.
    pub const fn new(policy: Policy, dice: Dice) -> Self {
        Self {
            policy,
            intent: Intent::Run,
            phase: Phase::Idle,
            launched: Incarnation(0),
            probed: 0,
            pace: Pace::new(),
            dice,
            doubt: Doubt::NONE,
            scarce: false,
            repair: Repair::Untried,
            reason: Reason::Start,
            last_exit: None,
            child_ran: false,
        }
    }

    /// Takes in one event and returns the orders that follow from it, in order.
    pub fn on(&mut self, now: Moment, event: Event) -> Vec<Action> {
        let mut turn = Turn { now, actions: Vec::new() };
        self.notice_lateness(&mut turn);
        match event {
            Event::Start => self.start(&mut turn),
            Event::Swept { port } => self.swept(&mut turn, port),
            Event::SweepFailed => self.sweep_failed(&mut turn),
            Event::Spawned(id) => self.spawned(&mut turn, id),
            Event::HookMissing(id) => self.hook_missing(&mut turn, id),
            Event::SpawnFailed { id, errno } => self.spawn_failed(&mut turn, id, errno),
            Event::Exited { id, exit } => self.exited(&mut turn, id, exit),
            Event::Gone(id) => self.gone(&mut turn, id),
            Event::Probed { id, role, probe, verdict } => {
                self.probed(&mut turn, id, role, probe, verdict);
            }
            Event::Captured(id) => self.captured(&mut turn, id),
            Event::PortChecked { id, holder } => self.port_checked(&mut turn, id, holder),
            Event::Suspended => self.came_late(&mut turn, Duration::ZERO),
            Event::SignalReceived(signal) => self.forward(&mut turn, signal),
            Event::StopRequested => self.stop_requested(&mut turn),
            Event::Tick => self.tick(&mut turn),
        }
        turn.actions
    }

    /// When a `Tick` is due at the latest; `None` if only another event can change anything.
    pub fn deadline(&self) -> Option<Moment> {
        self.phase.deadline()
    }

    /// The word an operator sees for where we are.
    pub const fn state(&self) -> State {
        self.phase.state()
    }

    /// When the next attempt is due, while one is waited for.
    pub const fn next_attempt(&self) -> Option<Moment> {
        match self.phase {
            Phase::BackingOff { until, .. } => Some(until),
            Phase::Idle
            | Phase::Sweeping { .. }
            | Phase::Spawning { .. }
            | Phase::Booting { .. }
            | Phase::Starting { .. }
            | Phase::Healthy { .. }
            | Phase::Stopping(_)
            | Phase::Finished => None,
        }
    }

    /// How many restarts the budget has left, if there is one.
    pub fn restarts_left(&self, now: Moment) -> Option<u32> {
        self.policy.budget.map(|budget| self.pace.left(now, budget))
    }

    // Idle => Sweeping
    fn start(&mut self, turn: &mut Turn) {
        if self.phase == Phase::Idle {
            self.sweep(turn);
        } else {
            turn.report(Fact::StaleEvent);
        }
    }

    /// Settles all that is due, and nothing that is not.
    fn tick(&mut self, turn: &mut Turn) {
        match self.phase {
            Phase::Idle | Phase::Spawning { .. } | Phase::Finished => {}
            Phase::Sweeping { again_at } if again_at <= turn.now => self.tick_sweeping(turn),
            Phase::Sweeping { .. } => {}
            Phase::Booting { program, id, until, .. } if until <= turn.now => {
                turn.report(Fact::HookTimedOut { program });
                self.kill_tree(turn, program, id, StopCause::HookTimedOut, None);
            }
            Phase::Booting { .. } => {}
            Phase::Starting { .. } => self.tick_starting(turn),
            Phase::Healthy { .. } => self.tick_healthy(turn),
            Phase::Stopping(stopping) => self.tick_stopping(turn, stopping),
            Phase::BackingOff { until, .. } if until <= turn.now => self.begin_attempt(turn),
            Phase::BackingOff { .. } => {}
        }
    }

    /// If the deadline passed long ago, it was we who slept: nobody may suffer for it.
    fn notice_lateness(&mut self, turn: &mut Turn) {
        let overdue = self.deadline().map_or(Duration::ZERO, |due| turn.now.since(due));
        if overdue > self.tolerated_lateness() {
            self.came_late(turn, overdue);
        }
    }

    fn came_late(&mut self, turn: &mut Turn, by: Duration) {
        let now = turn.now;
        match &mut self.phase {
            // How much of its time the hook slept with us nobody knows: once, it gets all of it again.
            Phase::Booting { program, until, spared, .. } => {
                if *until < now && !*spared {
                    *until = now + self.policy.patience_with(*program);
                    *spared = true;
                }
            }
            Phase::Starting { until, startup: None, .. } => *until = now.max(*until),
            Phase::Starting { until, startup: Some(watch), .. } => {
                let round = self.policy.startup.map(|probe| probe.period + probe.timeout);
                let grace = if self.doubt.is_over(now) { None } else { round };
                *until = (*until + by).max(now + grace.unwrap_or_default());
                watch.catch_up(now, by);
            }
            Phase::Healthy { settle_at, stable_at, liveness, readiness, .. } => {
                for at in [settle_at, stable_at].into_iter().flatten() {
                    *at = now.max(*at);
                }
                let readiness = readiness.as_mut().map(|readiness| &mut readiness.watch);
                for watch in liveness.iter_mut().chain(readiness) {
                    watch.catch_up(now, by);
                }
            }
            // Nobody is judged in these phases: whatever is due is done now.
            Phase::Idle
            | Phase::Sweeping { .. }
            | Phase::Spawning { .. }
            | Phase::Stopping(_)
            | Phase::BackingOff { .. }
            | Phase::Finished => return,
        }
        self.doubt.came_late(now, by);
        turn.report(Fact::CameLate { by });
    }

    /// A round is late if we came later than this.
    fn tolerated_lateness(&self) -> Duration {
        let probe = if let Phase::Starting { .. } = self.phase {
            self.policy.startup
        } else {
            self.policy.liveness
        };
        probe.map_or(LEAST_LATENESS, ProbePolicy::tolerated_lateness)
    }

    // Starting, Healthy: the child gets it. Elsewhere there is nobody who would want it.
    fn forward(&mut self, turn: &mut Turn, signal: Signal) {
        if let Phase::Starting { id, .. } | Phase::Healthy { id, .. } = self.phase {
            turn.order(Action::Signal { id, to: Target::Main, signal });
            turn.report(Fact::Forwarded(signal));
        }
    }
}
