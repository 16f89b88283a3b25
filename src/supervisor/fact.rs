//! What happened, as an operator would say it.
//!
//! A fact is no order and asks for nothing: whether and how it is told is not decided here.

use std::time::Duration;

use super::event::{Errno, Exit, Incarnation, Launch, Outcome, StopCause, Verdict};
use super::words::{FailKind, Program, Reason, Role, Signal, Slow, Why};

/// What happened, as an operator would say it. `report.rs` adds the time and works out the sums.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fact {
    /// A program runs.
    Launched {
        /// Which.
        program: Program,
        /// Its launch.
        id: Incarnation,
        /// Why.
        why: Launch,
    },
    /// A program could not be started.
    SpawnFailed {
        /// Which.
        program: Program,
        /// Why not.
        errno: Errno,
    },
    /// There is no boot hook to run.
    HookSkipped,
    /// The boot hook or repair ended well.
    HookSucceeded {
        /// Which of the two.
        program: Program,
    },
    /// The boot hook or repair ended badly.
    HookFailed {
        /// Which of the two.
        program: Program,
        /// How it ended.
        exit: Exit,
    },
    /// The boot hook or repair was still running at its timeout.
    HookTimedOut {
        /// Which of the two.
        program: Program,
    },
    /// A startup probe did not pass; the child is still given time.
    NotReadyYet {
        /// What the probe said.
        verdict: Verdict,
        /// How much of the startup timeout is left.
        left: Duration,
    },
    /// The first pass of this launch (or, without a probe, it has run for `settle`).
    Healthy {
        /// The launch.
        id: Incarnation,
        /// Whether a later `Settled` confirms it.
        settles: bool,
    },
    /// It stayed healthy for `settle`: the outage ended at the first pass.
    Settled,
    /// It stayed healthy for `stable_after`: the backoff starts afresh.
    Stable,
    /// No startup probe passed within the startup timeout.
    NeverReady {
        /// Every answer was 401, 403, 404 or 405 from our own child: the last of them.
        probably_wrong_probe: Option<u16>,
    },
    /// A liveness or readiness probe failed.
    ProbeFailed {
        /// Which.
        role: Role,
        /// How.
        kind: FailKind,
        /// How many in a row.
        failures: u32,
        /// How many are needed.
        threshold: u32,
    },
    /// A liveness probe passed again before the threshold was reached.
    ProbeRecovered {
        /// How many failures are forgotten.
        failures: u32,
    },
    /// The liveness threshold is reached: healing begins.
    Unhealthy {
        /// The last failure.
        kind: FailKind,
        /// How many in a row.
        failures: u32,
    },
    /// This failure would have reached the threshold, but it is not believed.
    RestartAvoided {
        /// Why not.
        why: Why,
    },
    /// A probe could not tell anything for ten periods. It is over with the launch at the latest.
    Blind {
        /// Which.
        role: Role,
        /// What the last one said.
        why: Why,
    },
    /// A blind probe can tell again.
    Sighted {
        /// Which.
        role: Role,
    },
    /// Readiness changed.
    Ready(bool),
    /// The child's main process ended.
    Exited {
        /// The launch.
        id: Incarnation,
        /// How.
        exit: Exit,
        /// Whether we had told it to.
        expected: bool,
    },
    /// Taking the tree down began.
    StopStarted {
        /// The launch.
        id: Incarnation,
        /// Why.
        cause: StopCause,
    },
    /// The grace is over: SIGKILL to everything that is left.
    KillEscalated {
        /// The launch.
        id: Incarnation,
    },
    /// SIGKILL has not ended the tree for long: it is not replaced, we go on killing.
    Unkillable {
        /// The launch.
        id: Incarnation,
    },
    /// Nothing of the tree is alive any more.
    TreeGone {
        /// The launch.
        id: Incarnation,
    },
    /// The next attempt is due after this delay.
    RestartScheduled {
        /// Why there is one.
        reason: Reason,
        /// The number it will have.
        attempt: u32,
        /// How long until then.
        delay: Duration,
        /// Why at the slow pace, if so.
        slow: Option<Slow>,
    },
    /// The first launch of this run waits: a fleet is not to start all at once.
    FirstLaunchDelayed {
        /// For how long.
        delay: Duration,
    },
    /// What earlier runs left is still alive: nothing is launched beside it, we go on sweeping.
    LeftOversRemain,
    /// A stranger holds the probed port.
    PortHeld {
        /// Its pid.
        pid: u32,
        /// The first launch goes ahead all the same.
        launching_anyway: bool,
    },
    /// We or the machine slept: failures of this round and the next, and of a second and a half,
    /// are doubted.
    CameLate {
        /// By how much, as far as our own clock shows it: not at all if the machine was suspended.
        by: Duration,
    },
    /// An operator wants it stopped.
    StopRequested {
        /// For the second time: at once.
        again: bool,
    },
    /// A signal was passed on to the child.
    Forwarded(Signal),
    /// News about something that is over; dropped.
    StaleEvent,
    /// Supervision is over.
    Finished(Outcome),
}
