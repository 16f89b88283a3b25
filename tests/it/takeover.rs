//! A supervisor that was killed leaves a child that dies with it, and the next one clears the rest.

use std::process::Command;
use std::time::Duration;

use crate::crash::served_by;
use crate::support::http::free_port;
use crate::support::rekindle::WARN;
use crate::support::{Config, REKINDLE, World, has_tool, port_answers, processes, wait_until};

#[test]
fn the_child_dies_with_a_killed_supervisor() {
    let (world, port) = (World::new(), free_port());
    let mut rekindle = world.run(&Config::demo(port));
    let child = served_by(&rekindle, port);

    rekindle.kill();

    wait_until("the child is gone", || !processes::is_alive(child));
}

#[test]
fn the_next_supervisor_removes_what_is_left_before_its_hook_runs() {
    let (world, port) = (World::new(), free_port());
    let (pid, alive, hooked) = (world.at("pid"), world.at("alive"), world.at("hooked"));
    let hook = world.write(
        "boot.sh",
        // A zombie, which only its parent can remove, counts as gone.
        &format!(
            "[ -e {pid} ] && grep -q '^State:.[^ZX]' /proc/$(cat {pid})/status && touch {alive}\n\
             touch {hooked}"
        ),
    );
    let config = detached(&world, port).with(&format!("boot_hook = \"{hook}\""));
    let mut rekindle = world.run(&config);
    rekindle.wait_state("healthy");
    let left = world.number("pid").expect("the gateway's pid");
    rekindle.kill();
    assert!(port_answers(port), "the left-over serves on, without a supervisor");
    std::fs::remove_file(&hooked).expect("the first hook has run");
    assert!(!world.path("alive").exists(), "at the first start there was nothing");

    let next = world.run(&config);
    next.wait_state("healthy");

    assert!(world.path("hooked").exists());
    assert!(!world.path("alive").exists(), "the left-over was gone before the hook ran");
    assert!(!processes::is_alive(left));
    next.wait_said(&[&left.to_string()]);
    assert_eq!(next.all_restarts(), 0);
}

#[test]
fn supervisors_that_are_killed_at_any_moment_never_leave_two_trees() {
    if !has_tool("flock") {
        return;
    }
    let (world, port) = (World::new(), free_port());
    let (lock, twice) = (world.at("lock"), world.at("twice"));
    // The lock is held as long as any process of the tree lives: the kernel keeps the account.
    let script = format!(
        "exec 9> {lock}; flock --nonblock 9 || echo twice >> {twice}\n\
         setsid {REKINDLE} demo-gateway --port {port} & wait"
    );
    let hook = world.write("boot.sh", "sleep 0.1; setsid sleep 1000 &");
    let config = Config::script(&script)
        .probing(&format!("http = \"http://127.0.0.1:{port}/health\""))
        .with(&format!("boot_hook = \"{hook}\""));
    for moment in 0..12 {
        let mut rekindle = world.start(world.prepare(&config));
        // Not a wait: this is when the fault strikes, from before the hook to after the start.
        std::thread::sleep(Duration::from_millis(moment * 50));
        rekindle.kill();
    }

    let last = world.run(&config);
    last.wait_state("healthy");

    assert_eq!(world.read("twice"), "");
    assert_eq!(last.all_restarts(), 0, "no launch failed to get the port: {}", last.story());
    assert_eq!(world.processes_like("demo-gateway --port").len(), 2, "the shell and its gateway");
    assert_eq!(world.processes_like("sleep 1000").len(), 1, "this attempt's helper");
}

#[test]
fn a_supervisor_with_another_state_directory_leaves_it_alone() {
    let (world, port) = (World::new(), free_port());
    let mut rekindle = world.run(&detached(&world, port));
    rekindle.wait_state("healthy");
    let left = world.number("pid").expect("the gateway's pid");
    rekindle.kill();

    let (elsewhere, other_port) = (World::new(), free_port());
    let other = elsewhere.run(&Config::demo(other_port));
    other.wait_state("healthy");

    assert!(processes::is_alive(left));
    // Somebody has to clear it away in the end: a supervisor of its own kind.
    world.run(&Config::script("exec sleep 1000")).wait_state("healthy");
    assert!(!processes::is_alive(left));
}

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

/// A child whose gateway runs in a session of its own, so that it survives both of them.
fn detached(world: &World, port: u16) -> Config {
    let pid = world.at("pid");
    let gateway = format!("echo $$ > {pid}; exec {REKINDLE} demo-gateway --port {port}");
    Config::script(&format!("setsid sh -c '{gateway}' & wait"))
        .probing(&format!("http = \"http://127.0.0.1:{port}/health\""))
}
