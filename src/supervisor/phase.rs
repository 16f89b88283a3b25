//! Where the machine is. Each phase owns its deadlines, so leaving a phase cancels its timers.

use super::event::{Exit, Incarnation, Moment, StopCause};
use super::health::{Answers, Readiness, Watch};
use super::words::{Program, Slow, State};

/// What is, as opposed to what is wanted ([`super::Intent`]).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// Supervision has not begun.
    Idle,
    /// What earlier runs left is being removed.
    Sweeping {
        /// The order is repeated then; once a stop was requested, we leave then.
        again_at: Moment,
    },
    /// A program was ordered; the driver answers at once.
    Spawning {
        /// Which program.
        program: Program,
        /// Its launch.
        id: Incarnation,
    },
    /// The boot hook or a repair runs.
    Booting {
        /// Which of the two.
        program: Program,
        /// Its launch.
        id: Incarnation,
        /// It is killed then.
        until: Moment,
        /// We slept through its timeout once: it was given another.
        spared: bool,
    },
    /// The child runs and has not passed yet.
    Starting {
        /// Its launch.
        id: Incarnation,
        /// With a probe: it has failed to come up then. Without: it is called healthy then.
        until: Moment,
        /// The startup probe.
        startup: Option<Watch>,
        /// What it has answered so far.
        answers: Answers,
    },
    /// The child serves.
    Healthy {
        /// Its launch.
        id: Incarnation,
        /// The outage has ended for good then; `None` once it has.
        settle_at: Option<Moment>,
        /// The run counts as stable then; `None` once it does.
        stable_at: Option<Moment>,
        /// The liveness probe.
        liveness: Option<Watch>,
        /// The readiness probe.
        readiness: Option<Readiness>,
    },
    /// The tree is being taken down.
    Stopping(Stopping),
    /// Nothing runs; the next attempt is due at `until`.
    BackingOff {
        /// When.
        until: Moment,
        /// Why at the slow pace, if so.
        slow: Option<Slow>,
    },
    /// Supervision is over; nothing leaves this phase.
    Finished,
}

/// Taking a tree down.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Stopping {
    /// The launch whose main process it was.
    pub id: Incarnation,
    /// What that launch ran.
    pub program: Program,
    /// Why.
    pub cause: StopCause,
    /// Whether the child had passed a probe in this launch.
    pub served: bool,
    /// How the main process ended, once it has.
    pub exit: Option<Exit>,
    /// How far.
    pub step: Step,
}

impl Stopping {
    pub(super) const fn new(
        id: Incarnation,
        program: Program,
        cause: StopCause,
        served: bool,
        step: Step,
    ) -> Self {
        Self { id, program, cause, served, exit: None, step }
    }
}

/// How far taking down has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// It is being looked at by the capture command; nobody has been asked to end.
    Capture {
        /// No longer than until then.
        until: Moment,
    },
    /// The main process was asked to end.
    Main {
        /// SIGKILL for all then.
        kill_at: Moment,
    },
    /// The main process has ended, the rest was asked to.
    Rest {
        /// SIGKILL for all then.
        kill_at: Moment,
    },
    /// SIGKILL was sent to all that is left.
    Kill {
        /// It is sent again then.
        again_at: Moment,
        /// It is called unkillable then; `None` once it was.
        unkillable_at: Option<Moment>,
        /// When stopping for good: we leave then, whatever is left.
        leave_at: Option<Moment>,
        /// The main process was still alive when SIGKILL was sent.
        main_killed: bool,
    },
}

impl Phase {
    /// The word an operator sees for it.
    pub const fn state(&self) -> State {
        match self {
            Self::Idle | Self::Finished => State::Stopped,
            Self::Sweeping { .. } => State::BootHook,
            Self::Spawning { program, .. } => match program {
                Program::BootHook | Program::Repair => State::BootHook,
                Program::Child => State::Starting,
            },
            Self::Booting { .. } => State::BootHook,
            Self::Starting { .. } => State::Starting,
            Self::Healthy { .. } => State::Healthy,
            Self::Stopping(Stopping { cause: StopCause::Unhealthy(_), .. }) => State::Degraded,
            Self::Stopping(_) => State::Stopping,
            Self::BackingOff { slow: None, .. } => State::Backoff,
            Self::BackingOff { slow: Some(_), .. } => State::SlowRetry,
        }
    }

    /// When something is due in this phase at the latest; `None` if only an event can end it.
    pub fn deadline(&self) -> Option<Moment> {
        match *self {
            Self::Idle | Self::Spawning { .. } | Self::Finished => None,
            Self::Sweeping { again_at } => Some(again_at),
            Self::Booting { until, .. } | Self::BackingOff { until, .. } => Some(until),
            // Whoever is asked may answer, and tell whether he could have answered before.
            Self::Starting { startup: Some(watch), .. } if watch.in_flight().is_some() => {
                Some(watch.deadline())
            }
            Self::Starting { until, startup, .. } => {
                earliest([Some(until), startup.map(|watch| watch.deadline())])
            }
            Self::Healthy { settle_at, stable_at, liveness, readiness, .. } => earliest([
                settle_at,
                stable_at,
                liveness.map(|watch| watch.deadline()),
                readiness.map(|readiness| readiness.watch.deadline()),
            ]),
            Self::Stopping(Stopping { step, .. }) => step.deadline(),
        }
    }
}

impl Step {
    fn deadline(self) -> Option<Moment> {
        match self {
            Self::Capture { until } => Some(until),
            Self::Main { kill_at } | Self::Rest { kill_at } => Some(kill_at),
            Self::Kill { again_at, unkillable_at, leave_at, .. } => {
                earliest([Some(again_at), unkillable_at, leave_at])
            }
        }
    }
}

fn earliest<const N: usize>(moments: [Option<Moment>; N]) -> Option<Moment> {
    moments.into_iter().flatten().min()
}
