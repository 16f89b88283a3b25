//! What must hold for whatever the kernel, a file of variables or an instance file seems to say.
#![expect(clippy::missing_panics_doc, reason = "a property that is broken panics")]

use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

use super::instance::{self, HEADER};
use super::proc::{self, Listener};
use super::{cgroup, env, sock_diag};
use crate::fuzzing::assert_one_line;
use crate::metrics::usage;

/// The files of `/proc`, each reader on the same bytes.
pub fn proc_files(bytes: &[u8]) {
    stat(bytes);
    schedstat(bytes);
    environ(bytes);
    listeners(bytes);
    cgroups(bytes);
}

/// `/proc/PID/stat` of any process: what was read is read back, and both readers agree.
fn stat(line: &[u8]) {
    let Some((stat, name)) = proc::parse_stat(line) else { return };
    let numbers = |count| " 0".repeat(count);
    let (pid, state) = (stat.pid.to_string(), [stat.state]);
    let ids = format!(" {} {} {}", stat.ppid, stat.group, stat.session);
    let end = format!("{} {} 0 {}", numbers(13), stat.threads, stat.start_time);
    let parts = [pid.as_bytes(), b" (", name, b") ", &state, ids.as_bytes(), end.as_bytes()];
    assert_eq!(proc::parse_stat(&parts.concat()), Some((stat, name)));

    let Some(usage) = usage::Stat::parse(&String::from_utf8_lossy(line)) else { return };
    assert!((usage.threads - f64::from(stat.threads)).abs() < 0.5, "{stat:?}");
}

/// `/proc/PID/schedstat` of any process: what was read is read back.
fn schedstat(line: &[u8]) {
    let Some(share) = proc::parse_schedstat(line) else { return };
    let written = format!("{} {} 1\n", share.ran.as_nanos(), share.waited.as_nanos());
    assert_eq!(proc::parse_schedstat(written.as_bytes()), Some(share));
}

/// A variable in `/proc/PID/environ` is found whole or not at all. The name stands before a
/// newline, the environment behind it.
fn environ(bytes: &[u8]) {
    let (name, environ) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (&b"REKINDLE_INSTANCE"[..], bytes),
    };
    let Ok(name) = std::str::from_utf8(name) else { return };
    if name.contains('\0') {
        return;
    }
    let fenced = [b"\0", environ, b"\0"].concat();
    let begin = [b"\0", name.as_bytes(), b"="].concat();
    let expected = fenced.windows(begin.len()).position(|window| window == begin).map(|at| {
        let value = &fenced[at + begin.len()..];
        &value[..value.iter().position(|byte| *byte == 0).expect("it is fenced")]
    });
    assert_eq!(proc::find_variable(environ, name), expected);
}

/// `/proc/net/tcp`: a listener is one line, and is read back.
fn listeners(table: &[u8]) {
    let found: Vec<Listener> = proc::parse_listeners(table).collect();
    assert!(found.len() <= table.split(|byte| *byte == b'\n').count());
    for listener in found {
        let words = |bytes: &[u8]| -> String {
            let word = |word: &[u8]| u32::from_ne_bytes(word.try_into().expect("four bytes"));
            bytes.chunks(4).map(|bytes| format!("{:08X}", word(bytes))).collect::<Vec<_>>().concat()
        };
        let address = match listener.address {
            IpAddr::V4(address) => words(&address.octets()),
            IpAddr::V6(address) => words(&address.octets()),
        };
        let Listener { port, inode, .. } = listener;
        let line = format!("0: {address}:{port:04X} 0:0 0A 0:0 0:0 0 0 0 {inode} 1");
        assert!(proc::parse_listeners(line.as_bytes()).eq([listener]), "{line}");
    }
}

/// A kernel's answer about sockets: no more listeners than fit into it, and they are read back.
pub fn sock_diag(datagram: &[u8]) {
    let mut found = Vec::new();
    sock_diag::parse(datagram, &mut found).ok();
    assert!(found.len() * sock_diag::ANSWER <= datagram.len());
    let mut answer: Vec<u8> = found.iter().flat_map(sock_diag_answer).collect();
    answer.extend([16, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut again = Vec::new();
    let last = sock_diag::parse(&answer, &mut again).expect("it is whole");
    assert_eq!((last, again), (true, found));
}

/// The message in which the kernel tells of one listener.
fn sock_diag_answer(listener: &Listener) -> [u8; sock_diag::ANSWER] {
    let mut message = [0; sock_diag::ANSWER];
    let (family, address) = match listener.address {
        IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
    };
    let length = u32::try_from(message.len()).expect("a few");
    let inode = u32::try_from(listener.inode).expect("it came from 32 bits");
    for (offset, bytes) in [
        (0, length.to_ne_bytes().as_slice()),
        (4, &20_u16.to_ne_bytes()),
        (16, &[u8::try_from(family).expect("a few")]),
        (20, &listener.port.to_be_bytes()),
        (24, &address),
        (84, &inode.to_ne_bytes()),
    ] {
        message[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
    message
}

/// `/proc/PID/cgroup` and, behind an empty line, `/proc/self/mountinfo`: a cgroup is where its
/// hierarchy is mounted, and ours is known by its whole name.
fn cgroups(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (cgroups, mounts) = text.split_once("\n\n").unwrap_or((&text, &text));
    for controller in ["", "memory"] {
        let Some(place) = cgroup::place(cgroups, mounts, controller) else { continue };
        let mut fields = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        let is_below = |mount: &str| {
            place.strip_prefix(mount).is_ok_and(|below| below.iter().all(|part| part != ".."))
        };
        assert!(fields.any(is_below), "{}", place.display());
    }
    let name = "rekindle-ab-gateway";
    let listed = cgroups
        .lines()
        .filter_map(|line| line.strip_prefix("0::/"))
        .any(|path| format!("/{path}/").contains(&format!("/{name}/")));
    assert_eq!(cgroup::is_listed(cgroups, name), listed);
}

/// An `env_file`: each line is a variable, a complaint or nothing, and variables are read back.
pub fn env_file(text: &[u8]) {
    let (variables, bad) = env::parse_file(text);
    let lines = text.split(|byte| *byte == b'\n').count();
    assert!(variables.len() + bad.len() <= lines);
    assert!(bad.is_sorted() && bad.iter().all(|line| (1..=lines).contains(line)));
    let quoted = |(name, value): &(_, _)| {
        let (name, value): (&OsStr, &OsStr) = (AsRef::as_ref(name), AsRef::as_ref(value));
        [name.as_bytes(), b"=\"", value.as_bytes(), b"\"\n"].concat()
    };
    let written: Vec<u8> = variables.iter().flat_map(quoted).collect();
    assert_eq!(env::parse_file(&written), (variables, Vec::new()));

    let warnings =
        env::first_few("env_file", bad.iter().map(|line| env::bad_line("env_file", *line)));
    assert!(warnings.len() <= 9 && warnings.is_empty() == bad.is_empty());
    for warning in &warnings {
        assert_one_line(warning);
    }
}

/// An instance file: what was read is read back, and a cut costs only what is behind it.
pub fn instance(bytes: &[u8]) {
    let Some((id, records, _)) = instance::parse(bytes) else { return };
    assert!(id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit()));
    assert!(records.len() <= 16);
    let lines: String = records.iter().map(instance::line).collect();
    let written = format!("{HEADER}{id}\n{lines}");
    assert_eq!(instance::parse(written.as_bytes()), Some((id.clone(), records.clone(), 0)));

    // Any place will do, as long as the same bytes always give the same one.
    let cut = bytes.iter().fold(0, |cut, byte| (cut * 31 + usize::from(*byte)) % written.len());
    let kept = instance::parse(&written.as_bytes()[..cut]);
    let Some((kept_id, kept, torn)) = kept else {
        return assert!(cut < HEADER.len() + id.len(), "{cut} of {written:?}");
    };
    assert_eq!(kept_id, id);
    assert_eq!(kept, records[..kept.len()]);
    let whole = written.bytes().take(cut).filter(|byte| *byte == b'\n').count().saturating_sub(1);
    assert!(kept.len() == whole || (kept.len() == whole + 1 && torn == 0), "{cut} of {written:?}");
    assert!(torn <= 1);
}
