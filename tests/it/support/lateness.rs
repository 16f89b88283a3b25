//! How late the supervision loop was, by its own measure.

use std::time::Duration;

use super::Rekindle;

/// How late the loop was: how many turns were late by no more than each bound, in seconds.
#[derive(Debug)]
pub(crate) struct Lateness {
    within: Vec<(f64, u64)>,
    pub(crate) turns: u64,
}

impl Lateness {
    /// Until now.
    pub(crate) fn of(rekindle: &Rekindle<'_>) -> Self {
        let page = rekindle.get("/metrics").expect("a page").body;
        let bucket = |line: &str| {
            let rest = line.strip_prefix("rekindle_loop_lag_seconds_bucket{le=\"")?;
            let (bound, turns) = rest.split_once("\"} ")?;
            // Prometheus and Rust agree on how to write infinity.
            Some((bound.parse().ok()?, turns.parse().ok()?))
        };
        let within: Vec<(f64, u64)> = page.lines().filter_map(bucket).collect();
        let (_, turns) = *within.last().expect("the last bucket has them all");
        Self { within, turns }
    }

    /// What has come since `before`.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        for ((_, now), (_, then)) in self.within.iter_mut().zip(&before.within) {
            *now -= then;
        }
        self.turns -= before.turns;
        self
    }

    /// Whether 99 of a hundred turns have kept `limit`, as far as can be told: to the bound of the
    /// bucket that it lies in.
    pub(crate) fn keeps(&self, limit: Duration) -> bool {
        let bucket = self.within.iter().find(|(bound, _)| *bound >= limit.as_secs_f64());
        bucket.is_none_or(|(_, within)| within * 100 >= self.turns * 99)
    }

    /// The bound that 99 of a hundred turns have kept.
    pub(crate) fn p99(&self) -> Duration {
        let kept = |(_, within): &&(f64, u64)| within * 100 >= self.turns * 99;
        let (bound, _) = self.within.iter().find(kept).expect("the last one is kept by all");
        Duration::try_from_secs_f64(*bound).unwrap_or(Duration::MAX)
    }
}
