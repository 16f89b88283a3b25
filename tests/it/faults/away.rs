//! A healthy child is never killed because the supervisor itself was away.

use std::time::Duration;

use rustix::process::Signal;

use crate::crash::served_by;
use crate::support::http::free_port;
use crate::support::{Config, Fault, Part, Rekindle, World, processes, this_test};

/// More than threshold × period + timeout of the tests' probes.
const AWAY: Duration = Duration::from_secs(10);

#[test]
fn a_supervisor_that_was_stopped_kills_nothing() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&Config::demo(port));
    let child = served_by(&rekindle, port);

    rekindle.signal(Signal::STOP);
    std::thread::sleep(AWAY);
    rekindle.signal(Signal::CONT);

    goes_on(&rekindle, port, child);
    let row = Fault {
        part: Part::Away,
        fault: "the supervisor is stopped for 10 s",
        injected: "SIGSTOP and SIGCONT to it",
        outcome: "what it missed counts for nothing: no restart",
    };
    row.did_no_harm(this_test!());
}

#[test]
fn a_supervisor_and_a_child_that_were_stopped_together_go_on_together() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&Config::demo(port));
    let child = served_by(&rekindle, port);

    processes::send(child, Signal::STOP);
    rekindle.signal(Signal::STOP);
    std::thread::sleep(AWAY);
    rekindle.signal(Signal::CONT);
    processes::send(child, Signal::CONT);

    goes_on(&rekindle, port, child);
    let row = Fault {
        part: Part::Away,
        fault: "supervisor and child are stopped together for 10 s",
        injected: "SIGSTOP and SIGCONT to both",
        outcome: "no restart",
    };
    row.did_no_harm(this_test!());
}

fn goes_on(rekindle: &Rekindle<'_>, port: u16, child: i32) {
    let passes = rekindle.probes("liveness", "success");
    rekindle.wait("it passes again and again", || {
        rekindle.probes("liveness", "success") >= passes + 10
    });
    assert_eq!(child, served_by(rekindle, port));
    assert_eq!(rekindle.all_restarts(), 0);
}
