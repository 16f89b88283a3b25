//! Probes and their last answers, restarts, the last power cycle and the last drill.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::view::{ServiceView, View};
use super::words::{plain, shown, span, time_at};

/// The last answer of each probe.
pub(super) fn probes(view: &View, service: &ServiceView, html: &mut String) -> fmt::Result {
    html.push_str("<h2>Probes</h2>");
    let probes = &service.status.probes;
    if probes.is_empty() {
        return html.write_str("<p class=\"note\">None has been answered in this run.</p>");
    }
    html.push_str("<table>");
    if let Some([half, most, nearly_all]) = service.latency.map(|latency| latency.map(span)) {
        write!(
            html,
            "<caption>Liveness in this run: half of the answers within {half}, 95 % within {most}, \
             99 % within {nearly_all}.</caption>"
        )?;
    }
    html.push_str(
        "<thead><tr><th scope=\"col\">Probe</th><th scope=\"col\">Last answer</th>\
         <th scope=\"col\">Took</th><th scope=\"col\">At</th>\
         <th scope=\"col\">Failures in a row</th></tr></thead><tbody>",
    );
    for (role, answer) in probes {
        let (detail, took) = (shown(&answer.detail), span(answer.took));
        let at = time_at(view.at(answer.at));
        write!(
            html,
            "<tr><th scope=\"row\">{role}</th><td>{detail}</td><td data-of=\"Took\">{took}</td>\
             <td data-of=\"At\">{at}</td><td data-of=\"Failures in a row\">{}</td></tr>",
            answer.failures
        )?;
    }
    html.write_str("</tbody></table>")
}

/// What has happened so far.
pub(super) fn so_far(view: &View, service: &ServiceView, html: &mut String) -> fmt::Result {
    let status = &service.status;
    html.push_str("<h2>So far</h2><dl>");
    fact(html, "Restarts by reason", &restarts(service))?;
    fact(html, "Restarts avoided in this run", &status.counts.restarts_avoided.to_string())?;
    let exit = status
        .last_exit
        .as_ref()
        .map(|exit| format!("{}, {}", shown(&exit.how), time_at(view.at(exit.at))));
    fact(html, "Last exit in this run", exit.as_deref().unwrap_or("none"))?;
    let power = service.power_cycle.map(|(at, took)| power_cycle(at, took, status.objective));
    fact(html, "Last power cycle", power.as_deref().unwrap_or("none"))?;
    let drill = service.drill.map(|(at, success)| drill(at, success, status.objective));
    fact(html, "Last drill", drill.as_deref().unwrap_or("none"))?;
    html.write_str("</dl>")
}

fn fact(html: &mut String, name: &str, value: &str) -> fmt::Result {
    write!(html, "<div><dt>{name}</dt><dd>{value}</dd></div>")
}

fn restarts(service: &ServiceView) -> String {
    let told = service.restarts.iter().map(|(reason, count)| format!("{} {count}", plain(reason)));
    let told: Vec<_> = told.collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

fn power_cycle(at: Duration, took: Option<Duration>, objective: Option<Duration>) -> String {
    let at = time_at(at);
    let Some(took) = took else { return at };
    let judged = objective.map_or(String::new(), |objective| {
        let word = if took <= objective { "within" } else { "beyond" };
        format!(", {word} the objective of {}", span(objective))
    });
    format!("{at}: healthy {} after the host booted{judged}", span(took))
}

fn drill(at: Duration, success: bool, objective: Option<Duration>) -> String {
    let (at, objective) = (time_at(at), objective.map(span));
    match (success, objective) {
        (true, Some(objective)) => format!("{at}: healed within the objective of {objective}"),
        (true, None) => format!("{at}: healed"),
        (false, Some(objective)) => format!("{at}: not healed within the objective of {objective}"),
        (false, None) => format!("{at}: not healed"),
    }
}
