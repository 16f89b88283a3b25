//! One row per rule, and a few stories that an operator should enjoy.
//!
//! A row is: where we are, when, what happens, and what must follow: `state | orders and facts`.
//! The stories read like a log; they run a whole life with the default policy.

mod after_an_exit;
mod coming_up;
mod doubting;
mod given;
mod launching;
mod staying_up;
mod stories;
mod taking_down;
mod the_pace;

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
        first_delay: Duration::ZERO,
        capture: None,
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
