//! As much of JSON Schema as our schemas use; an unknown keyword fails, so that none is overlooked.
//!
//! The unit tests of the documents use this file, too.

use serde_json::Value;

const WELL_FORMED: &str = "the schema is well-formed";

/// Whether `document` is what `schema` describes; what is wrong with it otherwise.
pub(crate) fn fit(schema: &Value, document: &Value) -> Result<(), String> {
    fit_at(schema, schema, document, "it")
}

fn fit_at(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    for (keyword, wanted) in schema.as_object().expect(WELL_FORMED) {
        let fits = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "items" | "properties" => true,
            "$ref" => {
                let pointer = wanted.as_str().expect(WELL_FORMED).trim_start_matches('#');
                fit_at(root, root.pointer(pointer).expect(WELL_FORMED), value, at)?;
                true
            }
            "anyOf" => {
                let choices = wanted.as_array().expect(WELL_FORMED);
                choices.iter().any(|choice| fit_at(root, choice, value, at).is_ok())
            }
            "type" => {
                let one = std::slice::from_ref(wanted);
                let types = wanted.as_array().map_or(one, Vec::as_slice);
                types.iter().any(|wanted| is_of(wanted, value))
            }
            "enum" => wanted.as_array().expect(WELL_FORMED).contains(value),
            "minimum" => value.is_null() || value.as_f64() >= wanted.as_f64(),
            "maximum" => value.is_null() || value.as_f64() <= wanted.as_f64(),
            "pattern" => humantime::parse_rfc3339(value.as_str().unwrap_or_default()).is_ok(),
            "required" => {
                let names = wanted.as_array().expect(WELL_FORMED);
                names.iter().all(|name| value.get(name.as_str().expect(WELL_FORMED)).is_some())
            }
            "additionalProperties" => {
                let known = &schema["properties"];
                for (name, member) in value.as_object().into_iter().flatten() {
                    let at = format!("{at}.{name}");
                    match (known.get(name), wanted) {
                        (Some(known), _) => fit_at(root, known, member, &at)?,
                        (None, Value::Bool(false)) => return Err(format!("{at} is unknown")),
                        (None, others) => fit_at(root, others, member, &at)?,
                    }
                }
                true
            }
            unknown => return Err(format!("{at}: keyword {unknown} is not checked")),
        };
        if !fits {
            return Err(format!("{at}: {value} breaks {keyword} {wanted}"));
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        fit_at(root, &schema["items"], item, &format!("{at}[{index}]"))?;
    }
    Ok(())
}

fn is_of(wanted: &Value, value: &Value) -> bool {
    match wanted.as_str().expect(WELL_FORMED) {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("type {other} is not checked"),
    }
}
