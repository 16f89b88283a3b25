//! Who we are across runs: a random id, and the main processes that this instance has started.
//!
//! Both are in `STATE_DIR/instance`, guarded by the lock of `STATE_DIR/lock`, so that one state
//! directory has one supervisor. The records are only worth anything until the next boot, and so
//! are not synced to disk; a torn or foreign file costs a warning, never the start.
//!
//! What is recorded is killed, so that a file counts only if nobody but root and us can have
//! written it, whoever the directory belongs to. No link in the directory is followed.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use super::proc;

/// The file with the id and the launches.
pub const FILE: &str = "instance";
const NEW_FILE: &str = "instance.new";
const QUARANTINE: &str = "instance.bad";
const LOCK: &str = "lock";
pub(super) const HEADER: &str = "rekindle instance 1 ";
const ID_DIGITS: usize = 32;

/// So many launches are remembered. Older ones were seen to end before their successors began.
const REMEMBERED: usize = 16;

/// The file is written anew after so many appended lines.
const COMPACT_AFTER: usize = 256;

/// More is not ours: a file of this many lines is far smaller.
const MOST_BYTES: u64 = 1024 * 1024;

/// A main process that this instance has started.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its pid, and its group's id.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
    /// The boot in which pid and start time mean something.
    pub boot_id: String,
    /// The service it was started for.
    pub service: String,
    /// What it was: `child`, `boot_hook` or `repair`.
    pub program: String,
}

/// Another supervisor uses the state directory.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("state directory {} is in use by {}; stop it, or give another --state-dir", directory.display(), holder(*pid))]
pub struct InUse {
    /// The directory.
    pub directory: PathBuf,
    /// Who uses it, as far as the lock file tells.
    pub pid: Option<u32>,
}

impl InUse {
    /// Who uses it, in words.
    pub fn holder(&self) -> String {
        holder(self.pid)
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("pid {pid} ({})", proc::name(pid)),
    )
}

/// What was found in, and can be written to, the state directory.
#[derive(Debug)]
pub struct Instance {
    /// 32 hexadecimal digits, the same in every run if the directory is durable.
    pub id: String,
    /// What earlier runs have started.
    pub earlier: Vec<Record>,
    /// Things that were wrong with the file, each worth one warning.
    pub warnings: Vec<String>,
    /// Why the id is not written down, if it is not (yet).
    pub unwritten: Option<String>,
    /// Where launches are recorded; nowhere if the directory cannot be used at all.
    pub records: Option<Records>,
    /// Keeps other supervisors away until it is dropped.
    pub lock: Option<Lock>,
}

/// The lock of a state directory.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held open, not used")] OwnedFd);

impl Instance {
    /// Takes the directory's lock, creating the directory if it is missing, and reads the instance.
    ///
    /// A directory that cannot be used gives an id for this run only. One that can be locked but
    /// not written, because the disk is full, is kept locked, and is written as soon as it can be.
    pub fn open(directory: &Path) -> Result<Self, InUse> {
        let (handle, lock) = match prepare(directory) {
            Ok(prepared) => prepared,
            Err(Refused::InUse(pid)) => {
                return Err(InUse { directory: directory.to_owned(), pid });
            }
            Err(Refused::NotWritable(why)) => return Ok(Self::for_this_run(why)),
        };
        let (found, mut warnings) = read(&handle);
        warnings.extend(rustix::fs::fstat(&handle).ok().and_then(|found| open_to_others(&found)));
        let (id, earlier) = found.unwrap_or_else(|| (random_id(), Vec::new()));
        let mut records = Records {
            directory: handle,
            id: id.clone(),
            recent: earlier.iter().cloned().collect(),
            appended: None,
        };
        // Proves that the directory can be written, and drops what was wrong with the file.
        let unwritten = records.catch_up().err().map(|error| {
            format!("cannot write {}: {error}; it is tried again", directory.join(FILE).display())
        });
        for warning in &mut warnings {
            warning.insert_str(0, &format!("{}: ", directory.display()));
        }
        Ok(Self {
            id,
            earlier,
            warnings,
            unwritten,
            records: Some(records),
            lock: Some(Lock(lock)),
        })
    }

    /// An instance whose id nobody will know after this run, and `why`.
    pub fn for_this_run(why: String) -> Self {
        Self {
            id: random_id(),
            earlier: Vec::new(),
            warnings: Vec::new(),
            unwritten: Some(why),
            records: None,
            lock: None,
        }
    }
}

/// Whether a supervisor holds the lock of this state directory. Nothing is created or kept.
pub fn is_locked(directory: &Path) -> bool {
    // Without a lock file, or one that we may not open, nobody is known to hold it.
    let Ok(lock) = fs::File::open(directory.join(LOCK)) else { return false };
    matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock))
}

/// Where launches are recorded. May be sent to the thread that writes.
#[derive(Debug)]
pub struct Records {
    directory: OwnedFd,
    id: String,
    recent: VecDeque<Record>,
    /// How many lines the file has got since it was written anew; `None`: it lacks something, or
    /// ends in half a line, because a write has failed.
    appended: Option<usize>,
}

impl Records {
    /// Adds a launch.
    pub fn record(&mut self, record: Record) -> io::Result<()> {
        let line = line(&record);
        self.recent.push_back(record);
        if self.recent.len() > REMEMBERED {
            self.recent.pop_front();
        }
        // Put back only by success.
        match self.appended.take() {
            Some(appended) if appended < COMPACT_AFTER => {
                self.append(&line)?;
                self.appended = Some(appended + 1);
                Ok(())
            }
            _ => self.catch_up(),
        }
    }

    /// The state directory.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Whether a write has failed, so that [`Self::catch_up`] has something to do.
    pub fn is_behind(&self) -> bool {
        self.appended.is_none()
    }

    /// Replaces the file at once by one with the id and the latest launches.
    pub fn catch_up(&mut self) -> io::Result<()> {
        let lines: String = self.recent.iter().map(line).collect();
        match rustix::fs::unlinkat(&self.directory, NEW_FILE, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, NEW_FILE, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = fs::File::from(file);
        write!(file, "{HEADER}{}\n{lines}", self.id)?;
        // For the id: it shall be the same after a power cut.
        file.sync_all()?;
        rustix::fs::renameat(&self.directory, NEW_FILE, &self.directory, FILE)?;
        rustix::fs::fsync(&self.directory)?;
        self.appended = Some(0);
        Ok(())
    }

    fn append(&self, line: &str) -> io::Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, FILE, flags, Mode::empty())?;
        fs::File::from(file).write_all(line.as_bytes())
    }
}

enum Refused {
    InUse(Option<u32>),
    NotWritable(String),
}

/// The opened directory, and its lock.
fn prepare(directory: &Path) -> Result<(OwnedFd, OwnedFd), Refused> {
    let cannot = |what: &str, error: io::Error| {
        Refused::NotWritable(format!("cannot {what} {}: {error}", directory.display()))
    };
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent).map_err(|error| cannot("create", error))?;
    }
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(cannot("create", error));
        }
        _ => {}
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::open(directory, flags, Mode::empty())
        .map_err(|errno| cannot("open", errno.into()))?;
    // Not for writing: a file system that is read-only, or is to become so, is no reason to refuse.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let create = flags | OFlags::RDONLY | OFlags::CREATE;
    let lock = rustix::fs::openat(&handle, LOCK, create, Mode::RUSR | Mode::WUSR)
        .map_err(|errno| cannot("create the lock file in", errno.into()))?;
    if !rustix::fs::fstat(&lock).is_ok_and(|found| is_plain(&found)) {
        let error = io::Error::other("it is another file's second name, or none; remove it");
        return Err(cannot("use the lock file in", error));
    }
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            fs::File::from(lock).take(32).read_to_string(&mut text).ok();
            return Err(Refused::InUse(text.trim().parse().ok()));
        }
        Err(errno) => return Err(cannot("lock", errno.into())),
    }
    // Only for whoever finds the lock taken; it holds without.
    let write = flags | OFlags::WRONLY | OFlags::TRUNC;
    rustix::fs::openat(&handle, LOCK, write, Mode::empty())
        .and_then(|file| rustix::io::write(&file, format!("{}\n", std::process::id()).as_bytes()))
        .ok();
    Ok((handle, lock))
}

/// Id and records of the file, if there is a good one, and what was wrong with it.
fn read(directory: &OwnedFd) -> (Option<(String, Vec<Record>)>, Vec<String>) {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut bytes = Vec::new();
    let read = rustix::fs::openat(directory, FILE, flags, Mode::empty())
        .map_err(io::Error::from)
        .and_then(|file| {
            let is_ours = rustix::fs::fstat(&file).is_ok_and(|found| is_ours_alone(&found));
            fs::File::from(file).take(MOST_BYTES).read_to_end(&mut bytes)?;
            Ok(is_ours)
        });
    let is_ours = match read {
        Ok(is_ours) => is_ours,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (None, Vec::new()),
        Err(error) => {
            return (None, vec![format!("cannot read {FILE}: {error}; a new id is made")]);
        }
    };
    let Some((id, records, torn)) = parse(&bytes).filter(|_| is_ours) else {
        // A file that vanished meanwhile, or a directory in its place, is as good as gone.
        rustix::fs::renameat(directory, FILE, directory, QUARANTINE).ok();
        let why = if is_ours { "makes no sense" } else { "can be written by others" };
        let warning = format!("{FILE} {why} and was moved to {QUARANTINE}; a new id is made");
        return (None, vec![warning]);
    };
    let warning = format!("torn lines of {FILE} are ignored: {torn}");
    (Some((id, records)), if torn > 0 { vec![warning] } else { Vec::new() })
}

/// Whether nobody but root and us can have written a file: a plain one of the right owner.
pub fn is_ours_alone(found: &Stat) -> bool {
    is_plain(found) && !is_writable_by_others(found)
}

/// Whether it is a file with one name only, so that writing to it changes nothing elsewhere.
fn is_plain(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile && found.st_nlink == 1
}

/// Whether somebody besides root and us may write.
fn is_writable_by_others(found: &Stat) -> bool {
    let is_ours = found.st_uid == 0 || found.st_uid == geteuid().as_raw();
    let others = Mode::WGRP | Mode::WOTH;
    !is_ours || Mode::from_raw_mode(found.st_mode).intersects(others)
}

/// What is to be said of a state directory that others can change.
fn open_to_others(found: &Stat) -> Option<String> {
    is_writable_by_others(found).then(|| {
        format!(
            "others can change this directory (owner uid {}, mode {:04o}) and make us forget; \
             make it ours with mode 0700, or give another --state-dir",
            found.st_uid,
            found.st_mode & 0o7777,
        )
    })
}

/// Id, records and the number of lines that make no sense; nothing if there is no id.
pub(super) fn parse(bytes: &[u8]) -> Option<(String, Vec<Record>, usize)> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines();
    let id = lines.next()?.strip_prefix(HEADER)?;
    if id.len() != ID_DIGITS || !id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let (mut records, mut torn) = (VecDeque::new(), 0);
    for line in lines {
        match serde_json::from_str(line) {
            Ok(record) => records.push_back(record),
            Err(_) => torn += 1,
        }
    }
    let old = records.len().saturating_sub(REMEMBERED);
    Some((id.to_owned(), records.into_iter().skip(old).collect(), torn))
}

pub(super) fn line(record: &Record) -> String {
    let mut line = serde_json::to_string(record).expect("strings and numbers have a JSON form");
    line.push('\n');
    line
}

fn random_id() -> String {
    let mut bytes = [0_u8; ID_DIGITS / 2];
    // So few bytes come at once; a kernel that gives none leaves pid and boot to tell us apart.
    if rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()).is_err() {
        bytes[..4].copy_from_slice(&std::process::id().to_ne_bytes());
    }
    format!("{:032x}", u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use proptest::prelude::*;

    use super::*;
    use crate::process::property;
    use crate::process::testing::{Started, sh, until};

    fn record(pid: u32) -> Record {
        Record {
            pid,
            start_time: 7,
            boot_id: "b".to_owned(),
            service: "gateway".to_owned(),
            program: "child".to_owned(),
        }
    }

    /// Opens what nobody uses. A process that another test forks holds a copy of each of our
    /// descriptors, locks included, until it execs.
    fn open(directory: &Path) -> Instance {
        let mut opened = None;
        until("the lock is free", || {
            opened = Instance::open(directory).ok();
            opened.is_some()
        });
        opened.expect("it was opened")
    }

    #[test]
    fn the_id_and_the_latest_launches_survive_a_run() {
        let scratch = tempfile::tempdir().expect("a directory");
        let directory = scratch.path().join("new/state");
        let first = open(&directory);
        let mode = fs::metadata(&directory).expect("created").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!((first.id.len(), first.earlier, first.warnings), (32, vec![], vec![]));
        let mut records = first.records.expect("writable");
        for pid in 0..600 {
            records.record(record(pid)).expect("writable");
        }
        let size = fs::metadata(directory.join(FILE)).expect("written").len();
        assert!(size < 64 * 1024, "{size}");
        drop(first.lock);

        let second = open(&directory);
        assert_eq!(second.id, first.id);
        let pids: Vec<u32> = second.earlier.iter().map(|record| record.pid).collect();
        assert_eq!(pids, (584..600).collect::<Vec<_>>());
    }

    #[test]
    fn a_directory_in_use_is_refused_with_its_holder() {
        let scratch = tempfile::tempdir().expect("a directory");
        let holder = open(scratch.path());
        let error = Instance::open(scratch.path()).expect_err("it is in use");
        assert_eq!(error.pid, Some(std::process::id()));
        assert!(error.to_string().contains("is in use by pid"), "{error}");
        drop(holder);
        open(scratch.path());
    }

    #[test]
    fn the_lock_is_not_inherited_by_what_we_start() {
        let scratch = tempfile::tempdir().expect("a directory");
        let holder = open(scratch.path());
        let _child = Started::new(sh("sleep 60"));
        drop(holder);
        open(scratch.path());
    }

    #[test]
    fn torn_content_costs_a_warning_and_what_is_torn() {
        let scratch = tempfile::tempdir().expect("a directory");
        let first = open(scratch.path());
        let mut records = first.records.expect("writable");
        for pid in [2, 3] {
            records.record(record(pid)).expect("writable");
        }
        drop(first.lock);
        let path = scratch.path().join(FILE);
        let whole = fs::read(&path).expect("written");
        let header = HEADER.len() + ID_DIGITS;
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).expect("writable");
            let torn = open(scratch.path());
            assert_eq!(torn.id == first.id, length >= header, "{length}");
            assert!(torn.earlier.len() < 3 && torn.unwritten.is_none());
            assert_eq!(
                torn.warnings.is_empty(),
                !scratch.path().join(QUARANTINE).exists()
                    && torn.id == first.id
                    && !partial(&whole[..length]),
                "{length}"
            );
            fs::remove_file(scratch.path().join(QUARANTINE)).ok();
        }
    }

    /// Whether the last line is only a part.
    fn partial(bytes: &[u8]) -> bool {
        !matches!(bytes.last(), Some(b'\n' | b'}')) && bytes.contains(&b'\n')
    }

    #[test]
    fn garbage_is_kept_aside_and_links_are_not_followed() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().join(FILE);
        fs::write(&path, b"\xff\x00garbage").expect("writable");
        let instance = open(scratch.path());
        assert_eq!(instance.warnings.len(), 1);
        assert_eq!(fs::read(scratch.path().join(QUARANTINE)).expect("kept"), b"\xff\x00garbage");
        drop(instance);

        let target = scratch.path().join("target");
        fs::write(&target, "untouched").expect("writable");
        fs::remove_file(&path).expect("there");
        symlink(&target, &path).expect("writable");
        let instance = open(scratch.path());
        assert_eq!((instance.warnings.len(), instance.unwritten), (1, None));
        assert_eq!(fs::read_to_string(&target).expect("there"), "untouched");
        assert!(fs::symlink_metadata(&path).expect("there").is_file());

        let link = scratch.path().join("link");
        symlink(scratch.path(), &link).expect("writable");
        assert!(open(&link).unwritten.is_some());
    }

    #[test]
    fn without_a_directory_the_id_is_for_this_run_and_it_is_said_why() {
        let scratch = tempfile::tempdir().expect("a directory");
        let file = scratch.path().join("file");
        fs::write(&file, "").expect("writable");
        let (first, second) = (open(&file.join("state")), open(&file));
        assert_ne!(first.id, second.id);
        for why in [first.unwritten.expect("no directory"), second.unwritten.expect("a file")] {
            assert!(why.starts_with("cannot "), "{why}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_locked_all_the_same_and_written_later() {
        let scratch = tempfile::tempdir().expect("a directory");
        let in_the_way = scratch.path().join(NEW_FILE);
        fs::create_dir(&in_the_way).expect("writable");
        let first = open(scratch.path());
        let why = first.unwritten.expect("it could not be written");
        assert!(why.starts_with("cannot write ") && why.contains("directory"), "{why}");
        let mut records = first.records.expect("it may be written later");
        records.record(record(2)).expect_err("not yet");
        assert!(records.is_behind());
        Instance::open(scratch.path()).expect_err("it is in use");

        fs::remove_dir(&in_the_way).expect("it is empty");
        records.catch_up().expect("writable");
        records.record(record(3)).expect("writable");
        assert!(!records.is_behind());
        drop(first.lock);
        let second = open(scratch.path());
        let pids: Vec<u32> = second.earlier.iter().map(|record| record.pid).collect();
        assert_eq!((second.id, pids), (first.id, vec![2, 3]));
    }

    #[test]
    fn half_a_line_is_written_again_whole() {
        let scratch = tempfile::tempdir().expect("a directory");
        let first = open(scratch.path());
        let mut records = first.records.expect("writable");
        let path = scratch.path().join(FILE);
        fs::remove_file(&path).expect("written");
        records.record(record(2)).expect_err("there is no file to add to");
        fs::write(&path, "half").expect("writable");
        records.record(record(3)).expect("written anew");
        drop(first.lock);
        let second = open(scratch.path());
        assert_eq!((second.id, second.earlier.len(), second.warnings), (first.id, 2, vec![]));
    }

    #[test]
    fn records_can_be_written_by_another_thread() {
        fn is_send<T: Send>() {}
        is_send::<Records>();
    }

    fn any_record() -> impl Strategy<Value = String> {
        let text = "[a-z\u{e4}\"\\\\\n ]{0,6}";
        (any::<u32>(), any::<u64>(), text, text, text).prop_map(
            |(pid, start_time, boot_id, service, program)| {
                line(&Record { pid, start_time, boot_id, service, program })
            },
        )
    }

    proptest! {
        #[test]
        fn whatever_the_file_holds_the_property_holds(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            property::instance(&bytes);
            let with_header = [HEADER.as_bytes(), &[b'a'; ID_DIGITS], b"\n", &bytes[..]].concat();
            property::instance(&with_header);
            prop_assert!(parse(&with_header).is_some());
        }

        #[test]
        fn wherever_a_file_of_launches_is_cut_the_property_holds(
            records in proptest::collection::vec(any_record(), 0..20), cut in 0..2000_usize
        ) {
            let whole = format!("{HEADER}{}\n{}", "b".repeat(ID_DIGITS), records.concat());
            property::instance(&whole.as_bytes()[..cut.min(whole.len())]);
        }
    }
}
