//! The table of faults: what a test has injected, seen and measured is one row of it.
//!
//! A row is written only by a test that got to its end. `tests/system/faults/run` runs them all,
//! prints the table, and holds `docs/reliability.md` against it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

/// Where the rows are left for `tests/system/faults/run`.
const ROWS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/faults");

/// The parts of the table, in its order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(not(feature = "planted-faults"), expect(dead_code, reason = "our faults are planted"))]
pub(crate) enum Part {
    /// The supervisor, the child or the machine was away.
    Away,
    /// The supervisor was killed.
    Killed,
    /// Somebody else holds the port.
    Port,
    /// Something that everybody needs ran out, or is not there.
    Scarcity,
    /// Too much of something.
    Floods,
    /// A probe or hook that misbehaves.
    Probes,
    /// Somebody means harm.
    Attackers,
    /// We are at fault.
    Ours,
    /// One fault after the other, for long.
    LongDays,
}

/// One row: a fault, how it is injected, and what happens.
#[expect(clippy::struct_field_names, reason = "the fields are the columns of the table")]
pub(crate) struct Fault {
    pub(crate) part: Part,
    /// What goes wrong, as an operator would name it.
    pub(crate) fault: &'static str,
    /// By which means the test makes it happen.
    pub(crate) injected: &'static str,
    /// What Rekindle does, as the test has shown it.
    pub(crate) outcome: &'static str,
}

impl Fault {
    /// It serves again, this long after the fault was injected (or, for a scarcity, had ended).
    pub(crate) fn recovered_after(self, test: &str, took: Duration) {
        self.write(test, &json!(took.as_secs_f64()), "");
    }

    /// Nothing had to be healed: the same child serves on.
    pub(crate) fn did_no_harm(self, test: &str) {
        self.write(test, &json!(null), "");
    }

    /// The same, with a figure that was measured: `p99 2.1 ms`.
    pub(crate) fn measured(self, test: &str, figure: &str) {
        self.write(test, &json!(null), figure);
    }

    fn write(self, test: &str, recovery: &serde_json::Value, figure: &str) {
        let test = test.trim_end_matches("::{{closure}}").trim_start_matches("it::");
        let row = json!({
            "part": format!("{:?}", self.part),
            "fault": self.fault,
            "injected": self.injected,
            "outcome": self.outcome,
            "recovery": recovery,
            "figure": figure,
            "test": test,
        });
        fs::create_dir_all(ROWS).expect("cargo's folder for tests can be written");
        let file = Path::new(ROWS).join(format!("{}.json", test.replace("::", ".")));
        fs::write(file, row.to_string()).expect("a row is written");
    }
}

/// The path of the test function that this is used in.
macro_rules! this_test {
    () => {
        std::any::type_name_of_val(&|| {})
    };
}
pub(crate) use this_test;
