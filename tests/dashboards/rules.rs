//! Alerts and recording rules, their tests, the runbook, and the examples beside them.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use rekindle::supervisor::{FailKind, Reason, Slow, Start, State, Why};

use crate::{files, promql, read, root};

const FOLDER: &str = "config/prometheus";

/// The alerts that page or explain; whoever wants more takes `alerts-extra.yml`.
const MAIN_ALERTS: [&str; 8] = [
    "RekindleServiceDown",
    "RekindleSlowRetry",
    "RekindleCrashLooping",
    "RekindleBootHookFailing",
    "RekindleTargetDown",
    "RekindleAbsent",
    "RekindlePowerCycled",
    "RekindleStateNotDurable",
];

#[test]
fn rules_name_only_metrics_that_exist() {
    let mut problems = Vec::new();
    for rule in RULES.iter() {
        promql::check(&rule.expr, &format!("{}: {}", rule.file, rule.name), &mut problems);
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn the_main_alerts_are_the_eight_that_page_or_explain() {
    let main: BTreeSet<_> =
        alerts().filter(|rule| rule.file == "alerts.yml").map(|rule| rule.name.as_str()).collect();
    assert_eq!(main, MAIN_ALERTS.into());
}

#[test]
fn every_alert_says_what_it_means_and_leads_to_its_runbook() {
    let runbook = read("docs/runbook.md");
    for Rule { name, text, .. } in alerts() {
        for key in ["severity:", "summary:", "description:", "runbook_url:"] {
            assert!(text.contains(key), "alert {name} has no `{key}`");
        }
        let anchor = format!("runbook_url: docs/runbook.md#{}\n", name.to_lowercase());
        assert!(text.contains(&anchor), "alert {name} does not lead to {anchor}");
        let heading = format!("\n## {name}\n");
        let entry = runbook.split(&heading).nth(1);
        let entry = entry.unwrap_or_else(|| panic!("docs/runbook.md has no heading `## {name}`"));
        let entry = entry.split("\n## ").next().unwrap_or_default();
        for part in ["**Symptom.**", "**Meaning.**", "**First look.**"] {
            assert!(entry.contains(part), "docs/runbook.md does not tell {part} of {name}");
        }
        let advice = entry.contains("**What to do.**") || entry.contains("| what to do |");
        assert!(advice, "docs/runbook.md does not say what to do about {name}");
    }
}

#[test]
fn the_runbook_has_no_heading_for_an_alert_that_is_gone() {
    let alerts: BTreeSet<_> = alerts().map(|rule| rule.name.as_str()).collect();
    let runbook = read("docs/runbook.md");
    let headings = runbook.lines().filter_map(|line| line.strip_prefix("## "));
    let gone: Vec<_> =
        headings.filter(|it| it.starts_with("Rekindle") && !alerts.contains(it)).collect();
    assert!(gone.is_empty(), "no alert has the name of {gone:?}");
}

#[test]
fn every_word_that_an_operator_sees_is_in_the_runbook() {
    let runbook = read("docs/runbook.md");
    let states = State::ALL.iter().map(|state| state.label());
    let reasons = Reason::ALL.iter().filter(|reason| **reason != Reason::Start);
    let words = states
        .chain(reasons.map(|reason| reason.label()))
        .chain(Slow::ALL.iter().map(|slow| slow.label()))
        .chain(Why::ALL.iter().map(|why| why.label()))
        .chain(Start::ALL.iter().map(|start| start.label()))
        .chain(FailKind::ALL.iter().map(|kind| kind.label()));
    let missing: Vec<_> = words.filter(|word| !runbook.contains(&format!("`{word}`"))).collect();
    assert!(missing.is_empty(), "docs/runbook.md does not say what to do about {missing:?}");
}

#[test]
fn every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() {
    for Rule { file, name, .. } in alerts() {
        let tests = read(&format!("{FOLDER}/{}", test_of(file)));
        let cases: Vec<_> = tests
            .split("- eval_time:")
            .filter(|case| case.contains(&format!("alertname: {name}\n")))
            .map(|case| case.contains("exp_alerts:"))
            .collect();
        assert!(cases.contains(&true), "{}: no case in which {name} fires", test_of(file));
        assert!(cases.contains(&false), "{}: no case in which {name} is silent", test_of(file));
    }
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_pass() {
    let files: BTreeSet<_> = RULES.iter().map(|rule| &rule.file).collect();
    for file in files {
        let path = |name: &str| root().join(FOLDER).join(name).display().to_string();
        run_tool("promtool", &["check", "rules", "--lint=all", &path(file)]);
        run_tool("promtool", &["test", "rules", &path(&test_of(file))]);
    }
}

#[test]
fn promtool_accepts_the_examples_of_scraping() {
    let folder = root().join(FOLDER);
    run_tool("promtool", &["check", "config", &folder.join("prometheus.yml").to_string_lossy()]);
    // Debian's build knows no Kubernetes; the rest of that example is checked without it.
    let example = read(&format!("{FOLDER}/prometheus-kubernetes.yml"));
    let discovery = "kubernetes_sd_configs:\n      - role: pod\n";
    assert!(example.contains(discovery), "the example has another discovery: mend this test");
    let plain = example
        .replace(discovery, "static_configs:\n      - targets: [\"127.0.0.1:7354\"]\n")
        .replace("rule_files: [", &format!("rule_files: [{}/", folder.display()))
        .replace(", alerts", &format!(", {}/alerts", folder.display()))
        .replace(", recording", &format!(", {}/recording", folder.display()))
        .replace(", slo", &format!(", {}/slo", folder.display()));
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let path = scratch.path().join("prometheus.yml");
    std::fs::write(&path, plain).expect("the scratch folder is writable");
    run_tool("promtool", &["check", "config", &path.to_string_lossy()]);
}

#[test]
fn amtool_accepts_the_example_and_it_routes_by_severity() {
    let path = root().join(FOLDER).join("alertmanager.yml").display().to_string();
    run_tool("amtool", &["check-config", &path]);
    let routes =
        [("critical", "pager"), ("warning", "tickets"), ("info", "nobody"), ("other", "tickets")];
    for (severity, receiver) in routes {
        let expected = format!("--verify.receivers={receiver}");
        let label = format!("severity={severity}");
        let file = format!("--config.file={path}");
        run_tool("amtool", &["config", "routes", "test", &file, &expected, &label]);
    }
}

#[test]
fn the_example_inhibits_only_alerts_that_exist() {
    let example = read(&format!("{FOLDER}/alertmanager.yml"));
    let known: BTreeSet<_> = alerts().map(|rule| rule.name.as_str()).collect();
    let words = example.split(|c: char| !c.is_ascii_alphanumeric());
    let named: Vec<_> = words.filter(|word| word.starts_with("Rekindle")).collect();
    assert!(!named.is_empty(), "the example names no alert");
    for name in named.into_iter().filter(|name| *name != "Rekindle") {
        assert!(known.contains(name), "alertmanager.yml: there is no alert {name}");
    }
}

/// The level of a recorded series, which names its labels: `job_service` of
/// `job_service:rekindle_service_up:avg`.
pub(super) fn recorded(series: &str) -> Option<&'static str> {
    let rule = RULES.iter().find(|rule| !rule.is_alert && rule.name == series)?;
    rule.name.split(':').next()
}

struct Rule {
    file: String,
    name: String,
    is_alert: bool,
    expr: String,
    text: String,
}

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let files = files(FOLDER, ".yml").into_iter().filter(|(name, _)| !name.ends_with("-test.yml"));
    // promtool sees to the YAML, so a split by keys is enough here.
    files
        .flat_map(|(file, text)| {
            let rules = text.split("\n      - ").skip(1).filter_map(|text| rule(&file, text));
            rules.collect::<Vec<_>>()
        })
        .collect()
});

fn rule(file: &str, text: &str) -> Option<Rule> {
    let (head, body) = text.split_once('\n')?;
    let (kind, name) = head.split_once(": ")?;
    let is_alert = kind == "alert";
    if !is_alert && kind != "record" {
        return None;
    }
    let expr = body.split("expr: ").nth(1).expect("a rule has an expression");
    // It is what stands on its own line, or what stands farther to the right below.
    let (first, below) = expr.split_once('\n').unwrap_or((expr, ""));
    let below = below.lines().take_while(|line| line.starts_with("          "));
    let expr = match first {
        "|" => below.collect::<Vec<_>>().join("\n"),
        first => first.to_owned(),
    };
    let [file, name, text] = [file, name, text].map(str::to_owned);
    Some(Rule { file, name, is_alert, expr, text })
}

fn alerts() -> impl Iterator<Item = &'static Rule> {
    RULES.iter().filter(|rule| rule.is_alert)
}

fn test_of(file: &str) -> String {
    file.replace(".yml", "-test.yml")
}

/// Runs a checker where it is installed; its absence is an error only if all is required.
#[expect(clippy::disallowed_methods, reason = "a test asks a tool of the user's machine")]
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn run_tool(tool: &str, arguments: &[&str]) {
    match std::process::Command::new(tool).args(arguments).output() {
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(output.status.success(), "{tool} {}:\n{said}", arguments.join(" "));
        }
        Err(error) if std::env::var_os("REKINDLE_REQUIRE_ALL").is_some() => {
            panic!("{tool} cannot be run, and REKINDLE_REQUIRE_ALL is set: {error}");
        }
        Err(error) => println!("skipped: {tool} cannot be run: {error}"),
    }
}
