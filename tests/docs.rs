//! The pages that are printed by the program are current.
//!
//! `UPDATE_DOCS=1 cargo test --test docs` writes them anew.

use std::path::Path;
use std::{env, fs};

use rekindle::config;

#[test]
fn the_configuration_reference_is_current() {
    is_current("docs/configuration.md", &config::reference());
}

#[test]
fn the_example_file_is_current() {
    is_current("config/rekindle.toml", &config::example_file());
}

/// Fails if the file in the repository is not what the program prints.
#[track_caller]
fn is_current(file: &str, printed: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, printed).unwrap_or_else(|error| panic!("cannot write {file}: {error}"));
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == printed, "{file} is not current: run UPDATE_DOCS=1 cargo test --test docs");
}
