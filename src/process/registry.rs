//! Processes beside the tree: probe and capture programs, each with somebody waiting for its end.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::oneshot;

use super::kill;
use super::reaper::Dead;
use crate::supervisor::Exit;

/// How often one looks whether a process that was given up has died.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Who waits for which process; shared by the driver, the trees and the runs.
#[derive(Clone, Default, Debug)]
pub struct Registry(Rc<RefCell<Beside>>);

#[derive(Default, Debug)]
struct Beside {
    waiting: BTreeMap<u32, oneshot::Sender<Exit>>,
    runs: BTreeSet<String>,
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

    /// Waits until this child of ours is not beside the tree any more.
    pub async fn is_rid_of(&self, pid: u32) {
        while self.holds(pid) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
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

    /// Whether the run with this value of the probe's variable goes on.
    pub(super) fn goes_on(&self, run: &[u8]) -> bool {
        str::from_utf8(run).is_ok_and(|run| self.0.borrow().runs.contains(run))
    }
}
