//! The demo gateway as a process of its own: this test binary, started once more.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use super::*;

const AS_GATEWAY: &str = "DEMO_TEST_PORT";
const READY_AFTER: &str = "DEMO_TEST_READY_AFTER";
const SLOW_START: &str = "DEMO_TEST_SLOW_START";
const PATIENCE: Duration = Duration::from_secs(20);

/// Not a test by itself: the gateway, when a test below starts it.
#[test]
fn play_the_gateway() {
    let Ok(port) = std::env::var(AS_GATEWAY) else { return };
    let seconds = |name| std::env::var(name).map_or(0, |text| text.parse().unwrap());
    let code = run(&Options {
        host: Ipv4Addr::LOCALHOST.into(),
        port: port.parse().unwrap(),
        slow_start: Duration::from_secs(seconds(SLOW_START)),
        ready_after: Duration::from_secs(seconds(READY_AFTER)),
        orphan_arguments: arguments("play_the_orphan"),
    });
    end(code);
}

/// Not a test by itself: the orphan, when the gateway starts it.
#[test]
fn play_the_orphan() {
    if std::env::var_os(AS_GATEWAY).is_some() {
        end(run_orphan());
    }
}

#[expect(clippy::exit, reason = "the exit code is what the tests look at")]
fn end(code: u8) -> ! {
    std::process::exit(code.into())
}

fn arguments(test: &str) -> Vec<String> {
    [&format!("demo::tests::{test}"), "--exact", "--nocapture"].map(str::to_owned).into()
}

/// A running demo gateway; killed when dropped.
struct Running {
    process: Child,
    stdout: BufReader<ChildStdout>,
    port: u16,
}

impl Running {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(environment: &[(&str, &str)]) -> Self {
        let mut running = Self::spawn(environment);
        let line = running.wait_for("listening on 127.0.0.1:");
        let (_, rest) = line.split_once("127.0.0.1:").unwrap();
        let (port, pid) = rest.trim_end().split_once(", pid ").unwrap();
        assert_eq!(pid, running.process.id().to_string());
        running.port = port.parse().unwrap();
        running
    }

    #[expect(clippy::disallowed_methods, reason = "a test that starts what it tests")]
    fn spawn(environment: &[(&str, &str)]) -> Self {
        let mut process = Command::new("/proc/self/exe")
            .args(arguments("play_the_gateway"))
            .env(AS_GATEWAY, "0")
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        Self { process, stdout, port: 0 }
    }

    /// The first line from now on that has `text` in it.
    fn wait_for(&mut self, text: &str) -> String {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "no line with {text:?}");
        }
        line
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let mut stream = self.connect().unwrap();
        send(&mut stream, path);
        receive(&mut stream).unwrap()
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Reads the story to its end and collects the exit status.
    fn finish(&mut self) -> ExitStatus {
        io::copy(&mut self.stdout, &mut io::sink()).unwrap();
        self.process.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn send(stream: &mut TcpStream, path: &str) {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: demo\r\n\r\n").unwrap();
}

fn receive(stream: &mut TcpStream) -> io::Result<(u16, Value)> {
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let cut_short = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(cut_short)?;
    Ok((head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap()))
}

#[test]
fn a_well_gateway_answers_and_ends_with_0_when_told_to() {
    let mut gateway = Running::start_with(&[("DEMO_COLOUR", "blue"), ("HUSH", "secret")]);
    assert_eq!(gateway.get("/health"), (200, json(r#"{"ok":true,"status":"live"}"#)));
    assert_eq!(gateway.get("/readyz"), (200, json(r#"{"ready":true,"failing":[]}"#)));
    assert_eq!(gateway.get("/nothing").0, 404);
    let (status, info) = gateway.get("/info");
    assert_eq!(status, 200);
    assert_eq!(info["pid"], gateway.process.id());
    assert_eq!(info["ppid"], std::process::id());
    assert_eq!(info["requests"], 4);
    assert_eq!(info["env"]["DEMO_COLOUR"], "blue");
    assert_eq!(info["env"].get("HUSH"), Some(&Value::Null));
    assert!(info["started"].as_f64().unwrap() > 1e9);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.finish().code(), Some(0));
}

#[test]
fn it_is_not_ready_before_its_time() {
    let gateway = Running::start_with(&[(READY_AFTER, "3600")]);
    let expected = json(r#"{"ready":false,"failing":["starting"]}"#);
    assert_eq!(gateway.get("/readyz"), (503, expected));
    assert_eq!(gateway.get("/health").0, 200);
}

#[test]
fn a_slow_start_can_be_ended_before_it_listens() {
    let mut gateway = Running::spawn(&[(SLOW_START, "3600")]);
    gateway.wait_for("starting slowly, listening in 3600s");
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.finish().code(), Some(0));
    let gateway = Running::start_with(&[(SLOW_START, "1")]);
    assert_eq!(gateway.get("/health").0, 200);
}

#[test]
fn it_gives_wrong_answers_until_it_is_well_again() {
    let gateway = Running::start();
    assert_eq!(gateway.get("/fault?mode=500").0, 200);
    assert_eq!(gateway.get("/health").0, 500);
    assert_eq!(gateway.get("/readyz").0, 503);
    gateway.get("/fault?mode=wrong-body");
    assert_eq!(gateway.get("/health"), (200, json(r#"{"ok":false,"status":"sick"}"#)));
    gateway.get("/fault?mode=none");
    assert_eq!(gateway.get("/health").1["ok"], true);
    assert_eq!(gateway.get("/readyz").0, 200);
}

#[test]
fn a_fault_that_it_does_not_know_changes_nothing() {
    let gateway = Running::start();
    let (status, body) = gateway.get("/fault?mode=headache");
    assert_eq!(status, 400);
    let error = body["error"].as_str().unwrap();
    assert!(error.contains("headache") && error.contains("wrong-body"), "{error}");
    assert_eq!(gateway.get("/health").0, 200);
}

#[test]
fn a_slow_answer_comes_late_but_others_do_not_wait_for_it() {
    let gateway = Running::start();
    let answer = gateway.get("/fault?mode=slow&seconds=1").1;
    assert_eq!(answer["fault"], "will answer /health after 1s");
    let mut slow = gateway.connect().unwrap();
    send(&mut slow, "/health");
    let clock = Clock::start();
    assert_eq!(gateway.get("/info").0, 200);
    assert_eq!(receive(&mut slow).unwrap().0, 200);
    assert!(clock.now().since_start() > Duration::from_millis(800));
}

#[test]
fn it_drains_what_is_under_way_and_waits_no_longer_than_a_second() {
    let mut gateway = Running::start();
    gateway.get("/fault?mode=slow&seconds=3600");
    let mut slow = gateway.connect().unwrap();
    send(&mut slow, "/health");
    // Answered after the slow request has been taken on.
    gateway.get("/info");
    gateway.signal(Signal::TERM);
    gateway.wait_for("not drained in time");
    assert!(receive(&mut slow).is_err(), "no answer");
    assert_eq!(gateway.finish().code(), Some(0));

    let mut gateway = Running::start();
    gateway.get("/fault?mode=slow&seconds=0.3");
    let mut slow = gateway.connect().unwrap();
    send(&mut slow, "/health");
    gateway.get("/info");
    gateway.signal(Signal::TERM);
    gateway.wait_for("drained, bye");
    assert_eq!(receive(&mut slow).unwrap().0, 200);
    assert_eq!(gateway.finish().code(), Some(0));
}

#[test]
fn a_hang_answers_first_and_then_nothing_not_even_sigterm() {
    let mut gateway = Running::start();
    assert_eq!(
        gateway.get("/fault?mode=hang").1["fault"],
        "will stop answering, the whole process"
    );
    // The kernel still accepts; that there is no answer takes a while to be believed.
    let mut stream = gateway.connect().unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    send(&mut stream, "/health");
    assert_eq!(receive(&mut stream).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    gateway.signal(Signal::TERM);
    assert!(receive(&mut stream).is_err());
    gateway.signal(Signal::KILL);
    assert_eq!(gateway.finish().signal(), Some(9));
}

#[test]
fn it_crashes_and_exits_as_ordered_after_its_answer() {
    let mut gateway = Running::start();
    assert_eq!(gateway.get("/fault?mode=crash").0, 200);
    assert_eq!(gateway.finish().signal(), Some(6));
    let mut gateway = Running::start();
    assert_eq!(gateway.get("/fault?mode=exit&code=78").0, 200);
    assert_eq!(gateway.finish().code(), Some(78));
}

#[test]
fn a_closed_listener_refuses_while_the_process_lives_on() {
    let mut gateway = Running::start();
    gateway.get("/fault?mode=close");
    let clock = Clock::start();
    while gateway.connect().is_ok() {
        assert!(clock.now().since_start() < PATIENCE);
    }
    assert_eq!(gateway.process.try_wait().unwrap(), None);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.finish().code(), Some(0));
}

#[test]
fn it_can_ignore_sigterm_and_still_serve() {
    let mut gateway = Running::start();
    gateway.get("/fault?mode=ignore-term");
    gateway.signal(Signal::TERM);
    gateway.wait_for("ignoring it");
    assert_eq!(gateway.get("/health").0, 200);
}

#[test]
fn an_orphan_keeps_the_port_in_its_own_session_and_is_deaf_to_sigterm() {
    let mut gateway = Running::start();
    gateway.get("/fault?mode=orphan");
    let line = gateway.wait_for("leaving an orphan behind, pid ");
    let pid = line.trim_end().rsplit_once(' ').unwrap().1.parse().unwrap();
    let orphan = Orphan(Pid::from_raw(pid).unwrap());
    assert_eq!(gateway.process.wait().unwrap().code(), Some(1));
    let clock = Clock::start();
    while !orphan.is_deaf_session_leader() {
        assert!(clock.now().since_start() < PATIENCE, "it never settled");
        std::thread::sleep(Duration::from_millis(5));
    }
    rustix::process::kill_process(orphan.0, Signal::TERM).unwrap();
    let taken = TcpListener::bind(("127.0.0.1", gateway.port)).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    assert!(orphan.is_deaf_session_leader(), "it survives SIGTERM");
}

/// A process that nobody waits for; killed when dropped.
struct Orphan(Pid);

impl Orphan {
    fn is_deaf_session_leader(&self) -> bool {
        let path = format!("/proc/{}/status", self.0);
        let status = std::fs::read_to_string(path).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t"));
        let caught = caught.map_or(0, |mask| u64::from_str_radix(mask, 16).unwrap());
        let catches_term = caught & (1 << (Signal::TERM.as_raw() - 1)) != 0;
        catches_term && rustix::process::getsid(Some(self.0)) == Ok(self.0)
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        rustix::process::kill_process(self.0, Signal::KILL).ok();
    }
}

#[test]
fn a_leak_grows_up_to_its_bound_and_a_flood_floods() {
    let mut gateway = Running::start();
    gateway.get("/fault?mode=leak&mb=8");
    let path = format!("/proc/{}/statm", gateway.process.id());
    let resident = || {
        let statm = std::fs::read_to_string(&path).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() / 256
    };
    let before = resident();
    let clock = Clock::start();
    while resident() < before + 6 {
        assert!(clock.now().since_start() < PATIENCE, "it does not leak");
        std::thread::sleep(Duration::from_millis(20));
    }
    gateway.get("/fault?mode=flood&seconds=3600");
    for _ in 0..10_000 {
        gateway.wait_for("flood x");
    }
    assert_eq!(gateway.get("/health").0, 200);
}

#[test]
fn a_port_in_use_is_named() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap();
    let error = runtime.block_on(listen(address)).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on {address}: Address")), "{error}");
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}
