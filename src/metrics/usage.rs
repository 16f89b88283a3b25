//! What a process, or a tree of processes, uses of the machine, read from `/proc`.
//!
//! A process that ends while it is being read is left out; what may not be read (another user's
//! descriptors) is `None`, never a made-up number.

use std::fs;

use crate::process::{memory, proc};

/// The use of one process or tree.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Processor time, user and system.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub resident_bytes: f64,
    /// Virtual memory.
    pub virtual_bytes: f64,
    /// Threads.
    pub threads: f64,
    /// Processes.
    pub processes: f64,
    /// Open descriptors of the first process.
    pub open_fds: Option<f64>,
    /// Soft limit on descriptors of the first process.
    pub max_fds: Option<f64>,
    /// Start of the first process, in seconds since 1970.
    pub start_time: Option<f64>,
    /// Kills by the kernel in the memory cgroup of a tree's first process.
    pub oom_kills: Option<f64>,
}

/// Trees larger than this are cut off: a scrape must stay cheap under a fork bomb.
const MOST_PROCESSES: usize = 4096;

impl Usage {
    /// Of this process alone.
    pub fn own() -> Option<Self> {
        Self::of_process(std::process::id())
    }

    /// Of `pid` and its living descendants; `None` if it is gone.
    pub fn of_tree(pid: u32) -> Option<Self> {
        let mut sum = Self { oom_kills: oom_kills(pid), ..Self::of_process(pid)? };
        let mut pids = proc::children(pid).unwrap_or_default();
        let mut next = 0;
        while next < pids.len().min(MOST_PROCESSES) {
            let pid = pids[next];
            next += 1;
            pids.extend(proc::children(pid).unwrap_or_default());
            if let Some(stat) = Stat::read(pid) {
                sum.add(&stat);
            }
        }
        Some(sum)
    }

    fn of_process(pid: u32) -> Option<Self> {
        let stat = Stat::read(pid)?;
        let mut usage = Self {
            open_fds: open_fds(pid),
            max_fds: max_fds(pid),
            start_time: proc::boot_time().map(|boot| boot.as_secs_f64() + stat.start_seconds),
            ..Self::default()
        };
        usage.add(&stat);
        Some(usage)
    }

    fn add(&mut self, stat: &Stat) {
        self.cpu_seconds += stat.cpu_seconds;
        self.resident_bytes += stat.resident_bytes;
        self.virtual_bytes += stat.virtual_bytes;
        self.threads += stat.threads;
        self.processes += 1.0;
    }
}

pub(crate) struct Stat {
    cpu_seconds: f64,
    pub(crate) threads: f64,
    start_seconds: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&proc::text(format!("/proc/{pid}/stat"))?)
    }

    /// The fields of proc(5); counted after the command's closing parenthesis, as its name may
    /// hold anything.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let ticks = ticks_per_second();
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / ticks,
            threads: field(20)?,
            start_seconds: field(22)? / ticks,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * page_size(),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of descriptors are far below 2^52")]
fn open_fds(pid: u32) -> Option<f64> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as f64)
}

/// `None` also where the limit is infinite.
fn max_fds(pid: u32) -> Option<f64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "each takes the kernel a moment")]
fn oom_kills(pid: u32) -> Option<f64> {
    memory::kills_around(pid).map(|kills| kills as f64)
}

#[expect(clippy::cast_precision_loss, reason = "a hundred or so")]
fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand")]
fn page_size() -> f64 {
    rustix::param::page_size() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 4200 8192 2 0 0";
        let stat = Stat::parse(text).unwrap();
        let ticks = ticks_per_second();
        assert!((stat.cpu_seconds - 200.0 / ticks).abs() < 1e-9);
        assert!((stat.threads - 3.0).abs() < 1e-9);
        assert!((stat.start_seconds - 4200.0 / ticks).abs() < 1e-9);
        assert!((stat.resident_bytes - 2.0 * page_size()).abs() < 1e-9);
    }

    #[test]
    fn a_stat_line_that_is_cut_short_is_no_reading() {
        assert!(Stat::parse("7 (a) S 1 7").is_none());
        assert!(Stat::parse("").is_none());
    }

    #[test]
    fn our_own_process_can_be_read() {
        let own = Usage::own().unwrap();
        assert!(own.resident_bytes > 0.0 && own.threads >= 1.0);
        assert!(own.open_fds.unwrap() >= 3.0);
        let age = crate::clock::wall().as_secs_f64() - own.start_time.unwrap();
        assert!((-2.0..86_400.0).contains(&age), "started {age} s ago");
    }

    #[test]
    fn a_program_whose_name_is_not_utf8_is_read_like_any_other() {
        use crate::process::Launchable;
        use crate::process::testing::{Started, until};
        use std::ffi::OsString;
        use std::os::unix::ffi::OsStringExt;
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join(OsString::from_vec(b"\xe6\x97".to_vec()));
        std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
        let child = Started::new(Launchable::new([program.into_os_string(), "60".into()]));
        until("it has its name", || proc::name(child.0.pid).contains('\u{fffd}'));
        assert!(Usage::of_tree(child.0.pid).is_some());
    }

    #[test]
    fn a_pid_that_does_not_exist_has_no_reading() {
        assert_eq!(Usage::of_tree(u32::MAX), None);
    }
}
