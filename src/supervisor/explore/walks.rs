//! One test for each territory.

use super::*;

fn every_state_keeps_its_promises(territory: usize) {
    let territory = &TERRITORIES[territory];
    let walk = territory.explored();
    println!("{}: {} states, {} transitions", territory.name, walk.states, walk.transitions);
    assert!(walk.states > 1000, "the walk is too short to mean anything");
}

#[test]
fn a_service_without_probes_keeps_its_promises_in_every_state() {
    every_state_keeps_its_promises(0);
}

#[test]
fn the_everyday_service_keeps_its_promises_in_every_state() {
    every_state_keeps_its_promises(1);
}

#[test]
fn exit_rules_repair_and_budget_keep_their_promises_in_every_state() {
    every_state_keeps_its_promises(2);
}

#[test]
fn a_strict_hook_keeps_its_promises_in_every_state() {
    every_state_keeps_its_promises(3);
}

#[test]
fn readiness_keeps_its_promises_in_every_state() {
    every_state_keeps_its_promises(4);
}

#[test]
fn a_supervisor_that_comes_late_keeps_its_promises_in_every_state() {
    every_state_keeps_its_promises(5);
}

#[test]
fn a_hook_under_a_supervisor_that_comes_late_keeps_its_promises_in_every_state() {
    every_state_keeps_its_promises(6);
}

#[test]
fn a_look_at_a_child_that_hangs_keeps_its_promises_in_every_state() {
    every_state_keeps_its_promises(7);
}
