//! The command line as a user meets it: help, exit codes, what goes to stdout and stderr.
//!
//! What `run` does with a service is tested with the behaviour of real processes, not here.
#![expect(clippy::disallowed_methods, reason = "starts the program under test, which ends at once")]

use std::path::Path;
use std::process::{Command, Stdio};

use insta::assert_snapshot;

/// What the program said and how it ended.
struct Told {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs the program with nothing but these variables in its environment.
fn rekindle(arguments: &[&str], environment: &[(&str, &str)]) -> Told {
    let output = Command::new(env!("CARGO_BIN_EXE_rekindle"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("the program under test can be started");
    let text = |bytes| String::from_utf8(bytes).expect("it speaks UTF-8");
    Told { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn help(arguments: &[&str]) -> String {
    let told = rekindle(arguments, &[]);
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    told.stdout
}

#[test]
fn help_is_worth_reading() {
    assert_snapshot!("help", help(&["--help"]));
    for command in ["run", "check", "probe", "status", "incidents", "drill", "demo-gateway"] {
        assert_snapshot!(format!("help-{command}"), help(&[command, "--help"]));
    }
}

#[test]
fn wrong_usage_ends_with_2_and_says_how() {
    for arguments in
        [&["run", "--no-such-flag"][..], &["probe"], &["probe", "--ready", "--live"], &[]]
    {
        let told = rekindle(arguments, &[]);
        assert_eq!(told.code, Some(2), "{arguments:?}");
        assert!(told.stderr.contains("Usage: rekindle"), "{arguments:?}: {}", told.stderr);
    }
}

#[test]
fn an_invalid_configuration_ends_with_78_and_tells_every_problem() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.toml");
    std::fs::write(&file, "[service.x]\ncomand = [\"x\"]\nstop_timeout = \"8 parsecs\"\n").unwrap();
    let file = file.to_str().unwrap();
    let environment = [("REKINDLE_PERIOD", "often"), ("REKINDLE_LISTEN", "")];
    let check = rekindle(&["check", file], &environment);
    let run = rekindle(&["run", "--config", file], &environment);
    assert_eq!((check.code, check.stdout.as_str()), (Some(78), ""));
    assert_eq!((run.code, run.stdout.as_str()), (Some(78), ""));
    assert_eq!(check.stderr, run.stderr);
    assert_snapshot!(check.stderr.replace(directory.path().to_str().unwrap(), "DIR"), @r#"
    rekindle: DIR/bad.toml:1: service.x has no command: add command = ["program", "argument"]
    rekindle: DIR/bad.toml:2: service.x.comand is not a key: did you mean command?
    rekindle: DIR/bad.toml:3: service.x.stop_timeout = "8 parsecs" is not a duration: write it like "500ms", "8s" or "5m"
    rekindle: service.x.probe.liveness has no target: give it one of http, tcp, exec or file, or give the service health
    rekindle: REKINDLE_PERIOD="often" is not a duration: write it like "500ms", "8s" or "5m"
    "#);
}

#[test]
fn a_file_that_cannot_be_read_ends_with_78_and_is_named() {
    let told = rekindle(&["check", "/nowhere/rekindle.toml"], &[]);
    assert_eq!(told.code, Some(78));
    assert_snapshot!(told.stderr, @"rekindle: cannot read configuration /nowhere/rekindle.toml: No such file or directory (os error 2)");
}

#[test]
fn nothing_to_run_is_wrong_usage() {
    if Path::new(rekindle::cli::sources::DEFAULT_FILE).exists() {
        return;
    }
    let told = rekindle(&["run"], &[("REKINDLE_CONFIG", "")]);
    assert_eq!(told.code, Some(2));
    assert_snapshot!(told.stderr, @"rekindle: nothing to run: give a command after --, or a file with --config, or write /etc/rekindle/rekindle.toml (see `rekindle run --help`)");
}

#[test]
fn check_prints_the_plan_of_a_command_without_a_file() {
    let arguments = ["check", "--health", "http://127.0.0.1:1/", "--", "/bin/gateway", "s3cret"];
    let told = rekindle(&arguments, &[("REKINDLE_NO_BOOT_HOOK", "1"), ("REKINDLE_PERIOD", "20s")]);
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""));
    assert_snapshot!(told.stdout, @"
    the command line is valid

    service          gateway: /bin/gateway
    boot hook        none
    it dies          started again at once if it was healthy for 1m, else after 500ms, 1s, 2s, 4s …, then every 1m (±50 %)
    it hangs         acted on within 1m 5s (3 failed probes, one every 20s, up to 5s each), then taken down within 5s and started again
    it never serves  taken down 10m after its launch and started again
    it is back       at its first passed probe (one every 500ms), if it stays healthy for 10s
    exit codes       78: slow pace
    slow pace        an attempt every 5m
    budget           none: it keeps trying for ever
    a stop           takes at most 8s: whoever stops the container must allow that and a second more
    ");
}

#[test]
fn a_flag_wins_over_the_environment_and_both_over_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rekindle.toml");
    let text = "[service.x]\ncommand = [\"x\"]\nboot_hook = \"/file\"\nstop_timeout = \"11s\"\n";
    std::fs::write(&file, text).unwrap();
    let plan = |flags: &[&str], environment: &[(&str, &str)]| {
        let told = rekindle(&[&["check", file.to_str().unwrap()], flags].concat(), environment);
        assert_eq!(told.code, Some(0), "{}", told.stderr);
        told.stdout
    };
    assert!(plan(&[], &[]).contains("boot hook        /file before"));
    let hook = ("REKINDLE_BOOT_HOOK", "/env");
    assert!(plan(&[], &[hook]).contains("boot hook        /env before"));
    assert!(plan(&["--no-boot-hook"], &[hook]).contains("boot hook        none"));
    let no_hook = ("REKINDLE_NO_BOOT_HOOK", "true");
    assert!(plan(&[], &[no_hook]).contains("boot hook        none"));
    assert!(plan(&["--boot-hook", "/flag"], &[no_hook]).contains("boot hook        /flag before"));

    let stop = ("REKINDLE_STOP_TIMEOUT", "12s");
    assert!(plan(&[], &[("REKINDLE_STOP_TIMEOUT", "")]).contains("takes at most 11s"));
    assert!(plan(&[], &[stop]).contains("takes at most 12s"));
    assert!(plan(&["--stop-timeout", "13s"], &[stop]).contains("takes at most 13s"));
}
