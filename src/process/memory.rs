//! Whether the kernel has killed somebody of a process' memory cgroup for lack of memory.
//!
//! A death by SIGKILL does not say who sent it. The kernel counts its own kills in the group whose
//! limit was hit, and counts before it kills: if the count rose across a death, that was it.
//! Where there is no such count, nothing is guessed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cgroup::place;
use crate::supervisor::{Exit, Moment};

/// Between the kernel's count and the end of whom it kills lies the return of all its memory: on a
/// machine without a free page, seconds.
const DYING: Duration = Duration::from_secs(10);

/// The count of kills for lack of memory.
#[derive(Debug, Default)]
pub struct OomKills {
    file: Option<PathBuf>,
    /// As it was before the kills that can still explain a death.
    past: u64,
    /// As it was when it was looked at last, and when it had risen to that.
    seen: u64,
    rose: Moment,
}

impl OomKills {
    /// From now on, in the memory cgroup of `pid`.
    pub fn around(pid: u32) -> Self {
        Self::counted_in(file_of(pid))
    }

    fn counted_in(file: Option<PathBuf>) -> Self {
        let mut kills = Self { file, ..Self::default() };
        kills.seen = kills.count().unwrap_or_default();
        kills.past = kills.seen;
        kills
    }

    /// To be called now and then: a kill of long ago says nothing about a later death.
    pub fn look(&mut self, now: Moment) {
        let count = self.count().unwrap_or(self.seen);
        if count > self.seen {
            self.seen = count;
            self.rose = now;
        } else if now.since(self.rose) > DYING {
            self.past = self.seen;
        }
    }

    /// The same exit, told as the kernel's doing if it was.
    pub fn explain(&mut self, exit: Exit) -> Exit {
        let before = self.past;
        self.seen = self.count().unwrap_or(self.seen);
        self.past = self.seen;
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
        OomKills::counted_in(Some(file))
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
    fn a_kill_explains_a_death_for_as_long_as_dying_takes() {
        let dir = tempfile::tempdir().expect("a directory");
        for (looked_at, expected) in [
            (vec![], Exit::OutOfMemory),
            (vec![Duration::ZERO], Exit::OutOfMemory),
            (vec![Duration::ZERO, DYING], Exit::OutOfMemory),
            (vec![Duration::ZERO, DYING + Duration::from_millis(1)], Exit::Signal(9)),
        ] {
            let mut kills = counted(dir.path(), "oom_kill 2\n");
            fs::write(dir.path().join("memory.events"), "oom_kill 3\n").expect("written");
            for after in &looked_at {
                kills.look(Moment::new(Duration::from_secs(100) + *after));
            }
            assert_eq!(kills.explain(Exit::Signal(9)), expected, "{looked_at:?}");
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
