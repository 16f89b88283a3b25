//! A cgroup of our own for one service's tree: its members are certain, and die with one write.
//!
//! It is used only where a part of the hierarchy was given to us (version 2): otherwise it belongs
//! to whoever manages it. Without one, everything works through `/proc`.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::Access;

use super::{Mark, proc};
use crate::config::CgroupMode;

/// A cgroup directly below our own.
#[derive(Clone, Debug)]
pub struct Cgroup {
    directory: PathBuf,
}

impl Cgroup {
    /// Creates the mark's cgroup (or takes the one an earlier run left), or says why there is none.
    pub fn create(mark: &Mark, mode: CgroupMode) -> Result<Self, String> {
        let parent = own_directory().ok_or("there is no version 2 cgroup of ours")?;
        match mode {
            CgroupMode::Off => return Err("it is switched off".to_owned()),
            CgroupMode::Auto if !is_delegated(&parent) => {
                return Err(format!("{} was not delegated to us", parent.display()));
            }
            CgroupMode::Auto | CgroupMode::Force => {}
        }
        Self::create_in(&parent, mark)
            .map_err(|error| format!("cannot create one in {}: {error}", parent.display()))
    }

    fn create_in(parent: &Path, mark: &Mark) -> io::Result<Self> {
        for path in [parent.to_owned(), parent.join("cgroup.procs")] {
            rustix::fs::access(path, Access::WRITE_OK)?;
        }
        let directory = parent.join(format!("rekindle-{}-{}", mark.instance, mark.service));
        match fs::create_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let cgroup = Self { directory };
        cgroup.entrance()?;
        Ok(cgroup)
    }

    /// An open `cgroup.procs`: who writes `0` to it joins. It is written by the new process itself
    /// before its exec, as only then nothing that it forks can be outside.
    pub fn entrance(&self) -> io::Result<OwnedFd> {
        Ok(OpenOptions::new().write(true).open(self.directory.join("cgroup.procs"))?.into())
    }

    /// The pids of all processes in it, those in cgroups below it included.
    pub fn members(&self) -> Vec<u32> {
        let mut members = Vec::new();
        let mut directories = vec![self.directory.clone()];
        while let Some(directory) = directories.pop() {
            let pids = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            members.extend(pids.lines().filter_map(|pid| pid.parse::<u32>().ok()));
            let below = fs::read_dir(&directory).into_iter().flatten().flatten();
            directories.extend(
                below
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                    .map(|entry| entry.path()),
            );
        }
        // 0 stands for a process outside our PID namespace.
        members.retain(|pid| *pid > 1);
        members
    }

    /// Whether a process is in it or in one below it, also when it has ended and is not reaped.
    pub fn holds(&self, pid: u32) -> bool {
        let cgroups = proc::text(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let name = self.directory.file_name().and_then(OsStr::to_str);
        name.is_some_and(|name| is_listed(&cgroups, name))
    }

    /// Whether anything in it is alive.
    pub fn is_populated(&self) -> bool {
        let events = fs::read_to_string(self.directory.join("cgroup.events")).unwrap_or_default();
        events.lines().any(|line| line == "populated 1")
    }

    /// Kills everything in it at once. Kernels before 5.14 cannot; the tree signals each member.
    pub fn kill(&self) {
        fs::write(self.directory.join("cgroup.kill"), "1").ok();
    }

    /// Removes it; fails while anything in it is alive.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_dir(&self.directory)
    }
}

/// Whether `/proc/PID/cgroup` names a version 2 cgroup that is called so, or one below it.
pub(super) fn is_listed(cgroups: &str, name: &str) -> bool {
    let mut paths = cgroups.lines().filter_map(|line| line.strip_prefix("0::/"));
    paths.any(|path| path.split('/').any(|part| part == name))
}

/// Where the cgroup of a process is, as its `/proc/PID/cgroup` and our mounts tell: in the version
/// 1 hierarchy of `controller`, or, if that is empty, in the version 2 hierarchy.
pub(super) fn place(cgroups: &str, mountinfo: &str, controller: &str) -> Option<PathBuf> {
    let group = cgroups.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then_some(path)
    })?;
    mountinfo.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut fields = place.split(' ').skip(3);
        let (root, mount) = (fields.next()?, fields.next()?);
        let mut kind = kind.split(' ');
        let is_it = match kind.next()? {
            "cgroup2" => controller.is_empty(),
            "cgroup" => kind.nth(1)?.split(',').any(|option| option == controller),
            _ => false,
        };
        // A container may see only its own part of the hierarchy.
        let below = Path::new(group).strip_prefix(root).ok()?;
        // What is above our namespace's root is out of sight.
        let in_sight = below.components().all(|part| matches!(part, Component::Normal(_)));
        (is_it && in_sight).then(|| Path::new(mount).join(below))
    })
}

/// Our own cgroup's directory in the version 2 hierarchy.
fn own_directory() -> Option<PathBuf> {
    place(&proc::text("/proc/self/cgroup")?, &proc::text("/proc/self/mountinfo")?, "")
}

/// Whether whoever manages cgroups left this one to us: it is the root of our cgroup namespace,
/// or has the attribute by which systemd says so.
fn is_delegated(directory: &Path) -> bool {
    let attribute = ["user.delegate", "trusted.delegate"].iter().any(|name| {
        let mut value = [0; 2];
        rustix::fs::getxattr(directory, *name, &mut value)
            .is_ok_and(|length| value[..length] == *b"1")
    });
    // The real root, unlike a namespace's, has no events of its own.
    let namespace_root = proc::text("/proc/self/mountinfo")
        .and_then(|mounts| place("0::/", &mounts, ""))
        .is_some_and(|root| root == directory && root.join("cgroup.events").exists());
    attribute || namespace_root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_placed_in_either_hierarchy() {
        let mounts = "30 25 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
            31 25 0:28 /docker/c1 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory,x\n\
            32 25 0:27 /sub /elsewhere rw - cgroup2 cgroup2 rw\n\
            33 25 0:27 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        let cgroups = "9:pids:/a\n4:cpu,memory:/docker/c1/b\n1:name=systemd:/\n0::/u/v\n";
        let placed = |controller| place(cgroups, mounts, controller);
        assert_eq!(placed("memory"), Some(PathBuf::from("/sys/fs/cgroup/memory/b")));
        let torn = "0::/a w    /x = 3 1 0:27 / /m - cgroup2 c rw";
        assert_eq!(place(torn, torn, ""), None, "it would be outside of the mount");
        assert_eq!(placed("pids"), Some(PathBuf::from("/sys/fs/cgroup/pids/a")));
        assert_eq!(placed(""), Some(PathBuf::from("/sys/fs/cgroup/unified/u/v")));
        assert_eq!(placed("cpuset"), None);
        assert_eq!(place("0::/a", "torn", ""), None);
        assert_eq!(place("torn", mounts, ""), None);
    }

    #[test]
    fn a_directory_without_the_attribute_is_not_delegated() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(!is_delegated(directory.path()));
    }
}
