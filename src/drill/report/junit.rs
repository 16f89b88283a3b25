//! The report for CI: one test case a scenario, its time the recovery.

use std::fmt::{self, Write as _};

use super::Report;
use crate::drill::Verdict;
use crate::text::escaped;

pub(super) fn write(report: &Report, xml: &mut String) -> fmt::Result {
    let errors = usize::from(report.is_interrupted());
    let (all, failed, skipped) =
        (report.outcomes.len() + errors, report.failed(), report.skipped());
    writeln!(
        xml,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites>\n<testsuite name=\"rekindle drill\" tests=\"{all}\" failures=\"{failed}\" \
         errors=\"{errors}\" skipped=\"{skipped}\">"
    )?;
    for outcome in &report.outcomes {
        let name = escaped(&outcome.title());
        let time = outcome.marks.first_pass.unwrap_or_default().as_secs_f64();
        write!(xml, "<testcase classname=\"drill\" name=\"{name}\" time=\"{time:.3}\"")?;
        let remarks = escaped(&outcome.remarks().join("; "));
        match outcome.verdict {
            Verdict::Passed => writeln!(xml, "/>")?,
            Verdict::Failed(_) => writeln!(xml, "><failure message=\"{remarks}\"/></testcase>")?,
            Verdict::Skipped(_) => writeln!(xml, "><skipped message=\"{remarks}\"/></testcase>")?,
        }
    }
    if let Some(why) = report.interruption() {
        writeln!(
            xml,
            "<testcase classname=\"drill\" name=\"interrupted\"><error message=\"{why}\"/></testcase>"
        )?;
    }
    writeln!(xml, "</testsuite>\n</testsuites>")
}
