use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use super::*;
use crate::clock::Clock;
use crate::config::{self, Service};
use crate::metrics::TABLE;
use crate::supervisor::{
    Budget, Errno, Exit, FailKind, Incarnation, Launch, Outcome, Policy, ProbePolicy, Program,
    RestartPolicy, Signal, Slow, StopCause, Why,
};

const ID: Incarnation = Incarnation(1);

/// A service with everything that has a metric.
pub(crate) fn service() -> Service {
    let probe = ProbePolicy {
        period: Duration::from_secs(10),
        timeout: Duration::from_secs(5),
        failure_threshold: 3,
        success_threshold: 1,
    };
    Service {
        name: "gateway".to_owned(),
        command: vec!["gateway".to_owned()],
        context: config::ExecContext::default(),
        stdin: config::Stdin::Null,
        output: config::Output::Pump,
        stop_signal: 15,
        boot_hook: None,
        repair: None,
        capture: None,
        probes: config::Probes::default(),
        impostor: config::ImpostorMode::Auto,
        boot_splay: Duration::ZERO,
        recovery_objective: Some(Duration::from_secs(45)),
        policy: Policy {
            hook: None,
            first_delay: Duration::ZERO,
            capture: None,
            repair: None,
            startup: Some(probe),
            startup_timeout: Duration::from_mins(10),
            liveness: Some(probe),
            readiness: None,
            settle: Duration::from_secs(10),
            max_doubt: Duration::from_mins(2),
            stop_timeout: Duration::from_secs(8),
            unhealthy_stop_timeout: Duration::from_secs(5),
            restart: RestartPolicy::Always,
            exit_rules: Vec::new(),
            delays: vec![Duration::ZERO],
            jitter_permille: 500,
            stable_after: Duration::from_mins(1),
            slow_retry: Duration::from_mins(5),
            budget: Some(Budget { max_restarts: 5, window: Duration::from_mins(1), exit: false }),
        },
    }
}

struct Rig {
    reporter: Reporter,
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
}

fn rig(service: &Service) -> Rig {
    let metrics = Arc::new(Metrics::new(service));
    let shared = Arc::new(Shared::new(Clock::start(), &service.name));
    let reporter =
        Reporter::new(service, Arc::clone(&metrics), Arc::clone(&shared), Notify::default());
    Rig { reporter, shared, metrics }
}

impl Rig {
    fn page(&self) -> String {
        self.metrics.page(&self.shared.readings())
    }

    /// The value of the series that is written exactly so.
    fn value(&self, series: &str) -> f64 {
        let page = self.page();
        let found = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {series} in {page}")).parse().unwrap()
    }
}

/// Collects the lines that are logged on this thread while `work` runs: level, message, reason.
pub(crate) fn logged(work: impl FnOnce()) -> Vec<String> {
    #[derive(Clone, Default)]
    struct Collect(Arc<Mutex<Vec<String>>>);

    #[derive(Default)]
    struct Fields(String, String);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            match field.name() {
                "message" => self.0 = format!("{value:?}"),
                "reason" => self.1 = format!(" [{}]", format!("{value:?}").replace('"', "")),
                _ => {}
            }
        }
    }

    impl<S: tracing::Subscriber> Layer<S> for Collect {
        fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
            let mut fields = Fields::default();
            event.record(&mut fields);
            let level = event.metadata().level();
            let line = format!("{level:<5} {}{}", fields.0, fields.1);
            self.0.lock().unwrap().push(line);
        }
    }

    let lines = Collect::default();
    let subscriber = tracing_subscriber::registry().with(lines.clone());
    tracing::subscriber::with_default(subscriber, work);
    lines.0.lock().unwrap().clone()
}

fn at(millis: u64) -> Moment {
    Moment::new(Duration::from_millis(millis))
}

fn launch(reason: Reason, attempt: u32) -> Launch {
    Launch { reason, attempt, last_exit: None }
}

fn launched(program: Program, reason: Reason, attempt: u32) -> Fact {
    Fact::Launched { program, id: ID, why: launch(reason, attempt) }
}

fn answer(verdict: Verdict) -> ProbeAnswer {
    ProbeAnswer { verdict, detail: String::new(), status: None, body_head: None }
}

const FAILED: Verdict = Verdict::Fail(FailKind::Timeout);

/// A start, a hang that is healed, and a stop.
fn tell_a_heal(reporter: &mut Reporter) {
    let hook = Program::BootHook;
    let healthy = Fact::Healthy { id: ID, settles: true };
    let failed = |failures| Fact::ProbeFailed {
        role: Role::Liveness,
        kind: FailKind::Timeout,
        failures,
        threshold: 3,
    };
    let refused = Verdict::Fail(FailKind::Refused);
    let restart = Fact::RestartScheduled {
        reason: Reason::ProbeFailed,
        attempt: 2,
        delay: Duration::ZERO,
        slow: None,
    };
    let told = Fact::Exited { id: ID, exit: Exit::Signal(15), expected: true };
    let stop = |cause| Fact::StopStarted { id: ID, cause };
    let story = [
        (0, State::BootHook, launched(hook, Reason::Start, 1)),
        (1_200, State::BootHook, Fact::HookSucceeded { program: hook }),
        (1_210, State::Starting, launched(Program::Child, Reason::Start, 1)),
        (
            1_700,
            State::Starting,
            Fact::NotReadyYet { verdict: refused, left: Duration::from_millis(599_500) },
        ),
        (
            2_200,
            State::Starting,
            Fact::NotReadyYet { verdict: refused, left: Duration::from_secs(599) },
        ),
        (3_510, State::Healthy, healthy),
        (13_510, State::Healthy, Fact::Settled),
        (80_000, State::Healthy, failed(1)),
        (90_000, State::Healthy, failed(2)),
        (100_000, State::Degraded, Fact::Unhealthy { kind: FailKind::Timeout, failures: 3 }),
        (100_000, State::Degraded, stop(StopCause::Unhealthy(FailKind::Timeout))),
        (105_000, State::Degraded, Fact::KillEscalated { id: ID }),
        (105_010, State::Degraded, told),
        (105_020, State::Degraded, Fact::TreeGone { id: ID }),
        (105_020, State::Backoff, restart),
        (105_020, State::BootHook, launched(hook, Reason::ProbeFailed, 2)),
        (106_220, State::BootHook, Fact::HookSucceeded { program: hook }),
        (106_230, State::Starting, launched(Program::Child, Reason::ProbeFailed, 2)),
        (108_000, State::Healthy, healthy),
        (118_000, State::Healthy, Fact::Settled),
        (200_000, State::Stopping, Fact::StopRequested { again: false }),
        (200_000, State::Stopping, stop(StopCause::Asked)),
        (200_500, State::Stopping, told),
        (200_500, State::Stopping, Fact::TreeGone { id: ID }),
        (200_500, State::Stopped, Fact::Finished(Outcome::Asked { killed: false, left: false })),
    ];
    for (millis, state, fact) in story {
        if state == State::Starting {
            reporter.child_runs(4711);
        }
        reporter.fact(at(millis), &fact);
        reporter.state(at(millis), state, None);
    }
}

#[test]
fn the_log_tells_the_story_of_a_heal() {
    let mut rig = rig(&service());
    let lines = logged(|| tell_a_heal(&mut rig.reporter));
    insta::assert_snapshot!(lines.join("\n"), @r#"
    INFO  the boot hook runs (attempt 1) [start]
    INFO  the boot hook succeeded after 1.2 s
    INFO  started (attempt 1) [start]
    INFO  starting, 0.5 s of 10m, last answer: refused
    INFO  healthy, 2.3 s after its start [start]
    DEBUG it has settled
    INFO  liveness probe: timeout (failure 1 of 3)
    INFO  liveness probe: timeout (failure 2 of 3)
    WARN  unhealthy: 3 failed probes in a row, the last: timeout; taking it down [probe_failed]
    DEBUG taking down what there is of it [probe_failed]
    WARN  it did not end in time: SIGKILL to all that is left
    INFO  it ended with signal 15
    INFO  nothing of it is alive any more, after 5.0 s
    WARN  restart at once (attempt 2) [probe_failed]
    INFO  the boot hook runs (attempt 2) [probe_failed]
    INFO  the boot hook succeeded after 1.2 s
    INFO  started (attempt 2) [probe_failed]
    INFO  healthy again, 1.8 s after its start, 28 s after it failed [probe_failed]
    DEBUG it has settled
    INFO  recovered: down for 28 s, noticed after 20 s; healthy for 10 s now [probe_failed]
    INFO  asked to stop
    DEBUG taking it down, as asked
    INFO  it ended with signal 15
    INFO  nothing of it is alive any more, after 0.5 s
    INFO  stopped
    "#);
}

#[test]
fn who_reads_of_a_crash_in_the_log_finds_its_outage_in_the_status() {
    struct Ask(Arc<Shared>, Arc<Mutex<Vec<Option<Cause>>>>);

    impl<S: tracing::Subscriber> Layer<S> for Ask {
        fn on_event(&self, _event: &tracing::Event<'_>, _context: Context<'_, S>) {
            let outage = self.0.status().tally.outage();
            self.1.lock().unwrap().push(outage.map(|outage| outage.cause));
        }
    }

    let mut rig = rig(&service());
    rig.reporter.fact(at(0), &launched(Program::Child, Reason::Start, 1));
    rig.reporter.fact(at(100), &Fact::Healthy { id: ID, settles: false });
    let told = Arc::default();
    let subscriber = tracing_subscriber::registry().with(Ask(rig.shared, Arc::clone(&told)));
    let exited = Fact::Exited { id: ID, exit: Exit::Code(1), expected: false };
    tracing::subscriber::with_default(subscriber, || rig.reporter.fact(at(200), &exited));
    assert_eq!(*told.lock().unwrap(), [Some(Cause::Crash)]);
}

#[test]
fn a_heal_is_counted_and_measured_from_the_first_failed_probe() {
    let mut rig = rig(&service());
    tell_a_heal(&mut rig.reporter);
    let service = "service=\"gateway\"";
    for (series, expected) in [
        (format!("rekindle_restarts_total{{{service},reason=\"probe_failed\"}}"), 1.0),
        (format!("rekindle_restarts_total{{{service},reason=\"exit\"}}"), 0.0),
        (format!("rekindle_incidents_total{{{service},cause=\"unhealthy\"}}"), 1.0),
        (format!("rekindle_uptime_seconds_total{{{service}}}"), 76.49 + 92.0),
        (format!("rekindle_downtime_seconds_total{{{service},cause=\"boot\"}}"), 3.51),
        (format!("rekindle_downtime_seconds_total{{{service},cause=\"unhealthy\"}}"), 28.0),
        (format!("rekindle_downtime_seconds_total{{{service},cause=\"planned\"}}"), 0.5),
        (format!("rekindle_last_recovery_duration_seconds{{{service}}}"), 28.0),
        (format!("rekindle_recovery_duration_seconds_count{{{service}}}"), 1.0),
        (format!("rekindle_recovery_duration_seconds_bucket{{{service},le=\"45\"}}"), 1.0),
        (format!("rekindle_hook_runs_total{{{service},hook=\"boot\",result=\"success\"}}"), 2.0),
        (format!("rekindle_service_transitions_total{{{service},to=\"healthy\"}}"), 2.0),
        (format!("rekindle_service_state{{{service},state=\"stopped\"}}"), 1.0),
        (format!("rekindle_service_state{{{service},state=\"healthy\"}}"), 0.0),
        (format!("rekindle_child_last_exit_code{{{service}}}"), 143.0),
        (format!("rekindle_outage_start_timestamp_seconds{{{service}}}"), 0.0),
        (format!("rekindle_restart_attempt{{{service}}}"), 2.0),
        (format!("rekindle_time_to_healthy_seconds_sum{{{service},start=\"cold\"}}"), 2.3),
        (format!("rekindle_time_to_healthy_seconds_sum{{{service},start=\"restart\"}}"), 1.77),
    ] {
        let value = rig.value(&series);
        assert!((value - expected).abs() < 1e-6, "{series} is {value}, not {expected}");
    }
}

/// Those that the heal above does not tell.
fn untold_facts() -> Vec<Fact> {
    let asked = |killed, left| Fact::Finished(Outcome::Asked { killed, left });
    vec![
        Fact::SpawnFailed { program: Program::Child, errno: Errno(2) },
        Fact::SpawnFailed { program: Program::Repair, errno: Errno(13) },
        Fact::HookSkipped,
        Fact::HookSkipped,
        Fact::HookFailed { program: Program::BootHook, exit: Exit::Code(3) },
        Fact::HookTimedOut { program: Program::Repair },
        Fact::Stable,
        Fact::NeverReady { probably_wrong_probe: None },
        Fact::NeverReady { probably_wrong_probe: Some(404) },
        Fact::ProbeRecovered { failures: 1 },
        Fact::RestartAvoided { why: Why::Starved },
        Fact::Blind { role: Role::Liveness, why: Why::Dns },
        Fact::Sighted { role: Role::Liveness },
        Fact::Ready(true),
        Fact::Ready(false),
        Fact::Exited { id: ID, exit: Exit::Signal(11), expected: false },
        Fact::StopStarted { id: ID, cause: StopCause::Exited(Exit::Signal(11)) },
        Fact::Unkillable { id: ID },
        Fact::RestartScheduled {
            reason: Reason::Exit,
            attempt: 4,
            delay: Duration::from_mins(5),
            slow: Some(Slow::ExitRule),
        },
        Fact::PortHeld { pid: 4711, launching_anyway: true },
        Fact::PortHeld { pid: 4711, launching_anyway: false },
        Fact::CameLate { by: Duration::from_millis(3_200) },
        Fact::CameLate { by: Duration::ZERO },
        Fact::StopRequested { again: true },
        Fact::Forwarded(Signal::Usr1),
        Fact::StaleEvent,
        asked(true, false),
        asked(true, true),
        Fact::Finished(Outcome::ChildEnded(Exit::Code(7))),
        Fact::Finished(Outcome::BudgetSpent),
        Fact::Finished(Outcome::BootHookFailed),
    ]
}

#[test]
fn every_fact_has_its_line_and_none_leaves_the_table() {
    let mut rig = rig(&service());
    let facts = untold_facts();
    let lines = logged(|| facts.iter().for_each(|fact| rig.reporter.fact(at(1), fact)));
    assert_eq!(lines.len(), facts.len(), "one line each");
    insta::assert_snapshot!(lines.join("\n"), @r#"
    WARN  the child cannot be started: No such file or directory (os error 2) [spawn_failed]
    WARN  repair cannot be started: Permission denied (os error 13) [spawn_failed]
    INFO  there is no boot hook, skipped
    DEBUG there is no boot hook, skipped
    WARN  the boot hook failed with code 3 after 0 ms; the child is not started [hook_failed]
    WARN  repair was still running after 0 ms; the child is not started [hook_timeout]
    INFO  stable: the backoff starts afresh
    WARN  it never became healthy within 10m; taking it down [startup_timeout]
    WARN  it answered every probe with 404 for 10m: the probe is probably wrong, check its URL or accept 404 with expect_status [startup_timeout]
    INFO  the probe passes again after 1 failure
    WARN  restart avoided, the failure is not believed: starved
    WARN  blind: the liveness probe could not tell anything for ten periods: dns; nothing is healed on that
    INFO  the liveness probe can tell again
    INFO  ready for traffic
    WARN  not ready for traffic, says its readiness probe
    WARN  it was killed by signal 11 [signal]
    DEBUG taking down what there is of it [signal]
    ERROR SIGKILL has not ended it for 0 ms; it is not replaced
    WARN  restart in 5m (attempt 4), at the slow pace: exit_rule [exit]
    WARN  its port is held by pid 4711, not ours; it is started all the same
    WARN  its port is held by pid 4711, not ours; waiting for that to end
    WARN  we were late by 3.2 s: verdicts of this round are not believed
    WARN  the machine was suspended: verdicts of this round are not believed
    WARN  asked again to stop: SIGKILL now
    INFO  passed signal usr1 on
    TRACE news about something that is over, dropped
    WARN  stopped, by SIGKILL
    ERROR stopped, but not everything could be ended
    INFO  it ended with code 7, and that is not healed: the run ends
    ERROR its restarts are spent, and on_exhausted is exit: the run ends
    ERROR the boot hook failed, and on_boot_failure is exit: the run ends
    "#);
    let page = rig.page();
    for family in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = family.split(' ').next().unwrap();
        assert!(TABLE.iter().any(|family| family.name == name), "{name} is not in the table");
    }
}

#[test]
fn probes_are_counted_by_what_they_said_and_doubt_holds_the_count() {
    let mut rig = rig(&service());
    let took = Duration::from_millis(30);
    let late = Verdict::Inconclusive { why: Why::Late, instead_of: Some(FailKind::Timeout) };
    let lines = logged(|| {
        for verdict in [Verdict::Pass, FAILED, FAILED, late] {
            rig.reporter.probe_answered(at(1), Role::Liveness, verdict, took, &answer(verdict));
        }
    });
    assert!(lines.iter().all(|line| line.starts_with("DEBUG")), "{lines:?}");
    let labels = "service=\"gateway\",probe=\"liveness\"";
    for (series, expected) in [
        (format!("rekindle_probe_attempts_total{{{labels},result=\"success\"}}"), 1.0),
        (format!("rekindle_probe_attempts_total{{{labels},result=\"timeout\"}}"), 2.0),
        (format!("rekindle_probe_attempts_total{{{labels},result=\"inconclusive\"}}"), 1.0),
        (format!("rekindle_probe_consecutive_failures{{{labels}}}"), 2.0),
        (format!("rekindle_probe_success{{{labels}}}"), 0.0),
        (format!("rekindle_probe_duration_seconds_count{{{labels}}}"), 4.0),
    ] {
        assert!((rig.value(&series) - expected).abs() < 1e-9, "{series}");
    }
    let answer = &rig.shared.status().probes["liveness"];
    assert_eq!(answer.detail, "inconclusive: late (looked like timeout)");
    assert_eq!(answer.failures, 2);
}

#[test]
fn a_readiness_probe_that_goes_on_failing_is_no_news() {
    let mut service = service();
    service.policy.readiness = service.policy.liveness;
    let mut rig = rig(&service);
    let failed = Fact::ProbeFailed {
        role: Role::Readiness,
        kind: FailKind::Timeout,
        failures: 3,
        threshold: 3,
    };
    let lines = [3, 4].map(|failures| {
        while rig.reporter.status.probes.get("readiness").is_none_or(|a| a.failures < failures) {
            let took = Duration::from_millis(30);
            rig.reporter.probe_answered(at(1), Role::Readiness, FAILED, took, &answer(FAILED));
        }
        logged(|| rig.reporter.fact(at(1), &failed))
    });
    assert_eq!(
        lines.concat(),
        [
            "INFO  readiness probe: timeout (failure 3 of 3)",
            "DEBUG readiness probe: timeout (4 failures in a row)",
        ]
    );
}

#[test]
fn each_probe_is_blind_for_itself_and_at_most_for_one_launch() {
    let mut service = service();
    service.policy.readiness = service.policy.liveness;
    let mut rig = rig(&service);
    let blind = |rig: &Rig| {
        [Role::Startup, Role::Liveness, Role::Readiness].map(|role| {
            let series = format!("rekindle_probe_blind{{service=\"gateway\",probe=\"{role}\"}}");
            rig.value(&series) > 0.5
        })
    };
    let (liveness, readiness) = (Role::Liveness, Role::Readiness);
    let why = Why::Dns;
    assert_eq!(blind(&rig), [false, false, false]);
    rig.reporter.fact(at(1), &Fact::Blind { role: liveness, why });
    rig.reporter.fact(at(2), &Fact::Blind { role: readiness, why });
    assert_eq!(blind(&rig), [false, true, true]);
    rig.reporter.fact(at(3), &Fact::Sighted { role: readiness });
    assert_eq!(blind(&rig), [false, true, false]);
    rig.reporter.fact(at(4), &Fact::Exited { id: ID, exit: Exit::Code(1), expected: false });
    assert_eq!(blind(&rig), [false, false, false], "its child is gone");
    rig.reporter.fact(at(5), &Fact::Blind { role: Role::Startup, why });
    rig.reporter.fact(at(6), &launched(Program::Child, Reason::Exit, 2));
    assert_eq!(blind(&rig), [false, false, false], "its launch is over");
}

#[test]
fn ready_means_healthy_and_passed_by_the_readiness_probe_if_there_is_one() {
    let mut plain = rig(&service());
    plain.reporter.fact(at(0), &launched(Program::Child, Reason::Start, 1));
    plain.reporter.state(at(0), State::Starting, None);
    assert_eq!(plain.shared.ready(), Err("gateway is starting (attempt 1)".to_owned()));
    plain.reporter.state(at(1), State::Healthy, None);
    assert_eq!(plain.shared.ready(), Ok(()));

    let mut service = service();
    service.policy.readiness = service.policy.liveness;
    let mut probed = rig(&service);
    probed.reporter.fact(at(0), &launched(Program::Child, Reason::Start, 1));
    probed.reporter.state(at(1), State::Healthy, None);
    probed.shared.ready().unwrap_err();
    let exported = |rig: &Rig| rig.value("rekindle_service_ready{service=\"gateway\"}");
    assert!(exported(&probed).abs() < 1e-9);
    probed.reporter.fact(at(2), &Fact::Ready(true));
    assert_eq!(probed.shared.ready(), Ok(()));
    assert!((exported(&probed) - 1.0).abs() < 1e-9);
    probed.reporter.fact(at(3), &launched(Program::Child, Reason::Exit, 2));
    probed.shared.ready().unwrap_err();
}

#[test]
fn a_drill_that_broke_nothing_is_over_and_the_next_crash_is_real() {
    let mut rig = rig(&service());
    let passes = |rig: &mut Rig, second: u64| {
        let took = Duration::from_millis(1);
        rig.reporter.probe_answered(
            at(second * 1000),
            Role::Liveness,
            Verdict::Pass,
            took,
            &answer(Verdict::Pass),
        );
    };
    for fact in [Fact::Healthy { id: Incarnation(1), settles: true }, Fact::Settled] {
        rig.reporter.fact(at(1), &fact);
    }
    rig.reporter.drill_began(at(10_000), DrillFault::Hang);
    passes(&mut rig, 11);
    assert!(rig.reporter.is_drilling(), "this probe was asked for before");
    passes(&mut rig, 100);
    assert!(!rig.reporter.is_drilling());
    assert!(
        (rig.value("rekindle_drills_total{service=\"gateway\",result=\"aborted\"}") - 1.0).abs()
            < 1e-9
    );
    let exit = Exit::Signal(9);
    rig.reporter.fact(at(200_000), &Fact::Exited { id: Incarnation(1), exit, expected: false });
    let incidents = "rekindle_incidents_total{service=\"gateway\",cause=\"crash\"}";
    assert!((rig.value(incidents) - 1.0).abs() < 1e-9);
}

#[test]
fn a_turn_of_the_loop_is_measured_and_its_next_one_watched() {
    let mut rig = rig(&service());
    rig.reporter.loop_turned(at(1), Duration::from_millis(20));
    assert!((rig.value("rekindle_loop_lag_seconds_bucket{le=\"0.01\"}")).abs() < 1e-9);
    assert!((rig.value("rekindle_loop_lag_seconds_bucket{le=\"0.025\"}") - 1.0).abs() < 1e-9);
    rig.reporter.loop_turned(at(2), Duration::ZERO);
    rig.reporter.loop_waits(at(2), None);
    assert!((rig.value("rekindle_loop_overdue_seconds")).abs() < 1e-9, "nothing is due");
    assert_eq!(rig.reporter.watchdog_period(), None, "nobody asked for it");
}

#[test]
fn the_pid_is_known_while_the_child_runs() {
    let mut rig = rig(&service());
    rig.reporter.child_runs(std::process::id());
    assert_eq!(rig.shared.status().pid, Some(std::process::id()));
    assert!(rig.value("rekindle_child_processes{service=\"gateway\"}") >= 1.0);
    rig.reporter.fact(at(1), &Fact::Exited { id: ID, exit: Exit::Code(1), expected: false });
    assert_eq!(rig.shared.status().pid, None);
    assert!(!rig.page().contains("rekindle_child_processes{"), "left out rather than made up");
}

#[test]
fn the_restarts_left_are_shown() {
    let mut rig = rig(&service());
    let left = |rig: &Rig| rig.value("rekindle_restart_budget_remaining{service=\"gateway\"}");
    assert!((left(&rig) - 5.0).abs() < 1e-9);
    rig.reporter.restarts_left(3);
    assert!((left(&rig) - 3.0).abs() < 1e-9);
    assert_eq!(rig.shared.status().restarts_left, Some(3));
}
