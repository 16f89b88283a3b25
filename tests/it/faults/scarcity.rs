//! Scarcity: what everybody needs runs out, or is not there. Nothing ends, nothing healthy is
//! killed, there is a line that says what is missing, and it heals as soon as there is some again.

mod descriptors;
mod files;
mod memory;
mod processes;

use rustix::process::Signal;

use crate::support::processes::send;
use crate::support::{Config, World};

/// What an error message says of `EMFILE` and of `EAGAIN`.
const NO_DESCRIPTORS: &str = "too many open files";
const NO_PROCESSES: &str = "resource temporarily unavailable";

/// A boot hook that only proves that programs can be started.
fn hooked(world: &World, config: Config) -> Config {
    let hook = world.write("boot.sh", "exit 0");
    config.with(&format!("boot_hook = {{ path = \"{hook}\", timeout = \"20s\" }}"))
}

/// Kills the child that serves, as a fault that needs healing.
fn kill(child: i32) {
    send(child, Signal::KILL);
}
