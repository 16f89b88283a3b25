//! What outlives the supervisor and its host: how the last run ended, and what was counted.
//!
//! The kernel of these tests never reboots. A host that has booted since is one whose `boot_id` and
//! `/proc/stat` are others: they are bind-mounted in a mount and PID namespace of the supervisor's
//! own, whose end is SIGKILL to its init. That needs root; without root such a test says so and is
//! skipped.

use std::fs;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use crate::crash::served_by;
use crate::support::http::{free_port, get};
use crate::support::rekindle::WARN;
use crate::support::time::wall_time;
use crate::support::{Config, REKINDLE, Rekindle, World, has_tool, is_root, processes, wait_until};

const STARTS: &str = "rekindle_supervisor_starts_total";
const INCIDENTS: &str = "rekindle_incidents_total";

#[test]
fn each_kind_of_start_is_told_to_hook_metrics_status_and_log() {
    if !can_boot() {
        return;
    }
    let world = World::new();
    let told = world.at("told");
    let hook = world.write("boot.sh", &format!("echo $REKINDLE_START >> {told}"));
    let config = idle().with(&format!("boot_hook = \"{hook}\""));
    let day = Duration::from_hours(24);
    let starts = [
        ("first", "a", Duration::ZERO, Signal::TERM),
        ("clean", "a", Duration::ZERO, Signal::KILL),
        ("crash", "a", Duration::ZERO, Signal::TERM),
        ("reboot", "b", Duration::ZERO, Signal::KILL),
        ("power_cycle", "c", Duration::ZERO, Signal::KILL),
        ("moved", "d", day, Signal::TERM),
    ];
    for (number, (kind, boot, up_for, end)) in starts.into_iter().enumerate() {
        let mut rekindle = on_host(&world, &config, boot, up_for);
        rekindle.wait_state("healthy");

        assert_eq!(world.lines("told").get(number).map(String::as_str), Some(kind));
        assert_eq!(rekindle.status()["supervisor"]["start"], kind);
        assert_eq!(rekindle.count(STARTS, &format!("kind=\"{kind}\"")), 1, "{kind}");
        assert_eq!(rekindle.count(STARTS, ""), number as u64 + 1, "{kind}");
        rekindle.wait_said(&[&format!("start: {kind}")]);
        if kind == "power_cycle" {
            rekindle.wait_said(&["power on to healthy: "]);
            let took = number_of(&rekindle, "rekindle_last_power_cycle_recovery_seconds");
            assert!(took > 0.0 && took < 60.0, "{took}");
            let at = number_of(&rekindle, "rekindle_last_power_cycle_timestamp_seconds");
            assert!((since_1970() - at).abs() < 60.0, "{at}");
        }
        rekindle.signal(end);
        rekindle.wait_exit();
    }
}

#[test]
fn counts_and_sums_go_on_after_a_supervisor_that_was_killed() {
    let (world, port) = (World::new(), free_port());
    let config = Config::demo(port).with("settle = \"100ms\"");
    let mut rekindle = world.run(&config);
    served_by(&rekindle, port);
    for count in 1..=2 {
        rekindle.wait("it is up for good", || has_settled(&rekindle));
        heal(&rekindle, port, count);
    }
    rekindle.wait("it is up for good", || has_settled(&rekindle));
    wait_written(&world, |state| state["outage"].is_null());
    let before = written(&world);
    rekindle.kill();
    // The length of the outage.
    std::thread::sleep(Duration::from_secs(2));

    let rekindle = world.run(&config);
    served_by(&rekindle, port);

    assert_eq!(rekindle.restarts("signal"), 2);
    assert_eq!(rekindle.count(INCIDENTS, "cause=\"crash\""), 2);
    assert_eq!(rekindle.count(INCIDENTS, "cause=\"supervisor\""), 1);
    assert!(rekindle.count("rekindle_child_last_exit_code", "") > 128);
    let up = number_of(&rekindle, "rekindle_uptime_seconds_total");
    let was = before["kept"]["rekindle_uptime_seconds_total"][""].as_f64().expect("a number");
    assert!(up >= was && was > 0.0, "{up} after {was}");
    let down = number_of(&rekindle, "rekindle_downtime_seconds_total{cause=\"supervisor\"}");
    assert!(down >= 2.0, "the time without a supervisor is down time: {down}");
    let share = &rekindle.status()["services"][0]["availability"]["30d"];
    let (ratio, known) = (&share["ratio"], &share["known_seconds"]);
    let (ratio, known) = (ratio.as_f64().expect("a number"), known.as_f64().expect("a number"));
    assert!(known * (1.0 - ratio) >= 2.0 && known * ratio >= was - 0.1, "{share} after {was} s up");
    rekindle.wait_said(&["recovered: ", "\"cause\":\"supervisor\""]);
    let took = number_of(&rekindle, "rekindle_last_recovery_duration_seconds");
    assert!(took >= 2.0, "{took}");
}

#[test]
fn a_supervisor_that_is_killed_during_an_outage_does_not_count_it_twice() {
    let world = World::new();
    let (broken, told) = (world.at("broken"), world.at("told"));
    let hook = world.write(
        "boot.sh",
        &format!("echo $REKINDLE_START $REKINDLE_OUTAGE_SECONDS >> {told}; test ! -e {broken}"),
    );
    let config = Config::script("exec sleep 1000")
        .with(&format!("boot_hook = \"{hook}\""))
        .with("settle = \"1ms\"");
    let mut rekindle = world.run(&config);
    rekindle.wait_state("healthy");
    world.write("broken", "");
    for pid in world.processes_like("sleep 1000") {
        processes::send(pid, Signal::KILL);
    }
    rekindle.wait("the hook fails", || rekindle.hooks("failure") >= 1);
    wait_written(&world, |state| state["outage"]["cause"] == "crash");
    rekindle.kill();
    // The length of the outage.
    std::thread::sleep(Duration::from_secs(1));
    let hooks = world.lines("told").len();

    let rekindle = world.run(&config);
    rekindle.wait("the hook fails again", || rekindle.hooks("failure") >= 2);
    fs::remove_file(&broken).expect("it is there");
    rekindle.wait_state("healthy");

    assert_eq!(rekindle.count(INCIDENTS, ""), 1, "one outage, from the crash to the end");
    rekindle.wait_said(&["recovered: ", "\"cause\":\"crash\""]);
    for line in &world.lines("told")[hooks..] {
        let (start, outage) = line.split_once(' ').expect("two words");
        assert_eq!(start, "crash", "until it has been healthy once");
        assert!(outage.parse::<u64>().expect("seconds") >= 1, "{line}");
    }
}

#[test]
fn a_stop_that_was_cut_short_is_a_clean_end() {
    let world = World::new();
    let config = Config::script("trap '' TERM; touch ready; while :; do sleep 1; done")
        .with(&format!("cwd = \"{}\"", world.at("")))
        .with("settle = \"1ms\"\nstop_timeout = \"20s\"");
    let mut rekindle = world.run(&config);
    rekindle.wait("it ignores TERM", || world.path("ready").exists());
    rekindle.signal(Signal::TERM);
    rekindle.wait_state("stopping");
    rekindle.wait("it is on disk", || written(&world)["ending"] == "stopping");
    rekindle.kill();

    let rekindle = world.run(&config.with("stop_timeout = \"100ms\""));
    rekindle.wait_state("healthy");

    assert_eq!(rekindle.status()["supervisor"]["start"], "clean");
    assert_eq!(rekindle.count("rekindle_supervisor_stops_cut_short_total", ""), 1);
    assert_eq!(rekindle.count(INCIDENTS, ""), 0);
}

#[test]
fn a_torn_state_file_costs_a_warning_and_its_predecessor_is_used() {
    let world = World::new();
    let mut rekindle = world.run(&idle());
    rekindle.wait_state("healthy");
    assert_eq!(rekindle.stop().0, 0);
    let whole = fs::read(world.path("state/state.json")).expect("it was written");
    fs::write(world.path("state/state.json"), &whole[..whole.len() / 2]).expect("writable");

    let mut rekindle = world.run(&idle());
    rekindle.wait_state("healthy");

    rekindle.wait_said(&[WARN, "state.json is torn", "state.json.bad"]);
    assert_eq!(rekindle.count(STARTS, "kind=\"first\""), 1, "it is remembered");
    assert_eq!(rekindle.count(STARTS, ""), 2);
    assert!(world.path("state/state.json.bad").exists());
    assert_eq!(rekindle.stop().0, 0);
}

#[test]
fn garbage_of_any_kind_costs_what_was_counted_and_never_the_start() {
    let future = r#"{"version":99,"state":{},"checksum":"0123456789abcdef"}"#;
    for (content, said) in [("", "is torn"), ("\u{0}\u{0}", "is torn"), (future, "another version")]
    {
        let world = World::new();
        fs::create_dir(world.path("state")).expect("a new directory");
        for name in ["state/state.json", "state/state.json.old"] {
            world.write(name, content);
        }

        let rekindle = world.run(&idle());
        rekindle.wait_state("healthy");

        rekindle.wait_said(&[WARN, "state.json ", said]);
        rekindle.wait_said(&[WARN, "state.json.old ", said]);
        assert_eq!(rekindle.status()["supervisor"]["start"], "crash", "there was an earlier run");
        rekindle.wait_said(&["how the last run ended is not known, its record could not be read"]);
        assert!(!rekindle.said(&["the last run was killed"]), "nobody knows that");
        wait_written(&world, |state| state["ending"] == "running");
    }
}

#[test]
fn a_full_and_a_read_only_disk_are_warned_about_and_written_again_when_they_can_be() {
    if !can_boot() {
        return;
    }
    let (world, port) = (World::new(), free_port());
    let state = world.at("state");
    fs::create_dir(&state).expect("a new directory");
    let mount = format!("mount -t tmpfs -o size=128k,mode=700 tmpfs {state}");
    let rekindle = in_namespaces(&world, &Config::demo(port), &mount);
    served_by(&rekindle, port);
    rekindle.wait_said(&[WARN, "lost with the sandbox", "tmpfs"]);
    assert_eq!(rekindle.count("rekindle_state_durable", ""), 0);
    let errors = || rekindle.count("rekindle_state_write_errors_total", "");

    for (round, fault, mend) in [
        (1, format!("head -c 1000000 /dev/zero > {state}/full; true"), format!("rm {state}/full")),
        (2, format!("mount -o remount,ro {state}"), format!("mount -o remount,rw {state}")),
    ] {
        // Filling a disk up ends with an error by its nature.
        inside(&world, &rekindle, &fault);
        let counted = errors();
        heal(&rekindle, port, round);
        rekindle.wait("it cannot be written", || errors() > counted);
        inside(&world, &rekindle, &mend);
        let again = || rekindle.lines_with("the state directory can be written again").len();
        rekindle.wait("it is written again", || again() == round);
        let warned = rekindle.lines_with("cannot write to the state directory").len();
        assert_eq!(warned, round, "each is said once");
    }
}

#[test]
fn a_directory_that_is_read_only_from_the_start_is_remembered_from_all_the_same() {
    if !can_boot() {
        return;
    }
    let world = World::new();
    let mut rekindle = world.run(&idle());
    rekindle.wait_state("healthy");
    assert_eq!(rekindle.stop().0, 0);
    let state = world.at("state");
    let mount = format!("mount --bind {state} {state} && mount -o remount,bind,ro {state} {state}");

    let rekindle = in_namespaces(&world, &idle(), &mount);
    rekindle.wait_state("healthy");

    assert_eq!(rekindle.status()["supervisor"]["start"], "clean");
    assert_eq!(rekindle.count("rekindle_state_durable", ""), 0);
    rekindle.wait_said(&[WARN, "nothing is remembered across runs"]);
    inside(&world, &rekindle, &format!("mount -o remount,bind,rw {state}"));
    rekindle.wait("it is written after all", || rekindle.count("rekindle_state_durable", "") == 1);
}

#[test]
fn after_a_power_cycle_the_first_launch_waits_for_its_share_and_after_a_crash_it_does_not() {
    if !can_boot() {
        return;
    }
    let world = World::new();
    let config = idle().with("boot_splay = \"4s\"");
    for (kind, boot) in [("first", "a"), ("crash", "a"), ("power_cycle", "b")] {
        let mut rekindle = on_host(&world, &config, boot, Duration::ZERO);
        let splay = rekindle.status()["supervisor"]["boot_splay"].clone();
        assert_eq!(splay.is_null(), kind != "power_cycle", "{splay}");
        if let Some(delay) = splay["delay_seconds"].as_f64() {
            let seed = splay["seed"].as_str().expect("text");
            rekindle.wait_said(&["share of boot_splay", seed]);
            rekindle.wait_state("healthy");
            let waited =
                number_of(&rekindle, "rekindle_downtime_seconds_total{cause=\"power_cycle\"}");
            assert!(waited >= delay, "{waited} {delay}");
        }
        rekindle.wait_state("healthy");
        rekindle.kill();
    }
}

#[test]
fn the_example_hook_clears_a_stale_lock_only_after_an_end_without_a_word() {
    let world = World::new();
    let hook = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples/boot-stale-lock.sh");
    let lock = world.at("lock");
    let config = idle()
        .with(&format!("boot_hook = \"{hook}\""))
        .with(&format!("env = {{ GATEWAY_LOCK = \"{lock}\" }}"));
    for (locked, end) in [(true, Signal::TERM), (true, Signal::KILL), (false, Signal::TERM)] {
        world.write("lock", "1");
        let mut rekindle = world.run(&config);
        rekindle.wait_state("healthy");
        assert_eq!(world.path("lock").exists(), locked, "{}", rekindle.story());
        rekindle.signal(end);
        rekindle.wait_exit();
    }
}

#[test]
fn an_id_that_may_have_come_with_the_image_is_warned_about_by_check() {
    if !can_boot() {
        return;
    }
    let world = World::new();
    for name in ["image", "own", "work", "state"] {
        fs::create_dir(world.path(name)).expect("a new directory");
    }
    world.write("image/instance", "whatever");
    let at = |name| world.at(name);
    let (state, image, own, work) = (at("state"), at("image"), at("own"), at("work"));
    let overlay = format!("lowerdir={image},upperdir={own},workdir={work}");
    for (mount, warned) in [
        ("true".to_owned(), false),
        (format!("mount --bind {image} {state}"), false),
        (format!("mount -t overlay overlay -o {overlay} {state}"), true),
    ] {
        let mut command = world.command("unshare");
        let script = format!("{mount} && {REKINDLE} check -- sleep 1");
        command.args(["--mount", "sh", "-c", &script]);
        let mut check = world.start(command);
        assert_eq!(check.wait_exit(), 0, "{mount}");
        let output = String::from_utf8(check.output()).expect("text");
        let said = format!("warning: {state}/instance is in the container's own layer");
        assert_eq!(output.contains(&said), warned, "{output}");
    }
}

/// Supervises something that does nothing and is healthy at once.
fn idle() -> Config {
    Config::script("exec sleep 1000").with("settle = \"1ms\"")
}

fn can_boot() -> bool {
    is_root("a host of its own") && has_tool("unshare") && has_tool("nsenter")
}

/// Starts it on a host that booted `up_for` ago and calls that `boot`.
fn on_host<'w>(world: &'w World, config: &Config, boot: &str, up_for: Duration) -> Rekindle<'w> {
    let boot_id = world.write("boot_id", &format!("{boot}\n"));
    let booted = (since_1970() - up_for.as_secs_f64()).floor();
    let stat = world.write("stat", &format!("btime {booted}\n"));
    let mount = format!(
        "mount --bind {boot_id} /proc/sys/kernel/random/boot_id && mount --bind {stat} /proc/stat"
    );
    in_namespaces(world, config, &mount)
}

/// Starts it in a mount and a PID namespace of its own, after `mount` was done there.
fn in_namespaces<'w>(world: &'w World, config: &Config, mount: &str) -> Rekindle<'w> {
    let run = world.prepare(config);
    let mut command = world.command("unshare");
    command.args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c"]);
    command.arg(format!("{mount} && exec {REKINDLE} \"$@\"")).arg("rekindle");
    command.args(run.get_args());
    let mut rekindle = world.start(command);
    rekindle.wait_up();
    let init = processes::children(rekindle.pid()).first().copied().expect("unshare has forked");
    rekindle.is_really(init);
    rekindle
}

/// Runs a shell command in the namespaces of `rekindle`.
fn inside(world: &World, rekindle: &Rekindle<'_>, script: &str) {
    let mut command = world.command("nsenter");
    command.args(["--target", &rekindle.pid().to_string(), "--mount", "sh", "-c", script]);
    assert_eq!(world.start(command).wait_exit(), 0, "{script}");
}

fn has_settled(rekindle: &Rekindle<'_>) -> bool {
    let status = rekindle.status();
    status["services"][0]["healthy"] == true && status["services"][0]["outage"].is_null()
}

fn heal(rekindle: &Rekindle<'_>, port: u16, count: usize) {
    get(port, "/fault?mode=crash").expect("the demo gateway takes the order");
    rekindle.wait("it has healed", || {
        rekindle.restarts("signal") == count as u64 && rekindle.state() == "healthy"
    });
}

/// What the state file holds.
fn written(world: &World) -> serde_json::Value {
    let mut file = serde_json::Value::Null;
    // While it is being replaced it is not there for a moment.
    wait_until("there is a state file", || {
        file = serde_json::from_str(&world.read("state/state.json")).unwrap_or_default();
        file.is_object()
    });
    file["state"].clone()
}

fn wait_written(world: &World, holds: impl Fn(&serde_json::Value) -> bool) {
    wait_until("the state is written", || holds(&written(world)));
}

/// The value of the only series of a family, or of the one with this one label besides `service`.
fn number_of(rekindle: &Rekindle<'_>, series: &str) -> f64 {
    let page = rekindle.get("/metrics").expect("/metrics answers").body;
    let (name, label) = series.trim_end_matches('}').split_once('{').unwrap_or((series, ""));
    let sample = |line: &&str| {
        let is_named = line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        is_named && line.contains(label)
    };
    let line = page.lines().find(sample).unwrap_or_else(|| panic!("no {series} on\n{page}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

/// What the wall clock shows, in seconds.
fn since_1970() -> f64 {
    wall_time().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64()
}
