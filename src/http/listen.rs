//! The doors: the TCP address and the control socket, and how they are opened.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{Mode, fchmod};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};

use crate::paths::is_answered;
use crate::report::{Note, Teller};

/// Says in words who holds the port of an address: `pid 4711 (node)`.
pub type HolderOf = fn(SocketAddr) -> Option<String>;

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// The control socket's file is looked for so often.
const FILE_CHECK: Duration = Duration::from_secs(10);

/// Waiting connections that the kernel keeps for us.
const BACKLOG: i32 = 128;

/// The control socket's file, if there is one that is ours.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnFile(Arc<Mutex<Option<SocketFile>>>);

/// Both doors. They stay open when the runtime that serves them ends; it is given clones.
#[derive(Debug)]
pub(super) struct Doors {
    listen: Option<SocketAddr>,
    control: Option<PathBuf>,
    tcp: Option<TcpListener>,
    unix: Option<UnixListener>,
    /// The control socket's file, while it is ours.
    file: OwnFile,
    retry: Duration,
    shut: bool,
}

impl Doors {
    pub(super) fn new(listen: Option<SocketAddr>, control: Option<PathBuf>) -> Self {
        Self {
            listen,
            control,
            tcp: None,
            unix: None,
            file: OwnFile::default(),
            retry: FIRST_RETRY,
            shut: false,
        }
    }

    /// Opens each door that is wanted and shut.
    pub(super) fn open(&mut self, teller: &Teller, holder_of: HolderOf) {
        if self.shut {
            self.retry = (self.retry * 2).min(LONGEST_RETRY);
        }
        if let (Some(address), None) = (self.listen, &self.tcp) {
            self.tcp = open_tcp(address, teller, holder_of, self.retry);
        }
        if let (Some(path), None) = (&self.control, &self.unix) {
            self.unix = open_unix(path, teller, self.retry);
            self.file.set(self.unix.as_ref().and_then(|_| SocketFile::at(path).ok()));
        }
        self.shut = self.listen.is_some() && self.tcp.is_none()
            || self.control.is_some() && self.unix.is_none();
    }

    /// When to look after them again, if ever: a door is still shut, or its file can be removed.
    pub(super) fn look_in(&self) -> Option<Duration> {
        let shut = self.shut.then_some(self.retry);
        shut.or_else(|| self.unix.as_ref().map(|_| FILE_CHECK))
    }

    /// Shuts the control socket if nobody can find it any more; whether that is so.
    pub(super) fn shut_if_lost(&mut self, teller: &Teller) -> bool {
        if !self.file.is_lost() {
            return false;
        }
        let path = self.control.clone().unwrap_or_default();
        teller.note(&Note::ControlSocketLost { path });
        self.file.set(None);
        self.unix = None;
        true
    }

    /// Where the control socket's file is known, to remove it at the end.
    pub(super) fn file(&self) -> OwnFile {
        self.file.clone()
    }

    /// The open TCP door, for tokio.
    pub(super) fn tcp(&self) -> Option<tokio::net::TcpListener> {
        let listener = self.tcp.as_ref()?.try_clone().ok()?;
        tokio::net::TcpListener::from_std(listener).ok()
    }

    /// The open control socket, for tokio.
    pub(super) fn unix(&self) -> Option<tokio::net::UnixListener> {
        let listener = self.unix.as_ref()?.try_clone().ok()?;
        tokio::net::UnixListener::from_std(listener).ok()
    }
}

impl OwnFile {
    fn set(&self, file: Option<SocketFile>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = file;
    }

    /// Whether it was removed, or another has taken its place.
    fn is_lost(&self) -> bool {
        let file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.as_ref().is_some_and(|file| match SocketFile::at(&file.path) {
            Ok(found) => found != *file,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        })
    }

    /// Removes it for good, unless another has taken its place.
    pub(super) fn remove(&self) -> io::Result<()> {
        // Taken, so that it is not found to be lost while we end.
        let file = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        file.map_or(Ok(()), |file| file.remove())
    }
}

/// The file of a socket that we bound. Another's may take its place.
#[derive(PartialEq, Eq, Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        let found = std::fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: found.dev(), inode: found.ino() })
    }

    fn remove(&self) -> io::Result<()> {
        if Self::at(&self.path)? == *self { std::fs::remove_file(&self.path) } else { Ok(()) }
    }
}

fn open_tcp(
    address: SocketAddr,
    teller: &Teller,
    holder_of: HolderOf,
    again_in: Duration,
) -> Option<TcpListener> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok((listener.local_addr()?, listener))
    });
    match bound {
        Ok((address, listener)) => {
            teller.note(&Note::Listening { address });
            Some(listener)
        }
        Err(error) => {
            let busy = error.kind() == io::ErrorKind::AddrInUse;
            let holder = if busy { holder_of(address) } else { None };
            let error = error.to_string();
            teller.note(&Note::CannotListen { address, holder, error, again_in });
            None
        }
    }
}

fn open_unix(path: &Path, teller: &Teller, again_in: Duration) -> Option<UnixListener> {
    match bind_unix(path) {
        Ok(listener) => Some(listener),
        Err(error) => {
            let (path, error) = (path.to_owned(), error.to_string());
            teller.note(&Note::NoControlSocket { path, error, again_in });
            None
        }
    }
}

/// A socket that only its owner can use, from the moment it exists; a stale one is replaced.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    remove_stale(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Before `bind`: the file gets the socket's own mode, so there is no moment of a wider one.
    fchmod(socket.as_fd(), Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// Removes a socket that nobody listens on; anything else is left alone.
fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is something that is no socket",
        )),
        Ok(_) if is_answered(path)? => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, "another instance listens there"))
        }
        Ok(_) => std::fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;

    use super::*;
    use crate::process::testing::until;

    #[test]
    fn the_control_socket_is_its_owners_only_and_so_is_its_new_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rekindle/gateway/control.sock");
        let _listener = bind_unix(&path).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        drop(bind_unix(&path).unwrap());
        assert!(path.exists(), "a listener leaves its file behind");
        // A process that another test starts has the listener, too, until it is executed.
        let mut live = None;
        until("nobody has it any more", || {
            live = bind_unix(&path).ok();
            live.is_some()
        });
        let error = bind_unix(&path).unwrap_err();
        assert_eq!(error.to_string(), "another instance listens there");
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn one_who_is_too_busy_to_accept_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let busy = bind_unix(&path).unwrap();
        listen(&busy, 0).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || tell.send(bind_unix(&path).unwrap_err().to_string()));
        let error = told.recv_timeout(Duration::from_secs(20)).expect("an answer at once");
        assert_eq!(error, "another instance listens there");
    }

    #[test]
    fn our_own_socket_is_removed_and_anothers_in_its_place_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let _first = bind_unix(&path).unwrap();
        let first = SocketFile::at(&path).unwrap();
        // Kept under another name, so that its number is not given out again.
        std::fs::rename(&path, dir.path().join("kept.sock")).unwrap();
        let _second = bind_unix(&path).unwrap();
        first.remove().unwrap();
        assert!(path.exists(), "it is another's");
        SocketFile::at(&path).unwrap().remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_gone_is_lost_unless_we_have_removed_it() {
        let dir = tempfile::tempdir().unwrap();
        let (path, kept) = (dir.path().join("control.sock"), dir.path().join("kept.sock"));
        let file = OwnFile::default();
        assert!(!file.is_lost(), "there was none");
        let _ours = bind_unix(&path).unwrap();
        file.set(SocketFile::at(&path).ok());
        assert!(!file.is_lost());
        std::fs::rename(&path, &kept).unwrap();
        assert!(file.is_lost());
        let _anothers = bind_unix(&path).unwrap();
        assert!(file.is_lost(), "another's is in its place");
        std::fs::rename(&kept, &path).unwrap();
        file.remove().unwrap();
        assert!(!path.exists() && !file.is_lost());
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        std::fs::write(&path, "precious").unwrap();
        bind_unix(&path).unwrap_err();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
