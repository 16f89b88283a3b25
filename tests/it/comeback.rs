//! What is on disk now is looked at before the next power cycle has to start from it.

use std::fs;

use crate::support::rekindle::WARN;
use crate::support::{Config, REKINDLE, Rekindle, World};

const VALID: &str = "rekindle_config_file_valid";
const DIFFERS: &str = "rekindle_config_file_differs";

#[test]
fn a_configuration_that_would_not_start_is_told_once_and_disturbs_nothing() {
    let world = World::new();
    let config = Config::script("exec sleep 1000");
    let rekindle = world.run(&config);
    rekindle.wait_state("healthy");
    let child = rekindle.status()["services"][0]["pid"].clone();
    assert_eq!(seen(&rekindle), (1, 0));
    let file = "rekindle-0.toml";

    replace(&world, file, &format!("{}setle = \"1s\"\n", config.text()));
    rekindle.wait("it is seen", || seen(&rekindle) == (0, 1));
    let on_disk = rekindle.status()["supervisor"]["on_disk"].clone();
    assert_eq!((&on_disk["valid"], &on_disk["differs"]), (&false.into(), &true.into()));
    let problem = on_disk["problem"].as_str().expect("there is one");
    assert!(problem.contains("rekindle-0.toml:") && problem.contains("setle"), "{problem}");
    rekindle.wait_said(&["would not come back"]);
    let told = rekindle.lines_with("would not come back");
    assert!(told.len() == 1 && told[0].contains(WARN) && told[0].contains("setle"), "{told:?}");

    replace(&world, file, &config.clone().with("settle = \"7s\"").text());
    rekindle.wait("it is good, and another", || seen(&rekindle) == (1, 1));
    rekindle.wait_said(&["is not the one that runs"]);
    assert_eq!(rekindle.lines_with("is not the one that runs").len(), 1);
    let mut status = world.command(REKINDLE);
    status.arg("status");
    let mut status = world.start(status);
    assert_eq!(status.wait_exit(), 0, "the service is healthy");
    let table = String::from_utf8_lossy(&status.output()).into_owned();
    assert!(table.contains("  on disk    the configuration is not the one that runs\n"), "{table}");

    replace(&world, file, &config.text());
    rekindle.wait("it is the same again", || seen(&rekindle) == (1, 0));
    rekindle.wait_said(&["what is on disk is what runs again"]);
    assert_eq!(rekindle.status()["services"][0]["pid"], child);
    assert_eq!((rekindle.all_restarts(), rekindle.lines_with("would not come back").len()), (0, 1));
}

#[test]
fn with_flags_only_there_is_no_file_but_a_hook_that_is_gone_is_missed() {
    let world = World::new();
    let hook = world.script("boot.sh", "#!/bin/sh\n");
    let mut command = world.command(REKINDLE);
    command.args(["run", "--listen", "off", "--boot-hook", &hook, "--", "sleep", "1000"]);
    // Without a place for its state there is nothing to write, and it looks all the same.
    command.env("STATE_DIRECTORY", "/proc/nowhere").arg("0");
    let rekindle = world.start(command);
    rekindle.wait_up();
    rekindle.wait("the hook has run", || rekindle.hooks("success") == 1);
    assert_eq!(seen(&rekindle), (1, 0));

    fs::remove_file(&hook).expect("it is there");
    rekindle.wait("it is missed", || seen(&rekindle) == (0, 0));
    rekindle.wait_said(&["would not come back", "boot.sh is gone", WARN]);
}

#[test]
fn a_certificate_that_is_gone_would_keep_it_from_starting() {
    let world = World::new();
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a key");
    let ca = world.write("ca.pem", &key.cert.pem());
    let url = "https://127.0.0.1:1/health";
    let config = Config::script("exec sleep 1000").with(&format!(
        "probe.readiness.http = \"{url}\"\nprobe.readiness.ca = \"{ca}\"\n\
         probe.readiness.period = \"1h\""
    ));
    let rekindle = world.run(&config);
    rekindle.wait_state("healthy");
    fs::remove_file(&ca).expect("it is there");
    rekindle.wait("it is missed", || seen(&rekindle) == (0, 1));
    rekindle.wait_said(&["would not come back", "ca.pem", WARN]);
}

/// Whether it is valid, and whether it differs.
fn seen(rekindle: &Rekindle<'_>) -> (u64, u64) {
    (rekindle.count(VALID, ""), rekindle.count(DIFFERS, ""))
}

/// Puts another file in the place of one, so that nobody sees half of it.
fn replace(world: &World, name: &str, text: &str) {
    let new = world.write("new.toml", text);
    fs::rename(new, world.path(name)).expect("the new one takes its place");
}
