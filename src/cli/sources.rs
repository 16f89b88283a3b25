//! Where the configuration comes from: finds and reads the file, and our environment.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::settings::Settings;
use crate::config::{File, Loaded, Problems, Sources, load};
use crate::gather::gather;

/// Read if neither a file nor a command is given.
pub const DEFAULT_FILE: &str = "/etc/rekindle/rekindle.toml";

/// A file of this length, in bytes, is no configuration.
const LONGEST: u64 = 1024 * 1024;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum NoConfig {
    /// Nobody said what to run.
    #[error(
        "nothing to run: give a command after --, or a file with --config, or write {DEFAULT_FILE} \
         (see `rekindle run --help`)"
    )]
    Nothing,
    /// The file cannot be read.
    #[error("cannot read configuration {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// The configuration is invalid.
    #[error(transparent)]
    Invalid(#[from] Problems),
}

impl NoConfig {
    /// The exit code that goes with it.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Nothing => super::EXIT_USAGE,
            Self::Unreadable { .. } | Self::Invalid(_) => super::EXIT_CONFIG,
        }
    }
}

/// The configuration that these arguments and this process's environment make.
pub fn config(
    file: Option<&Path>,
    settings: &Settings,
    command: &[String],
) -> Result<Loaded, NoConfig> {
    Ok(load(&sources(file, settings, command)?)?)
}

/// The configuration file that is read for these arguments, if any is.
pub fn file<'a>(file: Option<&'a Path>, command: &[String]) -> Option<&'a Path> {
    given(file).or_else(|| command.is_empty().then(|| Path::new(DEFAULT_FILE)))
}

/// An empty `REKINDLE_CONFIG` is an unset one.
fn given(file: Option<&Path>) -> Option<&Path> {
    file.filter(|path| !path.as_os_str().is_empty())
}

fn sources(
    file: Option<&Path>,
    settings: &Settings,
    command: &[String],
) -> Result<Sources, NoConfig> {
    let file = match self::file(file, command).map(read) {
        Some(Err(NoConfig::Unreadable { cause, .. }))
            if given(file).is_none() && cause.kind() == io::ErrorKind::NotFound =>
        {
            return Err(NoConfig::Nothing);
        }
        read => read.transpose()?,
    };
    // A variable that is not UTF-8 counts as unset: it could not be put into a TOML text anyway.
    let environment: BTreeMap<_, _> =
        gather(env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }));
    Ok(Sources {
        file,
        settings: settings.0.clone(),
        command: command.to_vec(),
        environment,
        // Without a working directory relative paths stay relative, and fail where they are used.
        directory: env::current_dir().unwrap_or_default(),
        root: rustix::process::geteuid().is_root(),
    })
}

fn read(path: &Path) -> Result<File, NoConfig> {
    let unreadable = |cause| NoConfig::Unreadable { path: path.to_owned(), cause };
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    if read.map_err(unreadable)? as u64 == LONGEST {
        let cause = io::Error::other(format!("it is longer than {} KiB", LONGEST / 1024));
        return Err(unreadable(cause));
    }
    Ok(File { path: path.to_owned(), text })
}
