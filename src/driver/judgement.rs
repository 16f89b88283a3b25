//! What the edges know about a probe's answer: whose it was, and whether the child could have run.

use super::Driver;
use super::probers::Answered;
use crate::config::ImpostorMode;
use crate::process::port::Holder;
use crate::report::Note;
use crate::supervisor::{Event, FailKind, PortHolder, Role, Verdict, Why};

impl Driver {
    pub(super) fn who_holds_the_port(&mut self) -> PortHolder {
        let Some((port, _)) = &mut self.port else { return PortHolder::NoStranger };
        let holder = port.holder(&mut self.tree.borrow_mut());
        let number = port.port();
        self.tell_holder(number, &holder);
        PortHolder::from(&holder)
    }

    /// Names whoever else holds the port.
    fn tell_holder(&mut self, port: u16, holder: &Holder) {
        let holder = match holder {
            Holder::Stranger(stranger) => Some(stranger.words()),
            Holder::Unknown => None,
            Holder::Elsewhere | Holder::Nobody | Holder::Ours => return,
        };
        self.say_once(&Note::PortHolder { port, holder });
    }

    pub(super) fn answered(&mut self, answered: &Answered) {
        let Answered { id, role, probe, ref answer, took, .. } = *answered;
        let verdict = self.doubt(answered);
        self.reporter.probe_answered(self.clock.now(), role, verdict, took, &answer.detail);
        self.feed(Event::Probed { id, role, probe, verdict });
    }

    /// What the edges know about an answer: whose it was, and whether the child could have run.
    fn doubt(&mut self, answered: &Answered) -> Verdict {
        let verdict = answered.answer.verdict;
        match verdict {
            // Its own timeout should have ended it long before: it was we who slept.
            Verdict::Fail(kind) if answered.took > self.probers.longest(answered.role) => {
                Verdict::Inconclusive { why: Why::Late, instead_of: Some(kind) }
            }
            Verdict::Pass if self.answered_by_impostor(answered.role) => {
                Verdict::Fail(FailKind::Impostor)
            }
            Verdict::Fail(FailKind::Timeout) => {
                let delay = self.tree.borrow_mut().run_delay();
                let starved = delay.saturating_sub(answered.run_delay);
                if starved * 2 > answered.took {
                    let instead_of = Some(FailKind::Timeout);
                    Verdict::Inconclusive { why: Why::Starved, instead_of }
                } else {
                    verdict
                }
            }
            Verdict::Pass | Verdict::Fail(_) | Verdict::Inconclusive { .. } => verdict,
        }
    }

    fn answered_by_impostor(&mut self, role: Role) -> bool {
        let Some((port, roles)) = &mut self.port else { return false };
        if self.service.impostor == ImpostorMode::Off || !roles.contains(&role) {
            return false;
        }
        let Some(stranger) = port.impostor(&mut self.tree.borrow_mut()) else { return false };
        self.tell_holder(stranger.port, &Holder::Stranger(stranger));
        self.service.impostor == ImpostorMode::Auto
    }
}
