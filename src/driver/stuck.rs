//! Whether one more program for an `exec` probe is to be started while earlier ones do not end.
//!
//! Where a disk does not answer, SIGKILL ends nobody. Whose fault that is shows when the child is
//! gone: what it kept waiting ends with it, and what does not was not its doing.

use std::collections::BTreeMap;

use crate::supervisor::Role;

/// No more programs go on at once than this: for one probe of this launch, and for all earlier
/// launches together.
pub(super) const MOST: usize = 10;

/// What is to be done for the next probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    Start,
    /// This launch's last programs go on: one more would hang as they do.
    HangsAsTheOthers,
    /// Programs for earlier launches have outlived their children: the probe tells nothing.
    Blind,
}

/// The runs that were started, as far as they go on.
#[derive(Default)]
pub(super) struct Runs {
    of_this_launch: BTreeMap<Role, Vec<String>>,
    of_earlier_launches: Vec<String>,
}

impl Runs {
    /// Decides on a probe, and forgets the runs that do not go on.
    pub(super) fn next(&mut self, role: Role, goes_on: impl Fn(&str) -> bool) -> Next {
        let own = self.of_this_launch.entry(role).or_default();
        own.retain(|run| goes_on(run));
        self.of_earlier_launches.retain(|run| goes_on(run));
        if own.len() >= MOST {
            Next::HangsAsTheOthers
        } else if self.of_earlier_launches.len() >= MOST {
            Next::Blind
        } else {
            Next::Start
        }
    }

    pub(super) fn began(&mut self, role: Role, run: String) {
        self.of_this_launch.entry(role).or_default().push(run);
    }

    /// There is another child: what goes on now was started for an earlier one.
    pub(super) fn restart(&mut self) {
        let earlier = std::mem::take(&mut self.of_this_launch);
        self.of_earlier_launches.extend(earlier.into_values().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts programs that do not end, until no more are.
    fn fill(runs: &mut Runs, role: Role) -> usize {
        (0..100).take_while(|n| start(runs, role, *n)).count()
    }

    fn start(runs: &mut Runs, role: Role, n: usize) -> bool {
        let starts = runs.next(role, |_| true) == Next::Start;
        if starts {
            runs.began(role, format!("{role}-{n}"));
        }
        starts
    }

    #[test]
    fn the_probe_whose_programs_do_not_end_hangs_and_the_others_are_made() {
        let mut runs = Runs::default();
        assert_eq!(fill(&mut runs, Role::Readiness), MOST);
        assert_eq!(runs.next(Role::Readiness, |_| true), Next::HangsAsTheOthers);
        assert_eq!(runs.next(Role::Liveness, |_| true), Next::Start);
    }

    #[test]
    fn what_ends_is_forgotten() {
        let mut runs = Runs::default();
        fill(&mut runs, Role::Liveness);
        assert_eq!(runs.next(Role::Liveness, |run| run != "liveness-3"), Next::Start);
        runs.restart();
        assert_eq!(runs.next(Role::Liveness, |_| false), Next::Start);
        assert!(runs.of_earlier_launches.is_empty());
    }

    #[test]
    fn what_outlives_its_child_was_not_that_ones_doing() {
        let mut runs = Runs::default();
        let mut healed = 0;
        // As many as a threshold of three asks for, at every child.
        while (0..3).all(|n| start(&mut runs, Role::Liveness, n)) {
            runs.restart();
            healed += 1;
        }
        assert_eq!(healed, 4, "12 programs are more than ten");
        assert_eq!(runs.next(Role::Liveness, |_| true), Next::Blind);
    }
}
