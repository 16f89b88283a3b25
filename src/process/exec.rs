//! Starts processes, and makes the few system calls that no safe crate offers.
//!
//! The only module with `unsafe` code. What runs between fork and exec is prepared before the
//! fork and makes async-signal-safe calls only: no allocation, no lock. Nothing here waits for a
//! process that was started: all statuses belong to the reaper.
#![expect(unsafe_code, reason = "fork, exec, waitid and signal dispositions have no safe form")]

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal};
use rustix::thread::UnshareFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::launch::{Input, Launchable, Process, SpawnError, Step};
use super::proc;
use super::user::Identity;
use crate::supervisor::Exit;

/// The descriptor on which the boot hook finds its hand-over file.
const HAND_OVER_FD: i32 = 3;

/// So many descriptors are looked at where the kernel cannot close a range at once.
const MOST_CLOSED: i32 = 65_536;

/// Starts a program as leader of its own process group.
///
/// Its life is tied to the calling *thread*: the kernel kills it when that thread ends.
pub fn spawn(launchable: Launchable) -> Result<Process, SpawnError> {
    reserve_hand_over_descriptor();
    let program = launchable.argv.first().cloned().unwrap_or_default();
    let cwd = launchable.cwd.clone();
    let mut command = Command::new(&program);
    command.args(launchable.argv.iter().skip(1)).env_clear().envs(&launchable.env);

    let env = launchable.env.clone();
    let failed = |code| SpawnError::new(&program, &env, cwd.as_deref(), code);
    let setup = Setup::prepare(launchable, &mut command).map_err(failed)?;
    // SAFETY: `enter` makes async-signal-safe calls on prepared data, it does not allocate.
    unsafe { command.pre_exec(move || setup.enter()) };

    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts processes")]
    let child =
        command.spawn().map_err(|error| failed(error.raw_os_error().unwrap_or(libc::EINVAL)))?;
    // Dropping std's handle neither waits nor kills: the status is left for the reaper.
    let pid = child.id();
    Ok(Process { pid, start_time: proc::stat(pid).map_or(0, |stat| stat.start_time) })
}

/// Keeps descriptor 3 of our own process occupied; call it once, early.
///
/// std reports a failed exec through a pipe of its own. Were that pipe descriptor 3, placing the
/// hand-over file there would cut it. Repeating the call is harmless.
pub fn reserve_hand_over_descriptor() {
    static RESERVED: Mutex<Option<OwnedFd>> = Mutex::new(None);
    let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
    if reserved.is_some() {
        return;
    }
    let Ok(null) = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    else {
        return;
    };
    let lowest = match null.as_raw_fd() {
        HAND_OVER_FD => Ok(null),
        _ => rustix::io::fcntl_dupfd_cloexec(&null, HAND_OVER_FD),
    };
    // Any other number means that 3 is taken: by an inherited descriptor, which nobody closes.
    *reserved = lowest.ok().filter(|fd| fd.as_raw_fd() == HAND_OVER_FD);
}

/// Makes our own group the terminal's foreground group again, if standard input is a terminal.
pub fn take_terminal_back() {
    // A background process that does this is stopped by SIGTTOU unless it blocks the signal.
    let mut before = MaybeUninit::uninit();
    // SAFETY: both sets are valid for the calls; the second is read only after it was written.
    unsafe {
        let mut blocked = MaybeUninit::uninit();
        libc::sigemptyset(blocked.as_mut_ptr());
        libc::sigaddset(blocked.as_mut_ptr(), libc::SIGTTOU);
        if libc::pthread_sigmask(libc::SIG_BLOCK, blocked.as_ptr(), before.as_mut_ptr()) != 0 {
            return;
        }
    }
    // Not a terminal, or not ours: there is nothing to take back.
    rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpgrp()).ok();
    // SAFETY: the set was written by the successful call above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
}

/// The signal of this number; real-time signals, which have no name, included.
pub fn signal(number: i32) -> Option<Signal> {
    // SAFETY: the number is one that the kernel knows as a signal.
    (1..=64).contains(&number).then(|| unsafe { Signal::from_raw_unchecked(number) })
}

/// Moves this process into new namespaces; a new PID namespace begins with its next child.
pub(crate) fn unshare(namespaces: UnshareFlags) -> Result<(), Errno> {
    // SAFETY: nobody asks for `FILES`, so that descriptors stay what they are for all threads.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }
}

/// Looks at files as this user and group would, where we may do that; only this thread does.
pub(super) fn look_as<T>(uid: u32, gid: u32, look: impl FnOnce() -> T) -> T {
    // A change of user makes the kernel hide our process and forget whose death is to end us.
    let dumpable = rustix::process::dumpable_behavior();
    let death_signal = rustix::process::parent_process_death_signal();
    // SAFETY: both concern the calling thread alone and are put back below. The group comes first,
    // while we are still allowed to.
    let (group, user) = unsafe { (libc::setfsgid(gid), libc::setfsuid(uid)) };
    let seen = look();
    // SAFETY: as above. A call returns the id before it, which an int holds bit by bit.
    unsafe {
        libc::setfsuid(user.cast_unsigned());
        libc::setfsgid(group.cast_unsigned());
    }
    if let (Ok(dumpable), Ok(death_signal)) = (dumpable, death_signal) {
        rustix::process::set_dumpable_behavior(dumpable).ok();
        rustix::process::set_parent_process_death_signal(death_signal).ok();
    }
    seen
}

/// A child of ours that has ended and has not been reaped, if there is one; it stays unreaped.
///
/// An error is `ECHILD` if we have no children at all.
pub(super) fn peek_any_dead() -> io::Result<Option<(u32, Exit)>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is a valid place for the kernel's answer.
    if unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), flags) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeroes is a valid siginfo, and `waitid` left it so or filled it in for SIGCHLD.
    let (info, pid, status) = unsafe {
        let info = info.assume_init();
        (info, info.si_pid(), info.si_status())
    };
    let number = u8::try_from(status & 0xff).unwrap_or(u8::MAX);
    let exit =
        if info.si_code == libc::CLD_EXITED { Exit::Code(number) } else { Exit::Signal(number) };
    Ok(u32::try_from(pid).ok().filter(|pid| *pid > 0).map(|pid| (pid, exit)))
}

/// A descriptor that can be awaited: a pidfd is readable once its process has ended, a timer once
/// it has rung. Needs a running runtime.
pub(crate) fn awaitable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor is always the same one, and stays open while it is registered.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

/// What the new process does between fork and exec.
struct Setup {
    supervisor: Pid,
    cgroup: Option<OwnedFd>,
    limits: Vec<(Resource, Rlimit)>,
    umask: Option<Mode>,
    identity: Option<Identity>,
    cwd: Option<CString>,
    no_new_privs: bool,
    foreground: bool,
    hand_over: Option<OwnedFd>,
    /// One more than the highest descriptor that may be open.
    descriptors: i32,
}

impl Setup {
    /// Works out before the fork all that must not be worked out after it.
    fn prepare(launchable: Launchable, command: &mut Command) -> Result<Self, i32> {
        command.stdin(launchable.stdin).stdout(launchable.stdout).stderr(launchable.stderr);
        let cwd = launchable.cwd.map(|cwd| CString::new(cwd.as_os_str().as_bytes())).transpose();
        let descriptors = rustix::process::getrlimit(Resource::Nofile).current;
        Ok(Self {
            supervisor: rustix::process::getpid(),
            cgroup: launchable.cgroup,
            limits: launchable.limits,
            umask: launchable.umask.map(Mode::from_raw_mode),
            identity: launchable.identity.filter(|identity| !is_ours_already(identity)),
            cwd: cwd.map_err(|_| Step::Chdir.encode(libc::EINVAL))?,
            no_new_privs: launchable.no_new_privs,
            foreground: launchable.stdin == Input::Inherit,
            hand_over: launchable.hand_over,
            descriptors: descriptors.map_or(MOST_CLOSED, |most| {
                i32::try_from(most).map_or(MOST_CLOSED, |most| most.min(MOST_CLOSED))
            }),
        })
    }

    fn enter(&self) -> io::Result<()> {
        if let Some(procs) = &self.cgroup {
            // It may be read-only or have been removed. The tree knows its members without, too.
            rustix::io::write(procs, b"0").ok();
        }
        rustix::process::setpgid(None, None).map_err(in_step(Step::Group))?;
        self.limit()?;
        if let Some(identity) = &self.identity {
            become_identity(identity)?;
        }
        // As the new user: the directory may be one that only this user may enter.
        if let Some(cwd) = &self.cwd {
            rustix::process::chdir(cwd.as_c_str()).map_err(in_step(Step::Chdir))?;
        }
        if self.no_new_privs {
            rustix::thread::set_no_new_privs(true).map_err(in_step(Step::NoNewPrivs))?;
        }
        // A change of user clears this, so it comes after it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(in_step(Step::DeathSignal))?;
        if rustix::process::getppid() != Some(self.supervisor) {
            return Err(in_step(Step::Orphaned)(Errno::SRCH));
        }
        if self.foreground {
            enter_foreground();
        }
        default_signals();
        self.close_on_exec();
        self.place_hand_over()
    }

    fn limit(&self) -> io::Result<()> {
        for (resource, limit) in &self.limits {
            rustix::process::setrlimit(*resource, *limit).map_err(in_step(Step::Limits))?;
        }
        if let Some(umask) = self.umask {
            rustix::process::umask(umask);
        }
        // We may be protected from the OOM killer, the child shall not be. Best effort.
        let path = c"/proc/self/oom_score_adj";
        if let Ok(file) = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
            rustix::io::write(&file, b"0").ok();
        }
        Ok(())
    }

    /// Lets no descriptor but 0, 1 and 2 survive the exec. std's own pipe already closes there.
    fn close_on_exec(&self) {
        // SAFETY: changes only flags of descriptors, in a process that is about to exec.
        let failed = unsafe {
            libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) != 0
        };
        // Kernels before 5.11, and some sandboxes, do not have it.
        if failed {
            for fd in 3..self.descriptors {
                // SAFETY: as above; a number that is not open is an error without effect.
                unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
            }
        }
    }

    fn place_hand_over(&self) -> io::Result<()> {
        let Some(file) = &self.hand_over else { return Ok(()) };
        let fd = file.as_fd().as_raw_fd();
        // SAFETY: descriptor 3 is reserved, so nothing is cut; dup2 onto itself would keep the
        // flag that closes it, hence the other call.
        let result = unsafe {
            if fd == HAND_OVER_FD {
                libc::fcntl(fd, libc::F_SETFD, 0)
            } else {
                libc::dup2(fd, HAND_OVER_FD)
            }
        };
        if result >= 0 {
            return Ok(());
        }
        let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EBADF);
        Err(io::Error::from_raw_os_error(Step::HandOver.encode(errno)))
    }
}

/// Without root nobody may set groups, not even to what they are.
fn is_ours_already(identity: &Identity) -> bool {
    use rustix::process::{getegid, geteuid, getgid, getuid};
    !geteuid().is_root()
        && [getuid(), geteuid()] == [identity.uid; 2]
        && [getgid(), getegid()] == [identity.gid; 2]
}

fn become_identity(identity: &Identity) -> io::Result<()> {
    let (uid, gid) = (identity.uid, identity.gid);
    // Raw system calls of this thread: the new process has no other, and libc's would look for them.
    rustix::thread::set_thread_groups(&identity.groups).map_err(in_step(Step::Groups))?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(in_step(Step::Gid))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(in_step(Step::Uid))
}

/// Makes our (new) group the terminal's foreground group, if standard input is a terminal.
fn enter_foreground() {
    // SAFETY: async-signal-safe; the disposition is set back by `default_signals`.
    unsafe { libc::signal(libc::SIGTTOU, libc::SIG_IGN) };
    // Not a terminal, or not ours: there is nothing to take.
    rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpgrp()).ok();
}

/// All dispositions default, no signal blocked: ignored signals would outlive the exec.
fn default_signals() {
    // The kernel's own call, as libc refuses the numbers that it keeps for itself, which another
    // libc's process may have left ignored. No architecture's structure is larger, and all zeroes
    // is the default disposition.
    let default = [0_u64; 8];
    let mask_size = 8_usize;
    let mut none = MaybeUninit::uninit();
    // SAFETY: async-signal-safe; reads the zeroes and writes nothing; KILL and STOP are refused.
    unsafe {
        for number in 1..=64 {
            let (new, old) = (default.as_ptr(), std::ptr::null_mut::<u64>());
            libc::syscall(libc::SYS_rt_sigaction, number, new, old, mask_size);
        }
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

fn in_step(step: Step) -> impl Fn(Errno) -> io::Error {
    move |errno| io::Error::from_raw_os_error(step.encode(errno.raw_os_error()))
}

#[cfg(test)]
mod tests;
