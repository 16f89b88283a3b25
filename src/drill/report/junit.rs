//! The report for CI: one test case a scenario, its time the recovery.

use super::{Report, escaped};
use crate::drill::Verdict;

pub(super) fn write(report: &Report) -> String {
    let (all, failed, skipped) = (report.outcomes.len(), report.failed(), report.skipped());
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites>\n<testsuite name=\"rekindle drill\" tests=\"{all}\" failures=\"{failed}\" \
         errors=\"0\" skipped=\"{skipped}\">\n"
    );
    for outcome in &report.outcomes {
        let name = escaped(&outcome.title());
        let time = outcome.marks.first_pass.unwrap_or_default().as_secs_f64();
        xml += &format!("<testcase classname=\"drill\" name=\"{name}\" time=\"{time:.3}\"");
        let remarks = escaped(&outcome.remarks().join("; "));
        xml += &match outcome.verdict {
            Verdict::Passed => "/>\n".to_owned(),
            Verdict::Failed(_) => format!("><failure message=\"{remarks}\"/></testcase>\n"),
            Verdict::Skipped(_) => format!("><skipped message=\"{remarks}\"/></testcase>\n"),
        };
    }
    xml + "</testsuite>\n</testsuites>\n"
}
