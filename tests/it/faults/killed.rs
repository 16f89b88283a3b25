//! A supervisor that is killed leaves a child that dies with it, and the next one clears away the
//! rest before its hook runs: never two trees, whatever got away.
//!
//! Whether two trees ever lived at once is not guessed from process lists: each tree holds a file
//! lock as long as any process of it lives, and the kernel keeps the account.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::crash::served_by;
use crate::support::http::free_port;
use crate::support::seeded::Seeded;
use crate::support::{
    Config, Fault, Part, REKINDLE, Rekindle, Stopwatch, World, has_tool, is_root, port_answers,
    processes, this_test, wait_until,
};

/// Outer loops that run side by side, each with a supervisor, a state directory and a port.
const LOOPS: u64 = 4;

/// From the start of a supervisor a life of its sick service takes about this long.
const LIFE: Duration = Duration::from_millis(1300);

#[test]
fn the_child_dies_with_a_killed_supervisor() {
    let (world, port) = (World::new(), free_port());
    let mut rekindle = world.run(&Config::demo(port));
    let child = served_by(&rekindle, port);

    rekindle.kill();

    wait_until("the child is gone", || !processes::is_alive(child));
    let watch = Stopwatch::start();
    world.run(&Config::demo(port)).wait_state("healthy");
    let row = Fault {
        part: Part::Killed,
        fault: "the supervisor is killed while its child serves",
        injected: "SIGKILL to it; the next one is started at once",
        outcome: "the child dies with it, the next supervisor starts another",
    };
    row.recovered_after(this_test!(), watch.elapsed());
}

#[test]
fn descendants_that_got_away_are_gone_before_the_next_hook_runs() {
    if !(has_tool("flock") && has_tool("setsid")) {
        return;
    }
    let (world, port) = (World::new(), free_port());
    let script = format!(
        "{}
         (sleep 2001 &)
         setsid --fork sleep 2002
         setsid --fork sh -c 'trap \"\" TERM; sleep 2003; :'
         setsid {REKINDLE} demo-gateway --port {port} & wait",
        locked(&world)
    );
    let got_away = ["sleep 2001", "sleep 2002", "sleep 2003", "demo-gateway --port"];
    let watch = are_gone_before_the_hook(&world, port, &script, &got_away);
    let row = Fault {
        part: Part::Killed,
        fault: "the supervisor is killed, and what its child started lives on and holds the port",
        injected: "SIGKILL to it; double fork, `setsid`, and one that is deaf to SIGTERM",
        outcome: "the next supervisor names and removes all of it before its hook runs",
    };
    row.recovered_after(this_test!(), watch);
}

#[test]
fn descendants_that_became_another_user_are_gone_before_the_next_hook_runs() {
    if !(is_root("becoming another user") && has_tool("flock") && has_tool("setpriv")) {
        return;
    }
    let (world, port) = (World::new(), free_port());
    let drop = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    let script = format!(
        "{}
         setsid --fork {drop} sleep 2001
         {drop} setsid {REKINDLE} demo-gateway --port {port} & wait",
        locked(&world)
    );
    let got_away = ["sleep 2001", "demo-gateway --port"];
    let watch = are_gone_before_the_hook(&world, port, &script, &got_away);
    let row = Fault {
        part: Part::Killed,
        fault: "the supervisor is killed, and what became another user lives on",
        injected: "SIGKILL to it; `setpriv` and `setsid`",
        outcome: "the next supervisor names and removes all of it before its hook runs",
    };
    row.recovered_after(this_test!(), watch);
}

#[test]
fn a_left_over_of_another_time_namespace_is_gone_before_the_next_child_starts() {
    let (world, port) = (World::new(), free_port());
    let config = detached(&world, port);
    let Some(mut rekindle) = world.run_unshared(&config, &["--time", "--boottime", "3600"]) else {
        return;
    };
    rekindle.wait_state("healthy");
    let left = world.number("pid").expect("the gateway's pid");
    rekindle.kill();
    assert!(port_answers(port), "the left-over serves on, without a supervisor");

    // To the next one it has started at another time than the records say.
    let watch = Stopwatch::start();
    let next = world.run(&config);
    next.wait_state("healthy");
    let took = watch.elapsed();

    assert!(!processes::is_alive(left));
    assert_eq!(next.all_restarts(), 0);
    let row = Fault {
        part: Part::Killed,
        fault: "the supervisor is killed, and the next one lives in another time",
        injected: "SIGKILL to one in a time namespace, the next is started outside of it",
        outcome: "what is left is known by its mark and removed before the child starts",
    };
    row.recovered_after(this_test!(), took);
}

#[test]
fn supervisors_that_are_killed_at_any_moment_never_leave_two_trees() {
    if !has_tool("flock") {
        return;
    }
    killed_at_random_moments(0, 5);
    let row = Fault {
        part: Part::Killed,
        fault: "the supervisor is killed at 20 random moments",
        injected: "SIGKILL to it, and an outer loop that starts it again",
        outcome: "never two trees at once, no failed bind, healthy again each time it is let be",
    };
    row.did_no_harm(this_test!());
}

#[test]
#[ignore = "takes a minute"]
fn supervisors_that_are_killed_in_every_phase_never_leave_two_trees() {
    if !has_tool("flock") {
        return;
    }
    let hits = |struck: &Struck, phase: &[&str]| -> u32 {
        phase.iter().filter_map(|state| struck.get(*state)).sum()
    };
    let rarest = |struck: &Struck| PHASES.iter().min_by_key(|phase| hits(struck, phase)).copied();
    let mut struck = killed_at_random_moments(0, 200 / LOOPS);
    // On a slow machine a life takes longer, and its last phases are hardly hit.
    for more in 1..=4 {
        if rarest(&struck).is_some_and(|phase| hits(&struck, phase) < 5) {
            for (state, hits) in killed_at_random_moments(more, 50 / LOOPS) {
                *struck.entry(state).or_default() += hits;
            }
        }
    }
    let phase = rarest(&struck).expect("there are phases");
    assert!(hits(&struck, phase) >= 5, "too few of the moments hit {phase:?}: {struck:?}");
    let row = Fault {
        part: Part::Killed,
        fault: "the supervisor is killed at 200 random moments, in every phase",
        injected: "SIGKILL to it, and an outer loop that starts it again",
        outcome: "never two trees at once, no failed bind, healthy again each time it is let be",
    };
    let figure: Vec<_> = struck.iter().map(|(state, hits)| format!("{hits} in {state}")).collect();
    row.measured(this_test!(), &figure.join(", "));
}

/// Every state in which there is something to be killed in the middle of.
const PHASES: [&[&str]; 6] =
    [&["boot_hook"], &["starting"], &["healthy"], &["degraded"], &["stopping"], &["backoff"]];

/// How many moments hit which state.
type Struck = BTreeMap<String, u32>;

/// Kills `moments` supervisors in each of several loops, later ones in each further series.
fn killed_at_random_moments(series: u32, moments: u64) -> Struck {
    let loops: Vec<_> = thread::scope(|scope| {
        let spawn = |number| scope.spawn(move || outer_loop(series, number, moments));
        let running: Vec<_> = (0..LOOPS).map(spawn).collect();
        running.into_iter().map(|running| running.join().expect("its assertions hold")).collect()
    });
    let mut all = Struck::new();
    for state in loops.into_iter().flatten() {
        *all.entry(state).or_default() += 1;
    }
    all
}

/// Starts a supervisor on the same state directory as often as it is killed; the states it was in.
fn outer_loop(series: u32, number: u64, moments: u64) -> Vec<String> {
    let seed = u64::from(series) * LOOPS + number;
    let (world, port, mut seeded) = (World::new(), free_port(), Seeded::new(seed));
    let config = sick(&world, port);
    let mut struck = Vec::new();
    for moment in 0..moments {
        // Now and then it is let be, and must come up.
        let is_let_be = moment % 5 == 4;
        world.write("sick", "");
        if is_let_be {
            std::fs::remove_file(world.path("sick")).expect("it was written");
        }
        let mut rekindle = world.start(world.prepare(&config));
        if is_let_be {
            rekindle.wait_state("healthy");
        }
        // Not a wait: this is when the fault strikes.
        thread::sleep(seeded.span_below(LIFE * (1 + series)));
        if seeded.below(6) == 0 {
            rekindle.signal(Signal::TERM);
            thread::sleep(seeded.span_below(Duration::from_millis(200)));
        }
        struck.push(strike(&mut rekindle));
        assert_no_harm(&world, &format!("moment {moment} of loop {seed}"));
    }
    std::fs::remove_file(world.path("sick")).unwrap_or_default();

    let last = world.run(&config);
    last.wait_state("healthy");

    assert_no_harm(&world, &format!("after loop {seed}"));
    assert!(!last.said(&["restart in"]), "{}", last.story());
    assert_eq!(world.processes_like("demo-gateway --port").len(), 2, "the shell and its gateway");
    // The hook has ended, but a machine under load takes its time to run what it started last.
    last.wait("this attempt's helper is there", || !world.processes_like("sleep 1000").is_empty());
    assert_eq!(world.processes_like("sleep 1000").len(), 1, "this attempt's helper alone");
    struck
}

/// Kills it, and says in which state it was.
fn strike(rekindle: &mut Rekindle<'_>) -> String {
    let state = rekindle.state();
    rekindle.kill();
    if state.is_empty() { "no answer yet, or ended".to_owned() } else { state }
}

/// Neither two trees nor a gateway that found its port held. They have left word in files: what a
/// killed supervisor had not yet written of their output is lost.
fn assert_no_harm(world: &World, when: &str) {
    assert_eq!(world.read("twice"), "", "{when}");
    assert_eq!(world.read("gateway-errors"), "", "{when}");
}

/// A service that runs through all states again and again while a file says that it is sick: its
/// hook takes a while and leaves a helper, its gateway is slow to start and then hangs, its main
/// process is deaf to SIGTERM. Nothing of it may begin while anything of its last attempt lives.
fn sick(world: &World, port: u16) -> Config {
    let (twice, sick) = (world.at("twice"), world.at("sick"));
    let hook = world.write(
        "boot.sh",
        &format!(
            "exec 7> {hook}; flock --nonblock 7 || echo 'hook beside hook' >> {twice}
             exec 8> {child}; flock --nonblock 8 || echo 'hook beside child' >> {twice}
             exec 8>&-; sleep 0.1; setsid sleep 1000 &",
            hook = world.at("hook-lock"),
            child = world.at("lock"),
        ),
    );
    let script = format!(
        "{}
         trap '' TERM
         setsid {REKINDLE} demo-gateway --port {port} --slow-start 100ms 2>> {errors} & gateway=$!
         if [ -e {sick} ]; then sleep 0.4; kill -STOP $gateway; fi
         wait",
        locked(world),
        errors = world.at("gateway-errors"),
    );
    Config::script(&script).probing(&format!("http = \"http://127.0.0.1:{port}/health\"")).with(
        &format!(
            r#"
            boot_hook = "{hook}"
            probe.startup.period = "50ms"
            probe.liveness.timeout = "100ms"
            stop_timeout = "200ms"
            unhealthy_stop_timeout = "200ms"
            backoff.initial = "200ms"
            "#
        ),
    )
}

#[test]
fn a_supervisor_with_another_state_directory_leaves_what_is_left_alone() {
    let (world, port) = (World::new(), free_port());
    let mut rekindle = world.run(&detached(&world, port));
    rekindle.wait_state("healthy");
    let left = world.number("pid").expect("the gateway's pid");
    rekindle.kill();

    let (elsewhere, other_port) = (World::new(), free_port());
    let other = elsewhere.run(&Config::demo(other_port));
    other.wait_state("healthy");

    assert!(processes::is_alive(left));
    // Somebody has to clear it away in the end: a supervisor of its own kind.
    world.run(&Config::script("exec sleep 1000")).wait_state("healthy");
    assert!(!processes::is_alive(left));
    let row = Fault {
        part: Part::Killed,
        fault: "another supervisor of the same name starts beside what a killed one left",
        injected: "SIGKILL to the first; the second has a state directory of its own",
        outcome: "what is left is left alone until a supervisor of its own directory comes",
    };
    row.did_no_harm(this_test!());
}

#[test]
fn supervisors_of_the_same_name_do_not_touch_each_others_processes() {
    let (world, port) = (World::new(), free_port());
    let (beside, other_port) = (World::new(), free_port());
    let mut rekindle = world.run(&detached(&world, port));
    let other = beside.run(&detached(&beside, other_port));
    let child = served_by(&other, other_port);
    served_by(&rekindle, port);

    // Healed, killed, started again, stopped.
    processes::send(world.number("pid").expect("the gateway's pid"), Signal::KILL);
    rekindle.wait("it is healed", || rekindle.all_restarts() == 1);
    served_by(&rekindle, port);
    rekindle.kill();
    let mut next = world.run(&detached(&world, port));
    served_by(&next, port);
    assert_eq!(next.stop().0, 0);

    assert_eq!(served_by(&other, other_port), child);
    assert_eq!(other.all_restarts(), 0);
    let row = Fault {
        part: Part::Killed,
        fault: "of two supervisors of the same name one heals, is killed, started and stopped",
        injected: "SIGKILL to its gateway, then to itself; both have their own state directory",
        outcome: "the other's child serves on",
    };
    row.did_no_harm(this_test!());
}

/// Kills a supervisor whose child has left what `got_away` names, starts the next one, and measures
/// how long that takes to be healthy.
fn are_gone_before_the_hook(world: &World, port: u16, script: &str, got_away: &[&str]) -> Duration {
    let (beside, hooks) = (world.at("beside"), world.at("hooks"));
    let lock = world.at("lock");
    let hook = world.write(
        "boot.sh",
        &format!("exec 8> {lock}; flock --nonblock 8 || touch {beside}; echo hook >> {hooks}"),
    );
    let config = Config::script(script)
        .probing(&format!("http = \"http://127.0.0.1:{port}/health\""))
        .with(&format!("boot_hook = \"{hook}\""));
    let mut rekindle = world.run(&config);
    rekindle.wait_state("healthy");
    let named = |name: &&str| {
        let mut pids = world.processes_like(name);
        // The main process's command line is the script, which names them all.
        pids.retain(|pid| !processes::command_line(*pid).contains("flock"));
        pids
    };
    rekindle.wait("all have got away", || got_away.iter().all(|name| !named(name).is_empty()));
    let left: Vec<i32> = got_away.iter().flat_map(named).collect();
    rekindle.kill();
    assert!(port_answers(port), "a left-over serves on, without a supervisor");

    let watch = Stopwatch::start();
    let next = world.run(&config);
    next.wait_state("healthy");
    let took = watch.elapsed();

    assert_eq!(world.lines("hooks").len(), 2);
    assert!(!world.path("beside").exists(), "all were gone before the hook ran");
    for pid in left {
        assert!(!processes::is_alive(pid));
        next.wait_said(&[&format!("killed pid {pid} ("), "left over from an earlier run"]);
    }
    assert_eq!(next.all_restarts(), 0);
    took
}

/// The beginning of a script whose processes hold a lock as long as one of them lives.
fn locked(world: &World) -> String {
    let (lock, twice) = (world.at("lock"), world.at("twice"));
    format!("exec 9> {lock}; flock --nonblock 9 || echo 'child beside child' >> {twice}")
}

/// A child whose gateway runs in a session of its own, so that it survives a killed supervisor.
fn detached(world: &World, port: u16) -> Config {
    let pid = world.at("pid");
    let gateway = format!("echo $$ > {pid}; exec {REKINDLE} demo-gateway --port {port}");
    Config::script(&format!("setsid sh -c '{gateway}' & wait"))
        .probing(&format!("http = \"http://127.0.0.1:{port}/health\""))
}
