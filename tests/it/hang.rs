//! A child that is alive but does not answer is healed.

use rustix::process::Signal;
use serde_json::Value;

use crate::crash::served_by;
use crate::support::http::free_port;
use crate::support::{Config, Rekindle, World, get, processes};

#[test]
fn a_child_that_hangs_is_replaced() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&Config::demo(port));
    let first = served_by(&rekindle, port);

    get(port, "/fault?mode=hang").expect("the demo gateway takes the order");

    healed(&rekindle, port, first);
    assert!(rekindle.probes("liveness", "timeout") >= 2);
}

#[test]
fn a_child_that_is_stopped_by_a_signal_is_replaced() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&Config::demo(port));
    let first = served_by(&rekindle, port);

    processes::send(first, Signal::STOP);

    healed(&rekindle, port, first);
}

#[test]
fn the_outage_of_a_hang_begins_at_its_first_failed_probe() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&Config::demo(port));
    let first = served_by(&rekindle, port);

    get(port, "/fault?mode=hang").expect("the demo gateway takes the order");

    healed(&rekindle, port, first);
    let incident = || rekindle.status()["services"][0]["last_incident"].clone();
    rekindle.wait("the heal has lasted", || incident()["cause"] == "unhealthy");
    let noticed = incident()["detected_after_seconds"].as_f64().expect("a number");
    // The second failure, which reaches the threshold, takes one more timeout of a second.
    assert!(noticed >= 0.9, "{}", incident());
    assert_eq!(rekindle.count("rekindle_incidents_total", "cause=\"unhealthy\""), 1);
}

fn healed(rekindle: &Rekindle<'_>, port: u16, first: i32) {
    rekindle.wait_restarts("probe_failed", 1);
    assert_ne!(first, served_by(rekindle, port));
    assert!(!processes::is_alive(first));
    assert_eq!(rekindle.all_restarts(), 1);
    assert!(rekindle.count("rekindle_service_transitions_total", "to=\"degraded\"") == 1);
}

/// A gateway that hangs soon, whose supervisor looks at it with a script.
fn looked_at(world: &World, port: u16, script: &str) -> Config {
    let capture = world.write("capture.sh", script);
    Config::demo(port)
        .with(&format!("capture = [\"/bin/sh\", \"{capture}\"]"))
        .with("capture_timeout = \"1s\"")
}

#[test]
fn a_child_that_hangs_is_looked_at_while_it_still_runs() {
    let (world, port) = (World::new(), free_port());
    let script = "kill -0 $REKINDLE_PID && echo saw $REKINDLE_PID > /dev/stderr";
    let rekindle = world.run(&looked_at(&world, port, script));
    let first = served_by(&rekindle, port);

    get(port, "/fault?mode=hang").expect("the demo gateway takes the order");

    healed(&rekindle, port, first);
    rekindle.wait("it is recorded", || !world.lines("state/incidents.jsonl").is_empty());
    let record: Value =
        serde_json::from_str(&world.lines("state/incidents.jsonl")[0]).expect("JSON");
    assert_eq!(record["capture"]["output"], format!("saw {first}\n"), "{record}");
    assert!(rekindle.said(&["the capture command ended with code 0"]), "{}", rekindle.story());
}

#[test]
fn a_look_that_takes_too_long_is_given_up_with_all_that_it_started() {
    let (world, port) = (World::new(), free_port());
    let script = "setsid sleep 1000 & sleep 1000";
    let rekindle = world.run(&looked_at(&world, port, script));
    let first = served_by(&rekindle, port);

    get(port, "/fault?mode=hang").expect("the demo gateway takes the order");

    healed(&rekindle, port, first);
    assert!(rekindle.said(&["the capture command ended with timeout"]), "{}", rekindle.story());
    assert_eq!(world.processes_like("sleep 1000"), Vec::<i32>::new());
}

#[test]
fn a_look_that_ends_the_child_is_recorded_as_far_as_it_got() {
    let (world, port) = (World::new(), free_port());
    let script = "echo its stack:; kill -QUIT $REKINDLE_PID; exec sleep 1000";
    let rekindle = world.run(&looked_at(&world, port, script));
    served_by(&rekindle, port);

    get(port, "/fault?mode=hang").expect("the demo gateway takes the order");

    let record = recorded(&world, &rekindle);
    let capture = &record["capture"];
    assert_eq!(
        (&capture["result"], &capture["output"]),
        (&"given up".into(), &"its stack:\n".into())
    );
    assert_eq!(world.processes_like("sleep 1000"), Vec::<i32>::new());
}

/// The record of the first outage, once it is over.
fn recorded(world: &World, rekindle: &Rekindle<'_>) -> Value {
    let lines = || world.lines("state/incidents.jsonl");
    rekindle.wait("it is recorded", || !lines().is_empty());
    serde_json::from_str(&lines()[0]).expect("JSON")
}
