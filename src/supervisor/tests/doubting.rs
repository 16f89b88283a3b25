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

/// The default rhythm, but ten times a second and with two failures to heal.
fn hasty(core: &mut Supervisor) {
    let tenth = Duration::from_millis(100);
    core.policy.liveness = Some(ProbePolicy {
        period: tenth,
        timeout: tenth,
        failure_threshold: 2,
        success_threshold: 1,
    });
}

/// Feeds the next liveness probes `verdicts`, each a tenth of a second after it was asked; what was
/// told, with the time.
fn tenths(core: &mut Supervisor, verdicts: &[Verdict]) -> Vec<(Moment, String)> {
    let mut told = Vec::new();
    for &verdict in verdicts {
        let asked = core.deadline().expect("probed");
        core.on(asked, Event::Tick);
        let (now, probe) = (asked + Duration::from_millis(100), core.probed);
        let answer = Event::Probed { id: ID, role: Role::Liveness, probe, verdict };
        told.push((now, followed(&core.on(now, answer))));
    }
    told.retain(|(_, told)| !told.is_empty());
    told
}

#[test]
fn quick_rounds_are_doubted_for_a_second_and_a_half() {
    let mut core = given::healthy(0);
    hasty(&mut core);
    core = row(&core, 101.0, Event::Suspended, "healthy | was suspended");
    core = row(&core, 101.0, live(FAIL), "healthy |");
    if let Phase::Healthy { liveness: Some(watch), .. } = &mut core.phase {
        watch.probing = Probing::NextAt(at(101.0));
    }
    let told = tenths(&mut core, &[FAIL; 16]);
    assert_eq!(told[0], (at(101.1), "restart avoided: late".to_owned()));
    assert_eq!(told[1], (at(102.5), "liveness failed 1 of 2".to_owned()));
    assert!(told[2].1.starts_with("liveness failed 2 of 2; unhealthy"), "{told:?}");
}

#[test]
fn an_answer_that_was_sent_before_we_all_stopped_does_not_end_it() {
    let mut core = given::healthy(0);
    hasty(&mut core);
    core = row(&core, 101.0, Event::Suspended, "healthy | was suspended");
    core = row(&core, 101.0, live(Verdict::Pass), "healthy |");
    if let Phase::Healthy { liveness: Some(watch), .. } = &mut core.phase {
        watch.probing = Probing::NextAt(at(101.0));
    }
    let told = tenths(&mut core, &[FAIL; 16]);
    assert_eq!(told[0], (at(101.2), "restart avoided: late".to_owned()));
    assert_eq!(told[1], (at(102.0), "liveness blind: late".to_owned()));
    assert_eq!(told[2], (at(102.5), "liveness sighted; liveness failed 1 of 2".to_owned()));
}

#[test]
fn lateness_is_not_doubted_for_longer_than_max_doubt() {
    let mut core = given::healthy(0);
    hasty(&mut core);
    core.policy.max_doubt = Duration::from_millis(500);
    core = row(&core, 101.0, Event::Suspended, "healthy | was suspended");
    row(&core, 101.0, live(FAIL), "healthy |");
    core.doubt.until = Some(at(101.5));
    row(&core, 101.5, live(FAIL), "healthy | liveness failed 1 of 2");
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
    let core = row(&core, 306.0, Event::Tick, "starting | late by 200 s");
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
    core.doubt.came_late(at(99.0), secs(0));
    let core = row(&core, 100.0, Event::Spawned(ID), "starting | child #7 runs");
    assert_eq!(core.doubt, Doubt::NONE);
}
