//! Records for people: a table of them, and one in full.
//!
//! Our own lines keep to 80 columns; what programs have written is as wide as they made it. The
//! files may have been changed by others: nothing in them drives the terminal.

use std::fmt::Write as _;

use crate::cli::status::{WIDTH, human_seconds};
use crate::incident::{Incident, ProbeAnswer};
use crate::text::{date, one_line, printable, short_line};

/// One line for each record, oldest first.
pub(super) fn table(records: &[Incident]) -> String {
    let mut page = Page::default();
    page.line(&row("ID", "WHEN (UTC)", "CAUSE", "LASTED", "WHAT"));
    for record in records {
        let id = record.id.rsplit('-').next().unwrap_or_default();
        let began = date(&record.began);
        let when = began.strip_suffix(" UTC").unwrap_or(&began);
        let what = record.summary.split("; ").next().unwrap_or_default();
        let (lasted, what) = match &record.end {
            Some(end) if end.how == "healed" => (human_seconds(end.after_seconds), what.to_owned()),
            Some(end) => (human_seconds(end.after_seconds), format!("({}) {what}", end.how)),
            None => (String::new(), what.to_owned()),
        };
        page.line(&row(id, when, &record.cause, &lasted, &what));
    }
    page.0
}

fn row(id: &str, when: &str, cause: &str, lasted: &str, what: &str) -> String {
    format!("{id:<4}  {when:<19}  {cause:<11}  {lasted:>7}  {what}")
}

/// All that a record holds.
pub(super) fn whole(record: &Incident) -> String {
    let mut page = Page::default();
    page.head(record);
    page.line("");
    page.line("timeline");
    let (first, left_out) = (10.min(record.timeline.len()), record.steps_left_out);
    for (index, step) in record.timeline.iter().enumerate() {
        if index == first && left_out > 0 {
            page.line(&format!("{:>13}  {left_out} steps are left out", "…"));
        }
        page.line(&format!("{}  {:<11}  {}", at(step.after_seconds), step.what, step.detail));
    }
    if !record.probes.is_empty() {
        page.line("");
        page.line("probes");
    }
    for probe in &record.probes {
        page.probe(probe);
    }
    for run in &record.hooks {
        page.line("");
        let detail = if run.detail.is_empty() { "" } else { ", " };
        let took = human_seconds(run.took_seconds);
        page.line(&format!("{}: {}{detail}{} after {took}", run.hook, run.result, run.detail));
        page.text(&run.output);
    }
    if let Some(capture) = &record.capture {
        page.section(&format!("capture: {}", capture.result), &capture.output);
    }
    page.section("last output of the attempt that failed last", &record.attempt_output);
    page.section("last output of the child before it went down", &record.output);
    page.0
}

/// A moment of the timeline, so many seconds after the beginning.
fn at(after_seconds: f64) -> String {
    format!("{after_seconds:>+11.3} s")
}

#[derive(Default)]
struct Page(String);

impl Page {
    /// A line of ours.
    fn line(&mut self, text: &str) {
        self.0 += short_line(text, WIDTH).trim_end();
        self.0.push('\n');
    }

    fn row(&mut self, label: &str, text: &str) {
        self.line(&format!("{label:<10}{text}"));
    }

    fn head(&mut self, record: &Incident) {
        self.row("incident", &format!("{}, service {}", record.id, record.service));
        // The one line that is not cut.
        writeln!(self.0, "{:<10}{}", "what", one_line(&record.summary)).ok();
        let exit = record.exit.as_ref().map_or(String::new(), |exit| format!(", {}", exit.how));
        self.row("cause", &format!("{}{exit}", record.cause));
        let detected = human_seconds(record.detected_after_seconds);
        self.row("began", &format!("{}, detected after {detected}", date(&record.began)));
        if let Some(end) = &record.end {
            let after = human_seconds(end.after_seconds);
            self.row("ended", &format!("{}, {} after {after}", date(&end.at), end.how));
        }
        self.row("attempts", &record.attempts.to_string());
        if let Some(holder) = &record.port_holder {
            self.row("port", &format!("held by pid {} ({})", holder.pid, holder.name));
        }
        for avoided in &record.avoided {
            let times = if avoided.times == 1 { "time" } else { "times" };
            self.row("avoided", &format!("{} {times}: {}", avoided.times, avoided.why));
        }
    }

    fn probe(&mut self, probe: &ProbeAnswer) {
        let ProbeAnswer { role, result, detail, .. } = probe;
        let took = human_seconds(probe.took_seconds);
        self.line(&format!("{}  {role:<9}  {result} ({took}) {detail}", at(probe.after_seconds)));
        self.text(&probe.body);
    }

    fn section(&mut self, title: &str, text: &str) {
        if !text.is_empty() {
            self.line("");
            self.line(title);
            self.text(text);
        }
    }

    /// What somebody else has written.
    fn text(&mut self, text: &str) {
        for line in printable(text).lines() {
            self.0 += "  | ";
            self.0 += line;
            self.0.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::{Avoided, Capture, End, Exit, HookRun, PortHolder, Step};

    fn record() -> Incident {
        let step = |after_seconds, what: &str, detail: &str| Step {
            after_seconds,
            what: what.to_owned(),
            detail: detail.to_owned(),
        };
        Incident {
            format: 1,
            id: "20261126-201851-123-9c0f".to_owned(),
            service: "gateway".to_owned(),
            cause: "unhealthy".to_owned(),
            summary: "3 probes failed in a row: bad_status 500; healed after 1m9s and 2 attempts"
                .to_owned(),
            began: "2026-11-26T20:18:51.123Z".to_owned(),
            detected_after_seconds: 20.0,
            end: Some(End {
                how: "healed".to_owned(),
                at: "2026-11-26T20:20:00.123Z".to_owned(),
                after_seconds: 69.0,
            }),
            attempts: 2,
            exit: Some(Exit { how: "signal 9".to_owned(), code: 137 }),
            port_holder: Some(PortHolder { pid: 4711, name: "node".to_owned() }),
            timeline: vec![
                step(-5.0, "avoided", "starved"),
                step(0.0, "broke", "\u{1b}[31m3 probes failed in a row\n"),
                step(20.0, "detected", ""),
            ],
            steps_left_out: 0,
            probes: vec![ProbeAnswer {
                after_seconds: 10.0,
                role: "liveness".to_owned(),
                result: "bad_status".to_owned(),
                detail: "status 500, expected 200-299".to_owned(),
                took_seconds: 0.02,
                body: "out of memory\nreally".to_owned(),
            }],
            hooks: vec![HookRun {
                hook: "boot_hook".to_owned(),
                result: "failure".to_owned(),
                detail: "code 3".to_owned(),
                took_seconds: 1.5,
                output: "no disk\n".to_owned(),
            }],
            avoided: vec![Avoided { why: "starved".to_owned(), times: 2 }],
            capture: Some(Capture {
                result: "success".to_owned(),
                took_seconds: 0.1,
                output: "stack".to_owned(),
            }),
            output: "last\u{1b}[2J words\n".to_owned(),
            attempt_output: "again\n".to_owned(),
        }
    }

    #[test]
    fn a_record_in_full_reads_from_the_top() {
        insta::assert_snapshot!(whole(&record()), @r"
        incident  20261126-201851-123-9c0f, service gateway
        what      3 probes failed in a row: bad_status 500; healed after 1m9s and 2 attempts
        cause     unhealthy, signal 9
        began     2026-11-26 20:18:51 UTC, detected after 20 s
        ended     2026-11-26 20:20:00 UTC, healed after 1m9s
        attempts  2
        port      held by pid 4711 (node)
        avoided   2 times: starved

        timeline
             -5.000 s  avoided      starved
             +0.000 s  broke         [31m3 probes failed in a row
            +20.000 s  detected

        probes
            +10.000 s  liveness   bad_status (20 ms) status 500, expected 200-299
          | out of memory
          | really

        boot_hook: failure, code 3 after 1.5 s
          | no disk

        capture: success
          | stack

        last output of the attempt that failed last
          | again

        last output of the child before it went down
          | last words
        ");
    }

    #[test]
    fn the_table_keeps_to_eighty_columns() {
        let stopped = Incident {
            end: Some(End { how: "stopped".to_owned(), at: String::new(), after_seconds: 7.25 }),
            cause: "power_cycle".to_owned(),
            summary: "x".repeat(100),
            ..record()
        };
        let table = table(&[record(), stopped, Incident::default()]);
        assert!(table.lines().all(|line| line.chars().count() <= WIDTH), "{table}");
        insta::assert_snapshot!(table, @r"
        ID    WHEN (UTC)           CAUSE         LASTED  WHAT
        9c0f  2026-11-26 20:18:51  unhealthy       1m9s  3 probes failed in a row: ba…
        9c0f  2026-11-26 20:18:51  power_cycle    7.2 s  (stopped) xxxxxxxxxxxxxxxxxx…
        ");
    }

    #[test]
    fn steps_that_were_left_out_are_counted_where_they_were() {
        let mut record = record();
        record.timeline = vec![record.timeline[0].clone(); 50];
        record.steps_left_out = 3_947;
        let page = whole(&record);
        let lines: Vec<_> = page.lines().collect();
        let at = lines.iter().position(|line| line.contains("3947 steps are left out"));
        let timeline = lines.iter().position(|line| *line == "timeline").unwrap();
        assert_eq!(at, Some(timeline + 11), "{page}");
    }
}
