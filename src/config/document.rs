//! The file and the flags as one tree of values, each of which knows where it was written.
//!
//! Knows TOML and lines, but not what any key means.

use std::collections::BTreeMap;
use std::fmt;

use toml::de::{DeTable, DeValue};

use crate::gather::gather;
use crate::text::without_secrets;

/// Where a value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// In the table of keys.
    Default,
    /// In the file, on this line.
    Line(usize),
    /// As this flag.
    Flag(&'static str),
    /// In this environment variable.
    Env(&'static str),
    /// After `--`.
    Arguments,
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    pub(super) origin: Origin,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    Text(String),
    Integer(i64),
    Number(f64),
    Switch(bool),
    List(Vec<Value>),
    Table(Table),
    /// A date, or a number too large for us: as it was written.
    Other(String),
}

pub(super) type Table = BTreeMap<String, Value>;

/// Reads a file; the problems come as (line, text).
pub(super) fn parse(text: &str) -> Result<Table, Vec<(usize, String)>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    let lines = Lines::of(text);
    if errors.is_empty() {
        return Ok(table(root.get_ref(), &lines));
    }
    let problem = |error: &toml::de::Error| {
        let line = lines.at(error.span().map_or(text.len(), |span| span.start));
        (line, format!("is not TOML: {}", error.message()))
    };
    Err(errors.iter().map(problem).collect())
}

/// Reads one TOML value, such as a default.
pub(super) fn parse_value(text: &str, origin: Origin) -> Option<Value> {
    let (value, errors) = DeValue::parse_recoverable(text);
    errors.is_empty().then(|| self::value(value.get_ref(), origin, None))
}

/// Puts a value at a place, making the tables on the way.
pub(super) fn put(table: &mut Table, place: &[&str], value: Value) {
    match place {
        [] => {}
        [last] => {
            table.insert((*last).to_owned(), value);
        }
        [first, rest @ ..] => {
            let empty = Value { origin: value.origin, what: What::Table(Table::new()) };
            let entry = table.entry((*first).to_owned()).or_insert(empty);
            if let What::Table(inner) = &mut entry.what {
                put(inner, rest, value);
            }
        }
    }
}

/// Byte offsets at which lines begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self(std::iter::once(0).chain(after_breaks).collect())
    }

    fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }
}

fn table(source: &DeTable<'_>, lines: &Lines) -> Table {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let key: (&std::borrow::Cow<'_, str>, _) = (key.get_ref(), key.span());
        let origin = Origin::Line(lines.at(key.1.start));
        (key.0.clone().into_owned(), self::value(value.get_ref(), origin, Some(lines)))
    };
    gather(source.iter().map(entry))
}

/// Without `lines`, everything inside comes from `origin` too.
fn value(source: &DeValue<'_>, origin: Origin, lines: Option<&Lines>) -> Value {
    let what = match source {
        DeValue::String(text) => What::Text(text.clone().into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| What::Other(number.to_string()), What::Integer),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map_or_else(|_| What::Other(number.as_str().to_owned()), What::Number),
        DeValue::Boolean(on) => What::Switch(*on),
        DeValue::Datetime(date) => What::Other(date.to_string()),
        DeValue::Array(items) => What::List(
            items
                .iter()
                .map(|item| {
                    let origin =
                        lines.map_or(origin, |lines| Origin::Line(lines.at(item.span().start)));
                    value(item.get_ref(), origin, lines)
                })
                .collect(),
        ),
        DeValue::Table(inner) => What::Table(match lines {
            Some(lines) => table(inner, lines),
            None => gather(inner.iter().map(|(key, item)| {
                (key.get_ref().clone().into_owned(), value(item.get_ref(), origin, None))
            })),
        }),
    };
    Value { origin, what }
}

/// As it would be written in the file, shortened, and of a URL only what is not secret.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Text(text) => match without_secrets(text) {
                text if text.chars().count() > 60 => {
                    let head: String = text.chars().take(57).collect();
                    write!(f, "{head:?}…")
                }
                text => write!(f, "{text:?}"),
            },
            What::Integer(number) => write!(f, "{number}"),
            What::Number(number) => write!(f, "{number:?}"),
            What::Switch(on) => write!(f, "{on}"),
            What::List(items) if items.is_empty() => f.write_str("[]"),
            What::List(_) => f.write_str("[…]"),
            What::Table(_) => f.write_str("{…}"),
            What::Other(text) => f.write_str(text),
        }
    }
}
