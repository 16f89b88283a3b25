//! Delays, jitter, budget, strangers on the port.

use super::*;

/// The delays of so many crashes in a row, each before it was stable.
fn delays(policy: &Policy, dice: u32, crashes: usize) -> Vec<Duration> {
    let mut pace = Pace::new();
    let mut told = Vec::new();
    for _ in 0..crashes {
        let mut core = given::ended(policy.clone(), Exit::Code(1));
        (core.pace, core.dice) = (pace, Dice::Fixed(dice));
        for action in core.on(at(100.0), GONE) {
            if let Action::Report(Fact::RestartScheduled { delay, .. }) = action {
                told.push(delay);
            }
        }
        pace = core.pace;
    }
    told
}

#[test]
fn delays_grow_to_the_last_of_the_series_and_stay_there() {
    let expected = [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000];
    assert_eq!(delays(&defaults(), 500, 10), expected.map(Duration::from_millis));
}

#[test]
fn an_attempt_for_which_something_was_lacking_is_made_again_soon() {
    // Not: no such file, no permission.
    let rows = [(2, 60), (13, 60), (11, 5), (12, 5), (23, 5), (24, 5), (28, 5)];
    for (program, (errno, delay)) in [Program::BootHook, Program::Child]
        .into_iter()
        .flat_map(|program| rows.map(|row| (program, row)))
    {
        let mut core = given::spawning(program);
        core.pace.next_delay = usize::MAX;
        core.on(at(100.0), Event::SpawnFailed { id: ID, errno: Errno(errno) });
        core.on(at(100.0), GONE);
        assert_eq!(core.next_attempt(), Some(at(100.0) + secs(delay)), "{program} {errno}");
        assert!(!core.scarce, "what follows is not about it any more");
    }
}

#[test]
fn jitter_spreads_a_delay_over_exactly_its_share() {
    let least = [250, 500, 1000].map(Duration::from_millis);
    let greatest = [750, 1500, 3000].map(Duration::from_millis);
    assert_eq!(delays(&defaults(), 0, 3), least);
    assert_eq!(delays(&defaults(), 1000, 3), greatest);
    let policy = Policy { jitter_permille: 0, ..defaults() };
    assert_eq!(delays(&policy, 1000, 2), [500, 1000].map(Duration::from_millis));
}

#[test]
fn seeded_dice_stay_in_range_and_reach_both_halves() {
    let mut dice = Dice::Seeded(1);
    let throws: Vec<_> = (0..1000).map(|_| dice.share_of(secs(1000)).as_secs()).collect();
    assert!(throws.iter().all(|throw| *throw <= 1000));
    let low = throws.iter().filter(|throw| **throw < 500).count();
    assert!((400..600).contains(&low), "{low} of 1000 in the lower half");
}

#[test]
fn the_first_restart_after_a_stable_run_is_immediate() {
    let mut core = given::ended(defaults(), Exit::Code(1));
    core.pace.reset();
    let core = row(&core, 100.0, GONE, "backoff | tree is gone; attempt 1 in 0 s");
    let again = "boot_hook | spawn boot_hook #8 (exit, attempt 1)";
    row(&core, 100.0, Event::Tick, again);
}

#[test]
fn the_budget_counts_restarts_within_its_window() {
    let restarts = |exit: bool, times: &[f64]| {
        let budget = Budget { max_restarts: 2, window: secs(100), exit };
        let mut core = given::ended(Policy { budget: Some(budget), ..defaults() }, Exit::Code(1));
        let gone = core.clone();
        let mut told = String::new();
        for &time in times {
            let actions = core.on(at(time), GONE);
            told = format!("{} | {}", core.state(), followed(&actions));
            core.phase = gone.phase;
        }
        (told, core.restarts_left(at(times[times.len() - 1])))
    };
    let spent = "slow_retry | tree is gone; attempt 4 in 300 s, slow: budget_spent";
    let left = "backoff | tree is gone; attempt 4 in 2 s";
    let ended = "stopped | tree is gone; finished; finish with 10";
    assert_eq!(restarts(false, &[1000.0]).1, Some(1));
    assert_eq!(restarts(false, &[1000.0, 1000.0, 1099.9]), (spent.to_owned(), Some(0)));
    assert_eq!(restarts(false, &[1000.0, 1050.0, 1100.0]), (left.to_owned(), Some(0)));
    assert_eq!(restarts(true, &[1000.0, 1050.0, 1099.9]), (ended.to_owned(), Some(0)));
    assert_eq!(given::healthy(0).restarts_left(at(0.0)), None, "no budget unless configured");
}

#[test]
fn a_stranger_that_kept_an_attempt_from_serving_slows_us_down() {
    let core =
        row(&given::backing_off(), 100.0, Event::PortChecked { id: ID, holder: FREE }, "backoff |");
    assert_eq!(core.deadline(), Some(at(104.0)));
    let checked = Event::PortChecked { id: ID, holder: STRANGER };
    let slowly = "slow_retry | port held by 4711; attempt 1 in 300 s, slow: port_held";
    let core = row(&core, 100.0, checked, slowly);
    row(&core, 399.9, Event::Tick, "slow_retry |");
    let again = "boot_hook | spawn boot_hook #8 (start, attempt 1)";
    row(&core, 400.0, Event::Tick, again);
}

#[test]
fn who_held_the_port_after_an_earlier_launch_says_nothing() {
    let checked = Event::PortChecked { id: Incarnation(6), holder: STRANGER };
    row(&given::backing_off(), 100.0, checked, "backoff |");
    let checked = Event::PortChecked { id: ID, holder: STRANGER };
    row(&given::starting(), 100.0, checked, "starting | stale");
}

#[test]
fn a_child_that_served_is_no_reason_to_look_at_the_port() {
    row(
        &given::ended(defaults(), Exit::Code(1)),
        100.0,
        GONE,
        "backoff | tree is gone; attempt 2 in 0.5 s",
    );
}
