//! A real server that fails, hangs, refuses and comes back.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use super::*;
use crate::incident::{Capture, End, HookRun, ProbeAnswer};
use crate::metrics::Metrics;

/// How the server takes a document.
#[derive(Clone, Copy)]
enum Manner {
    Answer(u16),
    Hang,
}

use Manner::{Answer, Hang};

/// What came: the header that tells documents apart, and the document.
type Came = (String, Value);

const PATIENCE: Duration = Duration::from_secs(30);

/// Takes one document in each of these manners, in order, and then all.
fn server(manners: &'static [Manner]) -> (SocketAddr, Receiver<Came>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it has one");
    let (came, comes) = channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let manners = manners.iter().copied().chain(std::iter::repeat(Answer(204)));
        for (stream, manner) in listener.incoming().zip(manners) {
            let mut stream = stream.expect("a connection");
            came.send(document(&stream)).expect("the test waits");
            match manner {
                Hang => kept.push(stream),
                Answer(status) => {
                    let head = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
                    stream.write_all(head.as_bytes()).expect("it is read");
                }
            }
        }
    });
    (address, comes)
}

fn document(stream: &TcpStream) -> Came {
    let mut reader = BufReader::new(stream);
    let (mut key, mut length) = (String::new(), 0);
    for line in reader.by_ref().lines().map(|line| line.expect("a header")) {
        match line.split_once(": ") {
            Some(("idempotency-key", value)) => key = value.to_owned(),
            Some(("content-length", value)) => length = value.parse().expect("a number"),
            Some(("x-token", value)) => assert_eq!(value, "s3cret"),
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    (key, serde_json::from_slice(&body).expect("JSON"))
}

fn announcer(address: SocketAddr) -> Announcer {
    let webhook = Webhook {
        url: format!("http://{address}/told?token=s3cret"),
        headers: BTreeMap::from([("x-token".to_owned(), "s3cret".to_owned())]),
        timeout: Duration::from_millis(300),
    };
    let metrics = Arc::new(Metrics::new(&crate::report::tests::service()));
    Announcer::start(&webhook, "gateway", Teller::new("gateway", metrics)).expect("it starts")
}

fn incident(id: &str) -> Arc<Incident> {
    Arc::new(Incident {
        id: id.to_owned(),
        summary: "it was killed by signal 9".to_owned(),
        output: "s3cret".to_owned(),
        attempt_output: "s3cret".to_owned(),
        capture: Some(Capture { output: "s3cret".to_owned(), ..Capture::default() }),
        probes: vec![ProbeAnswer { body: "s3cret".to_owned(), ..ProbeAnswer::default() }],
        hooks: vec![HookRun { output: "s3cret".to_owned(), ..HookRun::default() }],
        ..Incident::default()
    })
}

fn over(id: &str) -> Arc<Incident> {
    let mut over = (*incident(id)).clone();
    over.end = Some(End { how: "healed".to_owned(), ..End::default() });
    Arc::new(over)
}

#[test]
fn a_document_is_sent_until_it_is_taken_and_then_no_more() {
    let (address, comes) = server(&[Answer(500), Hang, Answer(204)]);
    let announcer = announcer(address);
    announcer.tell(incident("1"));
    for _ in 0..3 {
        let (key, document) = comes.recv_timeout(PATIENCE).expect("it is sent again");
        assert_eq!(key, "1/began");
        assert_eq!(
            (&document["event"], &document["instance"]),
            (&"began".into(), &"gateway".into())
        );
        assert_eq!(document["incident"]["summary"], "it was killed by signal 9");
        assert!(!document.to_string().contains("s3cret"), "{document}");
    }
    announcer.tell(over("1"));
    let (key, document) = comes.recv_timeout(PATIENCE).expect("the next one");
    assert_eq!((key.as_str(), &document["event"]), ("1/over", &"over".into()));
}

#[test]
fn while_nobody_listens_only_the_latest_about_an_incident_is_kept() {
    let (address, comes) = server(&[Answer(503)]);
    let announcer = announcer(address);
    announcer.tell(incident("1"));
    assert_eq!(comes.recv_timeout(PATIENCE).expect("it is tried").0, "1/began");
    announcer.tell(over("1"));
    announcer.tell(incident("2"));
    let keys = [(); 2].map(|()| comes.recv_timeout(PATIENCE).expect("it is sent").0);
    assert_eq!(keys, ["1/over", "2/began"]);
}

#[test]
fn what_is_refused_for_good_does_not_hold_up_the_next() {
    let (address, comes) = server(&[Answer(404), Answer(307)]);
    let announcer = announcer(address);
    for id in ["1", "2", "3"] {
        announcer.tell(incident(id));
    }
    let keys = [(); 3].map(|()| comes.recv_timeout(PATIENCE).expect("it is sent").0);
    assert_eq!(keys, ["1/began", "2/began", "3/began"]);
}

#[test]
fn the_oldest_makes_room_when_too_many_wait() {
    let (_told, incidents) = unbounded_channel();
    let webhook = Webhook {
        url: "http://127.0.0.1:1/".to_owned(),
        headers: BTreeMap::new(),
        timeout: Duration::from_secs(1),
    };
    let metrics = Arc::new(Metrics::new(&crate::report::tests::service()));
    let teller = Teller::new("gateway", metrics);
    let mut sender = Sender::new(&webhook, "gateway", incidents, teller).expect("it can be built");
    for number in 0..=MOST_WAITING {
        sender.enqueue(incident(&number.to_string()));
    }
    assert_eq!(sender.waiting.len(), MOST_WAITING);
    assert_eq!(sender.waiting[0].id, "1");
}
