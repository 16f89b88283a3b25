//! The boot hook: what is run for its path, what it is told, and what it hands over to the child.
//!
//! It is launched, timed out and killed like the child; none of that is here.

#[cfg(any(test, fuzzing))]
pub(crate) mod property;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{MemfdFlags, Mode};

use crate::process::Env;
use crate::process::env::{bad_line, first_few, parse_lines, split};
use crate::supervisor::{Exit, Launch};
use crate::text::short_line;

/// The most that a hook may hand over, in bytes.
pub const HAND_OVER_LIMIT: usize = 64 * 1024;

/// Of a name that is refused, so much is shown.
const MOST_OF_A_NAME: usize = 64;

/// The command for the hook at `path`; `None` if there is none.
///
/// An executable file is run itself, so that its `#!` line counts; any other is read by `/bin/sh`.
pub fn command(path: &Path) -> Option<Vec<OsString>> {
    let executable = match fs::metadata(path) {
        Ok(found) => found.permissions().mode() & 0o111 != 0,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
            return None;
        }
        // It may be there: running it will tell what is wrong.
        Err(_) => true,
    };
    let path = path.as_os_str().to_owned();
    Some(if executable { vec![path] } else { vec!["/bin/sh".into(), path] })
}

/// What a hook is told through its environment.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// The service's name.
    pub service: &'a str,
    /// The kind of this start, until the service has been healthy once in this run; then `none`.
    pub start: &'a str,
    /// Why, and for which time.
    pub launch: Launch,
    /// How long the outage has lasted so far.
    pub outage: Duration,
    /// Whether there is a file for variables to hand over.
    pub hands_over: bool,
}

/// Adds the variables by which the hook learns why it runs.
///
/// `REKINDLE_LAST_EXIT` is the shell's number: the code, or 128 + the signal; empty if nothing has
/// ended in this run.
pub fn tell(env: &mut Env, told: Told<'_>) {
    let last_exit =
        told.launch.last_exit.map_or_else(String::new, |exit| Exit::code(exit).to_string());
    for (name, value) in [
        ("REKINDLE_SERVICE", told.service.to_owned()),
        ("REKINDLE_START", told.start.to_owned()),
        ("REKINDLE_REASON", told.launch.reason.label().to_owned()),
        ("REKINDLE_ATTEMPT", told.launch.attempt.to_string()),
        ("REKINDLE_LAST_EXIT", last_exit),
        ("REKINDLE_OUTAGE_SECONDS", told.outage.as_secs().to_string()),
    ] {
        env.insert(name.into(), value.into());
    }
    if told.hands_over {
        // Through `/proc/self`, so that each process of the hook opens what it inherited.
        env.insert("REKINDLE_ENV".into(), "/proc/self/fd/3".into());
    }
}

/// The file in memory, new for each attempt, in which a hook leaves variables for the child.
#[derive(Debug)]
pub struct HandOver(OwnedFd);

/// What a hook left.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct HandedOver {
    /// Variables for the child; the last of each name wins.
    pub variables: Vec<(OsString, OsString)>,
    /// What was ignored, by line number, never by content.
    pub warnings: Vec<String>,
}

impl HandOver {
    /// An empty one.
    pub fn new() -> io::Result<Self> {
        let file = rustix::fs::memfd_create("rekindle-env", MemfdFlags::CLOEXEC)?;
        // The hook opens it by name, perhaps as another user than the one that made it.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o666))?;
        Ok(Self(file))
    }

    /// A descriptor of it for the hook.
    pub fn for_hook(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    /// What the hook has written so far.
    pub fn read(&self) -> io::Result<HandedOver> {
        // One byte more than allowed shows that there is more.
        let mut bytes = vec![0; HAND_OVER_LIMIT + 1];
        let mut length = 0;
        while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match rustix::io::pread(&self.0, rest, length as u64)? {
                0 => break,
                read => length += read,
            }
        }
        bytes.truncate(length);
        Ok(parse(&bytes))
    }
}

/// Reads `NAME=VALUE` lines without any quoting.
pub fn parse(text: &[u8]) -> HandedOver {
    let whole = text.get(..HAND_OVER_LIMIT).unwrap_or(text);
    let oversized = text.len() > whole.len();
    // The line that the limit cuts would be half a value.
    let end = if oversized {
        whole.iter().rposition(|byte| *byte == b'\n').unwrap_or(0)
    } else {
        whole.len()
    };
    let (variables, bad) = parse_lines(whole.get(..end).unwrap_or_default(), split);
    let (kept, refused): (Vec<_>, Vec<_>) =
        variables.into_iter().partition(|(name, _)| is_accepted(name));
    let bad = bad.into_iter().map(|line| bad_line("REKINDLE_ENV", line));
    let refused = refused.into_iter().map(|(name, _)| {
        let name = short_line(&name.to_string_lossy(), MOST_OF_A_NAME);
        format!("REKINDLE_ENV may not set {name}: it is ignored")
    });
    let mut warnings = first_few("REKINDLE_ENV", bad.chain(refused));
    if oversized {
        warnings.push(format!(
            "REKINDLE_ENV holds more than {HAND_OVER_LIMIT} bytes: the rest is ignored"
        ));
    }
    HandedOver { variables: kept, warnings }
}

fn is_accepted(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    !name.starts_with(b"REKINDLE_") && name != b"NOTIFY_SOCKET"
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::process::testing::{Started, root, sh};
    use crate::process::{Launchable, Sink, user};
    use crate::supervisor::Reason;

    fn pairs(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        list.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn told() -> Told<'static> {
        let launch =
            Launch { reason: Reason::ProbeFailed, attempt: 3, last_exit: Some(Exit::Signal(9)) };
        let outage = Duration::from_millis(2900);
        Told { service: "gateway", start: "power_cycle", launch, outage, hands_over: true }
    }

    /// Runs a hook's script with this shell and gives back what it handed over.
    fn handed_over_by(shell: &str, script: &str, user: Option<&str>) -> HandedOver {
        let hand_over = HandOver::new().expect("memory");
        let mut hook = Launchable::new([shell, "-c", script]);
        hook.env = sh("").env;
        tell(&mut hook.env, told());
        hook.identity = user::resolve(user, None).expect("a number");
        hook.hand_over = Some(hand_over.for_hook().expect("a descriptor"));
        hook.stdout = Sink::Null;
        assert_eq!(Started::new(hook).wait(), Exit::Code(0), "{shell} {user:?}");
        hand_over.read().expect("readable")
    }

    #[test]
    fn a_shell_appends_to_the_hand_over_file_under_any_user() {
        let script = "set -e; echo A=1 >> \"$REKINDLE_ENV\"; \
            sh -c 'echo B=2 >> \"$REKINDLE_ENV\"'; \
            (echo \"C=$REKINDLE_REASON $REKINDLE_ATTEMPT $REKINDLE_LAST_EXIT\") >> \"$REKINDLE_ENV\"; \
            printf 'D=%s\\n' $REKINDLE_START $REKINDLE_OUTAGE_SECONDS | tee -a \"$REKINDLE_ENV\"";
        let expected =
            [("A", "1"), ("B", "2"), ("C", "probe_failed 3 137"), ("D", "power_cycle"), ("D", "2")];
        let users = if root() { &[None, Some("65534")][..] } else { &[None] };
        for shell in
            ["/bin/dash", "/bin/bash", "/bin/sh"].iter().filter(|shell| Path::new(shell).exists())
        {
            for user in users {
                let handed_over = handed_over_by(shell, script, *user);
                assert_eq!(handed_over.variables, pairs(&expected), "{shell} {user:?}");
                assert_eq!(handed_over.warnings, Vec::<String>::new());
            }
        }
    }

    #[test]
    fn a_hook_may_also_write_from_the_start_or_to_the_descriptor() {
        let handed_over = handed_over_by(
            "/bin/sh",
            "echo A=1 > \"$REKINDLE_ENV\"; echo BB=2 >> \"$REKINDLE_ENV\"",
            None,
        );
        assert_eq!(handed_over.variables, pairs(&[("A", "1"), ("BB", "2")]));
        let handed_over = handed_over_by("/bin/sh", "echo A=1 >&3; echo B=2 >&3", None);
        assert_eq!(handed_over.variables, pairs(&[("A", "1"), ("B", "2")]));
    }

    #[test]
    fn bad_lines_are_told_by_number_and_never_by_content() {
        let text = b"A=\"quoted\"\nsecret-thing\n\nB=x=y \nREKINDLE_LISTEN=s3cret\nNOTIFY_SOCKET=s3cret\n# note\nC=1";
        let handed_over = parse(text);
        assert_eq!(handed_over.variables, pairs(&[("A", "\"quoted\""), ("B", "x=y "), ("C", "1")]));
        let expected = [
            "REKINDLE_ENV line 2 is ignored: it is not NAME=VALUE",
            "REKINDLE_ENV may not set REKINDLE_LISTEN: it is ignored",
            "REKINDLE_ENV may not set NOTIFY_SOCKET: it is ignored",
        ];
        assert_eq!(handed_over.warnings, expected);
    }

    #[test]
    fn more_than_the_limit_is_cut_at_a_whole_line() {
        let script = "echo A=1 >> \"$REKINDLE_ENV\"; head -c 70000 /dev/zero | tr '\\0' x >> \"$REKINDLE_ENV\"";
        let handed_over = handed_over_by("/bin/sh", script, None);
        assert_eq!(handed_over.variables, pairs(&[("A", "1")]));
        assert_eq!(handed_over.warnings.len(), 1, "{:?}", handed_over.warnings);
    }

    #[test]
    fn an_executable_hook_is_run_itself_and_any_other_by_the_shell() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("boot.sh");
        assert_eq!(command(&path), None);
        assert_eq!(command(Path::new("/etc/passwd/boot.sh")), None);
        fs::write(&path, "exit 0\n").expect("writable");
        let own = path.clone().into_os_string();
        assert_eq!(command(&path), Some(vec!["/bin/sh".into(), own.clone()]));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
        assert_eq!(command(&path), Some(vec![own]));
    }

    #[test]
    fn a_flood_of_bad_lines_is_a_few_warnings_and_a_number() {
        let HandedOver { variables, warnings } = parse(&b"x\n".repeat(30_000));
        assert_eq!((variables.len(), warnings.len()), (0, 9));
        assert_eq!(warnings[7], "REKINDLE_ENV line 8 is ignored: it is not NAME=VALUE");
        assert_eq!(warnings[8], "REKINDLE_ENV: 29992 more lines are ignored");
    }

    proptest! {
        #[test]
        fn whatever_a_hook_writes_the_property_holds(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            property::hand_over(&bytes);
        }

        #[test]
        fn whatever_lines_a_hook_writes_the_property_holds(
            lines in proptest::collection::vec("(REKINDLE_|NOTIFY_SOCKET|#| |[A-Z_0-9]{1,4}){0,2}=?[ -~\t\r\u{e4}\u{0}]{0,8}", 0..40)
        ) {
            property::hand_over(lines.join("\n").as_bytes());
        }
    }
}
