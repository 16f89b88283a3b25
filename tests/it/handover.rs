//! What the boot hook is told, and the environment that it hands over to the child.

use crate::support::rekindle::WARN;
use crate::support::{Config, Rekindle, World, has_tool, is_root};

/// A child that writes down its environment for each launch, and runs on or exits.
fn child(world: &World, then: &str) -> Config {
    Config::script(&format!("env > {env}.new; mv {env}.new {env}; {then}", env = world.at("env")))
}

fn with_hook(config: Config, hook: &str) -> Config {
    config.with(&format!("boot_hook = \"{hook}\""))
}

fn variable(world: &World, name: &str) -> Option<String> {
    let value = |line: &str| line.strip_prefix(&format!("{name}=")).map(str::to_owned);
    world.written("env").lines().find_map(value)
}

#[test]
fn the_hook_is_told_why_it_runs() {
    let world = World::new();
    let told = world.at("told");
    let hook = world.write(
        "boot.sh",
        &format!(
            "echo \"$REKINDLE_SERVICE $REKINDLE_START $REKINDLE_REASON $REKINDLE_ATTEMPT \
             <$REKINDLE_LAST_EXIT>\" >> {told}; echo \"$REKINDLE_OUTAGE_SECONDS\" >> {told}.outage"
        ),
    );
    let config = with_hook(Config::script("exit 3"), &hook);
    let rekindle = world.run(&config);

    rekindle.wait_restarts("exit", 2);
    rekindle.wait("the third run", || world.lines("told").len() >= 3);

    let told = world.lines("told");
    assert_eq!(told[0], "gateway first start 1 <>");
    assert_eq!(told[1], "gateway first exit 2 <3>");
    assert_eq!(told[2], "gateway first exit 3 <3>");
    let outages = world.lines("told.outage");
    let seconds = |text: &String| text.parse::<f64>();
    assert!(outages.iter().all(|outage| seconds(outage).is_ok()), "{outages:?}");
}

#[test]
fn the_kind_of_start_is_none_once_the_service_has_been_healthy() {
    let world = World::new();
    let told = world.at("told");
    let hook =
        world.write("boot.sh", &format!("echo $REKINDLE_START $REKINDLE_LAST_EXIT >> {told}"));
    let config =
        with_hook(Config::script("sleep 1; kill -KILL $$"), &hook).with("settle = \"1ms\"");
    let rekindle = world.run(&config);

    rekindle.wait_restarts("signal", 1);
    rekindle.wait("the second run", || world.lines("told").len() >= 2);

    assert_eq!(world.lines("told")[..2], ["first", "none 137"]);
}

#[test]
fn dash_hands_over_environment() {
    hands_over("dash", None);
}

#[test]
fn bash_hands_over_environment() {
    hands_over("bash", None);
}

#[test]
fn dash_hands_over_environment_as_a_dropped_user() {
    if is_root("dropping to another user") {
        hands_over("dash", Some("65534"));
    }
}

#[test]
fn bash_hands_over_environment_as_a_dropped_user() {
    if is_root("dropping to another user") {
        hands_over("bash", Some("65534"));
    }
}

fn hands_over(shell: &str, user: Option<&str>) {
    if !has_tool(shell) {
        return;
    }
    let world = World::new();
    // Appending twice, truncating never, and from a process of its own: what scripts do.
    let hook = world.script(
        "boot.sh",
        &format!(
            "#!/usr/bin/env {shell}\n\
             echo \"FIRST=one two\" >> \"$REKINDLE_ENV\"\n\
             printf 'SECOND=%s\\n' \"a=b\" >> \"$REKINDLE_ENV\"\n\
             {shell} -c 'echo THIRD=3 >> \"$REKINDLE_ENV\"'\n\
             echo FIRST=last >> \"$REKINDLE_ENV\"\n"
        ),
    );
    let mut config = with_hook(child(&world, "exec sleep 1000"), &hook);
    if let Some(user) = user {
        std::fs::set_permissions(
            world.path(""),
            std::os::unix::fs::PermissionsExt::from_mode(0o777),
        )
        .expect("chmod");
        config = config.with(&format!("user = \"{user}\""));
    }
    let rekindle = world.run(&config);

    rekindle.wait_state("healthy");

    assert_eq!(variable(&world, "FIRST").as_deref(), Some("last"), "{}", rekindle.story());
    assert_eq!(variable(&world, "SECOND").as_deref(), Some("a=b"));
    assert_eq!(variable(&world, "THIRD").as_deref(), Some("3"));
    assert_eq!(variable(&world, "REKINDLE_ENV"), None);
}

#[test]
fn what_is_handed_over_holds_for_one_attempt() {
    let world = World::new();
    let hook = world
        .write("boot.sh", "[ $REKINDLE_ATTEMPT = 1 ] && echo ONCE=yes >> \"$REKINDLE_ENV\"; true");
    let rekindle = world.run(&with_hook(child(&world, "exit 1"), &hook));

    rekindle.wait_restarts("exit", 2);

    assert_eq!(variable(&world, "ONCE"), None);
}

#[test]
fn bad_lines_are_named_by_number_and_never_shown() {
    let world = World::new();
    let hook = world.write(
        "boot.sh",
        "printf 'GOOD=1\\nsecret without an equals sign\\nREKINDLE_X=secret\\n\
         NOTIFY_SOCKET=secret\\n' >> \"$REKINDLE_ENV\"",
    );
    let rekindle = world.run(&with_hook(child(&world, "exec sleep 1000"), &hook));

    rekindle.wait_state("healthy");

    assert_eq!(variable(&world, "GOOD").as_deref(), Some("1"));
    assert_eq!(variable(&world, "REKINDLE_X"), None);
    assert_eq!(variable(&world, "NOTIFY_SOCKET"), None);
    rekindle.wait_said(&[WARN, "line 2"]);
    assert!(rekindle.lines_with("secret").is_empty(), "{}", rekindle.story());
}

#[test]
fn of_our_own_variables_the_child_gets_only_the_mark() {
    let world = World::new();
    let mut command = world.prepare(&child(&world, "exec sleep 1000"));
    command.env("REKINDLE_LOG_FORMAT", "json").env("WATCHDOG_USEC", "5000000");
    let rekindle: Rekindle<'_> = world.start(command);
    rekindle.wait_up();

    rekindle.wait_state("healthy");

    let ours = |line: &&str| line.starts_with("REKINDLE_");
    let env = world.written("env");
    let ours: Vec<_> = env.lines().filter(ours).collect();
    assert_eq!(ours.len(), 1, "{ours:?}");
    let (id, service) = ours[0]["REKINDLE_INSTANCE=".len()..].split_once('/').expect("ID/SERVICE");
    assert_eq!((id.len(), service), (32, "gateway"));
    for name in ["WATCHDOG_USEC", "NOTIFY_SOCKET"] {
        assert_eq!(variable(&world, name), None);
    }
}

#[test]
fn what_a_failed_hook_handed_over_is_not_for_a_later_attempt() {
    let world = World::new();
    let hook = world.at("boot.sh");
    // It fails, and is gone when the next attempt looks for it.
    world.write("boot.sh", &format!("echo DEMO_STALE=1 >> \"$REKINDLE_ENV\"; rm {hook}; exit 1"));
    let rekindle = world.run(&with_hook(child(&world, "exec sleep 1000"), &hook));

    rekindle.wait("a child", || world.path("env").exists());

    assert_eq!(variable(&world, "DEMO_STALE"), None);
}

#[test]
fn a_repair_is_not_told_of_a_file_that_it_does_not_have() {
    let world = World::new();
    let told = world.at("told");
    let config = Config::script("exit 3")
        .with("on_exit = [{ codes = [3], action = \"repair-once\" }]")
        .with(&format!(
            "repair = [\"/bin/sh\", \"-c\", \"echo reason=$REKINDLE_REASON env=$REKINDLE_ENV > {told}\"]"
        ));
    let rekindle = world.run(&config);

    rekindle.wait("the repair", || !world.lines("told").is_empty());

    assert_eq!(world.lines("told"), ["reason=exit env="]);
}
