//! What is started and with what, and why it could not be.
//!
//! Plain data and error texts; `exec` does it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Resource, Rlimit};

use super::user::Identity;
use crate::config::{ExecContext, Limit};
use crate::supervisor::Errno;

/// Variables by name: the whole environment of a program.
pub type Env = BTreeMap<OsString, OsString>;

/// A program and all that it is started with; nothing is inherited that is not named here.
#[derive(Debug)]
pub struct Launchable {
    /// Program and arguments, at least one. Without a slash it is looked up on the `PATH` of `env`.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Env,
    /// Working directory, entered as the new user; `None`: ours.
    pub cwd: Option<PathBuf>,
    /// Whom to become; `None`: nobody else.
    pub identity: Option<Identity>,
    /// File mode creation mask; `None`: ours.
    pub umask: Option<u32>,
    /// Resource limits.
    pub limits: Vec<(Resource, Rlimit)>,
    /// Whether it may never gain privileges.
    pub no_new_privs: bool,
    /// Where its input comes from.
    pub stdin: Input,
    /// Where its output goes.
    pub stdout: Sink,
    /// Where its errors go.
    pub stderr: Sink,
    /// What it finds as descriptor 3.
    pub hand_over: Option<OwnedFd>,
    /// An open `cgroup.procs`: the process joins it before anything else, so that nothing it
    /// forks is ever outside. One that cannot be joined is left out.
    pub cgroup: Option<OwnedFd>,
}

impl Launchable {
    /// `argv` with an empty environment, no input, our output, and nothing else changed.
    pub fn new(argv: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: Env::new(),
            cwd: None,
            identity: None,
            umask: None,
            limits: Vec::new(),
            no_new_privs: false,
            stdin: Input::Null,
            stdout: Sink::Inherit,
            stderr: Sink::Inherit,
            hand_over: None,
            cgroup: None,
        }
    }

    /// `argv` with all that the configuration's context says, except that `env` and `identity`,
    /// which depend on files, are worked out before.
    pub fn in_context(
        argv: impl IntoIterator<Item = impl Into<OsString>>,
        context: &ExecContext,
        identity: Option<Identity>,
        env: Env,
    ) -> Self {
        Self {
            env,
            identity,
            cwd: context.cwd.clone(),
            umask: context.umask,
            limits: limits(&context.limits),
            no_new_privs: context.no_new_privs,
            ..Self::new(argv)
        }
    }
}

/// Where a process reads from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// `/dev/null`.
    Null,
    /// Our own; if that is a terminal, the process' group becomes its foreground group.
    Inherit,
}

impl From<Input> for Stdio {
    fn from(input: Input) -> Self {
        match input {
            Input::Null => Self::null(),
            Input::Inherit => Self::inherit(),
        }
    }
}

/// Where a process writes to.
#[derive(Debug)]
pub enum Sink {
    /// To ours.
    Inherit,
    /// Nowhere.
    Null,
    /// To this descriptor.
    To(OwnedFd),
}

impl From<Sink> for Stdio {
    fn from(sink: Sink) -> Self {
        match sink {
            Sink::Inherit => Self::inherit(),
            Sink::Null => Self::null(),
            Sink::To(fd) => Self::from(fd),
        }
    }
}

/// A process that we started: our child until it is reaped, and leader of its own group.
///
/// Its pid is given to nobody else before it is reaped, so no pidfd is held for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Process {
    /// Its pid, and the id of its group.
    pub pid: u32,
    /// When it started, in clock ticks since boot; 0 if `/proc` does not tell.
    pub start_time: u64,
}

/// The resource that a name in `limits` stands for.
pub fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}

/// The limits of the configuration as the kernel takes them; unknown names are left out.
fn limits(configured: &BTreeMap<String, Limit>) -> Vec<(Resource, Rlimit)> {
    configured
        .iter()
        .filter_map(|(name, limit)| {
            let rlimit = Rlimit { current: limit.soft, maximum: limit.hard };
            Some((resource(name)?, rlimit))
        })
        .collect()
}

/// A program that could not be started.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot start {program:?}: {problem}")]
pub struct SpawnError {
    /// The program.
    pub program: String,
    /// What failed.
    pub step: Step,
    /// Why.
    pub errno: Errno,
    problem: String,
}

/// Declares the steps of a launch with what each does, for error messages.
macro_rules! steps {
    ($($(#[$doc:meta])* $step:ident => $text:literal),+ $(,)?) => {
        /// The steps of a launch.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Step { $($(#[$doc])* $step),+ }

        impl Step {
            const ALL: &[Self] = &[$(Self::$step),+];

            /// What could not be done.
            const fn text(self) -> &'static str {
                match self { $(Self::$step => $text),+ }
            }
        }
    };
}

steps! {
    /// Fork and exec themselves.
    Exec => "execute it",
    /// Becoming the leader of a new group.
    Group => "make its process group",
    /// Setting a resource limit.
    Limits => "set its resource limits",
    /// Replacing the supplementary groups.
    Groups => "set its supplementary groups",
    /// Changing the group.
    Gid => "change to its group",
    /// Changing the user.
    Uid => "change to its user",
    /// Changing the working directory.
    Chdir => "change to its working directory",
    /// Giving up the right to gain privileges.
    NoNewPrivs => "set no_new_privs",
    /// Asking to be killed when we die.
    DeathSignal => "tie its life to ours",
    /// Noticing that we died before that.
    Orphaned => "start without its supervisor",
    /// Placing the hand-over descriptor.
    HandOver => "pass on the hand-over file",
}

/// Where an error number carries its step through std's pipe, which has room for a number only.
const STEP_SHIFT: u32 = 16;

impl Step {
    /// `errno` in this step as one number.
    pub(super) const fn encode(self, errno: i32) -> i32 {
        (self as i32) << STEP_SHIFT | errno
    }

    fn decode(code: i32) -> (Self, i32) {
        let step = usize::try_from(code >> STEP_SHIFT).ok().and_then(|at| Self::ALL.get(at));
        (step.copied().unwrap_or(Self::Exec), code & ((1 << STEP_SHIFT) - 1))
    }
}

impl SpawnError {
    /// The error of starting `program`, from a number made by [`Step::encode`].
    pub(super) fn new(program: &OsStr, env: &Env, cwd: Option<&Path>, code: i32) -> Self {
        let (step, errno) = Step::decode(code);
        let reason = super::reason(errno);
        let problem = match (step, cwd) {
            (Step::Exec, _) => format!("{reason}{}", exec_hint(program, env, errno)),
            (Step::Chdir, Some(cwd)) => {
                format!("cannot {} {}: {reason}", step.text(), cwd.display())
            }
            _ => format!("cannot {}: {reason}{}", step.text(), setup_hint(step, errno)),
        };
        Self { program: program.to_string_lossy().into_owned(), step, errno: Errno(errno), problem }
    }
}

fn exec_hint(program: &OsStr, env: &Env, errno: i32) -> String {
    let path = Path::new(program);
    match errno {
        libc::ENOENT if path.components().count() == 1 && path.is_relative() => {
            let search = env.get(OsStr::new("PATH")).map(|path| path.to_string_lossy());
            format!("; is it on PATH ({})?", search.as_deref().unwrap_or("not set"))
        }
        libc::ENOENT if path.exists() => {
            "; the file is there, is the interpreter that it names?".to_owned()
        }
        libc::EACCES => "; is it executable for this user?".to_owned(),
        libc::ENOEXEC => "; is it for this machine, and does a script begin with #! ?".to_owned(),
        libc::EINVAL => "; is there a NUL byte in its arguments or environment?".to_owned(),
        _ => scarcity_hint(errno).to_owned(),
    }
}

/// What has run out, and who may have limited it.
fn scarcity_hint(errno: i32) -> &'static str {
    match errno {
        libc::EMFILE => "; the limit of open files is reached (ulimit -n)",
        libc::ENFILE => "; the machine's limit of open files is reached (fs.file-max)",
        libc::EAGAIN => "; the limit of processes is reached (pids cgroup, ulimit -u)",
        _ => "",
    }
}

fn setup_hint(step: Step, errno: i32) -> &'static str {
    match (step, errno) {
        (Step::Groups | Step::Gid | Step::Uid, libc::EPERM) => {
            "; only root may become somebody else"
        }
        (Step::Limits, libc::EPERM) => "; a hard limit cannot be raised without CAP_SYS_RESOURCE",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_and_its_error_number_travel_as_one_number() {
        for step in Step::ALL {
            assert_eq!(Step::decode(step.encode(libc::EPERM)), (*step, libc::EPERM));
        }
        assert_eq!(Step::decode(libc::ENOENT), (Step::Exec, libc::ENOENT));
    }

    #[test]
    fn an_error_says_what_failed_and_the_way_out() {
        let env = Env::from([("PATH".into(), "/usr/bin:/bin".into())]);
        let text = |program: &str, cwd: Option<&str>, code| {
            SpawnError::new(OsStr::new(program), &env, cwd.map(Path::new), code).to_string()
        };
        for (program, cwd, code, expected) in [
            (
                "openclaw",
                None,
                libc::ENOENT,
                "no such file or directory; is it on PATH (/usr/bin:/bin)?",
            ),
            (
                "x",
                None,
                libc::EAGAIN,
                "resource temporarily unavailable; the limit of processes is reached (pids cgroup, ulimit -u)",
            ),
            ("./x", None, libc::ENOENT, "no such file or directory"),
            (
                "/etc/passwd",
                None,
                libc::EACCES,
                "permission denied; is it executable for this user?",
            ),
            (
                "x",
                Some("/nope"),
                Step::Chdir.encode(libc::ENOENT),
                "cannot change to its working directory /nope: no such file or directory",
            ),
            (
                "x",
                None,
                Step::Uid.encode(libc::EPERM),
                "cannot change to its user: operation not permitted; only root may become somebody else",
            ),
        ] {
            assert_eq!(text(program, cwd, code), format!("cannot start {program:?}: {expected}"));
        }
    }

    #[test]
    fn limits_of_the_configuration_are_translated() {
        let nofile = Limit { soft: Some(10), hard: None };
        let found = limits(&BTreeMap::from([("nofile".to_owned(), nofile)]));
        let expected = Rlimit { current: Some(10), maximum: None };
        assert!(matches!(found[..], [(Resource::Nofile, rlimit)] if rlimit == expected));
        assert!(resource("nofiles").is_none());
    }
}
