//! What must hold for whatever is sent to our port.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::Runtime;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::routes::Routes;
use super::serve::Connections;
use crate::clock::Clock;
use crate::config::{File, Sources, load};
use crate::metrics::{Metrics, Readings};
use crate::status::{Shared, Status};

/// Every answer that there is, but for the status codes of pages.
const CODES: &[&str] = &["200", "400", "404", "405", "414", "431", "503"];

/// A turn of the runtime polls every task that has something to do.
const TURNS: usize = 8;

/// So many looks, of 10 ms each.
const PATIENCE: usize = 1000;

thread_local! {
    static SERVER: RefCell<Server> = RefCell::new(Server::new());
}

/// What answers.
struct Server {
    runtime: Runtime,
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    routes: Routes,
}

/// The bytes of one connection: each answer is one of ours and is counted, nothing else changes,
/// and nothing is kept once the client has gone.
pub fn requests(bytes: &[u8]) {
    SERVER.with_borrow_mut(|server| server.take(bytes));
}

impl Server {
    fn new() -> Self {
        let text = "[service.gateway]\ncommand = [\"gateway\"]\nhealth = \"http://127.0.0.1:1/\"";
        let file = Some(File { path: "rekindle.toml".into(), text: text.to_owned() });
        let loaded = load(&Sources { file, ..Sources::default() }).expect("a configuration");
        let metrics = Arc::new(Metrics::new(&loaded.config.services[0]));
        let shared = Arc::new(Shared::new(Clock::start(), "gateway"));
        let routes = Routes::new(Arc::clone(&shared), Arc::clone(&metrics));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self { runtime: runtime.expect("a runtime"), shared, metrics, routes }
    }

    fn take(&mut self, bytes: &[u8]) {
        // A page takes a hundred times as long as a request; which ones are looked at depends on
        // nothing but the bytes.
        let looks = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_mul(31) ^ byte) % 8 == 0;
        let before = looks.then(|| pages(&self.shared, &self.metrics));
        let routes = &self.routes;
        let answers = self.runtime.block_on(async {
            let mut connections = Connections::at_most(1);
            let (client, server) = duplex(64 * 1024);
            connections.serve(Box::new(server), routes).await;
            let answers = exchange(client, bytes).await;
            for _ in 0..TURNS {
                yield_now().await;
            }
            if connections.count() != 0 {
                self.tell_something_new(&connections).await;
            }
            assert_eq!(connections.count(), 0, "the client has gone");
            answers
        });
        let ours = assert_known(&answers);
        let Some(before) = before else { return };
        let after = pages(&self.shared, &self.metrics);
        assert_eq!(without_requests(&before), without_requests(&after), "something has changed");
        assert_eq!(counted(&after) - counted(&before), ours, "answers that were not counted");
    }
}

impl Server {
    /// That a client of `/events` who has sent more than one request has gone is noticed when
    /// there is something to tell it.
    async fn tell_something_new(&self, connections: &Connections) {
        let status = self.shared.status();
        self.shared.publish(Status { attempt: status.attempt + 1, ..(*status).clone() });
        for _ in 0..PATIENCE {
            if connections.count() == 0 {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Panics at an answer that is none of ours; the number of those that came from a page.
fn assert_known(answers: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(answers);
    let is_text = matches!(text, Cow::Borrowed(_));
    assert!(is_text || text.contains("\r\ncontent-encoding: gzip"), "our pages are text: {text}");
    let mut ours = 0;
    for (at, _) in text.match_indices("HTTP/1.") {
        let (head, _) = text[at..].split_once("\r\n\r\n").expect("a whole head");
        let code = head.split(' ').nth(1).expect("a code");
        assert!(CODES.contains(&code), "{head}");
        // What is not HTTP is answered before it comes to us.
        if !["400", "414", "431"].contains(&code) {
            ours += 1;
            assert!(head.contains("\r\ncache-control: no-store"), "{head}");
        }
    }
    ours
}

/// Sends everything, and reads until nothing comes any more.
async fn exchange(client: DuplexStream, bytes: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(client);
    let mut answers = Vec::new();
    let write = async {
        // The server may well close before it has everything.
        writer.write_all(bytes).await.ok();
    };
    let read = async {
        let mut quiet = 0;
        while quiet < TURNS {
            tokio::select! {
                biased;
                read = reader.read_buf(&mut answers) => match read {
                    Ok(1..) => quiet = 0,
                    Ok(0) | Err(_) => break,
                },
                () = yield_now() => quiet += 1,
            }
        }
    };
    tokio::join!(write, read);
    answers
}

/// What an operator could see, without what only time changes.
fn pages(shared: &Shared, metrics: &Metrics) -> String {
    let status = shared.status();
    format!("{}{:?}{:?}", metrics.page(&Readings::default()), status.state, status.counts)
}

const REQUESTS: &str = "rekindle_http_requests_total{";

fn without_requests(pages: &str) -> Vec<&str> {
    let mut lines: Vec<_> = pages.lines().filter(|line| !line.starts_with(REQUESTS)).collect();
    // The families come in any order.
    lines.sort_unstable();
    lines
}

fn counted(pages: &str) -> u64 {
    let lines = pages.lines().filter(|line| line.starts_with(REQUESTS));
    lines
        .map(|line| line.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok()).expect("a number"))
        .sum()
}
