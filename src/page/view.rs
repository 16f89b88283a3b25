//! What the page shows, gathered at one moment.

use std::sync::Arc;
use std::time::Duration;

use crate::metrics::Metrics;
use crate::status::{Shared, Status, since_1970};
use crate::supervisor::{Moment, Start, State};

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
    /// Each service, in the order of the configuration.
    pub services: Vec<ServiceView>,
}

/// One service.
#[derive(Clone, Debug)]
pub struct ServiceView {
    /// As the loop last saw it.
    pub status: Arc<Status>,
}

impl View {
    /// What there is to show now.
    pub fn of(shared: &Shared, _metrics: &Metrics) -> Self {
        let now = shared.now();
        Self {
            now,
            wall: since_1970(now, now),
            version: env!("CARGO_PKG_VERSION"),
            start: shared.origin().start,
            live: shared.live(),
            services: vec![ServiceView { status: shared.status() }],
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
