//! The page at `/`: what whoever is paged must know within ten seconds, and then the rest.
//!
//! Pure: from a [`View`] to HTML, as a whole or in parts. It works without its script; with it, each
//! part that has changed is put in place as it was made here, so that there is one renderer, and
//! durations go on by the supervisor's clock rather than the browser's. Nothing on it can be
//! operated, and it fetches nothing but what stands here.
//!
//! A live region must be there before it changes and must not change without news: the state's word
//! and the alert are parts of their own.

mod state;
mod view;
mod words;

use crate::text::escaped;

pub use view::{ServiceView, View};

/// The rules that the page sets its browser: its own style and script, and no other source.
pub const POLICY: &str = "default-src 'none'; \
     style-src 'sha256-WxUe/Y8B9uo4NzUBctcf2BnT/Rd6ojhf6yIrraF/zSk='; \
     script-src 'sha256-Q59nro7Ai8ay+u/gDS3CE6pN5zWudAGaYGaeRKYboNQ='; \
     connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// Where else to look; relative, so that a proxy may put all of it below a path.
const LINKS: &str = "<nav aria-label=\"More\"><a href=\"status\">status as JSON</a> \
     <a href=\"metrics\">metrics</a> <a href=\"readyz?verbose\">readiness</a></nav>";

/// A piece of the page that may change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// The element that it fills.
    pub id: String,
    /// What it is filled with, on one line: HTML, or an address for `icon`, a word for `page`.
    pub html: String,
}

/// A part of a service's section: its name, its element, and what fills that.
type Row = (&'static str, &'static str, fn(&View, &ServiceView) -> String);

const ROWS: &[Row] = &[
    ("mark", "div class=\"mark\"", |_, service| state::mark(service)),
    ("word", "p class=\"word\" role=\"status\"", |_, service| state::word(service)),
    ("next", "p class=\"next\"", state::next),
    ("alert", "p class=\"alert\" role=\"alert\"", state::alert),
];

/// The whole page.
pub fn document(view: &View) -> String {
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\" id=\"page\" data-page=\"{}\">\n<head>\n\
         <meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript>\n\
         <title id=\"title\">{}</title>\n<link id=\"icon\" rel=\"icon\" href=\"{}\">\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<header><p>Rekindle</p>\
         <p id=\"live\"><noscript>reloads every 10 s</noscript></p></header>\n<main>\n",
        view.version,
        state::title(view),
        state::icon(view),
    );
    for (number, service) in view.services.iter().enumerate() {
        let name = escaped(&service.status.service);
        html +=
            &format!("<section aria-labelledby=\"s{number}\">\n<h1 id=\"s{number}\">{name}</h1>\n");
        for (id, element, fill) in ROWS {
            let tag = element.split(' ').next().unwrap_or_default();
            let filled = fill(view, service);
            html += &format!("<{element} id=\"s{number}-{id}\">{filled}</{tag}>\n");
        }
        html += "</section>\n";
    }
    let about = state::about(view);
    html += &format!("</main>\n<footer>\n<p id=\"about\">{about}</p>\n{LINKS}\n</footer>\n");
    html + "<script>" + SCRIPT + "</script>\n</body>\n</html>\n"
}

/// All that may change on it.
pub fn parts(view: &View) -> Vec<Part> {
    let part = |id: &str, html| Part { id: id.to_owned(), html };
    let mut parts = vec![
        part("page", view.version.to_owned()),
        part("title", state::title(view)),
        part("icon", state::icon(view)),
    ];
    for (number, service) in view.services.iter().enumerate() {
        parts.extend(
            ROWS.iter().map(|(id, _, fill)| part(&format!("s{number}-{id}"), fill(view, service))),
        );
    }
    parts.push(part("about", state::about(view)));
    parts
}

#[cfg(test)]
mod tests;
