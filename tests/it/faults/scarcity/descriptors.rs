//! No free descriptors: the limit is lowered under a running supervisor, is too low from the start,
//! or clients eat them.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::{NO_DESCRIPTORS, hooked, kill};
use crate::crash::served_by;
use crate::support::http::free_port;
use crate::support::{Config, Fault, Part, Rekindle, Stopwatch, World, get, this_test};

#[test]
fn no_free_descriptors_kill_nothing_and_a_dead_child_is_replaced_when_there_are_some() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&hooked(&world, Config::demo(port)));
    let child = served_by(&rekindle, port);

    let before = limit(&rekindle, Some(1));
    // Nobody can ask it now, but it can still write.
    rekindle.wait_said(&["blind", "no_descriptors"]);
    assert!(!rekindle.said(&["no longer healthy"]), "{}", rekindle.log());
    let same = crate::support::processes::is_alive(child);
    assert!(same, "a probe that cannot be made kills nobody: {}", rekindle.log());
    kill(child);
    rekindle.wait_said(&["boot_hook: cannot start", NO_DESCRIPTORS, "ulimit -n"]);

    let watch = Stopwatch::start();
    limit(&rekindle, before);
    assert_ne!(child, served_by(&rekindle, port));
    let took = watch.elapsed();
    assert_eq!(rekindle.restarts("probe_failed"), 0);
    assert_eq!(rekindle.all_restarts(), 1);
    let row = Fault {
        part: Part::Scarcity,
        fault: "no free descriptors, and the child dies",
        injected: "prlimit lowers RLIMIT_NOFILE of the running supervisor to 1, SIGKILL to the child",
        outcome: "the probe is blind and kills nothing; launches are tried until one goes well",
    };
    row.recovered_after(this_test!(), took);
}

#[test]
fn too_few_descriptors_at_the_start_are_waited_for() {
    let (world, port) = (World::new(), free_port());
    let run = world.prepare(&hooked(&world, Config::demo(port)));
    // The last one is enough for the runtime and not for a launch.
    for few in [6, 10, 14, 18, 22, 26, 30, 34] {
        let rekindle = world.start(world.after(&format!("ulimit -Sn {few}"), &run));
        rekindle.wait_said(&["rekindle: cannot start yet", "Too many open files", "ulimit -n"]);

        let watch = Stopwatch::start();
        limit(&rekindle, Some(256));
        served_by(&rekindle, port);
        let row = Fault {
            part: Part::Scarcity,
            fault: "too few descriptors from the start",
            injected: "`ulimit -n` of 6 to 34, raised by prlimit later",
            outcome: "nothing is begun until there are enough; the line names the limit",
        };
        row.recovered_after(this_test!(), watch.elapsed());
    }
}

#[test]
fn clients_that_keep_their_connections_leave_enough_to_heal() {
    let (world, port, listen) = (World::new(), free_port(), free_port());
    let run = world.prepare(&hooked(&world, Config::demo(port)).listen(listen));
    let rekindle = world.start(world.after("ulimit -n 64", &run));
    rekindle.wait_up();
    let child = served_by(&rekindle, port);

    let eaten: Vec<_> = (0..200)
        .map(|_| {
            let address = world.path("run/control.sock");
            (TcpStream::connect(("127.0.0.1", listen)), UnixStream::connect(address))
        })
        .collect();
    let probes = rekindle.probes("liveness", "success");
    rekindle.wait("it is probed", || rekindle.probes("liveness", "success") >= probes + 10);
    let watch = Stopwatch::start();
    kill(child);
    rekindle.wait_restarts("signal", 1);
    assert_ne!(child, served_by(&rekindle, port));

    let took = watch.elapsed();
    assert_eq!(get(listen, "/readyz").expect("it answers others").status, 200);
    assert_eq!(rekindle.all_restarts(), 1);
    assert_eq!(rekindle.lines_with(NO_DESCRIPTORS), Vec::<String>::new());
    drop(eaten);
    let row = Fault {
        part: Part::Scarcity,
        fault: "clients eat the descriptors, and the child dies",
        injected: "`ulimit -n 64`, 200 idle connections on each door, SIGKILL to the child",
        outcome: "the oldest connections are closed; probes, heals and scrapes go on",
    };
    row.recovered_after(this_test!(), took);
}

/// Sets how many files it may open, and says how many it could before.
fn limit(rekindle: &Rekindle<'_>, files: Option<u64>) -> Option<u64> {
    let pid = Pid::from_raw(rekindle.pid());
    let before = rustix::process::getrlimit(Resource::Nofile);
    let limit = Rlimit { current: files, maximum: before.maximum };
    prlimit(pid, Resource::Nofile, limit).expect("it is ours").current
}
