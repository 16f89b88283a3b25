//! The report as a page of its own: no script, no other file, a picture of each scenario.

use std::cmp::Reverse;
use std::fmt::{self, Write as _};
use std::time::Duration;

use super::{Outcome, Report, span};
use crate::drill::{Band, Verdict};
use crate::supervisor::State;
use crate::text::escaped;

/// The pictures' width in their own units; all have the same, each has its own scale.
const WIDTH: f64 = 800.0;

/// How high a line of text is, and how wide it can be.
const LABEL_HEIGHT: usize = 16;
const LABEL_WIDTH: f64 = 160.0;

/// How high the band of states is.
const BAND_HEIGHT: usize = 26;

pub(super) fn write(report: &Report, html: &mut String) -> fmt::Result {
    write!(
        html,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Rekindle drill</title>\n\
         <style>\n{}</style>\n<h1>Drill: {}</h1>\n<p>{}{}<br>Done {}, seed {}.</p>\n\
         <table>\n<tr><th>Scenario<th>Stands for<th>Detected after<th>Recovered after<th>Verdict\n",
        include_str!("page.css"),
        if report.has_passed() { "passed" } else { "failed" },
        report.interruption().map_or_else(String::new, |line| line + "<br>"),
        escaped(&report.summary()),
        escaped(&report.place()),
        report.seed,
    )?;
    for (number, outcome) in report.outcomes.iter().enumerate() {
        let time = |mark| Option::map_or(mark, "–".to_owned(), span);
        let (detected, recovered) = (time(outcome.marks.detected), time(outcome.marks.first_pass));
        let (title, simulates) = (outcome.title(), escaped(outcome.scenario.simulates));
        let (class, word) = (class(outcome), outcome.word());
        writeln!(
            html,
            "<tr><td><a href=\"#s{number}\">{title}</a><td>{simulates}<td>{detected}\
             <td>{recovered}<td class=\"{class}\">{word}"
        )?;
    }
    html.push_str("</table>\n<p class=\"legend\">");
    for state in State::ALL.iter().map(|state| state.label()).chain(["off"]) {
        write!(html, "<span class=\"{state}\">{state}</span> ")?;
    }
    html.push_str("</p>\n");
    for (number, outcome) in report.outcomes.iter().enumerate() {
        let simulates = escaped(outcome.scenario.simulates);
        let (title, class, word) = (outcome.title(), class(outcome), outcome.word());
        write!(
            html,
            "<section id=\"s{number}\">\n<h2>{title}: <span class=\"{class}\">{word}</span></h2>\n\
             <p>{simulates}</p>\n"
        )?;
        for remark in outcome.remarks() {
            writeln!(html, "<p class=\"{class}\">{}</p>", escaped(&remark))?;
        }
        picture(outcome, html)?;
        html.push_str("</section>\n");
    }
    html.push_str("</html>\n");
    Ok(())
}

fn class(outcome: &Outcome) -> &'static str {
    match outcome.verdict {
        Verdict::Passed => "good",
        Verdict::Failed(_) => "bad",
        Verdict::Skipped(_) => "skipped",
    }
}

/// The states as a band, and below it a line for each mark.
fn picture(outcome: &Outcome, svg: &mut String) -> fmt::Result {
    let marks = [("fault", Some(Duration::ZERO))].into_iter().chain(outcome.marks.named());
    let mut marks: Vec<_> = marks.filter_map(|(name, mark)| Some((mark?, name))).collect();
    let ends = outcome.bands.iter().map(|band| band.to).chain(marks.iter().map(|(at, _)| *at));
    let end = ends.max().unwrap_or_default();
    if end.is_zero() {
        return Ok(());
    }
    // The last one on top: no line crosses the text of another then.
    marks.sort_by_key(|(at, _)| Reverse(*at));
    let told: Vec<_> = marks.iter().map(|(at, name)| format!("{name} {}", span(*at))).collect();
    let (width, height) = (WIDTH + LABEL_WIDTH, BAND_HEIGHT + (marks.len() + 1) * LABEL_HEIGHT);
    let label = told.join(", ");
    writeln!(svg, "<svg viewBox=\"-1 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">")?;
    let x = |at: Duration| at.as_secs_f64() / end.as_secs_f64() * WIDTH;
    for Band { state, from, to } in &outcome.bands {
        let (left, wide) = (x(*from), x(*to) - x(*from));
        let (from, to) = (span(*from), span(*to));
        writeln!(
            svg,
            "<rect class=\"{state}\" x=\"{left:.1}\" width=\"{wide:.1}\" height=\"{BAND_HEIGHT}\">\
             <title>{state}, {from} to {to}</title></rect>"
        )?;
    }
    for (row, (told, (at, _))) in told.iter().zip(&marks).enumerate() {
        let (x, y) = (x(*at), BAND_HEIGHT + (row + 1) * LABEL_HEIGHT);
        let text = x + 4.0;
        writeln!(svg, "<path d=\"M{x:.1} 0V{y}\"/><text x=\"{text:.1}\" y=\"{y}\">{told}</text>")?;
    }
    svg.push_str("</svg>\n");
    Ok(())
}
