//! The only place that sends signals to processes.
//!
//! A process that is not our unreaped child may vanish and its pid go to somebody else at any
//! time: such a one is signalled through a pidfd, after comparing its start time.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::proc;

/// A process, not just a number: pids are used again, pairs of pid and start time are not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Identified {
    /// Its pid.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
}

/// Signals a child of ours that is not reaped, so that its pid is certainly its own.
pub fn child(pid: u32, signal: Signal) -> Result<(), Errno> {
    rustix::process::kill_process(target(pid)?, signal)
}

/// Signals a group that certainly still exists: its leader or a member is known to hold the id.
pub fn group(id: u32, signal: Signal) -> Result<(), Errno> {
    rustix::process::kill_process_group(target(id)?, signal)
}

/// Signals exactly this process; an error is `ESRCH` if it is gone.
pub fn exactly(process: Identified, signal: Signal) -> Result<(), Errno> {
    rustix::process::pidfd_send_signal(open(process)?, signal)
}

/// A pidfd of exactly this process; an error is `ESRCH` if it is gone, another if we have not the
/// means to look.
pub fn open(process: Identified) -> Result<OwnedFd, Errno> {
    let pidfd = rustix::process::pidfd_open(target(process.pid)?, PidfdFlags::empty())?;
    // Compared after opening: from here on the pidfd can mean no other process.
    let found = proc::look_at(process.pid)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NFILE))?;
    match found {
        Some(stat) if stat.start_time == process.start_time => Ok(pidfd),
        _ => Err(Errno::SRCH),
    }
}

/// Kill takes 0 and -1 for "my group" and "everybody", and PID 1 is never ours to signal.
fn target(pid: u32) -> Result<Pid, Errno> {
    if pid <= 1 {
        return Err(Errno::SRCH);
    }
    i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pids_that_mean_more_than_one_process_are_refused() {
        for pid in [0, 1, u32::MAX, u32::MAX - 1, 1 << 31] {
            assert_eq!(target(pid), Err(Errno::SRCH), "{pid}");
        }
        assert!(target(2).is_ok());
    }

    #[test]
    fn a_process_with_another_start_time_is_not_signalled() {
        let own = proc::stat(std::process::id()).expect("/proc is mounted");
        let other = Identified { pid: own.pid, start_time: own.start_time + 1 };
        assert_eq!(exactly(other, Signal::CONT), Err(Errno::SRCH));
        assert!(open(Identified { start_time: own.start_time, ..other }).is_ok());
    }
}
