//! A health server whose answers a test dictates: this test binary, started again as a child.
//!
//! A file holds the answers, one a line: `STATUS BODY`. Each request is answered by the first line
//! and takes it away, except for the last one, which stays.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use super::http::listen;
use super::{Config, World};

/// The test that is not one, by its full name.
const NAME: &str = "support::stub::serves_what_a_test_dictates";

/// Supervises a stub that listens on `address`: a port, or the path of a unix socket.
pub(crate) fn config(world: &World, address: &str, answers: &str) -> Config {
    let answers = world.write("answers", answers);
    ourselves(NAME).with(&format!(
        r#"
            env.IT_STUB_ADDRESS = "{address}"
            env.IT_STUB_ANSWERS = "{answers}"
            "#
    ))
}

/// The same on a port, with probes of it, and deaf to SIGTERM.
pub(crate) fn stubborn(world: &World, port: u16, answers: &str) -> Config {
    let own = std::env::current_exe().expect("the test binary has a path");
    let deaf = format!("trap '' TERM; exec {} --exact {NAME} --nocapture", own.display());
    probed(world, port, answers).with(&format!("command = [\"/bin/sh\", \"-c\", \"{deaf}\"]"))
}

/// The same on a port, with probes of it.
pub(crate) fn probed(world: &World, port: u16, answers: &str) -> Config {
    config(world, &port.to_string(), answers)
        .probing(&format!("http = \"http://127.0.0.1:{port}/health\""))
}

/// Supervises this test binary, started again for the test of this name.
pub(crate) fn ourselves(test: &str) -> Config {
    let own = std::env::current_exe().expect("the test binary has a path");
    let own = own.to_str().expect("its path is UTF-8");
    Config::command(&[own, "--exact", test, "--nocapture"])
}

/// Not a test: the stub's main function, which does nothing unless it is started as the stub.
#[test]
fn serves_what_a_test_dictates() {
    let (Ok(address), Ok(answers)) =
        (std::env::var("IT_STUB_ADDRESS"), std::env::var("IT_STUB_ANSWERS"))
    else {
        return;
    };
    if let Ok(port) = address.parse::<u16>() {
        listen(port).incoming().flatten().for_each(|stream| answer(stream, &answers));
    } else {
        // The socket of the one before: nobody else removes it.
        drop(std::fs::remove_file(&address));
        let listener = UnixListener::bind(&address).expect("the stub's socket is free");
        listener.incoming().flatten().for_each(|stream| answer(stream, &answers));
    }
}

fn answer(mut stream: impl Read + Write, answers: &str) {
    let mut request = [0; 4096];
    let text = std::fs::read_to_string(answers).unwrap_or_default();
    let (line, rest) = text.split_once('\n').unwrap_or((&text, ""));
    if !rest.trim().is_empty() {
        // A failed write leaves the answer as it was, and the test says what it misses.
        drop(std::fs::write(answers, rest));
    }
    let (status, body) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
    let length = body.len();
    let answer = format!("HTTP/1.1 {status} Dictated\r\nContent-Length: {length}\r\n\r\n{body}");
    // A client that has gone away needs no answer.
    drop(stream.read(&mut request).and_then(|_| stream.write_all(answer.as_bytes())));
}
