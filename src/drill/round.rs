//! One scenario from its start to its verdict.

use std::time::Duration;

use super::proxy::Mode;
use super::sandbox::{Kind, Sandbox, signal};
use super::scenario::{Expect, Scenario, Step};
use super::stage::Stage;
use super::timeline::{self, Band, Known, Marks};
use super::watch::{Seen, Watch, within};
use super::{ask, interrupt};
use crate::clock;
use crate::process::kill::Identified;
use crate::process::port;
use crate::process::proc::{self, Stat};
use crate::status::human;
use crate::supervisor::{Dice, Start};

/// Whatever is waited for besides a recovery comes within this.
const PATIENCE: Duration = Duration::from_secs(30);

/// A reported service must not be started again within this, which is less than `slow_retry`.
const QUIET: Duration = Duration::from_secs(2);

/// Beyond its timeout a stop may take so long on a busy machine.
const STOP_MARGIN: Duration = Duration::from_secs(5);

/// One scenario while it is played.
pub(super) struct Round<'s> {
    scenario: &'s Scenario,
    stage: &'s Stage,
    kind: Kind,
    limit: Duration,
    sandbox: Sandbox,
    watch: Watch,
    known: Known,
}

impl<'s> Round<'s> {
    /// Nothing is started yet.
    pub(super) fn new(
        scenario: &'s Scenario,
        stage: &'s Stage,
        kind: Kind,
        limit: Duration,
    ) -> Result<Self, String> {
        let sandbox = Sandbox::new(kind, stage.directory.clone(), stage.arguments.clone())
            .map_err(|error| format!("cannot prepare the sandbox: {error}"))?;
        let watch = Watch::new(sandbox.control_socket());
        Ok(Self { scenario, stage, kind, limit, sandbox, watch, known: Known::default() })
    }

    /// Plays it; what was wrong.
    pub(super) fn play(&mut self, dice: &mut Dice) -> Vec<String> {
        let mut findings = Vec::new();
        let told = match self.scenario.expect {
            Expect::Report(words) => self.be_reported(words),
            Expect::Restart(_) | Expect::ColdStart => self.be_healed(dice, &mut findings),
        };
        findings.extend(told.err());
        if !interrupt::is_wanted() {
            findings.extend(self.end());
        }
        findings
    }

    /// What happened when.
    pub(super) fn timeline(&self) -> (Marks, Vec<Band>) {
        let seen = &self.watch.seen;
        (timeline::marks(seen, self.known), timeline::bands(seen, self.known))
    }

    fn be_healed(&mut self, dice: &mut Dice, findings: &mut Vec<String>) -> Result<(), String> {
        self.start()?;
        let calm = |seen: &Seen| seen.state == "healthy" && seen.outage.is_none();
        let (watch, sandbox) = (&mut self.watch, &self.sandbox);
        let healthy_or_over =
            || watch.look().is_some_and(|seen| calm(&seen)) || sandbox.supervisor().is_none();
        let in_time = within(self.limit.max(PATIENCE), healthy_or_over);
        if !in_time || self.sandbox.supervisor().is_none() {
            return Err("it was not healthy before anything was broken".to_owned());
        }
        let before = self.everything_but_the_supervisor()?;
        let hooks = self.hooks("success");
        for step in self.scenario.steps {
            if step.is_fault() {
                self.known.fault = now();
            }
            self.take(*step, dice)?;
        }
        let recovered = self.await_recovery()?;
        self.known.settled = self
            .watch
            .until(PATIENCE, |_| {}, |seen| calm(seen) && seen.since == recovered.since)
            .map(|_| now());
        if self.known.settled.is_none() {
            findings.push("it recovered, but did not stay healthy".to_owned());
        }
        findings.extend(before.iter().filter(|process| is_alive(**process)).map(|process| {
            format!("pid {} ({}) of before is still alive", process.pid, proc::name(process.pid))
        }));
        findings.extend(self.wrong_start(&recovered));
        if let Expect::Restart(reason) = self.scenario.expect {
            let labels = format!("reason=\"{reason}\"");
            if self.watch.count("rekindle_restarts_total", &labels) == 0 {
                findings.push(format!("no restart is counted for the reason {reason}"));
            }
            if self.stage.has_hook && self.hooks("success") == hooks {
                findings.push("the boot hook has not run".to_owned());
            }
        }
        Ok(())
    }

    /// A new supervisor knows how the one before it ended.
    fn wrong_start(&self, recovered: &Seen) -> Option<String> {
        let cut = self.scenario.steps.iter().any(|step| matches!(step, Step::CutPower));
        let expected = match self.kind {
            _ if self.scenario.expect != Expect::ColdStart => return None,
            Kind::Namespaces if cut => Start::PowerCycle,
            // The machine has not been booted since.
            Kind::Namespaces | Kind::OwnTree => Start::Crash,
        };
        let (expected, found) = (expected.label(), &recovered.start);
        (found != expected).then(|| format!("its start is told as {found}, not as {expected}"))
    }

    /// Waits until it serves again. A proxy is as sick as the gateway that it stands for: with
    /// another gateway it is well.
    fn await_recovery(&mut self) -> Result<Seen, String> {
        let sick = self.watch.look().and_then(|seen| seen.pid);
        let get_well = |seen: &Seen| {
            if seen.pid != sick
                && let Some(proxy) = &self.stage.proxy
            {
                proxy.turn(Mode::Well);
            }
        };
        let fault = self.known.fault;
        let recovered = self.watch.until(self.limit, get_well, |seen| seen.is_healthy_since(fault));
        recovered.ok_or_else(|| {
            let state = self.watch.look().map_or("without an answer".to_owned(), |seen| seen.state);
            format!("it did not recover within {}, it is {state}", human(self.limit))
        })
    }

    fn be_reported(&mut self, words: &str) -> Result<(), String> {
        self.known.fault = now();
        self.start()?;
        let reported = |seen: &Seen| seen.state == "slow_retry";
        let seen = self.watch.until(self.limit, |_| {}, reported);
        let seen = seen.ok_or("it does not go on at the slow pace")?;
        self.known.reported = Some(seen.since);
        // The log is written by another thread than the one that answers.
        let told =
            || std::fs::read_to_string(self.sandbox.log()).is_ok_and(|log| log.contains(words));
        if !within(QUIET, told) {
            return Err(format!("the log does not say \"{words}\""));
        }
        let again = |later: &Seen| later.since != seen.since;
        if self.watch.until(QUIET, |_| {}, again).is_some() {
            return Err("it is started again at once all the same".to_owned());
        }
        let started = |later: &Seen| later.state == "starting" && again(later);
        let seen = self.watch.until(self.limit, |_| {}, started);
        seen.map(drop).ok_or_else(|| "it is not even started again at the slow pace".to_owned())
    }

    fn start(&mut self) -> Result<(), String> {
        self.sandbox.start().map_err(|error| format!("cannot start the sandbox: {error}"))
    }

    fn take(&mut self, step: Step, dice: &mut Dice) -> Result<(), String> {
        match step {
            Step::Ask(query) => {
                let gateway = self.stage.gateway.ok_or("there is no gateway to ask")?;
                ask::tcp(gateway, &format!("/fault?{query}"))
                    .map(drop)
                    .map_err(|error| format!("cannot ask the gateway to be sick: {error}"))
            }
            Step::Signal(number) => {
                let pid = self.watch.look().and_then(|seen| seen.pid);
                let main = pid.and_then(|pid| self.sandbox.seen_from_here(pid));
                signal(main.ok_or("there is no gateway to signal")?, number);
                Ok(())
            }
            Step::Sick(mode) => {
                self.stage.proxy.iter().for_each(|proxy| proxy.turn(mode));
                Ok(())
            }
            Step::Dependency { there } => {
                let mode = if there { Mode::WrongBody } else { Mode::Reset };
                self.stage.dependency.iter().for_each(|dependency| dependency.turn(mode));
                Ok(())
            }
            Step::Plant(name, text) => self.plant(name, text),
            Step::StaleLock => match self.kind {
                Kind::Namespaces => self.plant("lock", "1"),
                Kind::OwnTree => self.plant("lock", &std::process::id().to_string()),
            },
            Step::KillSupervisor => {
                self.sandbox.kill_supervisor()?;
                self.come_back()
            }
            Step::CutPower => {
                self.sandbox.cut_power()?;
                self.sandbox
                    .boot_anew()
                    .map_err(|error| format!("cannot make a new boot id: {error}"))?;
                self.come_back()
            }
            Step::AwaitState(state) => {
                let fault = self.known.fault;
                let there = |seen: &Seen| seen.state == state && seen.since >= fault;
                let seen = self.watch.until(self.limit, |_| {}, there);
                seen.map(drop).ok_or_else(|| format!("it was never {state}"))
            }
            Step::AwaitHookFailures(count) => {
                let failed = within(self.limit, || {
                    self.watch.look();
                    self.hooks("failure") >= count
                });
                failed.then_some(()).ok_or_else(|| format!("its hook did not fail {count} times"))
            }
            Step::Pause(most) => {
                std::thread::sleep(dice.share_of(Duration::from_millis(most.into())));
                Ok(())
            }
        }
    }

    /// Whatever starts the sandbox starts it again.
    fn come_back(&mut self) -> Result<(), String> {
        self.known.ended = Some(now());
        self.start()
    }

    fn plant(&self, name: &str, text: &str) -> Result<(), String> {
        std::fs::write(self.stage.directory.join(name), format!("{text}\n"))
            .map_err(|error| format!("cannot write {name}: {error}"))
    }

    /// Stops it as an operator would, and looks for what is left.
    fn end(&mut self) -> Vec<String> {
        if self.sandbox.supervisor().is_none() {
            return vec!["its supervisor has ended by itself".to_owned()];
        }
        self.sandbox.ask_to_stop();
        let limit = self.stage.stop_timeout + STOP_MARGIN;
        let mut findings = match self.sandbox.exit_within(limit) {
            Some(0 | 137) => Vec::new(),
            Some(code) => vec![format!("the supervisor ended with code {code}")],
            None => vec![format!("it did not stop within {}", human(limit))],
        };
        match self.sandbox.members() {
            Ok(left) => {
                let told = |Stat { pid, .. }: &Stat| {
                    format!("pid {pid} ({}) is left behind", proc::name(*pid))
                };
                findings.extend(left.iter().map(told));
            }
            Err(error) => findings.push(format!("cannot look for what is left: {error}")),
        }
        if let Some(address) = self.stage.gateway
            && let Some(holder) = port::listener_of(address)
        {
            findings.push(format!("port {} is still held by {holder}", address.port()));
        }
        findings
    }

    fn everything_but_the_supervisor(&self) -> Result<Vec<Identified>, String> {
        let supervisor = self.sandbox.supervisor();
        let members = self.sandbox.members();
        let members = members.map_err(|error| format!("cannot look at the sandbox: {error}"))?;
        Ok(members.iter().map(Identified::from).filter(|it| Some(*it) != supervisor).collect())
    }

    fn hooks(&self, result: &str) -> u64 {
        self.watch.count("rekindle_hook_runs_total", &format!("result=\"{result}\""))
    }
}

fn is_alive(process: Identified) -> bool {
    proc::stat(process.pid)
        .is_some_and(|stat| stat.is_alive() && stat.start_time == process.start_time)
}

/// The wall clock, in the milliseconds in which the supervisor tells its moments.
pub(super) fn now() -> Duration {
    Duration::from_millis(u64::try_from(clock::wall().as_millis()).unwrap_or(u64::MAX))
}
