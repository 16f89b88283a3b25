//! `rekindle check`: is the configuration valid, and what would happen when.
//!
//! Starts nothing and looks at nothing but the file and the environment.

use super::CheckArgs;
use super::sources::{self, NoConfig};
use crate::config;

/// What to print about a valid configuration: warnings and the plan.
pub fn report(args: &CheckArgs) -> Result<String, NoConfig> {
    let file = args.file.as_deref();
    let loaded = sources::config(file, &args.settings, &args.command)?;
    let checked = match file {
        Some(file) => file.display().to_string(),
        None if args.command.is_empty() => sources::DEFAULT_FILE.to_owned(),
        None => "the command line".to_owned(),
    };
    let warnings = loaded.warnings.iter().map(|warning| format!("warning: {warning}\n"));
    let warnings: String = warnings.collect();
    Ok(format!("{checked} is valid\n{warnings}\n{}", config::plan(&loaded.config)))
}
