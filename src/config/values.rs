//! The grammars of single values. A refusal says what the value is not and how to write it;
//! it continues the sentence "KEY = VALUE …".

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;
use rustix::process::Signal;

use super::document::{Value, What};
use super::{Limit, StatusSet};
use crate::incident::mask::Pattern;

/// The longest duration that can be written: longer ones are slips of the pen.
const LONGEST: Duration = Duration::from_hours(366 * 24);

pub(super) fn text(value: &Value) -> Result<String, String> {
    match &value.what {
        What::Text(text) if text.contains('\0') => Err("holds a zero byte".into()),
        What::Text(text) if text.is_empty() => Err("is empty".into()),
        What::Text(text) => Ok(text.clone()),
        _ => Err("is not text: put it in quotes".into()),
    }
}

/// A user or group, by name or number.
pub(super) fn account(value: &Value) -> Result<String, String> {
    match value.what {
        What::Integer(id) => u32::try_from(id)
            .map(|id| id.to_string())
            .map_err(|_| "is neither a name nor a number that an account can have".into()),
        _ => text(value),
    }
}

pub(super) fn switch(value: &Value) -> Result<bool, String> {
    match value.what {
        What::Switch(on) => Ok(on),
        _ => Err("is neither true nor false".into()),
    }
}

pub(super) fn strings(value: &Value) -> Result<Vec<String>, String> {
    const HOW: &str = r#"is not a list of texts: write it like ["program", "argument"]"#;
    match &value.what {
        What::List(items) => {
            let item = |item: &Value| match &item.what {
                What::Text(text) if text.contains('\0') => Err("holds a zero byte".into()),
                What::Text(text) => Ok(text.clone()),
                _ => Err(HOW.into()),
            };
            items.iter().map(item).collect()
        }
        _ => Err(HOW.into()),
    }
}

/// Regular expressions.
pub(super) fn patterns(value: &Value) -> Result<Vec<Pattern>, String> {
    let (mut patterns, mut wrong) = (Vec::new(), Vec::new());
    for (text, number) in strings(value)?.iter().zip(1..) {
        match Pattern::new(text) {
            Ok(pattern) => patterns.push(pattern),
            Err(why) => wrong.push(format!("has a pattern that {why} (number {number})")),
        }
    }
    if wrong.is_empty() { Ok(patterns) } else { Err(wrong.join("; ")) }
}

/// A program and its arguments.
pub(super) fn argv(value: &Value) -> Result<Vec<String>, String> {
    let argv = strings(value)?;
    match argv.first() {
        Some(program) if !program.is_empty() => Ok(argv),
        _ => Err(r#"names no program: write it like ["program", "argument"]"#.into()),
    }
}

/// A duration, zero allowed.
pub(super) fn duration(value: &Value) -> Result<Duration, String> {
    match &value.what {
        What::Text(text) => parse_duration(text),
        _ => Err(format!("is not a duration: {WRITE_DURATION}")),
    }
}

const WRITE_DURATION: &str = r#"write it like "500ms", "8s" or "5m""#;

/// Reads a duration such as `500ms` or `1h 30m`, up to a year.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    // `humantime` panics where a sum of huge parts overflows; nobody means numbers that long.
    let longest_number = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
    if text.len() > 64 || longest_number > Some(9) {
        return Err(format!("is not a duration up to a year: {WRITE_DURATION}"));
    }
    let span = humantime::parse_duration(text)
        .map_err(|_| format!("is not a duration: {WRITE_DURATION}"))?;
    if span > LONGEST { Err(format!("is longer than a year: {WRITE_DURATION}")) } else { Ok(span) }
}

/// A duration of a millisecond or more.
pub(super) fn span(value: &Value) -> Result<Duration, String> {
    let span = duration(value)?;
    if span < Duration::from_millis(1) {
        return Err("is too short: it must be 1ms or longer".into());
    }
    Ok(span)
}

/// A whole number from 1.
pub(super) fn count(value: &Value) -> Result<u32, String> {
    match value.what {
        What::Integer(number) => u32::try_from(number).ok().filter(|count| *count > 0),
        _ => None,
    }
    .ok_or_else(|| "is not a whole number from 1 on".into())
}

/// A number within bounds.
pub(super) fn number(value: &Value, low: f64, high: f64) -> Result<f64, String> {
    let number = match value.what {
        What::Number(number) => Some(number),
        What::Integer(number) => i32::try_from(number).ok().map(f64::from),
        _ => None,
    };
    number
        .filter(|number| (low..=high).contains(number))
        .ok_or_else(|| format!("is not a number from {low} to {high}"))
}

/// A name that is fit for directories, metric labels and the mark.
pub(super) fn name(text: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let fits = text.len() <= 64 && text.chars().all(good);
    if fits && text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err("is not a name: use up to 64 of a-z, A-Z, 0-9, '.', '_' and '-', a letter or digit first"
        .into())
}

/// An address to listen on; `None` for "off".
pub(super) fn listen(value: &Value) -> Result<Option<SocketAddr>, String> {
    let text = text(value)?;
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        r#"is not an address: write it like "127.0.0.1:7354", "[::1]:7354" or "off""#.into()
    })
}

pub(super) fn url(value: &Value) -> Result<String, String> {
    const HOW: &str = r#"write it like "http://127.0.0.1:18789/health""#;
    let text = text(value)?;
    if !has_plain_host(&text) {
        return Err("has a host name beyond ASCII: write it as xn--…".into());
    }
    let url = Url::parse(&text).map_err(|error| format!("is not a URL ({error}): {HOW}"))?;
    match (url.scheme(), url.port()) {
        ("http" | "https", Some(0)) => Err("has port 0, where nothing can listen".into()),
        ("http" | "https", _) => Ok(text),
        _ => Err(format!("is neither http nor https: {HOW}")),
    }
}

/// Whether the host's name is all ASCII, also behind `%`. We carry no tables for others, and the
/// parser of URLs relies on never seeing them.
fn has_plain_host(url: &str) -> bool {
    let (_, rest) = url.split_once(':').unwrap_or_default();
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_control() || "/\\".contains(c));
    let authority = rest.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    host.is_ascii() && !host.contains('%')
}

/// Host and port.
pub(super) fn endpoint(value: &Value) -> Result<(String, u16), String> {
    const HOW: &str = r#"is not host:port: write it like "127.0.0.1:18789" or "[::1]:18789""#;
    let text = text(value)?;
    let (host, port) = text.rsplit_once(':').ok_or(HOW)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let port: u16 = port.parse().map_err(|_| HOW)?;
    match (bare.unwrap_or(host), port) {
        (_, 0) => Err("has port 0, where nothing can listen".into()),
        ("", _) => Err(HOW.into()),
        (host, _) if host.contains(':') && bare.is_none() => Err(HOW.into()),
        (host, _) if host.contains(['/', '[', ']', ' ']) => Err(HOW.into()),
        (host, port) => Ok((host.to_owned(), port)),
    }
}

/// A set of HTTP statuses such as `200-299,401`, or a single one as a number.
pub(super) fn status_set(value: &Value) -> Result<StatusSet, String> {
    match &value.what {
        What::Integer(number) => number.to_string().parse(),
        What::Text(text) => text.parse(),
        _ => "".parse(),
    }
}

impl FromStr for StatusSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let possible = 100..=599;
        let range = |part: &str| {
            range(part).filter(|(low, high)| possible.contains(low) && possible.contains(high))
        };
        let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
        ranges
            .map(|ranges| Self { ranges })
            .ok_or_else(|| r#"is not a set of HTTP statuses: write it like "200-299,401""#.into())
    }
}

/// `7` or `7-9`, low end first.
fn range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| {
        let text = text.trim();
        text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u16>().ok())?
    };
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (number(low)?, number(high)?);
    (low <= high).then_some((low, high))
}

/// Exit codes: numbers or ranges.
pub(super) fn codes(value: &Value) -> Result<Vec<u8>, String> {
    const HOW: &str = r#"is not a list of exit codes (0 to 255): write it like [78, "128-143"]"#;
    let What::List(items) = &value.what else { return Err(HOW.into()) };
    let mut codes = Vec::new();
    for item in items {
        let (low, high) = match &item.what {
            What::Integer(number) => u16::try_from(*number).ok().map(|code| (code, code)),
            What::Text(text) => range(text),
            _ => None,
        }
        .ok_or(HOW)?;
        let (low, high) = (u8::try_from(low).ok(), u8::try_from(high).ok());
        codes.extend(low.ok_or(HOW)?..=high.ok_or(HOW)?);
    }
    if codes.is_empty() { Err(HOW.into()) } else { Ok(codes) }
}

/// A signal's number, from its name with or without `SIG`, or the number itself.
pub(super) fn signal(value: &Value) -> Result<i32, String> {
    const NAMED: &[(&str, Signal)] = &[
        ("TERM", Signal::TERM),
        ("INT", Signal::INT),
        ("QUIT", Signal::QUIT),
        ("HUP", Signal::HUP),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
        ("WINCH", Signal::WINCH),
        ("KILL", Signal::KILL),
    ];
    let number = match &value.what {
        What::Integer(number) => i32::try_from(*number).ok(),
        What::Text(text) => {
            let bare = text.strip_prefix("SIG").unwrap_or(text);
            let named = NAMED.iter().find(|(name, _)| *name == bare);
            named.map(|(_, signal)| signal.as_raw()).or_else(|| text.parse().ok())
        }
        _ => None,
    };
    number.filter(|number| (1..=64).contains(number)).ok_or_else(|| {
        let names: Vec<_> = NAMED.iter().map(|(name, _)| *name).collect();
        format!("is not a signal: use {} or a number from 1 to 64", names.join(", "))
    })
}

pub(super) fn umask(value: &Value) -> Result<u32, String> {
    const HOW: &str = r#"is not a file mode mask: write it in octal and quotes, like "0022""#;
    let What::Text(text) = &value.what else { return Err(HOW.into()) };
    let octal = !text.is_empty() && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mask = octal.then(|| u32::from_str_radix(text, 8).ok()).flatten();
    mask.filter(|mask| *mask <= 0o777).ok_or_else(|| HOW.into())
}

/// A resource limit, by its name without `RLIMIT_` in lower case.
pub(super) fn limit(name: &str, value: &Value) -> Result<Limit, String> {
    const NAMES: &[&str] = &[
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    const HOW: &str = r#"is not a limit: write a number, "1024:4096" or "unlimited""#;
    if !NAMES.contains(&name) {
        return Err(format!("is not a resource limit: use {}", NAMES.join(", ")));
    }
    let one = |text: &str| match text.trim() {
        "unlimited" => Ok(None),
        number => number.parse().map(Some).map_err(|_| HOW.to_owned()),
    };
    let (soft, hard) = match &value.what {
        What::Integer(number) => {
            let both = u64::try_from(*number).map_err(|_| HOW)?;
            (Some(both), Some(both))
        }
        What::Text(text) => {
            let (soft, hard) = text.split_once(':').unwrap_or((text, text));
            (one(soft)?, one(hard)?)
        }
        _ => return Err(HOW.into()),
    };
    let above = matches!((soft, hard), (None, Some(_)))
        || matches!((soft, hard), (Some(soft), Some(hard)) if soft > hard);
    if above {
        return Err("has a soft limit above the hard one: write soft:hard".into());
    }
    Ok(Limit { soft, hard })
}

/// What must stand at a JSON pointer (RFC 6901).
pub(super) fn expectation(pointer: &str, value: &Value) -> Result<serde_json::Value, String> {
    let escapes = pointer.split('~').skip(1);
    let good = pointer.is_empty() || pointer.starts_with('/');
    if !good || !escapes.into_iter().all(|rest| rest.starts_with(['0', '1'])) {
        return Err(r#"is not a JSON pointer: write it like "/ok" or "/items/0/name""#.into());
    }
    json(value)
}

fn json(value: &Value) -> Result<serde_json::Value, String> {
    Ok(match &value.what {
        What::Text(text) => text.clone().into(),
        What::Integer(number) => (*number).into(),
        What::Number(number) => {
            serde_json::Number::from_f64(*number).ok_or("is not a number that JSON has")?.into()
        }
        What::Switch(on) => (*on).into(),
        What::List(items) => items.iter().map(json).collect::<Result<Vec<_>, _>>()?.into(),
        What::Table(table) => {
            let mut map = serde_json::Map::new();
            for (key, value) in table {
                map.insert(key.clone(), json(value)?);
            }
            map.into()
        }
        What::Other(_) => return Err("is not a value that JSON has: put it in quotes".into()),
    })
}

/// Replaces `${VAR}` from the environment; `$${` stands for `${`.
///
/// Any other dollar stays, so that `$$`, `$1` and `$HOME` reach a shell as they were written.
/// A refusal names the variable and never shows the text around it, which may be secret.
pub(super) fn expand(text: &str, environment: &BTreeMap<String, String>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        rest = after;
        if let Some(before) = before.strip_suffix('$') {
            expanded.extend([before, "${"]);
            continue;
        }
        let (name, after) = after
            .split_once('}')
            .ok_or("has a ${ without its }: close it, or write $${ to keep the text")?;
        let value = environment.get(name).ok_or_else(|| {
            if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return "has no variable's name between ${ and }: write $${ to keep the text"
                    .into();
            }
            format!(
                "uses ${{{name}}}, which is not set: set {name}, or write $${{ to keep the text"
            )
        })?;
        expanded.extend([before, value]);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dollar_and_a_brace_are_ours_the_rest_is_the_shells() {
        let environment = [("A", "1"), ("EMPTY", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let environment = environment.into();
        for (written, meant) in [
            ("a${A}b${A}", "a1b1"),
            ("${EMPTY}", ""),
            ("echo $$ $1 $HOME $", "echo $$ $1 $HOME $"),
            ("$${A} ${A}", "${A} 1"),
            ("$$${A}", "$${A}"),
            ("$${", "${"),
            ("a}b", "a}b"),
        ] {
            assert_eq!(expand(written, &environment).as_deref(), Ok(meant), "{written}");
        }
        for wrong in ["${A", "${B}", "${}", "${ A }"] {
            expand(wrong, &environment).expect_err(wrong);
        }
    }
}
