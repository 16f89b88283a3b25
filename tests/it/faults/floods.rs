//! Too much output, output that nobody reads, too many dead: none of it delays the supervision.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;

use crate::crash::served_by;
use crate::pid1::as_pid_1;
use crate::support::http::free_port;
use crate::support::lateness::Lateness;
use crate::support::time::{Witness, holds_within, wall_time};
use crate::support::{
    Config, Fault, Part, REKINDLE, Rekindle, Stopwatch, Streams, World, get, has_tool, processes,
    this_test,
};

const GIGABYTE: u64 = 1_000_000_000;

#[test]
#[ignore = "floods the whole machine"]
fn a_gigabyte_of_output_makes_the_loop_late_for_no_more_than_10_ms() {
    let (world, port) = (World::new(), free_port());
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let count = counted(reader);
    let done = world.at("done");
    let go = world.at("go");
    let flood = format!(
        "(until test -e {go}; do sleep 0.1; done; head -c {GIGABYTE} /dev/zero; touch {done})"
    );
    let script = format!("{flood} & exec {REKINDLE} demo-gateway --port {port}");
    // Many turns, so that the 99th of a hundred is not the worst of all.
    let config = patient(port)
        .with("probe.liveness.period = \"10ms\"")
        .with(&format!("command = [\"/bin/sh\", \"-c\", \"{script}\"]"));
    let mut rekindle = world.start_with(Streams::Stdout(writer.into()), world.prepare(&config));
    rekindle.wait_said(&["it has settled"]);

    let before = Lateness::of(&rekindle);
    let witness = Witness::start();
    let watch = Stopwatch::start();
    world.write("go", "");
    let written = || world.path("done").exists();
    assert!(holds_within(Duration::from_mins(5), written), "{}", rekindle.story());
    let took = watch.elapsed();
    let late = Lateness::of(&rekindle).since(&before);

    assert_eq!(rekindle.all_restarts(), 0);
    let machine = witness.lateness();
    // A machine that is late itself is allowed for, a quiet one is not.
    let quiet = machine.p99 < Duration::from_millis(2);
    let allowance = if quiet { Duration::ZERO } else { machine.allowance() };
    let most = Duration::from_millis(10) + allowance;
    assert!(late.p99() <= most, "{late:?}, {machine:?}");
    // What the pipe still holds is read in the end: the dropped bytes are told before that.
    let dropped = dropped_once_quiet(&rekindle);
    assert_eq!(rekindle.stop().0, 0);
    drop(rekindle);
    let arrived = count.join().expect("the reader reads");
    let banner = arrived + dropped - GIGABYTE;
    assert!(banner < 1000, "{arrived} bytes have arrived, {dropped} were dropped");
    let row = Fault {
        part: Part::Floods,
        fault: "1 GB of output as fast as the child can",
        injected: "`head -c 1G /dev/zero` beside the gateway, stdout read by a pipe's reader",
        outcome: "each byte arrives or is counted as dropped, no restart, and the loop's lateness \
                  stays below 10 ms (p99), besides what a busy machine costs an idle thread",
    };
    let figure = format!(
        "p99 at most {:?} in {} turns (an idle thread beside it: {:.1} ms), {:.0} MB/s, \
         {dropped} bytes dropped",
        late.p99(),
        late.turns,
        machine.p99.as_secs_f64() * 1000.0,
        1000.0 / took.as_secs_f64(),
    );
    row.measured(this_test!(), &figure);
}

#[test]
fn a_flood_of_output_delays_neither_the_healing_nor_our_answers() {
    let (world, port) = (World::new(), free_port());
    let nowhere = File::create("/dev/null").expect("a sink");
    let command = world.prepare(&patient(port));
    let rekindle = world.start_with(Streams::Stdout(nowhere.into()), command);
    served_by(&rekindle, port);
    get(port, "/fault?mode=flood&seconds=2").expect("the demo gateway takes the order");

    let took = heals_and_answers(&rekindle, port);
    let row = Fault {
        part: Part::Floods,
        fault: "a crash in the middle of a flood of output",
        injected: "the gateway writes as fast as it can, then aborts",
        outcome: "healed, and `/livez` answers before and after",
    };
    row.recovered_after(this_test!(), took);
}

#[test]
fn a_stdout_that_is_never_read_delays_neither_the_healing_nor_our_answers() {
    let took = never_read("stdout", Streams::Stdout);
    let row = Fault {
        part: Part::Floods,
        fault: "nobody reads our stdout any more",
        injected: "2 MB of the child's output into a pipe without a reader's turn, then a crash",
        outcome: "what does not fit is dropped and counted; the child, the log, the healing, \
                  `/livez` and `/metrics` go on",
    };
    row.recovered_after(this_test!(), took);
}

#[test]
fn where_output_is_inherited_a_reader_that_stops_blocks_the_child_and_nobody_else() {
    let (world, port) = (World::new(), free_port());
    let (reader, writer) = std::io::pipe().expect("a pipe");
    // More than the pipe holds.
    let script = format!("head -c 2000000 /dev/zero; exec {REKINDLE} demo-gateway --port {port}");
    let config = Config::demo(port)
        .with(&format!("command = [\"/bin/sh\", \"-c\", \"{script}\"]"))
        .with("output = \"inherit\"\nstartup_timeout = \"1s\"");
    let rekindle = world.start_with(Streams::Stdout(writer.into()), world.prepare(&config));

    rekindle.wait_restarts("startup_timeout", 2);
    rekindle.wait_said(&["restart", "\"reason\":\"startup_timeout\""]);
    assert_eq!(rekindle.get("/livez").expect("an answer").status, 200);
    assert_eq!(rekindle.get("/metrics").expect("a page").status, 200);
    assert_eq!(rekindle.count("rekindle_output_dropped_bytes_total", "stream=\"stdout\""), 0);

    let watch = Stopwatch::start();
    let count = counted(reader);
    served_by(&rekindle, port);
    let took = watch.elapsed();

    drop(rekindle);
    assert!(count.join().expect("the reader reads") >= 2_000_000, "all that the last one wrote");
    let row = Fault {
        part: Part::Floods,
        fault: "nobody reads the stdout that the child inherited",
        injected: "`output = \"inherit\"`, a pipe whose reader stops, and goes on later",
        outcome: "the child waits in its write, is never up, and is healed again and again; \
                  nothing is dropped, log, `/livez` and `/metrics` go on, and it serves once it is \
                  read",
    };
    row.recovered_after(this_test!(), took);
}

#[test]
fn a_stderr_that_is_never_read_delays_neither_the_healing_nor_our_answers() {
    let took = never_read("stderr", Streams::Stderr);
    let row = Fault {
        part: Part::Floods,
        fault: "nobody reads our stderr any more",
        injected: "the same on stderr, where our own log goes, too",
        outcome: "the same: what does not fit is dropped and counted, the healing goes on",
    };
    row.recovered_after(this_test!(), took);
}

#[test]
fn ten_thousand_orphans_are_reaped_and_the_childs_death_among_them_is_seen_at_once() {
    if !(has_tool("nsenter") && has_tool("perl")) {
        return;
    }
    let world = World::new();
    let Some(rekindle) = as_pid_1(&world, &Config::script("exec sleep 1000")) else { return };
    let alone = notices_the_death(&rekindle, only_child(&rekindle));
    rekindle.wait_restarts("signal", 1);

    // Of three floods the one in the middle: what the machine did meanwhile is in all of them.
    let witness = Witness::start();
    let mut floods = [(); 3].map(|()| dies_among_orphans(&world, &rekindle));
    let machine = witness.lateness();
    floods.sort_unstable();
    let [_, (among_them, reaped), _] = floods;
    let most = alone + Duration::from_millis(50) + machine.allowance();
    assert!(among_them <= most, "{floods:?}, without orphans {alone:?}, {machine:?}");
    rekindle.wait_state("healthy");
    assert_eq!(rekindle.restarts("signal"), 1 + 3);
    let row = Fault {
        part: Part::Floods,
        fault: "10,000 orphans of others, and the child dies among them",
        injected: "as PID 1: ten processes leave 1,000 zombies each within seconds; SIGKILL to \
                   the child in the middle of it",
        outcome: "all are reaped; the child's death is noticed no more than 50 ms later than \
                  without them (besides what the machine costs an idle thread), and it is healed",
    };
    let figure = format!(
        "noticed after {:.1} ms (alone {:.1} ms); all reaped {:.2} s after the last",
        among_them.as_secs_f64() * 1000.0,
        alone.as_secs_f64() * 1000.0,
        reaped.as_secs_f64(),
    );
    row.measured(this_test!(), &figure);
}

/// How long after its death in the middle of a flood the child's end is told, and how long after
/// the flood all of it is reaped.
fn dies_among_orphans(world: &World, rekindle: &Rekindle<'_>) -> (Duration, Duration) {
    let child = only_child(rekindle);
    let half = world.path("half");
    std::fs::remove_file(&half).ok();
    let mut flood = orphans(world, rekindle.pid());
    rekindle.wait("half of them were left to us", || half.exists());
    let noticed = notices_the_death(rekindle, child);

    assert_eq!(flood.wait_exit(), 0);
    let watch = Stopwatch::start();
    rekindle.wait("all are reaped", || processes::children(rekindle.pid()).len() == 1);
    (noticed, watch.elapsed())
}

/// Strangers in the namespace of `init` leave ten times a thousand zombies to it; `half` is there
/// when half of them are dead.
fn orphans(world: &World, init: i32) -> Rekindle<'_> {
    let half = world.at("half");
    let script = format!(
        "for my $wave (1..10) {{
            my $parent = fork // die;
            if (!$parent) {{
                for (1..1000) {{ my $one = fork // die; exit 0 if !$one; }}
                exit 0;
            }}
            waitpid $parent, 0;
            if ($wave == 5) {{ open my $file, '>', '{half}' or die; }}
        }}"
    );
    let mut exec = world.command("nsenter");
    exec.args(["--target", &init.to_string(), "--pid", "perl", "-e", &script]);
    world.start(exec)
}

/// The child, while nothing else is the supervisor's to reap.
fn only_child(rekindle: &Rekindle<'_>) -> i32 {
    rekindle.wait_state("healthy");
    let children = processes::children(rekindle.pid());
    assert_eq!(children.len(), 1, "{children:?}");
    children[0]
}

/// Kills the child; how long it takes until our log tells of its death.
fn notices_the_death(rekindle: &Rekindle<'_>, child: i32) -> Duration {
    let told = || rekindle.lines_with("it was killed by signal 9");
    let before = told().len();
    let killed = wall_time();
    processes::send(child, Signal::KILL);
    rekindle.wait("the death is told", || told().len() > before);
    let line: serde_json::Value = serde_json::from_str(&told()[before]).expect("a line of JSON");
    let time = line["time"].as_str().expect("a time");
    let time = humantime::parse_rfc3339(time).expect("a time");
    // The log cuts a time to milliseconds.
    time.duration_since(killed).unwrap_or_default()
}

fn never_read(stream: &str, streams: fn(OwnedFd) -> Streams) -> Duration {
    let (world, port) = (World::new(), free_port());
    let (reader, writer) = std::io::pipe().expect("a pipe");
    // More than the pipe and the queue to it hold.
    let script = format!(
        "head -c 2000000 /dev/zero > /dev/{stream}; exec {REKINDLE} demo-gateway --port {port}"
    );
    let config = patient(port).with(&format!("command = [\"/bin/sh\", \"-c\", \"{script}\"]"));
    let rekindle = world.start_with(streams(writer.into()), world.prepare(&config));
    served_by(&rekindle, port);
    rekindle.wait("output is dropped", || {
        rekindle.count("rekindle_output_dropped_bytes_total", &format!("stream=\"{stream}\"")) > 0
    });

    let took = heals_and_answers(&rekindle, port);
    if stream == "stdout" {
        // The log is another stream, and goes on.
        rekindle.wait_said(&["restart", "\"reason\":\"signal\""]);
    }
    drop(reader);
    took
}

/// Who writes as fast as it can answers slowly, and who crashes stops to answer before it is dead:
/// that is not what these tests are about.
fn patient(port: u16) -> Config {
    let keys = "probe.liveness.timeout = \"5s\"\nprobe.liveness.failure_threshold = 20";
    Config::demo(port).with(keys)
}

fn heals_and_answers(rekindle: &Rekindle<'_>, port: u16) -> Duration {
    assert_eq!(rekindle.get("/livez").expect("an answer").status, 200);
    let watch = Stopwatch::start();
    get(port, "/fault?mode=crash").expect("the demo gateway takes the order");
    rekindle.wait_restarts("signal", 1);
    served_by(rekindle, port);
    let took = watch.elapsed();
    assert_eq!(rekindle.get("/livez").expect("an answer").status, 200);
    assert_eq!(rekindle.get("/metrics").expect("a page").status, 200);
    took
}

/// Reads everything that comes, and counts it.
fn counted(mut from: std::io::PipeReader) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let (mut buffer, mut sum) = (vec![0; 1 << 20], 0);
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            sum += read as u64;
        }
        sum
    })
}

/// The number of dropped bytes of stdout, once no more are being dropped.
fn dropped_once_quiet(rekindle: &Rekindle<'_>) -> u64 {
    rekindle.wait("dropping is over", || {
        rekindle.lines_with("dropping output").len() == rekindle.lines_with("dropped ").len()
    });
    rekindle.count("rekindle_output_dropped_bytes_total", "stream=\"stdout\"")
}
