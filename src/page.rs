//! The page at `/`: what whoever is paged must know within ten seconds, and then the rest.
//!
//! Pure: from a [`View`] to HTML, as a whole or in parts. It works without its script; with it, each
//! part that has changed is put in place as it was made here, so that there is one renderer, and
//! durations go on by the supervisor's clock rather than the browser's. Nothing on it can be
//! operated, and it fetches nothing but what stands here.
//!
//! A live region must be there before it changes and must not change without news: the state's word
//! and the alert are parts of their own.

mod facts;
mod incidents;
mod state;
mod uptime;
mod view;
mod words;

use std::fmt::{self, Write as _};

pub use view::{ServiceView, View};

use words::shown;

/// The rules that the page sets its browser: its own style and script, and no other source.
pub const POLICY: &str = "default-src 'none'; \
     style-src 'sha256-yhmXBjwpWbO9jvPZrbBujxxv9hq+1k22GWuAb7BU7Ok='; \
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

/// Writes a part of a service's section.
type Writer = fn(&View, &ServiceView, &mut String) -> fmt::Result;

/// The parts of a service's section: name, element, and what fills it.
const ROWS: &[(&str, &str, Writer)] = &[
    ("mark", "div class=\"mark\"", state::mark),
    ("word", "p class=\"word\" role=\"status\"", state::word),
    ("next", "p class=\"next\"", state::next),
    ("alert", "p class=\"alert\" role=\"alert\"", state::alert),
    ("incident", "div", incidents::current),
    ("uptime", "div", uptime::availability),
    ("probes", "div", facts::probes),
    ("past", "div", incidents::past),
    ("facts", "div", facts::so_far),
];

/// The whole page.
pub fn document(view: &View) -> String {
    made(|html| write_document(view, html))
}

/// All that may change on it.
pub fn parts(view: &View) -> Vec<Part> {
    let part = |id: &str, html| Part { id: id.to_owned(), html };
    let mut parts = vec![
        part("page", view.version.to_owned()),
        part("title", made(|html| state::title(view, html))),
        part("icon", made(|html| state::icon(view, html))),
        part("warnings", made(|html| state::warnings(view, html))),
    ];
    for (number, service) in view.services.iter().enumerate() {
        parts.extend(ROWS.iter().map(|(id, _, write)| {
            part(&format!("s{number}-{id}"), made(|html| write(view, service, html)))
        }));
    }
    parts.push(part("about", made(|html| state::about(view, html))));
    parts
}

fn made(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
    let mut html = String::new();
    write(&mut html).expect("writing to a string does not fail");
    html
}

fn write_document(view: &View, html: &mut String) -> fmt::Result {
    write!(
        html,
        "<!DOCTYPE html>\n<html lang=\"en\" id=\"page\" data-page=\"{}\">\n<head>\n\
         <meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript>\n<title id=\"title\">",
        view.version
    )?;
    state::title(view, html)?;
    html.push_str("</title>\n<link id=\"icon\" rel=\"icon\" href=\"");
    state::icon(view, html)?;
    write!(
        html,
        "\">\n<style>{STYLE}</style>\n</head>\n<body>\n<header><p>Rekindle</p>\
         <p id=\"live\"><noscript>reloaded every 10 s</noscript></p></header>\n<main>\n\
         <div id=\"warnings\">"
    )?;
    state::warnings(view, html)?;
    html.push_str("</div>\n");
    for (number, service) in view.services.iter().enumerate() {
        let name = shown(&service.status.service);
        writeln!(
            html,
            "<section aria-labelledby=\"s{number}\">\n<h1 id=\"s{number}\">{name}</h1>"
        )?;
        for (id, element, write) in ROWS {
            write!(html, "<{element} id=\"s{number}-{id}\">")?;
            write(view, service, html)?;
            writeln!(html, "</{}>", element.split(' ').next().unwrap_or_default())?;
        }
        html.push_str("</section>\n");
    }
    html.push_str("</main>\n<footer>\n<p id=\"about\">");
    state::about(view, html)?;
    write!(html, "</p>\n{LINKS}\n</footer>\n<script>{SCRIPT}</script>\n</body>\n</html>\n")
}

#[cfg(test)]
mod tests;
