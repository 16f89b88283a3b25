//! Others are told of incidents: a webhook by documents, a command by its environment.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::crash::served_by;
use crate::support::http::{free_port, listen, post_unix};
use crate::support::{Config, Rekindle, World, processes, schema};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A receiver that first refuses to answer at all for a time, and then takes everything.
pub(crate) fn receiver(mut silent: u32) -> (u16, Receiver<Value>) {
    let port = free_port();
    let listener = listen(port);
    let (told, comes) = channel();
    thread::spawn(move || {
        let mut kept = Vec::new();
        for mut stream in listener.incoming().flatten() {
            if silent > 0 {
                silent -= 1;
                kept.push(stream);
                continue;
            }
            let mut reader = BufReader::new(&stream);
            let mut length = 0;
            for line in reader.by_ref().lines().map_while(Result::ok) {
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.parse().expect("a number");
                }
                if line.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("the body comes");
            told.send(serde_json::from_slice(&body).expect("JSON")).expect("the test waits");
            stream.write_all(b"HTTP/1.1 204 x\r\n\r\n").expect("it is read");
        }
    });
    (port, comes)
}

fn schema_of(text: &str) -> Value {
    serde_json::from_str(text).expect("the schema is JSON")
}

/// A document, which fits what is promised.
fn next(comes: &Receiver<Value>, rekindle: &Rekindle<'_>) -> Value {
    let document = comes.recv_timeout(PATIENCE);
    let document = document.unwrap_or_else(|_| panic!("nobody is told\n{}", rekindle.story()));
    let outer = schema_of(include_str!("../../docs/notification.schema.json"));
    let inner = schema_of(include_str!("../../docs/incident.schema.json"));
    schema::fit(&outer, &document).unwrap_or_else(|why| panic!("{why}: {document}"));
    schema::fit(&inner, &document["incident"]).unwrap_or_else(|why| panic!("{why}: {document}"));
    document
}

fn settled(rekindle: &Rekindle<'_>) {
    rekindle.wait("it is healthy for good", || {
        let service = &rekindle.status()["services"][0];
        service["state"] == "healthy" && service["outage"].is_null()
    });
}

#[test]
fn a_webhook_is_told_when_an_incident_begins_and_when_it_is_over() {
    let (world, port) = (World::new(), free_port());
    let (hook, comes) = receiver(0);
    let config = Config::demo(port).notify(&format!("webhook = \"http://127.0.0.1:{hook}/\""));
    let rekindle = world.run(&config);
    settled(&rekindle);

    processes::send(served_by(&rekindle, port), Signal::KILL);

    let began = next(&comes, &rekindle);
    assert_eq!((&began["event"], &began["instance"]), (&"began".into(), &"it".into()));
    assert_eq!(began["incident"]["cause"], "crash");
    let over = next(&comes, &rekindle);
    assert_eq!(
        (&over["event"], &over["incident"]["end"]["how"]),
        (&"over".into(), &"healed".into())
    );
    assert_eq!(over["incident"]["id"], began["incident"]["id"]);
}

#[test]
fn a_webhook_that_hangs_delays_no_healing_and_is_told_once_it_is_back() {
    let (world, port) = (World::new(), free_port());
    let (hook, comes) = receiver(1);
    let config = Config::demo(port).notify(&format!(
        "webhook = \"http://127.0.0.1:{hook}/?token=hunter2\"\nwebhook_timeout = \"2s\""
    ));
    let rekindle = world.run(&config);
    settled(&rekindle);
    let first = served_by(&rekindle, port);

    processes::send(first, Signal::KILL);

    rekindle.wait_restarts("signal", 1);
    settled(&rekindle);
    let over = next(&comes, &rekindle);
    assert_eq!(over["event"], "over", "what is new replaces what was not taken");
    rekindle.wait_said(&["the webhook cannot be told", "no answer within 2s"]);
    rekindle.wait_said(&["the webhook has been told"]);
    assert!(!rekindle.said(&["hunter2"]), "{}", rekindle.story());
}

#[test]
fn a_command_is_run_when_an_incident_begins_and_when_it_is_over() {
    let (world, port) = (World::new(), free_port());
    let told = world.at("told");
    let script = world.write(
        "tell.sh",
        &format!(
            "echo $REKINDLE_EVENT $REKINDLE_CAUSE $REKINDLE_END: $REKINDLE_SUMMARY >> {told}\n"
        ),
    );
    let config = Config::demo(port).notify(&format!("exec = [\"/bin/sh\", \"{script}\"]"));
    let rekindle = world.run(&config);
    settled(&rekindle);

    processes::send(served_by(&rekindle, port), Signal::KILL);

    rekindle.wait("it is told that it is over", || world.lines("told").len() == 2);
    let lines = world.lines("told");
    assert!(lines[0].starts_with("began crash : it was killed by signal 9"), "{lines:?}");
    assert!(lines[1].starts_with("over crash healed: it was killed by signal 9"), "{lines:?}");
}

#[test]
fn a_command_that_hangs_is_ended_and_holds_up_nobody() {
    let (world, port) = (World::new(), free_port());
    let config = Config::demo(port)
        .notify("exec = [\"/bin/sh\", \"-c\", \"setsid sleep 1000 & sleep 1000\"]")
        .notify("exec_timeout = \"500ms\"");
    let rekindle = world.run(&config);
    settled(&rekindle);

    processes::send(served_by(&rekindle, port), Signal::KILL);

    rekindle.wait_restarts("signal", 1);
    settled(&rekindle);
    rekindle.wait_said(&["the notify command failed: timeout"]);
    rekindle.wait("it has left nothing", || world.processes_like("sleep 1000").is_empty());
}

#[test]
fn nobody_is_told_of_a_drill() {
    let (world, port) = (World::new(), free_port());
    let (hook, comes) = receiver(0);
    let told = world.at("told");
    let config = Config::demo(port)
        .supervisor("drills = true")
        .notify(&format!("webhook = \"http://127.0.0.1:{hook}/\""))
        .notify(&format!("exec = [\"/bin/sh\", \"-c\", \"echo $REKINDLE_CAUSE >> {told}\"]"));
    let rekindle = world.run(&config);
    settled(&rekindle);

    post_unix(&world.path("run/control.sock"), "/drill?killed").expect("the order is taken");
    rekindle.wait("the drill is recorded", || !world.lines("state/incidents.jsonl").is_empty());
    settled(&rekindle);
    processes::send(served_by(&rekindle, port), Signal::KILL);

    let first = next(&comes, &rekindle);
    assert_eq!((&first["event"], &first["incident"]["cause"]), (&"began".into(), &"crash".into()));
    rekindle.wait("the command is told that it is over", || world.lines("told").len() == 2);
    assert_eq!(world.lines("told"), ["crash", "crash"]);
}
