//! One state directory has one supervisor: a second one waits for it, and it is locked even where
//! it cannot be written.

use std::process::Command;
use std::time::Duration;

use crate::crash::served_by;
use crate::support::http::free_port;
use crate::support::rekindle::WARN;
use crate::support::{Config, World, port_answers, processes};

#[test]
fn a_second_supervisor_names_the_first_and_takes_over_when_it_is_stopped() {
    let (world, port) = (World::new(), free_port());
    let mut first = world.run(&Config::demo(port));
    let child = served_by(&first, port);

    let mut command: Command = world.prepare(&Config::demo(port));
    command.env("RUNTIME_DIRECTORY", world.path("run2"));
    let mut second = world.start(command);
    second.expect_errors();

    second.wait_said(&[&world.at("state"), &format!("pid {}", first.pid())]);
    assert!(processes::is_alive(child), "the first one's child is left alone");
    assert!(processes::children(second.pid()).is_empty(), "nothing is started meanwhile");
    assert_eq!(first.stop().0, 0);

    second.wait("it takes over", || port_answers(port));
    assert_eq!(second.stop().0, 0);
}

#[test]
fn a_second_supervisor_that_waits_can_be_stopped() {
    let world = World::new();
    let config = Config::script("exec sleep 1000");
    let first = world.run(&config);
    first.wait_state("healthy");
    let mut command: Command = world.prepare(&config);
    command.env("RUNTIME_DIRECTORY", world.path("run2"));
    let mut second = world.start(command);
    second.expect_errors();
    second.wait_said(&[&format!("pid {}", first.pid())]);

    let (code, took) = second.stop();

    assert_eq!(code, 0, "{}", second.story());
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(first.state(), "healthy");
}

#[test]
#[ignore = "takes a minute"]
fn a_second_supervisor_gives_up_after_a_minute() {
    let world = World::new();
    let config = Config::script("exec sleep 1000");
    let first = world.run(&config);
    first.wait_state("healthy");
    let mut command: Command = world.prepare(&config);
    command.env("RUNTIME_DIRECTORY", world.path("run2"));
    let mut second = world.start(command);
    second.expect_errors();

    assert_eq!(second.exits_within(Duration::from_secs(75)), Some(73), "{}", second.story());
    assert_eq!(first.state(), "healthy");
}

#[test]
fn a_state_directory_that_cannot_be_written_costs_one_warning() {
    let world = World::new();
    let mut command: Command = world.prepare(&Config::script("exit 1"));
    // Not even root can make a directory there.
    command.env("STATE_DIRECTORY", "/proc/no-such-directory");
    let rekindle = world.start(command);
    rekindle.wait_up();

    rekindle.wait_restarts("exit", 2);

    let warnings = rekindle.lines_with("/proc/no-such-directory");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains(WARN), "{warnings:?}");
}

#[test]
fn a_state_directory_that_cannot_be_written_yet_still_has_one_supervisor() {
    let world = World::new();
    // As on a full disk, the directory and the lock are there, but nothing can be written.
    std::fs::create_dir_all(world.path("state/instance.new")).expect("a directory in the way");
    let config = Config::script("exec sleep 1000");
    let first = world.run(&config);
    first.wait_state("healthy");
    first.wait_said(&[&world.at("state"), WARN, "is tried again"]);

    let mut command: Command = world.prepare(&config);
    command.env("RUNTIME_DIRECTORY", world.path("run2"));
    let mut second = world.start(command);
    second.wait_said(&[&world.at("state"), &format!("pid {}", first.pid())]);
    assert!(processes::children(second.pid()).is_empty(), "nothing is started meanwhile");
    second.stop();

    std::fs::remove_dir(world.path("state/instance.new")).expect("it is empty");
    let child = world.processes_like("sleep 1000")[0];
    processes::send(child, rustix::process::Signal::KILL);
    first.wait("the next launch is recorded", || world.lines("state/instance").len() >= 3);
}
