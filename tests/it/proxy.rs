//! Proxies in our environment are for the child's traffic; a probe never goes through one.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::crash::served_by;
use crate::support::http::free_port;
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
    let (proxy, asked) = lying_proxy();
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

/// Answers everything with 200; its port, and how often it was asked.
fn lying_proxy() -> (u16, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    // It ends with the test process.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            count.fetch_add(1, Ordering::Relaxed);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            // A client that has gone away needs no answer.
            drop(stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(answer)));
        }
    });
    (port, asked)
}
