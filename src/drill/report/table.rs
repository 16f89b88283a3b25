//! The report for people: one line a scenario, then what was wrong.

use std::fmt::{self, Write as _};

use super::{Outcome, Report, span};

pub(super) fn write(report: &Report, text: &mut String) -> fmt::Result {
    let titles: Vec<_> = report.outcomes.iter().map(Outcome::title).collect();
    let width = titles.iter().map(String::len).chain(["scenario".len()]).max().unwrap_or(0);
    writeln!(text, "{:width$}  detected after  recovered after  verdict", "scenario")?;
    for (title, outcome) in titles.iter().zip(&report.outcomes) {
        let time = |mark| Option::map_or(mark, "-".to_owned(), span);
        let (detected, recovered) = (time(outcome.marks.detected), time(outcome.marks.first_pass));
        let word = outcome.word();
        writeln!(text, "{title:width$}  {detected:>14}  {recovered:>15}  {word}")?;
        for remark in outcome.remarks() {
            writeln!(text, "{:width$}  {remark}", "")?;
        }
    }
    let (summary, place) = (report.summary(), report.place());
    let interruption = report.interruption().map_or_else(String::new, |line| line + "\n");
    writeln!(text, "\n{interruption}{summary}\ndone {place}, seed {}", report.seed)
}
