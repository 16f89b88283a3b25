//! What the other threads may know: the latest status, whether the loop turns, what a page shows.
//!
//! The loop publishes, everybody else reads. The lock is held only to swap or copy a pointer, so a
//! reader, however slow, never delays the loop. Nothing here decides or probes anything.

pub mod document;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use crate::clock::{self, Clock};
use crate::comeback::Comeback;
use crate::history::History;
use crate::incident::Incident;
use crate::metrics::{Readings, Usage};
use crate::process::port::Forward;
use crate::state::{Beginning, Splay};
use crate::supervisor::{DrillFault, Moment, Start, State};
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
    /// The record of the current outage, as far as it has got.
    pub incident: Option<Arc<Incident>>,
    /// The records of the last outages that are over, latest first.
    pub incidents: Arc<[Arc<Incident>]>,
    /// The drill that is not over.
    pub drill: Option<Drill>,
    /// How many restarts the budget has left, if there is one.
    pub restarts_left: Option<u32>,
    /// The last answer of each probe, by role.
    pub probes: BTreeMap<&'static str, Answer>,
    /// What has been counted.
    pub counts: Counts,
    /// Up and down time, and the current outage.
    pub tally: Tally,
    /// Availability over hours and days, until the last fact.
    pub history: Arc<History>,
    /// A recovery may take so long.
    pub objective: Option<Duration>,
    /// Who listens on the probed port for the child, if others do.
    pub forward: Option<Forward>,
}

/// A drill in the running service.
#[derive(Clone, Copy, Debug)]
pub struct Drill {
    /// What is broken.
    pub fault: DrillFault,
    /// Since when.
    pub began: Moment,
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
    /// Says that the status is a new one.
    changes: watch::Sender<()>,
    /// Milliseconds since our start.
    last_turn: AtomicU64,
    due: AtomicU64,
    origin: Origin,
    comeback: Mutex<Comeback>,
    /// Where what is remembered is written.
    state_dir: Option<PathBuf>,
    forgets: Mutex<Option<String>>,
}

/// How this run began.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The kind of this start.
    pub start: Start,
    /// The wait before the first launch, if there was one.
    pub splay: Option<Splay>,
}

impl Shared {
    /// Nothing has happened yet to the service of this name, ever.
    pub fn new(clock: Clock, service: &str) -> Self {
        Self::continuing(clock, service, &Beginning::default(), None)
    }

    /// Nothing has happened yet in this run to the service of this name.
    pub fn continuing(
        clock: Clock,
        service: &str,
        beginning: &Beginning,
        splay: Option<Splay>,
    ) -> Self {
        let mut status = Status::new(service, beginning.tally.clone(), beginning.history.clone());
        status.forward.clone_from(&beginning.forward);
        Self {
            clock,
            status: Mutex::new(Arc::new(status)),
            changes: watch::Sender::new(()),
            last_turn: AtomicU64::new(0),
            due: AtomicU64::new(NEVER),
            origin: Origin { start: beginning.start, splay },
            comeback: Mutex::default(),
            state_dir: None,
            forgets: Mutex::default(),
        }
    }

    /// The same, and what is remembered is written there.
    #[must_use]
    pub fn with_state_dir(self, state_dir: Option<PathBuf>) -> Self {
        Self { state_dir, ..self }
    }

    /// The present moment of the loop's clock.
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// How this run began.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Replaces the status, except for the records of outages.
    pub fn publish(&self, mut status: Status) {
        let mut shown = self.shown();
        status.incident.clone_from(&shown.incident);
        status.incidents = Arc::clone(&shown.incidents);
        *shown = Arc::new(status);
        drop(shown);
        self.changes.send_replace(());
    }

    /// Replaces the records of outages: that of the current one, and those of the last ones.
    pub fn show_incidents(&self, incident: Option<Arc<Incident>>, incidents: Arc<[Arc<Incident>]>) {
        let mut shown = self.shown();
        *shown = Arc::new(Status { incident, incidents, ..(**shown).clone() });
        drop(shown);
        self.changes.send_replace(());
    }

    /// Tells of each new status from now on.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Why the next run will not know what this one has counted; `None`: it will.
    pub fn set_forgets(&self, why: Option<String>) {
        *self.forgets.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Why what is remembered is lost with the sandbox, or not written, if it is.
    pub fn forgets(&self) -> Option<String> {
        self.forgets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The loop has turned, and turns again at `due` at the latest.
    pub fn loop_turned(&self, now: Moment, due: Option<Moment>) {
        self.last_turn.store(millis(now), Ordering::Relaxed);
        self.due.store(due.map_or(NEVER, millis), Ordering::Relaxed);
    }

    /// The latest status.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.shown())
    }

    fn shown(&self) -> MutexGuard<'_, Arc<Status>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A start from what is on disk now would come to this.
    pub fn would_come_back(&self, found: Comeback) {
        *self.comeback.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// What a start from what is on disk now would come to.
    pub fn comeback(&self) -> Comeback {
        self.comeback.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
            state: status.state,
            ready: status.state == State::Healthy && status.ready,
            drilling: status.drill.is_some(),
            sums: status.tally.sums(now),
            last_tick: since_1970(now, last_tick).as_secs_f64(),
            overdue: self.overdue(now).as_secs_f64(),
            own: Usage::own(),
            child: status.pid.and_then(Usage::of_tree),
        }
    }
}

impl Status {
    /// As it is when the supervisor starts.
    fn new(service: &str, tally: Tally, history: History) -> Self {
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
            incident: None,
            incidents: Arc::default(),
            drill: None,
            restarts_left: None,
            probes: BTreeMap::new(),
            counts: Counts::default(),
            tally,
            history: Arc::new(history),
            objective: None,
            forward: None,
        }
    }

    /// Availability over hours and days, until `now`.
    pub fn history(&self, now: Moment) -> History {
        self.history.until(now, clock::wall(), &self.tally.sums(now))
    }
}

/// A span for people: `30 ms`, `4.2 s`, `2m10s`, `3h5m`.
pub fn human(span: Duration) -> String {
    if span < Duration::from_millis(100) {
        return format!("{} ms", span.as_millis());
    }
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

/// What comes next for a service in this state, in words, where no attempt is scheduled; `settling`
/// is whether it is still in an outage.
pub fn what_next(state: State, settling: bool, ready: bool) -> &'static str {
    match state {
        State::BootHook => "the child is started when the hook has succeeded",
        State::Starting => "healthy when a probe passes",
        State::Healthy if settling => "the outage is over when this has lasted for `settle`",
        State::Healthy if !ready => "ready when the readiness probe passes",
        State::Healthy => "nothing, as long as its probes pass",
        State::Degraded | State::Stopping => "what is due when all of its processes are gone",
        State::Backoff | State::SlowRetry => "an attempt",
        State::Maintenance => "nothing until it is released",
        State::Stopped => "nothing",
    }
}

/// The wall clock's time at `moment`, given that it is `now`, as the time since 1970.
pub fn since_1970(now: Moment, moment: Moment) -> Duration {
    clock::wall().saturating_sub(now.since(moment)) + moment.since(now)
}

/// When an outage began, given that it is `now`, as the time since 1970.
pub fn began_at(now: Moment, outage: &Outage) -> Duration {
    since_1970(now, outage.began).saturating_sub(outage.earlier)
}

fn millis(moment: Moment) -> u64 {
    u64::try_from(moment.since_start().as_millis()).unwrap_or(NEVER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well() {
        for (millis, expected) in [
            (0, "0 ms"),
            (99, "99 ms"),
            (100, "0.1 s"),
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
}
