//! A look at a child that hangs, before it is taken down: runs the `capture` command beside the
//! loop and brings back what it wrote.
//!
//! It only looks: what is done to the child is up to the command. Nothing of it outlives it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use rustix::fs::Mode;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::aside::Aside;
use super::launcher::pipe;
use crate::clock::Clock;
use crate::config::Command;
use crate::incident::Capture;
use crate::process::{Launchable, Sink};
use crate::supervisor::{Incarnation, Moment};

/// So much of the end of what it writes is kept.
const KEPT: usize = 64 * 1024;

/// So much is read at once, and then the loop gets a turn.
const PIECE: usize = 16 * 1024;
const PAUSE: Duration = Duration::from_millis(1);

/// What it wrote last gets so long to be read.
const LAST_WORDS: Duration = Duration::from_millis(100);

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
    looking: Option<Looking>,
}

/// A look that is being taken.
struct Looking {
    task: JoinHandle<()>,
    began: Moment,
    written: Written,
}

/// The end of what was written so far.
type Written = Rc<RefCell<VecDeque<u8>>>;

impl Capturer {
    pub(super) fn new(aside: Aside, clock: Clock) -> Self {
        Self { aside, clock, done: unbounded_channel(), looking: None }
    }

    /// The next look that is over.
    pub(super) async fn next(&mut self) -> Option<Captured> {
        let over = self.done.1.recv().await;
        self.looking = None;
        over
    }

    /// Gives up a look, if one is taken: what it has started is killed. What came of it so far.
    pub(super) fn give_up(&mut self) -> Option<Capture> {
        let Looking { task, began, written } = self.looking.take()?;
        task.abort();
        Some(self.capture("given up".to_owned(), began, &written))
    }

    /// Has a look taken at the process `pid` of a launch; the answer comes as news.
    pub(super) fn look(&mut self, id: Incarnation, pid: u32) {
        self.give_up();
        let Some(command) = self.aside.service.capture.clone() else { return };
        let (began, written) = (self.clock.now(), Written::default());
        let (aside, clock, done) = (self.aside.clone(), self.clock, self.done.0.clone());
        let writes = Rc::clone(&written);
        let task = tokio::task::spawn_local(async move {
            let result = look(&aside, &command, pid, &writes).await;
            let capture = capture_of(result, clock.now().since(began), &writes);
            // The receiver lives as long as the loop.
            done.send(Captured { id, capture }).ok();
        });
        self.looking = Some(Looking { task, began, written });
    }

    fn capture(&self, result: String, began: Moment, written: &Written) -> Capture {
        capture_of(result, self.clock.now().since(began), written)
    }
}

fn capture_of(result: String, took: Duration, written: &Written) -> Capture {
    let bytes: Vec<u8> = written.borrow().iter().copied().collect();
    let output = String::from_utf8_lossy(&bytes).into_owned();
    Capture { result, took_seconds: took.as_secs_f64(), output }
}

/// How the command ended, or why it could not be run.
async fn look(aside: &Aside, command: &Command, pid: u32, written: &Written) -> String {
    let program = aside.program(&command.argv, [("REKINDLE_PID", pid.to_string())]);
    let ends = ends().map_err(|error| format!("no place to write: {error}"));
    let (program, (read, [stdout, stderr])) = match (program, ends) {
        (Ok(program), Ok(ends)) => (program, ends),
        (Err(why), _) | (_, Err(why)) => return why,
    };
    let [stdout, stderr] = [stdout, stderr].map(Sink::To);
    let program = Launchable { stdout, stderr, ..program };
    let mut run = pin!(aside.run(program, command.timeout));
    let mut read = pin!(keep_the_end(read, written));
    tokio::select! {
        result = &mut run => {
            tokio::time::timeout(LAST_WORDS, read).await.ok();
            result
        }
        // It has closed its output.
        () = &mut read => run.await,
    }
}

/// A pipe: the end that is read, and two to write to.
fn ends() -> io::Result<(Receiver, [OwnedFd; 2])> {
    let (read, write) = pipe()?;
    // A shell opens it again for `> /dev/stderr`, perhaps as another user than we are.
    rustix::fs::fchmod(&write, Mode::from_raw_mode(0o666))?;
    Ok((Receiver::from_owned_fd(read)?, [write.try_clone()?, write]))
}

/// Reads until nobody can write any more. However much comes, the loop gets its turns.
async fn keep_the_end(mut read: Receiver, written: &Written) {
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = read.read(&mut piece).await {
        push_within(&mut written.borrow_mut(), &piece[..length]);
        if length == PIECE {
            sleep(PAUSE).await;
        }
    }
}

fn push_within(written: &mut VecDeque<u8>, piece: &[u8]) {
    written.extend(piece);
    let surplus = written.len().saturating_sub(KEPT);
    written.drain(..surplus);
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn the_end_of_what_is_written_is_kept_however_much_it_is() {
        let (read, [stdout, stderr]) = ends().expect("a pipe");
        let writer = std::thread::spawn(move || {
            let [mut stdout, mut stderr] = [stdout, stderr].map(File::from);
            stdout.write_all(&vec![b'x'; 10 * KEPT]).expect("it is read");
            stderr.write_all(b"the end").expect("it is read");
        });
        let written = Written::default();
        keep_the_end(read, &written).await;
        writer.join().expect("it has written");
        let kept: Vec<u8> = written.borrow().iter().copied().collect();
        assert!(kept.len() == KEPT && kept.ends_with(b"xthe end"));
    }
}
