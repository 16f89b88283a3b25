//! The least HTTP client that can ask a supervisor, a gateway or anybody else once.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use crate::paths;
use crate::status::human;

/// Whoever does not answer within this does not answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no answer, or none that is of use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// There is no socket, or one that was left behind.
    #[error("nobody listens there")]
    Nobody,
    /// It is there, and that is all.
    #[error("it does not answer within {}", human(TIMEOUT))]
    Silent,
    /// It says no, and why.
    #[error("{0}")]
    Refused(String),
    /// The connection broke, or could not be made.
    #[error("{0}")]
    Broken(io::Error),
}

impl From<io::Error> for NoAnswer {
    fn from(error: io::Error) -> Self {
        let is = |kinds: [io::ErrorKind; 2]| kinds.contains(&error.kind());
        if is([io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound]) {
            Self::Nobody
        } else if is([io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut]) {
            Self::Silent
        } else {
            Self::Broken(error)
        }
    }
}

impl From<Errno> for NoAnswer {
    fn from(errno: Errno) -> Self {
        io::Error::from(errno).into()
    }
}

/// The body of what a server on this address answers to a GET, if that is a 200.
pub(super) fn tcp(address: SocketAddr, path: &str) -> Result<String, NoAnswer> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    exchange(stream, "GET", path)
}

/// The same through a unix socket.
pub(crate) fn unix(socket: &Path, method: &str, path: &str) -> Result<String, NoAnswer> {
    let stream = UnixStream::from(paths::connect_at_once(socket)?);
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    exchange(stream, method, path)
}

fn exchange(mut stream: impl Read + Write, method: &str, path: &str) -> Result<String, NoAnswer> {
    // HTTP/1.0: the answer is never chunked and ends with the connection.
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    match (head.split(' ').nth(1), body.trim()) {
        (Some(code), _) if code.starts_with('2') => Ok(body.to_owned()),
        (Some(code), "") => Err(NoAnswer::Refused(format!("status {code}"))),
        (Some(_), why) => Err(NoAnswer::Refused(why.to_owned())),
        (None, _) => Err(NoAnswer::Broken(io::Error::other("it does not speak HTTP"))),
    }
}
