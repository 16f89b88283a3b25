//! Walks every state that a small policy can reach, and checks the promises in each.
//!
//! Time is a grid of one second, jitter is a choice of its least and greatest value, everything
//! else that may happen does happen. States are the same if they differ only in the absolute time
//! and in the numbers of launches and probes, so the walk closes by itself: there is no horizon.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::backoff::Pace;
use super::check::{World, ensure};
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
pub(super) enum Punctuality {
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
pub(super) fn walk(policy: &Policy, kind: Punctuality) -> Walk {
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
        let outcome =
            world.step(&mut core, now, event).and_then(|_| promises_everywhere(&core, &world, now));
        let trail = self.trails.len();
        if let Err(broken) = outcome {
            self.trails.push((from.trail, now, format!("{event:?}")));
            panic!("{broken}\n{}\nthen: {:?}", self.tell(trail), core.phase);
        }
        self.edges.insert((before, word(event), core.state()));
        if self.seen.insert(key(&core, &world, now)) {
            self.trails.push((from.trail, now, format!("{event:?}")));
            self.queue.push_back(Node { core, world, now, trail });
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
    stale_news_changes_nothing(core, now)?;
    if core.deadline().is_some_and(|due| due > now) {
        let mut ticked = core.clone();
        let actions = ticked.on(now, Event::Tick);
        ensure(actions.is_empty() && ticked == *core, "an early tick did something")?;
    }
    a_stop_ends(core, world, now)
}

fn stale_news_changes_nothing(core: &Supervisor, now: Moment) -> Result<(), String> {
    let id = Incarnation(core.launched.0.wrapping_add(9));
    let probe = core.probed.wrapping_add(9);
    let current = core.launched;
    let late = [
        Event::Spawned(id),
        Event::HookMissing(id),
        Event::SpawnFailed { id, errno: Errno(2) },
        Event::Exited { id, exit: Exit::Code(0) },
        Event::Gone(id),
        Event::Probed { id, role: Role::Startup, probe: core.probed, verdict: Verdict::Pass },
        Event::Probed { id: current, role: Role::Startup, probe, verdict: Verdict::Pass },
        Event::Probed {
            id: current,
            role: Role::Liveness,
            probe,
            verdict: Verdict::Fail(FailKind::Refused),
        },
        Event::Probed { id: current, role: Role::Readiness, probe, verdict: Verdict::Pass },
        Event::PortChecked { id, holder: PortHolder::Stranger { pid: 7 } },
    ];
    if core.deadline().is_some_and(|due| due < now) {
        return Ok(());
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

/// From every state a stop ends within `stop_timeout` and a second, however bad the child is.
fn a_stop_ends(core: &Supervisor, world: &World, now: Moment) -> Result<(), String> {
    let (mut core, mut world) = (core.clone(), world.clone());
    if world.finished.is_some() || world.stops >= 2 {
        return Ok(());
    }
    let asked_at = now;
    let mut now = now;
    world.step(&mut core, now, Event::StopRequested)?;
    for _ in 0..100 {
        if world.finished.is_some() {
            let most = core.policy.stop_timeout + SECOND;
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
        Event::Spawned(_) => "spawned",
        Event::HookMissing(_) => "hook missing",
        Event::SpawnFailed { .. } => "spawn failed",
        Event::Exited { .. } => "exited",
        Event::Gone(_) => "tree gone",
        Event::Probed { verdict: Verdict::Pass, .. } => "probe passed",
        Event::Probed { verdict: Verdict::Fail(_), .. } => "probe failed",
        Event::Probed { verdict: Verdict::Inconclusive { .. }, .. } => "probe inconclusive",
        Event::PortChecked { .. } => "port checked",
        Event::Suspended => "suspended",
        Event::SignalReceived(_) => "signal received",
        Event::StopRequested => "stop requested",
        Event::Tick => "deadline",
    }
}

/// Small policies, each about one side of the machine.
pub(super) mod policies {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    const fn probe(period: u64, timeout: u64, failure_threshold: u32) -> ProbePolicy {
        ProbePolicy {
            period: secs(period),
            timeout: secs(timeout),
            failure_threshold,
            success_threshold: 1,
        }
    }

    /// No probe, no hook, no rule: the least there is.
    pub(in super::super) fn bare() -> Policy {
        Policy {
            hook: None,
            repair: None,
            startup: None,
            startup_timeout: secs(4),
            liveness: None,
            readiness: None,
            settle: secs(2),
            max_doubt: secs(3),
            stop_timeout: secs(3),
            unhealthy_stop_timeout: secs(2),
            restart: RestartPolicy::Always,
            exit_rules: vec![],
            delays: vec![Duration::ZERO, secs(1), secs(2)],
            jitter_permille: 500,
            stable_after: secs(3),
            slow_retry: secs(4),
            budget: None,
        }
    }

    /// Hook, startup and liveness probe: the everyday service.
    pub(in super::super) fn everyday() -> Policy {
        Policy {
            hook: Some(HookPolicy { timeout: secs(2), exit_on_failure: false }),
            startup: Some(probe(1, 1, 1)),
            startup_timeout: secs(3),
            liveness: Some(probe(2, 1, 2)),
            ..bare()
        }
    }

    /// Exit rules, repair, a budget that ends the run.
    pub(in super::super) fn ruled() -> Policy {
        Policy {
            repair: Some(secs(2)),
            exit_rules: vec![ExitRule { codes: vec![78], action: ExitAction::RepairOnce }],
            restart: RestartPolicy::OnFailure,
            budget: Some(Budget { max_restarts: 2, window: secs(5), exit: true }),
            delays: vec![Duration::ZERO, secs(1)],
            ..bare()
        }
    }

    /// A strict hook, the slow pace when the budget is spent.
    pub(in super::super) fn strict() -> Policy {
        Policy {
            hook: Some(HookPolicy { timeout: secs(2), exit_on_failure: true }),
            exit_rules: vec![ExitRule { codes: vec![78], action: ExitAction::Slow }],
            budget: Some(Budget { max_restarts: 1, window: secs(5), exit: false }),
            ..bare()
        }
    }

    /// Readiness alone.
    pub(in super::super) fn ready() -> Policy {
        Policy {
            startup: None,
            liveness: None,
            readiness: Some(ProbePolicy { success_threshold: 2, ..probe(1, 1, 2) }),
            settle: secs(1),
            stable_after: secs(1),
            jitter_permille: 0,
            delays: vec![Duration::ZERO],
            ..bare()
        }
    }
}

mod walks {
    use super::*;

    fn report(name: &str, walk: &Walk) {
        println!("{name}: {} states, {} transitions", walk.states, walk.transitions);
        assert!(walk.states > 100, "{name}: the walk is too short to mean anything");
    }

    #[test]
    fn a_service_without_probes_keeps_its_promises_in_every_state() {
        report("bare", &walk(&policies::bare(), Punctuality::Punctual));
    }

    #[test]
    fn the_everyday_service_keeps_its_promises_in_every_state() {
        report("everyday", &walk(&policies::everyday(), Punctuality::Punctual));
    }

    #[test]
    fn exit_rules_repair_and_budget_keep_their_promises_in_every_state() {
        report("ruled", &walk(&policies::ruled(), Punctuality::Punctual));
    }

    #[test]
    fn a_strict_hook_keeps_its_promises_in_every_state() {
        report("strict", &walk(&policies::strict(), Punctuality::Punctual));
    }

    #[test]
    fn readiness_keeps_its_promises_in_every_state() {
        report("ready", &walk(&policies::ready(), Punctuality::Punctual));
    }

    #[test]
    fn a_supervisor_that_comes_late_keeps_its_promises_in_every_state() {
        let policy = Policy {
            hook: None,
            liveness: Some(ProbePolicy {
                period: SECOND,
                ..policies::everyday().liveness.expect("probed")
            }),
            settle: SECOND,
            stable_after: SECOND,
            max_doubt: SECOND,
            delays: vec![Duration::ZERO],
            jitter_permille: 0,
            ..policies::everyday()
        };
        report("sleepy", &walk(&policy, Punctuality::Sleepy(1)));
    }
}
