//! The one table of configuration keys.
//!
//! The reader takes defaults and unknown-key detection from it, `rekindle run` its flags and
//! environment variables, and the reference and the commented example file are printed from it.
//! What a value means once it is read is not said here but in `service`, `policy` and `probes`.

/// One key of the file.
#[derive(Debug)]
pub struct Key {
    /// Its place; `NAME` stands for the service's name, `ROLE` for any of the three probe roles.
    pub path: &'static str,
    /// What may be written there.
    pub kind: Kind,
    /// What holds if it is not written; a TOML value.
    pub default: Option<&'static str>,
    /// For keys without a default: a TOML value that shows how it is written.
    pub example: &'static str,
    /// Whether most users meet it; the reference lists these first.
    pub everyday: bool,
    /// Its flag of `rekindle run`, and with it its environment variable.
    pub flag: Option<Flag>,
    /// What it does. The first sentence is also the flag's help.
    pub doc: &'static str,
}

/// What may be written as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A span of time such as `"500ms"`.
    Duration,
    /// A whole number.
    Integer,
    /// A number with a fraction.
    Number,
    /// `true` or `false`.
    Switch,
    /// One of a few words.
    Word(&'static [&'static str]),
    /// Text with a grammar of its own, which this names.
    Text(&'static str),
    /// A list of such values.
    List(&'static str),
    /// A table whose keys are the user's own.
    Table(&'static str),
}

/// A flag of `rekindle run`.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Without the dashes.
    pub long: &'static str,
    /// The same as an environment variable.
    pub env: &'static str,
    /// What stands for its value in the help.
    pub value: &'static str,
}

/// The flag that names the file itself.
pub const CONFIG: Flag = Flag { long: "config", env: "REKINDLE_CONFIG", value: "FILE" };
/// The flag that sets `boot_hook` to false.
pub const NO_BOOT_HOOK: Flag =
    Flag { long: "no-boot-hook", env: "REKINDLE_NO_BOOT_HOOK", value: "" };

impl Key {
    /// The key's place as its parts.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &'static str> + Clone {
        self.path.split('.')
    }

    /// The last part of the place.
    pub fn name(&self) -> &'static str {
        self.parts().next_back().unwrap_or(self.path)
    }

    /// The first sentence of `doc`, without its full stop.
    pub fn summary(&self) -> &'static str {
        self.doc.split_once(". ").map_or(self.doc, |(first, _)| first).trim_end_matches('.')
    }

    /// Whether this is the key at `place`, which is written with real names.
    pub fn is_at<S: AsRef<str>>(&self, place: &[S]) -> bool {
        self.parts().count() == place.len() && self.leads_to(place)
    }

    /// Whether `place` is where this key is, or a table around it.
    pub fn is_at_or_below<S: AsRef<str>>(&self, place: &[S]) -> bool {
        self.parts().count() >= place.len() && self.leads_to(place)
    }

    fn leads_to<S: AsRef<str>>(&self, place: &[S]) -> bool {
        self.parts().zip(place).all(|(pattern, part)| match pattern {
            "NAME" => true,
            "ROLE" => ROLES.contains(&part.as_ref()),
            _ => pattern == part.as_ref(),
        })
    }
}

impl Kind {
    /// The word for it in the reference.
    pub fn describe(self) -> String {
        match self {
            Self::Duration => "duration".into(),
            Self::Integer => "integer".into(),
            Self::Number => "number".into(),
            Self::Switch => "true or false".into(),
            Self::Word(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                format!("one of {}", words.join(", "))
            }
            Self::Text(what) => what.into(),
            Self::List(what) => format!("list of {what}"),
            Self::Table(what) => format!("table of {what}"),
        }
    }
}

/// What `ROLE` may be.
pub const ROLES: &[&str] = &["startup", "liveness", "readiness"];

/// Finds the key at a place that is written with real names.
pub fn find<S: AsRef<str>>(place: &[S]) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.is_at(place))
}

const fn key(path: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { path, kind, default: None, example: "", everyday: false, flag: None, doc }
}

impl Key {
    const fn default(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    const fn example(self, example: &'static str) -> Self {
        Self { example, ..self }
    }

    const fn everyday(self) -> Self {
        Self { everyday: true, ..self }
    }

    const fn flag(self, long: &'static str, env: &'static str, value: &'static str) -> Self {
        Self { flag: Some(Flag { long, env, value }), ..self }
    }
}

/// The image's convention for boot hooks.
const BOOT_HOOK: &str = r#""/etc/openshell/boot.sh""#;
/// Any 2xx.
const GOOD_STATUS: &str = r#""200-299""#;

use Kind::{Duration, Integer, List, Number, Switch, Table, Text, Word};

/// Every key. Those of one table stand together, tables inside a table after its own keys.
pub const KEYS: &[Key] = &[
    key(
        "supervisor.name",
        Text("name"),
        "Name of this instance: its directories and its control socket are named after it. \
         Unset, it is the service's name.",
    )
    .example(r#""gateway""#)
    .flag("name", "REKINDLE_NAME", "NAME"),
    key(
        "supervisor.listen",
        Text("address or \"off\""),
        "Address that serves the page, /metrics, /livez, /readyz and /status. \
         It only answers questions; port 0 takes a free one and the log says which.",
    )
    .default(r#""127.0.0.1:7354""#)
    .everyday()
    .flag("listen", "REKINDLE_LISTEN", "ADDR"),
    key(
        "supervisor.state_dir",
        Text("path"),
        "Directory for what must outlive a restart. \
         Unset: $STATE_DIRECTORY, else /var/lib/rekindle/NAME for root, else \
         $XDG_STATE_HOME/rekindle/NAME or ~/.local/state/rekindle/NAME.",
    )
    .example(r#""/var/lib/rekindle/gateway""#)
    .everyday()
    .flag("state-dir", "REKINDLE_STATE_DIR", "PATH"),
    key(
        "supervisor.log_level",
        Word(&["error", "warn", "info", "debug", "trace"]),
        "Least important level that is logged. RUST_LOG, if set, is more precise and wins.",
    )
    .default(r#""info""#)
    .flag("log-level", "REKINDLE_LOG_LEVEL", "WORD"),
    key(
        "supervisor.log_format",
        Word(&["auto", "human", "json"]),
        "How log lines look. `auto` writes for people on a terminal and JSON otherwise.",
    )
    .default(r#""auto""#)
    .flag("log-format", "REKINDLE_LOG_FORMAT", "WORD"),
    key(
        "supervisor.cgroup",
        Word(&["auto", "force", "off"]),
        "Whether the process tree gets a cgroup of its own. \
         `auto` makes one only where it was delegated to us, `force` wherever our directory can \
         be written.",
    )
    .default(r#""auto""#),
    key(
        "supervisor.drills",
        Switch,
        "Whether `rekindle drill --live` may break the running service. \
         The order comes through the control socket, from our own user or root.",
    )
    .default("false"),
    key(
        "supervisor.mask",
        List("regular expressions"),
        "What is masked in the records of outages, beside what looks like a secret anyway. \
         Each is a pattern in the syntax of the Rust crate regex, without Unicode classes.",
    )
    .example(r#"["card \\d{16}"]"#),
    key("notify.active", Switch, "Whether anybody is told of incidents at all.")
        .default("true")
        .flag("notify", "REKINDLE_NOTIFY", "BOOL"),
    key(
        "notify.webhook",
        Text("URL"),
        "Where a JSON document is sent by POST when an incident begins, and another when it is \
         over. \
         It is tried again until it is taken (2xx) or refused for good (4xx).",
    )
    .example(r#""https://hooks.example.org/rekindle""#),
    key("notify.headers", Table("texts"), "Headers to send with it.")
        .example(r#"{ Authorization = "Bearer …" }"#),
    key("notify.webhook_timeout", Duration, "How long one attempt may take.").default(r#""10s""#),
    key(
        "notify.exec",
        List("texts"),
        "Command that is run when an incident begins, and again when it is over. \
         It runs as the child does and learns from `REKINDLE_EVENT` (`began`, `over`), \
         `REKINDLE_SUMMARY` and other variables what happened.",
    )
    .example(r#"["logger", "-t", "rekindle", "an incident"]"#),
    key("notify.exec_timeout", Duration, "`exec` is killed after this.").default(r#""10s""#),
    key(
        "service.NAME.command",
        List("texts"),
        "Program and its arguments. \
         No shell is involved; `${VAR}` is replaced from the environment, `$${` stands for `${`. \
         Without a file it is what follows `--`, taken as it is.",
    )
    .example(r#"["openclaw", "gateway", "run", "--port", "18789"]"#)
    .everyday(),
    key(
        "service.NAME.health",
        Text("URL"),
        "URL that answers with a good status while the service is healthy. \
         Short for a startup and a liveness probe; as a flag it replaces the target of both.",
    )
    .example(r#""http://127.0.0.1:18789/health""#)
    .everyday()
    .flag("health", "REKINDLE_HEALTH", "URL"),
    key(
        "service.NAME.boot_hook",
        Text("path, table or false"),
        "Program that must end well before every launch. \
         A missing one is skipped, false means none; the table is \
         `{ path = \"…\", timeout = \"5m\", user = \"root\" }`.",
    )
    .default(BOOT_HOOK)
    .everyday()
    .flag("boot-hook", "REKINDLE_BOOT_HOOK", "PATH"),
    key(
        "service.NAME.on_boot_failure",
        Word(&["retry", "exit"]),
        "What follows a boot hook that fails before the first launch. \
         `retry` tries again with backoff, `exit` ends with code 69.",
    )
    .default(r#""retry""#)
    .flag("on-boot-failure", "REKINDLE_ON_BOOT_FAILURE", "WORD"),
    key(
        "service.NAME.boot_splay",
        Duration,
        "Spreads the first launches of a fleet whose power has come back. \
         After a start of the kind power_cycle or reboot, boot hook and child wait for a share of \
         this that is different for each sandbox and each boot; log and /status say which. \
         A good value is 1.2 times the number of sandboxes, divided by the starts per second that \
         what they all depend on can serve.",
    )
    .default(r#""0s""#),
    key(
        "service.NAME.startup_timeout",
        Duration,
        "How long a launch may take until its first passed probe. \
         The clock stands still while probes are inconclusive, and while the child waits for a \
         processor for more than half of the time. A probe that waits for its answer when the \
         time is over is waited for.",
    )
    .default(r#""10m""#)
    .everyday()
    .flag("startup-timeout", "REKINDLE_STARTUP_TIMEOUT", "DURATION"),
    key(
        "service.NAME.settle",
        Duration,
        "How long the first pass must last to have ended the outage. \
         Without any probe: how long the child must run to be called healthy.",
    )
    .default(r#""10s""#),
    key(
        "service.NAME.stop_signal",
        Text("signal name or number"),
        "Signal that asks the main process to end.",
    )
    .default(r#""TERM""#),
    key(
        "service.NAME.stop_timeout",
        Duration,
        "The whole budget of a stop; what is left at its end is killed. \
         The container runtime must allow this plus one second (Docker allows 10 s by default).",
    )
    .default(r#""8s""#)
    .everyday()
    .flag("stop-timeout", "REKINDLE_STOP_TIMEOUT", "DURATION"),
    key(
        "service.NAME.unhealthy_stop_timeout",
        Duration,
        "The same budget for a child that is being healed.",
    )
    .default(r#""5s""#),
    key(
        "service.NAME.restart",
        Word(&["always", "on-failure", "never"]),
        "Which exits are followed by another launch. \
         `on-failure` ends with the child's exit code 0, `never` with any exit.",
    )
    .default(r#""always""#)
    .everyday(),
    key(
        "service.NAME.slow_retry",
        Duration,
        "Time between attempts at the slow pace, for what does not mend itself quickly.",
    )
    .default(r#""5m""#),
    key(
        "service.NAME.max_restarts",
        Integer,
        "How many restarts are allowed within `window`. Unset: it keeps trying for ever.",
    )
    .example("10"),
    key("service.NAME.window", Duration, "The span in which `max_restarts` are counted.")
        .default(r#""10m""#),
    key(
        "service.NAME.on_exhausted",
        Word(&["slow", "exit"]),
        "What follows when `max_restarts` are spent. \
         `slow` goes on at the slow pace, `exit` ends with code 10.",
    )
    .default(r#""slow""#),
    key(
        "service.NAME.max_doubt",
        Duration,
        "How long failures are excused because supervisor or child came late or were starved. \
         After it failures count again, from the first one: a hung child on a loaded machine is \
         taken down once `failure_threshold` of them have come in a row.",
    )
    .default(r#""2m""#),
    key(
        "service.NAME.recovery_objective",
        Duration,
        "The recovery time that you promise. Exported as a metric for alerts and drills.",
    )
    .example(r#""60s""#),
    key(
        "service.NAME.impostor",
        Word(&["auto", "report", "off"]),
        "What it means when somebody else listens on the probed port. \
         `auto` fails the probe if that is certain, `report` only says it, `off` does not look. \
         A forward through which the child has been healthy is believed, known again by its name \
         and user in this run and, with a state directory, in later ones, until the child itself \
         holds the port. One that is there before the child has ever been healthy through it \
         needs `report`.",
    )
    .default(r#""auto""#),
    key(
        "service.NAME.repair",
        List("texts"),
        "Command that is run once when an `on_exit` rule says \"repair-once\".",
    )
    .example(r#"["openclaw", "doctor", "--fix", "--yes"]"#),
    key("service.NAME.repair_timeout", Duration, "`repair` is killed after this.")
        .default(r#""5m""#),
    key(
        "service.NAME.capture",
        List("texts"),
        "Command that is run when the child hangs, before it is taken down: to dump its stack or \
         heap, say. \
         It runs as the child does, and `REKINDLE_PID` is the child's main process. What it writes \
         is kept with the incident; nothing that it starts outlives it.",
    )
    .example(r#"["sh", "-c", "cat /proc/$REKINDLE_PID/stack /proc/$REKINDLE_PID/wchan"]"#),
    key("service.NAME.capture_timeout", Duration, "`capture` is killed after this.")
        .default(r#""10s""#),
    key(
        "service.NAME.env",
        Table("texts"),
        "Environment variables of the child, on top of the others. \
         `${VAR}` is replaced from our own environment, `$${` stands for `${`.",
    )
    .example(r#"{ LOG_DIR = "${HOME}/logs" }"#),
    key(
        "service.NAME.env_file",
        Text("path or list of paths"),
        "Files of `KEY=VALUE` lines, read before each launch. \
         With a leading `-` a missing file is skipped.",
    )
    .example(r#""-/etc/rekindle/gateway.env""#),
    key(
        "service.NAME.inherit_env",
        Switch,
        "Whether the child gets our environment. REKINDLE_* and the like are left out always.",
    )
    .default("true"),
    key("service.NAME.cwd", Text("path"), "Working directory of the child.").example(r#""/app""#),
    key(
        "service.NAME.user",
        Text("name or number"),
        "User to run the child as, with all of the user's groups. Needs root.",
    )
    .example(r#""node""#),
    key(
        "service.NAME.group",
        Text("name or number"),
        "Group to run the child as instead of the user's own. Needs root.",
    )
    .example(r#""node""#),
    key("service.NAME.umask", Text("octal text"), "File mode creation mask of the child.")
        .example(r#""0022""#),
    key(
        "service.NAME.limits",
        Table("limits"),
        "Resource limits, named as in prlimit. \
         A number, \"soft:hard\", or \"unlimited\".",
    )
    .example(r#"{ nofile = "1024:4096", core = 0 }"#),
    key(
        "service.NAME.no_new_privs",
        Switch,
        "Whether the child and its descendants can never gain privileges by executing a file.",
    )
    .default("false"),
    key(
        "service.NAME.stdin",
        Word(&["null", "inherit"]),
        "Where the child's input comes from. \
         `inherit` hands over ours and makes the child the terminal's foreground group.",
    )
    .default(r#""null""#),
    key(
        "service.NAME.output",
        Word(&["auto", "pump", "inherit"]),
        "Where the child's output goes. \
         `pump` passes it on unchanged and keeps the tail (what nobody reads is dropped and \
         counted, it never holds the child up), `inherit` lets the child write to our output \
         itself, `auto` inherits on a terminal and pumps otherwise.",
    )
    .default(r#""auto""#),
    key(
        "service.NAME.on_exit",
        List("tables"),
        "What particular exit codes mean; the first rule that matches holds. \
         Your rules come before the default one.",
    )
    .default(r#"[{ codes = [78], action = "slow" }]"#),
    key(
        "service.NAME.on_exit.codes",
        List("codes"),
        "Exit codes as numbers or ranges; 128 + n stands for signal n.",
    )
    .example(r#"[78, "128-143"]"#),
    key(
        "service.NAME.on_exit.action",
        Word(&["restart", "slow", "repair-once", "stop"]),
        "What follows such an exit. \
         `restart` is the usual retry, `slow` the slow pace, `repair-once` runs `repair` before \
         the next attempt and then goes slow, `stop` ends with the child's code.",
    )
    .example(r#""slow""#),
    key("service.NAME.boot_hook.path", Text("path"), "Where the boot hook is.").default(BOOT_HOOK),
    key("service.NAME.boot_hook.timeout", Duration, "The boot hook is killed after this.")
        .default(r#""5m""#),
    key(
        "service.NAME.boot_hook.user",
        Text("name or number"),
        "User to run the boot hook as instead of the child's.",
    )
    .example(r#""root""#),
    key(
        "service.NAME.probe.liveness.period",
        Duration,
        "Time from the start of one liveness probe to the start of the next.",
    )
    .default(r#""10s""#)
    .everyday()
    .flag("period", "REKINDLE_PERIOD", "DURATION"),
    key("service.NAME.probe.liveness.timeout", Duration, "How long one liveness probe may take.")
        .default(r#""5s""#)
        .flag("timeout", "REKINDLE_TIMEOUT", "DURATION"),
    key(
        "service.NAME.probe.liveness.failure_threshold",
        Integer,
        "How many failed liveness probes in a row make the service unhealthy.",
    )
    .default("3")
    .everyday()
    .flag("failure-threshold", "REKINDLE_FAILURE_THRESHOLD", "N"),
    key(
        "service.NAME.probe.liveness.expect_status",
        Text("status set"),
        "HTTP statuses that are good. Numbers and ranges, such as \"200-299,401\".",
    )
    .default(GOOD_STATUS)
    .flag("expect-status", "REKINDLE_EXPECT_STATUS", "SET"),
    key(
        "service.NAME.probe.startup.period",
        Duration,
        "Time from the start of one startup probe to the start of the next.",
    )
    .default(r#""500ms""#),
    key(
        "service.NAME.probe.startup.timeout",
        Duration,
        "How long one startup probe may take. Unset, it is the liveness probe's.",
    )
    .example(r#""5s""#),
    key(
        "service.NAME.probe.readiness.period",
        Duration,
        "Time from the start of one readiness probe to the start of the next.",
    )
    .default(r#""10s""#),
    key("service.NAME.probe.readiness.timeout", Duration, "How long one readiness probe may take.")
        .default(r#""5s""#),
    key(
        "service.NAME.probe.readiness.failure_threshold",
        Integer,
        "How many failed readiness probes in a row make it not ready.",
    )
    .default("3"),
    key(
        "service.NAME.probe.readiness.success_threshold",
        Integer,
        "How many passed readiness probes in a row make it ready again.",
    )
    .default("1"),
    key("service.NAME.probe.ROLE.http", Text("URL"), "Probe with an HTTP GET of this URL.")
        .example(r#""http://127.0.0.1:18789/health""#),
    key(
        "service.NAME.probe.ROLE.tcp",
        Text("host:port"),
        "Probe with a TCP connection that must be accepted.",
    )
    .example(r#""127.0.0.1:18789""#),
    key(
        "service.NAME.probe.ROLE.exec",
        List("texts"),
        "Probe with a program that must exit with 0. What it leaves running is killed.",
    )
    .example(r#"["pg_isready", "--quiet"]"#),
    key(
        "service.NAME.probe.ROLE.file",
        Text("path"),
        "Probe with a file whose modification time must keep changing.",
    )
    .example(r#""/run/gateway/heartbeat""#),
    key("service.NAME.probe.ROLE.within", Duration, "With `file`: how long it may stay unchanged.")
        .example(r#""30s""#),
    key(
        "service.NAME.probe.ROLE.unix_socket",
        Text("path"),
        "With `http`: connect to this unix socket instead of the URL's host.",
    )
    .example(r#""/run/gateway/http.sock""#),
    key("service.NAME.probe.ROLE.headers", Table("texts"), "With `http`: headers to send.")
        .example(r#"{ Host = "gateway.internal" }"#),
    key(
        "service.NAME.probe.ROLE.expect_status",
        Text("status set"),
        "With `http`: the statuses that are good.",
    )
    .default(GOOD_STATUS),
    key(
        "service.NAME.probe.ROLE.expect_header",
        Table("texts"),
        "With `http`: headers that must come back with exactly this value.",
    )
    .example(r#"{ content-type = "application/json" }"#),
    key(
        "service.NAME.probe.ROLE.expect_body",
        Text("text"),
        "With `http`: text that must be in the first 64 KiB of the body.",
    )
    .example(r#""ok""#),
    key(
        "service.NAME.probe.ROLE.expect_json",
        Table("values"),
        "With `http`: JSON pointers into the body and what must stand there.",
    )
    .example(r#"{ "/ok" = true }"#),
    key(
        "service.NAME.probe.ROLE.ca",
        Text("path"),
        "With `http`: PEM file of the certificates to trust instead of the system's. \
         Without it a loopback server's certificate is not verified.",
    )
    .example(r#""/etc/ssl/gateway-ca.pem""#),
    key(
        "service.NAME.backoff.initial",
        Duration,
        "Delay before the second attempt; the first one after a stable run is immediate.",
    )
    .default(r#""500ms""#),
    key("service.NAME.backoff.factor", Number, "Each delay is this many times the one before it.")
        .default("2.0"),
    key(
        "service.NAME.backoff.max",
        Duration,
        "No delay is longer than this, jitter aside. \
         Where a program could not be started because descriptors, pids, memory or room on a disk \
         were lacking, none is longer than 5s.",
    )
    .default(r#""60s""#),
    key(
        "service.NAME.backoff.jitter",
        Number,
        "How far delays are spread at random: 0.5 is ±50 %.",
    )
    .default("0.5"),
    key(
        "service.NAME.backoff.stable_after",
        Duration,
        "Healthy for this long, and the delays start afresh.",
    )
    .default(r#""60s""#),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_keys_are_everyday_ones() {
        assert_eq!(KEYS.iter().filter(|key| key.everyday).count(), 10);
    }

    #[test]
    fn every_key_has_a_default_or_an_example_and_ends_its_sentences() {
        for key in KEYS {
            assert!(key.default.is_some() == key.example.is_empty(), "{}", key.path);
            assert!(key.doc.ends_with('.') && !key.doc.contains("  "), "{}", key.path);
        }
    }

    #[test]
    fn environment_variables_are_named_after_their_flags() {
        for flag in KEYS.iter().filter_map(|key| key.flag).chain([CONFIG, NO_BOOT_HOOK]) {
            let name = flag.long.to_uppercase().replace('-', "_");
            assert_eq!(flag.env, format!("REKINDLE_{name}"));
        }
    }

    #[test]
    fn roles_match_their_pattern_and_other_words_do_not() {
        assert!(find(&["service", "x", "probe", "readiness", "http"]).is_some());
        assert!(find(&["service", "x", "probe", "other", "http"]).is_none());
    }
}
