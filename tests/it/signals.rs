//! QUIT, USR1 and USR2 are for the child, and only for a child that runs.

use rustix::process::Signal;

use crate::support::{Config, World, processes};

#[test]
fn user_signals_and_quit_reach_the_main_process() {
    let world = World::new();
    let got = world.at("got");
    let script = format!(
        "for signal in USR1 USR2 QUIT; do trap \"echo $signal >> {got}\" $signal; done\n\
         touch {ready}\n\
         while :; do sleep 0.1; done",
        ready = world.at("ready"),
    );
    let rekindle = world.run(&Config::script(&script));
    rekindle.wait_state("healthy");
    rekindle.wait("the traps are set", || world.path("ready").exists());

    for (number, signal) in [Signal::USR1, Signal::USR2, Signal::QUIT].into_iter().enumerate() {
        rekindle.signal(signal);
        rekindle.wait("the signal arrives", || world.lines("got").len() == number + 1);
    }

    assert_eq!(world.lines("got"), ["USR1", "USR2", "QUIT"]);
    assert_eq!(rekindle.all_restarts(), 0);
}

#[test]
fn the_boot_hook_is_spared_them() {
    let world = World::new();
    let (there, go) = (world.at("there"), world.at("go"));
    let hook = world
        .write("boot.sh", &format!("echo $$ > {there}; while [ ! -e {go} ]; do sleep 0.1; done"));
    let config = Config::script("exec sleep 1000").with(&format!("boot_hook = \"{hook}\""));
    let rekindle = world.run(&config);
    rekindle.wait("the hook runs", || world.number("there").is_some());
    rekindle.wait_state("boot_hook");

    for signal in [Signal::USR1, Signal::USR2, Signal::QUIT] {
        rekindle.signal(signal);
    }
    // Asked after the signals, answered after them: by then a forwarded one would have killed.
    assert_eq!(rekindle.state(), "boot_hook");
    assert!(processes::is_alive(world.number("there").expect("a pid")));
    world.write("go", "");

    rekindle.wait_state("healthy");
    assert_eq!((rekindle.hooks("success"), rekindle.hooks("failure")), (1, 0));
}

#[test]
fn a_hangup_ends_nothing() {
    let world = World::new();
    let rekindle = world.run(&Config::script("exec sleep 1000"));
    rekindle.wait_state("healthy");

    rekindle.signal(Signal::HUP);

    rekindle.wait_said(&["HUP"]);
    assert_eq!(rekindle.state(), "healthy");
    assert_eq!(rekindle.all_restarts(), 0);
}
