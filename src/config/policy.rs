//! The [`Policy`] that the core decides by, worked out once.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

use super::document::Value;
use super::probes::Rounds;
use super::section::Section;
use super::{Command, values};
use crate::supervisor::{Budget, ExitAction, ExitRule, HookPolicy, Policy, RestartPolicy};

/// Reads what of `[service.NAME]` concerns time and decisions.
pub(super) fn policy(
    section: &Section<'_>,
    rounds: &Rounds,
    hook_timeout: Option<Duration>,
    repair: Option<&Command>,
    capture: Option<&Command>,
) -> Policy {
    let span = |key| section.read(key, values::span);
    // Zero has a meaning for these: at once, or not at all.
    let duration = |key| section.read(key, values::duration);
    let exit_on_failure = section.word("on_boot_failure", ("retry", false), &[("exit", true)]);
    let backoff = section.section("backoff");
    let startup_timeout = span("startup_timeout");
    if rounds.startup.is_some_and(|probe| probe.timeout > startup_timeout) {
        section.doubt("startup_timeout", "is shorter than one startup probe may take");
    }
    Policy {
        hook: hook_timeout.map(|timeout| HookPolicy { timeout, exit_on_failure }),
        // Depends on how a run begins.
        first_delay: Duration::ZERO,
        repair: repair.map(|repair| repair.timeout),
        capture: capture.map(|capture| capture.timeout),
        startup: rounds.startup,
        startup_timeout,
        liveness: rounds.liveness,
        readiness: rounds.readiness,
        settle: duration("settle"),
        max_doubt: duration("max_doubt"),
        stop_timeout: duration("stop_timeout"),
        unhealthy_stop_timeout: duration("unhealthy_stop_timeout"),
        restart: section.word(
            "restart",
            ("always", RestartPolicy::Always),
            &[("on-failure", RestartPolicy::OnFailure), ("never", RestartPolicy::Never)],
        ),
        exit_rules: exit_rules(section, repair.is_some()),
        delays: delays(&backoff),
        jitter_permille: jitter_permille(&backoff),
        stable_after: backoff.read("stable_after", values::span),
        slow_retry: span("slow_retry"),
        budget: budget(section),
    }
}

/// The user's rules, then the default ones.
fn exit_rules(section: &Section<'_>, can_repair: bool) -> Vec<ExitRule> {
    let mut rules: Vec<_> =
        section.sections("on_exit").iter().map(|rule| exit_rule(rule, can_repair)).collect();
    if can_repair && !rules.iter().any(|rule| rule.action == ExitAction::RepairOnce) {
        section.doubt("repair", r#"is never run: no on_exit rule has action = "repair-once""#);
    }
    let default = section.default("on_exit").map(|value| ("on_exit".to_owned(), value));
    let defaults = default.into_iter().collect();
    let defaults = section.holding(&defaults);
    rules.extend(defaults.sections("on_exit").iter().map(|rule| exit_rule(rule, can_repair)));
    rules
}

fn exit_rule(rule: &Section<'_>, can_repair: bool) -> ExitRule {
    for key in ["codes", "action"] {
        if rule.given(key).is_none() {
            rule.problem(&format!(r#"has no {key}: write it like codes = [78], action = "slow""#));
        }
    }
    let action = rule.word(
        "action",
        ("restart", ExitAction::Restart),
        &[
            ("slow", ExitAction::Slow),
            ("repair-once", ExitAction::RepairOnce),
            ("stop", ExitAction::Stop),
        ],
    );
    if action == ExitAction::RepairOnce && !can_repair {
        rule.wrong("action", r#"has nothing to run: add repair = ["program", "argument"]"#);
    }
    ExitRule { codes: rule.read("codes", values::codes), action }
}

fn budget(section: &Section<'_>) -> Option<Budget> {
    let window = section.read("window", values::span);
    let exit = section.word("on_exhausted", ("slow", false), &[("exit", true)]);
    let max_restarts = section.get("max_restarts", values::count);
    for key in ["window", "on_exhausted"] {
        if section.differs(key) && max_restarts.is_none() {
            section.doubt(key, "has no effect without max_restarts");
        }
    }
    max_restarts.map(|max_restarts| Budget { max_restarts, window, exit })
}

fn jitter_permille(backoff: &Section<'_>) -> u32 {
    let jitter = backoff.read("jitter", |value: &Value| values::number(value, 0.0, 1.0));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is 0 to 1000")]
    let permille = (jitter * 1000.0).round() as u32;
    permille
}

fn delays(backoff: &Section<'_>) -> Vec<Duration> {
    let initial = backoff.read("initial", values::span);
    let max = backoff.read("max", values::span);
    let factor = backoff.get("factor", |value| values::number(value, 1.0, 100.0));
    if max < initial {
        backoff.wrong("max", "is shorter than the initial delay");
    }
    unroll(initial, factor.unwrap_or(1.0), max)
}

/// The delay after n failed attempts in a row: none after the first exit of a stable run, then
/// `initial`, growing by `factor` up to `max`, where it stays.
///
/// The `backoff` crate is asked here and nowhere else. It is unmaintained (RUSTSEC-2025-0012),
/// draws randomness and reads a clock on each call, and cannot be hashed; the core may do none
/// of this, and only needs the series.
fn unroll(initial: Duration, factor: f64, max: Duration) -> Vec<Duration> {
    // Enough for a factor of 1.03 from a millisecond to a day; what is not reached by then
    // grows too slowly to matter.
    const MOST: usize = 640;
    let mut series = ExponentialBackoff {
        current_interval: initial.min(max),
        initial_interval: initial.min(max),
        randomization_factor: 0.0,
        multiplier: factor,
        max_interval: max,
        max_elapsed_time: None,
        ..ExponentialBackoff::default()
    };
    let mut delays = vec![Duration::ZERO];
    while delays.len() < MOST {
        let delay = series.current_interval;
        if delays.last() == Some(&delay) {
            break;
        }
        delays.push(delay);
        series.next_backoff();
    }
    delays
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(initial: u64, factor: f64, max: u64) -> Vec<Duration> {
        unroll(Duration::from_millis(initial), factor, Duration::from_millis(max))
    }

    #[test]
    fn delays_double_up_to_the_longest_and_begin_with_none() {
        let expected = [0, 500, 1000, 2000, 4000, 8000, 16000, 32000, 60000];
        assert_eq!(series(500, 2.0, 60_000), expected.map(Duration::from_millis));
    }

    #[test]
    fn a_factor_of_one_repeats_the_initial_delay() {
        assert_eq!(series(500, 1.0, 60_000), [0, 500].map(Duration::from_millis));
    }

    #[test]
    fn equal_ends_make_one_delay() {
        assert_eq!(series(700, 3.0, 700), [0, 700].map(Duration::from_millis));
    }

    proptest::proptest! {
        #[test]
        fn every_series_rises_and_ends(
            initial in 1..100_000_u64, more in 0..100_000_000_u64, factor in 1.0..100.0_f64
        ) {
            let series = series(initial, factor, initial + more);
            proptest::prop_assert!(series.is_sorted());
            proptest::prop_assert!(series.len() >= 2 && series.len() <= 640);
            let longest = Duration::from_millis(initial + more);
            proptest::prop_assert!(series.iter().all(|delay| *delay <= longest));
        }
    }
}
