//! The ways in which the demo gateway can be sick.

use std::time::Duration;

use serde::Deserialize;

/// One order to be sick: the query of `/fault`.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Fault {
    /// How.
    pub(super) mode: Mode,
    /// For `exit`: the code.
    #[serde(default = "one")]
    pub(super) code: u8,
    /// For `slow`: how late answers come; for `flood`: how long it lasts.
    seconds: Option<f64>,
    /// For `leak`: how much, in MB.
    #[serde(default = "quarter_of_a_gigabyte")]
    pub(super) mb: usize,
}

/// The kinds of sickness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mode {
    /// The whole process stops answering.
    Hang,
    /// `/health` says 500.
    #[serde(rename = "500")]
    Error500,
    /// `/health` answers late.
    Slow,
    /// `/health` says 200 and `"ok": false`.
    WrongBody,
    /// It aborts.
    Crash,
    /// It exits.
    Exit,
    /// It stops listening and lives on.
    Close,
    /// It leaves a process behind that holds the port, and exits with 1.
    Orphan,
    /// It does not end when told to.
    IgnoreTerm,
    /// It takes more and more memory.
    Leak,
    /// It writes to stdout as fast as it can.
    Flood,
    /// It is well again.
    None,
}

impl Fault {
    /// The order that the query of a URL is.
    pub(super) fn from_query(query: &str) -> Result<Self, serde_urlencoded::de::Error> {
        serde_urlencoded::from_str(query)
    }

    /// How long it lasts, or how late answers come.
    pub(super) fn span(self) -> Duration {
        let default = if self.mode == Mode::Flood { 5.0 } else { 30.0 };
        // What is no span of time, such as -1, stands for ever.
        Duration::try_from_secs_f64(self.seconds.unwrap_or(default)).unwrap_or(Duration::MAX)
    }

    /// What will happen, in words.
    pub(super) fn announcement(self) -> String {
        match self.mode {
            Mode::Hang => "will stop answering, the whole process".into(),
            Mode::Error500 => "will answer /health with 500".into(),
            Mode::Slow => format!("will answer /health after {:?}", self.span()),
            Mode::WrongBody => "will answer /health with 200 and \"ok\": false".into(),
            Mode::Crash => "will abort".into(),
            Mode::Exit => format!("will exit with code {}", self.code),
            Mode::Close => "will stop listening and live on".into(),
            Mode::Orphan => "will leave an orphan that holds the port, and exit with 1".into(),
            Mode::IgnoreTerm => "will ignore SIGTERM".into(),
            Mode::Leak => format!("will take 1 MB every 100 ms, up to {} MB", self.mb),
            Mode::Flood => format!("will write to stdout for {:?}", self.span()),
            Mode::None => "will be well again".into(),
        }
    }
}

fn one() -> u8 {
    1
}

fn quarter_of_a_gigabyte() -> usize {
    256
}
