//! The memory limit is hit: a kill by the kernel is told from anybody else's.

use super::kill;
use crate::crash::served_by;
use crate::support::cgroup::Cgroup;
use crate::support::http::free_port;
use crate::support::{Config, Fault, Part, Rekindle, Stopwatch, World, get, this_test};

/// Enough for the supervisor and the demo gateway; a leak of 250 MB is not.
const LIMIT: &str = "100M";

#[test]
fn a_child_that_hits_the_memory_limit_is_told_as_oom_and_replaced() {
    let (world, port) = (World::new(), free_port());
    let Some(cgroup) = Cgroup::new("memory") else { return };
    let rekindle = limited(&world, &cgroup, &Config::demo(port));
    let child = served_by(&rekindle, port);

    let watch = Stopwatch::start();
    get(port, "/fault?mode=leak&mb=250").expect("the demo gateway takes the order");
    rekindle.wait_restarts("oom", 1);
    assert_ne!(child, served_by(&rekindle, port));

    let took = watch.elapsed();
    rekindle.wait_said(&["memory", "\"reason\":\"oom\""]);
    assert_eq!(rekindle.all_restarts(), 1);
    assert_eq!(rekindle.count("rekindle_child_oom_kills_total", ""), 1);
    let row = Fault {
        part: Part::Scarcity,
        fault: "the child hits the memory limit",
        injected: "a memory cgroup of 100 MB around all, a leak of 250 MB",
        outcome: "the kernel kills the child, which is told as `oom`; replaced",
    };
    row.recovered_after(this_test!(), took);
    drop(rekindle);
}

#[test]
fn a_kill_by_anybody_else_below_a_memory_limit_is_told_as_a_signal() {
    let (world, port) = (World::new(), free_port());
    let Some(cgroup) = Cgroup::new("memory") else { return };
    // What the hook leaves takes all that there is, so that the kernel kills it, and not the child.
    let hook = world.write("boot.sh", "tail /dev/zero &");
    let config = Config::demo(port).with(&format!("boot_hook = \"{hook}\""));
    let rekindle = limited(&world, &cgroup, &config);
    let child = served_by(&rekindle, port);
    rekindle.wait("the kernel has killed", || !cgroup.get("memory.oom_control").contains("kill 0"));
    let passes = rekindle.probes("liveness", "success");
    rekindle.wait("it lives on", || rekindle.probes("liveness", "success") >= passes + 2);

    let watch = Stopwatch::start();
    kill(child);
    rekindle.wait_restarts("signal", 1);
    assert_ne!(child, served_by(&rekindle, port));

    let took = watch.elapsed();
    assert_eq!(rekindle.all_restarts(), 1, "{}", rekindle.story());
    let row = Fault {
        part: Part::Scarcity,
        fault: "a helper hits the memory limit, and the child is killed by somebody else",
        injected: "a memory cgroup of 100 MB, a helper that takes it all, SIGKILL to the child",
        outcome: "told as `signal`: the child gave a sign of life after the kernel's kill; replaced",
    };
    row.recovered_after(this_test!(), took);
    drop(rekindle);
}

/// A supervisor below the memory limit, and all that it starts with it.
fn limited<'w>(world: &'w World, cgroup: &Cgroup, config: &Config) -> Rekindle<'w> {
    // Who is about to be killed for lack of memory is slow: that must not be healed before.
    let config = config.clone().with("probe.liveness.failure_threshold = 1000");
    cgroup.set("memory.limit_in_bytes", LIMIT);
    let join = format!("echo $$ > {}", cgroup.file("cgroup.procs"));
    let rekindle = world.start(world.after(&join, &world.prepare(&config)));
    rekindle.wait_up();
    rekindle
}
