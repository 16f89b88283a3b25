//! What a supervisor says about its service, looked at again and again through its control socket.
//!
//! Moments are those that the supervisor gives, as the time since 1970; when we happened to look
//! does not matter. A state that was shorter than our pause may have been missed: it is not in the
//! picture then, and no verdict depends on it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::ask::{self, NoAnswer};
use super::interrupt;
use crate::clock::Clock;

/// Between two looks.
pub(super) const PAUSE: Duration = Duration::from_millis(10);

/// Moments that differ by less are the same. Nothing happens twice within it.
const NOISE: Duration = Duration::from_millis(20);

/// The service, as it was said to be.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Seen {
    /// The word of the state.
    pub(super) state: String,
    /// When it came into this state.
    pub(super) since: Duration,
    /// The child's main process, as it is called in the sandbox.
    pub(super) pid: Option<u32>,
    /// When the supervisor was started.
    pub(super) supervisor_since: Duration,
    /// The word for the kind of its start.
    pub(super) start: String,
    /// The outage that lasts.
    pub(super) outage: Option<Outage>,
    /// The last incident that is over.
    pub(super) last_incident: Option<Outage>,
}

/// A time in which the service was not up.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Outage {
    /// The word of its cause.
    pub(super) cause: String,
    /// When it began: at the exit, or at the first failed probe.
    pub(super) began: Duration,
    /// When the supervisor knew.
    pub(super) detected: Duration,
}

impl Seen {
    /// Whether it serves, and has done so since after `moment`.
    pub(super) fn is_healthy_since(&self, moment: Duration) -> bool {
        self.state == "healthy" && self.since > moment
    }

    /// Moments are worked out anew for each answer, and differ by a little each time: those of the
    /// last answer stay.
    fn steady(&mut self, last: &Self) {
        let keep = |moment: &mut Duration, last: Duration| {
            if moment.abs_diff(last) < NOISE {
                *moment = last;
            }
        };
        if self.state == last.state {
            keep(&mut self.since, last.since);
        }
        keep(&mut self.supervisor_since, last.supervisor_since);
        for (outage, last) in
            [(&mut self.outage, &last.outage), (&mut self.last_incident, &last.last_incident)]
        {
            if let (Some(outage), Some(last)) = (outage, last) {
                keep(&mut outage.began, last.began);
                keep(&mut outage.detected, last.detected);
            }
        }
    }
}

/// Looks at one supervisor, and keeps every change.
pub(super) struct Watch {
    socket: PathBuf,
    /// Every state that was seen, oldest first.
    pub(super) seen: Vec<Seen>,
    /// Whether nobody comes in the place of one who has ended.
    only_one: bool,
    /// Whether nobody listened when we looked last.
    nobody: bool,
}

impl Watch {
    /// Watches whoever listens on this socket.
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket, seen: Vec::new(), only_one: false, nobody: false }
    }

    /// Watches whoever listens now, and nobody after him.
    pub(super) fn only_one(socket: PathBuf) -> Self {
        Self { only_one: true, ..Self::new(socket) }
    }

    /// Whether there is nobody left to watch.
    pub(super) const fn is_over(&self) -> bool {
        self.only_one && self.nobody
    }

    /// Looks once; nothing if nobody answers.
    pub(super) fn look(&mut self) -> Option<Seen> {
        let answer = ask::unix(&self.socket, "GET", "/status");
        self.nobody = matches!(answer, Err(NoAnswer::Nobody));
        let mut seen = read(&serde_json::from_str(&answer.ok()?).ok()?)?;
        let last = self.seen.last();
        if let Some(last) = last {
            seen.steady(last);
        }
        if last != Some(&seen) {
            self.seen.push(seen.clone());
        }
        Some(seen)
    }

    /// Looks until `wanted`, at most for `limit`; also calls `meanwhile` with each look.
    pub(super) fn until(
        &mut self,
        limit: Duration,
        mut meanwhile: impl FnMut(&Seen),
        wanted: impl Fn(&Seen) -> bool,
    ) -> Option<Seen> {
        let mut found = None;
        within(limit, || {
            let seen = self.look();
            seen.iter().for_each(&mut meanwhile);
            found = seen.filter(&wanted);
            found.is_some() || self.is_over()
        });
        found
    }

    /// Gives an order.
    pub(super) fn order(&self, path: &str) -> Result<(), NoAnswer> {
        ask::unix(&self.socket, "POST", path).map(drop)
    }

    /// The sum of a counter over all series whose labels contain `labels`; 0 if nobody answers.
    pub(super) fn count(&self, name: &str, labels: &str) -> u64 {
        let page = ask::unix(&self.socket, "GET", "/metrics").unwrap_or_default();
        let value = |line: &str| {
            let (series, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
            (series.starts_with('{') && series.contains(labels))
                .then(|| value.parse::<u64>().ok())?
        };
        page.lines().filter_map(value).sum()
    }
}

/// Whether `done` comes true within `limit`, and before the drill is interrupted.
pub(super) fn within(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let mut interrupted = false;
    let over = || {
        interrupted = interrupt::is_wanted();
        interrupted || done()
    };
    surely_within(limit, over) && !interrupted
}

/// Whether `done` comes true within `limit`, whoever wants the drill to end meanwhile.
pub(super) fn surely_within(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let clock = Clock::start();
    loop {
        if done() {
            return true;
        }
        if clock.now().since_start() > limit {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}

/// What the document at `/status` says about its first service.
fn read(status: &Value) -> Option<Seen> {
    let service = status["services"].get(0)?;
    Some(Seen {
        state: service["state"].as_str()?.to_owned(),
        since: moment(&service["since"])?,
        pid: service["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()),
        supervisor_since: moment(&status["supervisor"]["started"])?,
        start: status["supervisor"]["start"].as_str()?.to_owned(),
        outage: outage(&service["outage"]),
        last_incident: outage(&service["last_incident"]),
    })
}

fn outage(outage: &Value) -> Option<Outage> {
    let began = moment(&outage["began"])?;
    let detected = began + seconds(&outage["detected_after_seconds"]);
    Some(Outage { cause: outage["cause"].as_str()?.to_owned(), began, detected })
}

fn moment(timestamp: &Value) -> Option<Duration> {
    let moment = humantime::parse_rfc3339(timestamp.as_str()?).ok()?;
    moment.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()
}

fn seconds(number: &Value) -> Duration {
    Duration::try_from_secs_f64(number.as_f64().unwrap_or(0.0)).unwrap_or_default()
}
