//! `rekindle incidents`: what broke, when, for how long and why, from the files of the state
//! directory. It works without a running rekindle, and changes nothing.
//!
//! An outage that is going on is not in the files: `rekindle status` shows it.

mod page;

use std::fs::File;
use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::probe::Instance;
use super::sources::{self, NoConfig};
use super::{EXIT_USAGE, IncidentsArgs};
use crate::config::Supervisor;
use crate::incident::Incident;
use crate::incident::file;
use crate::paths::{self, Environment, PathError};

/// The table shows so many, unless it is told otherwise.
const SHOWN: usize = 20;
/// Stands for the latest.
const LAST: &str = "last";

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
enum NotShown {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Config(#[from] NoConfig),
    #[error(
        "cannot find a state directory: {}; give --state-dir, --name or --config",
        nowhere(looked)
    )]
    Nowhere { looked: Vec<PathBuf> },
    #[error("{}: choose one with --state-dir", list("there are several state directories:", found))]
    Several { found: Vec<PathBuf> },
    #[error("cannot read {}: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: io::Error },
    #[error("cannot find incident {id} in {}: `rekindle incidents` lists those that are kept", path.display())]
    NoSuch { id: String, path: PathBuf },
    #[error("several incidents are called {id}: {}", ids.join(", "))]
    Ambiguous { id: String, ids: Vec<String> },
}

impl NotShown {
    const fn exit_code(&self) -> u8 {
        match self {
            Self::Several { .. } | Self::Ambiguous { .. } => EXIT_USAGE,
            Self::Config(error) => error.exit_code(),
            Self::Path(_)
            | Self::Nowhere { .. }
            | Self::Unreadable { .. }
            | Self::NoSuch { .. } => 1,
        }
    }
}

/// Shows records, and gives the exit code.
pub fn run(args: &IncidentsArgs) -> ExitCode {
    let told = text(args, &Environment::of_process());
    let written = match &told {
        Ok(text) => io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()),
        Err(error) => writeln!(io::stderr(), "rekindle: {error}"),
    };
    match (told, written) {
        // Whoever reads only the first lines has seen enough.
        (Ok(_), Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        (Ok(_), _) => ExitCode::SUCCESS,
        (Err(error), _) => ExitCode::from(error.exit_code()),
    }
}

fn text(args: &IncidentsArgs, env: &Environment) -> Result<String, NotShown> {
    let directory = directory(args, env)?;
    let mut records = File::open(&directory)
        .and_then(|opened| file::read(opened, None))
        .map_err(|cause| NotShown::Unreadable { path: directory.clone(), cause })?;
    if let Some(id) = &args.id {
        let record = find(&records, id, &directory)?;
        return Ok(if args.json { line(record) } else { page::whole(record) });
    }
    let most = args.last.map_or(if args.json { usize::MAX } else { SHOWN }, NonZeroUsize::get);
    records.drain(..records.len().saturating_sub(most));
    if args.json {
        return Ok(records.iter().map(line).collect());
    }
    if records.is_empty() {
        return Ok(format!("no incidents are recorded in {}\n", directory.display()));
    }
    Ok(page::table(&records))
}

fn line(record: &Incident) -> String {
    serde_json::to_string(record).expect("text and numbers have a JSON form") + "\n"
}

/// The record that is called so: by `last`, by how its name begins, or by its last part.
fn find<'r>(records: &'r [Incident], id: &str, directory: &Path) -> Result<&'r Incident, NotShown> {
    let is_called = |record: &&Incident| {
        let short = record.id.rsplit('-').next();
        record.id.starts_with(id) || short == Some(id)
    };
    let found: Vec<_> = match id {
        LAST => records.last().into_iter().collect(),
        _ => records.iter().filter(is_called).collect(),
    };
    match found[..] {
        [record] => Ok(record),
        [] => Err(NotShown::NoSuch { id: id.to_owned(), path: directory.to_owned() }),
        _ => {
            let ids = found.iter().map(|record| record.id.clone()).collect();
            Err(NotShown::Ambiguous { id: id.to_owned(), ids })
        }
    }
}

/// Where the files are: as it was said, as the configuration says, or in the only place there is.
fn directory(args: &IncidentsArgs, env: &Environment) -> Result<PathBuf, NotShown> {
    let Instance { name, state_dir } = Instance::from(&args.instance);
    if let Some(path) = state_dir {
        return Ok(path);
    }
    if name.is_none()
        && let Some(supervisor) = configured(args.config.as_deref())?
    {
        return Ok(paths::state_dir(supervisor.state_dir.as_deref(), &supervisor.name, env)?);
    }
    let looked = paths::state_dirs(name.as_deref(), env);
    let found: Vec<_> = looked.iter().filter(|path| path.is_dir()).cloned().collect();
    match found.len() {
        0 => Err(NotShown::Nowhere { looked }),
        1 => Ok(found.into_iter().next().unwrap_or_default()),
        _ => Err(NotShown::Several { found }),
    }
}

/// What the file says, or the default one, if there is one that says anything.
fn configured(file: Option<&Path>) -> Result<Option<Supervisor>, NoConfig> {
    let is_given = file.is_some_and(|path| !path.as_os_str().is_empty());
    match sources::config(file, &super::settings::Settings::default(), &[]) {
        Ok(loaded) => Ok(Some(loaded.config.supervisor)),
        Err(error) if is_given => Err(error),
        Err(_) => Ok(None),
    }
}

fn list(what: &str, paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    format!("{what} {}", paths.join(", "))
}

fn nowhere(looked: &[PathBuf]) -> String {
    if looked.is_empty() {
        return "no rekindle has one here".to_owned();
    }
    list("there is no", looked)
}

/// A record as it is shown, for its property.
#[cfg(any(test, fuzzing))]
pub(crate) fn shown(record: &Incident) -> [String; 2] {
    [page::table(std::slice::from_ref(record)), page::whole(record)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Incident> {
        ["20261126-201851-123-9c0f", "20261126-201951-456-1234", "20261127-000000-000-9c0e"]
            .map(|id| Incident { id: id.to_owned(), ..Incident::default() })
            .to_vec()
    }

    #[test]
    fn a_record_is_found_by_whatever_names_only_it() {
        let (records, here) = (records(), Path::new("/here"));
        for (id, expected) in [
            ("last", Ok("20261127-000000-000-9c0e")),
            ("20261126-201851-123-9c0f", Ok("20261126-201851-123-9c0f")),
            ("20261127", Ok("20261127-000000-000-9c0e")),
            ("9c0f", Ok("20261126-201851-123-9c0f")),
            (
                "20261126",
                Err((
                    2,
                    "several incidents are called 20261126: ".to_owned()
                        + "20261126-201851-123-9c0f, 20261126-201951-456-1234",
                )),
            ),
            (
                "9c",
                Err((
                    1,
                    "cannot find incident 9c in /here: ".to_owned()
                        + "`rekindle incidents` lists those that are kept",
                )),
            ),
        ] {
            let found = find(&records, id, here)
                .map(|record| record.id.as_str())
                .map_err(|error| (error.exit_code(), error.to_string()));
            assert_eq!(found, expected, "{id}");
        }
        assert!(find(&[], "last", here).is_err());
    }

    #[test]
    fn none_of_the_latest_is_not_asked_for() {
        use clap::Parser as _;
        let given =
            |last| crate::cli::Cli::try_parse_from(["rekindle", "incidents", "--last", last]);
        let error = given("0").unwrap_err();
        assert_eq!(error.exit_code(), i32::from(EXIT_USAGE), "{error}");
        given("1").unwrap();
    }

    #[test]
    fn where_the_files_are_is_told_or_found_out() {
        use super::super::InstanceArgs;
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        let env = Environment {
            runtime_directory: None,
            state_directory: None,
            user_state: Some(at("home")),
            root: true,
            run: at("run"),
            var_lib: at("lib"),
        };
        let args = |name: Option<&str>, state_dir: Option<PathBuf>| IncidentsArgs {
            id: None,
            last: None,
            json: false,
            config: None,
            instance: InstanceArgs { name: name.map(str::to_owned), state_dir },
        };
        let find = |args: IncidentsArgs| directory(&args, &env).map_err(|error| error.to_string());
        assert_eq!(find(args(None, Some(at("x")))), Ok(at("x")));
        let nowhere = "cannot find a state directory: no rekindle has one here; \
                       give --state-dir, --name or --config";
        assert_eq!(find(args(None, None)), Err(nowhere.to_owned()));
        std::fs::create_dir_all(at("lib/gateway")).unwrap();
        assert_eq!(find(args(None, None)), Ok(at("lib/gateway")));
        std::fs::create_dir_all(at("home/rekindle/other")).unwrap();
        assert_eq!(find(args(Some("other"), None)), Ok(at("home/rekindle/other")));
        let error = find(args(None, None)).unwrap_err();
        assert!(error.starts_with("there are several state directories: "), "{error}");
        let file = at("rekindle.toml");
        std::fs::write(&file, "[supervisor]\nstate_dir = \"s\"\n[service.x]\ncommand = [\"x\"]\n")
            .unwrap();
        let configured = IncidentsArgs { config: Some(file), ..args(None, None) };
        assert_eq!(find(configured), Ok(at("s")));
        let missing = IncidentsArgs { config: Some(at("none.toml")), ..args(None, None) };
        assert!(find(missing).unwrap_err().starts_with("cannot read configuration"));
    }
}
