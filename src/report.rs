//! The one place that turns what happened into everything an operator sees: log line, metric,
//! status, and word to the service manager.
//!
//! The log tells the story of each heal in a few sentences, each with the reason word. Levels:
//! ERROR we cannot do our job; WARN somebody may want to know (restart, unhealthy, escalation);
//! INFO changes a person would ask about; DEBUG each probe; TRACE stale news.
//!
//! Lives on the supervision loop and never blocks: log lines go into a queue, the status is swapped
//! in, metrics are atomics. It decides nothing and reads no clock but the wall's, to tell times.

mod announcing;
mod facts;
mod note;
mod remembering;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::clock;
use crate::config::Service;
use crate::incident::chronicle::{Chronicle, Time};
use crate::incident::ledger::{Draft, Ledger};
use crate::incident::outputs::Outputs;
use crate::incident::{Capture, Incident};
use crate::metrics::{LaunchKind, Metric, Metrics};
use crate::notify::Notify;
use crate::output::Tail;
use crate::probe::Answer as ProbeAnswer;
use crate::process::port::Forward;
use crate::process::proc;
use crate::state::{Beginning, Keeper};
use crate::status::{Answer, Drill, Shared, Status, began_at, human, since_1970};
use crate::supervisor::{
    DrillFault, DrillResult, Fact, Moment, Program, Reason, Role, State, Verdict,
};
use crate::tally::{Cause, News};

pub use announcing::Announcing;
pub use note::{Note, Teller};
pub use remembering::Remembering;

/// Tells everything about one service.
pub struct Reporter {
    teller: Teller,
    metrics: Arc<Metrics>,
    shared: Arc<Shared>,
    notify: Notify,
    keeper: Keeper,
    chronicle: Chronicle,
    outputs: Outputs,
    ledger: Ledger,
    /// How long the service was not wanted before this run.
    idle: Duration,
    /// When this run began, and how long the host had been up by then.
    since_boot: (Moment, Duration),
    status: Status,
    /// How long a launch may take to come up.
    startup_timeout: Duration,
    /// A probe that was asked for before a drill broke the service may still pass for so long.
    drill_patience: Duration,
    drill_shows_by: Moment,
    has_readiness: bool,
    /// The probes that cannot tell anything about this launch.
    blind: BTreeSet<&'static str>,
    /// Why the current attempt is made.
    reason: Reason,
    hook_path: Option<PathBuf>,
    hook_began: Option<Moment>,
    child_began: Option<(Moment, LaunchKind)>,
    stop_began: Option<Moment>,
    /// When "starting, …" was last said for this launch.
    said_starting: Option<Moment>,
    said_skipped: bool,
    /// Incidents that somebody is to be told of.
    fresh: Vec<Incident>,
}

impl Reporter {
    /// Speaks for `service`; nothing has happened yet.
    pub fn new(
        service: &Service,
        metrics: Arc<Metrics>,
        shared: Arc<Shared>,
        notify: Notify,
    ) -> Self {
        let objective = service.recovery_objective;
        Self {
            teller: Teller::new(&service.name, Arc::clone(&metrics)),
            status: Status { objective, ..(*shared.status()).clone() },
            metrics,
            shared,
            notify,
            keeper: Keeper::default(),
            chronicle: Chronicle::new(&service.name, random()),
            outputs: Outputs::default(),
            ledger: Ledger::default(),
            idle: Duration::ZERO,
            since_boot: (Moment::ZERO, Duration::ZERO),
            startup_timeout: service.policy.startup_timeout,
            drill_patience: service
                .policy
                .liveness
                .map_or(Duration::ZERO, |probe| probe.period + probe.timeout),
            drill_shows_by: Moment::ZERO,
            has_readiness: service.policy.readiness.is_some(),
            blind: BTreeSet::new(),
            reason: Reason::Start,
            hook_path: service.boot_hook.as_ref().map(|hook| hook.path.clone()),
            hook_began: None,
            child_began: None,
            stop_began: None,
            said_starting: None,
            said_skipped: false,
            fresh: Vec::new(),
        }
    }

    /// Goes on from what earlier runs have left, and has `keeper` write down what is kept, and
    /// `ledger` what happens.
    #[must_use]
    pub fn continuing(self, beginning: &Beginning, keeper: Keeper, ledger: Ledger) -> Self {
        let since_boot = (beginning.at, beginning.since_boot);
        let mut this = Self { keeper, ledger, idle: beginning.idle, since_boot, ..self };
        if let Some(outage) = beginning.tally.outage() {
            let record = this.chronicle.begins_with(time(beginning.at), &outage);
            this.record(record, true);
        }
        this
    }

    /// Something happened.
    pub fn fact(&mut self, now: Moment, fact: &Fact) {
        let news = self.status.tally.fact(now, fact);
        let sums = self.status.tally.sums(now);
        Arc::make_mut(&mut self.status.history).look(now, clock::wall(), &sums);
        if matches!(news, Some(News::Began(_))) {
            // Whoever has seen it counted does not find a healthy service.
            self.publish();
        }
        self.tell(now, fact);
        if let Some(news) = &news {
            self.outage(now, news);
        }
        self.chronicle(now, fact, news.as_ref());
        if matches!(fact, Fact::StopRequested { .. }) {
            self.drill_ended(now, DrillResult::Aborted);
        }
        let began = self.status.tally.outage().map(|outage| began_at(now, &outage));
        self.metrics.set(Metric::OutageStart, &[], began.unwrap_or_default().as_secs_f64());
        self.publish();
        // Of an outage not only its counts are kept, but whether there is one.
        if self.metrics.kept_changed() || news.is_some() {
            self.keeper.remember();
        }
    }

    /// The service is in this state; `next_attempt` is when the next launch is due, if one is.
    pub fn state(&mut self, now: Moment, state: State, next_attempt: Option<Moment>) {
        if state == self.status.state && next_attempt == self.status.next_attempt {
            return;
        }
        self.status.next_attempt = next_attempt;
        if state != self.status.state {
            self.metrics.add(Metric::Transitions, &[state.label()], 1);
            self.status.state = state;
            self.status.since = now;
        }
        self.status.summary = self.summary(now);
        self.notify.state(state, &self.status.summary);
        self.publish();
    }

    /// The budget allows so many restarts as of now.
    pub fn restarts_left(&mut self, left: u32) {
        if self.status.restarts_left == Some(left) {
            return;
        }
        self.status.restarts_left = Some(left);
        self.publish();
        self.metrics.set(Metric::BudgetRemaining, &[], left.into());
    }

    /// Puts a fact into the record of the current outage, if there is one.
    fn chronicle(&mut self, now: Moment, fact: &Fact, news: Option<&News>) {
        if let Fact::PortHeld { pid, .. } = *fact {
            self.chronicle.port_is_held_by(pid, proc::name(pid));
        }
        match news {
            Some(News::Began(_)) => self.outputs.began(),
            Some(News::Ended(_)) | None => self.outputs.fact(fact),
        }
        let record = self.chronicle.fact(time(now), fact, news);
        let begins = matches!(news, Some(News::Began(_)));
        self.record(record, begins);
        if let Some(News::Ended(_)) = news {
            self.outputs.over();
        }
    }

    /// Has a record completed and shown and, once the outage is over, written down.
    fn record(&mut self, record: Option<Incident>, begins: bool) {
        let Some(record) = record else { return };
        if (begins || record.is_over()) && record.is_incident() {
            self.fresh.push(record.clone());
        }
        self.ledger.take(Draft { record, outputs: self.outputs.clone() });
    }

    /// The output of a program that is being launched comes to `output`.
    pub fn output_comes_to(&mut self, program: Program, output: Arc<Tail>) {
        self.outputs.launched(program, output);
    }

    /// A probe answered; what else it had to say is for people.
    pub fn probe_answered(
        &mut self,
        now: Moment,
        role: Role,
        verdict: Verdict,
        took: Duration,
        answer: &ProbeAnswer,
    ) {
        self.chronicle.probe_answered(now, role, verdict, took, answer);
        let word = [role.label()];
        let before = self.status.probes.get(role.label());
        let (mut failures, mut passed) = before.map_or((0, None), |a| (a.failures, a.passed));
        match verdict {
            Verdict::Pass => (failures, passed) = (0, Some(now)),
            Verdict::Fail(_) => failures += 1,
            Verdict::Inconclusive { .. } => {}
        }
        self.metrics.add(Metric::ProbeAttempts, &[role.label(), verdict.label()], 1);
        self.metrics.observe(Metric::ProbeDuration, &word, took);
        self.metrics.set(Metric::ProbeFailures, &word, failures.into());
        if !matches!(verdict, Verdict::Inconclusive { .. }) {
            self.metrics.set(Metric::ProbeSuccess, &word, f64::from(verdict == Verdict::Pass));
            self.set_time(now, Metric::ProbeLastSuccess, &word, passed);
        }
        let detail = match &*answer.detail {
            "" => verdict.to_string(),
            more => format!("{verdict}: {more}"),
        };
        tracing::debug!(
            service = self.name(),
            probe = role.label(),
            result = verdict.label(),
            "{role} probe after {}: {detail}",
            human(took)
        );
        if (role, verdict) == (Role::Liveness, Verdict::Pass) {
            self.drill_came_to_nothing(now);
        }
        let answer = Answer { at: now, result: verdict.label(), detail, took, failures, passed };
        self.status.probes.insert(role.label(), answer);
        self.publish();
    }

    /// How long the service has been out by now; zero if it is not.
    pub fn outage_so_far(&self, now: Moment) -> Duration {
        let idle = |cause| if cause == Cause::Boot { self.idle } else { Duration::ZERO };
        let outage = self.status.tally.outage();
        outage.map_or(Duration::ZERO, |outage| outage.until(now) + idle(outage.cause))
    }

    /// The main process of the child runs under this pid.
    pub fn child_runs(&mut self, pid: u32) {
        self.status.pid = Some(pid);
        self.publish();
    }

    /// This one listens on the port for the child, or the child itself does.
    pub fn forwarded_by(&mut self, forward: Option<&Forward>) {
        if self.status.forward.as_ref() == forward {
            return;
        }
        if let Some(Forward { port, name, uid }) = forward {
            tracing::info!(
                service = self.name(),
                "port {port} is forwarded to the child by {name} (user {uid}): it is believed, also \
                 when it is there before the child"
            );
        }
        self.status.forward = forward.cloned();
        self.publish();
        self.keeper.remember();
    }

    /// The loop turns, so late after it was due; until it waits again it is at work.
    pub fn loop_turned(&mut self, now: Moment, lateness: Duration) {
        self.metrics.observe(Metric::LoopLag, &[], lateness);
        self.shared.loop_turned(now, Some(now));
        self.notify.loop_turned(now);
    }

    /// The loop waits; it turns again at `due` at the latest, if anything is due.
    pub fn loop_waits(&self, now: Moment, due: Option<Moment>) {
        self.shared.loop_turned(now, due);
    }

    /// How often the loop must turn at least, for the service manager's sake.
    pub fn watchdog_period(&self) -> Option<Duration> {
        self.notify.period()
    }

    /// The capture command has looked at the child.
    pub fn captured(&mut self, capture: &Capture) {
        self.chronicle.captured(capture);
        let Capture { result, took_seconds, output } = capture;
        let (took, bytes) = (human(Duration::from_secs_f64(*took_seconds)), output.len());
        tracing::info!(
            service = self.name(),
            bytes,
            "the capture command ended with {result} after {took}"
        );
    }

    /// The incidents that have begun, or are over, since this was asked last.
    pub fn fresh_incidents(&mut self) -> Vec<Incident> {
        std::mem::take(&mut self.fresh)
    }

    /// Tells notes from elsewhere.
    pub fn teller(&self) -> Teller {
        self.teller.clone()
    }

    /// An edge has something to tell.
    pub fn note(&mut self, note: &Note) {
        self.chronicle.note(self.shared.now(), note);
        self.teller.note(note);
    }

    /// Whether a drill is not over.
    pub const fn is_drilling(&self) -> bool {
        self.status.drill.is_some()
    }

    /// A drill breaks the service now.
    pub fn drill_began(&mut self, now: Moment, fault: DrillFault) {
        self.status.drill = Some(Drill { fault, began: now });
        self.drill_shows_by = now + self.drill_patience;
        self.status.tally.drill();
        let word = fault.label();
        tracing::warn!(service = self.name(), fault = word, "a drill breaks it now: {word}");
        self.publish();
    }

    fn drill_ended(&mut self, now: Moment, result: DrillResult) {
        let Some(Drill { fault, .. }) = self.status.drill.take() else { return };
        self.status.tally.drill_is_over();
        let (word, success) = (result.label(), result == DrillResult::Success);
        self.metrics.add(Metric::Drills, &[word], 1);
        self.set_time(now, Metric::LastDrill, &[], Some(now));
        self.metrics.set(Metric::LastDrillSuccess, &[], f64::from(success));
        tracing::info!(service = self.name(), result = word, "the drill ({fault}) is over: {word}");
    }

    /// It passes long after a drill has broken it: somebody has mended it, and the next outage is
    /// a real one.
    fn drill_came_to_nothing(&mut self, now: Moment) {
        if self.status.tally.expects_drill() && now > self.drill_shows_by {
            tracing::warn!(service = self.name(), "the drill broke nothing: it still serves");
            self.drill_ended(now, DrillResult::Aborted);
        }
    }

    /// What the tally made of a fact.
    fn outage(&mut self, now: Moment, news: &News) {
        match news {
            News::Began(outage) if !outage.cause.is_incident() => {}
            News::Began(outage) => {
                self.status.counts.incidents += 1;
                self.metrics.add(Metric::Incidents, &[outage.cause.label()], 1);
                self.set_time(now, Metric::LastIncident, &[], Some(outage.began));
            }
            News::Ended(outage) if outage.cause.is_incident() => {
                let took = outage.duration().unwrap_or_default();
                self.status.last_incident = Some(*outage);
                self.metrics.observe(Metric::Recovery, &[], took);
                self.metrics.set(Metric::LastRecovery, &[], took.as_secs_f64());
                self.set_time(now, Metric::LastRecoveryTime, &[], outage.ended);
                tracing::info!(
                    service = self.name(),
                    cause = outage.cause.label(),
                    reason = self.reason.label(),
                    "recovered: down for {}, noticed after {}; healthy for {} now",
                    human(took),
                    human(outage.detection()),
                    human(now.since(outage.ended.unwrap_or(now))),
                );
                if outage.cause == Cause::PowerCycle {
                    self.power_is_back(outage.ended.unwrap_or(now));
                }
            }
            News::Ended(outage) if outage.cause == Cause::Drill => {
                let took = outage.duration().unwrap_or_default();
                let in_time = self.status.objective.is_none_or(|objective| took <= objective);
                let result = if in_time { DrillResult::Success } else { DrillResult::Failure };
                self.drill_ended(now, result);
            }
            News::Ended(_) => {}
        }
    }

    /// What came after the power did, and not the time without it, is ours to shorten.
    fn power_is_back(&self, healthy: Moment) {
        let (at, since_boot) = self.since_boot;
        let took = since_boot + healthy.since(at);
        self.metrics.set(Metric::PowerOnToHealthy, &[], took.as_secs_f64());
        let name = self.name();
        tracing::info!(
            service = name,
            "power on to healthy: {} after the host booted",
            human(took)
        );
    }

    fn publish(&self) {
        self.shared.publish(self.status.clone());
    }

    /// The state in words, with what comes next.
    fn summary(&self, now: Moment) -> String {
        let attempt = self.status.attempt;
        let next = |pace: &str| match self.status.next_attempt {
            Some(due) => format!("waiting {} {pace}", human(due.since(now))),
            None => format!("waiting {pace}"),
        };
        match self.status.state {
            State::BootHook => "running the boot hook".to_owned(),
            State::Starting => format!("starting (attempt {})", attempt.max(1)),
            State::Healthy => "healthy".to_owned(),
            State::Degraded => "unhealthy, being taken down".to_owned(),
            State::Stopping => "being taken down".to_owned(),
            State::Backoff => next("for the next attempt"),
            State::SlowRetry => next("for the next attempt, at the slow pace"),
            State::Maintenance => "held for maintenance".to_owned(),
            State::Stopped => "stopped".to_owned(),
        }
    }

    /// Sets a gauge to the wall clock's time at `moment`; 0 for never.
    fn set_time(
        &self,
        now: Moment,
        metric: Metric,
        words: &[&'static str],
        moment: Option<Moment>,
    ) {
        let seconds = moment.map_or(0.0, |moment| since_1970(now, moment).as_secs_f64());
        self.metrics.set(metric, words, seconds);
    }

    fn name(&self) -> &str {
        &self.status.service
    }
}

/// With what the wall clock shows.
fn time(now: Moment) -> Time {
    Time { now, wall: clock::wall() }
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness records are named by their time alone.
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK).ok();
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
pub(crate) mod tests;
