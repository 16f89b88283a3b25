//! The way into the disposable sandbox: a process that becomes what the sandbox starts.
//!
//! `rekindle drill --inside DIR -- …` is started twice. The first makes the namespaces and waits;
//! the second is PID 1 in them, gives the machine there a boot id of its own, and turns into the
//! command. Where there shall be no namespaces the first turns into it at once. Whoever started a
//! sandbox may be killed at any time: the kernel ends all of it then.

use std::fs;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::Command;

use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_change, mount_remount,
};
use rustix::process::Signal;
use rustix::thread::UnshareFlags;

use crate::process::unshare;

/// In the sandbox's directory: the boot id that its machine shall have.
pub(super) const BOOT_ID: &str = "boot_id";
/// In the sandbox's directory: what its machine says about its boot, `/proc/stat`.
pub(super) const STAT: &str = "stat";
/// In the sandbox's directory: if it is there, the state directory beside it cannot be written.
pub(super) const READ_ONLY: &str = "read-only";
/// In the sandbox's directory: if it is there, no namespaces are made.
pub(super) const OWN_TREE: &str = "own-tree";
/// In the sandbox's directory: where the supervisor keeps its state.
pub(super) const STATE: &str = "state";

/// Starts the command in the sandbox of `directory`; returns only when that is over, or with the
/// reason why it cannot be.
pub fn enter(directory: &Path, command: &[String]) -> Result<u8, String> {
    let cannot = |what: &str, error: io::Error| format!("cannot {what}: {error}");
    if rustix::process::getpid().is_init() {
        die_with_parent(Signal::KILL);
        furnish(directory)?;
        return Err(cannot("start the supervisor", itself(command).exec()));
    }
    if directory.join(OWN_TREE).exists() {
        die_with_parent(Signal::TERM);
        return Err(cannot("start the supervisor", itself(command).exec()));
    }
    die_with_parent(Signal::KILL);
    make_namespaces().map_err(|error| cannot("make a PID and a mount namespace", error))?;
    let mut init = itself(&["drill".into(), "--inside".into()]);
    init.arg(directory).arg("--").args(command);
    #[expect(clippy::disallowed_methods, reason = "what it starts is the sandbox, not a child")]
    let ended = init.status().map_err(|error| cannot("start the sandbox's init", error))?;
    let code = ended.code().unwrap_or_else(|| 128 + ended.signal().unwrap_or(0));
    Ok(u8::try_from(code).unwrap_or(1))
}

fn itself(arguments: &[String]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(arguments);
    command
}

fn die_with_parent(signal: Signal) {
    // If the kernel cannot do that, a drill that is killed leaves its sandbox behind.
    rustix::process::set_parent_process_death_signal(Some(signal)).ok();
}

/// New namespaces; an ordinary user needs a user namespace around them, and is root in it.
fn make_namespaces() -> io::Result<()> {
    let namespaces = UnshareFlags::NEWPID | UnshareFlags::NEWNS;
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    if user.is_root() {
        return Ok(unshare(namespaces)?);
    }
    unshare(namespaces | UnshareFlags::NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {} 1", user.as_raw()))?;
    fs::write("/proc/self/gid_map", format!("0 {} 1", group.as_raw()))
}

/// Gives the sandbox its own view of processes, of its machine's boot and of its disk.
fn furnish(directory: &Path) -> Result<(), String> {
    let cannot =
        |what: &str, errno: rustix::io::Errno| format!("cannot {what}: {}", io::Error::from(errno));
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|errno| cannot("keep mounts to ourselves", errno))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None)
        .map_err(|errno| cannot("mount a /proc of our own", errno))?;
    for (file, target) in [(BOOT_ID, "/proc/sys/kernel/random/boot_id"), (STAT, "/proc/stat")] {
        let file = directory.join(file);
        if file.exists() {
            mount_bind(&file, target).map_err(|errno| cannot("mount over the boot id", errno))?;
        }
    }
    if directory.join(READ_ONLY).exists() {
        let state = directory.join(STATE);
        mount_bind(&state, &state)
            .and_then(|()| mount_remount(&state, MountFlags::BIND | MountFlags::RDONLY, ""))
            .map_err(|errno| cannot("make the state directory read-only", errno))?;
    }
    Ok(())
}
