//! `rekindle probe`: the health check of a container without curl.

use crate::support::http::free_port;
use crate::support::{Config, REKINDLE, World, get};

#[test]
fn ready_and_live_ask_this_instance_through_its_control_socket() {
    let (world, port) = (World::new(), free_port());
    let mut rekindle = world.run(&Config::demo_with(port, &["--slow-start", "1s"]));
    rekindle.wait_state("starting");
    assert_eq!(probe(&world, &["--live"]).0, 0);
    assert_eq!(probe(&world, &["--ready"]).0, 1);

    rekindle.wait_state("healthy");
    let (code, line) = probe(&world, &["--ready"]);
    assert_eq!(code, 0, "{line}");
    is_one_short_line(&line);

    rekindle.stop();
    assert_eq!(probe(&world, &["--live"]).0, 1);
    assert_eq!(probe(&world, &["--ready"]).0, 1);
}

#[test]
fn a_url_is_probed_once() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&Config::demo(port));
    rekindle.wait_state("healthy");
    let url = format!("http://127.0.0.1:{port}/health");

    assert_eq!(probe(&world, &[&url]).0, 0);
    let (code, line) = probe(&world, &[&format!("{url}/no-such-page")]);
    assert_eq!(code, 1);
    assert!(line.contains("404"), "{line}");
    is_one_short_line(&line);
    assert_eq!(probe(&world, &["--expect-status", "404", &format!("{url}/no-such-page")]).0, 0);

    get(port, "/fault?mode=slow").expect("the demo gateway takes the order");
    let (code, line) = probe(&world, &["--timeout", "200ms", &url]);
    assert_eq!(code, 1);
    assert!(line.contains("200ms"), "{line}");
}

#[test]
fn nothing_that_listens_is_a_failure_and_nothing_asked_is_a_usage_error() {
    let world = World::new();

    let (code, line) = probe(&world, &[&format!("http://127.0.0.1:{}/", free_port())]);
    assert_eq!(code, 1);
    assert!(line.contains("refused"), "{line}");
    assert_eq!(probe(&world, &[]).0, 2);
    assert_eq!(probe(&world, &["--ready", "http://127.0.0.1/"]).0, 2);
    assert_eq!(probe(&world, &["ftp://127.0.0.1/"]).0, 2);
}

/// The exit code and stdout of `rekindle probe`.
fn probe(world: &World, arguments: &[&str]) -> (i32, String) {
    let mut command = world.command(REKINDLE);
    command.arg("probe").args(arguments);
    let mut probe = world.start(command);
    (probe.wait_exit(), String::from_utf8_lossy(&probe.output()).into_owned())
}

fn is_one_short_line(text: &str) {
    assert!(text.len() <= 200 && text.ends_with('\n') && text.lines().count() == 1, "{text:?}");
}
