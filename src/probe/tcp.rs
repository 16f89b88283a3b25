//! The `tcp` probe: does something accept a connection?

use std::time::Duration;

use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::supervisor::{FailKind, Verdict};

use super::resolve::resolve;
use super::{Answer, classify, no_address_within, no_answer_within};

/// Connects to `host` and hangs up.
pub(super) async fn ask(host: &str, port: u16, limit: Duration) -> Answer {
    let mut resolved = false;
    match timeout(limit, connect(host, port, &mut resolved)).await {
        Ok(answer) => answer,
        Err(_) if resolved => no_answer_within(limit),
        Err(_) => no_address_within(limit),
    }
}

async fn connect(host: &str, port: u16, resolved: &mut bool) -> Answer {
    let addresses = resolve(host, port).await;
    *resolved = true;
    let addresses = match addresses {
        Ok(addresses) => addresses,
        Err(error) => {
            let verdict = classify::name_resolution(Errno::from_io_error(&error));
            return Answer::new(verdict, format!("cannot resolve {host}: {error}"));
        }
    };
    match TcpStream::connect(addresses.as_slice()).await {
        Ok(stream) if reached_itself(&stream) => {
            let detail = format!("nothing listens on port {port}");
            Answer::new(Verdict::Fail(FailKind::Refused), detail)
        }
        Ok(_) => Answer::new(Verdict::Pass, "connected"),
        Err(error) => {
            let verdict = Errno::from_io_error(&error)
                .map_or(classify::name_resolution(None), classify::system_call);
            Answer::new(verdict, format!("cannot connect: {error}"))
        }
    }
}

/// Whether a connection to a free local port was given that same port as its own, which makes TCP
/// connect it to itself.
fn reached_itself(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpSocket;

    use super::*;

    #[tokio::test]
    async fn a_connection_to_itself_is_not_taken_for_a_server() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let stream = socket.connect(address).await.unwrap();
        assert!(reached_itself(&stream));
    }
}
