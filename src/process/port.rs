//! Who listens on the probed port, if it is one of this machine's loopback.
//!
//! It says what is so; what follows from a stranger on the port is the supervisor's to decide.
//! Where we may not look, we do not know, and what we do not know counts as ours. A stranger through
//! whom the child was healthy is a forward; `docs/adr/0009` says how long that is believed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::Tree;
use super::kill::Identified;
use super::proc::{self, Listener, Stat};
use super::sock_diag::Listeners;
use crate::supervisor::PortHolder;

/// Who holds the port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Holder {
    /// The target is not a port of this machine's loopback.
    Elsewhere,
    /// Nobody listens.
    Nobody,
    /// A member of our tree.
    Ours,
    /// A process outside our tree, positively identified.
    Stranger(Stranger),
    /// Somebody whose descriptors we may not see.
    Unknown,
}

impl From<&Holder> for PortHolder {
    fn from(holder: &Holder) -> Self {
        match holder {
            Holder::Stranger(stranger) => Self::Stranger { pid: stranger.process.pid },
            Holder::Elsewhere | Holder::Nobody | Holder::Ours | Holder::Unknown => Self::NoStranger,
        }
    }
}

/// A process outside our tree that holds the port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stranger {
    /// Which.
    pub process: Identified,
    /// The port.
    pub port: u16,
    /// What it is called.
    pub name: String,
    /// Its user.
    pub uid: u32,
}

impl Stranger {
    /// Who it is, in words.
    pub fn words(&self) -> String {
        in_words(self.process.pid, &self.name)
    }
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {} is held by {}", self.port, self.words())
    }
}

/// A forward or sidecar that listens on the port for the child, known again whatever its pid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Forward {
    /// The port.
    pub port: u16,
    /// What it is called.
    pub name: String,
    /// Its user.
    pub uid: u32,
}

impl Forward {
    fn is(&self, stranger: &Stranger) -> bool {
        (self.port, self.uid) == (stranger.port, stranger.uid) && self.name == stranger.name
    }
}

/// Who listens on `address`, in words, if we may know.
pub fn listener_of(address: SocketAddr) -> Option<String> {
    let ours =
        |listener: &Listener| listener.address == address.ip() || listener.address.is_unspecified();
    let listeners = Listeners::new().on(address.port())?;
    let inodes: Vec<u64> =
        listeners.iter().filter(|listener| ours(listener)).map(|l| l.inode).collect();
    let holder = holders(&inodes).next()?;
    Some(in_words(holder.pid, &proc::name(holder.pid)))
}

/// Whoever has one of these sockets, the oldest first: a child has it from its parent, often for no
/// longer than until its `exec`.
fn holders(inodes: &[u64]) -> impl Iterator<Item = Stat> {
    let holds = |sockets: Vec<u64>| inodes.iter().any(|inode| sockets.contains(inode));
    let mut processes = proc::processes().unwrap_or_default();
    processes.sort_by_key(by_age);
    processes.into_iter().filter(move |stat| proc::sockets(stat.pid).is_some_and(holds))
}

/// Pids begin anew when they have come to their end; ticks of the clock are 10 ms.
fn by_age(stat: &Stat) -> (u64, u32) {
    (stat.start_time, stat.pid)
}

fn in_words(pid: u32, name: &str) -> String {
    format!("pid {pid} ({name})")
}

/// Watches one port over one run of one service, and knows its forward from earlier runs.
#[derive(Debug)]
pub struct PortWatch {
    loopback: Vec<IpAddr>,
    port: u16,
    listeners: Listeners,
    was_ours: bool,
    before_launch: Option<Identified>,
    /// The child of this launch was healthy for a while.
    is_settled: bool,
    /// Through whom the child was healthy for a while; none once the port was found to be ours.
    forward: Option<Forward>,
    /// The inodes of the sockets that listen, and whose they were found to be.
    seen: Option<(Vec<u64>, Holder)>,
}

impl PortWatch {
    /// Watches the port that a probe of `host` and `port` reaches. Nobody forwards it yet.
    pub fn new(host: &str, port: u16) -> Self {
        let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let loopback = match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(address) if address.is_loopback() => vec![address],
            Ok(address) if address.is_unspecified() => vec![v4, v6],
            Err(_) if host.eq_ignore_ascii_case("localhost") => vec![v4, v6],
            Ok(_) | Err(_) => Vec::new(),
        };
        let listeners = Listeners::new();
        Self {
            loopback,
            port,
            listeners,
            was_ours: false,
            before_launch: None,
            is_settled: false,
            forward: None,
            seen: None,
        }
    }

    /// Earlier runs knew this forward.
    #[must_use]
    pub fn forwarded_by(self, forward: Option<Forward>) -> Self {
        Self { forward: forward.filter(|forward| forward.port == self.port), ..self }
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Who holds the port. While the same sockets listen, this asks the kernel two short questions.
    pub fn holder(&mut self, tree: &mut Tree) -> Holder {
        if self.loopback.is_empty() {
            return Holder::Elsewhere;
        }
        let Some(listeners) = self.listeners.on(self.port) else { return Holder::Unknown };
        let inodes = self.reached(&listeners);
        let holder = match &self.seen {
            Some((seen, holder)) if *seen == inodes => holder.clone(),
            _ => self.identify(&inodes, tree),
        };
        if holder == Holder::Ours {
            self.was_ours = true;
            self.forward = None;
        }
        self.seen = Some((inodes, holder.clone()));
        holder
    }

    /// Who holds the port just before a launch; remembered for [`Self::is_impostor`].
    pub fn before_launch(&mut self, tree: &mut Tree) -> Holder {
        self.is_settled = false;
        // A stranger may have come to hold, or given up, a socket that was there before.
        self.seen = None;
        let holder = self.holder(tree);
        self.before_launch = match &holder {
            Holder::Stranger(stranger) => Some(stranger.process),
            Holder::Elsewhere | Holder::Nobody | Holder::Ours | Holder::Unknown => None,
        };
        holder
    }

    /// Whether this holder is a stranger who answers in our place: who holds the port although our
    /// tree held it earlier in this run, or who held it before this launch. A forward or sidecar
    /// is none.
    pub fn is_impostor(&self, holder: &Holder) -> bool {
        let Holder::Stranger(stranger) = holder else { return false };
        let was_there = self.before_launch == Some(stranger.process);
        self.was_ours || was_there && !self.is_forward(holder)
    }

    /// The child has been healthy for a while: from now on whoever answers for it is a forward.
    pub fn settled(&mut self, tree: &mut Tree) {
        self.is_settled = true;
        // A program may take its name only after it listens.
        self.seen = None;
        let holder = self.holder(tree);
        self.answered_by(&holder);
    }

    /// A probe has passed through this holder.
    pub fn answered_by(&mut self, holder: &Holder) {
        let Holder::Stranger(stranger) = holder else { return };
        if self.is_settled && !self.is_impostor(holder) && !self.is_forward(holder) {
            let Stranger { port, ref name, uid, .. } = *stranger;
            self.forward = Some(Forward { port, name: name.clone(), uid });
        }
    }

    /// Whether this holder listens on the port for the child: then it is in nobody's way.
    pub fn is_forward(&self, holder: &Holder) -> bool {
        let Holder::Stranger(stranger) = holder else { return false };
        self.forward.as_ref().is_some_and(|forward| forward.is(stranger))
    }

    /// Who listens on the port for the child, if others do.
    pub const fn forward(&self) -> Option<&Forward> {
        self.forward.as_ref()
    }

    /// The sockets that a connection to the loopback reaches: those that are bound to it, or, if
    /// there are none, those that are bound to every address.
    fn reached(&self, listeners: &[Listener]) -> Vec<u64> {
        let on_port = || listeners.iter().filter(|listener| listener.port == self.port);
        let exact: Vec<u64> = on_port()
            .filter(|listener| self.loopback.contains(&listener.address))
            .map(|listener| listener.inode)
            .collect();
        if !exact.is_empty() {
            return exact;
        }
        let v6_only = self.loopback.iter().all(IpAddr::is_ipv6);
        // A socket on `::` takes IPv4 connections, too, unless it says otherwise.
        on_port()
            .filter(|listener| listener.address.is_unspecified())
            .filter(|listener| listener.address.is_ipv6() || !v6_only)
            .map(|listener| listener.inode)
            .collect()
    }

    fn identify(&self, inodes: &[u64], tree: &mut Tree) -> Holder {
        if inodes.is_empty() {
            return Holder::Nobody;
        }
        let mut certain = true;
        for inode in inodes {
            match tree.holds_socket(*inode) {
                Some(true) => return Holder::Ours,
                Some(false) => {}
                None => certain = false,
            }
        }
        if !certain {
            return Holder::Unknown;
        }
        let members = tree.members();
        for stat in holders(inodes) {
            let process = Identified::from(&stat);
            if !members.contains(&process)
                && let Some(uid) = proc::user(stat.pid)
            {
                let (port, name) = (self.port, proc::name(stat.pid));
                return Holder::Stranger(Stranger { process, port, name, uid });
            }
        }
        Holder::Unknown
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use rustix::process::Signal as Number;

    use super::*;
    use crate::process::testing::{Started, alone, sh, until};
    use crate::process::{Mark, Orphans, reaper, spawn};
    use crate::supervisor::Signal;

    fn tree() -> Tree {
        let mark = Mark { instance: "a".repeat(32), service: "gateway".to_owned() };
        Tree::new(mark, Number::TERM, Orphans::OnlyIdentified)
    }

    /// A program that listens on this port, or on any if it is 0, on this host.
    fn server(host: &str, port: u16) -> crate::process::Launchable {
        let script = format!(
            "exec python3 -c 'import socket,time\ns=socket.socket(socket.AF_INET6 if \":\" in \"{host}\" else socket.AF_INET)\n\
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\ns.bind((\"{host}\",{port}))\ns.listen()\ntime.sleep(60)'"
        );
        sh(&script)
    }

    fn impostor(watch: &mut PortWatch, tree: &mut Tree) -> Option<Stranger> {
        let holder = watch.holder(tree);
        let is_impostor = watch.is_impostor(&holder);
        let Holder::Stranger(stranger) = holder else { return None };
        is_impostor.then_some(stranger)
    }

    fn free_port() -> u16 {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        socket.local_addr().expect("bound").port()
    }

    #[test]
    fn only_loopback_is_watched() {
        for (host, watched) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("localhost", true),
            ("[::1]", true),
            ("::ffff:127.0.0.1", true),
            ("0.0.0.0", true),
            ("10.0.0.1", false),
            ("gateway.example", false),
        ] {
            let elsewhere = PortWatch::new(host, 1).holder(&mut tree()) == Holder::Elsewhere;
            assert_eq!(elsewhere, !watched, "{host}");
        }
    }

    #[test]
    fn the_socket_that_a_connection_reaches_counts() {
        let listener = |address: &str, inode| Listener {
            address: address.parse().expect("an address"),
            port: 80,
            inode,
        };
        let all = [
            listener("0.0.0.0", 1),
            listener("::", 2),
            listener("127.0.0.1", 3),
            listener("10.0.0.1", 4),
        ];
        for (host, listeners, expected) in [
            ("127.0.0.1", &all[..], &[3][..]),
            ("127.0.0.1", &all[..2], &[1, 2]),
            ("::1", &all[..], &[2]),
            ("localhost", &all[3..], &[]),
        ] {
            assert_eq!(PortWatch::new(host, 80).reached(listeners), expected, "{host}");
        }
    }

    #[test]
    fn the_oldest_holder_is_told_however_the_pids_are() {
        let stat = |pid, start_time| {
            let (ppid, group) = (1, pid);
            Stat { pid, state: b'S', ppid, group, session: 1, threads: 1, start_time }
        };
        let mut processes = [stat(11, 700), stat(900, 70), stat(12, 700)];
        processes.sort_by_key(by_age);
        assert_eq!(processes.map(|stat| stat.pid), [900, 11, 12]);
    }

    #[test]
    fn our_own_listener_is_told_from_a_stranger_and_from_nobody() {
        alone(|| {
            for host in ["127.0.0.1", "0.0.0.0", "::"] {
                let port = free_port();
                let mut watch = PortWatch::new("127.0.0.1", port);
                let tree = &mut tree();
                assert_eq!(watch.before_launch(tree), Holder::Nobody);

                watch.forward = Some(Forward { port, name: "python3".to_owned(), uid: 0 });
                tree.launched(spawn(server(host, port)).expect("started"));
                until("it listens", || watch.holder(tree) == Holder::Ours);
                assert_eq!(impostor(&mut watch, tree), None);
                assert_eq!(watch.forward(), None, "a port that was ours is nobody else's");
                tree.signal_all(Signal::Kill).expect("ours");
                until("it has ended", || reaper::peek().is_some());
                tree.reap_main(tree.main().expect("not reaped").pid);

                let stranger = Started::new(server(host, port));
                until("a stranger took our port", || impostor(&mut watch, tree).is_some());
                let found = impostor(&mut watch, tree).expect("the same again");
                assert_eq!(found.process.pid, stranger.0.pid);
                watch.settled(tree);
                assert_eq!(watch.forward(), None);
                let text = format!("port {port} is held by pid {} (python3)", stranger.0.pid);
                assert_eq!(found.to_string(), text);
                let holder = PortHolder::from(&watch.holder(tree));
                assert_eq!(holder, PortHolder::Stranger { pid: stranger.0.pid });
            }
        });
    }

    #[test]
    fn a_stranger_is_an_impostor_only_if_it_was_there_before_or_the_port_was_ours() {
        let stranger = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = stranger.local_addr().expect("bound").port();
        let mut sidecar = PortWatch::new("localhost", port);
        assert_eq!(impostor(&mut sidecar, &mut tree()), None);
        assert!(matches!(sidecar.holder(&mut tree()), Holder::Stranger(_)));

        let mut squatter = PortWatch::new("localhost", port);
        assert!(matches!(squatter.before_launch(&mut tree()), Holder::Stranger(_)));
        let found = impostor(&mut squatter, &mut tree()).expect("it was there before");
        assert_eq!(found.process.pid, std::process::id());
    }

    #[test]
    fn who_held_the_port_while_the_child_was_healthy_is_a_forward_and_no_impostor() {
        let forward = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = forward.local_addr().expect("bound").port();
        let (mut watch, tree) = (PortWatch::new("localhost", port), &mut tree());
        let holder = watch.holder(tree);
        watch.answered_by(&holder);
        assert_eq!(watch.forward(), None, "one answer is not a while");
        watch.settled(tree);
        watch.before_launch(tree);
        assert_eq!((impostor(&mut watch, tree), watch.is_forward(&holder)), (None, true));

        // The next run knows it, whatever its pid.
        let known = watch.forward().cloned();
        assert_eq!(known.as_ref().map(|forward| forward.port), Some(port));
        let mut next = PortWatch::new("localhost", port).forwarded_by(known);
        next.before_launch(tree);
        assert_eq!((impostor(&mut next, tree), next.is_forward(&holder)), (None, true));
    }

    #[test]
    fn whoever_is_not_the_forward_that_was_known_is_an_impostor_if_it_was_there_before() {
        let stranger = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = stranger.local_addr().expect("bound").port();
        let tree = &mut tree();
        let Holder::Stranger(Stranger { name, uid, .. }) =
            PortWatch::new("localhost", port).holder(tree)
        else {
            panic!("this process holds the port");
        };
        for (forward, known) in [
            (Forward { port, name: name.clone(), uid }, true),
            (Forward { port, name: "ssh".to_owned(), uid }, false),
            (Forward { port, name: name.clone(), uid: uid + 1 }, false),
            (Forward { port: port ^ 1, name, uid }, false),
        ] {
            let mut watch = PortWatch::new("localhost", port).forwarded_by(Some(forward.clone()));
            watch.before_launch(tree);
            assert_eq!(impostor(&mut watch, tree).is_none(), known, "{forward:?}");
            let before = watch.forward().cloned();
            watch.settled(tree);
            assert_eq!(watch.forward(), before.as_ref(), "an impostor is no forward");
        }
    }

    #[test]
    fn a_forward_is_known_by_the_name_that_it_took_after_it_listened() {
        alone(|| {
            let port = free_port();
            let forward = Started::new(sh(&format!(
                "exec python3 -c 'import socket,time\ns=socket.create_server((\"127.0.0.1\",{port}))\n\
                s.accept()\nopen(\"/proc/self/comm\",\"w\").write(\"forward\")\ntime.sleep(60)'"
            )));
            let (mut watch, tree) = (PortWatch::new("localhost", port), &mut tree());
            until("it listens", || matches!(watch.holder(tree), Holder::Stranger(_)));
            let _asked = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
            until("it has its name", || proc::name(forward.0.pid) == "forward");
            watch.settled(tree);
            assert_eq!(watch.forward().map(|forward| &*forward.name), Some("forward"));
        });
    }

    #[test]
    fn a_forward_that_is_replaced_while_the_child_is_healthy_is_believed_after_it() {
        let forward = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = forward.local_addr().expect("bound").port();
        let older = Forward { port, name: "ssh".to_owned(), uid: 0 };
        let (mut watch, tree) = (PortWatch::new("localhost", port), &mut tree());
        watch.is_settled = true;
        watch.forward = Some(older.clone());
        let holder = watch.holder(tree);
        watch.answered_by(&holder);
        assert_ne!(watch.forward(), Some(&older));
        watch.before_launch(tree);
        assert_eq!(impostor(&mut watch, tree), None);
    }
}
