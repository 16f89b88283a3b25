//! HTTP over a unix socket.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;

use crate::config::HttpProbe;
use crate::supervisor::{FailKind, Verdict};

use super::server::read_head;
use super::{LONG, ask, fails, get};

fn over(socket: &Path) -> HttpProbe {
    HttpProbe { unix_socket: Some(socket.into()), ..get("http://gateway.local/health") }
}

#[tokio::test]
async fn a_server_on_a_unix_socket_is_asked_by_the_name_in_the_url() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("http.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 204 x\r\n\r\n").await.unwrap();
        head
    });
    assert_eq!(ask(over(&path), LONG).await.verdict, Verdict::Pass);
    let head = server.await.unwrap();
    assert!(head.starts_with("GET /health HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("host: gateway.local\r\n"), "{head}");
}

#[tokio::test]
async fn a_unix_socket_that_is_missing_or_left_over_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("http.sock");
    let answer = ask(over(&path), LONG).await;
    assert_eq!(answer.verdict, fails(FailKind::Refused), "{}", answer.detail);
    drop(UnixListener::bind(&path).unwrap());
    let answer = ask(over(&path), LONG).await;
    assert_eq!(answer.verdict, fails(FailKind::Refused), "{}", answer.detail);
}

#[tokio::test]
async fn a_unix_socket_whose_queue_is_full_is_a_hang() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("http.sock");
    let kind = SocketType::STREAM;
    let open = |flags| rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None).unwrap();
    let address = SocketAddrUnix::new(&path).unwrap();
    let listener = open(SocketFlags::CLOEXEC);
    bind(&listener, &address).unwrap();
    listen(listener.as_fd(), 0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let client = open(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
        if rustix::net::connect(&client, &address).is_err() {
            break;
        }
        waiting.push(client);
    }
    let answer = ask(over(&path), LONG).await;
    assert_eq!(answer.verdict, fails(FailKind::Timeout), "{}", answer.detail);
}
