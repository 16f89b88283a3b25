//! What happens when we are at fault: panics and hangs that are planted in our own threads.
//!
//! Only with the feature `planted-faults`, which no release has.

use std::collections::BTreeSet;

use rekindle::threads;
use rustix::process::Signal;

use crate::announce::{PATIENCE, receiver};
use crate::crash::served_by;
use crate::incidents::settled;
use crate::notify::Systemd;
use crate::support::http::free_port;
use crate::support::{
    Config, Fault, Part, REKINDLE, Rekindle, Stopwatch, World, get, processes, this_test,
    wait_until,
};

/// `rekindle run` in whose threads `kind` strikes at `place` once the file `strike` appears.
fn run_with<'w>(world: &'w World, config: &Config, kind: &str, place: &str) -> Rekindle<'w> {
    let mut command = world.prepare(config);
    command.env("REKINDLE_PLANT", format!("{kind}:{place}:{}", world.at("strike")));
    let rekindle = world.start(command);
    rekindle.wait_up();
    rekindle.expect_errors();
    rekindle
}

#[test]
fn a_panic_in_the_loop_kills_the_tree_and_ends_with_1() {
    let (world, port) = (World::new(), free_port());
    let grandchild = world.at("grandchild");
    let config = Config::demo(port)
        .with(&format!("boot_hook = {:?}", world.script("hook", &hook_with_helper(&grandchild))));
    let mut rekindle = run_with(&world, &config, "panic", "loop");
    let child = served_by(&rekindle, port);
    rekindle.wait("the hook's helper runs", || world.number("grandchild").is_some());
    let helper = world.number("grandchild").expect("its pid");

    world.write("strike", "");

    assert_eq!(rekindle.wait_exit(), 1, "{}", rekindle.story());
    assert!(rekindle.said(&["panic: planted in loop"]));
    wait_until("its tree is gone", || ![child, helper].into_iter().any(processes::is_alive));
    let row = Fault {
        part: Part::Ours,
        fault: "the supervision loop panics",
        injected: "a planted panic while the child is healthy",
        outcome: "the whole tree is killed, the panic is logged, and we end with code 1 for our own supervisor",
    };
    row.did_no_harm(this_test!());
}

fn hook_with_helper(pid: &str) -> String {
    format!("#!/bin/sh\nsetsid sh -c 'echo $$ > {pid}; exec sleep 1000' &\n")
}

#[test]
fn a_loop_that_hangs_is_told_by_livez_and_no_longer_feeds_the_watchdog() {
    let (world, port) = (World::new(), free_port());
    let systemd = Systemd::new(&world);
    let mut command = world.prepare(&Config::demo(port));
    command
        .env("REKINDLE_PLANT", format!("hang:loop:{}", world.at("strike")))
        .env("NOTIFY_SOCKET", world.path("notify.sock"))
        .env("WATCHDOG_USEC", "200000");
    let mut rekindle = world.start(command);
    rekindle.wait_up();
    let child = served_by(&rekindle, port);
    let fed = || systemd.told().matches("WATCHDOG=1").count();
    rekindle.wait("the watchdog is fed", || fed() >= 3);
    assert_eq!(rekindle.get("/livez").expect("an answer").status, 200);
    let watch = Stopwatch::start();

    world.write("strike", "");

    rekindle.wait("/livez says it", || rekindle.get("/livez").is_ok_and(|it| it.status == 503));
    let noticed = watch.elapsed();
    let hungry = fed();
    assert!(rekindle.get("/livez").expect("an answer").body.contains("the supervision loop"));
    assert_eq!(rekindle.get("/metrics").expect("a page").status, 200, "scraped all the same");
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(fed(), hungry, "five pings are missing");
    rekindle.signal(Signal::KILL);
    rekindle.wait_exit();
    wait_until("the child has died with it", || !processes::is_alive(child));
    let row = Fault {
        part: Part::Ours,
        fault: "the supervision loop hangs",
        injected: "a planted endless wait while the child is healthy",
        outcome: "/livez is 503, the systemd watchdog is no longer fed, /metrics goes on",
    };
    row.measured(this_test!(), &format!("said after {:.1} s", noticed.as_secs_f64()));
}

/// Where a helper thread is struck, and which it is.
const PLACES: &[(&str, &str)] = &[
    ("pump", threads::HTTP),
    ("request", threads::HTTP),
    ("stdout", threads::STDOUT),
    ("stderr", threads::STDERR),
    ("state", threads::STATE),
    ("lookout", threads::LOOKOUT),
    ("incidents", threads::INCIDENTS),
    ("webhook", threads::WEBHOOK),
];

#[test]
fn a_panic_on_any_helper_thread_is_told_and_its_work_goes_on() {
    let struck: BTreeSet<_> = PLACES.iter().map(|(_, thread)| *thread).collect();
    assert_eq!(struck, threads::NAMES.iter().copied().collect(), "each thread has its turn");
    for (place, thread) in PLACES {
        survives(place, thread);
    }
    let row = Fault {
        part: Part::Ours,
        fault: "a helper thread panics",
        injected: "a planted panic where it reads the child, answers a request, writes stdout, stderr, the state directory or an incident, looks at the configuration, or tells a webhook",
        outcome: "it is logged and counted, the thread starts again and loses nothing that came later; the child is not touched",
    };
    row.did_no_harm(this_test!());
}

fn survives(place: &str, thread: &str) {
    let (world, port) = (World::new(), free_port());
    let talks = format!(
        "(while :; do echo out; echo err >&2; sleep 0.05; done) & \
         exec {REKINDLE} demo-gateway --port {port}",
    );
    let (hook, told_elsewhere) = receiver(0);
    let config = Config::demo(port)
        .with(&format!("command = [\"/bin/sh\", \"-c\", {talks:?}]"))
        .notify(&format!("webhook = \"http://127.0.0.1:{hook}/\""));
    let rekindle = run_with(&world, &config, "panic", place);
    let child = served_by(&rekindle, port);

    world.write("strike", "");
    if place == "request" {
        rekindle.wait("a request is struck", || rekindle.get("/livez").is_err());
    }
    let waits_for_crash = ["state", "incidents", "webhook"].contains(&place);
    if waits_for_crash {
        // It has something to write, or to tell, only at a crash of what was up.
        settled(&rekindle);
        get(port, "/fault?mode=crash").expect("the demo gateway takes the order");
        rekindle.wait_restarts("signal", 1);
    }
    rekindle.wait_said(&[&format!("panic: planted in {place}")]);
    let label = format!("thread=\"{thread}\"");
    assert_eq!(rekindle.count("rekindle_thread_panics_total", &label), 1, "{place}");

    let (said, told) = (rekindle.output().len(), rekindle.lines_with("err").len());
    rekindle.wait("stdout goes on", || rekindle.output().len() > said + 40);
    rekindle.wait("stderr goes on", || rekindle.lines_with("err").len() > told + 10);
    if waits_for_crash {
        get(port, "/fault?mode=crash").expect("the demo gateway takes the order");
        rekindle.wait_restarts("signal", 2);
        let next = served_by(&rekindle, port).to_string();
        rekindle.wait("the launch is recorded", || world.read("state/instance").contains(&next));
        rekindle.wait("so is what broke", || !world.read("state/incidents.jsonl").is_empty());
        let told = told_elsewhere.recv_timeout(PATIENCE).expect("the webhook is told");
        assert_eq!(told["incident"]["cause"], "crash", "{place}");
    } else {
        if place == "lookout" {
            world.write("rekindle-0.toml", &config.with("settle = \"4s\"").text());
            rekindle.wait_said(&["the configuration on disk is not the one that runs"]);
        }
        assert_eq!(child, served_by(&rekindle, port), "{place}");
        assert_eq!(rekindle.all_restarts(), 0, "{place}");
    }
}

#[test]
fn every_scenario_of_the_drill_fails_when_nothing_is_healed() {
    // Waiting costs no processor: several at once.
    const AT_ONCE: usize = 8;
    let world = World::new();
    let mut list = world.start({
        let mut command = world.command(REKINDLE);
        command.args(["drill", "--list"]);
        command
    });
    assert_eq!(list.wait_exit(), 0);
    let list = String::from_utf8(list.output()).expect("UTF-8");
    let names: Vec<_> = list.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.len() > 25, "{list}");
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let take = || names.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
                while let Some(name) = take() {
                    let (code, text) = drilled_without_healing(name);
                    let skipped = text.contains("1 skipped");
                    let failed = code == 1 && text.contains("FAILED");
                    assert!(failed || skipped && *name == "clock-1970", "{name}: {text}");
                }
            });
        }
    });
}

fn drilled_without_healing(name: &str) -> (i32, String) {
    let world = World::new();
    let mut command = world.command(REKINDLE);
    // Twice that is waited for; with healing the slowest takes less than six seconds.
    command.args(["drill", "--rto", "6s", "--scenario", name]);
    command.env("REKINDLE_PLANT", "no-healing").env("TMPDIR", world.path(""));
    let mut drill = world.start(command);
    let code = drill.exits_within(std::time::Duration::from_mins(3)).expect("it comes to its end");
    (code, String::from_utf8(drill.output()).expect("UTF-8"))
}
