//! Times and spans as the page writes them.

use std::time::{Duration, SystemTime};

use crate::text::{date, escaped, short_line};

/// The longest text and the longest word, in bytes before they are escaped.
const LONGEST: usize = 120;
const LONGEST_WORD: usize = 32;

/// A span: `30 ms`, `4.2 s`, `2 min 10 s`, `3 h 12 min`, `12 d 4 h`.
pub(super) fn span(span: Duration) -> String {
    if span < Duration::from_millis(100) {
        return format!("{} ms", span.as_millis());
    }
    if span < Duration::from_secs(10) {
        return format!("{:.1} s", span.as_secs_f64());
    }
    age(span)
}

/// A span that goes on while one looks: in whole seconds.
pub(super) fn age(span: Duration) -> String {
    let total = span.as_secs();
    let (days, hours, minutes, rest) =
        (total / 86_400, total / 3600 % 24, total / 60 % 60, total % 60);
    match (days, hours, minutes, rest) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, 0) => format!("{minutes} min"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, 0, _) => format!("{hours} h"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, 0, ..) => format!("{days} d"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

/// RFC 3339 in UTC, to the second.
pub(super) fn rfc3339(since_1970: Duration) -> String {
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since_1970).to_string()
}

/// A time for people and for programs, from RFC 3339.
pub(super) fn time(rfc3339: &str) -> String {
    format!("<time datetime=\"{}\">{}</time>", plain(rfc3339), plain(&date(rfc3339)))
}

/// The same, from the time since 1970.
pub(super) fn time_at(since_1970: Duration) -> String {
    time(&rfc3339(since_1970))
}

/// A word of ours as people write it.
pub(super) fn plain(word: &str) -> String {
    escaped(&short_line(&word.replace('_', " "), LONGEST_WORD))
}

/// Text from outside.
pub(super) fn shown(text: &str) -> String {
    escaped(&short_line(text, LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_times_read_well() {
        for (millis, expected) in [
            (30, "30 ms"),
            (4_240, "4.2 s"),
            (14_900, "14 s"),
            (120_000, "2 min"),
            (130_000, "2 min 10 s"),
            (7_200_000, "2 h"),
            (11_520_000, "3 h 12 min"),
            (172_800_000, "2 d"),
            (1_051_200_000, "12 d 4 h"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), expected);
        }
        assert_eq!(age(Duration::from_millis(1_900)), "1 s");
        assert_eq!(
            time_at(Duration::from_hours(500_000)),
            "<time datetime=\"2027-01-15T08:00:00Z\">2027-01-15 08:00:00 UTC</time>"
        );
        assert_eq!(time("<é"), "<time datetime=\"&lt;é\">&lt;é</time>");
    }
}
