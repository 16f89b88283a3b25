//! The report for programs: spans in seconds from the fault on, null for what did not happen.

use std::fmt::{self, Write as _};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Arena, Outcome, Report};
use crate::drill::Verdict;

pub(super) fn write(report: &Report, text: &mut String) -> fmt::Result {
    let document = json!({
        "passed": report.has_passed(),
        "not_done": report.undone,
        "seed": report.seed,
        "objective_seconds": report.objective.map(seconds),
        "done_in": match report.arena {
            Arena::Namespaces => "namespaces",
            Arena::OwnTree(_) => "own_tree",
            Arena::Running(_) => "running_service",
        },
        "scenarios": report.outcomes.iter().map(one).collect::<Vec<_>>(),
    });
    writeln!(text, "{document:#}")
}

fn one(outcome: &Outcome) -> Value {
    let verdict = match outcome.verdict {
        Verdict::Passed => "passed",
        Verdict::Failed(_) => "failed",
        Verdict::Skipped(_) => "skipped",
    };
    let marks: Map<_, _> = outcome
        .marks
        .named()
        .map(|(name, mark)| (name.replace(' ', "_"), json!(mark.map(seconds))))
        .into_iter()
        .collect();
    let bands = outcome.bands.iter().map(
        |band| json!({ "state": band.state, "from": seconds(band.from), "to": seconds(band.to) }),
    );
    json!({
        "name": outcome.scenario.name,
        "simulates": outcome.scenario.simulates,
        "repetition": outcome.repetition,
        "verdict": verdict,
        "remarks": outcome.remarks(),
        "marks": marks,
        "states": bands.collect::<Vec<_>>(),
    })
}

/// Milliseconds are what the supervisor tells.
fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1000.0).round() / 1000.0
}
