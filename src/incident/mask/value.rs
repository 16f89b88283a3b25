//! How far the value goes that follows the name of a secret, in the notations that programs print:
//! JSON, also in JSON; environments, headers, YAML and what debuggers of languages write.
//!
//! It knows one line. Where it cannot be sure, the value goes further.

use std::ops::Range;

const QUOTES: [char; 3] = ['"', '\'', '`'];

/// The end of the value that `text`, the rest of a line, begins with; `name` is what stands before
/// it. There is none (0) if it is a count.
pub(super) fn end(name: &str, text: &str) -> usize {
    let end = Value { text, is_member: name.contains(QUOTES) }.end();
    let is_digits = |byte: &u8| byte.is_ascii_digit() || b",.;)}]".contains(byte);
    // A model's tokens are no secret.
    let is_count = name.to_ascii_lowercase().contains("tokens")
        && text.as_bytes()[..end].iter().all(is_digits);
    if is_count { 0 } else { end }
}

/// Where the value of a header is whose `name` was found in `line`.
pub(super) fn of_header(line: &str, name: &Range<usize>) -> Range<usize> {
    let begin = name.end;
    let rest = &line[begin..];
    let is_delimited =
        rest.trim_start_matches('\\').starts_with(|c| QUOTES.contains(&c) || "([{".contains(c));
    if is_delimited {
        return begin..begin + end(&line[name.clone()], rest);
    }
    // Quotes around the whole of the header end it.
    let start = line[..name.start]
        .trim_end_matches(|c: char| c.is_ascii_alphanumeric() || "_-".contains(c))
        .len();
    let is_quoted = line[..start].ends_with(QUOTES) && !line[name.clone()].contains(QUOTES);
    let end = if is_quoted { before_quote(line, start - 1) } else { line.len() };
    begin..end.max(begin)
}

struct Value<'t> {
    text: &'t str,
    /// Its name is quoted, as in JSON.
    is_member: bool,
}

impl Value<'_> {
    fn end(&self) -> usize {
        let bytes = self.text.as_bytes();
        let (mut at, mut depth) = (0, 0_usize);
        // Brackets are part of a password, unless there is reason to take them for more.
        let mut is_literal = self.is_member || self.text.starts_with(['(', '[', '{']);
        while let Some(byte) = bytes.get(at) {
            let next = bytes.get(at + 1).copied();
            match byte {
                b'"' | b'\'' | b'`' if depth > 0 || opens_value(&self.text[..at]) => {
                    at = after_quote(self.text, at);
                    if depth == 0 && ends_value(bytes.get(at).copied(), *byte) {
                        return at;
                    }
                    is_literal = true;
                    continue;
                }
                b'"' | b'\'' | b'`' if depth == 0 && ends_value(next, *byte) => {
                    return self.text[..at].trim_end_matches('\\').len();
                }
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' if depth > 0 => {
                    depth -= 1;
                    if depth == 0 && is_literal && ends_value(next, *byte) {
                        return at + 1;
                    }
                }
                b']' | b'}' if self.is_member => return at,
                b',' if self.is_member && depth == 0 && next.is_some_and(begins_member) => {
                    return at;
                }
                b'&' if depth == 0 && is_parameter(&self.text[at + 1..]) => return at,
                b' ' | b'\t' if depth == 0 => return at,
                _ => {}
            }
            at += 1;
        }
        at
    }
}

/// Whether a quote after this begins the value: `b'…'`, `\"…\"`.
fn opens_value(before: &str) -> bool {
    let prefix = before.trim_end_matches('\\');
    prefix.len() <= 2 && prefix.bytes().all(|byte| b"bBrRuUfFL@$".contains(&byte))
}

/// Whether what follows a quote or bracket shows that it was the last one: not itself again.
fn ends_value(next: Option<u8>, last: u8) -> bool {
    let ends = |byte: u8| byte.is_ascii_whitespace() || b",;:)]}>|&\"'`".contains(&byte);
    next.is_none_or(|byte| ends(byte) && byte != last)
}

const fn begins_member(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'\\' | b' ')
}

/// Whether this is the next parameter of a query: `name=`.
fn is_parameter(text: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let value = text.trim_start_matches(is_name);
    value.len() < text.len() && value.starts_with('=')
}

/// Where what the quote at `at` opens is closed: after the closing one, or at the end.
fn after_quote(text: &str, at: usize) -> usize {
    (before_quote(text, at) + escapes(text, at) + 1).min(text.len())
}

/// The end of what the quote at `at` opens, without the closing one and its escapes.
fn before_quote(text: &str, at: usize) -> usize {
    let (bytes, escapes) = (text.as_bytes(), escapes(text, at));
    let mut run = 0;
    for (index, byte) in bytes.iter().enumerate().skip(at + 1) {
        // One that is escaped like the first closes; one that is escaped once more does not.
        if *byte == bytes[at] && run % (2 * (escapes + 1)) == escapes {
            return index - escapes;
        }
        run = if *byte == b'\\' { run + 1 } else { 0 };
    }
    text.len()
}

/// So many backslashes stand before it.
fn escapes(text: &str, at: usize) -> usize {
    at - text[..at].trim_end_matches('\\').len()
}
