//! Somebody wants the drill to end: what it waits for is given up, what it has started is ended,
//! and what was measured so far is told.
//!
//! That takes seconds at most, and a second signal does not shorten it. Should the drill be killed,
//! the kernel ends its sandbox.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

static WANTED: AtomicBool = AtomicBool::new(false);

/// Whether the drill is to end.
pub(super) fn is_wanted() -> bool {
    WANTED.load(Ordering::Relaxed)
}

/// From here on SIGINT and SIGTERM are heard rather than obeyed by the kernel.
pub(super) fn listen() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    drop(entered);
    std::thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                WANTED.store(true, Ordering::Relaxed);
            }
        });
    });
    Ok(())
}
