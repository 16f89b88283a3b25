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
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::aside::Aside;
use super::launcher::pipe;
use crate::clock::Clock;
use crate::config::Command;
use crate::incident::Capture;
use crate::process::Sink;
use crate::supervisor::{Incarnation, Moment};

/// So much of the end of what it writes is kept. A pipe holds no more.
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
    output: Rc<Output>,
}

/// What it writes.
struct Output {
    read: Receiver,
    /// The end of what was read so far.
    kept: RefCell<VecDeque<u8>>,
}

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
        let Looking { task, began, output } = self.looking.take()?;
        task.abort();
        output.take_what_is_there();
        Some(capture_of("given up".to_owned(), self.clock.now().since(began), output.text()))
    }

    /// Has a look taken at the process `pid` of a launch; the answer comes as news.
    pub(super) fn look(&mut self, id: Incarnation, pid: u32) {
        self.give_up();
        let Some(command) = self.aside.service.capture.clone() else { return };
        let (began, done) = (self.clock.now(), self.done.0.clone());
        // The receiver lives as long as the loop.
        let tell = move |capture| drop(done.send(Captured { id, capture }));
        let (output, ends) = match Output::new() {
            Ok((output, ends)) => (Rc::new(output), ends),
            Err(error) => {
                let why = format!("no place to write: {error}");
                return tell(capture_of(why, Duration::ZERO, String::new()));
            }
        };
        let (aside, clock, heard) = (self.aside.clone(), self.clock, Rc::clone(&output));
        let task = tokio::task::spawn_local(async move {
            let result = look(&aside, &command, pid, ends, &heard).await;
            tell(capture_of(result, clock.now().since(began), heard.text()));
        });
        self.looking = Some(Looking { task, began, output });
    }
}

fn capture_of(result: String, took: Duration, output: String) -> Capture {
    Capture { result, took_seconds: took.as_secs_f64(), output }
}

/// How the command ended, or why it could not be run.
async fn look(
    aside: &Aside,
    command: &Command,
    pid: u32,
    ends: [OwnedFd; 2],
    output: &Output,
) -> String {
    let variables = [("REKINDLE_PID", pid.to_string())];
    let mut run = pin!(aside.run(command, variables, ends.map(Sink::To)));
    let mut read = pin!(output.read_all());
    tokio::select! {
        result = &mut run => {
            tokio::time::timeout(LAST_WORDS, read).await.ok();
            result
        }
        // It has closed its output.
        () = &mut read => run.await,
    }
}

impl Output {
    /// A pipe: what is read from, and two ends to write to.
    fn new() -> io::Result<(Self, [OwnedFd; 2])> {
        let (read, write) = pipe()?;
        // A shell opens it again for `> /dev/stderr`, perhaps as another user than we are.
        rustix::fs::fchmod(&write, Mode::from_raw_mode(0o666))?;
        let read = Receiver::from_owned_fd(read)?;
        Ok((Self { read, kept: RefCell::default() }, [write.try_clone()?, write]))
    }

    /// Reads until nobody can write any more. However much comes, the loop gets its turns.
    async fn read_all(&self) {
        let mut piece = vec![0; PIECE];
        while self.read.readable().await.is_ok() {
            match self.read.try_read(&mut piece) {
                Ok(0) => return,
                Ok(length) => {
                    self.keep(&piece[..length]);
                    if length == PIECE {
                        sleep(PAUSE).await;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    /// Reads what was written before now, whether or not the runtime has heard of it yet.
    fn take_what_is_there(&self) {
        let mut piece = vec![0; KEPT];
        if let Ok(length) = rustix::io::read(&self.read, &mut piece) {
            self.keep(&piece[..length]);
        }
    }

    fn keep(&self, piece: &[u8]) {
        let mut kept = self.kept.borrow_mut();
        kept.extend(piece);
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
    }

    fn text(&self) -> String {
        let bytes: Vec<u8> = self.kept.borrow().iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn the_end_of_what_is_written_is_kept_however_much_it_is() {
        let (output, [stdout, stderr]) = Output::new().expect("a pipe");
        let writer = std::thread::spawn(move || {
            let [mut stdout, mut stderr] = [stdout, stderr].map(File::from);
            stdout.write_all(&vec![b'x'; 10 * KEPT]).expect("it is read");
            stderr.write_all(b"the end").expect("it is read");
        });
        output.read_all().await;
        writer.join().expect("it has written");
        let text = output.text();
        assert!(text.len() == KEPT && text.ends_with("xthe end"));
    }

    #[tokio::test]
    async fn what_was_written_just_before_a_look_is_given_up_is_kept() {
        let (output, [stdout, _stderr]) = Output::new().expect("a pipe");
        File::from(stdout).write_all(b"its stack").expect("there is room");
        output.take_what_is_there();
        output.take_what_is_there();
        assert_eq!(output.text(), "its stack");
    }
}
