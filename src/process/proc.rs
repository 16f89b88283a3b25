//! What `/proc` says about processes and sockets.
//!
//! The parsers are pure and take any bytes without panicking; the readers around them answer
//! `None` (or nothing) for a process that has vanished or that we may not look at.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::exec;

/// The parts of `/proc/PID/stat` that identify a process and place it among others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// Its pid.
    pub pid: u32,
    /// Its state's letter: `R`, `S`, `D`, `T`, `Z` …
    pub state: u8,
    /// Its parent's pid; 0 if the parent is outside our PID namespace.
    pub ppid: u32,
    /// Its process group.
    pub group: u32,
    /// Its session.
    pub session: u32,
    /// How many threads it has.
    pub threads: u32,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
}

impl Stat {
    /// Whether some thread of it still runs. A leader that ended before its other threads looks
    /// like a zombie, too.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X') || (self.state == b'Z' && self.threads > 1)
    }
}

/// A socket that listens for TCP connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listener {
    /// The address it is bound to; v4-mapped addresses are v4.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// The inode by which `/proc/PID/fd` names it.
    pub inode: u64,
}

/// Reads `/proc/PID/stat`.
pub fn stat(pid: u32) -> Option<Stat> {
    read_stat(pid).ok()?
}

fn read_stat(pid: u32) -> io::Result<Option<Stat>> {
    // The longest possible line: 52 numbers of at most 20 digits, and a name of at most 64 bytes.
    let mut buffer = [0; 1536];
    let length = File::open(format!("/proc/{pid}/stat"))?.read(&mut buffer)?;
    Ok(buffer.get(..length).and_then(parse_stat).map(|(stat, _)| stat))
}

/// The name of a process as the kernel knows it (at most 15 bytes), `?` if it cannot be read.
pub fn name(pid: u32) -> String {
    let Ok(name) = fs::read(format!("/proc/{pid}/comm")) else { return "?".to_owned() };
    String::from_utf8_lossy(name.trim_ascii_end()).into_owned()
}

/// The user that a process belongs to; `None` if it is gone.
pub fn user(pid: u32) -> Option<u32> {
    Some(fs::metadata(format!("/proc/{pid}")).ok()?.uid())
}

/// Reads `/proc/PID/stat`, too; an error if we have not the means to look. Any other failure says
/// that it has ended, or is hidden from us.
pub fn look_at(pid: u32) -> io::Result<Option<Stat>> {
    Ok(unless_scarce(read_stat(pid))?.flatten())
}

/// All processes that we can see; an error if we have not the means to look at each.
pub fn processes() -> io::Result<Vec<Stat>> {
    let mut processes = Vec::new();
    for pid in pids()? {
        processes.extend(look_at(pid?)?);
    }
    Ok(processes)
}

/// How many processes we can see, at a fraction of the cost of looking at each.
pub fn count() -> io::Result<usize> {
    pids()?.try_fold(0, |count, pid| pid.map(|_| count + 1))
}

fn pids() -> io::Result<impl Iterator<Item = io::Result<u32>>> {
    let entries = unless_scarce(fs::read_dir("/proc"))?.into_iter().flatten();
    Ok(entries.filter_map(|entry| match unless_scarce(entry) {
        Ok(entry) => number(entry?.file_name().as_encoded_bytes()).map(Ok),
        Err(error) => Some(Err(error)),
    }))
}

/// Whether `/proc` hides other users' processes from us (its mount option `hidepid`): we are there,
/// and the first process of all is not.
pub fn hides_others() -> bool {
    let is_hidden = |error: io::Error| {
        matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
    };
    stat(std::process::id()).is_some() && read_stat(1).is_err_and(is_hidden)
}

/// A failure says something about what is looked at, unless it is we who lack something.
fn unless_scarce<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) =>
        {
            Err(error)
        }
        other => Ok(other.ok()),
    }
}

/// The children of a process, zombies included; `None` if it is gone or the kernel does not list
/// them.
///
/// A child stays in the list until it is reaped, so that whoever reaps can rely on it: what is not
/// in it had no living descendant when the look began. A parent that reaps while its list is read
/// can hide another child from it.
pub fn children(pid: u32) -> Option<Vec<u32>> {
    look_at_children(pid).ok()?
}

/// The same; an error if we have not the means to look.
pub fn look_at_children(pid: u32) -> io::Result<Option<Vec<u32>>> {
    let mut children = Vec::new();
    let tasks = format!("/proc/{pid}/task");
    let Some(tasks) = unless_scarce(fs::read_dir(tasks))? else { return Ok(None) };
    for task in tasks {
        let Some(task) = unless_scarce(task)? else { return Ok(None) };
        let task = task.path();
        match unless_scarce(fs::read(task.join("children")))? {
            Some(list) => {
                children.extend(list.split(u8::is_ascii_whitespace).filter_map(number::<u32>));
            }
            // A thread that has ended left its children to another one.
            None if !unless_scarce(task.try_exists())?.unwrap_or_default() => {}
            None => return Ok(None),
        }
    }
    Ok(Some(children))
}

/// The ids of a process' threads. Each has a `/proc/ID` of its own, which is not listed there.
pub fn threads(pid: u32) -> impl Iterator<Item = u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    tasks.filter_map(|task| number(task.ok()?.file_name().as_encoded_bytes()))
}

/// What a thread has got of the processors, and how long it has waited for it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Share {
    /// It ran for so long.
    pub ran: Duration,
    /// It was runnable without running for so long. A wait is added when it is over.
    pub waited: Duration,
}

/// Reads `/proc/ID/schedstat` of a thread; the id of a process' main thread is its pid.
pub fn share(id: u32) -> Option<Share> {
    parse_schedstat(&fs::read(format!("/proc/{id}/schedstat")).ok()?)
}

/// The environment that a process was started with; `None` if we may not look, and while there is
/// none: in the middle of an exec, and once it is dead.
pub fn environ(pid: u32) -> Option<Vec<u8>> {
    let read = || fs::read(format!("/proc/{pid}/environ"));
    let environ = match read() {
        // Root in a container may lack the right to look at others, but may become them.
        Err(error)
            if error.kind() == io::ErrorKind::PermissionDenied
                && rustix::process::geteuid().is_root() =>
        {
            let owner = fs::metadata(format!("/proc/{pid}")).ok()?;
            exec::look_as(owner.uid(), owner.gid(), read)
        }
        read => read,
    };
    environ.ok().filter(|environ| !environ.is_empty())
}

/// The value of the variable `name` that a process was started with.
pub fn variable(pid: u32, name: &str) -> Option<Vec<u8>> {
    find_variable(&environ(pid)?, name).map(<[u8]>::to_vec)
}

/// The value of the variable `name` in an environment as `/proc` shows it.
pub fn find_variable<'a>(environ: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let value = |variable: &'a [u8]| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"=");
    environ.split(|byte| *byte == 0).find_map(value)
}

/// The inodes of the sockets that a process holds; `None` if we may not look.
pub fn sockets(pid: u32) -> Option<Vec<u64>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    Some(
        targets
            .filter_map(|target| parse_socket_link(target.as_os_str().as_encoded_bytes()))
            .collect(),
    )
}

/// Everything that listens for TCP connections in our network namespace; `None` if neither table
/// can be read.
pub fn listeners() -> Option<Vec<Listener>> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read(path).ok());
    if tables.iter().all(Option::is_none) {
        return None;
    }
    Some(tables.iter().flatten().flat_map(|table| parse_listeners(table)).collect())
}

/// What a file of `/proc` or `/sys` says. Names in it may be any bytes: what is not UTF-8 is replaced.
pub fn text(path: impl AsRef<Path>) -> Option<String> {
    Some(String::from_utf8_lossy(&fs::read(path).ok()?).into_owned())
}

/// The kernel's random name for the time since it booted.
pub fn boot_id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = id.trim();
    (!id.is_empty()).then(|| id.to_owned())
}

/// When the kernel booted, by the wall clock as it is now, as the time since 1970.
pub fn boot_time() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// `/proc/PID/stat` and the process' name in it, which may itself contain `)`, spaces and newlines.
pub fn parse_stat(line: &[u8]) -> Option<(Stat, &[u8])> {
    let open = line.iter().position(|byte| *byte == b'(')?;
    let close = line.iter().rposition(|byte| *byte == b')')?;
    let name = line.get(open + 1..close)?;
    let mut fields =
        line.get(close + 1..)?.split(u8::is_ascii_whitespace).filter(|f| !f.is_empty());
    let stat = Stat {
        pid: number(line.get(..open)?.trim_ascii())?,
        state: *fields.next()?.first()?,
        ppid: number(fields.next()?)?,
        // Group and session are -1 or 0 for processes that have none that we can see.
        group: number(fields.next()?).unwrap_or(0),
        session: number(fields.next()?).unwrap_or(0),
        threads: number(fields.nth(13)?)?,
        start_time: number(fields.nth(1)?)?,
    };
    Some((stat, name))
}

/// The first two fields of `/proc/PID/schedstat`.
pub fn parse_schedstat(line: &[u8]) -> Option<Share> {
    let mut fields = line.split(u8::is_ascii_whitespace).map(number);
    let mut span = || fields.next().flatten().map(Duration::from_nanos);
    Some(Share { ran: span()?, waited: span()? })
}

/// The listening sockets in `/proc/net/tcp` or `tcp6`; lines that make no sense are skipped.
pub fn parse_listeners(table: &[u8]) -> impl Iterator<Item = Listener> {
    table.split(|byte| *byte == b'\n').filter_map(parse_listener)
}

fn parse_listener(line: &[u8]) -> Option<Listener> {
    const LISTEN: &[u8] = b"0A";
    let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let local = fields.nth(1)?;
    if fields.nth(1)? != LISTEN {
        return None;
    }
    let inode = number(fields.nth(5)?)?;
    let colon = local.iter().position(|byte| *byte == b':')?;
    let port = u16::from_str_radix(std::str::from_utf8(local.get(colon + 1..)?).ok()?, 16).ok()?;
    Some(Listener { address: parse_address(local.get(..colon)?)?, port, inode })
}

/// An address as words of eight hexadecimal digits, each a number in the machine's byte order.
fn parse_address(hex: &[u8]) -> Option<IpAddr> {
    let mut bytes = [0; 16];
    let length = hex.len() / 2;
    for (word, digits) in bytes.chunks_exact_mut(4).zip(hex.chunks_exact(8)) {
        let number = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        word.copy_from_slice(&number.to_ne_bytes());
    }
    match length {
        4 => Some(IpAddr::V4(Ipv4Addr::from(*bytes.first_chunk::<4>()?))),
        16 => Some(Ipv6Addr::from(bytes).to_canonical()),
        _ => None,
    }
}

/// The inode in `socket:[INODE]`.
fn parse_socket_link(target: &[u8]) -> Option<u64> {
    number(target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?)
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::process::property;
    use crate::process::testing::{Started, sh, until};

    const TAIL: &str = " S 1 4711 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 11 0 98765 1 2 3";

    #[test]
    fn a_name_with_parentheses_spaces_and_newlines_does_not_confuse_the_fields() {
        for name in ["node", "a b", ") S 9 9 (", "x\ny", "((", "", ")"] {
            let line = format!("4711 ({name}){TAIL}");
            let (stat, found) = parse_stat(line.as_bytes()).expect("a whole line");
            assert_eq!(found, name.as_bytes());
            let expected = Stat {
                pid: 4711,
                state: b'S',
                ppid: 1,
                group: 4711,
                session: 42,
                threads: 11,
                start_time: 98765,
            };
            assert_eq!(stat, expected);
        }
    }

    #[test]
    fn our_own_process_is_read_like_any_other() {
        let pid = std::process::id();
        let own = stat(pid).expect("/proc is mounted");
        assert_eq!(own.pid, pid);
        assert!(own.is_alive() && own.start_time > 0);
        assert!(
            processes()
                .unwrap()
                .iter()
                .any(|other| other.pid == pid && other.start_time == own.start_time)
        );
        assert!(share(pid).is_some_and(|share| share.ran > Duration::ZERO));
        assert_eq!(boot_id().map(|id| id.len()), Some(36));
        assert!(stat(u32::MAX).is_none());
        assert_eq!(name(u32::MAX), "?");
        assert_eq!(user(pid), Some(rustix::process::geteuid().as_raw()));
        assert_eq!(user(u32::MAX), None);
    }

    #[test]
    fn a_child_is_listed_until_it_is_reaped() {
        let own = || children(std::process::id()).expect("our kernels list them");
        let child = Started::new(sh("exit 0"));
        until("it is dead", || stat(child.0.pid).is_some_and(|stat| !stat.is_alive()));
        assert!(own().contains(&child.0.pid));
        child.wait();
        assert!(!own().contains(&child.0.pid));
        assert_eq!(children(u32::MAX), None);
    }

    #[test]
    fn a_leader_that_ended_before_its_threads_is_alive() {
        let stat =
            |state, threads| Stat { state, threads, ..stat(std::process::id()).expect("/proc") };
        assert!(stat(b'Z', 2).is_alive());
        assert!(!stat(b'Z', 1).is_alive());
        assert!(!stat(b'X', 1).is_alive());
        assert!(stat(b'T', 1).is_alive());
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn listeners_of_both_families_are_read_and_connections_are_not() {
        let table = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:4965 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0 100 0\n\
            \x20  1: 0100007F:4965 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1000        0 4243 1 0 100 0\n\
            \x20  2: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7 1 0 100 0 0 10 0\n\
            \x20  3: 0000000000000000FFFF00000100007F:0051 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 8 1 0 100 0 0 10 0\n\
            torn line 0A";
        let found: Vec<_> =
            parse_listeners(table).map(|l| (l.address.to_string(), l.port, l.inode)).collect();
        let expected = [("127.0.0.1", 0x4965, 4242), ("::1", 0x50, 7), ("127.0.0.1", 0x51, 8)];
        assert_eq!(found, expected.map(|(address, port, inode)| (address.to_owned(), port, inode)));
    }

    #[test]
    fn a_socket_that_we_open_is_found_under_its_inode() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = socket.local_addr().expect("bound").port();
        let listeners = listeners().expect("/proc/net/tcp");
        let found = listeners.iter().find(|listener| listener.port == port).expect("it listens");
        assert_eq!(found.address, IpAddr::from([127, 0, 0, 1]));
        assert!(sockets(std::process::id()).expect("our own").contains(&found.inode));
    }

    #[test]
    fn a_variable_is_found_whole_or_not_at_all() {
        let environ = b"A=1\0REKINDLE_INSTANCE=ab/gateway\0B=\0";
        assert_eq!(find_variable(environ, "B"), Some(&b""[..]));
        assert_eq!(find_variable(environ, "REKINDLE_INSTANCE"), Some(&b"ab/gateway"[..]));
        for part in ["REKINDLE", "INSTANCE", "REKINDLE_INSTANCE=ab"] {
            assert_eq!(find_variable(environ, part), None, "{part}");
        }
    }

    proptest! {
        #[test]
        fn whatever_bytes_are_read_the_properties_hold(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            property::proc_files(&bytes);
            let _ = parse_socket_link(&bytes);
        }

        #[test]
        fn whatever_environment_is_read_the_property_holds(environ in "[AB]{0,2}\n([AB=\u{0}]{0,3}\u{0}){0,6}") {
            property::proc_files(environ.as_bytes());
        }

        #[test]
        fn whatever_almost_right_line_is_read_the_properties_hold(
            stat in "-?[0-9]{1,11} \\([ -~]{0,8}\\) [RSDTZX]( -?[0-9]{1,3}){19,22}",
            delay in "[0-9]{0,20} [0-9]{0,21} [0-9]{0,3}",
            socket in "[0-9: ]{0,5} ([0-9A-F]{8}|[0-9A-F]{32}):[0-9A-F]{0,5} 0:0 0[A1] 0:0 0:0 0 0 0 [0-9]{0,21}"
        ) {
            for line in [stat, delay, socket] {
                property::proc_files(line.as_bytes());
            }
        }

        #[test]
        fn any_name_is_read_back(name in proptest::collection::vec(any::<u8>(), 0..16)) {
            let line = [b"7 (", &name[..], b")", TAIL.as_bytes()].concat();
            let (stat, found) = parse_stat(&line).expect("a whole line");
            prop_assert_eq!((stat.pid, found), (7, &name[..]));
        }
    }
}
