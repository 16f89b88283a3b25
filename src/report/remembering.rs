//! What is to be told about remembering: how this run began, and whether the next one will know.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tracing::Level;

use crate::incident::file::FILE;
use crate::status::human;
use crate::supervisor::Start;

/// Something about what outlives a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Remembering {
    /// How this run begins.
    Began {
        /// The kind of this start.
        start: Start,
        /// Whether what the last run has written could be read.
        legible: bool,
        /// How long ago the last sign of life was, if that can be told.
        gap: Option<Duration>,
        /// How long ago the host booted.
        since_boot: Duration,
    },
    /// The first launch waits, so that a fleet does not start all at once.
    Splayed {
        /// For how long.
        delay: Duration,
        /// What that was worked out from.
        seed: u64,
    },
    /// What is remembered does not outlive the sandbox.
    Volatile {
        /// Where it is.
        path: PathBuf,
        /// What that is on.
        on: &'static str,
    },
    /// The state directory can be written again.
    WrittenAgain,
    /// The record of an outage cannot be written.
    IncidentUnwritten {
        /// Why not.
        error: String,
    },
    /// The records of outages can be written again.
    IncidentsWritten,
}

impl Remembering {
    /// As of a note.
    pub(super) const fn level(&self) -> Level {
        match self {
            Self::Began { start: Start::Crash | Start::PowerCycle | Start::Moved, .. }
            | Self::Volatile { .. }
            | Self::IncidentUnwritten { .. } => Level::WARN,
            Self::Began { .. }
            | Self::Splayed { .. }
            | Self::WrittenAgain
            | Self::IncidentsWritten => Level::INFO,
        }
    }
}

impl fmt::Display for Remembering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Began { start, legible: false, .. } => write!(
                f,
                "start: {start}; how the last run ended is not known, its record could not be read: \
                 no down time is booked for it"
            ),
            Self::Began { start, legible: true, gap, since_boot } => {
                began(f, *start, *gap, *since_boot)
            }
            Self::Splayed { delay, seed } => {
                let delay = human(*delay);
                write!(
                    f,
                    "the first launch waits {delay}, its share of boot_splay (seed {seed:016x})"
                )
            }
            Self::Volatile { path, on } => {
                let path = path.display();
                write!(
                    f,
                    "what is remembered is lost with the sandbox: {path} is {on}; mount a volume there"
                )
            }
            Self::WrittenAgain => f.write_str("the state directory can be written again"),
            Self::IncidentUnwritten { error } => {
                write!(f, "cannot write {FILE}, healing goes on and it is tried again: {error}")
            }
            Self::IncidentsWritten => write!(f, "{FILE} can be written again"),
        }
    }
}

/// The kind of this start, and what it was told by.
fn began(
    f: &mut fmt::Formatter<'_>,
    start: Start,
    gap: Option<Duration>,
    since_boot: Duration,
) -> fmt::Result {
    let what = match start {
        Start::First => {
            return write!(f, "start: {start}; nothing is remembered of earlier runs");
        }
        Start::Clean => "the last run was stopped",
        Start::Reboot => "the last run was stopped, and then the host",
        Start::Crash => "the last run was killed",
        Start::PowerCycle => "the last run went down with the host",
        Start::Moved => "the last run was on another host",
    };
    write!(f, "start: {start}; {what}")?;
    if let Start::Reboot | Start::PowerCycle = start {
        write!(f, ", which booted {} ago", human(since_boot))?;
    }
    match gap {
        Some(gap) => write!(f, "; its last sign of life was {} ago", human(gap)),
        None => f.write_str("; by these clocks nobody knows when: no down time is booked for it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_note_about_remembering_reads_well() {
        let start = |start, gap: Option<u64>| Remembering::Began {
            start,
            legible: true,
            gap: gap.map(Duration::from_secs),
            since_boot: Duration::from_secs(41),
        };
        let notes = [
            start(Start::First, None),
            start(Start::Clean, Some(11_100)),
            start(Start::Reboot, Some(130)),
            start(Start::Crash, Some(3)),
            start(Start::Crash, None),
            Remembering::Began {
                start: Start::Crash,
                legible: false,
                gap: None,
                since_boot: Duration::ZERO,
            },
            start(Start::PowerCycle, Some(75)),
            start(Start::PowerCycle, None),
            start(Start::Moved, Some(75)),
            Remembering::Splayed { delay: Duration::from_millis(37_500), seed: 0xabc },
            Remembering::Volatile { path: "/var/lib/rekindle".into(), on: "in memory (tmpfs)" },
            Remembering::WrittenAgain,
            Remembering::IncidentUnwritten { error: "disk full".to_owned() },
            Remembering::IncidentsWritten,
        ];
        let lines: Vec<_> =
            notes.iter().map(|note| format!("{:<5} {note}", note.level().as_str())).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        INFO  start: first; nothing is remembered of earlier runs
        INFO  start: clean; the last run was stopped; its last sign of life was 3h5m ago
        INFO  start: reboot; the last run was stopped, and then the host, which booted 41 s ago; its last sign of life was 2m10s ago
        WARN  start: crash; the last run was killed; its last sign of life was 3.0 s ago
        WARN  start: crash; the last run was killed; by these clocks nobody knows when: no down time is booked for it
        WARN  start: crash; how the last run ended is not known, its record could not be read: no down time is booked for it
        WARN  start: power_cycle; the last run went down with the host, which booted 41 s ago; its last sign of life was 1m15s ago
        WARN  start: power_cycle; the last run went down with the host, which booted 41 s ago; by these clocks nobody knows when: no down time is booked for it
        WARN  start: moved; the last run was on another host; its last sign of life was 1m15s ago
        INFO  the first launch waits 37 s, its share of boot_splay (seed 0000000000000abc)
        WARN  what is remembered is lost with the sandbox: /var/lib/rekindle is in memory (tmpfs); mount a volume there
        INFO  the state directory can be written again
        WARN  cannot write incidents.jsonl, healing goes on and it is tried again: disk full
        INFO  incidents.jsonl can be written again
        "#);
    }
}
