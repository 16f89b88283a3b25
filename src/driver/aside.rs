//! What is run beside the child to look at it or to tell of it: as whom the child runs, with its
//! environment, and to its end.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::launcher::words;
use super::stuck::{Argv, ByProgram, MOST};
use crate::config::{Command, Service};
use crate::process::env::{self, Sources};
use crate::process::run::{self, Ran};
use crate::process::user::{self, Identity};
use crate::process::{Env, Launchable, Mark, Registry, Sink};
use crate::supervisor::Errno;

/// As whom and with which environment the child runs: read from files each time.
pub(super) fn as_the_child(
    service: &Service,
    mark: &Mark,
) -> Result<(Option<Identity>, Env), (Errno, String)> {
    let context = &service.context;
    let identity = user::resolve(context.user.as_deref(), context.group.as_deref())
        .map_err(|error| (error.errno(), error.to_string()))?;
    let sources =
        Sources { context, identity: identity.as_ref(), pumped: true, handed_over: &[], mark };
    let (env, _) = env::environment(sources).map_err(|error| (error.errno, error.to_string()))?;
    Ok((identity, env))
}

/// Runs short programs beside the child.
#[derive(Clone)]
pub(super) struct Aside {
    pub(super) service: Arc<Service>,
    mark: Mark,
    registry: Registry,
    runs: Rc<RefCell<ByProgram>>,
}

impl Aside {
    pub(super) fn new(service: Arc<Service>, mark: Mark, registry: Registry) -> Self {
        Self { service, mark, registry, runs: Rc::default() }
    }

    /// Runs a command with `variables` on top of the child's environment; how it ended, or why it
    /// could not be run, in words. Nothing of it is alive then, except what SIGKILL does not end.
    pub(super) async fn run<const N: usize>(
        &self,
        command: &Command,
        variables: [(&str, String); N],
        [stdout, stderr]: [Sink; 2],
    ) -> String {
        let argv: Argv = command.argv.as_slice().into();
        self.registry.settle();
        let goes_on = |run: &str| self.registry.goes_on(run.as_bytes());
        if self.runs.borrow_mut().has_most(&argv, goes_on) {
            return format!("not run: {MOST} of its programs were killed and do not end");
        }
        let program = match self.program(&argv, variables) {
            Ok(program) => Launchable { stdout, stderr, ..program },
            Err(why) => return why,
        };
        let id = run::new_id(&self.mark);
        self.runs.borrow_mut().add(argv, [id.clone()]);
        match run::run(program, command.timeout, id, &self.registry).await {
            Ran::Exited(exit) => exit.to_string(),
            Ran::TimedOut => "timeout".to_owned(),
            Ran::CannotStart(error) => error.to_string(),
        }
    }

    fn program<const N: usize>(
        &self,
        argv: &[String],
        variables: [(&str, String); N],
    ) -> Result<Launchable, String> {
        let context = &self.service.context;
        let as_child = as_the_child(&self.service, &self.mark);
        let (identity, mut env) = as_child.map_err(|(_, why)| why)?;
        env.insert("REKINDLE_SERVICE".into(), self.service.name.clone().into());
        env.extend(variables.map(|(name, value)| (name.into(), value.into())));
        Ok(Launchable::in_context(words(argv), context, identity, env))
    }
}
