//! What the edges know about a probe's answer: whose it was, and whether the child and we could
//! have run.

use std::time::Duration;

use super::Driver;
use super::probers::{Answered, either_waited};
use crate::config::ImpostorMode;
use crate::process::port::Holder;
use crate::report::Note;
use crate::supervisor::{Event, FailKind, PortHolder, Role, Verdict, Why};

impl Driver {
    pub(super) fn who_holds_the_port(&mut self) -> PortHolder {
        let Some((port, _)) = &mut self.port else { return PortHolder::NoStranger };
        let holder = port.holder(&mut self.tree.borrow_mut());
        let (number, is_forward) = (port.port(), port.is_forward(&holder));
        self.reporter.forwarded_by(port.forward());
        self.tell_holder(number, &holder);
        if is_forward { PortHolder::NoStranger } else { PortHolder::from(&holder) }
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
        self.probers.answered(role, answer.verdict);
        let verdict = self.doubt(answered);
        if role == Role::Liveness && verdict == Verdict::Pass {
            self.oom_kills.survive();
        }
        self.reporter.probe_answered(self.clock.now(), role, verdict, took, answer);
        self.feed(Event::Probed { id, role, probe, verdict });
    }

    /// What the edges know about an answer: whose it was, and whether the child and we could have run.
    fn doubt(&mut self, answered: &Answered) -> Verdict {
        let verdict = answered.answer.verdict;
        if verdict == Verdict::Pass && self.answered_by_impostor(answered.role) {
            return Verdict::Fail(FailKind::Impostor);
        }
        let longest = self.probers.longest(answered.role);
        let mut tree = self.tree.borrow_mut();
        let believed = believed(verdict, answered.took, longest, || {
            let over = either_waited(&mut tree).saturating_sub(answered.waited);
            over + answered.standstill.until(self.clock.now(), &tree.queue())
        });
        let (Verdict::Fail(kind), Role::Startup) = (believed, answered.role) else {
            return believed;
        };
        let (waited, queue) = (tree.waited(), tree.queue());
        if self.starting.was_starved(self.clock.now(), waited, queue) {
            Verdict::Inconclusive { why: Why::Starved, instead_of: Some(kind) }
        } else {
            believed
        }
    }

    fn answered_by_impostor(&mut self, role: Role) -> bool {
        let Some((port, roles)) = &mut self.port else { return false };
        if self.service.impostor == ImpostorMode::Off || !roles.contains(&role) {
            return false;
        }
        let holder = port.holder(&mut self.tree.borrow_mut());
        port.answered_by(&holder);
        let (number, is_impostor) = (port.port(), port.is_impostor(&holder));
        self.reporter.forwarded_by(port.forward());
        self.tell_holder(number, &holder);
        is_impostor && self.service.impostor == ImpostorMode::Auto
    }
}

/// What is left of `verdict` if the probe took so long, at most `longest` of which can be its own
/// timeout, while the child's tree or we were runnable without running for `waited`.
fn believed(
    verdict: Verdict,
    took: Duration,
    longest: Duration,
    waited: impl FnOnce() -> Duration,
) -> Verdict {
    let Verdict::Fail(kind) = verdict else { return verdict };
    let instead_of = Some(kind);
    if took > longest {
        // Its own timeout should have ended it long before: it was we who slept.
        Verdict::Inconclusive { why: Why::Late, instead_of }
    } else if kind == FailKind::Timeout && waited() * 2 > took {
        Verdict::Inconclusive { why: Why::Starved, instead_of }
    } else {
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_those_who_slept_or_starved_are_not_believed() {
        let (timeout, refused) =
            (Verdict::Fail(FailKind::Timeout), Verdict::Fail(FailKind::Refused));
        let doubted = |why, kind| Verdict::Inconclusive { why, instead_of: Some(kind) };
        let dns = Verdict::unknown(Why::Dns);
        for (verdict, took, waited, expected) in [
            (timeout, 1000, 0, timeout),
            (timeout, 1250, 0, timeout),
            (timeout, 1251, 0, doubted(Why::Late, FailKind::Timeout)),
            (refused, 1251, 0, doubted(Why::Late, FailKind::Refused)),
            (timeout, 1000, 500, timeout),
            (timeout, 1000, 501, doubted(Why::Starved, FailKind::Timeout)),
            (refused, 1000, 1000, refused),
            (Verdict::Pass, 5000, 5000, Verdict::Pass),
            (dns, 5000, 5000, dns),
        ] {
            let [took, longest, waited] = [took, 1250, waited].map(Duration::from_millis);
            assert_eq!(believed(verdict, took, longest, || waited), expected, "{verdict} {took:?}");
        }
    }
}
