//! A bounded queue of bytes and the thread that writes them.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::planted;
use crate::threads::spawn_supervised;

/// At most so much waits in one lane: as much as in a pipe. From 128 KiB on glibc maps a buffer for
/// itself, and once such a buffer was freed it takes the next ones from the heap, which then never
/// shrinks: each flood would leave the process bigger.
const LANE_BYTES: usize = 64 * 1024;

/// So long is a full lane waited for before its bytes are dropped: whoever reads at all has taken
/// some by then, and a child that is held up for so long does not notice.
const ROOM_PATIENCE: Duration = Duration::from_millis(100);

/// Buffers that have grown beyond this are given back once they are empty.
const KEPT_BYTES: usize = 8 * 1024;

/// Who writes. Each lane has its own bound, so that a flood of the child's output cannot push out
/// our log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// Whole lines of ours; written first.
    Log,
    /// Bytes of the child.
    Child,
}

/// What did not fit so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Dropped {
    /// Lines of our log.
    pub log_lines: u64,
    /// Bytes of the child.
    pub child_bytes: u64,
}

/// The queue to one destination.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    /// Something was put in, or written.
    changed: Condvar,
    /// Something was taken out.
    room: Notify,
    /// Something did not fit.
    overflow: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Waiting {
    log: Vec<u8>,
    child: Vec<u8>,
    writing: bool,
    /// A full lane was waited for in vain, and nothing was taken out since.
    stuck: bool,
    dropped: Dropped,
}

impl Queue {
    /// Puts bytes in if there is room for all of them, else drops and counts them; never waits for
    /// the destination. A log line is one call.
    pub fn push(&self, lane: Lane, bytes: &[u8]) {
        let mut waiting = self.lock();
        let queue = waiting.lane(lane);
        if queue.len() + bytes.len() <= LANE_BYTES {
            queue.extend_from_slice(bytes);
            drop(waiting);
            self.changed.notify_all();
        } else {
            match lane {
                Lane::Log => waiting.dropped.log_lines += 1,
                Lane::Child => waiting.dropped.child_bytes += bytes.len() as u64,
            }
            drop(waiting);
            self.overflow.notify_one();
        }
    }

    /// Puts bytes of the child in. A reader that is only slow is waited for, so that nothing is lost
    /// and the child is slowed down as it would be without us; for one that does not read at all,
    /// bytes are dropped without waiting.
    pub async fn push_patiently(&self, bytes: &[u8]) {
        loop {
            let room = self.room.notified();
            if !self.lock().may_get_room_for(bytes) {
                return self.push(Lane::Child, bytes);
            }
            if timeout(ROOM_PATIENCE, room).await.is_err() {
                self.lock().stuck = true;
            }
        }
    }

    /// What was dropped since the start.
    pub fn dropped(&self) -> Dropped {
        self.lock().dropped
    }

    /// Waits until everything is written, at most for `patience`; whether it was.
    pub fn flush(&self, patience: Duration) -> bool {
        let waiting = self.lock();
        let (_guard, timeout) = self
            .changed
            .wait_timeout_while(waiting, patience, |waiting| !waiting.is_idle())
            .unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out()
    }

    fn write_all_to(&self, to: &File, name: &'static str) {
        loop {
            planted::pass(name);
            let bytes = self.take();
            // A closed or broken destination loses the bytes; there is nobody to tell.
            drop(write_all(to, &bytes));
            self.lock().writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits for something to write and takes it.
    fn take(&self) -> Vec<u8> {
        let mut waiting = self
            .changed
            .wait_while(self.lock(), |waiting| waiting.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        waiting.writing = true;
        waiting.stuck = false;
        self.room.notify_waiters();
        waiting.next()
    }

    /// A panic elsewhere leaves the bytes intact: at worst some are missing.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn lane(&mut self, lane: Lane) -> &mut Vec<u8> {
        match lane {
            Lane::Log => &mut self.log,
            Lane::Child => &mut self.child,
        }
    }

    /// Whether bytes of the child have no room now, and may have some soon.
    fn may_get_room_for(&self, bytes: &[u8]) -> bool {
        self.child.len() + bytes.len() > LANE_BYTES && !self.stuck
    }

    fn is_empty(&self) -> bool {
        self.log.is_empty() && self.child.is_empty()
    }

    fn is_idle(&self) -> bool {
        self.is_empty() && !self.writing
    }

    /// The log first, then the child's whole lines, so that log lines stand between lines.
    fn next(&mut self) -> Vec<u8> {
        if !self.log.is_empty() {
            return std::mem::take(&mut self.log);
        }
        let end = self.child.iter().rposition(|byte| *byte == b'\n');
        let rest = end.map(|end| self.child.split_off(end + 1)).unwrap_or_default();
        let mut taken = std::mem::replace(&mut self.child, rest);
        if taken.capacity() > 4 * taken.len().max(KEPT_BYTES) {
            taken.shrink_to_fit();
        }
        taken
    }
}

/// Writes everything, also where another process has made the shared descriptor non-blocking.
fn write_all(mut to: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(&to, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Starts the thread that writes what is put into the returned queue to `to`; `overflow` is
/// notified of whatever does not fit.
pub(super) fn start(name: &'static str, to: File, overflow: Arc<Notify>) -> io::Result<Arc<Queue>> {
    let queue = Arc::new(Queue { overflow, ..Queue::default() });
    let written = Arc::clone(&queue);
    let told = Arc::clone(&queue);
    spawn_supervised(
        name,
        move || written.write_all_to(&to, name),
        move |message, pause| {
            tracing::error!(
                thread = name,
                "the {name} writer panicked, again in {pause:?}: {message}"
            );
            told.lock().writing = false;
        },
    )?;
    Ok(queue)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::process::testing::{alone, anonymous_kb};

    const PATIENCE: Duration = Duration::from_secs(10);

    fn piped() -> (Arc<Queue>, File) {
        let (read, write) = small_pipe();
        (start("test", write, Arc::default()).unwrap(), read)
    }

    /// A pipe that takes much less than a lane does.
    fn small_pipe() -> (File, File) {
        let (read, write) = rustix::pipe::pipe().unwrap();
        rustix::pipe::fcntl_setpipe_size(&write, 4096).unwrap();
        (read.into(), write.into())
    }

    fn read(from: &mut File, bytes: usize) -> Vec<u8> {
        let mut buffer = vec![0; bytes];
        from.read_exact(&mut buffer).unwrap();
        buffer
    }

    #[test]
    fn bytes_come_out_unchanged_and_in_order() {
        let (queue, mut out) = piped();
        queue.push(Lane::Child, b"one\ntw");
        queue.push(Lane::Child, b"o\n\xff\0");
        assert_eq!(read(&mut out, 10), b"one\ntwo\n\xff\0");
        assert!(queue.flush(PATIENCE));
    }

    #[test]
    fn a_reader_that_never_reads_blocks_nobody_and_what_is_lost_is_counted() {
        let (queue, out) = piped();
        let line = [b'x'; 1000];
        for _ in 0..2000 {
            queue.push(Lane::Child, &line);
        }
        let dropped = queue.dropped();
        assert!(dropped.child_bytes >= 2_000_000 - 3 * LANE_BYTES as u64, "{dropped:?}");
        assert_eq!(dropped.child_bytes % 1000, 0, "whole pieces");
        queue.push(Lane::Log, b"still room for the log\n");
        assert_eq!(queue.dropped().log_lines, 0);
        assert!(!queue.flush(Duration::from_millis(10)));
        drop(out);
        assert!(queue.flush(PATIENCE), "a closed reader ends the waiting");
    }

    #[tokio::test]
    async fn a_slow_reader_is_waited_for_and_one_that_does_not_read_is_not() {
        let (queue, mut out) = piped();
        let bytes = vec![b'x'; LANE_BYTES];
        let slow = std::thread::spawn(move || {
            for _ in 0..8 {
                std::thread::sleep(ROOM_PATIENCE / 10);
                read(&mut out, LANE_BYTES);
            }
            out
        });
        for _ in 0..8 {
            queue.push_patiently(&bytes).await;
        }
        let _unread = slow.join().unwrap();
        assert_eq!(queue.dropped(), Dropped::default());

        // Being written, waiting, and one for which there is no room.
        for _ in 0..3 {
            queue.push_patiently(&bytes).await;
        }
        assert!(queue.dropped().child_bytes >= LANE_BYTES as u64);
        timeout(ROOM_PATIENCE / 2, queue.push_patiently(&bytes)).await.expect("not waited for");
    }

    #[tokio::test]
    async fn what_does_not_fit_wakes_whoever_waits_for_it() {
        let (_out, write_end) = rustix::pipe::pipe().unwrap();
        let overflow = Arc::<Notify>::default();
        let queue = start("test", write_end.into(), Arc::clone(&overflow)).unwrap();
        queue.push(Lane::Child, &vec![0; LANE_BYTES]);
        timeout(Duration::ZERO, overflow.notified()).await.expect_err("it fits");
        queue.push(Lane::Child, &vec![0; LANE_BYTES + 1]);
        timeout(PATIENCE, overflow.notified()).await.expect("woken");
    }

    #[test]
    fn floods_leave_no_buffers_behind() {
        alone(|| {
            let (queue, mut out) = piped();
            let mut piece = [b'x'; 8 * 1024];
            let mut flood = || {
                let before = queue.dropped().child_bytes;
                (0..200).for_each(|_| queue.push(Lane::Child, &piece));
                let dropped = queue.dropped().child_bytes - before;
                (dropped / 8 / 1024..200).for_each(|_| out.read_exact(&mut piece).unwrap());
                assert!(queue.flush(PATIENCE));
            };
            let before = anonymous_kb();
            (0..20).for_each(|_| flood());
            let after = anonymous_kb();
            assert!(after <= before + 256, "{before} KB, then {after} KB");
        });
    }

    #[test]
    fn a_descriptor_that_somebody_made_non_blocking_loses_nothing() {
        let (mut out, to) = small_pipe();
        rustix::io::ioctl_fionbio(&to, true).unwrap();
        let queue = start("test", to, Arc::default()).unwrap();
        let bytes: Vec<u8> = (0..LANE_BYTES).map(|n| (n % 251) as u8).collect();
        queue.push(Lane::Child, &bytes);
        assert_eq!(read(&mut out, bytes.len()), bytes);
        assert_eq!(queue.dropped(), Dropped::default());
    }

    #[test]
    fn a_log_line_stands_between_lines_of_the_child() {
        let mut waiting = Waiting::default();
        waiting.lane(Lane::Child).extend_from_slice(b"whole\nhal");
        assert_eq!(waiting.next(), b"whole\n");
        waiting.lane(Lane::Log).extend_from_slice(b"ours\n");
        waiting.lane(Lane::Child).extend_from_slice(b"f\n");
        assert_eq!(waiting.next(), b"ours\n");
        assert_eq!(waiting.next(), b"half\n");
        assert!(waiting.is_empty());
    }
}
