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

use crate::clock::Clock;
use crate::config::{Probe, ProbeTarget, Service};
use crate::probe::{Answer, ExecOutcome, ProbeError, Prober, exec_verdict};
use crate::process::env::{self, Sources};
use crate::process::port::PortWatch;
use crate::process::run::{Ran, run};
use crate::process::{Launchable, Mark, Registry, Sink, Tree, user};
use crate::supervisor::{Errno, Incarnation, Role};

/// A probe's answer, and what is needed to judge it.
pub(super) struct Answered {
    pub(super) id: Incarnation,
    pub(super) role: Role,
    pub(super) probe: u32,
    pub(super) answer: Answer,
    pub(super) took: Duration,
    /// The tree's run delay when the probe began.
    pub(super) run_delay: Duration,
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
pub(super) fn watched_port(service: &Service) -> Option<(PortWatch, Vec<Role>)> {
    let reached: Vec<(Role, (String, u16))> =
        roles(service).filter_map(|(role, probe)| Some((role, address(probe)?))).collect();
    let first = [Role::Liveness, Role::Startup]
        .iter()
        .find_map(|role| reached.iter().find(|(reaching, _)| reaching == role))?;
    let (host, port) = &first.1;
    let same = reached.iter().filter(|(_, address)| *address == first.1);
    Some((PortWatch::new(host, *port), same.map(|(role, _)| *role).collect()))
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
    probes: BTreeMap<Role, Rc<Mutex<Prepare>>>,
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
        let probes =
            prepared.into_iter().map(|(role, ready)| (role, Rc::new(Mutex::new(ready)))).collect();
        Self { service, probes, in_flight: BTreeMap::new(), mark, registry, clock, answers }
    }

    /// A probe of this role that takes longer did not only use its own timeout.
    pub(super) fn longest(&self, role: Role) -> Duration {
        let policy = &self.service.policy;
        let rhythm = match role {
            Role::Startup => policy.startup,
            Role::Liveness => policy.liveness,
            Role::Readiness => policy.readiness,
        };
        rhythm.map_or(Duration::MAX, |probe| probe.timeout + probe.tolerated_lateness())
    }

    /// A new child owes nothing for what its predecessor did.
    pub(super) fn restart(&mut self) {
        for (_, task) in std::mem::take(&mut self.in_flight) {
            task.abort();
        }
        for probe in self.probes.values() {
            // Whoever holds it is being aborted; its next answer is for nobody.
            if let Ok(mut ready) = probe.try_lock()
                && let Prepare::Here(prober) = &mut *ready
            {
                prober.restart();
            }
        }
    }

    /// Makes one probe; its answer comes by the channel.
    pub(super) fn ask(
        &mut self,
        id: Incarnation,
        role: Role,
        probe: u32,
        tree: &Rc<RefCell<Tree>>,
    ) {
        let Some(ready) = self.probes.get(&role).cloned() else { return };
        if let Some(older) = self.in_flight.remove(&role) {
            older.abort();
        }
        let run_delay = tree.borrow_mut().run_delay();
        let (clock, answers) = (self.clock, self.answers.clone());
        let program = self.program_of(&ready);
        let (mark, registry) = (self.mark.clone(), self.registry.clone());
        let task = tokio::task::spawn_local(async move {
            let mut ready = ready.lock().await;
            let began = clock.now();
            let answer = match &mut *ready {
                Prepare::Here(prober) => prober.ask(began).await,
                Prepare::Exec { timeout, .. } => match program {
                    Some(Ok(program)) => judge(run(program, *timeout, &mark, &registry).await),
                    Some(Err(refused)) => refused,
                    None => return,
                },
            };
            let took = clock.now().since(began);
            // The receiver lives as long as the loop.
            answers.send(Answered { id, role, probe, answer, took, run_delay }).ok();
        });
        self.in_flight.insert(role, task);
    }

    /// The program of an `exec` probe, as the child would be run, without its output.
    fn program_of(&self, ready: &Mutex<Prepare>) -> Option<Result<Launchable, Answer>> {
        let ready = ready.try_lock().ok()?;
        let Prepare::Exec { argv, .. } = &*ready else { return None };
        let context = &self.service.context;
        let refused = |text: String| Answer {
            verdict: exec_verdict(ExecOutcome::CannotStart(Errno(libc::EINVAL))),
            detail: text,
            status: None,
            body_head: None,
        };
        let identity = match user::resolve(context.user.as_deref(), context.group.as_deref()) {
            Ok(identity) => identity,
            Err(error) => return Some(Err(refused(error.to_string()))),
        };
        let sources = Sources {
            context,
            identity: identity.as_ref(),
            pumped: true,
            handed_over: &[],
            mark: &self.mark,
        };
        Some(env::environment(sources).map_err(|error| refused(error.to_string())).map(
            |(env, _)| Launchable {
                stdout: Sink::Null,
                stderr: Sink::Null,
                ..Launchable::in_context(argv, context, identity, env)
            },
        ))
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
