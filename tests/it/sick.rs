//! A child that answers wrongly, too late or no more is healed; a single slip is not.

use std::time::Duration;

use crate::crash::served_by;
use crate::support::http::free_port;
use crate::support::time::holds_within;
use crate::support::{Config, World, get, stub};

#[test]
fn a_child_that_answers_500_is_replaced() {
    heals("500", "bad_status", "");
}

#[test]
fn a_child_that_answers_with_the_wrong_body_is_replaced() {
    let expected = r#"
        probe.startup.expect_json = { "/ok" = true }
        probe.liveness.expect_json = { "/ok" = true }
        "#;
    heals("wrong-body", "bad_body", expected);
}

#[test]
fn a_child_that_answers_after_the_timeout_is_replaced() {
    heals("slow", "timeout", "");
}

#[test]
fn a_child_that_closes_its_listener_is_replaced() {
    heals("close", "refused", "");
}

fn heals(mode: &str, result: &str, keys: &str) {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&Config::demo(port).with(keys));
    let first = served_by(&rekindle, port);

    get(port, &format!("/fault?mode={mode}")).expect("the demo gateway takes the order");

    rekindle.wait_restarts("probe_failed", 1);
    assert_ne!(first, served_by(&rekindle, port));
    assert!(rekindle.probes("liveness", result) >= 1, "{}", rekindle.story());
    assert_eq!(rekindle.all_restarts(), 1);
}

#[test]
fn a_single_failure_below_the_threshold_leaves_it_healthy() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&stub::probed(&world, port, "200 ok"));
    rekindle.wait_state("healthy");

    world.write("answers", "503 busy\n200 ok");

    rekindle.wait("the failure is seen", || rekindle.probes("liveness", "bad_status") == 1);
    let passes = rekindle.probes("liveness", "success");
    rekindle.wait("it passes again", || rekindle.probes("liveness", "success") > passes + 1);
    assert_eq!(rekindle.state(), "healthy");
    assert_eq!(rekindle.all_restarts(), 0);
    assert_eq!(rekindle.count("rekindle_service_transitions_total", "to=\"degraded\""), 0);
}

#[test]
fn a_401_is_healthy_where_it_is_accepted() {
    let (world, port) = (World::new(), free_port());
    let config = stub::probed(&world, port, "401 who are you").with(
        r#"
        probe.startup.expect_status = "200-299,401"
        probe.liveness.expect_status = "200-299,401"
        "#,
    );
    let rekindle = world.run(&config);

    rekindle.wait_state("healthy");
    rekindle.wait("it is alive", || rekindle.probes("liveness", "success") >= 3);
    assert_eq!(rekindle.all_restarts(), 0);
}

#[test]
fn a_heal_has_ended_the_outage_only_if_it_lasts() {
    let (world, port) = (World::new(), free_port());
    // Each launch answers well just once, so no pass lasts for `settle`.
    let config = stub::probed(&world, port, "200 ok").with("settle = \"10s\"");
    let rekindle = world.run(&config);
    rekindle.wait_state("healthy");

    for restarts in 1..=2 {
        world.write("answers", "500 no\n500 no\n200 ok");
        rekindle.wait_restarts("probe_failed", restarts);
        rekindle.wait_state("healthy");
    }

    let recoveries = || rekindle.count("rekindle_recovery_duration_seconds_count", "");
    assert!(!holds_within(Duration::from_millis(300), || recoveries() > 0));
}
