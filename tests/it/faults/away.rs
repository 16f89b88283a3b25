//! A healthy child is never killed because somebody was away: stopped, frozen, starved, or in a
//! time of its own. A child that really hangs is healed all the same.
//!
//! Clocks that jump apart at run time are not here: a time namespace keeps its offsets once somebody
//! is in it, and only a process with a single thread can join another. That takes a real suspension.

use std::num::NonZero;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::crash::served_by;
use crate::support::freezer::Freezer;
use crate::support::http::free_port;
use crate::support::rekindle::WARN;
use crate::support::{
    Config, Fault, Part, REKINDLE, Rekindle, Stopwatch, World, get, has_tool, is_root, processes,
    this_test,
};

/// More than threshold × period + timeout of the tests' probes.
const AWAY: Duration = Duration::from_secs(10);

/// How long supervisor and child are away together.
const FROZEN: Duration = Duration::from_secs(30);

/// Who are back within a second of each other count as being back together.
const APART: Duration = Duration::from_millis(900);

/// How long the machine is loaded.
const LOADED: Duration = Duration::from_mins(1);

#[test]
fn a_supervisor_that_was_stopped_kills_nothing() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&Config::demo(port));
    let child = served_by(&rekindle, port);

    rekindle.signal(Signal::STOP);
    thread::sleep(AWAY);
    rekindle.signal(Signal::CONT);

    goes_on(&rekindle, port, child);
    rekindle.wait_said(&["we were late by", WARN]);
    let row = Fault {
        part: Part::Away,
        fault: "the supervisor is stopped for 10 s",
        injected: "SIGSTOP and SIGCONT to it",
        outcome: "what it missed counts for nothing: no restart",
    };
    row.did_no_harm(this_test!());
}

#[test]
fn failures_after_our_own_absence_are_told_as_a_restart_avoided() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&Config::demo(port));
    let child = served_by(&rekindle, port);

    processes::send(child, Signal::STOP);
    // A pass that was on its way would be the first thing to be heard afterwards.
    let passes = || rekindle.probes("liveness", "success");
    rekindle.wait("a probe waits for its answer", || {
        let before = passes();
        thread::sleep(Duration::from_millis(200));
        passes() == before
    });
    rekindle.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(2));
    rekindle.signal(Signal::CONT);
    // Two failures would restart it. On a busy machine we may also have waited for a processor.
    rekindle.wait("a restart is avoided", || {
        avoided(&rekindle, "late") + avoided(&rekindle, "starved") >= 1
    });
    processes::send(child, Signal::CONT);

    goes_on(&rekindle, port, child);
    let row = Fault {
        part: Part::Away,
        fault: "supervisor and child are stopped together, and the child goes on two failures later",
        injected: "SIGSTOP to both, SIGCONT to one after the other; two failures would restart it",
        outcome: "the failures are not believed: `late` in metric and log, no restart",
    };
    row.did_no_harm(this_test!());
}

#[test]
#[ignore = "takes half a minute"]
fn a_supervisor_and_a_child_that_were_stopped_together_go_on_together() {
    in_every_order(|order| {
        let (world, port) = (World::new(), free_port());
        let rekindle = world.run(&hasty(port));
        let child = served_by(&rekindle, port);

        processes::send(child, Signal::STOP);
        rekindle.signal(Signal::STOP);
        thread::sleep(FROZEN);
        order.bring_back(|| rekindle.signal(Signal::CONT), || processes::send(child, Signal::CONT));

        order.goes_on(&rekindle, port, child);
    });
    let row = Fault {
        part: Part::Away,
        fault: "supervisor and child are stopped together for 30 s",
        injected: "SIGSTOP to both; SIGCONT to either one first, at once and 0.9 s apart; \
                   probes of 100 ms, of which two failures would restart it",
        outcome: "no restart in any order; where the child is last, one is avoided (`late`)",
    };
    row.did_no_harm(this_test!());
}

#[test]
#[ignore = "takes half a minute"]
fn a_supervisor_and_a_child_that_were_frozen_together_go_on_together() {
    if Freezer::make("trial").is_none() {
        return;
    }
    in_every_order(|order| {
        let freezer = |whose| Freezer::make(&format!("{}-{whose}", order.name()));
        let (ours, childs) = (freezer("supervisor"), freezer("child"));
        let (ours, childs) = (ours.expect("made before"), childs.expect("made before"));
        let (world, port) = (World::new(), free_port());
        let rekindle = world.run(&hasty(port));
        let child = served_by(&rekindle, port);
        ours.take(rekindle.pid());
        childs.take(child);

        childs.freeze();
        ours.freeze();
        thread::sleep(FROZEN);
        order.bring_back(|| ours.thaw(), || childs.thaw());

        order.goes_on(&rekindle, port, child);
    });
    let row = Fault {
        part: Part::Away,
        fault: "supervisor and child are frozen together for 30 s",
        injected: "`cgroup.freeze` of both; either one thawed first, at once and 0.9 s apart; \
                   probes of 100 ms, of which two failures would restart it",
        outcome: "no restart in any order; where the child is last, one is avoided (`late`)",
    };
    row.did_no_harm(this_test!());
}

#[test]
#[ignore = "loads the whole machine for a minute"]
fn children_on_a_machine_under_load_are_left_alone() {
    if !can_load() {
        return;
    }
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&in_seconds(Config::demo(port)));
    let child = served_by(&rekindle, port);
    // Beside it one that gets nearly nothing of the processors: it really misses its probes.
    let (beside, starved_port) = (World::new(), free_port());
    let starving = beside.run(&in_seconds(meek(starved_port)));
    let starved = served_by(&starving, starved_port);
    let before = [run_delay(child), run_delay(starved)];

    let mut load = load(&world, LOADED);
    assert_eq!(load.exits_within(LOADED * 2), Some(0), "{}", load.log());

    for rekindle in [&rekindle, &starving] {
        assert_eq!(rekindle.all_restarts(), 0, "{}", rekindle.story());
    }
    let waited = [(child, before[0]), (starved, before[1])]
        .map(|(pid, before)| run_delay(pid).saturating_sub(before));
    let evidence = format!(
        "beside the load the child waited {:.1} s for a processor, and a meek one (nice 19) \
         {:.1} s: {} + {} probes inconclusive, {} + {} restarts avoided",
        waited[0].as_secs_f64(),
        waited[1].as_secs_f64(),
        rekindle.probes("liveness", "inconclusive"),
        starving.probes("liveness", "inconclusive"),
        avoided(&rekindle, "starved") + avoided(&rekindle, "late"),
        avoided(&starving, "starved") + avoided(&starving, "late"),
    );
    println!("{evidence}");
    goes_on(&rekindle, port, child);
    goes_on(&starving, starved_port, starved);
    assert!(waited[1] > LOADED / 4, "that was no load: {evidence}");
    assert!(avoided(&starving, "starved") >= 1, "{evidence}");
    let row = Fault {
        part: Part::Away,
        fault: "the machine is overloaded for 60 s, with probes of 1 s and a threshold of 2",
        injected: "`stress-ng` at nice -10, 4 workers a processor; one child at nice 0, one at 19",
        outcome: "`starved` and `late` rounds count for nothing: no restart of either",
    };
    row.measured(this_test!(), &evidence);
}

#[test]
#[ignore = "loads the whole machine"]
fn a_child_that_hangs_under_load_is_healed_once_doubt_has_lasted_long_enough() {
    const MAX_DOUBT: Duration = Duration::from_secs(10);
    if !can_load() {
        return;
    }
    let (world, port) = (World::new(), free_port());
    // Its gateway will hang; what spins beside it is runnable all the time and hardly ever runs.
    let script = format!(
        "{REKINDLE} demo-gateway --port {port} & echo $! > {pid}; while :; do :; done",
        pid = world.at("pid")
    );
    let probe = format!("http = \"http://127.0.0.1:{port}/health\"");
    let config = in_seconds(Config::script(&script).probing(&probe));
    let rekindle = world.run(&config.with("max_doubt = \"10s\""));
    rekindle.wait_state("healthy");
    let mut load = load(&world, LOADED);
    let gateway = world.number("pid").expect("the gateway's pid");
    let spinning = processes::parent(gateway).expect("the shell that started it");
    let before = run_delay(spinning);
    rekindle.wait("the load is felt", || {
        run_delay(spinning).saturating_sub(before) > Duration::from_secs(2)
    });

    // A pass ends what doubt there was, so that it begins with the first failure of the hang.
    let passes = rekindle.probes("liveness", "success");
    rekindle.wait("it passes", || rekindle.probes("liveness", "success") > passes);
    let late_before = lateness(&rekindle);

    let watch = Stopwatch::start();
    processes::send(gateway, Signal::STOP);
    rekindle.wait_said(&["unhealthy", "taking it down"]);
    let noticed = watch.elapsed();

    let (starved, late) = (avoided(&rekindle, "starved"), avoided(&rekindle, "late"));
    let slept = lateness(&rekindle).saturating_sub(late_before);
    let story = || format!("{noticed:?}, {starved} + {late} avoided; {}", rekindle.story());
    // One is told for all the failures of a doubt, by the round that would have been the last.
    assert!(starved >= 1 || (late >= 1 && !slept.is_zero()), "{}", story());
    assert!(noticed >= MAX_DOUBT, "{}", story());
    // A round until the first failure, `max_doubt`, and two rounds that count. Rounds are of 1 s, and
    // of 2 s at most; what we were late ourselves does not count as doubt.
    assert!(noticed <= MAX_DOUBT + 3 * Duration::from_secs(2) + slept, "{}", story());
    load.stop();
    rekindle.wait_state("healthy");
    let row = Fault {
        part: Part::Away,
        fault: "a child really hangs on an overloaded machine",
        injected: "SIGSTOP under `stress-ng` at nice -10, with a starved process in its tree",
        outcome: "its failures are doubted for `max_doubt` (10 s), then it is healed",
    };
    let noticed = noticed.as_secs_f64();
    let measured = format!(
        "taken down after {noticed:.1} s, {starved} + {late} restarts avoided (`starved` + `late`)"
    );
    row.measured(this_test!(), &measured);
}

#[test]
fn a_child_that_is_slow_beside_a_busy_neighbour_is_not_taken_for_starved() {
    if !["taskset", "setpriv"].into_iter().all(has_tool) {
        return;
    }
    let (world, port) = (World::new(), free_port());
    // The end of a probe wakes it, and then it has to wait for its processor for a moment.
    let processor = Processor::take();
    let cpu = &processor.number;
    let script = format!("exec nice -n 19 taskset -c {cpu} {REKINDLE} demo-gateway --port {port}");
    let rekindle = world.run(&doubted_for_long(&script, port, "400ms"));
    rekindle.wait_state("healthy");
    let _neighbour = processor.keep_busy(&world);

    get(port, "/fault?mode=slow").expect("the demo gateway takes the order");
    let watch = Stopwatch::start();

    rekindle.wait_restarts("probe_failed", 1);
    rekindle.wait_state("healthy");
    let row = Fault {
        part: Part::Away,
        fault: "a child is really slow, and its processor is busy",
        injected: "the gateway answers after 30 s, at nice 19 beside a busy loop on one processor",
        outcome: "that it waits for a moment when a probe ends is not taken for starvation: healed",
    };
    row.recovered_after(this_test!(), watch.elapsed());
}

#[test]
fn a_child_whose_serving_thread_gets_no_processor_is_left_alone() {
    if !["chrt", "taskset", "setpriv"].into_iter().all(has_tool) {
        return;
    }
    let (world, port) = (World::new(), free_port());
    // Its main thread sleeps all the time, and would look as if it had all that it wants.
    let server = format!(
        "import http.server as h, threading as t\n\
         h.SimpleHTTPRequestHandler.log_message = lambda *_: None\n\
         s = h.HTTPServer((\"127.0.0.1\", {port}), h.SimpleHTTPRequestHandler)\n\
         t.Thread(target=s.serve_forever).start()\n\
         t.Event().wait()"
    );
    let server = world.write("server.py", &server);
    let processor = Processor::take();
    let cpu = &processor.number;
    let script = format!("exec chrt --idle 0 taskset -c {cpu} python3 {server}");
    // The handler serves files of this directory.
    world.write("health", "");
    let rekindle = world.run(&doubted_for_long(&script, port, "200ms"));
    rekindle.wait_state("healthy");

    let neighbours: Vec<_> = (0..3).map(|_| processor.keep_busy(&world)).collect();
    // Of a restart that is avoided, or of ten periods without an answer.
    let is_starved = || rekindle.said(&["\"why\":\"starved\""]);
    rekindle.wait("failures are not believed", || doubted(&rekindle) >= 10 && is_starved());
    drop(neighbours);

    let passes = rekindle.probes("liveness", "success");
    rekindle.wait("it passes", || rekindle.probes("liveness", "success") >= passes + 10);
    assert_eq!(rekindle.all_restarts(), 0, "{}", rekindle.story());
    let row = Fault {
        part: Part::Away,
        fault: "the thread that serves gets no processor, the main thread needs none",
        injected: "a server in a second thread, SCHED_IDLE beside three busy loops on one processor",
        outcome: "the wait of any thread counts as starvation: no restart",
    };
    row.did_no_harm(this_test!());
}

#[test]
fn a_child_whose_supervisor_gets_no_processor_is_left_alone() {
    let has_tools = ["renice", "taskset", "setpriv"].into_iter().all(has_tool);
    if !has_tools || !is_root("taking a nice value back") {
        return;
    }
    let (world, port, processor) = (World::new(), free_port(), Processor::take());
    let rekindle = world.run(&doubted_for_long(&gateway(port), port, "20ms"));
    let child = served_by(&rekindle, port);
    // Only its main thread: what else it has answers us.
    let ours = rekindle.pid();
    let renice = |nice: &str| {
        done(&world, &format!("taskset -p -c {} {ours} && renice {nice} {ours}", processor.number));
    };
    renice("19");

    let neighbours: Vec<_> = (0..3).map(|_| processor.keep_busy(&world)).collect();
    // So many that some of them come in a row, and not so late that they are late. It is we who get
    // no processor for them.
    for some in [7, 14, 20] {
        rekindle.wait("failures are not believed", || doubted(&rekindle) >= some);
    }
    drop(neighbours);
    renice("0");

    goes_on(&rekindle, port, child);
    let row = Fault {
        part: Part::Away,
        fault: "the supervisor gets no processor, the child needs no more than it has",
        injected: "at nice 19 beside three busy loops on one processor; probes may take 20 ms",
        outcome: "its own wait counts as starvation, too: no restart",
    };
    row.did_no_harm(this_test!());
}

#[test]
fn a_child_that_gets_no_processor_while_it_starts_is_given_its_time() {
    if !["chrt", "taskset", "setpriv"].into_iter().all(has_tool) {
        return;
    }
    let (world, port, processor) = (World::new(), free_port(), Processor::take());
    let cpu = &processor.number;
    // Its start takes a tenth of a second of a processor.
    let starter = format!(
        "i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done\n\
         exec {REKINDLE} demo-gateway --port {port}"
    );
    let starter = world.write("starter", &starter);
    let script = format!("exec chrt --idle 0 taskset -c {cpu} sh {starter}");
    let neighbours: Vec<_> = (0..3).map(|_| processor.keep_busy(&world)).collect();
    let config = doubted_for_long(&script, port, "200ms").with("startup_timeout = \"800ms\"");
    let rekindle = world.start(world.prepare(&config));
    // Ten periods, which are longer than the budget.
    rekindle.wait_said(&["blind: the startup probe could not tell anything", "starved"]);
    drop(neighbours);
    // Others may keep the machine as busy as these did.
    let child = &rekindle.status()["services"][0]["pid"];
    done(&world, &format!("chrt --all-tasks --other --pid 0 {child}"));

    rekindle.wait_state("healthy");
    assert_eq!(rekindle.all_restarts(), 0, "{}", rekindle.story());
    let row = Fault {
        part: Part::Away,
        fault: "a child gets no processor while it starts",
        injected: "the gateway, SCHED_IDLE beside three busy loops on one processor for longer than \
                   its `startup_timeout`",
        outcome: "that nobody listens yet counts as starvation, the budget stands still: no restart",
    };
    row.did_no_harm(this_test!());
}

#[test]
fn clocks_that_have_always_been_apart_are_no_suspension() {
    let mut recoveries = Vec::new();
    for (monotonic, boottime) in [("0", "3600"), ("3600", "0"), ("86400", "8640000")] {
        let (world, port) = (World::new(), free_port());
        // A suspension that is seen again and again would be doubted for an hour.
        let config = Config::demo(port).with("max_doubt = \"1h\"");
        let flags = ["--time", "--monotonic", monotonic, "--boottime", boottime];
        let Some(rekindle) = world.run_unshared(&config, &flags) else { return };
        let child = served_by(&rekindle, port);

        let watch = Stopwatch::start();
        processes::send(child, Signal::STOP);
        rekindle.wait_restarts("probe_failed", 1);
        served_by(&rekindle, port);
        recoveries.push(watch.elapsed());

        assert_eq!(rekindle.all_restarts(), 1);
        assert!(!rekindle.said(&["suspended"]), "{}", rekindle.story());
    }
    let row = Fault {
        part: Part::Away,
        fault: "MONOTONIC and BOOTTIME are hours apart, and the child hangs",
        injected: "`unshare --time --boottime` and `--monotonic`; SIGSTOP to the child",
        outcome: "the distance is no suspension: the hang is believed and healed",
    };
    row.recovered_after(this_test!(), recoveries.into_iter().max().expect("three"));
}

/// Which of two is brought back first, and how long before the other.
#[derive(Clone, Copy)]
struct Order {
    supervisor_first: bool,
    apart: Duration,
}

impl Order {
    fn bring_back(self, supervisor: impl Fn(), child: impl Fn()) {
        let (first, second): (&dyn Fn(), &dyn Fn()) =
            if self.supervisor_first { (&supervisor, &child) } else { (&child, &supervisor) };
        first();
        thread::sleep(self.apart);
        second();
    }

    /// The child goes on; if it came back well after us, it missed enough probes to be restarted.
    fn goes_on(self, rekindle: &Rekindle<'_>, port: u16, child: i32) {
        goes_on(rekindle, port, child);
        if self.supervisor_first && !self.apart.is_zero() {
            // On a busy machine the tree, or we, have also waited for a processor meanwhile.
            let avoided = avoided(rekindle, "late") + avoided(rekindle, "starved");
            assert!(avoided >= 1, "{}", rekindle.story());
        }
    }

    fn name(self) -> String {
        let first = if self.supervisor_first { "supervisor" } else { "child" };
        format!("{first}-first-{}", self.apart.as_millis())
    }
}

/// Does the same in all orders at once: most of it is waiting.
fn in_every_order(away: impl Fn(Order) + Sync) {
    thread::scope(|scope| {
        for supervisor_first in [true, false] {
            for apart in [Duration::ZERO, APART] {
                let away = &away;
                scope.spawn(move || away(Order { supervisor_first, apart }));
            }
        }
    });
}

/// The same child passes again and again, and was never restarted.
fn goes_on(rekindle: &Rekindle<'_>, port: u16, child: i32) {
    let passes = rekindle.probes("liveness", "success");
    rekindle.wait("it passes again and again", || {
        rekindle.probes("liveness", "success") >= passes + 10
    });
    assert_eq!(child, served_by(rekindle, port), "{}", rekindle.story());
    assert_eq!(rekindle.all_restarts(), 0, "{}", rekindle.story());
}

/// How many liveness probes told nothing.
fn doubted(rekindle: &Rekindle<'_>) -> u64 {
    rekindle.probes("liveness", "inconclusive")
}

/// How many restarts were avoided for this reason: by the metric, and each has its line in the log.
fn avoided(rekindle: &Rekindle<'_>, why: &str) -> u64 {
    let lines = || {
        let why = format!("\"why\":\"{why}\"");
        let lines = rekindle.lines_with("restart avoided");
        lines.iter().filter(|line| line.contains(WARN) && line.contains(&why)).count() as u64
    };
    let count = || rekindle.count("rekindle_restarts_avoided_total", &format!("why=\"{why}\""));
    rekindle.wait("log and metric tell the same", || lines() == count());
    lines()
}

/// How late the supervisor says that it was, in all.
fn lateness(rekindle: &Rekindle<'_>) -> Duration {
    let span = |line: &String| {
        let (_, told) = line.split_once("we were late by ").expect("asked for");
        let (span, _) = told.split_once(':').expect("a colon ends it");
        let (number, unit) = span.split_once(' ').expect("less than a minute");
        let number: f64 = number.parse().expect("a number");
        Duration::from_secs_f64(if unit == "ms" { number / 1000.0 } else { number })
    };
    rekindle.lines_with("we were late by").iter().map(span).sum()
}

fn can_load() -> bool {
    is_root("a negative nice value") && has_tool("stress-ng")
}

/// The demo gateway in a rhythm in which two failures take less than a quarter of a second.
fn hasty(port: u16) -> Config {
    Config::demo(port).with("probe.liveness.timeout = \"100ms\"")
}

/// The rhythm of a patient operator, and the doubt that is the default.
fn in_seconds(config: Config) -> Config {
    config.with(
        r#"
        max_doubt = "2m"
        probe.startup.period = "1s"
        probe.liveness.period = "1s"
        "#,
    )
}

/// The demo gateway as a process that lets everybody else go first.
fn meek(port: u16) -> Config {
    let probe = format!("http = \"http://127.0.0.1:{port}/health\"");
    let nice = ["nice", "-n", "19", REKINDLE, "demo-gateway", "--port", &port.to_string()];
    Config::command(&nice).probing(&probe)
}

/// `stress-ng` with four busy workers for each processor and at least eight, in front of everybody.
fn load(world: &World, span: Duration) -> Rekindle<'_> {
    let workers = 4 * thread::available_parallelism().map_or(2, NonZero::get).max(2);
    let mut command = world.command("nice");
    command.args(["-n", "-10", "stress-ng", "--cpu", &workers.to_string()]);
    command.args(["--timeout", &format!("{}s", span.as_secs())]);
    world.start(command)
}

fn gateway(port: u16) -> String {
    format!("exec {REKINDLE} demo-gateway --port {port}")
}

/// Runs `script`, which serves on `port`; what can be doubted is, as long as the test lasts.
fn doubted_for_long(script: &str, port: u16, timeout: &str) -> Config {
    let probe = format!("http = \"http://127.0.0.1:{port}/health\"");
    let keys = format!("probe.liveness.timeout = \"{timeout}\"\nmax_doubt = \"1h\"");
    Config::script(script).probing(&probe).with(&keys)
}

/// Runs a script to its end.
fn done(world: &World, script: &str) {
    let mut shell = world.command("sh");
    shell.args(["-c", script]);
    assert_eq!(world.start(shell).wait_exit(), 0, "{script}");
}

/// A processor that tests may keep busy, one at a time: two would starve each other's children.
struct Processor {
    /// In the words of `taskset`.
    number: String,
    _only_us: MutexGuard<'static, ()>,
}

impl Processor {
    /// The first that we may use, once no other test has it.
    fn take() -> Self {
        static TAKEN: Mutex<()> = Mutex::new(());
        let only_us = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let status = std::fs::read_to_string("/proc/self/status").expect("our status");
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let first = list.and_then(|list| list.trim().split([',', '-']).next());
        Self { number: first.expect("a processor").to_owned(), _only_us: only_us }
    }

    /// Keeps it busy; even where the tests are killed, for no longer than they live.
    fn keep_busy<'w>(&self, world: &'w World) -> Rekindle<'w> {
        let mut command = world.command("setpriv");
        command.args(["--pdeathsig", "KILL", "taskset", "-c", &self.number]);
        command.args(["sh", "-c", "while :; do :; done"]);
        world.start(command)
    }
}

/// How long a process has been runnable without running.
fn run_delay(pid: i32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat"));
    let text = text.expect("it lives, and the kernel keeps its schedstat");
    let waited = text.split(' ').nth(1).and_then(|field| field.parse().ok());
    Duration::from_nanos(waited.expect("a number of nanoseconds"))
}
