//! What must hold for any bytes from outside: one property for each reader of such bytes.
//!
//! The fuzz targets in `tests/fuzz` and the property tests call these functions, which panic where
//! a property is broken. Each stands beside the reader that it is about. They are part of tests and
//! of `--cfg fuzzing` builds only; no product has them.

pub use crate::config::property::{config, status_set};
pub use crate::hook::property::hand_over;
pub use crate::http::property::requests;
pub use crate::incident::property::incidents;
pub use crate::probe::property::expectation;
pub use crate::process::property::{env_file, instance, proc_files, sock_diag};
pub use crate::state::property::state;

/// Panics unless `text` can be shown to people as it is: one line, without control characters.
pub(crate) fn assert_one_line(text: &str) {
    assert!(!text.is_empty() && !text.contains(char::is_control), "not fit to be shown: {text:?}");
}
