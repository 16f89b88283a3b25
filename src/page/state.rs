//! The state in words, with a shape and a colour, since when and what comes next.

use super::view::{ServiceView, View};
use super::words::{age, plain, rfc3339, span, time};
use crate::status::{Status, what_next};
use crate::supervisor::State;
use crate::text::escaped;

/// What a state is to whoever looks: the worst of several comes last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Tone {
    Good,
    Idle,
    Busy,
    Bad,
}

impl Tone {
    fn of(status: &Status) -> Self {
        match status.state {
            State::Healthy => Self::Good,
            State::Maintenance | State::Stopped => Self::Idle,
            State::Degraded | State::Backoff | State::SlowRetry => Self::Bad,
            State::BootHook | State::Starting | State::Stopping if is_broken(status) => Self::Bad,
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

/// Something broke it, and it is not up again.
fn is_broken(status: &Status) -> bool {
    status.tally.outage().is_some_and(|outage| outage.cause != crate::tally::Cause::Boot)
}

/// The window's title.
pub(super) fn title(view: &View) -> String {
    match worst(view) {
        Some(service) => {
            let (word, name) = (word(service), escaped(&service.status.service));
            format!("{word} – {name} – Rekindle")
        }
        None => "Rekindle".to_owned(),
    }
}

/// The window's icon, as an address.
pub(super) fn icon(view: &View) -> String {
    let tone = worst(view).map_or(Tone::Idle, |service| Tone::of(&service.status));
    let ((ground, sign), colour) = (tone.shape(), tone.colour());
    format!(
        "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'%3E\
         %3Cpath fill='%23{colour}' d='{ground}'/%3E%3Cpath fill='none' stroke='%23fff' \
         stroke-width='2.5' d='{sign}'/%3E%3C/svg%3E"
    )
}

/// The service that an operator has to look at first.
fn worst(view: &View) -> Option<&ServiceView> {
    let mut services = view.services.iter();
    let first = services.next()?;
    Some(services.fold(first, |worst, service| {
        if Tone::of(&service.status) > Tone::of(&worst.status) { service } else { worst }
    }))
}

/// The state's shape.
pub(super) fn mark(service: &ServiceView) -> String {
    let tone = Tone::of(&service.status);
    let ((ground, sign), class) = (tone.shape(), tone.class());
    format!(
        "<svg class=\"{class}\" viewBox=\"0 0 24 24\" aria-hidden=\"true\"><path d=\"{ground}\"/>\
         <path class=\"sign\" d=\"{sign}\"/></svg>"
    )
}

/// The state in a few words that last as long as it does.
pub(super) fn word(service: &ServiceView) -> String {
    let status = &service.status;
    let broken = status.tally.outage().filter(|_| is_broken(status));
    match (status.state, broken) {
        (State::Healthy, _) if !status.ready => "Healthy, not ready".to_owned(),
        (State::Healthy, _) => "Healthy".to_owned(),
        (_, Some(outage)) => format!("Down: {}", plain(outage.cause.label())),
        (State::BootHook, _) => "Starting: boot hook".to_owned(),
        (State::Starting, _) => "Starting".to_owned(),
        (State::Degraded | State::Backoff | State::SlowRetry, _) => "Not up yet".to_owned(),
        (State::Stopping, _) => "Stopping".to_owned(),
        (State::Maintenance, _) => "Held for maintenance".to_owned(),
        (State::Stopped, _) => "Stopped".to_owned(),
    }
}

/// Since when, and what comes next.
pub(super) fn next(view: &View, service: &ServiceView) -> String {
    let status = &service.status;
    let settling = status.tally.outage().is_some();
    let outage = status.tally.outage().filter(|_| status.state != State::Healthy);
    let mut text = match outage {
        Some(outage) => {
            let since = time(&rfc3339(view.at(outage.began).saturating_sub(outage.earlier)));
            format!("for <b>{}</b>, since {since}", age(outage.until(view.now)))
        }
        None => {
            let (lasted, since) = (age(view.now.since(status.since)), view.at(status.since));
            format!("for <b>{lasted}</b>, since {}", time(&rfc3339(since)))
        }
    };
    if status.state != State::Healthy || settling || !status.ready {
        text += "<br>Next: ";
        text += &match status.next_attempt {
            Some(due) => format!("an attempt in <b>{}</b>", age(due.since(view.now))),
            None => what_next(status.state, settling, status.ready).to_owned(),
        };
        if status.attempt > 1 {
            text += &format!(" (attempt {} so far)", status.attempt);
        }
    }
    text
}

/// What somebody has to do something about; mostly nothing.
pub(super) fn alert(view: &View, service: &ServiceView) -> String {
    if let Err(stuck) = &view.live {
        return format!("{}: what stands here is old, and nothing is healed.", escaped(stuck));
    }
    if service.status.state != State::SlowRetry {
        return String::new();
    }
    let last = service.status.last_exit.as_ref();
    let how = last.map(|exit| format!(" Its last exit: {}.", escaped(&exit.how)));
    format!(
        "It does not come up by itself: attempts go at the slow pace.{}",
        how.unwrap_or_default()
    )
}

/// What we are, and since when.
pub(super) fn about(view: &View) -> String {
    let began = view.now.since_start();
    let since = time(&rfc3339(view.wall.saturating_sub(began)));
    let kind = plain(view.start.label());
    format!("Rekindle {}, up for {}, since {since}; start: {kind}", view.version, span(began))
}
