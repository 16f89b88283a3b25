//! What is written and means nothing, and what was probably meant by it.

use std::collections::BTreeMap;

use super::document::{Origin, Table, What};
use super::keys::{self, Kind};
use super::section::Notes;

/// Refuses every key below `place` that is not in the table of keys.
pub(super) fn refuse_keys(table: &Table, place: &mut Vec<String>, notes: &Notes) {
    for (name, value) in table {
        place.push(name.clone());
        if keys::KEYS.iter().any(|key| key.is_at_or_below(place)) {
            let has_own_keys = keys::find(place).is_some_and(|k| matches!(k.kind, Kind::Table(_)));
            match &value.what {
                What::Table(inner) if !has_own_keys => refuse_keys(inner, place, notes),
                What::List(items) => {
                    for item in items {
                        if let What::Table(inner) = &item.what {
                            refuse_keys(inner, place, notes);
                        }
                    }
                }
                _ => {}
            }
        } else {
            let text = format!("{} is not a key{}", place.join("."), way_out(place));
            notes.problem(value.origin, text);
        }
        place.pop();
    }
}

/// Doubts environment variables that are named almost like one of ours.
///
/// Only almost: what an outer Rekindle tells its hook is named `REKINDLE_…` too.
pub(super) fn doubt_variables(environment: &BTreeMap<String, String>, notes: &Notes) {
    const PREFIX: &str = "REKINDLE_";
    let flags = keys::KEYS.iter().filter_map(|key| key.flag);
    let flags = flags.chain([keys::CONFIG, keys::NO_BOOT_HOOK]);
    let ours: Vec<&str> = flags.filter_map(|flag| flag.env.strip_prefix(PREFIX)).collect();
    for name in environment.keys().filter_map(|name| name.strip_prefix(PREFIX)) {
        if let Some(meant) = closest(name, &ours, 0.9).filter(|_| !ours.contains(&name)) {
            let text = format!("{PREFIX}{name} means nothing: did you mean {PREFIX}{meant}?");
            notes.warning(Origin::Default, &text);
        }
    }
}

/// What was probably meant by an unknown key.
fn way_out(place: &[String]) -> String {
    /// What other supervisors call it.
    const ELSEWHERE: &[(&str, &str)] = &[
        ("interval", "period"),
        ("retries", "failure_threshold"),
        ("args", "command"),
        ("exec_start", "command"),
        ("environment", "env"),
        ("working_directory", "cwd"),
        ("grace_period", "stop_timeout"),
        ("initial_delay", "startup_timeout"),
        ("start_period", "startup_timeout"),
    ];
    let Some((name, table)) = place.split_last() else { return String::new() };
    let here = neighbours(table);
    if here.is_empty()
        && let Some(key) = keys::find(table)
    {
        return format!(": {} is a value ({}) and has no keys", key.name(), key.kind.describe());
    }
    let ours = ELSEWHERE.iter().find(|(word, _)| word == name).map(|(_, key)| *key);
    let meant = ours.unwrap_or(name);
    let known = ours.filter(|key| here.contains(key));
    if let Some(key) = known.or_else(|| closest(name, &here, 0.8)) {
        return format!(": did you mean {key}?");
    }
    match keys::KEYS.iter().find(|key| key.name() == meant) {
        Some(key) => format!(": it belongs at {}", key.path),
        None => format!(": there are {}", here.join(", ")),
    }
}

/// The keys that a table may have.
fn neighbours(table: &[String]) -> Vec<&'static str> {
    let inside = keys::KEYS.iter().filter(|key| key.is_at_or_below(table));
    let mut names: Vec<_> = inside.filter_map(|key| key.parts().nth(table.len())).collect();
    // Each role has keys of its own, which name it.
    names.retain(|name| *name != "ROLE");
    names.sort_unstable();
    names.dedup();
    names
}

/// The word that is most alike, if it is more alike than `least` (of 1).
fn closest<'a>(word: &str, words: &[&'a str], least: f64) -> Option<&'a str> {
    let scored = words.iter().map(|known| (strsim::jaro_winkler(word, known), *known));
    let alike = scored.filter(|(score, _)| *score > least);
    alike.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}
