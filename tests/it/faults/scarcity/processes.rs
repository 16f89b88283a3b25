//! No free pids: neither hook, child, exec probe nor name lookup can be started.

use super::{NO_PROCESSES, hooked, kill};
use crate::crash::served_by;
use crate::support::cgroup::Cgroup;
use crate::support::http::free_port;
use crate::support::{Config, Fault, Part, Stopwatch, World, this_test};

#[test]
fn without_free_pids_a_dead_child_is_replaced_when_there_are_some() {
    for hook in [true, false] {
        let (world, port) = (World::new(), free_port());
        let Some(cgroup) = Cgroup::new("pids") else { return };
        let config = Config::demo(port);
        let config = if hook { hooked(&world, config) } else { config };
        let rekindle = world.run(&config);
        let child = served_by(&rekindle, port);
        cgroup.take_in(&world, &rekindle);

        cgroup.set("pids.max", "0");
        kill(child);
        let what = if hook { "boot_hook: cannot start" } else { "child: cannot start" };
        rekindle.wait_said(&[what, NO_PROCESSES, "pids cgroup"]);
        rekindle.wait_state("backoff");

        let watch = Stopwatch::start();
        cgroup.set("pids.max", "max");
        assert_ne!(child, served_by(&rekindle, port));
        let row = Fault {
            part: Part::Scarcity,
            fault: "no free pids, and the child dies",
            injected: "`pids.max` 0 of the supervisor's cgroup, SIGKILL to the child",
            outcome: "hook and child are tried until they can be started",
        };
        row.recovered_after(this_test!(), watch.elapsed());
        drop(rekindle);
    }
}

#[test]
fn an_exec_probe_that_cannot_be_started_for_want_of_pids_kills_nobody() {
    let world = World::new();
    let Some(cgroup) = Cgroup::new("pids") else { return };
    let config = Config::script("exec sleep 1000").probing("exec = [\"true\"]");
    let rekindle = world.run(&config);
    rekindle.wait_state("healthy");
    cgroup.take_in(&world, &rekindle);

    cgroup.set("pids.max", "0");
    rekindle.wait_said(&["blind", "no_resources"]);
    assert_eq!(rekindle.state(), "healthy");

    let watch = Stopwatch::start();
    cgroup.set("pids.max", "max");
    rekindle.wait_said(&["probe can tell again"]);
    let took = watch.elapsed();
    assert_eq!(rekindle.all_restarts(), 0);
    let row = Fault {
        part: Part::Scarcity,
        fault: "no free pids for an exec probe",
        injected: "`pids.max` 0 of the supervisor's cgroup",
        outcome: "the probe is blind, which is told, and kills nothing",
    };
    row.recovered_after(this_test!(), took);
}

#[test]
fn a_name_that_cannot_be_looked_up_for_want_of_threads_kills_nobody() {
    let (world, port) = (World::new(), free_port());
    let Some(cgroup) = Cgroup::new("pids") else { return };
    let hosts = world.write("hosts", "127.0.0.1 gateway.test\n");
    let probe = format!("http = \"http://gateway.test:{port}/health\"");
    let run = world.prepare(&Config::demo(port).probing(&probe));
    let Some(command) = world.remounted(&format!("mount --bind {hosts} /etc/hosts"), &run) else {
        return;
    };
    let rekindle = world.start(command);
    rekindle.wait_up();
    let child = served_by(&rekindle, port);
    cgroup.take_in(&world, &rekindle);

    cgroup.set("pids.max", "0");
    rekindle.wait_said(&["blind", "no_resources"]);

    let watch = Stopwatch::start();
    cgroup.set("pids.max", "max");
    rekindle.wait_said(&["probe can tell again"]);
    let took = watch.elapsed();
    assert_eq!(child, served_by(&rekindle, port));
    assert_eq!(rekindle.all_restarts(), 0);
    let row = Fault {
        part: Part::Scarcity,
        fault: "no free thread to look a host name up",
        injected: "`pids.max` 0 of the supervisor's cgroup, a probe of a name in `/etc/hosts`",
        outcome: "the probe is blind, which is told, and kills nothing",
    };
    row.recovered_after(this_test!(), took);
}
