//! The drill of a service that runs: who may order it, what is refused, and what is told meanwhile.

use serde_json::Value;

use crate::drill::{drill, mark, start};
use crate::status_command::status;
use crate::support::http::{self, free_port};
use crate::support::{Config, REKINDLE, Rekindle, World, get, has_tool, is_root};

/// A healthy supervised gateway that may be drilled where it runs.
fn running<'w>(world: &'w World, config: &Config) -> (Rekindle<'w>, Value) {
    let rekindle = world.run(config);
    rekindle.wait("it is healthy, and that has lasted", || {
        let service = &rekindle.status()["services"][0];
        service["state"] == "healthy" && service["outage"].is_null()
    });
    let child = rekindle.status()["services"][0]["pid"].clone();
    (rekindle, child)
}

#[test]
fn a_running_service_is_broken_and_healed_on_order_and_that_is_no_incident() {
    let (world, port) = (World::new(), free_port());
    let (rekindle, _) = running(&world, &Config::demo(port).supervisor("drills = true"));

    let told = drill(&world, &["--live", "it", "--yes", "--output", "json"]);
    assert_eq!(told.code, 0, "{}{}{}", told.text, told.errors, rekindle.story());
    let document: Value = serde_json::from_str(&told.text).expect("a document");
    assert_eq!(document["done_in"], "running_service");
    let [killed, hang] = &document["scenarios"].as_array().expect("a list")[..] else {
        panic!("two can be done to a running service: {}", told.text)
    };
    assert_eq!((&killed["name"], &hang["name"]), (&"killed".into(), &"hang".into()));
    assert!(mark(hang, "first_failed_probe") <= mark(hang, "detected"));

    assert_eq!(rekindle.count("rekindle_drills_total", "result=\"success\""), 2);
    assert_eq!(rekindle.count("rekindle_drills_total", ""), 2);
    assert_eq!(rekindle.count("rekindle_drill_active", ""), 0);
    assert_eq!(rekindle.count("rekindle_last_drill_success", ""), 1);
    assert_eq!(rekindle.count("rekindle_incidents_total", ""), 0);
    assert_eq!((rekindle.restarts("signal"), rekindle.restarts("probe_failed")), (1, 1));
    assert!(rekindle.status()["services"][0]["last_incident"].is_null());
    assert_eq!(rekindle.status()["services"][0]["counts"]["incidents"], 0);
}

#[test]
fn a_running_service_is_not_broken_unless_its_configuration_and_somebody_say_so() {
    let (world, port) = (World::new(), free_port());
    let (rekindle, child) = running(&world, &Config::demo(port));

    let told = drill(&world, &["--live", "it", "--yes", "--scenario", "killed"]);
    assert_eq!(told.code, 1, "{}", told.text);
    let why = "cannot drill it (killed): drills are not allowed: set drills = true";
    assert!(told.errors.contains(why), "{}", told.errors);

    let told = drill(&world, &["--live", "it"]);
    assert_eq!(told.code, 2, "{}", told.text);
    assert!(told.errors.contains("nobody was asked"), "{}", told.errors);

    let told = drill(&world, &["--live", "it", "--yes", "--scenario", "power-cycle"]);
    assert_eq!(told.code, 2, "{}", told.errors);

    assert_eq!(rekindle.status()["services"][0]["pid"], child);
    assert_eq!(rekindle.all_restarts(), 0);
}

#[test]
fn orders_come_through_the_control_socket_one_at_a_time_and_never_through_the_port() {
    let (world, port, listen) = (World::new(), free_port(), free_port());
    let config = Config::demo(port).supervisor("drills = true").listen(listen);
    let (rekindle, child) = running(&world, &config);
    let order = |path: &str| {
        let answer = http::post_unix(&world.path("run/control.sock"), path).expect("an answer");
        (answer.status, answer.body)
    };

    for method in ["POST", "GET"] {
        let status = http::request(listen, method, "/drill?killed").expect("an answer").status;
        assert_eq!(status, 404);
    }
    assert_eq!(order("/drill?reboot").0, 400);
    assert_eq!(order("/drill").0, 400);
    assert_eq!(rekindle.get("/drill?killed").expect("an answer").status, 200, "it may be");
    assert_eq!(rekindle.status()["services"][0]["pid"], child);

    assert_eq!(order("/drill?hang").0, 202);
    rekindle.wait("the drill is on", || rekindle.count("rekindle_drill_active", "") == 1);
    assert_eq!(order("/drill?killed"), (409, "another drill is not over\n".to_owned()));
    rekindle.wait("it is over", || rekindle.count("rekindle_drill_active", "") == 0);
    assert_eq!(rekindle.all_restarts(), 1);
}

#[test]
fn a_hang_that_nobody_would_notice_is_not_made() {
    let world = World::new();
    let config = Config::script("exec sleep 1000").supervisor("drills = true");
    let (rekindle, _) = running(&world, &config);
    let answer = http::post_unix(&world.path("run/control.sock"), "/drill?hang").expect("answer");
    assert_eq!(
        (answer.status, &*answer.body),
        (409, "nobody would notice a hang: there is no liveness probe\n")
    );
    assert_eq!(rekindle.all_restarts(), 0);
}

#[test]
fn a_fault_that_would_end_the_run_is_refused() {
    let never = "restart = \"never\"";
    let stop = "on_exit = [{ codes = [137], action = \"stop\" }]";
    let spent = "max_restarts = 1\nwindow = \"1h\"\non_exhausted = \"exit\"";
    for (policy, fault, allowed, why) in [
        (never, "killed", false, "restart = \"never\""),
        (never, "hang", false, "restart = \"never\""),
        (stop, "killed", false, "its code 137 has an on_exit rule with action = \"stop\""),
        (stop, "hang", true, ""),
        (spent, "killed", true, ""),
        (spent, "killed", false, "its restarts are spent, and on_exhausted = \"exit\""),
    ] {
        let (world, port) = (World::new(), free_port());
        let config = Config::demo(port).supervisor("drills = true").with(policy);
        let (rekindle, child) = running(&world, &config);
        if (policy, allowed) == (spent, false) {
            get(port, "/fault?mode=crash").expect("it takes the order");
            rekindle.wait("it has healed for good", || {
                let service = &rekindle.status()["services"][0];
                service["pid"] != child && service["outage"].is_null()
            });
        }
        let child = rekindle.status()["services"][0]["pid"].clone();
        let told = drill(&world, &["--live", "it", "--yes", "--scenario", fault]);
        let refused = format!(
            "cannot drill it ({fault}): it would end the run instead of being healed: {why}"
        );
        assert_eq!(told.code, i32::from(!allowed), "{policy}: {}{}", told.text, told.errors);
        assert_eq!(told.errors.contains(&refused), !allowed, "{policy}: {}", told.errors);
        let same = rekindle.status()["services"][0]["pid"] == child;
        assert_eq!(same, !allowed, "{policy}: nothing is broken where it is refused");
    }
}

#[test]
fn permission_is_asked_for_before_a_healthy_service_is_waited_for() {
    let (world, port) = (World::new(), free_port());
    let config = Config::demo_with(port, &["--slow-start", "3s"]);
    let rekindle = world.run(&config);
    rekindle.wait_state("starting");
    let told = drill(&world, &["--live", "it", "--yes", "--scenario", "killed"]);
    assert_eq!((told.code, rekindle.state().as_str()), (1, "starting"), "{}", told.errors);
    drop(rekindle);

    let rekindle = world.run(&config.supervisor("drills = true"));
    rekindle.wait_state("starting");
    let told = drill(&world, &["--live", "it", "--yes", "--scenario", "killed"]);
    assert_eq!(told.code, 0, "{}{}", told.text, told.errors);
    assert!(told.errors.contains("waiting up to 2m for it to be healthy for good: starting"));
}

#[test]
fn a_supervisor_that_ends_meanwhile_is_told_in_words() {
    let (world, port) = (World::new(), free_port());
    let config = Config::demo_with(port, &["--slow-start", "10s"]).supervisor("drills = true");
    let mut rekindle = world.run(&config);
    rekindle.wait_state("starting");
    let mut drill = start(&world, &["--live", "it", "--yes", "--scenario", "killed"]);
    drill.wait_said(&["waiting up to 2m"]);
    rekindle.stop();
    assert_eq!(drill.wait_exit(), 1);
    let text = String::from_utf8(drill.output()).expect("UTF-8");
    assert!(text.contains("the supervisor has ended"), "{text}{}", drill.log());
}

#[test]
fn a_running_drill_is_seen_in_the_status() {
    let (world, port) = (World::new(), free_port());
    let (rekindle, _) = running(&world, &Config::demo(port).supervisor("drills = true"));
    let mut drill = start(&world, &["--live", "it", "--yes", "--scenario", "hang"]);
    rekindle.wait("the drill is on", || rekindle.count("rekindle_drill_active", "") == 1);
    let (_, table) = status(&world, &[]);
    assert!(table.contains("  drill      hang, 20"), "{table}");
    assert_eq!(drill.wait_exit(), 0, "{}", drill.log());
    assert!(!status(&world, &[]).1.contains("  drill"), "it is over");
}

#[test]
fn an_instance_with_its_socket_beside_its_state_is_found_and_drilled() {
    if !(is_root("a mount namespace") && has_tool("unshare")) {
        return;
    }
    let (world, port) = (World::new(), free_port());
    let file = world.write("own.toml", &Config::demo(port).supervisor("drills = true").text());
    // A file in the way: there is no `/run/rekindle` for anybody.
    let script = r#"
        mount -t tmpfs none /run && touch /run/rekindle || exit 99
        unset RUNTIME_DIRECTORY STATE_DIRECTORY
        "$0" run --config "$1" --state-dir mine & supervisor=$!
        until "$0" status --state-dir mine | grep "nothing, as long"; do sleep 0.05; done
        "$0" drill --live it --yes --scenario killed --state-dir mine
        echo "code $?"
        REKINDLE_STATE_DIR=mine "$0" drill --live it --yes --scenario killed
        echo "code $?"
        kill $supervisor; wait $supervisor
    "#;
    let mut command = world.command("unshare");
    command.args(["--mount", "sh", "-c", script, REKINDLE, &file]);
    let mut all = world.start(command);
    assert_eq!(all.wait_exit(), 0, "{}", all.log());
    let said = String::from_utf8(all.output()).expect("UTF-8");
    assert_eq!(said.matches("code 0").count(), 2, "{said}{}", all.log());
}
