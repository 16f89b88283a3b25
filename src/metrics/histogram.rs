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

impl Shown {
    /// The seconds within which this part of them was, by the rule of three between two bounds, and
    /// at most the last bound; `None` if there are none.
    #[expect(clippy::cast_precision_loss, reason = "it is an estimate")]
    pub(super) fn quantile(&self, part: f64) -> Option<f64> {
        let rank = self.count as f64 * part;
        let mut below = (0.0, 0.0);
        for (bound, count) in self.buckets.iter().map(|(bound, count)| (*bound, *count as f64)) {
            if count >= rank && count > 0.0 {
                let (bound_below, count_below) = below;
                let place = (rank - count_below) / (count - count_below);
                return Some(bound_below + (bound - bound_below) * place);
            }
            below = (bound, count);
        }
        (self.count > 0).then_some(below.0)
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

    #[test]
    fn a_quantile_lies_between_the_bounds_of_its_bucket() {
        let quantile = |milliseconds: &[u64], part| {
            let histogram = Histogram::new(vec![0.5, 1.0]);
            for took in milliseconds {
                histogram.observe(Duration::from_millis(*took));
            }
            histogram.shown().quantile(part)
        };
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[1, 2, 3, 4], 0.5), Some(0.25));
        assert_eq!(quantile(&[1, 2, 600, 700], 0.75), Some(0.75));
        assert_eq!(quantile(&[600, 700], 0.5), Some(0.75));
        assert_eq!(quantile(&[5000], 0.5), Some(1.0), "beyond the last bound");
    }
}
