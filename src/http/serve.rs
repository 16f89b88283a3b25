//! Connections: accepted at once, bounded in number and time.
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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::listen::{Doors, HolderOf};
use super::routes::Routes;
use crate::report::Teller;

/// So many connections are open at most, on each door.
const CONNECTIONS: usize = 128;

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
    routes: &Routes,
    teller: &Teller,
    holder_of: HolderOf,
) {
    let (mut tcp_served, mut unix_served) = (false, false);
    loop {
        if !tcp_served && let Some(listener) = doors.tcp() {
            tcp_served = true;
            tokio::spawn(serve(routes.clone(), move |cx| listener.poll_accept(cx)));
        }
        if !unix_served && let Some(listener) = doors.unix() {
            unix_served = true;
            tokio::spawn(serve(routes.clone(), move |cx| listener.poll_accept(cx)));
        }
        let Some(wait) = doors.retry_in() else { return };
        sleep(wait).await;
        doors.open(teller, holder_of);
    }
}

/// A connection through either door: one type, so that the HTTP code is in the program once.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Serves one door, whatever kind of streams come through it.
async fn serve<S, P>(routes: Routes, accept: impl Fn(&mut Context<'_>) -> Poll<io::Result<(S, P)>>)
where
    S: Stream + 'static,
{
    let mut connections = Connections::default();
    loop {
        match poll_fn(&accept).await {
            Ok((stream, _peer)) => connections.serve(Box::new(stream), &routes).await,
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// The open connections of one door, oldest first.
#[derive(Default)]
struct Connections(VecDeque<AbortHandle>);

impl Connections {
    async fn serve(&mut self, stream: Box<dyn Stream>, routes: &Routes) {
        self.0.retain(|connection| !connection.is_finished());
        while self.0.len() >= CONNECTIONS {
            self.0.pop_front().inspect(AbortHandle::abort);
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
        self.0.push_back(task.abort_handle());
        // Its request may be here already: answer before accepting what might push it out.
        tokio::task::yield_now().await;
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
        let mut connections = Connections::default();
        let mut clients = Vec::new();
        for _ in 0..=CONNECTIONS {
            let (client, server) = duplex(64);
            connections.serve(Box::new(server), &routes).await;
            clients.push(client);
        }
        assert_eq!(connections.0.len(), CONNECTIONS);
        assert_eq!(clients[0].read(&mut [0]).await.unwrap(), 0, "closed");
    }
}
