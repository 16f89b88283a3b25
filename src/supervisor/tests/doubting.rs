//! Lateness, starvation, suspension: whose fault is a failure?

use super::*;

/// Answers the next probes with `verdicts`, each five seconds after it was asked.
fn answers(core: &mut Supervisor, verdicts: &[Verdict]) -> Vec<String> {
    let mut told = Vec::new();
    for &verdict in verdicts {
        let due = core.deadline().expect("probed");
        core.on(due, Event::Tick);
        let (role, probe) = (Role::Liveness, core.probed);
        let answer = Event::Probed { id: ID, role, probe, verdict };
        told.push(followed(&core.on(due + secs(5), answer)));
    }
    told
}

#[test]
fn after_we_came_late_two_failures_are_not_believed() {
    let mut core = row(&given::healthy(2), 109.0, Event::Tick, "healthy | late by 3 s");
    core = row(&core, 109.1, live(FAIL), "healthy | restart avoided: late");
    let told = answers(&mut core, &[FAIL, FAIL]);
    assert_eq!(told[0], "");
    assert!(told[1].starts_with("liveness failed 3 of 3; unhealthy"), "{told:?}");
}

#[test]
fn a_suspended_machine_is_doubted_like_a_late_supervisor() {
    let core = row(&given::healthy(2), 101.0, Event::Suspended, "healthy | was suspended");
    row(&core, 105.0, live(FAIL), "healthy | restart avoided: late");
}

#[test]
fn a_pass_dispels_doubt() {
    let core = row(&given::healthy(0), 101.0, Event::Suspended, "healthy | was suspended");
    let mut core = row(&core, 101.0, live(Verdict::Pass), "healthy |");
    let told = answers(&mut core, &[FAIL]);
    assert_eq!(told, ["liveness failed 1 of 3"]);
}

#[test]
fn a_failure_does_not_dispel_doubt() {
    let mut core = given::healthy(0);
    core.doubt.until = Some(at(103.0));
    let core = row(&core, 102.0, live(FAIL), "healthy | liveness failed 1 of 3");
    assert_eq!(core.doubt.until, Some(at(103.0)));
}

#[test]
fn where_no_failure_was_seen_no_restart_was_avoided() {
    let mut core = row(&given::healthy(2), 105.0, live(DNS), "healthy |");
    assert_eq!(answers(&mut core, &[DNS, DNS, STARVED]), ["", "", "restart avoided: starved"]);
}

#[test]
fn lateness_below_a_quarter_of_the_timeout_is_none() {
    row(&given::healthy(0), 107.25, Event::Tick, "healthy |");
    row(&given::healthy(0), 107.26, Event::Tick, "healthy | late by 1.26 s");
}

#[test]
fn a_starved_child_is_spared_for_max_doubt_and_not_longer() {
    let mut core = given::healthy(0);
    core = row(&core, 105.0, live(STARVED), "healthy |");
    // Doubt began at 105 s and ends at 225 s: the answer at 225 s counts, and two more heal.
    let told = answers(&mut core, &[STARVED; 14]);
    assert_eq!(told[1], "restart avoided: starved");
    assert!(told[2..9].iter().all(String::is_empty), "{told:?}");
    assert_eq!(told[9], "liveness blind: starved");
    assert_eq!(told[10], "");
    assert_eq!(told[11], "liveness sighted; liveness failed 1 of 3");
    assert_eq!(told[12], "liveness failed 2 of 3");
    assert!(told[13].starts_with("liveness failed 3 of 3; unhealthy"), "{told:?}");
}

#[test]
fn the_time_that_we_slept_through_does_not_exhaust_doubt() {
    let mut core = given::healthy(0);
    core.doubt.until = Some(at(200.0));
    let core = row(&core, 1000.0, Event::Tick, "healthy | late by 894 s");
    assert_eq!(core.doubt.until, Some(at(1094.0)));
}

#[test]
fn we_are_not_blind_for_having_slept() {
    let core = row(&given::healthy(0), 1000.0, Event::Tick, "healthy | late by 894 s");
    row(&core, 1000.1, live(DNS), "healthy |");
}

#[test]
fn what_hides_no_failure_is_never_held_against_the_child() {
    let mut core = given::healthy(0);
    core.doubt.until = Some(at(0.0));
    for why in [Why::Dns, Why::NoDescriptors, Why::NoRoute, Why::Denied, Why::Lost] {
        let held = row(&core, 105.0, live(Verdict::unknown(why)), "healthy |");
        assert_eq!(held.state(), State::Healthy);
    }
}

#[test]
fn a_hook_that_slept_with_us_gets_its_timeout_once_more_and_only_once() {
    let core = given::booting(Program::BootHook);
    let core = row(&core, 460.0, Event::Tick, "boot_hook | late by 60 s");
    assert_eq!(core.deadline(), Some(at(760.0)));
    let killed = "stopping | late by 40 s; boot_hook timed out; \
                  taking down: hook_timeout; send kill to tree #7";
    row(&core, 800.0, Event::Tick, killed);
}

#[test]
fn a_freeze_postpones_the_startup_budget() {
    let until = |core: &Supervisor| {
        let Phase::Starting { until, .. } = core.phase else {
            panic!("not starting: {:?}", core.phase)
        };
        until
    };
    let core = row(&given::starting(), 306.0, Event::Tick, "starting | late by 200 s");
    assert_eq!(until(&core), at(900.0), "by the time that we slept");
    let mut core = given::starting();
    if let Phase::Starting { until, .. } = &mut core.phase {
        *until = at(102.0);
    }
    let core = row(&core, 306.0, Event::Tick, "starting | late by 204 s");
    assert_eq!(until(&core), at(311.5), "and never by less than a round");
}

#[test]
fn a_child_that_never_comes_up_is_taken_down_however_late_we_always_are() {
    let mut core = given::starting();
    let mut now = 100.0;
    while core.state() == State::Starting && now < 10_000.0 {
        let (id, role, probe) = (core.launched, Role::Startup, core.probed);
        core.on(at(now), Event::Probed { id, role, probe, verdict: FAIL });
        let due = core.deadline().expect("starting").since_start().as_secs_f64();
        now = due + 2.0;
        core.on(at(now), Event::Tick);
    }
    assert_eq!(core.state(), State::Stopping);
    assert!(now < 6000.0, "only the time between a deadline and us may not count: {now}");
}

#[test]
fn a_new_launch_is_not_doubted_for_what_the_old_one_went_through() {
    let mut core = given::spawning(Program::Child);
    core.doubt.until = Some(at(0.0));
    core.doubt.came_late(secs(0));
    let core = row(&core, 100.0, Event::Spawned(ID), "starting | child #7 runs");
    assert_eq!(core.doubt, Doubt::NONE);
}
