//! From a host name to addresses, without a thread wherever that can be.
//!
//! The system's resolver blocks, so it runs on a helper thread, and only for names that need it:
//! addresses and `localhost` are answered here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::{Semaphore, oneshot};

/// So many look-ups at most may hang at a time; more wait for one of them to end.
pub(super) const MOST_LOOK_UPS: u32 = 8;

/// Holds a permit for each look-up that is under way.
pub(super) static LOOK_UPS: Semaphore = Semaphore::const_new(MOST_LOOK_UPS as usize);

/// All addresses of `host`, IPv6 first.
///
/// The order decides which failure is seen when all of them fail: the last. A machine without IPv6
/// would otherwise hide a refused connection behind an unreachable network.
pub(super) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(literal) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(literal, port)]);
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![(Ipv6Addr::LOCALHOST, port).into(), (Ipv4Addr::LOCALHOST, port).into()]);
    }
    let found = ask_the_system((host.to_owned(), port)).await?.into_iter();
    let (mut addresses, v4): (Vec<_>, Vec<_>) = found.partition(SocketAddr::is_ipv6);
    addresses.extend(v4);
    Ok(addresses)
}

/// On a thread of our own: the runtime's pool panics where no thread can be had.
async fn ask_the_system(name: (String, u16)) -> io::Result<Vec<SocketAddr>> {
    let permit = LOOK_UPS.acquire().await.map_err(io::Error::other)?;
    let (tell, told) = oneshot::channel();
    std::thread::Builder::new().name("resolver".to_owned()).spawn(move || {
        // Whoever asked may have given up.
        tell.send(name.to_socket_addrs().map(Iterator::collect)).ok();
        drop(permit);
    })?;
    told.await.map_err(io::Error::other)?
}

/// Whether `host` can only be this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || literal.is_ok_and(|address| address.is_loopback())
}

/// The same for the HTTP client. Clones share what they know.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolver {
    resolving: Arc<AtomicBool>,
}

impl Resolver {
    /// Whether the last exchange is waiting for an address, or was when it was cut off.
    pub(super) fn is_resolving(&self) -> bool {
        self.resolving.load(Ordering::Relaxed)
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolving = Arc::clone(&self.resolving);
        Box::pin(async move {
            resolving.store(true, Ordering::Relaxed);
            // Port 0 leaves the port to the URL.
            let addresses = resolve(name.as_str(), 0).await;
            resolving.store(false, Ordering::Relaxed);
            Ok(Box::new(addresses?.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_is_both_loopback_addresses_and_ipv4_has_the_last_word() {
        let addresses = resolve("LocalHost", 7).await.unwrap();
        assert_eq!(addresses, ["[::1]:7".parse().unwrap(), "127.0.0.1:7".parse().unwrap()]);
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["localhost", "127.0.0.1", "127.8.9.1", "::1", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["10.0.0.1", "localhost.example.com", "128.0.0.1", "::2", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
