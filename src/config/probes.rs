//! The probes: what to ask for each role, and how often.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};

use super::document::{Value, What};
use super::section::Section;
use super::{HttpProbe, Probe, ProbeTarget, Probes, values};
use crate::gather::gather;
use crate::supervisor::ProbePolicy;

/// The keys that say what is probed: exactly one of them.
pub(super) const KINDS: &[&str] = &["http", "tcp", "exec", "file"];

/// The keys that only an HTTP probe has.
const HTTP_ONLY: &[&str] = &[
    "unix_socket",
    "headers",
    "expect_status",
    "expect_header",
    "expect_body",
    "expect_json",
    "ca",
];

/// What to ask and how often, role by role.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    pub(super) probes: Probes,
    pub(super) startup: Option<ProbePolicy>,
    pub(super) liveness: Option<ProbePolicy>,
    pub(super) readiness: Option<ProbePolicy>,
}

pub(super) fn rounds(service: &Section<'_>) -> Rounds {
    let all = service.section("probe");
    let section = |role| all.section(role);
    let (startup, liveness, readiness) =
        (section("startup"), section("liveness"), section("readiness"));

    let live = target(&liveness).or_else(|| health(service, &liveness));
    let ready = target(&readiness);
    // The same question, asked more often, until it is answered well for the first time.
    let start = target(&startup).or_else(|| live.clone());
    for (role, target) in [(&startup, &start), (&liveness, &live), (&readiness, &ready)] {
        if role.exists() && target.is_none() {
            role.problem(
                "has no target: give it one of http, tcp, exec or file, or give the service health",
            );
        }
    }

    let live_timeout = timeout(&liveness);
    let start_timeout = startup.get("timeout", values::span).unwrap_or(live_timeout);
    let probe =
        |target: Option<ProbeTarget>, timeout| target.map(|target| Probe { target, timeout });
    for section in [&liveness, &readiness] {
        doubt_overlap(section);
    }
    Rounds {
        startup: start.as_ref().map(|_| rhythm(&startup, start_timeout)),
        liveness: live.as_ref().map(|_| rhythm(&liveness, live_timeout)),
        readiness: ready.as_ref().map(|_| rhythm(&readiness, timeout(&readiness))),
        probes: Probes {
            startup: probe(start, start_timeout),
            liveness: probe(live, live_timeout),
            readiness: probe(ready, timeout(&readiness)),
        },
    }
}

fn timeout(section: &Section<'_>) -> Duration {
    section.read("timeout", values::span)
}

fn rhythm(section: &Section<'_>, timeout: Duration) -> ProbePolicy {
    let count = |key| section.get(key, values::count).unwrap_or(1);
    let period = section.read("period", values::span);
    ProbePolicy {
        period,
        timeout,
        failure_threshold: count("failure_threshold"),
        success_threshold: count("success_threshold"),
    }
}

fn doubt_overlap(section: &Section<'_>) {
    const LATE: &str = "a probe that times out delays the next";
    let period = section.read("period", values::span);
    let timeout = timeout(section);
    if timeout > period {
        let (period, timeout) =
            (humantime::format_duration(period), humantime::format_duration(timeout));
        if section.given("timeout").is_some() {
            section.doubt("timeout", &format!("is longer than the period, {period}: {LATE}"));
        } else {
            section.doubt("period", &format!("is shorter than the timeout, {timeout}: {LATE}"));
        }
    }
}

/// What `health` asks, with whatever else the liveness probe expects.
fn health(service: &Section<'_>, liveness: &Section<'_>) -> Option<ProbeTarget> {
    let url = service.get("health", values::url)?;
    Some(http(liveness, url))
}

fn target(section: &Section<'_>) -> Option<ProbeTarget> {
    let kinds: Vec<_> = KINDS.iter().filter(|kind| section.given(kind).is_some()).collect();
    if let [first, second, ..] = kinds[..] {
        section.wrong(second, &format!("comes beside {first}: a probe has exactly one target"));
    }
    let kind = **kinds.first()?;
    let strangers = HTTP_ONLY.iter().filter(|_| kind != "http");
    let strangers = strangers.chain(["within"].iter().filter(|_| kind != "file"));
    for key in strangers.filter(|key| section.given(key).is_some()) {
        section.wrong(key, &format!("does not go with a probe of kind {kind}: take it out"));
    }
    match kind {
        "http" => section.get(kind, values::url).map(|url| http(section, url)),
        "tcp" => {
            section.get(kind, values::endpoint).map(|(host, port)| ProbeTarget::Tcp { host, port })
        }
        "exec" => section.get(kind, values::argv).map(|argv| ProbeTarget::Exec { argv }),
        _ => {
            if section.given("within").is_none() {
                section.problem(r#"has a file but no within: add within = "30s""#);
            }
            let path = section.path(kind)?;
            Some(ProbeTarget::File { path, within: section.read("within", values::span) })
        }
    }
}

fn http(section: &Section<'_>, url: String) -> ProbeTarget {
    let lower_case = |headers: BTreeMap<String, String>| {
        gather(headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)))
    };
    ProbeTarget::Http(Box::new(HttpProbe {
        url,
        unix_socket: section.path("unix_socket"),
        headers: section.map("headers", header),
        expect_status: section.read("expect_status", values::status_set),
        expect_header: lower_case(section.map("expect_header", header)),
        expect_body: section.get("expect_body", values::text),
        expect_json: section.map("expect_json", values::expectation),
        ca: section.path("ca"),
    }))
}

pub(super) fn header(name: &str, value: &Value) -> Result<String, String> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| "is not a header name")?;
    let What::Text(text) = &value.what else { return Err("is not text: put it in quotes".into()) };
    HeaderValue::from_str(text).map_err(|_| "holds characters that a header cannot have")?;
    Ok(text.clone())
}
