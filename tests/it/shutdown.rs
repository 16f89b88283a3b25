//! Asked to stop, it stops in every state: in time, with nothing left and a telling exit code.

use std::time::Duration;

use rustix::process::Signal;

use crate::crash::served_by;
use crate::support::http::free_port;
use crate::support::{Config, Rekindle, Stopwatch, World, get, processes, stub};

/// A child that does not end by itself, not even when asked to.
const STUBBORN: &str = "trap '' TERM; echo > deaf; while :; do sleep 1; done";

/// How long a stop may take when nothing resists, on a busy machine: well below `stop_timeout`.
const PROMPT: Duration = Duration::from_secs(3);

/// A second after `stop_timeout` all is over; a busy machine may take two more.
const SLACK: Duration = Duration::from_secs(3);

#[test]
fn it_stops_while_the_hook_runs() {
    let world = World::new();
    let hook = world.write("boot.sh", &format!("touch {}; sleep 1000", world.at("there")));
    let config = Config::script("exec sleep 1000").with(&format!("boot_hook = \"{hook}\""));
    let mut rekindle = world.run(&config);
    rekindle.wait("the hook runs", || world.path("there").exists());
    rekindle.wait_state("boot_hook");

    stops_promptly(&mut rekindle);
}

#[test]
fn it_stops_while_the_child_starts() {
    let world = World::new();
    let mut rekindle = world.run(&Config::demo_with(free_port(), &["--slow-start", "1h"]));
    rekindle.wait_state("starting");

    stops_promptly(&mut rekindle);
}

#[test]
fn it_stops_while_the_child_is_healthy() {
    let (world, port) = (World::new(), free_port());
    let mut rekindle = world.run(&Config::demo(port));
    served_by(&rekindle, port);

    assert!(world.path("run/control.sock").exists());

    stops_promptly(&mut rekindle);
    assert!(get(port, "/health").is_err());
    assert!(!world.path("run/control.sock").exists());
}

#[test]
fn it_stops_at_ctrl_c() {
    let (world, port) = (World::new(), free_port());
    let mut rekindle = world.run(&Config::demo(port));
    served_by(&rekindle, port);

    rekindle.signal(Signal::INT);

    assert_eq!(rekindle.wait_exit(), 0);
}

#[test]
fn it_stops_while_a_sick_child_is_taken_down() {
    let (world, port) = (World::new(), free_port());
    let config = stub::stubborn(&world, port, "200 ok")
        .with("unhealthy_stop_timeout = \"1h\"")
        .with("stop_timeout = \"1s\"");
    let mut rekindle = world.run(&config);
    rekindle.wait_state("healthy");
    world.write("answers", "500 no");
    rekindle.wait_state("degraded");

    stops_by_killing(&mut rekindle, Duration::from_secs(1));
}

#[test]
fn it_stops_while_an_exited_childs_tree_is_taken_down() {
    let world = World::new();
    let config = Config::script(&format!("setsid sh -c \"{STUBBORN}\" & sleep 0.5; exit 1"))
        .with("unhealthy_stop_timeout = \"1h\"")
        .with("stop_timeout = \"1s\"");
    let mut rekindle = world.run(&config);
    rekindle.wait("the child has ended", || rekindle.said(&["code 1"]));
    world.written("deaf");

    let (_, took) = rekindle.stop();

    assert!(took < Duration::from_secs(1) + SLACK, "{took:?}");
}

#[test]
fn it_stops_while_it_waits_for_the_next_attempt() {
    let world = World::new();
    let config =
        Config::script("exit 1").with("backoff.initial = \"1h\"").with("backoff.max = \"1h\"");
    let mut rekindle = world.run(&config);
    rekindle.wait_state("backoff");

    stops_promptly(&mut rekindle);
}

#[test]
fn it_stops_while_it_waits_at_the_slow_pace() {
    let world = World::new();
    let mut rekindle = world.run(&Config::script("exit 78"));
    rekindle.wait_state("slow_retry");

    stops_promptly(&mut rekindle);
}

#[test]
fn a_child_that_ignores_terminate_is_killed_and_the_exit_code_says_so() {
    let (world, config) = stubborn();
    let mut rekindle = world.run(&config.with("stop_timeout = \"1s\""));
    rekindle.wait_state("healthy");
    world.written("deaf");

    stops_by_killing(&mut rekindle, Duration::from_secs(1));
}

#[test]
fn a_child_that_was_stopped_by_a_signal_is_woken_to_end() {
    let world = World::new();
    let mut rekindle = world.run(&Config::script("exec sleep 1000"));
    rekindle.wait_state("healthy");
    let child = processes::children(rekindle.pid())[0];
    processes::send(child, Signal::STOP);
    rekindle.wait("it is stopped", || processes::state(child) == Some('T'));

    stops_promptly(&mut rekindle);
}

#[test]
fn a_grandchild_that_ignores_terminate_costs_no_more_than_the_stop_timeout() {
    let world = World::new();
    let config = Config::script(&format!("setsid sh -c \"{STUBBORN}\" & exec sleep 1000"))
        .with("stop_timeout = \"2s\"");
    let mut rekindle = world.run(&config);
    rekindle.wait_state("healthy");
    world.written("deaf");

    let (code, took) = rekindle.stop();

    assert_eq!(code, 0, "the child itself ended when it was asked to: {}", rekindle.story());
    assert!(took < Duration::from_secs(2) + SLACK, "{took:?}");
}

#[test]
fn a_second_stop_signal_kills_at_once() {
    let (world, config) = stubborn();
    let mut rekindle = world.run(&config.with("stop_timeout = \"1h\""));
    rekindle.wait_state("healthy");
    world.written("deaf");
    rekindle.signal(Signal::TERM);
    rekindle.wait_state("stopping");

    let watch = Stopwatch::start();
    rekindle.signal(Signal::TERM);

    assert_eq!(rekindle.wait_exit(), 137);
    assert!(watch.elapsed() < PROMPT, "{:?}", watch.elapsed());
}

#[test]
fn the_stop_signal_can_be_chosen() {
    let world = World::new();
    let got = world.at("got");
    let script =
        format!("trap 'echo int > {got}; exit 0' INT; echo > ready; while :; do sleep 0.1; done");
    let mut rekindle = world.run(&Config::script(&script).with("stop_signal = \"INT\""));
    rekindle.wait_state("healthy");
    world.written("ready");

    stops_promptly(&mut rekindle);
    assert_eq!(world.read("got"), "int\n");
}

fn stubborn() -> (World, Config) {
    (World::new(), Config::script(STUBBORN))
}

fn stops_promptly(rekindle: &mut Rekindle<'_>) {
    let (code, took) = rekindle.stop();
    assert_eq!(code, 0, "{}", rekindle.story());
    assert!(took < PROMPT, "{took:?}");
}

/// Stops a child that resists: it gets `stop_timeout`, and little more.
fn stops_by_killing(rekindle: &mut Rekindle<'_>, stop_timeout: Duration) {
    let (code, took) = rekindle.stop();
    assert_eq!(code, 137, "{}", rekindle.story());
    assert!(took >= stop_timeout, "{took:?}: it was not given its time");
    assert!(took < stop_timeout + SLACK, "{took:?}");
}
