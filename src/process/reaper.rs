//! The one owner of all exit statuses.
//!
//! The contract: the driver, woken by SIGCHLD, repeats `peek` until it yields nothing. For each
//! dead process it queues what follows from the death *while the zombie still holds its pid and
//! its group*, so that both can be signalled without hitting anybody else, and then reaps exactly
//! that pid. `peek` shows the same zombie again until it is reaped: one that is left unhandled
//! hides all others.
//!
//! Nothing here decides whose process it was; an unknown one is never "the child".

use std::io;

use rustix::process::{Pid, WaitOptions};

use super::exec;
use crate::supervisor::Exit;

/// A child of ours that has ended and is not reaped yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dead {
    /// Its pid.
    pub pid: u32,
    /// How it ended.
    pub exit: Exit,
}

/// Makes orphaned descendants our children, as they are anyway if we are PID 1.
pub fn adopt_orphans() -> io::Result<()> {
    if is_init() {
        return Ok(());
    }
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Whether we are PID 1: then foreign orphans come to us as well.
pub fn is_init() -> bool {
    rustix::process::getpid().is_init()
}

/// A dead child, if there is one; it stays a zombie.
pub fn peek() -> Option<Dead> {
    let (pid, exit) = exec::peek_any_dead().ok()??;
    Some(Dead { pid, exit })
}

/// Reaps exactly this pid, if it is a zombie of ours.
pub fn reap(pid: u32) {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    // The status is known from `peek`; ECHILD says that there is nothing to reap.
    rustix::process::waitpid(Some(pid), WaitOptions::NOHANG).ok();
}

/// Whether we have any child, zombies included. If not, no descendant of ours is left.
pub fn has_children() -> bool {
    exec::peek_any_dead().map_err(|error| error.raw_os_error()) != Err(Some(libc::ECHILD))
}
