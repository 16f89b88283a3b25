//! A child that ends is replaced, with growing delays while that does not help.

use rustix::process::Signal;

use crate::support::http::free_port;
use crate::support::{Config, REKINDLE, Rekindle, World, get, port_answers, processes};

#[test]
fn a_child_that_crashes_is_replaced_and_serves_again() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&Config::demo(port));
    let first = served_by(&rekindle, port);

    get(port, "/fault?mode=crash").expect("the demo gateway takes the order");

    rekindle.wait_restarts("signal", 1);
    rekindle.wait_state("healthy");
    assert_ne!(first, served_by(&rekindle, port));
    assert!(rekindle.count("rekindle_child_last_exit_code", "") > 128);
    rekindle.wait_said(&["\"reason\":\"signal\""]);
    assert_eq!(rekindle.all_restarts(), 1);
}

#[test]
fn a_child_that_is_killed_is_replaced() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&Config::demo(port));
    let first = served_by(&rekindle, port);

    processes::send(first, Signal::KILL);

    rekindle.wait_restarts("signal", 1);
    rekindle.wait_state("healthy");
    assert_ne!(first, served_by(&rekindle, port));
    assert_eq!(rekindle.count("rekindle_child_last_exit_code", ""), 137);
}

#[test]
fn a_child_that_exits_with_a_code_is_replaced_and_the_code_is_told() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&Config::demo(port));
    served_by(&rekindle, port);

    get(port, "/fault?mode=exit&code=3").expect("the demo gateway takes the order");

    rekindle.wait_restarts("exit", 1);
    rekindle.wait_state("healthy");
    assert_eq!(rekindle.count("rekindle_child_last_exit_code", ""), 3);
}

#[test]
fn a_loop_of_clean_exits_backs_off_like_any_other() {
    let world = World::new();
    let launches = world.at("launches");
    let rekindle = world.run(&Config::script(&format!("date +%s%N >> {launches}")));

    rekindle.wait_restarts("clean_exit", 5);

    let at: Vec<u64> = world.lines("launches").iter().map(|ns| ns.parse().expect("ns")).collect();
    let gaps = at.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000_000);
    let delays = [0, 100, 200, 400, 400];
    for (gap, least) in gaps.zip(delays) {
        assert!(gap >= least, "launched after {gap} ms rather than {least}: {at:?}");
    }
    assert_eq!(rekindle.restarts("exit"), 0);
}

#[test]
fn the_first_restart_after_a_stable_run_is_immediate_and_the_next_is_not() {
    let (world, port) = (World::new(), free_port());
    let config = Config::demo(port)
        .with("backoff.initial = \"1h\"")
        .with("backoff.max = \"1h\"")
        .with("backoff.stable_after = \"500ms\"");
    let rekindle = world.run(&config);
    rekindle.wait_said(&["stable"]);

    get(port, "/fault?mode=crash").expect("the demo gateway takes the order");
    rekindle.wait_restarts("signal", 1);
    let second = processes::children(rekindle.pid());
    processes::send(second[0], Signal::KILL);

    rekindle.wait_state("backoff");
    assert_eq!(rekindle.all_restarts(), 1);
}

#[test]
fn a_binary_that_is_missing_for_a_while_is_tried_again_until_it_is_there() {
    let (world, port) = (World::new(), free_port());
    let gateway = world.at("gateway");
    let config = Config::demo(port).with(&format!("command = [\"{gateway}\"]"));
    let rekindle = world.run(&config);

    rekindle.wait("it fails again and again", || {
        rekindle.count("rekindle_child_spawn_failures_total", "") >= 2
    });
    rekindle.wait_said(&[&gateway, "o such file"]);
    world.script("new", &format!("#!/bin/sh\nexec {REKINDLE} demo-gateway --port {port}\n"));
    std::fs::rename(world.path("new"), &gateway).expect("the binary appears");

    rekindle.wait_state("healthy");
    assert!(port_answers(port));
    assert_eq!(rekindle.restarts("spawn_failed"), 1);
}

/// Waits until the service is healthy, and returns the pid that serves.
pub(crate) fn served_by(rekindle: &Rekindle<'_>, port: u16) -> i32 {
    rekindle.wait_state("healthy");
    let info = get(port, "/info").expect("the demo gateway tells about itself").body;
    let info: serde_json::Value = serde_json::from_str(&info).expect("/info is JSON");
    let pid = info["pid"].as_i64().expect("a pid");
    i32::try_from(pid).expect("a pid")
}
