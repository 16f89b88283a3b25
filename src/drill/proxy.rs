//! A proxy between the probe and the gateway, which can be as sick as a gateway.
//!
//! Each connection has threads of its own: a probe makes one at a time.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// A slow answer comes one byte at a time, with this between them.
const DRIP: Duration = Duration::from_millis(500);

/// What the proxy does with a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// It passes it on: the gateway is well.
    Well,
    /// It answers 500.
    Error500,
    /// It answers 200, with a body that says that it is not well.
    WrongBody,
    /// It answers a byte at a time, and never to the end.
    Slow,
    /// It breaks the connection as soon as a request has come.
    Reset,
    /// It takes the request and never answers.
    BlackHole,
    /// It ends.
    Over,
}

impl Mode {
    const ALL: [Self; 7] = [
        Self::Well,
        Self::Error500,
        Self::WrongBody,
        Self::Slow,
        Self::Reset,
        Self::BlackHole,
        Self::Over,
    ];
}

/// A running proxy. It ends when it is dropped.
pub(super) struct Proxy {
    /// Where it listens.
    pub(super) address: SocketAddr,
    mode: Arc<AtomicU8>,
}

impl Proxy {
    /// Listens on a free port, and passes everything on to `gateway`.
    pub(super) fn start(gateway: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let mode = Arc::new(AtomicU8::new(Mode::Well as u8));
        let shared = Arc::clone(&mode);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (mode, shared) = (current(&shared), Arc::clone(&shared));
                if mode == Mode::Over {
                    break;
                }
                // A client that goes away in the middle is a probe that has given up.
                std::thread::spawn(move || serve(client, gateway, mode, &shared).ok());
            }
        });
        Ok(Self { address, mode })
    }

    /// From the next connection on it does this.
    pub(super) fn turn(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.turn(Mode::Over);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
    }
}

fn current(mode: &AtomicU8) -> Mode {
    Mode::ALL[usize::from(mode.load(Ordering::Relaxed))]
}

fn serve(
    mut client: TcpStream,
    gateway: SocketAddr,
    mode: Mode,
    shared: &AtomicU8,
) -> io::Result<()> {
    if mode == Mode::Well {
        return pass_on(&client, &TcpStream::connect(gateway)?);
    }
    // A request is small and comes whole; what it says does not matter.
    let _any = client.read(&mut [0; 4096])?;
    let sick = b"{\"ok\":false}";
    let answer = |status| {
        let length = sick.len();
        format!("HTTP/1.1 {status} Drill\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n")
    };
    match mode {
        Mode::Well | Mode::Over => {}
        Mode::Error500 => client.write_all(&[answer(500).as_bytes(), sick].concat())?,
        Mode::WrongBody => client.write_all(&[answer(200).as_bytes(), sick].concat())?,
        Mode::Reset => rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO))?,
        Mode::Slow => {
            for byte in answer(200).as_bytes() {
                client.write_all(&[*byte])?;
                std::thread::sleep(DRIP);
                if current(shared) != mode {
                    break;
                }
            }
        }
        // The probe's end is the end of it.
        Mode::BlackHole => drop(client.read_to_end(&mut Vec::new())?),
    }
    Ok(())
}

/// Copies both ways until both sides have said all.
fn pass_on(client: &TcpStream, gateway: &TcpStream) -> io::Result<()> {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            io::copy(&mut &*client, &mut &*gateway).ok();
            gateway.shutdown(Shutdown::Write).ok();
        });
        io::copy(&mut &*gateway, &mut &*client)?;
        client.shutdown(Shutdown::Both)
    })
}
