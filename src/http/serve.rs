//! Connections: accepted at once, bounded in number and time; on the control socket only from root
//! and our own user.
//!
//! When there are too many, the oldest is closed rather than the newest refused: a slow client
//! holds on to old connections, a scrape needs its new one for a millisecond.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, geteuid, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::listen::{Doors, HolderOf};
use crate::report::{Note, Teller};

/// So many connections are open at most, on each door, and no more than this part of the
/// descriptors that we may have: the healing needs some, too.
const CONNECTIONS: usize = 128;
const PART_OF_DESCRIPTORS: u64 = 8;

/// A request's header must have come within this; an idle connection is closed after it.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// No connection lives longer.
const CONNECTION_LIFE: Duration = Duration::from_mins(1);

/// A request's header is no longer than this.
const HEADER_BYTES: usize = 8 * 1024;

/// After a failed `accept` (no descriptors left): the connection stays in the kernel's queue.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves both doors, and tries again to open one that is shut.
pub(super) async fn forever(
    doors: &mut Doors,
    router: &Router,
    teller: &Teller,
    holder_of: HolderOf,
) {
    let (mut tcp_served, mut unix_served) = (false, false);
    loop {
        if !tcp_served && let Some(listener) = doors.tcp() {
            tcp_served = true;
            tokio::spawn(serve(router.clone(), move |cx| listener.poll_accept(cx), |_| true));
        }
        if !unix_served && let Some(listener) = doors.unix() {
            unix_served = true;
            let admits = admits_only_us_and_root(teller.clone());
            tokio::spawn(serve(router.clone(), move |cx| listener.poll_accept(cx), admits));
        }
        let Some(wait) = doors.retry_in() else { return };
        sleep(wait).await;
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

/// Serves one door, whatever kind of streams come through it, to those whom it `admits`.
async fn serve<S, P>(
    router: Router,
    accept: impl Fn(&mut Context<'_>) -> Poll<io::Result<(S, P)>>,
    mut admits: impl FnMut(&S) -> bool,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut connections = Connections::at_most(most_connections());
    loop {
        match poll_fn(&accept).await {
            Ok((stream, _peer)) if admits(&stream) => connections.serve(stream, &router).await,
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
struct Connections {
    open: VecDeque<AbortHandle>,
    most: usize,
}

impl Connections {
    const fn at_most(most: usize) -> Self {
        Self { open: VecDeque::new(), most }
    }

    async fn serve<S>(&mut self, stream: S, router: &Router)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.open.retain(|connection| !connection.is_finished());
        while self.open.len() >= self.most {
            self.open.pop_front().inspect(AbortHandle::abort);
        }
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let task = tokio::spawn(async move {
            // A client that breaks off or is too slow is its own loss.
            drop(timeout(CONNECTION_LIFE, connection).await);
        });
        self.open.push_back(task.abort_handle());
        // Its request may be here already: answer before accepting what might push it out.
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    #[tokio::test]
    async fn one_connection_too_many_pushes_out_the_oldest() {
        let (router, mut connections) = (Router::new(), Connections::at_most(CONNECTIONS));
        let mut clients = Vec::new();
        for _ in 0..=CONNECTIONS {
            let (client, server) = duplex(64);
            connections.serve(server, &router).await;
            clients.push(client);
        }
        assert_eq!(connections.open.len(), CONNECTIONS);
        assert_eq!(clients[0].read(&mut [0]).await.unwrap(), 0, "closed");
    }
}
