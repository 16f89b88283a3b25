//! `/livez`, `/readyz`, `/metrics` and `/status` answer in every state, and only read.

use rustix::process::Signal;

use crate::support::http::{free_port, request};
use crate::support::{Config, Rekindle, World, get, stub};

#[test]
fn a_service_in_its_boot_hook_is_alive_and_not_ready() {
    let world = World::new();
    let go = world.at("go");
    let hook = world.write("boot.sh", &format!("while [ ! -e {go} ]; do sleep 0.1; done"));
    let config = Config::script("exec sleep 1000").with(&format!("boot_hook = \"{hook}\""));
    let rekindle = world.run(&config);
    rekindle.wait_state("boot_hook");

    answers(&rekindle, "boot_hook", 503);

    world.write("go", "");
    rekindle.wait_state("healthy");
    answers(&rekindle, "healthy", 200);
}

#[test]
fn a_service_that_starts_is_alive_and_not_ready() {
    let world = World::new();
    let rekindle = world.run(&Config::demo_with(free_port(), &["--slow-start", "1h"]));
    rekindle.wait_state("starting");

    answers(&rekindle, "starting", 503);
}

#[test]
fn a_service_that_waits_for_its_next_attempt_is_alive_and_not_ready() {
    let world = World::new();
    let config =
        Config::script("exit 1").with("backoff.initial = \"1h\"").with("backoff.max = \"1h\"");
    let rekindle = world.run(&config);
    rekindle.wait_state("backoff");

    answers(&rekindle, "backoff", 503);
}

#[test]
fn a_service_at_the_slow_pace_is_alive_and_not_ready() {
    let world = World::new();
    let rekindle = world.run(&Config::script("exit 78"));
    rekindle.wait_state("slow_retry");

    answers(&rekindle, "slow_retry", 503);
}

#[test]
fn a_sick_service_is_alive_and_not_ready() {
    let (world, port) = (World::new(), free_port());
    let config = stub::stubborn(&world, port, "200 ok")
        .with("unhealthy_stop_timeout = \"1h\"")
        .with("stop_timeout = \"1s\"");
    let rekindle = world.run(&config);
    rekindle.wait_state("healthy");
    world.write("answers", "500 no");
    rekindle.wait_state("degraded");

    answers(&rekindle, "degraded", 503);
}

#[test]
fn a_service_that_is_being_stopped_is_alive_and_not_ready() {
    let world = World::new();
    let go = world.at("go");
    let script = format!("trap '' TERM; echo > deaf; while [ ! -e {go} ]; do sleep 0.1; done");
    let mut rekindle = world.run(&Config::script(&script).with("stop_timeout = \"20s\""));
    rekindle.wait_state("healthy");
    world.written("deaf");
    rekindle.signal(Signal::TERM);
    rekindle.wait_state("stopping");

    answers(&rekindle, "stopping", 503);

    world.write("go", "");
    assert_eq!(rekindle.wait_exit(), 0);
}

fn answers(rekindle: &Rekindle<'_>, state: &str, ready: u16) {
    let asked = |path: &str| rekindle.get(path).expect("an answer");
    assert_eq!(asked("/livez").status, 200);
    assert_eq!(asked("/readyz").status, ready, "{}", rekindle.story());
    let status = rekindle.status().to_string();
    assert!(status.contains(&format!("\"{state}\"")), "{status}");
    let page = asked("/metrics").body;
    let on = format!("rekindle_service_state{{service=\"gateway\",state=\"{state}\"}} 1");
    assert!(page.contains(&on), "{page}");
}

#[test]
fn the_port_serves_what_the_control_socket_serves() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&Config::script("exec sleep 1000").listen(port));
    rekindle.wait_state("healthy");

    for path in ["/", "/livez", "/readyz", "/status", "/metrics"] {
        let answer = get(port, path).expect("an answer");
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.head.to_lowercase().contains("cache-control: no-store"), "{}", answer.head);
    }
    let page = get(port, "/metrics").expect("an answer");
    let kind = "content-type: text/plain; version=0.0.4; charset=utf-8";
    assert!(page.head.to_lowercase().contains(kind), "{}", page.head);
}

#[test]
fn the_port_only_reads() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&Config::script("exec sleep 1000").listen(port));
    rekindle.wait_state("healthy");

    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        for path in ["/", "/events", "/livez", "/readyz", "/status", "/metrics"] {
            let answer = request(port, method, path).expect("an answer");
            assert_eq!(answer.status, 405, "{method} {path}");
        }
    }
    assert_eq!(get(port, "/no-such-page").expect("an answer").status, 404);
    assert_eq!(request(port, "HEAD", "/livez").expect("an answer").status, 200);
    assert_eq!(rekindle.state(), "healthy");
}

#[test]
fn a_page_of_metrics_passes_promtool() {
    if !crate::support::has_tool("promtool") {
        return;
    }
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&Config::demo(port));
    rekindle.wait_state("healthy");
    get(port, "/fault?mode=crash").expect("the demo gateway takes the order");
    rekindle.wait_restarts("signal", 1);
    let page = world.write("page", &rekindle.get("/metrics").expect("an answer").body);

    let mut promtool = world.command("sh");
    promtool.args(["-c", &format!("promtool check metrics < {page}")]);
    let mut promtool = world.start(promtool);

    assert_eq!(promtool.wait_exit(), 0, "{}", promtool.log());
}
