//! The words that an operator sees: one enum for each list of them.
//!
//! Each `label()` is the same in the log, as a metric label, in the hook's environment, in
//! `/status` and in the documentation.

use std::fmt;

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

impl Default for State {
    /// As long as nothing has been started.
    fn default() -> Self {
        Self::Stopped
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
        /// The kernel killed the child for lack of memory.
        Oom => "oom",
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
    /// How this run began, as far as what the last one left behind tells.
    Start {
        /// There was no earlier run.
        First => "first",
        /// The last run was stopped, or ended for good.
        Clean => "clean",
        /// The same, and the host has booted since.
        Reboot => "reboot",
        /// The last run ended without a word; the host is still up.
        Crash => "crash",
        /// The last run ended without a word, and the host has booted since.
        PowerCycle => "power_cycle",
        /// The last run ended without a word on another host than this one.
        Moved => "moved",
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

words! {
    /// What an operator may order to be broken in the running service, to see it healed.
    DrillFault {
        /// The child's main process gets SIGKILL.
        Killed => "killed",
        /// The child's main process gets SIGSTOP.
        Hang => "hang",
    }
}

words! {
    /// How a drill in the running service ended.
    DrillResult {
        /// The service was healed, within its recovery objective if it has one.
        Success => "success",
        /// It was healed too late.
        Failure => "failure",
        /// The service was stopped meanwhile, or nothing was broken.
        Aborted => "aborted",
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
