//! The drawing of the states, from what the explorer saw: nobody draws it by hand.
//!
//! `UPDATE_DOCS=1 cargo test --lib diagram` writes it, and the numbers of the exploration, into the
//! documentation; without that, a stale page fails the test.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use super::State;
use super::explore::TERRITORIES;

/// (from, to) → the events that lead there.
type Edges = BTreeMap<(State, State), BTreeSet<&'static str>>;

fn edges() -> Edges {
    let mut merged = Edges::new();
    let seen = TERRITORIES.iter().flat_map(|territory| &territory.explored().edges);
    for &(from, event, to) in seen {
        merged.entry((from, to)).or_default().insert(event);
    }
    merged
}

fn words(events: &BTreeSet<&'static str>) -> String {
    events.iter().copied().collect::<Vec<_>>().join(", ")
}

/// Mermaid; loops are left to the table.
fn drawing(edges: &Edges) -> String {
    let mut text = "```mermaid\nstateDiagram-v2\n    [*] --> stopped\n".to_owned();
    for ((from, to), events) in edges.iter().filter(|((from, to), _)| from != to) {
        writeln!(text, "    {from} --> {to}: {}", words(events)).expect("a string takes it");
    }
    text + "    stopped --> [*]\n```\n"
}

fn table(edges: &Edges) -> String {
    let mut text = "| State | Event | State after it |\n|---|---|---|\n".to_owned();
    for ((from, to), events) in edges {
        let to = if from == to { "(stays)" } else { to.label() };
        writeln!(text, "| `{from}` | {} | {to} |", words(events)).expect("a string takes it");
    }
    text
}

fn numbers() -> String {
    let mut text = "| Policy | States | Transitions |\n|---|---:|---:|\n".to_owned();
    let (mut states, mut transitions) = (0, 0);
    for territory in &TERRITORIES {
        let walk = territory.explored();
        let (name, count, steps) = (territory.name, walk.states, walk.transitions);
        writeln!(text, "| {name} | {count} | {steps} |").expect("a string takes it");
        (states, transitions) = (states + count, transitions + steps);
    }
    writeln!(text, "| all | {states} | {transitions} |").expect("a string takes it");
    text
}

/// The page with `made` between the marks of `name`.
fn filled(page: &str, name: &str, made: &str) -> String {
    let (begin, end) = (format!("<!-- {name}: begin -->"), format!("<!-- {name}: end -->"));
    let (head, rest) = page.split_once(&begin).expect("the page has the mark");
    let (_, tail) = rest.split_once(&end).expect("the page has the mark's end");
    format!("{head}{begin}\n{made}{end}{tail}")
}

fn is_current(page: &str, parts: &[(&str, String)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    let written = std::fs::read_to_string(&path).expect("the page is there");
    let mut fresh = written.clone();
    for (name, made) in parts {
        fresh = filled(&fresh, name, made);
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, fresh).expect("the page can be written");
    } else {
        let hint = "write it with: UPDATE_DOCS=1 cargo test --lib diagram";
        assert!(written == fresh, "docs/{page} is stale; {hint}");
    }
}

#[test]
fn the_pages_show_what_the_explorer_saw() {
    let edges = edges();
    let parts = [("diagram", drawing(&edges)), ("table", table(&edges))];
    is_current("state-machine.md", &parts);
    is_current("proof.md", &[("walks", numbers())]);
}
