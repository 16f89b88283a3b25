//! The document at `/status`: the latest status, worked out for the moment of the request.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::{Answer, Counts, Drill, Shared, Status, began_at, since_1970};
use crate::comeback::Comeback;
use crate::gather::gather;
use crate::history::WINDOWS;
use crate::supervisor::{Moment, State};
use crate::tally::Outage;

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
    pub start: &'static str,
    pub boot_splay: Option<SplayReport>,
    pub on_disk: OnDiskReport,
    pub state_dir: Option<PathBuf>,
    pub forgets: Option<String>,
}

/// What a start from what is on disk now would come to.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the schema describes each")]
pub struct OnDiskReport {
    pub valid: bool,
    pub problem: Option<String>,
    pub differs: bool,
}

/// The wait before the first launch.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the schema describes each")]
pub struct SplayReport {
    pub seed: String,
    pub delay_seconds: f64,
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
    pub drill: Option<DrillReport>,
    pub outage: Option<OutageReport>,
    pub incident: Option<IncidentReport>,
    pub last_incident: Option<OutageReport>,
    pub last_exit: Option<ExitReport>,
    pub probes: BTreeMap<&'static str, AnswerReport>,
    pub counts: Counts,
    pub up_seconds: f64,
    pub down_seconds: f64,
    pub availability: BTreeMap<&'static str, AvailabilityReport>,
}

/// How much of a window the service was up.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the schema describes each")]
pub struct AvailabilityReport {
    pub ratio: Option<f64>,
    pub known_seconds: f64,
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

/// A drill that is not over.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the schema describes each")]
pub struct DrillReport {
    pub fault: &'static str,
    pub began: String,
    pub seconds: f64,
}

/// The record of the current outage.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the schema describes each")]
pub struct IncidentReport {
    pub id: String,
    pub summary: String,
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

impl Report {
    /// What `/status` says.
    pub fn new(shared: &Shared) -> Self {
        let now = shared.clock.now();
        let status = shared.status();
        Self {
            supervisor: SupervisorReport {
                version: env!("CARGO_PKG_VERSION"),
                pid: std::process::id(),
                started: timestamp(now, Moment::ZERO),
                live: shared.live().is_ok(),
                start: shared.origin.start.label(),
                boot_splay: shared.origin.splay.map(|splay| SplayReport {
                    seed: format!("{:016x}", splay.seed),
                    delay_seconds: seconds(splay.delay),
                }),
                on_disk: OnDiskReport::new(shared.comeback()),
                state_dir: shared.state_dir.clone(),
                forgets: shared.forgets(),
            },
            services: vec![ServiceReport::new(now, &status)],
        }
    }
}

impl OnDiskReport {
    fn new(found: Comeback) -> Self {
        let Comeback { problem, differs } = found;
        Self { valid: problem.is_none(), problem, differs }
    }
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
            drill: status.drill.map(|Drill { fault, began }| DrillReport {
                fault: fault.label(),
                began: timestamp(now, began),
                seconds: seconds(now.since(began)),
            }),
            outage: status.tally.outage().map(|outage| OutageReport::new(now, &outage)),
            incident: status.incident.as_ref().map(|record| IncidentReport {
                id: record.id.clone(),
                summary: record.summary.clone(),
            }),
            last_incident: status.last_incident.map(|outage| OutageReport::new(now, &outage)),
            last_exit: status.last_exit.as_ref().map(|exit| ExitReport {
                at: timestamp(now, exit.at),
                how: exit.how.clone(),
                code: exit.code,
            }),
            probes: gather(
                status.probes.iter().map(|(role, answer)| (*role, AnswerReport::new(now, answer))),
            ),
            counts: status.counts,
            up_seconds: seconds(sums.up),
            down_seconds: seconds(sums.total().saturating_sub(sums.up + sums.pending)),
            availability: availability(now, status),
        }
    }
}

fn availability(now: Moment, status: &Status) -> BTreeMap<&'static str, AvailabilityReport> {
    let (history, wall) = (status.history(now), since_1970(now, now));
    gather(WINDOWS.iter().map(|window| {
        let share = history.share(wall, *window);
        let known_seconds = seconds(share.known());
        (window.label, AvailabilityReport { ratio: share.ratio(), known_seconds })
    }))
}

impl OutageReport {
    fn new(now: Moment, outage: &Outage) -> Self {
        Self {
            cause: outage.cause.label(),
            began: rfc3339(began_at(now, outage)),
            detected_after_seconds: seconds(outage.detection()),
            seconds: seconds(outage.duration().unwrap_or_else(|| outage.until(now))),
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

fn timestamp(now: Moment, moment: Moment) -> String {
    rfc3339(since_1970(now, moment))
}

/// A time since 1970 as it stands in documents.
pub(crate) fn rfc3339(since_1970: Duration) -> String {
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since_1970).to_string()
}

/// Milliseconds are enough for people, and steady in a document.
pub(crate) fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use serde_json::Value;

    use super::super::{Incident, LastExit};
    use super::*;
    use crate::clock::{self, Clock};
    use crate::history::History;
    use crate::schema::fit;
    use crate::state::{Beginning, Splay};
    use crate::supervisor::DrillFault;
    use crate::tally::Tally;

    const SCHEMA: &str = include_str!("../../docs/status.schema.json");

    /// Checks a document against `docs/status.schema.json`.
    pub(crate) fn assert_fits_schema(document: &Value) {
        fit(&serde_json::from_str(SCHEMA).unwrap(), document).unwrap();
    }

    #[test]
    fn a_status_with_everything_in_it_fits_the_schema() {
        let at = Moment::new(Duration::from_millis(1_234));
        let mut status = Status::new("gateway", Tally::new(Moment::ZERO), History::default());
        let outage = status.tally.outage().unwrap();
        status.pid = Some(4711);
        status.next_attempt = Some(at);
        status.drill = Some(Drill { fault: DrillFault::Hang, began: at });
        status.last_incident = Some(Outage { ended: Some(at), ..outage });
        status.last_exit = Some(LastExit { at, how: "signal 9".to_owned(), code: 137 });
        let detail = "timeout".to_owned();
        let took = Duration::from_secs(5);
        let answer =
            Answer { at, result: "timeout", detail, took, failures: 2, passed: Some(Moment::ZERO) };
        status.probes.insert("liveness", answer);
        let (wall, ms) = (clock::wall(), Duration::from_millis(1));
        let mut history = History::default();
        history.add(wall, wall + ms * 4, ms * 3, ms);
        status.history = history.into();
        let splay = Splay { seed: 0xabc, delay: Duration::from_millis(37_500) };
        let beginning = Beginning::default();
        let shared = Shared::continuing(Clock::start(), "gateway", &beginning, Some(splay));
        shared.publish(status);
        let problem = Some("the boot hook is gone".to_owned());
        shared.would_come_back(Comeback { problem, differs: false });
        shared.set_forgets(Some("the disk is full".to_owned()));
        let record = Incident { id: "20261126-1".to_owned(), ..Incident::default() };
        shared.show_incidents(Some(Arc::new(record)), Arc::default());
        let document = serde_json::to_value(Report::new(&shared)).unwrap();
        assert_fits_schema(&document);
        let service = &document["services"][0];
        assert_eq!(service["incident"]["id"], "20261126-1");
        assert_eq!(service["outage"]["cause"], "boot");
        assert_eq!(service["drill"]["fault"], "hang");
        assert_eq!(document["supervisor"]["forgets"], "the disk is full");
        for window in ["24h", "7d", "30d"] {
            let available = &service["availability"][window];
            assert_eq!(
                (available["ratio"].as_f64(), available["known_seconds"].as_f64()),
                (Some(0.75), Some(0.004))
            );
        }
        assert_eq!(document["supervisor"]["start"], "first");
        assert_eq!(document["supervisor"]["boot_splay"]["delay_seconds"], 37.5);
        assert_eq!(document["supervisor"]["on_disk"]["valid"], false);
        assert_eq!(service["last_incident"]["seconds"], 1.234);
        assert_eq!(service["probes"]["liveness"]["consecutive_failures"], 2);
    }

    #[test]
    fn the_schema_refuses_what_is_wrong() {
        let document = serde_json::to_value(Report::new(&Shared::new(Clock::start(), "gateway")));
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
            assert!(fit(&schema, &document).is_err(), "{pointer}");
        }
    }

    #[test]
    fn the_schema_lists_the_words_of_the_enums() {
        use crate::metrics::Label;
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        for (pointer, label) in [
            ("/$defs/service/properties/state/enum", Label::State),
            ("/properties/supervisor/properties/start/enum", Label::StartKind),
            ("/$defs/outage/properties/cause/enum", Label::Cause),
            ("/$defs/answer/properties/result/enum", Label::ProbeResult),
        ] {
            let words = label.words().into_iter().map(Value::from).collect();
            assert_eq!(schema.pointer(pointer), Some(&Value::Array(words)), "{pointer}");
        }
    }
}
