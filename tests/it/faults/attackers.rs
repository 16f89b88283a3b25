//! Who means harm gets no word in, learns no secret, and delays nobody.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;

use crate::crash::served_by;
use crate::incidents::{incidents, settled};
use crate::support::http::{free_port, request};
use crate::support::rekindle::WARN;
use crate::support::time::Witness;
use crate::support::{
    Config, Fault, Part, REKINDLE, Rekindle, Stopwatch, World, get, has_tool, is_root, processes,
    this_test, wait_until,
};

/// Neither root nor anybody of this machine's.
const STRANGER: u32 = 54_321;

#[test]
fn another_user_at_the_control_socket_gets_no_answer_and_is_told_of_once() {
    if !(is_root("being another user") && has_tool("setpriv")) {
        return;
    }
    let world = World::new();
    let rekindle = world.run(&Config::script("exec sleep 1000"));
    rekindle.wait_state("healthy");
    let mode = |name: &str| fs::metadata(world.path(name)).expect("there").mode() & 0o777;
    assert_eq!((mode("run"), mode("run/control.sock"), mode("state")), (0o700, 0o600, 0o700));

    // Somebody lets everybody in.
    open_to_all(&world.path("run"), 0o755);
    open_to_all(&world.path("run/control.sock"), 0o666);

    for _ in 0..3 {
        assert_eq!(asks_as(&world, STRANGER), 1);
    }
    assert_eq!(asks_as(&world, 0), 0);
    let told = rekindle.lines_with("at the control socket");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(&format!("refused uid {STRANGER} (pid ")), "{told:?}");
    let row = Fault {
        part: Part::Attackers,
        fault: "another user reaches the control socket",
        injected: "socket and directory opened to all (they are made 0600 and 0700), then asked \
                   by a process of another uid",
        outcome: "closed without a word and logged once: only root and our own user are answered",
    };
    row.did_no_harm(this_test!());
}

#[test]
fn without_root_the_control_socket_is_for_its_own_user_and_root() {
    if !(is_root("being another user") && has_tool("setpriv")) {
        return;
    }
    let (own, other) = (STRANGER, STRANGER + 1);
    let world = World::new();
    for name in ["run", "state"] {
        fs::create_dir(world.path(name)).expect("a directory");
        chown(world.path(name), Some(own), Some(own)).expect("chown");
    }
    let run = world.prepare(&Config::script("exec sleep 1000"));
    let rekindle = world.start(becoming(&world, own, &run));
    // Asked by root.
    rekindle.wait_up();
    rekindle.wait_state("healthy");
    open_to_all(&world.path("run/control.sock"), 0o666);

    assert_eq!(asks_as(&world, own), 0);
    assert_eq!(asks_as(&world, other), 1);
    rekindle.wait_said(&[&format!("refused uid {other}")]);
}

#[test]
fn a_thousand_slow_connections_delay_neither_a_heal_nor_a_scrape() {
    const PATIENCE: Duration = Duration::from_millis(100);
    let (world, port, listen) = (World::new(), free_port(), free_port());
    // Each crash is the first after a stable run.
    let config = Config::demo(port).listen(listen).with("backoff.stable_after = \"100ms\"");
    let rekindle = world.run(&config);
    served_by(&rekindle, port);
    let scrape_alone = scrapes(listen);
    let heal_alone = heals(&rekindle, port);

    let attack = SlowConnections::to(listen);
    let witness = Witness::start();
    let scrape = scrapes(listen);
    let heal = heals(&rekindle, port);
    let machine = witness.lateness();
    attack.end();

    for (took, alone) in [(scrape, scrape_alone), (heal, heal_alone)] {
        let told = format!("{took:?}, alone {alone:?}, {machine:?}");
        assert!(took.median <= alone.median + PATIENCE + machine.allowance(), "{told}");
        assert!(took.worst <= alone.worst + PATIENCE + machine.worst_allowance(), "{told}");
    }
    let row = Fault {
        part: Part::Attackers,
        fault: "1,000 slow connections to our port",
        injected: "each sends one byte of a header a second and comes again when it is closed",
        outcome: "at most 128 are kept, the oldest goes first: neither a scrape nor a heal takes \
                  100 ms longer than without them (medians and worst, besides what the machine \
                  costs an idle thread)",
    };
    let figure = format!(
        "scrape {:.1} ms (alone {:.1}), worst {:.1} (alone {:.1}); heal {:.0} ms (alone {:.0}), \
         worst {:.0} (alone {:.0})",
        millis(scrape.median),
        millis(scrape_alone.median),
        millis(scrape.worst),
        millis(scrape_alone.worst),
        millis(heal.median),
        millis(heal_alone.median),
        millis(heal.worst),
        millis(heal_alone.worst),
    );
    row.measured(this_test!(), &figure);
}

#[test]
fn slow_connections_do_not_take_the_descriptors_that_a_heal_needs() {
    let (world, port, listen) = (World::new(), free_port(), free_port());
    let run = world.prepare(&Config::demo(port).listen(listen));
    let mut command = world.command("sh");
    command.args(["-c", "ulimit -n 96; exec \"$@\"", "sh"]);
    command.arg(run.get_program()).args(run.get_args());
    let rekindle = world.start(command);
    rekindle.wait_up();
    served_by(&rekindle, port);

    let attack = SlowConnections::to(listen);
    let watch = Stopwatch::start();
    get(port, "/fault?mode=crash").expect("the demo gateway takes the order");
    rekindle.wait_restarts("signal", 1);
    served_by(&rekindle, port);
    let took = watch.elapsed();
    attack.end();

    assert_eq!(rekindle.count("rekindle_child_spawn_failures_total", ""), 0);
    let row = Fault {
        part: Part::Attackers,
        fault: "slow connections where descriptors are scarce",
        injected: "1,000 slow connections, `ulimit -n 96`, and a crash of the child",
        outcome: "connections never take more than an eighth of the descriptors at each door: \
                  healed at once",
    };
    row.recovered_after(this_test!(), took);
}

#[test]
fn no_request_over_http_changes_anything() {
    const METHODS: &[&str] =
        &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "STOP"];
    const PAGES: &[&str] = &["/", "/metrics", "/livez", "/healthz", "/readyz", "/status"];
    const OTHERS: &[&str] = &[
        "//",
        "*",
        "/stop",
        "/restart",
        "/reload",
        "/shutdown",
        "/kill",
        "/drill",
        "/drill?killed",
        "/fault",
        "/fault?mode=crash",
        "/-/quit",
        "/-/reload",
        "/metrics/",
        "/metrics/..",
        "/status?stop=1",
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/control.sock",
        "/debug/pprof/cmdline",
    ];
    let (world, port, listen) = (World::new(), free_port(), free_port());
    // There is an order that could be given, at the control socket.
    let config = Config::demo(port).listen(listen).supervisor("drills = true");
    let rekindle = world.run(&config);
    settled(&rekindle);
    assert_eq!(rekindle.get("/drill?killed").expect("an answer").status, 200);
    let child = served_by(&rekindle, port);
    let before = what_matters(&rekindle);

    for method in METHODS {
        for path in PAGES.iter().chain(OTHERS) {
            // HEAD has no body, and a malformed target may just be closed.
            let Ok(answer) = request(listen, method, path) else { continue };
            let reads = matches!(*method, "GET" | "HEAD");
            let known = PAGES.contains(path) || *path == "/status?stop=1";
            let good = (200..300).contains(&answer.status);
            assert_eq!(good, reads && known, "{method} {path}: {}", answer.status);
        }
    }

    let passes = rekindle.probes("liveness", "success");
    rekindle.wait("it passes on", || rekindle.probes("liveness", "success") >= passes + 5);
    assert_eq!(served_by(&rekindle, port), child);
    assert_eq!(what_matters(&rekindle), before);
    assert_eq!(rekindle.count("rekindle_drills_total", ""), 0);
    let row = Fault {
        part: Part::Attackers,
        fault: "orders over HTTP",
        injected: "10 methods on 26 paths, known and guessed, where drills are allowed",
        outcome: "only GET and HEAD of a page are answered by more than 404 or 405; state, pid \
                  and counters of the service stay as they are",
    };
    row.did_no_harm(this_test!());
}

#[test]
fn a_link_in_the_place_of_a_state_file_is_not_followed() {
    for name in [
        "instance",
        "instance.new",
        "instance.bad",
        "lock",
        "state.json",
        "state.json.new",
        "state.json.old",
        "incidents.jsonl",
        "incidents.1.jsonl",
        "control.sock",
    ] {
        for exists in [true, false] {
            follows_no_link(name, exists);
        }
    }
    let row = Fault {
        part: Part::Attackers,
        fault: "links planted in the state directory",
        injected: "a symbolic link to a victim, there or missing, under each name that we use",
        outcome: "never followed: the victim is neither read, changed nor made, and the service \
                  is healthy all the same",
    };
    row.did_no_harm(this_test!());
}

fn follows_no_link(name: &str, exists: bool) {
    let world = World::new();
    fs::create_dir(world.path("state")).expect("a directory");
    if exists {
        world.write("victim", "untouched");
    }
    symlink(world.path("victim"), world.path("state").join(name)).expect("a link");
    let mut command = world.prepare(&Config::script("exec sleep 1000"));
    // The control socket is made in the state directory, too.
    command.env("RUNTIME_DIRECTORY", world.path("state"));
    let mut rekindle = world.start(command);
    rekindle.wait_said(&["healthy"]);
    if name.starts_with("incidents") {
        has_an_outage(&world, &rekindle);
    }

    let (code, _) = rekindle.stop();

    assert_eq!(code, 0, "{name}");
    let expected = if exists { "untouched" } else { "" };
    assert_eq!(
        (world.path("victim").exists(), &*world.read("victim")),
        (exists, expected),
        "{name}"
    );
}

/// There is something to be written about.
fn has_an_outage(world: &World, rekindle: &Rekindle<'_>) {
    for child in world.processes_like("sleep 1000") {
        processes::send(child, Signal::KILL);
    }
    rekindle.wait("it is healthy again", || rekindle.lines_with("healthy, 0.").len() == 2);
}

#[test]
fn a_pipe_in_the_place_of_a_state_file_holds_nothing_up() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    for name in ["instance", "instance.new", "lock", "state.json", "state.json.new"] {
        let world = World::new();
        fs::create_dir(world.path("state")).expect("a directory");
        let pipe = world.path("state").join(name);
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o666), 0).expect("a pipe");

        let rekindle = world.run(&Config::script("exec sleep 1000"));

        rekindle.wait_state("healthy");
    }
    let row = Fault {
        part: Part::Attackers,
        fault: "a pipe planted in the state directory",
        injected: "a FIFO that nobody serves under the names of our files",
        outcome: "nothing waits for it: the service is healthy",
    };
    row.did_no_harm(this_test!());
}

#[test]
fn a_state_directory_of_another_user_is_told_of_and_its_files_are_not_believed() {
    if !is_root("a directory of another user") {
        return;
    }
    let world = World::new();
    fs::create_dir(world.path("state")).expect("a directory");
    chown(world.path("state"), Some(STRANGER), None).expect("chown");
    // A bystander whom the record below would have killed.
    let mut bystander = world.start(sleeper(&world));
    let planted = planted_record(bystander.pid());
    world.write("state/instance", &planted);
    chown(world.path("state/instance"), Some(STRANGER), None).expect("chown");

    let rekindle = world.run(&Config::script("exec sleep 1000"));

    rekindle.wait_state("healthy");
    assert!(rekindle.said(&["others can change this directory", "uid 54321", WARN]));
    assert!(rekindle.said(&["instance can be written by others", "instance.bad", WARN]));
    assert!(bystander.exits_within(Duration::ZERO).is_none(), "{}", rekindle.story());
    assert_eq!(world.read("state/instance.bad"), planted);
    drop(rekindle);

    // What we wrote ourselves is believed although the directory is another's.
    let id = |world: &World| world.read("state/instance").lines().next().map(str::to_owned);
    let first = id(&world);
    let rekindle = world.run(&Config::script("exec sleep 1000"));
    rekindle.wait_state("healthy");
    assert_eq!(id(&world), first);
    bystander.signal(Signal::KILL);
    bystander.wait_exit();
    let row = Fault {
        part: Part::Attackers,
        fault: "the state directory belongs to another user",
        injected: "he has planted a record that names a bystander's process as a left-over",
        outcome: "said, with the way out; only files that nobody but root and we can have written \
                  are believed: the bystander lives",
    };
    row.did_no_harm(this_test!());
}

fn sleeper(world: &World) -> Command {
    let mut command = world.command("sleep");
    command.arg("1000");
    command
}

/// A state file that says that this process is what an earlier run has left.
fn planted_record(pid: i32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
    let start_time = fields.split(' ').nth(19).expect("a start time");
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot id");
    format!(
        "rekindle instance 1 {:032x}\n{{\"pid\":{pid},\"start_time\":{start_time},\
         \"boot_id\":\"{}\",\"service\":\"gateway\",\"program\":\"child\"}}\n",
        7,
        boot_id.trim(),
    )
}

#[test]
fn secrets_appear_neither_in_the_log_nor_on_a_page() {
    let log_levels = ["log_level = \"trace\"", "log_level = \"trace\"\nlog_format = \"human\""];
    for (level, everything) in [(log_levels[0], false), (log_levels[1], true)] {
        keeps_secrets(level, everything);
    }
    let row = Fault {
        part: Part::Attackers,
        fault: "secrets in environment, arguments, URLs and headers",
        injected: "planted in our environment, `env_file`, `env`, the hook's hand-over, the \
                   arguments of child, hook and exec probe, user and query of the health URL, \
                   headers sent and expected, good and malformed; log at trace, libraries too",
        outcome: "none is in the log, /status, /metrics or any other page, the state directory or \
                  an incident, in good times and bad",
    };
    row.did_no_harm(this_test!());
}

fn keeps_secrets(log: &str, everything: bool) {
    let (world, port, listen) = (World::new(), free_port(), free_port());
    let file = world.write("env", "A_FILE=Secret01\nno variable Secret02\n");
    let hand_over = "echo HANDED=Secret03 >> $REKINDLE_ENV; echo bad Secret04 >> $REKINDLE_ENV";
    let hook = world.script("boot.sh", &format!("#!/bin/sh\n{hand_over}\n"));
    let url = format!("http://Secret05:Secret06@127.0.0.1:{port}/health?token=Secret07");
    let command = format!("exec {REKINDLE} demo-gateway --port {port}");
    let config = Config::command(&["/bin/sh", "-c", &command, "sh", "--token=Secret08"])
        .probing(&format!("http = \"{url}\""))
        .listen(listen)
        .supervisor(log)
        .with(&format!(
            r#"
            boot_hook = "{hook}"
            env_file = "{file}"
            env.TABLE = "Secret09"
            env.SAME = "${{OURS}}"
            probe.liveness.headers = {{ Authorization = "Bearer Secret10" }}
            probe.readiness.exec = ["/bin/sh", "-c", "exit 1", "sh", "Secret11"]
            probe.readiness.period = "100ms"
            "#
        ));
    let mut command = world.prepare(&config);
    command.env("OURS", "Secret12");
    if everything {
        command.env("RUST_LOG", "trace");
    }
    let rekindle = world.start(command);
    rekindle.wait_up();
    let child = served_by(&rekindle, port);
    let environ = fs::read(format!("/proc/{child}/environ")).expect("its environment");
    let environ = String::from_utf8_lossy(&environ);
    for secret in ["Secret01", "Secret03", "Secret09", "Secret12"] {
        assert!(environ.contains(secret), "{secret} reaches the child");
    }
    rekindle.wait("readiness fails", || rekindle.probes("readiness", "exit") >= 2);
    shows_no_secret(&rekindle, listen);

    // Each way of failing has words of its own, and is an incident if it was well before.
    settled(&rekindle);
    for mode in ["500", "slow", "close"] {
        let restarts = rekindle.restarts("probe_failed");
        get(port, &format!("/fault?mode={mode}")).expect("the demo gateway takes the order");
        rekindle.wait("it is healed", || {
            shows_no_secret(&rekindle, listen);
            rekindle.restarts("probe_failed") > restarts
        });
        settled(&rekindle);
    }
    shows_no_secret(&rekindle, listen);
    remembers_no_secret(&world, &rekindle);
}

fn shows_no_secret(rekindle: &Rekindle<'_>, listen: u16) {
    for path in ["/metrics", "/status", "/livez?verbose", "/readyz?verbose", "/"] {
        let page = get(listen, path).expect("an answer");
        // While it is being healed it is not ready.
        let good = page.status == 200 || (page.status == 503 && path.starts_with("/readyz"));
        assert!(good, "{path}: {}", page.head);
        assert!(!page.body.contains("Secret"), "{path}: {}", page.body);
    }
    let events = first_event(listen);
    assert!(events.starts_with("HTTP/1.0 200 ") && !events.contains("Secret"), "{events}");
    let told = rekindle.lines_with("Secret");
    assert!(told.is_empty(), "{told:#?}");
}

/// What `/events` begins with: its head, and everything there is to tell at first.
fn first_event(listen: u16) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, listen)).expect("accepted");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    stream.write_all(b"GET /events HTTP/1.0\r\n\r\n").expect("it listens");
    let (mut text, mut bytes) = (String::new(), [0; 4096]);
    while !(text.contains("\ndata: ") && text.ends_with("\n\n")) {
        let read = stream.read(&mut bytes).expect("it goes on");
        assert!(read > 0, "it has ended: {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    text
}

/// Looks at what is written, once there is a record of each of three outages.
fn remembers_no_secret(world: &World, rekindle: &Rekindle<'_>) {
    rekindle.wait("all is recorded", || world.lines("state/incidents.jsonl").len() >= 3);
    let (code, last, _) = incidents(world, &["--last", "1"]);
    assert_eq!(code, 0);
    assert!(last.contains("unhealthy"), "{last}");
    let mut state = String::new();
    // Between the two renames of a write there is only its predecessor.
    rekindle.wait("there is a state file", || {
        state = world.read("state/state.json");
        !state.is_empty()
    });
    for (what, text) in [
        ("incidents --last 1", last),
        ("incidents.jsonl", world.read("state/incidents.jsonl")),
        ("state.json", state),
    ] {
        assert!(!text.is_empty() && !text.contains("Secret"), "{what}: {text}");
    }
}

#[test]
fn what_cannot_be_started_or_configured_is_told_without_its_secrets() {
    let world = World::new();
    let cases = [
        ("nothing to run", Config::command(&["/no/such/program", "--token=Secret1"])),
        ("no such user", Config::script(": Secret1").with("user = \"nobody-of-that-name\"")),
        ("no such directory", Config::script(": Secret1").with("cwd = \"/no/such/place\"")),
        (
            "no such probe",
            Config::script("exec sleep 1000").with(
                "probe.startup.exec = [\"/no/such/probe\", \"Secret1\"]\n\
                 probe.startup.period = \"100ms\"",
            ),
        ),
        ("no such file", Config::script(": Secret1").with("env_file = \"/no/such/file\"")),
        (
            "an unexpected header",
            crate::support::stub::probed(&world, free_port(), "200 ok").with(
                "probe.startup.expect_header = { X-Key = \"Secret1\" }\n\
                 probe.startup.headers = { X-Key = \"Secret2\" }",
            ),
        ),
        (
            "a URL without a host",
            Config::script("exec sleep 1000")
                .probing("http = \"http://Secret1:Secret2@:99999/?token=Secret3\""),
        ),
        (
            "a URL of another scheme",
            Config::script("exec sleep 1000").probing("http = \"ftp://u:Secret1@localhost/\""),
        ),
        (
            "a header that is none",
            Config::script("exec sleep 1000")
                .probing("http = \"http://127.0.0.1:1/\"")
                .with("probe.liveness.headers = { X-Key = \"Secret1\\u0001\" }"),
        ),
    ];
    for (what, config) in cases {
        let mut rekindle = world.start(world.prepare(&config.supervisor("log_level = \"trace\"")));
        rekindle.wait("it has said something", || !rekindle.log().is_empty());
        rekindle.exits_within(Duration::from_millis(500));
        let told = rekindle.lines_with("Secret");
        assert!(told.is_empty(), "{what}: {told:#?}");
    }
}

#[test]
fn a_dropped_user_has_exactly_its_own_groups_in_child_hook_and_probe() {
    if !(is_root("dropping to another user") && has_tool("setpriv")) {
        return;
    }
    let world = World::new();
    open_to_all(&made(&world, "seen"), 0o777);
    let config = who_all(&world, "id -u; id -g; id -G").with("user = \"65534\"\ngroup = \"12\"");
    let run = world.prepare(&config);
    // The user has one that it must get; ours must not be handed down.
    let groups = world.write("group", "extra:x:777:nobody\nother:x:778:somebody\n");
    let run = world.wrapped(&["setpriv", "--groups", "4,24"], &run);
    let Some(command) = world.remounted(&format!("mount --bind {groups} /etc/group"), &run) else {
        return;
    };
    let rekindle = world.start(command);
    rekindle.wait_up();

    for (who, seen) in seen_by_all(&rekindle, &world) {
        assert_eq!(seen, "65534\n12\n12 777\n", "{who}");
    }
    let row = Fault {
        part: Part::Attackers,
        fault: "rights that a dropped user must not keep",
        injected: "supervisor with supplementary groups of its own; `user` and `group` are set; \
                   `/etc/group` has one more for the user",
        outcome: "child, hook and exec probe have the user, the group, that one more, and no other",
    };
    row.did_no_harm(this_test!());
}

#[test]
fn none_of_our_descriptors_reaches_child_hook_or_probe() {
    let world = World::new();
    open_to_all(&made(&world, "seen"), 0o777);
    let config = who_all(&world, "readlink /proc/$$/fd/*").listen(free_port());
    let run = world.prepare(&config);
    let mut command = world.command("sh");
    // Whoever starts us leaves some, too.
    let opens = "exec \"$@\" 4< /dev/zero 7< /dev/zero";
    command.args(["-c", opens, "sh"]).arg(run.get_program()).args(run.get_args());
    let rekindle = world.start(command);
    rekindle.wait_up();

    for (who, seen) in seen_by_all(&rekindle, &world) {
        let handed = seen.lines().filter(|target| target.contains("memfd:")).count();
        assert_eq!(handed, usize::from(who == "hook"), "{who}: {seen}");
        for ours in ["socket:", "anon_inode:", "/dev/zero", "/state", "control.sock"] {
            assert!(!seen.contains(ours), "{who}: {seen}");
        }
    }
    let row = Fault {
        part: Part::Attackers,
        fault: "descriptors that must not leak",
        injected: "ours (sockets, lock, epoll, signals) and two that we inherited",
        outcome: "none is open in child, hook or exec probe, but for the hook's descriptor 3",
    };
    row.did_no_harm(this_test!());
}

/// Child, hook and readiness probe, each of which leaves what `script` prints in a file.
fn who_all(world: &World, script: &str) -> Config {
    let leave = |who: &str| {
        let file = world.at(&format!("seen/{who}"));
        format!("({script}) > {file}.new; mv {file}.new {file}")
    };
    let hook = world.write("boot.sh", &format!("{}\n", leave("hook")));
    Config::script(&format!("{}; exec sleep 1000", leave("child"))).with(&format!(
        "boot_hook = \"{hook}\"\n\
         probe.readiness.exec = [\"/bin/sh\", \"-c\", {:?}]\n\
         probe.readiness.period = \"100ms\"",
        leave("probe")
    ))
}

fn seen_by_all(rekindle: &Rekindle<'_>, world: &World) -> BTreeMap<&'static str, String> {
    let look = |who| {
        let file = format!("seen/{who}");
        rekindle.wait(&format!("the {who} has looked"), || world.path(&file).exists());
        (who, world.read(&file))
    };
    ["child", "hook", "probe"].into_iter().map(look).collect()
}

fn made(world: &World, directory: &str) -> std::path::PathBuf {
    let path = world.path(directory);
    fs::create_dir(&path).expect("a directory");
    path
}

fn open_to_all(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

/// `command` as this user, without any other group.
fn becoming(world: &World, uid: u32, command: &Command) -> Command {
    let mut changed = world.command("setpriv");
    let uid = uid.to_string();
    changed.args(["--reuid", &uid, "--regid", &uid, "--clear-groups"]);
    changed.arg(command.get_program()).args(command.get_args());
    changed
}

/// The exit code of `rekindle probe --live`, asked by this user.
fn asks_as(world: &World, uid: u32) -> i32 {
    let mut probe = world.command(REKINDLE);
    probe.args(["probe", "--live"]);
    world.start(becoming(world, uid, &probe)).wait_exit()
}

/// What nobody may change over HTTP.
fn what_matters(rekindle: &Rekindle<'_>) -> String {
    let status = rekindle.status();
    let service = &status["services"][0];
    let restarts = rekindle.all_restarts();
    format!("{} {} {restarts}", service["state"], service["pid"])
}

/// How long it took, of several times.
#[derive(Clone, Copy, Debug)]
struct Took {
    median: Duration,
    worst: Duration,
}

impl Took {
    fn of(mut spans: Vec<Duration>) -> Self {
        spans.sort();
        Self { median: spans[spans.len() / 2], worst: spans[spans.len() - 1] }
    }
}

/// How long a scrape takes.
fn scrapes(listen: u16) -> Took {
    let scrape = || {
        let watch = Stopwatch::start();
        assert_eq!(get(listen, "/metrics").expect("a page").status, 200);
        watch.elapsed()
    };
    Took::of((0..41).map(|_| scrape()).collect())
}

/// How long it takes from a crash until another child serves.
fn heals(rekindle: &Rekindle<'_>, port: u16) -> Took {
    let heal = || {
        let (before, stable) = (pid_on(port), rekindle.lines_with("stable").len());
        let watch = Stopwatch::start();
        get(port, "/fault?mode=crash").expect("the demo gateway takes the order");
        wait_until("another serves", || {
            let now = pid_on(port);
            now.is_some() && now != before
        });
        let took = watch.elapsed();
        rekindle.wait("it is stable", || rekindle.lines_with("stable").len() > stable);
        took
    };
    rekindle.wait_said(&["stable"]);
    Took::of((0..5).map(|_| heal()).collect())
}

/// The pid of whoever serves.
fn pid_on(port: u16) -> Option<i64> {
    let info: serde_json::Value = serde_json::from_str(&get(port, "/info").ok()?.body).ok()?;
    info["pid"].as_i64()
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

/// A thousand connections that send a byte of a header now and then, and come again when closed.
struct SlowConnections {
    over: Arc<AtomicBool>,
    attack: JoinHandle<()>,
}

impl SlowConnections {
    /// Begins; all of them are there then, and the first have come again.
    fn to(port: u16) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let again = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&again);
        let connect = move || {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("accepted");
            // One that is pushed out at once comes again in its turn.
            drop(stream.write_all(b"GET /metrics HTTP/1.1\r\nX: "));
            stream
        };
        let mut streams: Vec<_> = (0..1000).map(|_| connect()).collect();
        let attack = std::thread::spawn(move || {
            for round in (0..10).cycle() {
                for stream in streams.iter_mut().skip(round * 100).take(100) {
                    if stream.write_all(b"x").is_err() {
                        *stream = connect();
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        wait_until("some come again", || again.load(Ordering::Relaxed) > 500);
        Self { over, attack }
    }

    fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        self.attack.join().expect("it went on until now");
    }
}
