//! A stranger on the probed port is named, never signalled, and stands in nobody's way for ever;
//! one who answers for the child, or cannot be identified, costs no healthy child its life.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::crash::served_by;
use crate::support::http::{free_port, say_that_all_is_well};
use crate::support::{
    Config, Fault, Part, Rekindle, Stopwatch, World, get, has_tool, is_root, port_answers,
    processes, stub, this_test,
};

/// What Docker leaves to root in a container. `SYS_PTRACE`, which shows other users' descriptors,
/// is not among it.
const CONTAINER: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,\
                         +net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap";

#[test]
fn a_stranger_that_holds_the_port_is_named_and_waited_for() {
    let (world, port) = (World::new(), free_port());
    let stranger = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let pid = std::process::id();
    let config = Config::demo(port).with("slow_retry = \"1s\"").with("startup_timeout = \"2s\"");
    let rekindle = world.run(&config);

    rekindle.wait_said(&[&format!("port {port} is held by pid {pid} (")]);
    rekindle.wait_state("slow_retry");
    rekindle.wait_said(&["port_held"]);
    let launched = rekindle.count("rekindle_service_transitions_total", "to=\"starting\"");
    assert!(launched >= 1, "the first launch goes ahead");
    launches_once_per(&rekindle, Duration::from_secs(1));
    drop(stranger);
    let watch = Stopwatch::start();

    rekindle.wait_state("healthy");
    assert!(port_answers(port));
    let row = Fault {
        part: Part::Port,
        fault: "a stranger holds the port before the first launch",
        injected: "another process listens on it and never answers; it goes later",
        outcome: "launched all the same, then once per `slow_retry` (here 1 s); the stranger is \
                  named by pid and name and never signalled",
    };
    row.recovered_after(this_test!(), watch.elapsed());
}

#[test]
fn a_stranger_that_answers_in_the_childs_place_is_not_believed() {
    let (world, port) = (World::new(), free_port());
    let (elsewhere, config) = impostor(port);
    let stranger = elsewhere.run(&stub::probed(&elsewhere, port, "200 ok"));
    stranger.wait_state("healthy");
    let rekindle =
        world.run(&config.with("startup_timeout = \"300ms\"").with("slow_retry = \"2s\""));

    rekindle.wait("the impostor is seen", || rekindle.probes("startup", "impostor") >= 2);
    rekindle.wait_state("slow_retry");
    launches_once_per(&rekindle, Duration::from_secs(2));

    assert_ne!(rekindle.state(), "healthy");
    assert!(elsewhere.processes().iter().all(|pid| processes::is_alive(*pid)));
    assert_eq!(stranger.all_restarts(), 0);
    let row = Fault {
        part: Part::Port,
        fault: "an impostor answers before the child was started",
        injected: "another supervisor's gateway serves 200 on the port",
        outcome: "its answers count as failures (`impostor`), one launch per `slow_retry` (here \
                  2 s); it is never signalled",
    };
    row.did_no_harm(this_test!());
}

#[test]
fn a_stranger_is_believed_where_that_is_configured() {
    let (world, port) = (World::new(), free_port());
    let (elsewhere, config) = impostor(port);
    let stranger = elsewhere.run(&stub::probed(&elsewhere, port, "200 ok"));
    stranger.wait_state("healthy");
    let rekindle = world.run(&config.with("impostor = \"report\""));

    rekindle.wait_state("healthy");

    assert_eq!(rekindle.probes("startup", "impostor"), 0);
    rekindle.wait_said(&[&format!("port {port}"), "held by pid"]);
    let row = Fault {
        part: Part::Port,
        fault: "a sidecar listens on the port before the child is started",
        injected: "another process serves 200 there; `impostor = \"report\"`",
        outcome: "it is named and believed: healthy, no restart",
    };
    row.did_no_harm(this_test!());
}

#[test]
fn a_stranger_that_takes_the_port_later_is_seen_and_never_signalled() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&Config::demo(port).with("startup_timeout = \"2s\""));
    served_by(&rekindle, port);

    get(port, "/fault?mode=close&seconds=60").expect("the demo gateway takes the order");
    let mut asked = None;
    rekindle.wait("the port is taken over", || {
        asked = TcpListener::bind(("127.0.0.1", port)).ok();
        asked.is_some()
    });
    drop(asked);
    say_that_all_is_well(port);

    rekindle.wait_restarts("probe_failed", 1);
    rekindle.wait_state("slow_retry");
    let pid = std::process::id();
    rekindle.wait_said(&[&format!("port {port} is held by pid {pid} (")]);
    assert_eq!(rekindle.all_restarts(), 1);
    // Not a wait: the length of the fault, in which nothing happens (`slow_retry` is an hour).
    thread::sleep(Duration::from_secs(3));
    assert_eq!((rekindle.all_restarts(), &*rekindle.state()), (1, "slow_retry"));
    let row = Fault {
        part: Part::Port,
        fault: "an impostor takes the port over from the child",
        injected: "the child closes its listener, another process serves 200 there",
        outcome: "its answers do not hide the failure: one restart, then once per `slow_retry`; \
                  the impostor is named and never signalled",
    };
    row.did_no_harm(this_test!());
}

#[test]
fn a_child_whose_descriptors_nobody_may_see_is_no_stranger() {
    if !(is_root("a child of another user") && has_tool("setpriv")) {
        return;
    }
    let (world, port) = (World::new(), free_port());
    let run = world.prepare(&Config::demo(port).with("user = \"65534\""));
    let mut command = world.command("setpriv");
    command.args(["--bounding-set", CONTAINER, "--inh-caps", "-all"]);
    command.arg(run.get_program()).args(run.get_args());
    let rekindle = world.start(command);
    rekindle.wait_up();
    let first = served_by(&rekindle, port);
    passes_on(&rekindle);
    assert_eq!((served_by(&rekindle, port), rekindle.all_restarts()), (first, 0));

    get(port, "/fault?mode=crash").expect("the demo gateway takes the order");
    let watch = Stopwatch::start();
    rekindle.wait_restarts("signal", 1);
    rekindle.wait_state("healthy");
    let took = watch.elapsed();

    passes_on(&rekindle);
    assert_eq!(rekindle.all_restarts(), 1);
    let told = rekindle.lines_with(&format!("who holds port {port} cannot be told"));
    assert_eq!(told.len(), 1, "{told:?}");
    let row = Fault {
        part: Part::Port,
        fault: "nobody may see who holds the port",
        injected: "child of another user, supervisor with a container's default capabilities; \
                   then the child crashes",
        outcome: "said once, taken for the child's own: no restart but the one for the crash",
    };
    row.recovered_after(this_test!(), took);
}

#[test]
fn a_forward_outside_the_tree_is_believed_through_a_heal() {
    let (world, port, outside) = (World::new(), free_port(), free_port());
    let rekindle = world.run(&forwarded(port, outside));
    let _forward = believed_forward(&world, &rekindle, port, outside);

    // Now the forward is there before the launch.
    get(port, "/fault?mode=crash").expect("the demo gateway takes the order");
    let watch = Stopwatch::start();
    rekindle.wait_restarts("signal", 1);
    rekindle.wait_state("healthy");
    let took = watch.elapsed();

    passes_on(&rekindle);
    assert_eq!(rekindle.all_restarts(), 1);
    assert_eq!(rekindle.probes("startup", "impostor"), 0);
    let row = Fault {
        part: Part::Port,
        fault: "a forward outside the tree holds the probed port",
        injected: "another process passes connections on to the child; then the child crashes",
        outcome: "believed, because the child was healthy through it before: no restart but the \
                  one for the crash",
    };
    row.recovered_after(this_test!(), took);
}

#[test]
fn a_forward_that_outlives_the_supervisor_is_believed_by_the_next_one() {
    let (world, port, outside) = (World::new(), free_port(), free_port());
    let config = forwarded(port, outside);
    let mut rekindle = world.run(&config);
    let _forward = believed_forward(&world, &rekindle, port, outside);
    rekindle.kill();

    // Now the forward is there before the next supervisor is.
    let watch = Stopwatch::start();
    let next = world.run(&config);
    next.wait_state("healthy");
    let took = watch.elapsed();

    passes_on(&next);
    assert_eq!(next.all_restarts(), 0);
    assert_eq!(next.probes("startup", "impostor"), 0);
    let row = Fault {
        part: Part::Port,
        fault: "a forward outside the tree outlives the supervisor",
        injected: "another process passes connections on to the child; SIGKILL to the supervisor, \
                   the next one is started on the same state directory",
        outcome: "believed, because the state file knows it by name and user: healthy with the \
                  first launch, no restart",
    };
    row.recovered_after(this_test!(), took);
}

#[test]
fn a_stranger_in_the_place_of_a_known_forward_is_not_believed() {
    let (world, elsewhere) = (World::new(), World::new());
    let (port, outside) = (free_port(), free_port());
    let config = forwarded(port, outside).with("slow_retry = \"1s\"");
    let mut rekindle = world.run(&config);
    let known = believed_forward(&world, &rekindle, port, outside);
    rekindle.kill();
    known.end();
    let mut stranger = elsewhere.run(&Config::demo(outside));
    stranger.wait_state("healthy");

    let next = world.run(&config);
    next.wait("the impostor is seen", || next.probes("startup", "impostor") >= 2);
    next.wait_state("slow_retry");
    assert_eq!(next.probes("startup", "success"), 0);

    // What is known stays known.
    stranger.stop();
    let watch = Stopwatch::start();
    let _again = forward(outside, port);
    next.wait_state("healthy");
    let row = Fault {
        part: Part::Port,
        fault: "an impostor takes the place of a forward that the state file knows",
        injected: "SIGKILL to the supervisor, the forward ends, another program serves 200 there; \
                   it goes later, and the forward comes back",
        outcome: "its answers count as failures (`impostor`), once per `slow_retry` (here 1 s); \
                  healthy when the forward is back",
    };
    row.recovered_after(this_test!(), watch.elapsed());
}

/// Another supervisor's world, and a configuration whose child never listens on the port.
fn impostor(port: u16) -> (World, Config) {
    let probe = format!("http = \"http://127.0.0.1:{port}/health\"");
    (World::new(), Config::script("exec sleep 1000").probing(&probe))
}

fn passes_on(rekindle: &Rekindle<'_>) {
    let passes = rekindle.probes("liveness", "success");
    rekindle.wait("it passes again and again", || {
        rekindle.probes("liveness", "success") >= passes + 10
    });
}

/// Watches it for a while: it launches at the pace of `slow_retry`, not at that of its backoff.
fn launches_once_per(rekindle: &Rekindle<'_>, slow_retry: Duration) {
    let (before, watch) = (rekindle.all_restarts(), Stopwatch::start());
    // Not a wait: the length of the fault.
    thread::sleep(4 * slow_retry);
    let launches = u128::from(rekindle.all_restarts() - before);
    let most = watch.elapsed().as_millis() / slow_retry.as_millis() + 2;
    assert!((1..=most).contains(&launches), "{launches} launches; {}", rekindle.story());
}

/// A child that is probed where something else passes its connections on.
fn forwarded(port: u16, outside: u16) -> Config {
    Config::demo(port)
        .probing(&format!("http = \"http://127.0.0.1:{outside}/health\""))
        .with("startup_timeout = \"2s\"")
}

/// A forward that comes after the launch, through which the child is healthy until it is known.
fn believed_forward(world: &World, rekindle: &Rekindle<'_>, port: u16, outside: u16) -> Forward {
    rekindle.wait("the child serves", || port_answers(port));
    let forward = forward(outside, port);
    let first = served_by(rekindle, port);
    rekindle.wait_said(&["it has settled"]);
    passes_on(rekindle);
    assert_eq!((served_by(rekindle, port), rekindle.all_restarts()), (first, 0));
    rekindle.wait("the forward is written down", || {
        world.read("state/state.json").contains(&format!("\"forward\":{{\"port\":{outside},"))
    });
    forward
}

/// Passes connections to one port on to another, from this process; ends with it if not before.
struct Forward {
    from: u16,
    over: Arc<AtomicBool>,
    passing: JoinHandle<()>,
}

fn forward(from: u16, to: u16) -> Forward {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, from)).expect("the port is free");
    let over = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&over);
    let passing = thread::spawn(move || {
        for client in listener.incoming().flatten() {
            if ended.load(Ordering::Relaxed) {
                return;
            }
            // Without a server behind it the client finds its connection closed.
            drop(TcpStream::connect((Ipv4Addr::LOCALHOST, to)).map(|server| pass(client, server)));
        }
    });
    Forward { from, over, passing }
}

impl Forward {
    /// Closes the port.
    fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.from)));
        self.passing.join().expect("it passes connections on");
    }
}

/// One request and its answer.
fn pass(mut client: TcpStream, mut server: TcpStream) -> std::io::Result<()> {
    let mut request = [0; 4096];
    let length = client.read(&mut request)?;
    server.write_all(&request[..length])?;
    let mut answer = vec![0; 64 * 1024];
    let length = server.read(&mut answer)?;
    client.write_all(&answer[..length])
}
