//! `incidents.jsonl` in the state directory: one line for each outage that is over.
//!
//! A line is appended and synced; a full file becomes the predecessor, of which there is one. What
//! a power cut has torn stays behind on its own line, and what makes no sense is not read. Links
//! are never followed.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{Mode, OFlags};

use super::Incident;
use super::read::parse;
use crate::process::instance::is_ours_alone;

/// The file.
pub const FILE: &str = "incidents.jsonl";
/// The file before it.
pub const PREDECESSOR: &str = "incidents.1.jsonl";

/// A file of this size is full.
const FULL: u64 = 1024 * 1024;

/// Of a file that is larger than ours can be, the end is read.
const MOST_READ: u64 = 4 * FULL;

/// Adds a line. Once this has returned `Ok`, it outlives a power cut; after an error nothing of it
/// is there.
pub fn append(directory: impl AsFd, line: &str) -> io::Result<()> {
    let directory = directory.as_fd();
    let mut file = open_to_append(directory)?;
    let mut size = file.metadata()?.len();
    if size > 0 && size + line.len() as u64 > FULL {
        rustix::fs::renameat(directory, FILE, directory, PREDECESSOR)?;
        file = open_to_append(directory)?;
        size = 0;
    }
    let begin = if is_torn(&file, size)? { "\n" } else { "" };
    let written = writeln!(file, "{begin}{line}").and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a line is no use to anybody, and would be in the way of the next.
        file.set_len(size).ok();
    } else if size == 0 {
        rustix::fs::fsync(directory)?;
    }
    written
}

/// What both files hold, oldest first; at most the last `most`, if that is given.
pub fn read(directory: impl AsFd, most: Option<usize>) -> io::Result<Vec<Incident>> {
    let directory = directory.as_fd();
    let mut records = Vec::new();
    for name in [PREDECESSOR, FILE] {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(directory, name, flags, Mode::empty()) {
            Ok(file) => read_file(file, most, &mut records)?,
            Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(records)
}

fn open_to_append(directory: BorrowedFd<'_>) -> io::Result<File> {
    let flags = OFlags::RDWR
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, FILE, flags, Mode::RUSR | Mode::WUSR)?;
    if !is_ours_alone(&rustix::fs::fstat(&file)?) {
        return Err(io::Error::other("it is no plain file that only we can write; move it away"));
    }
    Ok(file.into())
}

/// Whether the last line has no end: a power cut came in between.
fn is_torn(file: &File, size: u64) -> io::Result<bool> {
    let mut last = [b'\n'];
    if size > 0 {
        file.read_exact_at(&mut last, size - 1)?;
    }
    Ok(last != [b'\n'])
}

fn read_file(file: OwnedFd, most: Option<usize>, records: &mut Vec<Incident>) -> io::Result<()> {
    let mut file = File::from(file);
    let found = file.metadata()?;
    if !found.is_file() {
        return Ok(());
    }
    let begin = found.len().saturating_sub(MOST_READ);
    file.seek(SeekFrom::Start(begin))?;
    let mut reader = BufReader::new(file.take(MOST_READ));
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        if let Some(record) = parse(&line) {
            // A line that could not be synced may be there twice.
            records.retain(|earlier| earlier.id != record.id);
            if most.is_some_and(|most| records.len() >= most) {
                records.remove(0);
            }
            records.push(record);
        }
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::path::Path;

    use super::*;

    fn line(id: &str) -> String {
        serde_json::to_string(&Incident { format: 1, id: id.to_owned(), ..Incident::default() })
            .unwrap()
    }

    fn ids(directory: &Path, most: Option<usize>) -> Vec<String> {
        let records = read(File::open(directory).unwrap(), most).unwrap();
        records.into_iter().map(|record| record.id).collect()
    }

    fn put(directory: &Path, id: &str) -> io::Result<()> {
        append(File::open(directory).unwrap(), &line(id))
    }

    #[test]
    fn lines_are_read_in_the_order_in_which_they_were_written() {
        let scratch = tempfile::tempdir().unwrap();
        assert!(ids(scratch.path(), None).is_empty());
        for id in ["a", "b", "c"] {
            put(scratch.path(), id).unwrap();
        }
        assert_eq!(ids(scratch.path(), None), ["a", "b", "c"]);
        assert_eq!(ids(scratch.path(), Some(2)), ["b", "c"]);
        put(scratch.path(), "b").unwrap();
        assert_eq!(ids(scratch.path(), None), ["a", "c", "b"], "each once");
        let mode = fs::metadata(scratch.path().join(FILE)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_line_that_was_torn_is_left_behind_wherever_it_was_cut() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join(FILE);
        let torn = line("torn");
        for cut in 1..torn.len() {
            fs::write(&path, format!("{}\n{}", line("a"), &torn[..cut])).unwrap();
            put(scratch.path(), "b").unwrap();
            assert_eq!(ids(scratch.path(), None), ["a", "b"], "cut at {cut}");
        }
        // Only its end is missing.
        fs::write(&path, &torn).unwrap();
        put(scratch.path(), "b").unwrap();
        assert_eq!(ids(scratch.path(), None), ["torn", "b"]);
    }

    #[test]
    fn what_makes_no_sense_is_skipped() {
        let scratch = tempfile::tempdir().unwrap();
        let mut bytes = b"\xff\0garbage\n{}\n[]\n7\n\n{\"id\": \"no format\"}\n".to_vec();
        bytes.extend(b"{\"format\": 2, \"id\": \"later\", \"new\": {\"a\": 1}}\n");
        bytes.extend(format!("{}\n{{\"format\": 1, \"id\": 7}}", line("a")).bytes());
        fs::write(scratch.path().join(FILE), bytes).unwrap();
        assert_eq!(ids(scratch.path(), None), ["later", "a"]);
    }

    #[test]
    fn a_full_file_becomes_the_only_predecessor() {
        let scratch = tempfile::tempdir().unwrap();
        let (file, before) = (scratch.path().join(FILE), scratch.path().join(PREDECESSOR));
        let filled = |id: &str| format!("{}\n", line(id)).repeat(1 + (1 << 20) / line(id).len());
        for id in ["a", "b"] {
            fs::write(&file, filled(id)).unwrap();
            put(scratch.path(), &format!("after {id}")).unwrap();
            assert_eq!(ids(scratch.path(), None), [id.to_owned(), format!("after {id}")]);
            assert!(fs::metadata(&file).unwrap().len() < 1024);
            assert!(fs::metadata(&before).unwrap().len() > FULL);
        }
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
    }

    #[test]
    fn of_a_file_that_is_too_large_the_end_is_read() {
        let scratch = tempfile::tempdir().unwrap();
        let file = File::create(scratch.path().join(FILE)).unwrap();
        file.set_len(1 << 40).unwrap();
        file.write_all_at(format!("\n{}\n", line("last")).as_bytes(), 1 << 40).unwrap();
        assert_eq!(ids(scratch.path(), None), ["last"]);
    }

    #[test]
    fn what_others_can_have_put_in_its_place_is_not_written_to() {
        let scratch = tempfile::tempdir().unwrap();
        let (target, path) = (scratch.path().join("target"), scratch.path().join(FILE));
        fs::write(&target, "untouched").unwrap();
        let plants: [&dyn Fn(); 5] = [
            &|| symlink(&target, &path).unwrap(),
            &|| fs::hard_link(&target, &path).unwrap(),
            &|| rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).unwrap(),
            &|| fs::create_dir(&path).unwrap(),
            &|| {
                fs::write(&path, "").unwrap();
                fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
            },
        ];
        for plant in plants {
            plant();
            put(scratch.path(), "a").unwrap_err();
            fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
        }
        assert_eq!(fs::read(&target).unwrap(), b"untouched");
    }
}
