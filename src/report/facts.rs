//! Each fact's log line and what it changes in metrics and status.

use std::time::Duration;

use super::Reporter;
use crate::metrics::{HookResult, LaunchKind, Metric, hook};
use crate::status::{LastExit, human};
use crate::supervisor::{
    Errno, Exit, Fact, FailKind, Launch, Moment, Outcome, Program, Reason, Role, Slow, State,
    StopCause, Verdict, Why,
};

/// While a child is starting, this is said so often.
const SAY_STARTING_EVERY: Duration = Duration::from_secs(10);

macro_rules! say {
    ($level:ident, $self:ident, $($rest:tt)+) => {
        tracing::$level!(service = $self.name(), $($rest)+)
    };
}

impl Reporter {
    /// One arm for each fact.
    pub(super) fn tell(&mut self, now: Moment, fact: &Fact) {
        match *fact {
            Fact::Launched { program, why, .. } => self.launched(now, program, why),
            Fact::SpawnFailed { program, errno } => self.spawn_failed(now, program, errno),
            Fact::HookSkipped => self.hook_skipped(),
            Fact::HookSucceeded { program } => self.hook_succeeded(now, program),
            Fact::HookFailed { program, exit } => self.hook_failed(now, program, exit),
            Fact::HookTimedOut { program } => self.hook_timed_out(now, program),
            Fact::NotReadyYet { verdict, left } => self.not_ready_yet(now, verdict, left),
            Fact::Healthy { settles, .. } => self.healthy(now, settles),
            Fact::Settled => say!(debug, self, "it has settled"),
            Fact::Stable => say!(info, self, "stable: the backoff starts afresh"),
            Fact::NeverReady { probably_wrong_probe } => self.never_ready(probably_wrong_probe),
            Fact::ProbeFailed { role, kind, failures, threshold } => {
                self.probe_failed(role, kind, failures, threshold);
            }
            Fact::ProbeRecovered { failures } => {
                let word = if failures == 1 { "failure" } else { "failures" };
                say!(info, self, "the probe passes again after {failures} {word}");
            }
            Fact::Unhealthy { kind, failures } => self.unhealthy(kind, failures),
            Fact::RestartAvoided { why } => self.restart_avoided(why),
            Fact::Blind { role, why } => self.blind(role, why),
            Fact::Sighted { role } => self.sighted(role),
            Fact::Ready(ready) => self.ready(ready),
            Fact::Exited { exit, expected, .. } => self.exited(now, exit, expected),
            Fact::StopStarted { cause, .. } => self.stop_started(now, cause),
            Fact::KillEscalated { .. } => {
                let who = if self.status.pid.is_some() { "it" } else { "what it left" };
                say!(warn, self, "{who} did not end in time: SIGKILL to all that is left");
            }
            Fact::Unkillable { .. } => {
                let waited = human(self.stop_began.map_or(Duration::ZERO, |at| now.since(at)));
                say!(error, self, "SIGKILL has not ended it for {waited}; it is not replaced");
            }
            Fact::TreeGone { .. } => {
                let took = human(self.stop_began.map_or(Duration::ZERO, |at| now.since(at)));
                say!(info, self, "nothing of it is alive any more, after {took}");
            }
            Fact::RestartScheduled { reason, attempt, delay, slow } => {
                self.restart_scheduled(now, reason, attempt, delay, slow);
            }
            Fact::FirstLaunchDelayed { delay } => {
                self.metrics.set(Metric::Backoff, &[], delay.as_secs_f64());
                self.set_time(now, Metric::NextRestart, &[], Some(now + delay));
            }
            Fact::LeftOversRemain => {
                say!(error, self, "nothing is started beside what an earlier run left; trying on");
            }
            Fact::PortHeld { pid, launching_anyway } => self.port_held(pid, launching_anyway),
            Fact::CameLate { by } => self.came_late(by),
            Fact::StopRequested { again } => self.stop_requested(now, again),
            Fact::Forwarded(signal) => {
                say!(info, self, signal = signal.label(), "passed signal {signal} on");
            }
            Fact::StaleEvent => {
                self.metrics.add(Metric::StaleEvents, &[], 1);
                say!(trace, self, "news about something that is over, dropped");
            }
            Fact::Finished(outcome) => self.finished(now, outcome),
        }
    }

    fn launched(&mut self, now: Moment, program: Program, why: Launch) {
        self.reason = why.reason;
        self.status.attempt = why.attempt;
        self.metrics.set(Metric::Attempt, &[], why.attempt.into());
        self.metrics.set(Metric::Backoff, &[], 0.0);
        self.metrics.set(Metric::NextRestart, &[], 0.0);
        let (reason, attempt) = (why.reason.label(), why.attempt);
        match program {
            Program::BootHook | Program::Repair => {
                self.hook_began = Some(now);
                let name = spoken(program);
                say!(info, self, reason, attempt, "{name} runs (attempt {attempt})");
            }
            Program::Child => {
                let restart = why.reason != Reason::Start;
                let kind = if restart { LaunchKind::Restart } else { LaunchKind::Cold };
                self.child_began = Some((now, kind));
                self.said_starting = None;
                self.status.ready = !self.has_readiness;
                for (role, answer) in &mut self.status.probes {
                    answer.failures = 0;
                    self.metrics.set(Metric::ProbeFailures, &[*role], 0.0);
                }
                self.nobody_is_blind();
                if restart {
                    self.metrics.add(Metric::Restarts, &[reason], 1);
                    self.status.counts.restarts += 1;
                }
                say!(info, self, reason, attempt, "started (attempt {attempt})");
            }
        }
    }

    fn spawn_failed(&mut self, now: Moment, program: Program, errno: Errno) {
        self.metrics.add(Metric::SpawnFailures, &[], 1);
        if program != Program::Child {
            self.hook_ended(now, program, HookResult::Failure);
        }
        let (name, reason) = (spoken(program), Reason::SpawnFailed.label());
        say!(warn, self, reason, "{name} cannot be started: {errno}");
    }

    fn hook_skipped(&mut self) {
        let word = hook(Program::BootHook).unwrap_or_default();
        self.metrics.add(Metric::HookRuns, &[word, HookResult::Skipped.label()], 1);
        if self.said_skipped {
            say!(debug, self, "there is no boot hook, skipped");
        } else {
            self.said_skipped = true;
            say!(info, self, "there is no boot hook, skipped");
        }
    }

    fn hook_succeeded(&mut self, now: Moment, program: Program) {
        let took = human(self.hook_ended(now, program, HookResult::Success));
        if let Some(word) = hook(program) {
            self.set_time(now, Metric::HookLastSuccess, &[word], Some(now));
        }
        say!(info, self, "{} succeeded after {took}", spoken(program));
    }

    fn hook_failed(&mut self, now: Moment, program: Program, exit: Exit) {
        let took = human(self.hook_ended(now, program, HookResult::Failure));
        let (name, reason) = (self.named(program), Reason::HookFailed.label());
        say!(
            warn,
            self,
            reason,
            "{name} failed with {exit} after {took}; the child is not started"
        );
    }

    fn hook_timed_out(&mut self, now: Moment, program: Program) {
        let took = human(self.hook_ended(now, program, HookResult::Timeout));
        let (name, reason) = (self.named(program), Reason::HookTimeout.label());
        say!(warn, self, reason, "{name} was still running after {took}; the child is not started");
    }

    /// What failed, with its path if it has one that an operator may look for.
    fn named(&self, program: Program) -> String {
        match (&self.hook_path, program) {
            (Some(path), Program::BootHook) => format!("{} {}", spoken(program), path.display()),
            _ => spoken(program).to_owned(),
        }
    }

    /// Counts the end of a hook; returns how long it ran.
    fn hook_ended(&mut self, now: Moment, program: Program, result: HookResult) -> Duration {
        let began = self.hook_began.take();
        let took = began.map_or(Duration::ZERO, |began| now.since(began));
        if let Some(word) = hook(program) {
            self.metrics.add(Metric::HookRuns, &[word, result.label()], 1);
            if began.is_some() {
                self.metrics.observe(Metric::HookDuration, &[word], took);
            }
        }
        took
    }

    fn not_ready_yet(&mut self, now: Moment, verdict: Verdict, left: Duration) {
        let spent = human(self.startup_timeout.saturating_sub(left));
        let allowed = human(self.startup_timeout);
        let summary = format!("starting, {spent} of {allowed}, last answer: {verdict}");
        if self.said_starting.is_none_or(|said| now.since(said) >= SAY_STARTING_EVERY) {
            self.said_starting = Some(now);
            say!(info, self, result = verdict.label(), "{summary}");
        }
        if self.status.state == State::Starting {
            self.status.summary = summary;
        }
    }

    fn healthy(&mut self, now: Moment, settles: bool) {
        let began = self.child_began.take();
        let took = began.map_or(Duration::ZERO, |(began, _)| now.since(began));
        if let Some((_, kind)) = began {
            self.metrics.observe(Metric::TimeToHealthy, &[kind.label()], took);
        }
        let incident = self.status.tally.outage().filter(|outage| outage.cause.is_incident());
        let reason = self.reason.label();
        let took = human(took);
        match incident {
            Some(outage) if settles => {
                let down = human(outage.until(now));
                say!(
                    info,
                    self,
                    reason,
                    "healthy again, {took} after its start, {down} after it failed"
                );
            }
            Some(_) | None => say!(info, self, reason, "healthy, {took} after its start"),
        }
    }

    fn never_ready(&mut self, probably_wrong_probe: Option<u16>) {
        let allowed = human(self.startup_timeout);
        let reason = Reason::StartupTimeout.label();
        match probably_wrong_probe {
            None => {
                say!(
                    warn,
                    self,
                    reason,
                    "it never became healthy within {allowed}; taking it down"
                );
            }
            Some(status) => say!(
                warn,
                self,
                reason,
                "it answered every probe with {status} for {allowed}: the probe is probably wrong, \
                 check its URL or accept {status} with expect_status",
            ),
        }
    }

    fn probe_failed(&mut self, role: Role, kind: FailKind, failures: u32, threshold: u32) {
        let (probe, result) = (role.label(), kind.label());
        // The core counts to the threshold.
        let answered = self.status.probes.get(probe);
        let in_a_row = answered.map_or(failures, |answer| answer.failures.max(failures));
        if in_a_row <= threshold {
            say!(
                info,
                self,
                probe,
                result,
                "{role} probe: {kind} (failure {failures} of {threshold})"
            );
        } else {
            say!(debug, self, probe, result, "{role} probe: {kind} ({in_a_row} failures in a row)");
        }
    }

    fn unhealthy(&mut self, kind: FailKind, failures: u32) {
        let reason = Reason::ProbeFailed.label();
        say!(
            warn,
            self,
            reason,
            result = kind.label(),
            "unhealthy: {failures} failed probes in a row, the last: {kind}; taking it down",
        );
    }

    fn restart_avoided(&mut self, why: Why) {
        self.metrics.add(Metric::RestartsAvoided, &[why.label()], 1);
        self.status.counts.restarts_avoided += 1;
        say!(warn, self, why = why.label(), "restart avoided, the failure is not believed: {why}");
    }

    fn blind(&mut self, role: Role, why: Why) {
        let probe = role.label();
        self.blind.insert(probe);
        self.metrics.set(Metric::ProbeBlind, &[probe], 1.0);
        say!(
            warn,
            self,
            probe,
            why = why.label(),
            "blind: the {role} probe could not tell anything for ten periods: {why}; \
             nothing is healed on that",
        );
    }

    fn sighted(&mut self, role: Role) {
        let probe = role.label();
        self.blind.remove(probe);
        self.metrics.set(Metric::ProbeBlind, &[probe], 0.0);
        say!(info, self, probe, "the {role} probe can tell again");
    }

    /// Blindness is about one launch: the next one's probes start afresh.
    fn nobody_is_blind(&mut self) {
        for probe in std::mem::take(&mut self.blind) {
            self.metrics.set(Metric::ProbeBlind, &[probe], 0.0);
        }
    }

    fn came_late(&self, by: Duration) {
        let what = match by {
            Duration::ZERO => "the machine was suspended".to_owned(),
            by => format!("we were late by {}", human(by)),
        };
        say!(warn, self, "{what}: verdicts of this round are not believed");
    }

    fn ready(&mut self, ready: bool) {
        self.status.ready = ready;
        if ready {
            say!(info, self, "ready for traffic");
        } else {
            say!(warn, self, "not ready for traffic, says its readiness probe");
        }
    }

    fn exited(&mut self, now: Moment, exit: Exit, expected: bool) {
        self.status.pid = None;
        self.nobody_is_blind();
        self.status.last_exit =
            Some(LastExit { at: now, how: exit.to_string(), code: exit.code() });
        self.metrics.set(Metric::LastExitCode, &[], exit.code().into());
        self.set_time(now, Metric::LastExitTime, &[], Some(now));
        if expected {
            say!(info, self, code = exit.code(), "it ended with {exit}");
        } else {
            // What it left is taken down from now on.
            self.stop_began = Some(now);
            let reason = StopCause::Exited(exit).reason().label();
            let how = match exit {
                Exit::Code(_) => "it exited by itself with",
                Exit::Signal(_) | Exit::OutOfMemory => "it was killed by",
            };
            say!(warn, self, reason, code = exit.code(), "{how} {exit}");
        }
    }

    /// What led to it has had its line.
    fn stop_started(&mut self, now: Moment, cause: StopCause) {
        self.stop_began = Some(now);
        if cause == StopCause::Asked {
            say!(debug, self, "taking it down, as asked");
        } else {
            say!(debug, self, reason = cause.reason().label(), "taking down what there is of it");
        }
    }

    fn restart_scheduled(
        &mut self,
        now: Moment,
        reason: Reason,
        attempt: u32,
        delay: Duration,
        slow: Option<Slow>,
    ) {
        self.reason = reason;
        self.metrics.set(Metric::Backoff, &[], delay.as_secs_f64());
        self.set_time(now, Metric::NextRestart, &[], Some(now + delay));
        let when = match delay {
            Duration::ZERO => "at once".to_owned(),
            delay => format!("in {}", human(delay)),
        };
        let reason = reason.label();
        match slow {
            None => say!(warn, self, reason, attempt, "restart {when} (attempt {attempt})"),
            Some(slow) => say!(
                warn,
                self,
                reason,
                attempt,
                slow = slow.label(),
                "restart {when} (attempt {attempt}), at the slow pace: {slow}",
            ),
        }
    }

    fn port_held(&self, pid: u32, launching_anyway: bool) {
        if launching_anyway {
            say!(
                warn,
                self,
                pid,
                "its port is held by pid {pid}, not ours; it is started all the same"
            );
        } else {
            say!(
                warn,
                self,
                pid,
                "its port is held by pid {pid}, not ours; waiting for that to end"
            );
        }
    }

    fn stop_requested(&mut self, now: Moment, again: bool) {
        self.notify.stopping(now);
        if again {
            say!(warn, self, "asked again to stop: SIGKILL now");
        } else {
            say!(info, self, "asked to stop");
        }
    }

    fn finished(&mut self, now: Moment, outcome: Outcome) {
        self.notify.stopping(now);
        let code = outcome.exit_code();
        match outcome {
            Outcome::Asked { left: true, .. } => {
                say!(error, self, code, "stopped, but not everything could be ended");
            }
            Outcome::Asked { killed: true, .. } => say!(warn, self, code, "stopped, by SIGKILL"),
            Outcome::Asked { .. } => say!(info, self, code, "stopped"),
            Outcome::ChildEnded(exit) => {
                say!(
                    info,
                    self,
                    code,
                    "it ended with {exit}, and that is not healed: the run ends"
                );
            }
            Outcome::BudgetSpent => {
                say!(
                    error,
                    self,
                    code,
                    "its restarts are spent, and on_exhausted is exit: the run ends"
                );
            }
            Outcome::BootHookFailed => {
                say!(
                    error,
                    self,
                    code,
                    "the boot hook failed, and on_boot_failure is exit: the run ends"
                );
            }
        }
    }
}

fn spoken(program: Program) -> &'static str {
    match program {
        Program::BootHook => "the boot hook",
        Program::Repair => "repair",
        Program::Child => "the child",
    }
}
