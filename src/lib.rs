//! Rekindle: a self-healing watchdog for one long-running process in a sandbox.
//!
//! ```text
//! config → supervisor (pure) ← events – driver – actions → process, hook, probe
//!                                         │
//!                                         └ facts → report → log, metrics, status → http
//! ```

pub mod announce;
pub mod cli;
pub mod clock;
pub mod comeback;
pub mod config;
pub mod demo;
pub mod drill;
pub mod driver;
#[doc(hidden)]
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gather;
pub mod history;
pub mod hook;
pub mod http;
pub mod incident;
pub mod log;
pub mod metrics;
pub mod notify;
pub mod output;
pub mod page;
pub mod paths;
pub mod planted;
pub mod probe;
pub mod process;
pub mod report;
#[cfg(test)]
#[path = "../tests/it/support/schema.rs"]
mod schema;
pub mod state;
pub mod status;
pub mod supervisor;
pub mod tally;
mod text;
pub mod threads;
