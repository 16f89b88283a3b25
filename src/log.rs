//! The log: lines for people on a terminal, one JSON object a line otherwise.
//!
//! A line is made on the thread that logs and put into the bounded queue to stderr; nobody waits
//! for a reader. Lines carry the service and the reason word as fields. What is worth saying is
//! decided in `report.rs`.

use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::clock;
use crate::config::{LogFormat, LogLevel};
use crate::metrics::{Metric, Metrics};
use crate::output::{Lane, Queue, Stream, Writers};
use crate::text::one_line;
use crate::threads;

/// Starts logging to stderr, for the whole process and once; panics are logged too.
///
/// `RUST_LOG` (`level` or `target=level,…`) wins over `level`.
pub fn init(level: LogLevel, format: LogFormat, writers: &Writers, metrics: Arc<Metrics>) {
    let wish = std::env::var("RUST_LOG").ok().filter(|wish| !wish.is_empty());
    let parsed = wish.as_deref().map(str::parse::<Targets>);
    let unreadable =
        parsed.as_ref().and_then(|parsed| parsed.as_ref().err()).map(ToString::to_string);
    let targets = parsed.and_then(Result::ok).unwrap_or_else(|| default_targets(level));
    let layer = Lines {
        style: style(format, std::io::stderr().is_terminal()),
        queue: Arc::clone(writers.queue(Stream::Stderr)),
        metrics: Arc::clone(&metrics),
    };
    if tracing_subscriber::registry().with(layer.with_filter(targets)).try_init().is_err() {
        // Somebody (a test) logs already: theirs stays.
        return;
    }
    std::panic::set_hook(Box::new(move |panic| tell_panic(panic, &metrics)));
    if let Some(why) = unreadable {
        tracing::warn!("RUST_LOG is not understood and ignored: {why}");
    }
}

/// Ours at the wished level, libraries only from warnings up.
fn default_targets(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("rekindle", level)
}

/// Without this, a panic would be written to stderr by the panicking thread, which may block.
fn tell_panic(panic: &PanicHookInfo<'_>, metrics: &Metrics) {
    let current = std::thread::current();
    let thread = current.name().unwrap_or("unnamed");
    if let Some(helper) = threads::NAMES.iter().find(|name| **name == thread) {
        metrics.add(Metric::ThreadPanics, &[helper], 1);
    }
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("no message");
    tracing::error!(thread, place, "panic: {message}");
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Style {
    Json,
    Human { colour: bool },
}

fn style(format: LogFormat, terminal: bool) -> Style {
    match format {
        LogFormat::Json => Style::Json,
        LogFormat::Human => Style::Human { colour: terminal },
        LogFormat::Auto if terminal => Style::Human { colour: true },
        LogFormat::Auto => Style::Json,
    }
}

/// Turns events into lines.
struct Lines {
    style: Style,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let level = *event.metadata().level();
        if let Some(word) = counted(level) {
            self.metrics.add(Metric::LogMessages, &[word], 1);
        }
        let mut line = Line::default();
        event.record(&mut line);
        let text = match self.style {
            Style::Json => line.json(level, clock::wall()),
            Style::Human { colour } => line.human(level, clock::wall(), colour),
        };
        self.queue.push(Lane::Log, text.as_bytes());
    }
}

fn counted(level: Level) -> Option<&'static str> {
    if level == Level::ERROR {
        Some("error")
    } else if level == Level::WARN {
        Some("warn")
    } else {
        None
    }
}

/// One event, taken apart.
#[derive(Default)]
struct Line {
    message: String,
    fields: Map<String, Value>,
}

impl Line {
    fn json(self, level: Level, wall: Duration) -> String {
        let mut object = Map::new();
        object.insert("time".to_owned(), timestamp(wall).into());
        object.insert("level".to_owned(), level.as_str().to_lowercase().into());
        object.insert("message".to_owned(), self.message.into());
        object.extend(self.fields);
        Value::Object(object).to_string() + "\n"
    }

    /// `12:03:04.512 WARN  gateway: unhealthy … reason=probe_failed`
    fn human(mut self, level: Level, wall: Duration, colour: bool) -> String {
        let service = self.fields.remove("service");
        let service = service.as_ref().and_then(Value::as_str).map(|name| format!("{name}: "));
        let (paint, dim, plain) =
            if colour { (paint(level), "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
        let time = &timestamp(wall)[11..23];
        let mut text = format!("{dim}{time}{plain} {paint}{level:<5}{plain} ");
        text.extend(service.as_deref());
        text.push_str(&one_line(&self.message));
        for (key, value) in &self.fields {
            let value = value.as_str().map_or_else(|| value.to_string(), one_line);
            text.extend([" ", dim, key, "=", &value, plain]);
        }
        text + "\n"
    }

    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.fields.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        self.record_str(field, &text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.insert(field, value);
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }
}

fn paint(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

fn timestamp(wall: Duration) -> String {
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + wall).to_string()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;

    const WALL: Duration = Duration::from_millis(1_764_165_784_512);

    fn line() -> Line {
        let mut line = Line { message: "unhealthy\nafter 3".to_owned(), ..Line::default() };
        line.fields.insert("service".to_owned(), "gateway".into());
        line.fields.insert("reason".to_owned(), "probe_failed".into());
        line
    }

    #[test]
    fn a_json_line_is_one_object_with_time_level_message_and_fields() {
        let text = line().json(Level::WARN, WALL);
        assert_eq!(text.lines().count(), 1);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "time": "2025-11-26T14:03:04.512Z",
                "level": "warn",
                "message": "unhealthy\nafter 3",
                "service": "gateway",
                "reason": "probe_failed",
            })
        );
    }

    #[test]
    fn a_human_line_names_the_service_first_and_stays_one_line() {
        assert_eq!(
            line().human(Level::WARN, WALL, false),
            "14:03:04.512 WARN  gateway: unhealthy after 3 reason=probe_failed\n"
        );
        let coloured = line().human(Level::ERROR, WALL, true);
        assert!(coloured.contains("\x1b[31mERROR\x1b[0m"), "{coloured:?}");
    }

    #[test]
    fn what_is_logged_comes_out_as_a_line_and_is_counted() {
        let (mut out, write) = rustix::pipe::pipe().map(|(r, w)| (File::from(r), w)).unwrap();
        let writers = Writers::onto(File::create("/dev/null").unwrap(), write.into()).unwrap();
        let metrics = Arc::new(Metrics::new(&crate::report::tests::service()));
        let layer = Lines {
            style: Style::Json,
            queue: Arc::clone(writers.queue(Stream::Stderr)),
            metrics: Arc::clone(&metrics),
        };
        let layer = layer.with_filter(default_targets(LogLevel::Info));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::debug!("not wanted");
            tracing::warn!(service = "gateway", reason = "exit", code = 3_u8, "exited: {}", 3);
        });
        assert!(writers.flush(Duration::from_secs(10)));
        let mut buffer = [0; 1024];
        let read = out.read(&mut buffer).unwrap();
        let line: Value = serde_json::from_slice(&buffer[..read]).unwrap();
        assert_eq!(line["message"], "exited: 3");
        assert_eq!((&line["service"], &line["reason"]), (&"gateway".into(), &"exit".into()));
        assert_eq!(line["code"], 3);
        let page = metrics.page(&crate::metrics::Readings::default());
        assert!(page.contains("rekindle_log_messages_total{level=\"warn\"} 1"), "{page}");
    }

    #[test]
    fn json_is_for_everything_that_is_not_a_terminal() {
        assert_eq!(style(LogFormat::Auto, false), Style::Json);
        assert_eq!(style(LogFormat::Auto, true), Style::Human { colour: true });
        assert_eq!(style(LogFormat::Human, false), Style::Human { colour: false });
        assert_eq!(style(LogFormat::Json, true), Style::Json);
    }

    #[test]
    fn libraries_are_quiet_unless_asked() {
        let targets = default_targets(LogLevel::Trace);
        assert!(targets.would_enable("rekindle::report", &Level::TRACE));
        assert!(!targets.would_enable("hyper", &Level::INFO));
        assert!(targets.would_enable("hyper", &Level::WARN));
        let quiet = default_targets(LogLevel::Error);
        assert!(!quiet.would_enable("hyper", &Level::WARN));
    }
}
