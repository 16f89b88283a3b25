//! Nothing of the old tree is alive when a new child starts, however it has detached itself.

use std::time::Duration;

use rustix::process::Signal;

use crate::crash::served_by;
use crate::support::http::free_port;
use crate::support::{Config, REKINDLE, Stopwatch, World, get, has_tool, processes, stub};

#[test]
fn a_sick_child_that_ignores_terminate_is_killed_after_its_grace() {
    let (world, port) = (World::new(), free_port());
    let config = stub::stubborn(&world, port, "200 ok");
    let rekindle = world.run(&config.with("unhealthy_stop_timeout = \"1s\""));
    rekindle.wait_state("healthy");
    let first = processes::children(rekindle.pid());

    world.write("answers", "500 no\n500 no\n200 ok");
    rekindle.wait_state("degraded");
    let watch = Stopwatch::start();

    rekindle.wait_restarts("probe_failed", 1);
    rekindle.wait_state("healthy");
    assert!(watch.elapsed() > Duration::from_millis(500), "it was given its time");
    assert!(first.iter().all(|pid| !processes::is_alive(*pid)));
    assert_eq!(processes::children(rekindle.pid()).len(), 1);
}

#[test]
fn a_grandchild_in_a_session_of_its_own_that_holds_the_port_is_removed() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&Config::demo(port));
    let first = served_by(&rekindle, port);

    get(port, "/fault?mode=orphan").expect("the demo gateway takes the order");

    rekindle.wait_restarts("exit", 1);
    let second = served_by(&rekindle, port);
    assert_ne!(first, second);
    assert_eq!(world.processes_like("demo-gateway"), [second]);
}

#[test]
fn a_tree_that_has_detached_itself_goes_down_with_the_child() {
    let (world, pids) = (World::new(), "pids");
    let leaves = format!("echo $$ >> {}; trap '' TERM HUP; sleep 1000", world.at(pids));
    world.write("leaves.sh", &leaves);
    let leaves = world.at("leaves.sh");
    let config = Config::script(&format!(
        "sh {leaves} &\n\
         setsid sh {leaves} &\n\
         (setsid setsid sh {leaves} &)\n\
         (nohup sh {leaves} > /dev/null 2>&1 &)\n\
         echo $$ > {main}\n\
         exec sleep 1000",
        main = world.at("main"),
    ));
    let rekindle = world.run(&config);
    rekindle.wait("the tree has grown", || {
        world.lines(pids).len() == 4 && world.number("main").is_some()
    });
    let main = world.number("main").expect("a pid");
    let old: Vec<i32> = world.lines(pids).iter().map(|pid| pid.parse().expect("a pid")).collect();

    processes::send(main, Signal::KILL);

    rekindle.wait("the next tree has grown", || world.lines(pids).len() == 8);
    let alive: Vec<_> = old.into_iter().filter(|pid| processes::is_alive(*pid)).collect();
    assert!(alive.is_empty(), "{alive:?} live on");
}

#[test]
fn no_zombie_stays_behind_while_the_child_runs() {
    let world = World::new();
    let done = world.at("done");
    let config = Config::script(&format!(
        "for n in 1 2 3 4 5 6 7 8 9 10; do (setsid true &); done; touch {done}; exec sleep 1000"
    ));
    let rekindle = world.run(&config);

    rekindle.wait("the orphans were made", || world.path("done").exists());

    rekindle.wait("only the child is left", || processes::children(rekindle.pid()).len() == 1);
}

#[test]
fn there_are_never_two_children_at_a_time() {
    if !has_tool("flock") {
        return;
    }
    let world = World::new();
    let (lock, twice) = (world.at("lock"), world.at("twice"));
    // The lock lives in the kernel: it is free exactly when the process that took it is gone.
    let child = format!(
        "flock --nonblock 9 || echo twice >> {twice}\n\
         trap '' TERM\n\
         [ $(($(date +%N | sed 's/^0*//') % 2)) = 0 ] && exit 1\n\
         setsid sleep 1000 &\n\
         exit 1"
    );
    let config = Config::script(&format!("exec 9> {lock}\n{child}"));
    let rekindle = world.run(&config);

    rekindle.wait_restarts("exit", 8);

    assert_eq!(world.read("twice"), "");
}

#[test]
fn the_tree_is_gone_when_the_supervisor_has_ended() {
    let (world, port) = (World::new(), free_port());
    let gateway = format!("setsid {REKINDLE} demo-gateway --port {port}");
    let config = Config::script(&format!("{gateway} & sleep 1000"))
        .probing(&format!("http = \"http://127.0.0.1:{port}/health\""));
    let mut rekindle = world.run(&config);
    rekindle.wait_state("healthy");

    rekindle.stop();

    assert!(world.processes().is_empty());
    assert!(get(port, "/health").is_err());
}
