//! The report for people: one line a scenario, then what was wrong.

use super::{Report, span};

pub(super) fn write(report: &Report) -> String {
    let titles: Vec<_> = report.outcomes.iter().map(super::Outcome::title).collect();
    let width = titles.iter().map(String::len).chain(["scenario".len()]).max().unwrap_or(0);
    let mut text = format!("{:width$}  detected after  recovered after  verdict\n", "scenario");
    for (title, outcome) in titles.iter().zip(&report.outcomes) {
        let time = |mark| Option::map_or(mark, "-".to_owned(), span);
        let (detected, recovered) = (time(outcome.marks.detected), time(outcome.marks.first_pass));
        let word = outcome.word();
        text += &format!("{title:width$}  {detected:>14}  {recovered:>15}  {word}\n");
        for remark in outcome.remarks() {
            text += &format!("{:width$}  {remark}\n", "");
        }
    }
    text += &format!("\n{}\ndone {}, seed {}\n", report.summary(), report.place(), report.seed);
    text
}
