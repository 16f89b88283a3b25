//! The least HTTP client that can ask: one GET over one connection, no library shared with the
//! product under test.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::Duration;

use super::time::wait_until;

const TIMEOUT: Duration = Duration::from_secs(5);

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Status line and headers.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// GETs `path` from a port of the loopback address.
pub(crate) fn get(port: u16, path: &str) -> Result<Answer> {
    request(port, "GET", path)
}

/// Makes a request without a body.
pub(crate) fn request(port: u16, method: &str, path: &str) -> Result<Answer> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    exchange(stream, method, path)
}

/// GETs `path` through a unix socket.
pub(crate) fn get_unix(socket: &Path, path: &str) -> Result<Answer> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    exchange(stream, "GET", path)
}

/// POSTs `path`, without a body, through a unix socket.
pub(crate) fn post_unix(socket: &Path, path: &str) -> Result<Answer> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    exchange(stream, "POST", path)
}

/// Whether the demo gateway (or any server) answers `/health` with 200.
pub(crate) fn port_answers(port: u16) -> bool {
    get(port, "/health").is_ok_and(|answer| answer.status == 200)
}

/// A port that nothing listens on, never given out twice while this process lives.
///
/// It lies below the range from which the kernel picks ports for outgoing connections, so that no
/// connection of another test can take it in between.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() % u32::from(COUNT);
    loop {
        let next = start + u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let offset = u16::try_from(next % u32::from(COUNT)).expect("less than COUNT");
        let port = FIRST + offset;
        if reserved(port) && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
}

/// Listens on a free port, once no child that is not executed yet has a copy of the listener with
/// which somebody has tried whether it is free.
pub(crate) fn listen(port: u16) -> TcpListener {
    let mut listener = None;
    wait_until(&format!("port {port} is free"), || {
        listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok();
        listener.is_some()
    });
    listener.expect("it was waited for")
}

/// Whether the port is this process's for as long as it lives: test processes run side by side, and
/// nobody listens on a port all the time.
fn reserved(port: u16) -> bool {
    let name = format!("rekindle-test-port-{port}");
    let name = SocketAddr::from_abstract_name(name).expect("it is short");
    UnixListener::bind_addr(&name).map(std::mem::forget).is_ok()
}

/// Serves 200 to everybody on a port, from this process and until it ends; how often it was asked.
pub(crate) fn say_that_all_is_well(port: u16) -> Arc<AtomicU32> {
    let listener = listen(port);
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            count.fetch_add(1, Ordering::Relaxed);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            // A client that has gone away needs no answer.
            drop(stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(answer)));
        }
    });
    asked
}

fn exchange(mut stream: impl Read + Write, method: &str, path: &str) -> Result<Answer> {
    // HTTP/1.0: the answer is never chunked and ends with the connection.
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let malformed = || Error::new(ErrorKind::InvalidData, format!("no HTTP answer: {text:?}"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(malformed)?;
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}
