//! What the core decides by: plain data, worked out once from the configuration.

use std::time::Duration;

use super::event::Exit;
use super::words::{DrillFault, Program};

/// All that the state machine knows about the configuration.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Policy {
    /// The boot hook, if one may be there.
    pub hook: Option<HookPolicy>,
    /// How long the first launch of this run waits, so that a fleet does not start all at once.
    pub first_delay: Duration,
    /// How long `repair` may take, if there is one.
    pub repair: Option<Duration>,
    /// How to see that a launch has come up.
    pub startup: Option<ProbePolicy>,
    /// How long a launch may take to come up; stands still while probes are inconclusive.
    pub startup_timeout: Duration,
    /// How to see that it is alive.
    pub liveness: Option<ProbePolicy>,
    /// How to see that it may get traffic.
    pub readiness: Option<ProbePolicy>,
    /// How long the first pass must last to have ended the outage; without any probe, how long a
    /// child must run to be called healthy.
    pub settle: Duration,
    /// How long `late` and `starved` excuse failures.
    pub max_doubt: Duration,
    /// The budget for stopping when asked to, SIGKILL at its end.
    pub stop_timeout: Duration,
    /// The same for a child that is being healed.
    pub unhealthy_stop_timeout: Duration,
    /// How long `capture` may look at a child that is to be healed before it is asked to end.
    pub capture: Option<Duration>,
    /// Whether an exit is followed by another launch.
    pub restart: RestartPolicy,
    /// What particular exit codes mean; the first match holds.
    pub exit_rules: Vec<ExitRule>,
    /// The delay before attempt n+1 after n failed ones, without jitter; the last one repeats.
    pub delays: Vec<Duration>,
    /// Jitter in thousandths: 500 spreads a delay over ±50 %.
    pub jitter_permille: u32,
    /// Healthy for so long, and the delays start afresh.
    pub stable_after: Duration,
    /// The slow pace.
    pub slow_retry: Duration,
    /// How many restarts are allowed within a window, if limited.
    pub budget: Option<Budget>,
}

impl Policy {
    /// Why this fault would end the run instead of being healed, if so; the budget has so many
    /// restarts left.
    pub fn would_end(&self, fault: DrillFault, restarts_left: Option<u32>) -> Option<&'static str> {
        if self.restart == RestartPolicy::Never {
            Some("restart = \"never\"")
        } else if fault == DrillFault::Killed && self.ends_with(Exit::Signal(9)) {
            Some("its code 137 has an on_exit rule with action = \"stop\"")
        } else if self.budget.is_some_and(|budget| budget.exit) && restarts_left == Some(0) {
            Some("its restarts are spent, and on_exhausted = \"exit\"")
        } else {
            None
        }
    }

    /// Whether the run ends with a child that ends like this by itself.
    pub(super) fn ends_with(&self, exit: Exit) -> bool {
        match self.restart {
            RestartPolicy::Never => true,
            RestartPolicy::Always => self.rule(exit) == Some(ExitAction::Stop),
            RestartPolicy::OnFailure => match self.rule(exit) {
                Some(action) => action == ExitAction::Stop,
                None => exit.is_success(),
            },
        }
    }

    /// What the first rule for this exit says.
    pub(super) fn rule(&self, exit: Exit) -> Option<ExitAction> {
        let mut rules = self.exit_rules.iter();
        rules.find(|rule| rule.codes.contains(&exit.code())).map(|rule| rule.action)
    }

    /// How long `program` may take, for those that must end by themselves.
    pub(super) fn patience_with(&self, program: Program) -> Duration {
        let timeout = match program {
            Program::BootHook => self.hook.map(|hook| hook.timeout),
            Program::Repair => self.repair,
            Program::Child => None,
        };
        timeout.unwrap_or_default()
    }
}

/// The boot hook as the core sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HookPolicy {
    /// Killed after so long.
    pub timeout: Duration,
    /// End the run when it fails before the first launch.
    pub exit_on_failure: bool,
}

/// One probe's rhythm.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ProbePolicy {
    /// From the start of one probe to the start of the next.
    pub period: Duration,
    /// How long one probe may take in all.
    pub timeout: Duration,
    /// Failures in a row that change our mind.
    pub failure_threshold: u32,
    /// Passes in a row that change it back (readiness only).
    pub success_threshold: u32,
}

/// Lateness that is nothing unusual on a busy machine.
pub(super) const LEAST_LATENESS: Duration = Duration::from_millis(200);

impl ProbePolicy {
    /// Who comes later than this has slept: a quarter of the timeout, or 200 ms.
    pub fn tolerated_lateness(self) -> Duration {
        (self.timeout / 4).max(LEAST_LATENESS)
    }
}

/// `restart = "always" | "on-failure" | "never"`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RestartPolicy {
    /// Whatever the exit.
    Always,
    /// Unless it exits with code 0.
    OnFailure,
    /// The run ends with the child.
    Never,
}

/// What an exit code means.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ExitRule {
    /// The codes it is about; 128 + n stands for signal n.
    pub codes: Vec<u8>,
    /// What follows.
    pub action: ExitAction,
}

/// What follows an exit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ExitAction {
    /// Another attempt after the usual delay.
    Restart,
    /// Another attempt at the slow pace.
    Slow,
    /// `repair` once, then another attempt; if the same comes again, the slow pace.
    RepairOnce,
    /// The run ends with the child's code.
    Stop,
}

/// A limit on restarts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Budget {
    /// So many.
    pub max_restarts: u32,
    /// Within so long.
    pub window: Duration,
    /// End the run when spent, instead of the slow pace.
    pub exit: bool,
}
