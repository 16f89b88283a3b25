//! One row per rule, and a few stories that an operator should enjoy.
//!
//! A row is: where we are, when, what happens, and what must follow: `state | orders and facts`.
//! The stories read like a log; they run a whole life with the default policy.

use super::check::VERDICTS;
use super::health::{Answers, Probing, Readiness, Watch};
use super::trace::{followed, heading, line};
use super::*;

/// The launch that the rows are about, and its probe in flight.
const ID: Incarnation = Incarnation(7);
const PROBE: u32 = 3;

pub(super) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn at(secs: f64) -> Moment {
    Moment::new(Duration::from_secs_f64(secs))
}

/// What a service gets that configures nothing but its health URL.
pub(super) fn defaults() -> Policy {
    let probe = ProbePolicy {
        period: secs(10),
        timeout: secs(5),
        failure_threshold: 3,
        success_threshold: 1,
    };
    Policy {
        hook: Some(HookPolicy { timeout: secs(300), exit_on_failure: false }),
        repair: None,
        startup: Some(ProbePolicy { period: Duration::from_millis(500), ..probe }),
        startup_timeout: secs(600),
        liveness: Some(probe),
        readiness: None,
        settle: secs(10),
        max_doubt: secs(120),
        stop_timeout: secs(8),
        unhealthy_stop_timeout: secs(5),
        restart: RestartPolicy::Always,
        exit_rules: vec![ExitRule { codes: vec![78], action: ExitAction::Slow }],
        delays: [0, 500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000]
            .map(Duration::from_millis)
            .to_vec(),
        jitter_permille: 500,
        stable_after: secs(60),
        slow_retry: secs(300),
        budget: None,
    }
}

mod given {
    use super::*;

    pub(super) fn phase(phase: Phase) -> Supervisor {
        with(defaults(), phase)
    }

    /// A core in the midst of its life, with dice that always fall in the middle: no jitter.
    pub(super) fn with(policy: Policy, phase: Phase) -> Supervisor {
        let fresh = Supervisor::new(policy, Dice::Fixed(500));
        Supervisor { phase, launched: ID, probed: PROBE, child_ran: true, ..fresh }
    }

    /// A probe of the default rhythm, ordered at 100 s, with so many failures before it.
    pub(super) fn asked(failures: u32) -> Watch {
        Watch {
            probing: Probing::InFlight { probe: PROBE, lost_at: at(106.0), next_at: at(110.0) },
            failures,
            doubts: 0,
            sighted_until: Some(at(200.0)),
        }
    }

    pub(super) fn starting_phase(answers: Answers) -> Phase {
        Phase::Starting { id: ID, until: at(700.0), startup: Some(asked(0)), answers }
    }

    pub(super) fn starting() -> Supervisor {
        phase(starting_phase(Answers::None))
    }

    /// Settled and stable, with so many failures in a row.
    pub(super) fn healthy_phase(failures: u32) -> Phase {
        Phase::Healthy {
            id: ID,
            settle_at: None,
            stable_at: None,
            liveness: Some(asked(failures)),
            readiness: None,
        }
    }

    pub(super) fn healthy(failures: u32) -> Supervisor {
        phase(healthy_phase(failures))
    }

    pub(super) fn spawning(program: Program) -> Supervisor {
        phase(Phase::Spawning { program, id: ID })
    }

    pub(super) fn booting(program: Program) -> Supervisor {
        phase(Phase::Booting { program, id: ID, until: at(400.0), spared: false })
    }

    pub(super) fn stopping_phase(program: Program, cause: StopCause, step: Step) -> Phase {
        Phase::Stopping(Stopping::new(ID, program, cause, true, step))
    }

    pub(super) fn stopping(cause: StopCause, step: Step) -> Supervisor {
        phase(stopping_phase(Program::Child, cause, step))
    }

    /// SIGKILL was sent at 100 s.
    pub(super) fn killing(cause: StopCause) -> Supervisor {
        stopping(cause, KILLING)
    }

    pub(super) const KILLING: Step = Step::Kill {
        again_at: Moment::new(secs(105)),
        unkillable_at: Some(Moment::new(secs(130))),
        leave_at: None,
        main_killed: true,
    };

    pub(super) fn backing_off() -> Supervisor {
        phase(Phase::BackingOff { until: at(104.0), slow: None })
    }

    /// The child has exited and its tree is gone but for the news of it.
    pub(super) fn ended(policy: Policy, exit: Exit) -> Supervisor {
        let step = Step::Rest { kill_at: at(101.0) };
        let stopping = Stopping::new(ID, Program::Child, StopCause::Exited(exit), true, step);
        with(policy, Phase::Stopping(Stopping { exit: Some(exit), ..stopping }))
    }
}

/// Delivers `event` at `now` seconds and compares what follows; returns the core as it is then.
#[track_caller]
fn row(core: &Supervisor, now: f64, event: Event, expected: &str) -> Supervisor {
    let mut core = core.clone();
    let actions = core.on(at(now), event);
    assert_eq!(format!("{} | {}", core.state(), followed(&actions)).trim_end(), expected);
    core
}

const fn answer(role: Role, verdict: Verdict) -> Event {
    Event::Probed { id: ID, role, probe: PROBE, verdict }
}

const fn live(verdict: Verdict) -> Event {
    answer(Role::Liveness, verdict)
}

const fn start(verdict: Verdict) -> Event {
    answer(Role::Startup, verdict)
}

const FAIL: Verdict = Verdict::Fail(FailKind::Timeout);
const DNS: Verdict = Verdict::unknown(Why::Dns);
const STARVED: Verdict =
    Verdict::Inconclusive { why: Why::Starved, instead_of: Some(FailKind::Timeout) };
const GONE: Event = Event::Gone(ID);
const FREE: PortHolder = PortHolder::NoStranger;
const STRANGER: PortHolder = PortHolder::Stranger { pid: 4711 };

const fn exited(exit: Exit) -> Event {
    Event::Exited { id: ID, exit }
}

const fn bad_status(status: u16) -> Verdict {
    Verdict::Fail(FailKind::BadStatus(status))
}

mod launching {
    use super::*;

    #[test]
    fn left_overs_are_swept_before_anything_is_launched() {
        let core = Supervisor::new(defaults(), Dice::Fixed(500));
        let core = row(&core, 0.0, Event::Start, "boot_hook | sweep");
        assert_eq!(core.deadline(), Some(at(30.0)));
        row(&core, 0.1, Event::Start, "boot_hook | stale");
        row(&core, 29.9, Event::Tick, "boot_hook |");
        row(&core, 30.0, Event::Tick, "boot_hook | sweep");
        let swept = Event::Swept { port: FREE };
        row(&core, 0.5, swept, "boot_hook | spawn boot_hook #1 (start, attempt 1)");
    }

    #[test]
    fn a_stranger_on_the_port_never_prevents_the_first_launch() {
        let mut core = Supervisor::new(defaults(), Dice::Fixed(500));
        core.on(at(0.0), Event::Start);
        let swept = Event::Swept { port: STRANGER };
        let expected =
            "boot_hook | port held by 4711, go on; spawn boot_hook #1 (start, attempt 1)";
        row(&core, 0.5, swept, expected);
    }

    #[test]
    fn the_child_follows_the_hook_only_when_it_has_ended_well() {
        let hook = row(
            &given::spawning(Program::BootHook),
            100.0,
            Event::Spawned(ID),
            "boot_hook | boot_hook #7 runs",
        );
        let well = "starting | boot_hook ended well; spawn child #8 (start, attempt 1)";
        row(&hook, 101.0, exited(Exit::Code(0)), well);
        for exit in [Exit::Code(1), Exit::Signal(9)] {
            let badly = format!(
                "stopping | boot_hook failed: {exit}; taking down: hook_failed; \
                 send kill to tree #7"
            );
            row(&hook, 101.0, exited(exit), &badly);
        }
    }

    #[test]
    fn a_missing_hook_is_a_skip() {
        let core = given::spawning(Program::BootHook);
        let skipped = "starting | no boot hook; spawn child #8 (start, attempt 1)";
        row(&core, 100.0, Event::HookMissing(ID), skipped);
    }

    #[test]
    fn without_a_hook_the_child_is_launched_at_once() {
        let policy = Policy { hook: None, ..defaults() };
        let sweeping = Phase::Sweeping { again_at: at(130.0) };
        let core = given::with(policy, sweeping);
        let swept = Event::Swept { port: FREE };
        row(&core, 100.0, swept, "starting | spawn child #8 (start, attempt 1)");
    }

    #[test]
    fn a_hook_that_does_not_end_in_time_is_killed_with_all_it_started() {
        let core = given::booting(Program::BootHook);
        row(&core, 399.9, Event::Tick, "boot_hook |");
        let killed = row(
            &core,
            400.0,
            Event::Tick,
            "stopping | boot_hook timed out; taking down: hook_timeout; send kill to tree #7",
        );
        let killed = row(&killed, 400.1, exited(Exit::Signal(9)), "stopping |");
        row(&killed, 400.2, GONE, "backoff | tree is gone; attempt 2 in 0.5 s");
    }

    #[test]
    fn what_the_hook_left_goes_before_a_failed_spawn_is_tried_again() {
        let core = given::spawning(Program::Child);
        let failed = row(
            &core,
            100.0,
            Event::SpawnFailed { id: ID, errno: Errno(2) },
            "stopping | child not started: errno 2; taking down: spawn_failed; \
             send kill to tree #7",
        );
        let waiting =
            row(&failed, 100.1, GONE, "backoff | tree is gone; attempt 2 in 0.5 s; check port");
        let again = "boot_hook | spawn boot_hook #8 (spawn_failed, attempt 2)";
        row(&waiting, 100.6, Event::Tick, again);
    }

    #[test]
    fn a_strict_hook_ends_the_run_only_before_the_first_launch() {
        let hook = Some(HookPolicy { timeout: secs(300), exit_on_failure: true });
        for cause in [StopCause::HookFailed, StopCause::HookTimedOut] {
            let phase = given::stopping_phase(Program::BootHook, cause, given::KILLING);
            let mut core = given::with(Policy { hook, ..defaults() }, phase);
            row(&core, 100.1, GONE, "backoff | tree is gone; attempt 2 in 0.5 s");
            core.child_ran = false;
            row(&core, 100.1, GONE, "stopped | tree is gone; finished; finish with 69");
        }
    }
}

mod coming_up {
    use super::*;

    #[test]
    fn the_first_pass_makes_it_healthy() {
        let up =
            row(&given::starting(), 100.2, start(Verdict::Pass), "healthy | healthy, unsettled");
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
            startup: Some(given::asked(0)),
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
    fn the_startup_budget_stands_still_while_probes_are_inconclusive() {
        // The round began at 100 s; the next one is due at 110 s.
        row(&given::starting(), 100.1, start(FAIL), "starting | not ready, 599.9 s left");
        for verdict in [DNS, STARVED] {
            let core = given::starting();
            let policy = core.policy.startup.expect("probed");
            let held =
                format!("starting | not ready, {} s left", 599.9 + policy.period.as_secs_f64());
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
            if let Phase::Starting { until, .. } = &mut core.phase {
                *until = at(103.0);
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
}

mod staying_up {
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
        assert_eq!((early.attempt(), early.pace.next_delay), (5, 5));
        let stable = row(&fresh(), 105.0, Event::Tick, "healthy | settled; stable");
        assert_eq!((stable.attempt(), stable.pace.next_delay), (0, 0));
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
        let held = row(&given::healthy(2), 105.0, live(DNS), "healthy | restart avoided: dns");
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
        let core = row(&core, 110.0, Event::Tick, "healthy | probe liveness");
        row(&core, 110.0, Event::Tick, "healthy |");
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
        let mut blind = row(&core, 101.0, live(DNS), "healthy | blind: dns");
        if let Phase::Healthy { liveness: Some(watch), .. } = &mut blind.phase {
            watch.probing = given::asked(0).probing;
        }
        row(&blind, 102.0, live(DNS), "healthy |");
        let sighted = row(&blind, 102.0, live(Verdict::Pass), "healthy | sighted");
        let Phase::Healthy { liveness: Some(watch), .. } = sighted.phase else {
            panic!("not healthy")
        };
        assert_eq!(watch.sighted_until, Some(at(202.0)), "ten periods from the last verdict");
        row(&blind, 102.0, live(FAIL), "healthy | sighted; liveness failed 1 of 3");
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
}

mod doubting {
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
        let core = row(&given::healthy(2), 101.0, Event::Suspended, "healthy | late by 0 s");
        row(&core, 105.0, live(FAIL), "healthy | restart avoided: late");
    }

    #[test]
    fn a_pass_dispels_doubt() {
        let core = row(&given::healthy(0), 101.0, Event::Suspended, "healthy | late by 0 s");
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
        assert_eq!(told[9], "blind: starved");
        assert_eq!(told[10], "");
        assert_eq!(told[11], "sighted; liveness failed 1 of 3");
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
}

mod after_an_exit {
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
    fn every_exit_is_followed_by_another_attempt() {
        for exit in [Exit::Code(0), Exit::Code(1), Exit::Signal(9)] {
            row(&given::ended(defaults(), exit), 100.1, GONE, RESTART);
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
}

mod the_pace {
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
            let mut core =
                given::ended(Policy { budget: Some(budget), ..defaults() }, Exit::Code(1));
            let gone = core.clone();
            let mut told = String::new();
            for &time in times {
                let actions = core.on(at(time), GONE);
                told = format!("{} | {}", core.state(), followed(&actions));
                core.phase = gone.phase;
            }
            (told, core.restarts_left())
        };
        let spent = "slow_retry | tree is gone; attempt 4 in 300 s, slow: budget_spent";
        let left = "backoff | tree is gone; attempt 4 in 2 s";
        let ended = "stopped | tree is gone; finished; finish with 10";
        assert_eq!(restarts(false, &[1000.0]).1, Some(1));
        assert_eq!(restarts(false, &[1000.0, 1000.0, 1099.9]), (spent.to_owned(), Some(0)));
        assert_eq!(restarts(false, &[1000.0, 1050.0, 1100.0]), (left.to_owned(), Some(0)));
        assert_eq!(restarts(true, &[1000.0, 1050.0, 1099.9]), (ended.to_owned(), Some(0)));
        assert_eq!(given::healthy(0).restarts_left(), None, "no budget unless configured");
    }

    #[test]
    fn a_stranger_that_kept_an_attempt_from_serving_slows_us_down() {
        let core = row(
            &given::backing_off(),
            100.0,
            Event::PortChecked { id: ID, holder: FREE },
            "backoff |",
        );
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
}

mod taking_down {
    use super::*;

    const UNHEALTHY: StopCause = StopCause::Unhealthy(FailKind::Timeout);

    #[test]
    fn a_stop_ends_every_phase() {
        let asked = |rest: &str| format!("stopping | asked to stop; taking down: asked; {rest}");
        let ended = "stopped | asked to stop; finished; finish with 0";
        let table = [
            (given::phase(Phase::Idle), ended.to_owned()),
            (given::phase(Phase::Sweeping { again_at: at(130.0) }), ended.to_owned()),
            (given::backing_off(), ended.to_owned()),
            (given::spawning(Program::BootHook), "boot_hook | asked to stop".to_owned()),
            (given::spawning(Program::Child), "starting | asked to stop".to_owned()),
            (given::booting(Program::BootHook), asked("send term to main #7")),
            (given::booting(Program::Repair), asked("send term to main #7")),
            (given::starting(), asked("send stop to main #7")),
            (given::healthy(2), asked("send stop to main #7")),
            (
                given::stopping(UNHEALTHY, Step::Main { kill_at: at(105.0) }),
                "stopping | asked to stop".to_owned(),
            ),
            (given::phase(Phase::Finished), "stopped | stale".to_owned()),
        ];
        for (core, expected) in table {
            row(&core, 100.0, Event::StopRequested, &expected);
        }
    }

    #[test]
    fn a_stop_during_a_spawn_waits_for_the_answer() {
        let mut core = given::spawning(Program::Child);
        core.on(at(100.0), Event::StopRequested);
        let runs = "stopping | child #7 runs; taking down: asked; send stop to main #7";
        row(&core, 100.0, Event::Spawned(ID), runs);
        let failed = Event::SpawnFailed { id: ID, errno: Errno(2) };
        let clearing = "stopping | child not started: errno 2; taking down: spawn_failed; \
                        send kill to tree #7";
        let failed = row(&core, 100.0, failed, clearing);
        row(&failed, 100.1, GONE, "stopped | tree is gone; finished; finish with 0");
        let again = "starting | asked to stop at once";
        let core = row(&core, 100.0, Event::StopRequested, again);
        let killed = "stopping | child #7 runs; taking down: asked; grace is over; \
                      send kill to tree #7";
        row(&core, 100.0, Event::Spawned(ID), killed);
        let mut hook = given::spawning(Program::BootHook);
        hook.on(at(100.0), Event::StopRequested);
        let missing = "stopped | no boot hook; finished; finish with 0";
        row(&hook, 100.0, Event::HookMissing(ID), missing);
    }

    #[test]
    fn a_stopped_child_is_killed_after_the_stop_timeout() {
        let mut core = given::healthy(0);
        core.on(at(100.0), Event::StopRequested);
        row(&core, 107.9, Event::Tick, "stopping |");
        let killed = "stopping | grace is over; send kill to tree #7";
        let core = row(&core, 108.0, Event::Tick, killed);
        let left = "stopped | finished, something is left; finish with 137";
        row(&core, 109.0, Event::Tick, left);
        let core = row(&core, 108.1, exited(Exit::Signal(9)), "stopping | ended as told: signal 9");
        row(&core, 108.2, GONE, "stopped | tree is gone; finished; finish with 137");
    }

    #[test]
    fn an_unhealthy_child_is_killed_after_its_own_timeout() {
        let mut core = given::healthy(2);
        core.on(at(100.0), live(FAIL));
        row(&core, 104.9, Event::Tick, "degraded |");
        row(&core, 105.0, Event::Tick, "degraded | grace is over; send kill to tree #7");
    }

    #[test]
    fn what_the_main_process_leaves_gets_a_second_but_never_more_than_is_left() {
        let left = |kill_at: f64| {
            let step = Step::Main { kill_at: at(kill_at) };
            let core = given::stopping(StopCause::Asked, step);
            let ended = "stopping | ended as told: code 0; send term to tree #7";
            row(&core, 100.0, exited(Exit::Code(0)), ended).deadline()
        };
        assert_eq!(left(108.0), Some(at(101.0)));
        assert_eq!(left(100.3), Some(at(100.3)));
    }

    #[test]
    fn a_child_that_ends_in_its_grace_was_not_killed_whatever_its_helpers_needed() {
        let mut core = given::stopping(StopCause::Asked, Step::Main { kill_at: at(108.0) });
        core.intent = Intent::Stop;
        core.on(at(100.0), exited(Exit::Signal(15)));
        let killed = "stopping | grace is over; send kill to tree #7";
        let core = row(&core, 101.0, Event::Tick, killed);
        row(&core, 101.1, GONE, "stopped | tree is gone; finished; finish with 0");
    }

    #[test]
    fn a_second_stop_kills_at_once() {
        let mut core = given::healthy(0);
        core.on(at(100.0), Event::StopRequested);
        let killed = "stopping | asked to stop at once; grace is over; send kill to tree #7";
        let core = row(&core, 100.1, Event::StopRequested, killed);
        row(&core, 100.2, Event::StopRequested, "stopping | asked to stop at once");
    }

    #[test]
    fn a_stop_while_healing_never_prolongs_the_grace() {
        let healing = |kill_at| given::stopping(UNHEALTHY, Step::Main { kill_at });
        for (kill_at, expected) in [(at(103.0), at(103.0)), (at(500.0), at(108.0))] {
            let stopped =
                row(&healing(kill_at), 100.0, Event::StopRequested, "stopping | asked to stop");
            assert_eq!(stopped.deadline(), Some(expected));
        }
    }

    #[test]
    fn while_exiting_we_leave_a_second_after_sigkill_and_say_so() {
        let core = row(
            &given::killing(UNHEALTHY),
            100.0,
            Event::StopRequested,
            "stopping | asked to stop",
        );
        row(&core, 100.9, Event::Tick, "stopping |");
        let left = row(
            &core,
            101.0,
            Event::Tick,
            "stopped | finished, something is left; finish with 137",
        );
        row(&left, 101.1, GONE, "stopped | stale");
    }

    #[test]
    fn an_unkillable_tree_is_never_replaced() {
        let mut core = given::killing(UNHEALTHY);
        for again in [105.0, 110.0, 115.0, 120.0, 125.0] {
            core = row(&core, again, Event::Tick, "degraded | send kill to tree #7");
        }
        core = row(&core, 130.0, Event::Tick, "degraded | send kill to tree #7; unkillable");
        for again in [135.0, 140.0] {
            core = row(&core, again, Event::Tick, "degraded | send kill to tree #7");
        }
        core.on(at(141.0), exited(Exit::Signal(9)));
        row(&core, 141.0, GONE, "backoff | tree is gone; attempt 2 in 0.5 s");
    }

    #[test]
    fn signals_are_passed_on_only_to_a_child_that_starts_or_is_healthy() {
        let signal = Event::SignalReceived(Signal::Usr1);
        row(&given::starting(), 100.0, signal, "starting | send usr1 to main #7; passed on usr1");
        row(&given::healthy(0), 100.0, signal, "healthy | send usr1 to main #7; passed on usr1");
        let others = [
            given::booting(Program::BootHook),
            given::spawning(Program::Child),
            given::killing(UNHEALTHY),
            given::backing_off(),
            given::phase(Phase::Finished),
        ];
        for core in others {
            let nobody = format!("{} |", core.state());
            row(&core, 100.0, signal, &nobody);
        }
    }

    #[test]
    fn news_of_another_launch_changes_nothing() {
        let id = Incarnation(6);
        for verdict in VERDICTS {
            let old = Event::Probed { id, role: Role::Liveness, probe: PROBE, verdict };
            row(&given::healthy(2), 100.0, old, "healthy | stale");
            let answered = Event::Probed { id: ID, role: Role::Liveness, probe: 2, verdict };
            row(&given::healthy(2), 100.0, answered, "healthy | stale");
            for id in [Incarnation(6), Incarnation(8)] {
                let other = Event::Probed { id, role: Role::Startup, probe: PROBE, verdict };
                row(&given::starting(), 100.0, other, "starting | stale");
            }
        }
        let exit = Event::Exited { id, exit: Exit::Code(1) };
        row(&given::healthy(2), 100.0, exit, "healthy | stale");
        row(&given::killing(UNHEALTHY), 100.0, Event::Gone(id), "degraded | stale");
    }
}

mod stories {
    use super::*;

    /// A life with the default policy, told line by line.
    struct Story {
        core: Supervisor,
        now: Moment,
        lines: Vec<String>,
    }

    impl Story {
        fn new() -> Self {
            let core = Supervisor::new(defaults(), Dice::Fixed(500));
            Self { core, now: Moment::ZERO, lines: vec![] }
        }

        /// One whose service is healthy since long ago; the clock shows 1000 s.
        fn of_a_healthy_service() -> Self {
            let mut story = Self::new();
            story.starts();
            story.boots_and_launches();
            story.answers(0.1, Role::Startup, Verdict::Pass);
            story.passes_until(1000.0);
            story.lines = vec!["            … healthy for long …".to_owned()];
            story
        }

        fn happens(&mut self, event: Event) {
            let from = self.core.state();
            let actions = self.core.on(self.now, event);
            self.lines.push(line(self.now, event, from, self.core.state(), &actions));
        }

        fn after(&mut self, seconds: f64, event: Event) {
            self.now = self.now + Duration::from_secs_f64(seconds);
            self.happens(event);
        }

        /// Time passes until the next deadline.
        fn waits(&mut self) {
            self.now = self.core.deadline().expect("there is something to wait for");
            self.happens(Event::Tick);
        }

        fn starts(&mut self) {
            self.happens(Event::Start);
            self.after(0.1, Event::Swept { port: FREE });
        }

        fn spawns(&mut self) {
            self.happens(Event::Spawned(self.core.launched));
        }

        fn exits(&mut self, after: f64, exit: Exit) {
            self.after(after, Event::Exited { id: self.core.launched, exit });
        }

        fn tree_goes(&mut self, after: f64) {
            self.after(after, Event::Gone(self.core.launched));
        }

        fn answers(&mut self, after: f64, role: Role, verdict: Verdict) {
            let (id, probe) = (self.core.launched, self.core.probed);
            self.after(after, Event::Probed { id, role, probe, verdict });
        }

        fn boots_and_launches(&mut self) {
            self.spawns();
            self.exits(1.2, Exit::Code(0));
            self.spawns();
            self.waits();
        }

        /// Probes pass, and nobody listens.
        fn passes_until(&mut self, until: f64) {
            let mut heard = self.lines.len();
            while self.core.deadline().expect("probed") < at(until) {
                self.waits();
                if followed_by_a_probe(self.lines.last()) {
                    self.answers(0.05, Role::Liveness, Verdict::Pass);
                }
                // What is more than an ordinary passing probe stays in the story.
                let told = self.lines.split_off(heard);
                self.lines.extend(
                    told.into_iter()
                        .filter(|told| told.ends_with("led") || told.ends_with("stable")),
                );
                heard = self.lines.len();
            }
            self.now = at(until);
        }

        fn told(&self) -> String {
            format!("{}\n{}", heading(), self.lines.join("\n"))
        }
    }

    fn followed_by_a_probe(line: Option<&String>) -> bool {
        line.is_some_and(|line| line.ends_with("probe liveness"))
    }

    #[test]
    fn a_crash_is_healed() {
        let mut story = Story::new();
        story.starts();
        story.boots_and_launches();
        story.answers(0.001, Role::Startup, Verdict::Fail(FailKind::Refused));
        story.waits();
        story.answers(0.02, Role::Startup, Verdict::Pass);
        story.passes_until(100.0);
        story.exits(0.0, Exit::Signal(11));
        story.tree_goes(0.01);
        story.waits();
        story.boots_and_launches();
        story.answers(0.02, Role::Startup, Verdict::Pass);
        story.passes_until(200.0);
        insta::assert_snapshot!(story.told(), @r"
        time        event                      state      → state       then
             0.000  start                      stopped    → boot_hook   sweep
             0.100  swept                      boot_hook  → boot_hook   spawn boot_hook #1 (start, attempt 1)
             0.100  spawned #1                 boot_hook  → boot_hook   boot_hook #1 runs
             1.300  exited #1 code 0           boot_hook  → starting    boot_hook ended well; spawn child #2 (start, attempt 1)
             1.300  spawned #2                 starting   → starting    child #2 runs
             1.550  tick                       starting   → starting    probe startup
             1.551  startup: refused           starting   → starting    not ready, 599.749 s left
             2.050  tick                       starting   → starting    probe startup
             2.070  startup: pass              starting   → healthy     healthy, unsettled
            12.070  tick                       healthy    → healthy     settled
            62.070  tick                       healthy    → healthy     stable
           100.000  exited #2 signal 11        healthy    → stopping    ended by itself: signal 11; send term to tree #2
           100.010  tree gone #2               stopping   → backoff     tree is gone; attempt 1 in 0 s
           100.010  tick                       backoff    → boot_hook   spawn boot_hook #3 (signal, attempt 1)
           100.010  spawned #3                 boot_hook  → boot_hook   boot_hook #3 runs
           101.210  exited #3 code 0           boot_hook  → starting    boot_hook ended well; spawn child #4 (signal, attempt 1)
           101.210  spawned #4                 starting   → starting    child #4 runs
           101.460  tick                       starting   → starting    probe startup
           101.480  startup: pass              starting   → healthy     healthy, unsettled
           111.480  tick                       healthy    → healthy     settled
           161.480  tick                       healthy    → healthy     stable
        ");
    }

    #[test]
    fn a_hang_is_healed() {
        let mut story = Story::of_a_healthy_service();
        for _ in 0..3 {
            story.waits();
            story.answers(5.0, Role::Liveness, FAIL);
        }
        story.waits();
        story.exits(0.01, Exit::Signal(9));
        story.tree_goes(0.01);
        story.waits();
        story.boots_and_launches();
        story.answers(0.02, Role::Startup, Verdict::Pass);
        insta::assert_snapshot!(story.told(), @r"
        time        event                      state      → state       then
                    … healthy for long …
          1006.650  tick                       healthy    → healthy     probe liveness
          1011.650  liveness: timeout          healthy    → healthy     liveness failed 1 of 3
          1016.650  tick                       healthy    → healthy     probe liveness
          1021.650  liveness: timeout          healthy    → healthy     liveness failed 2 of 3
          1026.650  tick                       healthy    → healthy     probe liveness
          1031.650  liveness: timeout          healthy    → degraded    liveness failed 3 of 3; unhealthy after 3 (timeout); taking down: probe_failed; send stop to main #2
          1036.650  tick                       degraded   → degraded    grace is over; send kill to tree #2
          1036.660  exited #2 signal 9         degraded   → degraded    ended as told: signal 9
          1036.670  tree gone #2               degraded   → backoff     tree is gone; attempt 1 in 0 s
          1036.670  tick                       backoff    → boot_hook   spawn boot_hook #3 (probe_failed, attempt 1)
          1036.670  spawned #3                 boot_hook  → boot_hook   boot_hook #3 runs
          1037.870  exited #3 code 0           boot_hook  → starting    boot_hook ended well; spawn child #4 (probe_failed, attempt 1)
          1037.870  spawned #4                 starting   → starting    child #4 runs
          1038.120  tick                       starting   → starting    probe startup
          1038.140  startup: pass              starting   → healthy     healthy, unsettled
        ");
    }

    #[test]
    fn a_hook_fails_twice_and_then_ends_well() {
        let mut story = Story::new();
        story.starts();
        for _ in 0..2 {
            story.spawns();
            story.exits(0.5, Exit::Code(1));
            story.tree_goes(0.01);
            story.waits();
        }
        story.boots_and_launches();
        story.answers(0.02, Role::Startup, Verdict::Pass);
        insta::assert_snapshot!(story.told(), @r"
        time        event                      state      → state       then
             0.000  start                      stopped    → boot_hook   sweep
             0.100  swept                      boot_hook  → boot_hook   spawn boot_hook #1 (start, attempt 1)
             0.100  spawned #1                 boot_hook  → boot_hook   boot_hook #1 runs
             0.600  exited #1 code 1           boot_hook  → stopping    boot_hook failed: code 1; taking down: hook_failed; send kill to tree #1
             0.610  tree gone #1               stopping   → backoff     tree is gone; attempt 2 in 0.5 s
             1.110  tick                       backoff    → boot_hook   spawn boot_hook #2 (hook_failed, attempt 2)
             1.110  spawned #2                 boot_hook  → boot_hook   boot_hook #2 runs
             1.610  exited #2 code 1           boot_hook  → stopping    boot_hook failed: code 1; taking down: hook_failed; send kill to tree #2
             1.620  tree gone #2               stopping   → backoff     tree is gone; attempt 3 in 1 s
             2.620  tick                       backoff    → boot_hook   spawn boot_hook #3 (hook_failed, attempt 3)
             2.620  spawned #3                 boot_hook  → boot_hook   boot_hook #3 runs
             3.820  exited #3 code 0           boot_hook  → starting    boot_hook ended well; spawn child #4 (hook_failed, attempt 3)
             3.820  spawned #4                 starting   → starting    child #4 runs
             4.070  tick                       starting   → starting    probe startup
             4.090  startup: pass              starting   → healthy     healthy, unsettled
        ");
    }

    #[test]
    fn a_child_never_comes_up() {
        let mut story = Story::new();
        story.starts();
        story.boots_and_launches();
        let heard = story.lines.len();
        while story.core.state() == State::Starting {
            story.answers(0.001, Role::Startup, Verdict::Fail(FailKind::Refused));
            story.waits();
        }
        let told = story.lines.split_off(heard);
        story.lines.push(told[0].clone());
        story.lines.push("            … refused twice a second …".to_owned());
        story.lines.extend(told.last().cloned());
        story.exits(0.3, Exit::Code(0));
        story.tree_goes(0.01);
        story.happens(Event::PortChecked { id: story.core.launched, holder: STRANGER });
        story.waits();
        insta::assert_snapshot!(story.told(), @r"
        time        event                      state      → state       then
             0.000  start                      stopped    → boot_hook   sweep
             0.100  swept                      boot_hook  → boot_hook   spawn boot_hook #1 (start, attempt 1)
             0.100  spawned #1                 boot_hook  → boot_hook   boot_hook #1 runs
             1.300  exited #1 code 0           boot_hook  → starting    boot_hook ended well; spawn child #2 (start, attempt 1)
             1.300  spawned #2                 starting   → starting    child #2 runs
             1.550  tick                       starting   → starting    probe startup
             1.551  startup: refused           starting   → starting    not ready, 599.749 s left
                    … refused twice a second …
           601.300  tick                       starting   → stopping    never ready; taking down: startup_timeout; send stop to main #2
           601.600  exited #2 code 0           stopping   → stopping    ended as told: code 0; send term to tree #2
           601.610  tree gone #2               stopping   → backoff     tree is gone; attempt 2 in 0.5 s; check port
           601.610  port held by 4711          backoff    → slow_retry  port held by 4711; attempt 2 in 300 s, slow: port_held
           901.610  tick                       slow_retry → boot_hook   spawn boot_hook #3 (startup_timeout, attempt 2)
        ");
    }

    #[test]
    fn a_stop_comes_while_backing_off() {
        let mut story = Story::of_a_healthy_service();
        story.exits(0.0, Exit::Code(1));
        story.tree_goes(0.01);
        story.waits();
        story.spawns();
        story.exits(0.1, Exit::Code(2));
        story.tree_goes(0.01);
        story.after(0.2, Event::StopRequested);
        insta::assert_snapshot!(story.told(), @r"
        time        event                      state      → state       then
                    … healthy for long …
          1000.000  exited #2 code 1           healthy    → stopping    ended by itself: code 1; send term to tree #2
          1000.010  tree gone #2               stopping   → backoff     tree is gone; attempt 1 in 0 s
          1000.010  tick                       backoff    → boot_hook   spawn boot_hook #3 (exit, attempt 1)
          1000.010  spawned #3                 boot_hook  → boot_hook   boot_hook #3 runs
          1000.110  exited #3 code 2           boot_hook  → stopping    boot_hook failed: code 2; taking down: hook_failed; send kill to tree #3
          1000.120  tree gone #3               stopping   → backoff     tree is gone; attempt 2 in 0.5 s
          1000.320  stop requested             backoff    → stopped     asked to stop; finished; finish with 0
        ");
    }

    #[test]
    fn frozen_together_and_thawed_nobody_is_hurt() {
        let mut story = Story::of_a_healthy_service();
        story.waits();
        story.after(30.0, Event::Tick);
        story.answers(0.5, Role::Liveness, FAIL);
        story.waits();
        story.answers(5.0, Role::Liveness, FAIL);
        story.waits();
        story.answers(0.01, Role::Liveness, Verdict::Pass);
        insta::assert_snapshot!(story.told(), @r"
        time        event                      state      → state       then
                    … healthy for long …
          1006.650  tick                       healthy    → healthy     probe liveness
          1036.650  tick                       healthy    → healthy     late by 24 s
          1037.150  liveness: timeout          healthy    → healthy
          1040.650  tick                       healthy    → healthy     probe liveness
          1045.650  liveness: timeout          healthy    → healthy
          1050.650  tick                       healthy    → healthy     probe liveness
          1050.660  liveness: pass             healthy    → healthy
        ");
    }
}
