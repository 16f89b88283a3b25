//! The demo gateway: a small real HTTP server that falls sick when told to.
//!
//! It is the child in the demo, in the drills and in the behaviour tests: `/health`, `/readyz` and
//! `/info` answer like a gateway's, `/fault?mode=…` breaks it. It knows nothing of who supervises
//! it, and it is not careful: hanging, crashing and leaving orphans behind is what it is for.

mod answers;
mod fault;

use std::cell::Cell;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};

use crate::clock::{self, Clock};

use self::fault::{Fault, Mode};

/// How long requests under way may take once we are told to end.
const DRAIN: Duration = Duration::from_secs(1);

/// How the demo gateway is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens.
    pub host: IpAddr,
    /// On which port; 0 takes a free one.
    pub port: u16,
    /// It binds its port only after this.
    pub slow_start: Duration,
    /// `/readyz` is 503 until this has passed.
    pub ready_after: Duration,
    /// The arguments that make our own executable call [`run_orphan`].
    pub orphan_arguments: Vec<String>,
}

/// Serves until told to end; returns the exit code.
pub fn run(options: &Options) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served =
        runtime.and_then(|runtime| LocalSet::new().block_on(&runtime, Gateway::serve(options)));
    served.unwrap_or_else(|error| {
        // With stderr gone there is nobody left to tell.
        writeln!(io::stderr(), "demo-gateway: {error}").ok();
        1
    })
}

/// What an orphan does: hold the listening socket, which is its standard input, in a session of
/// its own, deaf to SIGTERM, for ever. Returns only if it could not get there.
pub fn run_orphan() -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let settled = runtime.and_then(|runtime| {
        let _in_runtime = runtime.enter();
        rustix::process::setsid()?;
        let _deaf = signal(SignalKind::terminate())?;
        // Whoever waits for this word may be gone; that is no reason to end.
        writeln!(io::stdout(), "settled").ok();
        block_forever()
    });
    settled.unwrap_or(1)
}

/// The running gateway, shared by its connections.
#[derive(Debug)]
struct Gateway {
    clock: Clock,
    /// Since 1970.
    started: Duration,
    ready_after: Duration,
    requests: Cell<u64>,
    sickness: Cell<Option<Fault>>,
}

impl Gateway {
    async fn serve(options: &Options) -> io::Result<u8> {
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let gateway = Rc::new(Self {
            clock: Clock::start(),
            started: clock::wall(),
            ready_after: options.ready_after,
            requests: Cell::new(0),
            sickness: Cell::new(None),
        });
        if !options.slow_start.is_zero() {
            tell(&format!("starting slowly, listening in {:?}", options.slow_start));
            tokio::select! {
                () = sleep(options.slow_start) => {}
                () = told_to_end(&mut term, &mut int) => return Ok(0),
            }
        }
        let mut listener = Some(listen(SocketAddr::new(options.host, options.port)).await?);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = told_to_end(&mut term, &mut int) => {
                    if !gateway.is_sick_with(Mode::IgnoreTerm) {
                        break;
                    }
                    tell("told to end, and ignoring it");
                }
                Some(done) = connections.join_next() => {
                    if let Ok(Some(fault)) = done
                        && let Some(code) = gateway.fall_sick(fault, &mut listener, options)?
                    {
                        return Ok(code);
                    }
                }
                stream = accept(listener.as_ref()) => {
                    connections.spawn_local(Rc::clone(&gateway).converse(stream));
                }
            }
        }
        tell("told to end, draining");
        drop(listener);
        let drained = timeout(DRAIN, async { while connections.join_next().await.is_some() {} });
        tell(if drained.await.is_ok() { "drained, bye" } else { "not drained in time, bye" });
        Ok(0)
    }

    /// Answers one request and gives back the fault that it asked for, once the client has its
    /// answer.
    async fn converse(self: Rc<Self>, stream: TcpStream) -> Option<Fault> {
        let ordered = Cell::new(None);
        let service = service_fn(|request| self.answer(request, &ordered));
        let connection =
            http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
        // A client that went away is no concern of ours.
        connection.await.ok();
        ordered.take()
    }

    fn is_sick_with(&self, mode: Mode) -> bool {
        self.sickness.get().is_some_and(|fault| fault.mode == mode)
    }

    fn is_ready(&self) -> bool {
        self.clock.now().since_start() >= self.ready_after
    }

    /// Does what `fault` says beyond wrong answers; an exit code ends the gateway.
    fn fall_sick(
        self: &Rc<Self>,
        fault: Fault,
        listener: &mut Option<TcpListener>,
        options: &Options,
    ) -> io::Result<Option<u8>> {
        match fault.mode {
            Mode::Error500 | Mode::Slow | Mode::WrongBody | Mode::IgnoreTerm | Mode::None => {}
            Mode::Hang => block_forever(),
            Mode::Crash => std::process::abort(),
            Mode::Exit => return Ok(Some(fault.code)),
            Mode::Close => *listener = None,
            Mode::Orphan => {
                if let Some(listener) = listener.take() {
                    leave_orphan(listener.into_std()?, &options.orphan_arguments)?;
                }
                return Ok(Some(1));
            }
            Mode::Leak => drop(tokio::task::spawn_local(Rc::clone(self).leak(fault.mb))),
            Mode::Flood => drop(std::thread::spawn(move || flood(fault.span()))),
        }
        Ok(None)
    }

    /// Takes a megabyte every 100 ms until it has `most`, and gives all back when well again.
    async fn leak(self: Rc<Self>, most: usize) {
        let mut leaked = Vec::new();
        while self.is_sick_with(Mode::Leak) {
            if leaked.len() < most {
                // Not zero: untouched zero pages would cost nothing.
                leaked.push(vec![1_u8; 1 << 20]);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })?;
    tell(&format!("listening on {}, pid {}", listener.local_addr()?, std::process::id()));
    Ok(listener)
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // Out of descriptors, most likely: some will be free soon.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn told_to_end(term: &mut Signal, int: &mut Signal) {
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// Starts a process that keeps `listener` open, and waits until it is deaf and in its own session.
#[expect(clippy::disallowed_methods, reason = "it plays a child: what it starts is not ours")]
fn leave_orphan(listener: StdListener, arguments: &[String]) -> io::Result<()> {
    let mut orphan = std::process::Command::new("/proc/self/exe")
        .args(arguments)
        .stdin(OwnedFd::from(listener))
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    tell(&format!("leaving an orphan behind, pid {}", orphan.id()));
    if let Some(mut stdout) = orphan.stdout.take() {
        stdout.read_exact(&mut [0])?;
    }
    Ok(())
}

fn flood(span: Duration) {
    let clock = Clock::start();
    let line = [b"demo-gateway: flood ".as_slice(), &[b'x'; 4096], b"\n"].concat();
    while clock.now().since_start() < span && io::stdout().write_all(&line).is_ok() {}
}

/// Blocks the thread, and with it everything that runs on it.
fn block_forever() -> ! {
    loop {
        std::thread::park();
    }
}

fn tell(story: &str) {
    // A reader that went away does not stop a gateway.
    writeln!(io::stdout(), "demo-gateway: {story}").ok();
}

#[cfg(test)]
mod tests;
