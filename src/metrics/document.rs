//! `docs/metrics.md`, generated from the table.

use std::fmt;

use super::{Family, Kind, Label, TABLE};

const HEAD: &str = "\
# Metrics

Generated from the table in `src/metrics/table.rs`; `UPDATE_DOCS=1 cargo test` rewrites it.
The text format is Prometheus 0.0.4, at `/metrics`, packed with gzip for whoever accepts that.
Every series that can appear is exported from the start, at 0, unless it is marked *optional*: \
those are left out where the value is unknown or not configured.
What is marked *kept* is carried over from run to run by the state file, power cycles included; everything else starts over with each run of the supervisor.

| Name | Type | Labels | Meaning |
|---|---|---|---|
";

/// What `docs/metrics.md` says.
pub struct Document;

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        for family in TABLE {
            let Family { name, help, optional, .. } = family;
            let labels: Vec<_> = family.labels.iter().map(|label| label.key()).collect();
            let (kind, labels) = (family.kind.label(), labels.join(", "));
            let optional = if *optional { " *optional*" } else { "" };
            let kept = if family.kept { " *kept*" } else { "" };
            writeln!(f, "| `{name}` | {kind} | {labels} | {help}{optional}{kept} |")?;
        }
        f.write_str("\n## Label values\n\n| Metric | Label | Values |\n|---|---|---|\n")?;
        for family in TABLE {
            for label in family.labels.iter().filter(|label| has_fixed_words(**label)) {
                let (name, key, words) = (family.name, label.key(), label.words().join(", "));
                writeln!(f, "| `{name}` | `{key}` | {words} |")?;
            }
        }
        f.write_str("\n## Histogram buckets, in seconds\n\n")?;
        for family in TABLE.iter().filter(|family| family.kind == Kind::Histogram) {
            let bounds: Vec<_> = family.buckets.iter().map(ToString::to_string).collect();
            writeln!(f, "- `{}`: {}", family.name, bounds.join(", "))?;
        }
        Ok(())
    }
}

/// Whether the words of a label are the same in every build and configuration.
fn has_fixed_words(label: Label) -> bool {
    ![Label::Service, Label::Version, Label::Os, Label::Arch].contains(&label)
}
