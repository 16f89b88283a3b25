//! A look at a child that hangs, before it is taken down: runs the `capture` command beside the
//! loop and brings back what it wrote.
//!
//! It only looks: what is done to the child is up to the command. Nothing of it outlives it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::aside::Aside;
use crate::clock::Clock;
use crate::config::Command;
use crate::incident::Capture;
use crate::process::{Launchable, Sink};
use crate::supervisor::Incarnation;

/// It may write so much, into memory. What it writes beyond fails.
const MOST_WRITTEN: u64 = 1024 * 1024;

/// So much of the end of it is kept.
const KEPT: u64 = 64 * 1024;

/// A look that is over.
pub(super) struct Captured {
    /// The launch that it was about.
    pub(super) id: Incarnation,
    /// What came of it.
    pub(super) capture: Capture,
}

/// Runs the capture command of one service.
pub(super) struct Capturer {
    aside: Aside,
    clock: Clock,
    done: (UnboundedSender<Captured>, UnboundedReceiver<Captured>),
    looking: Option<JoinHandle<()>>,
}

impl Capturer {
    pub(super) fn new(aside: Aside, clock: Clock) -> Self {
        Self { aside, clock, done: unbounded_channel(), looking: None }
    }

    /// The next look that is over.
    pub(super) async fn next(&mut self) -> Option<Captured> {
        self.done.1.recv().await
    }

    /// Gives up a look, if one is taken: what it has started is killed.
    pub(super) fn give_up(&mut self) {
        self.looking.take().inspect(JoinHandle::abort);
    }

    /// Has a look taken at the process `pid` of a launch; the answer comes as news.
    pub(super) fn look(&mut self, id: Incarnation, pid: u32) {
        self.give_up();
        let Some(command) = self.aside.service.capture.clone() else { return };
        let (aside, clock, done) = (self.aside.clone(), self.clock, self.done.0.clone());
        self.looking = Some(tokio::task::spawn_local(async move {
            let began = clock.now();
            let looked = look(&aside, &command, pid).await;
            let (result, output) = looked.unwrap_or_else(|why| (why, String::new()));
            let took_seconds = clock.now().since(began).as_secs_f64();
            let capture = Capture { result, took_seconds, output };
            // The receiver lives as long as the loop.
            done.send(Captured { id, capture }).ok();
        }));
    }
}

/// How the command ended, and what it wrote; why it could not be run otherwise.
async fn look(aside: &Aside, command: &Command, pid: u32) -> Result<(String, String), String> {
    let pid = [("REKINDLE_PID", pid.to_string())];
    let program = aside.program(&command.argv, pid)?;
    let (written, ends) = paper().map_err(|error| format!("no place to write: {error}"))?;
    let [stdout, stderr] = ends.map(Sink::To);
    let program = Launchable { stdout, stderr, ..program };
    let result = aside.run(program, command.timeout).await;
    let output = last_of(&written).unwrap_or_default();
    Ok((result, String::from_utf8_lossy(&output).into_owned()))
}

/// A file in memory that cannot grow beyond what may be written, and two ends to write to it.
fn paper() -> io::Result<(OwnedFd, [OwnedFd; 2])> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let paper = rustix::fs::memfd_create("rekindle-capture", flags)?;
    rustix::fs::ftruncate(&paper, MOST_WRITTEN)?;
    rustix::fs::fcntl_add_seals(&paper, SealFlags::GROW | SealFlags::SHRINK)?;
    // They share one position, so that what is written through both comes in order.
    let ends = [paper.try_clone()?, paper.try_clone()?];
    Ok((paper, ends))
}

/// The end of what was written.
fn last_of(paper: &OwnedFd) -> io::Result<Vec<u8>> {
    let written = rustix::fs::tell(paper)?;
    let from = written.saturating_sub(KEPT);
    let mut bytes = vec![0; usize::try_from(written - from).unwrap_or_default()];
    let read = rustix::io::pread(paper, &mut bytes, from)?;
    bytes.truncate(read);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_end_of_what_was_written_is_kept_and_more_than_may_be_is_refused() {
        let (paper, [stdout, stderr]) = paper().expect("memory");
        let [mut stdout, mut stderr] = [stdout, stderr].map(File::from);
        stdout.write_all(b"one ").expect("there is room");
        stderr.write_all(b"two").expect("there is room");
        assert_eq!(last_of(&paper).expect("readable"), b"one two");
        let flood = vec![b'x'; usize::try_from(MOST_WRITTEN).expect("fits")];
        stdout.write_all(&flood).expect_err("there is no room for all of it");
        assert_eq!(last_of(&paper).expect("readable").len() as u64, KEPT);
    }
}
