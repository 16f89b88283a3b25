//! `[notify]`: who is told of incidents.

use super::document::Value;
use super::section::Section;
use super::{Command, Notify, Webhook, probes, values};

/// The headers that say how a document is sent.
const OURS: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "transfer-encoding",
];

pub(super) fn notify(section: &Section<'_>) -> Notify {
    let active = section.read("active", values::switch);
    let url = section.get("webhook", values::url);
    let webhook = url.map(|url| Webhook {
        url,
        headers: section.map("headers", header),
        timeout: section.read("webhook_timeout", values::span),
    });
    let exec = section
        .get("exec", values::argv)
        .map(|argv| Command { argv, timeout: section.read("exec_timeout", values::span) });
    for (key, needs, missing) in [
        ("headers", "webhook", webhook.is_none()),
        ("webhook_timeout", "webhook", webhook.is_none()),
        ("exec_timeout", "exec", exec.is_none()),
    ] {
        if missing && section.differs(key) {
            section.doubt(key, &format!("has no effect without {needs}"));
        }
    }
    if active { Notify { webhook, exec } } else { Notify::default() }
}

fn header(name: &str, value: &Value) -> Result<String, String> {
    if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
        return Err("is set by us: leave it out".into());
    }
    probes::header(name, value)
}
