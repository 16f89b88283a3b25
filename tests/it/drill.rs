//! The drill does what it says: it breaks a real gateway in a real sandbox, measures, and judges.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::http::free_port;
use crate::support::{Config, REKINDLE, Rekindle, Stopwatch, World, port_answers, wait_until};

/// A drill of a few scenarios takes this long at most, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// What a drill has said, and its exit code.
pub(crate) struct Told {
    pub(crate) code: i32,
    pub(crate) text: String,
    pub(crate) errors: String,
}

/// `rekindle drill` with these arguments, running; its scratch directory is in the world's own.
pub(crate) fn start<'w>(world: &'w World, arguments: &[&str]) -> Rekindle<'w> {
    let mut command = world.command(REKINDLE);
    command.arg("drill").args(arguments).env("TMPDIR", world.path(""));
    world.start(command)
}

pub(crate) fn drill(world: &World, arguments: &[&str]) -> Told {
    let mut drill = start(world, arguments);
    let code = drill.exits_within(PATIENCE).expect("the drill comes to its end");
    let text = String::from_utf8(drill.output()).expect("it speaks UTF-8");
    Told { code, text, errors: drill.log() }
}

/// The names of the scratch directories that are left.
pub(crate) fn scratch(world: &World) -> Vec<String> {
    let entries = fs::read_dir(world.path("")).expect("the world's directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("rekindle-drill-")).collect()
}

/// Does these scenarios and expects that all pass; the document of each.
fn passes(scenarios: &[&str], options: &[&str]) -> Vec<Value> {
    let world = World::new();
    let mut arguments = vec!["--output", "json"];
    arguments.extend(scenarios.iter().flat_map(|name| ["--scenario", name]));
    arguments.extend(options);
    let told = drill(&world, &arguments);
    assert_eq!(told.code, 0, "{}{}", told.text, told.errors);
    assert_eq!(scratch(&world), [""; 0]);
    let document: Value = serde_json::from_str(&told.text).expect("a document");
    let done = document["scenarios"].as_array().expect("a list").clone();
    assert_eq!(done.len(), scenarios.len());
    assert!(done.iter().all(|one| one["verdict"] == "passed"), "{}", told.text);
    done
}

/// A mark, in seconds from the fault on.
pub(crate) fn mark(scenario: &Value, name: &str) -> f64 {
    let mark = scenario["marks"][name].as_f64();
    mark.unwrap_or_else(|| panic!("{} has no mark {name}: {scenario:#}", scenario["name"]))
}

#[test]
fn a_gateway_that_ends_is_healed() {
    for one in passes(&["crash", "killed", "exit", "clean-exit", "never-up"], &[]) {
        assert!(mark(&one, "detected") <= mark(&one, "first_pass"));
        assert!(mark(&one, "first_pass") <= mark(&one, "settled"));
    }
}

#[test]
fn a_gateway_that_hangs_is_healed_and_every_step_of_it_is_measured() {
    let done = passes(&["hang", "deaf", "ignores-term"], &[]);
    for one in &done {
        let order = ["first_failed_probe", "detected", "tree_gone", "first_pass", "settled"];
        assert!(order.map(|name| mark(one, name)).is_sorted(), "{one:#}");
    }
    // A stopped process does not answer within the probe's timeout of 500 ms. The probe may have
    // begun a little earlier.
    assert!(mark(&done[0], "first_failed_probe") >= 0.4);
    // One that ignores SIGTERM gets it a second before SIGKILL.
    assert!(mark(&done[2], "tree_gone") - mark(&done[2], "detected") >= 0.9);
}

#[test]
fn a_gateway_that_answers_wrongly_is_healed() {
    passes(&["sick-500", "sick-body", "sick-slow", "sick-reset", "sick-silent"], &[]);
}

#[test]
fn a_wrong_health_url_is_reported() {
    let done = passes(&["wrong-health-url"], &[]);
    // After the startup timeout.
    assert!(mark(&done[0], "detected") >= 3.0);
}

#[test]
fn a_boot_hook_that_fails_or_hangs_is_run_until_it_succeeds() {
    passes(&["hook-fails", "hook-hangs", "dependency-late", "damaged-file"], &[]);
}

#[test]
fn what_a_gateway_leaves_behind_is_gone_before_the_next_one_starts() {
    for one in passes(&["port-stolen", "orphan", "supervisor-killed"], &[]) {
        assert!(mark(&one, "first_pass") > 0.0);
    }
}

#[test]
fn after_a_power_cycle_everything_comes_back() {
    let scenarios = ["power-cycle", "power-cut-in-hook", "power-cut-at-start", "power-cuts"];
    for one in passes(&scenarios, &[]) {
        assert_eq!(one["states"][0]["state"], "off", "{one:#}");
        let order = ["tree_gone", "detected", "hook", "first_pass"];
        assert!(order.map(|name| mark(&one, name)).is_sorted(), "{one:#}");
    }
}

#[test]
fn several_things_that_break_together_are_healed() {
    passes(&["stale-lock", "power-and-dependency", "power-and-damage"], &[]);
}

#[test]
fn the_worst_of_all_is_healed() {
    passes(&["hang-and-hook"], &[]);
}

#[test]
fn without_namespaces_it_does_the_same_and_says_so() {
    passes(&["crash", "supervisor-killed", "power-cycle", "stale-lock"], &["--own-tree"]);
    let world = World::new();
    let told = drill(&world, &["--own-tree", "--scenario", "read-only-state"]);
    assert_eq!(told.code, 0, "what cannot be done is no failure: {}", told.text);
    assert!(told.text.contains("it needs a mount namespace"), "{}", told.text);
    assert!(told.text.contains("without namespaces: --own-tree was given"), "{}", told.text);
}

#[test]
fn a_recovery_that_takes_longer_than_its_objective_fails_the_drill() {
    let world = World::new();
    let told = drill(&world, &["--rto", "40ms", "--scenario", "killed"]);
    assert_eq!(told.code, 1, "{}", told.text);
    assert!(told.text.contains("FAILED"), "{}", told.text);
    assert!(told.text.contains("1 failed") && told.text.contains("objective 0.04 s"));
    let (_, log) = told.text.split_once("see ").expect("the log is named");
    let log = fs::read_to_string(log.lines().next().expect("a path")).expect("it is kept");
    assert!(log.contains("supervises /bin/sh"), "{log}");
}

#[test]
fn a_drill_that_is_killed_takes_its_sandbox_with_it() {
    for options in [&["--scenario", "hang"][..], &["--scenario", "hang", "--own-tree"]] {
        let world = World::new();
        let mut drill = start(&world, options);
        wait_until("the gateway runs", || !world.processes_like("demo-gateway --port").is_empty());
        drill.kill();
        wait_until("nothing runs", || world.processes().is_empty());
    }
}

#[test]
fn the_users_own_service_is_drilled_on_a_scratch_state_directory() {
    let (world, port) = (World::new(), free_port());
    let hook = world.script("hook", "#!/bin/sh\nsleep 0.05\n");
    let config = Config::demo(port).with(&format!("boot_hook = {hook:?}"));
    let file = world.write("own.toml", &config.text());
    let told = drill(&world, &["--config", &file, "--output", "json"]);
    assert_eq!(told.code, 0, "{}{}", told.text, told.errors);
    let document: Value = serde_json::from_str(&told.text).expect("a document");
    let verdict = |name: &str| {
        let done = document["scenarios"].as_array().expect("a list");
        done.iter().find(|one| one["name"] == name).map(|one| one["verdict"].clone())
    };
    for name in ["killed", "hang", "sick-500", "supervisor-killed", "power-cycle"] {
        assert_eq!(verdict(name), Some("passed".into()), "{name}");
    }
    assert_eq!(verdict("sick-body"), None, "its probe does not look at the body");
    assert_eq!(verdict("hook-fails"), None, "only the demo gateway's hook fails when told to");
    assert!(!world.path("state").exists(), "its own state directory is left alone");
}

#[test]
fn a_service_that_is_running_is_not_drilled_beside_itself() {
    let (world, port) = (World::new(), free_port());
    let config = Config::demo(port);
    let rekindle = world.run(&config);
    rekindle.wait_state("healthy");
    let file = world.write("own.toml", &config.text());

    let told = drill(&world, &["--config", &file]);
    assert_eq!(told.code, 1, "{}", told.text);
    assert!(told.errors.contains("cannot drill gateway: a rekindle answers on"), "{}", told.errors);

    // The same service under another supervisor: its port tells.
    let other = config.supervisor("name = \"other\"\nstate_dir = \"elsewhere\"");
    let file = world.write("own.toml", &other.text());
    let mut command = world.command(REKINDLE);
    command.args(["drill", "--config", &file]).env_remove("RUNTIME_DIRECTORY");
    let mut refused = world.start(command);
    assert_eq!(refused.wait_exit(), 1);
    let told = refused.log();
    assert!(told.contains(&format!("port {port} is held by pid ")), "{told}");
    assert!(port_answers(port), "it is left alone");
}

#[test]
fn an_ordinary_user_drills_too() {
    if !crate::support::is_root("becoming an ordinary user") {
        return;
    }
    let world = World::new();
    let scratch = world.path("scratch");
    fs::create_dir(&scratch).expect("a directory");
    std::os::unix::fs::chown(&scratch, Some(65_534), Some(65_534)).expect("chown");
    // A copy where everybody may go.
    let binary = world.at("rekindle");
    // Made by another process: who forks while a file is open for writing, keeps it busy.
    let mut copy = world.command("cp");
    copy.args([REKINDLE, &binary]);
    assert_eq!(world.start(copy).wait_exit(), 0);
    let mut command = world.command("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", &binary, "drill"])
        .args(["--scenario", "crash", "--scenario", "power-cycle"])
        .env("TMPDIR", &scratch);
    let mut drill = world.start(command);
    let code = drill.exits_within(PATIENCE).expect("it ends");
    let text = String::from_utf8(drill.output()).expect("UTF-8");
    assert_eq!(code, 0, "{text}{}", drill.log());
    assert!(text.contains("2 of 2 passed"), "{text}");
}

#[test]
fn a_signal_to_the_drill_ends_all_of_it_and_tells_what_was_measured() {
    for (signal, options) in [
        (Signal::TERM, &["--scenario", "killed,wrong-health-url"][..]),
        (Signal::INT, &["--scenario", "killed,wrong-health-url", "--own-tree"]),
    ] {
        let world = World::new();
        let mut drill = start(&world, options);
        wait_until("the second one is played, and its gateway runs", || {
            let scratch = scratch(&world);
            let second =
                scratch.first().map(|name| world.path(&format!("{name}/1-wrong-health-url")));
            second.is_some_and(|path| path.exists())
                && !world.processes_like("demo-gateway --port").is_empty()
        });
        drill.signal(signal);
        let told = Stopwatch::start();
        assert_eq!(drill.wait_exit(), 130, "{}", drill.log());
        assert!(told.elapsed() < Duration::from_secs(10), "what it waits for is given up");
        assert_eq!(world.processes(), [0; 0]);
        assert_eq!(scratch(&world), [""; 0]);
        let text = String::from_utf8(drill.output()).expect("UTF-8");
        let line = "interrupted: 1 of 2 were not done\n1 of 1 passed";
        assert!(text.contains(line) && text.contains("healed"), "{text}");
    }
}

#[test]
fn a_supervisor_that_ends_before_anything_is_broken_is_not_waited_for() {
    let world = World::new();
    let hook = world.script("hook", "#!/bin/sh\nexit 3\n");
    let config = Config::script("exec sleep 1000")
        .with(&format!("boot_hook = {hook:?}\non_boot_failure = \"exit\""));
    let file = world.write("own.toml", &config.text());
    let watch = Stopwatch::start();
    let told = drill(&world, &["--config", &file, "--scenario", "killed"]);
    assert!(watch.elapsed() < Duration::from_secs(15), "its patience is for slow services");
    assert_eq!(told.code, 1, "{}", told.text);
    assert!(told.text.contains("its supervisor has ended by itself"), "{}", told.text);
}

#[test]
fn what_is_wrongly_asked_for_is_refused_with_what_there_is() {
    let world = World::new();
    let told = drill(&world, &["--scenario", "crash,carsh", "--scenario", "hnag"]);
    assert_eq!(told.code, 2, "{}", told.errors);
    let list = "there is no scenario carsh, hnag; there are crash, killed, exit,";
    assert!(told.errors.contains(list), "{}", told.errors);

    let told = drill(&world, &["--rto", "0s", "--scenario", "crash"]);
    assert_eq!(told.code, 2, "{}", told.errors);
    assert!(told.errors.contains("it leaves no time to recover"), "{}", told.errors);
    assert_eq!(scratch(&world), [""; 0]);
}
