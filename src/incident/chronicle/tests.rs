use super::*;
use crate::supervisor::{
    Errno, Exit as Ended, FailKind, Incarnation, Launch, Outcome, Reason, Slow, StopCause,
};
use crate::tally::Tally;

const ID: Incarnation = Incarnation(1);
const HOOK: Program = Program::BootHook;
const CRASH: Fact = Fact::Exited { id: ID, exit: Ended::Code(1), expected: false };
const PASS: Fact = Fact::Healthy { id: ID, settles: true };
const GONE: Fact = Fact::TreeGone { id: ID };
const STOP: Fact = Fact::StopRequested { again: false };

/// 2026-11-26 20:17:51.123 UTC.
const START: Duration = Duration::from_millis(1_795_724_271_123);

/// A tally and a chronicle that hear the same, from a run that began healthy.
struct Story {
    tally: Tally,
    chronicle: Chronicle,
    told: Vec<Incident>,
}

impl Story {
    fn healthy() -> Self {
        let mut story =
            Self::beginning(Outage::at_start(Moment::ZERO, Cause::Boot, Duration::ZERO));
        story.tell(&[(1, PASS), (2, Fact::Settled)]);
        assert!(story.told.is_empty(), "{:?}", story.told);
        story
    }

    fn beginning(outage: Outage) -> Self {
        let mut chronicle = Chronicle::new("gateway", 0x9c0f_0000_0000_0000);
        let told = chronicle.begins_with(time(0), &outage).into_iter().collect();
        let tally = Tally::continuing(crate::tally::Sums::default(), outage);
        Self { tally, chronicle, told }
    }

    fn tell(&mut self, facts: &[(u64, Fact)]) {
        for (second, fact) in facts {
            let news = self.tally.fact(time(*second).now, fact);
            self.told.extend(self.chronicle.fact(time(*second), fact, news.as_ref()));
        }
    }

    fn probe(&mut self, second: u64, verdict: Verdict, body: &str) {
        let answer = Answer {
            verdict,
            detail: format!("at {second}"),
            status: None,
            body_head: Some(body.to_owned()),
        };
        let took = Duration::from_millis(20);
        self.chronicle.probe_answered(time(second).now, Role::Liveness, verdict, took, &answer);
    }

    fn last(&self) -> &Incident {
        self.told.last().expect("a record")
    }

    fn timeline(&self) -> String {
        let line = |step: &Step| {
            format!("{:>4} {} {}", step.after_seconds, step.what, step.detail).trim_end().to_owned()
        };
        self.last().timeline.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

fn time(second: u64) -> Time {
    let since_start = Duration::from_secs(second);
    Time { now: Moment::new(since_start), wall: START + since_start }
}

fn launched(program: Program, reason: Reason, attempt: u32) -> Fact {
    Fact::Launched { program, id: ID, why: Launch { reason, attempt, last_exit: None } }
}

fn waits(reason: Reason, attempt: u32, seconds: u64, slow: Option<Slow>) -> Fact {
    Fact::RestartScheduled { reason, attempt, delay: Duration::from_secs(seconds), slow }
}

fn failed(failures: u32) -> Fact {
    Fact::ProbeFailed { role: Role::Liveness, kind: FailKind::Timeout, failures, threshold: 3 }
}

#[test]
fn a_crash_and_its_way_back() {
    let mut story = Story::healthy();
    story.tell(&[
        (60, CRASH),
        (61, GONE),
        (61, waits(Reason::Exit, 2, 0, None)),
        (61, launched(HOOK, Reason::Exit, 2)),
        (64, Fact::HookFailed { program: HOOK, exit: Ended::Code(3) }),
        (64, Fact::StopStarted { id: ID, cause: StopCause::HookFailed }),
        (64, GONE),
        (64, waits(Reason::HookFailed, 3, 2, None)),
        (66, launched(HOOK, Reason::HookFailed, 3)),
        (67, Fact::HookSucceeded { program: HOOK }),
        (67, launched(Program::Child, Reason::HookFailed, 3)),
        (67, Fact::NotReadyYet { verdict: Verdict::Fail(FailKind::Refused), left: START }),
        (69, PASS),
        (79, Fact::Settled),
    ]);
    insta::assert_snapshot!(story.timeline(), @r"
       0 broke it exited with code 1
       0 detected
       1 gone
       1 hook boot_hook, attempt 2
       4 hook_ended boot_hook: code 3
       4 gone
       4 waiting 2.0 s for attempt 3 (hook_failed)
       6 hook boot_hook, attempt 3
       7 hook_ended boot_hook: success
       7 started attempt 3
       9 passed
      19 settled
    ");
    let record = story.last();
    assert_eq!(record.id, "20261126-201851-123-9c0f");
    assert_eq!(record.began, "2026-11-26T20:18:51.123Z");
    assert_eq!((record.cause.as_str(), record.attempts), ("crash", 2));
    let summary = "it exited with code 1; healed after 9.0 s and 2 attempts";
    assert_eq!(record.summary, summary);
    assert_eq!(record.exit, Some(Exit { how: "code 1".to_owned(), code: 1 }));
    let end = record.end.as_ref().expect("it is over");
    assert_eq!((end.how.as_str(), end.at.as_str()), ("healed", "2026-11-26T20:19:00.123Z"));
    assert!((end.after_seconds - 9.0).abs() < 1e-9);
    assert_eq!((record.hooks.len(), record.hooks[0].result.as_str()), (1, "success"));
    assert!(story.told.iter().rev().skip(1).all(|earlier| !earlier.is_over()));
    assert_eq!(story.told[0].summary, "it exited with code 1; not healed yet");

    story.tell(&[(90, CRASH)]);
    let (first, second) = (&story.told[0], story.last());
    assert!(second.id > first.id && second.timeline.len() == 2, "{second:?}");
}

#[test]
fn a_hang_is_dated_back_and_shows_what_was_seen_before() {
    let mut story = Story::healthy();
    story.probe(50, Verdict::Pass, "fine");
    let timeout = Verdict::Fail(FailKind::Timeout);
    story.tell(&[(55, Fact::RestartAvoided { why: Why::Starved })]);
    for (failures, second) in (1..).zip([60, 70, 80]) {
        story.probe(second, timeout, "sick");
        story.tell(&[(second, failed(failures))]);
    }
    story.tell(&[
        (80, Fact::Unhealthy { kind: FailKind::Timeout, failures: 3 }),
        (80, Fact::StopStarted { id: ID, cause: StopCause::Unhealthy(FailKind::Timeout) }),
        (85, Fact::KillEscalated { id: ID }),
        (86, Fact::Exited { id: ID, exit: Ended::Signal(9), expected: true }),
        (86, GONE),
        (86, Fact::RestartAvoided { why: Why::Starved }),
    ]);
    insta::assert_snapshot!(story.timeline(), @r"
      -5 avoided starved
       0 broke 3 probes failed in a row: timeout
      20 detected
      20 stopping
      25 killed
      26 gone
      26 avoided starved
    ");
    let record = story.last();
    assert_eq!((record.cause.as_str(), record.exit.as_ref()), ("unhealthy", None));
    assert!((record.detected_after_seconds - 20.0).abs() < 1e-9);
    assert_eq!(record.avoided, [Avoided { why: "starved".to_owned(), times: 2 }]);
    let probes: Vec<_> = record
        .probes
        .iter()
        .map(|probe| (probe.after_seconds.to_string(), probe.result.as_str(), probe.body.as_str()))
        .collect();
    let expected = [("-10", "success", ""), ("0", "timeout", "sick"), ("10", "timeout", "sick")]
        .map(|(at, result, body)| (at.to_owned(), result, body));
    assert_eq!(probes[..3], expected, "{probes:?}");
}

#[test]
fn days_of_crashes_are_told_by_how_they_began_and_how_they_go_on() {
    let mut story = Story::healthy();
    story.tell(&[(60, CRASH)]);
    for attempt in 2..2_000 {
        let second = 60 * u64::from(attempt);
        story.probe(second, Verdict::Fail(FailKind::Refused), "");
        story.tell(&[
            (second, launched(Program::Child, Reason::Exit, attempt)),
            (second + 1, CRASH),
        ]);
    }
    let record = story.last();
    assert_eq!((record.timeline.len(), record.steps_left_out), (50, 2 * 1_998 + 2 - 50));
    assert_eq!((record.attempts, record.probes.len()), (1_998, PROBES));
    assert_eq!(record.timeline[9].detail, "code 1");
    assert_eq!(record.timeline[48].detail, "attempt 1999");
    assert!(serde_json::to_string(record).expect("JSON").len() < 10_000);
}

#[test]
fn every_end_is_told_by_how_it_came() {
    let by_budget = Fact::Finished(Outcome::BudgetSpent);
    let asked = Fact::Finished(Outcome::Asked { killed: false, left: false });
    for (facts, how, summary) in [
        (
            &[(62, STOP), (63, asked)][..],
            STOPPED,
            "a stop was asked for after 2.0 s, before it was healed",
        ),
        (&[(65, by_budget)], ENDED, "not healed, the run ended after 5.0 s"),
        (&[(65, Fact::Healthy { id: ID, settles: false })], HEALED, "healed after 5.0 s"),
        (
            &[(65, PASS), (66, STOP)],
            STOPPED,
            "a stop was asked for after 6.0 s, before it was healed",
        ),
    ] {
        let mut story = Story::healthy();
        story.tell(&[(60, CRASH)]);
        story.tell(facts);
        let record = story.last();
        assert_eq!(record.end.as_ref().map(|end| end.how.as_str()), Some(how));
        assert_eq!(record.summary, format!("it exited with code 1; {summary}"));
        assert_eq!(story.told.iter().filter(|record| record.is_over()).count(), 1);
    }
}

#[test]
fn what_broke_before_this_run_has_a_record_from_then_on_and_a_start_has_none() {
    let outage = Outage::at_start(Moment::ZERO, Cause::PowerCycle, Duration::from_secs(30));
    let mut story = Story::beginning(outage);
    assert_eq!(story.last().began, "2026-11-26T20:17:21.123Z");
    story.tell(&[
        (0, Fact::FirstLaunchDelayed { delay: Duration::from_secs(2) }),
        (2, launched(Program::Child, Reason::Start, 1)),
        (5, PASS),
        (15, Fact::Settled),
    ]);
    insta::assert_snapshot!(story.timeline(), @r"
       0 broke power loss or reset of the host
      30 detected
      30 waiting 2.0 s for its share of boot_splay
      32 started attempt 1
      35 passed
      45 settled
    ");
    let healed = "power loss or reset of the host; healed after 35 s";
    assert_eq!((story.last().summary.as_str(), story.last().attempts), (healed, 1));
    for cause in Cause::ALL {
        let story = Story::beginning(Outage::at_start(Moment::ZERO, *cause, Duration::ZERO));
        let recorded = !matches!(cause, Cause::Boot | Cause::Planned);
        assert_eq!(story.told.len(), usize::from(recorded), "{cause:?}");
    }
}

#[test]
fn a_drill_has_a_record_that_says_so() {
    let mut story = Story::healthy();
    story.tally.drill();
    story.tell(&[(60, CRASH)]);
    assert_eq!(story.last().cause, "drill");
    assert!(story.last().summary.starts_with("a drill: it exited"), "{}", story.last().summary);
}

#[test]
fn every_record_fits_its_schema() {
    const SCHEMA: &str = include_str!("../../../docs/incident.schema.json");
    let schema = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    let mut story = Story::healthy();
    story.probe(59, Verdict::Fail(FailKind::Refused), "sick");
    let repair = Program::Repair;
    story.tell(&[
        (59, Fact::RestartAvoided { why: Why::Late }),
        (60, CRASH),
        (60, launched(repair, Reason::Exit, 2)),
        (61, Fact::HookTimedOut { program: repair }),
        (61, Fact::KillEscalated { id: ID }),
        (62, waits(Reason::HookTimeout, 3, 5, Some(Slow::ExitRule))),
    ]);
    story.chronicle.port_is_held_by(1, "x".to_owned());
    story.tell(&[
        (67, Fact::PortHeld { pid: 1, launching_anyway: true }),
        (67, launched(Program::Child, Reason::HookTimeout, 3)),
        (70, Fact::NeverReady { probably_wrong_probe: Some(404) }),
        (71, STOP),
    ]);
    for record in &story.told {
        let document = serde_json::to_value(record).expect("it has a JSON form");
        crate::schema::fit(&schema, &document).expect("it fits");
    }
}

#[test]
fn what_the_edges_know_explains_it() {
    let mut story = Story::healthy();
    story.tell(&[(60, CRASH)]);
    let text = "cannot start \"x\": it is not there".to_owned();
    story.chronicle.note(time(61).now, &Note::LaunchFailed { program: HOOK, text });
    story.tell(&[(61, Fact::SpawnFailed { program: HOOK, errno: Errno(2) })]);
    let killed = Note::LeftOverKilled { pid: 4711, name: "node".to_owned() };
    story.chronicle.note(time(62).now, &killed);
    story.chronicle.note(time(62).now, &Note::HupIgnored);
    story.chronicle.port_is_held_by(4711, "node".to_owned());
    story.tell(&[(63, Fact::PortHeld { pid: 4711, launching_anyway: false })]);
    insta::assert_snapshot!(story.timeline(), @r#"
       0 broke it exited with code 1
       0 detected
       1 not_started cannot start "x": it is not there
       2 noted killed pid 4711 (node), left over from an earlier run
       3 port_held by pid 4711, waiting for it
    "#);
    let record = story.last();
    assert_eq!(record.port_holder, Some(PortHolder { pid: 4711, name: "node".to_owned() }));
    let hook = &record.hooks[0];
    assert_eq!(
        (hook.result.as_str(), hook.detail.as_str()),
        ("failure", "cannot start \"x\": it is not there")
    );
}
