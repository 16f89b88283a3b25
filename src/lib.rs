//! Rekindle: a self-healing watchdog for one long-running process in a sandbox.
//!
//! ```text
//! config → supervisor (pure) ← events – driver – actions → process, hook, probe
//!                                         │
//!                                         └ facts → report → log, metrics, status → http
//! ```

pub mod cli;
pub mod clock;
pub mod config;
pub mod supervisor;
