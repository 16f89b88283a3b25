//! What systemd is told through `NOTIFY_SOCKET`, and that the child does not get to see it.

use std::cell::RefCell;
use std::os::unix::net::UnixDatagram;

use crate::support::{Config, Rekindle, World};

/// The other end of `NOTIFY_SOCKET`.
pub(crate) struct Systemd {
    socket: UnixDatagram,
    told: RefCell<String>,
}

impl Systemd {
    pub(crate) fn new(world: &World) -> Self {
        let socket = UnixDatagram::bind(world.path("notify.sock")).expect("a socket");
        socket.set_nonblocking(true).expect("non-blocking");
        Self { socket, told: RefCell::default() }
    }

    /// Everything told so far, one `KEY=VALUE` a line.
    pub(crate) fn told(&self) -> String {
        let mut told = self.told.borrow_mut();
        let mut datagram = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut datagram) {
            told.push_str(&String::from_utf8_lossy(&datagram[..length]));
            told.push('\n');
        }
        told.clone()
    }

    fn was_told(&self, text: &str) -> bool {
        self.told().contains(text)
    }
}

#[test]
fn systemd_is_told_ready_at_the_first_healthy_and_stopping_at_the_end() {
    let world = World::new();
    let go = world.at("go");
    let config =
        Config::script("exec sleep 1000").probing(&format!("exec = [\"test\", \"-e\", \"{go}\"]"));
    let systemd = Systemd::new(&world);
    let mut rekindle = start(&world, &config);

    rekindle.wait("it asks for time", || systemd.was_told("EXTEND_TIMEOUT_USEC="));
    assert!(!systemd.was_told("READY=1"));
    world.write("go", "");
    rekindle.wait("it is ready", || systemd.was_told("READY=1"));
    assert!(systemd.was_told("STATUS="));
    assert!(!systemd.was_told("STOPPING=1"));

    assert_eq!(rekindle.stop().0, 0);
    assert!(systemd.was_told("STOPPING=1"));
    assert_eq!(systemd.told().matches("READY=1").count(), 1);
}

#[test]
fn the_watchdog_is_fed_by_the_loop() {
    let world = World::new();
    let systemd = Systemd::new(&world);
    let rekindle = start(&world, &Config::script("exec sleep 1000"));
    let fed = || systemd.told().matches("WATCHDOG=1").count();

    rekindle.wait("it is fed", || fed() >= 5);
}

#[test]
fn the_child_cannot_talk_to_systemd_in_our_name() {
    let world = World::new();
    let env = world.at("env");
    let systemd = Systemd::new(&world);
    let rekindle = start(&world, &Config::script(&format!("env > {env}; exec sleep 1000")));

    rekindle.wait("it is ready", || systemd.was_told("READY=1"));

    let env = world.written("env");
    assert!(env.contains("IT_MARK="), "{env}");
    assert!(!env.contains("NOTIFY_SOCKET") && !env.contains("WATCHDOG_USEC"), "{env}");
}

fn start<'w>(world: &'w World, config: &Config) -> Rekindle<'w> {
    let mut command = world.prepare(config);
    command.env("NOTIFY_SOCKET", world.path("notify.sock")).env("WATCHDOG_USEC", "400000");
    world.start(command)
}
