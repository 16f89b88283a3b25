//! Signals to us, as news for the loop.

use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::supervisor::Signal;

/// A signal that somebody sent us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// TERM or INT: stop.
    Stop,
    /// HUP: ours, but there is nothing to reload yet.
    Hup,
    /// QUIT, USR1, USR2: for the child.
    Forward(Signal),
}

/// All signals that mean something to us.
#[derive(Debug)]
pub struct Signals {
    /// From the kernel, about our children.
    pub deaths: Deaths,
    /// From people and managers.
    pub orders: Orders,
}

impl Signals {
    /// From here on they are heard rather than obeyed by the kernel. Needs a running runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            deaths: Deaths { child: signal(SignalKind::child())?, more: true },
            orders: Orders {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                hangup: signal(SignalKind::hangup())?,
                quit: signal(SignalKind::quit())?,
                user1: signal(SignalKind::user_defined1())?,
                user2: signal(SignalKind::user_defined2())?,
            },
        })
    }
}

/// SIGCHLD. One may stand for many deaths, and some may have come before we listened.
#[derive(Debug)]
pub struct Deaths {
    child: Stream,
    more: bool,
}

impl Deaths {
    /// A child may have died.
    pub async fn next(&mut self) {
        if self.more {
            // Other news that is here gets its turn first.
            tokio::task::yield_now().await;
            self.more = false;
        } else {
            self.child.recv().await;
        }
    }

    /// There were more than could be handled at once: the next turn goes on.
    pub const fn more(&mut self) {
        self.more = true;
    }
}

/// Signals that somebody sends us.
#[derive(Debug)]
pub struct Orders {
    terminate: Stream,
    interrupt: Stream,
    hangup: Stream,
    quit: Stream,
    user1: Stream,
    user2: Stream,
}

impl Orders {
    /// The next one.
    pub async fn next(&mut self) -> Received {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Received::Stop,
            _ = self.interrupt.recv() => Received::Stop,
            _ = self.hangup.recv() => Received::Hup,
            _ = self.quit.recv() => Received::Forward(Signal::Quit),
            _ = self.user1.recv() => Received::Forward(Signal::Usr1),
            _ = self.user2.recv() => Received::Forward(Signal::Usr2),
        }
    }
}
