//! Cores in the midst of their lives.

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

/// The next one is due at 110 s.
pub(super) fn answered(failures: u32) -> Watch {
    Watch { probing: Probing::NextAt(at(110.0)), ..asked(failures) }
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

/// The child hung and was killed, and its tree is gone but for the news of it.
pub(super) fn hung(policy: Policy) -> Supervisor {
    let cause = StopCause::Unhealthy(FailKind::Timeout);
    let stopping = Stopping::new(ID, Program::Child, cause, true, KILLING);
    with(policy, Phase::Stopping(Stopping { exit: Some(Exit::Signal(9)), ..stopping }))
}
