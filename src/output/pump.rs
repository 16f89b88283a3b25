//! Reads the child's pipes and passes the bytes on; keeps the last of them for the incident.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::unix::pipe::Receiver;

use super::{Stream, Writers};
use crate::planted::{self, place};

/// So much of the last output of a program is kept.
pub const TAIL_BYTES: usize = 64 * 1024;

/// A pipe that cannot be read (we have no descriptors left) is tried again after this.
const READ_AGAIN: Duration = Duration::from_millis(500);

/// One read takes at most so much.
const CHUNK_BYTES: usize = 8 * 1024;

/// Our end of one of the child's pipes. It can be pumped again after a panic: the descriptor is
/// only closed with the last clone.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where its bytes go.
    pub stream: Stream,
    /// The read end; nobody else shares it, so it may be non-blocking.
    pub pipe: Arc<OwnedFd>,
    /// Where the last of them are kept.
    pub tail: Arc<Tail>,
}

/// The last output of one launch, both streams as they came.
#[derive(Debug, Default)]
pub struct Tail {
    kept: Mutex<VecDeque<u8>>,
    open: OpenPipes,
}

impl Tail {
    /// The last bytes, oldest first.
    pub fn bytes(&self) -> Vec<u8> {
        self.kept().iter().copied().collect()
    }

    /// Its pipes: until they are read to their ends, more may come.
    pub fn pipes(&self) -> &OpenPipes {
        &self.open
    }

    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut kept = self.kept();
        let excess = (kept.len() + bytes.len()).saturating_sub(TAIL_BYTES).min(kept.len());
        kept.drain(..excess);
        kept.extend(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]);
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<u8>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many pipes have not been read to their end.
#[derive(Debug, Default)]
pub struct OpenPipes {
    count: Mutex<usize>,
    fewer: Condvar,
}

impl OpenPipes {
    /// There is one more.
    pub fn opened(&self) {
        *self.lock() += 1;
    }

    /// One has ended.
    pub fn ended(&self) {
        let mut count = self.lock();
        *count = count.saturating_sub(1);
        self.fewer.notify_all();
    }

    /// Waits until there are none, at most for `patience`; whether there are none.
    pub fn wait_for_none(&self, patience: Duration) -> bool {
        let (count, _) = self
            .fewer
            .wait_timeout_while(self.lock(), patience, |count| *count > 0)
            .unwrap_or_else(PoisonError::into_inner);
        *count == 0
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes everything that comes out of `source` on until its writers are gone. What fails is tried
/// again: a child whose pipe nobody reads stands still once it is full.
pub async fn pump(source: &Source, writers: &Writers) {
    let mut told = false;
    while let Err(error) = pass_on(source, writers).await {
        if !told {
            told = true;
            let stream = source.stream.label();
            tracing::warn!("cannot read the child's {stream}, trying again: {error}");
        }
        tokio::time::sleep(READ_AGAIN).await;
    }
}

async fn pass_on(source: &Source, writers: &Writers) -> io::Result<()> {
    let pipe = Receiver::from_owned_fd(source.pipe.try_clone()?)?;
    let queue = writers.queue(source.stream);
    let mut chunk = Vec::new();
    loop {
        pipe.readable().await?;
        planted::pass(place::PUMP);
        // Kept only while there is something to read: an idle child costs no buffer.
        chunk.resize(CHUNK_BYTES, 0);
        match pipe.try_read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                source.tail.push(&chunk[..read]);
                queue.push_patiently(&chunk[..read]).await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => chunk = Vec::new(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::{AsFd, AsRawFd};

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use super::*;
    use crate::process::testing::alone;

    fn pipe() -> (File, File) {
        let (read, write) = rustix::pipe::pipe().unwrap();
        (File::from(read), File::from(write))
    }

    #[tokio::test]
    async fn each_stream_comes_out_of_its_own_end_unchanged_and_the_tail_is_kept() {
        let (mut stdout, to_stdout) = pipe();
        let (mut stderr, to_stderr) = pipe();
        let writers = Writers::onto(to_stdout, to_stderr).unwrap();
        let tail = Arc::<Tail>::default();
        for (stream, text) in [(Stream::Stdout, b"out\xfe".as_slice()), (Stream::Stderr, b"err\n")]
        {
            let (read, mut write) = pipe();
            write.write_all(text).unwrap();
            drop(write);
            let (pipe, tail) = (Arc::new(read.into()), Arc::clone(&tail));
            pump(&Source { stream, pipe, tail }, &writers).await;
        }
        let mut seen = [0; 4];
        stdout.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"out\xfe");
        stderr.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"err\n");
        assert_eq!(tail.bytes(), b"out\xfeerr\n");
    }

    #[test]
    fn a_pipe_that_cannot_be_read_for_want_of_descriptors_is_read_when_there_are_some() {
        let scarcity = async {
            let (mut stdout, to_stdout) = pipe();
            let writers = Writers::onto(to_stdout, File::create("/dev/null").unwrap()).unwrap();
            let (read, mut write) = pipe();
            write.write_all(b"out\n").unwrap();
            drop(write);
            let pipe = Arc::new(read.into());
            let source = Source { stream: Stream::Stdout, pipe, tail: Arc::default() };
            let enough = getrlimit(Resource::Nofile);
            let next = stdout.as_fd().try_clone_to_owned().unwrap().as_raw_fd();
            let none = Rlimit { current: u64::try_from(next).ok(), ..enough };
            setrlimit(Resource::Nofile, none).unwrap();
            source.pipe.try_clone().expect_err("the limit is reached");

            let mut pumping = Box::pin(pump(&source, &writers));
            tokio::select! {
                biased;
                () = &mut pumping => panic!("it gave up"),
                () = std::future::ready(()) => {}
            }
            setrlimit(Resource::Nofile, enough).unwrap();
            tokio::time::timeout(Duration::from_secs(20), pumping).await.expect("it is read");
            let mut seen = [0; 4];
            stdout.read_exact(&mut seen).unwrap();
            assert_eq!(&seen, b"out\n");
        };
        alone(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(scarcity);
        });
    }

    #[test]
    fn open_pipes_are_waited_for_until_the_last_has_ended() {
        let open = Arc::new(OpenPipes::default());
        assert!(open.wait_for_none(Duration::ZERO));
        open.opened();
        assert!(!open.wait_for_none(Duration::ZERO));
        let other = Arc::clone(&open);
        let ends = std::thread::spawn(move || other.ended());
        assert!(open.wait_for_none(Duration::from_secs(20)));
        ends.join().unwrap();
    }

    #[test]
    fn the_tail_keeps_the_last_bytes_and_no_more() {
        let tail = Tail::default();
        tail.push(&vec![1; TAIL_BYTES]);
        tail.push(&[2; 10]);
        let bytes = tail.bytes();
        assert_eq!(bytes.len(), TAIL_BYTES);
        assert_eq!(&bytes[TAIL_BYTES - 10..], [2; 10]);
        tail.push(&vec![3; 2 * TAIL_BYTES]);
        assert_eq!(tail.bytes(), vec![3; TAIL_BYTES]);
    }
}
