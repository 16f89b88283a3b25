//! Processes beside the tree: probe and capture programs, each with somebody waiting for its end.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use rustix::io::Errno;
use rustix::process::Signal;
use tokio::sync::oneshot;

use super::kill::{self, Identified};
use super::reaper::Dead;
use crate::supervisor::Exit;

/// Who waits for which process; shared by the driver, the trees and the runs.
#[derive(Clone, Default, Debug)]
pub struct Registry(Rc<RefCell<Beside>>);

#[derive(Default, Debug)]
struct Beside {
    waiting: BTreeMap<u32, oneshot::Sender<Exit>>,
    /// The runs that go on; of those that were given up, what is left although it was killed.
    runs: BTreeMap<String, Option<BTreeSet<Identified>>>,
}

impl Registry {
    /// Hands a death to whoever waits for it and kills what is left of its group.
    ///
    /// Whether anybody waited. To be called before the process is reaped: its zombie holds the
    /// group's id.
    pub fn claim(&self, dead: Dead) -> bool {
        let Some(waiting) = self.0.borrow_mut().waiting.remove(&dead.pid) else { return false };
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
        self.0.borrow_mut().runs.insert(run.to_owned(), None);
    }

    /// Nobody waits for this run any more: it goes on until nothing of what is left is there.
    pub(super) fn give_up(&self, run: &str, left: BTreeSet<Identified>) {
        self.0.borrow_mut().runs.insert(run.to_owned(), Some(left));
        self.settle();
    }

    /// Kills again what is left of the runs that were given up; those of which nothing is are over.
    pub fn settle(&self) {
        self.0.borrow_mut().runs.retain(|_, left| {
            let Some(left) = left else { return true };
            // Without the means to look at it, it may be there.
            left.retain(|process| kill::exactly(*process, Signal::KILL) != Err(Errno::SRCH));
            !left.is_empty()
        });
    }

    /// Whether the run with this value of the probe's variable goes on.
    pub fn goes_on(&self, run: &[u8]) -> bool {
        str::from_utf8(run).is_ok_and(|run| self.0.borrow().runs.contains_key(run))
    }
}
