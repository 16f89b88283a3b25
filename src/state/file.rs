//! `state.json` in the state directory: replaced as a whole, checked when read, one predecessor
//! kept.
//!
//! A write is a new file that is synced, takes its predecessor's place by name, and is made to stay
//! by syncing the directory: whatever is cut short in between, one good file is there. What makes
//! no sense is moved aside, under one name for each file, and costs a warning. Links are never
//! followed, and nothing here decides what the state means.

use std::fs::File;
use std::io::{self, Read, Seek as _, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};

use super::begin::{Found, State};
use crate::planted::is_planted;
use crate::process::instance::is_ours_alone;
use crate::text::short_line;

const FILE: &str = "state.json";
const PREDECESSOR: &str = "state.json.old";
const NEW_FILE: &str = "state.json.new";
const ASIDE: &str = ".bad";

/// Carelessness that `tests/system/qemu/power` has to catch.
const NO_FSYNC: &str = "no-fsync";
const NO_DIRECTORY_FSYNC: &str = "no-directory-fsync";
const IN_PLACE: &str = "no-rename";

const VERSION: &str = "1";

/// A version that is not ours is shown so far: it may be nonsense.
const LONGEST_VERSION: usize = 20;

/// More is not ours: the state has a few kilobytes.
const MOST_BYTES: u64 = 1024 * 1024;

/// The magic number of what a container's own files are on.
const OVERLAY: u64 = 0x794c_7630;

/// File systems that do not outlive the sandbox, by their magic numbers.
const VOLATILE: &[(u64, &str)] = &[
    (0x0102_1994, "in memory (tmpfs)"),
    (0x8584_58f6, "in memory (ramfs)"),
    (OVERLAY, "the container's own layer (overlayfs)"),
];

/// The state files of one state directory.
#[derive(Debug)]
pub struct Store {
    directory: OwnedFd,
    /// The file may become the predecessor: it was read, or written, without a fault.
    is_good: bool,
}

/// What is wrong with a file.
#[derive(PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Bad {
    #[error("is torn or was changed")]
    Torn,
    #[error("was written by another version of rekindle (format {0})")]
    Version(String),
    #[error("is no plain file that only we can write")]
    NotOurs,
    #[error("is a symbolic link")]
    Link,
    #[error("cannot be read: {0}")]
    Unreadable(String),
}

impl Store {
    /// The files in `directory`.
    pub fn new(directory: impl AsFd) -> io::Result<Self> {
        Ok(Self { directory: directory.as_fd().try_clone_to_owned()?, is_good: false })
    }

    /// What is there, and a warning for each file that was of no use.
    pub fn read(&mut self) -> (Found, Vec<String>) {
        self.is_good = false;
        let mut warnings = Vec::new();
        for (name, instead) in
            [(FILE, "the one before it is tried"), (PREDECESSOR, "what was counted starts over")]
        {
            match self.read_file(name) {
                Ok(None) => {}
                Ok(Some(state)) => {
                    self.is_good = name == FILE;
                    return (Found::State(state), warnings);
                }
                Err(bad) => {
                    warnings.push(format!("{name} {bad}{}; {instead}", self.move_aside(name)));
                }
            }
        }
        (if warnings.is_empty() { Found::Nothing } else { Found::Unreadable }, warnings)
    }

    /// Keeps a file of no use for whoever wants to know; says where it is, if that could be done.
    fn move_aside(&self, name: &str) -> String {
        let aside = format!("{name}{ASIDE}");
        // A directory and a file cannot take each other's place.
        for kind in [AtFlags::empty(), AtFlags::REMOVEDIR] {
            rustix::fs::unlinkat(&self.directory, &*aside, kind).ok();
        }
        let moved = rustix::fs::renameat(&self.directory, name, &self.directory, &*aside);
        moved.map_or_else(|_| String::new(), |()| format!(" and was moved to {aside}"))
    }

    fn read_file(&self, name: &str) -> Result<Option<State>, Bad> {
        let unreadable = |error: io::Error| Bad::Unreadable(error.to_string());
        // Whoever put a pipe there does not keep us waiting.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.directory, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(rustix::io::Errno::LOOP) => return Err(Bad::Link),
            Err(errno) => return Err(unreadable(errno.into())),
        };
        if !rustix::fs::fstat(&file).is_ok_and(|found| is_ours_alone(&found)) {
            return Err(Bad::NotOurs);
        }
        let mut bytes = Vec::new();
        File::from(file).take(MOST_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
        decode(&bytes).map(Some)
    }

    /// Puts `state` in the place of what is there. Once this has returned `Ok`, it outlives a
    /// power cut.
    pub fn replace(&mut self, state: &State) -> io::Result<()> {
        let (at, content) = (&self.directory, encode(state));
        if is_planted(IN_PLACE) {
            return self.overwrite(&content);
        }
        // A fresh file, whatever somebody may have left under its name.
        rustix::fs::unlinkat(at, NEW_FILE, AtFlags::empty()).ok();
        let mut file = self.open_to_write(NEW_FILE, OFlags::EXCL)?;
        file.write_all(&content)?;
        if !is_planted(NO_FSYNC) {
            file.sync_all()?;
        }
        // Put back only by success: until then nobody knows what is there.
        if std::mem::take(&mut self.is_good) {
            match rustix::fs::renameat(at, FILE, at, PREDECESSOR) {
                // Somebody has removed it: then the one before it stays.
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        rustix::fs::renameat(at, NEW_FILE, at, FILE)?;
        if !is_planted(NO_DIRECTORY_FSYNC) {
            rustix::fs::fsync(at)?;
        }
        self.is_good = true;
        Ok(())
    }

    fn open_to_write(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(rustix::fs::openat(&self.directory, name, flags, mode)?.into())
    }

    /// What a careless writer would do instead; for tests only.
    fn overwrite(&self, content: &[u8]) -> io::Result<()> {
        let mut file = self.open_to_write(FILE, OFlags::empty())?;
        file.write_all(content)?;
        let end = file.stream_position()?;
        file.set_len(end)?;
        file.sync_all()
    }

    /// What the directory is on, if that does not outlive the sandbox.
    pub fn volatile(&self) -> Option<&'static str> {
        let magic = magic(&rustix::fs::fstatfs(&self.directory).ok()?);
        VOLATILE.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name)
    }

    /// Why the next sandbox will not know what is written there, if so.
    pub fn forgets(&self) -> Option<String> {
        self.volatile().map(|on| format!("state_dir is {on}"))
    }
}

/// Whether a path is in a container's own layer, where what came with the image is, too.
pub fn is_in_own_layer(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| magic(&stat) == OVERLAY)
}

#[expect(clippy::cast_sign_loss, reason = "a magic number, whatever its type is here")]
fn magic(stat: &rustix::fs::StatFs) -> u64 {
    stat.f_type as u64
}

/// One JSON object, so that people can read it; the checksum covers what stands before it.
pub(super) fn encode(state: &State) -> Vec<u8> {
    sealed(&serde_json::to_string(state).expect("text and numbers have a JSON form"))
}

/// The file around a state that is JSON already.
pub(super) fn sealed(state: &str) -> Vec<u8> {
    let checked = format!(r#"{{"version":{VERSION},"state":{state}"#);
    let checksum = checksum(checked.as_bytes());
    format!("{checked},\"checksum\":\"{checksum:016x}\"}}\n").into_bytes()
}

pub(super) fn decode(bytes: &[u8]) -> Result<State, Bad> {
    let text = std::str::from_utf8(bytes).map_err(|_| Bad::Torn)?;
    let (version, _) = text
        .strip_prefix(r#"{"version":"#)
        .and_then(|rest| rest.split_once(','))
        .ok_or(Bad::Torn)?;
    if version != VERSION && version.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(Bad::Version(short_line(version, LONGEST_VERSION)));
    }
    let (checked, sum) = text
        .strip_suffix("\"}\n")
        .and_then(|rest| rest.rsplit_once(r#","checksum":""#))
        .ok_or(Bad::Torn)?;
    if sum != format!("{:016x}", checksum(checked.as_bytes())) {
        return Err(Bad::Torn);
    }
    let state = checked.strip_prefix(&format!(r#"{{"version":{VERSION},"state":"#));
    serde_json::from_str(state.ok_or(Bad::Torn)?).map_err(|_| Bad::Torn)
}

/// FNV-1a: it is torn files that it has to find, not forged ones. Each step is reversible, so that
/// one changed byte always changes the sum.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use proptest::prelude::*;

    use super::super::begin::tests::last;
    use super::super::begin::{Broken, Ending};
    use super::super::property;
    use super::*;
    use crate::history::History;
    use crate::metrics::{Kept, Metric, seconds};
    use crate::process::port::Forward;

    fn store(directory: &Path) -> Store {
        Store::new(File::open(directory).unwrap()).unwrap()
    }

    fn state(run: &str) -> State {
        State { run: run.to_owned(), ..last() }
    }

    fn run_found(found: &Found) -> &str {
        match found {
            Found::Nothing => "nothing",
            Found::Unreadable => "unreadable",
            Found::State(state) => &state.run,
        }
    }

    fn any_state() -> impl Strategy<Value = State> {
        let ending = prop::sample::select(vec![Ending::Running, Ending::Stopping, Ending::Stopped]);
        let outage = prop::option::of((".*", 0.0..1e9_f64));
        let forward = prop::option::of((any::<u16>(), ".*", any::<u32>()));
        let count = 0_u32..1_000_000;
        (".*", prop::option::of(".*"), ending, 0.0..4e9_f64, outage, count, forward).prop_map(
            |(run, boot_id, ending, heartbeat, outage, count, forward)| {
                let mut kept = Kept::default();
                kept.set(Metric::Restarts, &["exit"], count.into());
                let outage = outage.map(|(cause, seconds)| Broken { cause, seconds });
                let mut history = History::default();
                history.add(
                    seconds(heartbeat),
                    seconds(heartbeat + 60.0),
                    seconds(60.0),
                    seconds(0.0),
                );
                let forward = forward.map(|(port, name, uid)| Forward { port, name, uid });
                State {
                    run,
                    boot_id,
                    ending,
                    heartbeat,
                    uptime: 7.5,
                    outage,
                    kept,
                    history,
                    forward,
                }
            },
        )
    }

    /// The parser of numbers may be off in the last of seventeen digits.
    fn same(one: &State, other: &State) -> bool {
        let close = (one.heartbeat - other.heartbeat).abs() < 1e-3;
        close
            && State { heartbeat: 0.0, outage: None, ..one.clone() }
                == State { heartbeat: 0.0, outage: None, ..other.clone() }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(state in any_state()) {
            prop_assert!(same(&decode(&encode(&state)).unwrap(), &state));
        }

        #[test]
        fn any_changed_byte_and_any_cut_is_found_out(
            state in any_state(), at in any::<prop::sample::Index>(), flip in 1_u8..
        ) {
            let mut bytes = encode(&state);
            let at = at.index(bytes.len());
            prop_assert!(decode(&bytes[..at]).is_err());
            bytes[at] ^= flip;
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn whatever_the_file_holds_the_property_holds(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            property::state(&bytes);
        }

        #[test]
        fn whatever_numbers_the_file_holds_the_property_holds(
            ending in "running|stopping|stopped",
            heartbeat in any::<f64>(), uptime in any::<f64>(), lasted in any::<f64>(), up in any::<f64>(),
            cause in "crash|boot|power_cycle|[a-z]{1,3}", port in any::<u16>(), name in ".*"
        ) {
            let text = serde_json::json!({
                "run": "r", "boot_id": "a", "ending": ending, "heartbeat": heartbeat, "uptime": uptime,
                "outage": { "cause": cause, "seconds": lasted },
                "kept": { "rekindle_uptime_seconds_total": { "": up } },
                "forward": { "port": port, "name": name, "uid": 1000 },
            });
            property::state(text.to_string().as_bytes());
        }
    }

    #[test]
    fn a_file_of_an_earlier_version_is_read() {
        let mut state = serde_json::to_value(last()).unwrap();
        let fields = state.as_object_mut().unwrap();
        fields.remove("history").unwrap();
        assert_eq!(fields.get("forward"), None);
        assert_eq!(decode(&sealed(&state.to_string())), Ok(last()));
    }

    #[test]
    fn a_file_of_a_later_version_of_the_same_format_is_read() {
        let mut state = serde_json::to_value(last()).unwrap();
        state.as_object_mut().unwrap().insert("unheard_of".to_owned(), 7.into());
        assert_eq!(decode(&sealed(&state.to_string())), Ok(last()));
    }

    #[test]
    fn a_version_that_is_not_ours_is_named() {
        let text = String::from_utf8(encode(&last())).unwrap();
        let newer = text.replacen(r#"{"version":1,"#, r#"{"version":27,"#, 1);
        assert_eq!(decode(newer.as_bytes()), Err(Bad::Version("27".to_owned())));
        let nonsense = text.replacen("1,", &format!("{},", "9".repeat(100_000)), 1);
        let said = decode(nonsense.as_bytes()).unwrap_err().to_string();
        assert!(said.contains("(format 99999999999999999…)"), "{said}");
    }

    #[test]
    fn it_is_one_json_object_that_only_we_may_read() {
        let scratch = tempfile::tempdir().unwrap();
        store(scratch.path()).replace(&state("a")).unwrap();
        let path = scratch.path().join(FILE);
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(json["state"]["run"], "a");
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_last_write_is_found_or_the_one_before_it_and_the_bad_one_is_kept_aside() {
        let scratch = tempfile::tempdir().unwrap();
        let mut store = store(scratch.path());
        assert_eq!(store.read(), (Found::Nothing, vec![]));
        store.replace(&state("a")).unwrap();
        store.replace(&state("b")).unwrap();
        assert_eq!(run_found(&store.read().0), "b");

        let path = scratch.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        for length in [0, 1, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            let (found, warnings) = store.read();
            assert_eq!(run_found(&found), "a");
            let said = "state.json is torn or was changed and was moved to state.json.bad; \
                        the one before it is tried";
            assert_eq!(warnings, [said]);
            assert_eq!(fs::read(scratch.path().join("state.json.bad")).unwrap().len(), length);
        }
        // Between the two renames there is only the predecessor: nothing is wrong with that.
        let (found, warnings) = store.read();
        assert_eq!((run_found(&found), warnings.len()), ("a", 0));

        store.replace(&state("c")).unwrap();
        assert_eq!(run_found(&store.read().0), "c");
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(
            run_found(&store.read().0),
            "a",
            "a good predecessor is never lost to a bad file"
        );
        fs::remove_file(scratch.path().join("state.json.bad")).unwrap();
        fs::create_dir_all(scratch.path().join("state.json.bad/full")).unwrap();
        fs::write(&path, "garbage that cannot be moved aside").unwrap();
        assert_eq!(run_found(&store.read().0), "a");
        store.replace(&state("d")).unwrap();
        fs::write(&path, "garbage").unwrap();
        assert_eq!(run_found(&store.read().0), "a", "and garbage never becomes one");
        let entries = fs::read_dir(scratch.path()).unwrap().count();
        assert!(entries <= 4, "{entries} files are left");
    }

    #[test]
    fn garbage_in_both_is_an_end_that_cannot_be_told() {
        let scratch = tempfile::tempdir().unwrap();
        for name in [FILE, PREDECESSOR] {
            fs::write(scratch.path().join(name), "garbage").unwrap();
        }
        let mut store = store(scratch.path());
        let (found, warnings) = store.read();
        assert_eq!((run_found(&found), warnings.len()), ("unreadable", 2));
        store.replace(&state("a")).unwrap();
        assert_eq!(run_found(&store.read().0), "a");
    }

    #[test]
    fn what_others_can_have_put_in_its_place_is_not_believed() {
        let scratch = tempfile::tempdir().unwrap();
        let (target, path) = (scratch.path().join("target"), scratch.path().join(FILE));
        fs::write(&target, encode(&state("planted"))).unwrap();
        let untouched = fs::read(&target).unwrap();
        let mut store = store(scratch.path());
        let plants: [&dyn Fn(); 5] = [
            &|| symlink(&target, &path).unwrap(),
            &|| rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).unwrap(),
            &|| fs::create_dir(&path).unwrap(),
            &|| fs::hard_link(&target, &path).unwrap(),
            &|| {
                fs::write(&path, &untouched).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
            },
        ];
        let mut told = Vec::new();
        for plant in plants {
            plant();
            symlink(&target, scratch.path().join(NEW_FILE)).unwrap();
            let (found, warnings) = store.read();
            assert_eq!((run_found(&found), warnings.len()), ("unreadable", 1), "{warnings:?}");
            told.push(warnings[0].split(" and was moved").next().unwrap_or_default().to_owned());
            store.replace(&state("a")).unwrap();
            assert_eq!(run_found(&store.read().0), "a");
            for name in [FILE, PREDECESSOR] {
                fs::remove_file(scratch.path().join(name)).ok();
            }
        }
        assert_eq!(fs::read(&target).unwrap(), untouched);
        assert_eq!(told[0], "state.json is a symbolic link");
        for said in &told[1..] {
            assert_eq!(said, "state.json is no plain file that only we can write");
        }
    }

    #[test]
    fn a_write_that_fails_leaves_what_was_there() {
        let scratch = tempfile::tempdir().unwrap();
        let mut store = store(scratch.path());
        store.replace(&state("a")).unwrap();
        let in_the_way = scratch.path().join(NEW_FILE);
        fs::create_dir(&in_the_way).unwrap();
        store.replace(&state("b")).unwrap_err();
        assert_eq!(run_found(&store.read().0), "a");
        fs::remove_dir(&in_the_way).unwrap();
        store.replace(&state("b")).unwrap();
        assert_eq!(run_found(&store.read().0), "b");
    }
}
