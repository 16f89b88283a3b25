//! How a test tells what happened: a line per event, in columns that an operator could read.
//!
//! ```text
//! time        event                      state      → state       then
//!     30.000  liveness: timeout          healthy    → degraded    unhealthy after 3 (timeout); …
//! ```

use super::*;

/// One line: when, what happened, from which state to which, what followed.
pub(super) fn line(now: Moment, event: Event, from: State, to: State, then: &[Action]) -> String {
    let (at, event) = (format!("{now:?}"), happened(event));
    let (from, to) = (from.label(), to.label());
    let step = format!("{at:>10}  {event:<26} {from:<10} → {to:<10}");
    format!("{step}  {}", followed(then)).trim_end().to_owned()
}

/// What the columns are.
pub(super) fn heading() -> String {
    format!("{:<10}  {:<26} {:<10} → {:<10}  then", "time", "event", "state", "state")
}

/// What happened.
pub(super) fn happened(event: Event) -> String {
    match event {
        Event::Start => "start".to_owned(),
        Event::Swept { port: PortHolder::NoStranger } => "swept".to_owned(),
        Event::Swept { port } => format!("swept, {}", held(port)),
        Event::SweepFailed => "left-overs remain".to_owned(),
        Event::Spawned(id) => format!("spawned {id}"),
        Event::HookMissing(id) => format!("hook missing {id}"),
        Event::SpawnFailed { id, errno } => format!("spawn failed {id} errno {}", errno.0),
        Event::Exited { id, exit } => format!("exited {id} {exit}"),
        Event::Gone(id) => format!("tree gone {id}"),
        Event::Probed { role, verdict, .. } => format!("{role}: {verdict}"),
        Event::Captured(id) => format!("captured {id}"),
        Event::PortChecked { holder, .. } => held(holder),
        Event::Suspended => "suspended".to_owned(),
        Event::SignalReceived(signal) => format!("signal {signal}"),
        Event::StopRequested => "stop requested".to_owned(),
        Event::Tick => "tick".to_owned(),
    }
}

fn held(port: PortHolder) -> String {
    match port {
        PortHolder::NoStranger => "port not held".to_owned(),
        PortHolder::Stranger { pid } => format!("port held by {pid}"),
    }
}

/// What followed, in order.
pub(super) fn followed(then: &[Action]) -> String {
    then.iter().map(order).collect::<Vec<_>>().join("; ")
}

fn order(action: &Action) -> String {
    match *action {
        Action::Sweep => "sweep".to_owned(),
        Action::Spawn { program, id, why: Launch { reason, attempt, .. } } => {
            format!("spawn {program} {id} ({reason}, attempt {attempt})")
        }
        Action::Signal { id, to, signal } => format!("send {signal} to {to} {id}"),
        Action::Probe { role, .. } => format!("probe {role}"),
        Action::Capture(id) => format!("capture {id}"),
        Action::CheckPort(_) => "check port".to_owned(),
        Action::Report(fact) => told(fact),
        Action::Finish(outcome) => format!("finish with {}", outcome.exit_code()),
    }
}

/// What an operator would say.
fn told(fact: Fact) -> String {
    match fact {
        Fact::Launched { program, id, .. } => format!("{program} {id} runs"),
        Fact::SpawnFailed { program, errno } => format!("{program} not started: errno {}", errno.0),
        Fact::HookSkipped => "no boot hook".to_owned(),
        Fact::HookSucceeded { program } => format!("{program} ended well"),
        Fact::HookFailed { program, exit } => format!("{program} failed: {exit}"),
        Fact::HookTimedOut { program } => format!("{program} timed out"),
        Fact::NotReadyYet { left, .. } => format!("not ready, {} left", secs(left)),
        Fact::Healthy { settles: true, .. } => "healthy, unsettled".to_owned(),
        Fact::Healthy { settles: false, .. } => "healthy".to_owned(),
        Fact::Settled => "settled".to_owned(),
        Fact::Stable => "stable".to_owned(),
        Fact::NeverReady { probably_wrong_probe: None } => "never ready".to_owned(),
        Fact::NeverReady { probably_wrong_probe: Some(status) } => {
            format!("never ready, probe probably wrong ({status})")
        }
        Fact::ProbeFailed { role, failures, threshold, .. } => {
            format!("{role} failed {failures} of {threshold}")
        }
        Fact::ProbeRecovered { failures } => format!("recovered from {failures}"),
        Fact::Unhealthy { kind, failures } => format!("unhealthy after {failures} ({kind})"),
        Fact::RestartAvoided { why } => format!("restart avoided: {why}"),
        Fact::Blind { role, why } => format!("{role} blind: {why}"),
        Fact::Sighted { role } => format!("{role} sighted"),
        Fact::Ready(ready) => if ready { "ready" } else { "not ready" }.to_owned(),
        Fact::Exited { exit, expected: true, .. } => format!("ended as told: {exit}"),
        Fact::Exited { exit, expected: false, .. } => format!("ended by itself: {exit}"),
        Fact::StopStarted { cause, .. } => format!("taking down: {}", why(cause)),
        Fact::KillEscalated { .. } => "grace is over".to_owned(),
        Fact::Unkillable { .. } => "unkillable".to_owned(),
        Fact::TreeGone { .. } => "tree is gone".to_owned(),
        Fact::RestartScheduled { attempt, delay, slow, .. } => {
            let pace = slow.map(|slow| format!(", slow: {slow}")).unwrap_or_default();
            format!("attempt {attempt} in {}{pace}", secs(delay))
        }
        Fact::FirstLaunchDelayed { delay } => format!("first launch in {}", secs(delay)),
        Fact::LeftOversRemain => "left-overs remain".to_owned(),
        Fact::PortHeld { pid, launching_anyway: true } => format!("port held by {pid}, go on"),
        Fact::PortHeld { pid, launching_anyway: false } => format!("port held by {pid}"),
        Fact::CameLate { by: Duration::ZERO } => "was suspended".to_owned(),
        Fact::CameLate { by } => format!("late by {}", secs(by)),
        Fact::StopRequested { again: false } => "asked to stop".to_owned(),
        Fact::StopRequested { again: true } => "asked to stop at once".to_owned(),
        Fact::Forwarded(signal) => format!("passed on {signal}"),
        Fact::StaleEvent => "stale".to_owned(),
        Fact::Finished(Outcome::Asked { left: true, .. }) => {
            "finished, something is left".to_owned()
        }
        Fact::Finished(_) => "finished".to_owned(),
    }
}

fn why(cause: StopCause) -> String {
    match cause {
        StopCause::Asked => "asked".to_owned(),
        StopCause::Repaired => "repaired".to_owned(),
        StopCause::HookFailed
        | StopCause::HookTimedOut
        | StopCause::SpawnFailed
        | StopCause::Exited(_)
        | StopCause::NeverReady { .. }
        | StopCause::Unhealthy(_) => cause.reason().to_string(),
    }
}

fn secs(span: Duration) -> String {
    format!("{} s", span.as_secs_f64())
}
