//! What is to be told about telling others of incidents.

use std::fmt;
use std::time::Duration;

use tracing::Level;

use crate::status::human;

/// Something about a webhook or a notify command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Announcing {
    /// The webhook does not take a document, for now.
    Failed {
        /// Why not.
        why: String,
        /// When it is tried again, at first.
        again_in: Duration,
    },
    /// It takes documents again.
    WorksAgain,
    /// An incident is not told to the webhook.
    Refused {
        /// Which.
        id: String,
        /// Why not.
        why: String,
    },
    /// The notify command did not end with code 0.
    CommandFailed {
        /// How it ended.
        how: String,
    },
    /// The notify command is not run for this, because it is too slow.
    CommandTooSlow {
        /// The incident.
        id: String,
    },
}

impl Announcing {
    /// As of a note.
    pub(super) const fn level(&self) -> Level {
        match self {
            Self::WorksAgain => Level::INFO,
            Self::Failed { .. }
            | Self::Refused { .. }
            | Self::CommandFailed { .. }
            | Self::CommandTooSlow { .. } => Level::WARN,
        }
    }
}

impl fmt::Display for Announcing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { why, again_in } => {
                let again_in = human(*again_in);
                write!(f, "the webhook cannot be told, tried again in {again_in} and on: {why}")
            }
            Self::WorksAgain => f.write_str("the webhook has been told"),
            Self::Refused { id, why } => write!(f, "the webhook is not told of {id}: {why}"),
            Self::CommandFailed { how } => write!(f, "the notify command failed: {how}"),
            Self::CommandTooSlow { id } => {
                write!(f, "the notify command is too slow: it is not run for {id}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_note_about_telling_others_reads_well() {
        let id = "20261126T200324Z-3f2a".to_owned();
        let notes = [
            Announcing::Failed {
                why: "connection refused".to_owned(),
                again_in: Duration::from_millis(1200),
            },
            Announcing::WorksAgain,
            Announcing::Refused { id: id.clone(), why: "status 404 Not Found".to_owned() },
            Announcing::CommandFailed { how: "code 3".to_owned() },
            Announcing::CommandTooSlow { id },
        ];
        let lines: Vec<_> =
            notes.iter().map(|note| format!("{:<5} {note}", note.level().as_str())).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        WARN  the webhook cannot be told, tried again in 1.2 s and on: connection refused
        INFO  the webhook has been told
        WARN  the webhook is not told of 20261126T200324Z-3f2a: status 404 Not Found
        WARN  the notify command failed: code 3
        WARN  the notify command is too slow: it is not run for 20261126T200324Z-3f2a
        "#);
    }
}
