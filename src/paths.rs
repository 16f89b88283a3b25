//! Where an instance keeps its state and its control socket, and where others look for it.
//!
//! The environment is handed in, so that the answers can be tested. Nothing is created here.
//! Several instances may live in one sandbox under different names: every default place ends in
//! the name.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// The control socket's name in its directory.
const SOCKET: &str = "control.sock";
/// The longest path that a unix socket can have, in bytes.
const MAX_SOCKET_PATH: usize = 107;

/// What the places depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// `$RUNTIME_DIRECTORY`, the first of its list: made for us by systemd.
    pub runtime_directory: Option<PathBuf>,
    /// `$STATE_DIRECTORY`, the first of its list: made for us by systemd.
    pub state_directory: Option<PathBuf>,
    /// `$XDG_STATE_HOME`, else `~/.local/state`.
    pub user_state: Option<PathBuf>,
    /// Whether we are root.
    pub root: bool,
    /// Where control sockets are: `/run/rekindle`.
    pub run: PathBuf,
    /// Where root's state is: `/var/lib/rekindle`.
    pub var_lib: PathBuf,
}

/// Why there is no such place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// We are not root, and nothing says where our home is.
    #[error(
        "cannot tell where to keep state: neither XDG_STATE_HOME nor HOME is set; \
         give --state-dir"
    )]
    NoHome,
    /// `/run/rekindle` cannot be written and there is no state directory either.
    #[error("cannot put a control socket anywhere: {} is not writable; give --state-dir", run.display())]
    NoPlaceForSocket {
        /// Where it would have been.
        run: PathBuf,
    },
    /// The path does not fit into a socket address.
    #[error(
        "cannot use control socket {}: its path has {} bytes and may have {MAX_SOCKET_PATH}; \
         give a shorter --state-dir or --name",
        path.display(), path.as_os_str().len()
    )]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// No instance is to be seen.
    #[error(
        "cannot find {}: no {SOCKET}{} in {}; is it running?",
        whom(name.as_deref(), state_dir.as_deref()),
        if state_dir.is_some() { " of it" } else { "" },
        Places(looked)
    )]
    NotFound {
        /// Which one was wanted.
        name: Option<String>,
        /// The one that keeps its state there was wanted.
        state_dir: Option<PathBuf>,
        /// The directories.
        looked: Vec<PathBuf>,
    },
    /// More than one is to be seen, and none was named.
    #[error("several instances are running ({}): choose one with --name", names.join(", "))]
    Several {
        /// Their names.
        names: Vec<String>,
    },
}

impl Environment {
    /// That of this process.
    pub fn of_process() -> Self {
        Self::new(rustix::process::geteuid().is_root(), |name| std::env::var_os(name))
    }

    fn new(root: bool, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        // Relative paths are to be ignored, says the XDG base directory specification.
        let path = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let first = |name| {
            let list = variable(name)?;
            std::env::split_paths(&list).next().filter(|path| path.is_absolute())
        };
        Self {
            runtime_directory: first("RUNTIME_DIRECTORY"),
            state_directory: first("STATE_DIRECTORY"),
            user_state: path("XDG_STATE_HOME")
                .or_else(|| path("HOME").map(|home| home.join(".local/state"))),
            root,
            run: "/run/rekindle".into(),
            var_lib: "/var/lib/rekindle".into(),
        }
    }

    /// Where the state of user instances is.
    fn user_root(&self) -> Option<PathBuf> {
        self.user_state.as_ref().map(|state| state.join("rekindle"))
    }
}

/// Where the instance `name` keeps its state.
pub fn state_dir(
    explicit: Option<&Path>,
    name: &str,
    env: &Environment,
) -> Result<PathBuf, PathError> {
    if let Some(path) = explicit.or(env.state_directory.as_deref()) {
        return Ok(path.to_owned());
    }
    if env.root {
        return Ok(env.var_lib.join(name));
    }
    env.user_root().map(|root| root.join(name)).ok_or(PathError::NoHome)
}

/// Where the instance `name` listens for orders; `state_dir` is for where `/run` cannot be used.
pub fn control_socket(
    name: &str,
    state_dir: Option<&Path>,
    env: &Environment,
) -> Result<PathBuf, PathError> {
    let run = env.run.join(name);
    let directory = match (&env.runtime_directory, state_dir) {
        (Some(runtime), _) => runtime.clone(),
        (None, _) if is_usable(&run) => run,
        (None, Some(state_dir)) => state_dir.to_owned(),
        (None, None) => return Err(PathError::NoPlaceForSocket { run }),
    };
    let path = directory.join(SOCKET);
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        return Err(PathError::TooLong { path });
    }
    Ok(path)
}

/// The control socket of the running instance `name`, or of the only one if no name is given.
///
/// With a state directory it is that of the instance which keeps its state there: `keeps` asks
/// whoever listens on a socket where he does. One who does not say may be the wanted one.
pub fn find_control_socket(
    name: Option<&str>,
    state_dir: Option<&Path>,
    env: &Environment,
    keeps: &dyn Fn(&Path) -> Option<PathBuf>,
) -> Result<PathBuf, PathError> {
    let is_anothers = |socket: &Path| {
        let kept = state_dir.and_then(|_| keeps(socket));
        state_dir.zip(kept).is_some_and(|(wanted, kept)| !is_same(wanted, &kept))
    };
    let socket_in = |directory: &PathBuf| {
        Some(directory.join(SOCKET)).filter(|socket| socket.exists() && !is_anothers(socket))
    };
    // Those that were killed have left their sockets behind.
    let listens = |socket: &PathBuf| is_answered(socket).unwrap_or(true);
    let best_in = |directories: &[PathBuf]| {
        let mut sockets: Vec<_> = directories.iter().filter_map(socket_in).collect();
        sockets.sort_by_key(|socket| !listens(socket));
        sockets.into_iter().next()
    };
    let own = [env.runtime_directory.as_deref(), state_dir, env.state_directory.as_deref()];
    let mut looked: Vec<_> = own.into_iter().flatten().map(Path::to_owned).collect();
    // The next run may have put its own elsewhere, and can be told by its state directory.
    if let Some(socket) = best_in(&looked).filter(|it| state_dir.is_none() || listens(it)) {
        return Ok(socket);
    }
    let state_dir = state_dir.map(Path::to_owned);
    if name.is_none() && env.runtime_directory.is_some() && state_dir.is_none() {
        // That is where ours would be: nobody else is asked in its place.
        return Err(PathError::NotFound { name: None, state_dir, looked });
    }
    let roots = [Some(env.run.clone()), env.user_root(), Some(env.var_lib.clone())];
    let roots: Vec<_> = roots.into_iter().flatten().collect();
    if let Some(name) = name {
        let named: Vec<_> = roots.iter().map(|root| root.join(name)).collect();
        let socket = best_in(&named);
        looked.extend(named);
        let name = Some(name.to_owned());
        return socket.ok_or(PathError::NotFound { name, state_dir, looked });
    }
    let mut instances = BTreeMap::new();
    for (name, path) in roots.iter().rev().flat_map(|root| instances_below(root)) {
        instances.insert(name, path);
    }
    instances.retain(|_, path| !is_anothers(path));
    if instances.len() > 1 {
        instances.retain(|_, socket| listens(socket));
    }
    let names: Vec<_> = instances.keys().cloned().collect();
    if names.len() > 1 {
        return Err(PathError::Several { names });
    }
    looked.extend(roots);
    instances.into_values().next().ok_or(PathError::NotFound { name: None, state_dir, looked })
}

/// Whether both paths lead to one directory.
fn is_same(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino()));
    match (identity(one), identity(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// Where the instance `name`, or if no name is given any, may keep its state.
pub fn state_dirs(name: Option<&str>, env: &Environment) -> Vec<PathBuf> {
    if let Some(own) = &env.state_directory {
        return vec![own.clone()];
    }
    let roots = [Some(env.var_lib.clone()), env.user_root()].into_iter().flatten();
    match name {
        Some(name) => roots.map(|root| root.join(name)).collect(),
        None => roots
            .filter_map(|root| std::fs::read_dir(root).ok())
            .flat_map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())))
            .collect(),
    }
}

/// Names and control sockets of all that live below `root`.
fn instances_below(root: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
    let instance = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let socket = entry.path().join(SOCKET);
        let name = entry.file_name().to_string_lossy().into_owned();
        socket.exists().then_some((name, socket))
    };
    entries.filter_map(instance).collect()
}

/// Whether we can write in `directory`, or create it.
fn is_usable(directory: &Path) -> bool {
    let existing = directory.ancestors().find(|path| path.exists());
    existing.is_some_and(|path| {
        path.is_dir() && access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok()
    })
}

/// Whether somebody listens on the socket at `path`, without waiting for him; one who is too busy
/// to accept counts.
pub(crate) fn is_answered(path: &Path) -> rustix::io::Result<bool> {
    match connect_at_once(path) {
        Ok(_) | Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A connection to whoever listens on the socket at `path`, one that does not block; `EAGAIN` if
/// so many wait for him already that we would have to.
pub(crate) fn connect_at_once(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

fn whom(name: Option<&str>, state_dir: Option<&Path>) -> String {
    let whom =
        name.map_or("a running rekindle".into(), |name| format!("the running rekindle {name}"));
    match state_dir {
        Some(state_dir) => format!("{whom} with state directory {}", state_dir.display()),
        None => whom,
    }
}

struct Places<'a>(&'a [PathBuf]);

impl fmt::Display for Places<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", place.display())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn environment(root: bool, variables: &[(&str, &str)]) -> Environment {
        Environment::new(root, |wanted| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| value.into())
        })
    }

    #[test]
    fn state_is_kept_where_the_strongest_voice_says() {
        let state = |explicit: Option<&str>, root, variables: &[_]| {
            state_dir(explicit.map(Path::new), "gateway", &environment(root, variables))
                .map(|path| path.display().to_string())
                .map_err(|error| error.to_string())
        };
        let systemd = ("STATE_DIRECTORY", "/var/lib/a:/var/lib/b");
        let home = ("HOME", "/home/u");
        let xdg = ("XDG_STATE_HOME", "/x");
        let nowhere = "cannot tell where to keep state: neither XDG_STATE_HOME nor HOME is set; \
                       give --state-dir";
        for (explicit, root, variables, expected) in [
            (Some("here"), true, &[systemd, home][..], Ok("here")),
            (None, true, &[systemd, home], Ok("/var/lib/a")),
            (None, true, &[home], Ok("/var/lib/rekindle/gateway")),
            (None, false, &[home, xdg], Ok("/x/rekindle/gateway")),
            (None, false, &[home], Ok("/home/u/.local/state/rekindle/gateway")),
            (None, false, &[home, ("XDG_STATE_HOME", "relative")], {
                Ok("/home/u/.local/state/rekindle/gateway")
            }),
            (None, false, &[home, ("XDG_STATE_HOME", "")], {
                Ok("/home/u/.local/state/rekindle/gateway")
            }),
            (None, false, &[], Err(nowhere)),
        ] {
            let found = state(explicit, root, variables);
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{variables:?}");
        }
    }

    /// A sandbox of its own: nothing outside the directory is looked at.
    fn sandbox(directory: &Path) -> Environment {
        Environment {
            runtime_directory: None,
            state_directory: None,
            user_state: Some(directory.join("home")),
            root: true,
            run: directory.join("run"),
            var_lib: directory.join("lib"),
        }
    }

    /// Nobody says where he keeps his state.
    fn find(
        name: Option<&str>,
        state_dir: Option<&Path>,
        env: &Environment,
    ) -> Result<PathBuf, PathError> {
        find_control_socket(name, state_dir, env, &|_| None)
    }

    fn open(path: &Path) -> UnixListener {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        UnixListener::bind(path).unwrap()
    }

    #[test]
    fn the_control_socket_is_in_run_or_else_with_the_state() {
        let directory = tempfile::tempdir().unwrap();
        let mut env = sandbox(directory.path());
        let state = Some(Path::new("/state"));
        let run = directory.path().join("run/gateway/control.sock");
        assert_eq!(control_socket("gateway", state, &env), Ok(run));

        // A file in the way: `/run` can be used by nobody, not even by root.
        std::fs::write(&env.run, "").unwrap();
        assert_eq!(control_socket("gateway", state, &env), Ok("/state/control.sock".into()));
        let error = control_socket("gateway", None, &env).unwrap_err().to_string();
        let run = env.run.join("gateway");
        assert_eq!(
            error,
            format!(
                "cannot put a control socket anywhere: {} is not writable; give --state-dir",
                run.display()
            )
        );

        env.runtime_directory = Some("/run/unit".into());
        assert_eq!(control_socket("gateway", state, &env), Ok("/run/unit/control.sock".into()));
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut env = sandbox(directory.path());
        let longest = format!("/{}", "d".repeat(93));
        env.runtime_directory = Some(longest.clone().into());
        let path = control_socket("gateway", None, &env).unwrap();
        assert_eq!(path.as_os_str().len(), 107);
        env.runtime_directory = Some(format!("{longest}d").into());
        let error = control_socket("gateway", None, &env).unwrap_err().to_string();
        assert!(error.contains("has 108 bytes and may have 107; give a shorter"), "{error}");
    }

    #[test]
    fn a_named_instance_is_found_wherever_it_may_listen() {
        let directory = tempfile::tempdir().unwrap();
        let env = sandbox(directory.path());
        for place in ["run/a", "home/rekindle/b", "lib/c"] {
            let path = directory.path().join(place).join(SOCKET);
            let _listener = open(&path);
            let name = place.rsplit('/').next();
            assert_eq!(find(name, None, &env), Ok(path));
        }
        let error = find(Some("d"), None, &env).unwrap_err().to_string();
        let at = directory.path().display();
        assert_eq!(
            error,
            format!(
                "cannot find the running rekindle d: no control.sock in {at}/run/d, \
                 {at}/home/rekindle/d, {at}/lib/d; is it running?"
            )
        );
    }

    #[test]
    fn the_socket_of_our_own_unit_or_state_directory_comes_first() {
        let directory = tempfile::tempdir().unwrap();
        let mut env = sandbox(directory.path());
        let _other = open(&directory.path().join("run/other").join(SOCKET));
        let state = directory.path().join("state");
        let _stateful = open(&state.join(SOCKET));
        assert_eq!(find(None, Some(&state), &env), Ok(state.join(SOCKET)));
        let unit = directory.path().join("unit");
        let _unit = open(&unit.join(SOCKET));
        env.runtime_directory = Some(unit.clone());
        assert_eq!(find(Some("gateway"), None, &env), Ok(unit.join(SOCKET)));
        std::fs::remove_file(unit.join(SOCKET)).unwrap();
        let nobody = PathError::NotFound { name: None, state_dir: None, looked: vec![unit] };
        assert_eq!(find(None, None, &env), Err(nobody), "no neighbour is asked");
    }

    #[test]
    fn with_a_state_directory_only_the_instance_that_keeps_its_state_there_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let env = sandbox(directory.path());
        let [ours, theirs] = ["ours", "theirs"].map(|name| directory.path().join(name));
        let keeps = |socket: &Path| {
            let name = socket.parent()?.file_name()?;
            Some(if name == "b" { directory.path().join("./ours") } else { theirs.clone() })
        };
        std::fs::create_dir(&ours).unwrap();
        let find = |name| find_control_socket(name, Some(&ours), &env, &keeps);

        let a = directory.path().join("run/a").join(SOCKET);
        let _neighbour = open(&a);
        let at = directory.path().display();
        for (name, whom, of_it) in [
            (None, "a running rekindle", format!("{at}/run, {at}/home/rekindle, {at}/lib")),
            (Some("a"), "the running rekindle a", {
                format!("{at}/run/a, {at}/home/rekindle/a, {at}/lib/a")
            }),
        ] {
            assert_eq!(
                find(name).unwrap_err().to_string(),
                format!(
                    "cannot find {whom} with state directory {at}/ours: no control.sock of it in \
                     {at}/ours, {of_it}; is it running?"
                )
            );
        }
        let b = directory.path().join("run/b").join(SOCKET);
        let _ours = open(&b);
        assert_eq!(find(None), Ok(b.clone()), "among several, too");
        // One that was killed had put it with its state.
        drop(open(&ours.join(SOCKET)));
        assert_eq!(find(None), Ok(b.clone()), "the one that listens");
        assert_eq!(find(Some("b")), Ok(b.clone()));
        let env = Environment { runtime_directory: Some(a.parent().unwrap().into()), ..env };
        let found = find_control_socket(None, Some(&ours), &env, &keeps);
        assert_eq!(found, Ok(b), "an explicit one wins over the unit");
    }

    #[test]
    fn without_a_name_the_only_living_instance_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let env = sandbox(directory.path());
        let error = find(None, None, &env).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot find a running rekindle: no control.sock in "),
            "{error}"
        );

        let first = directory.path().join("run/first").join(SOCKET);
        let second = directory.path().join("lib/second").join(SOCKET);
        let _living = open(&first);
        assert_eq!(find(None, None, &env), Ok(first.clone()));
        let _elsewhere = open(&directory.path().join("lib/first").join(SOCKET));
        assert_eq!(find(None, None, &env), Ok(first.clone()), "/run comes first");
        let listener = open(&second);
        let several = PathError::Several { names: vec!["first".into(), "second".into()] };
        assert_eq!(
            several.to_string(),
            "several instances are running (first, second): choose one with --name"
        );
        assert_eq!(find(None, None, &env), Err(several));
        // Killed: its socket stays behind.
        drop(listener);
        assert_eq!(find(None, None, &env), Ok(first));
    }
}
