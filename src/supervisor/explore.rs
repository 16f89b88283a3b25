//! Walks every state that a small policy can reach, and checks the promises in each.
//!
//! Time is a grid of one second, jitter is a choice of its least and greatest value, everything
//! else that may happen does happen. States are the same if they differ only in the absolute time
//! and in the numbers of launches and probes, so the walk closes by itself: there is no horizon.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

use super::backoff::Pace;
use super::check::{VERDICTS, World, ensure};
use super::health::{Probing, Watch};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// What the walk found.
pub(super) struct Walk {
    pub(super) states: usize,
    pub(super) transitions: usize,
    /// Every (state word, event, state word) that was seen, for the diagram.
    pub(super) edges: BTreeSet<(State, &'static str, State)>,
}

/// How far the world may go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Punctuality {
    /// We are always in time.
    Punctual,
    /// We may come seconds late and the machine may be suspended, so often in all.
    Sleepy(u8),
}

impl Punctuality {
    fn may_sleep(self, node: &Node) -> bool {
        matches!(self, Self::Sleepy(most) if node.world.sleeps < most)
    }
}

struct Node {
    core: Supervisor,
    world: World,
    now: Moment,
    trail: usize,
}

struct Walker {
    seen: HashSet<u128>,
    queue: VecDeque<Node>,
    /// How each node was reached: the node before, when, and the event.
    trails: Vec<(usize, Moment, String)>,
    edges: BTreeSet<(State, &'static str, State)>,
    transitions: usize,
}

/// Walks everything; panics with the trail of events that breaks a promise.
fn walk(policy: &Policy, kind: Punctuality) -> Walk {
    let core = Supervisor::new(policy.clone(), Dice::Fixed(0));
    let mut walker = Walker {
        seen: HashSet::new(),
        queue: VecDeque::new(),
        trails: vec![(0, Moment::ZERO, String::new())],
        edges: BTreeSet::new(),
        transitions: 0,
    };
    let start = Node { core, world: World::new(), now: Moment::ZERO, trail: 0 };
    walker.go(&start, Moment::ZERO, Event::Start, Dice::Fixed(0));
    while let Some(node) = walker.queue.pop_front() {
        for event in node.world.choices(&node.core) {
            walker.throw_dice(&node, node.now, event);
        }
        if kind.may_sleep(&node) && node.world.main.is_some() {
            walker.go(&node, node.now, Event::Suspended, Dice::Fixed(0));
        }
        walker.let_time_pass(&node, kind);
    }
    Walk { states: walker.seen.len(), transitions: walker.transitions, edges: walker.edges }
}

impl Walker {
    /// Both ends of the jitter where the event may draw one.
    fn throw_dice(&mut self, node: &Node, now: Moment, event: Event) {
        self.go(node, now, event, Dice::Fixed(0));
        let draws = matches!(
            event,
            Event::Spawned(_) | Event::Gone(_) | Event::Probed { verdict: Verdict::Pass, .. }
        );
        if draws {
            self.go(node, now, event, Dice::Fixed(1000));
        }
    }

    fn let_time_pass(&mut self, node: &Node, kind: Punctuality) {
        let Some(due) = node.core.deadline() else { return };
        if node.world.spawning.is_some() || node.world.port_asked.is_some() {
            // The driver answers these at once.
            return;
        }
        let next = node.now + SECOND;
        if next < due {
            // Nothing is due: the tick is spurious, what else happens may happen then.
            self.go(node, next, Event::Tick, Dice::Fixed(0));
            return;
        }
        self.throw_dice(node, due.max(node.now), Event::Tick);
        if kind.may_sleep(node) {
            let late = due + SECOND * 3;
            self.throw_dice(node, late, Event::Tick);
            for event in node.world.choices(&node.core) {
                self.throw_dice(node, late, event);
            }
        }
    }

    fn go(&mut self, from: &Node, now: Moment, event: Event, dice: Dice) {
        self.transitions += 1;
        let mut core = from.core.clone();
        let mut world = from.world.clone();
        core.dice = dice;
        let before = core.state();
        let outcome = world.step(&mut core, now, event).and_then(|_| {
            let new = self.seen.insert(key(&core, &world, now));
            if new { promises_everywhere(&core, &world, now).map(|()| new) } else { Ok(new) }
        });
        self.edges.insert((before, word(event), core.state()));
        if outcome != Ok(false) {
            self.trails.push((from.trail, now, format!("{event:?}")));
        }
        let trail = self.trails.len() - 1;
        match outcome {
            Ok(true) => self.queue.push_back(Node { core, world, now, trail }),
            Ok(false) => {}
            Err(broken) => panic!("{broken}\n{}\nthen: {:?}", self.tell(trail), core.phase),
        }
    }

    fn tell(&self, mut trail: usize) -> String {
        let mut lines = Vec::new();
        while trail != 0 {
            let (before, now, event) = &self.trails[trail];
            lines.push(format!("  {now:?}  {event}"));
            trail = *before;
        }
        lines.reverse();
        lines.join("\n")
    }
}

/// What must hold in each state, whatever comes next.
fn promises_everywhere(core: &Supervisor, world: &World, now: Moment) -> Result<(), String> {
    stale_news_changes_nothing(core, world, now)?;
    if core.deadline().is_some_and(|due| due > now) {
        let mut ticked = core.clone();
        let actions = ticked.on(now, Event::Tick);
        ensure(actions.is_empty() && ticked == *core, "an early tick did something")?;
    }
    a_stop_ends(core, world, now)?;
    a_benign_world_heals(core, world, now)
}

fn stale_news_changes_nothing(core: &Supervisor, world: &World, now: Moment) -> Result<(), String> {
    if core.deadline().is_some_and(|due| due < now) {
        return Ok(());
    }
    let current = core.launched;
    let id = Incarnation(current.0.wrapping_add(9));
    let mut late = vec![
        Event::Spawned(id),
        Event::HookMissing(id),
        Event::SpawnFailed { id, errno: Errno(2) },
        Event::Exited { id, exit: Exit::Code(0) },
        Event::Gone(id),
        Event::Captured(id),
        Event::PortChecked { id, holder: PortHolder::Stranger { pid: 7 } },
    ];
    let asked = |id, role, probe| {
        world.probes.iter().any(|asked| (asked.id, asked.role, asked.probe) == (id, role, probe))
    };
    for &role in Role::ALL {
        for (id, back) in [(id, 0), (current, 0), (current, 1), (current, 9)] {
            let probe = core.probed.wrapping_sub(back);
            if !asked(id, role, probe) {
                let answers = VERDICTS.iter();
                late.extend(answers.map(|&verdict| Event::Probed { id, role, probe, verdict }));
            }
        }
    }
    for event in late {
        let mut after = core.clone();
        let actions = after.on(now, event);
        let silent =
            actions.iter().all(|action| matches!(action, Action::Report(Fact::StaleEvent)));
        ensure(silent && after == *core, &format!("stale news was believed: {event:?}"))?;
    }
    Ok(())
}

/// From every state a stop ends within `stop_timeout` and a second, and a second stop within a
/// second, however bad the child is.
fn a_stop_ends(core: &Supervisor, world: &World, now: Moment) -> Result<(), String> {
    if world.finished.is_some() || core.phase == Phase::Idle {
        return Ok(());
    }
    let with_grace = core.policy.stop_timeout + SECOND;
    if world.stops < 1 {
        ends_within(core, world, now, &[Event::StopRequested], with_grace)?;
    }
    if world.stops < 2 {
        let twice = [Event::StopRequested; 2];
        ends_within(core, world, now, &twice[usize::from(world.stops)..], SECOND)?;
    }
    Ok(())
}

/// Nothing that runs ever ends by itself; only time passes.
fn ends_within(
    core: &Supervisor,
    world: &World,
    asked_at: Moment,
    asked: &[Event],
    most: Duration,
) -> Result<(), String> {
    let (mut core, mut world, mut now) = (core.clone(), world.clone(), asked_at);
    for event in asked {
        if world.finished.is_none() {
            world.step(&mut core, now, *event)?;
        }
    }
    for _ in 0..100 {
        if world.finished.is_some() {
            return ensure(now.since(asked_at) <= most, "a stop that takes too long");
        }
        if let Some((_, id)) = world.spawning {
            world.step(&mut core, now, Event::Spawned(id))?;
        } else {
            now = core.deadline().ok_or("a stop that waits for ever")?.max(now);
            world.step(&mut core, now, Event::Tick)?;
        }
    }
    Err("a stop that never ends".to_owned())
}

/// From every state, once everything goes well, the service is healthy within one grace, one delay
/// and one start; unless the policy has ended the run.
fn a_benign_world_heals(core: &Supervisor, world: &World, now: Moment) -> Result<(), String> {
    if world.stops > 0 || core.phase == Phase::Idle {
        return Ok(());
    }
    let (mut core, mut world, benign_since) = (core.clone(), world.clone(), now);
    let mut now = now;
    for _ in 0..200 {
        if world.finished.is_some() {
            return Ok(());
        }
        if core.state() == State::Healthy {
            let most = heals_within(&core.policy);
            return ensure(now.since(benign_since) <= most, "healing takes too long");
        }
        let event = what_goes_well(&core, &world);
        if event.is_none() {
            now = core.deadline().ok_or("healing waits for ever")?.max(now);
        }
        world.step(&mut core, now, event.unwrap_or(Event::Tick))?;
    }
    Err("healing never ends".to_owned())
}

fn what_goes_well(core: &Supervisor, world: &World) -> Option<Event> {
    if world.sweeping {
        return Some(Event::Swept { port: PortHolder::NoStranger });
    }
    if let Some((_, id)) = world.spawning {
        return Some(Event::Spawned(id));
    }
    if let Some((id, _)) = world.capturing {
        return Some(Event::Captured(id));
    }
    if let Some(id) = world.port_asked {
        return Some(Event::PortChecked { id, holder: PortHolder::NoStranger });
    }
    match (world.main, world.gone_owed) {
        (Some((Program::BootHook | Program::Repair, id)), None) => {
            Some(Event::Exited { id, exit: Exit::Code(0) })
        }
        (Some((_, id)), Some(_)) => Some(Event::Exited { id, exit: Exit::Signal(9) }),
        (None, Some(id)) => Some(Event::Gone(id)),
        (Some((Program::Child, _)) | None, None) => {
            let asked = world.probes.first().filter(|_| core.state() == State::Starting)?;
            let (id, role, probe) = (asked.id, asked.role, asked.probe);
            Some(Event::Probed { id, role, probe, verdict: Verdict::Pass })
        }
    }
}

fn heals_within(policy: &Policy) -> Duration {
    let longest = policy.delays.iter().max().copied().unwrap_or_default();
    let backoff = longest + longest * policy.jitter_permille / 1000;
    let first_probe = policy.startup.map_or(policy.settle, |probe| probe.period);
    policy.unhealthy_stop_timeout
        + backoff.max(policy.slow_retry)
        + policy.first_delay
        + first_probe
}

/// States that behave alike have one key.
fn key(core: &Supervisor, world: &World, now: Moment) -> u128 {
    let pair = (rebased(core, now), world.rebased(core, now));
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        pair.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}

/// The same core, with all moments counted from `now`, and launches and probes from the last one.
fn rebased(core: &Supervisor, now: Moment) -> Supervisor {
    let mut core = core.clone();
    let moment = |at: Moment| Moment::new(at.since(now));
    let watch = |mut watch: Watch, probed: u32| {
        watch.probing = match watch.probing {
            Probing::NextAt(at) => Probing::NextAt(moment(at)),
            Probing::InFlight { probe, lost_at, next_at } => Probing::InFlight {
                probe: probed.wrapping_sub(probe),
                lost_at: moment(lost_at),
                next_at: moment(next_at),
            },
        };
        watch.sighted_until = watch.sighted_until.map(moment);
        watch
    };
    let (launched, probed) = (core.launched, core.probed);
    let renumber = |id: &mut Incarnation| id.0 = launched.0.wrapping_sub(id.0);
    match &mut core.phase {
        Phase::Idle | Phase::Finished => {}
        Phase::Sweeping { again_at } => *again_at = moment(*again_at),
        Phase::Spawning { id, .. } => renumber(id),
        Phase::Booting { id, until, .. } => {
            renumber(id);
            *until = moment(*until);
        }
        Phase::Starting { id, until, startup, .. } => {
            renumber(id);
            *until = moment(*until);
            *startup = startup.map(|startup| watch(startup, probed));
        }
        Phase::Healthy { id, settle_at, stable_at, liveness, readiness } => {
            renumber(id);
            *settle_at = settle_at.map(moment);
            *stable_at = stable_at.map(moment);
            *liveness = liveness.map(|liveness| watch(liveness, probed));
            if let Some(readiness) = readiness {
                readiness.watch = watch(readiness.watch, probed);
            }
        }
        Phase::Stopping(stopping) => {
            renumber(&mut stopping.id);
            match &mut stopping.step {
                Step::Capture { until } => *until = moment(*until),
                Step::Main { kill_at } | Step::Rest { kill_at } => *kill_at = moment(*kill_at),
                Step::Kill { again_at, unkillable_at, leave_at, .. } => {
                    *again_at = moment(*again_at);
                    *unkillable_at = unkillable_at.map(moment);
                    *leave_at = leave_at.map(moment);
                }
            }
        }
        Phase::BackingOff { until, .. } => *until = moment(*until),
    }
    core.doubt.until = core.doubt.until.map(moment);
    core.doubt.late_until = moment(core.doubt.late_until);
    core.pace = Pace {
        attempt: 0,
        spent: core.pace.spent.iter().map(|at| moment(*at)).collect(),
        ..core.pace
    };
    (core.launched, core.probed) = (Incarnation(0), 0);
    // Told, but never decided by.
    (core.reason, core.last_exit) = (Reason::Start, None);
    // Thrown anew at each event.
    core.dice = Dice::Fixed(0);
    core
}

/// The event's name, for edges.
const fn word(event: Event) -> &'static str {
    match event {
        Event::Start => "start",
        Event::Swept { .. } => "swept",
        Event::SweepFailed => "left-overs remain",
        Event::Spawned(_) => "spawned",
        Event::HookMissing(_) => "hook missing",
        Event::SpawnFailed { .. } => "spawn failed",
        Event::Exited { .. } => "exited",
        Event::Gone(_) => "tree gone",
        Event::Probed { verdict: Verdict::Pass, .. } => "probe passed",
        Event::Probed { verdict: Verdict::Fail(_), .. } => "probe failed",
        Event::Probed { verdict: Verdict::Inconclusive { .. }, .. } => "probe inconclusive",
        Event::Captured(_) => "captured",
        Event::PortChecked { .. } => "port checked",
        Event::Suspended => "suspended",
        Event::SignalReceived(_) => "signal received",
        Event::StopRequested => "stop requested",
        Event::Tick => "deadline",
    }
}

mod policies;

/// A policy, how punctual we are under it, and what the walk through it is called.
pub(super) struct Territory {
    pub(super) name: &'static str,
    policy: fn() -> Policy,
    kind: Punctuality,
    walk: OnceLock<Walk>,
}

impl Territory {
    const fn new(name: &'static str, policy: fn() -> Policy, kind: Punctuality) -> Self {
        Self { name, policy, kind, walk: OnceLock::new() }
    }

    /// Walks it, once in this process.
    pub(super) fn explored(&self) -> &Walk {
        self.walk.get_or_init(|| walk(&(self.policy)(), self.kind))
    }
}

/// All that is walked.
pub(super) static TERRITORIES: [Territory; 8] = [
    Territory::new("no probe, no hook", policies::bare, Punctuality::Punctual),
    Territory::new("hook, startup and liveness probe", policies::everyday, Punctuality::Punctual),
    Territory::new("exit rules, repair, budget", policies::ruled, Punctuality::Punctual),
    Territory::new("strict hook, slow budget", policies::strict, Punctuality::Punctual),
    Territory::new("readiness probe", policies::ready, Punctuality::Punctual),
    Territory::new("probes, late or suspended once", policies::sleepy, Punctuality::Sleepy(1)),
    Territory::new("hook, late or suspended twice", policies::dozing, Punctuality::Sleepy(2)),
    Territory::new("probes, capture", policies::looked_at, Punctuality::Punctual),
];

mod walks;
