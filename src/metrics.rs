//! The metrics: registered once from the table, at 0, and rendered as one page.
//!
//! Whole numbers and gauges live in the recorder of the `metrics` crates. Its counters cannot hold
//! fractions, its series cannot disappear and its histograms keep samples, so seconds, what is read
//! at the time of a scrape, and histograms are written by our own [`page`]. Nothing here decides
//! what is counted when: that is `report.rs`. Nothing here listens: that is `http.rs`.

mod document;
mod histogram;
mod page;
mod table;
pub(crate) mod usage;

use std::time::Duration;

use metrics::{Key, Label as Pair, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::config::Service;
use crate::supervisor::{Role, State};
use crate::tally::Sums;

pub use document::Document;
pub use table::{Family, HookResult, Kind, Label, LaunchKind, Metric, Source, TABLE};
pub use table::{Handler, hook};
pub use usage::Usage;

use histogram::Histogram;
use page::Page;

const METADATA: Metadata<'static> = Metadata::new("rekindle", Level::INFO, None);

/// All metrics of one run.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    /// Each with the values of its labels, without `service`.
    histograms: Vec<(Metric, Vec<&'static str>, Histogram)>,
    service: String,
    probes: Vec<Role>,
}

/// What is looked up when a page is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Readings {
    /// Up and down time until now.
    pub sums: Sums,
    /// When the loop last turned, in seconds since 1970.
    pub last_tick: f64,
    /// How far the loop is behind what was due, in seconds.
    pub overdue: f64,
    /// The supervisor's own use of the machine, if it could be read.
    pub own: Option<Usage>,
    /// The child tree's use of the machine, if there is a child and it could be read.
    pub child: Option<Usage>,
}

impl Metrics {
    /// Registers every series that can appear for this service, at 0.
    pub fn new(service: &Service) -> Self {
        let recorder = PrometheusBuilder::new().with_recommended_naming(false).build_recorder();
        let handle = recorder.handle();
        let probes = configured_probes(service);
        let (name, histograms) = (service.name.clone(), Vec::new());
        let mut metrics = Self { recorder, handle, histograms, service: name, probes };
        for metric in Metric::ALL.iter().copied() {
            if metric.family().source == Source::Recorder {
                metrics.describe(metric.family());
                metrics.register(metric);
            }
            if metric.family().kind == Kind::Histogram {
                metrics.add_histograms(metric, service.recovery_objective);
            }
        }
        metrics.set_constants(service);
        metrics
    }

    /// Adds `n` to a counter; `words` are the labels' values without `service`.
    pub fn add(&self, metric: Metric, words: &[&'static str], n: u64) {
        self.recorder.register_counter(&self.key(metric, words), &METADATA).increment(n);
    }

    /// Sets a gauge.
    pub fn set(&self, metric: Metric, words: &[&'static str], value: f64) {
        self.recorder.register_gauge(&self.key(metric, words), &METADATA).set(value);
    }

    /// Records a duration in a histogram.
    pub fn observe(&self, metric: Metric, words: &[&'static str], took: Duration) {
        let mut histograms = self.histograms.iter();
        let found = histograms.find(|(of, values, _)| *of == metric && values == words);
        debug_assert!(found.is_some(), "{}: {words:?}", metric.family().name);
        if let Some((_, _, histogram)) = found {
            histogram.observe(took);
        }
    }

    /// The page in Prometheus' text format 0.0.4.
    pub fn page(&self, readings: &Readings) -> String {
        let mut page = Page::new(self.handle.render(), &self.service);
        page.supervisor(readings);
        page.sums(&readings.sums);
        page.histograms(&self.histograms);
        if let Some(usage) = &readings.child {
            page.child(usage);
        }
        page.into_text()
    }

    fn key(&self, metric: Metric, words: &[&'static str]) -> Key {
        let family = metric.family();
        let mut words = words.iter();
        let pairs: Vec<Pair> = family
            .labels
            .iter()
            .map(|label| {
                if *label == Label::Service {
                    return Pair::new(label.key(), self.service.clone());
                }
                let word = words.next().copied().unwrap_or("");
                debug_assert!(label.words().contains(&word), "{}: {word:?}", family.name);
                Pair::new(label.key(), word)
            })
            .collect();
        debug_assert!(words.next().is_none(), "{}: too many label values", family.name);
        Key::from_parts(family.name, pairs)
    }

    fn describe(&self, family: &Family) {
        let unit = match family.unit() {
            "seconds" => Some(Unit::Seconds),
            "bytes" => Some(Unit::Bytes),
            _ => None,
        };
        match family.kind {
            Kind::Counter => {
                self.recorder.describe_counter(family.name.into(), unit, family.help.into());
            }
            Kind::Gauge => {
                self.recorder.describe_gauge(family.name.into(), unit, family.help.into());
            }
            // On our own page.
            Kind::Histogram => {}
        }
    }

    /// Makes every series of a family appear; an optional one waits until it is set.
    fn register(&self, metric: Metric) {
        let family = metric.family();
        if family.optional {
            return;
        }
        for words in self.series(metric) {
            let key = self.key(metric, &words);
            match family.kind {
                Kind::Counter => drop(self.recorder.register_counter(&key, &METADATA)),
                Kind::Gauge => self.recorder.register_gauge(&key, &METADATA).set(0.0),
                Kind::Histogram => {}
            }
        }
    }

    fn add_histograms(&mut self, metric: Metric, objective: Option<Duration>) {
        let mut bounds = metric.family().buckets.to_vec();
        if metric == Metric::Recovery {
            // The objective as a bound makes "share of recoveries within it" exact.
            bounds.extend(objective.map(|objective| objective.as_secs_f64()));
            bounds.sort_by(f64::total_cmp);
            bounds.dedup();
        }
        for words in self.series(metric) {
            self.histograms.push((metric, words, Histogram::new(bounds.clone())));
        }
    }

    /// Every combination of label values that can appear.
    fn series(&self, metric: Metric) -> Vec<Vec<&'static str>> {
        if metric == Metric::HttpRequests {
            return Handler::ALL
                .iter()
                .flat_map(|handler| handler.codes().iter().map(|code| vec![handler.label(), *code]))
                .collect();
        }
        let mut series = vec![Vec::new()];
        for label in metric.family().labels.iter().filter(|label| **label != Label::Service) {
            let words = if *label == Label::Probe {
                self.probes.iter().map(|role| role.label()).collect()
            } else {
                label.words()
            };
            series = series
                .iter()
                .flat_map(|begun| words.iter().map(|word| [begun.as_slice(), &[*word]].concat()))
                .collect();
        }
        series
    }

    /// Sets what the configuration and the build fix, and the values that are not 0 at the start.
    fn set_constants(&self, service: &Service) {
        let build = [Label::Version, Label::Os, Label::Arch].map(|label| label.words()[0]);
        self.set(Metric::BuildInfo, &build, 1.0);
        self.set(Metric::ServiceState, &[State::Stopped.label()], 1.0);
        self.set(Metric::LastExitCode, &[], -1.0);
        if let Some(objective) = service.recovery_objective {
            self.set(Metric::RecoveryObjective, &[], objective.as_secs_f64());
        }
        if let Some(budget) = service.policy.budget {
            self.set(Metric::BudgetRemaining, &[], budget.max_restarts.into());
        }
        let policy = &service.policy;
        for (role, probe) in [
            (Role::Startup, policy.startup),
            (Role::Liveness, policy.liveness),
            (Role::Readiness, policy.readiness),
        ] {
            let Some(probe) = probe else { continue };
            self.set(Metric::ProbeTimeout, &[role.label()], probe.timeout.as_secs_f64());
            self.set(Metric::ProbeThreshold, &[role.label()], probe.failure_threshold.into());
        }
    }
}

fn configured_probes(service: &Service) -> Vec<Role> {
    let policy = &service.policy;
    [
        (Role::Startup, policy.startup.is_some()),
        (Role::Liveness, policy.liveness.is_some()),
        (Role::Readiness, policy.readiness.is_some()),
    ]
    .into_iter()
    .filter_map(|(role, configured)| configured.then_some(role))
    .collect()
}

#[cfg(test)]
mod tests;
