//! From the tree of values to a [`Config`]: what each key of `[supervisor]` and
//! `[service.NAME]` means, and which of them contradict each other.

use std::time::Duration;

use super::document::{Value, What};
use super::section::Section;
use super::{
    BootHook, CgroupMode, Command, Config, EnvFile, ExecContext, ImpostorMode, LogFormat, LogLevel,
    Output, Service, Sources, Stdin, Supervisor, notify, policy, probes, values,
};

/// Reads everything; `None` if there is nothing to run. Problems are in the section's notes.
pub(super) fn config(root: &Section<'_>, sources: &Sources) -> Option<Config> {
    let services = root.section("service");
    let names: Vec<&str> = services.keys().map(String::as_str).collect();
    if names.is_empty() {
        services
            .problem("is missing: add [service.NAME] with a command, or give the command after --");
    }
    if names.len() > 1 {
        services.problem(&format!(
            "has {}: one service for now, so give each its own file and rekindle",
            names.join(", ")
        ));
    }
    let services: Vec<_> = names.iter().map(|name| service(&services, name, sources)).collect();
    let first = services.first()?;
    let supervisor = supervisor(&root.section("supervisor"), &first.name);
    let notify = notify::notify(&root.section("notify"));
    Some(Config { supervisor, notify, services })
}

fn supervisor(section: &Section<'_>, service: &str) -> Supervisor {
    let named = |value: &Value| {
        let name = values::text(value)?;
        values::name(&name).map(|()| name)
    };
    let listen = section.get("listen", values::listen).flatten();
    if listen.is_some_and(|address| address.ip().is_unspecified()) {
        section.doubt(
            "listen",
            "lets everybody who reaches this machine read metrics and status: \
             fine inside a container, else name one address",
        );
    }
    Supervisor {
        name: section.get("name", named).unwrap_or_else(|| service.to_owned()),
        listen,
        state_dir: section.path("state_dir"),
        log_level: section.word(
            "log_level",
            ("error", LogLevel::Error),
            &[
                ("warn", LogLevel::Warn),
                ("info", LogLevel::Info),
                ("debug", LogLevel::Debug),
                ("trace", LogLevel::Trace),
            ],
        ),
        log_format: section.word(
            "log_format",
            ("auto", LogFormat::Auto),
            &[("human", LogFormat::Human), ("json", LogFormat::Json)],
        ),
        cgroup: section.word(
            "cgroup",
            ("auto", CgroupMode::Auto),
            &[("force", CgroupMode::Force), ("off", CgroupMode::Off)],
        ),
        drills: section.read("drills", values::switch),
        mask: section.read("mask", values::patterns),
    }
}

fn service(services: &Section<'_>, name: &str, sources: &Sources) -> Service {
    let section = &services.section(name);
    if let Err(why) = values::name(name) {
        section.problem(&why);
    }
    let rounds = probes::rounds(section);
    if rounds.liveness.is_none() {
        section.doubt(
            "health",
            "has no liveness probe, so a child that hangs is not healed: add health = \"URL\"",
        );
    }
    let (boot_hook, hook_timeout) = boot_hook(section).unzip();
    let program = |key, timeout| {
        let argv = section.get(key, values::argv)?;
        Some(Command { argv, timeout: section.read(timeout, values::span) })
    };
    let repair = program("repair", "repair_timeout");
    let capture = program("capture", "capture_timeout");
    for (timeout, missing) in
        [("repair_timeout", repair.is_none()), ("capture_timeout", capture.is_none())]
    {
        if missing && section.differs(timeout) {
            let what = timeout.trim_end_matches("_timeout");
            section.doubt(timeout, &format!("has no effect without {what}"));
        }
    }
    let can_hang = rounds.startup.is_some() || rounds.liveness.is_some();
    if capture.is_some() && !can_hang {
        section.doubt("capture", "is never run: without a probe nobody sees that the child hangs");
    }
    Service {
        name: name.to_owned(),
        command: command(section, sources),
        context: context(section, sources),
        stdin: section.word("stdin", ("null", Stdin::Null), &[("inherit", Stdin::Inherit)]),
        output: section.word(
            "output",
            ("auto", Output::Auto),
            &[("pump", Output::Pump), ("inherit", Output::Inherit)],
        ),
        stop_signal: section.read("stop_signal", values::signal),
        policy: policy::policy(section, &rounds, hook_timeout, repair.as_ref(), capture.as_ref()),
        boot_hook,
        repair,
        capture,
        probes: rounds.probes,
        impostor: section.word(
            "impostor",
            ("auto", ImpostorMode::Auto),
            &[("report", ImpostorMode::Report), ("off", ImpostorMode::Off)],
        ),
        boot_splay: section.read("boot_splay", values::duration),
        recovery_objective: section.get("recovery_objective", values::span),
    }
}

/// The command, `${VAR}` replaced unless a shell has seen it already.
fn command(section: &Section<'_>, sources: &Sources) -> Vec<String> {
    let Some(given) = section.given("command") else {
        section.problem("has no command: add command = [\"program\", \"argument\"]");
        return Vec::new();
    };
    let argv = section.get("command", values::argv).unwrap_or_default();
    if given.origin == super::Origin::Arguments {
        return argv;
    }
    let expanded: Result<Vec<_>, _> =
        argv.iter().map(|part| values::expand(part, &sources.environment)).collect();
    expanded.unwrap_or_else(|why| {
        section.wrong_unshown("command", given.origin, &why);
        Vec::new()
    })
}

fn context(section: &Section<'_>, sources: &Sources) -> ExecContext {
    let variable = |name: &str, value: &Value| {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err("is not a name for a variable".into());
        }
        if name.starts_with("REKINDLE_") || name == "NOTIFY_SOCKET" {
            return Err("is ours and is not passed on: choose another name".into());
        }
        match &value.what {
            What::Text(text) if text.contains('\0') => Err("holds a zero byte".into()),
            What::Text(text) => values::expand(text, &sources.environment),
            _ => Err("is not text: put it in quotes".into()),
        }
    };
    for key in ["user", "group"] {
        if section.given(key).is_some() && !sources.root {
            section.doubt(key, "needs root, which we are not: every launch will fail");
        }
    }
    ExecContext {
        cwd: section.path("cwd"),
        user: section.get("user", values::account),
        group: section.get("group", values::account),
        umask: section.get("umask", values::umask),
        limits: section.map("limits", values::limit),
        no_new_privs: section.read("no_new_privs", values::switch),
        inherit_env: section.read("inherit_env", values::switch),
        env_files: section.get("env_file", |value| env_files(section, value)).unwrap_or_default(),
        env: section.map("env", variable),
    }
}

fn env_files(section: &Section<'_>, value: &Value) -> Result<Vec<EnvFile>, String> {
    let one = |value: &Value| {
        let text = values::text(value)?;
        let bare = text.strip_prefix('-');
        if bare == Some("") {
            return Err("names no file after the -".into());
        }
        let path = section.notes.resolve(value.origin, bare.unwrap_or(&text));
        Ok(EnvFile { path, optional: bare.is_some() })
    };
    match &value.what {
        What::List(items) => items.iter().map(one).collect(),
        _ => one(value).map(|file| vec![file]),
    }
}

/// The boot hook and its timeout, unless it is switched off.
fn boot_hook(section: &Section<'_>) -> Option<(BootHook, Duration)> {
    let (table, path) = match section.value("boot_hook")?.what {
        What::Switch(false) => return None,
        What::Table(_) => {
            let table = section.section("boot_hook");
            let path = table.path("path");
            (table, path)
        }
        // A path alone is short for a table that holds only this path.
        What::Text(_) => (section.absent("boot_hook"), section.path("boot_hook")),
        _ => {
            section.wrong("boot_hook", "is neither a path nor a table nor false");
            return None;
        }
    };
    let hook = BootHook { path: path?, user: table.get("user", values::account) };
    Some((hook, table.read("timeout", values::span)))
}
