//! Availability over hours and days: how long the service was up and down in each of the last ones.
//!
//! Pure. Whoever has the sums of up and down time (`tally.rs`) shows them now and then; what they
//! have grown by since the last look is booked into the hours and days (UTC) in between. Between two
//! facts a service is one thing only, so looks at facts are exact. What is pending is not booked
//! until it is decided. Stops that an operator asked for, and drills, are neither up nor down here.
//!
//! Cells follow the wall clock as it is at a look: one that steps leaves a hole or finds its hour
//! full, and never makes a cell longer than it is.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::supervisor::Moment;
use crate::tally::{Cause, Sums};

/// Up and down time of the last hours and days, as it is kept across runs.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    hours: Cells,
    days: Cells,
    #[serde(skip)]
    last: Option<Look>,
}

/// Cells by their number since 1970.
type Cells = BTreeMap<u64, Cell>;

/// For so many milliseconds of one hour or day the service was up, and down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Cell(u32, u32);

/// Up and down time as it was when it was last looked at.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Look {
    at: Moment,
    up: u64,
    down: u64,
}

/// A kind of cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Of a day.
    Hour,
    /// In UTC.
    Day,
}

impl Unit {
    /// How long one is.
    pub const fn length(self) -> Duration {
        match self {
            Self::Hour => Duration::from_hours(1),
            Self::Day => Duration::from_hours(24),
        }
    }

    /// So many are kept, the current one included: one more than is shown, as that has only begun.
    const fn kept(self) -> u64 {
        match self {
            Self::Hour => 25,
            Self::Day => 31,
        }
    }
}

/// A time that ends now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// The word for it in `/status`.
    pub label: &'static str,
    /// The cells that it is made of, and how many.
    pub unit: Unit,
    /// How many.
    pub cells: u64,
}

/// What availability is told about.
pub const WINDOWS: &[Window] = &[
    Window { label: "24h", unit: Unit::Hour, cells: 24 },
    Window { label: "7d", unit: Unit::Day, cells: 7 },
    Window { label: "30d", unit: Unit::Day, cells: 30 },
];

/// Up and down time; what is neither is not known, or did not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Share {
    /// The service was up.
    pub up: Duration,
    /// It was not, and should have been.
    pub down: Duration,
}

impl Share {
    /// How much is known.
    pub fn known(&self) -> Duration {
        self.up + self.down
    }

    /// The part that it was up, if anything is known.
    pub fn ratio(&self) -> Option<f64> {
        let known = self.known();
        (!known.is_zero()).then(|| self.up.as_secs_f64() / known.as_secs_f64())
    }
}

impl History {
    /// Takes in the sums at `now`, which is `wall` by the wall clock (since 1970). The first look
    /// books nothing.
    pub fn look(&mut self, now: Moment, wall: Duration, sums: &Sums) {
        // By a clock that is not set one cannot book; what is pending may yet be up or down.
        if !sums.pending.is_zero() || wall < clock::EARLIEST {
            return;
        }
        let look = Look { at: now, up: millis(sums.up), down: millis(down(sums)) };
        if let Some(last) = self.last.replace(look) {
            let from = wall.saturating_sub(now.since(last.at));
            let grown = |now: u64, then| Duration::from_millis(now.saturating_sub(then));
            self.add(from, wall, grown(look.up, last.up), grown(look.down, last.down));
        }
    }

    /// What a look at `now` would make of it.
    #[must_use]
    pub fn until(&self, now: Moment, wall: Duration, sums: &Sums) -> Self {
        let mut history = self.clone();
        history.look(now, wall, sums);
        history
    }

    /// Books that between `from` and `to` (since 1970) the service was up and down for so long.
    pub fn add(&mut self, from: Duration, to: Duration, up: Duration, down: Duration) {
        let span = (millis(from), millis(to));
        let amounts = [millis(up), millis(down)];
        book(&mut self.hours, Unit::Hour, span, amounts);
        book(&mut self.days, Unit::Day, span, amounts);
    }

    /// Up and down time in a window that ends at `wall`; of a cell that is only partly in it, as
    /// large a part.
    pub fn share(&self, wall: Duration, window: Window) -> Share {
        let length = millis(window.unit.length());
        let current = millis(wall) / length;
        let left = length - millis(wall) % length;
        let mut share = Share::default();
        for (number, Cell(up, down)) in self.cells(window.unit) {
            let part = match current.checked_sub(*number) {
                Some(age) if age < window.cells => length,
                Some(age) if age == window.cells => left,
                Some(_) | None => continue,
            };
            let of = |amount: u32| Duration::from_millis(u64::from(amount) * part / length);
            share.up += of(*up);
            share.down += of(*down);
        }
        share
    }

    /// The cells of a window that ends at `wall`, oldest first: when each began, and what is known.
    pub fn bar(&self, wall: Duration, window: Window) -> Vec<(Duration, Share)> {
        let length = millis(window.unit.length());
        let current = millis(wall) / length;
        let first = current.saturating_sub(window.cells - 1);
        let cell = |number: u64| {
            let Cell(up, down) = self.cells(window.unit).get(&number).copied().unwrap_or_default();
            let span = |amount: u32| Duration::from_millis(amount.into());
            (Duration::from_millis(number * length), Share { up: span(up), down: span(down) })
        };
        (first..=current).map(cell).collect()
    }

    fn cells(&self, unit: Unit) -> &Cells {
        match unit {
            Unit::Hour => &self.hours,
            Unit::Day => &self.days,
        }
    }
}

/// Books amounts into the cells that a span touches, to each its part; drops what is too old, what
/// is in the future, and what makes no sense.
fn book(cells: &mut Cells, unit: Unit, (from, to): (u64, u64), [up, down]: [u64; 2]) {
    let length = millis(unit.length());
    let newest = to / length;
    let oldest = newest.saturating_sub(unit.kept() - 1);
    cells.retain(|number, cell| (oldest..=newest).contains(number) && cell.known() <= length);
    let Some(span) = to.checked_sub(from).filter(|span| *span > 0) else { return };
    for number in (from / length).max(oldest)..=newest {
        let (begin, end) = (number * length, (number * length).saturating_add(length));
        let (begin, end) = (begin.max(from), end.min(to));
        let until = |amount: u64, moment: u64| {
            let part = u128::from(amount) * u128::from(moment - from) / u128::from(span);
            u64::try_from(part).unwrap_or(length)
        };
        let part = |amount| until(amount, end) - until(amount, begin);
        let (up, down) = (part(up), part(down));
        if up + down > 0 {
            cells.entry(number).or_default().fill(length, up, down);
        }
    }
}

impl Cell {
    fn known(self) -> u64 {
        u64::from(self.0) + u64::from(self.1)
    }

    /// Adds as much as there is room for; down time first, as that is what one looks for.
    fn fill(&mut self, length: u64, up: u64, down: u64) {
        self.1 += self.room(length, down);
        self.0 += self.room(length, up);
    }

    fn room(self, length: u64, wanted: u64) -> u32 {
        // A day has far fewer milliseconds than fit.
        u32::try_from(wanted.min(length.saturating_sub(self.known()))).unwrap_or_default()
    }
}

/// What counts as down.
fn down(sums: &Sums) -> Duration {
    let counts = |cause: &Cause| !matches!(cause, Cause::Planned | Cause::Drill);
    Cause::ALL.iter().copied().filter(counts).map(|cause| sums.down(cause)).sum()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::supervisor::{Exit, Fact, FailKind, Incarnation, Role};
    use crate::tally::{Outage, Tally};

    const HOUR: Duration = Duration::from_hours(1);

    /// The beginning of a day in 2027.
    const DAY: Duration = Duration::from_hours(500_016);

    /// The last hour of the day before.
    const EVE: Duration = Duration::from_hours(500_015);

    const DAY_WINDOW: Window = WINDOWS[0];
    const WEEK: Window = WINDOWS[1];
    const MONTH: Window = WINDOWS[2];

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn share(up: u64, down: u64) -> Share {
        Share { up: seconds(up), down: seconds(down) }
    }

    fn known(bar: &[(Duration, Share)]) -> Vec<(Duration, Share)> {
        bar.iter().filter(|(_, share)| *share != Share::default()).copied().collect()
    }

    #[test]
    fn a_span_is_booked_into_the_hours_and_days_that_it_touches() {
        let mut history = History::default();
        history.add(EVE + seconds(2700), DAY + HOUR * 2, seconds(8100), Duration::ZERO);
        history.add(DAY + HOUR * 2, DAY + HOUR * 2 + seconds(60), Duration::ZERO, seconds(60));
        let now = DAY + HOUR * 2 + seconds(60);
        let hours = history.bar(now, DAY_WINDOW);
        assert_eq!(hours.len(), 24);
        assert_eq!(
            known(&hours),
            [
                (EVE, share(900, 0)),
                (DAY, share(3600, 0)),
                (DAY + HOUR, share(3600, 0)),
                (DAY + HOUR * 2, share(0, 60)),
            ]
        );
        let days = history.bar(now, MONTH);
        assert_eq!(days.len(), 30);
        let day_before = Duration::from_hours(500_016 - 24);
        assert_eq!(known(&days), [(day_before, share(900, 0)), (DAY, share(7200, 60))]);
        assert_eq!(history.share(now, DAY_WINDOW), share(8100, 60));
        assert_eq!(history.share(now, DAY_WINDOW).ratio(), Some(8100.0 / 8160.0));
    }

    #[test]
    fn of_the_oldest_cell_only_the_part_within_the_window_counts() {
        let mut history = History::default();
        let now = DAY + HOUR * 24 + HOUR / 4;
        history.add(DAY, now, HOUR * 24 + HOUR / 4, Duration::ZERO);
        assert_eq!(history.share(now, DAY_WINDOW).up, HOUR * 24);
        history.add(now, now + HOUR * 24 * 40, HOUR * 24 * 40, Duration::ZERO);
        let later = now + HOUR * 24 * 40;
        for (window, days) in [(DAY_WINDOW, 1), (WEEK, 7), (MONTH, 30)] {
            assert_eq!(history.share(later, window).up, HOUR * 24 * days, "{}", window.label);
        }
        assert_eq!(history.share(later + HOUR * 24 * 60, MONTH).ratio(), None, "forgotten");
    }

    /// What each fact of a story leaves in the current hour.
    #[test]
    fn what_a_tally_books_is_in_the_hour_in_which_it_happened() {
        let id = Incarnation(1);
        let failed = Fact::ProbeFailed {
            role: Role::Liveness,
            kind: FailKind::Timeout,
            failures: 1,
            threshold: 3,
        };
        let story = [
            (10, Fact::Healthy { id, settles: true }, share(0, 10)),
            (20, Fact::Settled, share(10, 10)),
            (100, failed, share(90, 10)),
            // Undecided until now, and dated back.
            (130, Fact::Unhealthy { kind: FailKind::Timeout, failures: 3 }, share(90, 40)),
            (140, Fact::Healthy { id, settles: true }, share(90, 50)),
            (145, Fact::Exited { id, exit: Exit::Code(1), expected: false }, share(90, 55)),
            (150, Fact::Healthy { id, settles: false }, share(90, 60)),
            (200, Fact::StopRequested { again: false }, share(140, 60)),
            (300, Fact::StopRequested { again: true }, share(140, 60)),
        ];
        let (mut history, mut tally) = (History::default(), Tally::new(Moment::ZERO));
        history.look(Moment::ZERO, DAY, &tally.sums(Moment::ZERO));
        for (when, fact, expected) in story {
            let (now, wall) = (Moment::new(seconds(when)), DAY + seconds(when));
            tally.fact(now, &fact);
            history.look(now, wall, &tally.sums(now));
            // Readers look further than the last fact, and undecided time is in nobody's cell.
            let sums = tally.sums_at_the_end(now);
            let shown = history.until(now, wall, &sums).share(wall, DAY_WINDOW);
            if sums == tally.sums(now) {
                assert_eq!(shown, expected, "after {when} s");
            }
            assert!(shown.known() <= seconds(when.min(200)), "after {when} s");
        }
    }

    #[test]
    fn a_drill_and_a_stop_that_was_asked_for_do_not_count() {
        let (booked, mut history) = (Sums::default(), History::default());
        history.look(Moment::ZERO, DAY, &booked);
        let mut sums = Sums::of_up(seconds(10));
        for cause in Cause::ALL.iter().copied() {
            sums.add_down(cause, seconds(1));
        }
        let now = Moment::new(seconds(60));
        history.look(now, DAY + seconds(60), &sums);
        let counted = u64::try_from(Cause::ALL.len()).expect("a few") - 2;
        assert_eq!(history.share(DAY + seconds(60), DAY_WINDOW), share(10, counted));
    }

    #[test]
    fn by_a_clock_that_is_not_set_nothing_is_booked_until_it_is() {
        let mut history = History::default();
        let at = |when| Moment::new(seconds(when));
        let up = |when| Sums::of_up(seconds(when));
        history.look(at(0), DAY, &up(0));
        history.look(at(100), seconds(50), &up(100));
        assert_eq!(history.share(DAY, DAY_WINDOW), share(0, 0));
        history.look(at(200), DAY + seconds(200), &up(200));
        assert_eq!(history.share(DAY + seconds(200), DAY_WINDOW), share(200, 0));
    }

    #[test]
    fn it_is_kept_as_json_and_what_makes_no_sense_is_dropped() {
        let mut history = History::default();
        history.add(DAY, DAY + seconds(60), seconds(50), seconds(10));
        let text = serde_json::to_string(&history).unwrap();
        assert_eq!(text, r#"{"hours":{"500016":[50000,10000]},"days":{"20834":[50000,10000]}}"#);
        let read: History = serde_json::from_str(&text).unwrap();
        assert_eq!(read, history);
        assert_eq!(serde_json::from_str::<History>("{}").unwrap(), History::default());

        let wild = r#"{"hours":{"18446744073709551615":[1,1],"500015":[4294967295,4294967295],
                       "0":[1,1],"500016":[1000,0]}}"#;
        let mut wild: History = serde_json::from_str(wild).unwrap();
        wild.add(DAY, DAY, Duration::ZERO, Duration::ZERO);
        assert_eq!(wild.hours.len(), 1);
    }

    /// Time that passes, a step of the wall clock, and what the service was meanwhile.
    fn passes(step: impl Strategy<Value = i64>) -> impl Strategy<Value = Vec<(u64, i64, u8)>> {
        prop::collection::vec((0_u64..200_000, step, 0_u8..4), 1..60)
    }

    fn play(passes: &[(u64, i64, u8)], mut after: impl FnMut(&History, Duration, &Sums)) {
        let (mut history, mut sums) = (History::default(), Sums::default());
        let (mut now, mut wall) = (Duration::ZERO, DAY.as_secs());
        history.look(Moment::ZERO, DAY, &sums);
        for (passed, step, was) in passes {
            now += seconds(*passed);
            wall = (wall + passed).saturating_add_signed(*step);
            match was {
                0 => sums.add_down(Cause::Crash, seconds(*passed)),
                1 => sums.add_down(Cause::Planned, seconds(*passed)),
                _ => sums.up += seconds(*passed),
            }
            history.look(Moment::new(now), seconds(wall), &sums);
            after(&history, seconds(wall), &sums);
        }
    }

    proptest! {
        #[test]
        fn no_cell_is_longer_than_it_is_however_the_clock_steps(
            passes in passes(prop_oneof![Just(0), -100_000_i64..100_000])
        ) {
            play(&passes, |history, wall, _| {
                for unit in [Unit::Hour, Unit::Day] {
                    let cells = history.cells(unit);
                    assert!((0..=unit.kept()).contains(&(cells.len() as u64)));
                    assert!(cells.values().all(|cell| cell.known() <= millis(unit.length())));
                }
                for window in WINDOWS {
                    let share = history.share(wall, *window);
                    let cells = u32::try_from(window.cells).expect("a few");
                    // After a step back the current cell may be full already.
                    assert!(share.known() <= window.unit.length() * (cells + 1));
                    assert!(share.ratio().is_none_or(|ratio| (0.0..=1.0).contains(&ratio)));
                }
            });
        }

        #[test]
        fn every_second_that_counts_is_in_one_hour_and_in_one_day(passes in passes(Just(0))) {
            play(&passes, |history, wall, sums| {
                for (window, whole) in [(DAY_WINDOW, HOUR * 24), (MONTH, HOUR * 24 * 30)] {
                    let share = history.share(wall, window);
                    if wall < DAY + whole {
                        // A cell loses less than a millisecond.
                        let close = |one: Duration, other| one.abs_diff(other) < seconds(1);
                        assert!(close(share.up, sums.up), "{history:?}");
                        assert!(close(share.down, sums.down(Cause::Crash)), "{history:?}");
                    }
                }
            });
        }
    }

    #[test]
    fn the_gap_of_a_power_cycle_is_in_the_hours_that_it_spanned() {
        let mut history = History::default();
        history.add(DAY + HOUR / 2, DAY + HOUR * 3, Duration::ZERO, HOUR * 5 / 2);
        let outage = Outage::at_start(Moment::ZERO, Cause::PowerCycle, HOUR * 5 / 2);
        let mut booked = Sums::default();
        booked.add_down(Cause::PowerCycle, HOUR * 5 / 2);
        let tally = Tally::continuing(booked, outage);
        history.look(Moment::ZERO, DAY + HOUR * 3, &tally.sums(Moment::ZERO));
        let now = Moment::new(seconds(40));
        history.look(now, DAY + HOUR * 3 + seconds(40), &tally.sums(now));
        let bar = known(&history.bar(DAY + HOUR * 3 + seconds(40), DAY_WINDOW));
        assert_eq!(
            bar.iter().map(|(_, share)| share.down.as_secs()).collect::<Vec<_>>(),
            [1800, 3600, 3600, 40]
        );
    }
}
