//! The drill of a service that runs: its own supervisor breaks it when told to, and heals it as
//! always.
//!
//! The order goes through the control socket; nothing is signalled from here. What is refused, and
//! why, is the supervisor's to say; it is asked before anything is broken or waited for.

use std::path::Path;
use std::time::Duration;

use super::ask::{self, NoAnswer};
use super::round::now;
use super::scenario::{Expect, Scenario};
use super::timeline::{self, Known};
use super::watch::{Seen, Watch};
use super::{NoDrill, Outcome, Progress, Tell, Verdict};
use crate::status::human;

/// A real service may take long to start. Without an objective it is waited for this long.
const PATIENCE: Duration = Duration::from_mins(15);

/// A healthy service has settled after this.
const SETTLED_WITHIN: Duration = Duration::from_mins(2);

/// Asks the supervisor behind this control socket whether all of this may be done.
pub(super) fn ask_permission(
    service: &str,
    socket: &Path,
    scenarios: &[&Scenario],
) -> Result<(), NoDrill> {
    for Scenario { name, .. } in scenarios {
        ask::unix(socket, "GET", &format!("/drill?{name}")).map_err(|error| {
            let (service, scenario) = (service.to_owned(), *name);
            NoDrill::Refused { service, scenario, why: told(&error) }
        })?;
    }
    Ok(())
}

/// Has the service behind this control socket broken, and watches it heal.
pub(super) fn drill(
    socket: &Path,
    scenario: &'static Scenario,
    repetition: u32,
    limit: Option<Duration>,
    tell: &mut Tell,
) -> Outcome {
    let mut watch = Watch::only_one(socket.to_owned());
    let mut known = Known { fault: now(), ..Known::default() };
    let healed = be_healed(&mut watch, scenario, limit.unwrap_or(PATIENCE), &mut known, tell);
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
    tell: &mut Tell,
) -> Result<(), String> {
    let calm = |seen: &Seen| seen.state == "healthy" && seen.outage.is_none();
    if let Some(seen) = watch.look().filter(|seen| !calm(seen)) {
        let limit = human(SETTLED_WITHIN);
        let news = format!("waiting up to {limit} for it to be healthy for good: {}", seen.state);
        tell(&Progress::Waiting(news));
    }
    // The one before may be settling.
    let before = watch.until(SETTLED_WITHIN, |_| {}, calm);
    let before = before.ok_or_else(|| why_not(watch, "it was not healthy before the drill"))?;
    let restarts = |watch: &Watch| match scenario.expect {
        Expect::Restart(reason) => {
            watch.count("rekindle_restarts_total", &format!("reason=\"{reason}\""))
        }
        Expect::ColdStart | Expect::Report(_) => 0,
    };
    let restarts_before = restarts(watch);
    known.fault = now();
    watch.order(&format!("/drill?{}", scenario.name)).map_err(|error| {
        watch.look();
        why_not(watch, &told(&error))
    })?;
    let fault = known.fault;
    let recovered = watch
        .until(limit, |_| {}, |seen| seen.is_healthy_since(fault) && seen.pid != before.pid)
        .ok_or_else(|| why_not(watch, &format!("it did not recover within {}", human(limit))))?;
    known.settled = watch
        .until(SETTLED_WITHIN, |_| {}, |seen| calm(seen) && seen.since == recovered.since)
        .map(|_| now());
    if known.settled.is_none() {
        return Err(why_not(watch, "it recovered, but did not stay healthy"));
    }
    if restarts(watch) == restarts_before {
        return Err("no restart is counted for its reason".to_owned());
    }
    Ok(())
}

/// What was waited for did not come.
fn why_not(watch: &Watch, otherwise: &str) -> String {
    if watch.is_over() { told(&NoAnswer::Nobody) } else { otherwise.to_owned() }
}

fn told(error: &NoAnswer) -> String {
    match error {
        NoAnswer::Nobody => "the supervisor has ended".to_owned(),
        NoAnswer::Silent => format!("the supervisor is stopped or stuck: {error}"),
        NoAnswer::Refused(_) | NoAnswer::Broken(_) => error.to_string(),
    }
}
