//! As the init of a PID namespace it does init's duties, and leaves alone what is not its own.
//!
//! Only root can make such a namespace; without root these tests say so and are skipped.

use rustix::process::Signal;

use crate::crash::served_by;
use crate::support::http::free_port;
use crate::support::{Config, Rekindle, World, get, has_tool, processes};

#[test]
fn it_heals_as_pid_1_and_ends_with_its_own_exit_code() {
    let (world, port) = (World::new(), free_port());
    let Some(mut rekindle) = as_pid_1(&world, &Config::demo(port)) else { return };
    rekindle.wait_state("healthy");

    get(port, "/fault?mode=crash").expect("the demo gateway takes the order");
    rekindle.wait_restarts("signal", 1);
    rekindle.wait_state("healthy");

    assert_eq!(rekindle.stop().0, 0, "{}", rekindle.story());
}

#[test]
fn it_removes_an_orphan_of_its_child_as_pid_1() {
    let (world, port) = (World::new(), free_port());
    let Some(rekindle) = as_pid_1(&world, &Config::demo(port)) else { return };
    rekindle.wait_state("healthy");

    get(port, "/fault?mode=orphan").expect("the demo gateway takes the order");
    rekindle.wait_restarts("exit", 1);

    served_by(&rekindle, port);
    rekindle.wait("only the new child is left", || processes::children(rekindle.pid()).len() == 1);
}

#[test]
fn a_strangers_orphan_survives_a_heal_and_is_reaped_when_it_dies() {
    if !has_tool("nsenter") {
        return;
    }
    let (world, port) = (World::new(), free_port());
    let Some(rekindle) = as_pid_1(&world, &Config::demo(port)) else { return };
    rekindle.wait_state("healthy");
    let init = rekindle.pid().to_string();
    // What `docker exec CONTAINER nohup agent &` leaves behind.
    let mut exec = world.command("nsenter");
    exec.args(["--target", &init, "--pid", "--mount", "setsid", "--fork", "sleep", "4711"]);
    assert_eq!(world.start(exec).wait_exit(), 0);
    let orphan = || world.processes_like("sleep 4711").first().copied();
    rekindle.wait("the orphan is ours to reap", || {
        orphan().and_then(processes::parent) == Some(rekindle.pid())
    });
    let orphan = orphan().expect("it runs");

    get(port, "/fault?mode=exit&code=1").expect("the demo gateway takes the order");
    rekindle.wait_restarts("exit", 1);
    rekindle.wait_state("healthy");

    assert!(processes::is_alive(orphan), "a stranger's process is never signalled");
    processes::send(orphan, Signal::KILL);
    rekindle.wait("it is reaped", || processes::state(orphan).is_none());
}

#[test]
fn it_reaps_what_others_leave_to_it() {
    let world = World::new();
    let done = world.at("done");
    let script = format!(
        "for n in 1 2 3 4 5 6 7 8 9 10; do (setsid true &); done; touch {done}; exec sleep 1000"
    );
    let Some(rekindle) = as_pid_1(&world, &Config::script(&script)) else { return };

    rekindle.wait("the orphans were made", || world.path("done").exists());

    rekindle.wait("only the child is left", || processes::children(rekindle.pid()).len() == 1);
}

/// Starts it as the init of a PID namespace of its own.
pub(crate) fn as_pid_1<'w>(world: &'w World, config: &Config) -> Option<Rekindle<'w>> {
    world.run_unshared(config, &["--pid", "--mount-proc"])
}
