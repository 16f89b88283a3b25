//! Processes beside the tree: probe and capture programs, each with somebody waiting for its end.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use rustix::process::Signal;
use tokio::sync::oneshot;

use super::kill::{self, Identified};
use super::proc;
use super::reaper::Dead;
use super::world;
use crate::supervisor::Exit;

/// Who waits for which process; shared by the driver, the trees and the runs.
#[derive(Clone, Default, Debug)]
pub struct Registry(Rc<RefCell<Beside>>);

#[derive(Default, Debug)]
struct Beside {
    waiting: BTreeMap<u32, oneshot::Sender<Exit>>,
    runs: BTreeMap<String, Run>,
    /// The tree's main process.
    main: Option<u32>,
}

/// A run that goes on.
#[derive(Debug)]
struct Run {
    /// Its first process, which leads its group.
    leader: u32,
    /// What of it was killed and may be there yet.
    killed: BTreeSet<Identified>,
    is_given_up: bool,
}

impl Registry {
    /// Hands a death to whoever waits for it and kills what is left of its group.
    ///
    /// Whether anybody waited. To be called before the process is reaped: its zombie holds the
    /// group's id.
    pub fn claim(&self, dead: Dead) -> bool {
        let Some(waiting) = self.0.borrow_mut().waiting.remove(&dead.pid) else { return false };
        self.killed_by_group(dead.pid);
        // ESRCH: nothing is left of it.
        kill::group(dead.pid, Signal::KILL).ok();
        // Whoever waited may have given up.
        waiting.send(dead.exit).ok();
        true
    }

    /// Whether this child of ours is beside the tree.
    pub fn holds(&self, pid: u32) -> bool {
        self.0.borrow().waiting.contains_key(&pid)
    }

    /// Registers a process that was just started, before anybody can have peeked for it.
    pub(super) fn expect(&self, pid: u32) -> oneshot::Receiver<Exit> {
        let (waiting, end) = oneshot::channel();
        self.0.borrow_mut().waiting.insert(pid, waiting);
        end
    }

    /// What has this value of the probe's variable is beside the tree, until the run is over.
    pub(super) fn begin(&self, run: &str, leader: u32) {
        let fresh = Run { leader, killed: BTreeSet::new(), is_given_up: false };
        self.0.borrow_mut().runs.insert(run.to_owned(), fresh);
    }

    /// The group of a run's first process is about to be killed. Nothing else may tell that its
    /// members are a part of the run, and what cannot die must not pass for a part of the tree.
    fn killed_by_group(&self, leader: u32) {
        let members = world::left(|stat| stat.group == leader);
        if let Some(run) = self.0.borrow_mut().runs.values_mut().find(|run| run.leader == leader) {
            run.killed.extend(members);
        }
    }

    /// This was killed as a part of the run, however it is told later.
    pub(super) fn killed(&self, run: &str, processes: &[Identified]) {
        if let Some(run) = self.0.borrow_mut().runs.get_mut(run) {
            run.killed.extend(processes);
        }
    }

    /// Nobody waits for this run any more: it goes on until nothing of what was killed is there.
    pub(super) fn give_up(&self, run: &str) {
        if let Some(run) = self.0.borrow_mut().runs.get_mut(run) {
            run.is_given_up = true;
        }
        self.settle();
    }

    /// Kills again what is there yet although it was killed; which runs go on is known then.
    pub fn settle(&self) {
        self.0.borrow_mut().runs.retain(|_, run| {
            run.killed.retain(|process| {
                // What is there all the same is looked at next.
                kill::exactly(*process, Signal::KILL).ok();
                // Without the means to look, it may be alive.
                proc::look_at(process.pid).map_or(true, |found| {
                    found.is_some_and(|stat| stat.is_alive() && Identified::from(&stat) == *process)
                })
            });
            !run.is_given_up || !run.killed.is_empty()
        });
    }

    /// Whether it is a part of a run that goes on, and was killed.
    pub(super) fn has_killed(&self, process: Identified) -> bool {
        self.killed_for(process).is_some()
    }

    /// The run that goes on and for which it was killed.
    pub(super) fn killed_for(&self, process: Identified) -> Option<String> {
        let beside = self.0.borrow();
        let (id, _) = beside.runs.iter().find(|(_, run)| run.killed.contains(&process))?;
        Some(id.clone())
    }

    /// This is the tree's main process from now on.
    pub(super) fn set_main(&self, main: Option<u32>) {
        self.0.borrow_mut().main = main;
    }

    /// Whether it is the tree's main process.
    pub(super) fn is_main(&self, pid: u32) -> bool {
        self.0.borrow().main == Some(pid)
    }

    /// Whether the run with this value of the probe's variable goes on.
    pub fn goes_on(&self, run: &[u8]) -> bool {
        str::from_utf8(run).is_ok_and(|run| self.0.borrow().runs.contains_key(run))
    }
}
