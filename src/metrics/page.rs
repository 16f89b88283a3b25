//! Our own families on the page: seconds with fractions, and what is read for each scrape.

use std::fmt::Write as _;

use super::histogram::Histogram;
use super::{Label, Metric, Readings, Usage};
use crate::supervisor::State;
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

    /// What is shown in words elsewhere, from the same source: no page is ahead of another.
    pub(super) fn service(&mut self, readings: &Readings) {
        self.head(Metric::ServiceState);
        for state in State::ALL.iter().copied() {
            let value = f64::from(state == readings.state);
            self.sample(Metric::ServiceState, Some(state.label()), value);
        }
        self.one(Metric::ServiceUp, Some(f64::from(readings.state == State::Healthy)));
        self.one(Metric::ServiceReady, Some(f64::from(readings.ready)));
        self.one(Metric::DrillActive, Some(f64::from(readings.drilling)));
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
        self.one(Metric::ChildOomKills, child.oom_kills);
    }

    /// All histograms; those of one family stand together.
    pub(super) fn histograms(&mut self, all: &[(Metric, Vec<&'static str>, Histogram)]) {
        let mut last = None;
        for (metric, words, histogram) in all {
            if last.replace(*metric) != Some(*metric) {
                self.head(*metric);
            }
            let (name, shown) = (metric.family().name, histogram.shown());
            let labels = self.labels(*metric, words);
            let bounds = shown.buckets.iter().map(|(bound, count)| (bound.to_string(), *count));
            for (bound, count) in bounds.chain([("+Inf".to_owned(), shown.count)]) {
                let mut labels = labels.clone();
                labels.push(format!("le=\"{bound}\""));
                self.line(format_args!("{name}_bucket{} {count}", braced(&labels)));
            }
            let labels = braced(&labels);
            self.line(format_args!("{name}_sum{labels} {}", shown.sum));
            self.line(format_args!("{name}_count{labels} {}", shown.count));
        }
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
    fn sample(&mut self, metric: Metric, word: Option<&'static str>, value: f64) {
        let labels = braced(&self.labels(metric, word.as_slice()));
        self.line(format_args!("{}{labels} {value}", metric.family().name));
    }

    /// The family's labels; `words` are the values without `service`.
    fn labels(&self, metric: Metric, words: &[&str]) -> Vec<String> {
        let mut words = words.iter().copied();
        let pair = |label: &Label| {
            let is_service = *label == Label::Service;
            let value = if is_service { self.service } else { words.next().unwrap_or_default() };
            format!("{}=\"{}\"", label.key(), escape(value))
        };
        metric.family().labels.iter().map(pair).collect()
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("writing to a string does not fail");
    }
}

fn braced(labels: &[String]) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) }
}

fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}
