//! What a scenario is played on: a scratch directory with a gateway, its boot hook and a
//! configuration, and what stands between them.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::Duration;

use super::inside;
use super::own::Own;
use super::proxy::{Mode, Proxy};
use super::sandbox::Kind;
use super::scenario::Scenario;

/// How fast the demo gateway is healed: fast enough to watch.
const USUAL: &str = r#"
startup_timeout = "3s"
settle = "500ms"
stop_timeout = "2s"
unhealthy_stop_timeout = "1s"
slow_retry = "5s"
probe.startup.period = "50ms"
probe.liveness.period = "200ms"
probe.liveness.timeout = "500ms"
probe.liveness.failure_threshold = 2
probe.liveness.expect_json = { "/ok" = true }
backoff.initial = "100ms"
backoff.max = "500ms"
"#;

/// The scratch directory of a whole drill, nobody else's.
pub(super) struct Directory {
    pub(super) path: PathBuf,
    stages: AtomicU32,
}

impl Directory {
    /// Creates it where temporary files are.
    pub(super) fn create() -> io::Result<Self> {
        let mut number = 0;
        loop {
            let name = format!("rekindle-drill-{}.{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match DirBuilder::new().mode(0o700).create(&path) {
                // What an earlier drill left may be looked at.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error),
                Ok(()) => return Ok(Self { path, stages: AtomicU32::new(0) }),
            }
        }
    }

    /// Removes it, unless something in it is to be looked at.
    pub(super) fn remove_unless(self, kept: bool) {
        if !kept {
            // It is the system's temporary directory: what cannot be removed does no harm.
            fs::remove_dir_all(self.path).ok();
        }
    }
}

/// One scenario's gateway, and what stands between it and its supervisor.
pub(super) struct Stage {
    pub(super) directory: PathBuf,
    /// The arguments of `rekindle`.
    pub(super) arguments: Vec<String>,
    /// Where the gateway listens, if it is probed there.
    pub(super) gateway: Option<SocketAddr>,
    /// Between probe and gateway.
    pub(super) proxy: Option<Proxy>,
    /// What the boot hook waits for.
    pub(super) dependency: Option<Proxy>,
    /// Whether a boot hook runs before each launch.
    pub(super) has_hook: bool,
    /// How long it may take to stop.
    pub(super) stop_timeout: Duration,
}

impl Stage {
    /// Sets the scene.
    pub(super) fn set(
        scenario: &Scenario,
        kind: Kind,
        drill: &Directory,
        own: Option<&Own>,
    ) -> io::Result<Self> {
        let number = drill.stages.fetch_add(1, Ordering::Relaxed);
        let directory = drill.path.join(format!("{number}-{}", scenario.name));
        DirBuilder::new().mode(0o700).create(&directory)?;
        for (name, text) in scenario.files {
            fs::write(directory.join(name), format!("{text}\n"))?;
        }
        match own {
            Some(own) => own.stage(scenario, directory),
            None => demo(scenario, kind, directory),
        }
    }

    /// Where all that the sandbox writes is found.
    pub(super) fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Takes the scene down.
    pub(super) fn remove(&self) {
        // It goes with the whole drill's directory at the latest.
        fs::remove_dir_all(&self.directory).ok();
    }
}

/// A stage for the demo gateway.
fn demo(scenario: &Scenario, kind: Kind, directory: PathBuf) -> io::Result<Stage> {
    let port = free_port();
    let gateway = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let proxy = scenario.has_proxy().then(|| Proxy::start(gateway)).transpose()?;
    let dependency = scenario.has_dependency().then(|| Proxy::start(gateway)).transpose()?;
    if let Some(dependency) = &dependency {
        // Any answer will do.
        dependency.turn(Mode::WrongBody);
        fs::write(directory.join("dependency"), format!("http://{}/\n", dependency.address))?;
    }
    let script = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        Ok::<_, io::Error>(path)
    };
    let hook = script("boot.sh", include_str!("boot.sh"))?;
    let command = script("gateway.sh", include_str!("gateway.sh"))?;
    fs::write(directory.join("data"), "whole\n")?;

    let probed = proxy.as_ref().map_or(gateway, |proxy| proxy.address);
    let mut keys = scenario.keys.replace("{gateway}", &format!("http://{gateway}"));
    if !keys.contains("health = ") {
        keys += "health = ";
        keys += &quoted(&format!("http://{probed}/health"));
    }
    if proxy.is_some() && kind == Kind::OwnTree {
        // Where the proxy can be seen it is a stranger who answers in the gateway's place.
        keys.push_str("\nimpostor = \"off\"");
    }
    let [state, command, hook] =
        [directory.join(inside::STATE), command, hook].map(|path| quoted(&path.to_string_lossy()));
    let text = format!(
        "[supervisor]\nname = \"drill\"\nlisten = \"off\"\nstate_dir = {state}\n\
         log_level = \"debug\"\n[service.gateway]\ncommand = [\"/bin/sh\", {command}, \"{port}\"]\n\
         boot_hook = {{ path = {hook}, timeout = \"2s\" }}\n{keys}{USUAL}"
    );
    let file = directory.join("rekindle.toml");
    fs::write(&file, text)?;
    Ok(Stage {
        arguments: ["run", "--config", &file.display().to_string()].map(str::to_owned).into(),
        directory,
        gateway: Some(gateway),
        proxy,
        dependency,
        has_hook: true,
        stop_timeout: Duration::from_secs(2),
    })
}

/// A text in TOML: its basic strings and Rust's agree on the escapes that occur in paths.
fn quoted(text: &str) -> String {
    format!("{text:?}")
}

/// A port that nothing listens on, below those from which the kernel takes ports for outgoing
/// connections: while the gateway is down, none of them shall take its place.
fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    static TRIED: AtomicU16 = AtomicU16::new(0);
    // Drills that run side by side begin at different places.
    let start = std::process::id().wrapping_mul(97);
    loop {
        let next = start.wrapping_add(TRIED.fetch_add(1, Ordering::Relaxed).into());
        let port = FIRST + u16::try_from(next % u32::from(COUNT)).expect("less than COUNT");
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
}
