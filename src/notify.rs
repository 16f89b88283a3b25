//! Tells systemd (or whoever set `NOTIFY_SOCKET`) how it goes: `READY`, `STATUS`, `WATCHDOG`,
//! `EXTEND_TIMEOUT_USEC`, `STOPPING`.
//!
//! Never waits and never fails: what the manager cannot take now is dropped, the next message comes
//! soon. Without `NOTIFY_SOCKET` nothing is sent. The messages' form is the `sd-notify` crate's;
//! the socket is ours, because it must not block and may have an abstract name.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;

use crate::supervisor::{Moment, State};

/// How much time is asked for with each extension.
const EXTENSION: Duration = Duration::from_mins(1);
/// How often it is asked for.
const EXTEND_EVERY: Duration = Duration::from_secs(20);

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub struct Notify {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    pinged: Option<Moment>,
    extended: Option<Moment>,
    ready: bool,
    stopping: bool,
}

impl Notify {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub fn from_env() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|name| connect(&name).ok());
        let watchdog = socket.as_ref().and_then(|_| sd_notify::watchdog_enabled());
        Self { socket, watchdog, ..Self::default() }
    }

    /// How often the loop must turn at least, for the watchdog to stay quiet; also short enough
    /// to ask for more time while that is needed.
    pub fn period(&self) -> Option<Duration> {
        self.socket.as_ref()?;
        let ping = self.watchdog.map(|limit| limit / 2);
        let extend = self.needs_time().then_some(EXTEND_EVERY);
        ping.into_iter().chain(extend).min()
    }

    /// The loop turned: pings the watchdog and asks for time, each if it is due.
    pub fn loop_turned(&mut self, now: Moment) {
        if let Some(limit) = self.watchdog
            && is_due(self.pinged, now, limit / 2)
        {
            self.pinged = Some(now);
            self.send(&[NotifyState::Watchdog]);
        }
        if self.needs_time() && is_due(self.extended, now, EXTEND_EVERY) {
            self.extended = Some(now);
            self.send(&[extension()]);
        }
    }

    /// The service is in another state; `status` says it in a line.
    pub fn state(&mut self, state: State, status: &str) {
        if state == State::Healthy && !self.ready {
            self.ready = true;
            self.send(&[NotifyState::Ready, NotifyState::Status(status)]);
        } else {
            self.send(&[NotifyState::Status(status)]);
        }
    }

    /// The supervisor is going to end.
    pub fn stopping(&mut self, now: Moment) {
        if !self.stopping {
            self.stopping = true;
            self.extended = Some(now);
            self.send(&[NotifyState::Stopping, extension()]);
        }
    }

    fn needs_time(&self) -> bool {
        !self.ready || self.stopping
    }

    fn send(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let lines: Vec<String> = states.iter().map(ToString::to_string).collect();
        let message = lines.join("\n") + "\n";
        // A manager that is busy or gone must not hold us up.
        drop(socket.send(message.as_bytes()));
    }
}

fn is_due(last: Option<Moment>, now: Moment, every: Duration) -> bool {
    last.is_none_or(|last| now.since(last) >= every)
}

fn extension() -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX))
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::new(Duration::from_millis(millis))
    }

    fn pair(watchdog: Option<Duration>) -> (Notify, UnixDatagram) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let socket = Some(connect(path.as_os_str()).unwrap());
        (Notify { socket, watchdog, ..Notify::default() }, manager)
    }

    fn received(manager: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 512];
        std::iter::from_fn(|| manager.recv(&mut buffer).ok().map(|n| buffer[..n].to_vec()))
            .map(|message| String::from_utf8(message).unwrap())
            .collect()
    }

    #[test]
    fn ready_is_said_once_at_the_first_healthy() {
        let (mut notify, manager) = pair(None);
        notify.state(State::Starting, "starting");
        notify.state(State::Healthy, "healthy");
        notify.state(State::Degraded, "degraded");
        notify.state(State::Healthy, "healthy");
        assert_eq!(
            received(&manager),
            [
                "STATUS=starting\n",
                "READY=1\nSTATUS=healthy\n",
                "STATUS=degraded\n",
                "STATUS=healthy\n"
            ]
        );
    }

    #[test]
    fn the_watchdog_is_pinged_at_half_its_time_and_only_from_the_loop() {
        let (mut notify, manager) = pair(Some(Duration::from_secs(2)));
        notify.state(State::Healthy, "healthy");
        received(&manager);
        assert_eq!(notify.period(), Some(Duration::from_secs(1)));
        for millis in [0, 400, 999, 1000, 1500, 2100] {
            notify.loop_turned(at(millis));
        }
        assert_eq!(received(&manager), ["WATCHDOG=1\n"; 3]);
    }

    #[test]
    fn time_is_asked_for_until_ready_and_again_while_stopping() {
        let (mut notify, manager) = pair(None);
        let more = "EXTEND_TIMEOUT_USEC=60000000\n";
        notify.loop_turned(at(0));
        notify.loop_turned(at(19_000));
        notify.loop_turned(at(20_000));
        assert_eq!(received(&manager), [more, more]);
        assert_eq!(notify.period(), Some(EXTEND_EVERY));
        notify.state(State::Healthy, "healthy");
        received(&manager);
        notify.loop_turned(at(60_000));
        assert_eq!((received(&manager).len(), notify.period()), (0, None));
        notify.stopping(at(70_000));
        notify.stopping(at(70_001));
        notify.loop_turned(at(90_000));
        assert_eq!(received(&manager), [format!("STOPPING=1\n{more}"), more.to_owned()]);
    }

    #[test]
    fn a_manager_that_reads_nothing_does_not_hold_us_up() {
        let (mut notify, _manager) = pair(None);
        for _ in 0..10_000 {
            notify.state(State::Backoff, "backoff");
        }
    }

    #[test]
    fn an_abstract_socket_is_reached() {
        let name = format!("rekindle-notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let socket = connect(OsStr::new(&format!("@{name}"))).unwrap();
        socket.send(b"READY=1\n").unwrap();
        manager.set_nonblocking(true).unwrap();
        assert_eq!(received(&manager), ["READY=1\n"]);
    }

    #[test]
    fn without_a_socket_nothing_is_due() {
        let mut notify = Notify::default();
        notify.loop_turned(at(0));
        notify.stopping(at(1));
        assert_eq!(notify.period(), None);
    }
}
