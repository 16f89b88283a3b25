//! A model of the world around the core, and the promises that hold whatever that world does.
//!
//! The explorer and the simulation both play this world. Every event that it makes and every order
//! that the core gives passes through [`World::step`], which says in words which promise is broken.

use std::time::Duration;

use super::reference::{Series, Tally, longest_span, may_end_with, tolerance};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Whoever survives SIGKILL for so long must be told of.
const UNKILLABLE_AFTER: Duration = Duration::from_secs(30);

/// More actions than this at once are a mistake.
const MOST_ACTIONS: usize = 8;

/// Where the world stands, as far as the core's orders and answers go.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, compared one by one")]
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct World {
    /// A sweep was ordered and not answered.
    pub(super) sweeping: bool,
    /// A sweep left something alive.
    unswept: bool,
    /// A spawn was ordered and not answered.
    pub(super) spawning: Option<(Program, Incarnation)>,
    /// The main process that is alive.
    pub(super) main: Option<(Program, Incarnation)>,
    /// A signal to the tree was sent: one `Gone` is owed for this launch.
    pub(super) gone_owed: Option<Incarnation>,
    /// A look at this launch was ordered and not answered; it is given up then.
    pub(super) capturing: Option<(Incarnation, Moment)>,
    /// The port was asked about and not answered.
    pub(super) port_asked: Option<Incarnation>,
    /// Probes that were ordered, and neither answered nor given up.
    pub(super) probes: Vec<Asked>,
    /// How often a stop was requested.
    pub(super) stops: u8,
    /// How often we came late, or the machine slept, in all.
    pub(super) sleeps: u8,
    /// How it ended.
    pub(super) finished: Option<Outcome>,
    /// Something of an earlier program may be alive: only a `Gone` clears it.
    dirty: bool,
    /// The hook of this attempt has ended well, or is missing.
    hook_done: bool,
    /// A child has run in this run of ours.
    child_ran: bool,
    /// Something was lacking when the last launch failed.
    scarce: bool,
    /// The reason to take down what runs was told.
    stop_told: bool,
    /// SIGKILL is allowed from then on (a grace runs), or at once.
    kill_from: Option<Moment>,
    /// When the first SIGKILL went to a tree that is still there.
    killed_at: Option<Moment>,
    /// It was told that this tree does not die.
    called_unkillable: bool,
    /// No launch may be made before: a backoff was announced.
    not_before: Option<Moment>,
    /// The hook may not be called overdue, the child not unable to come up, before.
    patience_until: Option<Moment>,
    /// What must end by itself was given more time once, because we slept.
    spared: bool,
    /// A stop that was requested must have ended by then.
    stop_by: Option<Moment>,
    /// When the present health began.
    healthy_since: Option<Moment>,
    /// The child has been healthy in this launch.
    served: bool,
    /// A repair was made since the last stable run.
    repaired: bool,
    tally: Tally,
    series: Series,
}

/// A probe in flight.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Asked {
    pub(super) id: Incarnation,
    pub(super) role: Role,
    pub(super) probe: u32,
    /// When it was ordered.
    since: Moment,
    /// When it must be given up.
    lost_at: Moment,
}

impl World {
    pub(super) fn new() -> Self {
        Self { series: Series::new(), ..Self::default() }
    }

    /// Delivers `event` to `core` at `now`, obeys its orders, and checks every promise.
    pub(super) fn step(
        &mut self,
        core: &mut Supervisor,
        now: Moment,
        event: Event,
    ) -> Result<Vec<Action>, String> {
        self.note(core, now, event);
        let actions = core.on(now, event);
        ensure(actions.len() <= MOST_ACTIONS, "too many actions at once")?;
        for action in &actions {
            self.obey(core, now, action)?;
        }
        self.check_after(core, now, event, &actions)?;
        Ok(actions)
    }

    /// What the event itself changes in the world.
    fn note(&mut self, core: &Supervisor, now: Moment, event: Event) {
        let late = core.deadline().map_or(Duration::ZERO, |due| now.since(due));
        if late > tolerance(core) {
            self.note_sleep(now, late);
        }
        match event {
            Event::Swept { .. } => (self.sweeping, self.unswept) = (false, false),
            Event::SweepFailed => (self.sweeping, self.unswept) = (false, true),
            Event::Spawned(id) => self.note_spawned(core, now, id),
            Event::HookMissing(_) => {
                self.spawning = None;
                self.hook_done = true;
            }
            Event::SpawnFailed { errno, .. } => {
                self.spawning = None;
                self.scarce = [11, 12, 23, 24, 28].contains(&errno.0);
                self.kill_from = Some(now);
            }
            Event::Exited { exit, .. } => self.note_exit(core, now, exit),
            Event::Gone(_) => {
                self.gone_owed = None;
                (self.killed_at, self.called_unkillable) = (None, false);
                self.dirty = false;
                self.hook_done = false;
            }
            Event::Probed { id, role, probe, verdict } => {
                let answered =
                    |asked: &Asked| (asked.id, asked.role, asked.probe) == (id, role, probe);
                if let Some(known) = self.probes.iter().position(answered) {
                    let asked = self.probes.swap_remove(known);
                    self.note_verdict(core, now, asked, verdict);
                }
            }
            Event::Captured(_) => self.capturing = None,
            Event::PortChecked { .. } => self.port_asked = None,
            Event::StopRequested => {
                let again = self.stops > 0;
                let grace = if again { Duration::ZERO } else { core.policy.stop_timeout };
                let by = now + grace + SECOND;
                self.stop_by = Some(self.stop_by.map_or(by, |before| before.min(by)));
                self.stops = self.stops.saturating_add(1);
                if again {
                    self.kill_from = Some(now);
                }
            }
            Event::Suspended => self.note_sleep(now, Duration::ZERO),
            Event::Tick => self.note_lost(core, now),
            Event::Start | Event::SignalReceived(_) => {}
        }
    }

    /// We came late, or the machine slept: nobody may suffer for it.
    fn note_sleep(&mut self, now: Moment, late: Duration) {
        self.sleeps = self.sleeps.saturating_add(1);
        self.stop_by = self.stop_by.map(|by| by + late);
        if matches!(self.main, Some((Program::Child, _))) {
            self.tally.slept(now, late);
        }
        if !self.spared {
            self.patience_until = self.patience_until.map(|until| until + late);
            // Nobody can be late for ever for a hook to run on for ever: once is enough.
            self.spared = late > Duration::ZERO && self.boots();
        }
        for asked in &mut self.probes {
            asked.since = asked.since + late;
            if asked.lost_at < now {
                asked.lost_at = now + SECOND;
            }
        }
    }

    fn boots(&self) -> bool {
        matches!(self.main, Some((Program::BootHook | Program::Repair, _)))
    }

    fn note_spawned(&mut self, core: &Supervisor, now: Moment, id: Incarnation) {
        self.main = self.spawning.take();
        assert_eq!(self.main.map(|(_, id)| id), Some(id), "the world answers what was not ordered");
        self.dirty = true;
        (self.stop_told, self.spared) = (false, false);
        self.kill_from = (self.stops > 1).then_some(now);
        let patience = match self.main {
            Some((Program::BootHook, _)) => core.policy.hook.map(|hook| hook.timeout),
            Some((Program::Repair, _)) => core.policy.repair,
            Some((Program::Child, _)) | None => Some(core.policy.startup_timeout),
        };
        self.patience_until = patience.map(|patience| now + patience);
        if matches!(self.main, Some((Program::Child, _))) {
            self.child_ran = true;
            self.tally = Tally::default();
        }
    }

    fn note_exit(&mut self, core: &Supervisor, now: Moment, exit: Exit) {
        let ended = self.main.take();
        self.probes.clear();
        self.capturing = None;
        self.kill_from = match ended {
            Some((Program::BootHook, _)) if exit.is_success() && self.kill_from.is_none() => {
                self.hook_done = true;
                None
            }
            Some((Program::BootHook | Program::Repair, _)) if self.kill_from.is_none() => Some(now),
            _ => {
                let rest = now + SECOND.min(core.policy.unhealthy_stop_timeout);
                Some(self.kill_from.map_or(rest, |from| from.min(rest)))
            }
        };
    }

    fn note_verdict(&mut self, core: &Supervisor, now: Moment, asked: Asked, verdict: Verdict) {
        if asked.role == Role::Readiness {
            return;
        }
        let conclusive = self.tally.add(now, asked.role, verdict, core.policy.max_doubt);
        if asked.role == Role::Startup && !conclusive {
            let stood_still = now.since(asked.since);
            self.patience_until = self.patience_until.map(|until| until + stood_still);
        }
    }

    fn note_lost(&mut self, core: &Supervisor, now: Moment) {
        let lost: Vec<_> = self.probes.extract_if(.., |asked| asked.lost_at <= now).collect();
        for asked in lost {
            self.note_verdict(core, now, asked, Verdict::unknown(Why::Lost));
        }
    }

    fn obey(&mut self, core: &Supervisor, now: Moment, action: &Action) -> Result<(), String> {
        ensure(self.finished.is_none(), "an order after the end")?;
        match *action {
            Action::Sweep => {
                ensure(self.launched_nothing(), "a sweep while something of ours may run")?;
                self.sweeping = true;
            }
            Action::Spawn { program, id, .. } => self.obey_spawn(core, now, program, id)?,
            Action::Signal { id, to, signal } => self.obey_signal(core, now, id, to, signal)?,
            Action::Probe { id, role, probe } => self.obey_probe(core, now, id, role, probe)?,
            Action::Capture(id) => self.obey_capture(core, now, id)?,
            Action::CheckPort(id) => {
                ensure(!self.served, "the port is suspected although the child served")?;
                self.port_asked = Some(id);
            }
            Action::Report(fact) => self.hear(core, now, fact)?,
            Action::Finish(outcome) => self.obey_finish(core, now, outcome)?,
        }
        Ok(())
    }

    fn launched_nothing(&self) -> bool {
        self.main.is_none() && self.spawning.is_none() && !self.dirty
    }

    fn obey_spawn(
        &mut self,
        core: &Supervisor,
        now: Moment,
        program: Program,
        id: Incarnation,
    ) -> Result<(), String> {
        ensure(self.stops == 0, "a launch after a stop request")?;
        ensure(!self.sweeping && !self.unswept, "a launch before the left-overs are gone")?;
        ensure(self.main.is_none() && self.spawning.is_none(), "two live programs at once")?;
        ensure(self.gone_owed.is_none(), "a launch before the old tree is gone")?;
        ensure(self.not_before.is_none_or(|from| from <= now), "a launch before its backoff")?;
        if program == Program::Child {
            let hook_done = self.hook_done || core.policy.hook.is_none();
            ensure(hook_done, "a child without this attempt's boot hook")?;
            ensure(!self.dirty || self.hook_done, "a launch beside what the last one left")?;
        } else {
            ensure(!self.dirty, "a hook beside what the last launch left")?;
        }
        if program == Program::Repair {
            ensure(!self.repaired, "a second repair before a stable run")?;
            self.repaired = true;
        }
        (self.spawning, self.not_before, self.served) = (Some((program, id)), None, false);
        Ok(())
    }

    fn obey_signal(
        &mut self,
        core: &Supervisor,
        now: Moment,
        id: Incarnation,
        to: Target,
        signal: Signal,
    ) -> Result<(), String> {
        if to == Target::Main {
            ensure(self.main.map(|(_, main)| main) == Some(id), "a signal to what was reaped")?;
        } else {
            ensure(self.dirty || self.kill_from.is_some(), "a signal to a tree that never was")?;
            self.gone_owed = Some(id);
        }
        match signal {
            Signal::Stop | Signal::Term if to == Target::Main => {
                ensure(self.stop_told, "asked to end, and nobody was told why")?;
                ensure(self.kill_from.is_none(), "asked to end twice")?;
                let looked_at = self.capturing.is_some_and(|(_, until)| until > now);
                ensure(!looked_at || self.stops > 0, "asked to end while it is looked at")?;
                self.capturing = None;
                let policy = &core.policy;
                let healing = self.stops == 0;
                let grace =
                    if healing { policy.unhealthy_stop_timeout } else { policy.stop_timeout };
                self.kill_from = Some(now + grace);
                self.probes.clear();
            }
            Signal::Kill => {
                let from = self.kill_from.ok_or("killed without having been asked to end")?;
                ensure(from <= now, "killed before the grace was over")?;
                self.killed_at.get_or_insert(now);
                self.probes.clear();
            }
            Signal::Stop | Signal::Term => {}
            Signal::Quit | Signal::Usr1 | Signal::Usr2 => {
                let child = matches!(self.main, Some((Program::Child, _)));
                ensure(child && !self.stop_told, "a signal passed on to who would not want it")?;
            }
        }
        Ok(())
    }

    fn obey_capture(
        &mut self,
        core: &Supervisor,
        now: Moment,
        id: Incarnation,
    ) -> Result<(), String> {
        let timeout = core.policy.capture.ok_or("a capture that the policy does not know")?;
        ensure(self.main == Some((Program::Child, id)), "a look at what does not run")?;
        ensure(self.stops == 0, "a look while an operator waits")?;
        ensure(self.stop_told && self.kill_from.is_none(), "a look at the wrong time")?;
        self.capturing = Some((id, now + timeout + SECOND));
        self.probes.clear();
        Ok(())
    }

    fn obey_probe(
        &mut self,
        core: &Supervisor,
        now: Moment,
        id: Incarnation,
        role: Role,
        probe: u32,
    ) -> Result<(), String> {
        ensure(self.main == Some((Program::Child, id)), "a probe of what does not run")?;
        ensure(!self.stop_told, "a probe of what is being taken down")?;
        let in_flight = self.probes.iter().any(|asked| asked.role == role);
        ensure(!in_flight, "a second probe while one is in flight")?;
        let policy = match role {
            Role::Startup => core.policy.startup,
            Role::Liveness => core.policy.liveness,
            Role::Readiness => core.policy.readiness,
        };
        let timeout = policy.ok_or("a probe that the policy does not know")?.timeout;
        self.probes.push(Asked { id, role, probe, since: now, lost_at: now + timeout + SECOND });
        Ok(())
    }

    fn obey_finish(
        &mut self,
        core: &Supervisor,
        now: Moment,
        outcome: Outcome,
    ) -> Result<(), String> {
        let left_over = self.sweeping || self.unswept;
        let left = left_over || self.main.is_some() || self.gone_owed.is_some() || self.dirty;
        let (policy, wanted) = (&core.policy, self.stops == 0);
        let justified = match outcome {
            Outcome::Asked { left: admitted, .. } => {
                ensure(!left || admitted, "the end, with processes left and not admitted")?;
                !wanted
            }
            Outcome::ChildEnded(exit) => wanted && may_end_with(policy, exit),
            Outcome::BudgetSpent => {
                let spent = policy.budget.is_some_and(|b| b.exit && self.series.is_spent(now, b));
                wanted && spent
            }
            Outcome::BootHookFailed => {
                let strict = policy.hook.is_some_and(|hook| hook.exit_on_failure);
                wanted && strict && !self.child_ran
            }
        };
        ensure(!left || !wanted, "the end, with processes left")?;
        // Timers may be late by what is tolerated.
        let in_time = self.stop_by.is_none_or(|by| now <= by + SECOND / 2);
        ensure(in_time, "a stop that took too long")?;
        ensure(justified, "an end that neither an operator nor the policy wanted")?;
        (self.finished, self.killed_at) = (Some(outcome), None);
        Ok(())
    }

    /// The promises about what is told.
    #[expect(clippy::wildcard_enum_match_arm, reason = "most facts promise nothing")]
    fn hear(&mut self, core: &Supervisor, now: Moment, fact: Fact) -> Result<(), String> {
        let policy = &core.policy;
        match fact {
            Fact::HookTimedOut { .. } => self.kill_from = Some(now),
            Fact::Healthy { .. } => (self.healthy_since, self.served) = (Some(now), true),
            Fact::Settled => {
                let since = self.healthy_since.ok_or("settled without being healthy")?;
                ensure(now.since(since) >= policy.settle, "settled before `settle`")?;
            }
            Fact::Stable => {
                let since = self.healthy_since.ok_or("stable without being healthy")?;
                ensure(now.since(since) >= policy.stable_after, "stable too early")?;
                self.series.begin_afresh();
                self.repaired = false;
            }
            Fact::Unhealthy { .. } => {
                let threshold = policy.liveness.map_or(u32::MAX, |probe| probe.failure_threshold);
                ensure(self.tally.failures >= threshold, "healing below the failure threshold")?;
            }
            Fact::Unkillable { .. } => {
                ensure(self.survives_for_long(now), "called unkillable too soon")?;
                ensure(!self.called_unkillable, "called unkillable twice")?;
                self.called_unkillable = true;
            }
            Fact::Exited { .. } => (self.healthy_since, self.stop_told) = (None, true),
            Fact::StopStarted { cause, .. } => {
                ensure(self.is_a_reason(now, cause), "taken down without reason")?;
                (self.healthy_since, self.stop_told) = (None, true);
            }
            Fact::FirstLaunchDelayed { delay } => {
                ensure(!self.child_ran, "a second first launch")?;
                self.not_before = Some(now + delay);
            }
            Fact::RestartScheduled { delay, slow, .. } => {
                self.not_before = Some(now + delay);
                if slow == Some(Slow::PortHeld) {
                    return ensure(delay == policy.slow_retry, "the slow pace is `slow_retry`");
                }
                let scarce = std::mem::take(&mut self.scarce);
                let most = if scarce { SECOND * 5 } else { Duration::MAX };
                self.series.add(policy, now, delay, slow, most)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn survives_for_long(&self, now: Moment) -> bool {
        self.killed_at.is_some_and(|killed_at| killed_at + UNKILLABLE_AFTER <= now)
    }

    fn is_a_reason(&self, now: Moment, cause: StopCause) -> bool {
        let patience_is_over = self.patience_until.is_some_and(|until| until <= now);
        match cause {
            StopCause::Asked => self.stops > 0,
            // `Fact::Unhealthy` comes with it.
            StopCause::Unhealthy(_) => self.healthy_since.is_some(),
            StopCause::NeverReady { .. } => self.healthy_since.is_none() && patience_is_over,
            StopCause::HookTimedOut => patience_is_over,
            StopCause::HookFailed
            | StopCause::SpawnFailed
            | StopCause::Exited(_)
            | StopCause::Repaired => self.main.is_none(),
        }
    }

    /// The promises about where an event leaves us.
    fn check_after(
        &self,
        core: &Supervisor,
        now: Moment,
        event: Event,
        actions: &[Action],
    ) -> Result<(), String> {
        let finished = self.finished.is_some();
        ensure(finished == (core.phase == Phase::Finished), "finished, or not?")?;
        if finished {
            return ensure(core.deadline().is_none(), "a deadline after the end");
        }
        match core.deadline() {
            None => ensure(
                self.spawning.is_some()
                    || core.phase == Phase::Idle
                    || waits_for_the_exit_only(core),
                "there is no reason left to wake up",
            )?,
            Some(due) => {
                let far = due.since(now) > longest_span(core);
                ensure(!far, "the next wake-up is more than a policy's span away")?;
                ensure(event != Event::Tick || due > now, "a tick left something due")?;
            }
        }
        if let Phase::Healthy { .. } = core.phase {
            let threshold = core.policy.liveness.map_or(u32::MAX, |probe| probe.failure_threshold);
            ensure(self.tally.failures < threshold, "failures without healing")?;
        }
        let told = self.called_unkillable || !self.survives_for_long(now);
        ensure(told || event != Event::Tick, "nobody is told of a tree that does not die")?;
        if let Phase::Stopping(_) = core.phase {
            ensure(self.main.is_some() || self.gone_owed.is_some(), "nobody is being taken down")?;
        }
        let quiet = matches!(event, Event::SignalReceived(_) | Event::Suspended);
        let acted = actions.iter().any(|action| matches!(action, Action::Spawn { .. }));
        ensure(!quiet || !acted, "a launch out of nothing")
    }

    /// Everything that the world may do next, apart from letting time pass.
    pub(super) fn choices(&self, core: &Supervisor) -> Vec<Event> {
        let mut choices = Vec::new();
        if self.finished.is_some() {
            return choices;
        }
        if self.sweeping {
            choices.push(Event::Swept { port: PortHolder::NoStranger });
            choices.push(Event::Swept { port: PortHolder::Stranger { pid: 7 } });
            choices.push(Event::SweepFailed);
        }
        if let Some((program, id)) = self.spawning {
            choices.push(Event::Spawned(id));
            choices.push(Event::SpawnFailed { id, errno: Errno(2) });
            if program == Program::BootHook {
                choices.push(Event::HookMissing(id));
            }
        }
        if let Some((program, id)) = self.main {
            let exits: &[Exit] = match program {
                Program::Child => &[Exit::Code(0), Exit::Code(78), Exit::Signal(9)],
                Program::BootHook | Program::Repair => &[Exit::Code(0), Exit::Code(1)],
            };
            choices.extend(exits.iter().map(|&exit| Event::Exited { id, exit }));
        } else if let Some(id) = self.gone_owed {
            choices.push(Event::Gone(id));
        }
        for &Asked { id, role, probe, .. } in &self.probes {
            choices.extend(VERDICTS.map(|verdict| Event::Probed { id, role, probe, verdict }));
        }
        if let Some((id, _)) = self.capturing {
            choices.push(Event::Captured(id));
        }
        if let Some(id) = self.port_asked {
            choices.push(Event::PortChecked { id, holder: PortHolder::NoStranger });
            choices.push(Event::PortChecked { id, holder: PortHolder::Stranger { pid: 7 } });
        }
        if self.stops < 2 && core.phase != Phase::Idle {
            choices.push(Event::StopRequested);
        }
        choices
    }

    /// The same world, with all moments counted from `now`; what has passed is zero.
    pub(super) fn rebased(&self, core: &Supervisor, now: Moment) -> Self {
        let rebase = |moment: Moment| Moment::new(moment.since(now));
        let ago = |moment: Moment| Moment::new(now.since(moment));
        let renumber = |id: Incarnation| Incarnation(core.launched.0.wrapping_sub(id.0));
        let mut world = self.clone();
        world.kill_from = self.kill_from.map(rebase);
        let killed_ago = |at| ago(at).min(Moment::new(UNKILLABLE_AFTER));
        world.killed_at = self.killed_at.map(killed_ago);
        world.not_before = self.not_before.map(rebase);
        world.patience_until = self.patience_until.map(rebase);
        world.stop_by = self.stop_by.map(rebase);
        // How long it has been healthy matters up to the longest span that is compared with it.
        let longest = core.policy.settle.max(core.policy.stable_after);
        world.healthy_since = self.healthy_since.map(|since| ago(since).min(Moment::new(longest)));
        world.series = self.series.rebased(&core.policy, now);
        let most = core.policy.liveness.map_or(0, |probe| probe.failure_threshold);
        world.tally = self.tally.rebased(most, rebase);
        world.spawning = self.spawning.map(|(program, id)| (program, renumber(id)));
        world.main = self.main.map(|(program, id)| (program, renumber(id)));
        world.gone_owed = self.gone_owed.map(renumber);
        world.capturing = self.capturing.map(|(id, until)| (renumber(id), rebase(until)));
        world.port_asked = self.port_asked.map(renumber);
        for asked in &mut world.probes {
            asked.id = renumber(asked.id);
            asked.probe = core.probed.wrapping_sub(asked.probe);
            (asked.since, asked.lost_at) = (ago(asked.since), rebase(asked.lost_at));
        }
        world.probes.sort_unstable();
        world
    }
}

/// One verdict of each sort.
pub(super) const VERDICTS: [Verdict; 5] = [
    Verdict::Pass,
    Verdict::Fail(FailKind::Refused),
    Verdict::Fail(FailKind::BadStatus(404)),
    Verdict::Inconclusive { why: Why::Dns, instead_of: None },
    Verdict::Inconclusive { why: Why::Starved, instead_of: Some(FailKind::Timeout) },
];

/// Without any probe a stable child gives no other reason to wake up.
fn waits_for_the_exit_only(core: &Supervisor) -> bool {
    let probed = core.policy.liveness.is_some() || core.policy.readiness.is_some();
    !probed && matches!(core.phase, Phase::Healthy { stable_at: None, .. })
}

pub(super) fn ensure(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}
