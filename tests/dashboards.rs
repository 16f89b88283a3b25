//! Alerts, dashboards and the runbook name only what the program has, and all of it.
//!
//! Every PromQL expression is parsed and held against the table of metrics, label words included.
//! Whether the queries return data is shown by `tests/system/prometheus`, with a real Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, Expr, LabelModifier, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use rekindle::metrics::{Family, Kind, TABLE};
use rekindle::supervisor::{FailKind, Reason, Slow, State, Why};
use serde_json::Value;

/// Labels that come from scraping, and series that Prometheus itself writes.
const TARGET_LABELS: [&str; 2] = ["job", "instance"];
const FOREIGN_SERIES: [&str; 2] = ["up", "ALERTS"];

#[test]
fn alerts_name_only_metrics_that_exist() {
    let mut problems = Vec::new();
    for rule in alerts() {
        check_expression(&rule.expr, &format!("alert {}", rule.name), &mut problems);
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_alert_says_what_it_means_and_leads_to_its_runbook() {
    let runbook = read("docs/runbook.md");
    for Rule { name, text, .. } in alerts() {
        for key in ["severity:", "summary:", "description:", "runbook_url:"] {
            assert!(text.contains(key), "alert {name} has no `{key}`");
        }
        let anchor = format!("docs/runbook.md#{}", name.to_lowercase());
        assert!(text.contains(&anchor), "alert {name} does not lead to {anchor}");
        let heading = format!("\n## {name}\n");
        assert!(runbook.contains(&heading), "docs/runbook.md has no heading `## {name}`");
    }
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
        .chain(FailKind::ALL.iter().map(|kind| kind.label()));
    let missing: Vec<_> = words.filter(|word| !runbook.contains(&format!("`{word}`"))).collect();
    assert!(missing.is_empty(), "docs/runbook.md does not say what to do about {missing:?}");
}

#[test]
fn promtool_accepts_the_rules() {
    let rules = root().join("config/prometheus/alerts.yml");
    let tests = root().join("config/prometheus/alerts-test.yml");
    run_tool("promtool", &["check", "rules", "--lint=all", &rules.display().to_string()]);
    run_tool("promtool", &["test", "rules", &tests.display().to_string()]);
}

#[test]
fn dashboards_query_only_metrics_that_exist() {
    let mut problems = Vec::new();
    for (file, dashboard) in dashboards() {
        for (place, expr) in queries(&dashboard) {
            let place = format!("{file}: {place}");
            check_expression(&without_variables(&expr), &place, &mut problems);
            for selector in [r#"job=~"$job""#, r#"instance=~"$instance""#] {
                if !expr.contains(selector) {
                    problems.push(format!("{place}: does not select by {selector}: {expr}"));
                }
            }
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn dashboards_are_made_as_grafana_expects() {
    for (file, dashboard) in dashboards() {
        assert_eq!(dashboard["editable"], false, "{file}: editable");
        assert!(dashboard["uid"].is_string(), "{file}: no uid");
        assert!(dashboard.get("__inputs").is_none(), "{file}: provisioning knows no __inputs");
        let mut seen = BTreeSet::new();
        let mut cells = BTreeMap::new();
        for panel in array(&dashboard["panels"]) {
            let title = panel["title"].as_str().unwrap_or_default();
            assert!(!title.is_empty(), "{file}: a panel without a title");
            assert!(seen.insert(panel["id"].as_u64()), "{file}: {title}: its id is not unique");
            occupy(&mut cells, panel, &format!("{file}: {title}"));
            if panel["type"] == "row" {
                continue;
            }
            assert!(panel["description"].is_string(), "{file}: {title}: no description");
            assert_eq!(panel["datasource"]["uid"], "$datasource", "{file}: {title}: datasource");
            assert!(!array(&panel["targets"]).is_empty(), "{file}: {title}: no query");
            let defaults = &panel["fieldConfig"]["defaults"];
            let has_unit = defaults["unit"].is_string() || !array(&defaults["mappings"]).is_empty();
            assert!(has_unit, "{file}: {title}: neither a unit nor value mappings");
        }
    }
}

/// Marks the grid cells of a panel as taken.
fn occupy(cells: &mut BTreeMap<(u64, u64), String>, panel: &Value, place: &str) {
    let side = |key: &str| panel["gridPos"][key].as_u64().expect("a panel has a gridPos");
    assert!(side("x") + side("w") <= 24, "{place}: wider than the grid");
    for x in side("x")..side("x") + side("w") {
        for y in side("y")..side("y") + side("h") {
            if let Some(other) = cells.insert((x, y), place.to_owned()) {
                panic!("{place} overlaps {other}");
            }
        }
    }
}

/// Parses an expression and adds what is wrong with it.
fn check_expression(expr: &str, place: &str, problems: &mut Vec<String>) {
    match parser::parse(expr) {
        Err(error) => problems.push(format!("{place}: {error}: {expr}")),
        Ok(parsed) => {
            let mut names = Names { place, problems };
            walk_expr(&mut names, &parsed).expect("the visitor does not fail");
        }
    }
}

/// Visits an expression and notes every metric, label and label word that does not exist.
struct Names<'a> {
    place: &'a str,
    problems: &'a mut Vec<String>,
}

impl ExprVisitor for Names<'_> {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Self::Error> {
        if let Expr::VectorSelector(selector) = expr {
            self.selector(selector);
            let name = selector.name.as_deref().unwrap_or_default();
            if family(name).is_some_and(|family| family.kind == Kind::Counter) {
                self.problem(&format!("the counter `{name}` outside rate() or increase()"));
            }
        } else if let Expr::MatrixSelector(range) = expr {
            self.selector(&range.vs);
        } else if let Some(modifier) = modifier(expr) {
            self.known_labels(&modifier.labels().labels);
        }
        Ok(true)
    }
}

impl Names<'_> {
    fn selector(&mut self, selector: &VectorSelector) {
        let name = selector.name.as_deref().unwrap_or_default();
        if FOREIGN_SERIES.contains(&name) {
            return;
        }
        let Some(family) = family(name) else {
            self.problem(&format!("there is no metric `{name}`"));
            return;
        };
        for matcher in &selector.matchers.matchers {
            self.matcher(family, name, matcher);
        }
    }

    fn matcher(&mut self, family: &Family, name: &str, matcher: &Matcher) {
        let label = matcher.name.as_str();
        if TARGET_LABELS.contains(&label) || (label == "le" && name.ends_with("_bucket")) {
            return;
        }
        let Some(known) = family.labels.iter().find(|known| known.key() == label) else {
            self.problem(&format!("`{name}` has no label `{label}`"));
            return;
        };
        let words = known.words();
        let regex = matches!(matcher.op, MatchOp::Re(_) | MatchOp::NotRe(_));
        let asked = matcher.value.split(if regex { '|' } else { '\0' });
        for word in asked.filter(|word| !words.is_empty() && *word != ".+") {
            if !words.contains(&word) {
                self.problem(&format!("`{name}` never has {label}=\"{word}\""));
            }
        }
    }

    fn known_labels(&mut self, labels: &[String]) {
        let known: BTreeSet<_> =
            TABLE.iter().flat_map(|family| family.labels).map(|label| label.key()).collect();
        for label in labels.iter().map(String::as_str) {
            if !known.contains(label) && !TARGET_LABELS.contains(&label) && label != "le" {
                self.problem(&format!("no metric has a label `{label}`"));
            }
        }
    }

    fn problem(&mut self, what: &str) {
        self.problems.push(format!("{}: {what}", self.place));
    }
}

/// The `by`, `without`, `on` or `ignoring` of an expression.
fn modifier(expr: &Expr) -> Option<&LabelModifier> {
    if let Expr::Aggregate(aggregate) = expr {
        aggregate.modifier.as_ref()
    } else if let Expr::Binary(binary) = expr {
        binary.modifier.as_ref()?.matching.as_ref()
    } else {
        None
    }
}

/// The family that a series belongs to.
fn family(series: &str) -> Option<&'static Family> {
    let named = |name: &str| TABLE.iter().find(|family| family.name == name);
    let tails = ["_bucket", "_sum", "_count"].iter().filter_map(|tail| series.strip_suffix(tail));
    let of_histogram = tails.filter_map(named).find(|family| family.kind == Kind::Histogram);
    named(series).filter(|family| family.kind != Kind::Histogram).or(of_histogram)
}

struct Rule {
    name: String,
    expr: String,
    text: String,
}

/// The rules of alerts.yml; promtool sees to the YAML, so a split by keys is enough here.
fn alerts() -> Vec<Rule> {
    let text = read("config/prometheus/alerts.yml");
    let rules: Vec<_> = text.split("- alert: ").skip(1).map(rule).collect();
    assert!(!rules.is_empty(), "alerts.yml has no alert");
    rules
}

fn rule(text: &str) -> Rule {
    let (name, body) = text.split_once('\n').expect("a rule has more than a name");
    let expr = body.split("expr: ").nth(1).expect("a rule has an expression");
    // What ends it is the next key, which stands as far left as `expr` itself.
    let ends = ["\n        for:", "\n        labels:"];
    let end = ends.iter().filter_map(|key| expr.find(key)).min().expect("a rule has labels");
    let expr = expr[..end].trim_start_matches('|').trim().to_owned();
    Rule { name: name.trim().to_owned(), expr, text: text.to_owned() }
}

fn dashboards() -> Vec<(String, Value)> {
    let folder = fs::read_dir(root().join("dashboards")).expect("there are dashboards");
    let paths = folder.map(|entry| entry.expect("an entry is readable").path());
    let files = paths.filter(|path| path.extension() == Some("json".as_ref()));
    let parsed = files.map(|path| {
        let text = fs::read_to_string(&path).expect("a dashboard is readable");
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let dashboard = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        (name, dashboard)
    });
    parsed.collect()
}

/// Every query of panels and annotations, with its place.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in array(&dashboard["panels"]) {
        for target in array(&panel["targets"]) {
            found.push((text(&panel["title"]), text(&target["expr"])));
        }
    }
    for annotation in array(&dashboard["annotations"]["list"]) {
        found.push((text(&annotation["name"]), text(&annotation["expr"])));
    }
    assert!(!found.is_empty(), "a dashboard without a query");
    found
}

/// Puts values for Grafana's variables.
fn without_variables(expr: &str) -> String {
    let spans = [("$__rate_interval", "1m"), ("$__interval", "15s"), ("$__range", "1h")];
    let selections = [("$job", ".+"), ("$instance", ".+"), ("$service", ".+")];
    let all = spans.iter().chain(&selections);
    all.fold(expr.to_owned(), |expr, (variable, value)| expr.replace(variable, value))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().expect("this is text in the dashboard").to_owned()
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

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
