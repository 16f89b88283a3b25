//! What is run beside the child to look at it or to tell of it: as whom the child runs, with its
//! environment, and to its end.

use std::sync::Arc;
use std::time::Duration;

use super::launcher::words;
use crate::config::Service;
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
}

impl Aside {
    pub(super) const fn new(service: Arc<Service>, mark: Mark, registry: Registry) -> Self {
        Self { service, mark, registry }
    }

    /// A command with `variables` on top of the child's environment, and no output; why it cannot
    /// be run otherwise.
    pub(super) fn program<const N: usize>(
        &self,
        argv: &[String],
        variables: [(&str, String); N],
    ) -> Result<Launchable, String> {
        let context = &self.service.context;
        let as_child = as_the_child(&self.service, &self.mark);
        let (identity, mut env) = as_child.map_err(|(_, why)| why)?;
        env.insert("REKINDLE_SERVICE".into(), self.service.name.clone().into());
        env.extend(variables.map(|(name, value)| (name.into(), value.into())));
        let program = Launchable::in_context(words(argv), context, identity, env);
        Ok(Launchable { stdout: Sink::Null, stderr: Sink::Null, ..program })
    }

    /// Runs a program; how it ended, in words. Nothing of it is alive then, except what SIGKILL does
    /// not end.
    pub(super) async fn run(&self, program: Launchable, timeout: Duration) -> String {
        match run::run(program, timeout, &self.mark, &self.registry).await {
            Ran::Exited(exit) => exit.to_string(),
            Ran::TimedOut => "timeout".to_owned(),
            Ran::CannotStart(error) => error.to_string(),
        }
    }
}
