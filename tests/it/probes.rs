//! The other kinds of probe heal as well: exec, tcp, file, and HTTP through a unix socket.

use rustix::process::Signal;

use crate::crash::served_by;
use crate::support::http::free_port;
use crate::support::{Config, Rekindle, World, get, processes, stub};

#[test]
fn an_exec_probe_heals() {
    let world = World::new();
    let well = world.at("well");
    let config = Config::script(&format!("touch {well}; exec sleep 1000"))
        .probing(&format!("exec = [\"test\", \"-e\", \"{well}\"]"));
    let rekindle = world.run(&config);
    rekindle.wait_state("healthy");

    std::fs::remove_file(&well).expect("the child made it");

    healed(&rekindle, "exit");
}

#[test]
fn an_exec_probe_whose_program_is_missing_harms_nobody() {
    let world = World::new();
    let config = Config::script("exec sleep 1000").with(
        r#"
        settle = "100ms"
        probe.startup.exec = ["true"]
        probe.startup.period = "100ms"
        probe.liveness.exec = ["/no/such/probe"]
        probe.liveness.period = "100ms"
        probe.liveness.failure_threshold = 1
        "#,
    );
    let rekindle = world.run(&config);
    rekindle.wait_state("healthy");

    rekindle.wait("it is tried", || rekindle.probes("liveness", "inconclusive") >= 15);

    assert_eq!(rekindle.state(), "healthy");
    assert_eq!(rekindle.all_restarts(), 0);
    rekindle.wait_said(&["probe_missing"]);
}

#[test]
fn a_tcp_probe_heals() {
    let (world, port) = (World::new(), free_port());
    let gateway = port.to_string();
    let gateway = [crate::support::REKINDLE, "demo-gateway", "--port", &gateway];
    let probe = format!("tcp = \"127.0.0.1:{port}\"");
    let rekindle = world.run(&Config::command(&gateway).probing(&probe));
    served_by(&rekindle, port);

    get(port, "/fault?mode=close").expect("the demo gateway takes the order");

    healed(&rekindle, "refused");
}

#[test]
fn a_file_whose_heartbeat_stops_heals() {
    let world = World::new();
    let beat = world.at("beat");
    let script =
        format!("echo $$ > {}; while :; do touch {beat}; sleep 0.1; done", world.at("pid"));
    let config = Config::script(&script)
        .probing(&format!("file = \"{beat}\""))
        .with("probe.startup.within = \"2s\"")
        .with("probe.liveness.within = \"2s\"");
    let rekindle = world.run(&config);
    rekindle.wait_state("healthy");

    processes::send(world.number("pid").expect("the child's pid"), Signal::STOP);

    healed(&rekindle, "timeout");
}

#[test]
fn an_http_probe_through_a_unix_socket_heals() {
    let world = World::new();
    let socket = world.at("health.sock");
    let config = stub::config(&world, &socket, "200 ok")
        .probing("http = \"http://localhost/health\"")
        .with(&format!("probe.startup.unix_socket = \"{socket}\""))
        .with(&format!("probe.liveness.unix_socket = \"{socket}\""));
    let rekindle = world.run(&config);
    rekindle.wait_state("healthy");

    world.write("answers", "500 no\n500 no\n200 ok");

    healed(&rekindle, "bad_status");
}

fn healed(rekindle: &Rekindle<'_>, result: &str) {
    rekindle.wait_restarts("probe_failed", 1);
    rekindle.wait_state("healthy");
    assert!(rekindle.probes("liveness", result) >= 1, "{}", rekindle.story());
    assert_eq!(rekindle.all_restarts(), 1);
}
