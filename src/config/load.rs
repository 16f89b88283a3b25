//! From what was written to a [`Config`]: parses the file, lays the flags over it, refuses keys
//! that do not exist, and collects every problem instead of stopping at the first.
//!
//! Reads no file, no environment and no clock: the caller hands in all of it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::document::{self, Origin, Table, Value, What};
use super::keys::{Key, Kind};
use super::section::{Notes, Section};
use super::{Config, service, unknown, values};

/// Everything a configuration can come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The configuration file, if there is one.
    pub file: Option<File>,
    /// What flags and their environment variables say.
    pub settings: Vec<Setting>,
    /// The command after `--`; empty if there is none.
    pub command: Vec<String>,
    /// Our environment, for `${VAR}`.
    pub environment: BTreeMap<String, String>,
    /// Our working directory: relative paths in flags start here.
    pub directory: PathBuf,
    /// Whether we run as root, who alone may change users.
    pub root: bool,
}

/// A configuration file that was read.
#[derive(Clone, Debug)]
pub struct File {
    /// Where it is; relative paths in it start in its directory.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

/// One flag or environment variable that was given.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The key that it sets.
    pub key: &'static Key,
    /// How it was given.
    pub origin: Origin,
    /// As what; `None` switches the key off.
    pub text: Option<String>,
}

/// A configuration without errors.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What to do.
    pub config: Config,
    /// What is allowed but probably not meant, one line each.
    pub warnings: Vec<String>,
}

/// Everything that is wrong, one line each, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// Works out the configuration: flag before environment before file before default.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let notes = notes(sources);
    let config = document(sources, &notes).and_then(|root| {
        let root = Section::root(&notes, &root);
        service::config(&root, sources)
    });
    let Notes { problems, warnings, .. } = notes;
    let problems = Notes::sorted(problems);
    match config {
        Some(config) if problems.is_empty() => {
            Ok(Loaded { config, warnings: Notes::sorted(warnings) })
        }
        _ => Err(Problems(problems)),
    }
}

fn notes(sources: &Sources) -> Notes {
    let directory = sources.directory.clone();
    let Some(file) = &sources.file else { return Notes { directory, ..Notes::default() } };
    Notes {
        file: file.path.display().to_string(),
        file_directory: directory.join(file.path.parent().unwrap_or(Path::new(""))),
        directory,
        ..Notes::default()
    }
}

/// The file's tree with the flags laid over it.
fn document(sources: &Sources, notes: &Notes) -> Option<Table> {
    let mut root = Table::new();
    if let Some(file) = &sources.file {
        match document::parse(&file.text) {
            Ok(table) => root = table,
            Err(errors) => {
                for (line, text) in errors {
                    notes.problem(Origin::Line(line), text);
                }
                return None;
            }
        }
        unknown::refuse_keys(&root, &mut Vec::new(), notes);
    }
    unknown::doubt_variables(&sources.environment, notes);
    let name = service_name(&root, sources);
    if !sources.command.is_empty() {
        let text =
            |text: &String| Value { origin: Origin::Arguments, what: What::Text(text.clone()) };
        let what = What::List(sources.command.iter().map(text).collect());
        let command = Value { origin: Origin::Arguments, what };
        document::put(&mut root, &["service", &name, "command"], command);
    }
    for setting in &sources.settings {
        lay_over(&mut root, setting, &name);
    }
    Some(root)
}

/// The one service's name: the file's, else `--name`, else the command's base name.
fn service_name(root: &Table, sources: &Sources) -> String {
    if let Some(Value { what: What::Table(services), .. }) = root.get("service")
        && let Some(name) = services.keys().next()
    {
        return name.clone();
    }
    let named = sources.settings.iter().find(|setting| setting.key.path == "supervisor.name");
    if let Some(name) = named.and_then(|setting| setting.text.as_ref()) {
        return name.clone();
    }
    base_name(sources.command.first().map_or("service", String::as_str))
}

/// The last part of a program's path, with what a name may not hold replaced by `-`.
fn base_name(program: &str) -> String {
    let last = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
    let fit = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = last.chars().map(fit).take(64).collect();
    if values::name(&name).is_ok() { name } else { "service".into() }
}

fn lay_over(root: &mut Table, setting: &Setting, service: &str) {
    let place: Vec<&str> =
        setting.key.parts().map(|part| if part == "NAME" { service } else { part }).collect();
    // `--health` stands for both probes, so it takes the place of their targets.
    if setting.key.path == "service.NAME.health" {
        for role in ["startup", "liveness"] {
            forget_target(root, service, role);
        }
    }
    let what = match &setting.text {
        None => What::Switch(false),
        Some(text) => match (setting.key.kind, text.parse(), text.parse()) {
            (Kind::Integer, Ok(number), _) => What::Integer(number),
            (Kind::Switch, _, Ok(on)) => What::Switch(on),
            _ => What::Text(text.clone()),
        },
    };
    // A hook path given as a flag keeps what else the file's table says about the hook.
    let hook_table = [&place[..], &["path"]].concat();
    let keeps_table = setting.key.path == "service.NAME.boot_hook"
        && setting.text.is_some()
        && matches!(find(root, &place), Some(Value { what: What::Table(_), .. }));
    let place = if keeps_table { &hook_table } else { &place };
    document::put(root, place, Value { origin: setting.origin, what });
}

fn forget_target(root: &mut Table, service: &str, role: &str) {
    let mut table = root;
    for part in ["service", service, "probe", role] {
        match table.get_mut(part).map(|value| &mut value.what) {
            Some(What::Table(inner)) => table = inner,
            _ => return,
        }
    }
    table.retain(|key, _| !super::probes::KINDS.contains(&key.as_str()));
}

fn find<'a>(table: &'a Table, place: &[&str]) -> Option<&'a Value> {
    let (first, rest) = place.split_first()?;
    let value = table.get(*first)?;
    match &value.what {
        _ if rest.is_empty() => Some(value),
        What::Table(inner) => find(inner, rest),
        _ => None,
    }
}
