//! The configuration as a whole: what a user writes, and what comes of it.

use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::supervisor::{Budget, ExitAction, ExitRule, RestartPolicy};

/// The least that is a configuration.
const LEAST: &str = "[service.gateway]\ncommand = [\"gateway\"]\n";

fn sources(text: &str) -> Sources {
    Sources {
        file: Some(File { path: "rekindle.toml".into(), text: text.into() }),
        environment: [("PORT".to_owned(), "18789".to_owned())].into(),
        directory: "/srv".into(),
        root: true,
        ..Sources::default()
    }
}

fn flag(path: &str, text: &str) -> Setting {
    let key = keys::KEYS.iter().find(|key| key.path == path).unwrap();
    Setting { key, origin: Origin::Flag(key.flag.unwrap().long), text: Some(text.into()) }
}

#[track_caller]
fn loaded(text: &str) -> Loaded {
    load(&sources(text)).unwrap_or_else(|problems| panic!("{problems}"))
}

#[track_caller]
fn service(text: &str) -> Service {
    loaded(text).config.services.remove(0)
}

fn problems(text: &str) -> Vec<String> {
    load(&sources(text)).expect_err(text).0
}

#[test]
fn the_least_file_takes_every_default() {
    let Loaded { config, warnings } = loaded(LEAST);
    assert_eq!(config.supervisor.name, "gateway");
    assert_eq!(config.supervisor.listen, Some("127.0.0.1:7354".parse().unwrap()));
    let service = &config.services[0];
    assert_eq!(service.command, ["gateway"]);
    let hook = service.boot_hook.as_ref().unwrap();
    assert_eq!(hook.path, PathBuf::from("/etc/openshell/boot.sh"));
    let policy = &service.policy;
    assert_eq!(policy.hook.unwrap().timeout, Duration::from_mins(5));
    assert_eq!(policy.stop_timeout, Duration::from_secs(8));
    assert_eq!(policy.restart, RestartPolicy::Always);
    assert_eq!(policy.exit_rules, [ExitRule { codes: vec![78], action: ExitAction::Slow }]);
    assert_eq!(policy.jitter_permille, 500);
    assert_eq!(policy.budget, None);
    assert!(policy.startup.is_none() && policy.liveness.is_none());
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("a child that hangs is not healed"), "{warnings:?}");
}

#[test]
fn the_file_of_the_design_is_read_as_it_is_meant() {
    let service = service(
        r#"
        [supervisor]
        listen = "off"
        [service.gateway]
        command = ["openclaw", "gateway", "run", "--port", "${PORT}", "$${PORT} $$"]
        health = "http://127.0.0.1:18789/health"
        boot_hook = { path = "boot.sh", timeout = "1m", user = "root" }
        on_boot_failure = "exit"
        repair = ["openclaw", "doctor"]
        max_restarts = 0x1_0
        limits = { nofile = "1024:4096", core = "unlimited" }
        env_file = ["-extra.env", "/etc/gateway.env"]
        umask = "0027"
        user = 1000
        group = "staff"
        stop_signal = "SIGINT"
        [service.gateway.probe.liveness]
        http = "https://gateway.internal/health"
        expect_status = "200-299,401"
        expect_header = { Content-Type = "text/plain" }
        expect_json = { "/ok" = true, "/deep/0" = [1, "x"] }
        ca = "ca.pem"
        [[service.gateway.on_exit]]
        codes = [75, "128-130"]
        action = "repair-once"
        "#,
    );
    assert_eq!(service.command[4..], ["18789", "${PORT} $$"]);
    let hook = service.boot_hook.unwrap();
    assert_eq!((hook.path, hook.user.as_deref()), ("/srv/boot.sh".into(), Some("root")));
    let policy = service.policy;
    assert_eq!(policy.hook.unwrap().timeout, Duration::from_mins(1));
    assert!(policy.hook.unwrap().exit_on_failure);
    assert_eq!(policy.repair, Some(Duration::from_mins(5)));
    let window = Duration::from_mins(10);
    assert_eq!(policy.budget, Some(Budget { max_restarts: 16, window, exit: false }));
    let first = ExitRule { codes: vec![75, 128, 129, 130], action: ExitAction::RepairOnce };
    assert_eq!(policy.exit_rules[0], first);
    assert_eq!(policy.exit_rules.len(), 2, "the default rule comes last");
    assert_eq!(service.context.limits["nofile"], Limit { soft: Some(1024), hard: Some(4096) });
    assert_eq!(service.context.limits["core"], Limit { soft: None, hard: None });
    assert_eq!(
        service.context.env_files,
        [
            EnvFile { path: "/srv/extra.env".into(), optional: true },
            EnvFile { path: "/etc/gateway.env".into(), optional: false },
        ]
    );
    assert_eq!(service.context.umask, Some(0o027));
    assert_eq!(service.context.user.as_deref(), Some("1000"));
    assert_eq!(service.context.group.as_deref(), Some("staff"));
    assert_eq!(service.stop_signal, 2);
    let liveness = service.probes.liveness.unwrap();
    assert_eq!(service.probes.startup.unwrap().target, liveness.target, "asked from the start");
    let ProbeTarget::Http(http) = liveness.target else { panic!("{liveness:?}") };
    assert_eq!(http.url, "https://gateway.internal/health", "the probe's own target wins");
    assert!(http.expect_status.contains(401) && !http.expect_status.contains(404));
    assert_eq!(http.expect_header["content-type"], "text/plain");
    assert_eq!(http.expect_json["/deep/0"], serde_json::json!([1, "x"]));
    assert_eq!(http.ca, Some("/srv/ca.pem".into()));
}

#[test]
fn each_mistake_is_told_with_its_line_its_value_and_the_way_out() {
    /// Lines that follow [`LEAST`], and what is said about the first of them.
    const MISTAKES: &[(&str, &str)] = &[
        (
            r#"stop_timeout = "8 parsecs""#,
            r#"stop_timeout = "8 parsecs" is not a duration: write it like "500ms", "8s" or "5m""#,
        ),
        ("stop_timeout = 8", r#"stop_timeout = 8 is not a duration: write it like "500ms""#),
        (r#"settle = "9999999999s""#, "is not a duration up to a year"),
        (r#"settle = "400 days""#, "is longer than a year"),
        (r#"startup_timeout = "0s""#, "is too short: it must be 1ms or longer"),
        (r#"helth = "http://x/""#, "service.gateway.helth is not a key: did you mean health?"),
        (r#"interval = "1s""#, "it belongs at"),
        (
            "stop_timeout.path = 1",
            "stop_timeout.path is not a key: stop_timeout is a value (duration)",
        ),
        (
            r#"probe.liveness.http.url = "http://x/""#,
            "liveness.http.url is not a key: http is a value (URL) and has no keys",
        ),
        (r#"listen = "off""#, "is not a key: it belongs at supervisor.listen"),
        (r#"health = "127.0.0.1:1/""#, "is not a URL (relative URL without a base): write it"),
        (r#"health = "ftp://x/""#, "is neither http nor https"),
        (r#"health = "http://x:0/""#, "has port 0"),
        (r#"restart = "sometimes""#, r#"is not one of "always", "on-failure", "never""#),
        ("max_restarts = 0", "is not a whole number from 1 on"),
        (r#"umask = "0888""#, "is not a file mode mask"),
        ("umask = 22", "in octal and quotes"),
        (r#"stop_signal = "STOPPED""#, "is not a signal: use TERM, INT"),
        ("stop_signal = 0", "is not a signal"),
        ("boot_hook = true", "is neither a path nor a table nor false"),
        (r#"boot_hook = { pth2 = "x" }"#, "boot_hook.pth2 is not a key"),
        ("inherit_env = \"yes\"", "is neither true nor false"),
        ("env = { A = 1 }", "service.gateway.env.A is not text: put it in quotes"),
        (r#"env = { A = "s3cret ${NOPE}" }"#, "env.A uses ${NOPE}, which is not set: set NOPE, or"),
        (r#"env = { A = "s3cret ${" }"#, "has a ${ without its }"),
        (r#"env = { "A=B" = "s3cret" }"#, "is not a name for a variable"),
        (r#"env = { REKINDLE_X = "s3cret" }"#, "is ours and is not passed on"),
        ("limits = { files = 1 }", "limits.files is not a resource limit: use as, core"),
        (r#"limits = { nofile = "9:1" }"#, "has a soft limit above the hard one"),
        (r#"limits = { nofile = "unlimited:9" }"#, "has a soft limit above the hard one"),
        (r#"limits = { nofile = "many" }"#, "is not a limit"),
        ("repair = []", "names no program"),
        (r#"on_exit = [{ codes = [256], action = "slow" }]"#, "is not a list of exit codes"),
        (r#"on_exit = [{ codes = ["9-1"], action = "slow" }]"#, "is not a list of exit codes"),
        (r#"on_exit = [{ action = "slow" }]"#, "service.gateway.on_exit has no codes"),
        (r#"on_exit = [{ codes = [1], action = "repair-once" }]"#, "add repair ="),
        ("on_exit = 78", "is not a list of tables"),
        (r#"backoff = { initial = "9s", max = "1s" }"#, "is shorter than the initial delay"),
        ("backoff = { factor = 0.5 }", "factor = 0.5 is not a number from 1 to 100"),
        ("backoff = { jitter = nan }", "jitter = NaN is not a number from 0 to 1"),
        (r#"probe.liveness = { period = "1s" }"#, "has no target: give it one of http, tcp"),
        (r#"probe.liveness = { http = "http://x/", tcp = "x:1" }"#, "exactly one target"),
        (r#"probe.liveness = { tcp = "x:1", expect_body = "y" }"#, "does not go with a probe of"),
        (r#"probe.liveness = { tcp = "::1:80" }"#, "is not host:port"),
        (r#"probe.liveness = { tcp = "x:0" }"#, "has port 0"),
        (r#"probe.liveness = { file = "x" }"#, "has a file but no within"),
        (r#"probe.liveness = { http = "http://x/", expect_status = "2xx" }"#, "set of HTTP"),
        (r#"probe.liveness = { http = "http://x/", expect_json = { ok = 1 } }"#, "JSON pointer"),
        (r#"probe.liveness = { http = "http://x/", headers = { "a b" = "" } }"#, "a header name"),
        (r#"probe.startup = { tcp = "x:1", failure_threshold = 3 }"#, "is not a key"),
        ("probe.live = {}", "probe.live is not a key: did you mean liveness?"),
        (r#"env_file = "-""#, "names no file after the -"),
        ("user = -1", "is neither a name nor a number"),
        ("probe = 1", "service.gateway.probe = 1 is not a table"),
    ];
    for (line, said) in MISTAKES {
        let found = problems(&format!("{LEAST}{line}\n"));
        let told = found.iter().any(|problem| {
            problem.starts_with("rekindle.toml:3: service.gateway.") && problem.contains(said)
        });
        assert!(told, "{line}\n  should say: {said}\n  says: {found:#?}");
        assert!(!found.iter().any(|problem| problem.contains("s3cret")), "{found:?}");
    }
}

#[test]
fn all_mistakes_are_told_together_in_the_order_of_the_file() {
    let found = problems(
        "[supervisor]\nlisten = \"nowhere\"\nlog_level = 3\n[service.\"a b\"]\nsettle = \"x\"\n",
    );
    let lines: Vec<_> =
        found.iter().map(|problem| problem.split(": ").next().unwrap_or_default()).collect();
    let expected = [2, 3, 4, 4, 5].map(|line| format!("rekindle.toml:{line}"));
    assert_eq!(lines, expected, "{found:#?}");
}

#[test]
fn a_mistake_is_told_once_however_often_it_is_read() {
    let found = problems(&format!(
        "{LEAST}probe.readiness = {{ tcp = \"x:1\", period = 1, timeout = 2 }}\n"
    ));
    assert_eq!(found.len(), 2, "{found:#?}");
}

#[test]
fn what_is_not_toml_is_told_with_its_line() {
    let found = problems("[service.x]\ncommand = [\n[");
    assert!(found[0].starts_with("rekindle.toml:3: is not TOML: "), "{found:?}");
}

#[test]
fn a_second_service_is_refused() {
    let found = problems("[service.a]\ncommand = [\"a\"]\n[service.b]\ncommand = [\"b\"]\n");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("service has a, b: one service for now"), "{found:?}");
}

#[test]
fn nothing_to_run_is_told() {
    let found = problems("");
    assert!(found[0].starts_with("service is missing: add [service.NAME]"), "{found:?}");
    let found = problems("[service.x]\n");
    assert!(found[0].contains("service.x has no command: add command ="), "{found:?}");
}

#[test]
fn the_words_of_the_table_are_the_words_that_are_understood() {
    for key in keys::KEYS {
        let keys::Kind::Word(words) = key.kind else { continue };
        if key.path.contains("on_exit.") {
            continue;
        }
        let (table, name) = key.path.rsplit_once('.').unwrap();
        let table = table.replace("NAME", "gateway");
        let with = |value: &str| match table.as_str() {
            "supervisor" => format!("[supervisor]\n{name} = \"{value}\"\n{LEAST}"),
            _ => format!("{LEAST}{name} = \"{value}\"\n"),
        };
        let mut configs: Vec<_> =
            words.iter().map(|word| format!("{:?}", loaded(&with(word)).config)).collect();
        configs.dedup();
        let told: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let told = format!("is not one of {}", told.join(", "));
        assert!(problems(&with("?"))[0].ends_with(&told), "{}", key.path);
        assert!(configs.len() == words.len() || name == "on_exhausted", "{}", key.path);
    }
}

#[test]
fn a_flag_wins_over_the_file_and_tells_its_own_name() {
    let text = format!("{LEAST}stop_timeout = \"1s\"\n[supervisor]\nlisten = \"off\"\n");
    let mut sources = sources(&text);
    sources.settings = vec![
        flag("service.NAME.stop_timeout", "30s"),
        flag("service.NAME.probe.liveness.failure_threshold", "7"),
        flag("service.NAME.health", "http://127.0.0.1:1/"),
        flag("supervisor.name", "mine"),
        flag("supervisor.state_dir", "state"),
        flag("notify.active", "false"),
    ];
    let config = load(&sources).unwrap().config;
    assert_eq!(config.supervisor.name, "mine");
    assert_eq!(config.supervisor.listen, None);
    assert_eq!(config.supervisor.state_dir, Some("/srv/state".into()));
    let policy = &config.services[0].policy;
    assert_eq!(policy.stop_timeout, Duration::from_secs(30));
    assert_eq!(policy.liveness.unwrap().failure_threshold, 7);

    let env = Origin::Env("REKINDLE_STOP_TIMEOUT");
    sources.settings[0].origin = env;
    sources.settings[0].text = Some("soon".into());
    sources.settings[1].text = Some("few".into());
    let found = load(&sources).unwrap_err().0;
    assert_eq!(
        found,
        [
            r#"--failure-threshold "few" is not a whole number from 1 on"#,
            r#"REKINDLE_STOP_TIMEOUT="soon" is not a duration: write it like "500ms", "8s" or "5m""#,
        ]
    );
}

#[test]
fn the_health_flag_takes_the_place_of_both_targets_and_keeps_the_rhythm() {
    let mut sources = sources(&format!(
        "{LEAST}[service.gateway.probe.liveness]\nexec = [\"true\"]\nperiod = \"7s\"\n\
         [service.gateway.probe.startup]\ntcp = \"127.0.0.1:1\"\n"
    ));
    sources.settings = vec![flag("service.NAME.health", "http://127.0.0.1:1/")];
    let service = load(&sources).unwrap().config.services.remove(0);
    for probe in [service.probes.startup, service.probes.liveness] {
        let target = probe.unwrap().target;
        assert!(matches!(&target, ProbeTarget::Http(http) if http.url == "http://127.0.0.1:1/"));
    }
    assert_eq!(service.policy.liveness.unwrap().period, Duration::from_secs(7));
}

#[test]
fn without_a_file_the_command_names_the_service_and_is_taken_as_it_is() {
    let mut sources = Sources {
        command: ["/usr/bin/my gateway", "${NOT_OURS}"].map(str::to_owned).into(),
        directory: "/srv".into(),
        ..Sources::default()
    };
    sources.settings = vec![Setting { text: None, ..flag("service.NAME.boot_hook", "") }];
    let config = load(&sources).unwrap().config;
    assert_eq!(config.supervisor.name, "my-gateway");
    assert_eq!(config.services[0].name, "my-gateway");
    assert_eq!(config.services[0].command[1], "${NOT_OURS}");
    assert_eq!(config.services[0].boot_hook, None);
    assert_eq!(config.services[0].policy.hook, None);

    sources.settings = vec![flag("supervisor.name", "named")];
    assert_eq!(load(&sources).unwrap().config.services[0].name, "named");
}

#[test]
fn a_startup_probe_alone_heals_no_hang_and_says_so() {
    let Loaded { config, warnings } =
        loaded(&format!("{LEAST}probe.startup = {{ tcp = \"[::1]:80\" }}\n"));
    let service = &config.services[0];
    assert!(service.policy.startup.is_some() && service.policy.liveness.is_none());
    let target = &service.probes.startup.as_ref().unwrap().target;
    assert_eq!(*target, ProbeTarget::Tcp { host: "::1".into(), port: 80 });
    assert!(warnings[0].contains("a child that hangs is not healed"), "{warnings:?}");
}

#[test]
fn what_is_allowed_but_hardly_meant_is_a_warning() {
    const DOUBTS: &[(&str, &str)] = &[
        ("on_exhausted = \"exit\"", "has no effect without max_restarts"),
        ("window = \"1m\"", "has no effect without max_restarts"),
        ("repair = [\"x\"]", "is never run"),
        ("capture_timeout = \"1s\"", "has no effect without capture"),
        ("user = \"node\"", "needs root, which we are not"),
        ("startup_timeout = \"1s\"", "is shorter than one startup probe may take"),
        ("probe.liveness = { timeout = \"20s\" }", "is longer than the period, 10s"),
        ("supervisor.listen = \"0.0.0.0:1\"", "lets everybody who reaches this machine"),
    ];
    for (line, said) in DOUBTS {
        let health = "health = \"http://127.0.0.1:1/\"\n";
        let text = match line.strip_prefix("supervisor.") {
            Some(line) => format!("[supervisor]\n{line}\n{LEAST}{health}"),
            None => format!("{LEAST}{health}{line}\n"),
        };
        let mut sources = sources(&text);
        sources.root = false;
        let warnings = load(&sources).unwrap().warnings;
        assert_eq!(warnings.len(), 1, "{line}: {warnings:?}");
        assert!(warnings[0].contains(said), "{line}: {warnings:?}");
        assert!(warnings[0].starts_with("rekindle.toml:"), "{line}: {warnings:?}");
    }
}

#[test]
fn a_header_by_which_a_document_is_sent_is_ours() {
    for name in ["Content-Length", "idempotency-key"] {
        let notify =
            format!("[notify]\nwebhook = \"http://127.0.0.1:1/\"\nheaders.{name} = \"5\"\n");
        let problems = load(&sources(&format!("{notify}{LEAST}"))).unwrap_err();
        assert!(problems.to_string().contains("is set by us: leave it out"), "{problems}");
    }
}

#[test]
fn a_variable_that_is_almost_ours_is_doubted_and_others_are_not() {
    let names = ["LISTN", "LISTEN", "INSTANCE", "START", "REASON", "ATTEMPT", "SERVICE"];
    let mut sources = sources(&format!("{LEAST}health = \"http://127.0.0.1:1/\"\n"));
    sources.environment =
        names.map(|name| (format!("REKINDLE_{name}"), String::new())).into_iter().collect();
    sources.environment.insert("REKINDLE_OUTAGE_SECONDS".into(), "1".into());
    let warnings = load(&sources).unwrap().warnings;
    assert_eq!(warnings, ["REKINDLE_LISTN means nothing: did you mean REKINDLE_LISTEN?"]);
}

#[test]
fn every_file_in_the_repository_is_valid_and_draws_no_warning() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config");
    let files = |directory: PathBuf| {
        std::fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path())
    };
    let mut seen = 0;
    for path in files(directory.clone()).chain(files(directory.join("examples"))) {
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let loaded = load(&Sources { file: Some(File { path, text }), ..sources("") });
        assert_eq!(loaded.unwrap_or_else(|problems| panic!("{problems}")).warnings, [""; 0]);
        seen += 1;
    }
    assert!(seen >= 2, "the example and the demo");
}

#[test]
fn the_example_file_says_the_defaults() {
    let needed = r#"
        [service.gateway]
        command = ["openclaw", "gateway", "run", "--port", "18789"]
        health = "http://127.0.0.1:18789/health"
    "#;
    let mut example = loaded(&example_file()).config;
    // The default rule is appended to the user's, so writing it out says it twice.
    example.services[0].policy.exit_rules.pop();
    assert_eq!(example, loaded(needed).config);
}

#[test]
fn every_example_value_is_read_without_complaint() {
    let text: Vec<_> = example_file()
        .lines()
        .map(|line| {
            let off = line.strip_prefix("# ");
            off.filter(|line| line.contains(" = ") || line.starts_with('[')).unwrap_or(line)
        })
        .filter(|line| !line.contains('`') && !line.contains(". "))
        .map(str::to_owned)
        .collect();
    let mut sources = sources(&text.join("\n"));
    sources.environment.insert("HOME".into(), "/root".into());
    let found = load(&sources).unwrap_err().0;
    // All of them at once contradict each other in exactly these ways.
    for problem in &found {
        let known = ["exactly one target", "does not go with a probe", "has no target"];
        assert!(known.iter().any(|known| problem.contains(known)), "{problem}");
    }
}

#[test]
fn what_may_be_secret_is_not_shown_when_it_is_written_wrongly() {
    for line in [
        "command = \"gateway --token=s3cret\"",
        "command = [\"gateway\", \"${a s3cret}\"]",
        "repair = \"fix s3cret\"",
        "env = \"TOKEN=s3cret\"",
        "probe.liveness.exec = \"ask s3cret\"",
        "probe.liveness.http = \"http://a/\"\nprobe.liveness.headers = \"Authorization: s3cret\"",
    ] {
        let command = if line.starts_with("command") { "" } else { "command = [\"x\"]\n" };
        let text = format!("[service.gateway]\n{command}{line}");
        let found = problems(&text);
        assert!(found.iter().all(|problem| !problem.contains("s3cret")), "{found:?}");
    }
}

#[test]
fn a_host_beyond_ascii_is_refused_and_a_path_is_not() {
    for url in ["http://L\u{d3}/", "http:\\\\L\u{d3}:80", "http:L\u{d3}?q", "http://u@L%C3%93/"] {
        let found = problems(&format!("{LEAST}health = '{url}'"));
        assert!(found.iter().any(|problem| problem.contains("beyond ASCII")), "{url}: {found:?}");
    }
    loaded(&format!("{LEAST}health = 'http://xn--l-6ja/\u{d3}%C3%93'"));
}

#[test]
fn a_key_that_would_drive_the_terminal_is_told_on_one_line() {
    let found = problems(&format!("{LEAST}\"a\\n\\u001b[31m\" = 1"));
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("service.gateway.a  [31m is not a key"), "{found:?}");
}

/// Lines of a file: keys in and out of place, with values of every kind, and secrets among them.
fn any_line() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        "[ -~\u{e4}]{0,12}",
        "\"[ -~]{0,10}\"",
        Just("\"S3-CR3T\"".to_owned()),
        Just("[\"a\", \"x ${TOKEN} S3-CR3T\"]".to_owned()),
        Just("{ A = \"S3-CR3T ${TOKEN}\", B = 1 }".to_owned()),
        "-?[0-9]{1,10}",
        "\"[0-9]{1,4}(ms|s|m|h|y)\"",
        "\"http://[a-z0-9.:@\\[\\]]{0,9}/\"",
        Just("true".to_owned()),
        Just("2020-01-01".to_owned()),
    ];
    let key = (0..keys::KEYS.len()).prop_map(|index| {
        keys::KEYS[index].path.replace("NAME", "gateway").replace("ROLE", "liveness")
    });
    let setting = (0..keys::KEYS.len(), "[ -~]{0,8}").prop_map(|(index, value)| {
        let flag = keys::KEYS[index].flag.unwrap_or(keys::NO_BOOT_HOOK);
        let even = value.len() % 2 == 0;
        if even {
            format!("#! --{} {value}", flag.long)
        } else {
            format!("#! {}={value}", flag.env)
        }
    });
    let line = (key, value).prop_map(|(key, value)| format!("{key} = {value}"));
    prop_oneof![6 => line, 2 => setting, 1 => "(#! -- )?[ -~]{0,20}"]
}

proptest! {
    #[test]
    fn whatever_is_written_the_property_holds(text in ".*") {
        property::config(text.as_bytes());
        property::config(format!("{LEAST}{text}").as_bytes());
    }

    #[test]
    fn whatever_keys_are_written_the_property_holds(lines in proptest::collection::vec(any_line(), 0..4)) {
        let lines = lines.join("\n");
        property::config(lines.as_bytes());
        property::config(format!("service.gateway.command = [\"x\"]\n{lines}").as_bytes());
    }

    #[test]
    fn no_secret_of_a_url_is_told_whatever_is_wrong_with_it(
        url in "(http://|ftp://|//|)([a-z]?:S3-CR3T@)[a-z]{0,2}(:[0-9x]{1,6})?/?[a-z]?(\\?t=S3-CR3T)?",
        query in "(http://|ftp://|)[a-z]{0,2}(:[0-9x]{1,6})?(/[a-z]?)?\\?t=S3-CR3T(&u=http://y/)?",
        at in prop::sample::select(vec![
            "health", "probe.liveness.http", "probe.liveness.tcp", "probe.startup.http"
        ])
    ) {
        for url in [url, query] {
            let text = format!("{LEAST}{at} = \"{url}\"\n");
            property::config(text.as_bytes());
            property::config(format!("{LEAST}#! --health {url}").as_bytes());
            let found = load(&sources(&text)).map_or_else(|problems| problems.0, |it| it.warnings);
            prop_assert!(!found.join(" ").contains("S3-CR3T"), "{url}: {found:?}");
        }
    }

    #[test]
    fn whatever_set_of_statuses_is_written_the_property_holds(
        any in ".*", close in "( ?[0-9]{0,4} ?-?[0-9]{0,3},?){0,4}"
    ) {
        property::status_set(any.as_bytes());
        property::status_set(close.as_bytes());
    }

    #[test]
    fn a_status_set_reads_what_it_writes(
        ranges in proptest::collection::vec((100..=599_u16, 0..100_u16), 1..6)
    ) {
        let ranges = ranges.iter().map(|(low, more)| (*low, (low + more).min(599))).collect();
        let set = StatusSet { ranges };
        prop_assert_eq!(set.to_string().parse(), Ok(set));
    }

    #[test]
    fn a_duration_reads_what_is_printed(millis in 0..31_000_000_000_u64) {
        let span = Duration::from_millis(millis);
        let text = humantime::format_duration(span).to_string();
        prop_assert_eq!(parse_duration(&text), Ok(span));
    }

    #[test]
    fn no_duration_makes_it_panic(text in "[0-9. ]{0,24}(ns|us|ms|s|m|h|d|w|y)?[0-9]{0,12}(ns|y|s)") {
        parse_duration(&text).ok();
    }
}
