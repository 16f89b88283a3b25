//! What happened to us (`Event`) and what we order (`Action`), with what they carry.
//!
//! Events are in the past tense, actions are orders. The words that both use are in `words.rs`,
//! what we tell is in `fact.rs`.

use std::fmt;
use std::time::Duration;

use super::fact::Fact;
use super::words::{FailKind, Program, Reason, Role, Signal, Target, Why};

/// Monotonic time since the supervisor started; only `clock.rs` makes one from a real clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(Duration);

impl Moment {
    /// When the supervisor started.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// The moment `since_start` after the supervisor started.
    pub const fn new(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// How long after the supervisor's start this is.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0.as_secs_f64())
    }
}

/// One launch of a program. Every message about a process carries it, so late news is recognisable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Incarnation(pub u32);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// How a program ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Exit {
    /// It exited with this code.
    Code(u8),
    /// It was killed by this signal number.
    Signal(u8),
    /// The kernel killed it for lack of memory, with SIGKILL.
    OutOfMemory,
}

impl Exit {
    /// The shell's number for it: the code, or 128 + the signal.
    pub const fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128_u8.saturating_add(signal),
            Self::OutOfMemory => 128 + 9,
        }
    }

    /// Whether the program ended with code 0.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Code(0))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::OutOfMemory => f.write_str("signal 9 for lack of memory"),
        }
    }
}

/// What one probe says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Verdict {
    /// It serves.
    Pass,
    /// It does not.
    Fail(FailKind),
    /// We do not know: holds the count, neither adds nor clears.
    Inconclusive {
        /// What kept us from knowing.
        why: Why,
        /// The failure that we saw but do not believe (`late`, `starved`); it counts again once
        /// doubt has lasted `max_doubt`.
        instead_of: Option<FailKind>,
    },
}

impl Verdict {
    /// An inconclusive verdict that hides no failure.
    pub const fn unknown(why: Why) -> Self {
        Self::Inconclusive { why, instead_of: None }
    }

    /// The `result` label of `rekindle_probe_attempts_total`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pass => "success",
            Self::Fail(kind) => kind.label(),
            Self::Inconclusive { .. } => "inconclusive",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("pass"),
            Self::Fail(kind) => write!(f, "{kind}"),
            Self::Inconclusive { why, instead_of: None } => write!(f, "inconclusive: {why}"),
            Self::Inconclusive { why, instead_of: Some(kind) } => {
                write!(f, "inconclusive: {why} (looked like {kind})")
            }
        }
    }
}

/// Who listens on the probed loopback port, as far as the edges could tell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PortHolder {
    /// Nobody, one of ours, somebody we may not identify, or there is no loopback port to look at.
    NoStranger,
    /// A process outside our tree, positively identified.
    Stranger {
        /// Its pid, as we see it.
        pid: u32,
    },
}

/// Why an operating system call failed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Errno(pub i32);

impl Errno {
    /// Whether the machine lacked something, which comes and goes: EAGAIN (pids), ENOMEM, ENFILE,
    /// EMFILE, ENOSPC.
    pub(super) const fn is_scarcity(self) -> bool {
        matches!(self.0, 11 | 12 | 23 | 24 | 28)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::io::Error::from_raw_os_error(self.0))
    }
}

/// News from the world. `Tick` only says that time passed: deadlines are compared, never named.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// Supervision begins.
    Start,
    /// What earlier runs left is gone; this is who holds the port now.
    Swept {
        /// The holder of the probed port before the first launch.
        port: PortHolder,
    },
    /// Something that earlier runs left is alive and cannot be ended.
    SweepFailed,
    /// The program of this incarnation runs.
    Spawned(Incarnation),
    /// There is no boot hook at its path: nothing to run.
    HookMissing(Incarnation),
    /// The program of this incarnation could not be started.
    SpawnFailed {
        /// Which launch.
        id: Incarnation,
        /// Why.
        errno: Errno,
    },
    /// The main process of this incarnation has ended. Others of its tree may live on.
    Exited {
        /// Which launch.
        id: Incarnation,
        /// How it ended.
        exit: Exit,
    },
    /// Nothing of the tree is alive any more. Said once, and only after a signal to the tree.
    Gone(Incarnation),
    /// A probe has answered.
    Probed {
        /// Which launch it was made for.
        id: Incarnation,
        /// Which probe.
        role: Role,
        /// The number that the order carried.
        probe: u32,
        /// What it says.
        verdict: Verdict,
    },
    /// The capture command of this launch is over, however it ended.
    Captured(Incarnation),
    /// Who holds the port after an attempt that never served.
    PortChecked {
        /// The launch after which it was asked.
        id: Incarnation,
        /// The holder.
        holder: PortHolder,
    },
    /// The machine was suspended: boot time went on while our monotonic clock stood still.
    Suspended,
    /// QUIT, USR1 or USR2 came for the child.
    SignalReceived(Signal),
    /// An operator (TERM, INT) wants the service stopped; said again, wants it at once.
    StopRequested,
    /// Time passed.
    Tick,
}

/// Orders to the driver, carried out in order and answered only by events.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Action {
    /// Remove what earlier runs left; answered by `Swept` or `SweepFailed`. May be repeated while
    /// under way.
    Sweep,
    /// Start a program; answered by exactly one of `Spawned`, `SpawnFailed`, `HookMissing`.
    Spawn {
        /// What to run.
        program: Program,
        /// The number of this launch.
        id: Incarnation,
        /// What the program is told about it.
        why: Launch,
    },
    /// Send a signal. Those to the tree are answered by one `Gone`, when nothing of it is alive.
    Signal {
        /// The launch it is about.
        id: Incarnation,
        /// Main process or everything.
        to: Target,
        /// Which signal.
        signal: Signal,
    },
    /// Make one probe; answered by `Probed`, at the latest soon after the probe's timeout.
    Probe {
        /// The launch to probe.
        id: Incarnation,
        /// Which probe.
        role: Role,
        /// The number to answer with.
        probe: u32,
    },
    /// Have a look taken at a child that hangs, before it is taken down; answered by `Captured`, at
    /// the latest soon after the timeout of that.
    Capture(Incarnation),
    /// Look who holds the probed port; answered by `PortChecked`.
    CheckPort(Incarnation),
    /// Tell it.
    Report(Fact),
    /// Supervision of this service is over.
    Finish(Outcome),
}

/// What a launched program is told about its launch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Launch {
    /// Why it is made.
    pub reason: Reason,
    /// The number of this attempt since the last stable run, from 1.
    pub attempt: u32,
    /// How the child ended last in this run.
    pub last_exit: Option<Exit>,
}

/// Why the tree is being taken down.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum StopCause {
    /// The hook or repair ended badly.
    HookFailed,
    /// The hook or repair did not end in time.
    HookTimedOut,
    /// A program could not be started; what the hook left must go.
    SpawnFailed,
    /// The child ended by itself; what it left must go.
    Exited(Exit),
    /// No startup probe passed in time.
    NeverReady {
        /// Every answer was 401, 403, 404 or 405 from our own child.
        probe_looks_wrong: bool,
    },
    /// The liveness threshold was reached; the last failure was of this kind.
    Unhealthy(FailKind),
    /// An operator wants it stopped.
    Asked,
    /// The repair has ended well; nothing of it may stay.
    Repaired,
}

impl StopCause {
    /// Whether the child still runs although it is of no use: only then there is something to see.
    pub(super) const fn leaves_it_running(self) -> bool {
        matches!(self, Self::NeverReady { .. } | Self::Unhealthy(_))
    }

    /// The reason of the launch that follows.
    pub const fn reason(self) -> Reason {
        match self {
            Self::HookFailed => Reason::HookFailed,
            Self::HookTimedOut => Reason::HookTimeout,
            Self::SpawnFailed => Reason::SpawnFailed,
            Self::Exited(Exit::Code(0)) => Reason::CleanExit,
            Self::Exited(Exit::Code(_)) => Reason::Exit,
            Self::Exited(Exit::Signal(_)) => Reason::Signal,
            Self::Exited(Exit::OutOfMemory) => Reason::Oom,
            Self::NeverReady { .. } => Reason::StartupTimeout,
            Self::Unhealthy(_) => Reason::ProbeFailed,
            Self::Asked | Self::Repaired => Reason::Start,
        }
    }
}

/// How supervision of a service ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Outcome {
    /// Asked to stop, and stopped.
    Asked {
        /// SIGKILL was needed.
        killed: bool,
        /// Something was still alive when we gave up waiting.
        left: bool,
    },
    /// The restart policy or an exit rule ends the run with the child.
    ChildEnded(Exit),
    /// `max_restarts` are spent and `on_exhausted = "exit"`.
    BudgetSpent,
    /// The boot hook failed before the first launch and `on_boot_failure = "exit"`.
    BootHookFailed,
}

impl Outcome {
    /// The exit code of `rekindle run`.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Asked { killed: false, left: false } => 0,
            Self::Asked { .. } => 137,
            Self::ChildEnded(exit) => exit.code(),
            Self::BudgetSpent => 10,
            Self::BootHookFailed => 69,
        }
    }

    /// Whether something was still alive.
    pub const fn leaves_something(self) -> bool {
        matches!(self, Self::Asked { left: true, .. })
    }
}
