//! `rekindle status`: what the service is doing, since when, and what comes next.
//!
//! It shows the document of `/status`, asked from the control socket of the instance in this
//! sandbox, and judges nothing itself. It keeps to 80 columns, and draws no colours.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::StatusArgs;
use super::probe::Instance;
use crate::drill::ask::{self, NoAnswer};
use crate::paths::{Environment, PathError};
use crate::status::{human, what_next};
use crate::supervisor::State;
use crate::text::{date, short_line};

/// A service is not healthy, or nobody can tell.
const NOT_HEALTHY: u8 = 1;
/// More than one instance runs here, and none was named.
const USAGE: u8 = 2;
/// There is none to ask; init scripts use the same code.
const NOT_RUNNING: u8 = 3;
/// The widest line, in bytes.
pub(super) const WIDTH: usize = 80;
/// How often `--watch` asks.
const PERIOD: Duration = Duration::from_secs(1);
/// Moves to the upper left corner and clears what is below.
const CLEAR: &str = "\x1b[H\x1b[J";

/// What is shown, and the exit code; `Err` if there is nothing to show but why.
type Told = Result<(u8, String), (u8, String)>;

/// Shows the status, with `--watch` again and again, and gives the exit code.
pub fn run(args: &StatusArgs) -> ExitCode {
    let env = Environment::of_process();
    let instance = Instance::from(&args.instance);
    loop {
        let told = tell(&instance, args.json, &env);
        let (code, shown) = show(&told, args.watch);
        if !args.watch || shown.is_err() {
            return ExitCode::from(code);
        }
        thread::sleep(PERIOD);
    }
}

fn show(told: &Told, watch: bool) -> (u8, io::Result<()>) {
    let mut stdout = io::stdout();
    let clear = if watch && stdout.is_terminal() { CLEAR } else { "" };
    match told {
        Ok((code, text)) => (*code, write!(stdout, "{clear}{text}").and_then(|()| stdout.flush())),
        Err((code, why)) => {
            let cleared = write!(stdout, "{clear}").and_then(|()| stdout.flush());
            (*code, cleared.and(writeln!(io::stderr(), "rekindle: {why}")))
        }
    }
}

fn tell(instance: &Instance, json: bool, env: &Environment) -> Told {
    let socket = instance.control_socket(env).map_err(|error| {
        let code = match error {
            PathError::NotFound { .. } => NOT_RUNNING,
            PathError::Several { .. } => USAGE,
            PathError::NoHome | PathError::NoPlaceForSocket { .. } | PathError::TooLong { .. } => {
                NOT_HEALTHY
            }
        };
        (code, error.to_string())
    })?;
    let body = ask::unix(&socket, "GET", "/status").map_err(|error| {
        let (code, hint) = match error {
            NoAnswer::Nobody => (NOT_RUNNING, "; is it running?"),
            NoAnswer::Silent => (NOT_HEALTHY, "; it is stopped (SIGSTOP, a debugger) or stuck"),
            NoAnswer::Refused(_) | NoAnswer::Broken(_) => (NOT_HEALTHY, ""),
        };
        (code, format!("cannot ask for the status on {}: {error}{hint}", socket.display()))
    })?;
    let document: Value = serde_json::from_str(&body)
        .map_err(|error| (NOT_HEALTHY, format!("cannot read the status: {error}")))?;
    let text = if json { format!("{document}\n") } else { table(&document) };
    Ok((code(&document), text))
}

/// 0 if every service is healthy, as far as a loop that turns can tell.
fn code(document: &Value) -> u8 {
    let services = document["services"].as_array().map_or(&[][..], Vec::as_slice);
    let healthy = services.iter().all(|service| service["healthy"] == true);
    let live = document["supervisor"]["live"] == true;
    if healthy && live && !services.is_empty() { 0 } else { NOT_HEALTHY }
}

/// The document for people: a block of lines for each service, one line for the supervisor.
fn table(document: &Value) -> String {
    let mut rows = Rows::default();
    for service in document["services"].as_array().into_iter().flatten() {
        rows.service(service);
    }
    rows.supervisor(&document["supervisor"]);
    rows.0
}

#[derive(Default)]
struct Rows(String);

impl Rows {
    fn add(&mut self, label: &str, text: &str) {
        self.0 += short_line(&format!("{label:<13}{text}"), WIDTH).trim_end();
        self.0.push('\n');
    }

    fn service(&mut self, service: &Value) {
        let state = text(service, "state");
        let summary = text(service, "summary");
        let words = if summary == state { state.to_owned() } else { format!("{state}: {summary}") };
        self.add(text(service, "name"), &words);
        let since = date(text(service, "since"));
        self.add("  since", &format!("{since}, for {}", span(&service["for_seconds"])));
        self.add("  next", &next(service));
        let drill = &service["drill"];
        if let Some(fault) = drill["fault"].as_str() {
            let began = date(text(drill, "began"));
            self.add("  drill", &format!("{fault}, {began}, {}", span(&drill["seconds"])));
        }
        for (label, key) in [("  outage", "outage"), ("  incident", "last_incident")] {
            if let Some(outage) = service[key].as_object() {
                let began = outage["began"].as_str().map(date).unwrap_or_default();
                let cause = outage["cause"].as_str().unwrap_or_default();
                self.add(label, &format!("{cause}, {began}, {}", span(&outage["seconds"])));
            }
        }
        if let Some(summary) = service["incident"]["summary"].as_str() {
            self.add("  what", summary);
        }
        if let Some(how) = service["last_exit"]["how"].as_str() {
            let at = date(text(&service["last_exit"], "at"));
            self.add("  last exit", &format!("{how}, {at}"));
        }
        for (role, answer) in service["probes"].as_object().into_iter().flatten() {
            self.add(&format!("  {role}"), &told(answer));
        }
        let counts = &service["counts"];
        let [restarts, avoided, incidents] =
            ["restarts", "restarts_avoided", "incidents"].map(|key| &counts[key]);
        let up =
            format!("up {}, down {}", span(&service["up_seconds"]), span(&service["down_seconds"]));
        self.add(
            "  so far",
            &format!("{up}, restarts {restarts}, avoided {avoided}, incidents {incidents}"),
        );
    }

    fn supervisor(&mut self, supervisor: &Value) {
        let version = text(supervisor, "version");
        let since = date(text(supervisor, "started"));
        let began = text(supervisor, "start");
        let pid = &supervisor["pid"];
        self.add("rekindle", &format!("{version}, pid {pid}, since {since}, start: {began}"));
        let on_disk = &supervisor["on_disk"];
        if on_disk["valid"] == false {
            self.add("  on disk", text(on_disk, "problem"));
        } else if on_disk["differs"] == true {
            self.add("  on disk", "the configuration is not the one that runs");
        }
        if let Some(why) = supervisor["forgets"].as_str() {
            self.add("", &format!("not remembered: {why}"));
        }
        if supervisor["live"] != true {
            self.add("", "its loop is stuck: what stands above is old, and nothing is healed");
        }
    }
}

/// What comes next, in words.
fn next(service: &Value) -> String {
    if service["next_attempt_in_seconds"].is_number() {
        return format!("an attempt in {}", span(&service["next_attempt_in_seconds"]));
    }
    let state = State::ALL.iter().find(|state| state.label() == text(service, "state"));
    let (settling, ready) = (service["outage"].is_object(), service["ready"] == true);
    state.map_or("nothing", |state| what_next(*state, settling, ready)).to_owned()
}

/// The last answer of a probe.
fn told(answer: &Value) -> String {
    let in_a_row = match answer["consecutive_failures"].as_u64() {
        Some(failures @ 1..) => format!("{failures} in a row, "),
        _ => String::new(),
    };
    format!("{in_a_row}{}: {}", span(&answer["took_seconds"]), text(answer, "detail"))
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object[key].as_str().unwrap_or_default()
}

fn span(seconds: &Value) -> String {
    human_seconds(seconds.as_f64().unwrap_or_default())
}

pub(super) fn human_seconds(seconds: f64) -> String {
    human(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(state: &str, healthy: bool) -> Value {
        json!({
            "supervisor": {
                "version": "0.1.0", "pid": 1, "started": "2026-11-26T10:00:00.000Z",
                "live": true, "start": "power_cycle"
            },
            "services": [{
                "name": "gateway", "state": state, "since": "2026-11-26T10:20:11.123Z",
                "for_seconds": 4.2, "summary": "waiting 8.0 s for the next attempt",
                "healthy": healthy, "ready": healthy,
                "next_attempt_in_seconds": if healthy { Value::Null } else { json!(3.8) },
                "outage": if healthy { Value::Null } else {
                    json!({"cause": "crash", "began": "2026-11-26T10:20:10.000Z", "seconds": 5.3})
                },
                "last_incident": null,
                "last_exit": {"at": "2026-11-26T10:20:10.000Z", "how": "signal 9", "code": 137},
                "probes": {"liveness": {
                    "detail": format!("refused: {}", "x".repeat(200)), "took_seconds": 0.001,
                    "consecutive_failures": 3
                }},
                "counts": {"restarts": 12, "restarts_avoided": 3, "incidents": 4},
                "up_seconds": 7800.0, "down_seconds": 5.3
            }]
        })
    }

    #[test]
    fn the_table_says_what_since_when_and_what_comes_next() {
        let table = table(&document("backoff", false));
        let expected = "\
gateway      backoff: waiting 8.0 s for the next attempt
  since      2026-11-26 10:20:11 UTC, for 4.2 s
  next       an attempt in 3.8 s
  outage     crash, 2026-11-26 10:20:10 UTC, 5.3 s
  last exit  signal 9, 2026-11-26 10:20:10 UTC
";
        assert!(table.starts_with(expected), "{table}");
        assert!(
            table.ends_with(
                "  so far     up 2h10m, down 5.3 s, restarts 12, avoided 3, incidents 4\n\
             rekindle     0.1.0, pid 1, since 2026-11-26 10:00:00 UTC, start: power_cycle\n"
            ),
            "{table}"
        );
    }

    #[test]
    fn a_drill_and_what_is_not_remembered_are_told() {
        let mut document = document("degraded", false);
        document["services"][0]["drill"] =
            json!({"fault": "hang", "began": "2026-11-26T10:20:09.000Z", "seconds": 4.25});
        document["supervisor"]["forgets"] = json!("state_dir is in memory (tmpfs)");
        let table = table(&document);
        for row in [
            "\n  drill      hang, 2026-11-26 10:20:09 UTC, 4.2 s\n  outage     crash,",
            "\n             not remembered: state_dir is in memory (tmpfs)\n",
        ] {
            assert!(table.contains(row), "{table}");
        }
    }

    #[test]
    fn no_line_is_wider_than_eighty_columns_whatever_a_server_says() {
        let table = table(&document("backoff", false));
        for line in table.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert!(table.contains("  liveness   3 in a row, 1 ms: refused: xxx"), "{table}");
    }

    #[test]
    fn what_is_on_disk_has_a_line_only_if_it_is_not_what_runs() {
        let mut document = document("healthy", true);
        for (on_disk, line) in [
            (json!({"valid": true, "problem": null, "differs": false}), None),
            (
                json!({"valid": true, "problem": null, "differs": true}),
                Some("  on disk    the configuration is not the one that runs\n"),
            ),
            (
                json!({"valid": false, "problem": "a.toml:3: no such key", "differs": true}),
                Some("  on disk    a.toml:3: no such key\n"),
            ),
        ] {
            document["supervisor"]["on_disk"] = on_disk;
            let table = table(&document);
            assert_eq!(table.contains("on disk"), line.is_some(), "{table}");
            assert!(table.contains(line.unwrap_or_default()), "{table}");
        }
    }

    #[test]
    fn every_state_has_something_that_comes_next() {
        for state in State::ALL {
            let mut document = document(state.label(), *state == State::Healthy);
            let service = &mut document["services"][0];
            service["next_attempt_in_seconds"] = Value::Null;
            assert!(!next(service).is_empty(), "{state:?}");
            let known = *state == State::Stopped || next(service) != "nothing";
            assert!(known, "{state:?}");
        }
    }

    #[test]
    fn the_code_is_0_only_if_the_service_is_healthy_and_the_loop_turns() {
        let mut healthy = document("healthy", true);
        assert_eq!(code(&healthy), 0);
        healthy["supervisor"]["live"] = json!(false);
        assert_eq!(code(&healthy), 1);
        assert!(table(&healthy).contains("its loop is stuck"));
        assert_eq!(code(&document("backoff", false)), 1);
        assert_eq!(code(&json!({})), 1, "nothing is known");
    }
}
