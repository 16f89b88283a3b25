//! Dashboards: as Grafana expects them, by the rules of its dashboard-linter, without a Grafana.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{files, promql};

/// Ids of Grafana's units; a wrong one is shown as text behind the number.
const UNITS: [&str; 6] = ["s", "bytes", "percentunit", "short", "cps", "dateTimeFromNow"];

/// What may stand in `[]`: a fixed span would not follow the scrape interval or the range shown.
const RANGES: [&str; 3] = ["$__rate_interval", "$__range", "$__interval"];

#[test]
fn the_dashboards_are_fleet_sandbox_slo_and_drill() {
    let names: Vec<_> = dashboards().into_iter().map(|(file, _)| file).collect();
    assert_eq!(names, ["drill.json", "fleet.json", "sandbox.json", "slo.json"]);
    for (file, dashboard) in dashboards() {
        let uid = format!("rekindle-{}", file.trim_end_matches(".json"));
        assert_eq!(dashboard["uid"], uid.as_str(), "{file}: links between dashboards use the uid");
    }
}

#[test]
fn dashboards_query_only_metrics_that_exist() {
    let mut problems = Vec::new();
    for (file, dashboard) in dashboards() {
        for (place, expr) in queries(&dashboard) {
            let place = format!("{file}: {place}");
            promql::check(&without_variables(&expr), &place, &mut problems);
            promql::check_targets(&without_spans(&expr), &place, &mut problems);
            for range in expr.split('[').skip(1).filter_map(|rest| rest.split(']').next()) {
                if !RANGES.contains(&range) {
                    problems.push(format!("{place}: the fixed range [{range}]"));
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
        assert!(dashboard.get("id").is_none_or(Value::is_null), "{file}: an id of one Grafana");
        assert!(dashboard.get("__inputs").is_none(), "{file}: provisioning knows no __inputs");
        assert!(array(&dashboard["tags"]).contains(&"rekindle".into()), "{file}: the links' tag");
        let mut seen = BTreeSet::new();
        let mut cells = BTreeMap::new();
        for panel in array(&dashboard["panels"]) {
            let title = panel["title"].as_str().unwrap_or_default();
            assert!(!title.is_empty(), "{file}: a panel without a title");
            assert!(seen.insert(panel["id"].as_u64()), "{file}: {title}: its id is not unique");
            let place = format!("{file}: {title}");
            occupy(&mut cells, panel, &place);
            if panel["type"] != "row" {
                check_panel(panel, &place);
            }
        }
    }
}

fn check_panel(panel: &Value, place: &str) {
    assert!(panel["description"].is_string(), "{place}: no description");
    assert_eq!(panel["datasource"]["uid"], "$datasource", "{place}: datasource");
    assert!(!array(&panel["targets"]).is_empty(), "{place}: no query");
    let mut names = BTreeSet::new();
    for target in array(&panel["targets"]) {
        assert!(names.insert(text(&target["refId"])), "{place}: its refIds are not unique");
        assert_eq!(target["datasource"]["uid"], "$datasource", "{place}: datasource of a query");
    }
    let defaults = &panel["fieldConfig"]["defaults"];
    match defaults["unit"].as_str() {
        Some(unit) => assert!(UNITS.contains(&unit), "{place}: unknown unit {unit}"),
        None => assert!(!array(&defaults["mappings"]).is_empty(), "{place}: no unit, no mappings"),
    }
}

#[test]
fn dashboards_let_choose_data_source_job_and_instance() {
    for (file, dashboard) in dashboards() {
        let variables = array(&dashboard["templating"]["list"]);
        let sources: Vec<_> = variables.iter().filter(|it| it["type"] == "datasource").collect();
        assert_eq!(sources.len(), 1, "{file}: one variable for the data source");
        let source = sources[0];
        assert_eq!(
            (&source["name"], &source["label"]),
            (&"datasource".into(), &"Data Source".into())
        );
        for (name, label) in [("job", "Job"), ("instance", "Instance")] {
            let variable = variables.iter().find(|variable| variable["name"] == name);
            let variable = variable.unwrap_or_else(|| panic!("{file}: no variable {name}"));
            assert_eq!(variable["label"], label, "{file}: the label of {name}");
        }
        for variable in variables.iter().filter(|it| it["type"] != "datasource") {
            let place = format!("{file}: variable {}", variable["name"]);
            assert_eq!(variable["type"], "query", "{place}");
            assert_eq!(variable["datasource"]["uid"], "$datasource", "{place}");
            assert_eq!(variable["multi"], true, "{place}: multi");
            assert_eq!(variable["allValue"], ".+", "{place}: allValue");
            assert_eq!(variable["refresh"], 2, "{place}: refreshed when the time changes");
            let query = text(&variable["query"]["query"]);
            assert_eq!(variable["definition"], query.as_str(), "{place}: definition and query");
            let inner = query.strip_prefix("label_values(").and_then(|it| it.strip_suffix(')'));
            let (series, _) = inner.and_then(|it| it.rsplit_once(", ")).expect("label_values(…)");
            let mut problems = Vec::new();
            promql::check(&without_variables(series), &place, &mut problems);
            assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
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

fn dashboards() -> Vec<(String, Value)> {
    let parsed = files("dashboards", ".json").into_iter().map(|(name, text)| {
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
    let selections = ["$job", "$instance", "$service"];
    selections.iter().fold(without_spans(expr), |expr, variable| expr.replace(variable, ".+"))
}

/// Puts values for Grafana's variables of time; the longer names first.
fn without_spans(expr: &str) -> String {
    let spans = [
        ("$__rate_interval", "1m"),
        ("$__interval", "15s"),
        ("$__range_s", "3600"),
        ("$__range", "1h"),
    ];
    spans.iter().fold(expr.to_owned(), |expr, (variable, value)| expr.replace(variable, value))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().expect("this is text in the dashboard").to_owned()
}
