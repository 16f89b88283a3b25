//! The plan: what a configuration means in time, before anything happens.
//!
//! Pure text from a [`Config`]. It names programs but not their arguments, which may be secret.

use std::collections::BTreeSet;
use std::time::Duration;

use humantime::format_duration;

use super::{Config, Service};
use crate::gather::gather;
use crate::supervisor::{ExitAction, Policy, ProbePolicy, RestartPolicy};
use crate::text::one_line;

/// What would happen when, for people.
pub fn plan(config: &Config) -> String {
    config.services.iter().map(of_service).collect()
}

fn of_service(service: &Service) -> String {
    let policy = &service.policy;
    let program = service.command.first().map_or("", String::as_str);
    let splay = service.boot_splay;
    let mut lines = vec![
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
    if !splay.is_zero() {
        let waits = format!("the first launch waits for a share of {}", format_duration(splay));
        lines.insert(2, ("the host boots", waits));
    }
    let lines = lines.iter().map(|(subject, plan)| format!("{subject:<17}{}\n", one_line(plan)));
    lines.collect::<Vec<_>>().concat()
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

/// `at once if it was healthy for 1m, else after 500ms, 1s …, then every 1m (±50 %)`.
fn timetable(policy: &Policy) -> String {
    /// So many delays are written out.
    const SHOWN: usize = 4;
    let (last, growing) = match policy.delays.get(1..) {
        Some([growing @ .., last]) => (*last, growing),
        _ => (Duration::ZERO, &[][..]),
    };
    let shown: Vec<_> = growing.iter().take(SHOWN).map(|&d| rounded(d).to_string()).collect();
    let after = match growing.len() {
        0 => String::new(),
        1..=SHOWN => format!("after {}, then ", shown.join(", ")),
        _ => format!("after {} …, then ", shown.join(", ")),
    };
    let jitter = match policy.jitter_permille {
        0 => String::new(),
        permille => format!(" (±{} %)", f64::from(permille) / 10.0),
    };
    format!(
        "at once if it was healthy for {}, else {after}every {}{jitter}",
        format_duration(policy.stable_after),
        rounded(last),
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
    // Up to a period until the first that fails; a probe that is slow to fail holds up the next.
    let between = period.max(timeout).saturating_mul(failure_threshold.saturating_sub(1));
    let looked_at = policy.capture.map_or_else(String::new, |timeout| {
        format!("looked at by capture for up to {}, ", format_duration(timeout))
    });
    format!(
        "acted on within {} ({failure_threshold} failed probes, one every {}, up to {} each), \
         then {looked_at}taken down within {} and {}",
        format_duration(period.saturating_add(between).saturating_add(timeout)),
        format_duration(period),
        format_duration(timeout),
        format_duration(policy.unhealthy_stop_timeout),
        what_follows(policy),
    )
}

/// What becomes of a child that was taken down.
fn what_follows(policy: &Policy) -> &'static str {
    match policy.restart {
        RestartPolicy::Always | RestartPolicy::OnFailure => "started again",
        RestartPolicy::Never => "the run ends with its exit code",
    }
}

fn when_it_never_serves(policy: &Policy) -> String {
    match policy.startup {
        None => "not seen: there is no startup probe".into(),
        Some(_) => format!(
            "taken down {} after its launch and {}",
            format_duration(policy.startup_timeout),
            what_follows(policy),
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
    if policy.restart == RestartPolicy::Never {
        return "each ends the run".into();
    }
    let mut told = BTreeSet::new();
    let mut rules = Vec::new();
    for rule in &policy.exit_rules {
        // The first rule that matches holds, so later ones have only what is left.
        let codes: BTreeSet<u8> = gather(rule.codes.iter().copied().filter(|c| told.insert(*c)));
        let action = match rule.action {
            ExitAction::Restart => "as above",
            ExitAction::Slow => "slow pace",
            ExitAction::RepairOnce => "repair once, then slow pace",
            ExitAction::Stop => "the run ends",
        };
        if !codes.is_empty() {
            rules.push(format!("{}: {action}", ranges(&codes)));
        }
    }
    rules.join("; ")
}

/// `3, 4, 128-143`.
fn ranges(codes: &BTreeSet<u8>) -> String {
    let codes: Vec<u8> = codes.iter().copied().collect();
    let runs = codes.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [first, _, .., last] => format!("{first}-{last}"),
        _ => run.iter().map(u8::to_string).collect::<Vec<_>>().join(", "),
    });
    runs.collect::<Vec<_>>().join(", ")
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

#[cfg(test)]
mod tests {
    use super::super::{File, Sources, load};
    use super::*;

    fn planned(keys: &str) -> String {
        let text = format!("[service.gateway]\ncommand = [\"gateway\", \"s3cret\"]\n{keys}");
        let file = Some(File { path: "rekindle.toml".into(), text });
        plan(&load(&Sources { file, ..Sources::default() }).unwrap().config)
    }

    #[test]
    fn the_defaults_are_told_in_time() {
        insta::assert_snapshot!(planned("health = \"http://127.0.0.1:18789/health\""), @"
    service          gateway: gateway
    boot hook        /etc/openshell/boot.sh before every launch if it is there, killed after 5m; a failure is retried like a dead child
    it dies          started again at once if it was healthy for 1m, else after 500ms, 1s, 2s, 4s …, then every 1m (±50 %)
    it hangs         acted on within 35s (3 failed probes, one every 10s, up to 5s each), then taken down within 5s and started again
    it never serves  taken down 10m after its launch and started again
    it is back       at its first passed probe (one every 500ms), if it stays healthy for 10s
    exit codes       78: slow pace
    slow pace        an attempt every 5m
    budget           none: it keeps trying for ever
    a stop           takes at most 8s: whoever stops the container must allow that and a second more
    ");
    }

    #[test]
    fn what_is_switched_off_or_limited_is_told_too() {
        let keys = r#"
            boot_hook = false
            repair = ["true"]
            boot_splay = "1m"
            max_restarts = 5
            on_exhausted = "exit"
            backoff = { initial = "1s", factor = 1, jitter = 0 }
            on_exit = [{ codes = [78], action = "repair-once" }, { codes = [3, 4, "128-143"], action = "stop" }]
            restart = "on-failure"
        "#;
        insta::assert_snapshot!(planned(keys), @"
    service          gateway: gateway
    boot hook        none
    the host boots   the first launch waits for a share of 1m
    it dies          with code 0: the run ends; else started again at once if it was healthy for 1m, else every 1s
    it hangs         nothing: there is no liveness probe
    it never serves  not seen: there is no startup probe
    it is back       once it has run for 10s
    exit codes       78: repair once, then slow pace; 3, 4, 128-143: the run ends
    slow pace        an attempt every 5m
    budget           5 restarts within 10m, then the run ends with 10
    a stop           takes at most 8s: whoever stops the container must allow that and a second more
    ");
    }

    #[test]
    fn a_look_at_what_hangs_is_in_the_plan() {
        let plan = planned("capture = [\"true\"]\nhealth = \"http://127.0.0.1:18789/health\"");
        let line = "each), then looked at by capture for up to 10s, taken down within 5s and";
        assert!(plan.contains(line), "{line:?} is not in {plan}");
    }

    #[test]
    fn a_run_that_ends_with_its_child_says_so() {
        let plan = planned("restart = \"never\"\nhealth = \"http://127.0.0.1:18789/health\"");
        for line in [
            "it dies          the run ends with its exit code\n",
            "each), then taken down within 5s and the run ends with its exit code\n",
            "it never serves  taken down 10m after its launch and the run ends with its exit code\n",
            "exit codes       each ends the run\n",
        ] {
            assert!(plan.contains(line), "{line:?} is not in {plan}");
        }
        assert!(!plan.contains("started again"), "{plan}");
    }

    #[test]
    fn a_probe_that_is_slow_to_fail_holds_up_the_next_and_is_reckoned_with() {
        for (period, timeout, within) in
            [("10s", "5s", "35s"), ("10s", "10s", "40s"), ("1s", "5s", "16s")]
        {
            let plan = planned(&format!(
                "[service.gateway.probe.liveness]\ntcp = \"127.0.0.1:1\"\n\
                 period = \"{period}\"\ntimeout = \"{timeout}\"",
            ));
            assert!(plan.contains(&format!("acted on within {within} (3 failed")), "{plan}");
        }
    }
}
