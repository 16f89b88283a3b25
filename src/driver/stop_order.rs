//! A stop order is written down before anything is signalled.
//!
//! Should the power or whoever stops us cut the stop short, the next run knows that this one was to
//! end. The disk gets a moment for it and no more: then the stop goes ahead without.

use std::time::Duration;

use super::Driver;
use crate::state::{Ending, Written};
use crate::supervisor::{Event, Moment};

/// The disk gets so long.
const PATIENCE: Duration = Duration::from_millis(200);

/// A stop order that is being written down.
pub(super) struct StopOrder {
    written: Written,
    /// It is carried out then at the latest.
    pub(super) until: Moment,
}

/// Waits until the order is written, or cannot be.
pub(super) async fn written(stop: &mut Option<StopOrder>) {
    match stop {
        // An error says that nobody is left who would write it.
        Some(stop) => drop((&mut stop.written).await),
        None => std::future::pending().await,
    }
}

impl Driver {
    /// The first order waits to be written down; another one does not.
    pub(super) fn stop_requested(&mut self) {
        if let Some(written) = self.keeper.has_come_to(Ending::Stopping) {
            self.stop = Some(StopOrder { written, until: self.clock.now() + PATIENCE });
        } else {
            self.carry_out_stop();
            self.feed(Event::StopRequested);
        }
    }

    pub(super) fn carry_out_stop_if_due(&mut self) {
        if self.stop.as_ref().is_some_and(|stop| stop.until <= self.clock.now()) {
            self.carry_out_stop();
        }
    }

    pub(super) fn carry_out_stop(&mut self) {
        if self.stop.take().is_some() {
            self.feed(Event::StopRequested);
        }
    }
}
