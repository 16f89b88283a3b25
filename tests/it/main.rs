//! How Rekindle behaves with real processes, sockets and files: one module per behaviour.

mod announce;
mod answers;
mod cli;
mod comeback;
mod context;
mod crash;
mod demo;
mod drill;
mod exits;
mod faults;
mod handover;
mod hang;
mod hook;
mod incidents;
mod listen;
mod live_drill;
mod notify;
mod output;
mod pid1;
#[cfg(feature = "planted-faults")]
mod planted;
mod power;
mod probe_command;
mod probes;
mod proxy;
mod shutdown;
mod sick;
mod signals;
mod startup;
mod status_command;
mod support;
mod takeover;
mod terminal;
mod tree;
