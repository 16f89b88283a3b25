use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clock::Clock;
use crate::status::Status;
use crate::supervisor::State;

const PATIENCE: Duration = Duration::from_secs(20);

const LISTENING: &str = "INFO  metrics and status at http://";

struct Server {
    handle: Handle,
    address: SocketAddr,
    control: PathBuf,
    shared: Arc<Shared>,
    stdout: std::fs::File,
    dir: tempfile::TempDir,
}

fn setup(listen: SocketAddr, dir: &tempfile::TempDir) -> (Setup, std::fs::File) {
    let service = crate::report::tests::service();
    let metrics = Arc::new(Metrics::new(&service));
    let (stdout, to_stdout) = rustix::pipe::pipe().unwrap();
    let to_stderr = std::fs::File::create("/dev/null").unwrap();
    let setup = Setup {
        listen: Some(listen),
        control: Some(dir.path().join("run/control.sock")),
        holder_of: |_| Some("pid 4711 (node)".to_owned()),
        shared: Arc::new(Shared::new(Clock::start(), &service.name)),
        writers: Writers::onto(to_stdout.into(), to_stderr).unwrap(),
        teller: Teller::new(&service.name, Arc::clone(&metrics)),
        drills: None,
        metrics,
    };
    (setup, stdout.into())
}

fn server() -> Server {
    let dir = tempfile::tempdir().unwrap();
    let (setup, stdout) = setup(([127, 0, 0, 1], 0).into(), &dir);
    let (control, shared) = (setup.control.clone().unwrap(), Arc::clone(&setup.shared));
    let mut handle = None;
    let lines = crate::report::tests::logged(|| handle = Some(start(setup).unwrap()));
    let address = lines.iter().find_map(|line| line.strip_prefix(LISTENING)).expect("it is told");
    let (handle, address) = (handle.unwrap(), address.parse().unwrap());
    Server { handle, address, control, shared, stdout, dir }
}

impl Server {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn ask(&self, request: &str) -> String {
        exchange(self.connect(), request)
    }
}

/// Sends `GET /path` or the like and returns the whole answer.
fn exchange(mut stream: impl Read + Write, request: &str) -> String {
    write!(stream, "{request} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

fn code(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap()
}

#[test]
fn the_routes_answer_with_their_codes() {
    let server = server();
    for (request, expected, text) in [
        ("GET /livez", "200", "ok\n"),
        ("GET /healthz", "200", "ok\n"),
        ("GET /livez?verbose", "200", "[+]loop ok\n"),
        ("GET /readyz", "503", "gateway is not started yet\n"),
        ("GET /readyz?verbose=1", "503", "[-]service failed: gateway is not started yet\n"),
        ("GET /nowhere", "404", "not found\n"),
        ("POST /metrics", "405", "only GET and HEAD\n"),
        ("DELETE /status", "405", "only GET and HEAD\n"),
        ("HEAD /livez", "200", ""),
    ] {
        let answer = server.ask(request);
        assert_eq!((code(&answer), body(&answer)), (expected, text), "{request}");
        assert!(answer.contains("cache-control: no-store\r\n"), "{answer}");
    }
    let page = server.ask("GET /metrics");
    assert!(page.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    for line in [
        "rekindle_http_requests_total{handler=\"livez\",code=\"200\"} 4",
        "rekindle_http_requests_total{handler=\"readyz\",code=\"503\"} 2",
        "rekindle_http_requests_total{handler=\"other\",code=\"405\"} 2",
        "rekindle_http_requests_total{handler=\"other\",code=\"404\"} 1",
    ] {
        assert!(page.contains(line), "{line}");
    }
}

#[test]
fn metrics_are_packed_for_whoever_accepts_it_and_head_has_the_same_headers() {
    let server = server();
    let ask = |method: &str, accepts: &str| {
        let mut stream = server.connect();
        let rest = "Host: test\r\nConnection: close\r\n";
        write!(stream, "{method} /metrics HTTP/1.1\r\n{rest}{accepts}\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        let body = answer.split_off(end + 4);
        (String::from_utf8(answer).unwrap(), body)
    };
    let says_packed = |head: &str| head.contains("content-encoding: gzip\r\n");
    let (head, plain) = ask("GET", "");
    assert!(!says_packed(&head) && head.contains("vary: accept-encoding\r\n"), "{head}");

    let (head, packed) = ask("GET", "Accept-Encoding: deflate, gzip;q=0.9\r\n");
    assert!(says_packed(&head) && head.contains("vary: accept-encoding\r\n"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    assert!(head.contains(&format!("content-length: {}\r\n", packed.len())), "{head}");
    assert!(packed.len() < plain.len() / 5, "{} of {} bytes", packed.len(), plain.len());
    let page = String::from_utf8(gzip::tests::unpacked(&packed)).unwrap();
    assert!(page.contains("rekindle_http_requests_total{handler=\"metrics\",code=\"200\"} 1\n"));

    let (head, body) = ask("HEAD", "Accept-Encoding: gzip\r\n");
    assert!(says_packed(&head) && head.contains("content-length: ") && body.is_empty(), "{head}");
    let (head, page) = ask("GET", "Accept-Encoding: gzip;q=0\r\n");
    assert!(!says_packed(&head) && page.starts_with(b"#"), "{head}");
}

#[test]
fn the_control_socket_answers_too() {
    let server = server();
    let answer = exchange(UnixStream::connect(&server.control).unwrap(), "GET /readyz");
    assert_eq!(code(&answer), "503");
}

#[test]
fn status_is_as_its_schema_says() {
    let answer = server().ask("GET /status");
    assert!(answer.contains("content-type: application/json\r\n"));
    let status: serde_json::Value = serde_json::from_str(body(&answer)).unwrap();
    crate::status::document::tests::assert_fits_schema(&status);
    assert_eq!(status["services"][0]["state"], "stopped");
}

#[test]
fn the_page_is_there_and_may_load_nothing() {
    let answer = server().ask("GET /");
    assert!(answer.contains("content-type: text/html; charset=utf-8\r\n"), "{answer}");
    assert!(answer.contains("content-security-policy: default-src 'none'; "), "{answer}");
    assert!(body(&answer).starts_with("<!DOCTYPE html>\n"));
}

/// A stream of events, without the head of the answer.
struct Stories(BufReader<TcpStream>);

impl Stories {
    fn open(server: &Server) -> Self {
        let mut stream = server.connect();
        stream.write_all(b"GET /events HTTP/1.0\r\n\r\n").unwrap();
        let mut stories = Self(BufReader::new(stream));
        let head = stories.paragraph();
        assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
        assert!(head.contains("content-type: text/event-stream\r\n"), "{head}");
        assert!(head.contains("cache-control: no-store\r\n"), "{head}");
        assert!(head.contains("x-accel-buffering: no\r\n"), "{head}");
        stories
    }

    /// Up to an empty line; empty at the end.
    fn paragraph(&mut self) -> String {
        let mut text = String::new();
        while self.0.read_line(&mut text).unwrap() > 0 && !text.ends_with("\n\n") {
            if text.ends_with("\r\n\r\n") {
                break;
            }
        }
        text
    }

    /// The number and the data of the first event that satisfies.
    fn wait_for(&mut self, found: impl Fn(&str) -> bool) -> (u64, String) {
        loop {
            let event = self.paragraph();
            assert!(!event.is_empty(), "the stream has ended");
            let Some((_, event)) = event.split_once("id: ") else { continue };
            let (id, data) = event.split_once("\ndata: ").expect("an event");
            if found(data) {
                return (id.parse().expect("a number"), data.to_owned());
            }
        }
    }
}

#[test]
fn events_begin_with_everything_and_go_on_with_what_has_changed() {
    let server = server();
    let mut stories = Stories::open(&server);
    let first = stories.paragraph();
    assert!(first.starts_with("retry: 3000\nid: 1\ndata: page "), "{first}");
    let (all, _) = stories.wait_for(|data| data.starts_with("about "));
    let status = server.shared.status();
    let healthy = Status { state: State::Healthy, ready: true, ..(*status).clone() };
    server.shared.publish(healthy);
    let (id, word) = stories.wait_for(|data| data.starts_with("s0-word "));
    assert_eq!(word, "s0-word Healthy\n\n");
    assert!(id > all, "{id}");
    let unchanged = |data: &str| data.starts_with("page ") || data.starts_with("s0-past ");
    server.shared.publish(Status { attempt: 2, ..(*status).clone() });
    let (_, next) = stories.wait_for(|data| unchanged(data) || data.contains("2 attempts so far"));
    assert!(next.starts_with("s0-next "), "{next}");
}

#[test]
fn whoever_finds_no_place_gets_everything_once_and_is_told_to_come_back() {
    let server = server();
    let mut streams: Vec<_> = (0..16).map(|_| Stories::open(&server)).collect();
    for stories in &mut streams {
        stories.wait_for(|data| data.starts_with("about "));
    }
    let mut stories = Stories::open(&server);
    assert!(stories.paragraph().starts_with("retry: 10000\n"));
    stories.wait_for(|data| data.starts_with("about "));
    assert_eq!(stories.paragraph(), "", "the end");
    drop(streams);
    let placed = wait_for(|| {
        let mut stories = Stories::open(&server);
        stories.paragraph().starts_with("retry: 3000\n").then_some(stories)
    });
    drop(placed);
}

#[test]
fn a_busy_port_is_tried_again_until_it_is_free() {
    let blocker = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = blocker.local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (setup, _stdout) = setup(address, &dir);
    let control = setup.control.clone().unwrap();
    let _handle = start(setup).unwrap();
    let page = exchange(UnixStream::connect(control).unwrap(), "GET /metrics");
    assert!(page.contains("\nrekindle_http_bind_failures_total 1\n"), "{page}");
    drop(blocker);
    let answer = wait_for(|| TcpStream::connect(address).ok());
    assert_eq!(code(&exchange(answer, "GET /livez")), "200");
}

#[test]
fn slow_connections_do_not_keep_others_from_an_answer() {
    let server = server();
    let slow: Vec<TcpStream> = (0..1000)
        .map(|_| {
            let mut stream = server.connect();
            // Some are pushed out at once, which is the point.
            drop(stream.write_all(b"GET /metrics HT"));
            stream
        })
        .collect();
    assert_eq!(code(&server.ask("GET /metrics")), "200");
    drop(slow);
}

#[test]
fn a_header_without_end_is_cut_off() {
    let server = server();
    let mut stream = server.connect();
    stream.write_all(b"GET /livez HTTP/1.1\r\nX: ").unwrap();
    let endless = std::iter::repeat_n([b'x'; 1024], 1024);
    let sent = endless.take_while(|chunk| stream.write_all(chunk).is_ok()).count();
    let mut answer = Vec::new();
    // A reset instead of an answer is as good.
    drop(stream.read_to_end(&mut answer));
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || code(&answer) == "431", "after {sent} kB: {answer}");
}

#[test]
fn output_that_is_handed_over_comes_out_unchanged() {
    let mut server = server();
    let (read, write) = rustix::pipe::pipe().unwrap();
    let tail = Arc::<Tail>::default();
    server.handle.pump(Stream::Stdout, read, &tail);
    std::fs::File::from(write).write_all(b"hello\xff\n").unwrap();
    let mut seen = [0; 7];
    server.stdout.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"hello\xff\n");
    wait_for(|| (tail.bytes() == b"hello\xff\n").then_some(()));
}

#[test]
fn a_pipe_that_was_read_to_its_end_is_closed() {
    use rustix::fs::{FileType, Mode, OFlags, mknodat, open};
    let server = server();
    let fifo = server.dir.path().join("fifo");
    mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let read = open(&fifo, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
    let write = || open(&fifo, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty());
    let writer = write().unwrap();
    let tail = Arc::<Tail>::default();
    server.handle.pump(Stream::Stdout, read, &tail);
    drop(writer);
    wait_for(|| (write().err() == Some(rustix::io::Errno::NXIO)).then_some(()));
    assert!(server.handle.drain(PATIENCE));
}

#[test]
fn the_control_socket_is_gone_when_we_are() {
    let server = server();
    assert!(server.control.exists());
    server.handle.remove_control_socket();
    assert!(!server.control.exists());
}

#[test]
fn a_flood_of_output_that_nobody_reads_does_not_delay_an_answer() {
    let server = server();
    let (read, write) = rustix::pipe::pipe().unwrap();
    let tail = Arc::<Tail>::default();
    server.handle.pump(Stream::Stdout, read, &tail);
    let mut write = std::fs::File::from(write);
    let chunk = vec![b'x'; 64 * 1024];
    for _ in 0..1000 {
        write.write_all(&chunk).unwrap();
    }
    assert_eq!(code(&server.ask("GET /livez")), "200");
    assert_eq!(tail.bytes().len(), 64 * 1024, "only the tail is kept");
}

static LOOKS: AtomicU32 = AtomicU32::new(0);

/// Panics when asked for the second time: that is on the HTTP thread.
fn panic_on_second_look(_: SocketAddr) -> Option<String> {
    assert!(LOOKS.fetch_add(1, Ordering::Relaxed) != 1, "planted panic");
    None
}

#[test]
fn after_a_panic_everything_is_served_again_and_pipes_stay_open() {
    let blocker = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (setup, mut stdout) = setup(blocker.local_addr().unwrap(), &dir);
    let setup = Setup { holder_of: panic_on_second_look, ..setup };
    let control = setup.control.clone().unwrap();
    let handle = start(setup).unwrap();
    let (read, write) = rustix::pipe::pipe().unwrap();
    handle.pump(Stream::Stdout, read, &Arc::default());
    let mut write = std::fs::File::from(write);
    let mut seen = [0; 4];
    write.write_all(b"one\n").unwrap();
    stdout.read_exact(&mut seen).unwrap();

    // The third look is by the thread that has started again.
    wait_for(|| (LOOKS.load(Ordering::Relaxed) > 2).then_some(()));
    let answer = exchange(UnixStream::connect(&control).unwrap(), "GET /livez");
    assert_eq!(code(&answer), "200");
    write.write_all(b"two\n").unwrap();
    stdout.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"two\n");
}

#[test]
fn a_burst_of_dropped_output_is_said_when_it_begins_and_when_it_is_over() {
    let service = crate::report::tests::service();
    let metrics = Arc::new(Metrics::new(&service));
    let teller = Teller::new(&service.name, Arc::clone(&metrics));
    let mut burst = Burst::default();
    let dropped = |child_bytes, log_lines| Dropped { log_lines, child_bytes };
    let lines = crate::report::tests::logged(|| {
        for seen in [(0, 0), (500, 0), (1_200_000, 2), (1_200_000, 2), (1_200_000, 2)] {
            burst.look(Stream::Stdout, dropped(seen.0, seen.1), &teller);
        }
        burst.look(Stream::Stdout, dropped(1_300_000, 2), &teller);
        burst.look(Stream::Stdout, dropped(1_300_000, 2), &teller);
    });
    assert_eq!(
        lines,
        [
            "WARN  dropping output: stdout is not being read",
            "WARN  dropped 1.2 MB of the child's output and 2 lines of this log: \
             stdout was not being read",
            "WARN  dropping output: stdout is not being read",
            "WARN  dropped 100.0 kB of the child's output: stdout was not being read",
        ]
    );
    let page = metrics.page(&crate::metrics::Readings::default());
    let sum = "rekindle_output_dropped_bytes_total{service=\"gateway\",stream=\"stdout\"} 1300000";
    assert!(page.contains(sum), "{page}");
    assert!(page.contains("rekindle_log_dropped_lines_total 2"), "{page}");
}

proptest! {
    #[test]
    fn whatever_is_sent_the_property_holds(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        property::requests(&bytes);
    }

    #[test]
    fn whatever_requests_are_sent_the_property_holds(
        requests in proptest::collection::vec(
            "(GET|HEAD|POST|PUT|OPTIONS|X) (/|/events|/metrics|/livez|/readyz|/status|\\*|http://a/livez)(\\?verbose)? \
             HTTP/1\\.[01]\r\n(host: x\r\n)?(accept-encoding: (gzip|gzip;q=[01]|\\*)\r\n)?(connection: (close|keep-alive|upgrade)\r\n)?\
             (content-length: [0-9]{1,3}\r\n|transfer-encoding: chunked\r\n|expect: 100-continue\r\n)?\r\n(1\r\na\r\n0\r\n\r\n)?",
            0..4
        )
    ) {
        property::requests(requests.concat().as_bytes());
    }
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let pause = Duration::from_millis(10);
    for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
        if let Some(found) = look() {
            return found;
        }
        std::thread::sleep(pause);
    }
    panic!("it did not happen within {PATIENCE:?}")
}
