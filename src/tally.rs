//! Sums over time: how long the service was up and down, and why; outages, and how they ended.
//!
//! Pure: it is told facts with their moments and reads no clock. Counters that a scrape has seen
//! must never go back, but two things are only known later: whether a failed probe was the
//! beginning of an outage, and whether a first pass was its end. The seconds in between are held
//! back as *pending* and booked once that is decided.
//!
//! A run begins with an outage. After an earlier run that ended well its cause is `boot`, which is
//! no incident: nothing broke. Otherwise it began before this run did.

use std::time::Duration;

use crate::supervisor::{Fact, Moment, Role};

/// Why the service is not up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// It has not been up in this run yet.
    Boot,
    /// The child exited unexpectedly.
    Crash,
    /// The liveness threshold was reached.
    Unhealthy,
    /// An operator asked for it.
    Planned,
    /// The host lost its power (or was reset) while the service was up.
    PowerCycle,
    /// The supervisor was killed, and the child with it.
    Supervisor,
    /// A drill broke it.
    Drill,
}

impl Cause {
    /// All of them, in the order of the sums.
    pub const ALL: &[Self] = &[
        Self::Boot,
        Self::Crash,
        Self::Unhealthy,
        Self::Planned,
        Self::PowerCycle,
        Self::Supervisor,
        Self::Drill,
    ];

    /// The value of the `cause` label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Crash => "crash",
            Self::Unhealthy => "unhealthy",
            Self::Planned => "planned",
            Self::PowerCycle => "power_cycle",
            Self::Supervisor => "supervisor",
            Self::Drill => "drill",
        }
    }

    /// Whether an outage of this cause is something that broke.
    pub const fn is_incident(self) -> bool {
        match self {
            Self::Crash | Self::Unhealthy | Self::PowerCycle | Self::Supervisor => true,
            Self::Boot | Self::Planned | Self::Drill => false,
        }
    }
}

/// A time during which the service was not up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outage {
    /// Why.
    pub cause: Cause,
    /// When it began: at the exit, or at the first failed probe of those that reached the threshold.
    pub began: Moment,
    /// How much of it was before this run, if it began with the run.
    pub earlier: Duration,
    /// When we knew.
    pub detected: Moment,
    /// The first pass that lasted, once there is one.
    pub ended: Option<Moment>,
}

impl Outage {
    /// With which a run begins at `now`, `earlier` of it being over.
    pub const fn at_start(now: Moment, cause: Cause, earlier: Duration) -> Self {
        Self { cause, began: now, earlier, detected: now, ended: None }
    }

    /// From its beginning until we knew.
    pub fn detection(&self) -> Duration {
        self.until(self.detected)
    }

    /// From its beginning to its end; `None` while it lasts.
    pub fn duration(&self) -> Option<Duration> {
        Some(self.until(self.ended?))
    }

    /// From its beginning to `moment`.
    pub fn until(&self, moment: Moment) -> Duration {
        moment.since(self.began) + self.earlier
    }
}

/// Up and down time. Neither ever decreases.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sums {
    /// The service was up.
    pub up: Duration,
    /// Not decided yet.
    pub pending: Duration,
    down: [Duration; Cause::ALL.len()],
}

impl Sums {
    /// Only up time.
    pub fn of_up(up: Duration) -> Self {
        Self { up, ..Self::default() }
    }

    /// The service was not up, because of `cause`.
    pub fn down(&self, cause: Cause) -> Duration {
        self.down[cause as usize]
    }

    /// Everything there is.
    pub fn total(&self) -> Duration {
        self.up + self.pending + self.down.iter().sum::<Duration>()
    }

    /// Books `span` as down time.
    pub fn add_down(&mut self, cause: Cause, span: Duration) {
        self.down[cause as usize] += span;
    }
}

/// What a fact meant for outages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// Something broke.
    Began(Outage),
    /// The service is up, and it lasted.
    Ended(Outage),
}

/// The running sums of one service.
#[derive(Clone, Debug)]
pub struct Tally {
    mode: Mode,
    /// Everything before this is booked.
    since: Moment,
    booked: Sums,
    outage: Option<Outage>,
    /// A drill has broken the service: the next outage is its.
    drilled: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Up,
    /// Up as far as we know, but a probe has failed.
    Doubted,
    Down(Cause),
    /// A probe passed; whether that lasts is open.
    Settling(Cause),
    Ended,
}

impl Tally {
    /// Starts from nothing, at `now`.
    pub fn new(now: Moment) -> Self {
        Self::continuing(Sums::default(), Outage::at_start(now, Cause::Boot, Duration::ZERO))
    }

    /// Starts from what earlier runs have booked, with `outage`.
    pub const fn continuing(booked: Sums, outage: Outage) -> Self {
        let mode = Mode::Down(outage.cause);
        Self { mode, since: outage.began, booked, outage: Some(outage), drilled: false }
    }

    /// Takes in what happened.
    pub fn fact(&mut self, now: Moment, fact: &Fact) -> Option<News> {
        match (self.mode, fact) {
            (Mode::Down(cause), Fact::Healthy { settles, .. }) if cause != Cause::Planned => {
                self.book(now, Mode::Settling(cause));
                if *settles { None } else { self.recovered(now) }
            }
            (Mode::Settling(_), Fact::Settled) => self.recovered(now),
            (Mode::Up, Fact::ProbeFailed { role: Role::Liveness, .. }) => {
                self.book(now, Mode::Doubted);
                None
            }
            (Mode::Doubted, Fact::ProbeRecovered { .. }) => {
                self.book(now, Mode::Up);
                None
            }
            (Mode::Up | Mode::Doubted, Fact::Unhealthy { .. }) => Some(self.unhealthy(now)),
            (Mode::Up | Mode::Doubted, Fact::Exited { expected: false, .. }) => {
                let cause = self.cause(Cause::Crash);
                self.book(now, Mode::Down(cause));
                Some(self.begin(cause, now, now))
            }
            (
                Mode::Settling(cause),
                Fact::Unhealthy { .. } | Fact::Exited { expected: false, .. },
            ) => {
                self.book(now, Mode::Down(cause));
                None
            }
            (mode, Fact::StopRequested { .. }) if mode != Mode::Ended => {
                self.book(now, Mode::Down(Cause::Planned));
                self.outage = None;
                None
            }
            (_, Fact::Finished(_)) => {
                self.book(now, Mode::Ended);
                None
            }
            _ => None,
        }
    }

    /// A drill breaks the service now.
    pub const fn drill(&mut self) {
        self.drilled = true;
    }

    /// Whether what a drill has broken is still to show.
    pub const fn expects_drill(&self) -> bool {
        self.drilled
    }

    /// The drill is over: a later outage is not its.
    pub const fn drill_is_over(&mut self) {
        self.drilled = false;
    }

    /// The sums until `now`.
    pub fn sums(&self, now: Moment) -> Sums {
        let mut sums = self.booked;
        let span = now.since(self.since);
        match self.mode {
            Mode::Up => sums.up += span,
            Mode::Down(cause) => sums.add_down(cause, span),
            Mode::Doubted | Mode::Settling(_) => sums.pending += span,
            Mode::Ended => {}
        }
        sums
    }

    /// The sums until `now`, should this run end then: nothing is pending.
    pub fn sums_at_the_end(&self, now: Moment) -> Sums {
        let mut ended = self.clone();
        ended.book(now, Mode::Ended);
        ended.booked
    }

    /// The current outage, if there is one; while a pass settles, it is still there.
    pub fn outage(&self) -> Option<Outage> {
        self.outage
    }

    /// The first pass that lasted: pending time was up, and the outage ended where it began.
    fn recovered(&mut self, now: Moment) -> Option<News> {
        let passed = self.since;
        self.book(now, Mode::Up);
        let outage = Outage { ended: Some(passed), ..self.outage.take()? };
        Some(News::Ended(outage))
    }

    /// The threshold is reached: pending time was down.
    fn unhealthy(&mut self, now: Moment) -> News {
        let cause = self.cause(Cause::Unhealthy);
        let began = if self.mode == Mode::Doubted { self.since } else { now };
        if self.mode == Mode::Doubted {
            self.booked.add_down(cause, now.since(began));
            self.since = self.since.max(now);
        }
        self.book(now, Mode::Down(cause));
        self.begin(cause, began, now)
    }

    /// The cause of an outage that looks like this.
    fn cause(&mut self, looks: Cause) -> Cause {
        if std::mem::take(&mut self.drilled) { Cause::Drill } else { looks }
    }

    fn begin(&mut self, cause: Cause, began: Moment, detected: Moment) -> News {
        let outage = Outage { cause, began, earlier: Duration::ZERO, detected, ended: None };
        self.outage = Some(outage);
        News::Began(outage)
    }

    /// Books the time since the last booking and goes on in the next mode.
    fn book(&mut self, now: Moment, next: Mode) {
        let span = now.since(self.since);
        match (self.mode, next) {
            (Mode::Up | Mode::Doubted, _) | (Mode::Settling(_), Mode::Up) => self.booked.up += span,
            (Mode::Down(cause) | Mode::Settling(cause), _) => self.booked.add_down(cause, span),
            (Mode::Ended, _) => {}
        }
        self.since = self.since.max(now);
        self.mode = next;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::supervisor::{Exit, FailKind, Incarnation, Outcome};

    const PASS: Fact = Fact::Healthy { id: Incarnation(1), settles: true };
    const CRASH: Fact = Fact::Exited { id: Incarnation(1), exit: Exit::Code(1), expected: false };
    const TOLD: Fact = Fact::Exited { id: Incarnation(1), exit: Exit::Signal(15), expected: true };
    const UNHEALTHY: Fact = Fact::Unhealthy { kind: FailKind::Timeout, failures: 3 };
    const STOP: Fact = Fact::StopRequested { again: false };
    const END: Fact = Fact::Finished(Outcome::Asked { killed: false, left: false });

    fn failed(failures: u32) -> Fact {
        Fact::ProbeFailed { role: Role::Liveness, kind: FailKind::Timeout, failures, threshold: 3 }
    }

    fn at(seconds: u64) -> Moment {
        Moment::new(Duration::from_secs(seconds))
    }

    /// up, pending, boot, crash, unhealthy, planned, in seconds.
    fn seconds(sums: &Sums) -> [u64; 6] {
        let down = |cause| sums.down(cause).as_secs();
        [
            sums.up.as_secs(),
            sums.pending.as_secs(),
            down(Cause::Boot),
            down(Cause::Crash),
            down(Cause::Unhealthy),
            down(Cause::Planned),
        ]
    }

    fn check(story: &[(u64, Fact)], until: u64, expected: [u64; 6]) -> (Tally, Vec<News>) {
        let mut tally = Tally::new(Moment::ZERO);
        let news = story.iter().filter_map(|(when, fact)| tally.fact(at(*when), fact)).collect();
        assert_eq!(seconds(&tally.sums(at(until))), expected, "{story:?}");
        (tally, news)
    }

    #[test]
    fn until_the_first_pass_that_lasts_it_is_boot() {
        check(&[], 7, [0, 0, 7, 0, 0, 0]);
        check(&[(5, PASS)], 9, [0, 4, 5, 0, 0, 0]);
        check(&[(5, PASS), (15, Fact::Settled)], 20, [15, 0, 5, 0, 0, 0]);
        check(&[(5, PASS), (8, CRASH)], 10, [0, 0, 10, 0, 0, 0]);
        let unprobed = Fact::Healthy { id: Incarnation(1), settles: false };
        check(&[(10, unprobed)], 12, [2, 0, 10, 0, 0, 0]);
    }

    #[test]
    fn what_a_drill_breaks_is_no_incident_and_only_the_next_outage_is_its() {
        let mut tally = Tally::new(Moment::ZERO);
        let settled = |tally: &mut Tally, passed, settled| {
            tally.fact(at(passed), &PASS);
            tally.fact(at(settled), &Fact::Settled)
        };
        settled(&mut tally, 1, 2);
        tally.drill();
        let Some(News::Began(outage)) = tally.fact(at(10), &CRASH) else { panic!("an outage") };
        assert!(outage.cause == Cause::Drill && !outage.cause.is_incident());
        let Some(News::Ended(outage)) = settled(&mut tally, 13, 20) else { panic!("its end") };
        assert_eq!(outage.duration(), Some(Duration::from_secs(3)));
        tally.fact(at(30), &CRASH);
        let sums = tally.sums(at(35));
        assert_eq!(sums.down(Cause::Drill), Duration::from_secs(3));
        assert_eq!(sums.down(Cause::Crash), Duration::from_secs(5));
    }

    #[test]
    fn an_exit_that_nobody_asked_for_begins_a_crash() {
        let story = [(5, PASS), (15, Fact::Settled), (20, CRASH), (24, PASS), (34, Fact::Settled)];
        let (tally, news) = check(&story, 40, [31, 0, 5, 4, 0, 0]);
        let Some(News::Ended(outage)) = news.last() else { panic!("{news:?}") };
        assert_eq!(outage.duration(), Some(Duration::from_secs(4)));
        assert_eq!(outage.detection(), Duration::ZERO);
        assert_eq!(tally.outage(), None);
    }

    #[test]
    fn an_outage_of_failed_probes_is_dated_back_to_the_first_of_them() {
        let begun = [(0, PASS), (10, Fact::Settled), (20, failed(1)), (30, failed(2))];
        check(&begun, 35, [20, 15, 0, 0, 0, 0]);
        let story = [&begun[..], &[(40, UNHEALTHY), (41, TOLD)]].concat();
        let (tally, news) = check(&story, 50, [20, 0, 0, 0, 30, 0]);
        let outage = tally.outage().unwrap();
        assert_eq!((outage.began, outage.detection()), (at(20), Duration::from_secs(20)));
        assert_eq!(news.last(), Some(&News::Began(outage)));
    }

    #[test]
    fn failed_probes_below_the_threshold_were_uptime() {
        let story = [
            (0, PASS),
            (10, Fact::Settled),
            (20, failed(1)),
            (30, Fact::ProbeRecovered { failures: 1 }),
        ];
        let (_, news) = check(&story, 35, [35, 0, 0, 0, 0, 0]);
        assert_eq!(news.len(), 1, "{news:?}");
    }

    #[test]
    fn a_pass_that_does_not_last_leaves_the_outage_as_it_was() {
        let story = [(0, PASS), (10, Fact::Settled), (20, CRASH), (25, PASS), (28, CRASH)];
        let (tally, news) = check(&story, 30, [20, 0, 0, 10, 0, 0]);
        assert_eq!(tally.outage().unwrap().began, at(20));
        assert_eq!(news.len(), 2, "the end of boot and one crash: {news:?}");
    }

    #[test]
    fn a_stop_that_was_asked_for_is_planned_and_no_incident() {
        let story = [(0, PASS), (10, Fact::Settled), (20, STOP), (23, TOLD)];
        check(&story, 25, [20, 0, 0, 0, 0, 5]);
        let ended = [&story[..], &[(24, END)]].concat();
        let (tally, _) = check(&ended, 100, [20, 0, 0, 0, 0, 4]);
        assert_eq!(tally.outage(), None);
    }

    #[test]
    fn an_outage_that_began_before_the_run_counts_from_there_and_is_an_incident() {
        let mut booked = Sums { up: Duration::from_secs(100), ..Sums::default() };
        booked.add_down(Cause::PowerCycle, Duration::from_secs(30));
        let outage = Outage::at_start(at(3), Cause::PowerCycle, Duration::from_secs(30));
        let mut tally = Tally::continuing(booked, outage);
        tally.fact(at(8), &PASS);
        let news = tally.fact(at(18), &Fact::Settled);
        let Some(News::Ended(outage)) = news else { panic!("{news:?}") };
        assert_eq!(outage.duration(), Some(Duration::from_secs(35)));
        assert_eq!(outage.detection(), Duration::from_secs(30));
        let sums = tally.sums(at(23));
        assert_eq!((sums.up.as_secs(), sums.down(Cause::PowerCycle).as_secs()), (115, 35));
    }

    #[test]
    fn what_is_pending_when_a_run_ends_is_booked_as_far_as_it_is_known() {
        for (story, expected) in [
            (&[(5, PASS)][..], [0, 0, 9, 0, 0, 0]),
            (&[(0, PASS), (1, Fact::Settled), (5, failed(1))], [9, 0, 0, 0, 0, 0]),
            (&[(0, PASS), (1, Fact::Settled), (5, CRASH)], [5, 0, 0, 4, 0, 0]),
        ] {
            let mut tally = Tally::new(Moment::ZERO);
            for (when, fact) in story {
                tally.fact(at(*when), fact);
            }
            assert_eq!(seconds(&tally.sums_at_the_end(at(9))), expected, "{story:?}");
        }
    }

    fn any_fact() -> impl Strategy<Value = Fact> {
        prop::sample::select(vec![
            PASS,
            Fact::Healthy { id: Incarnation(1), settles: false },
            Fact::Settled,
            failed(1),
            failed(2),
            Fact::ProbeRecovered { failures: 1 },
            UNHEALTHY,
            CRASH,
            TOLD,
            STOP,
            Fact::Stable,
        ])
    }

    proptest! {
        #[test]
        fn every_second_is_counted_once_and_no_sum_goes_back(
            story in prop::collection::vec((0_u64..5, any_fact()), 0..60)
        ) {
            let mut tally = Tally::new(Moment::ZERO);
            let (mut now, mut seen) = (0, Sums::default());
            for (wait, fact) in story {
                now += wait;
                for told in [false, true] {
                    if told {
                        tally.fact(at(now), &fact);
                    }
                    let sums = tally.sums(at(now));
                    prop_assert_eq!(sums.total(), Duration::from_secs(now));
                    prop_assert!(sums.up >= seen.up);
                    for cause in Cause::ALL.iter().copied() {
                        prop_assert!(sums.down(cause) >= seen.down(cause));
                    }
                    seen = sums;
                }
            }
        }
    }
}
