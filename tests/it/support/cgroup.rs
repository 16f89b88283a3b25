//! Groups of the first version of cgroups: one hierarchy for each controller.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::Signal;

use super::time::{PATIENCE, holds_within};
use super::{Rekindle, World, is_root, processes, skip};

/// A group of a v1 controller, removed again at the end.
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// Nothing where there is no such controller, or where we may not use it.
    pub(crate) fn new(controller: &str) -> Option<Self> {
        if !is_root("making a cgroup") {
            return None;
        }
        let all = Path::new("/sys/fs/cgroup").join(controller);
        let thread = std::thread::current();
        let test = thread.name().unwrap_or_default().replace("::", ".");
        let own = all.join(format!("rekindle-{}-{test}", std::process::id()));
        if !all.join("cgroup.procs").is_file() || fs::create_dir(&own).is_err() {
            skip(&format!("there is no v1 {controller} cgroup to be had"));
            return None;
        }
        Some(Self(own))
    }

    /// Moves a supervisor and what it has started into it.
    pub(crate) fn take_in(&self, world: &World, rekindle: &Rekindle<'_>) {
        // First the supervisor: what it starts from then on is in it already.
        for pid in [rekindle.pid()].into_iter().chain(world.processes()) {
            match fs::write(self.file("cgroup.procs"), pid.to_string()) {
                // A probe's program has ended meanwhile.
                Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {}
                taken => taken.expect("the cgroup takes it"),
            }
        }
    }

    /// The path of one of its files, for a script.
    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("it is UTF-8").to_owned()
    }

    pub(crate) fn get(&self, file: &str) -> String {
        fs::read_to_string(self.file(file)).expect("the cgroup tells it")
    }

    pub(crate) fn set(&self, file: &str, value: &str) {
        fs::write(self.file(file), value).expect("the cgroup takes it");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A test that failed may have left it frozen, and nobody dies then.
        fs::write(self.file("freezer.state"), "THAWED").ok();
        // What is killed leaves it a moment later. Where a test has failed, nobody else kills it.
        let failed = std::thread::panicking();
        let is_empty = || {
            let members = fs::read_to_string(self.file("cgroup.procs")).unwrap_or_default();
            let members = members.lines().filter_map(|pid| pid.parse().ok());
            members.filter(|_| failed).for_each(|pid| processes::send(pid, Signal::KILL));
            fs::remove_dir(&self.0).is_ok()
        };
        assert!(holds_within(PATIENCE, is_empty) || failed, "the cgroup does not become empty");
    }
}
