//! From nothing to a running child.

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
    let expected = "boot_hook | port held by 4711, go on; spawn boot_hook #1 (start, attempt 1)";
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
fn a_first_launch_that_is_delayed_waits_without_a_hook_and_ends_when_told() {
    let policy = Policy { first_delay: secs(30), ..defaults() };
    let core = given::with(policy, Phase::Sweeping { again_at: at(130.0) });
    let swept = Event::Swept { port: FREE };
    let core = row(&core, 100.0, swept, "backoff | first launch in 30 s");
    assert_eq!(core.next_attempt(), Some(at(130.0)));
    row(&core, 129.9, Event::Tick, "backoff |");
    row(&core, 130.0, Event::Tick, "boot_hook | spawn boot_hook #8 (start, attempt 1)");
    row(&core, 101.0, Event::StopRequested, "stopped | asked to stop; finished; finish with 0");
}

#[test]
fn nothing_is_launched_beside_what_an_earlier_run_left() {
    let core = given::phase(Phase::Sweeping { again_at: at(130.0) });
    let core = row(&core, 100.0, Event::SweepFailed, "boot_hook | left-overs remain");
    row(&core, 104.9, Event::Tick, "boot_hook |");
    let core = row(&core, 105.0, Event::Tick, "boot_hook | sweep");
    row(
        &core,
        105.1,
        Event::Swept { port: FREE },
        "boot_hook | spawn boot_hook #8 (start, attempt 1)",
    );
}

#[test]
fn a_stop_waits_for_the_sweep_as_long_as_for_a_child() {
    let sweeping = given::phase(Phase::Sweeping { again_at: at(130.0) });
    let core = row(&sweeping, 100.0, Event::StopRequested, "boot_hook | asked to stop");
    row(&core, 100.5, Event::Swept { port: FREE }, "stopped | finished; finish with 0");
    let left = "stopped | left-overs remain; finished, something is left; finish with 137";
    row(&core, 100.5, Event::SweepFailed, left);
    row(&core, 107.9, Event::Tick, "boot_hook |");
    row(&core, 108.0, Event::Tick, "stopped | finished, something is left; finish with 137");
    let again = "stopped | asked to stop at once; finished, something is left; finish with 137";
    row(&core, 100.5, Event::StopRequested, again);
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
