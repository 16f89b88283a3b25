//! Cgroups that a test can freeze and thaw: whoever is in one stands still and is told nothing.

use std::fs;
use std::path::{Path, PathBuf};

use super::skip;
use super::time::{PATIENCE, holds_within, wait_until};

/// Where a version 2 hierarchy is mounted: alone, or beside version 1.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// A cgroup of one process, removed when dropped. Declare it before what it holds.
pub(crate) struct Freezer(PathBuf);

impl Freezer {
    /// A new one of this name, unless the machine does not let us: that is said, and skipped.
    pub(crate) fn make(name: &str) -> Option<Self> {
        let root = ROOTS.iter().find(|root| Path::new(root).join("cgroup.controllers").exists());
        let Some(root) = root else {
            skip("there is no version 2 cgroup hierarchy");
            return None;
        };
        let path = Path::new(root).join(format!("rekindle-it-{}-{name}", std::process::id()));
        if let Err(error) = fs::create_dir(&path) {
            skip(&format!("cannot make a cgroup in {root}: {error}"));
            return None;
        }
        Some(Self(path))
    }

    /// Takes a process in.
    pub(crate) fn take(&self, pid: i32) {
        self.write("cgroup.procs", &pid.to_string());
    }

    /// Freezes it, and waits until it stands still.
    pub(crate) fn freeze(&self) {
        self.write("cgroup.freeze", "1");
        wait_until("the cgroup is frozen", || {
            let events = fs::read_to_string(self.0.join("cgroup.events")).unwrap_or_default();
            events.lines().any(|line| line == "frozen 1")
        });
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.write("cgroup.freeze", "0");
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.0.join(file);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        // What was in it has been killed, and leaves it once it is reaped.
        let gone = holds_within(PATIENCE, || fs::remove_dir(&self.0).is_ok());
        assert!(gone || std::thread::panicking(), "cannot remove {}", self.0.display());
    }
}
