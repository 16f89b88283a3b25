//! `rekindle status`: what is going on, for people and for scripts.

use std::fs;

use serde_json::Value;

use crate::support::http::free_port;
use crate::support::{Config, REKINDLE, World, get};

#[test]
fn status_follows_the_service_and_its_exit_code_says_so_too() {
    let (world, port) = (World::new(), free_port());
    let mut rekindle = world.run(&Config::demo_with(port, &["--slow-start", "1s"]));
    rekindle.wait_state("starting");
    let (code, table) = status(&world, &[]);
    assert_eq!(code, 1, "{table}");
    assert!(table.contains("healthy when a probe passes"), "{table}");

    rekindle.wait_state("healthy");
    rekindle
        .wait("its first outage is over", || rekindle.status()["services"][0]["outage"].is_null());
    let (code, table) = status(&world, &[]);
    assert_eq!(code, 0, "{table}");
    for row in ["gateway      healthy\n", "\n  since      20", "\n  next       nothing, as long"] {
        assert!(table.contains(row), "{row}: {table}");
    }
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");

    get(port, "/fault?mode=crash").expect("the demo gateway takes the order");
    rekindle.wait("it has healed", || rekindle.restarts("signal") == 1);
    let (_, table) = status(&world, &[]);
    assert!(table.contains("  last exit  signal 6"), "{table}");
    rekindle.stop();
    let (code, said) = status(&world, &[]);
    assert_eq!((code, said.as_str()), (3, ""), "it is not running");
}

#[test]
fn as_json_it_is_the_document_of_the_status_page_on_one_line() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&Config::demo(port));
    rekindle.wait_state("healthy");
    let (code, line) = status(&world, &["--json"]);
    assert_eq!((code, line.lines().count()), (0, 1), "{line}");
    let told: Value = serde_json::from_str(&line).expect("JSON");
    let page = rekindle.status();
    assert_eq!(told["services"][0]["pid"], page["services"][0]["pid"]);
    assert_eq!(told["supervisor"], page["supervisor"]);
}

#[test]
fn a_socket_that_was_left_behind_is_not_a_running_instance() {
    let world = World::new();
    let run = world.at("run");
    fs::create_dir_all(&run).expect("the scratch folder is writable");
    drop(std::os::unix::net::UnixListener::bind(format!("{run}/control.sock")).expect("free"));
    assert_eq!(status(&world, &[]).0, 3);
}

/// The exit code and stdout of `rekindle status`.
fn status(world: &World, arguments: &[&str]) -> (i32, String) {
    let mut command = world.command(REKINDLE);
    command.arg("status").args(arguments);
    let mut status = world.start(command);
    (status.wait_exit(), String::from_utf8_lossy(&status.output()).into_owned())
}
