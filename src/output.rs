//! What is written to stdout and stderr: our log, and the child's output, passed on unchanged.
//!
//! The supervision loop must never wait for a reader of our output. Whoever has something to write
//! puts it into a bounded queue; one thread for each destination does the blocking writes, so that
//! a stuck stdout does not stop the log. What does not fit is dropped and counted; before that, the
//! child's bytes wait a moment for a reader that is only slow. Descriptors
//! that we inherited stay blocking: `O_NONBLOCK` would be set for everyone who shares them.

mod pump;
mod queue;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::threads;

pub use pump::{OpenPipes, Source, TAIL_BYTES, Tail, pump};
pub use queue::{Dropped, Lane, Queue};

/// One of the two output streams.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// Both.
    pub const ALL: &[Self] = &[Self::Stdout, Self::Stderr];

    /// The value of the `stream` label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Stdout => threads::STDOUT,
            Self::Stderr => threads::STDERR,
        }
    }
}

/// The queues to both streams, each with its writer thread.
#[derive(Clone, Debug)]
pub struct Writers {
    stdout: Arc<Queue>,
    stderr: Arc<Queue>,
    overflow: Arc<Notify>,
}

impl Writers {
    /// Starts the writer threads for our own stdout and stderr.
    pub fn start() -> io::Result<Self> {
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        Self::onto(stdout, stderr)
    }

    /// Starts the writer threads for these two files.
    pub fn onto(stdout: File, stderr: File) -> io::Result<Self> {
        let overflow = Arc::<Notify>::default();
        Ok(Self {
            stdout: queue::start(threads::STDOUT, stdout, Arc::clone(&overflow))?,
            stderr: queue::start(threads::STDERR, stderr, Arc::clone(&overflow))?,
            overflow,
        })
    }

    /// The queue to `stream`.
    pub fn queue(&self, stream: Stream) -> &Arc<Queue> {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }

    /// Waits until something was dropped that nobody has waited for yet.
    pub async fn overflowed(&self) {
        self.overflow.notified().await;
    }

    /// Waits until everything is written, for so long at most on each stream; whether it was.
    pub fn flush(&self, patience: std::time::Duration) -> bool {
        let stderr = self.stderr.flush(patience);
        self.stdout.flush(patience) && stderr
    }
}
