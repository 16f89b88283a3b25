//! Scarcity: what everybody needs runs out, or is not there. Nothing ends, nothing healthy is
//! killed, there is a line that says what is missing, and it heals as soon as there is some again.

mod descriptors;
mod files;
mod memory;
mod processes;

use std::fs;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::Signal;

use crate::support::processes::send;
use crate::support::{Config, Rekindle, World, is_root, skip, wait_until};

/// What an error message says of `EMFILE` and of `EAGAIN`.
const NO_DESCRIPTORS: &str = "too many open files";
const NO_PROCESSES: &str = "resource temporarily unavailable";

/// A boot hook that only proves that programs can be started.
fn hooked(world: &World, config: Config) -> Config {
    let hook = world.write("boot.sh", "exit 0");
    config.with(&format!("boot_hook = {{ path = \"{hook}\", timeout = \"20s\" }}"))
}

/// Kills the child that serves, as a fault that needs healing.
fn kill(child: i32) {
    send(child, Signal::KILL);
}

/// A group of a v1 controller, into which the supervisor is put, removed again at the end.
struct Cgroup(PathBuf);

impl Cgroup {
    /// Nothing where there is no such controller, or where we may not use it.
    fn new(controller: &str) -> Option<Self> {
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
    fn take_in(&self, world: &World, rekindle: &Rekindle<'_>) {
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
    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("it is UTF-8").to_owned()
    }

    fn get(&self, file: &str) -> String {
        fs::read_to_string(self.file(file)).expect("the cgroup tells it")
    }

    fn set(&self, file: &str, value: &str) {
        fs::write(self.file(file), value).expect("the cgroup takes it");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // What is killed leaves it a moment later.
        wait_until("the cgroup is empty", || fs::remove_dir(&self.0).is_ok());
    }
}
