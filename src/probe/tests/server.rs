//! Small servers on free ports that say exactly the bytes they are told to.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// A lot of nothing in particular, in UTF-8.
pub(super) static PLENTY: &str = match std::str::from_utf8(&[b'a'; 1 << 16]) {
    Ok(text) => text,
    Err(_) => unreachable!(),
};

/// Serves each connection with `conversation`; returns the URL of its root.
pub(super) async fn serve<F>(conversation: impl Fn(TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(conversation(stream));
        }
    });
    url
}

/// Answers each request with `bytes` and closes.
pub(super) async fn reply(bytes: impl Into<String>) -> String {
    let bytes = bytes.into();
    serve(move |mut stream| {
        let bytes = bytes.clone();
        async move {
            read_head(&mut stream).await;
            stream.write_all(bytes.as_bytes()).await.ok();
        }
    })
    .await
}

/// Answers each request with `start`, and then with `drip` again and again, as long as one listens.
pub(super) async fn endlessly(start: &'static str, drip: &'static str, every: Duration) -> String {
    serve(move |mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(start.as_bytes()).await.ok();
        while stream.write_all(drip.as_bytes()).await.is_ok() {
            sleep(every).await;
        }
    })
    .await
}

/// Reads a request up to its empty line.
pub(super) async fn read_head(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// A port on which nothing listens, and which nobody else is given as long as the socket lives.
pub(super) fn deaf_port() -> (OwnedFd, u16) {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = SocketAddrV4::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap();
    (socket, address.port())
}
