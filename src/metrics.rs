//! The metrics: registered once from the table, at 0, and rendered as one page.
//!
//! Whole numbers and gauges live in the recorder of the `metrics` crates. Its counters cannot hold
//! fractions, its series cannot disappear and its histograms keep samples, so seconds, what is read
//! at the time of a scrape, and histograms are written by our own [`page`]. What the table marks as
//! kept is also held as [`Kept`], for the state file. Nothing here decides what is counted when:
//! that is `report.rs`. Nothing here listens: that is `http.rs`.

mod document;
mod histogram;
mod kept;
mod page;
mod table;
pub(crate) mod usage;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{Key, Label as Pair, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::config::Service;
use crate::supervisor::{Program, Role, State};
use crate::tally::Sums;

pub use document::Document;
pub use kept::Kept;
pub(crate) use kept::seconds;
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
    /// There is a `repair` that may run.
    repairs: bool,
    kept: Mutex<Kept>,
    /// Something kept has changed since this was asked last.
    kept_changed: AtomicBool,
}

/// What is looked up when a page is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Readings {
    /// The state that the service is in.
    pub state: State,
    /// Whether it is healthy and its readiness probe, if any, passes.
    pub ready: bool,
    /// Whether a drill of it is not over.
    pub drilling: bool,
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
        let mut metrics = Self {
            recorder,
            handle,
            histograms: Vec::new(),
            service: service.name.clone(),
            probes,
            repairs: service.repair.is_some(),
            kept: Mutex::default(),
            kept_changed: AtomicBool::new(false),
        };
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

    /// Takes over what earlier runs have counted; only before anything is counted in this one.
    pub fn restore(&self, earlier: &Kept) {
        for metric in Metric::ALL.iter().copied() {
            let family = metric.family();
            if !family.kept || family.source != Source::Recorder {
                continue;
            }
            for words in self.series(metric) {
                let Some(value) = earlier.get(metric, &words) else { continue };
                match family.kind {
                    Kind::Counter => self.add(metric, &words, whole(value)),
                    Kind::Gauge | Kind::Histogram => self.set(metric, &words, value),
                }
            }
        }
    }

    /// What is to be kept, but for up and down time.
    pub fn kept(&self) -> Kept {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether something kept has changed since the last call.
    pub fn kept_changed(&self) -> bool {
        self.kept_changed.swap(false, Ordering::Relaxed)
    }

    /// Adds `n` to a counter; `words` are the labels' values without `service`.
    pub fn add(&self, metric: Metric, words: &[&'static str], n: u64) {
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        self.keep(metric, |kept| kept.add(metric, words, n as f64));
        self.recorder.register_counter(&self.key(metric, words), &METADATA).increment(n);
    }

    /// Sets a gauge.
    pub fn set(&self, metric: Metric, words: &[&'static str], value: f64) {
        self.keep(metric, |kept| kept.set(metric, words, value));
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

    /// The time within which these parts of the durations of a histogram were, if there are any.
    pub fn quantiles<const N: usize>(
        &self,
        metric: Metric,
        words: &[&'static str],
        parts: [f64; N],
    ) -> Option<[Duration; N]> {
        let mut histograms = self.histograms.iter();
        let (_, _, histogram) = histograms.find(|(of, w, _)| *of == metric && w == words)?;
        let shown = histogram.shown();
        let quantile = |part| shown.quantile(part).map(seconds);
        quantile(0.0).map(|_| parts.map(|part| quantile(part).unwrap_or_default()))
    }

    /// The page in Prometheus' text format 0.0.4.
    pub fn page(&self, readings: &Readings) -> String {
        let mut page = Page::new(self.handle.render(), &self.service);
        page.supervisor(readings);
        page.service(readings);
        page.sums(&readings.sums);
        page.histograms(&self.histograms);
        if let Some(usage) = &readings.child {
            page.child(usage);
        }
        page.into_text()
    }

    fn keep(&self, metric: Metric, change: impl FnOnce(&mut Kept)) {
        if metric.family().kept {
            change(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner));
            self.kept_changed.store(true, Ordering::Relaxed);
        }
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
            let words = self.words(*label);
            series = series
                .iter()
                .flat_map(|begun| words.iter().map(|word| [begun.as_slice(), &[*word]].concat()))
                .collect();
        }
        series
    }

    /// The words that a label can have for this service.
    fn words(&self, label: Label) -> Vec<&'static str> {
        if label == Label::Probe {
            return self.probes.iter().map(|role| role.label()).collect();
        }
        let mut words = label.words();
        if label == Label::Hook && !self.repairs {
            words.retain(|word| Some(*word) != hook(Program::Repair));
        }
        words
    }

    /// Sets what the configuration and the build fix, and the values that are not 0 at the start.
    fn set_constants(&self, service: &Service) {
        let build = [Label::Version, Label::Os, Label::Arch].map(|label| label.words()[0]);
        self.set(Metric::BuildInfo, &build, 1.0);
        self.set(Metric::LastExitCode, &[], -1.0);
        // What it is made from was read a moment ago.
        self.set(Metric::ConfigFileValid, &[], 1.0);
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

/// A count that was written down as a number with a fraction; nonsense is 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
fn whole(value: f64) -> u64 {
    value as u64
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
