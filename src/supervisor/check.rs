//! A model of the world around the core, and the promises that hold whatever that world does.
//!
//! The explorer and the simulation both play this world; every order of the core passes through
//! [`World::obey`], which says in words which promise it breaks.

use std::time::Duration;

use super::*;

/// Where the world stands, as far as the core's orders and answers go.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct World {
    /// A sweep was ordered and not answered.
    pub(super) sweeping: bool,
    /// A spawn was ordered and not answered.
    pub(super) spawning: Option<(Program, Incarnation)>,
    /// The main process that is alive.
    pub(super) main: Option<(Program, Incarnation)>,
    /// A signal to the tree was sent: one `Gone` is owed for this launch.
    pub(super) gone_owed: Option<Incarnation>,
    /// Something of an earlier program may be alive: only a `Gone` clears it.
    dirty: bool,
    /// The hook of this attempt has ended well, or is missing.
    hook_done: bool,
    /// The port was asked about and not answered.
    pub(super) port_asked: Option<Incarnation>,
    /// Probes that were ordered and not answered.
    pub(super) probes: Vec<(Incarnation, Role, u32)>,
    /// How often a stop was requested.
    pub(super) stops: u8,
    /// How it ended.
    pub(super) finished: Option<Outcome>,
    /// SIGKILL is allowed from then on (a grace runs), or at once.
    kill_from: Option<Moment>,
    /// Liveness failures since the last pass, doubted ones included.
    failures: u32,
    /// Liveness failures since the last pass that nothing gives reason to doubt.
    sure_failures: u32,
    /// Whether we came late in this launch.
    doubtful: bool,
    /// How often we came late, or the machine slept, in all.
    pub(super) sleeps: u8,
    /// When the present health began.
    healthy_since: Option<Moment>,
    /// Which delay of the series is due next; as `Pace` counts, by a second hand.
    next_delay: usize,
    /// When restarts within the budget's window were made.
    restarts: Vec<Moment>,
}

/// More actions than this at once are a mistake.
const MOST_ACTIONS: usize = 8;

impl World {
    pub(super) fn new() -> Self {
        Self { next_delay: 1, ..Self::default() }
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
        if actions.len() > MOST_ACTIONS {
            return Err(format!("{} actions at once", actions.len()));
        }
        for action in &actions {
            self.obey(core, now, event, action)?;
        }
        self.check_after(core, now, event, &actions)?;
        Ok(actions)
    }

    /// What the event itself changes in the world.
    fn note(&mut self, core: &Supervisor, now: Moment, event: Event) {
        let slack = Duration::from_millis(200);
        let late = core.deadline().is_some_and(|due| now.since(due) > slack);
        self.doubtful |= late;
        self.sleeps += u8::from(late || event == Event::Suspended);
        match event {
            Event::Swept { .. } => self.sweeping = false,
            Event::Spawned(id) => {
                self.main = self.spawning.take();
                self.dirty = true;
                self.kill_from = (self.stops > 1).then_some(now);
                assert_eq!(self.main.map(|(_, id)| id), Some(id), "the explorer is wrong");
                if matches!(self.main, Some((Program::Child, _))) {
                    (self.failures, self.sure_failures, self.doubtful) = (0, 0, false);
                }
            }
            Event::HookMissing(_) => {
                self.spawning = None;
                self.hook_done = true;
            }
            Event::SpawnFailed { .. } => {
                self.spawning = None;
                self.kill_from = Some(now);
            }
            Event::Exited { exit, .. } => self.note_exit(core, now, exit),
            Event::Gone(_) => {
                self.gone_owed = None;
                self.dirty = false;
                self.hook_done = false;
            }
            Event::Probed { id, role, probe, verdict } => {
                self.note_probed(now, (id, role, probe), verdict);
            }
            Event::PortChecked { .. } => self.port_asked = None,
            Event::StopRequested => {
                self.stops = self.stops.saturating_add(1);
                if self.stops > 1 {
                    self.kill_from = Some(now);
                }
            }
            Event::Suspended => self.doubtful = true,
            Event::Start | Event::SignalReceived(_) | Event::Tick => {}
        }
    }

    fn note_exit(&mut self, core: &Supervisor, now: Moment, exit: Exit) {
        let ended = self.main.take();
        self.probes.clear();
        self.kill_from = match ended {
            Some((Program::BootHook, _)) if exit.is_success() && self.kill_from.is_none() => {
                self.hook_done = true;
                None
            }
            Some((Program::BootHook | Program::Repair, _)) if self.kill_from.is_none() => Some(now),
            _ => {
                let grace = Duration::from_secs(1).min(core.policy.unhealthy_stop_timeout);
                let rest = now + grace;
                Some(self.kill_from.map_or(rest, |from| from.min(rest)))
            }
        };
    }

    fn note_probed(&mut self, _now: Moment, asked: (Incarnation, Role, u32), verdict: Verdict) {
        let before = self.probes.len();
        self.probes.retain(|known| *known != asked);
        if self.probes.len() == before || asked.1 != Role::Liveness {
            return;
        }
        match verdict {
            Verdict::Pass => (self.failures, self.sure_failures) = (0, 0),
            Verdict::Fail(_) => {
                self.failures += 1;
                self.sure_failures += u32::from(!self.doubtful);
            }
            Verdict::Inconclusive { instead_of: Some(_), .. } => {
                self.failures += 1;
                self.doubtful = true;
            }
            Verdict::Inconclusive { instead_of: None, .. } => {}
        }
    }

    fn obey(
        &mut self,
        core: &Supervisor,
        now: Moment,
        event: Event,
        action: &Action,
    ) -> Result<(), String> {
        ensure(self.finished.is_none(), "an order after the end")?;
        match *action {
            Action::Sweep => {
                ensure(self.main.is_none(), "a sweep while a program runs")?;
                self.sweeping = true;
            }
            Action::Spawn { program, id, .. } => self.obey_spawn(core, program, id)?,
            Action::Signal { id, to, signal } => self.obey_signal(core, now, id, to, signal)?,
            Action::Probe { id, role, probe } => {
                ensure(self.main == Some((Program::Child, id)), "a probe of what does not run")?;
                ensure(self.gone_owed.is_none(), "a probe of what is being taken down")?;
                self.probes.retain(|(_, known, _)| *known != role);
                self.probes.push((id, role, probe));
            }
            Action::CheckPort(id) => self.port_asked = Some(id),
            Action::Report(fact) => self.hear(core, now, event, fact)?,
            Action::Finish(outcome) => self.obey_finish(outcome)?,
        }
        Ok(())
    }

    fn obey_spawn(
        &mut self,
        core: &Supervisor,
        program: Program,
        id: Incarnation,
    ) -> Result<(), String> {
        ensure(self.stops == 0, "a launch after a stop request")?;
        ensure(!self.sweeping, "a launch before the left-overs are gone")?;
        ensure(self.main.is_none() && self.spawning.is_none(), "two live programs at once")?;
        ensure(self.gone_owed.is_none(), "a launch before the old tree is gone")?;
        if program == Program::Child {
            let hook_done = self.hook_done || core.policy.hook.is_none();
            ensure(hook_done, "a child without this attempt's boot hook")?;
            ensure(!self.dirty || self.hook_done, "a launch beside what the last one left")?;
        } else {
            ensure(!self.dirty, "a hook beside what the last launch left")?;
        }
        self.spawning = Some((program, id));
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
                ensure(self.kill_from.is_none(), "asked to end twice")?;
                let policy = &core.policy;
                let grace = if self.stops == 0 {
                    policy.unhealthy_stop_timeout
                } else {
                    policy.stop_timeout
                };
                self.kill_from = Some(now + grace);
                self.probes.clear();
            }
            Signal::Kill => {
                let from = self.kill_from.ok_or("killed without having been asked to end")?;
                ensure(from <= now, "killed before the grace was over")?;
            }
            Signal::Stop | Signal::Term | Signal::Quit | Signal::Usr1 | Signal::Usr2 => {}
        }
        Ok(())
    }

    fn obey_finish(&mut self, outcome: Outcome) -> Result<(), String> {
        let left = self.main.is_some() || self.gone_owed.is_some() || self.dirty;
        let admitted = matches!(outcome, Outcome::Asked { left: true, .. });
        ensure(!left || admitted, "the end, with processes left and not admitted")?;
        let asked = matches!(outcome, Outcome::Asked { .. });
        ensure(asked == (self.stops > 0), "an end that nobody asked for, or the reverse")?;
        self.finished = Some(outcome);
        Ok(())
    }

    /// The promises about what is told.
    fn hear(
        &mut self,
        core: &Supervisor,
        now: Moment,
        event: Event,
        fact: Fact,
    ) -> Result<(), String> {
        match fact {
            Fact::HookTimedOut { .. } => self.kill_from = Some(now),
            Fact::CameLate { .. } => self.doubtful = true,
            Fact::Healthy { .. } => self.healthy_since = Some(now),
            Fact::Settled => {
                let since = self.healthy_since.ok_or("settled without being healthy")?;
                ensure(now.since(since) >= core.policy.settle, "settled before `settle`")?;
            }
            Fact::Stable => {
                let since = self.healthy_since.ok_or("stable without being healthy")?;
                ensure(now.since(since) >= core.policy.stable_after, "stable too early")?;
                self.next_delay = 0;
            }
            Fact::Unhealthy { .. } => {
                let threshold = core.policy.liveness.map_or(0, |probe| probe.failure_threshold);
                ensure(self.failures >= threshold, "healing below the failure threshold")?;
                let pass = matches!(event, Event::Probed { verdict: Verdict::Pass, .. });
                ensure(!pass, "a passing child is killed")?;
            }
            Fact::NeverReady { .. } => {
                ensure(self.healthy_since.is_none(), "healthy, and yet `never ready`")?;
            }
            Fact::StopStarted { .. } | Fact::Exited { .. } => self.healthy_since = None,
            Fact::RestartScheduled { delay, slow, .. } => {
                self.check_delay(core, now, delay, slow)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn check_delay(
        &mut self,
        core: &Supervisor,
        now: Moment,
        delay: Duration,
        slow: Option<Slow>,
    ) -> Result<(), String> {
        let policy = &core.policy;
        if slow == Some(Slow::PortHeld) {
            return ensure(delay == policy.slow_retry, "the slow pace is `slow_retry`");
        }
        let last = policy.delays.len() - 1;
        let base = policy.delays[self.next_delay.min(last)];
        self.next_delay = (self.next_delay + 1).min(last);
        if let Some(budget) = policy.budget {
            self.restarts.retain(|made| *made + budget.window > now);
            let spent = self.restarts.len() >= budget.max_restarts as usize;
            ensure(!spent || slow.is_some(), "a restart beyond the budget")?;
            if !spent {
                self.restarts.push(now);
            }
        }
        match slow {
            Some(_) => ensure(delay == policy.slow_retry, "the slow pace is `slow_retry`"),
            None => {
                let spread = base * policy.jitter_permille / 1000;
                let fits = delay + spread >= base && delay <= base + spread;
                ensure(fits, "a backoff outside its series")
            }
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
        let answer_due = self.sweeping || self.spawning.is_some();
        match core.deadline() {
            None => ensure(
                answer_due || core.phase == Phase::Idle || waits_for_the_exit_only(core),
                "there is no reason left to wake up",
            )?,
            Some(due) => {
                ensure(
                    due.since(now) <= longest_span(&core.policy),
                    "the next wake-up is too far",
                )?;
                ensure(event != Event::Tick || due > now, "a tick left something due")?;
            }
        }
        if let Phase::Healthy { .. } = core.phase {
            let threshold = core.policy.liveness.map_or(u32::MAX, |probe| probe.failure_threshold);
            ensure(self.sure_failures < threshold, "failures without healing")?;
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
        for &(id, role, probe) in &self.probes {
            choices.extend(VERDICTS.map(|verdict| Event::Probed { id, role, probe, verdict }));
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
        let mut world = self.clone();
        world.kill_from = self.kill_from.map(rebase);
        // How long it has been healthy matters up to the longest span that is compared with it.
        let longest = core.policy.settle.max(core.policy.stable_after);
        world.healthy_since =
            self.healthy_since.map(|since| Moment::new(now.since(since).min(longest)));
        let window = core.policy.budget.map_or(Duration::ZERO, |budget| budget.window);
        world.restarts.retain(|made| *made + window > now);
        world.restarts = world.restarts.iter().map(|made| Moment::new(now.since(*made))).collect();
        let most = core.policy.liveness.map_or(0, |probe| probe.failure_threshold);
        world.failures = world.failures.min(most);
        world.sure_failures = world.sure_failures.min(most);
        let renumber = |id: Incarnation| Incarnation(core.launched.0.wrapping_sub(id.0));
        world.spawning = self.spawning.map(|(program, id)| (program, renumber(id)));
        world.main = self.main.map(|(program, id)| (program, renumber(id)));
        world.gone_owed = self.gone_owed.map(renumber);
        world.port_asked = self.port_asked.map(renumber);
        world.probes.sort_unstable();
        for (id, _, probe) in &mut world.probes {
            *id = renumber(*id);
            *probe = core.probed.wrapping_sub(*probe);
        }
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

/// No wake-up may be further away than the longest span that the policy or the core knows.
fn longest_span(policy: &Policy) -> Duration {
    let probes = [policy.startup, policy.liveness, policy.readiness].into_iter().flatten();
    let probing = probes.map(|probe| probe.period + probe.timeout + Duration::from_secs(1)).max();
    let spans = [
        probing.unwrap_or_default(),
        policy.hook.map_or(Duration::ZERO, |hook| hook.timeout * 2),
        policy.repair.unwrap_or_default() * 2,
        // Without a probe only `settle` or `stable_after` wakes us.
        policy.startup_timeout * u32::from(policy.startup.is_none()),
        policy.settle,
        policy.stable_after,
        policy.stop_timeout,
        policy.slow_retry,
        policy.delays.iter().max().copied().unwrap_or_default() * 2,
        Duration::from_secs(30),
    ];
    spans.into_iter().max().unwrap_or_default()
}

pub(super) fn ensure(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.to_owned()) }
}
