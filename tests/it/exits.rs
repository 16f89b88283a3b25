//! What an exit leads to: exit rules, repair, the restart policy, the budget.

use crate::support::{Config, World};

#[test]
fn a_configuration_error_is_retried_slowly_with_the_hook_first() {
    let world = World::new();
    let order = world.at("order");
    let hook = world.write("boot.sh", &format!("echo hook >> {order}"));
    let config = Config::script(&format!("echo child >> {order}; exit 78"))
        .with(&format!("boot_hook = \"{hook}\""))
        .with("slow_retry = \"700ms\"");
    let rekindle = world.run(&config);

    rekindle.wait_state("slow_retry");
    rekindle.wait_restarts("exit", 2);
    rekindle.wait("three rounds", || world.lines("order").len() >= 6);

    assert_eq!(world.lines("order")[..6], ["hook", "child", "hook", "child", "hook", "child"]);
    rekindle.wait_said(&["exit_rule"]);
}

#[test]
fn a_repair_runs_once_and_the_next_attempt_succeeds() {
    let (world, config) = repairable();
    let rekindle = world.run(&config.with(&format!(
        "repair = [\"/bin/sh\", \"-c\", \"echo repair >> {order}; touch {fixed}\"]",
        order = world.at("order"),
        fixed = world.at("fixed"),
    )));

    rekindle.wait_state("healthy");

    rekindle.wait("the child has begun", || world.lines("order").len() >= 3);
    assert_eq!(world.lines("order"), ["child", "repair", "child"]);
}

#[test]
fn a_repair_that_does_not_help_is_not_repeated() {
    let (world, config) = repairable();
    let repair =
        format!("repair = [\"/bin/sh\", \"-c\", \"echo repair >> {}\"]", world.at("order"));
    let rekindle = world.run(&config.with(&repair));

    rekindle.wait_state("slow_retry");

    assert_eq!(world.lines("order"), ["child", "repair", "child"]);
    rekindle.wait_said(&["repair_failed"]);
}

/// A child that exits with 9 until a file is there.
fn repairable() -> (World, Config) {
    let world = World::new();
    let config = Config::script(&format!(
        "echo child >> {}; [ -e {} ] || exit 9; exec sleep 1000",
        world.at("order"),
        world.at("fixed"),
    ));
    (world, config.with("on_exit = [{ codes = [9], action = \"repair-once\" }]"))
}

#[test]
fn a_stop_rule_ends_the_run_with_the_childs_code() {
    assert_eq!(ends("exit 42", "on_exit = [{ codes = [42], action = \"stop\" }]"), 42);
}

#[test]
fn without_restarts_the_run_ends_with_the_childs_code() {
    assert_eq!(ends("exit 3", "restart = \"never\""), 3);
    assert_eq!(ends("exit 0", "restart = \"never\""), 0);
}

#[test]
fn without_restarts_a_signal_is_told_as_128_and_its_number() {
    assert_eq!(ends("kill -TERM $$", "restart = \"never\""), 143);
    assert_eq!(ends("kill -KILL $$", "restart = \"never\""), 137);
}

#[test]
fn on_failure_a_clean_exit_ends_the_run() {
    let world = World::new();
    let launches = world.at("launches");
    let script = format!("echo x >> {launches}; [ $(wc -l < {launches}) -gt 2 ]");
    let mut rekindle = world.run(&Config::script(&script).with("restart = \"on-failure\""));

    assert_eq!(rekindle.wait_exit(), 0);
    assert_eq!(world.lines("launches").len(), 3);
}

fn ends(script: &str, keys: &str) -> i32 {
    let world = World::new();
    let mut rekindle = world.run(&Config::script(script).with(keys));
    rekindle.expect_errors();
    rekindle.wait_exit()
}

#[test]
fn a_spent_budget_ends_the_run_where_that_is_configured() {
    let (world, config) = budgeted();
    let mut rekindle = world.run(&config.with("on_exhausted = \"exit\""));
    rekindle.expect_errors();

    assert_eq!(rekindle.wait_exit(), 10);
    assert_eq!(world.lines("launches").len(), 3);
}

#[test]
fn a_spent_budget_is_followed_by_the_slow_pace() {
    let (world, config) = budgeted();
    let rekindle = world.run(&config);

    rekindle.wait_state("slow_retry");

    assert_eq!(world.lines("launches").len(), 3);
    rekindle.wait_said(&["budget_spent"]);
}

/// A child that always fails, and two restarts for it.
fn budgeted() -> (World, Config) {
    let world = World::new();
    let config = Config::script(&format!("echo x >> {}; exit 1", world.at("launches")));
    (world, config.with("max_restarts = 2\nwindow = \"1h\""))
}
