//! A launch that never comes up is replaced, one that is only slow is left alone.

use crate::crash::served_by;
use crate::support::http::free_port;
use crate::support::rekindle::WARN;
use crate::support::{Config, World, processes, stub};

#[test]
fn a_child_that_never_comes_up_is_replaced() {
    let (world, port) = (World::new(), free_port());
    let config =
        Config::demo_with(port, &["--slow-start", "1h"]).with("startup_timeout = \"500ms\"");
    let rekindle = world.run(&config);

    rekindle.wait_restarts("startup_timeout", 2);

    assert_eq!(rekindle.count("rekindle_service_transitions_total", "to=\"healthy\""), 0);
    assert!(rekindle.probes("startup", "refused") >= 2);
    rekindle.wait_said(&["starting", "refused"]);
}

#[test]
fn a_slow_start_within_its_time_is_left_alone() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&Config::demo_with(port, &["--slow-start", "2s"]));
    rekindle.wait_state("starting");
    let launched = processes::children(rekindle.pid());

    let serves = served_by(&rekindle, port);

    assert_eq!(launched, [serves]);
    assert!(rekindle.probes("startup", "refused") >= 5);
    assert_eq!(rekindle.all_restarts(), 0);
}

#[test]
fn a_wrong_health_url_is_said_and_not_healed_for_ever() {
    let (world, port) = (World::new(), free_port());
    let url = format!("\"http://127.0.0.1:{port}/no-such-page\"");
    let config = Config::demo(port).with(&format!(
        r#"
        startup_timeout = "700ms"
        probe.startup.http = {url}
        probe.liveness.http = {url}
        "#
    ));
    let rekindle = world.run(&config);

    rekindle.wait_state("slow_retry");

    rekindle.wait_said(&["404", "wrong"]);
    assert!(rekindle.all_restarts() <= 1, "{}", rekindle.story());
    rekindle.wait_said(&["probe_probably_wrong"]);
}

#[test]
fn without_any_probe_a_child_is_healthy_once_it_has_run_for_the_settle_time() {
    let world = World::new();
    let rekindle = world.run(&Config::script("exec sleep 1000").with("settle = \"1s\""));
    rekindle.wait_state("starting");

    rekindle.wait_state("healthy");

    rekindle.wait_said(&[WARN, "hang"]);
}

#[test]
fn a_readiness_probe_is_reported_and_never_healed() {
    let (world, port) = (World::new(), free_port());
    let config = Config::demo_with(port, &["--ready-after", "2s"]).with(&format!(
        r#"
        probe.readiness.http = "http://127.0.0.1:{port}/readyz"
        probe.readiness.period = "100ms"
        probe.readiness.failure_threshold = 1
        "#
    ));
    let rekindle = world.run(&config);
    let ready = || rekindle.get("/readyz").map_or(0, |answer| answer.status);

    rekindle.wait("it is alive but not ready", || rekindle.state() == "healthy" && ready() == 503);
    rekindle.wait("it is ready", || ready() == 200);

    assert_eq!(rekindle.all_restarts(), 0);
}

#[test]
fn the_first_pass_makes_it_ready_at_once() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&stub::probed(&world, port, "200 ok").with("settle = \"1h\""));

    rekindle.wait_state("healthy");

    assert_eq!(rekindle.get("/readyz").expect("an answer").status, 200);
}
