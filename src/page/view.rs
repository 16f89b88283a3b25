//! What the page shows, gathered at one moment.

use std::sync::Arc;
use std::time::Duration;

use crate::comeback::Comeback;
use crate::history::History;
use crate::metrics::{Kept, Label, Metric, Metrics, seconds};
use crate::status::{Shared, Status, since_1970};
use crate::supervisor::{Moment, Role, Start, State};

/// A service that has just changed is looked at more closely.
const FRESH: Duration = Duration::from_mins(1);

/// All that the page shows.
#[derive(Clone, Debug)]
pub struct View {
    /// The moment of all that follows.
    pub now: Moment,
    /// The same by the wall clock, since 1970.
    pub wall: Duration,
    /// What we are.
    pub version: &'static str,
    /// How this run began.
    pub start: Start,
    /// Whether the loop turns; how late it is otherwise.
    pub live: Result<(), String>,
    /// What may be trouble later, a sentence each.
    pub warnings: Vec<String>,
    /// Each service, in the order of the configuration.
    pub services: Vec<ServiceView>,
}

/// One service.
#[derive(Clone, Debug)]
pub struct ServiceView {
    /// As the loop last saw it.
    pub status: Arc<Status>,
    /// Availability until now.
    pub history: History,
    /// Restarts by reason, as far back as is remembered; none that is 0.
    pub restarts: Vec<(&'static str, u64)>,
    /// When the last power cycle was, since 1970, and how long it took from the host's boot until
    /// the service was healthy.
    pub power_cycle: Option<(Duration, Option<Duration>)>,
    /// When the last drill of the running service was over, since 1970, and whether it was a success.
    pub drill: Option<(Duration, bool)>,
    /// Within these times half, 95 % and 99 % of the liveness probes of this run were answered.
    pub latency: Option<[Duration; 3]>,
}

impl View {
    /// What there is to show now.
    pub fn of(shared: &Shared, metrics: &Metrics) -> Self {
        let now = shared.now();
        Self {
            now,
            wall: since_1970(now, now),
            version: env!("CARGO_PKG_VERSION"),
            start: shared.origin().start,
            live: shared.live(),
            warnings: warnings(shared),
            services: vec![ServiceView::of(now, shared.status(), metrics)],
        }
    }

    /// Whether what it shows changes from second to second.
    pub fn is_restless(&self) -> bool {
        self.services.iter().any(|service| {
            let status = &service.status;
            status.state != State::Healthy || self.now.since(status.since) < FRESH
        })
    }

    /// The wall clock's time at `moment`, since 1970.
    pub fn at(&self, moment: Moment) -> Duration {
        self.wall.saturating_sub(self.now.since(moment)) + moment.since(self.now)
    }
}

impl ServiceView {
    fn of(now: Moment, status: Arc<Status>, metrics: &Metrics) -> Self {
        let kept = metrics.kept();
        let time = |metric| time(&kept, metric);
        let liveness = [Role::Liveness.label()];
        Self {
            history: status.history(now),
            status,
            restarts: restarts(&kept),
            power_cycle: time(Metric::LastPowerCycle)
                .map(|at| (at, time(Metric::PowerOnToHealthy))),
            drill: time(Metric::LastDrill)
                .map(|at| (at, kept.get(Metric::LastDrillSuccess, &[]) == Some(1.0))),
            latency: metrics.quantiles(Metric::ProbeDuration, &liveness, [0.5, 0.95, 0.99]),
        }
    }
}

fn warnings(shared: &Shared) -> Vec<String> {
    let comeback = shared.comeback();
    let on_disk = (comeback != Comeback::default()).then(|| format!("Rekindle {comeback}"));
    let forgets = shared.forgets().map(|why| format!("Not remembered: {why}"));
    on_disk.into_iter().chain(forgets).collect()
}

/// A time or span that was kept; 0 stands for none.
fn time(kept: &Kept, metric: Metric) -> Option<Duration> {
    kept.get(metric, &[]).map(seconds).filter(|time| !time.is_zero())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
fn restarts(kept: &Kept) -> Vec<(&'static str, u64)> {
    let words = Label::Reason.words().into_iter();
    let count = |word| kept.get(Metric::Restarts, &[word]).unwrap_or_default() as u64;
    words.map(|word| (word, count(word))).filter(|(_, count)| *count > 0).collect()
}
