//! The page, `/events`, `/metrics`, `/livez`, `/readyz` and `/status`, on TCP and on the control socket.
//!
//! Runs on a thread of its own, which also reads the child's pipes: the supervision loop waits for
//! nothing that happens here. Nothing on HTTP changes anything. An address that is busy is tried
//! again and again; it never stops the healing.

mod events;
mod gzip;
mod listen;
#[cfg(any(test, fuzzing))]
pub(crate) mod property;
mod routes;
mod serve;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinError, JoinSet};

use crate::metrics::Metrics;
use crate::output::{Dropped, OpenPipes, Source, Stream, Tail, Writers, pump};
use crate::report::{Note, Teller};
use crate::status::Shared;
use crate::threads::{self, spawn_supervised};

pub use listen::HolderOf;

use listen::{Doors, OwnFile};
use routes::Routes;

pub use routes::DrillDesk;

/// While output is being dropped, it is looked at so often.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What the thread needs.
pub struct Setup {
    /// Where to listen on TCP, if anywhere.
    pub listen: Option<SocketAddr>,
    /// Where to put the control socket, if anywhere.
    pub control: Option<PathBuf>,
    /// Says who holds a busy port, in words.
    pub holder_of: HolderOf,
    /// What the pages show.
    pub shared: Arc<Shared>,
    /// Counts requests and makes the page.
    pub metrics: Arc<Metrics>,
    /// Where the child's output goes.
    pub writers: Writers,
    /// Where news goes.
    pub teller: Teller,
    /// Where orders for drills go, if there may be any.
    pub drills: Option<DrillDesk>,
}

/// The running thread. It ends with the process.
#[derive(Clone, Debug)]
pub struct Handle {
    pipes: UnboundedSender<Source>,
    open: Arc<OpenPipes>,
    control: OwnFile,
}

impl Handle {
    /// Passes what comes out of `pipe` on to our own `stream` until its writers are gone, and
    /// keeps the last of it in `tail`.
    pub fn pump(&self, stream: Stream, pipe: OwnedFd, tail: &Arc<Tail>) {
        self.open.opened();
        tail.pipes().opened();
        // The receiver lives as long as the process.
        drop(self.pipes.send(Source { stream, pipe: Arc::new(pipe), tail: Arc::clone(tail) }));
    }

    /// Waits until all pipes are read to their ends, at most for `patience`; whether they are.
    /// Once the tree is gone, nobody can write to them any more.
    pub fn drain(&self, patience: Duration) -> bool {
        self.open.wait_for_none(patience)
    }

    /// Removes the control socket's file, if it is ours: to be called when we are about to end.
    pub fn remove_control_socket(&self) {
        // One that stays is taken for what it is by the next run.
        self.control.remove().ok();
    }
}

/// Binds what can be bound at once, then serves on a thread of its own.
pub fn start(setup: Setup) -> io::Result<Handle> {
    let mut doors = Doors::new(setup.listen, setup.control.clone());
    doors.open(&setup.teller, setup.holder_of);
    let control = doors.file();
    let (pipes, received) = unbounded_channel();
    let open = Arc::new(OpenPipes::default());
    let work = Work {
        received: Mutex::new(received),
        unread: Arc::default(),
        doors: Mutex::new(doors),
        open: Arc::clone(&open),
        setup,
    };
    let teller = work.setup.teller.clone();
    spawn_supervised(
        threads::HTTP,
        move || work.run(),
        move |message, again_in| {
            let message = message.to_owned();
            teller.note(&Note::ThreadPanicked { thread: threads::HTTP, message, again_in });
        },
    )?;
    Ok(Handle { pipes, open, control })
}

/// What survives a panic of the thread: open sockets and pipes are served again.
struct Work {
    setup: Setup,
    doors: Mutex<Doors>,
    received: Mutex<UnboundedReceiver<Source>>,
    /// The pipes that have not been read to their ends.
    unread: Arc<Mutex<Vec<Source>>>,
    open: Arc<OpenPipes>,
}

impl Work {
    fn run(&self) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            // Told and tried again by the caller, like any other failure of this thread.
            Err(error) => std::panic::panic_any(format!("cannot start the runtime: {error}")),
        };
        runtime.block_on(async {
            tokio::join!(self.serve_doors(), self.pump_pipes(), self.tell_of_dropped());
        });
    }

    /// Serves what is bound, and goes on trying what is not.
    #[expect(clippy::await_holding_lock, reason = "taken once for the life of the thread")]
    async fn serve_doors(&self) {
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        let Setup { shared, metrics, drills, .. } = &self.setup;
        let routes =
            Routes::new(Arc::clone(shared), Arc::clone(metrics)).with_orders(drills.clone());
        serve::forever(&mut doors, &routes, &self.setup.teller, self.setup.holder_of).await;
    }

    #[expect(clippy::await_holding_lock, reason = "taken once for the life of the thread")]
    async fn pump_pipes(&self) {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pumps = JoinSet::new();
        let unread = lock(&self.unread).clone();
        for source in unread {
            self.spawn_pump(source, &mut pumps);
        }
        loop {
            tokio::select! {
                Some(source) = received.recv() => {
                    lock(&self.unread).push(source.clone());
                    self.spawn_pump(source, &mut pumps);
                }
                Some(ended) = pumps.join_next() => {
                    // It must not be the only one who knows: its pipe has to be read on.
                    if let Err(Ok(panic)) = ended.map_err(JoinError::try_into_panic) {
                        std::panic::resume_unwind(panic);
                    }
                }
                else => return,
            }
        }
    }

    fn spawn_pump(&self, source: Source, pumps: &mut JoinSet<()>) {
        let writers = self.setup.writers.clone();
        let (open, unread) = (Arc::clone(&self.open), Arc::clone(&self.unread));
        pumps.spawn(async move {
            pump(&source, &writers).await;
            lock(&unread).retain(|other| !Arc::ptr_eq(&other.pipe, &source.pipe));
            source.tail.pipes().ended();
            open.ended();
        });
    }

    /// Tells of dropped output, once when it begins and once with its sum.
    async fn tell_of_dropped(&self) {
        let mut bursts =
            Stream::ALL.iter().map(|stream| (*stream, Burst::default())).collect::<Vec<_>>();
        loop {
            if bursts.iter().any(|(_, burst)| burst.is_running()) {
                tokio::time::sleep(LOOK_AGAIN).await;
            } else {
                self.setup.writers.overflowed().await;
            }
            for (stream, burst) in &mut bursts {
                let dropped = self.setup.writers.queue(*stream).dropped();
                burst.look(*stream, dropped, &self.setup.teller);
            }
        }
    }
}

fn lock(unread: &Mutex<Vec<Source>>) -> MutexGuard<'_, Vec<Source>> {
    unread.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A time during which output was being dropped.
#[derive(Debug, Default)]
struct Burst {
    began: Dropped,
    seen: Dropped,
}

impl Burst {
    fn is_running(&self) -> bool {
        self.seen != self.began
    }

    fn look(&mut self, stream: Stream, dropped: Dropped, teller: &Teller) {
        let grown = dropped != self.seen;
        let running = self.is_running();
        teller.count_dropped(
            stream,
            dropped.child_bytes - self.seen.child_bytes,
            dropped.log_lines - self.seen.log_lines,
        );
        self.seen = dropped;
        if grown && !running {
            teller.note(&Note::OutputDropping { stream });
        } else if running && !grown {
            teller.note(&Note::OutputDropped {
                stream,
                bytes: dropped.child_bytes - self.began.child_bytes,
                log_lines: dropped.log_lines - self.began.log_lines,
            });
            self.began = dropped;
        }
    }
}

#[cfg(test)]
mod tests;
