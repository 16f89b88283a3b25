//! One outage as a record: what broke, what was seen of it, what was done, and how long each took.
//!
//! The record is a document for people and programs (`incidents.jsonl`, `rekindle incidents`, the
//! page, the webhook): its words are those of metrics and log, its times RFC 3339 in UTC, its spans
//! seconds. It decides nothing, and whoever reads an old one gets what was known then.

pub mod chronicle;
pub mod file;
pub mod ledger;
pub mod mask;
pub mod outputs;
#[cfg(any(test, fuzzing))]
pub(crate) mod property;
pub mod read;

use serde::Serialize;

use crate::tally::Cause;

/// The form of the records that this version writes.
pub const FORMAT: u32 = 1;

/// One outage.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Incident {
    /// The form of this record.
    pub format: u32,
    /// Its name: when it began, and something random. Later ones sort after earlier ones.
    pub id: String,
    /// The service that was out.
    pub service: String,
    /// Why it was out, in the word of `rekindle_incidents_total`; `drill` is no incident.
    pub cause: String,
    /// What happened, in one sentence.
    pub summary: String,
    /// When it began: at the exit, or at the first failed probe of those that reached the threshold.
    pub began: String,
    /// From its beginning until we knew.
    pub detected_after_seconds: f64,
    /// How it came to its end; `None` while it lasts.
    pub end: Option<End>,
    /// Attempts to bring it up again.
    pub attempts: u32,
    /// How the child ended, if it did so by itself.
    pub exit: Option<Exit>,
    /// Who held the port of the service, if somebody else did.
    pub port_holder: Option<PortHolder>,
    /// What happened when, oldest first. Of very many, the first and the last.
    pub timeline: Vec<Step>,
    /// So many steps in between are left out.
    pub steps_left_out: u32,
    /// The last answers of probes before and during the outage, oldest first.
    pub probes: Vec<ProbeAnswer>,
    /// The last run of each hook.
    pub hooks: Vec<HookRun>,
    /// Restarts that were avoided shortly before or during the outage, and why.
    pub avoided: Vec<Avoided>,
    /// What the capture command found, if there is one.
    pub capture: Option<Capture>,
    /// The child's last output before it went down.
    pub output: String,
    /// The last output of the last attempt that failed as well, if one did.
    pub attempt_output: String,
}

/// The end of an outage.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct End {
    /// `healed`, or `stopped` if somebody asked for that before it was healed, or `ended` if the
    /// run gave up.
    pub how: String,
    /// When the service was up again, or was given up.
    pub at: String,
    /// From the beginning to here.
    pub after_seconds: f64,
}

/// How the child ended.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Exit {
    pub how: String,
    pub code: u8,
}

/// Somebody who is not ours on our port.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct PortHolder {
    pub pid: u32,
    pub name: String,
}

/// One thing that happened.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Step {
    /// How long after the outage's beginning; negative for what led to it.
    pub after_seconds: f64,
    /// What, in one word: see [`step`].
    pub what: String,
    /// The rest, for people.
    pub detail: String,
}

/// The words of a timeline.
pub mod step {
    /// The outage began: an exit, or the first failed probe.
    pub const BROKE: &str = "broke";
    /// We knew of it.
    pub const DETECTED: &str = "detected";
    /// The tree is told to go.
    pub const STOPPING: &str = "stopping";
    /// SIGKILL to what is left.
    pub const KILLED: &str = "killed";
    /// Nothing of the tree is alive.
    pub const GONE: &str = "gone";
    /// The next attempt waits.
    pub const WAITING: &str = "waiting";
    /// The boot hook or repair runs.
    pub const HOOK: &str = "hook";
    /// It ended well, or not.
    pub const HOOK_ENDED: &str = "hook_ended";
    /// The child runs.
    pub const STARTED: &str = "started";
    /// It could not be started.
    pub const NOT_STARTED: &str = "not_started";
    /// The child exited by itself, again.
    pub const EXITED: &str = "exited";
    /// It ran and did not become healthy, or not for long.
    pub const FAILED: &str = "failed";
    /// A probe passed.
    pub const PASSED: &str = "passed";
    /// It lasted.
    pub const SETTLED: &str = "settled";
    /// Somebody else holds the port.
    pub const PORT_HELD: &str = "port_held";
    /// A restart was avoided.
    pub const AVOIDED: &str = "avoided";
    /// Something else that may explain it.
    pub const NOTED: &str = "noted";
}

/// What a probe said.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct ProbeAnswer {
    /// How long after the outage's beginning; negative for what led to it.
    pub after_seconds: f64,
    /// `startup`, `liveness` or `readiness`.
    pub role: String,
    /// The word of `rekindle_probe_attempts_total`.
    pub result: String,
    /// The status, the error, whatever else there is for people.
    pub detail: String,
    /// How long it took.
    pub took_seconds: f64,
    /// The beginning of the body, if one was read.
    pub body: String,
}

/// One run of a hook.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct HookRun {
    /// `boot_hook` or `repair`.
    pub hook: String,
    /// `success`, `failure` or `timeout`.
    pub result: String,
    /// How it ended, for people.
    pub detail: String,
    /// How long it took.
    pub took_seconds: f64,
    /// Its last output.
    pub output: String,
}

/// Restarts that were avoided.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Avoided {
    pub why: String,
    pub times: u32,
}

/// What a capture command did.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Capture {
    pub result: String,
    pub took_seconds: f64,
    pub output: String,
}

impl Incident {
    /// Whether something broke: nothing did in a drill.
    pub fn is_incident(&self) -> bool {
        self.cause != Cause::Drill.label()
    }

    /// Whether it is over.
    pub const fn is_over(&self) -> bool {
        self.end.is_some()
    }

    /// As it is remembered to be shown: without most of its output.
    #[must_use]
    pub fn in_short(mut self) -> Self {
        self.output = outputs::last(self.output);
        if let Some(capture) = &mut self.capture {
            capture.output = outputs::last(std::mem::take(&mut capture.output));
        }
        self
    }
}
