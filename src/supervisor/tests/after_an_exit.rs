//! What follows when a child has ended.

use super::*;

const RESTART: &str = "backoff | tree is gone; attempt 2 in 0.5 s";

fn ruled(codes: &[u8], action: ExitAction) -> Policy {
    Policy { exit_rules: vec![ExitRule { codes: codes.to_vec(), action }], ..defaults() }
}

#[test]
fn an_exit_takes_down_what_the_child_left() {
    let core = row(
        &given::healthy(0),
        100.0,
        exited(Exit::Code(1)),
        "stopping | ended by itself: code 1; send term to tree #7",
    );
    row(&core, 100.9, Event::Tick, "stopping |");
    row(&core, 101.0, Event::Tick, "stopping | grace is over; send kill to tree #7");
    row(&core, 100.1, GONE, RESTART);
}

#[test]
fn every_exit_is_followed_by_another_attempt_that_is_told_why() {
    let exits = [
        (Exit::Code(0), Reason::CleanExit),
        (Exit::Code(1), Reason::Exit),
        (Exit::Code(137), Reason::Exit),
        (Exit::Signal(9), Reason::Signal),
        (Exit::OutOfMemory, Reason::Oom),
    ];
    for (exit, reason) in exits {
        let mut core = row(&given::ended(defaults(), exit), 100.1, GONE, RESTART);
        let attempt = core.on(at(200.0), Event::Tick);
        let told =
            |action: &Action| matches!(action, Action::Spawn { why, .. } if why.reason == reason);
        assert!(attempt.iter().any(told), "{exit}: {attempt:?}");
    }
}

#[test]
fn code_78_goes_slow_by_default() {
    let slowly = "slow_retry | tree is gone; attempt 2 in 300 s, slow: exit_rule";
    row(&given::ended(defaults(), Exit::Code(78)), 100.1, GONE, slowly);
}

#[test]
fn the_first_matching_rule_holds_and_128_plus_n_stands_for_signal_n() {
    let mut policy = ruled(&[1, 137], ExitAction::Stop);
    policy.exit_rules.push(ExitRule { codes: vec![1], action: ExitAction::Slow });
    let ended = |code| format!("stopped | tree is gone; finished; finish with {code}");
    row(&given::ended(policy.clone(), Exit::Code(1)), 100.1, GONE, &ended(1));
    row(&given::ended(policy.clone(), Exit::Signal(9)), 100.1, GONE, &ended(137));
    row(&given::ended(policy.clone(), Exit::OutOfMemory), 100.1, GONE, &ended(137));
    row(&given::ended(policy, Exit::Code(2)), 100.1, GONE, RESTART);
}

#[test]
fn on_failure_ends_the_run_with_code_0_unless_a_rule_says_otherwise() {
    let policy = Policy { restart: RestartPolicy::OnFailure, ..defaults() };
    let ended = "stopped | tree is gone; finished; finish with 0";
    row(&given::ended(policy.clone(), Exit::Code(0)), 100.1, GONE, ended);
    row(&given::ended(policy.clone(), Exit::Code(1)), 100.1, GONE, RESTART);
    row(&given::ended(policy.clone(), Exit::Signal(15)), 100.1, GONE, RESTART);
    let rule = ExitRule { codes: vec![0], action: ExitAction::Restart };
    let policy = Policy { exit_rules: vec![rule], ..policy };
    row(&given::ended(policy, Exit::Code(0)), 100.1, GONE, RESTART);
}

#[test]
fn never_ends_the_run_with_the_child() {
    let policy = Policy { restart: RestartPolicy::Never, ..defaults() };
    for (exit, code) in [(Exit::Code(0), 0), (Exit::Code(3), 3), (Exit::Signal(11), 139)] {
        let ended = format!("stopped | tree is gone; finished; finish with {code}");
        row(&given::ended(policy.clone(), exit), 100.1, GONE, &ended);
    }
    let unhealthy = StopCause::Unhealthy(FailKind::Timeout);
    let phase = given::stopping_phase(Program::Child, unhealthy, given::KILLING);
    let core = given::with(policy, phase);
    let core = row(&core, 100.0, exited(Exit::Signal(9)), "degraded | ended as told: signal 9");
    row(&core, 100.1, GONE, "stopped | tree is gone; finished; finish with 137");
}

#[test]
fn a_repair_is_made_once_and_then_the_pace_is_slow_until_a_stable_run() {
    let policy = Policy { repair: Some(secs(20)), ..ruled(&[78], ExitAction::RepairOnce) };
    let again = |core: &Supervisor| Supervisor {
        repair: core.repair,
        pace: core.pace.clone(),
        ..given::ended(policy.clone(), Exit::Code(78))
    };
    let core = row(&given::ended(policy.clone(), Exit::Code(78)), 100.0, GONE, RESTART);
    let repairing = "boot_hook | spawn repair #8 (exit, attempt 2)";
    let mut core = row(&core, 100.5, Event::Tick, repairing);
    core.on(at(100.5), Event::Spawned(Incarnation(8)));
    assert_eq!(core.deadline(), Some(at(120.5)), "its own timeout");
    let event = Event::Exited { id: Incarnation(8), exit: Exit::Code(0) };
    let repaired = "stopping | repair ended well; taking down: repaired; send kill to tree #8";
    let core = row(&core, 101.0, event, repaired);
    let hook = "boot_hook | tree is gone; spawn boot_hook #9 (exit, attempt 2)";
    let core = row(&core, 101.1, Event::Gone(Incarnation(8)), hook);
    let slowly = "slow_retry | tree is gone; attempt 3 in 300 s, slow: repair_failed";
    let mut core = row(&again(&core), 130.0, GONE, slowly);
    let slowly = slowly.replace("attempt 3", "attempt 4");
    core = row(&again(&core), 130.0, GONE, &slowly);
    core.phase = Phase::Healthy {
        id: ID,
        settle_at: None,
        stable_at: Some(at(200.0)),
        liveness: None,
        readiness: None,
    };
    let core = row(&core, 200.0, Event::Tick, "healthy | stable");
    let core = row(&again(&core), 201.0, GONE, "backoff | tree is gone; attempt 1 in 0 s");
    row(&core, 201.0, Event::Tick, "boot_hook | spawn repair #8 (exit, attempt 1)");
}

#[test]
fn without_a_repair_command_the_rule_is_slow() {
    let core = given::ended(ruled(&[78], ExitAction::RepairOnce), Exit::Code(78));
    let slowly = "slow_retry | tree is gone; attempt 2 in 300 s, slow: exit_rule";
    row(&core, 100.0, GONE, slowly);
}

#[test]
fn a_drill_would_end_the_run_exactly_where_its_exit_does() {
    let spent = Budget { max_restarts: 3, window: secs(600), exit: true };
    let never = || Policy { restart: RestartPolicy::Never, ..defaults() };
    let on_failure = || Policy { restart: RestartPolicy::OnFailure, ..defaults() };
    let stops = |codes| ruled(codes, ExitAction::Stop);
    let limited = |exit| Policy { budget: Some(Budget { exit, ..spent }), ..defaults() };
    for (policy, left, killed, hang) in [
        (defaults(), None, false, false),
        (never(), None, true, true),
        (on_failure(), None, false, false),
        (stops(&[137]), None, true, false),
        (stops(&[9]), None, false, false),
        (ruled(&[137], ExitAction::Slow), None, false, false),
        (limited(true), Some(1), false, false),
        (limited(true), Some(0), true, true),
        (limited(false), Some(0), false, false),
    ] {
        let exit = given::ended(policy.clone(), Exit::Signal(9));
        for (fault, ends, mut core) in [
            (DrillFault::Killed, killed, exit),
            (DrillFault::Hang, hang, given::hung(policy.clone())),
        ] {
            assert_eq!(policy.would_end(fault, left).is_some(), ends, "{fault} {policy:?}");
            // What the core does then is the judge.
            let spent = policy.budget.map_or(0, |budget| budget.max_restarts - left.unwrap_or(0));
            core.pace.spent = (0..spent).map(|_| at(1000.0)).collect();
            core.on(at(100.1), GONE);
            assert_eq!(core.state() == State::Stopped, ends, "{fault} {policy:?}");
        }
    }
}
