//! What must hold for whatever the file of records holds.

#![expect(clippy::missing_panics_doc, reason = "a property that is broken panics")]

use super::mask::Mask;
use super::read::parse;
use crate::cli::incidents::shown;

/// Any bytes, line by line: what is taken for a record is read back as the same one, and people can
/// be shown it, masked or not.
pub fn incidents(bytes: &[u8]) {
    let mask = Mask::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some(mut record) = parse(line) else { continue };
        let written = serde_json::to_string(&record).expect("it has a JSON form");
        assert!(!written.contains('\n'), "one line: {written}");
        let again = parse(written.as_bytes()).expect("we have written it");
        // The parser of numbers may be off in the last of seventeen digits.
        assert_eq!(
            (&again.id, &again.summary, &again.output, again.timeline.len()),
            (&record.id, &record.summary, &record.output, record.timeline.len())
        );
        mask.apply_to(&mut record);
        for page in shown(&record.in_short()) {
            let drives = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
            assert!(!page.contains(drives), "not fit to be shown: {page:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_the_file_holds_the_property_holds(
            bytes in prop::collection::vec(any::<u8>(), 0..300)
        ) {
            incidents(&bytes);
        }

        #[test]
        fn whatever_a_record_holds_the_property_holds(
            text in ".*", number in any::<f64>(), count in any::<u32>()
        ) {
            let record = serde_json::json!({
                "format": 1, "id": format!("x{text}"), "service": text, "cause": text,
                "summary": text, "began": text, "detected_after_seconds": number,
                "end": { "how": text, "at": text, "after_seconds": number }, "attempts": count,
                "exit": { "how": text, "code": 1 }, "port_holder": { "pid": count, "name": text },
                "timeline": [{ "after_seconds": number, "what": text, "detail": text }],
                "steps_left_out": count,
                "probes": [{ "role": text, "result": text, "detail": text, "body": text }],
                "hooks": [{ "hook": text, "result": text, "detail": text, "output": text }],
                "avoided": [{ "why": text, "times": count }], "output": text,
                "capture": { "result": text, "took_seconds": number, "output": text },
            });
            incidents(format!("\n{record}\n").as_bytes());
        }
    }
}
