//! Processes beside the tree: probe and capture programs, each with somebody waiting for its end.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use rustix::process::Signal;
use tokio::sync::oneshot;

use super::kill::{self, Identified};
use super::proc::{self, Stat};
use super::reaper::Dead;
use super::world;
use crate::supervisor::Exit;

/// Who waits for which process; shared by the driver, the trees and the runs.
#[derive(Clone, Default, Debug)]
pub struct Registry(Rc<RefCell<Beside>>);

#[derive(Default, Debug)]
struct Beside {
    runs: BTreeMap<String, Run>,
    /// The tree's main process, or its last one: while somebody is in its group its pid is not given
    /// out again.
    main: Option<u32>,
}

/// A run that goes on.
#[derive(Debug)]
struct Run {
    /// Its first process, which leads its group, until that is reaped, and who waits for its end.
    leader: Option<(u32, oneshot::Sender<Exit>)>,
    /// What of it was killed and may be there yet.
    killed: BTreeSet<Identified>,
    is_given_up: bool,
}

/// Whose a process is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Whose {
    /// A part of this run.
    Run(String),
    /// The tree's.
    Tree,
}

impl Registry {
    /// Hands a death to whoever waits for it and kills what is left of its group.
    ///
    /// Whether anybody waited. To be called before the process is reaped: its zombie holds the
    /// group's id.
    pub fn claim(&self, dead: Dead) -> bool {
        let mut beside = self.0.borrow_mut();
        let Some(run) = beside.runs.values_mut().find(|run| run.is_led_by(dead.pid)) else {
            return false;
        };
        // Some are told by their group alone, and by nothing once that is gone.
        run.killed.extend(world::left(|stat| stat.group == dead.pid));
        // ESRCH: nothing is left of it.
        kill::group(dead.pid, Signal::KILL).ok();
        if let Some((_, waiting)) = run.leader.take() {
            // Whoever waited may have given up.
            waiting.send(dead.exit).ok();
        }
        true
    }

    /// Whether this child of ours is beside the tree.
    pub fn holds(&self, pid: u32) -> bool {
        self.0.borrow().runs.values().any(|run| run.is_led_by(pid))
    }

    /// Registers a run whose first process was just started, before anybody can have peeked for it.
    /// What has this value of the probe's variable is beside the tree, until the run is over.
    pub(super) fn begin(&self, run: &str, leader: u32) -> oneshot::Receiver<Exit> {
        let (waiting, end) = oneshot::channel();
        let leader = Some((leader, waiting));
        let fresh = Run { leader, killed: BTreeSet::new(), is_given_up: false };
        self.0.borrow_mut().runs.insert(run.to_owned(), fresh);
        end
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
            !run.is_given_up || !run.killed.is_empty() || run.leader.is_some()
        });
    }

    /// This is the tree's main process from now on.
    pub(super) fn set_main(&self, main: u32) {
        self.0.borrow_mut().main = Some(main);
    }

    /// Whose a process is, if that is known without its environment: whoever reads that of a process
    /// that hangs as it maps a file hangs, too.
    pub(super) fn whose(&self, stat: &Stat) -> Option<Whose> {
        let (beside, process) = (self.0.borrow(), Identified::from(stat));
        let is_of = |run: &Run| {
            run.killed.contains(&process) || run.is_led_by(stat.pid) || run.is_led_by(stat.group)
        };
        if let Some((id, _)) = beside.runs.iter().find(|(_, run)| is_of(run)) {
            return Some(Whose::Run(id.clone()));
        }
        let main = beside.main?;
        [stat.pid, stat.group].contains(&main).then_some(Whose::Tree)
    }

    /// Whether the run with this value of the probe's variable goes on.
    pub fn goes_on(&self, run: &[u8]) -> bool {
        str::from_utf8(run).is_ok_and(|run| self.0.borrow().runs.contains_key(run))
    }
}

impl Run {
    fn is_led_by(&self, pid: u32) -> bool {
        self.leader.as_ref().is_some_and(|(leader, _)| *leader == pid)
    }
}
