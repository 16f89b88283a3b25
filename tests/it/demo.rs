//! The first thing a newcomer does: run `config/demo.toml`, break it, see it heal. And without a
//! file at all, with flags.

use crate::crash::served_by;
use crate::support::http::free_port;
use crate::support::rekindle::DEBUG;
use crate::support::{REKINDLE, World, get};

#[test]
fn the_demo_heals_each_fault_that_the_readme_names() {
    let (world, port, listen) = (World::new(), free_port(), free_port());
    let root = env!("CARGO_MANIFEST_DIR");
    let text = std::fs::read_to_string(format!("{root}/config/demo.toml")).expect("the demo");
    // The same file on ports of this test's own.
    let text = text.replace("18789", &port.to_string()).replace("7354", &listen.to_string());
    let file = world.write("demo.toml", &text);
    std::fs::copy(format!("{root}/config/demo-boot.sh"), world.path("demo-boot.sh"))
        .expect("the demo's hook");
    let mut command = world.command(REKINDLE);
    command.args(["run", "--config", &file]);
    let rekindle = world.start(command);
    rekindle.wait_up();
    served_by(&rekindle, port);

    for (mode, reason) in [
        ("hang", "probe_failed"),
        ("500", "probe_failed"),
        ("wrong-body", "probe_failed"),
        ("crash", "signal"),
        ("exit&code=3", "exit"),
        ("orphan", "exit"),
    ] {
        let (before, restarts) = (served_by(&rekindle, port), rekindle.restarts(reason));
        get(port, &format!("/fault?mode={mode}")).expect("the demo gateway takes the order");
        rekindle.wait_restarts(reason, restarts + 1);
        assert_ne!(before, served_by(&rekindle, port), "{mode}");
    }

    assert_eq!(rekindle.hooks("success"), 7);
    for path in ["/metrics", "/livez", "/readyz", "/status"] {
        assert_eq!(get(listen, path).expect("an answer").status, 200, "{path}");
    }
}

#[test]
fn flags_are_enough() {
    let (world, port) = (World::new(), free_port());
    let url = format!("http://127.0.0.1:{port}/health");
    let port_text = port.to_string();
    let mut command = world.command(REKINDLE);
    command
        .args(["run", "--health", &url, "--no-boot-hook", "--period", "100ms", "--listen", "off"])
        .args(["--", REKINDLE, "demo-gateway", "--port", &port_text]);
    let rekindle = world.start(command);
    rekindle.wait_up();

    rekindle.wait_state("healthy");
    get(port, "/fault?mode=crash").expect("the demo gateway takes the order");
    rekindle.wait_restarts("signal", 1);
    rekindle.wait_state("healthy");
}

#[test]
fn a_flag_beats_the_environment_and_the_environment_beats_the_file() {
    let (world, port) = (World::new(), free_port());
    let config = crate::support::Config::script("exec sleep 1000").listen(free_port());
    let mut command = world.prepare(&config);
    command.args(["--listen", &format!("127.0.0.1:{port}")]);
    command.env("REKINDLE_LISTEN", "off").env("REKINDLE_LOG_LEVEL", "info");
    let rekindle = world.start(command);
    rekindle.wait_up();

    rekindle.wait("the flag's port answers", || get(port, "/livez").is_ok());
    assert!(rekindle.lines_with(DEBUG).is_empty(), "the environment's log level holds");
}
