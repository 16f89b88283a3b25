//! Each outage leaves one record: what broke, what was seen of it, what was done, and no secrets.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::crash::served_by;
use crate::support::http::{free_port, say_that_all_is_well};
use crate::support::rekindle::WARN;
use crate::support::{Config, REKINDLE, Rekindle, World, get, processes, schema};

/// The demo gateway, which says something before it serves, a secret included.
fn talking(port: u16) -> Config {
    let script = format!(
        "echo starting; echo password=hunter2 >&2; exec {REKINDLE} demo-gateway --port {port}"
    );
    Config::demo(port).with(&format!("command = [\"/bin/sh\", \"-c\", {script:?}]"))
}

/// The records that are written, each of which fits the schema.
fn records(world: &World) -> Vec<Value> {
    let schema = serde_json::from_str(include_str!("../../docs/incident.schema.json"));
    let schema = schema.expect("the schema is JSON");
    let lines = world.lines("state/incidents.jsonl");
    let records: Vec<_> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for record in &records {
        schema::fit(&schema, record).unwrap_or_else(|why| panic!("{why}: {record}"));
    }
    records
}

fn wait_for_records(world: &World, rekindle: &Rekindle<'_>, count: usize) -> Vec<Value> {
    rekindle.wait(&format!("{count} records are written"), || records(world).len() >= count);
    records(world)
}

/// Healthy, and not only for a moment: what breaks from now on is a new outage.
pub(crate) fn settled(rekindle: &Rekindle<'_>) {
    rekindle.wait("it is healthy, and that has lasted", || {
        let service = &rekindle.status()["services"][0];
        service["state"] == "healthy" && service["outage"].is_null()
    });
}

fn steps(record: &Value) -> Vec<&str> {
    let steps = record["timeline"].as_array().expect("a list");
    steps.iter().map(|step| step["what"].as_str().expect("a word")).collect()
}

fn after(record: &Value, what: &str) -> f64 {
    let steps = record["timeline"].as_array().expect("a list");
    let step = steps.iter().find(|step| step["what"] == what).expect("such a step");
    step["after_seconds"].as_f64().expect("a number")
}

/// The exit code, stdout and stderr of `rekindle incidents`.
pub(crate) fn incidents(world: &World, arguments: &[&str]) -> (i32, String, String) {
    let mut command = world.command(REKINDLE);
    command.arg("incidents").args(arguments);
    let mut shown = world.start(command);
    (shown.wait_exit(), String::from_utf8_lossy(&shown.output()).into_owned(), shown.log())
}

#[test]
fn a_crash_leaves_a_record_with_all_that_happened_and_no_secret() {
    let (world, port) = (World::new(), free_port());
    let hook = world.write("boot.sh", "echo api_key: hunter2; echo mounted");
    let rekindle = world.run(&talking(port).with(&format!("boot_hook = \"{hook}\"")));
    settled(&rekindle);

    get(port, "/fault?mode=crash").expect("the demo gateway takes the order");

    let [record] = &wait_for_records(&world, &rekindle, 1)[..] else { panic!("one record") };
    assert_eq!((&record["cause"], &record["service"]), (&"crash".into(), &"gateway".into()));
    assert_eq!(record["exit"]["code"], 134, "{record}");
    // Whether it waits depends on how long it had been healthy.
    let steps: Vec<_> = steps(record).into_iter().filter(|step| *step != "waiting").collect();
    let story = ["broke", "detected", "gone", "hook", "hook_ended", "started", "passed", "settled"];
    assert_eq!(steps, story, "{record}");
    assert_eq!((&record["end"]["how"], &record["attempts"]), (&"healed".into(), &1.into()));
    let healed = record["end"]["after_seconds"].as_f64().expect("a number");
    assert!((healed - after(record, "passed")).abs() < 0.002, "{record}");
    let output = record["output"].as_str().expect("text");
    assert!(output.starts_with("starting\n") || output.contains("\nstarting\n"), "{output}");
    assert!(output.contains("password=[masked]\n"), "{output}");
    assert_eq!(record["hooks"][0]["result"], "success");
    assert_eq!(record["hooks"][0]["output"], "api_key: [masked]\nmounted\n");
    let probes = record["probes"].as_array().expect("a list");
    assert!(probes.iter().any(|probe| probe["after_seconds"].as_f64() < Some(0.0)), "{record}");
    assert!(!world.read("state/incidents.jsonl").contains("hunter2"));
    assert!(!rekindle.status().to_string().contains("hunter2"));
}

#[test]
fn the_last_words_of_a_child_that_is_killed_are_in_its_record() {
    let world = World::new();
    let script = "sleep 0.6; i=0; while [ $i -lt 9000 ]; do echo line $i of many; i=$((i+1)); done; \
                  kill -9 $$";
    let mut rekindle = world.run(&Config::script(script).with("restart = \"never\""));

    assert_eq!(rekindle.wait_exit(), 137);

    let [record] = &records(&world)[..] else { panic!("one record: {}", rekindle.story()) };
    assert_eq!(record["end"]["how"], "ended");
    let output = record["output"].as_str().expect("text");
    assert!(output.ends_with("line 8999 of many\n"), "{}", &output[output.len() - 100..]);
    assert!(output.starts_with("line ") && output.len() > 60_000, "{}", output.len());
}

#[test]
fn a_hang_and_a_sickness_leave_what_the_probes_saw() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&Config::demo(port));
    for (count, mode) in [(1, "hang"), (2, "500")] {
        settled(&rekindle);
        get(port, &format!("/fault?mode={mode}")).expect("the demo gateway takes the order");
        wait_for_records(&world, &rekindle, count);
    }

    let [hang, sick] = &records(&world)[..] else { panic!("two records") };
    for (record, result, least) in [(hang, "timeout", 0.9), (sick, "bad_status", 0.0)] {
        assert_eq!((&record["cause"], &record["exit"]), (&"unhealthy".into(), &Value::Null));
        assert!(steps(record).starts_with(&["broke", "detected", "stopping"]), "{record}");
        assert!(record["detected_after_seconds"].as_f64() > Some(least), "{record}");
        let probes = record["probes"].as_array().expect("a list");
        let failed: Vec<_> = probes.iter().filter(|probe| probe["result"] == result).collect();
        assert!(failed.len() >= 2, "{record}");
        let said = failed[0]["body"].as_str().expect("text");
        assert_eq!(!said.is_empty(), result == "bad_status", "{record}");
    }
}

#[test]
fn a_hook_that_fails_is_told_while_it_lasts_and_when_somebody_gives_up() {
    let (world, port) = (World::new(), free_port());
    let hook =
        format!("[ ! -e {} ] || {{ echo no disk, token=hunter2; exit 3; }}", world.at("bad"));
    let hook = world.write("boot.sh", &hook);
    let mut rekindle = world.run(&talking(port).with(&format!("boot_hook = \"{hook}\"")));
    settled(&rekindle);
    world.write("bad", "");
    get(port, "/fault?mode=exit&code=7").expect("the demo gateway takes the order");
    rekindle.wait("it has failed twice", || rekindle.hooks("failure") >= 2);

    let incident = || rekindle.status()["services"][0]["incident"].clone();
    rekindle.wait("it is shown", || !incident().is_null());
    let summary = "it exited with code 7; not healed yet";
    assert_eq!(incident()["summary"], summary);
    let (code, table, _) = incidents(&world, &[]);
    assert_eq!((code, table.starts_with("no incidents are recorded in ")), (0, true), "{table}");
    rekindle.stop();

    let [record] = &records(&world)[..] else { panic!("one record") };
    assert_eq!(record["end"]["how"], "stopped");
    let run = &record["hooks"][0];
    assert_eq!((&run["result"], &run["detail"]), (&"failure".into(), &"code 3".into()));
    assert_eq!(run["output"], "no disk, token=[masked]\n");
    assert!(record["attempts"].as_u64() >= Some(2), "{record}");
}

#[test]
fn who_holds_the_port_is_in_the_record() {
    let (world, port) = (World::new(), free_port());
    let mut rekindle = world.run(&Config::demo(port).with("startup_timeout = \"2s\""));
    settled(&rekindle);
    get(port, "/fault?mode=close&seconds=60").expect("the demo gateway takes the order");
    rekindle.wait("the port is taken over", || TcpListener::bind(("127.0.0.1", port)).is_ok());
    say_that_all_is_well(port);
    rekindle.wait_state("slow_retry");
    rekindle.stop();

    let [record] = &records(&world)[..] else { panic!("one record") };
    assert_eq!(record["port_holder"]["pid"], std::process::id());
    let detail = record.to_string();
    assert!(detail.contains(&format!("by pid {}, waiting", std::process::id())), "{detail}");
}

#[test]
fn a_supervisor_that_was_killed_and_a_drill_have_records_that_say_so() {
    let (world, port) = (World::new(), free_port());
    let config = Config::demo(port).supervisor("drills = true");
    let mut first = world.run(&config);
    settled(&first);
    first.kill();
    let rekindle = world.run(&config);
    settled(&rekindle);
    let mut drill = world.command(REKINDLE);
    drill.args(["drill", "--live", "it", "--yes", "--scenario", "killed"]);
    assert_eq!(world.start(drill).wait_exit(), 0);

    let records = wait_for_records(&world, &rekindle, 2);
    let causes: Vec<_> = records.iter().map(|record| &record["cause"]).collect();
    assert_eq!(causes, ["supervisor", "drill"]);
    assert_eq!(
        records[0]["summary"].as_str().map(|text| text.split(';').next()),
        Some(Some("rekindle itself was killed"))
    );
    assert!(records[1]["summary"].as_str().expect("text").starts_with("a drill: it was killed by"));
    assert!(records[0]["id"].as_str() < records[1]["id"].as_str());
}

#[test]
fn what_a_power_cut_has_torn_is_left_behind_and_a_full_file_is_put_aside() {
    let (world, port) = (World::new(), free_port());
    fs::create_dir_all(world.path("state")).expect("a directory");
    let whole = r#"{"format":1,"id":"20250101-000000-000-0000","cause":"crash"}"#;
    let torn = &whole[..40];
    world.write("state/incidents.jsonl", &format!("{whole}\n{torn}"));
    private(&world);
    let rekindle = world.run(&Config::demo(port));
    let crash = |count| {
        settled(&rekindle);
        get(port, "/fault?mode=crash").expect("the demo gateway takes the order");
        rekindle.wait_restarts("signal", count);
        settled(&rekindle);
    };
    crash(1);
    rekindle.wait("it is written", || world.lines("state/incidents.jsonl").len() == 3);
    assert_eq!(world.lines("state/incidents.jsonl")[..2], [whole, torn]);

    world.write("state/incidents.jsonl", &format!("{whole}\n").repeat(20_000));
    private(&world);
    crash(2);
    rekindle.wait("it is put aside", || world.path("state/incidents.1.jsonl").exists());
    rekindle.wait("it is written", || world.lines("state/incidents.jsonl").len() == 1);
    let (code, lines, _) = incidents(&world, &["--json"]);
    assert_eq!((code, lines.lines().count()), (0, 2), "each once, from both files: {lines}");
}

/// As the file would be, had we written it.
fn private(world: &World) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = world.path("state/incidents.jsonl");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("chmod");
}

#[test]
fn a_disk_that_is_full_costs_a_warning_and_no_record() {
    let (world, port) = (World::new(), free_port());
    let state = world.at("state");
    fs::create_dir_all(&state).expect("a directory");
    let mount = format!("mount -t tmpfs -o size=128k,mode=700 tmpfs {state}");
    let Some(command) = world.remounted(&mount, &world.prepare(&Config::demo(port))) else {
        return;
    };
    let rekindle = world.start(command);
    rekindle.wait_up();
    settled(&rekindle);
    let inside = format!("/proc/{}/root{state}", rekindle.pid());
    let filler = format!("{inside}/filler");
    let is_full = || {
        let mut filler = OpenOptions::new().create(true).append(true).open(&filler);
        filler.as_mut().map_or(true, |filler| filler.write_all(&vec![0; 1024 * 1024]).is_err())
    };
    // A state that is being written leaves some room when it is done.
    rekindle.wait("the disk stays full", || {
        is_full();
        thread::sleep(Duration::from_millis(100));
        is_full() && fs::metadata(&filler).is_ok()
    });

    get(port, "/fault?mode=crash").expect("the demo gateway takes the order");
    rekindle.wait_said(&[WARN, "cannot write incidents.jsonl", "o space left"]);
    settled(&rekindle);
    assert!(rekindle.count("rekindle_state_write_errors_total", "") >= 1);
    fs::remove_file(filler).expect("it is ours");
    get(port, "/fault?mode=crash").expect("the demo gateway takes the order");

    let lines = || fs::read_to_string(format!("{inside}/incidents.jsonl")).unwrap_or_default();
    rekindle.wait("both are written", || lines().lines().count() == 2);
    let whole = lines().lines().all(|line| serde_json::from_str::<Value>(line).is_ok());
    assert!(whole, "{}", lines());
}

#[test]
fn without_a_place_to_write_the_last_ones_are_shown_all_the_same() {
    let (world, port) = (World::new(), free_port());
    world.write("file", "");
    let mut command = world.prepare(&Config::demo(port));
    command.env("STATE_DIRECTORY", world.path("file/state"));
    let rekindle = world.start(command);
    rekindle.wait_up();
    settled(&rekindle);
    let first = served_by(&rekindle, port);
    processes::send(first, Signal::KILL);
    let incident = || rekindle.status()["services"][0]["incident"].clone();
    rekindle.wait("it is shown while it lasts", || !incident().is_null());
    settled(&rekindle);
    rekindle.wait("it is over", || incident().is_null());
    rekindle.wait_said(&["nothing is remembered across runs"]);
}

#[test]
fn the_command_shows_a_table_one_in_full_and_lines_for_programs() {
    let (world, port) = (World::new(), free_port());
    let mut rekindle = world.run(&talking(port));
    for (count, fault) in [(1, "mode=crash"), (2, "mode=exit&code=7")] {
        settled(&rekindle);
        get(port, &format!("/fault?{fault}")).expect("the demo gateway takes the order");
        wait_for_records(&world, &rekindle, count);
    }
    rekindle.stop();

    let (code, table, _) = incidents(&world, &[]);
    let lines: Vec<_> = table.lines().collect();
    assert_eq!((code, lines.len()), (0, 3), "{table}");
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{table}");
    assert!(lines[1].contains("crash") && lines[2].contains("exited with code 7"), "{table}");
    assert_eq!(incidents(&world, &["--last", "1"]).1.lines().count(), 2);

    let (code, json, _) = incidents(&world, &["--json"]);
    let written = records(&world);
    let printed: Vec<Value> =
        json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((code, &printed), (0, &written));

    let id = written[1]["id"].as_str().expect("text");
    let (code, page, _) = incidents(&world, &["last"]);
    assert_eq!(code, 0);
    for part in ["it exited with code 7", "\ntimeline\n", "  | password=[masked]", id] {
        assert!(page.contains(part), "{part}: {page}");
    }
    for name in [id, &id[..id.len() - 1], &id[id.len() - 4..]] {
        assert_eq!(incidents(&world, &[name]).1, page, "{name}");
    }
    let (code, _, error) = incidents(&world, &["20"]);
    assert!(code == 2 && error.contains("several incidents are called 20: "), "{error}");
    let (code, _, error) = incidents(&world, &["nonsense"]);
    assert!(code == 1 && error.contains("cannot find incident nonsense in "), "{error}");
    let (code, _, error) = incidents(&world, &["--state-dir", "/nowhere"]);
    assert!(code == 1 && error.starts_with("rekindle: cannot read /nowhere: "), "{error}");
}

#[test]
fn a_pattern_of_the_configuration_is_masked_and_a_bad_one_refused() {
    let (world, port) = (World::new(), free_port());
    let config = talking(port).supervisor(r#"mask = ["start[a-z]+"]"#);
    let rekindle = world.run(&config);
    settled(&rekindle);
    get(port, "/fault?mode=crash").expect("the demo gateway takes the order");
    let records = wait_for_records(&world, &rekindle, 1);
    let output = records[0]["output"].as_str().expect("text");
    assert!(output.contains("[masked]\n") && !output.contains("starting"), "{output}");

    let bad = talking(free_port()).supervisor(r#"mask = ["fine", "("]"#);
    let mut refused = world.start(world.prepare(&bad));
    assert_eq!(refused.wait_exit(), 78);
    assert!(refused.log().contains(".toml:"), "{}", refused.log());
    assert!(
        refused.log().contains("supervisor.mask has a pattern that is not"),
        "{}",
        refused.log()
    );
}
