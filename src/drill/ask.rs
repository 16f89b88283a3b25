//! The least HTTP client that can ask a supervisor, a gateway or anybody else once.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Whoever does not answer within this does not answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The body of what a server on this address answers to a GET, if that is a 200.
pub(super) fn tcp(address: SocketAddr, path: &str) -> io::Result<String> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    exchange(stream, "GET", path)
}

/// The same through a unix socket.
pub(crate) fn unix(socket: &Path, method: &str, path: &str) -> io::Result<String> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    exchange(stream, method, path)
}

fn exchange(mut stream: impl Read + Write, method: &str, path: &str) -> io::Result<String> {
    // HTTP/1.0: the answer is never chunked and ends with the connection.
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    match head.split(' ').nth(1) {
        Some(code) if code.starts_with('2') => Ok(body.to_owned()),
        code => {
            let code = code.unwrap_or("no HTTP at all");
            Err(io::Error::other(format!("{path} was answered with {code}: {}", body.trim())))
        }
    }
}
