//! The `file` probe: a file whose modification time keeps changing.
//!
//! The time in the file is compared with itself only, and the span by our monotonic clock, so that
//! a wrong or stepping wall clock makes no difference. The look is one `stat`, made in place: the
//! file should be on a local disk.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustix::io::Errno;

use crate::supervisor::{FailKind, Moment, Verdict, Why};

use super::{Answer, classify};

/// One heartbeat file and what was seen of it.
#[derive(Debug)]
pub(super) struct Heartbeat {
    path: PathBuf,
    within: Duration,
    /// Silence is no sign of life before the first change.
    awaits_first: bool,
    last: Option<Beat>,
}

/// The latest change of the file; the first look counts as one.
#[derive(Clone, Copy, Debug)]
struct Beat {
    /// When it was seen.
    at: Moment,
    /// What the file said; `None`: it was not there.
    modified: Option<SystemTime>,
    /// It was the first look.
    first: bool,
}

impl Heartbeat {
    /// A heartbeat that must change within `within`.
    pub(super) fn new(path: PathBuf, within: Duration) -> Self {
        Self { path, within, awaits_first: false, last: None }
    }

    /// For a startup probe: only a change shows that the child has come up.
    pub(super) fn await_first(&mut self) {
        self.awaits_first = true;
    }

    /// Makes the next look the first one.
    pub(super) fn restart(&mut self) {
        self.last = None;
    }

    /// Looks at the file at the moment `now`.
    pub(super) fn look(&mut self, now: Moment) -> Answer {
        match std::fs::metadata(&self.path).and_then(|file| file.modified()) {
            Ok(modified) => self.judge(now, Some(modified)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.judge(now, None),
            Err(error) => {
                let why = Errno::from_io_error(&error).and_then(classify::ours);
                let detail = format!("cannot look at {}: {error}", self.path.display());
                Answer::new(Verdict::unknown(why.unwrap_or(Why::Denied)), detail)
            }
        }
    }

    fn judge(&mut self, now: Moment, modified: Option<SystemTime>) -> Answer {
        let seen = Beat { at: now, modified, first: self.last.is_none() };
        let last = match self.last {
            Some(last) if last.modified == modified || modified.is_none() => last,
            Some(_) | None => *self.last.insert(seen),
        };
        let silence = now.since(last.at);
        if last.first && self.awaits_first {
            let detail = format!("no change of {} yet", self.path.display());
            return Answer::new(Verdict::Fail(FailKind::Timeout), detail);
        }
        if silence <= self.within {
            return Answer::new(Verdict::Pass, "heartbeat in time");
        }
        let what = if modified.is_some() { "no change of" } else { "missing:" };
        let detail = format!("{what} {} for {:.1} s", self.path.display(), silence.as_secs_f64());
        Answer::new(Verdict::Fail(FailKind::Timeout), detail)
    }
}
