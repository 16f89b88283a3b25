//! What must hold for whatever a child answers to a probe with an expectation.
#![expect(clippy::missing_panics_doc, reason = "a property that is broken panics")]

use serde_json::Value;

use super::Answer;
use super::http::{MAX_HEAD, head, wrong_value};
use crate::config::property::is_pointer;
use crate::fuzzing::assert_one_line;
use crate::supervisor::{FailKind, Verdict};

/// A JSON pointer on the first line, what is expected there on the second, then the body: it is
/// found exactly where RFC 6901 says, and what is told about it is short.
pub fn expectation(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |byte| *byte == b'\n');
    let (Some(pointer), Some(wanted), Some(body)) = (parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    head_is_a_beginning(body);
    let Ok(pointer) = std::str::from_utf8(pointer) else { return };
    let path = reference_tokens(pointer);
    assert_eq!(is_pointer(pointer), path.is_some(), "{pointer:?}");
    let (Some(path), Ok(wanted)) = (path, serde_json::from_slice::<Value>(wanted)) else { return };
    let Ok(json) = serde_json::from_slice::<Value>(body) else { return };

    let expected = reference_find(&json, &path) == Some(&wanted);
    let wrong = wrong_value(&json, &[(pointer.to_owned(), wanted)].into());
    assert_eq!(wrong.is_none(), expected, "{pointer:?}: {wrong:?}");
    if let Some(detail) = wrong {
        let answer = Answer::new(Verdict::Fail(FailKind::BadBody), detail);
        assert_one_line(&answer.detail);
        assert!(answer.detail.len() <= 160, "{}", answer.detail);
    }
}

fn head_is_a_beginning(body: &[u8]) {
    let Some(head) = head(body) else { return assert!(body.is_empty()) };
    assert!(head.len() <= MAX_HEAD && String::from_utf8_lossy(body).starts_with(&head));
}

/// The parts of a pointer, if it is one.
fn reference_tokens(pointer: &str) -> Option<Vec<String>> {
    if pointer.is_empty() {
        return Some(Vec::new());
    }
    let token = |token: &str| {
        let mut text = String::new();
        let mut chars = token.chars();
        while let Some(c) = chars.next() {
            text.push(match c {
                '~' => match chars.next()? {
                    '0' => '~',
                    '1' => '/',
                    _ => return None,
                },
                c => c,
            });
        }
        Some(text)
    };
    pointer.strip_prefix('/')?.split('/').map(token).collect()
}

fn reference_find<'a>(json: &'a Value, path: &[String]) -> Option<&'a Value> {
    let Some((first, rest)) = path.split_first() else { return Some(json) };
    let inner = match json {
        Value::Object(map) => map.get(first)?,
        Value::Array(items) => {
            let index: usize = first.parse().ok()?;
            // Neither a sign nor leading zeros.
            (index.to_string() == *first).then(|| items.get(index))??
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    };
    reference_find(inner, rest)
}
