//! Runs the notify command for each incident: when it begins, and when it is over.
//!
//! One run at a time, in order, beside the loop. How it ends is told and changes nothing.

use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver, error::TrySendError};
use tokio::task::JoinHandle;

use super::aside::Aside;
use crate::config::Command;
use crate::incident::Incident;
use crate::process::Sink;
use crate::report::{Announcing, Note, Teller};

/// So many runs wait. For more, the command is too slow.
const MOST_WAITING: usize = 16;

/// At our end, what is under way gets so long.
const PATIENCE: Duration = Duration::from_millis(500);

/// Runs the notify command of one instance, if there is one.
pub(super) struct Herald {
    runs: Option<(mpsc::Sender<Incident>, JoinHandle<()>)>,
    teller: Teller,
}

impl Herald {
    pub(super) fn new(aside: Aside, command: Option<Command>, teller: Teller) -> Self {
        let runs = command.map(|command| {
            let (told, incidents) = mpsc::channel(MOST_WAITING);
            let teller = teller.clone();
            (told, tokio::task::spawn_local(run_each(aside, command, incidents, teller)))
        });
        Self { runs, teller }
    }

    /// Has the command run for an incident as it is now.
    pub(super) fn tell(&self, incident: Incident) {
        let Some((runs, _)) = &self.runs else { return };
        if let Err(TrySendError::Full(incident)) = runs.try_send(incident) {
            let id = incident.id;
            self.teller.note(&Note::Announcing(Announcing::CommandTooSlow { id }));
        }
    }

    /// Lets what is under way come to its end, for a moment. Nothing of it is alive then, except
    /// what SIGKILL does not end.
    pub(super) async fn end(&mut self) {
        let Some((runs, mut task)) = self.runs.take() else { return };
        drop(runs);
        if tokio::time::timeout(PATIENCE, &mut task).await.is_err() {
            task.abort();
            // An error says that it was cancelled, as it should be.
            task.await.ok();
        }
    }
}

async fn run_each(
    aside: Aside,
    command: Command,
    mut incidents: Receiver<Incident>,
    teller: Teller,
) {
    while let Some(incident) = incidents.recv().await {
        let how = aside.run(&command, variables(&incident), [Sink::Null, Sink::Null]).await;
        if how != "code 0" {
            teller.note(&Note::Announcing(Announcing::CommandFailed { how }));
        }
    }
}

/// What the command is told. `docs/incidents.md` lists it.
fn variables(incident: &Incident) -> [(&'static str, String); 7] {
    let event = if incident.is_over() { "over" } else { "began" };
    let end = incident.end.clone().unwrap_or_default();
    [
        ("REKINDLE_EVENT", event.to_owned()),
        ("REKINDLE_INCIDENT", incident.id.clone()),
        ("REKINDLE_CAUSE", incident.cause.clone()),
        ("REKINDLE_SUMMARY", incident.summary.clone()),
        ("REKINDLE_BEGAN", incident.began.clone()),
        ("REKINDLE_END", end.how),
        ("REKINDLE_OUTAGE_SECONDS", format!("{:.0}", end.after_seconds)),
    ]
}
