//! Makes probes beside the loop and brings their answers back.
//!
//! One probe of a role is in flight at a time; an older one is given up. What an answer means is
//! the core's to decide.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

use super::aside::as_the_child;
use super::standstill::{Standstill, with_looks};
use super::stuck::{Argv, MOST, Next, Runs};
use crate::clock::Clock;
use crate::config::{Probe, ProbeTarget, Service};
use crate::gather::gather;
use crate::probe::{Answer, ExecOutcome, ProbeError, Prober, exec_verdict};
use crate::process::port::{Forward, PortWatch};
use crate::process::run::{self, Ran, Run};
use crate::process::user::Identity;
use crate::process::{Env, Launchable, Mark, Registry, Sink, Tree, proc};
use crate::supervisor::{Errno, FailKind, Incarnation, ProbePolicy, Role, Verdict};

/// A probe's answer, and what is needed to judge it.
pub(super) struct Answered {
    pub(super) id: Incarnation,
    pub(super) role: Role,
    pub(super) probe: u32,
    pub(super) answer: Answer,
    pub(super) took: Duration,
    /// How long the tree and we had waited for a processor when the probe began.
    pub(super) waited: Duration,
    /// How long some of it may have waited when it ended.
    pub(super) standstill: Standstill,
}

/// A probe that can never be made as configured.
#[derive(Debug, thiserror::Error)]
#[error("probe.{role}: {error}")]
pub struct Unprobable {
    role: Role,
    error: ProbeError,
}

/// The probes of a service, each ready to be made.
pub type Prepared = BTreeMap<Role, Prepare>;

/// A probe that runs in us, or a program that is run for it.
#[derive(Debug)]
pub enum Prepare {
    /// In us.
    Here(Box<Prober>),
    /// A program and how long it may take.
    Exec {
        /// Program and arguments.
        argv: Vec<String>,
        /// Killed after so long.
        timeout: Duration,
    },
}

/// Prepares all probes of `service`.
pub fn prepare(service: &Service) -> Result<Prepared, Unprobable> {
    let mut prepared = Prepared::new();
    for (role, probe) in roles(service) {
        let ready = match (&probe.target, Prober::new(probe)) {
            (ProbeTarget::Exec { argv }, _) => {
                Prepare::Exec { argv: argv.clone(), timeout: probe.timeout }
            }
            (_, Ok(Some(prober))) if role == Role::Startup => {
                Prepare::Here(Box::new(prober.for_startup()))
            }
            (_, Ok(Some(prober))) => Prepare::Here(Box::new(prober)),
            (_, Ok(None)) => continue,
            (_, Err(error)) => return Err(Unprobable { role, error }),
        };
        prepared.insert(role, ready);
    }
    Ok(prepared)
}

fn roles(service: &Service) -> impl Iterator<Item = (Role, &Probe)> {
    let probes = &service.probes;
    [
        (Role::Startup, &probes.startup),
        (Role::Liveness, &probes.liveness),
        (Role::Readiness, &probes.readiness),
    ]
    .into_iter()
    .filter_map(|(role, probe)| Some((role, probe.as_ref()?)))
}

/// The port that the service is reached by, to watch who holds it, and the probes that reach it.
pub(super) fn watched_port(
    service: &Service,
    forward: Option<Forward>,
) -> Option<(PortWatch, Vec<Role>)> {
    let reached: Vec<(Role, (String, u16))> =
        roles(service).filter_map(|(role, probe)| Some((role, address(probe)?))).collect();
    let first = [Role::Liveness, Role::Startup]
        .iter()
        .find_map(|role| reached.iter().find(|(reaching, _)| reaching == role))?;
    let (host, port) = &first.1;
    let same = reached.iter().filter(|(_, address)| *address == first.1);
    let watch = PortWatch::new(host, *port).forwarded_by(forward);
    Some((watch, same.map(|(role, _)| *role).collect()))
}

/// The host and port that a probe connects to, if it does.
fn address(probe: &Probe) -> Option<(String, u16)> {
    match &probe.target {
        ProbeTarget::Http(http) if http.unix_socket.is_none() => {
            let url = reqwest::Url::parse(&http.url).ok()?;
            Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
        }
        ProbeTarget::Tcp { host, port } => Some((host.clone(), *port)),
        ProbeTarget::Http(_) | ProbeTarget::Exec { .. } | ProbeTarget::File { .. } => None,
    }
}

/// Makes the probes of one service.
pub(super) struct Probers {
    service: Arc<Service>,
    probes: BTreeMap<Role, Ready>,
    /// Whom and with what `exec` probes run: as this launch's child.
    exec_context: Option<(Option<Identity>, Env)>,
    runs: Runs,
    in_flight: BTreeMap<Role, JoinHandle<()>>,
    mark: Mark,
    registry: Registry,
    clock: Clock,
    answers: UnboundedSender<Answered>,
}

impl Probers {
    pub(super) fn new(
        service: Arc<Service>,
        prepared: Prepared,
        mark: Mark,
        registry: Registry,
        clock: Clock,
        answers: UnboundedSender<Answered>,
    ) -> Self {
        let probes = gather(prepared.into_iter().map(|(role, probe)| (role, Ready::from(probe))));
        Self {
            service,
            probes,
            exec_context: None,
            runs: Runs::default(),
            in_flight: BTreeMap::new(),
            mark,
            registry,
            clock,
            answers,
        }
    }

    /// A probe of this role that takes longer did not only use its own timeout.
    pub(super) fn longest(&self, role: Role) -> Duration {
        let longest = |probe: ProbePolicy| probe.timeout + probe.tolerated_lateness();
        self.rhythm(role).map_or(Duration::MAX, longest)
    }

    fn rhythm(&self, role: Role) -> Option<ProbePolicy> {
        let policy = &self.service.policy;
        match role {
            Role::Startup => policy.startup,
            Role::Liveness => policy.liveness,
            Role::Readiness => policy.readiness,
        }
    }

    /// A new child owes nothing for what its predecessor did.
    pub(super) fn restart(&mut self) {
        for (_, task) in std::mem::take(&mut self.in_flight) {
            task.abort();
        }
        self.exec_context = None;
        self.runs.restart();
        for probe in self.probes.values() {
            // One that is held waits for an answer; only a file's prober, which never waits, has
            // anything to forget.
            if let Ready::Here(prober) = probe
                && let Ok(mut prober) = prober.try_lock()
            {
                prober.restart();
            }
        }
    }

    /// What a probe's answer says of the programs that go on.
    pub(super) fn answered(&mut self, role: Role, verdict: Verdict) {
        match verdict {
            Verdict::Fail(FailKind::Timeout) | Verdict::Inconclusive { .. } => {}
            Verdict::Pass | Verdict::Fail(_) => self.runs.answered(role),
        }
    }

    /// Gives up every probe. Nothing that one of them started is alive then, except what SIGKILL
    /// does not end.
    pub(super) async fn end(&mut self) {
        for (_, task) in std::mem::take(&mut self.in_flight) {
            task.abort();
            // An error says that it was cancelled, as it should be.
            task.await.ok();
        }
        run::clear(&self.mark, &self.registry).await;
    }

    /// Makes one probe; its answer comes by the channel.
    pub(super) fn ask(
        &mut self,
        id: Incarnation,
        role: Role,
        probe: u32,
        tree: &Rc<RefCell<Tree>>,
    ) {
        let Some(work) = self.work(role) else { return };
        if let Some(older) = self.in_flight.remove(&role) {
            older.abort();
        }
        let (waited, tree) = (either_waited(&mut tree.borrow_mut()), Rc::clone(tree));
        let (clock, answers) = (self.clock, self.answers.clone());
        let registry = self.registry.clone();
        let longest = self.rhythm(role).map_or(Duration::MAX, |probe| probe.timeout);
        let task = tokio::task::spawn_local(async move {
            let mut standstill = Standstill::default();
            let look = || standstill.look(clock.now(), tree.borrow_mut().queue());
            let mut run = None;
            let probing = async {
                match work {
                    Work::Here(prober) => {
                        // An older probe that was given up may not have let go of it yet.
                        let mut prober = prober.lock().await;
                        let began = clock.now();
                        (began, prober.ask(began).await)
                    }
                    Work::Run(program, id, timeout) => {
                        let began = clock.now();
                        let ran = match Run::start(*program, id, &registry) {
                            Ok(started) => {
                                let left = timeout.saturating_sub(clock.now().since(began));
                                run.insert(started).wait(left).await
                            }
                            Err(error) => Ran::CannotStart(error),
                        };
                        (began, judge(ran))
                    }
                    Work::Hang(timeout) => {
                        let began = clock.now();
                        tokio::time::sleep(timeout).await;
                        (began, judge(Ran::TimedOut))
                    }
                    Work::Refused(errno, text) => (clock.now(), refused(errno, text)),
                }
            };
            let (began, answer) = with_looks(probing, longest, look).await;
            let took = clock.now().since(began);
            // The receiver lives as long as the loop.
            answers.send(Answered { id, role, probe, answer, took, waited, standstill }).ok();
            // The answer has not waited for that: a program can be slow to die, or unable to.
            if let Some(run) = run {
                run.clean_up().await;
            }
        });
        self.in_flight.insert(role, task);
    }

    fn work(&mut self, role: Role) -> Option<Work> {
        let (argv, timeout) = match self.probes.get(&role)? {
            Ready::Here(prober) => return Some(Work::Here(Rc::clone(prober))),
            Ready::Exec { argv, timeout } => (Rc::clone(argv), *timeout),
        };
        self.registry.settle();
        match self.runs.next(role, &argv, |run| self.registry.goes_on(run.as_bytes())) {
            Next::Start => {}
            Next::HangsAsTheOthers => return Some(Work::Hang(timeout)),
            Next::Blind => {
                let text = format!("{MOST} of its programs were killed and do not end");
                return Some(Work::Refused(Errno(rustix::io::Errno::AGAIN.raw_os_error()), text));
            }
        }
        let (identity, env) = match self.exec_context() {
            Ok(context) => context,
            Err((errno, text)) => return Some(Work::Refused(errno, text)),
        };
        let program = Launchable {
            stdout: Sink::Null,
            stderr: Sink::Null,
            ..Launchable::in_context(&*argv, &self.service.context, identity, env)
        };
        let id = run::new_id(&self.mark);
        self.runs.began(role, &argv, id.clone());
        Some(Work::Run(Box::new(program), id, timeout))
    }

    /// As whom and with which environment the child runs: read from files once per launch.
    fn exec_context(&mut self) -> Result<(Option<Identity>, Env), (Errno, String)> {
        if let Some(context) = &self.exec_context {
            return Ok(context.clone());
        }
        let context = as_the_child(&self.service, &self.mark)?;
        Ok(self.exec_context.insert(context).clone())
    }
}

/// A probe between two times that it is made.
enum Ready {
    Here(Rc<Mutex<Box<Prober>>>),
    Exec { argv: Argv, timeout: Duration },
}

impl From<Prepare> for Ready {
    fn from(probe: Prepare) -> Self {
        match probe {
            Prepare::Here(prober) => Self::Here(Rc::new(Mutex::new(prober))),
            Prepare::Exec { argv, timeout } => Self::Exec { argv: argv.into(), timeout },
        }
    }
}

/// How long the tree, and we who ask, have waited for a processor: an answer needs a turn of both.
/// Only differences mean something.
pub(super) fn either_waited(tree: &mut Tree) -> Duration {
    let ours = proc::share(std::process::id()).unwrap_or_default();
    tree.waited() + ours.waited
}

/// What is to be done for one probe.
enum Work {
    Here(Rc<Mutex<Box<Prober>>>),
    /// A program, what its run is told by, and how long it may take.
    Run(Box<Launchable>, String, Duration),
    /// It would hang for so long.
    Hang(Duration),
    /// It cannot be run, and why.
    Refused(Errno, String),
}

fn refused(errno: Errno, text: String) -> Answer {
    Answer {
        verdict: exec_verdict(ExecOutcome::CannotStart(errno)),
        detail: text,
        status: None,
        body_head: None,
    }
}

fn judge(ran: Ran) -> Answer {
    let (outcome, detail) = match ran {
        Ran::Exited(exit) => (ExecOutcome::Exited(exit), exit.to_string()),
        Ran::TimedOut => (ExecOutcome::TimedOut, String::new()),
        Ran::CannotStart(error) => (ExecOutcome::CannotStart(error.errno), error.to_string()),
    };
    Answer { verdict: exec_verdict(outcome), detail, status: None, body_head: None }
}
