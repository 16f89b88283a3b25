//! Configurations for tests: quick defaults, and one `key = value` line for what a test is about.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::REKINDLE;

/// A configuration of one service, `gateway`, as dotted TOML keys.
#[derive(Clone)]
pub(crate) struct Config {
    supervisor: BTreeMap<String, String>,
    notify: BTreeMap<String, String>,
    service: BTreeMap<String, String>,
}

impl Config {
    /// Supervises `/bin/sh -c text`, without a probe and without a boot hook.
    pub(crate) fn script(text: &str) -> Self {
        Self::command(&["/bin/sh", "-c", text])
    }

    /// Supervises the demo gateway on `port`, with probes of its `/health`.
    pub(crate) fn demo(port: u16) -> Self {
        Self::demo_with(port, &[])
    }

    /// The same, with further arguments for the demo gateway.
    pub(crate) fn demo_with(port: u16, arguments: &[&str]) -> Self {
        let port = port.to_string();
        let mut argv = vec![REKINDLE, "demo-gateway", "--port", &port];
        argv.extend(arguments);
        Self::command(&argv).probing(&format!("http = \"http://127.0.0.1:{port}/health\""))
    }

    /// Supervises any command, without a probe and without a boot hook.
    pub(crate) fn command(argv: &[&str]) -> Self {
        Self { supervisor: BTreeMap::new(), notify: BTreeMap::new(), service: BTreeMap::new() }
            .supervisor(
                r#"
                name = "it"
                listen = "off"
                log_level = "debug"
                "#,
            )
            .with(
                r#"
                boot_hook = false
                startup_timeout = "20s"
                settle = "300ms"
                stop_timeout = "5s"
                unhealthy_stop_timeout = "2s"
                slow_retry = "1h"
                max_doubt = "3s"
                backoff.initial = "100ms"
                backoff.max = "400ms"
                backoff.jitter = 0.0
                backoff.stable_after = "2s"
                "#,
            )
            // Rust's and TOML's basic strings agree on the escapes that occur here.
            .with(&format!("command = {argv:?}"))
    }

    /// Adds a startup and a liveness probe of this kind, each quick.
    pub(crate) fn probing(self, kind: &str) -> Self {
        let text = format!(
            r#"
            probe.startup.{kind}
            probe.startup.period = "100ms"
            probe.startup.timeout = "1s"
            probe.liveness.{kind}
            probe.liveness.period = "100ms"
            probe.liveness.timeout = "1s"
            probe.liveness.failure_threshold = 2
            "#
        );
        self.with(&text)
    }

    /// Sets keys of the service, one `key = value` a line.
    pub(crate) fn with(mut self, lines: &str) -> Self {
        self.service.extend(pairs(lines));
        self
    }

    /// Sets keys of `[supervisor]`, one `key = value` a line.
    pub(crate) fn supervisor(mut self, lines: &str) -> Self {
        self.supervisor.extend(pairs(lines));
        self
    }

    /// Sets keys of `[notify]`, one `key = value` a line.
    pub(crate) fn notify(mut self, lines: &str) -> Self {
        self.notify.extend(pairs(lines));
        self
    }

    /// Serves the HTTP port too (tests otherwise ask through the control socket).
    pub(crate) fn listen(self, port: u16) -> Self {
        self.supervisor(&format!("listen = \"127.0.0.1:{port}\""))
    }

    /// The configuration file.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (table, keys) in [
            ("supervisor", &self.supervisor),
            ("notify", &self.notify),
            ("service.gateway", &self.service),
        ] {
            writeln!(text, "[{table}]").expect("a String takes all");
            for (key, value) in keys {
                writeln!(text, "{key} = {value}").expect("a String takes all");
            }
        }
        text
    }
}

fn pairs(lines: &str) -> impl Iterator<Item = (String, String)> {
    lines.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| {
        let (key, value) = line.split_once(" = ").expect("a line is `key = value`");
        (key.to_owned(), value.to_owned())
    })
}
