//! Puts a launch together: what to run, with which environment, whose rights, and which pipes.
//!
//! It starts what it is told to and says how that went; it does not decide when.

use std::cell::RefCell;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal as Number;

use crate::config::{BootHook, Service, Stdin};
use crate::hook::{self, HandOver, HandedOver, Told};
use crate::http;
use crate::output::{Stream, Tail};
use crate::process::env::{self, Sources};
use crate::process::user::{self, Identity};
use crate::process::{
    Env, Input, Launchable, Mark, Process, Sink, Tree, signal, spawn, take_terminal_back,
};
use crate::report::Note;
use crate::state::Recorder;
use crate::supervisor::{Errno, Launch, Program, Start};

/// How a launch went well.
#[derive(Clone, Debug)]
pub(super) enum Launched {
    /// It runs, and its last output is kept here.
    Runs(Process, Arc<Tail>),
    /// There is no boot hook.
    NoHook,
}

/// Why nothing runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct NotLaunched {
    pub(super) errno: Errno,
    /// The whole story, for people.
    pub(super) text: String,
}

/// Launches the programs of one service.
pub(super) struct Launcher {
    service: Arc<Service>,
    mark: Mark,
    http: http::Handle,
    recorder: Recorder,
    /// Whether output goes through us.
    pumped: bool,
    /// What the hook of this attempt leaves for the child.
    hand_over: Option<HandOver>,
    /// What a launch has to tell.
    notes: Vec<Note>,
    /// The hook was found and told about.
    told_hook: bool,
    /// What hooks are told about how this run began.
    told_start: &'static str,
}

/// What hooks are told once the service has been healthy in this run.
const NO_START: &str = "none";

/// The signal that asks the child of `service` to end.
pub(super) fn stop_signal(service: &Service) -> Number {
    // The configuration only lets signals through.
    signal(service.stop_signal).unwrap_or(Number::TERM)
}

impl Launcher {
    pub(super) fn new(
        service: Arc<Service>,
        mark: Mark,
        http: http::Handle,
        recorder: Recorder,
        pumped: bool,
        start: Start,
    ) -> Self {
        Self {
            service,
            mark,
            http,
            recorder,
            pumped,
            hand_over: None,
            notes: Vec::new(),
            told_hook: false,
            told_start: start.label(),
        }
    }

    /// What the last launches have to tell.
    pub(super) fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// The service is healthy: later hooks of this run are not about how it began.
    pub(super) const fn healthy(&mut self) {
        self.told_start = NO_START;
    }

    /// The main process of a launch has ended.
    pub(super) fn ended(&self, program: Program) {
        if program == Program::Child && self.service.stdin == Stdin::Inherit {
            take_terminal_back();
        }
    }

    pub(super) fn launch(
        &mut self,
        program: Program,
        why: Launch,
        outage: Duration,
        tree: &Rc<RefCell<Tree>>,
    ) -> Result<Launched, NotLaunched> {
        let service = Arc::clone(&self.service);
        let (argv, user) = match program {
            Program::Child => (words(&service.command), None),
            Program::Repair => match &service.repair {
                Some(repair) => (words(&repair.argv), None),
                None => return Ok(Launched::NoHook),
            },
            Program::BootHook => {
                // What the hook of an earlier attempt left is not for this one's child.
                self.hand_over = None;
                match self.hook_command() {
                    Some((argv, hook)) => (argv, hook.user),
                    None => return Ok(Launched::NoHook),
                }
            }
        };
        let output = Arc::default();
        let mut launchable = self.prepare(program, argv, user.as_deref(), &output)?;
        match program {
            Program::BootHook => {
                launchable.hand_over = self.offer_hand_over();
                let hands_over = launchable.hand_over.is_some();
                self.tell(&mut launchable.env, why, outage, hands_over);
            }
            Program::Repair => self.tell(&mut launchable.env, why, outage, false),
            Program::Child if service.stdin == Stdin::Inherit => launchable.stdin = Input::Inherit,
            Program::Child => {}
        }
        if let Some(cgroup) = tree.borrow().cgroup() {
            launchable.cgroup = cgroup.entrance().ok();
        }
        let process = spawn(launchable)
            .map_err(|error| NotLaunched { errno: error.errno, text: error.to_string() })?;
        if tree.borrow().cgroup().is_some_and(|cgroup| !cgroup.holds(process.pid)) {
            tracing::debug!(pid = process.pid, "{program} could not join its cgroup");
        }
        tree.borrow_mut().launched(process);
        self.recorder.record(process, program);
        Ok(Launched::Runs(process, output))
    }

    fn hook_command(&mut self) -> Option<(Vec<OsString>, BootHook)> {
        let hook = self.service.boot_hook.clone()?;
        let argv = hook::command(&hook.path)?;
        if !std::mem::replace(&mut self.told_hook, true) {
            let by_shell = argv.len() > 1;
            self.notes.push(Note::HookFound { path: hook.path.clone(), by_shell });
        }
        Some((argv, hook))
    }

    /// Everything but what is particular to one kind of program.
    fn prepare(
        &mut self,
        program: Program,
        argv: Vec<OsString>,
        user: Option<&str>,
        output: &Arc<Tail>,
    ) -> Result<Launchable, NotLaunched> {
        let service = Arc::clone(&self.service);
        let identity = self.identity(user)?;
        let handed_over =
            if program == Program::Child { self.take_hand_over() } else { HandedOver::default() };
        for text in handed_over.warnings {
            self.notes.push(Note::LaunchDegraded { program: Program::BootHook, text });
        }
        let sources = Sources {
            context: &service.context,
            identity: identity.as_ref(),
            pumped: self.pumped,
            handed_over: &handed_over.variables,
            mark: &self.mark,
        };
        let (env, warnings) = env::environment(sources)
            .map_err(|error| NotLaunched { errno: error.errno, text: error.to_string() })?;
        for text in warnings {
            self.notes.push(Note::LaunchDegraded { program, text });
        }
        let mut launchable = Launchable::in_context(argv, &service.context, identity, env);
        launchable.stdout = self.sink(Stream::Stdout, output);
        launchable.stderr = self.sink(Stream::Stderr, output);
        Ok(launchable)
    }

    fn identity(&self, user: Option<&str>) -> Result<Option<Identity>, NotLaunched> {
        let context = &self.service.context;
        // A hook's own user brings its own group.
        let group = if user.is_some() { None } else { context.group.as_deref() };
        let user = user.or(context.user.as_deref());
        user::resolve(user, group)
            .map_err(|error| NotLaunched { errno: error.errno(), text: error.to_string() })
    }

    /// Where output goes: through a pipe to the thread that passes it on, or straight to ours.
    fn sink(&mut self, stream: Stream, tail: &Arc<Tail>) -> Sink {
        if !self.pumped {
            return Sink::Inherit;
        }
        match pipe() {
            Ok((read, write)) => {
                self.http.pump(stream, read, tail);
                Sink::To(write)
            }
            Err(error) => {
                let text = format!("its {} goes past us: {error}", stream.label());
                self.notes.push(Note::LaunchDegraded { program: Program::Child, text });
                Sink::Inherit
            }
        }
    }

    fn tell(&self, env: &mut Env, launch: Launch, outage: Duration, hands_over: bool) {
        let (service, start) = (self.service.name.as_str(), self.told_start);
        hook::tell(env, Told { service, start, launch, outage, hands_over });
    }

    fn offer_hand_over(&mut self) -> Option<OwnedFd> {
        let offered = HandOver::new().and_then(|file| Ok((file.for_hook()?, file)));
        match offered {
            Ok((descriptor, file)) => {
                self.hand_over = Some(file);
                Some(descriptor)
            }
            Err(error) => {
                self.hand_over = None;
                let text = format!("there is no REKINDLE_ENV: {error}");
                self.notes.push(Note::LaunchDegraded { program: Program::BootHook, text });
                None
            }
        }
    }

    fn take_hand_over(&mut self) -> HandedOver {
        let Some(file) = self.hand_over.take() else { return HandedOver::default() };
        file.read().unwrap_or_else(|error| HandedOver {
            warnings: vec![format!("REKINDLE_ENV cannot be read: {error}")],
            ..HandedOver::default()
        })
    }
}

pub(super) fn words(words: &[String]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

pub(super) fn pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}
