//! The only event loop of the supervision thread: wait for one event, ask the core, obey it.
//!
//! One owner, no locks. The arms of the `select!` only say what happened; deaths come first,
//! answers before orders, and the clock last, so that a sign of life that is already here beats a
//! deadline. Whether a deadline has passed is decided by the clock, not by the timer.
//!
//! **Invariant:** nothing is awaited between an event and the orders that follow from it, and
//! nothing here writes to stdout, stderr or disk: other threads do.

mod alarm;
mod aside;
mod capture;
mod herald;
mod judgement;
mod launcher;
mod probers;
mod signals;
mod standstill;
mod stop_order;
mod stuck;
mod taking_down;

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::clock::{self, Clock};
use crate::config::{Command, Service};
use crate::http;
use crate::planted::{self, place};
use crate::process::kill::Identified;
use crate::process::memory::OomKills;
use crate::process::port::{Forward, Holder, PortWatch};
use crate::process::sweep::Swept;
use crate::process::{Mark, Orphans, Registry, Tree, instance::Record};
use crate::report::{Note, Reporter};
use crate::state::{Keeper, Recorder};
use crate::supervisor::{
    Action, Dice, DrillFault, Errno, Event, Fact, Incarnation, Launch, Moment, Outcome, Program,
    Reason, Role, Signal, Start, State, Supervisor,
};

use alarm::Alarm;
use aside::Aside;
use capture::{Captured, Capturer};
use herald::Herald;
use launcher::{Launched, Launcher, NotLaunched};
use probers::{Answered, Probers};
pub use probers::{Prepare, Prepared, Unprobable, prepare};
pub use signals::{Orders, Received, Signals};
use standstill::Rounds;
use stop_order::StopOrder;

/// Suspended for longer than this, and the machine counts as having slept.
const SLEPT: Duration = Duration::from_secs(1);

/// What the loop is woken by.
enum News {
    Deaths,
    Answered(Answered),
    Swept(Swept),
    Captured(Captured),
    Signal(Received),
    StopIsWritten,
    DrillOrdered(DrillFault),
    TimePassed,
}

/// What was prepared before the loop may turn.
pub struct Setup {
    /// The service.
    pub service: Service,
    /// What is run for each incident.
    pub notify: Option<Command>,
    /// Its clock.
    pub clock: Clock,
    /// Whose mark its processes carry.
    pub mark: Mark,
    /// What earlier runs have started.
    pub earlier: Vec<Record>,
    /// The kind of this start.
    pub start: Start,
    /// Who listened on the probed port for the child in earlier runs.
    pub forward: Option<Forward>,
    /// Where launches are recorded.
    pub recorder: Recorder,
    /// The tree that its processes will make.
    pub orphans: Orphans,
    /// A cgroup for them, if there is one.
    pub cgroup: Option<crate::process::cgroup::Cgroup>,
    /// Its probes, ready to be made.
    pub probers: Prepared,
    /// The thread that reads the child's pipes.
    pub http: http::Handle,
    /// Whether the child's output goes through us.
    pub pumped: bool,
    /// Tells everything.
    pub reporter: Reporter,
    /// Signals to us.
    pub signals: Signals,
    /// What a drill is to break.
    pub drills: UnboundedReceiver<DrillFault>,
}

/// The supervision of one service.
pub struct Driver {
    clock: Clock,
    core: Supervisor,
    service: Arc<Service>,
    reporter: Reporter,
    keeper: Keeper,
    /// A stop order that is being written down.
    stop: Option<StopOrder>,
    tree: Rc<RefCell<Tree>>,
    registry: Registry,
    /// The port that the service is reached by, and the probes that reach it.
    port: Option<(PortWatch, Vec<Role>)>,
    launcher: Launcher,
    probers: Probers,
    capturer: Capturer,
    herald: Herald,
    mark: Mark,
    earlier: Arc<[Record]>,
    /// The launch whose main process lives.
    main: Option<(Incarnation, Program)>,
    /// How the child fares while it starts.
    starting: Rounds,
    /// What the kernel kills around it.
    oom_kills: OomKills,
    /// The launch whose tree is being taken down: its end is to be told.
    leaving: Option<Incarnation>,
    /// The last signal to the tree was SIGKILL: what appears is killed, too.
    killing: bool,
    /// When it is looked at again.
    look_at: Moment,
    /// Who was there when it was looked at last.
    struck: BTreeSet<Identified>,
    /// What need not be told again, one of a kind.
    told: Vec<Note>,
    /// Answers that the core is owed at once.
    owed: VecDeque<Event>,
    signals: Signals,
    drills: UnboundedReceiver<DrillFault>,
    alarm: Alarm,
    answers: UnboundedReceiver<Answered>,
    swept: (UnboundedSender<Swept>, UnboundedReceiver<Swept>),
    suspended: Duration,
    outcome: Option<Outcome>,
}

impl Driver {
    /// Everything in place, nothing started. Belongs on the main thread, inside a `LocalSet`.
    pub fn new(setup: Setup) -> io::Result<Self> {
        let registry = Registry::default();
        let service = Arc::new(setup.service);
        let tree = Tree::new(setup.mark.clone(), launcher::stop_signal(&service), setup.orphans)
            .beside(registry.clone())
            .within(setup.cgroup);
        let (answered, answers) = unbounded_channel();
        let aside = Aside::new(Arc::clone(&service), setup.mark.clone(), registry.clone());
        let herald = Herald::new(aside.clone(), setup.notify, setup.reporter.teller());
        let mut seed = [0; 8];
        // Without randomness jitter is the same in every run, which harms nobody.
        rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::NONBLOCK).ok();
        Ok(Self {
            clock: setup.clock,
            core: Supervisor::new(service.policy.clone(), Dice::Seeded(u64::from_le_bytes(seed))),
            reporter: setup.reporter,
            keeper: setup.recorder.keeper(),
            stop: None,
            tree: Rc::new(RefCell::new(tree)),
            port: probers::watched_port(&service, setup.forward),
            launcher: Launcher::new(
                Arc::clone(&service),
                setup.mark.clone(),
                setup.http,
                setup.recorder,
                setup.pumped,
                setup.start,
            ),
            probers: Probers::new(
                Arc::clone(&service),
                setup.probers,
                setup.mark.clone(),
                registry.clone(),
                setup.clock,
                answered,
            ),
            herald,
            capturer: Capturer::new(aside, setup.clock),
            registry,
            service,
            mark: setup.mark,
            earlier: setup.earlier.into(),
            main: None,
            starting: Rounds::default(),
            oom_kills: OomKills::default(),
            leaving: None,
            killing: false,
            look_at: Moment::ZERO,
            struck: BTreeSet::new(),
            told: Vec::new(),
            owed: VecDeque::new(),
            signals: setup.signals,
            drills: setup.drills,
            alarm: Alarm::new()?,
            answers,
            swept: unbounded_channel(),
            suspended: clock::suspended(),
            outcome: None,
        })
    }

    /// Supervises until it is over.
    pub async fn run(mut self) -> Outcome {
        self.feed(Event::Start);
        loop {
            if let Some(outcome) = self.outcome {
                self.capturer.give_up();
                self.herald.end().await;
                self.probers.end().await;
                return outcome;
            }
            let due = self.next_wake_up();
            let news = self.wait(due).await;
            planted::pass(place::LOOP);
            let now = self.clock.now();
            let lateness = due.map_or(Duration::ZERO, |due| now.since(due));
            self.reporter.loop_turned(now, lateness);
            self.take_in(news);
            self.tick_if_due();
            self.reporter.loop_waits(self.clock.now(), self.next_wake_up());
        }
    }

    async fn wait(&mut self, due: Option<Moment>) -> News {
        let span = due.map_or(Duration::from_hours(1), |due| self.clock.until(due));
        tokio::select! {
            biased;
            () = self.signals.deaths.next() => News::Deaths,
            Some(answered) = self.answers.recv() => News::Answered(answered),
            Some(swept) = self.swept.1.recv() => News::Swept(swept),
            Some(captured) = self.capturer.next() => News::Captured(captured),
            received = self.signals.orders.next() => News::Signal(received),
            () = stop_order::written(&mut self.stop) => News::StopIsWritten,
            Some(fault) = self.drills.recv() => News::DrillOrdered(fault),
            () = self.alarm.rings_in(span) => News::TimePassed,
        }
    }

    /// When the loop must turn at the latest.
    fn next_wake_up(&self) -> Option<Moment> {
        let now = self.clock.now();
        let look = self.leaving.map(|_| self.look_at);
        let ping = self.reporter.watchdog_period().map(|period| now + period);
        let stop = self.stop.as_ref().map(|stop| stop.until);
        [self.core.deadline(), look, ping, stop].into_iter().flatten().min()
    }

    fn take_in(&mut self, news: News) {
        self.notice_suspension();
        match news {
            News::Deaths => self.bury(),
            News::Answered(answered) => self.answered(&answered),
            News::Swept(swept) => self.swept(&swept),
            News::Captured(captured) => self.captured(&captured),
            News::Signal(Received::Stop) => self.stop_requested(),
            News::StopIsWritten => self.carry_out_stop(),
            News::Signal(Received::Forward(signal)) => self.feed(Event::SignalReceived(signal)),
            News::Signal(Received::Hup) => self.reporter.note(&Note::HupIgnored),
            News::DrillOrdered(fault) => self.drill(fault),
            News::TimePassed => {}
        }
        self.look_again_if_due();
        self.carry_out_stop_if_due();
    }

    /// Breaks our own child, if it is healthy and nothing is broken yet. What follows is healing
    /// as always: the core does not know that it is a drill.
    fn drill(&mut self, fault: DrillFault) {
        if self.core.state() != State::Healthy || self.reporter.is_drilling() {
            return;
        }
        let broken = self.tree.borrow().break_main(fault);
        match broken {
            // ESRCH: it has ended by itself, and that is the drill then.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {
                self.reporter.drill_began(self.clock.now(), fault);
            }
            Err(errno) => self.reporter.note(&Note::DrillFailed { fault, why: errno.to_string() }),
        }
    }

    fn tick_if_due(&mut self) {
        if self.core.deadline().is_some_and(|due| due <= self.clock.now()) {
            self.feed(Event::Tick);
        }
    }

    /// Gives the core an event, carries out what follows, and goes on until nothing is owed.
    fn feed(&mut self, event: Event) {
        self.owed.push_back(event);
        self.pay();
    }

    fn pay(&mut self) {
        while let Some(event) = self.owed.pop_front() {
            let now = self.clock.now();
            let before = self.core.state();
            for action in self.core.on(now, event) {
                self.carry_out(now, action);
            }
            let state = self.core.state();
            tracing::trace!(?event, %before, %state, "turn");
            self.reporter.state(now, state, self.core.next_attempt());
            if let Some(left) = self.core.restarts_left(now) {
                self.reporter.restarts_left(left);
            }
        }
    }

    fn carry_out(&mut self, now: Moment, action: Action) {
        match action {
            Action::Sweep => self.sweep(),
            Action::Spawn { program, id, why } => {
                let outage = self.reporter.outage_so_far(now);
                if program == Program::Child
                    && let Some((port, _)) = &mut self.port
                {
                    port.before_launch(&mut self.tree.borrow_mut());
                }
                let launched = if self.is_planted_to_fail(why) {
                    Err(NotLaunched { errno: Errno(libc::EPERM), text: "planted".to_owned() })
                } else {
                    self.launcher.launch(program, why, outage, &self.tree)
                };
                self.launched(program, id, launched);
            }
            Action::Signal { id, to, signal } => self.signal(id, to, signal),
            Action::Probe { id, role, probe } => {
                if role == Role::Liveness {
                    self.oom_kills.look();
                }
                self.probers.ask(id, role, probe, &self.tree);
            }
            Action::Capture(id) => {
                if let Some(main) = self.tree.borrow().main() {
                    self.capturer.look(id, main.pid);
                }
            }
            Action::CheckPort(id) => {
                let holder = self.who_holds_the_port();
                self.owed.push_back(Event::PortChecked { id, holder });
            }
            Action::Report(fact) => {
                self.reporter.fact(now, &fact);
                for incident in self.reporter.fresh_incidents() {
                    self.herald.tell(incident);
                }
                self.look_into(fact);
            }
            Action::Finish(outcome) => {
                self.name_what_is_left(outcome);
                self.outcome = Some(outcome);
            }
        }
    }

    /// A planted fault: nothing is ever started again. A drill must notice.
    fn is_planted_to_fail(&self, why: Launch) -> bool {
        let again = why.reason != Reason::Start || !self.earlier.is_empty();
        again && planted::is_planted("no-healing")
    }

    /// What an edge adds to a fact.
    fn look_into(&mut self, fact: Fact) {
        if let Fact::Healthy { .. } = fact {
            self.launcher.healthy();
        }
        if let (Fact::Settled, Some((port, _))) = (fact, &mut self.port) {
            port.settled(&mut self.tree.borrow_mut());
            self.reporter.forwarded_by(port.forward());
        }
        if fact == (Fact::HookTimedOut { program: Program::BootHook })
            && let (Some((port, _)), Some(hook)) = (&mut self.port, &self.service.boot_hook)
            && port.holder(&mut self.tree.borrow_mut()) == Holder::Ours
        {
            self.reporter.note(&Note::HookServes { path: hook.path.clone() });
        }
    }

    fn launched(
        &mut self,
        program: Program,
        id: Incarnation,
        launched: Result<Launched, NotLaunched>,
    ) {
        for note in self.launcher.notes() {
            self.reporter.note(&note);
        }
        match launched {
            Ok(Launched::Runs(process, output)) => {
                self.reporter.output_comes_to(program, output);
                self.main = Some((id, program));
                self.oom_kills = OomKills::around(process.pid);
                self.leaving = None;
                self.killing = false;
                if program == Program::Child {
                    self.reporter.child_runs(process.pid);
                    self.probers.restart();
                    let waited = self.tree.borrow_mut().waited();
                    self.starting = Rounds::since(self.clock.now(), waited);
                }
                self.owed.push_back(Event::Spawned(id));
            }
            Ok(Launched::NoHook) => self.owed.push_back(Event::HookMissing(id)),
            Err(NotLaunched { errno, text }) => {
                self.reporter.note(&Note::LaunchFailed { program, text });
                self.owed.push_back(Event::SpawnFailed { id, errno });
            }
        }
    }

    /// Tells what would otherwise be said over and over, again only after something else was.
    fn say_once(&mut self, note: &Note) {
        let subject = std::mem::discriminant(note);
        let told = self.told.iter_mut().find(|told| std::mem::discriminant(*told) == subject);
        match told {
            Some(told) if told == note => return,
            Some(told) => told.clone_from(note),
            None => self.told.push(note.clone()),
        }
        self.reporter.note(note);
    }

    fn notice_suspension(&mut self) {
        let suspended = clock::suspended();
        if suspended.saturating_sub(self.suspended) > SLEPT {
            self.feed(Event::Suspended);
        }
        self.suspended = suspended;
    }
}

impl Drop for Driver {
    /// A panic in the loop must not leave an unsupervised child behind.
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(mut tree) = self.tree.try_borrow_mut()
        {
            // Nobody is left to be told what could not be killed.
            tree.signal_all(Signal::Kill).ok();
        }
    }
}
