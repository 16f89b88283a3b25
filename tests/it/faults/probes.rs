//! Probes that bite: health servers, probe programs and hooks that misbehave get a bounded verdict
//! of the right kind, and leave nothing behind.
//!
//! An answer that took longer than its probe's timeout and a quarter more is `late` and not
//! believed, so that each failure that is counted here came in time.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use rustix::process::Signal;

use crate::support::cgroup::Cgroup;
use crate::support::http::free_port;
use crate::support::time::Witness;
use crate::support::{Config, Fault, Part, Rekindle, Stopwatch, World, processes, stub, this_test};

/// The test that is not one, by its full name.
const NAME: &str = "faults::probes::bites_as_a_test_dictates";

/// What makes a probe read the body.
const READS_BODY: &str = r#"
    probe.startup.expect_body = "well"
    probe.liveness.expect_body = "well"
    "#;

/// How often a bite is felt before the supervisor's memory is looked at, and how often after that.
const WARM: usize = 30;
const MORE: usize = 150;

/// So much the supervisor's memory may grow by [`MORE`] bad answers.
const FLAT_KB: u64 = 1024;

/// Each way to bite, and whether its verdict has to wait for the timeout.
const BITES: &[(&str, bool)] = &[
    ("endless-header", false),
    ("endless-body", false),
    ("redirect", false),
    ("not-http", false),
    ("reset-body", false),
    ("short-body", false),
    ("trickling-header", true),
    ("trickling-body", true),
];

/// The least time to a restart if each of two failures takes the timeout and the next period, and
/// what a machine that does other things may take besides.
const VERDICT: Duration = Duration::from_millis(2 * (1000 + 100) + 2000);

#[test]
fn an_endless_header_is_cut_off() {
    let row = Fault {
        part: Part::Probes,
        fault: "the health server sends a header without end",
        injected: "a child whose answer never gets to its body",
        outcome: "`reset`: given up after some 400 kB, healed at the threshold",
    };
    row.recovered_after(this_test!(), bitten("endless-header", "reset", ""));
}

#[test]
fn an_endless_body_is_read_no_further_than_64_kib() {
    let row = Fault {
        part: Part::Probes,
        fault: "the health server sends a body without end",
        injected: "a child whose answer never ends, and a probe that expects a text in it",
        outcome: "`bad_body`: given up after 64 KiB, healed at the threshold",
    };
    row.recovered_after(this_test!(), bitten("endless-body", "bad_body", READS_BODY));
}

#[test]
fn an_endless_body_that_nobody_asked_for_does_no_harm() {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&biting(&world, port));
    rekindle.wait_state("healthy");
    world.write("bite", "endless-body");
    rekindle.wait("it bites", || world.read("bitten").lines().count() >= 1);

    let passes = rekindle.probes("liveness", "success");
    rekindle.wait("it passes on", || rekindle.probes("liveness", "success") >= passes + 20);

    assert_eq!(rekindle.all_restarts(), 0);
    let row = Fault {
        part: Part::Probes,
        fault: "the health server sends a body without end, of which nothing is expected",
        injected: "a child whose answer never ends, and a probe of the status alone",
        outcome: "the status passes, the body is not read: no restart",
    };
    row.did_no_harm(this_test!());
}

#[test]
fn a_header_that_trickles_is_a_timeout() {
    let row = Fault {
        part: Part::Probes,
        fault: "the health server sends its header byte by byte",
        injected: "a child that sends one byte a second",
        outcome: "`timeout` after the probe's timeout, healed at the threshold",
    };
    row.recovered_after(this_test!(), bitten("trickling-header", "timeout", ""));
}

#[test]
fn a_body_that_trickles_is_a_timeout() {
    let row = Fault {
        part: Part::Probes,
        fault: "the health server sends its body byte by byte",
        injected: "a child that sends one byte a second, and a probe that expects a text",
        outcome: "`timeout` after the probe's timeout, healed at the threshold",
    };
    row.recovered_after(this_test!(), bitten("trickling-body", "timeout", READS_BODY));
}

#[test]
fn a_redirect_loop_is_not_followed() {
    let row = Fault {
        part: Part::Probes,
        fault: "the health server redirects to itself",
        injected: "a child that answers 302 with its own address",
        outcome: "`bad_status`: no redirect is followed; healed at the threshold",
    };
    row.recovered_after(this_test!(), bitten("redirect", "bad_status", ""));
}

#[test]
fn what_is_not_http_is_a_broken_answer() {
    let row = Fault {
        part: Part::Probes,
        fault: "the health port does not speak HTTP",
        injected: "a child that answers with another protocol's greeting",
        outcome: "`reset`, healed at the threshold",
    };
    row.recovered_after(this_test!(), bitten("not-http", "reset", ""));
}

#[test]
fn a_reset_in_the_middle_of_the_body_is_a_broken_answer() {
    let row = Fault {
        part: Part::Probes,
        fault: "the health server resets the connection in mid-body",
        injected: "a child that promises 1,000 bytes, sends 10 and an RST",
        outcome: "`reset`, healed at the threshold",
    };
    row.recovered_after(this_test!(), bitten("reset-body", "reset", READS_BODY));
}

#[test]
fn a_body_that_ends_early_is_a_broken_answer() {
    let row = Fault {
        part: Part::Probes,
        fault: "the health server hangs up in mid-body",
        injected: "a child that promises 1,000 bytes, sends 10 and closes",
        outcome: "`reset`, healed at the threshold",
    };
    row.recovered_after(this_test!(), bitten("short-body", "reset", READS_BODY));
}

#[test]
fn hundreds_of_bad_answers_leave_memory_flat() {
    let grown = [grown_by(false, "1s"), grown_by(true, "40ms")].concat();

    assert!(grown.iter().all(|(_, kb)| *kb < FLAT_KB), "RSS has grown by {grown:?} kB");
    let worst = grown.iter().map(|(_, kb)| kb).max().expect("there are bites");
    let row = Fault {
        part: Part::Probes,
        fault: "hundreds of bad answers",
        injected: "150 of each of eight kinds (endless, trickling, broken off and others), as fast as asked for",
        outcome: "the supervisor's memory stays flat",
    };
    row.measured(this_test!(), &format!("RSS + {worst} kB at most"));
}

/// By how many kB the supervisor's memory has grown by each way to bite that is of this kind.
fn grown_by(waits: bool, timeout: &str) -> Vec<(&'static str, u64)> {
    let (world, port) = (World::new(), free_port());
    let config = biting(&world, port).with(READS_BODY).with(&format!(
        r#"
        probe.liveness.period = "10ms"
        probe.liveness.timeout = "{timeout}"
        probe.liveness.failure_threshold = 1000000
        "#
    ));
    let rekindle = world.run(&config);
    rekindle.wait_state("healthy");
    let growth_by = |bite: &'static str| {
        world.write("bite", bite);
        let seen = || world.lines("bitten").iter().filter(|line| *line == bite).count();
        rekindle.wait(&format!("{bite}: it is warm"), || seen() >= WARM);
        let warm = processes::resident_kb(rekindle.pid());
        rekindle.wait(&format!("{bite}: it is bitten again"), || seen() >= WARM + MORE);
        (bite, processes::resident_kb(rekindle.pid()).saturating_sub(warm))
    };
    let bites = BITES.iter().filter(|(_, waits_for_timeout)| *waits_for_timeout == waits);
    let grown = bites.map(|(bite, _)| growth_by(bite)).collect();
    assert_eq!(rekindle.all_restarts(), 0);
    grown
}

#[test]
fn an_exec_probe_that_hangs_heals_and_leaves_no_process() {
    let world = World::new();
    let is_well = is_well(&world);
    let probe =
        world.write("probe.sh", &format!("{is_well}; sleep 4712 & setsid sleep 4712 & sleep 4712"));
    let config = cured_by_a_restart(&world)
        .probing(&format!("exec = [\"/bin/sh\", \"{probe}\"]"))
        .with("probe.liveness.timeout = \"300ms\"");
    let rekindle = world.run(&config);
    rekindle.wait_state("healthy");

    let watch = Stopwatch::start();
    world.write("sick", "");

    healed(&rekindle, "timeout");
    let took = watch.elapsed();
    assert!(world.processes_like("sleep 4712").is_empty());
    // A zombie would stay for good, a probe that runs does not.
    rekindle.wait("only the child is left", || processes::children(rekindle.pid()).len() == 1);
    let row = Fault {
        part: Part::Probes,
        fault: "an exec probe hangs",
        injected: "its program starts others, one in a session of its own, and waits for ever",
        outcome: "`timeout`, healed at the threshold; no process and no zombie is left",
    };
    row.recovered_after(this_test!(), took);
}

#[test]
fn an_exec_probe_that_cannot_be_killed_counts_as_one_that_hangs() {
    let mut recoveries = Vec::new();
    // Itself, or what it has started: that falls to us when the rest has died, or before, and may
    // have no mark.
    for run in ["exec STUCK", "STUCK", "env -i STUCK", "(env -i STUCK &); exec STUCK"] {
        let world = World::new();
        // What is in it dies, once thawed, before the world looks for who has been left.
        let Some(cgroup) = Cgroup::new("freezer") else { return };
        let stuck = format!("sh -c 'echo $$ > {}; sleep 4714'", cgroup.file("cgroup.procs"));
        let run = run.replace("STUCK", &stuck);
        let probe = world.write("probe.sh", &format!("{}; {run}; exit 1", is_well(&world)));
        let config = cured_by_a_restart(&world)
            .probing(&format!("exec = [\"/bin/sh\", \"{probe}\"]"))
            .with("probe.liveness.timeout = \"300ms\"");
        let rekindle = world.run(&config);
        rekindle.wait_state("healthy");
        // In the first version of cgroups who is frozen does not die before it is thawed.
        cgroup.set("freezer.state", "FROZEN");

        let watch = Stopwatch::start();
        world.write("sick", "");

        healed(&rekindle, "timeout");
        recoveries.push(watch.elapsed());
        // The next child's probes are programs of their own, and it owes nothing for these.
        let passes = rekindle.probes("liveness", "success");
        rekindle.wait("it passes", || rekindle.probes("liveness", "success") >= passes + 10);
        assert_eq!(rekindle.all_restarts(), 1, "{}", rekindle.story());
        assert!(!cgroup.get("cgroup.procs").is_empty(), "they are frozen yet");
        cgroup.set("freezer.state", "THAWED");
        rekindle.wait("only the child is left", || processes::children(rekindle.pid()).len() == 1);
    }
    let row = Fault {
        part: Part::Probes,
        fault: "an exec probe hangs, and SIGKILL does not end it",
        injected: "its program, or what it has started, is in a frozen cgroup, version 1, as if a \
                   disk did not answer",
        outcome: "`timeout`, healed at the threshold; it is reaped once it can die",
    };
    row.recovered_after(this_test!(), recoveries.into_iter().max().expect("four"));
}

#[test]
fn exec_probes_that_cannot_be_killed_become_no_more_than_ten() {
    let world = World::new();
    let Some(cgroup) = Cgroup::new("freezer") else { return };
    let sick = world.at("sick");
    let stuck = format!("sh -c 'echo $$ > {}; exec sleep 4715'", cgroup.file("cgroup.procs"));
    let probe = world.write("probe.sh", &format!("[ -e {sick} ] || exit 0; {stuck}"));
    let config = Config::script("exec sleep 1000")
        .probing(&format!("exec = [\"/bin/sh\", \"{probe}\"]"))
        .with("probe.liveness.timeout = \"500ms\"")
        .with("probe.liveness.failure_threshold = 12");
    let rekindle = world.run(&config);
    rekindle.wait_state("healthy");
    cgroup.set("freezer.state", "FROZEN");

    let watch = Stopwatch::start();
    world.write("sick", "");

    // The eleventh and the twelfth are not started.
    rekindle.wait_restarts("probe_failed", 1);
    let took = watch.elapsed();
    rekindle.wait_said(&["blind: the startup probe", "no_resources"]);
    assert_eq!(cgroup.get("cgroup.procs").lines().count(), 10, "{}", rekindle.story());
    assert_eq!(rekindle.all_restarts(), 1, "what outlives its child is not that one's doing");

    fs::remove_file(&sick).expect("it is there");
    cgroup.set("freezer.state", "THAWED");
    rekindle.wait_state("healthy");
    rekindle.wait("only the child is left", || processes::children(rekindle.pid()).len() == 1);
    let row = Fault {
        part: Part::Probes,
        fault: "exec probes hang one after the other, and SIGKILL does not end them",
        injected: "what their program has started is in a frozen cgroup, version 1",
        outcome: "`timeout`, healed at the threshold, of ten programs at most; as they outlive their \
                  child, the next one's probes are inconclusive until they can die",
    };
    row.recovered_after(this_test!(), took);
}

#[test]
fn exec_probes_that_answer_are_believed_whatever_they_leave() {
    // Without an environment it is told only by its group, and only until the program is reaped.
    for marked in ["", "env -i"] {
        let world = World::new();
        let Some(cgroup) = Cgroup::new("freezer") else { return };
        let sick = world.at("sick");
        let procs = cgroup.file("cgroup.procs");
        let stuck = format!("{marked} sh -c 'echo $$ > {procs}; exec sleep 4716'");
        let probe = world.write("probe.sh", &format!("[ ! -e {sick} ] || {stuck} & sleep 0.1"));
        let config = Config::script("exec sleep 1000")
            .probing(&format!("exec = [\"/bin/sh\", \"{probe}\"]"));
        let rekindle = world.run(&config);
        rekindle.wait_state("healthy");
        cgroup.set("freezer.state", "FROZEN");

        world.write("sick", "");

        rekindle.wait_said(&["blind: the liveness probe", "no_resources"]);
        assert_eq!(cgroup.get("cgroup.procs").lines().count(), 10, "{}", rekindle.story());
        fs::remove_file(&sick).expect("it is there");
        cgroup.set("freezer.state", "THAWED");
        rekindle.wait_said(&["the liveness probe can tell again"]);
        assert_eq!(rekindle.all_restarts(), 0, "{}", rekindle.story());
        rekindle.wait("they have ended", || world.processes_like("sleep 4716").is_empty());
    }
    let row = Fault {
        part: Part::Probes,
        fault: "exec probes pass, and leave what SIGKILL does not end",
        injected: "what their program has started beside it is in a frozen cgroup, version 1",
        outcome: "no restart: with ten of them probes are inconclusive, until they can die",
    };
    row.did_no_harm(this_test!());
}

#[test]
fn notify_commands_that_cannot_be_killed_become_no_more_than_ten() {
    let world = World::new();
    let Some(cgroup) = Cgroup::new("freezer") else { return };
    let (told, procs) = (world.at("told"), cgroup.file("cgroup.procs"));
    let tell = world.write("tell.sh", &format!("echo $$ > {procs}; echo >> {told}"));
    let config = Config::script("exec sleep 1000")
        .notify(&format!("exec = [\"/bin/sh\", \"{tell}\"]\nexec_timeout = \"1s\""));
    let rekindle = world.run(&config);
    rekindle.wait_state("healthy");
    let crash = |restarts: u64| {
        let child = rekindle.status()["services"][0]["pid"].as_i64().expect("it runs");
        let watch = Stopwatch::start();
        processes::send(i32::try_from(child).expect("a pid"), Signal::KILL);
        rekindle.wait_restarts("signal", restarts);
        rekindle.wait_state("healthy");
        watch.elapsed()
    };
    cgroup.set("freezer.state", "FROZEN");

    // Each is an incident, of which it is told when it begins and when it is over.
    let slowest = (1..=6).map(crash).max().expect("six");

    let stuck = || cgroup.get("cgroup.procs").lines().count();
    rekindle.wait("five do not end", || stuck() >= 5);
    rekindle.wait_said(&["the notify command failed: not run: 10 of its programs"]);
    assert_eq!(stuck(), 10, "{}", rekindle.story());
    cgroup.set("freezer.state", "THAWED");
    rekindle.wait("only the child is left", || processes::children(rekindle.pid()).len() == 1);
    crash(7);
    rekindle.wait("it is told again", || world.lines("told").len() >= 2);
    let row = Fault {
        part: Part::Probes,
        fault: "notify commands hang one after the other, and SIGKILL does not end them",
        injected: "they are in a frozen cgroup, version 1",
        outcome: "the child is healed meanwhile; ten programs at most, and others are told again as \
                  soon as these can die",
    };
    row.recovered_after(this_test!(), slowest);
}

#[test]
fn an_exec_probe_in_flight_leaves_no_process_when_it_is_given_up() {
    let world = World::new();
    let detached = world.at("detached");
    let probe = format!("setsid sleep 4321 & echo $! >> {detached}; wait");
    let config = Config::script("exec sleep 1000").with(&format!(
        r#"
        settle = "100ms"
        probe.liveness.exec = ["sh", "-c", "{probe}"]
        probe.liveness.period = "100ms"
        probe.liveness.timeout = "20s"
        "#
    ));
    let mut rekindle = world.run(&config);
    rekindle.wait("the probe has started a process", || world.lines("detached").len() == 1);
    let watch = Stopwatch::start();
    for child in world.processes_like("sleep 1000") {
        processes::send(child, Signal::KILL);
    }
    rekindle.wait("the next child is probed", || world.lines("detached").len() == 2);
    let took = watch.elapsed();
    let first = world.lines("detached")[0].parse().expect("a pid");
    rekindle.wait("the first probe's process is gone", || !processes::is_alive(first));

    let (code, _) = rekindle.stop();

    assert_eq!(code, 0);
    assert!(world.processes_like("sleep 4321").is_empty());
    let row = Fault {
        part: Part::Probes,
        fault: "the child dies, then the supervisor is stopped, while an exec probe runs",
        injected: "SIGKILL to the child, SIGTERM to the supervisor",
        outcome: "the probe is given up: no process of it is left",
    };
    row.recovered_after(this_test!(), took);
}

#[test]
fn a_hook_that_hangs_leaves_no_process_and_no_zombie() {
    let world = World::new();
    let (pids, alive) = (world.at("pids"), world.at("alive"));
    let hook = world.write(
        "boot.sh",
        &format!(
            "for pid in $(cat {pids} 2>/dev/null); do kill -0 $pid && echo $pid >> {alive}; done\n\
             [ $REKINDLE_ATTEMPT -gt 2 ] && exit 0\n\
             trap '' TERM\n\
             sleep 1000 & echo $! >> {pids}\n\
             setsid sleep 1000 & echo $! >> {pids}\n\
             echo $$ >> {pids}\n\
             sleep 1000"
        ),
    );
    let config = Config::script("exec sleep 4713")
        .with(&format!("boot_hook = {{ path = \"{hook}\", timeout = \"300ms\" }}"));
    let watch = Stopwatch::start();
    let rekindle = world.run(&config);

    rekindle.wait_state("healthy");

    let took = watch.elapsed();
    assert_eq!(rekindle.hooks("timeout"), 2);
    assert_eq!(world.read("alive"), "");
    assert_eq!(world.lines("pids").len(), 6);
    assert_eq!(processes::children(rekindle.pid()).len(), 1, "only the child is left");
    let row = Fault {
        part: Part::Probes,
        fault: "the boot hook hangs twice",
        injected: "it ignores SIGTERM, starts others, one in a session of its own, and waits",
        outcome: "all of it is killed at its timeout before the next attempt; no zombie",
    };
    row.recovered_after(this_test!(), took);
}

/// Bites once it is healthy; how long it took until it served again.
fn bitten(bite: &str, result: &str, keys: &str) -> Duration {
    let (world, port) = (World::new(), free_port());
    let rekindle = world.run(&biting(&world, port).with(keys));
    rekindle.wait_state("healthy");

    let witness = Witness::start();
    let watch = Stopwatch::start();
    world.write("bite", bite);

    rekindle.wait_restarts("probe_failed", 1);
    let verdict = watch.elapsed();
    let machine = witness.lateness();
    assert!(verdict < VERDICT + machine.worst_allowance(), "{bite}: {verdict:?}, {machine:?}");
    healed(&rekindle, result);
    watch.elapsed()
}

/// A child that is sick while there is a file `sick`, which it removes before it is up.
fn cured_by_a_restart(world: &World) -> Config {
    let (sick, up) = (world.at("sick"), world.at("up"));
    Config::script(&format!("rm -f {sick}; echo > {up}; exec sleep 1000"))
}

/// A probe's script for that child goes on only if the child is sick.
fn is_well(world: &World) -> String {
    let (sick, up) = (world.at("sick"), world.at("up"));
    format!("[ -e {up} ] || exit 1; [ -e {sick} ] || exit 0")
}

fn healed(rekindle: &Rekindle<'_>, result: &str) {
    rekindle.wait_restarts("probe_failed", 1);
    rekindle.wait_state("healthy");
    assert!(rekindle.probes("liveness", result) >= 1, "{}", rekindle.story());
    assert_eq!(rekindle.all_restarts(), 1);
}

/// Supervises a health server that is well until the file `bite` says how it is to bite.
fn biting(world: &World, port: u16) -> Config {
    stub::ourselves(NAME)
        .with(&format!("env.IT_BITE_PORT = \"{port}\"\nenv.IT_BITE_DIR = \"{}\"", world.at("")))
        .probing(&format!("http = \"http://127.0.0.1:{port}/health\""))
}

/// Not a test: the main function of the server that bites.
#[test]
fn bites_as_a_test_dictates() {
    let (Ok(port), Ok(dir)) = (std::env::var("IT_BITE_PORT"), std::env::var("IT_BITE_DIR")) else {
        return;
    };
    // Who is started again is well again.
    fs::write(format!("{dir}/bite"), "").expect("the test's directory can be written");
    let port: u16 = port.parse().expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    for stream in listener.incoming().flatten() {
        let bite = fs::read_to_string(format!("{dir}/bite")).unwrap_or_default();
        if !bite.is_empty() {
            let log = format!("{dir}/bitten");
            let mut file = fs::File::options().create(true).append(true).open(log).expect("a file");
            writeln!(file, "{bite}").expect("a line");
        }
        // A client that has had enough hangs up.
        std::thread::spawn(move || drop(answer(stream, &bite)));
    }
}

fn answer(mut stream: TcpStream, bite: &str) -> std::io::Result<()> {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    const PROMISE: &str = "Content-Length: 1000\r\n\r\n";
    // One segment, in which the whole request is.
    let _length = stream.read(&mut [0; 4096])?;
    match bite {
        "" => write!(stream, "{OK}Content-Length: 4\r\n\r\nwell"),
        "endless-header" => {
            write!(stream, "{OK}X-Endless: ")?;
            endless(&mut stream)
        }
        "endless-body" => {
            write!(stream, "{OK}\r\n")?;
            endless(&mut stream)
        }
        "trickling-header" => trickle(&mut stream, OK),
        "trickling-body" => {
            write!(stream, "{OK}{PROMISE}")?;
            trickle(&mut stream, "something")
        }
        "redirect" => {
            let own = stream.local_addr()?;
            write!(stream, "HTTP/1.1 302 Found\r\nLocation: http://{own}/health\r\n")?;
            write!(stream, "Content-Length: 0\r\n\r\n")
        }
        "not-http" => write!(stream, "SSH-2.0-OpenSSH_9.2\r\n"),
        "reset-body" => {
            write!(stream, "{OK}{PROMISE}something.")?;
            // What is closed without lingering is reset.
            Ok(set_socket_linger(&stream, Some(Duration::ZERO))?)
        }
        "short-body" => write!(stream, "{OK}{PROMISE}something."),
        other => panic!("nobody can bite like {other}"),
    }
}

fn endless(stream: &mut TcpStream) -> std::io::Result<()> {
    loop {
        stream.write_all(&[b'x'; 4096])?;
    }
}

fn trickle(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    for byte in text.bytes().cycle() {
        stream.write_all(&[byte])?;
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}
