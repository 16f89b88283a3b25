//! Stops, grace, SIGKILL, and whom signals reach.

use super::*;

const UNHEALTHY: StopCause = StopCause::Unhealthy(FailKind::Timeout);

#[test]
fn a_stop_ends_every_phase() {
    let asked = |rest: &str| format!("stopping | asked to stop; taking down: asked; {rest}");
    let ended = "stopped | asked to stop; finished; finish with 0";
    let table = [
        (given::phase(Phase::Idle), ended.to_owned()),
        (
            given::phase(Phase::Sweeping { again_at: at(130.0) }),
            "boot_hook | asked to stop".to_owned(),
        ),
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
    let core =
        row(&given::killing(UNHEALTHY), 100.0, Event::StopRequested, "stopping | asked to stop");
    row(&core, 100.9, Event::Tick, "stopping |");
    let left =
        row(&core, 101.0, Event::Tick, "stopped | finished, something is left; finish with 137");
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

/// The defaults, with a capture command that may take ten seconds, and a child that just hung.
fn looked_at() -> Supervisor {
    let policy = Policy { capture: Some(secs(10)), ..defaults() };
    let core = given::with(policy, given::healthy_phase(2));
    let looks = "degraded | liveness failed 3 of 3; unhealthy after 3 (timeout); \
                 taking down: probe_failed; capture #7";
    row(&core, 100.0, live(FAIL), looks)
}

#[test]
fn a_child_that_hangs_is_looked_at_before_it_is_asked_to_end() {
    let asked = "degraded | send stop to main #7";
    let core = looked_at();
    let captured = row(&core, 102.0, Event::Captured(ID), asked);
    assert_eq!(captured.deadline(), Some(at(107.0)));
    row(&captured, 102.1, Event::Captured(ID), "degraded | stale");
    row(&core, 110.9, Event::Tick, "degraded |");
    row(&core, 111.0, Event::Tick, asked);
}

#[test]
fn a_look_ends_with_the_child_and_with_a_stop_order() {
    let ended = "degraded | ended by itself: signal 9; send term to tree #7";
    row(&looked_at(), 101.0, exited(Exit::Signal(9)), ended);
    let asked = "stopping | asked to stop; send stop to main #7";
    let core = row(&looked_at(), 101.0, Event::StopRequested, asked);
    assert_eq!(core.deadline(), Some(at(109.0)));
    let mut hurried = given::healthy(0);
    hurried.intent = Intent::Stop;
    let Phase::Stopping(stopping) = looked_at().phase else { panic!("it is taken down") };
    hurried.phase = Phase::Stopping(stopping);
    let killed = "degraded | asked to stop at once; grace is over; send kill to tree #7";
    row(&hurried, 101.0, Event::StopRequested, killed);
}

#[test]
fn a_child_that_has_ended_is_not_looked_at() {
    let policy = Policy { capture: Some(secs(10)), ..defaults() };
    let core = given::with(policy, given::healthy_phase(0));
    let ended = "stopping | ended by itself: code 1; send term to tree #7";
    row(&core, 100.0, exited(Exit::Code(1)), ended);
}
