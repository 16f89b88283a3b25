//! A child that is alive but does not answer is healed.

use rustix::process::Signal;

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
