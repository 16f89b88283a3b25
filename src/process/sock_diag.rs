//! Which sockets listen on a TCP port, asked of the kernel.
//!
//! `/proc/net/tcp` walks the machine's whole table of connections, which takes milliseconds even
//! where it is empty; the kernel's socket diagnostics walk what listens, and nothing else. Where
//! there are none (some sandboxes), `/proc` is read after all. Who holds a socket is not known
//! here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

use super::proc::{self, Listener};

/// Messages of `linux/netlink.h`.
const NLMSG_DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// `TCP_LISTEN` as a bit among the states asked for.
const LISTEN: u32 = 1 << 10;

/// The lengths of `nlmsghdr`, and of it with an `inet_diag_req_v2` or `inet_diag_msg` behind it.
const HEADER: usize = 16;
const REQUEST: usize = HEADER + 56;
pub(super) const ANSWER: usize = HEADER + 72;

/// The kernel never sends more than this at once, unless it is told that there is more room.
const DATAGRAM: usize = 8192;

/// Asks which sockets listen.
#[derive(Debug)]
pub(super) struct Listeners {
    /// To the kernel; `None` where it does not answer.
    kernel: Option<OwnedFd>,
}

impl Listeners {
    /// Opens the way to the kernel, if there is one.
    pub(super) fn new() -> Self {
        let flags = SocketFlags::CLOEXEC;
        let kernel = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(SOCK_DIAG));
        Self { kernel: kernel.ok() }
    }

    /// What listens on `port` in our network namespace, on any address; `None` if nobody tells.
    pub(super) fn on(&mut self, port: u16) -> Option<Vec<Listener>> {
        if let Some(kernel) = &self.kernel {
            match ask(kernel, port) {
                Ok(listeners) => return Some(listeners),
                // For good: a kernel that lacks the module looks for it on disk each time.
                Err(_) => self.kernel = None,
            }
        }
        let mut listeners = proc::listeners()?;
        listeners.retain(|listener| listener.port == port);
        Some(listeners)
    }
}

fn ask(kernel: &OwnedFd, port: u16) -> io::Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        let to_kernel = SocketAddrNetlink::new(0, 0);
        sendto(kernel, &request(family, port), SendFlags::empty(), &to_kernel)?;
        loop {
            let mut datagram = [0; DATAGRAM];
            // The kernel has answered by now: it never makes us wait.
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            let (_, length) = recv(kernel, datagram.as_mut_slice(), flags)?;
            let messages = datagram.get(..length).ok_or(io::ErrorKind::InvalidData)?;
            if parse(messages, &mut listeners)? {
                break;
            }
        }
    }
    Ok(listeners)
}

/// A request for every socket of this family that listens on this port.
fn request(family: AddressFamily, port: u16) -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    let length = u32::try_from(REQUEST).expect("72").to_ne_bytes();
    let family = u8::try_from(family.as_raw()).expect("2 or 10");
    for (offset, bytes) in [
        (0, length.as_slice()),
        (4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes()),
        (6, &DUMP.to_ne_bytes()),
        (HEADER, &[family, 6]),
        (HEADER + 4, &LISTEN.to_ne_bytes()),
        (HEADER + 8, &port.to_be_bytes()),
    ] {
        request[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
    request
}

/// Takes the listeners out of a datagram; whether it was the last one.
pub(super) fn parse(mut messages: &[u8], listeners: &mut Vec<Listener>) -> io::Result<bool> {
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    while let Some((length, rest)) = messages.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_ne_bytes(*length)).map_err(|_| broken())?;
        let kind = rest.first_chunk::<2>().map(|kind| u16::from_ne_bytes(*kind));
        let message = messages.get(..length).filter(|_| length >= HEADER).ok_or_else(broken)?;
        match kind {
            Some(NLMSG_DONE) => return Ok(true),
            Some(SOCK_DIAG_BY_FAMILY) => listeners.extend(listener(message)),
            // An error, or something that nobody asked for.
            _ => return Err(broken()),
        }
        messages = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn listener(message: &[u8]) -> Option<Listener> {
    let message: &[u8; ANSWER] = message.first_chunk()?;
    let at = |offset: usize| &message[HEADER + offset..];
    let address = match i32::from(message[HEADER]) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::from(*at(8).first_chunk::<4>()?)),
        libc::AF_INET6 => Ipv6Addr::from(*at(8).first_chunk::<16>()?).to_canonical(),
        _ => return None,
    };
    let port = u16::from_be_bytes(*at(4).first_chunk()?);
    let inode = u32::from_ne_bytes(*at(68).first_chunk()?);
    Some(Listener { address, port, inode: inode.into() })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use proptest::prelude::*;

    use super::*;
    use crate::process::{property, testing::until};

    /// Whether this machine has it; says so if a test must be skipped.
    fn kernel() -> Option<OwnedFd> {
        let kernel = Listeners::new().kernel.filter(|kernel| ask(kernel, 1).is_ok());
        if kernel.is_none() {
            println!("skipped: no socket diagnostics");
        }
        kernel
    }

    #[test]
    fn the_kernel_and_proc_name_the_same_sockets() {
        let Some(kernel) = kernel() else { return };
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let Ok(socket) = TcpListener::bind(address) else {
                println!("skipped: {address}");
                continue;
            };
            let port = socket.local_addr().expect("bound").port();
            // While other tests open sockets, the pages of /proc/net/tcp are not of one moment.
            until(&format!("both name the socket on {address}"), || {
                let found = ask(&kernel, port).expect("it answered before");
                let listeners = proc::listeners().expect("/proc/net/tcp").into_iter();
                found.len() == 1 && listeners.filter(|l| l.port == port).eq(found)
            });
        }
    }

    #[test]
    fn a_port_that_nobody_listens_on_has_no_listener_though_it_is_connected() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let server = socket.local_addr().expect("bound");
        let client = std::net::TcpStream::connect(server).expect("it listens");
        let port = client.local_addr().expect("connected").port();
        assert_eq!(Listeners::new().on(port), Some(Vec::new()));
        assert_eq!(Listeners::new().on(server.port()).map(|found| found.len()), Some(1));
    }

    #[test]
    fn without_a_kernel_that_answers_proc_is_read() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = socket.local_addr().expect("bound").port();
        let deaf = std::os::unix::net::UnixDatagram::unbound().expect("a descriptor");
        let mut listeners = Listeners { kernel: Some(deaf.into()) };
        assert_eq!(listeners.on(port).map(|found| found.len()), Some(1));
        assert!(listeners.kernel.is_none(), "not asked again");
    }

    #[test]
    fn an_error_or_a_torn_message_is_no_answer() {
        let mut found = Vec::new();
        let mut error = request(AddressFamily::INET, 80);
        error[4] = 2;
        assert!(parse(&error, &mut found).is_err());
        let torn = &request(AddressFamily::INET, 80)[..40];
        assert!(parse(torn, &mut found).is_err());
        assert!(parse(&[0; HEADER], &mut found).is_err(), "a length of 0 never ends");
        assert!(found.is_empty());
    }

    proptest! {
        #[test]
        fn whatever_the_kernel_answers_the_property_holds(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            property::sock_diag(&bytes);
        }

        #[test]
        fn whatever_almost_right_message_comes_the_property_holds(bytes in proptest::collection::vec(any::<u8>(), ANSWER), length in 0..100_u32) {
            let header = [length.to_ne_bytes().as_slice(), &SOCK_DIAG_BY_FAMILY.to_ne_bytes()].concat();
            property::sock_diag(&[&header, &bytes[6..]].concat());
        }
    }
}
