//! `rekindle check`: is the configuration valid, and what would happen when.
//!
//! Starts nothing, and looks at nothing but the file, the environment, and where the state would be.

use super::CheckArgs;
use super::sources::{self, NoConfig};
use crate::config::{self, Supervisor};
use crate::paths::{self, Environment};
use crate::process::instance;
use crate::state::is_in_own_layer;

/// What to print about a valid configuration: warnings and the plan.
pub fn report(args: &CheckArgs) -> Result<String, NoConfig> {
    let file = args.file.as_deref();
    let loaded = sources::config(file, &args.settings, &args.command)?;
    let checked = match file {
        Some(file) => file.display().to_string(),
        None if args.command.is_empty() => sources::DEFAULT_FILE.to_owned(),
        None => "the command line".to_owned(),
    };
    let shared_id = shared_id(&loaded.config.supervisor);
    let warnings = loaded.warnings.iter().chain(&shared_id);
    let warnings: Vec<_> = warnings.map(|warning| format!("warning: {warning}\n")).collect();
    let warnings = warnings.concat();
    Ok(format!("{checked} is valid\n{warnings}\n{}", config::plan(&loaded.config)))
}

/// What is wrong with an id that lies where an image's files are: each sandbox that is made of the
/// image has it, so that none can be told from another.
fn shared_id(supervisor: &Supervisor) -> Option<String> {
    let env = Environment::of_process();
    let directory =
        paths::state_dir(supervisor.state_dir.as_deref(), &supervisor.name, &env).ok()?;
    let id = directory.join(instance::FILE);
    is_in_own_layer(&id).then(|| {
        format!(
            "{} is in the container's own layer: if it came with the image, all sandboxes have \
             the same id; remove it from the image, and mount a volume at {}",
            id.display(),
            directory.display()
        )
    })
}
