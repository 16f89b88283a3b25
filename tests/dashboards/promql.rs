//! Holds PromQL against what there is: the table of metrics, recorded series, a few foreign ones.

use std::collections::BTreeSet;

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, Expr, LabelModifier, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use rekindle::metrics::{Family, Kind, TABLE};

use crate::rules;

/// Labels that come from scraping; the last two only in Kubernetes.
const TARGET_LABELS: [&str; 4] = ["job", "instance", "namespace", "pod"];

/// Series that others write, with the labels that are asked for.
const FOREIGN_SERIES: [(&str, &[&str]); 4] = [
    ("up", &[]),
    ("ALERTS", &["alertname"]),
    ("kube_pod_status_ready", &["condition"]),
    ("kube_pod_container_info", &["container"]),
];

/// Adds what is wrong with an expression: what does not parse, and every metric, label and label
/// word that does not exist.
pub(super) fn check(expr: &str, place: &str, problems: &mut Vec<String>) {
    visit(expr, place, problems, Check::Names);
}

/// Adds every selector that does not keep to the targets that are chosen on the dashboard.
pub(super) fn check_targets(expr: &str, place: &str, problems: &mut Vec<String>) {
    visit(expr, place, problems, Check::Targets);
}

fn visit(expr: &str, place: &str, problems: &mut Vec<String>, check: Check) {
    match parser::parse(expr) {
        Err(error) => problems.push(format!("{place}: {error}: {expr}")),
        Ok(parsed) => {
            let mut visitor = Visitor { place, problems, check };
            walk_expr(&mut visitor, &parsed).expect("the visitor does not fail");
        }
    }
}

/// What is looked at.
#[derive(Clone, Copy)]
enum Check {
    Names,
    Targets,
}

struct Visitor<'a> {
    place: &'a str,
    problems: &'a mut Vec<String>,
    check: Check,
}

impl ExprVisitor for Visitor<'_> {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Self::Error> {
        if let Expr::VectorSelector(selector) = expr {
            self.selector(selector, false);
        } else if let Expr::MatrixSelector(range) = expr {
            self.selector(&range.vs, true);
        } else if let Some(modifier) = modifier(expr) {
            self.known_labels(&modifier.labels().labels);
        }
        Ok(true)
    }
}

impl Visitor<'_> {
    fn selector(&mut self, selector: &VectorSelector, in_range: bool) {
        match self.check {
            Check::Names => self.names(selector, in_range),
            Check::Targets => self.targets(selector),
        }
    }

    fn names(&mut self, selector: &VectorSelector, in_range: bool) {
        let name = selector.name.as_deref().unwrap_or_default();
        let foreign = FOREIGN_SERIES.iter().find(|(foreign, _)| *foreign == name);
        let level = rules::recorded(name);
        if let Some((_, labels)) = foreign {
            self.labels(selector, |label| labels.contains(&label));
        } else if let Some(level) = level {
            self.labels(selector, |label| level.split('_').any(|known| known == label));
        } else if let Some(family) = family(name) {
            if family.kind == Kind::Counter && !in_range {
                self.problem(&format!("the counter `{name}` outside rate() or increase()"));
            }
            for matcher in &selector.matchers.matchers {
                self.matcher(family, name, matcher);
            }
        } else {
            self.problem(&format!("there is no metric `{name}`"));
        }
    }

    fn labels(&mut self, selector: &VectorSelector, known: impl Fn(&str) -> bool) {
        for matcher in &selector.matchers.matchers {
            if !known(&matcher.name) && !TARGET_LABELS.contains(&matcher.name.as_str()) {
                self.problem(&format!("{selector}: there is no label `{}`", matcher.name));
            }
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

    /// Recorded series have only the labels of their level, and a constant has none.
    fn targets(&mut self, selector: &VectorSelector) {
        let name = selector.name.as_deref().unwrap_or_default();
        let fleet_wide = name == "ALERTS" || rules::recorded(name).is_some();
        let wanted: &[&str] = match rules::recorded(name) {
            Some("rekindle") => &[],
            _ if fleet_wide => &["job"],
            _ => &["job", "instance"],
        };
        for label in wanted {
            let chosen = format!("${label}");
            let matchers = &selector.matchers.matchers;
            let found = matchers.iter().any(|matcher| {
                matcher.name == *label
                    && matches!(matcher.op, MatchOp::Re(_))
                    && matcher.value == chosen
            });
            if !found {
                self.problem(&format!("`{name}` is not selected by {label}=~\"{chosen}\""));
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
