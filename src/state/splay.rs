//! The wait before the first launch after a fleet's power has come back (`boot_splay`).
//!
//! A thousand sandboxes that start in the same second want the same registry in the same second.
//! Each waits for a share of the span that is its own and can be worked out again from the log.

use std::time::Duration;

use super::file::checksum;

/// What one run waits, and from which seed that follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Splay {
    /// The hash of who we are: host name, instance, service, boot and run.
    pub seed: u64,
    /// The share of the span.
    pub delay: Duration,
}

impl Splay {
    /// The share of `span` for whoever is described by `who`.
    pub fn new(span: Duration, who: &[&str]) -> Self {
        let seed = checksum(who.join("\n").as_bytes());
        // Thousandths of the span, from bits that depend on all of the text.
        let share = u32::try_from((seed >> 32) % 1001).unwrap_or_default();
        Self { seed, delay: span * share / 1000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_is_spread_evenly_over_the_span_even_if_only_the_run_differs() {
        const FLEET: u32 = 5000;
        let mut tenths = [0; 10];
        for number in 0..FLEET {
            let run = format!("{number:016x}");
            let splay = Splay::new(Duration::from_mins(1), &["host", "id", "gateway", "b", &run]);
            assert!(splay.delay <= Duration::from_mins(1));
            tenths[(splay.delay.as_millis() / 6001) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (400..600).contains(count)), "{tenths:?}");
    }

    #[test]
    fn the_same_who_waits_the_same() {
        let splay = |who: &[&str]| Splay::new(Duration::from_mins(1), who);
        assert_eq!(splay(&["a", "b"]), splay(&["a", "b"]));
        assert_ne!(splay(&["a", "b"]).seed, splay(&["ab", ""]).seed);
    }
}
