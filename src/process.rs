//! Processes: starting them, signalling them, reaping them, and knowing whose they are.
//!
//! Nothing here decides when any of that is due; that is the supervisor's. All of it belongs to
//! the thread of the driver, which is the only one that starts and reaps, unless a type says that
//! it may be sent to another.

pub mod cgroup;
pub mod env;
mod exec;
pub mod instance;
pub mod kill;
mod launch;
pub mod memory;
pub mod port;
pub mod proc;
#[cfg(any(test, fuzzing))]
pub(crate) mod property;
pub mod reaper;
mod registry;
pub mod run;
mod sock_diag;
pub mod sweep;
#[cfg(test)]
pub(crate) mod testing;
mod tree;
pub mod user;
mod waiting;
mod world;

use std::ffi::OsString;
use std::io;

pub(crate) use exec::{awaitable, unshare};
pub use exec::{reserve_hand_over_descriptor, signal, spawn, take_terminal_back};
pub use launch::{Env, Input, Launchable, Process, Sink, SpawnError, Step, resource};
pub use registry::Registry;
pub use tree::{Orphans, Tree, Undelivered};
pub use waiting::Queue;

/// The variable by which a process of ours is known after its parents are gone.
pub const MARK_VARIABLE: &str = "REKINDLE_INSTANCE";

/// Whose a process is: this instance's, for this service. Everything in a tree inherits it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The instance's random id, 32 hexadecimal digits.
    pub instance: String,
    /// The service's name.
    pub service: String,
}

impl Mark {
    /// The value of [`MARK_VARIABLE`].
    pub fn value(&self) -> OsString {
        format!("{}/{}", self.instance, self.service).into()
    }

    /// The value of [`run::PROBE_VARIABLE`] for one run of a probe's program.
    pub fn of_run(&self, number: u64) -> String {
        format!("{}/{}/{number}", self.instance, self.service)
    }

    /// Whether a value of [`run::PROBE_VARIABLE`] is one of this mark's.
    pub fn has_run(&self, run: &[u8]) -> bool {
        let ours = self.value().into_encoded_bytes();
        run.strip_prefix(&ours[..]).is_some_and(|rest| rest.starts_with(b"/"))
    }
}

/// The operating system's words for an error number, without the number and in lower case.
fn reason(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
