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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    type Property = fn(&[u8]);

    const PROPERTIES: &[(&str, Property)] = &[
        ("config", config),
        ("env_file", env_file),
        ("expectation", expectation),
        ("hand_over", hand_over),
        ("incidents", incidents),
        ("instance", instance),
        ("proc_files", proc_files),
        ("requests", requests),
        ("sock_diag", sock_diag),
        ("state", state),
        ("status_set", status_set),
    ];

    fn paths_in(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap_or_else(|why| panic!("{folder:?}: {why}"));
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn names_in(folder: &Path) -> BTreeSet<String> {
        let name = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        paths_in(folder).iter().map(name).collect()
    }

    #[test]
    fn every_property_holds_for_all_that_fuzzing_has_kept() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
        let all: BTreeSet<_> = PROPERTIES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names_in(&fuzz.join("targets")), all);
        assert_eq!(names_in(&fuzz.join("corpus")), all);
        for (name, property) in PROPERTIES {
            let files = paths_in(&fuzz.join("corpus").join(name));
            assert!(!files.is_empty(), "{name} has no example");
            for file in files {
                property(&fs::read(file).unwrap());
            }
        }
    }
}
