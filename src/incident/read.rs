//! Reads a record that was written down, by this or another version.
//!
//! By hand and leniently: what is not there, or is something else, counts as unknown, and costs
//! nothing but itself. (Derived, the same would be five times as large in the program.)

use serde_json::Value;

use super::{Avoided, Capture, End, Exit, HookRun, Incident, PortHolder, ProbeAnswer, Step};

/// The record in a line, if there is one.
pub fn parse(line: &[u8]) -> Option<Incident> {
    let value: Value = serde_json::from_str(std::str::from_utf8(line).ok()?).ok()?;
    Some(record(&value)).filter(|record| record.format > 0 && !record.id.is_empty())
}

fn record(value: &Value) -> Incident {
    Incident {
        format: count(value, "format"),
        id: text(value, "id"),
        service: text(value, "service"),
        cause: text(value, "cause"),
        summary: text(value, "summary"),
        began: text(value, "began"),
        detected_after_seconds: number(value, "detected_after_seconds"),
        end: object(value, "end", |end| End {
            how: text(end, "how"),
            at: text(end, "at"),
            after_seconds: number(end, "after_seconds"),
        }),
        attempts: count(value, "attempts"),
        exit: object(value, "exit", |exit| Exit {
            how: text(exit, "how"),
            code: u8::try_from(count(exit, "code")).unwrap_or(u8::MAX),
        }),
        port_holder: object(value, "port_holder", |holder| PortHolder {
            pid: count(holder, "pid"),
            name: text(holder, "name"),
        }),
        timeline: list(value, "timeline", step),
        steps_left_out: count(value, "steps_left_out"),
        probes: list(value, "probes", probe),
        hooks: list(value, "hooks", hook),
        avoided: list(value, "avoided", |avoided| Avoided {
            why: text(avoided, "why"),
            times: count(avoided, "times"),
        }),
        capture: object(value, "capture", |capture| Capture {
            result: text(capture, "result"),
            took_seconds: number(capture, "took_seconds"),
            output: text(capture, "output"),
        }),
        output: text(value, "output"),
        attempt_output: text(value, "attempt_output"),
    }
}

fn step(value: &Value) -> Step {
    Step {
        after_seconds: number(value, "after_seconds"),
        what: text(value, "what"),
        detail: text(value, "detail"),
    }
}

fn probe(value: &Value) -> ProbeAnswer {
    ProbeAnswer {
        after_seconds: number(value, "after_seconds"),
        role: text(value, "role"),
        result: text(value, "result"),
        detail: text(value, "detail"),
        took_seconds: number(value, "took_seconds"),
        body: text(value, "body"),
    }
}

fn hook(value: &Value) -> HookRun {
    HookRun {
        hook: text(value, "hook"),
        result: text(value, "result"),
        detail: text(value, "detail"),
        took_seconds: number(value, "took_seconds"),
        output: text(value, "output"),
    }
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_default()
}

fn count(value: &Value, key: &str) -> u32 {
    value[key].as_u64().and_then(|count| count.try_into().ok()).unwrap_or_default()
}

fn object<T>(value: &Value, key: &str, read: impl FnOnce(&Value) -> T) -> Option<T> {
    value[key].is_object().then(|| read(&value[key]))
}

fn list<T>(value: &Value, key: &str, read: impl Fn(&Value) -> T) -> Vec<T> {
    value[key].as_array().into_iter().flatten().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record in which nothing is left out.
    fn full() -> Value {
        serde_json::json!({
            "format": 1, "id": "a", "service": "b", "cause": "c", "summary": "d", "began": "e",
            "detected_after_seconds": 0.5,
            "end": { "how": "f", "at": "g", "after_seconds": 1.5 },
            "attempts": 2, "exit": { "how": "h", "code": 3 },
            "port_holder": { "pid": 4, "name": "i" },
            "timeline": [{ "after_seconds": -2.5, "what": "j", "detail": "k" }],
            "steps_left_out": 5,
            "probes": [{
                "after_seconds": 3.5, "role": "l", "result": "m", "detail": "n",
                "took_seconds": 4.5, "body": "o"
            }],
            "hooks": [{
                "hook": "p", "result": "q", "detail": "r", "took_seconds": 5.5, "output": "s"
            }],
            "avoided": [{ "why": "t", "times": 6 }],
            "capture": { "result": "u", "took_seconds": 6.5, "output": "v" },
            "output": "w", "attempt_output": "x"
        })
    }

    #[test]
    fn every_member_that_is_written_is_read() {
        let value = full();
        let record = parse(value.to_string().as_bytes()).unwrap();
        // A member that this reader forgot would be written empty.
        assert_eq!(serde_json::to_value(record).unwrap(), value);
    }

    #[test]
    fn what_is_missing_or_something_else_costs_nothing_but_itself() {
        let value = full();
        for key in value.as_object().unwrap().keys() {
            for other in [Value::Null, "text".into(), (-7).into(), vec![1].into()] {
                let mut changed = value.clone();
                changed[key] = other;
                let read = parse(changed.to_string().as_bytes());
                let is_name = ["format", "id"].contains(&key.as_str());
                assert_eq!(
                    read.is_none(),
                    is_name && changed[key] != "text" || key == "format",
                    "{changed}"
                );
                if let Some(record) = read {
                    let mut read = serde_json::to_value(record).unwrap();
                    read[key] = value[key].clone();
                    assert_eq!(read, value);
                }
            }
        }
        for nonsense in [&b"\xff"[..], b"", b"{}", b"[]", b"7", b"{\"id\":\"a\"}", b"{\"format\":1"]
        {
            assert_eq!(parse(nonsense), None);
        }
    }
}
