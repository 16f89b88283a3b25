//! Until the first pass.

use super::*;

#[test]
fn the_first_pass_makes_it_healthy() {
    let up = row(&given::starting(), 100.2, start(Verdict::Pass), "healthy | healthy, unsettled");
    assert_eq!(up.pace, given::starting().pace, "only a stable run resets the backoff");
    row(&up, 105.19, Event::Tick, "healthy |");
    row(&up, 105.2, Event::Tick, "healthy | probe liveness");
}

#[test]
fn a_slow_start_is_left_alone_until_its_timeout() {
    let core = given::starting();
    let core = row(&core, 105.0, start(FAIL), "starting | not ready, 595 s left");
    row(&core, 110.0, Event::Tick, "starting | probe startup");
}

#[test]
fn a_child_that_never_comes_up_is_taken_down_at_its_timeout() {
    let phase = Phase::Starting {
        id: ID,
        until: at(103.0),
        startup: Some(given::answered(0)),
        answers: Answers::None,
    };
    let core = given::phase(phase);
    row(&core, 102.9, Event::Tick, "starting |");
    let core = row(
        &core,
        103.0,
        Event::Tick,
        "stopping | never ready; taking down: startup_timeout; send stop to main #7",
    );
    let core = row(
        &core,
        103.1,
        exited(Exit::Code(0)),
        "stopping | ended as told: code 0; send term to tree #7",
    );
    let gone = "backoff | tree is gone; attempt 2 in 0.5 s; check port";
    row(&core, 103.2, GONE, gone);
}

#[test]
fn a_probe_that_waits_for_its_answer_when_the_time_is_over_is_waited_for() {
    let mut asked = given::asked(0);
    asked.probing = Probing::InFlight { probe: PROBE, lost_at: at(106.0), next_at: at(100.5) };
    let (until, startup) = (at(102.0), Some(asked));
    let core = given::phase(Phase::Starting { id: ID, until, startup, answers: Answers::None });
    let never = "stopping | never ready; taking down: startup_timeout; send stop to main #7";
    let core = row(&core, 102.0, Event::Tick, "starting |");
    row(&core, 103.0, start(Verdict::Pass), "healthy | healthy, unsettled");
    let failed = row(&core, 105.9, start(FAIL), "starting | not ready, 0 s left");
    row(&failed, 105.9, Event::Tick, never);
    let held = row(&core, 103.0, start(STARVED), "starting | not ready, 2 s left");
    row(&held, 103.0, Event::Tick, "starting | probe startup");
    let lost = row(&core, 106.0, Event::Tick, "starting | not ready, 2 s left; probe startup");
    row(&lost, 108.0, Event::Tick, "starting |");
}

#[test]
fn the_startup_budget_stands_still_while_probes_are_inconclusive() {
    // The round began at 100 s; the next one is due at 110 s.
    row(&given::starting(), 100.1, start(FAIL), "starting | not ready, 599.9 s left");
    for verdict in [DNS, STARVED] {
        let core = given::starting();
        let policy = core.policy.startup.expect("probed");
        let held = format!("starting | not ready, {} s left", 599.9 + policy.period.as_secs_f64());
        row(&core, 100.1, start(verdict), &held);
    }
    let lost = "starting | not ready, 594.5 s left";
    row(&given::starting(), 106.0, Event::Tick, lost);
}

#[test]
fn a_probe_that_only_meets_refusal_of_itself_is_probably_wrong() {
    let wrong = |answers| {
        let phase = given::starting_phase(answers);
        let mut core = given::phase(phase);
        if let Phase::Starting { until, startup, .. } = &mut core.phase {
            (*until, *startup) = (at(103.0), Some(given::answered(0)));
        }
        core
    };
    for status in [401, 403, 404, 405] {
        let looks = Answers::None.add(bad_status(status));
        assert_eq!(looks.looks_wrong(), Some(status));
        assert_eq!(looks.add(FAIL).looks_wrong(), Some(status), "a timeout is no answer");
        assert_eq!(looks.add(bad_status(500)).looks_wrong(), None);
        assert_eq!(looks.add(Verdict::Fail(FailKind::BadBody)).looks_wrong(), None);
    }
    let core = row(
        &wrong(Answers::LooksWrong(404)),
        103.0,
        Event::Tick,
        "stopping | never ready, probe probably wrong (404); \
         taking down: startup_timeout; send stop to main #7",
    );
    let core = row(
        &core,
        104.0,
        exited(Exit::Signal(15)),
        "stopping | ended as told: signal 15; send term to tree #7",
    );
    let slowly = "slow_retry | tree is gone; attempt 2 in 300 s, slow: probe_probably_wrong";
    row(&core, 104.1, GONE, slowly);
    let never = "stopping | never ready; taking down: startup_timeout; send stop to main #7";
    row(&wrong(Answers::Mixed), 103.0, Event::Tick, never);
}

#[test]
fn without_a_probe_a_child_is_healthy_once_it_has_run_for_settle() {
    let policy = Policy { startup: None, liveness: None, ..defaults() };
    let core = given::with(policy, Phase::Spawning { program: Program::Child, id: ID });
    let core = row(&core, 100.0, Event::Spawned(ID), "starting | child #7 runs");
    row(&core, 109.9, Event::Tick, "starting |");
    let core = row(&core, 110.0, Event::Tick, "healthy | healthy");
    let core = row(&core, 170.0, Event::Tick, "healthy | stable");
    assert_eq!(core.deadline(), None, "only the exit can change anything");
}
