//! `rekindle probe`: one question, one line, exit code 0 or 1; a container's HEALTHCHECK.
//!
//! It asks as the supervisor asks. About the supervisor itself it asks the control socket of the
//! instance in this sandbox, never a port: with a shared network that would be the neighbour's.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use super::{InstanceArgs, ProbeArgs};
use crate::config::{HttpProbe, Probe, ProbeTarget, StatusSet};
use crate::drill::ask;
use crate::paths::{self, Environment, PathError};
use crate::probe::{Answer, Prober};
use crate::supervisor::{Moment, Verdict};
use crate::text::short_line;

/// The longest line that is printed, in bytes without its end.
const MAX_LINE: usize = 200;
/// Wrong usage, as opposed to a bad answer.
const USAGE: u8 = 2;

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// Does this URL answer well?
    Url {
        /// The URL, `http` or `https`.
        url: String,
        /// The statuses that are good.
        expect_status: StatusSet,
    },
    /// Does the service of this instance serve?
    Ready(Instance),
    /// Is this instance alive itself?
    Live(Instance),
}

/// Which rekindle is asked.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Instance {
    /// Its name; `None`: the only one that runs.
    pub name: Option<String>,
    /// Its state directory, if it was told one.
    pub state_dir: Option<PathBuf>,
}

impl From<&InstanceArgs> for Instance {
    fn from(args: &InstanceArgs) -> Self {
        // An empty variable is an unset one.
        let name = args.name.clone().filter(|name| !name.is_empty());
        let state_dir = args.state_dir.clone().filter(|path| !path.as_os_str().is_empty());
        Self { name, state_dir }
    }
}

impl Instance {
    /// Where it can be asked.
    pub(super) fn control_socket(&self, env: &Environment) -> Result<PathBuf, PathError> {
        let (name, state_dir) = (self.name.as_deref(), self.state_dir.as_deref());
        paths::find_control_socket(name, state_dir, env, &keeps)
    }
}

/// Where whoever listens on this control socket keeps its state, as far as it says.
fn keeps(socket: &Path) -> Option<PathBuf> {
    let status: Value = serde_json::from_str(&ask::unix(socket, "GET", "/status").ok()?).ok()?;
    Some(status["supervisor"]["state_dir"].as_str()?.into())
}

impl From<&ProbeArgs> for Question {
    fn from(args: &ProbeArgs) -> Self {
        let instance = Instance::from(&args.instance);
        match &args.url {
            Some(url) => Self::Url { url: url.clone(), expect_status: args.expect_status.clone() },
            None if args.ready => Self::Ready(instance),
            None => Self::Live(instance),
        }
    }
}

/// Asks, prints one line, and gives the exit code.
pub fn run(args: &ProbeArgs) -> ExitCode {
    let (code, line) = ask(&Question::from(args), args.timeout, &Environment::of_process());
    // A HEALTHCHECK whose output nobody reads is still judged by its exit code.
    writeln!(io::stdout(), "{}", short_line(&line, MAX_LINE)).ok();
    ExitCode::from(code)
}

fn ask(question: &Question, timeout: Duration, env: &Environment) -> (u8, String) {
    let (http, words) = match question {
        Question::Url { url, expect_status } => {
            (get(url, expect_status.clone()), ("healthy", "not healthy"))
        }
        Question::Ready(instance) => match over_control_socket("readyz", instance, env) {
            Ok(http) => (http, ("ready", "not ready")),
            Err(error) => return (1, error.to_string()),
        },
        Question::Live(instance) => match over_control_socket("livez", instance, env) {
            Ok(http) => (http, ("alive", "not alive")),
            Err(error) => return (1, error.to_string()),
        },
    };
    let probe = Probe { target: ProbeTarget::Http(Box::new(http)), timeout };
    let prober = match Prober::new(&probe) {
        Ok(prober) => prober.expect("an http probe is not an exec probe"),
        Err(error) => return (USAGE, error.to_string()),
    };
    match once(prober) {
        Ok(answer) => told(&answer, words),
        Err(error) => (1, format!("cannot ask: {error}")),
    }
}

fn get(url: &str, expect_status: StatusSet) -> HttpProbe {
    HttpProbe {
        url: url.to_owned(),
        unix_socket: None,
        headers: [].into(),
        expect_status,
        expect_header: [].into(),
        expect_body: None,
        expect_json: [].into(),
        ca: None,
    }
}

fn over_control_socket(
    path: &str,
    instance: &Instance,
    env: &Environment,
) -> Result<HttpProbe, PathError> {
    let socket = instance.control_socket(env)?;
    let good = StatusSet { ranges: vec![(200, 299)] };
    let url = format!("http://localhost/{path}");
    Ok(HttpProbe { unix_socket: Some(socket), ..get(&url, good) })
}

fn once(mut prober: Prober) -> io::Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(prober.ask(Moment::ZERO));
    // A name that is still being resolved must not keep us.
    runtime.shutdown_background();
    Ok(answer)
}

/// The exit code and the line for an answer; the server's own words come first where it has some.
fn told(answer: &Answer, (good, bad): (&str, &str)) -> (u8, String) {
    let reason = match &answer.body_head {
        Some(body) if answer.verdict != Verdict::Pass => {
            format!("{} ({})", body.lines().next().unwrap_or_default(), answer.detail)
        }
        _ => answer.detail.clone(),
    };
    match answer.verdict {
        Verdict::Pass => (0, format!("{good}: {reason}")),
        Verdict::Fail(_) => (1, format!("{bad}: {reason}")),
        Verdict::Inconclusive { why, .. } => (1, format!("cannot tell ({why}): {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn sandbox(directory: &Path) -> Environment {
        Environment {
            runtime_directory: None,
            state_directory: None,
            user_state: None,
            root: true,
            run: directory.join("run"),
            var_lib: directory.join("lib"),
        }
    }

    /// Gives one client the answer, and the first line of its request back.
    fn converse(mut stream: impl io::Read + io::Write, answer: &str) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(head).unwrap().lines().next().unwrap().to_owned()
    }

    #[test]
    fn ready_and_live_ask_the_control_socket_of_the_instance() {
        let directory = tempfile::tempdir().unwrap();
        let env = sandbox(directory.path());
        let socket = directory.path().join("run/gateway/control.sock");
        std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let listener = UnixListener::bind(&socket).unwrap();
        let here = Instance::default();
        let well = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n";
        let starting = "HTTP/1.1 503 x\r\ncontent-length: 28\r\n\r\nstarting, 2m10s of 10m\nmore\n";
        for (question, request, answer, expected) in [
            (Question::Ready(here.clone()), "GET /readyz HTTP/1.1", well, (0, "ready: status 200")),
            (Question::Live(here.clone()), "GET /livez HTTP/1.1", well, (0, "alive: status 200")),
            (
                Question::Ready(here),
                "GET /readyz HTTP/1.1",
                starting,
                (1, "not ready: starting, 2m10s of 10m (status 503, expected 200-299)"),
            ),
        ] {
            thread::scope(|scope| {
                let server = scope.spawn(|| converse(listener.accept().unwrap().0, answer));
                let (code, line) = ask(&question, PATIENCE, &env);
                assert_eq!((code, line.as_str()), expected);
                assert_eq!(server.join().unwrap(), request);
            });
        }
    }

    #[test]
    fn an_instance_that_is_not_there_is_not_ready() {
        let directory = tempfile::tempdir().unwrap();
        let env = sandbox(directory.path());
        let (code, line) = ask(&Question::Ready(Instance::default()), PATIENCE, &env);
        assert_eq!(code, 1);
        assert!(line.starts_with("cannot find a running rekindle: "), "{line}");
    }

    #[test]
    fn a_url_is_asked_with_the_statuses_that_are_good() {
        let directory = tempfile::tempdir().unwrap();
        let env = sandbox(directory.path());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/health", listener.local_addr().unwrap());
        let wary = "HTTP/1.1 401 x\r\ncontent-length: 0\r\n\r\n";
        for (ranges, expected) in [
            (vec![(200, 299), (401, 401)], (0, "healthy: status 401")),
            (vec![(200, 299)], (1, "not healthy: status 401, expected 200-299")),
        ] {
            let question = Question::Url { url: url.clone(), expect_status: StatusSet { ranges } };
            thread::scope(|scope| {
                scope.spawn(|| converse(listener.accept().unwrap().0, wary));
                let (code, line) = ask(&question, PATIENCE, &env);
                assert_eq!((code, line.as_str()), expected);
            });
        }
        drop(listener);
        let expect_status = StatusSet { ranges: vec![(200, 299)] };
        let (code, line) =
            ask(&Question::Url { url: "gateway".into(), expect_status }, PATIENCE, &env);
        assert_eq!((code, line.starts_with("cannot probe gateway: ")), (USAGE, true), "{line}");
    }
}
