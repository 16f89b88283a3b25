//! The plan: what a configuration means in time, before anything happens.
//!
//! Pure text from a [`Config`]. It names programs but not their arguments, which may be secret.

use std::time::Duration;

use humantime::format_duration;

use super::{Config, Service};
use crate::supervisor::{ExitAction, Policy, ProbePolicy, RestartPolicy};

/// What would happen when, for people.
pub fn plan(config: &Config) -> String {
    config.services.iter().map(of_service).collect()
}

fn of_service(service: &Service) -> String {
    let policy = &service.policy;
    let program = service.command.first().map_or("", String::as_str);
    let lines = [
        ("service", format!("{}: {program}", service.name)),
        ("boot hook", boot_hook(service)),
        ("it dies", when_it_dies(policy)),
        ("it hangs", when_it_hangs(policy)),
        ("it never serves", when_it_never_serves(policy)),
        ("it is back", when_it_is_back(policy)),
        ("exit codes", exit_codes(policy)),
        ("slow pace", format!("an attempt every {}", format_duration(policy.slow_retry))),
        ("budget", budget(policy)),
        ("a stop", stop(policy)),
    ];
    let lines = lines.map(|(subject, plan)| format!("{subject:<17}{plan}\n"));
    lines.concat()
}

fn boot_hook(service: &Service) -> String {
    let (Some(hook), Some(policy)) = (&service.boot_hook, service.policy.hook) else {
        return "none".into();
    };
    let failed = if policy.exit_on_failure {
        "a failure before the first launch ends the run with 69"
    } else {
        "a failure is retried like a dead child"
    };
    format!(
        "{} before every launch if it is there, killed after {}; {failed}",
        hook.path.display(),
        format_duration(policy.timeout),
    )
}

fn when_it_dies(policy: &Policy) -> String {
    let ends = match policy.restart {
        RestartPolicy::Always => "",
        RestartPolicy::OnFailure => "with code 0: the run ends; else ",
        RestartPolicy::Never => return "the run ends with its exit code".into(),
    };
    format!("{ends}started again {}", timetable(policy))
}

/// `at once, then after 500ms, 1s … every 60s`.
fn timetable(policy: &Policy) -> String {
    /// So many delays are written out.
    const SHOWN: usize = 4;
    let (last, growing) = match policy.delays.get(1..) {
        Some([growing @ .., last]) => (*last, growing),
        _ => (Duration::ZERO, &[][..]),
    };
    let shown: Vec<_> = growing.iter().take(SHOWN).map(|&d| rounded(d).to_string()).collect();
    let more = if growing.len() > SHOWN { " …" } else { "" };
    let after = if shown.is_empty() {
        String::new()
    } else {
        format!("after {}{more}, ", shown.join(", "))
    };
    let jitter = match policy.jitter_permille {
        0 => String::new(),
        permille => format!(", ±{} %", f64::from(permille) / 10.0),
    };
    format!(
        "at once, {after}then every {}{jitter}; anew once it was healthy for {}",
        rounded(last),
        format_duration(policy.stable_after),
    )
}

/// The series is exact to the nanosecond, which nobody wants to read.
fn rounded(delay: Duration) -> humantime::FormattedDuration {
    let millis = (delay.as_secs_f64() * 1000.0).round() / 1000.0;
    format_duration(Duration::from_secs_f64(millis))
}

fn when_it_hangs(policy: &Policy) -> String {
    let Some(probe) = policy.liveness else {
        return "nothing: there is no liveness probe".into();
    };
    let ProbePolicy { period, timeout, failure_threshold, .. } = probe;
    format!(
        "acted on within {} ({failure_threshold} failed probes, one every {}, up to {} each), \
         then taken down within {} and started again",
        format_duration(period.saturating_mul(failure_threshold).saturating_add(timeout)),
        format_duration(period),
        format_duration(timeout),
        format_duration(policy.unhealthy_stop_timeout),
    )
}

fn when_it_never_serves(policy: &Policy) -> String {
    match policy.startup {
        None => "not seen: there is no startup probe".into(),
        Some(_) => format!(
            "taken down {} after its launch and started again",
            format_duration(policy.startup_timeout)
        ),
    }
}

fn when_it_is_back(policy: &Policy) -> String {
    let settle = format_duration(policy.settle);
    match policy.startup {
        None => format!("once it has run for {settle}"),
        Some(probe) => format!(
            "at its first passed probe (one every {}), if it stays healthy for {settle}",
            format_duration(probe.period)
        ),
    }
}

fn exit_codes(policy: &Policy) -> String {
    let rule = |rule: &crate::supervisor::ExitRule| {
        let codes: Vec<_> = rule.codes.iter().map(u8::to_string).collect();
        let action = match rule.action {
            ExitAction::Restart => "the usual",
            ExitAction::Slow => "slow pace",
            ExitAction::RepairOnce => "repair once, then slow pace",
            ExitAction::Stop => "the run ends",
        };
        format!("{}: {action}", codes.join(" "))
    };
    policy.exit_rules.iter().map(rule).collect::<Vec<_>>().join("; ")
}

fn budget(policy: &Policy) -> String {
    match policy.budget {
        None => "none: it keeps trying for ever".into(),
        Some(budget) => format!(
            "{} restarts within {}, then {}",
            budget.max_restarts,
            format_duration(budget.window),
            if budget.exit { "the run ends with 10" } else { "the slow pace" },
        ),
    }
}

fn stop(policy: &Policy) -> String {
    format!(
        "takes at most {}: whoever stops the container must allow that and a second more",
        format_duration(policy.stop_timeout)
    )
}
