//! What happened when, worked out from what was seen. Pure.

use std::time::Duration;

use super::watch::{Outage, Seen};

/// When what happened, from the fault on; nothing for what did not happen or was not seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Marks {
    /// The first probe that failed.
    pub first_failed_probe: Option<Duration>,
    /// The supervisor knew: the gateway has ended, or the threshold was reached. After a power cycle:
    /// a supervisor was there again.
    pub detected: Option<Duration>,
    /// Nothing of the old gateway was alive any more.
    pub tree_gone: Option<Duration>,
    /// The boot hook of the attempt that succeeded was started.
    pub hook: Option<Duration>,
    /// The gateway of the attempt that succeeded was started.
    pub started: Option<Duration>,
    /// A probe passed: it has recovered.
    pub first_pass: Option<Duration>,
    /// It had lasted.
    pub settled: Option<Duration>,
}

impl Marks {
    /// Each with its name, in their order.
    pub fn named(&self) -> [(&'static str, Option<Duration>); 7] {
        [
            ("first failed probe", self.first_failed_probe),
            ("detected", self.detected),
            ("tree gone", self.tree_gone),
            ("hook", self.hook),
            ("started", self.started),
            ("first pass", self.first_pass),
            ("settled", self.settled),
        ]
    }
}

/// A time in which the service was in one state, counted from the fault on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Band {
    /// The word of the state.
    pub state: String,
    /// When it began; before the fault counts as at the fault.
    pub from: Duration,
    /// When it ended.
    pub to: Duration,
}

/// What is known beside what the supervisor said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    /// When the fault was injected.
    pub(super) fault: Duration,
    /// When the drill itself had ended everything, if it did.
    pub(super) ended: Option<Duration>,
    /// When the service was given over to the slow pace, for those that are reported.
    pub(super) reported: Option<Duration>,
    /// When the service was seen to have settled.
    pub(super) settled: Option<Duration>,
}

/// The marks of what was seen.
pub(super) fn marks(seen: &[Seen], known: Known) -> Marks {
    let after = |moment: Duration| moment.checked_sub(known.fault);
    let seen: Vec<_> = seen.iter().filter(|seen| seen.since >= known.fault).collect();
    let healthy = seen.iter().position(|seen| seen.state == "healthy");
    let until_healthy = &seen[..healthy.map_or(seen.len(), |at| at + 1)];
    let last_in = |state: &str| {
        let found = until_healthy.iter().rev().find(|seen| seen.state == state);
        found.and_then(|seen| after(seen.since))
    };
    let detected = detection(&seen, known);
    let incident = incident(&seen, known);
    let replacing = |seen: &&&Seen| !matches!(&*seen.state, "degraded" | "stopping" | "healthy");
    let tree_gone = || {
        let since = until_healthy.iter().find(replacing)?.since;
        detected.and(after(since))
    };
    Marks {
        first_failed_probe: incident
            .filter(|outage| outage.detected > outage.began && known.ended.is_none())
            .and_then(|outage| after(outage.began)),
        detected,
        tree_gone: known.ended.map_or_else(tree_gone, after),
        hook: last_in("boot_hook"),
        started: last_in("starting"),
        first_pass: healthy.and_then(|at| after(seen[at].since)),
        settled: known.settled.and_then(after),
    }
}

/// The states that were seen, one after the other; `off` while there was no supervisor.
pub(super) fn bands(seen: &[Seen], known: Known) -> Vec<Band> {
    let end = known.settled.or_else(|| seen.last().map(|seen| seen.since)).unwrap_or_default();
    let came_back = known
        .ended
        .and_then(|_| Some(seen.last()?.supervisor_since))
        .filter(|at| *at > known.fault);
    let mut bands: Vec<Band> = Vec::new();
    let mut add = |state: &str, from: Duration, to: Duration| {
        let (from, to) = (from.saturating_sub(known.fault), to.saturating_sub(known.fault));
        if to > from && bands.last().is_none_or(|last| last.to <= from) {
            bands.push(Band { state: state.to_owned(), from, to });
        }
    };
    if let Some(came_back) = came_back {
        add("off", known.fault, came_back);
    }
    for (at, now) in seen.iter().enumerate() {
        let next = seen[at + 1..].iter().find(|next| next.since > now.since);
        add(&now.state, now.since, next.map_or(end, |next| next.since).min(end));
    }
    bands
}

fn detection(seen: &[&Seen], known: Known) -> Option<Duration> {
    let detected = match (known.reported, known.ended) {
        (Some(reported), _) => Some(reported),
        (None, Some(_)) => seen.first().map(|seen| seen.supervisor_since),
        (None, None) => incident(seen, known).map(|outage| outage.detected),
    };
    detected?.checked_sub(known.fault)
}

/// The first incident that the fault led to.
fn incident<'a>(seen: &[&'a Seen], known: Known) -> Option<&'a Outage> {
    let outages = seen.iter().flat_map(|seen| [&seen.outage, &seen.last_incident]).flatten();
    outages.filter(|outage| outage.cause != "boot").find(|outage| outage.began >= known.fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn seen(state: &str, since: u64, outage: Option<(&str, u64, u64)>) -> Seen {
        Seen {
            state: state.to_owned(),
            since: at(since),
            pid: None,
            supervisor_since: at(1),
            start: "first".to_owned(),
            outage: outage.map(|(cause, began, detected)| Outage {
                cause: cause.to_owned(),
                began: at(began),
                detected: at(detected),
            }),
            last_incident: None,
        }
    }

    #[test]
    fn a_hang_has_every_mark() {
        let outage = Some(("unhealthy", 1200, 1400));
        let seen = [
            seen("healthy", 500, None),
            seen("degraded", 1400, outage),
            seen("boot_hook", 2400, outage),
            seen("starting", 2450, outage),
            seen("healthy", 2500, outage),
            seen("healthy", 2500, None),
        ];
        let known = Known { fault: at(1000), settled: Some(at(3000)), ..Known::default() };
        let millis: Vec<_> = marks(&seen, known)
            .named()
            .map(|(name, mark)| (name, mark.map(|mark| mark.as_millis())))
            .into();
        assert_eq!(
            millis,
            [
                ("first failed probe", Some(200)),
                ("detected", Some(400)),
                ("tree gone", Some(1400)),
                ("hook", Some(1400)),
                ("started", Some(1450)),
                ("first pass", Some(1500)),
                ("settled", Some(2000)),
            ]
        );
        let bands: Vec<_> = bands(&seen, known)
            .into_iter()
            .map(|band| (band.state, band.from.as_millis(), band.to.as_millis()))
            .collect();
        let expected = [
            ("healthy", 0, 400),
            ("degraded", 400, 1400),
            ("boot_hook", 1400, 1450),
            ("starting", 1450, 1500),
            ("healthy", 1500, 2000),
        ];
        assert_eq!(bands, expected.map(|(state, from, to)| (state.to_owned(), from, to)));
    }

    #[test]
    fn the_attempt_that_succeeded_gives_hook_and_start() {
        let outage = Some(("crash", 1000, 1000));
        let seen = [
            seen("boot_hook", 1001, outage),
            seen("backoff", 1050, outage),
            seen("boot_hook", 1150, outage),
            seen("starting", 1200, outage),
            seen("healthy", 1300, outage),
        ];
        let marks = marks(&seen, Known { fault: at(1000), ..Known::default() });
        assert_eq!((marks.tree_gone, marks.hook), (Some(at(1)), Some(at(150))));
        assert_eq!((marks.started, marks.first_pass), (Some(at(200)), Some(at(300))));
        assert_eq!((marks.detected, marks.first_failed_probe), (Some(at(0)), None));
    }

    #[test]
    fn after_a_power_cut_a_new_supervisor_is_the_detection() {
        let boot = Some(("boot", 1060, 1060));
        let mut seen = [seen("starting", 1100, boot), seen("healthy", 1200, boot)];
        for seen in &mut seen {
            seen.supervisor_since = at(1060);
        }
        let known = Known { fault: at(1000), ended: Some(at(1020)), ..Known::default() };
        let marks = marks(&seen, known);
        assert_eq!((marks.tree_gone, marks.detected), (Some(at(20)), Some(at(60))));
        let bands: Vec<_> = bands(&seen, known).into_iter().map(|band| band.state).collect();
        assert_eq!(bands, ["off", "starting"]);
    }

    #[test]
    fn what_did_not_happen_has_no_mark() {
        let marks =
            marks(&[seen("healthy", 500, None)], Known { fault: at(1000), ..Known::default() });
        assert_eq!(marks, Marks::default());
    }
}
