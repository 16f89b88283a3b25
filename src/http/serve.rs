//! Connections: accepted at once, bounded in number and time; on the control socket only from root
//! and our own user.
//!
//! When there are too many, the oldest is closed rather than the newest refused: a slow client
//! holds on to old connections, a scrape needs its new one for a millisecond.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{poll_fn, ready};
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, geteuid, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::listen::{Doors, HolderOf};
use super::routes::Routes;
use crate::report::{Note, Teller};

/// So many connections are open at most, on each door, and no more than this part of the
/// descriptors that we may have: the healing needs some, too.
const CONNECTIONS: usize = 128;
const PART_OF_DESCRIPTORS: u64 = 8;

/// A request's header must have come within this; an idle connection is closed after it.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// No connection lives longer.
pub(super) const CONNECTION_LIFE: Duration = Duration::from_mins(1);

/// A request's header is no longer than this.
const HEADER_BYTES: usize = 8 * 1024;

/// After a failed `accept` (no descriptors left): the connection stays in the kernel's queue.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves both doors, and tries again to open one that is shut or that nobody can find.
pub(super) async fn forever(
    doors: &mut Doors,
    routes: &Routes,
    teller: &Teller,
    holder_of: HolderOf,
) {
    let (mut tcp_served, mut control) = (false, None::<AbortHandle>);
    loop {
        if !tcp_served && let Some(listener) = doors.tcp() {
            tcp_served = true;
            let routes = routes.clone().reading_only();
            tokio::spawn(serve(routes, move |cx| listener.poll_accept(cx), |_| true));
        }
        if control.is_none()
            && let Some(listener) = doors.unix()
        {
            let admits = admits_only_us_and_root(teller.clone());
            let served = serve(routes.clone(), move |cx| listener.poll_accept(cx), admits);
            control = Some(tokio::spawn(served).abort_handle());
        }
        let Some(wait) = doors.look_in() else { return };
        sleep(wait).await;
        if doors.shut_if_lost(teller) {
            control.take().inspect(AbortHandle::abort);
        }
        doors.open(teller, holder_of);
    }
}

/// Whether the other end of the control socket may talk to us. Its mode keeps others away already;
/// this holds when somebody has changed the mode. They are told of once.
fn admits_only_us_and_root(teller: Teller) -> impl FnMut(&UnixStream) -> bool {
    let mut told = false;
    move |stream| {
        let Ok(peer) = stream.peer_cred() else { return false };
        let admitted = peer.uid() == 0 || peer.uid() == geteuid().as_raw();
        if !admitted && !told {
            told = true;
            teller.note(&Note::PeerRefused { uid: peer.uid(), pid: peer.pid().unwrap_or(0) });
        }
        admitted
    }
}

/// A connection through either door: one type, so that the HTTP code is in the program once.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Serves one door, whatever kind of streams come through it, to those whom it `admits`.
async fn serve<S, P>(
    routes: Routes,
    accept: impl Fn(&mut Context<'_>) -> Poll<io::Result<(S, P)>>,
    mut admits: impl FnMut(&S) -> bool,
) where
    S: Stream + 'static,
{
    let mut connections = Connections::at_most(most_connections());
    loop {
        match poll_fn(&accept).await {
            Ok((stream, _peer)) if admits(&stream) => {
                connections.serve(Box::new(stream), &routes).await;
            }
            Ok(_) => tokio::task::yield_now().await,
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// How many connections one door may keep open.
fn most_connections() -> usize {
    let part = getrlimit(Resource::Nofile).current.map(|most| most / PART_OF_DESCRIPTORS);
    let part = part.and_then(|part| usize::try_from(part).ok());
    part.map_or(CONNECTIONS, |part| part.clamp(1, CONNECTIONS))
}

/// The open connections of one door, oldest first.
pub(super) struct Connections {
    open: VecDeque<AbortHandle>,
    most: usize,
}

impl Connections {
    pub(super) const fn at_most(most: usize) -> Self {
        Self { open: VecDeque::new(), most }
    }

    pub(super) async fn serve(&mut self, stream: Box<dyn Stream>, routes: &Routes) {
        self.open.retain(|connection| !connection.is_finished());
        while self.open.len() >= self.most {
            self.open.pop_front().inspect(AbortHandle::abort);
        }
        let routes = routes.clone();
        let answer = move |request| ready(Ok::<_, Infallible>(routes.answer(&request)));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        let task = tokio::spawn(async move {
            // A client that breaks off or is too slow is its own loss.
            drop(timeout(CONNECTION_LIFE, connection).await);
        });
        self.open.push_back(task.abort_handle());
        // Its request may be here already: answer before accepting what might push it out.
        tokio::task::yield_now().await;
    }

    /// How many are open.
    #[cfg(any(test, fuzzing))]
    pub(super) fn count(&self) -> usize {
        self.open.iter().filter(|connection| !connection.is_finished()).count()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, duplex};

    use super::*;
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::status::Shared;

    #[tokio::test]
    async fn one_connection_too_many_pushes_out_the_oldest() {
        let service = crate::report::tests::service();
        let shared = Arc::new(Shared::new(Clock::start(), &service.name));
        let routes = Routes::new(shared, Arc::new(Metrics::new(&service)));
        let mut connections = Connections::at_most(CONNECTIONS);
        let mut clients = Vec::new();
        for _ in 0..=CONNECTIONS {
            let (client, server) = duplex(64);
            connections.serve(Box::new(server), &routes).await;
            clients.push(client);
        }
        assert_eq!(connections.open.len(), CONNECTIONS);
        assert_eq!(clients[0].read(&mut [0]).await.unwrap(), 0, "closed");
    }
}
