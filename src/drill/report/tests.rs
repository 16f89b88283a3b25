use std::time::Duration;

use insta::assert_snapshot;

use super::*;
use crate::drill::{Band, Marks};

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// One of each verdict; the failed one has text that means something in XML.
fn report() -> Report {
    let scenario = |name: &str| crate::drill::all().find(|scenario| scenario.name == name).unwrap();
    let outcome = |name, verdict| Outcome {
        scenario: scenario(name),
        repetition: 1,
        verdict,
        marks: Marks::default(),
        bands: Vec::new(),
        log: None,
    };
    let band = |state: &str, from, to| Band { state: state.to_owned(), from: at(from), to: at(to) };
    let hang = Outcome {
        marks: Marks {
            first_failed_probe: Some(at(530)),
            detected: Some(at(1030)),
            tree_gone: Some(at(1033)),
            hook: Some(at(1169)),
            started: Some(at(1230)),
            first_pass: Some(at(1299)),
            settled: Some(at(1810)),
        },
        bands: vec![
            band("healthy", 0, 1030),
            band("degraded", 1030, 1033),
            band("backoff", 1033, 1169),
            band("boot_hook", 1169, 1230),
            band("starting", 1230, 1299),
            band("healthy", 1299, 1810),
        ],
        ..outcome("hang", Verdict::Passed)
    };
    let findings =
        vec!["pid 7 (a<b>&\"c\"\u{1b}) is left behind".to_owned(), "it is <down>".to_owned()];
    let crash = Outcome {
        repetition: 2,
        log: Some("/tmp/drill/0-crash/log".into()),
        ..outcome("crash", Verdict::Failed(findings))
    };
    Report {
        seed: 7,
        objective: Some(at(5000)),
        arena: Arena::OwnTree("cannot make a PID & a mount namespace".to_owned()),
        outcomes: vec![
            hang,
            crash,
            outcome("clock-1970", Verdict::Skipped("it is <not> possible here".to_owned())),
            outcome("wrong-health-url", Verdict::Passed),
        ],
        undone: 0,
    }
}

#[test]
fn the_table_has_one_line_for_each_and_says_what_was_wrong() {
    assert_snapshot!(report().written(Format::Table));
}

#[test]
fn the_document_has_every_mark() {
    assert_snapshot!(report().written(Format::Json));
}

#[test]
fn ci_gets_a_test_case_for_each() {
    assert_snapshot!(report().written(Format::Junit));
}

#[test]
fn the_page_is_self_contained_and_shows_each_in_a_picture() {
    let page = report().written(Format::Html);
    for foreign in ["<script", "http:", "https:", "src=", "@import", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    let (_, body) = page.split_once("</style>\n").unwrap();
    assert_snapshot!(body);
}

#[test]
fn one_failure_fails_the_whole_drill() {
    let mut report = report();
    assert!(!report.has_passed());
    report.outcomes.retain(|outcome| !matches!(outcome.verdict, Verdict::Failed(_)));
    assert!(report.has_passed(), "what is skipped is no failure");
}

#[test]
fn one_that_was_interrupted_has_not_passed_and_says_so_in_every_form() {
    let mut report = report();
    report.outcomes.retain(|outcome| outcome.verdict == Verdict::Passed);
    report.undone = 3;
    assert!(!report.has_passed());
    for (format, said) in [
        (Format::Table, "\ninterrupted: 3 of 5 were not done\n2 of 2 passed"),
        (Format::Json, "\"not_done\": 3"),
        (Format::Junit, "<error message=\"interrupted: 3 of 5 were not done\"/>"),
        (Format::Html, "<p>interrupted: 3 of 5 were not done<br>2 of 2 passed"),
    ] {
        let text = report.written(format);
        assert!(text.contains(said), "{text}");
    }
}
