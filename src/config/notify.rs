//! `[notify]`: who is told of incidents.

use super::section::Section;
use super::{Command, Notify, Webhook, probes, values};

pub(super) fn notify(section: &Section<'_>) -> Notify {
    let active = section.read("active", values::switch);
    let url = section.get("webhook", values::url);
    let webhook = url.map(|url| Webhook {
        url,
        headers: section.map("headers", probes::header),
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
