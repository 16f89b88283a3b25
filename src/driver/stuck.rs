//! Whether one more program is to be started beside the child while earlier ones do not end.
//!
//! Where a disk does not answer, SIGKILL ends nobody. Whose fault that is shows when the child is
//! gone: what it kept waiting ends with it, and what does not was not its doing.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::supervisor::Role;

/// While so many go on no more are started: for one probe of this launch without an answer in
/// between, and of one program that has nothing to do with this child's silence.
pub(super) const MOST: usize = 10;

/// A program and its arguments.
pub(super) type Argv = Rc<[String]>;

/// The runs that go on, by program.
#[derive(Default)]
pub(super) struct ByProgram(BTreeMap<Argv, Vec<String>>);

impl ByProgram {
    /// Whether [`MOST`] runs of a program go on. Forgets those that do not.
    pub(super) fn has_most(&mut self, argv: &Argv, goes_on: impl Fn(&str) -> bool) -> bool {
        self.0.get_mut(argv).map_or(0, |runs| count(runs, goes_on)) >= MOST
    }

    pub(super) fn add(&mut self, argv: Argv, runs: impl IntoIterator<Item = String>) {
        self.0.entry(argv).or_default().extend(runs);
    }
}

/// What is to be done for the next probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    Start,
    /// All that was started since the last answer goes on: one more would hang as it does.
    HangsAsTheOthers,
    /// So many runs of this program go on, and it is not this child's doing: a probe tells nothing.
    Blind,
}

/// The runs that were started for probes, as far as they go on.
#[derive(Default)]
pub(super) struct Runs {
    unanswered: BTreeMap<Role, (Argv, Vec<String>)>,
    /// Of children that are gone, or begun before a program of the same probe came to its end.
    nobodys: ByProgram,
}

impl Runs {
    /// Decides on a probe, and forgets the runs that do not go on.
    pub(super) fn next(&mut self, role: Role, argv: &Argv, goes_on: impl Fn(&str) -> bool) -> Next {
        let unanswered = self.unanswered.get_mut(&role);
        if unanswered.map_or(0, |(_, runs)| count(runs, &goes_on)) >= MOST {
            Next::HangsAsTheOthers
        } else if self.nobodys.has_most(argv, goes_on) {
            Next::Blind
        } else {
            Next::Start
        }
    }

    pub(super) fn began(&mut self, role: Role, argv: &Argv, run: String) {
        let fresh = || (Rc::clone(argv), Vec::new());
        self.unanswered.entry(role).or_insert_with(fresh).1.push(run);
    }

    /// A program of this probe came to its end: what goes on now is no silence of the child.
    pub(super) fn answered(&mut self, role: Role) {
        if let Some((argv, runs)) = self.unanswered.remove(&role) {
            self.nobodys.add(argv, runs);
        }
    }

    /// There is another child.
    pub(super) fn restart(&mut self) {
        for role in [Role::Startup, Role::Liveness, Role::Readiness] {
            self.answered(role);
        }
    }
}

/// How many of these go on; the others are forgotten.
fn count(runs: &mut Vec<String>, goes_on: impl Fn(&str) -> bool) -> usize {
    runs.retain(|run| goes_on(run));
    runs.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(program: &str) -> Argv {
        [program.to_owned()].into()
    }

    /// Whether one more is started; it does not end.
    fn starts(runs: &mut Runs, role: Role, program: &str) -> bool {
        let starts = runs.next(role, &argv(program), |_| true) == Next::Start;
        if starts {
            runs.began(role, &argv(program), format!("{role}"));
        }
        starts
    }

    /// Starts until no more are.
    fn fill(runs: &mut Runs, role: Role, program: &str) -> usize {
        (0..100).take_while(|_| starts(runs, role, program)).count()
    }

    #[test]
    fn the_probe_whose_programs_do_not_end_hangs_and_the_others_are_made() {
        let mut runs = Runs::default();
        assert_eq!(fill(&mut runs, Role::Readiness, "df"), MOST);
        assert_eq!(runs.next(Role::Readiness, &argv("df"), |_| true), Next::HangsAsTheOthers);
        assert!(starts(&mut runs, Role::Liveness, "curl"));
        // Also if the child is replaced for another reason.
        runs.restart();
        assert!(starts(&mut runs, Role::Liveness, "curl"));
        assert_eq!(runs.next(Role::Readiness, &argv("df"), |_| true), Next::Blind);
    }

    #[test]
    fn what_ends_is_forgotten() {
        let mut runs = Runs::default();
        fill(&mut runs, Role::Liveness, "df");
        assert_eq!(runs.next(Role::Liveness, &argv("df"), |_| false), Next::Start);
        fill(&mut runs, Role::Liveness, "df");
        runs.restart();
        assert_eq!(runs.next(Role::Liveness, &argv("df"), |_| false), Next::Start);
    }

    #[test]
    fn a_child_whose_probes_are_answered_is_not_said_to_hang_for_what_they_left() {
        let mut runs = Runs::default();
        let mut answered = 0;
        while starts(&mut runs, Role::Liveness, "df & curl") {
            runs.answered(Role::Liveness);
            answered += 1;
        }
        assert_eq!(answered, MOST);
        assert_eq!(runs.next(Role::Liveness, &argv("df & curl"), |_| true), Next::Blind);
    }

    #[test]
    fn what_outlives_its_child_was_not_that_ones_doing() {
        let mut runs = Runs::default();
        let mut healed = 0;
        // As many as a threshold of three asks for, at every child.
        while (0..3).all(|_| starts(&mut runs, Role::Liveness, "df")) {
            runs.restart();
            healed += 1;
        }
        assert_eq!(healed, 4, "9 programs are less than ten");
        assert_eq!(runs.next(Role::Liveness, &argv("df"), |_| true), Next::Blind);
        assert_eq!(runs.next(Role::Startup, &argv("df"), |_| true), Next::Blind);
    }
}
