//! What the other threads may know: the latest status, whether the loop turns, what a page shows.
//!
//! The loop publishes, everybody else reads. The lock is held only to swap or copy a pointer, so a
//! reader, however slow, never delays the loop. Nothing here decides or probes anything.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::clock::{self, Clock};
use crate::metrics::{Readings, Usage};
use crate::supervisor::{Moment, State};
use crate::tally::{Outage, Tally};

/// The loop is believed to be stuck when it is later than this.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// Stands for "nothing is due".
const NEVER: u64 = u64::MAX;

/// The service as the loop last saw it.
#[derive(Clone, Debug)]
pub struct Status {
    /// The service's name.
    pub service: String,
    /// Where it is.
    pub state: State,
    /// Since when.
    pub since: Moment,
    /// The state in words, with what comes next.
    pub summary: String,
    /// Whether it may get traffic, as its readiness probe (if any) says.
    pub ready: bool,
    /// The main process of the child, while it runs.
    pub pid: Option<u32>,
    /// Number of this attempt since the last stable run, from 1.
    pub attempt: u32,
    /// When the next attempt is due.
    pub next_attempt: Option<Moment>,
    /// How the child last ended.
    pub last_exit: Option<LastExit>,
    /// The last incident that is over.
    pub last_incident: Option<Outage>,
    /// The last answer of each probe, by role.
    pub probes: BTreeMap<&'static str, Answer>,
    /// What has been counted.
    pub counts: Counts,
    /// Up and down time, and the current outage.
    pub tally: Tally,
}

/// How the child last ended.
#[derive(Clone, Debug)]
pub struct LastExit {
    /// When.
    pub at: Moment,
    /// In words: `code 1`, `signal 9`.
    pub how: String,
    /// The code, 128 + n for signal n.
    pub code: u8,
}

/// The last answer of a probe.
#[derive(Clone, Debug)]
pub struct Answer {
    /// When it came.
    pub at: Moment,
    /// The word of the verdict: `success`, `timeout` …
    pub result: &'static str,
    /// The verdict in words, and what the probe had to say about it.
    pub detail: String,
    /// How long it took.
    pub took: Duration,
    /// Failures in a row.
    pub failures: u32,
    /// When it last passed.
    pub passed: Option<Moment>,
}

/// What has been counted in this run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Counts {
    /// Children launched to replace another.
    pub restarts: u64,
    /// Restarts that did not happen because a failure was not believed.
    pub restarts_avoided: u64,
    /// Outages that began while the service was up.
    pub incidents: u64,
}

/// What the loop publishes and the other threads read.
#[derive(Debug)]
pub struct Shared {
    clock: Clock,
    status: Mutex<Arc<Status>>,
    /// Milliseconds since our start.
    last_turn: AtomicU64,
    due: AtomicU64,
}

impl Shared {
    /// Nothing has happened yet to the service of this name.
    pub fn new(clock: Clock, service: &str) -> Self {
        Self {
            clock,
            status: Mutex::new(Arc::new(Status::new(service))),
            last_turn: AtomicU64::new(0),
            due: AtomicU64::new(NEVER),
        }
    }

    /// Replaces the status.
    pub fn publish(&self, status: Status) {
        let status = Arc::new(status);
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    /// The loop has turned, and turns again at `due` at the latest.
    pub fn loop_turned(&self, now: Moment, due: Option<Moment>) {
        self.last_turn.store(millis(now), Ordering::Relaxed);
        self.due.store(due.map_or(NEVER, millis), Ordering::Relaxed);
    }

    /// The latest status.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the loop turns; how late it is otherwise. An idle loop may sleep for long: it is
    /// late only when something was due.
    pub fn live(&self) -> Result<(), String> {
        self.live_at(self.clock.now())
    }

    fn live_at(&self, now: Moment) -> Result<(), String> {
        let late = self.overdue(now);
        if late <= STUCK_AFTER {
            return Ok(());
        }
        Err(format!("the supervision loop is {} late", human(late)))
    }

    /// How far the loop is behind what was due; zero where nothing is.
    fn overdue(&self, now: Moment) -> Duration {
        Duration::from_millis(millis(now).saturating_sub(self.due.load(Ordering::Relaxed)))
    }

    /// Whether the service serves; what keeps it otherwise.
    pub fn ready(&self) -> Result<(), String> {
        let status = self.status();
        if status.state != State::Healthy {
            return Err(format!("{} is {}", status.service, status.summary));
        }
        if !status.ready {
            return Err(format!(
                "{} is healthy, its readiness probe does not pass",
                status.service
            ));
        }
        Ok(())
    }

    /// What a metrics page shows beside the recorder's numbers.
    pub fn readings(&self) -> Readings {
        let now = self.clock.now();
        let status = self.status();
        let last_tick = Moment::new(Duration::from_millis(self.last_turn.load(Ordering::Relaxed)));
        Readings {
            sums: status.tally.sums(now),
            last_tick: since_1970(now, last_tick).as_secs_f64(),
            overdue: self.overdue(now).as_secs_f64(),
            own: Usage::own(),
            child: status.pid.and_then(Usage::of_tree),
        }
    }

    /// What `/status` says.
    pub fn report(&self) -> Report {
        let now = self.clock.now();
        let status = self.status();
        Report {
            supervisor: SupervisorReport {
                version: env!("CARGO_PKG_VERSION"),
                pid: std::process::id(),
                started: timestamp(now, Moment::ZERO),
                live: self.live().is_ok(),
            },
            services: vec![ServiceReport::new(now, &status)],
        }
    }
}

impl Status {
    /// As it is when the supervisor starts.
    fn new(service: &str) -> Self {
        Self {
            service: service.to_owned(),
            state: State::Stopped,
            since: Moment::ZERO,
            summary: "not started yet".to_owned(),
            ready: false,
            pid: None,
            attempt: 0,
            next_attempt: None,
            last_exit: None,
            last_incident: None,
            probes: BTreeMap::new(),
            counts: Counts::default(),
            tally: Tally::new(Moment::ZERO),
        }
    }
}

/// `/status`, as `docs/status.schema.json` describes it. Times are RFC 3339 in UTC, spans seconds.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the schema describes each")]
pub struct Report {
    pub supervisor: SupervisorReport,
    pub services: Vec<ServiceReport>,
}

/// The supervisor itself.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the schema describes each")]
pub struct SupervisorReport {
    pub version: &'static str,
    pub pid: u32,
    pub started: String,
    pub live: bool,
}

/// One service.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the schema describes each")]
pub struct ServiceReport {
    pub name: String,
    pub state: &'static str,
    pub since: String,
    pub for_seconds: f64,
    pub summary: String,
    pub healthy: bool,
    pub ready: bool,
    pub pid: Option<u32>,
    pub attempt: u32,
    pub next_attempt: Option<String>,
    pub next_attempt_in_seconds: Option<f64>,
    pub outage: Option<OutageReport>,
    pub last_incident: Option<OutageReport>,
    pub last_exit: Option<ExitReport>,
    pub probes: BTreeMap<&'static str, AnswerReport>,
    pub counts: Counts,
    pub up_seconds: f64,
    pub down_seconds: f64,
}

/// A time in which the service was not up.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the schema describes each")]
pub struct OutageReport {
    pub cause: &'static str,
    pub began: String,
    pub detected_after_seconds: f64,
    pub seconds: f64,
}

/// How the child last ended.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the schema describes each")]
pub struct ExitReport {
    pub at: String,
    pub how: String,
    pub code: u8,
}

/// The last answer of a probe.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the schema describes each")]
pub struct AnswerReport {
    pub at: String,
    pub result: &'static str,
    pub detail: String,
    pub took_seconds: f64,
    pub consecutive_failures: u32,
    pub last_success: Option<String>,
}

impl ServiceReport {
    fn new(now: Moment, status: &Status) -> Self {
        let sums = status.tally.sums(now);
        let healthy = status.state == State::Healthy;
        Self {
            name: status.service.clone(),
            state: status.state.label(),
            since: timestamp(now, status.since),
            for_seconds: seconds(now.since(status.since)),
            summary: status.summary.clone(),
            healthy,
            ready: healthy && status.ready,
            pid: status.pid,
            attempt: status.attempt,
            next_attempt: status.next_attempt.map(|moment| timestamp(now, moment)),
            next_attempt_in_seconds: status.next_attempt.map(|moment| seconds(moment.since(now))),
            outage: status.tally.outage().map(|outage| OutageReport::new(now, &outage)),
            last_incident: status.last_incident.map(|outage| OutageReport::new(now, &outage)),
            last_exit: status.last_exit.as_ref().map(|exit| ExitReport {
                at: timestamp(now, exit.at),
                how: exit.how.clone(),
                code: exit.code,
            }),
            probes: status
                .probes
                .iter()
                .map(|(role, answer)| (*role, AnswerReport::new(now, answer)))
                .collect(),
            counts: status.counts,
            up_seconds: seconds(sums.up),
            down_seconds: seconds(sums.total().saturating_sub(sums.up + sums.pending)),
        }
    }
}

impl OutageReport {
    fn new(now: Moment, outage: &Outage) -> Self {
        Self {
            cause: outage.cause.label(),
            began: timestamp(now, outage.began),
            detected_after_seconds: seconds(outage.detection()),
            seconds: seconds(outage.duration().unwrap_or_else(|| now.since(outage.began))),
        }
    }
}

impl AnswerReport {
    fn new(now: Moment, answer: &Answer) -> Self {
        Self {
            at: timestamp(now, answer.at),
            result: answer.result,
            detail: answer.detail.clone(),
            took_seconds: seconds(answer.took),
            consecutive_failures: answer.failures,
            last_success: answer.passed.map(|moment| timestamp(now, moment)),
        }
    }
}

/// A span for people: `0.3 s`, `4.2 s`, `2m10s`, `3h5m`.
pub fn human(span: Duration) -> String {
    if span < Duration::from_secs(10) {
        return format!("{:.1} s", span.as_secs_f64());
    }
    let total = span.as_secs();
    let (hours, minutes, rest) = (total / 3600, total / 60 % 60, total % 60);
    match (hours, minutes, rest) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes}m"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, 0, _) => format!("{hours}h"),
        (hours, minutes, _) => format!("{hours}h{minutes}m"),
    }
}

/// The wall clock's time at `moment`, given that it is `now`, as the time since 1970.
pub fn since_1970(now: Moment, moment: Moment) -> Duration {
    clock::wall().saturating_sub(now.since(moment)) + moment.since(now)
}

fn timestamp(now: Moment, moment: Moment) -> String {
    let at = SystemTime::UNIX_EPOCH + since_1970(now, moment);
    humantime::format_rfc3339_millis(at).to_string()
}

/// Milliseconds are enough for people, and steady in a document.
fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1000.0).round() / 1000.0
}

fn millis(moment: Moment) -> u64 {
    u64::try_from(moment.since_start().as_millis()).unwrap_or(NEVER - 1)
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn spans_read_well() {
        for (millis, expected) in [
            (0, "0.0 s"),
            (1_234, "1.2 s"),
            (12_900, "12 s"),
            (130_000, "2m10s"),
            (600_000, "10m"),
            (3_600_000, "1h"),
            (11_100_000, "3h5m"),
        ] {
            assert_eq!(human(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn an_idle_loop_is_live_and_one_that_missed_its_time_is_not() {
        let at = |seconds| Moment::new(Duration::from_secs(seconds));
        let shared = Shared::new(Clock::start(), "gateway");
        assert_eq!(shared.live_at(at(86_400)), Ok(()), "nothing is due");
        shared.loop_turned(at(0), Some(at(3600)));
        assert_eq!(shared.live_at(at(3610)), Ok(()), "not due, or only a little late");
        let stuck = "the supervision loop is 11 s late".to_owned();
        assert_eq!(shared.live_at(at(3611)), Err(stuck));
        shared.loop_turned(at(3612), None);
        assert_eq!(shared.live_at(at(3613)), Ok(()), "it turned again");
    }

    #[test]
    fn nothing_is_ready_before_it_has_begun() {
        let shared = Shared::new(Clock::start(), "gateway");
        assert_eq!(shared.ready(), Err("gateway is not started yet".to_owned()));
    }

    const SCHEMA: &str = include_str!("../docs/status.schema.json");

    /// Checks a document against `docs/status.schema.json`.
    pub(crate) fn assert_fits_schema(document: &Value) {
        let schema = serde_json::from_str(SCHEMA).unwrap();
        fit(&schema, &schema, document, "status").unwrap();
    }

    /// As much of JSON Schema as ours uses; an unknown keyword fails, so that none is overlooked.
    fn fit(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        for (keyword, wanted) in schema.as_object().unwrap() {
            let fits = match keyword.as_str() {
                "$schema" | "$defs" | "title" | "description" | "items" | "properties" => true,
                "$ref" => {
                    let pointer = wanted.as_str().unwrap().trim_start_matches('#');
                    fit(root, root.pointer(pointer).unwrap(), value, at)?;
                    true
                }
                "anyOf" => {
                    let choices = wanted.as_array().unwrap();
                    choices.iter().any(|choice| fit(root, choice, value, at).is_ok())
                }
                "type" => {
                    let one = std::slice::from_ref(wanted);
                    let types = wanted.as_array().map_or(one, Vec::as_slice);
                    types.iter().any(|wanted| is_of(wanted, value))
                }
                "enum" => wanted.as_array().unwrap().contains(value),
                "minimum" => value.is_null() || value.as_f64() >= wanted.as_f64(),
                "maximum" => value.is_null() || value.as_f64() <= wanted.as_f64(),
                "pattern" => humantime::parse_rfc3339(value.as_str().unwrap_or_default()).is_ok(),
                "required" => {
                    let names = wanted.as_array().unwrap();
                    names.iter().all(|name| value.get(name.as_str().unwrap()).is_some())
                }
                "additionalProperties" => {
                    let known = &schema["properties"];
                    for (name, member) in value.as_object().into_iter().flatten() {
                        let at = format!("{at}.{name}");
                        match (known.get(name), wanted) {
                            (Some(known), _) => fit(root, known, member, &at)?,
                            (None, Value::Bool(false)) => return Err(format!("{at} is unknown")),
                            (None, others) => fit(root, others, member, &at)?,
                        }
                    }
                    true
                }
                unknown => return Err(format!("{at}: keyword {unknown} is not checked")),
            };
            if !fits {
                return Err(format!("{at}: {value} breaks {keyword} {wanted}"));
            }
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            fit(root, &schema["items"], item, &format!("{at}[{index}]"))?;
        }
        Ok(())
    }

    fn is_of(wanted: &Value, value: &Value) -> bool {
        match wanted.as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_u64(),
            "number" => value.is_number(),
            "null" => value.is_null(),
            other => panic!("type {other} is not checked"),
        }
    }

    #[test]
    fn a_status_with_everything_in_it_fits_the_schema() {
        let at = Moment::new(Duration::from_millis(1_234));
        let mut status = Status::new("gateway");
        let outage = status.tally.outage().unwrap();
        status.pid = Some(4711);
        status.next_attempt = Some(at);
        status.last_incident = Some(Outage { ended: Some(at), ..outage });
        status.last_exit = Some(LastExit { at, how: "signal 9".to_owned(), code: 137 });
        let detail = "timeout".to_owned();
        let took = Duration::from_secs(5);
        let answer =
            Answer { at, result: "timeout", detail, took, failures: 2, passed: Some(Moment::ZERO) };
        status.probes.insert("liveness", answer);
        let shared = Shared::new(Clock::start(), "gateway");
        shared.publish(status);
        let document = serde_json::to_value(shared.report()).unwrap();
        assert_fits_schema(&document);
        let service = &document["services"][0];
        assert_eq!(service["outage"]["cause"], "boot");
        assert_eq!(service["last_incident"]["seconds"], 1.234);
        assert_eq!(service["probes"]["liveness"]["consecutive_failures"], 2);
    }

    #[test]
    fn the_schema_refuses_what_is_wrong() {
        let document = serde_json::to_value(Shared::new(Clock::start(), "gateway").report());
        let document = document.unwrap();
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        for (pointer, wrong) in [
            ("/services/0/state", Value::from("dead")),
            ("/services/0/since", Value::from("yesterday")),
            ("/services/0/counts", serde_json::json!({})),
            ("/supervisor/pid", Value::from("1")),
            ("/services/0/outage", serde_json::json!({"cause": "boot"})),
        ] {
            let mut document = document.clone();
            *document.pointer_mut(pointer).unwrap() = wrong;
            assert!(fit(&schema, &schema, &document, "status").is_err(), "{pointer}");
        }
    }

    #[test]
    fn the_schema_lists_the_words_of_the_enums() {
        use crate::metrics::Label;
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        for (pointer, label) in [
            ("/$defs/service/properties/state/enum", Label::State),
            ("/$defs/outage/properties/cause/enum", Label::Cause),
            ("/$defs/answer/properties/result/enum", Label::ProbeResult),
        ] {
            let words = label.words().into_iter().map(Value::from).collect();
            assert_eq!(schema.pointer(pointer), Some(&Value::Array(words)), "{pointer}");
        }
    }
}
