//! The values that are kept across runs: those of the families that the table marks as kept.
//!
//! Plain data that can be written down and read again. What is found under a name or a word that
//! the table does not know, or makes no sense as a number, counts as not there.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Metric;
use crate::tally::{Cause, Sums};

/// Values by family and by the words of their labels (without `service`). Whole numbers are exact
/// up to 2^53.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kept(BTreeMap<String, BTreeMap<String, f64>>);

impl Kept {
    /// The value of one series, if it is there.
    pub fn get(&self, metric: Metric, words: &[&str]) -> Option<f64> {
        let value = *self.0.get(metric.family().name)?.get(&words.join(","))?;
        value.is_finite().then_some(value)
    }

    /// Sets a series to `value`.
    pub fn set(&mut self, metric: Metric, words: &[&str], value: f64) {
        let family = self.0.entry(metric.family().name.to_owned()).or_default();
        family.insert(words.join(","), value);
    }

    /// Adds to a series, which begins at 0.
    pub fn add(&mut self, metric: Metric, words: &[&str], more: f64) {
        let value = self.get(metric, words).unwrap_or_default().max(0.0) + more;
        self.set(metric, words, value);
    }

    /// Up and down time.
    pub fn sums(&self) -> Sums {
        let span = |metric, words: &[&str]| seconds(self.get(metric, words).unwrap_or_default());
        let mut sums = Sums::of_up(span(Metric::Uptime, &[]));
        for cause in Cause::ALL.iter().copied() {
            sums.add_down(cause, span(Metric::Downtime, &[cause.label()]));
        }
        sums
    }

    /// Takes up and down time over.
    pub fn set_sums(&mut self, sums: &Sums) {
        self.set(Metric::Uptime, &[], sums.up.as_secs_f64());
        for cause in Cause::ALL.iter().copied() {
            self.set(Metric::Downtime, &[cause.label()], sums.down(cause).as_secs_f64());
        }
    }
}

/// A span, or a time since 1970, that was written down. Nonsense is zero: what is negative, or so
/// long that sums of it would overflow.
pub(crate) fn seconds(seconds: f64) -> Duration {
    const LONGEST: Duration = Duration::from_hours(1000 * 366 * 24);
    Duration::try_from_secs_f64(seconds).ok().filter(|span| *span <= LONGEST).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_found_again_after_having_been_written() {
        let mut kept = Kept::default();
        kept.add(Metric::Restarts, &["exit"], 2.0);
        kept.add(Metric::Restarts, &["exit"], 1.0);
        kept.set(Metric::LastExitCode, &[], 137.0);
        let mut sums = Sums::of_up(Duration::from_millis(12_345));
        sums.add_down(Cause::PowerCycle, Duration::from_millis(678));
        kept.set_sums(&sums);
        let text = serde_json::to_string(&kept).unwrap();
        let read: Kept = serde_json::from_str(&text).unwrap();
        assert_eq!(read, kept);
        assert_eq!(read.get(Metric::Restarts, &["exit"]), Some(3.0));
        assert_eq!(read.get(Metric::Restarts, &["signal"]), None);
        assert_eq!(read.sums(), sums);
    }

    #[test]
    fn numbers_without_sense_count_as_not_there() {
        let mut kept = Kept::default();
        kept.set(Metric::Uptime, &[], -5.0);
        kept.set(Metric::Downtime, &["crash"], 1e300);
        kept.set(Metric::Downtime, &["boot"], f64::NAN);
        assert_eq!(kept.sums(), Sums::default());
        kept.add(Metric::Uptime, &[], 1.0);
        assert_eq!(kept.get(Metric::Uptime, &[]), Some(1.0));
    }
}
