//! Whether the kernel has killed somebody of a process' memory cgroup for lack of memory.
//!
//! A death by SIGKILL does not say who sent it. The kernel counts its own kills in the group whose
//! limit was hit, and counts before it kills: if the count rose since the process last gave a sign
//! of life, that was it. Where there is no such count, nothing is guessed.

use std::fs;
use std::path::{Path, PathBuf};

use super::cgroup::place;
use super::proc;
use crate::supervisor::Exit;

/// The count of kills for lack of memory.
#[derive(Debug, Default)]
pub struct OomKills {
    file: Option<PathBuf>,
    /// As it was when it was looked at last.
    latest: u64,
    /// So many were somebody else.
    survived: u64,
}

impl OomKills {
    /// From now on, in the memory cgroup of `pid`.
    pub fn around(pid: u32) -> Self {
        let mut kills = Self { file: file_of(pid), ..Self::default() };
        kills.look();
        kills.survive();
        kills
    }

    /// Takes note of the count; to be called before a sign of life is asked for.
    ///
    /// A process that is being killed can take its time to end, so that this alone says nothing.
    pub fn look(&mut self) {
        self.latest = self.count().unwrap_or(self.latest);
    }

    /// There was the sign of life: whoever was killed before the last look, it was somebody else.
    pub const fn survive(&mut self) {
        self.survived = self.latest;
    }

    /// The same exit, told as the kernel's doing if it was.
    pub fn explain(&mut self, exit: Exit) -> Exit {
        let before = self.survived;
        self.look();
        self.survive();
        // A shell tells its child's SIGKILL as its own code.
        if exit.code() == Exit::OutOfMemory.code() && self.survived > before {
            Exit::OutOfMemory
        } else {
            exit
        }
    }

    fn count(&self) -> Option<u64> {
        count(&fs::read_to_string(self.file.as_ref()?).ok()?)
    }
}

/// How often the kernel has killed for lack of memory in the cgroup of `pid`, if it counts that.
pub fn kills_around(pid: u32) -> Option<u64> {
    OomKills { file: file_of(pid), ..OomKills::default() }.count()
}

/// The file that counts for `pid`: of whichever hierarchy has the memory controller.
fn file_of(pid: u32) -> Option<PathBuf> {
    let groups = proc::text(format!("/proc/{pid}/cgroup"))?;
    let mounts = proc::text("/proc/self/mountinfo")?;
    [("memory", "memory.oom_control"), ("", "memory.events")]
        .into_iter()
        .find_map(|(of, name)| nearest(&place(&groups, &mounts, of)?, name))
}

/// The group's own file, or that of the next one above: in version 2 a group may be without the
/// controller (as ours is that we make for the tree), and is then counted there.
fn nearest(directory: &Path, name: &str) -> Option<PathBuf> {
    let counts = |file: &PathBuf| fs::read_to_string(file).is_ok_and(|text| count(&text).is_some());
    directory.ancestors().map(|group| group.join(name)).find(counts)
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
        let mut kills = OomKills { file: Some(file), ..OomKills::default() };
        kills.look();
        kills.survive();
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
    fn what_was_killed_before_the_last_sign_of_life_explains_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        for (gave_sign, exit) in [(true, Exit::Signal(9)), (false, Exit::OutOfMemory)] {
            let mut kills = counted(dir.path(), "oom_kill 2\n");
            fs::write(dir.path().join("memory.events"), "oom_kill 3\n").expect("written");
            kills.look();
            if gave_sign {
                kills.survive();
            }
            assert_eq!(kills.explain(Exit::Signal(9)), exit, "{gave_sign}");
        }
    }

    #[test]
    fn a_group_without_the_controller_is_counted_in_the_next_one_above() {
        let dir = tempfile::tempdir().expect("a directory");
        let (above, ours) = (dir.path().join("box"), dir.path().join("box/ours"));
        fs::create_dir_all(&ours).expect("directories are made");
        assert_eq!(nearest(&ours, "memory.events"), None);
        for group in [dir.path(), &above] {
            fs::write(group.join("memory.events"), "oom_kill 0\n").expect("written");
        }
        assert_eq!(nearest(&ours, "memory.events"), Some(above.join("memory.events")));
        fs::write(ours.join("memory.events"), "oom_kill 0\n").expect("written");
        assert_eq!(nearest(&ours, "memory.events"), Some(ours.join("memory.events")));
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
