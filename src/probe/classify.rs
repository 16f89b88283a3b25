//! What a failed system call or a failed exchange says: about the child, or only about us.
//!
//! Decided by error numbers and types, never by the words of a message. What says something about
//! us alone (no descriptors, no route …) must not count against the child.

use std::error::Error;
use std::io;

use rustix::io::Errno;

use crate::supervisor::{FailKind, Verdict, Why};

/// The verdict on an exchange that ended with `error`, and its cause in words.
pub(super) fn exchange(error: &reqwest::Error, unix_socket: bool) -> (Verdict, String) {
    let errno = find(error, |link| link.downcast_ref().and_then(Errno::from_io_error));
    if error.is_dns() {
        return (name_resolution(errno), cause(error));
    }
    if let Some(tls) = find(error, |link| link.downcast_ref::<rustls::Error>()) {
        return (handshake(tls), tls.to_string());
    }
    match errno {
        // TCP keeps us waiting at a server that accepts nothing; a unix socket says so at once.
        Some(Errno::AGAIN) if unix_socket => {
            (Verdict::Fail(FailKind::Timeout), "the server accepts no connections".into())
        }
        Some(errno) => (system_call(errno), io::Error::from(errno).to_string()),
        None => (Verdict::Fail(FailKind::Reset), cause(error)),
    }
}

/// The verdict on a connection that could not be made or was lost.
pub(super) fn system_call(errno: Errno) -> Verdict {
    match errno {
        // A unix socket that is not there is a server that does not listen.
        Errno::CONNREFUSED | Errno::NOENT | Errno::NOTDIR => Verdict::Fail(FailKind::Refused),
        Errno::TIMEDOUT => Verdict::Fail(FailKind::Timeout),
        _ => ours(errno).map_or(Verdict::Fail(FailKind::Reset), Verdict::unknown),
    }
}

/// The verdict on a host name that could not be resolved; whatever it is, it is not the child's.
pub(super) fn name_resolution(errno: Option<Errno>) -> Verdict {
    Verdict::unknown(errno.and_then(ours).unwrap_or(Why::Dns))
}

/// Why `errno` says nothing about the other side, if so.
pub(super) fn ours(errno: Errno) -> Option<Why> {
    match errno {
        Errno::MFILE | Errno::NFILE => Some(Why::NoDescriptors),
        Errno::NOMEM | Errno::AGAIN | Errno::NOBUFS => Some(Why::NoResources),
        Errno::ADDRNOTAVAIL | Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::NETDOWN => {
            Some(Why::NoRoute)
        }
        // A kernel without IPv6 says so of an IPv6 address.
        Errno::AFNOSUPPORT => Some(Why::NoRoute),
        Errno::ACCESS | Errno::PERM => Some(Why::Denied),
        _ => None,
    }
}

fn handshake(error: &rustls::Error) -> Verdict {
    if let rustls::Error::InvalidCertificate(_) = error {
        Verdict::unknown(Why::CertificateNotTrusted)
    } else {
        Verdict::Fail(FailKind::Tls)
    }
}

/// The innermost message: what really happened, without the URL that the outer ones repeat.
fn cause(error: &(dyn Error + 'static)) -> String {
    let mut last = String::new();
    find(error, |link| {
        last = link.to_string();
        None::<()>
    });
    last
}

/// The first answer that `look` gives for a link in the chain of causes.
///
/// `io::Error::source` skips the error that it wraps, so that one is asked for by name.
fn find<'a, T>(
    error: &'a (dyn Error + 'static),
    mut look: impl FnMut(&'a (dyn Error + 'static)) -> Option<T>,
) -> Option<T> {
    let mut next = Some(error);
    while let Some(link) = next {
        if let Some(found) = look(link) {
            return Some(found);
        }
        let wrapped = link.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => link.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_are_told_apart_into_the_childs_and_ours() {
        let fail = Verdict::Fail;
        let unknown = Verdict::unknown;
        for (errno, verdict) in [
            (Errno::CONNREFUSED, fail(FailKind::Refused)),
            (Errno::NOENT, fail(FailKind::Refused)),
            (Errno::NOTDIR, fail(FailKind::Refused)),
            (Errno::CONNRESET, fail(FailKind::Reset)),
            (Errno::CONNABORTED, fail(FailKind::Reset)),
            (Errno::PIPE, fail(FailKind::Reset)),
            (Errno::NOTCONN, fail(FailKind::Reset)),
            (Errno::TIMEDOUT, fail(FailKind::Timeout)),
            (Errno::MFILE, unknown(Why::NoDescriptors)),
            (Errno::NFILE, unknown(Why::NoDescriptors)),
            (Errno::NOMEM, unknown(Why::NoResources)),
            (Errno::AGAIN, unknown(Why::NoResources)),
            (Errno::NOBUFS, unknown(Why::NoResources)),
            (Errno::ADDRNOTAVAIL, unknown(Why::NoRoute)),
            (Errno::NETUNREACH, unknown(Why::NoRoute)),
            (Errno::HOSTUNREACH, unknown(Why::NoRoute)),
            (Errno::NETDOWN, unknown(Why::NoRoute)),
            (Errno::AFNOSUPPORT, unknown(Why::NoRoute)),
            (Errno::ACCESS, unknown(Why::Denied)),
            (Errno::PERM, unknown(Why::Denied)),
        ] {
            assert_eq!(system_call(errno), verdict, "{errno:?}");
        }
    }

    #[test]
    fn a_name_that_cannot_be_resolved_never_counts_against_the_child() {
        for (errno, why) in [
            (None, Why::Dns),
            (Some(Errno::CONNREFUSED), Why::Dns),
            (Some(Errno::TIMEDOUT), Why::Dns),
            (Some(Errno::MFILE), Why::NoDescriptors),
            (Some(Errno::NOMEM), Why::NoResources),
        ] {
            assert_eq!(name_resolution(errno), Verdict::unknown(why), "{errno:?}");
        }
    }

    #[test]
    fn an_error_wrapped_in_an_io_error_is_found() {
        let number = io::Error::from(Errno::MFILE);
        let wrapped = io::Error::other(io::Error::other(number));
        let found = find(&wrapped, |link| link.downcast_ref().and_then(Errno::from_io_error));
        assert_eq!(found, Some(Errno::MFILE));
    }
}
