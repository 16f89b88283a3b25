//! What the child runs as and in: user, limits, directory, environment, descriptors, signals.

use rustix::process::Signal;

use crate::support::rekindle::WARN;
use crate::support::{Config, World, has_tool, is_root, processes};

/// Runs `script` with these keys and returns what it printed.
fn prints(keys: &str, script: &str) -> String {
    let world = World::new();
    let script = format!(
        "({script}) > {out}.new; mv {out}.new {out}; exec sleep 1000",
        out = world.at("out")
    );
    let rekindle = world.run(&Config::script(&script).with(keys));
    rekindle.wait("it has printed", || world.path("out").exists());
    world.read("out")
}

#[test]
fn the_umask_is_set() {
    assert_eq!(prints("umask = \"0027\"", "umask"), "0027\n");
}

#[test]
fn resource_limits_are_set() {
    let keys = "limits.nofile = \"64:128\"\nlimits.core = 0";
    assert_eq!(prints(keys, "ulimit -Sn; ulimit -Hn; ulimit -Hc"), "64\n128\n0\n");
}

#[test]
fn no_new_privileges_is_set_only_where_asked_for() {
    let script = "grep NoNewPrivs: /proc/self/status";
    let own = std::fs::read_to_string("/proc/self/status").expect("our own status");
    let own = own.lines().find(|line| line.starts_with("NoNewPrivs:")).expect("a line for it");
    assert_eq!(prints("no_new_privs = true", script), "NoNewPrivs:\t1\n");
    assert_eq!(prints("no_new_privs = false", script), format!("{own}\n"));
}

#[test]
fn the_working_directory_is_set() {
    assert_eq!(prints("cwd = \"/usr\"", "pwd"), "/usr\n");
}

#[test]
fn environment_comes_from_us_the_file_and_the_table_in_this_order() {
    let world = World::new();
    let file = world.write("env", "# a comment\nA=file\nB=file\n");
    let env = world.at("out");
    let script = format!("echo $A $B $C $HOME > {env}; exec sleep 1000");
    let config = Config::script(&script)
        .with(&format!("env_file = [\"{file}\", \"-/no/such/file\"]"))
        .with("env.B = \"table\"")
        .with("env.HOME = \"/home/of/${C}\"");
    let mut command = world.prepare(&config);
    command.env("A", "ours").env("C", "ours");
    let rekindle = world.start(command);
    rekindle.wait_up();

    rekindle.wait_state("healthy");

    assert_eq!(world.written("out"), "file table ours /home/of/ours\n");
}

#[test]
fn without_inheritance_the_child_gets_only_what_is_configured() {
    let world = World::new();
    let env = world.at("out");
    let script = format!("echo \"$A <$B>\" > {env}; exec sleep 1000");
    // The mark of the test is handed on, so that the child is found again.
    let config = Config::script(&script)
        .with("inherit_env = false\nenv.A = \"given\"\nenv.IT_MARK = \"${IT_MARK}\"");
    let mut command = world.prepare(&config);
    command.env("B", "ours");
    let rekindle = world.start(command);
    rekindle.wait_up();

    rekindle.wait_state("healthy");

    assert_eq!(world.written("out"), "given <>\n");
}

#[test]
fn a_child_with_a_missing_env_file_is_not_started_until_it_is_there() {
    let world = World::new();
    let file = world.at("env");
    let config = Config::script(&format!("echo $A > {}; exec sleep 1000", world.at("out")))
        .with(&format!("env_file = \"{file}\""));
    let rekindle = world.run(&config);
    rekindle.wait("it fails", || rekindle.count("rekindle_child_spawn_failures_total", "") >= 1);
    rekindle.wait_said(&[&file]);

    world.write("new", "A=there\n");
    std::fs::rename(world.path("new"), &file).expect("the file appears");

    rekindle.wait_state("healthy");
    assert_eq!(world.written("out"), "there\n");
}

#[test]
fn standard_input_is_empty_and_no_other_descriptor_is_inherited() {
    let script = "readlink /proc/self/fd/0; cd /proc/$$/fd; echo *";
    let printed = prints("", script);
    // A shell may keep a descriptor of its own (10 and up in dash, 255 in bash).
    let (stdin, open) = printed.split_once('\n').expect("two lines");
    assert_eq!(stdin, "/dev/null");
    let low: Vec<_> =
        open.split_whitespace().filter(|fd| fd.parse::<u32>().is_ok_and(|fd| fd < 10)).collect();
    assert_eq!(low, ["0", "1", "2"], "{printed}");
}

#[test]
fn signals_have_their_default_meaning_and_none_is_blocked() {
    // The wait for orphans and pipes must not leak into the child: SIGPIPE and SIGCHLD above all.
    let printed = prints("", "exec grep -E 'Sig(Blk|Ign):' /proc/self/status");
    for line in printed.lines() {
        assert!(line.ends_with("\t0000000000000000"), "{printed}");
    }
    assert_eq!(printed.lines().count(), 2);
}

#[test]
fn the_child_leads_a_process_group_of_its_own() {
    let printed = prints("", "cut -d' ' -f1,5 /proc/$$/stat");
    let (pid, group) = printed.trim().split_once(' ').expect("two fields");
    assert_eq!(pid, group);
}

#[test]
fn a_user_without_rights_or_a_home_can_run_it_as_itself() {
    if !(is_root("becoming another user") && has_tool("setpriv")) {
        return;
    }
    let world = World::new();
    let out = world.write("out", "");
    std::os::unix::fs::chown(&out, Some(65534), None).expect("chown");
    let config = Config::script(&format!("id -u > {out}; id -g >> {out}; exec sleep 1000"))
        .with("user = \"65534\"\ngroup = \"65534\"");
    let run = world.prepare(&config);
    let mut command = world.command("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.arg(run.get_program()).args(run.get_args());
    for place in ["HOME", "XDG_STATE_HOME", "STATE_DIRECTORY", "RUNTIME_DIRECTORY"] {
        command.env_remove(place);
    }
    let mut rekindle = world.start(command);

    // There is no control socket to ask.
    rekindle.wait_said(&["cannot put a control socket anywhere", WARN]);
    rekindle.wait("the child runs", || world.lines("out").len() == 2);

    assert_eq!(world.read("out"), "65534\n65534\n");
    assert_eq!(rekindle.stop().0, 0);
}

#[test]
fn a_child_of_another_user_dies_with_a_killed_supervisor_too() {
    if !is_root("dropping to another user") {
        return;
    }
    let world = World::new();
    let config = Config::command(&["/bin/sleep", "1000"]).with("user = \"65534\"");
    let mut rekindle = world.run(&config);
    rekindle.wait_state("healthy");
    let child = processes::children(rekindle.pid())[0];

    rekindle.signal(Signal::KILL);
    rekindle.wait_exit();

    crate::support::wait_until("the child is gone", || !processes::is_alive(child));
}
