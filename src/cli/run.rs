//! `rekindle run`: puts the house in order, then supervises until it is over.

mod memory;

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::LocalSet;

use super::{RunArgs, sources};
use crate::announce::{self, Announcer};
use crate::clock::Clock;
use crate::comeback::{OnDisk, Reader, Watched};
use crate::config::{CgroupMode, Config, Loaded, Output, Service};
use crate::driver::{self, Driver, Orders, Received, Setup, Signals, Unprobable};
use crate::http;
use crate::incident::ledger::{self, Ledger};
use crate::log;
use crate::metrics::Metrics;
use crate::notify::Notify;
use crate::output::Writers;
use crate::paths::{self, Environment, PathError};
use crate::process::cgroup::Cgroup;
use crate::process::instance::{InUse, Instance};
use crate::process::{Mark, Orphans, port, proc, reaper, reserve_hand_over_descriptor};
use crate::report::{Note, Reporter, Teller};
use crate::status::Shared;
use crate::supervisor::DrillFault;

use memory::Memory;

/// How long a state directory that is in use is waited for, and how often it is looked at.
const LOCK_PATIENCE: Duration = Duration::from_mins(1);
const LOCK_AGAIN: Duration = Duration::from_millis(500);

/// Each stream gets so long for its last bytes when it is not being read. With the drain below it
/// must stay well within the one second that a stop may take beyond `stop_timeout`.
const FLUSH_PATIENCE: Duration = Duration::from_millis(200);

/// The child's last output gets so long to be read once its tree is gone: a moment, unless a
/// stranger holds the other end.
const DRAIN_PATIENCE: Duration = Duration::from_millis(300);

/// So many descriptors must be free before anything is built. The house and a launch need fewer.
const DESCRIPTORS: usize = 32;
const DESCRIPTORS_AGAIN: Duration = Duration::from_millis(500);

/// Exit code when the state directory stays in use (`EX_CANTCREAT`).
const IN_USE: u8 = 73;
/// Exit code for a configuration that cannot be used (`EX_CONFIG`).
const UNUSABLE: u8 = 78;

/// Why supervision does not begin.
#[derive(Debug, thiserror::Error)]
enum NotStarted {
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Probe(#[from] Unprobable),
    #[error(transparent)]
    Announcer(#[from] announce::NotStarted),
    #[error(transparent)]
    InUse(#[from] InUse),
    /// A stop signal came before anything was started.
    #[error("stopped before anything was started")]
    Stopped,
}

impl NotStarted {
    fn exit_code(&self) -> u8 {
        match self {
            Self::System(_) => 1,
            Self::Announcer(announce::NotStarted::System(_)) => 1,
            Self::Path(_) | Self::Probe(_) | Self::Announcer(_) => UNUSABLE,
            Self::InUse(_) => IN_USE,
            Self::Stopped => 0,
        }
    }
}

/// Waits until there are enough free descriptors to begin with, and says once that it does.
///
/// Without them the runtime could not be built, and whoever starts us cannot know that later there
/// will be some. Nothing has been started yet: a stop signal ends us as it would anybody.
pub fn wait_for_descriptors() {
    let event = |_| rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC);
    let free = || (0..DESCRIPTORS).map(event).collect::<rustix::io::Result<Vec<_>>>();
    let mut told = false;
    while let Err(errno) = free() {
        if !std::mem::replace(&mut told, true) {
            let why = io::Error::from(errno);
            // If stderr is closed nobody can be told.
            writeln!(
                io::stderr(),
                "rekindle: cannot start yet, fewer than {DESCRIPTORS} descriptors are free: {why}; \
                 raise the limit of open files (ulimit -n), it is looked at again and again"
            )
            .ok();
        }
        std::thread::sleep(DESCRIPTORS_AGAIN);
    }
}

/// The configuration file as it is now, before it is read.
pub fn watched_file(args: &RunArgs) -> Option<Watched> {
    let file = sources::file(args.config.as_deref(), &args.command);
    file.map(|path| Watched::now(path.to_owned()))
}

/// Supervises until the service ends for good, and gives the exit code that says how.
pub fn run(loaded: Loaded, args: RunArgs, file: Option<Watched>) -> ExitCode {
    reserve_hand_over_descriptor();
    let writers = match Writers::start() {
        Ok(writers) => writers,
        Err(error) => return refuse(&NotStarted::System(error)),
    };
    // A panic on this thread ends the program, but not before the tree is killed and the log
    // written: the driver does the one while it unwinds, the flush below the other.
    let flush = writers.clone();
    let supervised = std::panic::catch_unwind(move || supervise(loaded, args, file, writers));
    let code = match supervised {
        Ok(Ok(code)) => ExitCode::from(code),
        Ok(Err(error)) => refuse(&error),
        Err(_) => ExitCode::FAILURE,
    };
    flush.flush(FLUSH_PATIENCE);
    code
}

fn refuse(error: &NotStarted) -> ExitCode {
    // If stderr is closed nobody can be told; the exit code still says it.
    writeln!(io::stderr(), "rekindle: {error}").ok();
    ExitCode::from(error.exit_code())
}

fn supervise(
    loaded: Loaded,
    args: RunArgs,
    file: Option<Watched>,
    writers: Writers,
) -> Result<u8, NotStarted> {
    let Loaded { config, warnings } = loaded;
    let on_disk = OnDisk::new(config.clone(), file, reader(args));
    let Config { supervisor, notify, services } = config;
    let Some(service) = services.into_iter().next() else {
        return Err(io::Error::other("there is no service to supervise").into());
    };
    let clock = Clock::start();
    let metrics = Arc::new(Metrics::new(&service));
    log::init(supervisor.log_level, supervisor.log_format, &writers, Arc::clone(&metrics));
    let teller = Teller::new(&service.name, Arc::clone(&metrics));
    reaper::adopt_orphans()?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let house = House { supervisor, notify, service, clock, metrics, writers, teller };
    let code = LocalSet::new().block_on(&runtime, house.live(&warnings, on_disk));
    // A name lookup that hangs must not hold up our end.
    runtime.shutdown_background();
    code
}

/// Reads what a start by the same arguments would, and tries what it would try.
fn reader(args: RunArgs) -> Reader {
    Box::new(move || {
        let loaded = sources::config(args.config.as_deref(), &args.settings, &args.command);
        let config = loaded.map_err(|error| error.to_string())?.config;
        for service in &config.services {
            driver::prepare(service).map_err(|error| error.to_string())?;
        }
        Ok(config)
    })
}

/// What every part of the supervision is built from.
struct House {
    supervisor: crate::config::Supervisor,
    notify: crate::config::Notify,
    service: Service,
    clock: Clock,
    metrics: Arc<Metrics>,
    writers: Writers,
    teller: Teller,
}

impl House {
    async fn live(mut self, warnings: &[String], on_disk: OnDisk) -> Result<u8, NotStarted> {
        let mut signals = Signals::listen()?;
        self.tell_the_start(warnings);
        let probers = driver::prepare(&self.service)?;

        let env = Environment::of_process();
        let name = &self.supervisor.name;
        let state_dir = paths::state_dir(self.supervisor.state_dir.as_deref(), name, &env).ok();
        let instance = self.open(state_dir.as_deref(), &mut signals.orders).await?;
        let control = self.control_socket(state_dir.as_deref(), &env)?;

        let mark = Mark { instance: instance.id, service: self.service.name.clone() };
        let records = instance.records;
        let memory = Memory::open(&self, &mark, records.as_ref(), state_dir.as_deref());
        let (beginning, splay) = (memory.beginning.clone(), memory.splay);
        self.service.policy.first_delay = splay.map_or(Duration::ZERO, |splay| splay.delay);
        let shared = Shared::continuing(self.clock, &self.service.name, &beginning, splay);
        // What is written from now on says more about it.
        shared.set_forgets(instance.unwritten);
        let shared = Arc::new(shared.with_state_dir(state_dir));
        let (orders, drills) = unbounded_channel();
        let http = self.open_doors(control, &shared, orders)?;
        // Held until nothing of ours is alive, whatever becomes of the records.
        let _lock = instance.lock;
        let directory = records.as_ref().map(|records| records.directory().try_clone_to_owned());
        let ledger = self.open_ledger(directory.transpose()?, &shared)?;
        let recorder = memory.go_on(&self, records, &shared, on_disk).await?;
        let keeper = recorder.keeper();
        let orphans = if reaper::is_init() { Orphans::OnlyIdentified } else { Orphans::AllOurs };
        let cgroup = self.cgroup(&mark);
        let reporter = Reporter::new(&self.service, self.metrics, shared, Notify::from_env())
            .continuing(&beginning, keeper.clone(), ledger.clone());
        let pumped = is_pumped(&self.service);
        let pipes = http.clone();
        let driver = Driver::new(Setup {
            service: self.service,
            notify: self.notify.exec,
            clock: self.clock,
            mark,
            earlier: instance.earlier,
            start: beginning.start,
            forward: beginning.forward,
            recorder,
            orphans,
            cgroup: cgroup.clone(),
            probers,
            http,
            pumped,
            reporter,
            signals,
            drills,
        })?;
        let outcome = driver.run().await;
        // What is left, if anything is, has not stopped.
        let stopped = (!outcome.leaves_something()).then(|| memory::has_stopped(&keeper));
        if let Some(cgroup) = cgroup
            && let Err(error) = cgroup.remove()
        {
            tracing::debug!("the cgroup stays: {error}");
        }
        // The child's last words may still be on their way.
        pipes.drain(DRAIN_PATIENCE);
        let written = memory::wait_for_the_end(ledger.written());
        tokio::join!(
            async {
                if let Some(stopped) = stopped {
                    stopped.await;
                }
            },
            written
        );
        pipes.remove_control_socket();
        let code = outcome.exit_code();
        self.teller.note(&Note::Ended { code });
        Ok(code)
    }

    fn tell_the_start(&self, warnings: &[String]) {
        let program = self.service.command.first().cloned().unwrap_or_default();
        self.teller.note(&Note::Started { program });
        for warning in warnings {
            self.teller.note(&Note::ConfigWarning { text: warning.clone() });
        }
        if proc::hides_others() {
            self.teller.note(&Note::ProcHides);
        }
    }

    /// Opens the state directory, waiting for another supervisor that still uses it.
    async fn open(
        &self,
        state_dir: Option<&Path>,
        orders: &mut Orders,
    ) -> Result<Instance, NotStarted> {
        let Some(directory) = state_dir else {
            let why = "there is no home directory; give --state-dir".to_owned();
            let path = PathBuf::from("~/.local/state/rekindle");
            self.teller.note(&Note::StateNotDurable { path, why });
            return Ok(Instance::for_this_run(String::new()));
        };
        let give_up_at = self.clock.now() + LOCK_PATIENCE;
        let mut told = false;
        loop {
            match Instance::open(directory) {
                Ok(instance) => {
                    self.tell_of(&instance, directory);
                    return Ok(instance);
                }
                Err(in_use) if self.clock.now() >= give_up_at => return Err(in_use.into()),
                Err(in_use) if !told => {
                    told = true;
                    let (path, holder) = (directory.to_owned(), in_use.holder());
                    self.teller.note(&Note::StateDirInUse { path, holder });
                }
                Err(_) => {}
            }
            tokio::select! {
                received = orders.next() => {
                    if received == Received::Stop {
                        return Err(NotStarted::Stopped);
                    }
                }
                () = tokio::time::sleep(LOCK_AGAIN) => {}
            }
        }
    }

    fn tell_of(&self, instance: &Instance, directory: &Path) {
        for text in &instance.warnings {
            self.teller.note(&Note::ConfigWarning { text: text.clone() });
        }
        if let Some(why) = &instance.unwritten {
            let (path, why) = (directory.to_owned(), why.clone());
            self.teller.note(&Note::StateNotDurable { path, why });
        }
    }

    /// Where orders come in. Nothing waits for them: without a place for it, we go on without.
    fn control_socket(
        &self,
        state_dir: Option<&Path>,
        env: &Environment,
    ) -> Result<Option<PathBuf>, PathError> {
        match paths::control_socket(&self.supervisor.name, state_dir, env) {
            Err(error @ PathError::NoPlaceForSocket { .. }) => {
                self.teller.note(&Note::ConfigWarning { text: error.to_string() });
                Ok(None)
            }
            found => found.map(Some),
        }
    }

    fn open_doors(
        &self,
        control: Option<PathBuf>,
        shared: &Arc<Shared>,
        orders: UnboundedSender<DrillFault>,
    ) -> io::Result<http::Handle> {
        let desk = http::DrillDesk { orders, policy: self.service.policy.clone() };
        http::start(http::Setup {
            listen: self.supervisor.listen,
            control,
            holder_of: port::listener_of,
            shared: Arc::clone(shared),
            metrics: Arc::clone(&self.metrics),
            writers: self.writers.clone(),
            teller: self.teller.clone(),
            drills: self.supervisor.drills.then_some(desk),
        })
    }

    /// Starts the thread that completes and writes records of outages.
    fn open_ledger(
        &self,
        directory: Option<OwnedFd>,
        shared: &Arc<Shared>,
    ) -> Result<Ledger, NotStarted> {
        let start = |webhook| Announcer::start(webhook, &self.supervisor.name, self.teller.clone());
        let announcer = self.notify.webhook.as_ref().map(start).transpose()?;
        let ledger = Ledger::start(ledger::Setup {
            directory,
            mask: self.supervisor.mask.clone(),
            announcer,
            shared: Arc::clone(shared),
            metrics: Arc::clone(&self.metrics),
            teller: self.teller.clone(),
        })?;
        Ok(ledger)
    }

    fn cgroup(&self, mark: &Mark) -> Option<Cgroup> {
        if self.supervisor.cgroup == CgroupMode::Off {
            return None;
        }
        Cgroup::create(mark, self.supervisor.cgroup)
            .inspect_err(|why| tracing::debug!("no cgroup of our own: {why}"))
            .ok()
    }
}

/// On a terminal the child writes to it itself, so that it knows that there is one.
fn is_pumped(service: &Service) -> bool {
    match service.output {
        Output::Pump => true,
        Output::Inherit => false,
        Output::Auto => !(io::stdout().is_terminal() && io::stderr().is_terminal()),
    }
}
