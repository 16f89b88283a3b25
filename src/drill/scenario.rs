//! What a scenario is: data. One file for each family of them is in `scenarios/`.

use rustix::process::Signal;

use super::proxy::Mode;

/// One fault, and what must come of it.
#[derive(Debug)]
pub struct Scenario {
    /// By this it is chosen and reported.
    pub name: &'static str,
    /// What it stands for, as an operator would say it.
    pub simulates: &'static str,
    /// Where it can be done.
    pub place: Place,
    /// Lines of configuration beyond the usual ones.
    pub keys: &'static str,
    /// Files that the gateway and its boot hook find from the start on, and what is in them.
    pub files: &'static [(&'static str, &'static str)],
    /// What is done to a healthy service, in this order.
    pub steps: &'static [Step],
    /// What must come of it.
    pub expect: Expect,
}

/// Where a scenario can be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// In any sandbox.
    Anywhere,
    /// Where the supervisor is not PID 1: its death shall not end everything else.
    OwnTree,
    /// Where there is a mount namespace.
    Namespaces,
    /// Where the wall clock can be set, which is nowhere that a drill may go.
    OwnClock,
}

/// What is done. Only a fault, not a wait, is a moment from which recovery is measured.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The gateway is asked to be sick: the query of its `/fault`.
    Ask(&'static str),
    /// The gateway's main process gets a signal.
    Signal(Signal),
    /// The probes meet this, until the gateway is another one.
    Sick(Mode),
    /// A file is written that the gateway or its boot hook will find.
    Plant(&'static str, &'static str),
    /// The gateway's lock file names a process that lives, as after a boot that gave the same pids.
    StaleLock,
    /// What the boot hook waits for goes away, or returns.
    Dependency {
        /// Whether it is there.
        there: bool,
    },
    /// The supervisor alone is killed; whatever started it starts it again.
    KillSupervisor,
    /// Everything in the sandbox is killed at once; the sandbox is started again, after a boot.
    CutPower,
    /// Waits until the service is in this state.
    AwaitState(&'static str),
    /// Waits until the boot hook has failed so often since the scenario began.
    AwaitHookFailures(u64),
    /// Waits for a random part of so many milliseconds.
    Pause(u32),
}

impl Step {
    /// Whether something breaks or returns by it.
    pub(super) const fn is_fault(self) -> bool {
        !matches!(self, Self::AwaitState(_) | Self::AwaitHookFailures(_) | Self::Pause(_))
    }
}

/// What must come of a scenario.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// The same supervisor replaces the gateway, and counts a restart for this reason.
    Restart(&'static str),
    /// A new supervisor starts the gateway.
    ColdStart,
    /// It is not healed for ever but reported: the service goes on at the slow pace, and the log
    /// says these words.
    Report(&'static str),
}

impl Scenario {
    /// What most have in common; each family overwrites what it is about.
    pub(super) const USUAL: Self = Self {
        name: "",
        simulates: "",
        place: Place::Anywhere,
        keys: "",
        files: &[],
        steps: &[],
        expect: Expect::ColdStart,
    };

    /// Whether it puts a proxy between probe and gateway.
    pub(super) fn has_proxy(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Sick(_)))
    }

    /// Whether its boot hook waits for something.
    pub(super) fn has_dependency(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Dependency { .. }))
    }
}
