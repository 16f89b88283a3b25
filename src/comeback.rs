//! Whether Rekindle would come back: what a start from what is on disk now would come to.
//!
//! The configuration file, the boot hook and the certificates that probes trust are looked at
//! again when they have changed. Nothing of that is applied: it is told now, before the next power
//! cycle tells it. A file on a dead mount may hold up whoever looks: that is a thread of its own, on
//! which nothing else depends.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, Probe, ProbeTarget};
use crate::hook;
use crate::metrics::{Metric, Metrics};
use crate::planted::{self, place};
use crate::report::{Note, Teller};
use crate::status::Shared;
use crate::threads::{self, spawn_supervised};

/// It is looked so often; where faults are planted, a test waits for each look.
const EVERY: Duration =
    Duration::from_millis(if cfg!(feature = "planted-faults") { 200 } else { 10_000 });

/// The kernel reads no more of a script's first line.
const LONGEST_FIRST_LINE: u64 = 255;

/// What a start would come to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Comeback {
    /// Why there would be none, or none as before.
    pub problem: Option<String>,
    /// The configuration would be another than the one that runs. (Each attempt runs the hook that
    /// is there, so of the hook there is no other.)
    pub differs: bool,
}

/// Reads the configuration as a start would, or says why that would fail.
pub type Reader = Box<dyn FnMut() -> Result<Config, String> + Send>;

/// Looks at what is on disk, and knows what it was like before.
pub struct OnDisk {
    read: Reader,
    runs: Config,
    /// The configuration file, if there is one.
    file: Option<PathBuf>,
    /// What is watched, as it was at the last look.
    seen: Vec<Watched>,
    /// The hook as it was found at its best.
    hook: Option<Hook>,
    found: Comeback,
}

/// A file, and by what a change of it is seen.
#[derive(Debug)]
pub struct Watched {
    path: PathBuf,
    stamp: Stamp,
}

/// `None` for a file that is not there.
type Stamp = Option<(u64, u64, u64, i64, i64, u32)>;

/// A hook that was there.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Hook {
    path: PathBuf,
    executable: bool,
}

/// Tells what [`OnDisk`] sees, as log line, metric and status.
pub struct Lookout {
    /// What is looked at.
    pub on_disk: OnDisk,
    /// Where the status is.
    pub shared: Arc<Shared>,
    /// Where the numbers are.
    pub metrics: Arc<Metrics>,
    /// Where news goes.
    pub teller: Teller,
}

impl Lookout {
    /// Starts the thread that looks every 10 s.
    pub fn start(mut self) -> io::Result<()> {
        let teller = self.teller.clone();
        spawn_supervised(
            threads::LOOKOUT,
            move || loop {
                std::thread::sleep(EVERY);
                planted::pass(place::LOOKOUT);
                self.look();
            },
            move |message, again_in| {
                let (thread, message) = (threads::LOOKOUT, message.to_owned());
                teller.note(&Note::ThreadPanicked { thread, message, again_in });
            },
        )?;
        Ok(())
    }

    /// Looks, and tells what is new.
    fn look(&mut self) {
        let Some(found) = self.on_disk.look() else { return };
        self.metrics.set(Metric::ConfigFileValid, &[], f64::from(found.problem.is_none()));
        self.metrics.set(Metric::ConfigFileDiffers, &[], f64::from(found.differs));
        self.shared.would_come_back(found.clone());
        self.teller.note(&Note::OnDisk(found));
    }
}

impl Watched {
    /// As it is now; to be called before it is read, so that no change is missed.
    pub fn now(path: PathBuf) -> Self {
        Self { stamp: stamp_of(&path), path }
    }

    /// Whether it has changed since it was asked last.
    fn has_changed(&mut self) -> bool {
        let now = stamp_of(&self.path);
        std::mem::replace(&mut self.stamp, now) != now
    }
}

impl OnDisk {
    /// Beside `runs`, which came from `file` (and from flags); `read` reads them again.
    pub fn new(runs: Config, file: Option<Watched>, read: Reader) -> Self {
        let path = file.as_ref().map(|file| file.path.clone());
        let seen = file.into_iter().chain(files_of(&runs).map(Watched::now)).collect();
        let hook = hook_of(&runs).and_then(Hook::at);
        Self { read, runs, file: path, seen, hook, found: Comeback::default() }
    }

    /// What a start would come to now, if that is news. At first all is well.
    fn look(&mut self) -> Option<Comeback> {
        // Each is asked, and before anything is read: what changes meanwhile is seen the next time.
        let changed = self.seen.iter_mut().fold(false, |any, file| file.has_changed() | any);
        if !changed {
            return None;
        }
        let found = self.judge();
        let is_news = found != self.found;
        self.found.clone_from(&found);
        is_news.then_some(found)
    }

    fn judge(&mut self) -> Comeback {
        let again = self.file.as_ref().map(|path| match is_file(path) {
            // A pipe would be waited for.
            Some(false) => Err(format!("{} is no file any more", path.display())),
            Some(true) | None => (self.read)(),
        });
        let would_run = match &again {
            Some(Err(why)) => return Comeback { problem: Some(first_line(why)), differs: true },
            Some(Ok(config)) => config,
            None => &self.runs,
        };
        let differs = *would_run != self.runs;
        for path in files_of(would_run) {
            if self.seen.iter().all(|seen| seen.path != path) {
                // As if it were not there: if it is, all is read once more.
                self.seen.push(Watched { path, stamp: None });
            }
        }
        let hook = hook_of(would_run).map(Path::to_owned);
        Comeback { problem: hook.and_then(|hook| self.problem_with_hook(&hook)), differs }
    }

    /// A missing hook is a skip; one that was there before is missed.
    fn problem_with_hook(&mut self, path: &Path) -> Option<String> {
        let now = Hook::at(path);
        let before = self.hook.take().filter(|hook| hook.path == path);
        let problem = match (&before, &now) {
            (Some(_), None) => Some("is gone, and would be left out".to_owned()),
            (Some(Hook { executable: true, .. }), Some(Hook { executable: false, .. })) => {
                Some("is not executable any more, and would be read by /bin/sh instead".to_owned())
            }
            (_, Some(hook)) => hook.cannot_run(),
            _ => None,
        };
        self.hook = if problem.is_some() { before } else { now };
        problem.map(|problem| format!("the boot hook {} {problem}", path.display()))
    }
}

impl Hook {
    fn at(path: &Path) -> Option<Self> {
        // A program alone is the hook itself; a shell has it as an argument.
        let executable = hook::command(path)?.len() == 1;
        Some(Self { path: path.to_owned(), executable })
    }

    /// Why every attempt would fail at it, if that can be seen.
    fn cannot_run(&self) -> Option<String> {
        if is_file(&self.path) == Some(false) {
            return Some("is no file, and every attempt would fail".to_owned());
        }
        let interpreter = interpreter_of(&self.path).filter(|_| self.executable)?;
        (!interpreter.exists()).then(|| {
            let interpreter = interpreter.display();
            format!("needs {interpreter}, which is not there: every attempt would fail")
        })
    }
}

fn hook_of(config: &Config) -> Option<&Path> {
    Some(&config.services.first()?.boot_hook.as_ref()?.path)
}

/// What a start would read besides the configuration file.
fn files_of(config: &Config) -> impl Iterator<Item = PathBuf> {
    let certificates = config.services.iter().flat_map(|service| {
        let probes = &service.probes;
        [&probes.startup, &probes.liveness, &probes.readiness].into_iter().flatten().filter_map(ca)
    });
    hook_of(config).into_iter().chain(certificates).map(Path::to_owned)
}

fn ca(probe: &Probe) -> Option<&Path> {
    let ProbeTarget::Http(http) = &probe.target else { return None };
    http.ca.as_deref()
}

/// Whether it is a regular file; `None` if that cannot be seen.
fn is_file(path: &Path) -> Option<bool> {
    fs::metadata(path).ok().map(|found| found.is_file())
}

/// The program that the first line of a script asks for.
fn interpreter_of(script: &Path) -> Option<PathBuf> {
    let mut head = Vec::new();
    File::open(script).ok()?.take(LONGEST_FIRST_LINE).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let program = str::from_utf8(line).ok()?.split_whitespace().next()?;
    Some(PathBuf::from(program))
}

fn stamp_of(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    let (changed, nanoseconds) = (found.mtime(), found.mtime_nsec());
    Some((found.dev(), found.ino(), found.size(), changed, nanoseconds, found.mode()))
}

fn first_line(text: &str) -> String {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default().to_owned();
    match lines.count() {
        0 => first,
        more => format!("{first} (and {more} more: see rekindle check)"),
    }
}

impl fmt::Display for Comeback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.problem, self.differs) {
            (Some(problem), _) => {
                write!(f, "would not come back as it is after a power cycle: {problem}")
            }
            (None, true) => f.write_str(
                "the configuration on disk is not the one that runs: a restart takes it over",
            ),
            (None, false) => f.write_str("what is on disk is what runs again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Mutex;

    use super::*;
    use crate::config::{File, Sources, load};

    /// A directory with a configuration and a hook, and who looks at them.
    struct Place {
        dir: tempfile::TempDir,
        on_disk: OnDisk,
        reads: Arc<Mutex<u32>>,
    }

    const TEXT: &str = "[service.gateway]\ncommand = [\"gateway\"]\nboot_hook = \"boot.sh\"\n";

    impl Place {
        fn new(text: &str, hook_mode: Option<u32>) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("rekindle.toml");
            fs::write(&path, text).unwrap();
            if let Some(mode) = hook_mode {
                fs::write(dir.path().join("boot.sh"), "#!/bin/sh\n").unwrap();
                chmod(&dir.path().join("boot.sh"), mode);
            }
            let reads = Arc::new(Mutex::new(0));
            let (counter, from) = (Arc::clone(&reads), path.clone());
            let read = move || {
                *counter.lock().unwrap() += 1;
                let text = fs::read_to_string(&from).map_err(|error| error.to_string())?;
                let file = Some(File { path: from.clone(), text });
                let loaded = load(&Sources { file, ..Sources::default() });
                loaded.map(|loaded| loaded.config).map_err(|problems| problems.to_string())
            };
            let mut read: Reader = Box::new(read);
            let file = Watched::now(path);
            let on_disk = OnDisk::new(read().unwrap(), Some(file), read);
            *reads.lock().unwrap() = 0;
            Self { dir, on_disk, reads }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        /// The next look's news in words, without the directory.
        fn look(&mut self) -> Option<String> {
            let told = self.on_disk.look()?.to_string();
            Some(told.replace(&format!("{}/", self.dir.path().display()), ""))
        }
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    const SAME: &str = "what is on disk is what runs again";
    const DIFFERS: &str =
        "the configuration on disk is not the one that runs: a restart takes it over";

    #[test]
    fn what_stays_as_it_is_is_not_read_again() {
        let mut place = Place::new(TEXT, Some(0o755));
        assert_eq!((place.look(), place.look()), (None, None));
        assert_eq!(*place.reads.lock().unwrap(), 0);
    }

    #[test]
    fn another_configuration_is_told_and_so_is_the_old_one_when_it_is_back() {
        let mut place = Place::new(TEXT, None);
        place.look();
        fs::write(place.at("rekindle.toml"), format!("# a remark\n{TEXT}")).unwrap();
        assert_eq!(place.look(), None, "a remark changes nothing");
        fs::write(place.at("rekindle.toml"), format!("{TEXT}settle = \"3s\"\n")).unwrap();
        assert_eq!(place.look().as_deref(), Some(DIFFERS));
        assert_eq!(place.look(), None, "told once");
        fs::write(place.at("rekindle.toml"), TEXT).unwrap();
        assert_eq!(place.look().as_deref(), Some(SAME));
    }

    #[test]
    fn a_configuration_that_would_not_be_taken_is_told_with_its_reason() {
        let mut place = Place::new(TEXT, None);
        let path = place.at("rekindle.toml");
        fs::write(&path, format!("{TEXT}settle = \"soon\"\nsetle = 1\n")).unwrap();
        let told = place.look().unwrap();
        let problem = "would not come back as it is after a power cycle: rekindle.toml:4: ";
        assert!(told.starts_with(problem), "{told}");
        assert!(told.ends_with(" (and 1 more: see rekindle check)"), "{told}");
        assert!(place.on_disk.found.differs);
        fs::remove_file(&path).unwrap();
        assert!(place.look().unwrap().contains("No such file"));
        fs::write(&path, TEXT).unwrap();
        assert_eq!(place.look().as_deref(), Some(SAME));
    }

    #[test]
    fn a_hook_that_was_there_is_missed_and_one_that_never_was_is_not() {
        let mut place = Place::new(TEXT, Some(0o755));
        let hook = place.at("boot.sh");
        assert_eq!(place.look(), None);
        fs::remove_file(&hook).unwrap();
        let told = place.look().unwrap();
        assert!(told.ends_with(": the boot hook boot.sh is gone, and would be left out"), "{told}");
        assert!(!place.on_disk.found.differs);
        fs::write(&hook, "#!/bin/sh\n").unwrap();
        chmod(&hook, 0o644);
        let told = place.look().unwrap();
        assert!(told.contains("boot.sh is not executable any more"), "{told}");
        chmod(&hook, 0o755);
        assert_eq!(place.look().as_deref(), Some(SAME));

        let mut place = Place::new(TEXT, None);
        assert_eq!(place.look(), None, "a missing hook is a skip");
        fs::write(place.at("boot.sh"), "true\n").unwrap();
        assert_eq!(place.look(), None, "it is read by /bin/sh, and was no other before");
        fs::remove_file(place.at("boot.sh")).unwrap();
        assert!(place.look().is_some(), "but it was there by now");
    }

    #[test]
    fn a_hook_that_no_attempt_could_run_is_told_although_it_is_there() {
        let mut place = Place::new(TEXT, Some(0o755));
        let hook = place.at("boot.sh");
        fs::write(&hook, "#!/nonexistent/sh -e\n").unwrap();
        let told = place.look().unwrap();
        assert!(told.contains("boot.sh needs /nonexistent/sh, which is not there"), "{told}");
        fs::remove_file(&hook).unwrap();
        fs::create_dir(&hook).unwrap();
        let told = place.look().unwrap();
        assert!(told.contains("boot.sh is no file"), "{told}");
        fs::remove_dir(&hook).unwrap();
        fs::write(&hook, "#!/bin/sh\n").unwrap();
        chmod(&hook, 0o755);
        assert_eq!(place.look().as_deref(), Some(SAME));
    }

    #[test]
    fn a_pipe_in_the_place_of_the_file_is_told_and_not_waited_for() {
        let mut place = Place::new(TEXT, None);
        let path = place.at("rekindle.toml");
        fs::remove_file(&path).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap();
        assert!(place.look().unwrap().contains("rekindle.toml is no file any more"));
    }

    #[test]
    fn what_was_gone_before_the_first_look_is_missed_as_well() {
        let mut place = Place::new(TEXT, Some(0o755));
        fs::remove_file(place.at("boot.sh")).unwrap();
        assert!(place.look().unwrap().contains("is gone"));
        let mut place = Place::new(TEXT, None);
        fs::remove_file(place.at("rekindle.toml")).unwrap();
        assert!(place.look().is_some());
    }

    #[test]
    fn a_certificate_that_probes_trust_is_watched_too() {
        let probe =
            "health = \"https://localhost/\"\nprobe.liveness.http = \"https://localhost/\"\n";
        let text = format!("{TEXT}{probe}probe.liveness.ca = \"ca.pem\"\n");
        let mut place = Place::new(&text, None);
        place.look();
        let before = *place.reads.lock().unwrap();
        fs::write(place.at("ca.pem"), "").unwrap();
        place.look();
        assert_eq!(*place.reads.lock().unwrap(), before + 1, "whoever reads it tries it");
    }

    #[test]
    fn without_a_file_only_the_hook_is_looked_at() {
        let mut place = Place::new(TEXT, Some(0o755));
        place.on_disk.file = None;
        fs::write(place.at("rekindle.toml"), "nonsense").unwrap();
        assert_eq!(place.look(), None);
        fs::remove_file(place.at("boot.sh")).unwrap();
        assert!(place.look().unwrap().contains("is gone"));
        assert_eq!(*place.reads.lock().unwrap(), 0);
    }
}
