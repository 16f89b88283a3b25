//! Counting verdicts.

use super::*;

/// Fresh since 100 s; the liveness probe is in flight.
fn fresh() -> Supervisor {
    let mut core = given::healthy(0);
    core.pace.attempt = 5;
    core.pace.next_delay = 5;
    if let Phase::Healthy { settle_at, stable_at, .. } = &mut core.phase {
        (*settle_at, *stable_at) = (Some(at(104.0)), Some(at(105.0)));
    }
    core
}

#[test]
fn settle_confirms_the_end_of_the_outage() {
    row(&fresh(), 103.9, Event::Tick, "healthy |");
    let core = row(&fresh(), 104.0, Event::Tick, "healthy | settled");
    row(&core, 104.1, Event::Tick, "healthy |");
}

#[test]
fn only_a_stable_run_resets_the_backoff() {
    let early = row(&fresh(), 104.9, Event::Tick, "healthy | settled");
    assert_eq!((early.pace.attempt, early.pace.next_delay), (5, 5));
    let stable = row(&fresh(), 105.0, Event::Tick, "healthy | settled; stable");
    assert_eq!((stable.pace.attempt, stable.pace.next_delay), (0, 0));
}

#[test]
fn failures_below_the_threshold_leave_it_healthy() {
    for before in 0..2 {
        let failed = format!("healthy | liveness failed {} of 3", before + 1);
        row(&given::healthy(before), 105.0, live(FAIL), &failed);
    }
}

#[test]
fn the_threshold_heals() {
    let healing = "degraded | liveness failed 3 of 3; unhealthy after 3 (timeout); \
                   taking down: probe_failed; send stop to main #7";
    row(&given::healthy(2), 105.0, live(FAIL), healing);
}

#[test]
fn a_pass_clears_the_count() {
    row(&given::healthy(2), 100.1, live(Verdict::Pass), "healthy | recovered from 2");
    row(&given::healthy(0), 100.1, live(Verdict::Pass), "healthy |");
}

#[test]
fn inconclusive_neither_adds_nor_clears() {
    for verdict in [DNS, STARVED] {
        for failures in [0, 1] {
            let held = row(&given::healthy(failures), 105.0, live(verdict), "healthy |");
            assert_eq!(failures_of(&held), failures);
        }
    }
    let held = row(&given::healthy(2), 105.0, live(STARVED), "healthy | restart avoided: starved");
    assert_eq!(failures_of(&held), 2);
}

fn failures_of(core: &Supervisor) -> u32 {
    let Phase::Healthy { liveness: Some(watch), .. } = core.phase else {
        panic!("not healthy: {:?}", core.phase)
    };
    watch.failures
}

#[test]
fn the_next_probe_starts_a_period_after_the_last_one_started() {
    let core = row(&given::healthy(0), 103.0, live(Verdict::Pass), "healthy |");
    assert_eq!(core.deadline(), Some(at(110.0)));
    row(&core, 109.9, Event::Tick, "healthy |");
    let asked = row(&core, 110.0, Event::Tick, "healthy | probe liveness");
    row(&asked, 110.0, Event::Tick, "healthy |");

    // What comes late once does not delay all that follows.
    let late = row(&core, 111.0, Event::Tick, "healthy | probe liveness");
    let next =
        Event::Probed { id: ID, role: Role::Liveness, probe: late.probed, verdict: Verdict::Pass };
    let core = row(&late, 111.1, next, "healthy |");
    assert_eq!(core.deadline(), Some(at(120.0)));
}

#[test]
fn a_probe_that_never_answers_is_given_up_and_asked_anew() {
    row(&given::healthy(0), 105.9, Event::Tick, "healthy |");
    let core = row(&given::healthy(0), 106.0, Event::Tick, "healthy |");
    let core = row(&core, 110.0, Event::Tick, "healthy | probe liveness");
    row(&core, 110.1, live(FAIL), "healthy | stale");
}

#[test]
fn we_are_blind_after_ten_periods_without_a_conclusive_verdict() {
    let mut core = given::healthy(0);
    if let Phase::Healthy { liveness: Some(watch), .. } = &mut core.phase {
        watch.sighted_until = Some(at(101.0));
    }
    row(&core, 100.9, live(DNS), "healthy |");
    let mut blind = row(&core, 101.0, live(DNS), "healthy | liveness blind: dns");
    if let Phase::Healthy { liveness: Some(watch), .. } = &mut blind.phase {
        watch.probing = given::asked(0).probing;
    }
    row(&blind, 102.0, live(DNS), "healthy |");
    let sighted = row(&blind, 102.0, live(Verdict::Pass), "healthy | liveness sighted");
    let Phase::Healthy { liveness: Some(watch), .. } = sighted.phase else { panic!("not healthy") };
    assert_eq!(watch.sighted_until, Some(at(202.0)), "ten periods from the last verdict");
    row(&blind, 102.0, live(FAIL), "healthy | liveness sighted; liveness failed 1 of 3");
}

#[test]
fn readiness_changes_sides_by_its_own_thresholds_and_never_heals() {
    let readiness = ProbePolicy {
        period: secs(10),
        timeout: secs(5),
        failure_threshold: 2,
        success_threshold: 2,
    };
    let phase = Phase::Healthy {
        id: ID,
        settle_at: None,
        stable_at: None,
        liveness: None,
        readiness: Some(Readiness::new(given::asked(0))),
    };
    let policy = Policy { liveness: None, readiness: Some(readiness), ..defaults() };
    let mut core = given::with(policy, phase);
    let script = [
        (Verdict::Pass, "healthy |"),
        (DNS, "healthy |"),
        (Verdict::Pass, "healthy | ready"),
        (FAIL, "healthy | readiness failed 1 of 2"),
        (Verdict::Pass, "healthy |"),
        (FAIL, "healthy | readiness failed 1 of 2"),
        (DNS, "healthy |"),
        (FAIL, "healthy | readiness failed 2 of 2; not ready"),
        (FAIL, "healthy | readiness failed 2 of 2"),
        (Verdict::Pass, "healthy |"),
        (FAIL, "healthy | readiness failed 1 of 2"),
        (Verdict::Pass, "healthy |"),
        (Verdict::Pass, "healthy | ready"),
    ];
    for (verdict, expected) in script {
        core = row(&core, 100.1, answer(Role::Readiness, verdict), expected);
        let Phase::Healthy { readiness: Some(readiness), .. } = &mut core.phase else {
            panic!("readiness has changed the phase to {:?}", core.phase)
        };
        readiness.watch.probing = given::asked(0).probing;
    }
}
