//! The user's own service as the one that is drilled: its command, hook and probes, on a scratch
//! state directory.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;

use super::NoDrill;
use super::inside;
use super::proxy::{Mode, Proxy};
use super::scenario::{Place, Scenario, Step};
use super::stage::Stage;
use crate::config::{Config, HttpProbe, ProbeTarget, Service, Supervisor};
use crate::paths::{self, Environment};
use crate::process::{instance, port};

/// Beyond what the configuration allows for one attempt, so long is waited for a recovery.
const MARGIN: Duration = Duration::from_mins(1);

/// The user's own service.
#[derive(Clone, Debug)]
pub struct Own {
    file: PathBuf,
    supervisor: Supervisor,
    service: Service,
}

impl Own {
    /// What this file says; nothing if it has no service.
    pub fn new(file: PathBuf, config: Config) -> Option<Self> {
        let Config { supervisor, services, .. } = config;
        Some(Self { file, supervisor, service: services.into_iter().next()? })
    }

    /// The objective that its configuration sets.
    pub const fn objective(&self) -> Option<Duration> {
        self.service.recovery_objective
    }

    /// Whether this scenario can be done to any gateway: it needs no files that only the demo
    /// gateway knows, and no probe that there is not.
    pub fn fits(&self, scenario: &Scenario) -> bool {
        let is_probed = self.service.policy.liveness.is_some();
        let fits = |step: &Step| match step {
            Step::Sick(mode) => self.probed().is_some() && self.would_notice(*mode),
            Step::Signal(signal) => *signal != rustix::process::Signal::STOP || is_probed,
            Step::AwaitState(state) => *state != "boot_hook" || self.has_hook(),
            Step::KillSupervisor | Step::CutPower | Step::Pause(_) => true,
            Step::Ask(_)
            | Step::Plant(..)
            | Step::StaleLock
            | Step::Dependency { .. }
            | Step::AwaitHookFailures(_) => false,
        };
        // A supervisor can be killed without the gateway's helper, too.
        let needless = |name| name == inside::READ_ONLY || scenario.place == Place::OwnTree;
        !scenario.steps.is_empty()
            && scenario.keys.is_empty()
            && scenario.files.iter().all(|(name, _)| needless(*name))
            && scenario.steps.iter().all(fits)
    }

    /// How long one recovery may take.
    pub(super) fn patience(&self) -> Duration {
        let policy = &self.service.policy;
        let hook = policy.hook.map_or(Duration::ZERO, |hook| hook.timeout);
        policy.startup_timeout + hook + policy.stop_timeout + MARGIN
    }

    /// A service must not be started beside itself.
    pub(super) fn refuse_if_in_use(&self) -> Result<(), NoDrill> {
        let in_use = |what: String| NoDrill::InUse { service: self.service.name.clone(), what };
        let (name, env) = (&self.supervisor.name, Environment::of_process());
        let state_dir = paths::state_dir(self.supervisor.state_dir.as_deref(), name, &env).ok();
        if let Ok(socket) = paths::control_socket(name, state_dir.as_deref(), &env)
            && paths::is_answered(&socket).unwrap_or(false)
        {
            return Err(in_use(format!("a rekindle answers on {}", socket.display())));
        }
        if let Some(directory) = state_dir
            && instance::is_locked(&directory)
        {
            return Err(in_use(format!("its state directory {} is in use", directory.display())));
        }
        if let Some(address) = self.listens_on()
            && let Some(holder) = port::listener_of(address)
        {
            return Err(in_use(format!("port {} is held by {holder}", address.port())));
        }
        Ok(())
    }

    /// A stage for it.
    pub(super) fn stage(&self, scenario: &Scenario, directory: PathBuf) -> io::Result<Stage> {
        let state = directory.join(inside::STATE);
        let mut arguments: Vec<_> =
            ["run", "--listen", "off", "--notify", "false", "--name", "drill"]
                .map(str::to_owned)
                .into();
        for (flag, path) in [("--config", &self.file), ("--state-dir", &state)] {
            arguments.extend([flag.to_owned(), path.display().to_string()]);
        }
        let mut proxy = None;
        if scenario.has_proxy()
            && let Some((gateway, path)) = self.probed()
        {
            let between = Proxy::start(gateway)?;
            arguments.extend(["--health".to_owned(), format!("http://{}{path}", between.address)]);
            proxy = Some(between);
        }
        Ok(Stage {
            directory,
            arguments,
            gateway: self.listens_on(),
            proxy,
            dependency: None,
            has_hook: self.has_hook(),
            stop_timeout: self.service.policy.stop_timeout,
        })
    }

    fn has_hook(&self) -> bool {
        self.service.boot_hook.as_ref().is_some_and(|hook| hook.path.exists())
    }

    /// Whether its probe looks at what is wrong then.
    fn would_notice(&self, mode: Mode) -> bool {
        self.http_probe().is_some_and(|probe| match mode {
            Mode::Error500 => !probe.expect_status.contains(500),
            Mode::WrongBody => probe.expect_body.is_some() || !probe.expect_json.is_empty(),
            Mode::Well | Mode::Over => false,
            Mode::Slow | Mode::Reset | Mode::BlackHole => true,
        })
    }

    fn http_probe(&self) -> Option<&HttpProbe> {
        match &self.service.probes.liveness.as_ref()?.target {
            ProbeTarget::Http(probe) => Some(probe),
            ProbeTarget::Tcp { .. } | ProbeTarget::Exec { .. } | ProbeTarget::File { .. } => None,
        }
    }

    /// Where it is probed by plain HTTP, and the path there: a proxy can be put in between.
    fn probed(&self) -> Option<(SocketAddr, String)> {
        let probe = self.http_probe()?;
        let url: Uri = probe.url.parse().ok()?;
        if url.scheme_str() != Some("http") || probe.unix_socket.is_some() {
            return None;
        }
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        Some((resolve(url.host()?, url.port_u16().unwrap_or(80))?, path.to_owned()))
    }

    /// Where it listens, as far as its probe tells.
    fn listens_on(&self) -> Option<SocketAddr> {
        match &self.service.probes.liveness.as_ref()?.target {
            ProbeTarget::Http(_) => self.probed().map(|(address, _)| address),
            ProbeTarget::Tcp { host, port } => resolve(host, *port),
            ProbeTarget::Exec { .. } | ProbeTarget::File { .. } => None,
        }
    }
}

fn resolve(host: &str, port: u16) -> Option<SocketAddr> {
    (host.trim_matches(['[', ']']), port).to_socket_addrs().ok()?.next()
}
