//! How late the supervision loop was, by its own measure.

use std::time::Duration;

use super::Rekindle;

/// How late the loop was: how many turns were late by no more than each bound, in seconds.
#[derive(Debug)]
pub(crate) struct Lateness {
    within: Vec<(&'static str, u64)>,
    pub(crate) turns: u64,
}

impl Lateness {
    /// Until now.
    pub(crate) fn of(rekindle: &Rekindle<'_>) -> Self {
        const BOUNDS: &[&str] = &["0.001", "0.005", "0.01", "0.025", "0.05", "0.1", "1"];
        let page = rekindle.get("/metrics").expect("a page").body;
        let turns = |series: &str| {
            let series = format!("rekindle_loop_lag_seconds_{series} ");
            let value = page.lines().find_map(|line| line.strip_prefix(&*series));
            value.expect("it is on the page").parse::<u64>().expect("a whole number")
        };
        let within = |bound: &&'static str| (*bound, turns(&format!("bucket{{le=\"{bound}\"}}")));
        Self { within: BOUNDS.iter().map(within).collect(), turns: turns("count") }
    }

    /// What has come since `before`.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        for ((_, now), (_, then)) in self.within.iter_mut().zip(&before.within) {
            *now -= then;
        }
        self.turns -= before.turns;
        self
    }

    /// The bound that 99 of a hundred turns have kept.
    pub(crate) fn p99(&self) -> Duration {
        let kept = |(_, within): &&(_, u64)| within * 100 >= self.turns * 99;
        let bound = self.within.iter().find(kept).map_or("10", |(bound, _)| bound);
        Duration::from_secs_f64(bound.parse().expect("a number"))
    }
}
