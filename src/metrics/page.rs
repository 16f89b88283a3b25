//! Our own families on the page: seconds with fractions, and what is read for each scrape.

use std::fmt::Write as _;

use super::{Metric, Readings, Usage};
use crate::tally::{Cause, Sums};

/// A page in the making: the recorder's text, and ours after it.
pub(super) struct Page<'a> {
    text: String,
    service: &'a str,
}

impl<'a> Page<'a> {
    pub(super) fn new(text: String, service: &'a str) -> Self {
        Self { text, service }
    }

    /// The loop's last turn and the supervisor's own process.
    pub(super) fn supervisor(&mut self, readings: &Readings) {
        self.one(Metric::LoopLastTick, Some(readings.last_tick));
        self.one(Metric::LoopOverdue, Some(readings.overdue));
        let Some(own) = readings.own else { return };
        self.one(Metric::ProcessCpu, Some(own.cpu_seconds));
        self.one(Metric::ProcessResident, Some(own.resident_bytes));
        self.one(Metric::ProcessVirtual, Some(own.virtual_bytes));
        self.one(Metric::ProcessOpenFds, own.open_fds);
        self.one(Metric::ProcessMaxFds, own.max_fds);
        self.one(Metric::ProcessThreads, Some(own.threads));
        self.one(Metric::ProcessStartTime, own.start_time);
    }

    /// Up and down time.
    pub(super) fn sums(&mut self, sums: &Sums) {
        self.one(Metric::Uptime, Some(sums.up.as_secs_f64()));
        self.head(Metric::Downtime);
        for cause in Cause::ALL.iter().copied() {
            let seconds = sums.down(cause).as_secs_f64();
            self.sample(Metric::Downtime, Some(cause.label()), seconds);
        }
    }

    /// The child's tree.
    pub(super) fn child(&mut self, child: &Usage) {
        self.one(Metric::ChildCpu, Some(child.cpu_seconds));
        self.one(Metric::ChildResident, Some(child.resident_bytes));
        self.one(Metric::ChildOpenFds, child.open_fds);
        self.one(Metric::ChildMaxFds, child.max_fds);
        self.one(Metric::ChildThreads, Some(child.threads));
        self.one(Metric::ChildProcesses, Some(child.processes));
        self.one(Metric::ChildStartTime, child.start_time);
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// A family of one series; nothing at all where the value is unknown.
    fn one(&mut self, metric: Metric, value: Option<f64>) {
        if let Some(value) = value {
            self.head(metric);
            self.sample(metric, None, value);
        }
    }

    fn head(&mut self, metric: Metric) {
        let family = metric.family();
        let (name, help, kind) = (family.name, family.help, family.kind.label());
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// One line; `word` is the value of the family's label besides `service`.
    fn sample(&mut self, metric: Metric, word: Option<&str>, value: f64) {
        let family = metric.family();
        let mut word = word.into_iter();
        let pairs: Vec<String> = family
            .labels
            .iter()
            .map(|label| {
                let service = *label == super::Label::Service;
                let value = if service { self.service } else { word.next().unwrap_or_default() };
                format!("{}=\"{}\"", label.key(), escape(value))
            })
            .collect();
        if pairs.is_empty() {
            self.line(format_args!("{} {value}", family.name));
        } else {
            self.line(format_args!("{}{{{}}} {value}", family.name, pairs.join(",")));
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("writing to a string does not fail");
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}
