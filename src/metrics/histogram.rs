//! Histograms that count in place.
//!
//! The recorder's keep every sample until another thread drains it, and free it as garbage of both
//! threads whenever that suits them: memory that comes and goes between all others, so that the
//! heap only grew. These take their memory once. They do not know what they count.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often which durations were observed.
pub(super) struct Histogram {
    bounds: Vec<f64>,
    /// One for each bound, and one for what is beyond.
    counts: Vec<AtomicU64>,
    nanoseconds: AtomicU64,
}

/// What one shows.
pub(super) struct Shown {
    /// Each bound, and how many were not above it.
    pub(super) buckets: Vec<(f64, u64)>,
    /// All together.
    pub(super) count: u64,
    /// Seconds.
    pub(super) sum: f64,
}

impl Histogram {
    /// Nothing observed yet; `bounds` ascend.
    pub(super) fn new(bounds: Vec<f64>) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, nanoseconds: AtomicU64::new(0) }
    }

    pub(super) fn observe(&self, took: Duration) {
        let bucket = self.bounds.partition_point(|bound| *bound < took.as_secs_f64());
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        // 584 years fit.
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub(super) fn shown(&self) -> Shown {
        let mut count = 0;
        let mut add = |bucket: &AtomicU64| {
            count += bucket.load(Ordering::Relaxed);
            count
        };
        let buckets = self.bounds.iter().copied();
        let buckets = buckets.zip(self.counts.iter().map(&mut add)).collect();
        let count = self.counts.last().map_or(0, add);
        let sum = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        Shown { buckets, count, sum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_observed_is_in_every_bucket_that_is_not_below_it() {
        let histogram = Histogram::new(vec![0.5, 1.0]);
        for milliseconds in [0, 500, 501, 1000, 1001] {
            histogram.observe(Duration::from_millis(milliseconds));
        }
        let Shown { buckets, count, sum } = histogram.shown();
        assert_eq!(buckets, [(0.5, 2), (1.0, 4)]);
        assert_eq!(count, 5);
        assert!((sum - 3.002).abs() < 1e-9, "{sum}");
    }
}
