//! Rules, dashboards and the runbook name only what the program has, and all of it.
//!
//! Every PromQL expression is parsed and held against the table of metrics, label words included.
//! Whether the queries return data is shown by `tests/system/prometheus`, with a real Prometheus.

mod panels;
mod promql;
mod rules;

use std::fs;
use std::path::{Path, PathBuf};

/// The files of a folder of the repository whose names end so, by name and with their text.
fn files(folder: &str, end: &str) -> Vec<(String, String)> {
    let entries = fs::read_dir(root().join(folder)).expect("the folder is there");
    let names = entries.map(|entry| {
        entry.expect("an entry is readable").file_name().to_string_lossy().into_owned()
    });
    let mut names: Vec<_> = names.filter(|name| name.ends_with(end)).collect();
    names.sort();
    assert!(!names.is_empty(), "{folder} has no file that ends with {end}");
    let read = |name: String| {
        let text = read(&format!("{folder}/{name}"));
        (name, text)
    };
    names.into_iter().map(read).collect()
}

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
