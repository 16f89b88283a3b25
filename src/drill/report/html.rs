//! The report as a page of its own: no script, no other file, a picture of each scenario.

use std::time::Duration;

use super::{Outcome, Report, escaped, span};
use crate::drill::Verdict;

/// The pictures' width in their own units; all have the same, each has its own scale.
const WIDTH: f64 = 800.0;

/// Marks that are nearer than this share a line of text only one below the other.
const LABEL_HEIGHT: usize = 16;

pub(super) fn write(report: &Report) -> String {
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Rekindle drill</title>\n\
         <style>\n{}</style>\n<h1>Drill: {}</h1>\n<p>{}<br>Done {}, seed {}.</p>\n",
        include_str!("page.css"),
        if report.has_passed() { "passed" } else { "failed" },
        escaped(&report.summary()),
        escaped(&report.place()),
        report.seed,
    );
    html += "<table>\n<tr><th>Scenario<th>Stands for<th>Detected after<th>Recovered after\
             <th>Verdict\n";
    for (number, outcome) in report.outcomes.iter().enumerate() {
        let time = |mark| Option::map_or(mark, "–".to_owned(), span);
        let (detected, recovered) = (time(outcome.marks.detected), time(outcome.marks.first_pass));
        let (title, simulates) = (outcome.title(), escaped(outcome.scenario.simulates));
        html += &format!(
            "<tr><td><a href=\"#s{number}\">{title}</a><td>{simulates}<td>{detected}\
             <td>{recovered}<td class=\"{}\">{}\n",
            class(outcome),
            outcome.word()
        );
    }
    html += "</table>\n";
    for (number, outcome) in report.outcomes.iter().enumerate() {
        let simulates = escaped(outcome.scenario.simulates);
        let (title, class, word) = (outcome.title(), class(outcome), outcome.word());
        html += &format!(
            "<section id=\"s{number}\">\n<h2>{title}: <span class=\"{class}\">{word}</span></h2>\n\
             <p>{simulates}</p>\n"
        );
        for remark in outcome.remarks() {
            html += &format!("<p class=\"{class}\">{}</p>\n", escaped(&remark));
        }
        html += &picture(outcome);
        html += "</section>\n";
    }
    html + "</html>\n"
}

fn class(outcome: &Outcome) -> &'static str {
    match outcome.verdict {
        Verdict::Passed => "good",
        Verdict::Failed(_) => "bad",
        Verdict::Skipped(_) => "skipped",
    }
}

/// The states as a band, and below it a line for each mark.
fn picture(outcome: &Outcome) -> String {
    let marks = [("fault", Some(Duration::ZERO))].into_iter().chain(outcome.marks.named());
    let marks: Vec<_> = marks.filter_map(|(name, mark)| Some((name, mark?))).collect();
    let ends = outcome.bands.iter().map(|band| band.to).chain(marks.iter().map(|(_, at)| *at));
    let end = ends.max().unwrap_or_default();
    if end.is_zero() {
        return String::new();
    }
    let x = |at: Duration| at.as_secs_f64() / end.as_secs_f64() * WIDTH;
    let height = 40 + marks.len() * LABEL_HEIGHT;
    let told: Vec<_> = marks.iter().map(|(name, at)| format!("{name} {}", span(*at))).collect();
    let mut svg = format!(
        "<svg viewBox=\"-4 0 {} {height}\" role=\"img\" aria-label=\"{}\">\n",
        WIDTH + 8.0,
        told.join(", ")
    );
    for band in &outcome.bands {
        let (from, to, state) = (x(band.from), x(band.to), escaped(&band.state));
        svg += &format!(
            "<rect class=\"{state}\" x=\"{from:.1}\" width=\"{:.1}\" height=\"26\">\
             <title>{state}, {} to {}</title></rect>\n",
            (to - from).max(1.0),
            span(band.from),
            span(band.to)
        );
        // About as wide as its letters are, at the size in the style.
        if to - from > 8.0 * band.state.len() as f64 {
            svg += &format!("<text x=\"{:.1}\" y=\"17\">{state}</text>\n", from + 4.0);
        }
    }
    for (number, (told, (_, at))) in told.iter().zip(&marks).enumerate() {
        let (x, y) = (x(*at), 40 + number * LABEL_HEIGHT);
        // Text in the right half stands on the left of its line.
        let (anchor, offset) = if x > WIDTH / 2.0 { ("end", -4.0) } else { ("start", 4.0) };
        svg += &format!(
            "<path d=\"M{x:.1} 0V{y}\"/><text x=\"{:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{told}\
             </text>\n",
            x + offset,
            y + 1
        );
    }
    svg + "</svg>\n"
}
