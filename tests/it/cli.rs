//! The commands that only tell: check, help; and the errors of all.

use crate::support::{REKINDLE, World};

struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

fn rekindle(world: &World, arguments: &[&str]) -> Said {
    let mut command = world.command(REKINDLE);
    command.args(arguments);
    let mut run = world.start(command);
    let code = run.wait_exit();
    Said { code, stdout: String::from_utf8_lossy(&run.output()).into_owned(), stderr: run.log() }
}

const WRONG: &str = r#"
[supervisor]
listen = "nowhere"

[service.gateway]
comand = ["openclaw"]
stop_timeout = "8 parsecs"
health = "gopher://127.0.0.1/"

[service.gateway.backoff]
jitter = 2.0
"#;

#[test]
fn check_reports_all_errors_with_file_line_and_way_out() {
    let world = World::new();
    let file = world.write("wrong.toml", WRONG);

    let said = rekindle(&world, &["check", &file]);

    assert_eq!(said.code, 78);
    let all = said.stdout + &said.stderr;
    for (line, text) in [
        (3, "nowhere"),
        (6, "did you mean"),
        (7, "8 parsecs"),
        (8, "gopher://127.0.0.1/"),
        (11, "jitter"),
    ] {
        let at = format!("wrong.toml:{line}:");
        let told = all.lines().any(|told| told.contains(&at) && told.contains(text));
        assert!(told, "line {line} is not told with {text:?}:\n{all}");
    }
    assert!(all.contains("service.gateway has no command"), "what is missing is told:\n{all}");
}

#[test]
fn run_refuses_an_invalid_configuration_in_the_same_words() {
    let world = World::new();
    let file = world.write("wrong.toml", WRONG);

    let checked = rekindle(&world, &["check", &file]);
    let ran = rekindle(&world, &["run", "--config", &file]);

    assert_eq!(ran.code, 78);
    let problems = |said: &Said| {
        let all = format!("{}{}", said.stdout, said.stderr);
        let mut lines: Vec<_> = all
            .lines()
            .filter_map(|line| Some(line.split_once("wrong.toml:")?.1.to_owned()))
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(problems(&checked), problems(&ran));
    assert!(problems(&ran).len() >= 5);
}

#[test]
fn check_prints_the_plan_of_a_valid_configuration() {
    let world = World::new();
    let file = world.write(
        "right.toml",
        r#"
        [service.gateway]
        command = ["openclaw", "gateway", "run"]
        health = "http://127.0.0.1:18789/health"
        "#,
    );

    let said = rekindle(&world, &["check", &file]);

    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stdout.contains("valid"), "{}", said.stdout);
    // 10 s × 3 + 5 s: when a hang is acted on. 10 min: a start that never serves. 5 min: slow.
    for span in ["35s", "10m", "5m", "8s"] {
        assert!(said.stdout.contains(span), "{span} is not in the plan:\n{}", said.stdout);
    }
}

#[test]
fn a_missing_file_is_named() {
    let world = World::new();

    let said = rekindle(&world, &["run", "--config", "/no/such/rekindle.toml"]);

    assert_eq!(said.code, 78);
    assert!(said.stderr.contains("/no/such/rekindle.toml"), "{}", said.stderr);
    assert_eq!(said.stdout, "");
}

#[test]
fn a_control_socket_whose_path_is_too_long_is_a_configuration_error() {
    let world = World::new();
    let mut command = world.command(REKINDLE);
    command.args(["run", "--listen", "off", "--", "sleep", "1000"]);
    command.env("RUNTIME_DIRECTORY", world.path(&"x".repeat(107)));
    let mut run = world.start(command);
    run.expect_errors();

    assert_eq!(run.wait_exit(), 78, "{}", run.log());
    assert!(run.log().contains("107"), "{}", run.log());
}

#[test]
fn usage_errors_exit_with_2_and_say_the_way_out() {
    let world = World::new();
    for (arguments, way_out) in [
        (&["--no-such-flag"][..], "Usage: rekindle"),
        (&["no-such-command"], "Usage: rekindle"),
        (&["run", "--period"], "--help"),
        (&["run"], "--config"),
        (&[], "Usage: rekindle"),
    ] {
        let said = rekindle(&world, arguments);
        assert_eq!(said.code, 2, "{arguments:?}: {}", said.stderr);
        assert!(said.stderr.contains(way_out), "{}", said.stderr);
        assert_eq!(said.stdout, "");
    }
}

#[test]
fn flags_are_checked_like_the_file() {
    let world = World::new();

    let said = rekindle(&world, &["run", "--stop-timeout", "soon", "--listen", "x", "--", "true"]);

    assert!(matches!(said.code, 2 | 78), "{}", said.code);
    assert!(
        said.stderr.contains("--stop-timeout") && said.stderr.contains("soon"),
        "{}",
        said.stderr
    );
}

#[test]
fn every_command_has_help_with_an_exit_code_of_0() {
    let world = World::new();
    for command in ["run", "check", "probe", "demo-gateway"] {
        let said = rekindle(&world, &[command, "--help"]);
        assert_eq!(said.code, 0);
        assert!(said.stdout.contains(&format!("rekindle {command}")), "{}", said.stdout);
    }
    let said = rekindle(&world, &["--help"]);
    assert!(said.stdout.contains("demo-gateway"), "{}", said.stdout);
    assert!(rekindle(&world, &["--version"]).stdout.starts_with("rekindle "));
}
