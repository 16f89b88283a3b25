//! The state in words, with a shape and a colour, since when and what comes next.

use std::fmt::{self, Write as _};

use super::view::{ServiceView, View};
use super::words::{age, plain, shown, time_at};
use crate::status::{Status, what_next};
use crate::supervisor::State;
use crate::tally::{Cause, Outage};

/// What a state is to whoever looks, the worst last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Tone {
    Good,
    Idle,
    Busy,
    Bad,
}

impl Tone {
    fn of(view: &View, service: &ServiceView) -> Self {
        let status = &service.status;
        match status.state {
            _ if view.live.is_err() => Self::Bad,
            State::Healthy => Self::Good,
            State::Maintenance | State::Stopped => Self::Idle,
            State::Degraded | State::Backoff | State::SlowRetry => Self::Bad,
            State::BootHook | State::Starting | State::Stopping if broken(status).is_some() => {
                Self::Bad
            }
            State::BootHook | State::Starting | State::Stopping => Self::Busy,
        }
    }

    const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Bad => "bad",
        }
    }

    /// Two paths in a square of 24: the ground and the sign on it. No two have the same ground.
    const fn shape(self) -> (&'static str, &'static str) {
        match self {
            Self::Good => ("M12 1a11 11 0 100 22 11 11 0 000-22z", "M7 12.5l3.5 3.5L17 9"),
            Self::Idle => ("M3 3h18v18H3z", "M8 12h8"),
            Self::Busy => ("M12 0l12 12-12 12L0 12z", "M12 7v5.5l3.5 2"),
            Self::Bad => ("M7.5 1h9L23 7.5v9L16.5 23h-9L1 16.5v-9z", "M8 8l8 8M16 8l-8 8"),
        }
    }

    /// The ground of the icon, which has to do on light and dark.
    const fn colour(self) -> &'static str {
        match self {
            Self::Good => "1a7f3c",
            Self::Idle => "62686c",
            Self::Busy => "9a6700",
            Self::Bad => "c4242b",
        }
    }
}

/// The window's title.
pub(super) fn title(view: &View, html: &mut String) -> fmt::Result {
    if let Some(service) = worst(view) {
        word(view, service, html)?;
        write!(html, " – {} – ", shown(&service.status.service))?;
    }
    html.write_str("Rekindle")
}

/// The window's icon, as an address.
pub(super) fn icon(view: &View, html: &mut String) -> fmt::Result {
    let tone = worst(view).map_or(Tone::Idle, |service| Tone::of(view, service));
    let ((ground, sign), colour) = (tone.shape(), tone.colour());
    write!(
        html,
        "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'%3E\
         %3Cpath fill='%23{colour}' d='{ground}'/%3E%3Cpath fill='none' stroke='%23fff' \
         stroke-width='2.5' d='{sign}'/%3E%3C/svg%3E"
    )
}

/// The service that an operator has to look at first.
fn worst(view: &View) -> Option<&ServiceView> {
    let services = view.services.iter().rev();
    services.max_by_key(|service| Tone::of(view, service))
}

/// What broke it, if it is not up again.
fn broken(status: &Status) -> Option<Outage> {
    status.tally.outage().filter(|outage| outage.cause != Cause::Boot)
}

/// The state's shape.
pub(super) fn mark(view: &View, service: &ServiceView, html: &mut String) -> fmt::Result {
    let tone = Tone::of(view, service);
    let ((ground, sign), class) = (tone.shape(), tone.class());
    write!(
        html,
        "<svg class=\"{class}\" viewBox=\"0 0 24 24\" aria-hidden=\"true\"><path d=\"{ground}\"/>\
         <path class=\"sign\" d=\"{sign}\"/></svg>"
    )
}

/// The state in a few words, which last as long as it does.
pub(super) fn word(view: &View, service: &ServiceView, html: &mut String) -> fmt::Result {
    let status = &service.status;
    let word = match (status.state, broken(status)) {
        _ if view.live.is_err() => "Unknown: Rekindle is stuck",
        (State::Healthy, _) if !status.ready => "Healthy, not ready",
        (State::Healthy, _) => "Healthy",
        (_, Some(outage)) => return write!(html, "Down: {}", plain(outage.cause.label())),
        (State::BootHook, _) => "Starting: boot hook",
        (State::Starting, _) => "Starting",
        (State::Degraded | State::Backoff | State::SlowRetry, _) => "Not up yet",
        (State::Stopping, _) => "Stopping",
        (State::Maintenance, _) => "Held for maintenance",
        (State::Stopped, _) => "Stopped",
    };
    html.write_str(word)
}

/// For how long, and what comes next.
pub(super) fn next(view: &View, service: &ServiceView, html: &mut String) -> fmt::Result {
    let status = &service.status;
    let outage = status.tally.outage();
    let (lasted, since) = match outage {
        Some(outage) if status.state != State::Healthy => {
            (outage.until(view.now), view.at(outage.began).saturating_sub(outage.earlier))
        }
        _ => (view.now.since(status.since), view.at(status.since)),
    };
    write!(html, "for <b>{}</b>, since {}", age(lasted), time_at(since))?;
    if status.state != State::Healthy || !status.ready || outage.is_some() {
        html.push_str("<br>Next: ");
        match status.next_attempt {
            Some(due) => write!(html, "an attempt in <b>{}</b>", age(due.since(view.now)))?,
            None => html.push_str(what_next(status.state, outage.is_some(), status.ready)),
        }
    }
    if status.state != State::Healthy && status.attempt > 1 {
        write!(html, "; {} attempts so far", status.attempt)?;
    }
    if let Some(drill) = status.drill {
        write!(html, "<br>A drill is under way: {}", plain(drill.fault.label()))?;
    }
    Ok(())
}

/// What somebody has to do something about; mostly nothing.
pub(super) fn alert(view: &View, service: &ServiceView, html: &mut String) -> fmt::Result {
    if let Err(stuck) = &view.live {
        let stuck = shown(stuck);
        return write!(html, "{stuck}: what stands here is old, and nothing is healed.");
    }
    if service.status.state == State::SlowRetry {
        html.push_str("It does not come up by itself, and is tried only now and then.");
        if let Some(exit) = &service.status.last_exit {
            write!(html, " Last exit: {}.", shown(&exit.how))?;
        }
    }
    Ok(())
}

/// What does not keep the service from serving now, and may later.
pub(super) fn warnings(view: &View, html: &mut String) -> fmt::Result {
    for warning in &view.warnings {
        write!(html, "<p class=\"warning\">{}</p>", shown(warning))?;
    }
    Ok(())
}

/// What we are, and since when.
pub(super) fn about(view: &View, html: &mut String) -> fmt::Result {
    let began = view.now.since_start();
    let (lasted, since) = (age(began), time_at(view.wall.saturating_sub(began)));
    let kind = plain(view.start.label());
    write!(html, "Rekindle {}, up for {lasted}, since {since}; start: {kind}", view.version)
}
