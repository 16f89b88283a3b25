//! What must hold for whatever a hook writes to its hand-over file.
#![expect(clippy::missing_panics_doc, reason = "a property that is broken panics")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::{HAND_OVER_LIMIT, HandedOver, is_accepted, parse};
use crate::fuzzing::assert_one_line;

/// Nothing of ours is accepted, nothing but names is shown, and what is accepted is read back.
pub fn hand_over(text: &[u8]) {
    let HandedOver { variables, warnings } = parse(text);
    let lines = text.split(|byte| *byte == b'\n').count();
    assert!(variables.len() <= lines, "{} variables in {lines} lines", variables.len());
    for (name, value) in &variables {
        assert!(is_accepted(name) && is_name(name.as_bytes()), "{}", name.display());
        let value = value.as_bytes();
        assert!(!value.contains(&0) && !value.contains(&b'\n'), "{}", name.display());
    }

    let accepted: BTreeSet<_> = variables.iter().map(|(name, _)| name).collect();
    assert!(warnings.len() <= 32, "{} warnings", warnings.len());
    for warning in &warnings {
        assert_one_line(warning);
        assert!(warning.len() <= 160, "{} bytes: {warning}", warning.len());
        assert!(tells_no_value(warning), "{warning}");
        assert!(
            !accepted
                .iter()
                .any(|name| warning.contains(&format!("may not set {}:", name.display())))
        );
    }

    let written: Vec<u8> = variables.iter().flat_map(|(name, value)| line(name, value)).collect();
    if written.len() <= HAND_OVER_LIMIT {
        assert_eq!(parse(&written), HandedOver { variables, warnings: Vec::new() });
    }
}

/// With an end of line that only the value's own `\r` makes necessary.
fn line(name: &OsStr, value: &OsStr) -> Vec<u8> {
    [name.as_bytes(), b"=", value.as_bytes(), b"\r\n"].concat()
}

fn is_name(name: &[u8]) -> bool {
    let [first, rest @ ..] = name else { return false };
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    !first.is_ascii_digit() && word(first) && rest.iter().all(word)
}

/// Whether it is one of the warnings that there are, which hold numbers and refused names only.
fn tells_no_value(warning: &str) -> bool {
    let between = |begin, end| warning.strip_prefix(begin)?.strip_suffix(end);
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let refused = |name: &str| {
        let name = name.trim_end_matches('…');
        name == "NOTIFY_SOCKET" || (name.starts_with("REKINDLE_") && is_name(name.as_bytes()))
    };
    between("REKINDLE_ENV line ", " is ignored: it is not NAME=VALUE").is_some_and(number)
        || between("REKINDLE_ENV may not set ", ": it is ignored").is_some_and(refused)
        || between("REKINDLE_ENV holds more than ", " bytes: the rest is ignored")
            .is_some_and(number)
        || between("REKINDLE_ENV: ", " more lines are ignored").is_some_and(number)
}
