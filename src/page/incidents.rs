//! The current incident with its timeline, and the last ones.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::view::{ServiceView, View};
use super::words::{plain, shown, span, time};
use crate::incident::{Incident, Step};
use crate::metrics::seconds;

/// So many steps are shown at most: the first ones, and the last ones.
const FIRST_STEPS: usize = 4;
const LAST_STEPS: usize = 16;

/// So many incidents are shown.
const PAST: usize = 10;

/// What is known of the outage that is under way.
pub(super) fn current(_: &View, service: &ServiceView, html: &mut String) -> fmt::Result {
    let Some(incident) = service.status.incident.as_deref() else { return Ok(()) };
    write!(html, "<h2>Current incident</h2><p>{}</p>", shown(&incident.summary))?;
    let noticed = span(seconds(incident.detected_after_seconds));
    write!(html, "<p class=\"note\">{}: noticed after {noticed}", shown(&incident.id))?;
    if let Some(holder) = &incident.port_holder {
        write!(html, "; its port is held by pid {} ({})", holder.pid, shown(&holder.name))?;
    }
    html.push_str("</p>");
    timeline(incident, html)
}

fn timeline(incident: &Incident, html: &mut String) -> fmt::Result {
    let steps = &incident.timeline;
    if steps.is_empty() {
        return Ok(());
    }
    html.push_str("<ol>");
    let left_out = steps.len().saturating_sub(FIRST_STEPS + LAST_STEPS);
    let more = left_out + usize::try_from(incident.steps_left_out).unwrap_or_default();
    for (index, Step { after_seconds, what, detail }) in steps.iter().enumerate() {
        if more > 0 && index == FIRST_STEPS {
            write!(html, "<li><span></span><span>… {more} more</span></li>")?;
        }
        if (FIRST_STEPS..FIRST_STEPS + left_out).contains(&index) {
            continue;
        }
        let sign = if *after_seconds < 0.0 { '−' } else { '+' };
        let (after, what, detail) =
            (span(seconds(after_seconds.abs())), plain(what), shown(detail));
        write!(html, "<li><span>{sign}{after}</span><b>{what}</b><span>{detail}</span></li>")?;
    }
    html.write_str("</ol>")
}

/// The last incidents that are over.
pub(super) fn past(_: &View, service: &ServiceView, html: &mut String) -> fmt::Result {
    let incidents = &service.status.incidents;
    html.push_str("<h2>Last incidents</h2>");
    if incidents.is_empty() {
        return html.write_str("<p class=\"note\">None is remembered.</p>");
    }
    html.push_str(
        "<table><thead><tr><th scope=\"col\">Began</th><th scope=\"col\">Down for</th>\
         <th scope=\"col\">Cause</th><th scope=\"col\">What happened</th></tr></thead><tbody>",
    );
    for incident in incidents.iter().take(PAST) {
        let end = incident.end.as_ref();
        let lasted = end.map_or(Duration::ZERO, |end| seconds(end.after_seconds));
        let how = end.map(|end| end.how.as_str()).filter(|how| *how != "healed");
        let how = how.map_or(String::new(), |how| format!(", {}", plain(how)));
        let (began, cause) = (time(&incident.began), plain(&incident.cause));
        let (lasted, summary) = (span(lasted), shown(&incident.summary));
        write!(
            html,
            "<tr><th scope=\"row\">{began}</th><td data-of=\"Down for\">{lasted}{how}</td>\
             <td data-of=\"Cause\">{cause}</td><td>{summary}</td></tr>"
        )?;
    }
    html.write_str("</tbody></table>")
}
