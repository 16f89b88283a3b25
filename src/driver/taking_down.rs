//! Signals to the tree, the dead, and what earlier runs left: from the order to the last death.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{Captured, Driver};
use crate::gather::gather;
use crate::process::sweep::{self, Swept, Traces};
use crate::process::{proc, reaper};
use crate::report::Note;
use crate::supervisor::{Event, Incarnation, Outcome, Signal, Target};

/// So many deaths are handled before other news gets a turn.
const DEATHS_PER_TURN: usize = 1024;

/// While a tree is being taken down it is looked at so often, should a death go unnoticed.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl Driver {
    pub(super) fn captured(&mut self, captured: &Captured) {
        self.reporter.captured(&captured.capture);
        self.feed(Event::Captured(captured.id));
    }

    pub(super) fn signal(&mut self, id: Incarnation, to: Target, signal: Signal) {
        if let Some(capture) = self.capturer.give_up() {
            self.reporter.captured(&capture);
        }
        match to {
            Target::Main => {
                // ESRCH: it has ended and its death is on its way.
                self.tree.borrow().signal_main(signal).ok();
            }
            Target::Tree => {
                self.leaving = Some(id);
                self.killing = signal == Signal::Kill;
                self.look_at = self.clock.now() + LOOK_AGAIN;
                self.signal_tree(signal);
                self.owe_the_end();
            }
        }
    }

    fn signal_tree(&mut self, signal: Signal) {
        let delivered = self.tree.borrow_mut().signal_all(signal);
        if let Err(undelivered) = delivered {
            let text = format!("pid {}: {}", undelivered.pid, undelivered.errno);
            self.say_once(&Note::Undelivered { signal, text });
        }
    }

    /// Handles each death while its zombie still holds pid and group, then reaps it.
    pub(super) fn bury(&mut self) {
        for _ in 0..DEATHS_PER_TURN {
            let Some(dead) = reaper::peek() else {
                self.registry.settle();
                self.owe_the_end();
                return self.pay();
            };
            let main = self.tree.borrow().main().filter(|main| main.pid == dead.pid);
            if main.is_some() {
                if let Some((id, program)) = self.main.take() {
                    self.launcher.ended(program);
                    let exit = self.oom_kills.explain(dead.exit);
                    self.feed(Event::Exited { id, exit });
                }
                self.tree.borrow_mut().reap_main(dead.pid);
            } else {
                self.registry.claim(dead);
                reaper::reap(dead.pid);
            }
        }
        self.signals.deaths.more();
    }

    /// If the tree that is being taken down is gone, the core is to hear of it.
    fn owe_the_end(&mut self) {
        if let Some(id) = self.leaving
            && self.tree.borrow_mut().is_gone()
        {
            self.leaving = None;
            self.killing = false;
            self.owed.push_back(Event::Gone(id));
        }
    }

    /// However many deaths keep the loop turning: who forks and ends all the time is not let go on.
    pub(super) fn look_again_if_due(&mut self) {
        if self.leaving.is_some() && self.look_at <= self.clock.now() {
            self.bury();
            if self.killing && self.leaving.is_some() && self.has_grown() {
                self.signal_tree(Signal::Kill);
            }
            // Only now: where a look takes longer than that, others get their turn, too.
            self.look_at = self.clock.now() + LOOK_AGAIN;
        }
    }

    /// Whether the tree has a member that was not there at the last kill.
    fn has_grown(&mut self) -> bool {
        let members: BTreeSet<_> = gather(self.tree.borrow_mut().members());
        let grown = !members.is_subset(&self.struck);
        self.struck = members;
        grown
    }

    /// What is left of earlier runs is ended on the side; the answer comes as news.
    pub(super) fn sweep(&self) {
        let (mark, earlier) = (self.mark.clone(), Arc::clone(&self.earlier));
        let (tree, done) = (Rc::clone(&self.tree), self.swept.0.clone());
        tokio::task::spawn_local(async move {
            let cgroup = tree.borrow().cgroup().cloned();
            let traces = Traces { mark: &mark, earlier: &earlier, cgroup: cgroup.as_ref() };
            // The receiver lives as long as the loop.
            done.send(sweep::sweep(traces).await).ok();
        });
    }

    pub(super) fn swept(&mut self, swept: &Swept) {
        for left_over in &swept.gone {
            let (pid, name) = (left_over.process.pid, left_over.name.clone());
            self.reporter.note(&Note::LeftOverKilled { pid, name });
        }
        for left_over in &swept.left {
            let (pid, name) = (left_over.process.pid, left_over.name.clone());
            self.say_once(&Note::LeftBehind { pid, name });
        }
        if let Some(error) = swept.unseen.clone() {
            self.say_once(&Note::CannotLook { error });
        }
        if swept.left.is_empty() && swept.unseen.is_none() {
            let port = self.who_holds_the_port();
            self.feed(Event::Swept { port });
        } else {
            self.feed(Event::SweepFailed);
        }
    }

    pub(super) fn name_what_is_left(&mut self, outcome: Outcome) {
        if !outcome.leaves_something() {
            return;
        }
        for member in self.tree.borrow_mut().members() {
            let name = proc::name(member.pid);
            self.reporter.note(&Note::LeftBehind { pid: member.pid, name });
        }
    }
}
