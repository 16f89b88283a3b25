//! What came of a drill, in four forms: a table for people, JSON, XML for CI and a page.

mod html;
mod json;
mod junit;
mod table;

use std::time::Duration;

use clap::ValueEnum;

use super::{Expect, Outcome, Verdict};
use crate::text::one_line;

/// What came of a whole drill.
#[derive(Clone, Debug)]
pub struct Report {
    /// From this the random moments came.
    pub seed: u64,
    /// No recovery may take longer.
    pub objective: Option<Duration>,
    /// Where it was done.
    pub arena: Arena,
    /// In the order in which they were done.
    pub outcomes: Vec<Outcome>,
    /// How many were not done because the drill was interrupted.
    pub undone: usize,
}

/// Where a drill was done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Arena {
    /// In PID and mount namespaces.
    Namespaces,
    /// In a process tree of its own, because this is so.
    OwnTree(String),
    /// In the running service of this name.
    Running(String),
}

/// A form of the report.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs: one document.
    Json,
    /// For CI: one test case for each scenario.
    Junit,
    /// A page of its own, with a picture of each scenario.
    Html,
}

impl Report {
    /// The report in this form.
    pub fn written(&self, format: Format) -> String {
        let mut text = String::new();
        // A String takes everything.
        match format {
            Format::Table => table::write(self, &mut text),
            Format::Json => json::write(self, &mut text),
            Format::Junit => junit::write(self, &mut text),
            Format::Html => html::write(self, &mut text),
        }
        .ok();
        text
    }

    /// Whether all was done, and nothing was wrong.
    pub fn has_passed(&self) -> bool {
        self.failed() == 0 && !self.is_interrupted()
    }

    /// Whether it is not the whole drill.
    pub const fn is_interrupted(&self) -> bool {
        self.undone > 0
    }

    /// That it is not the whole drill, if so.
    fn interruption(&self) -> Option<String> {
        let all = self.outcomes.len() + self.undone;
        self.is_interrupted()
            .then(|| format!("interrupted: {} of {all} were not done", self.undone))
    }

    fn failed(&self) -> usize {
        let failed = |outcome: &&Outcome| matches!(outcome.verdict, Verdict::Failed(_));
        self.outcomes.iter().filter(failed).count()
    }

    fn skipped(&self) -> usize {
        let skipped = |outcome: &&Outcome| matches!(outcome.verdict, Verdict::Skipped(_));
        self.outcomes.iter().filter(skipped).count()
    }

    /// The sum of it in one line.
    fn summary(&self) -> String {
        let (all, failed, skipped) = (self.outcomes.len(), self.failed(), self.skipped());
        let passed = all - failed - skipped;
        let slowest = self.outcomes.iter().filter_map(|outcome| outcome.marks.first_pass).max();
        let parts = [
            Some(format!("{passed} of {all} passed")),
            (failed > 0).then(|| format!("{failed} failed")),
            (skipped > 0).then(|| format!("{skipped} skipped")),
            slowest.map(|slowest| format!("slowest recovery {}", span(slowest))),
            self.objective.map(|objective| format!("objective {}", span(objective))),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// Where it was done.
    fn place(&self) -> String {
        match &self.arena {
            Arena::Namespaces => "in PID and mount namespaces of its own".to_owned(),
            Arena::OwnTree(why) => {
                format!("in a process tree of its own, without namespaces: {why}")
            }
            Arena::Running(name) => format!("in the running service {name}"),
        }
    }
}

impl Outcome {
    /// Its name, with the repetition if there is more than one.
    fn title(&self) -> String {
        match self.repetition {
            1 => self.scenario.name.to_owned(),
            number => format!("{} #{number}", self.scenario.name),
        }
    }

    /// The verdict in a word.
    fn word(&self) -> &'static str {
        match (&self.verdict, self.scenario.expect) {
            (Verdict::Passed, Expect::Report(_)) => "reported",
            (Verdict::Passed, _) => "healed",
            (Verdict::Failed(_), _) => "FAILED",
            (Verdict::Skipped(_), _) => "skipped",
        }
    }

    /// What is to be said about it, one sentence each.
    fn remarks(&self) -> Vec<String> {
        match &self.verdict {
            Verdict::Passed => Vec::new(),
            Verdict::Skipped(why) => vec![one_line(why)],
            Verdict::Failed(findings) => {
                let log = self.log.iter().map(|log| format!("see {}", log.display()));
                findings.iter().map(|finding| one_line(finding)).chain(log).collect()
            }
        }
    }
}

/// Seconds for people, always in the same unit, so that they can be compared at a glance.
fn span(span: Duration) -> String {
    format!("{:.2} s", span.as_secs_f64())
}

#[cfg(test)]
mod tests;
