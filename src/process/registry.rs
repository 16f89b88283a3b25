//! Processes beside the tree: probe and capture programs, each with somebody waiting for its end.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use rustix::process::Signal;
use tokio::sync::oneshot;

use super::kill;
use super::reaper::Dead;
use crate::supervisor::Exit;

/// Who waits for which process; shared by the driver, the trees and the runs.
#[derive(Clone, Default, Debug)]
pub struct Registry(Rc<RefCell<Beside>>);

#[derive(Default, Debug)]
struct Beside {
    waiting: BTreeMap<u32, oneshot::Sender<Exit>>,
    runs: BTreeSet<String>,
    killed: Vec<Killed>,
}

/// A run of which something is alive yet, although it was killed.
#[derive(Debug)]
struct Killed {
    main: Option<u32>,
    run: String,
}

impl Registry {
    /// Hands a death to whoever waits for it and kills what is left of its group.
    ///
    /// Whether anybody waited. To be called before the process is reaped: its zombie holds the
    /// group's id.
    pub fn claim(&self, dead: Dead) -> bool {
        let mut beside = self.0.borrow_mut();
        let Some(waiting) = beside.waiting.remove(&dead.pid) else { return false };
        for killed in &mut beside.killed {
            // Its pid may soon be another's.
            killed.main = killed.main.filter(|main| *main != dead.pid);
        }
        drop(beside);
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
    pub(super) fn begin(&self, run: &str) {
        self.0.borrow_mut().runs.insert(run.to_owned());
    }

    /// Whoever still has this value of the probe's variable was left behind.
    pub(super) fn over(&self, run: &str) {
        self.0.borrow_mut().runs.remove(run);
    }

    /// Something of this run is alive yet, although it was killed: it goes on until nothing is.
    pub(super) fn killed(&self, main: u32, run: String) {
        let main = self.holds(main).then_some(main);
        self.0.borrow_mut().killed.push(Killed { main, run });
    }

    /// Looks for what is left of each run that was killed; how many runs go on.
    pub(super) fn settle(&self, is_left: impl Fn(Option<u32>, &str) -> bool) -> usize {
        let mut killed = std::mem::take(&mut self.0.borrow_mut().killed);
        killed.retain(|killed| {
            let left = is_left(killed.main, &killed.run);
            if !left {
                self.over(&killed.run);
            }
            left
        });
        let mut beside = self.0.borrow_mut();
        beside.killed.extend(killed);
        beside.runs.len()
    }

    /// Whether the run with this value of the probe's variable goes on.
    pub(super) fn goes_on(&self, run: &[u8]) -> bool {
        str::from_utf8(run).is_ok_and(|run| self.0.borrow().runs.contains(run))
    }
}
