//! Asks the child how it is, and tells three answers apart: it serves, it does not, we do not know.
//!
//! A [`Prober`] asks one question once, within one time limit. It keeps no rhythm, counts nothing
//! and never decides that something is to be healed; that is the core's part. It runs no programs
//! either: an `exec` probe is run where processes are, and judged here by [`exec_verdict`].

mod classify;
mod heartbeat;
mod http;
#[cfg(any(test, fuzzing))]
pub(crate) mod property;
mod resolve;
mod tcp;
mod tls;

use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno as Os;

use crate::config;
use crate::config::ProbeTarget;
use crate::supervisor::{Errno, Exit, FailKind, Moment, Verdict, Why};
use crate::text::short_line;

use self::heartbeat::Heartbeat;
use self::http::HttpProber;

/// The longest [`Answer::detail`], in bytes.
const MAX_DETAIL: usize = 160;

/// What one probe brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it means.
    pub verdict: Verdict,
    /// One line of at most 160 bytes for people; names of headers may be in it, values never.
    pub detail: String,
    /// The HTTP status, if one came.
    pub status: Option<u16>,
    /// The beginning of the body, at most 512 bytes, if any of it was read.
    pub body_head: Option<String>,
}

impl Answer {
    fn new(verdict: Verdict, detail: impl AsRef<str>) -> Self {
        let detail = short_line(detail.as_ref(), MAX_DETAIL);
        Self { verdict, detail, status: None, body_head: None }
    }
}

/// Why a probe cannot be made at all.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The URL is not one that can be asked.
    #[error("cannot probe {url}: {reason}")]
    Url {
        /// As configured, without what may be secret.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A header to send is not a header.
    #[error("cannot send header {name}: its name or value has characters that HTTP forbids")]
    Header {
        /// Its name as configured; the value may be a secret.
        name: String,
    },
    /// The file of trusted certificates is of no use.
    #[error("cannot use ca file {}: {reason}", path.display())]
    Ca {
        /// As configured.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The HTTP client could not be built.
    #[error("cannot set up the HTTP client: {0}")]
    Client(#[source] reqwest::Error),
}

/// One probe, ready to be made again and again.
#[derive(Debug)]
pub struct Prober {
    target: Target,
    timeout: Duration,
}

#[derive(Debug)]
enum Target {
    Http(Box<HttpProber>),
    Tcp { host: String, port: u16 },
    File(Heartbeat),
}

impl Prober {
    /// Prepares `probe`; `None` for an `exec` probe, whose program is not run here.
    pub fn new(probe: &config::Probe) -> Result<Option<Self>, ProbeError> {
        let target = match &probe.target {
            ProbeTarget::Http(http) => Target::Http(Box::new(HttpProber::new(http)?)),
            ProbeTarget::Tcp { host, port } => Target::Tcp { host: host.clone(), port: *port },
            ProbeTarget::File { path, within } => {
                Target::File(Heartbeat::new(path.clone(), *within))
            }
            ProbeTarget::Exec { .. } => return Ok(None),
        };
        Ok(Some(Self { target, timeout: probe.timeout }))
    }

    /// Makes it a startup probe: one that passes only on a sign of life of this launch.
    #[must_use]
    pub fn for_startup(mut self) -> Self {
        if let Target::File(heartbeat) = &mut self.target {
            heartbeat.await_first();
        }
        self
    }

    /// Forgets what earlier probes saw; to be called for each launch, whose child owes nothing yet.
    pub fn restart(&mut self) {
        if let Target::File(heartbeat) = &mut self.target {
            heartbeat.restart();
        }
    }

    /// Makes the probe, `now` being the moment at which it begins; takes its timeout at most.
    pub async fn ask(&mut self, now: Moment) -> Answer {
        match &mut self.target {
            Target::Http(http) => http.ask(self.timeout).await,
            Target::Tcp { host, port } => tcp::ask(host, *port, self.timeout).await,
            Target::File(heartbeat) => heartbeat.look(now),
        }
    }
}

/// An HTTP client for a URL that is not probed, which knows no proxy, redirect or kept connection.
pub fn client(url: &str) -> Result<(reqwest::Url, reqwest::Client), ProbeError> {
    http::bare_client(url)
}

/// What really happened, in words: without the URL, which may be secret.
pub fn cause(error: &reqwest::Error) -> String {
    short_line(&classify::exchange(error, false).1, MAX_DETAIL)
}

/// How the program of an `exec` probe went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecOutcome {
    /// It ended.
    Exited(Exit),
    /// It was still running at its timeout, and was killed.
    TimedOut,
    /// It could not be started.
    CannotStart(Errno),
}

/// What the outcome of an `exec` probe says about the child.
pub fn exec_verdict(outcome: ExecOutcome) -> Verdict {
    match outcome {
        ExecOutcome::Exited(exit) if exit.is_success() => Verdict::Pass,
        ExecOutcome::Exited(_) => Verdict::Fail(FailKind::Exit),
        ExecOutcome::TimedOut => Verdict::Fail(FailKind::Timeout),
        ExecOutcome::CannotStart(Errno(code)) => {
            Verdict::unknown(match Os::from_raw_os_error(code) {
                Os::MFILE | Os::NFILE => Why::NoDescriptors,
                Os::AGAIN | Os::NOMEM => Why::NoResources,
                // Missing, not executable, not a program: whatever it is, it is the probe's fault.
                _ => Why::ProbeMissing,
            })
        }
    }
}

fn no_answer_within(timeout: Duration) -> Answer {
    let detail = format!("no answer within {}", humantime::format_duration(timeout));
    Answer::new(Verdict::Fail(FailKind::Timeout), detail)
}

/// A resolver that does not answer is not the child's fault, however long it takes.
fn no_address_within(timeout: Duration) -> Answer {
    let detail = format!("no address within {}", humantime::format_duration(timeout));
    Answer::new(Verdict::unknown(Why::Dns), detail)
}

#[cfg(test)]
mod tests;
