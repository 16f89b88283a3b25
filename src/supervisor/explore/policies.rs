//! Small policies, each about one side of the machine.

use super::*;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn probe(period: u64, timeout: u64, failure_threshold: u32) -> ProbePolicy {
    ProbePolicy {
        period: secs(period),
        timeout: secs(timeout),
        failure_threshold,
        success_threshold: 1,
    }
}

/// No probe, no hook, no rule: the least there is.
pub(super) fn bare() -> Policy {
    Policy {
        hook: None,
        first_delay: Duration::ZERO,
        repair: None,
        startup: None,
        startup_timeout: secs(4),
        liveness: None,
        readiness: None,
        settle: secs(2),
        max_doubt: secs(3),
        stop_timeout: secs(3),
        unhealthy_stop_timeout: secs(2),
        capture: None,
        restart: RestartPolicy::Always,
        exit_rules: vec![],
        delays: vec![Duration::ZERO, secs(1), secs(2)],
        jitter_permille: 500,
        stable_after: secs(3),
        slow_retry: secs(4),
        budget: None,
    }
}

/// Hook, startup and liveness probe: the everyday service.
pub(super) fn everyday() -> Policy {
    Policy {
        hook: Some(HookPolicy { timeout: secs(2), exit_on_failure: false }),
        startup: Some(probe(1, 1, 1)),
        startup_timeout: secs(3),
        liveness: Some(probe(2, 1, 2)),
        ..bare()
    }
}

/// Exit rules, repair, a budget that ends the run.
pub(super) fn ruled() -> Policy {
    Policy {
        repair: Some(secs(2)),
        exit_rules: vec![ExitRule { codes: vec![78], action: ExitAction::RepairOnce }],
        restart: RestartPolicy::OnFailure,
        budget: Some(Budget { max_restarts: 2, window: secs(5), exit: true }),
        delays: vec![Duration::ZERO, secs(1)],
        ..bare()
    }
}

/// A strict hook, the slow pace when the budget is spent.
pub(super) fn strict() -> Policy {
    Policy {
        hook: Some(HookPolicy { timeout: secs(2), exit_on_failure: true }),
        exit_rules: vec![ExitRule { codes: vec![78], action: ExitAction::Slow }],
        budget: Some(Budget { max_restarts: 1, window: secs(5), exit: false }),
        ..bare()
    }
}

/// Readiness alone.
pub(super) fn ready() -> Policy {
    Policy {
        startup: None,
        liveness: None,
        readiness: Some(ProbePolicy { success_threshold: 2, ..probe(1, 1, 2) }),
        settle: secs(1),
        stable_after: secs(1),
        jitter_permille: 0,
        delays: vec![Duration::ZERO],
        ..bare()
    }
}

/// The everyday service without a hook; what hangs is looked at.
pub(super) fn looked_at() -> Policy {
    Policy {
        hook: None,
        capture: Some(secs(1)),
        delays: vec![Duration::ZERO],
        jitter_permille: 0,
        ..everyday()
    }
}

/// A hook, and nothing to probe; the first launch waits.
pub(super) fn dozing() -> Policy {
    Policy {
        first_delay: secs(2),
        hook: Some(HookPolicy { timeout: secs(2), exit_on_failure: false }),
        delays: vec![Duration::ZERO],
        jitter_permille: 0,
        ..bare()
    }
}

/// The everyday service with the fewest other things to do while somebody sleeps.
pub(super) fn sleepy() -> Policy {
    Policy {
        hook: None,
        liveness: Some(probe(1, 1, 2)),
        settle: secs(1),
        stable_after: secs(1),
        max_doubt: secs(1),
        delays: vec![Duration::ZERO],
        jitter_permille: 0,
        ..everyday()
    }
}
