//! `rekindle status`: what is going on, for people and for scripts.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::http::free_port;
use crate::support::{Config, REKINDLE, World, get, has_tool, is_root};

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

#[test]
fn a_state_directory_says_whom_to_ask_and_no_neighbour_answers_in_its_place() {
    if !(is_root("a mount namespace") && has_tool("unshare")) {
        return;
    }
    let world = World::new();
    let script = r#"
        mount -t tmpfs none /run || exit 99
        unset RUNTIME_DIRECTORY STATE_DIRECTORY
        run() { "$0" run --name "$1" --state-dir "$1" --listen off --no-boot-hook -- sleep 1000 & }
        alive() { "$0" probe --live "$@" >/dev/null; echo "$* $?"; }
        run mine; mine=$!
        run neighbour; neighbour=$!
        for name in mine neighbour; do
            until "$0" probe --live --name $name; do sleep 0.05; done
        done
        alive --state-dir mine
        alive --state-dir ./neighbour
        kill $mine; wait $mine
        alive --state-dir mine
        "$0" status --state-dir mine; echo "status $?"
        alive --name neighbour --state-dir mine
        export REKINDLE_STATE_DIR=neighbour; alive
        export REKINDLE_STATE_DIR=mine; alive
        kill $neighbour; wait $neighbour
    "#;
    let mut command = world.command("unshare");
    command.args(["--mount", "sh", "-c", script, REKINDLE]);
    let mut all = world.start(command);
    assert_eq!(all.wait_exit(), 0, "{}", all.log());
    let said = String::from_utf8(all.output()).expect("UTF-8");
    let said: Vec<_> = said.lines().filter(|line| !line.contains(": ")).collect();
    let expected = [
        "--state-dir mine 0",
        "--state-dir ./neighbour 0",
        "--state-dir mine 1",
        "status 3",
        "--name neighbour --state-dir mine 1",
        " 0",
        " 1",
    ];
    assert_eq!(said, expected, "{}", all.log());
}

#[test]
fn a_supervisor_that_stands_still_is_said_not_to_answer() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&Config::demo(port));
    rekindle.signal(Signal::STOP);
    let mut command = world.command(REKINDLE);
    command.arg("status");
    let mut asked = world.start(command);
    let code = asked.wait_exit();
    rekindle.signal(Signal::CONT);
    assert_eq!(code, 1);
    let told = asked.log();
    assert!(
        told.contains("control.sock: it does not answer within 2.0 s; it is stopped"),
        "{told}"
    );
}

#[test]
fn a_control_socket_that_somebody_has_removed_is_made_again() {
    let (world, port) = (World::new(), free_port());
    let mut rekindle = world.run(&Config::demo(port));
    let socket = world.path("run/control.sock");
    fs::remove_file(&socket).expect("it is there");
    rekindle.wait_said(&["control.sock was removed: it is made again"]);
    rekindle.wait_state("healthy");
    fs::remove_dir_all(world.path("run")).expect("with its directory, too");
    rekindle.wait("it answers", || rekindle.get("/livez").is_ok());
    rekindle.stop();
    assert!(!socket.exists(), "it is still the supervisor's own, and goes with it");
}

#[test]
fn that_nothing_is_remembered_is_told() {
    let (world, port) = (World::new(), free_port());
    let run = world.prepare(&Config::demo(port));
    let Some(command) = world.remounted("mkdir -p state && mount -t tmpfs none state", &run) else {
        return;
    };
    let rekindle = world.start(command);
    rekindle.wait_state("healthy");
    let (_, table) = status(&world, &[]);
    assert!(table.contains("not remembered: state_dir is in memory (tmpfs)"), "{table}");
    drop(rekindle);

    // A file in the way of the next state: nothing can be written.
    let rekindle = world.run(&Config::demo(port));
    rekindle.wait_state("healthy");
    let in_the_way = world.path("state/state.json.new");
    rekindle.wait("no state is being written", || fs::create_dir(&in_the_way).is_ok());
    get(port, "/fault?mode=crash").expect("the demo gateway takes the order");
    let mut table = String::new();
    rekindle.wait("it is told", || {
        table = status(&world, &[]).1;
        table.contains("not remembered: state_dir cannot be written: ")
    });
    fs::remove_dir(world.path("state/state.json.new")).expect("it is empty");
    rekindle.wait("it is written again", || !status(&world, &[]).1.contains("cannot be written"));
}

/// The exit code and stdout of `rekindle status`.
pub(crate) fn status(world: &World, arguments: &[&str]) -> (i32, String) {
    let mut command = world.command(REKINDLE);
    command.arg("status").args(arguments);
    let mut status = world.start(command);
    (status.wait_exit(), String::from_utf8_lossy(&status.output()).into_owned())
}
