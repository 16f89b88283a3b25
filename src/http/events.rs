//! `/events`: what has changed on the page, for as long as somebody looks at it (SSE).
//!
//! The first event has every part of the page, each later one those that differ from what was sent
//! before. They are made when the client takes them: a slow reader gets fewer, and nothing is kept
//! for it. The loop is not waited for and does not wait; it only says that something is new.
//!
//! A stream ends before its connection has to, and the browser asks again at once. Those for whom
//! there is no place get everything once, and are told to come back.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::serve::CONNECTION_LIFE;
use crate::metrics::Metrics;
use crate::page::{self, Part, View};
use crate::status::Shared;
use crate::supervisor::Moment;

/// So many streams at most.
const STREAMS: usize = 16;

/// A stream ends after this and a look.
const STREAM_LIFE: Duration = Duration::from_secs(50);

/// What is cut off with its connection is an error in the browser's console.
const _: () = assert!(STREAM_LIFE.as_secs() + SLOW_TICK.as_secs() < CONNECTION_LIFE.as_secs());

/// A browser that has lost us, or has no place, comes back after this.
const RETRY: Duration = Duration::from_secs(3);
const RETRY_WITHOUT_PLACE: Duration = Duration::from_secs(10);

/// What is told at the same time becomes one event.
const BREATH: Duration = Duration::from_millis(100);

/// What only time changes is looked at so often: in an outage, and otherwise.
const TICK: Duration = Duration::from_secs(1);
const SLOW_TICK: Duration = Duration::from_secs(5);

/// Something is sent at least so often, so that nobody in between takes the stream for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The places for streams, shared by both doors.
#[derive(Clone)]
pub(super) struct Places(Arc<Semaphore>);

impl Places {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(STREAMS)))
    }
}

/// The next event; `None` at the end of the stream.
type Next = Pin<Box<dyn Future<Output = Option<(Feed, String)>> + Send>>;

/// The body of the answer.
pub(super) struct Events(Next);

impl Events {
    /// Begins a stream if there is a place, else tells everything once.
    pub(super) fn begin(shared: Arc<Shared>, metrics: Arc<Metrics>, places: &Places) -> Self {
        let feed = Feed {
            place: Arc::clone(&places.0).try_acquire_owned().ok(),
            began: shared.now(),
            spoke: shared.now(),
            changes: shared.changes(),
            shared,
            metrics,
            number: 0,
            sent: Vec::new(),
            pause: Duration::ZERO,
        };
        Self(Box::pin(std::future::ready(Some(feed.first()))))
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = ready!(self.0.as_mut().poll(context));
        Poll::Ready(next.map(|(feed, event)| {
            self.0 = Box::pin(feed.next());
            Ok(Frame::data(event.into()))
        }))
    }
}

/// One stream.
struct Feed {
    place: Option<OwnedSemaphorePermit>,
    began: Moment,
    /// When something was last sent.
    spoke: Moment,
    changes: watch::Receiver<()>,
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    /// Of the last event.
    number: u64,
    /// What was last sent of each part.
    sent: Vec<Part>,
    /// When to look again, if nobody says that something is new.
    pause: Duration,
}

impl Feed {
    fn first(mut self) -> (Self, String) {
        let retry = if self.place.is_some() { RETRY } else { RETRY_WITHOUT_PLACE };
        let event = format!("retry: {}\n{}", retry.as_millis(), self.look());
        (self, event)
    }

    async fn next(mut self) -> Option<(Self, String)> {
        self.place.as_ref()?;
        loop {
            // Whoever publishes goes away only with the process.
            timeout(self.pause, self.changes.changed()).await.ok();
            sleep(BREATH).await;
            let now = self.shared.now();
            if now.since(self.began) >= STREAM_LIFE {
                return None;
            }
            let mut event = self.look();
            if event.is_empty() && now.since(self.spoke) >= KEEP_ALIVE {
                event.push_str(":\n\n");
            }
            if !event.is_empty() {
                self.spoke = now;
                return Some((self, event));
            }
        }
    }

    /// What differs from what was sent.
    fn look(&mut self) -> String {
        let view = View::of(&self.shared, &self.metrics);
        self.pause = if view.is_restless() { TICK } else { SLOW_TICK };
        let parts = page::parts(&view);
        let mut event = String::new();
        for (index, part) in parts.iter().enumerate() {
            if self.sent.get(index) != Some(part) {
                self.number += 1;
                write!(event, "id: {}\ndata: {} {}\n\n", self.number, part.id, part.html)
                    .expect("writing to a string does not fail");
            }
        }
        self.sent = parts;
        event
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::super::routes::Routes;
    use super::super::serve::Connections;
    use super::*;
    use crate::clock::Clock;
    use crate::incident::Incident;

    /// A page full of incidents, all of this summary.
    fn fill(shared: &Shared, summary: &str) {
        let incident = Incident { summary: summary.to_owned(), ..Incident::default() };
        shared.show_incidents(None, (0..10).map(|_| Arc::new(incident.clone())).collect());
    }

    #[tokio::test]
    async fn a_slow_reader_gets_what_is_new_and_not_all_that_there_was() {
        let service = crate::report::tests::service();
        let shared = Arc::new(Shared::new(Clock::start(), &service.name));
        let routes = Routes::new(Arc::clone(&shared), Arc::new(Metrics::new(&service)));
        let mut connections = Connections::at_most(1);
        let (mut client, server) = duplex(1024);
        client.write_all(b"GET /events HTTP/1.0\r\n\r\n").await.unwrap();
        connections.serve(Box::new(server), &routes).await;
        let most = 20;
        for number in 0..=most {
            fill(&shared, &format!("{number:0100}"));
            // Longer than whoever reads is made to wait.
            sleep(BREATH * 3 / 2).await;
        }
        let (mut text, last) = (String::new(), format!("{most:0100}"));
        while !text.contains(&last) {
            let mut bytes = [0; 4096];
            let read = client.read(&mut bytes).await.unwrap();
            assert!(read > 0, "the stream has ended");
            text.push_str(str::from_utf8(&bytes[..read]).unwrap());
        }
        let seen = text.matches("data: s0-past ").count();
        assert!(seen < most / 2, "{seen} of {most} were kept for it");
    }
}
