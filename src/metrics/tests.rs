use std::collections::BTreeSet;
use std::io::Write;
use std::process::Stdio;

use super::*;
use crate::process::testing::{alone, anonymous_kb};
use crate::report::tests::service;

/// A page as it is right after the start, with everything known.
fn fresh_page() -> String {
    let own = Usage::own();
    let child = own.map(|own| Usage { oom_kills: Some(0.0), ..own });
    let readings = Readings { own, child, ..Readings::default() };
    Metrics::new(&service()).page(&readings)
}

fn types(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

#[test]
fn a_fresh_page_shows_every_family_of_the_table_once_and_nothing_else() {
    let page = fresh_page();
    let mut shown = types(&page);
    shown.sort();
    let mut table: Vec<_> = TABLE
        .iter()
        .map(|family| (family.name.to_owned(), family.kind.label().to_owned()))
        .collect();
    table.sort();
    assert_eq!(shown, table);
    for family in TABLE {
        let help = format!("# HELP {} {}", family.name, family.help);
        assert!(page.lines().any(|line| line == help), "no {help:?}");
    }
}

#[test]
fn what_is_unknown_or_not_configured_is_left_out() {
    let mut service = service();
    service.recovery_objective = None;
    service.policy.budget = None;
    service.policy.startup = None;
    let page = Metrics::new(&service).page(&Readings::default());
    let shown: BTreeSet<_> = types(&page).into_iter().map(|(name, _)| name).collect();
    for family in TABLE {
        assert_eq!(shown.contains(family.name), !family.optional, "{}", family.name);
    }
    assert!(!page.contains("probe=\"startup\""));
}

#[test]
fn everything_starts_at_zero_but_what_is_configured_or_known() {
    for line in fresh_page().lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let known =
            ["build_info", "objective", "timeout", "threshold", "budget", "process_", "file_valid"];
        let exempt = known.iter().any(|word| series.contains(word))
            || series.starts_with("rekindle_child_")
            || series.contains("state=\"stopped\"");
        assert!(exempt || value == "0", "{line}");
    }
}

#[test]
fn one_service_stays_within_its_budget_of_series() {
    let page = fresh_page();
    let series = page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    assert!(series <= 260, "{series} series");
}

#[test]
fn the_objective_is_a_bound_of_the_recovery_histogram() {
    assert!(
        fresh_page()
            .contains("rekindle_recovery_duration_seconds_bucket{service=\"gateway\",le=\"45\"}")
    );
}

#[test]
fn a_service_name_with_quotes_is_escaped() {
    let mut service = service();
    service.name = "a\"b\\".to_owned();
    let page = Metrics::new(&service).page(&Readings::default());
    assert!(page.contains(r#"rekindle_uptime_seconds_total{service="a\"b\\"} 0"#), "{page}");
}

#[test]
fn names_follow_prometheus_conventions() {
    for family in TABLE {
        let name = family.name;
        assert!(name.starts_with("rekindle_") || name.starts_with("process_"), "{name}");
        assert_eq!(name.ends_with("_total"), family.kind == Kind::Counter, "{name}");
        assert_eq!(family.buckets.is_empty(), family.kind != Kind::Histogram, "{name}");
        assert!(family.buckets.is_sorted(), "{name}");
        assert!(family.help.ends_with('.') && !family.help.contains(['\n', '\\']), "{name}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a tool of the test, not of the product")]
fn promtool_finds_nothing_to_complain_about() {
    let promtool = std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match promtool {
        Ok(promtool) => promtool,
        Err(error) => {
            let required = std::env::var_os("REKINDLE_REQUIRE_ALL").is_some();
            assert!(!required, "promtool is required: {error}");
            println!("skipped, there is no promtool: {error}");
            return;
        }
    };
    promtool.stdin.take().unwrap().write_all(fresh_page().as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn the_metrics_page_of_the_documentation_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
    let current = Document.to_string();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &current).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == current, "docs/metrics.md is stale: run UPDATE_DOCS=1 cargo test");
}

#[test]
fn what_is_observed_takes_no_memory() {
    alone(|| {
        let metrics = Metrics::new(&service());
        let observe = |times| {
            (0..times).for_each(|_| metrics.observe(Metric::LoopLag, &[], Duration::ZERO));
        };
        observe(1);
        let before = anonymous_kb();
        observe(100_000);
        let after = anonymous_kb();
        assert!(after <= before + 64, "{before} KB, then {after} KB");
    });
}
