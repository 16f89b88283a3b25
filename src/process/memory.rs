//! Whether the kernel has killed somebody of a process' memory cgroup for lack of memory.
//!
//! A death by SIGKILL does not say who sent it. The kernel counts its own kills in the group whose
//! limit was hit, and counts before it kills: if the count rose across a death, that was it.
//! Where there is no such count, nothing is guessed.

use std::fs;
use std::path::{Path, PathBuf};

use super::cgroup::place;
use crate::supervisor::Exit;

/// The count of kills for lack of memory, as it was when it was looked at last.
#[derive(Debug, Default)]
pub struct OomKills {
    file: Option<PathBuf>,
    seen: u64,
}

impl OomKills {
    /// From now on, in the memory cgroup of `pid`.
    pub fn around(pid: u32) -> Self {
        let mut kills = Self { file: file_of(pid), seen: 0 };
        kills.look();
        kills
    }

    /// What has been killed until now says nothing about a later death.
    pub fn look(&mut self) {
        self.seen = self.count().unwrap_or(self.seen);
    }

    /// The same exit, told as the kernel's doing if it was.
    pub fn explain(&mut self, exit: Exit) -> Exit {
        let before = self.seen;
        self.look();
        // A shell tells its child's SIGKILL as its own code.
        if exit.code() == Exit::OutOfMemory.code() && self.seen > before {
            Exit::OutOfMemory
        } else {
            exit
        }
    }

    fn count(&self) -> Option<u64> {
        count(&fs::read_to_string(self.file.as_ref()?).ok()?)
    }
}

/// The file that counts for `pid`: of whichever hierarchy has the memory controller.
fn file_of(pid: u32) -> Option<PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let counts = |file: &PathBuf| fs::read_to_string(file).is_ok_and(|text| count(&text).is_some());
    [("memory", "memory.oom_control"), ("", "memory.events")].into_iter().find_map(|(of, name)| {
        let directory = place(&groups, &mounts, of)?;
        Some(directory.join(Path::new(name))).filter(counts)
    })
}

/// The number behind `oom_kill` in either file.
fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|n| n.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A count in a file, and who looks at it.
    fn counted(dir: &Path, count: &str) -> OomKills {
        let file = dir.join("memory.events");
        fs::write(&file, count).expect("a file is written");
        let mut kills = OomKills { file: Some(file), seen: 0 };
        kills.look();
        kills
    }

    #[test]
    fn a_kill_is_the_kernels_only_if_its_count_rose_across_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut kills = counted(dir.path(), "low 0\noom 3\noom_kill 2\noom_group_kill 0\n");
        assert_eq!(kills.explain(Exit::Signal(9)), Exit::Signal(9));
        fs::write(dir.path().join("memory.events"), "oom 4\noom_kill 3\n").expect("written");
        assert_eq!(kills.explain(Exit::Signal(9)), Exit::OutOfMemory);
        assert_eq!(kills.explain(Exit::Signal(9)), Exit::Signal(9), "it was counted already");
        fs::write(dir.path().join("memory.events"), "oom_kill 4\n").expect("written");
        assert_eq!(kills.explain(Exit::Code(1)), Exit::Code(1), "it ended by itself");
        fs::write(dir.path().join("memory.events"), "oom_kill 5\n").expect("written");
        assert_eq!(kills.explain(Exit::Code(137)), Exit::OutOfMemory, "its shell says so");
    }

    #[test]
    fn what_was_killed_before_the_last_look_explains_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut kills = counted(dir.path(), "oom_kill 2\n");
        fs::write(dir.path().join("memory.events"), "oom_kill 3\n").expect("written");
        kills.look();
        assert_eq!(kills.explain(Exit::Signal(9)), Exit::Signal(9));
    }

    #[test]
    fn without_a_count_nothing_is_guessed() {
        let mut kills = OomKills::default();
        assert_eq!(kills.explain(Exit::Signal(9)), Exit::Signal(9));
        assert_eq!(count("under_oom 0\n"), None);
        assert_eq!(count("oom_kill many\n"), None);
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), Some(7));
    }
}
