//! Availability: in numbers, and as two bars of hours and days.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::view::{ServiceView, View};
use super::words::{rfc3339, span};
use crate::history::{Share, Unit, WINDOWS, Window};

/// A bar is told in words as far as these many cells.
const TOLD: usize = 6;

pub(super) fn availability(view: &View, service: &ServiceView, html: &mut String) -> fmt::Result {
    html.push_str("<h2>Availability</h2><dl class=\"share\">");
    for window in WINDOWS {
        let share = service.history.share(view.wall, *window);
        let (name, ratio, words) = (name(*window), percent(&share), words(&share, *window));
        write!(html, "<div><dt>{name}</dt><dd>{ratio}</dd><dd>{words}</dd></div>")?;
    }
    html.push_str("</dl>");
    for window in WINDOWS.iter().filter(|window| window.label != "7d") {
        bar(view, service, *window, html)?;
    }
    html.write_str("<p class=\"note\">Stops that were asked for, and drills, do not count.</p>")
}

/// The cells of a window, oldest first.
fn bar(view: &View, service: &ServiceView, window: Window, html: &mut String) -> fmt::Result {
    let cells = service.history.bar(view.wall, window);
    let by = if window.unit == Unit::Hour { "by the hour" } else { "by the day, in UTC" };
    let name = name(window);
    let down: Vec<_> = cells.iter().filter(|(_, share)| !share.down.is_zero()).collect();
    write!(html, "<div class=\"bar\" role=\"img\" aria-label=\"{name} {by}: ")?;
    match down.as_slice() {
        [] => html.push_str("no down time is known"),
        down => write!(html, "down in {}", down.len())?,
    }
    for (begin, share) in down.iter().rev().take(TOLD) {
        write!(html, "; {} for {}", begun(*begin, window), span(share.down))?;
    }
    html.push_str("\">");
    for (begin, share) in &cells {
        let (class, begun) = (class(share, window.unit), begun(*begin, window));
        let told = match share {
            share if share.known().is_zero() => "nothing known".to_owned(),
            share if share.down.is_zero() => "up".to_owned(),
            share => format!("{} up, down for {}", percent(share), span(share.down)),
        };
        write!(html, "<i class=\"{class}\" title=\"{begun}: {told}\"></i>")?;
    }
    write!(
        html,
        "</div><p class=\"legend\" aria-hidden=\"true\"><span>{name} ago</span><span>{by}</span>\
         <span>now</span></p>"
    )
}

fn name(window: Window) -> String {
    let unit = if window.unit == Unit::Hour { "hours" } else { "days" };
    format!("{} {unit}", window.cells)
}

/// When a cell began.
fn begun(begin: Duration, window: Window) -> String {
    let time = rfc3339(begin);
    let (day, hour) = (time.get(..10).unwrap_or_default(), time.get(11..16).unwrap_or_default());
    match window.unit {
        Unit::Hour => format!("{day} {hour} UTC"),
        Unit::Day => day.to_owned(),
    }
}

/// How much of a whole cell was down, whatever is known of the rest.
fn class(share: &Share, unit: Unit) -> &'static str {
    match share.down {
        Duration::ZERO if share.up.is_zero() => "none",
        Duration::ZERO => "up",
        down if down * 20 < unit.length() => "few",
        down if down * 2 < unit.length() => "some",
        _ => "most",
    }
}

/// Never rounded up: 100 % is without any down time.
fn percent(share: &Share) -> String {
    let Some(ratio) = share.ratio() else { return "–".to_owned() };
    if share.down.is_zero() {
        return "100 %".to_owned();
    }
    // The more nines, the more digits.
    let digits = if ratio < 0.99 { 10.0 } else { 1000.0 };
    format!("{} %", (ratio * 100.0 * digits).floor().min(100.0 * digits - 1.0) / digits)
}

fn words(share: &Share, window: Window) -> String {
    let known = share.known();
    let whole = window.unit.length() * u32::try_from(window.cells).unwrap_or(u32::MAX);
    let down = match share.down {
        Duration::ZERO => "no down time".to_owned(),
        down => format!("{} down", span(down)),
    };
    if known.is_zero() {
        "nothing known yet".to_owned()
    } else if whole.saturating_sub(known) > Duration::from_mins(1) {
        format!("{down} in the {} known", span(known))
    } else {
        down
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(up: u64, down: u64) -> Share {
        Share { up: Duration::from_millis(up), down: Duration::from_millis(down) }
    }

    #[test]
    fn what_was_down_for_a_moment_is_not_called_perfect() {
        for (share, expected) in [
            (share(0, 0), ("–", "none", "nothing known yet")),
            (share(86_400_000, 0), ("100 %", "up", "no down time")),
            (share(86_399_999, 1), ("99.999 %", "few", "1 ms down")),
            (share(1_000, 2_000), ("33.3 %", "few", "2.0 s down in the 3.0 s known")),
            (share(0, 200_000), ("0 %", "some", "3 min 20 s down in the 3 min 20 s known")),
            (share(1_800_000, 1_800_000), ("50 %", "most", "30 min down in the 1 h known")),
        ] {
            let (words, class) = (words(&share, WINDOWS[0]), class(&share, Unit::Hour));
            assert_eq!((percent(&share).as_str(), class, words.as_str()), expected);
        }
    }
}
