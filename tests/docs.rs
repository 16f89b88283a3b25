//! The files that are made from the program's own tables are current.
//!
//! The manual page and the completions are files, too: printed by the program they would be its
//! most expensive words.
//!
//! `UPDATE_DOCS=1 cargo test --test docs` writes them anew.

use std::path::Path;
use std::{env, fs};

use clap::CommandFactory as _;
use clap_complete::Shell;
use rekindle::cli::Cli;
use rekindle::config;

#[path = "docs/man.rs"]
mod man;

#[test]
fn the_configuration_reference_is_current() {
    is_current("docs/configuration.md", &config::reference());
}

#[test]
fn the_example_file_is_current() {
    is_current("config/rekindle.toml", &config::example_file());
}

#[test]
fn the_manual_page_is_current_and_has_every_command_with_its_options() {
    let page = String::from_utf8(man::page().unwrap()).unwrap();
    for command in Cli::command().get_subcommands() {
        let heading = format!("\"REKINDLE {}\"", command.get_name().to_uppercase());
        assert!(page.contains(&heading), "{heading}");
    }
    for option in [r"stop\-timeout", r"ready\-after", r"expect\-status"] {
        assert!(page.contains(option), "{option}");
    }
    is_current("docs/rekindle.1", &without_trailing_space(&page));
}

#[test]
fn the_completions_are_current_and_know_every_command() {
    for (shell, file) in
        [(Shell::Bash, "rekindle.bash"), (Shell::Zsh, "_rekindle"), (Shell::Fish, "rekindle.fish")]
    {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "rekindle", &mut script);
        let script = String::from_utf8(script).unwrap();
        for command in Cli::command().get_subcommands() {
            assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
        }
        assert!(script.contains("stop-timeout"), "{shell}");
        is_current(&format!("config/completions/{file}"), &without_trailing_space(&script));
    }
}

fn without_trailing_space(generated: &str) -> String {
    generated.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
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
