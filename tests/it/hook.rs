//! The boot hook runs before every launch, and no child starts unless it has ended well.

use std::process::Command;

use crate::crash::served_by;
use crate::support::http::free_port;
use crate::support::{Config, REKINDLE, World, get, is_root, processes};

/// A child that leaves a line and runs on.
fn child(world: &World) -> Config {
    Config::script(&format!("echo child >> {}; exec sleep 1000", world.at("order")))
}

fn hooked(config: Config, hook: &str) -> Config {
    config.with(&format!("boot_hook = {{ path = \"{hook}\", timeout = \"20s\" }}"))
}

#[test]
fn a_missing_hook_is_a_skip() {
    let world = World::new();
    let config = hooked(child(&world), &world.at("no-such-hook"));
    let rekindle = world.run(&config);

    rekindle.wait_state("healthy");

    assert_eq!(rekindle.hooks("skipped"), 1);
    assert_eq!(rekindle.hooks("success") + rekindle.hooks("failure"), 0);
}

#[test]
fn the_hook_runs_before_every_launch() {
    let world = World::new();
    let order = world.at("order");
    let hook = world.write("boot.sh", &format!("echo hook >> {order}"));
    let config = hooked(Config::script(&format!("echo child >> {order}; exit 1")), &hook);
    let rekindle = world.run(&config);

    rekindle.wait_restarts("exit", 3);
    rekindle.wait("four children", || world.lines("order").len() >= 8);

    let lines = world.lines("order");
    assert!(lines.chunks_exact(2).all(|pair| pair == ["hook", "child"]), "{lines:?}");
}

#[test]
fn an_executable_hook_is_executed_with_its_own_interpreter() {
    let world = World::new();
    let said = world.at("said");
    let hook =
        world.script("boot", &format!("#!/usr/bin/env bash\necho \"${{BASH##*/}}\" > {said}"));
    let rekindle = world.run(&hooked(child(&world), &hook));

    rekindle.wait_state("healthy");

    assert_eq!(world.read("said"), "bash\n");
    rekindle.wait_said(&[&hook]);
}

#[test]
fn a_hook_that_fails_keeps_the_child_from_starting() {
    let world = World::new();
    let hook = world.write("boot.sh", "exit 7");
    let rekindle = world.run(&hooked(child(&world), &hook));

    rekindle.wait("it fails again and again", || rekindle.hooks("failure") >= 2);

    assert_eq!(world.read("order"), "");
    assert_eq!(rekindle.get("/readyz").expect("an answer").status, 503);
    rekindle.wait_said(&["hook", "code 7"]);
}

#[test]
fn a_hook_that_fails_three_times_and_then_succeeds_is_followed_by_the_child() {
    let world = World::new();
    let attempts = world.at("attempts");
    let hook = world.write(
        "boot.sh",
        &format!(
            "echo $REKINDLE_ATTEMPT $REKINDLE_REASON >> {attempts}\n\
             [ $REKINDLE_ATTEMPT -gt 3 ]"
        ),
    );
    let rekindle = world.run(&hooked(child(&world), &hook));

    rekindle.wait_state("healthy");

    assert_eq!(
        world.lines("attempts"),
        ["1 start", "2 hook_failed", "3 hook_failed", "4 hook_failed"]
    );
    assert_eq!(world.written("order"), "child\n");
    assert_eq!((rekindle.hooks("failure"), rekindle.hooks("success")), (3, 1));
}

#[test]
fn what_a_failed_hook_started_is_killed_at_once() {
    let world = World::new();
    let pid = world.at("pid");
    let hook = world.write("boot.sh", &format!("setsid sleep 1000 & echo $! > {pid}; exit 1"));
    let config =
        hooked(child(&world), &hook).with("backoff.initial = \"1h\"").with("backoff.max = \"1h\"");
    let rekindle = world.run(&config);

    rekindle.wait_state("backoff");

    let helper = world.number("pid").expect("the hook wrote a pid");
    assert!(!processes::is_alive(helper));
}

#[test]
fn a_helper_that_the_hook_leaves_lives_beside_the_child_and_goes_down_with_it() {
    let (world, port) = (World::new(), free_port());
    let (helper, alive) = (world.at("helper"), world.at("alive"));
    let hook = world.write(
        "boot.sh",
        &format!(
            "[ -e {helper} ] && kill -0 $(cat {helper}) && echo yes > {alive}\n\
             setsid sleep 1000 & echo $! > {helper}"
        ),
    );
    let rekindle = world.run(&hooked(Config::demo(port), &hook));
    served_by(&rekindle, port);
    let first = world.number("helper").expect("the hook wrote a pid");
    assert!(processes::is_alive(first), "the helper lives beside the child");

    get(port, "/fault?mode=exit&code=1").expect("the demo gateway takes the order");

    rekindle.wait_restarts("exit", 1);
    rekindle.wait_state("healthy");
    assert!(!processes::is_alive(first));
    assert_eq!(world.read("alive"), "", "the old helper was gone before the hook ran again");
    assert!(processes::is_alive(world.number("helper").expect("a new helper")));
}

#[test]
fn a_hook_that_runs_the_service_itself_is_told_so() {
    let (world, port) = (World::new(), free_port());
    let hook = world.write("boot.sh", &format!("exec {REKINDLE} demo-gateway --port {port}"));
    let config = Config::demo(port)
        .with(&format!("boot_hook = {{ path = \"{hook}\", timeout = \"1500ms\" }}"));
    let rekindle = world.run(&config);

    rekindle.wait_said(&[&hook, "is running the service itself; give it as the command"]);
    assert!(rekindle.hooks("timeout") >= 1);
}

#[test]
fn a_strict_hook_that_fails_at_first_ends_the_run() {
    let world = World::new();
    let hook = world.write("boot.sh", "exit 5");
    let config = hooked(child(&world), &hook).with("on_boot_failure = \"exit\"");
    let mut rekindle = world.run(&config);
    rekindle.expect_errors();

    assert_eq!(rekindle.wait_exit(), 69);
    rekindle.wait_said(&[&hook, "code 5"]);
    assert_eq!(world.read("order"), "");
}

#[test]
fn a_strict_hook_that_hangs_at_first_ends_the_run() {
    let world = World::new();
    let hook = world.write("boot.sh", "sleep 1000");
    let config = child(&world)
        .with(&format!("boot_hook = {{ path = \"{hook}\", timeout = \"300ms\" }}"))
        .with("on_boot_failure = \"exit\"");
    let mut rekindle = world.run(&config);
    rekindle.expect_errors();

    assert_eq!(rekindle.wait_exit(), 69, "{}", rekindle.story());
    assert_eq!(world.read("order"), "");
}

#[test]
fn a_strict_hook_that_fails_later_is_tried_again() {
    let world = World::new();
    let hook = world.write("boot.sh", "[ $REKINDLE_ATTEMPT != 2 ]");
    let config = hooked(Config::script("exit 1"), &hook).with("on_boot_failure = \"exit\"");
    let rekindle = world.run(&config);

    rekindle.wait_restarts("hook_failed", 1);
    rekindle.wait("the hook runs again", || rekindle.hooks("success") >= 2);
}

#[test]
fn the_hook_runs_in_the_childs_directory_as_the_childs_user_or_its_own() {
    if !is_root("running a hook as another user") {
        return;
    }
    let world = World::new();
    std::fs::create_dir(world.path("home")).expect("a directory");
    let hook = world.write("boot.sh", &format!("echo $(id -u) $(pwd) >> {}", world.at("who")));
    for (user, keys) in [("65534", ""), ("0", ", user = \"root\"")] {
        world.write("who", "");
        std::os::unix::fs::chown(world.path("who"), Some(65534), None).expect("chown");
        let config = child(&world).with("user = \"65534\"").with(&format!(
            "cwd = \"{home}\"\nboot_hook = {{ path = \"{hook}\"{keys} }}",
            home = world.at("home"),
        ));
        let config = config.with("command = [\"/bin/sleep\", \"1000\"]");
        let rekindle = world.run(&config);

        rekindle.wait_state("healthy");

        assert_eq!(world.read("who"), format!("{user} {}\n", world.at("home")));
    }
}

#[test]
fn the_images_own_hook_is_found_without_being_named() {
    let world = World::new();
    let run = ["run", "--listen", "off", "--", "sleep", "1000"];
    let Some(command) = with_another_etc(&world, "openshell/boot.sh", "exit 0", &run) else {
        return;
    };
    let rekindle = world.start(command);
    rekindle.wait_up();

    rekindle.wait("the hook has run", || rekindle.hooks("success") == 1);
    rekindle.wait_said(&["/etc/openshell/boot.sh"]);
}

#[test]
fn the_images_own_configuration_is_found_without_being_named() {
    let world = World::new();
    let config = child(&world).text();
    let Some(command) = with_another_etc(&world, "rekindle/rekindle.toml", &config, &["run"])
    else {
        return;
    };
    let rekindle = world.start(command);
    rekindle.wait_up();

    rekindle.wait_state("healthy");
    assert_eq!(world.written("order"), "child\n");
}

/// Rekindle's command line with an `/etc` of its own, in which there is only this file.
fn with_another_etc(world: &World, name: &str, text: &str, args: &[&str]) -> Option<Command> {
    let file = world.write("etc-file", text);
    let mut run = world.command(REKINDLE);
    run.args(args);
    let shell = format!(
        "mount -t tmpfs none /etc && mkdir -p $(dirname /etc/{name}) && cp {file} /etc/{name}"
    );
    world.remounted(&shell, &run)
}
