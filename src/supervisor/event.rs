//! The vocabulary: what happened to us (`Event`), what we order (`Action`), what we tell (`Fact`).
//!
//! Events are in the past tense, actions are orders, facts are what an operator would say.
//! Words that an operator sees (`label()`) are the same in the log, as a metric label, in the
//! hook's environment, in `/status` and in the documentation.

use std::fmt;
use std::time::Duration;

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

/// Declares an enum whose variants have one word each, and the list of all of them.
macro_rules! words {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident => $word:literal),+ $(,)? }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name { $($(#[$inner])* $variant),+ }

        impl $name {
            /// Every variant, in the order of declaration.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word an operator sees, the same everywhere.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.label())
            }
        }
    };
}

words! {
    /// What a launch runs.
    Program {
        /// The image's boot hook, run before every launch of the child.
        BootHook => "boot_hook",
        /// The `repair` command of an exit rule, run once before the hook.
        Repair => "repair",
        /// The supervised program.
        Child => "child",
    }
}

words! {
    /// What a probe is for.
    Role {
        /// Has this launch come up?
        Startup => "startup",
        /// Is it alive? The only role that heals.
        Liveness => "liveness",
        /// May it get traffic? Reported, never healed.
        Readiness => "readiness",
    }
}

words! {
    /// Where a service is, in the word that metrics, `/status`, log and docs share.
    State {
        /// The boot hook (or a repair before it) is running, or left-overs are being cleared away.
        BootHook => "boot_hook",
        /// The child runs and has not passed a probe yet.
        Starting => "starting",
        /// The child serves; single failures below the threshold leave it here.
        Healthy => "healthy",
        /// The failure threshold was reached, healing is under way: the tree is being taken down.
        Degraded => "degraded",
        /// The tree is being taken down for any other reason.
        Stopping => "stopping",
        /// Waiting for the next attempt.
        Backoff => "backoff",
        /// Waiting for the next attempt at the slow pace.
        SlowRetry => "slow_retry",
        /// Held by an operator; nothing is healed.
        Maintenance => "maintenance",
        /// Supervision has ended (or not begun).
        Stopped => "stopped",
    }
}

words! {
    /// Why a launch was made.
    Reason {
        /// The first launch of this run.
        Start => "start",
        /// The child exited with a code other than 0.
        Exit => "exit",
        /// The child exited with code 0 although it was wanted.
        CleanExit => "clean_exit",
        /// The child died from a signal that was not ours.
        Signal => "signal",
        /// The liveness probe failed as often as the threshold allows.
        ProbeFailed => "probe_failed",
        /// The child never passed a startup probe within its startup timeout.
        StartupTimeout => "startup_timeout",
        /// The boot hook (or repair) ended with something other than code 0.
        HookFailed => "hook_failed",
        /// The boot hook (or repair) did not end within its timeout.
        HookTimeout => "hook_timeout",
        /// A program could not be started at all.
        SpawnFailed => "spawn_failed",
    }
}

words! {
    /// What a probe could not learn, and why: never counted as a failure.
    Why {
        /// The host name could not be resolved.
        Dns => "dns",
        /// We have no free file descriptor (`EMFILE`, `ENFILE`).
        NoDescriptors => "no_descriptors",
        /// We have no memory or no free process slot (`ENOMEM`, `EAGAIN`).
        NoResources => "no_resources",
        /// There is no way to the target (`EADDRNOTAVAIL`, `ENETUNREACH`, `EHOSTUNREACH`).
        NoRoute => "no_route",
        /// We may not ask (`EACCES`, `EPERM`).
        Denied => "denied",
        /// The probe's own program is missing or cannot be executed.
        ProbeMissing => "probe_missing",
        /// The server's certificate is not trusted, expired, or for another name.
        CertificateNotTrusted => "certificate_not_trusted",
        /// The supervisor itself came late: stopped, suspended or starved.
        Late => "late",
        /// The child's tree was runnable but got no processor.
        Starved => "starved",
        /// The probe never answered us, not even with its own timeout.
        Lost => "lost",
    }
}

/// How a program ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Exit {
    /// It exited with this code.
    Code(u8),
    /// It was killed by this signal number.
    Signal(u8),
}

impl Exit {
    /// The shell's number for it: the code, or 128 + the signal.
    pub const fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128_u8.saturating_add(signal),
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
        }
    }
}

/// How a probe failed. Each counts towards the threshold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FailKind {
    /// Nothing listens.
    Refused,
    /// No (whole) answer within the probe's timeout; for `file`, no heartbeat in time.
    Timeout,
    /// The connection was reset, closed early, or what came is not the protocol.
    Reset,
    /// The answer's status is not in the expected set.
    BadStatus(u16),
    /// The status is right, a header or the body is not what was expected.
    BadBody,
    /// The TLS handshake broke (an untrusted certificate is inconclusive instead).
    Tls,
    /// The probe's program exited with something other than 0.
    Exit,
    /// The answer came from a process that is not ours.
    Impostor,
}

impl FailKind {
    /// One of each kind, for tables and registration.
    pub const ALL: &[Self] = &[
        Self::Refused,
        Self::Timeout,
        Self::Reset,
        Self::BadStatus(0),
        Self::BadBody,
        Self::Tls,
        Self::Exit,
        Self::Impostor,
    ];

    /// The word an operator sees, the same everywhere.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::BadStatus(_) => "bad_status",
            Self::BadBody => "bad_body",
            Self::Tls => "tls",
            Self::Exit => "exit",
            Self::Impostor => "impostor",
        }
    }
}

impl fmt::Display for FailKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())?;
        if let Self::BadStatus(status) = self { write!(f, " {status}") } else { Ok(()) }
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

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::io::Error::from_raw_os_error(self.0))
    }
}

words! {
    /// A signal that we send.
    Signal {
        /// The configured stop signal (TERM unless `stop_signal` says otherwise).
        Stop => "stop",
        /// SIGTERM.
        Term => "term",
        /// SIGKILL.
        Kill => "kill",
        /// SIGQUIT, forwarded.
        Quit => "quit",
        /// SIGUSR1, forwarded.
        Usr1 => "usr1",
        /// SIGUSR2, forwarded.
        Usr2 => "usr2",
    }
}

words! {
    /// Whom a signal is for.
    Target {
        /// The main process of the incarnation only.
        Main => "main",
        /// All that is left of the service's tree, the boot hook's helpers included.
        Tree => "tree",
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

words! {
    /// Why the next attempts go at the slow pace.
    Slow {
        /// An exit rule says so (by default code 78: configuration error).
        ExitRule => "exit_rule",
        /// `repair` was tried and the same exit came again.
        RepairFailed => "repair_failed",
        /// `max_restarts` within `window` are spent.
        BudgetSpent => "budget_spent",
        /// Our own child answered every startup probe with 401, 403, 404 or 405.
        ProbeProbablyWrong => "probe_probably_wrong",
        /// A stranger holds the port.
        PortHeld => "port_held",
    }
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
    /// The reason of the launch that follows.
    pub const fn reason(self) -> Reason {
        match self {
            Self::HookFailed => Reason::HookFailed,
            Self::HookTimedOut => Reason::HookTimeout,
            Self::SpawnFailed => Reason::SpawnFailed,
            Self::Exited(Exit::Code(0)) => Reason::CleanExit,
            Self::Exited(Exit::Code(_)) => Reason::Exit,
            Self::Exited(Exit::Signal(_)) => Reason::Signal,
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
}

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
    /// No probe could tell anything for ten periods.
    Blind {
        /// What the last one said.
        why: Why,
    },
    /// Probes can tell again.
    Sighted,
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
    /// What earlier runs left is still alive: nothing is launched beside it, we go on sweeping.
    LeftOversRemain,
    /// A stranger holds the probed port.
    PortHeld {
        /// Its pid.
        pid: u32,
        /// The first launch goes ahead all the same.
        launching_anyway: bool,
    },
    /// We or the machine slept: verdicts of this round and the next are doubted.
    CameLate {
        /// By how much, as far as our own clock shows it.
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
