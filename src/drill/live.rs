//! The drill of a service that runs: its own supervisor breaks it when told to, and heals it as
//! always.
//!
//! The order goes through the control socket; nothing is signalled from here. What is refused, and
//! why, is the supervisor's to say.

use std::path::Path;
use std::time::Duration;

use super::round::now;
use super::scenario::{Expect, Scenario};
use super::timeline::{self, Known};
use super::watch::{Seen, Watch};
use super::{Outcome, Verdict};
use crate::status::human;

/// A real service may take long to start. Without an objective it is waited for this long.
const PATIENCE: Duration = Duration::from_mins(15);

/// A healthy service has settled after this.
const SETTLED_WITHIN: Duration = Duration::from_mins(2);

/// Has the service behind this control socket broken, and watches it heal.
pub(super) fn drill(
    socket: &Path,
    scenario: &'static Scenario,
    repetition: u32,
    limit: Option<Duration>,
) -> Outcome {
    let mut watch = Watch::new(socket.to_owned());
    let mut known = Known { fault: now(), ..Known::default() };
    let healed = be_healed(&mut watch, scenario, limit.unwrap_or(PATIENCE), &mut known);
    Outcome {
        scenario,
        repetition,
        verdict: healed.map_or_else(|why| Verdict::Failed(vec![why]), |()| Verdict::Passed),
        marks: timeline::marks(&watch.seen, known),
        bands: timeline::bands(&watch.seen, known),
        log: None,
    }
}

fn be_healed(
    watch: &mut Watch,
    scenario: &Scenario,
    limit: Duration,
    known: &mut Known,
) -> Result<(), String> {
    let calm = |seen: &Seen| seen.state == "healthy" && seen.outage.is_none();
    // The one before may be settling.
    let before = watch
        .until(SETTLED_WITHIN, |_| {}, calm)
        .ok_or("it was not healthy before anything was broken")?;
    let restarts = |watch: &Watch| match scenario.expect {
        Expect::Restart(reason) => {
            watch.count("rekindle_restarts_total", &format!("reason=\"{reason}\""))
        }
        Expect::ColdStart | Expect::Report(_) => 0,
    };
    let restarts_before = restarts(watch);
    known.fault = now();
    watch.order(&format!("/drill?{}", scenario.name))?;
    let fault = known.fault;
    let recovered = watch
        .until(limit, |_| {}, |seen| seen.is_healthy_since(fault) && seen.pid != before.pid)
        .ok_or_else(|| format!("it did not recover within {}", human(limit)))?;
    known.settled = watch
        .until(SETTLED_WITHIN, |_| {}, |seen| calm(seen) && seen.since == recovered.since)
        .map(|_| now());
    if known.settled.is_none() {
        return Err("it recovered, but did not stay healthy".to_owned());
    }
    if restarts(watch) == restarts_before {
        return Err("no restart is counted for its reason".to_owned());
    }
    Ok(())
}
