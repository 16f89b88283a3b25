//! The configuration as a whole: what a user writes, and what comes of it.

use std::path::PathBuf;
use std::time::Duration;

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
    assert_eq!(policy.hook.unwrap().timeout, Duration::from_secs(300));
    assert_eq!(policy.stop_timeout, Duration::from_secs(8));
    assert_eq!(policy.restart, RestartPolicy::Always);
    assert_eq!(policy.exit_rules, [ExitRule { codes: vec![78], action: ExitAction::Slow }]);
    assert_eq!(policy.jitter_permille, 500);
    assert_eq!(policy.budget, None);
    assert!(policy.startup.is_none() && policy.liveness.is_none());
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("a child that hangs is not healed"), "{warnings:?}");
}
