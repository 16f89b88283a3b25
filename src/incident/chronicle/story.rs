//! The words of a record: what a fact is in its timeline, and what happened in one sentence.
#![expect(clippy::wildcard_enum_match_arm, reason = "each is about a few of the facts")]

use super::super::{Incident, step};
use super::{ENDED, HEALED, STOPPED};
use crate::metrics::{HookResult, seconds};
use crate::report::Note;
use crate::status::human;
use crate::supervisor::{Exit, Fact, Program, StopCause};
use crate::tally::Cause;

/// What a fact is in the timeline, and the rest for people.
pub(super) fn step(fact: &Fact) -> Option<(&'static str, String)> {
    let told = match *fact {
        Fact::Launched { program: Program::Child, why, .. } => {
            (step::STARTED, format!("attempt {}", why.attempt))
        }
        Fact::Launched { program, why, .. } => {
            (step::HOOK, format!("{program}, attempt {}", why.attempt))
        }
        Fact::SpawnFailed { program, errno } => (step::NOT_STARTED, format!("{program}: {errno}")),
        Fact::HookSucceeded { program } => (step::HOOK_ENDED, format!("{program}: success")),
        Fact::HookFailed { program, exit } => (step::HOOK_ENDED, format!("{program}: {exit}")),
        Fact::HookTimedOut { program } => (step::HOOK_ENDED, format!("{program}: timeout")),
        Fact::Healthy { .. } => (step::PASSED, String::new()),
        Fact::Settled => (step::SETTLED, String::new()),
        Fact::NeverReady { probably_wrong_probe: None } => {
            (step::FAILED, "not healthy within startup_timeout".to_owned())
        }
        Fact::NeverReady { probably_wrong_probe: Some(status) } => {
            let detail = format!("every answer was {status}: the probe is probably wrong");
            (step::FAILED, detail)
        }
        Fact::Unhealthy { .. } => (step::FAILED, failed_probes(fact)),
        Fact::Exited { exit, expected: false, .. } => (step::EXITED, exit.to_string()),
        Fact::StopStarted {
            cause: StopCause::Unhealthy(_) | StopCause::NeverReady { .. } | StopCause::Asked,
            ..
        } => (step::STOPPING, String::new()),
        Fact::KillEscalated { .. } => (step::KILLED, String::new()),
        Fact::Unkillable { .. } => (step::KILLED, "without effect, tried again".to_owned()),
        Fact::TreeGone { .. } => (step::GONE, String::new()),
        Fact::RestartScheduled { delay, slow: None, .. } if delay.is_zero() => return None,
        Fact::RestartScheduled { reason, attempt, delay, slow } => {
            let pace = slow.map_or(String::new(), |slow| format!(", slow pace: {slow}"));
            (step::WAITING, format!("{} for attempt {attempt} ({reason}{pace})", human(delay)))
        }
        Fact::FirstLaunchDelayed { delay } => {
            (step::WAITING, format!("{} for its share of boot_splay", human(delay)))
        }
        Fact::LeftOversRemain => (step::NOTED, "what an earlier run left is alive".to_owned()),
        Fact::PortHeld { pid, launching_anyway } => {
            let then = if launching_anyway { "started all the same" } else { "waiting for it" };
            (step::PORT_HELD, format!("by pid {pid}, {then}"))
        }
        _ => return None,
    };
    Some(told)
}

/// How a hook ended, as its metric says it, and for people; `None` if none did.
pub(super) fn hook_ended(fact: &Fact) -> Option<(Program, HookResult, String)> {
    let (program, result, detail) = match *fact {
        Fact::HookSucceeded { program } => (program, HookResult::Success, String::new()),
        Fact::HookFailed { program, exit } => (program, HookResult::Failure, exit.to_string()),
        Fact::HookTimedOut { program } => {
            (program, HookResult::Timeout, "still running at its timeout".to_owned())
        }
        Fact::SpawnFailed { program, errno } if program != Program::Child => {
            (program, HookResult::Failure, errno.to_string())
        }
        _ => return None,
    };
    Some((program, result, detail))
}

/// Whether this may explain why a service is not up.
pub(super) const fn explains(note: &Note) -> bool {
    matches!(
        note,
        Note::LeftOverKilled { .. }
            | Note::HookServes { .. }
            | Note::Undelivered { .. }
            | Note::LaunchDegraded { .. }
    )
}

/// What broke, as this fact tells it.
pub(super) fn what_broke(cause: Cause, fact: &Fact) -> String {
    let what = match fact {
        Fact::Exited { exit: exit @ Exit::Code(_), .. } => {
            format!("it exited with {exit}")
        }
        Fact::Exited { exit, .. } => format!("it was killed by {exit}"),
        fact => failed_probes(fact),
    };
    if cause == Cause::Drill { format!("a drill: {what}") } else { what }
}

fn failed_probes(fact: &Fact) -> String {
    match fact {
        Fact::Unhealthy { kind, failures: 1 } => format!("its probe failed: {kind}"),
        Fact::Unhealthy { kind, failures } => {
            format!("{failures} probes failed in a row: {kind}")
        }
        _ => "it broke".to_owned(),
    }
}

/// What broke before the run began.
pub(super) fn before_this_run(cause: Cause) -> String {
    let what = match cause {
        Cause::PowerCycle => "power loss or reset of the host",
        Cause::Supervisor => "rekindle itself was killed",
        Cause::Boot | Cause::Crash | Cause::Unhealthy | Cause::Planned | Cause::Drill => {
            "it was down when this run began"
        }
    };
    what.to_owned()
}

/// The whole record in one sentence.
pub(super) fn summary(what: &str, record: &Incident) -> String {
    let Some(end) = &record.end else { return format!("{what}; not healed yet") };
    let after = human(seconds(end.after_seconds));
    match (&*end.how, record.attempts) {
        (HEALED, 0 | 1) => format!("{what}; healed after {after}"),
        (HEALED, attempts) => format!("{what}; healed after {after} and {attempts} attempts"),
        (STOPPED, _) => format!("{what}; a stop was asked for after {after}, before it was healed"),
        (ENDED, _) => format!("{what}; not healed, the run ended after {after}"),
        (how, _) => format!("{what}; {how} after {after}"),
    }
}
