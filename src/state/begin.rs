//! How a run begins: what the last one left is judged by the host as it is now.
//!
//! Pure. It decides the kind of this start, books the time in between as down time, and carries
//! the counts over. How far the clocks are to be believed is decided here, too: a host may come
//! back from a power cut with its clock at 1970.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::EARLIEST;
use crate::history::History;
use crate::metrics::{Kept, Metric, seconds};
use crate::process::port::Forward;
use crate::supervisor::{Moment, Start};
use crate::tally::{Cause, Outage, Tally};

/// Nobody comes back after more than this: one of the clocks was wrong.
const LONGEST_GAP: Duration = Duration::from_hours(366 * 24);

/// The clock of a host that has just booted may be off by this much until it is set.
const SKEW: Duration = Duration::from_mins(1);

/// What one run leaves for the next.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct State {
    /// The random name of the run that wrote it.
    pub run: String,
    /// The host's name for the time since it booted, if it could be read.
    pub boot_id: Option<String>,
    /// How far the run had come.
    pub ending: Ending,
    /// When this was written, in seconds since 1970.
    pub heartbeat: f64,
    /// How long the host was up by then, in seconds.
    pub uptime: f64,
    /// The outage at that time, if there was one.
    pub outage: Option<Broken>,
    /// What is counted across runs.
    pub kept: Kept,
    /// Availability over hours and days; earlier versions did not write it.
    #[serde(default)]
    pub history: History,
    /// Who listened on the probed port for the child, if others did; earlier versions did not
    /// write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
}

/// How far a run has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It supervises.
    #[default]
    Running,
    /// It was told to stop, and takes the service down.
    Stopping,
    /// The service's tree is gone.
    Stopped,
}

/// An outage, as it is written down.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Broken {
    /// Why; a word of [`Cause`].
    pub cause: String,
    /// How long it had lasted, in seconds.
    pub seconds: f64,
}

/// What there is of the last run.
#[derive(Clone, PartialEq, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one in a run")]
pub enum Found {
    /// Nothing: there was none.
    Nothing,
    /// There was one, and that is all that can be told.
    Unreadable,
    /// What it wrote last.
    State(State),
}

/// The host that this run begins on.
#[derive(Clone, Debug)]
pub struct Host {
    /// The moment of all that follows.
    pub now: Moment,
    /// Its name for the time since it booted, if it can be read.
    pub boot_id: Option<String>,
    /// When it booted by its wall clock, since 1970, if that can be read.
    pub booted: Option<Duration>,
    /// What its wall clock shows, since 1970.
    pub wall: Duration,
    /// How long it has been up.
    pub uptime: Duration,
}

/// How a run begins.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// When.
    pub at: Moment,
    /// The kind of this start.
    pub start: Start,
    /// The time since the last sign of life, if there was one and the clocks are believed.
    pub gap: Option<Duration>,
    /// The counts, those of this start included.
    pub kept: Kept,
    /// Up and down time, and the outage that this run begins with.
    pub tally: Tally,
    /// Availability until then.
    pub history: History,
    /// How long the service was not wanted before this run.
    pub idle: Duration,
    /// How long the host had been up by then.
    pub since_boot: Duration,
    /// Who listened on the probed port for the child.
    pub forward: Option<Forward>,
}

impl Default for Beginning {
    /// That of a first run.
    fn default() -> Self {
        Self {
            at: Moment::ZERO,
            start: Start::First,
            gap: None,
            kept: Kept::default(),
            tally: Tally::new(Moment::ZERO),
            history: History::default(),
            idle: Duration::ZERO,
            since_boot: Duration::ZERO,
            forward: None,
        }
    }
}

/// Judges what was found.
pub fn begin(found: &Found, host: &Host) -> Beginning {
    let start = start(found, host);
    let Found::State(last) = found else {
        let (at, since_boot) = (host.now, host.since_boot());
        let tally = Tally::new(at);
        let mut history = History::default();
        history.look(at, host.wall, &tally.sums(at));
        let mut beginning =
            Beginning { at, start, tally, history, since_boot, ..Default::default() };
        beginning.kept.add(Metric::SupervisorStarts, &[start.label()], 1.0);
        return beginning;
    };
    let gap = gap(last, host);
    let away = gap.unwrap_or_default();
    let (cause, outage) = outage(last, start, away, host.now);
    let mut kept = last.kept.clone();
    count(&mut kept, last, start, outage, host.wall);
    let mut sums = kept.sums();
    sums.add_down(cause, away);
    let tally = Tally::continuing(sums, outage);
    Beginning {
        at: host.now,
        start,
        gap,
        kept,
        history: history(last, cause, away, host, &tally),
        tally,
        idle: if cause == Cause::Planned { away } else { Duration::ZERO },
        since_boot: host.since_boot(),
        forward: last.forward.clone(),
    }
}

impl Host {
    fn since_boot(&self) -> Duration {
        self.booted.and_then(|booted| self.wall.checked_sub(booted)).unwrap_or(self.uptime)
    }

    fn clock_is_set(&self) -> bool {
        self.wall >= EARLIEST
    }
}

impl State {
    fn heartbeat(&self) -> Duration {
        seconds(self.heartbeat)
    }

    /// The incident that was going on.
    fn incident(&self) -> Option<(Cause, Duration)> {
        let outage = self.outage.as_ref()?;
        let cause = Cause::ALL.iter().copied().find(|cause| cause.label() == outage.cause)?;
        cause.is_incident().then(|| (cause, seconds(outage.seconds)))
    }
}

/// Whether the host has booted since: only if both names are known and differ.
fn has_booted(last: &State, host: &Host) -> bool {
    matches!((&last.boot_id, &host.boot_id), (Some(then), Some(now)) if then != now)
}

fn start(found: &Found, host: &Host) -> Start {
    let last = match found {
        Found::Nothing => return Start::First,
        Found::Unreadable => return Start::Crash,
        Found::State(last) => last,
    };
    // This host was up while the last run lived: that was elsewhere.
    let elsewhere = host.clock_is_set()
        && last.heartbeat() <= host.wall
        && host.booted.is_some_and(|booted| booted + SKEW < last.heartbeat());
    match (last.ending, has_booted(last, host)) {
        (Ending::Stopping | Ending::Stopped, false) => Start::Clean,
        (Ending::Stopping | Ending::Stopped, true) => Start::Reboot,
        (Ending::Running, false) => Start::Crash,
        (Ending::Running, true) if elsewhere => Start::Moved,
        (Ending::Running, true) => Start::PowerCycle,
    }
}

/// The time since the last sign of life; `None` if the clocks cannot tell.
fn gap(last: &State, host: &Host) -> Option<Duration> {
    if !has_booted(last, host) && host.boot_id.is_some() && last.boot_id.is_some() {
        // Within one boot there is a clock that nobody sets.
        if let Some(gap) = host.uptime.checked_sub(seconds(last.uptime)) {
            return Some(gap);
        }
    }
    let gap = host.wall.checked_sub(last.heartbeat())?;
    (last.heartbeat() >= EARLIEST && gap <= LONGEST_GAP).then_some(gap)
}

/// What the gap is booked under, and the outage that this run begins with.
///
/// An end without a word is an incident of its own, unless one was going on: then that goes on.
fn outage(last: &State, start: Start, away: Duration, now: Moment) -> (Cause, Outage) {
    let began = |cause, earlier| Outage::at_start(now, cause, earlier);
    let of_gap = match start {
        Start::PowerCycle => Some(Cause::PowerCycle),
        Start::Crash | Start::Moved => Some(Cause::Supervisor),
        Start::First | Start::Clean | Start::Reboot => None,
    };
    match (of_gap, last.incident()) {
        (Some(Cause::PowerCycle), Some((_, lasted))) => {
            (Cause::PowerCycle, began(Cause::PowerCycle, lasted + away))
        }
        (of_gap, Some((cause, lasted))) => (of_gap.unwrap_or(cause), began(cause, lasted + away)),
        (Some(cause), None) => (cause, began(cause, away)),
        (None, None) => (Cause::Planned, began(Cause::Boot, Duration::ZERO)),
    }
}

/// The gap is in the hours that it spanned, unless the service was not wanted meanwhile.
fn history(last: &State, cause: Cause, away: Duration, host: &Host, tally: &Tally) -> History {
    let mut history = last.history.clone();
    let down = if cause == Cause::Planned { Duration::ZERO } else { away };
    if host.clock_is_set() {
        history.add(host.wall.saturating_sub(away), host.wall, Duration::ZERO, down);
    }
    history.look(host.now, host.wall, &tally.sums(host.now));
    history
}

fn count(kept: &mut Kept, last: &State, start: Start, outage: Outage, wall: Duration) {
    kept.add(Metric::SupervisorStarts, &[start.label()], 1.0);
    if last.ending == Ending::Stopping {
        kept.add(Metric::StopsCutShort, &[], 1.0);
    }
    if start == Start::PowerCycle {
        kept.set(Metric::LastPowerCycle, &[], wall.as_secs_f64());
    }
    if outage.cause.is_incident() && last.incident().is_none() {
        kept.add(Metric::Incidents, &[outage.cause.label()], 1.0);
        let began = wall.saturating_sub(outage.earlier);
        kept.set(Metric::LastIncident, &[], began.as_secs_f64());
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::history::WINDOWS;

    const NOW: f64 = 1_800_000_000.0;
    const UP: f64 = 5_000.0;
    const THEN: u64 = 1_799_999_900;

    /// A run that was healthy 100 s ago.
    pub(in crate::state) fn last() -> State {
        State {
            run: "r".to_owned(),
            boot_id: Some("a".to_owned()),
            ending: Ending::Running,
            heartbeat: NOW - 100.0,
            uptime: UP - 100.0,
            outage: None,
            kept: Kept::default(),
            history: History::default(),
            forward: None,
        }
    }

    /// The host that it ran on.
    fn host() -> Host {
        Host {
            now: Moment::ZERO,
            boot_id: Some("a".to_owned()),
            booted: Some(seconds(NOW - UP)),
            wall: seconds(NOW),
            uptime: seconds(UP),
        }
    }

    /// The same after a boot, `ago` seconds ago.
    fn booted(ago: f64) -> Host {
        Host {
            boot_id: Some("b".to_owned()),
            booted: Some(seconds(NOW - ago)),
            uptime: seconds(ago),
            ..host()
        }
    }

    fn broken(cause: Cause, seconds: f64) -> Broken {
        Broken { cause: cause.label().to_owned(), seconds }
    }

    /// A whole number; 0 if it is not there.
    fn count(beginning: &Beginning, metric: Metric, words: &[&str]) -> u64 {
        seconds(beginning.kept.get(metric, words).unwrap_or_default()).as_secs()
    }

    #[test]
    fn the_kind_of_start_follows_from_the_last_end_and_the_hosts_boot() {
        use Ending::{Running, Stopped, Stopping};
        let unset = Host { wall: seconds(50.0), booted: Some(seconds(8.0)), ..booted(42.0) };
        let behind = Host { wall: seconds(NOW - 200.0), ..booted(300.0) };
        let no_btime = Host { booted: None, ..booted(42.0) };
        let hidden = Host { boot_id: None, ..booted(42.0) };
        for (ending, host, expected) in [
            (Stopped, host(), Start::Clean),
            (Stopping, host(), Start::Clean),
            (Stopped, hidden.clone(), Start::Clean),
            (Stopped, booted(42.0), Start::Reboot),
            (Stopping, booted(42.0), Start::Reboot),
            (Stopped, booted(5000.0), Start::Reboot),
            (Running, host(), Start::Crash),
            (Running, hidden, Start::Crash),
            (Running, booted(42.0), Start::PowerCycle),
            (Running, booted(99.0), Start::PowerCycle),
            // Its clock may not be set yet.
            (Running, booted(130.0), Start::PowerCycle),
            (Running, booted(200.0), Start::Moved),
            (Running, unset, Start::PowerCycle),
            (Running, behind, Start::PowerCycle),
            (Running, no_btime, Start::PowerCycle),
        ] {
            let found = Found::State(State { ending, ..last() });
            assert_eq!(start(&found, &host), expected, "{ending:?} {host:?}");
        }
        let nameless = Found::State(State { boot_id: None, ..last() });
        assert_eq!(start(&nameless, &booted(42.0)), Start::Crash);
        assert_eq!(start(&Found::Nothing, &host()), Start::First);
        assert_eq!(start(&Found::Unreadable, &host()), Start::Crash);
    }

    #[test]
    fn the_gap_is_believed_only_as_far_as_the_clocks_are() {
        let stepped = Host { wall: seconds(NOW + 7200.0), ..host() };
        let unset = Host { wall: seconds(50.0), ..booted(42.0) };
        let years = Host { wall: seconds(NOW * 2.0), ..booted(42.0) };
        for (host, expected) in [
            (host(), Some(100)),
            (booted(42.0), Some(100)),
            (stepped, Some(100)),
            (unset, None),
            (years, None),
        ] {
            assert_eq!(gap(&last(), &host), expected.map(Duration::from_secs), "{host:?}");
        }
        let never_set = State { heartbeat: 60.0, ..last() };
        assert_eq!(gap(&never_set, &booted(42.0)), None);
    }

    #[test]
    fn an_outage_of_ages_does_not_keep_a_run_from_beginning() {
        for ages in [1e12, 1.8e19, 1e300] {
            let last = State { outage: Some(broken(Cause::Crash, ages)), ..last() };
            let beginning = begin(&Found::State(last), &host());
            assert_eq!(beginning.tally.outage().map(|outage| outage.earlier.as_secs()), Some(100));
        }
    }

    #[test]
    fn an_end_without_a_word_is_an_incident_from_the_last_sign_of_life() {
        for (host, start, cause) in [
            (host(), Start::Crash, Cause::Supervisor),
            (booted(42.0), Start::PowerCycle, Cause::PowerCycle),
            (booted(900.0), Start::Moved, Cause::Supervisor),
        ] {
            let beginning = begin(&Found::State(last()), &host);
            let outage = beginning.tally.outage().unwrap();
            assert_eq!((beginning.start, outage.cause), (start, cause));
            assert_eq!(outage.earlier.as_secs(), 100);
            assert_eq!(beginning.idle, Duration::ZERO);
            let sums = beginning.tally.sums(Moment::ZERO);
            assert_eq!(sums.down(cause).as_secs(), 100);
            assert_eq!(count(&beginning, Metric::SupervisorStarts, &[start.label()]), 1);
            assert_eq!(count(&beginning, Metric::Incidents, &[cause.label()]), 1);
            assert_eq!(count(&beginning, Metric::LastIncident, &[]), THEN);
            let power = if start == Start::PowerCycle { THEN + 100 } else { 0 };
            assert_eq!(count(&beginning, Metric::LastPowerCycle, &[]), power);
        }
    }

    #[test]
    fn an_incident_that_was_going_on_goes_on_and_is_not_counted_again() {
        for (ending, host, cause, of_gap) in [
            (Ending::Running, host(), Cause::Crash, Cause::Supervisor),
            (Ending::Running, booted(42.0), Cause::PowerCycle, Cause::PowerCycle),
            (Ending::Stopped, host(), Cause::Crash, Cause::Crash),
        ] {
            let last = State { ending, outage: Some(broken(Cause::Crash, 7.0)), ..last() };
            let beginning = begin(&Found::State(last), &host);
            let outage = beginning.tally.outage().unwrap();
            assert_eq!((outage.cause, outage.earlier.as_secs()), (cause, 107));
            let sums = beginning.tally.sums(Moment::ZERO);
            assert_eq!(sums.down(of_gap).as_secs(), 100);
            assert_eq!(count(&beginning, Metric::Incidents, &[cause.label()]), 0);
        }
    }

    #[test]
    fn a_run_that_was_killed_before_it_was_ever_up_is_an_incident_all_the_same() {
        let last = State { outage: Some(broken(Cause::Boot, 7.0)), ..last() };
        let beginning = begin(&Found::State(last), &host());
        assert_eq!(beginning.tally.outage().map(|outage| outage.cause), Some(Cause::Supervisor));
        assert_eq!(count(&beginning, Metric::Incidents, &["supervisor"]), 1);
    }

    #[test]
    fn the_gap_is_in_the_hours_that_it_spanned_unless_nobody_wanted_the_service() {
        for (ending, down) in [(Ending::Running, 100), (Ending::Stopped, 0)] {
            let beginning = begin(&Found::State(State { ending, ..last() }), &booted(42.0));
            for window in WINDOWS {
                let share = beginning.history.share(seconds(NOW), *window);
                assert_eq!((share.up.as_secs(), share.down.as_secs()), (0, down));
            }
        }
        let unset = Host { wall: seconds(50.0), booted: Some(seconds(8.0)), ..booted(42.0) };
        let beginning = begin(&Found::State(last()), &unset);
        assert!(beginning.history.share(seconds(NOW), WINDOWS[0]).known().is_zero());
    }

    #[test]
    fn a_stop_that_was_asked_for_is_no_incident_however_it_ended() {
        for (ending, cut_short) in [(Ending::Stopped, 0), (Ending::Stopping, 1)] {
            let beginning = begin(&Found::State(State { ending, ..last() }), &host());
            assert_eq!(beginning.tally.outage().map(|outage| outage.cause), Some(Cause::Boot));
            assert_eq!(beginning.idle.as_secs(), 100);
            let sums = beginning.tally.sums(Moment::ZERO);
            assert_eq!(sums.down(Cause::Planned).as_secs(), 100);
            assert_eq!(count(&beginning, Metric::StopsCutShort, &[]), cut_short);
        }
    }

    #[test]
    fn counts_are_carried_over_and_nothing_is_made_up_about_a_first_run() {
        let mut last = last();
        last.kept.add(Metric::SupervisorStarts, &["crash"], 3.0);
        last.kept.add(Metric::Uptime, &[], 12.5);
        last.forward = Some(Forward { port: 18789, name: "ssh".to_owned(), uid: 1000 });
        let forward = last.forward.clone();
        let beginning = begin(&Found::State(last), &host());
        assert_eq!(beginning.forward, forward);
        assert_eq!(count(&beginning, Metric::SupervisorStarts, &["crash"]), 4);
        let sums = beginning.tally.sums(Moment::ZERO);
        assert_eq!(sums.up, Duration::from_millis(12_500));

        let first = begin(&Found::Nothing, &booted(42.0));
        assert_eq!(first.tally.outage().map(|outage| outage.cause), Some(Cause::Boot));
        assert_eq!(count(&first, Metric::SupervisorStarts, &["first"]), 1);
        assert_eq!((first.gap, first.since_boot.as_secs()), (None, 42));
        assert_eq!(first.forward, None);
    }
}
