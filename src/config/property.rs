//! What must hold for whatever is written as a configuration.
#![expect(clippy::missing_panics_doc, reason = "a property that is broken panics")]

use std::ops::RangeInclusive;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};

use super::document::{self, Origin, Table, Value, What};
use super::keys::{self, KEYS, NO_BOOT_HOOK};
use super::{
    Config, ExecContext, File, HttpProbe, Loaded, ProbeTarget, Service, Setting, Sources,
    StatusSet, load, plan, values,
};
use crate::fuzzing::assert_one_line;
use crate::supervisor::{Policy, ProbePolicy};

/// Whatever holds this is a secret, where secrets may stand. Not a variable's name.
const SECRET: &str = "S3-CR3T";

/// Where nothing is shown of what is written: it may be secret.
const HIDDEN: &[&str] = &[
    "notify.webhook",
    "notify.headers",
    "notify.exec",
    "service.NAME.command",
    "service.NAME.repair",
    "service.NAME.capture",
    "service.NAME.env",
    "service.NAME.probe.ROLE.exec",
    "service.NAME.probe.ROLE.headers",
    "service.NAME.probe.ROLE.expect_header",
];

const YEAR: Duration = Duration::from_hours(366 * 24);

/// A file, in which comments stand for the command line: `#! --FLAG VALUE`, `#! VARIABLE=VALUE`,
/// `#! -- PROGRAM ARGUMENT…`. What is accepted is valid throughout, and the flag wins; what is
/// refused has reasons, which are fit to be shown and tell no secret.
pub fn config(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let sources = sources(text);
    let result = load(&sources);
    let (messages, config) = match &result {
        Ok(Loaded { config, warnings }) => (warnings, Some(config)),
        Err(problems) => (&problems.0, None),
    };
    assert!(config.is_some() || !messages.is_empty(), "refused without a reason");
    for (index, message) in messages.iter().enumerate() {
        assert_one_line(message);
        assert!(!messages[..index].contains(message), "told twice: {message}");
    }
    let shown = is_shown(text, &sources);
    let tells = messages.iter().find(|message| message.contains(SECRET));
    assert!(tells.is_none() || shown, "a secret is told: {tells:?}");
    let Some(config) = config else { return };

    assert_valid(config);
    let planned = plan(config);
    // `boot_splay` has a line only if it is set.
    assert!((10..=11).contains(&planned.lines().count()), "{planned}");
    assert!(!planned.replace('\n', "").contains(char::is_control));
    assert!(!planned.contains(SECRET) || shown, "{planned}");
    assert_flags_win(&sources, config);
}

/// A set of statuses: accepted as its grammar says, made of numbers that are statuses, read back.
pub fn status_set(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let expected = reference_ranges(text);
    let set = match text.parse::<StatusSet>() {
        Ok(set) => set,
        Err(message) => {
            assert_one_line(&message);
            return assert_eq!(expected, None, "{text:?}");
        }
    };
    let expected = expected.unwrap_or_else(|| panic!("{text:?} is accepted"));
    for status in 0..=1000 {
        let within = expected.iter().any(|range| range.contains(&status.into()));
        assert_eq!(set.contains(status), within, "{status} of {text:?}");
    }
    assert_eq!(set.to_string().parse(), Ok(set));
}

/// Whether a pointer is accepted as the key of an expectation.
pub(crate) fn is_pointer(text: &str) -> bool {
    let value = Value { origin: Origin::Default, what: What::Switch(true) };
    values::expectation(text, &value).is_ok()
}

fn sources(text: &str) -> Sources {
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut sources = Sources {
        file: Some(File { path: "rekindle.toml".into(), text: text.to_owned() }),
        environment: [variable("PORT", "18789"), variable("TOKEN", SECRET)].into(),
        directory: "/srv".into(),
        root: text.len().is_multiple_of(2),
        ..Sources::default()
    };
    for line in text.lines().filter_map(|line| line.strip_prefix("#! ")) {
        if let Some(command) = line.strip_prefix("-- ") {
            sources.command = command.split(' ').map(str::to_owned).collect();
        } else {
            sources.settings.extend(setting(line));
        }
    }
    sources.settings.sort_by_key(|setting| matches!(setting.origin, Origin::Flag(_)));
    sources
}

fn setting(line: &str) -> Option<Setting> {
    let given = |name: &str| {
        KEYS.iter().find_map(|key| {
            let flag = key.flag.filter(|flag| [flag.long, flag.env].contains(&name))?;
            let origin =
                if flag.env == name { Origin::Env(flag.env) } else { Origin::Flag(flag.long) };
            Some((key, origin))
        })
    };
    let flag = line.strip_prefix("--");
    if flag == Some(NO_BOOT_HOOK.long) {
        let (key, _) = given("boot-hook")?;
        return Some(Setting { key, origin: Origin::Flag(NO_BOOT_HOOK.long), text: None });
    }
    let (name, value) = flag.and_then(|flag| flag.split_once(' ')).or(line.split_once('='))?;
    let (key, origin) = given(name)?;
    Some(Setting { key, origin, text: Some(value.to_owned()) })
}

/// Whether a secret stands where everything is shown.
fn is_shown(text: &str, sources: &Sources) -> bool {
    let settings = sources.settings.iter().filter_map(|setting| setting.text.as_ref());
    let program = sources.command.first();
    // The service's name is made of it: what no name may hold is a dash there.
    let name = program.map(|program| program.replace(|c: char| !c.is_alphanumeric(), "-"));
    settings.chain(program).any(|text| is_shown_of_url(text))
        || name.is_some_and(|name| name.contains(SECRET))
        || document::parse(text).is_ok_and(|root| is_shown_in(&root, &mut Vec::new()))
}

/// Whether a secret stands in a part of a URL, or of what was meant to be one, that may be shown:
/// neither before an `@` nor behind a `?`, but for the scheme. Judged place by place, and not by
/// the function that cuts these parts out.
fn is_shown_of_url(text: &str) -> bool {
    let of_scheme = |c: char| c.is_ascii_alphanumeric() || ['+', '-', '.'].contains(&c);
    let scheme = text.split_once("://").map_or(0, |(scheme, _)| scheme.len());
    let scheme = if text[..scheme].chars().all(of_scheme) { scheme } else { 0 };
    text.match_indices(SECRET).any(|(at, _)| {
        let is_user = text[at..].contains('@');
        let is_query =
            || text[scheme..at].rsplit('@').next().is_some_and(|rest| rest.contains('?'));
        at < scheme || !(is_user || is_query())
    })
}

fn is_shown_in(table: &Table, place: &mut Vec<String>) -> bool {
    table.iter().any(|(name, value)| {
        place.push(name.clone());
        let shown = name.contains(SECRET) || is_shown_by(value, place);
        place.pop();
        shown
    })
}

fn is_shown_by(value: &Value, place: &mut Vec<String>) -> bool {
    let hidden = (1..=place.len()).filter_map(|length| keys::find(&place[..length]));
    let hidden = hidden.map(|key| key.path).any(|path| HIDDEN.contains(&path));
    match &value.what {
        What::Table(table) => is_shown_in(table, place),
        // The plan names the program.
        What::List(items) if place.last().is_some_and(|name| name == "command") => items
            .first()
            .is_some_and(|item| matches!(&item.what, What::Text(text) if text.contains(SECRET))),
        What::List(items) => items.iter().any(|item| is_shown_by(item, place)),
        What::Text(text) => !hidden && is_shown_of_url(text),
        What::Other(text) => text.contains(SECRET),
        What::Integer(_) | What::Number(_) | What::Switch(_) => false,
    }
}

/// Without the variables that a flag overrules, the same comes out.
fn assert_flags_win(sources: &Sources, config: &Config) {
    let mut alone = sources.clone();
    let is_flag = |setting: &Setting| matches!(setting.origin, Origin::Flag(_));
    let flags = sources.settings.iter().filter(|setting| is_flag(setting));
    let keys: Vec<&str> = flags.map(|flag| flag.key.path).collect();
    alone.settings.retain(|setting| is_flag(setting) || !keys.contains(&setting.key.path));
    if alone.settings.len() < sources.settings.len() {
        assert_eq!(load(&alone).map(|loaded| loaded.config).as_ref(), Ok(config));
    }
}

/// Panics unless whoever holds it need not check anything again.
fn assert_valid(config: &Config) {
    values::name(&config.supervisor.name).expect("a name");
    assert!(config.supervisor.state_dir.as_ref().is_none_or(|path| path.is_absolute()));
    let [service] = &config.services[..] else { panic!("{} services", config.services.len()) };
    values::name(&service.name).expect("a name");
    assert_program(&service.command);
    assert_context(&service.context);
    assert!((1..=64).contains(&service.stop_signal));
    for user in service.boot_hook.iter().filter_map(|hook| hook.user.as_ref()) {
        assert_text(user);
    }
    assert!(service.boot_hook.as_ref().is_none_or(|hook| hook.path.is_absolute()));
    assert_eq!(service.boot_hook.is_some(), service.policy.hook.is_some());
    for program in service.repair.iter().chain(&service.capture) {
        assert_program(&program.argv);
    }
    let timeout =
        |program: &Option<crate::config::Command>| program.as_ref().map(|program| program.timeout);
    assert_eq!(timeout(&service.repair), service.policy.repair);
    assert_eq!(timeout(&service.capture), service.policy.capture);
    assert_span(service.recovery_objective.unwrap_or(YEAR));
    assert_probes(service);
    assert_policy(&service.policy);
}

fn assert_program(argv: &[String]) {
    assert_text(argv.first().expect("a program"));
    assert!(!argv.iter().any(|argument| argument.contains('\0')));
}

fn assert_text(text: &str) {
    assert!(!text.is_empty() && !text.contains('\0'), "{text:?}");
}

fn assert_span(span: Duration) {
    assert!((Duration::from_millis(1)..=YEAR).contains(&span), "{span:?}");
}

fn assert_context(context: &ExecContext) {
    assert!(context.cwd.as_ref().is_none_or(|path| path.is_absolute()));
    assert!(context.env_files.iter().all(|file| file.path.is_absolute()));
    assert!(context.umask.is_none_or(|mask| mask <= 0o777));
    for limit in context.limits.values() {
        assert!(limit.soft.unwrap_or(u64::MAX) <= limit.hard.unwrap_or(u64::MAX), "{limit:?}");
    }
    context.user.iter().chain(&context.group).for_each(|account| assert_text(account));
    for (name, value) in &context.env {
        assert_text(name);
        assert!(!name.contains('=') && !name.starts_with("REKINDLE_") && !value.contains('\0'));
    }
}

fn assert_probes(service: &Service) {
    let (probes, policy) = (&service.probes, &service.policy);
    for (probe, rhythm) in [
        (&probes.startup, policy.startup),
        (&probes.liveness, policy.liveness),
        (&probes.readiness, policy.readiness),
    ] {
        assert_eq!(probe.as_ref().map(|probe| probe.timeout), rhythm.map(|rhythm| rhythm.timeout));
        let (Some(probe), Some(rhythm)) = (probe, rhythm) else { continue };
        let ProbePolicy { period, timeout, failure_threshold, success_threshold } = rhythm;
        assert_span(period);
        assert_span(timeout);
        assert!(failure_threshold > 0 && success_threshold > 0);
        match &probe.target {
            ProbeTarget::Http(http) => assert_http(http),
            ProbeTarget::Tcp { host, port } => assert!(!host.is_empty() && *port > 0),
            ProbeTarget::Exec { argv } => assert_program(argv),
            ProbeTarget::File { path, within } => {
                assert!(path.is_absolute());
                assert_span(*within);
            }
        }
    }
}

fn assert_http(probe: &HttpProbe) {
    let url = Url::parse(&probe.url).expect("a URL");
    assert!(["http", "https"].contains(&url.scheme()) && url.host().is_some());
    assert!(url.port_or_known_default() > Some(0));
    assert!(!probe.expect_status.ranges.is_empty());
    for (name, value) in probe.headers.iter().chain(&probe.expect_header) {
        HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
        HeaderValue::from_str(value).expect("a header's value");
    }
    assert!(probe.expect_json.keys().all(|pointer| is_pointer(pointer)));
    let paths = [&probe.unix_socket, &probe.ca];
    assert!(paths.into_iter().flatten().all(|path| path.is_absolute()));
}

fn assert_policy(policy: &Policy) {
    assert_span(policy.startup_timeout);
    assert_span(policy.slow_retry);
    assert_span(policy.stable_after);
    assert_span(policy.hook.map_or(YEAR, |hook| hook.timeout));
    for duration in
        [policy.settle, policy.max_doubt, policy.stop_timeout, policy.unhealthy_stop_timeout]
    {
        assert!(duration <= YEAR, "{duration:?}");
    }
    assert!(policy.delays.len() >= 2 && policy.delays.is_sorted(), "{:?}", policy.delays);
    assert!(policy.delays.last() <= Some(&YEAR) && policy.jitter_permille <= 1000);
    assert!(policy.exit_rules.iter().all(|rule| !rule.codes.is_empty()));
    if let Some(budget) = policy.budget {
        assert!(budget.max_restarts > 0);
        assert_span(budget.window);
    }
}

/// The numbers in a list of ranges, if it is one: digits, blanks around them, one `-` in a range.
fn reference_ranges(text: &str) -> Option<Vec<RangeInclusive<u32>>> {
    let number = |text: &str| {
        let digits = text.trim();
        let value = digits.bytes().try_fold(0_u32, |value, digit| {
            let digit = char::from(digit).to_digit(10)?;
            Some((value * 10 + digit).min(100_000))
        })?;
        (!digits.is_empty() && (100..=599).contains(&value)).then_some(value)
    };
    let range = |text: &str| {
        let ends: Option<Vec<u32>> = text.split('-').map(number).collect();
        match ends?[..] {
            [only] => Some(only..=only),
            [low, high] if low <= high => Some(low..=high),
            _ => None,
        }
    };
    text.split(',').map(range).collect()
}
