//! Proxies in our environment are for the child's traffic; a probe never goes through one.

use std::sync::atomic::Ordering;

use crate::crash::served_by;
use crate::support::http::{free_port, say_that_all_is_well};
use crate::support::{Config, Rekindle, World, stub};

const NAMES: [&str; 6] =
    ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

#[test]
fn a_dead_proxy_keeps_no_probe_from_passing() {
    let (world, port) = (World::new(), free_port());
    let rekindle = start(&world, &Config::demo(port), free_port());

    served_by(&rekindle, port);

    rekindle.wait("it is alive", || rekindle.probes("liveness", "success") >= 3);
    assert_eq!(rekindle.all_restarts(), 0);
}

#[test]
fn a_proxy_that_says_all_is_well_is_not_asked() {
    let (world, port) = (World::new(), free_port());
    let proxy = free_port();
    let asked = say_that_all_is_well(proxy);
    let config = stub::probed(&world, port, "200 ok");
    let rekindle = start(&world, &config, proxy);
    rekindle.wait_state("healthy");

    world.write("answers", "500 no\n500 no\n200 ok");

    rekindle.wait_restarts("probe_failed", 1);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

fn start<'w>(world: &'w World, config: &Config, proxy: u16) -> Rekindle<'w> {
    let mut command = world.prepare(config);
    for name in NAMES {
        command.env(name, format!("http://127.0.0.1:{proxy}"));
    }
    let rekindle = world.start(command);
    rekindle.wait_up();
    rekindle
}
