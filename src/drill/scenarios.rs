//! The table of scenarios, family by family.

mod gateway;
mod hook;
mod host;
mod sick;
mod together;
mod tree;

use super::scenario::Scenario;

/// Every scenario, in the order in which they are done.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    [gateway::ALL, sick::ALL, hook::ALL, tree::ALL, host::ALL, together::ALL].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::scenario::{Expect, Place, Step};
    use super::*;
    use crate::supervisor::Reason;

    #[test]
    fn every_scenario_has_a_name_of_its_own_and_says_what_it_stands_for() {
        let names: BTreeSet<_> = all().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), all().count());
        for Scenario { name, simulates, .. } in all() {
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '-' || c.is_ascii_digit()));
            assert!(!simulates.is_empty() && simulates.len() <= 80, "{name}");
        }
    }

    #[test]
    fn the_page_about_drills_has_every_scenario() {
        let row =
            |scenario: &Scenario| format!("| `{}` | {} |\n", scenario.name, scenario.simulates);
        let table =
            format!("| scenario | stands for |\n|---|---|\n{}", all().map(row).collect::<String>());
        let page = include_str!("../../docs/drills.md");
        let (_, rest) = page.split_once("<!-- scenarios: begin -->\n").expect("a beginning");
        let (found, _) = rest.split_once("<!-- scenarios: end -->").expect("an end");
        assert_eq!(found, table, "docs/drills.md is stale: put this table in");
    }

    #[test]
    fn every_expected_reason_is_a_word_of_the_metric_and_something_is_broken_for_it() {
        let words: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.label()).collect();
        for Scenario { name, expect, steps, place, .. } in all() {
            match expect {
                Expect::Restart(reason) => assert!(words.contains(reason), "{name}: {reason}"),
                Expect::ColdStart => assert!(
                    *place == Place::OwnClock
                        || steps
                            .iter()
                            .any(|step| matches!(step, Step::CutPower | Step::KillSupervisor)),
                    "{name} has no new supervisor"
                ),
                Expect::Report(_) => assert!(steps.is_empty(), "{name} is wrong from the start"),
            }
        }
    }
}
