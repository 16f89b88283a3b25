//! The tree of one service: its main process, and everything that came from it.
//!
//! A tree knows who its members are and signals them, and nobody else. It does not decide when,
//! does not wait, and reads no clock. Membership is worked out from `/proc` each time it matters,
//! because processes come and go without telling us.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Signal as Number;

use super::cgroup::Cgroup;
use super::kill::{self, Identified};
use super::proc::{self, Stat};
use super::registry::Whose;
use super::run::PROBE_VARIABLE;
use super::waiting::{Queue, WaitMeter};
use super::world::{Ids, World};
use super::{MARK_VARIABLE, Mark, Process, Registry, reaper};
use crate::gather::gather;
use crate::supervisor::{DrillFault, Signal};

/// How often a kill looks for processes that were forked meanwhile.
const KILL_ROUNDS: usize = 32;

/// What is believed about an orphan that re-parents to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Orphans {
    /// It is ours: as a subreaper, with one service, all our descendants are.
    AllOurs,
    /// It is ours only if something identifies it: as PID 1 we get everybody's orphans.
    OnlyIdentified,
}

/// A signal that a member of the tree did not get, although it lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Undelivered {
    /// The member.
    pub pid: u32,
    /// Why not.
    pub errno: Errno,
}

/// The processes of one service.
#[derive(Debug)]
pub struct Tree {
    mark: Mark,
    stop_signal: Number,
    orphans: Orphans,
    beside: Registry,
    cgroup: Option<Cgroup>,
    main: Option<Process>,
    members: BTreeMap<u32, Stat>,
    ids: Ids,
    origins: BTreeMap<Identified, Origin>,
    waits: WaitMeter,
}

impl Tree {
    /// A tree without any process, whose main process is asked to end by `stop_signal`.
    pub fn new(mark: Mark, stop_signal: Number, orphans: Orphans) -> Self {
        Self {
            mark,
            stop_signal,
            orphans,
            beside: Registry::default(),
            cgroup: None,
            main: None,
            members: BTreeMap::new(),
            ids: Ids::default(),
            origins: BTreeMap::new(),
            waits: WaitMeter::default(),
        }
    }

    /// Never takes what this registry holds, nor what came from it, for a member, while it goes on.
    #[must_use]
    pub fn beside(self, registry: Registry) -> Self {
        Self { beside: registry, ..self }
    }

    /// Takes everything in this cgroup for a member.
    #[must_use]
    pub fn within(self, cgroup: Option<Cgroup>) -> Self {
        Self { cgroup, ..self }
    }

    /// The cgroup that this tree's processes are started in.
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_ref()
    }

    /// Takes a process that was just started as the main one. What an earlier one left stays.
    pub fn launched(&mut self, process: Process) {
        self.main = Some(process);
        self.beside.set_main(process.pid);
        self.waits.look_again();
        self.ids.remember(process.pid, Some(process.start_time));
    }

    /// The main process, until it is reaped.
    pub fn main(&self) -> Option<Process> {
        self.main
    }

    /// Reaps what was the main process: until then its pid and group are certainly its own.
    ///
    /// The next main process may have been launched already: the child, once the hook has ended.
    pub fn reap_main(&mut self, pid: u32) {
        if self.main.is_some_and(|main| main.pid == pid) {
            self.main = None;
        }
        self.members.remove(&pid);
        reaper::reap(pid);
    }

    /// All living members, looked up anew.
    pub fn members(&mut self) -> Vec<Identified> {
        self.scan();
        self.members.values().map(Identified::from).collect()
    }

    /// Whether nothing of the tree is alive and the main process is reaped.
    pub fn is_gone(&mut self) -> bool {
        if !reaper::has_children() {
            self.members.clear();
            return true;
        }
        if self.main.is_some() || self.cgroup.as_ref().is_some_and(Cgroup::is_populated) {
            return false;
        }
        // A process that forks and ends while we look can hide its child from one look.
        let mut nobody = || self.scan() && self.members.is_empty();
        nobody() && nobody()
    }

    /// Signals the main process; an error is `ESRCH` if there is none.
    pub fn signal_main(&self, signal: Signal) -> Result<(), Errno> {
        let main = self.main.ok_or(Errno::SRCH)?;
        kill::child(main.pid, self.number(signal))?;
        if wakes(signal) { kill::child(main.pid, Number::CONT) } else { Ok(()) }
    }

    /// Breaks the main process for a drill; an error is `ESRCH` if there is none.
    pub fn break_main(&self, fault: DrillFault) -> Result<(), Errno> {
        let number = match fault {
            DrillFault::Killed => Number::KILL,
            DrillFault::Hang => Number::STOP,
        };
        kill::child(self.main.ok_or(Errno::SRCH)?.pid, number)
    }

    /// Signals every member once, also one that a first look missed. A kill goes on until no new
    /// member appears.
    pub fn signal_all(&mut self, signal: Signal) -> Result<(), Undelivered> {
        if signal == Signal::Kill {
            return self.kill_all();
        }
        // A process that forks and ends while we look can hide its child from one look. Both looks
        // come before the signal: many a program does not end in peace when it is asked twice.
        self.scan();
        let mut members = self.members.clone();
        self.scan();
        members.extend(self.members.iter().map(|(pid, stat)| (*pid, *stat)));
        let members: Vec<Stat> = members.into_values().collect();
        let result = self.signal_each(&members, self.number(signal));
        if wakes(signal) {
            return result.and(self.signal_each(&members, Number::CONT));
        }
        result
    }

    fn kill_all(&mut self) -> Result<(), Undelivered> {
        self.cgroup.as_ref().map(Cgroup::kill);
        let mut reached = BTreeSet::new();
        let mut result = Ok(());
        for round in 0..KILL_ROUNDS {
            self.scan();
            let members = self.members.values();
            let fresh: Vec<Stat> =
                members.filter(|stat| reached.insert(Identified::from(*stat))).copied().collect();
            // The first time regardless: where `/proc` shows nothing, there still is the group.
            if fresh.is_empty() && round > 0 {
                break;
            }
            result = result.and(self.signal_each(&fresh, Number::KILL));
        }
        result
    }

    /// Whether a member holds the socket with this inode; `None` if some may not be looked at.
    pub fn holds_socket(&mut self, inode: u64) -> Option<bool> {
        let mut complete = true;
        for member in self.members() {
            match proc::sockets(member.pid) {
                Some(inodes) if inodes.contains(&inode) => return Some(true),
                Some(_) => {}
                // It may have ended just now; what is dead holds nothing.
                None => complete &= proc::stat(member.pid).is_none_or(|stat| !stat.is_alive()),
            }
        }
        complete.then_some(false)
    }

    /// How long members have waited for a processor, as far as it is over, since the tree was made.
    ///
    /// Only differences mean something. The set of processes is looked up anew only now and then,
    /// so that calls around each probe cost little.
    pub fn waited(&mut self) -> Duration {
        if self.waits.is_lookup_due() {
            self.scan();
        }
        self.waits.sample(self.members.values().map(Identified::from))
    }

    /// Which members wait for a processor now, or have one, looked up anew. From now on
    /// [`Self::waited`] knows of each of them.
    pub fn queue(&mut self) -> Queue {
        self.scan();
        let members = || self.members.values().map(Identified::from);
        self.waits.meet(members());
        Queue::look(members())
    }

    /// One signal to the main process's group, in which nobody can escape it by forking, and one
    /// to each member outside it.
    fn signal_each(&self, members: &[Stat], signal: Number) -> Result<(), Undelivered> {
        let group = self.main.map(|main| main.pid);
        let group = group.filter(|group| kill::group(*group, signal).is_ok());
        let (own, mut result) = (std::process::id(), Ok(()));
        for member in members.iter().filter(|member| Some(member.group) != group) {
            // Nobody else reaps our children, so that their pids are certainly their own.
            let sent = if member.ppid == own {
                kill::child(member.pid, signal)
            } else {
                kill::exactly(Identified::from(member), signal)
            };
            match sent {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => result = result.and(Err(Undelivered { pid: member.pid, errno })),
            }
        }
        result
    }

    fn number(&self, signal: Signal) -> Number {
        match signal {
            Signal::Stop => self.stop_signal,
            Signal::Term => Number::TERM,
            Signal::Kill => Number::KILL,
            Signal::Quit => Number::QUIT,
            Signal::Usr1 => Number::USR1,
            Signal::Usr2 => Number::USR2,
        }
    }

    /// Looks the members up anew; whether that could be done. Else they are who they were.
    fn scan(&mut self) -> bool {
        if self.is_only_dead_main_left() {
            // Looking at every process of a busy machine takes longer than a restart.
            self.members.clear();
            return true;
        }
        let inside: BTreeSet<u32> =
            gather(self.cgroup.as_ref().map(Cgroup::members).unwrap_or_default());
        let world = match self.orphans {
            Orphans::AllOurs => {
                World::look_below(inside.iter().chain(self.members.keys()).copied())
            }
            Orphans::OnlyIdentified => World::look(),
        };
        let Ok(world) = world else { return false };
        if !world.processes.contains_key(&world.own) {
            // Nothing can be seen, not even ourselves.
            return false;
        }
        self.ids.forget_stale(&world);
        let members = world.select(|stat| {
            if stat.pid == world.own || matches!(self.beside.whose(stat), Some(Whose::Run(_))) {
                return Some(false);
            }
            self.is_member_itself(stat, &world, &inside).then_some(true)
        });
        let Ok(hidden) = self.hidden_children(&world) else { return false };
        let members = members.into_iter().chain(hidden);
        self.members = gather(members.map(|stat| (stat.pid, stat)));
        self.origins.retain(|process, _| world.has(*process));
        for member in self.members.values() {
            for id in [member.group, member.session] {
                if id > 1 && !world.own_ids.contains(&id) {
                    self.ids.remember(id, world.processes.get(&id).map(|leader| leader.start_time));
                }
            }
        }
        true
    }

    /// Our own children that `/proc` does not show: another user's where it is mounted with
    /// `hidepid`. As a mere subreaper all of them are the tree's.
    fn hidden_children(&self, world: &World) -> io::Result<Vec<Stat>> {
        if self.orphans != Orphans::AllOurs {
            return Ok(Vec::new());
        }
        let children = proc::look_at_children(world.own)?.unwrap_or_default().into_iter();
        let is_hidden = |pid: &u32| {
            !world.processes.contains_key(pid)
                && !self.beside.holds(*pid)
                && proc::stat(*pid).is_none()
        };
        let hidden = |pid| Stat {
            pid,
            state: b'?',
            ppid: world.own,
            group: 0,
            session: 0,
            threads: 1,
            start_time: 0,
        };
        Ok(children.filter(is_hidden).map(hidden).collect())
    }

    /// Whether the main process has ended and we have no other child: a dead process has none, so
    /// whatever came from it would be ours by now. `false` where that cannot be told.
    fn is_only_dead_main_left(&self) -> bool {
        let Some(main) = self.main else { return false };
        let is_dead = || proc::stat(main.pid).is_some_and(|stat| !stat.is_alive());
        is_dead()
            && self.cgroup.as_ref().is_none_or(|cgroup| !cgroup.is_populated())
            && proc::children(std::process::id()).is_some_and(|children| children == [main.pid])
    }

    /// Whether a process is a member by itself, rather than by descending from one.
    fn is_member_itself(&mut self, stat: &Stat, world: &World, inside: &BTreeSet<u32>) -> bool {
        let process = Identified::from(stat);
        if self.main.is_some_and(|main| [stat.pid, stat.group].contains(&main.pid))
            || self.members.get(&stat.pid).is_some_and(|member| Identified::from(member) == process)
            || inside.contains(&stat.pid)
        {
            return true;
        }
        match self.orphans {
            Orphans::AllOurs => {
                stat.ppid == world.own
                    && match self.origin(process) {
                        Origin::Run(run) => !self.beside.goes_on(&run),
                        Origin::Tree | Origin::Unknown => true,
                    }
            }
            Orphans::OnlyIdentified => {
                self.ids.contains(stat.group)
                    || self.ids.contains(stat.session)
                    || match self.origin(process) {
                        Origin::Tree => true,
                        // What a run that is over left behind falls to the tree.
                        Origin::Run(run) => self.mark.has_run(&run) && !self.beside.goes_on(&run),
                        Origin::Unknown => false,
                    }
            }
        }
    }

    /// Reading an environment is dear, and what a process was started with is kept until it execs.
    /// One that execs keeps its origin: whoever wants to escape can do so in other ways, too. But
    /// what could not be read, as in the middle of an exec, is read again the next time.
    fn origin(&mut self, process: Identified) -> Origin {
        if let Some(origin) = self.origins.get(&process) {
            return origin.clone();
        }
        let Some(environ) = proc::environ(process.pid) else { return Origin::Unknown };
        let origin = Origin::of(&environ, &self.mark);
        self.origins.insert(process, origin.clone());
        origin
    }
}

/// Where a process comes from, by what its environment says.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Origin {
    /// It has our mark.
    Tree,
    /// A probe's program started it: in this run.
    Run(Vec<u8>),
    /// It says nothing about that, or cannot be read.
    Unknown,
}

impl Origin {
    fn of(environ: &[u8], mark: &Mark) -> Self {
        let ours = mark.value().into_encoded_bytes();
        if proc::find_variable(environ, MARK_VARIABLE) == Some(&ours) {
            return Self::Tree;
        }
        let run = proc::find_variable(environ, PROBE_VARIABLE);
        run.map_or(Self::Unknown, |run| Self::Run(run.to_vec()))
    }
}

/// Whether a stopped process should be continued so that it can act on the signal.
fn wakes(signal: Signal) -> bool {
    matches!(signal, Signal::Stop | Signal::Term)
}

#[cfg(test)]
mod tests;
