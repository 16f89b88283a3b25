//! The environment of what we start: later sources win.
//!
//! Ours (without what concerns only us), then the user's, the `env_file`s, `env`, what the boot
//! hook handed over, and the mark. Values never appear in a message.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::user::Identity;
use super::{Env, MARK_VARIABLE, Mark};
use crate::config::ExecContext;
use crate::supervisor::Errno;

/// An `env_file` that is needed and cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot read env_file {}: {}; begin its name with `-` if it may be missing", path.display(), super::reason(errno.0))]
pub struct EnvError {
    /// The file.
    pub path: PathBuf,
    /// Why not.
    pub errno: Errno,
}

/// Where the environment of one launch comes from, besides the files.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// What the configuration says.
    pub context: &'a ExecContext,
    /// Whom the program becomes.
    pub identity: Option<&'a Identity>,
    /// Whether its output goes through us, so that it does not write to the journal itself.
    pub pumped: bool,
    /// What the boot hook handed over.
    pub handed_over: &'a [(OsString, OsString)],
    /// Whose it is.
    pub mark: &'a Mark,
}

/// The environment for one launch, and a warning for each line of a file that makes no sense.
pub fn environment(sources: Sources<'_>) -> Result<(Env, Vec<String>), EnvError> {
    environment_from(std::env::vars_os(), sources)
}

fn environment_from(
    ours: impl Iterator<Item = (OsString, OsString)>,
    sources: Sources<'_>,
) -> Result<(Env, Vec<String>), EnvError> {
    let Sources { context, identity, pumped, handed_over, mark } = sources;
    let mut env = Env::new();
    let mut warnings = Vec::new();
    if context.inherit_env {
        env.extend(ours.filter(|(name, _)| is_passed_on(name, pumped)));
    }
    if let Some(identity) = identity {
        let name = identity.name.as_ref();
        for (variable, value) in
            [("HOME", identity.home.as_ref()), ("USER", name), ("LOGNAME", name)]
        {
            match value {
                Some(value) => env.insert(variable.into(), value.into()),
                // Ours would be somebody else's.
                None => env.remove(OsStr::new(variable)),
            };
        }
    }
    for file in &context.env_files {
        match fs::read(&file.path) {
            Ok(text) => {
                let (variables, bad) = parse_file(&text);
                env.extend(variables);
                let name = format!("env_file {}", file.path.display());
                let bad = bad.into_iter().map(|line| bad_line(&name, line));
                warnings.extend(first_few(&name, bad));
            }
            Err(error) if file.optional && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let errno = Errno(error.raw_os_error().unwrap_or(libc::EIO));
                return Err(EnvError { path: file.path.clone(), errno });
            }
        }
    }
    env.extend(context.env.iter().map(|(name, value)| (name.into(), value.into())));
    env.extend(handed_over.iter().cloned());
    env.insert(MARK_VARIABLE.into(), mark.value());
    Ok((env, warnings))
}

/// What is about our own relation to whoever started us is not for the child.
fn is_passed_on(name: &OsStr, pumped: bool) -> bool {
    let name = name.as_bytes();
    !(name == b"NOTIFY_SOCKET"
        || name.starts_with(b"WATCHDOG_")
        || name.starts_with(b"REKINDLE_")
        || (pumped && name == b"JOURNAL_STREAM"))
}

/// The variables of an `env_file`, and the numbers of the lines that make no sense.
///
/// A line is `NAME=VALUE`, empty, or a comment that begins with `#`. Blanks around name and value
/// do not count; a value that begins and ends with the same quote, `'` or `"`, is what stands
/// between them. Nothing else is special: no `export`, no escapes, no `$`.
pub fn parse_file(text: &[u8]) -> (Vec<(OsString, OsString)>, Vec<usize>) {
    parse_lines(text, |line| {
        let (name, value) = split(line.trim_ascii())?;
        Some((name.trim_ascii_end(), unquote(value.trim_ascii())))
    })
}

/// Variables by line, each line read by `variable`, and the numbers of the lines that it refuses.
/// Empty lines and comments are skipped.
pub(crate) fn parse_lines<'a>(
    text: &'a [u8],
    variable: impl Fn(&'a [u8]) -> Option<(&'a [u8], &'a [u8])>,
) -> (Vec<(OsString, OsString)>, Vec<usize>) {
    let (mut variables, mut bad) = (Vec::new(), Vec::new());
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() || line.trim_ascii_start().starts_with(b"#") {
            continue;
        }
        match variable(line) {
            Some((name, value)) if is_name(name) && !value.contains(&0) => {
                let owned = |bytes| OsStr::from_bytes(bytes).to_owned();
                variables.push((owned(name), owned(value)));
            }
            _ => bad.push(index + 1),
        }
    }
    (variables, bad)
}

/// What is said about a line that makes no sense: its number, never what it holds.
pub(crate) fn bad_line(file: &str, line: usize) -> String {
    format!("{file} line {line} is ignored: it is not NAME=VALUE")
}

/// The first few of the warnings about one file, and how many lines more are ignored: a file of
/// nonsense must not become a flood of the log.
pub(crate) fn first_few(file: &str, mut warnings: impl Iterator<Item = String>) -> Vec<String> {
    const FEW: usize = 8;
    let mut few: Vec<_> = warnings.by_ref().take(FEW).collect();
    match warnings.count() {
        0 => {}
        more => few.push(format!("{file}: {more} more lines are ignored")),
    }
    few
}

/// Name and value at the first `=`.
pub(crate) fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|byte| *byte == b'=')?;
    Some((line.get(..at)?, line.get(at + 1..)?))
}

fn is_name(name: &[u8]) -> bool {
    name.first().is_some_and(|first| !first.is_ascii_digit())
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

fn unquote(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::config::EnvFile;
    use crate::process::{property, user};

    fn mark() -> Mark {
        Mark { instance: "ab".to_owned(), service: "gateway".to_owned() }
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        list.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn build(ours: &[(&str, &str)], context: &ExecContext, pumped: bool) -> Env {
        let sources = Sources { context, identity: None, pumped, handed_over: &[], mark: &mark() };
        environment_from(pairs(ours).into_iter(), sources).expect("no files").0
    }

    #[test]
    fn what_concerns_only_us_is_not_passed_on() {
        let ours = [
            ("PATH", "/bin"),
            ("NOTIFY_SOCKET", "x"),
            ("WATCHDOG_USEC", "1"),
            ("REKINDLE_LISTEN", "x"),
            ("REKINDLE_INSTANCE", "outer/x"),
            ("JOURNAL_STREAM", "8:9"),
        ];
        let context = ExecContext { inherit_env: true, ..ExecContext::default() };
        let expect = |list: &[(&str, &str)]| pairs(list).into_iter().collect::<Env>();
        let mark = (MARK_VARIABLE, "ab/gateway");
        assert_eq!(build(&ours, &context, true), expect(&[("PATH", "/bin"), mark]));
        let with_journal = expect(&[("PATH", "/bin"), ("JOURNAL_STREAM", "8:9"), mark]);
        assert_eq!(build(&ours, &context, false), with_journal);
        assert_eq!(build(&ours, &ExecContext::default(), true), expect(&[mark]));
    }

    #[test]
    fn later_sources_win() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        writeln!(file, "B=file\nC=file\nD=file\nE=file\nnonsense\nHOME=/srv").expect("writable");
        let optional = |optional, path: &str| EnvFile { path: path.into(), optional };
        let path = file.path().to_str().expect("utf-8");
        let context = ExecContext {
            inherit_env: true,
            env_files: vec![optional(true, "/nonexistent"), optional(false, path)],
            env: BTreeMap::from([("C".into(), "env".into()), ("D".into(), "env".into())]),
            ..ExecContext::default()
        };
        let ours = pairs(&[("A", "ours"), ("B", "ours"), ("HOME", "/root"), ("USER", "root")]);
        let handed_over = pairs(&[("D", "hook")]);
        let identity = user::resolve(Some("54321"), None).expect("a number");
        let (context, identity, handed_over) = (&context, identity.as_ref(), &handed_over[..]);
        let sources = Sources { context, identity, pumped: true, handed_over, mark: &mark() };
        let (env, warnings) = environment_from(ours.into_iter(), sources).expect("readable");
        let expected = [
            ("A", "ours"),
            ("B", "file"),
            ("C", "env"),
            ("D", "hook"),
            ("E", "file"),
            ("HOME", "/srv"),
            (MARK_VARIABLE, "ab/gateway"),
        ];
        assert_eq!(env, pairs(&expected).into_iter().collect());
        assert_eq!(warnings, [format!("env_file {path} line 5 is ignored: it is not NAME=VALUE")]);
    }

    #[test]
    fn a_needed_file_that_is_missing_fails_the_launch() {
        let path = PathBuf::from("/nonexistent/env");
        let env_files = vec![EnvFile { path: path.clone(), optional: false }];
        let context = ExecContext { env_files, ..ExecContext::default() };
        let mark = mark();
        let sources = Sources {
            context: &context,
            identity: None,
            pumped: true,
            handed_over: &[],
            mark: &mark,
        };
        let error = environment(sources).expect_err("missing");
        assert_eq!(error, EnvError { path, errno: Errno(libc::ENOENT) });
        let text = "cannot read env_file /nonexistent/env: no such file or directory; \
            begin its name with `-` if it may be missing";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn a_file_has_quotes_comments_and_nothing_else_special() {
        let text = b"# a comment\n\n A = 1 \nB=\"x y\"\r\nC='$A'\nD=a=b\nE=\nexport F=1\n1G=1\n=x\nH=\"half\nI=a#b\n";
        let (variables, bad) = parse_file(text);
        let expected = [
            ("A", "1"),
            ("B", "x y"),
            ("C", "$A"),
            ("D", "a=b"),
            ("E", ""),
            ("H", "\"half"),
            ("I", "a#b"),
        ];
        assert_eq!(variables, pairs(&expected));
        assert_eq!(bad, [8, 9, 10]);
    }

    proptest! {
        #[test]
        fn whatever_is_in_a_file_the_property_holds(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            property::env_file(&bytes);
        }

        #[test]
        fn whatever_lines_are_in_a_file_the_property_holds(
            lines in proptest::collection::vec("[ \t]?[A-Z_0-9]{0,4}[ #]?=?[ '\"]{0,3}[ -~\u{e4}\u{0}]{0,6}['\" \r]{0,3}", 0..20)
        ) {
            property::env_file(lines.join("\n").as_bytes());
        }
    }
}
