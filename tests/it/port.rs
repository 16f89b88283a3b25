//! A stranger on the probed port is named, never signalled, and stands in nobody's way for ever.

use std::net::TcpListener;

use crate::crash::served_by;
use crate::support::http::{free_port, say_that_all_is_well};
use crate::support::{Config, World, get, port_answers, processes, stub};

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
    drop(stranger);

    rekindle.wait_state("healthy");
    assert!(port_answers(port));
}

#[test]
fn a_stranger_that_answers_in_the_childs_place_is_not_believed() {
    let (world, port) = (World::new(), free_port());
    let (elsewhere, config) = impostor(port);
    let stranger = elsewhere.run(&stub::probed(&elsewhere, port, "200 ok"));
    stranger.wait_state("healthy");
    let rekindle = world.run(&config);

    rekindle.wait("the impostor is seen", || rekindle.probes("startup", "impostor") >= 2);

    assert_ne!(rekindle.state(), "healthy");
    assert!(elsewhere.processes().iter().all(|pid| processes::is_alive(*pid)));
    assert_eq!(stranger.all_restarts(), 0);
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
}

/// Another supervisor's world, and a configuration whose child never listens on the port.
fn impostor(port: u16) -> (World, Config) {
    let probe = format!("http = \"http://127.0.0.1:{port}/health\"");
    (World::new(), Config::script("exec sleep 1000").probing(&probe))
}
