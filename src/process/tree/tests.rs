use std::fs;
use std::path::Path;

use super::*;
use crate::process::reaper::Dead;
use crate::process::testing::{
    Started, alone, alone_as_init, root, sh, until, with_free_descriptors,
};
use crate::process::{Launchable, MARK_VARIABLE, spawn};
use crate::supervisor::Exit;

fn mark() -> Mark {
    // Tests run beside each other, and a marked process is a member whoever has started it.
    Mark { instance: format!("{:032x}", std::process::id()), service: "gateway".to_owned() }
}

fn marked(script: &str) -> Launchable {
    let mut launchable = sh(script);
    launchable.env.insert(MARK_VARIABLE.into(), mark().value());
    launchable
}

/// A tree in a process of its own, which is a subreaper, with a scratch directory.
fn with_tree(orphans: Orphans, body: impl FnOnce(&mut Tree, &Path)) {
    alone(|| {
        reaper::adopt_orphans().expect("allowed");
        let scratch = tempfile::tempdir().expect("a directory");
        let mut planted = Planted(Tree::new(mark(), Number::TERM, orphans));
        body(&mut planted.0, scratch.path());
    });
}

/// A tree of which nothing lives on when its test has failed.
struct Planted(Tree);

impl Drop for Planted {
    fn drop(&mut self) {
        self.0.signal_all(Signal::Kill).ok();
    }
}

/// Starts the main process and waits until its script has written its pids to the file `ready`.
fn launch(tree: &mut Tree, scratch: &Path, mut launchable: Launchable) -> Vec<u32> {
    launchable.cwd = Some(scratch.to_owned());
    tree.launched(spawn(launchable).expect("it can be started"));
    pids_in(scratch, "ready")
}

fn pids_in(scratch: &Path, file: &str) -> Vec<u32> {
    let mut text = String::new();
    // A shell makes the file first, and then writes its line.
    until(file, || {
        text = fs::read_to_string(scratch.join(file)).unwrap_or_default();
        text.ends_with('\n')
    });
    text.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect()
}

fn pids(tree: &mut Tree) -> Vec<u32> {
    tree.members().iter().map(|member| member.pid).collect()
}

/// Does the driver's duty: reaps whatever is dead, the main process included.
fn reap_all(tree: &mut Tree) {
    while let Some(dead) = reaper::peek() {
        if tree.main().is_some_and(|main| main.pid == dead.pid) {
            tree.reap_main(dead.pid);
        } else {
            reaper::reap(dead.pid);
        }
    }
}

fn until_gone(tree: &mut Tree) {
    until("the tree is gone", || {
        reap_all(tree);
        tree.is_gone() && !reaper::has_children()
    });
}

/// A grandchild in a session of its own that ignores TERM, whose parent has ended.
const DEAF_ORPHAN: &str = "setsid sh -c 'trap \"\" TERM; echo $$ > d; exec sleep 60' & \
    while ! test -s d; do sleep 0.01; done; mv d deaf;";

#[test]
fn an_orphan_in_its_own_session_that_ignores_term_is_killed() {
    with_tree(Orphans::AllOurs, |tree, scratch| {
        let script =
            format!("sh -c '{}'; echo > ready; exec sleep 60", DEAF_ORPHAN.replace('\'', "'\\''"));
        launch(tree, scratch, sh(&script));
        let deaf = pids_in(scratch, "deaf")[0];
        let main = tree.main().expect("launched").pid;
        assert_eq!(pids(tree), [main.min(deaf), main.max(deaf)]);

        tree.signal_main(Signal::Stop).expect("alive");
        until("the main process ends", || {
            reap_all(tree);
            tree.main().is_none()
        });
        assert_eq!(pids(tree), [deaf]);
        assert!(!tree.is_gone());
        tree.signal_all(Signal::Term).expect("allowed");
        assert_eq!(pids(tree), [deaf]);
        tree.signal_all(Signal::Kill).expect("allowed");
        until_gone(tree);
    });
}

#[test]
fn a_main_process_that_died_alone_leaves_nobody_to_look_for() {
    with_tree(Orphans::AllOurs, |tree, scratch| {
        launch(tree, scratch, sh("echo > ready; exec sleep 60"));
        assert!(!tree.is_only_dead_main_left(), "it lives");
        let main = tree.main().expect("launched").pid;
        kill::child(main, Number::KILL).expect("ours");
        until("it is dead", || reaper::peek().is_some());
        assert!(tree.is_only_dead_main_left() && pids(tree).is_empty());
        tree.signal_all(Signal::Term).expect("nobody");
        until_gone(tree);
    });
}

#[test]
fn an_orphan_in_its_own_session_is_found_while_the_dead_main_process_is_not_reaped() {
    with_tree(Orphans::AllOurs, |tree, scratch| {
        let orphan = launch(tree, scratch, sh("setsid sleep 60 & echo $! > r; mv r ready"))[0];
        let main = tree.main().expect("launched").pid;
        until("the main process is dead", || reaper::peek().is_some_and(|dead| dead.pid == main));
        assert!(!tree.is_only_dead_main_left());
        assert_eq!(pids(tree), [orphan]);
        tree.signal_all(Signal::Term).expect("allowed");
        until("the orphan is dead", || proc::stat(orphan).is_none_or(|stat| !stat.is_alive()));
        until_gone(tree);
    });
}

#[test]
fn a_stopped_process_acts_on_the_stop_signal() {
    with_tree(Orphans::AllOurs, |tree, scratch| {
        let script = "trap 'exit 3' TERM; echo > ready; while :; do sleep 0.01; done";
        launch(tree, scratch, sh(script));
        let main = tree.main().expect("launched").pid;
        kill::child(main, Number::STOP).expect("ours");
        until("it is stopped", || proc::stat(main).is_some_and(|stat| stat.state == b'T'));
        tree.signal_main(Signal::Stop).expect("alive");
        until("it ends", || reaper::peek().is_some_and(|dead| dead.pid == main));
        assert_eq!(reaper::peek().map(|dead| dead.exit), Some(Exit::Code(3)));
        tree.signal_all(Signal::Kill).expect("allowed");
        until_gone(tree);
    });
}

#[test]
fn a_kill_reaches_what_is_forked_meanwhile() {
    with_tree(Orphans::AllOurs, |tree, scratch| {
        // Each link starts the next one in a session of its own and ends.
        let chain = "setsid sh ./chain & exit 0";
        fs::write(scratch.join("chain"), chain).expect("writable");
        launch(tree, scratch, sh("sh ./chain; echo > ready; exec sleep 60"));
        until("the chain is caught", || {
            tree.signal_all(Signal::Kill).expect("allowed");
            reap_all(tree);
            tree.is_gone()
        });
    });
}

#[test]
fn without_being_told_whose_an_orphan_is_only_identified_ones_are_ours() {
    with_tree(Orphans::OnlyIdentified, only_identified_orphans_are_ours);
}

#[test]
fn as_pid_1_the_orphan_of_somebody_else_survives_the_end_of_the_tree() {
    alone_as_init(|| {
        assert!(reaper::is_init());
        reaper::adopt_orphans().expect("nothing to do");
        let scratch = tempfile::tempdir().expect("a directory");
        let mut tree = Tree::new(mark(), Number::TERM, Orphans::OnlyIdentified);
        only_identified_orphans_are_ours(&mut tree, scratch.path());
    });
}

fn only_identified_orphans_are_ours(tree: &mut Tree, scratch: &Path) {
    // Orphans: with our mark in a session of its own, without it in the main process's group,
    // and one with another instance's mark.
    let main = "setsid sh -c 'sleep 61 & echo $! > marked'; \
            env -u REKINDLE_INSTANCE sh -c 'sleep 62 & echo $! > group'; echo > ready; exec sleep 60";
    launch(tree, scratch, marked(main));
    let main = tree.main().expect("launched").pid;
    let mut expected = [main, pids_in(scratch, "group")[0], pids_in(scratch, "marked")[0]];
    expected.sort_unstable();
    let mut stranger = sh("setsid sh -c 'sleep 63 & echo $! > stranger'; sleep 0.01");
    stranger.cwd = Some(scratch.to_owned());
    stranger.env.insert(MARK_VARIABLE.into(), "ffffffffffffffffffffffffffffffff/gateway".into());
    let stranger_parent = Started::new(stranger);
    let stranger = pids_in(scratch, "stranger")[0];
    assert_eq!(stranger_parent.wait(), Exit::Code(0));
    until("it is adopted", || {
        proc::stat(stranger).is_some_and(|stat| stat.ppid == std::process::id())
    });

    assert_eq!(pids(tree), expected);
    tree.signal_all(Signal::Kill).expect("allowed");
    until("the tree is gone, the stranger is not", || {
        reap_all(tree);
        tree.is_gone()
    });
    assert!(proc::stat(stranger).is_some_and(|stat| stat.is_alive()));
    kill::child(stranger, Number::KILL).expect("ours to clean up");
    until_gone(tree);
}

#[test]
fn a_session_that_a_member_had_is_remembered_after_all_parents_are_gone() {
    with_tree(Orphans::OnlyIdentified, |tree, scratch| {
        let main = "env -u REKINDLE_INSTANCE setsid --wait sh -c 'echo $$ > pid; mv pid ready; \
            read x < fifo; sleep 62 & echo $! > late'; exit 0";
        let fifo = scratch.join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).expect("writable");
        let unmarked = launch(tree, scratch, marked(main))[0];
        // Seen once while its parents lived; what it starts afterwards is not.
        assert!(pids(tree).contains(&unmarked));
        fs::write(fifo, "\n").expect("somebody reads");
        let main = tree.main().expect("launched").pid;
        until("the parents are gone", || {
            let dead = reaper::peek();
            dead.filter(|dead| dead.pid != main).inspect(|dead| reaper::reap(dead.pid));
            dead.is_some_and(|dead| dead.pid == main)
        });
        reap_all(tree);
        assert_eq!(pids(tree), pids_in(scratch, "late"));
        tree.signal_all(Signal::Kill).expect("allowed");
        until_gone(tree);
    });
}

#[test]
fn a_process_that_came_long_after_the_others_is_known_to_wait_at_the_next_look_at_the_queue() {
    with_tree(Orphans::AllOurs, |tree, scratch| {
        let fifo = scratch.join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).expect("writable");
        let worker = "read x < fifo; (while :; do :; done) & echo $! > late; wait";
        launch(tree, scratch, marked(&format!("echo $$ > pid; mv pid ready; {worker}")));
        for _ in 0..100 {
            tree.waited();
        }
        fs::write(fifo, "\n").expect("somebody reads");
        pids_in(scratch, "late");
        until("it is runnable", || !tree.queue().is_empty());
        tree.signal_all(Signal::Kill).expect("allowed");
        until_gone(tree);
    });
}

#[test]
fn members_are_asked_to_end_once_also_while_others_fork_and_end() {
    with_tree(Orphans::AllOurs, |tree, scratch| {
        let forks = "(trap '' TERM; while :; do /bin/true; done) &";
        let counts =
            "trap 'echo asked >> asked' TERM; echo $$ > pid; mv pid ready; while :; do wait; done";
        launch(tree, scratch, marked(&format!("{forks} {counts}")));
        let asked =
            || fs::read_to_string(scratch.join("asked")).unwrap_or_default().lines().count();
        for times in 1..=20 {
            tree.signal_all(Signal::Term).expect("allowed");
            until("it has noticed", || asked() >= times);
            assert_eq!(asked(), times);
        }
        tree.signal_all(Signal::Kill).expect("allowed");
        until_gone(tree);
    });
}

#[test]
fn what_is_registered_beside_the_tree_is_no_member_nor_what_came_from_it() {
    alone(|| {
        reaper::adopt_orphans().expect("allowed");
        let registry = Registry::default();
        let mut tree = Tree::new(mark(), Number::TERM, Orphans::AllOurs).beside(registry.clone());
        let scratch = tempfile::tempdir().expect("a directory");
        // The second is our child at once, and only its group tells whose it is.
        let script = "sleep 60 & echo $! > c; (env -i sleep 60 &); mv c ready; wait";
        let mut probe = sh(script);
        probe.cwd = Some(scratch.path().to_owned());
        let probe = Started::new(probe);
        let _end = registry.begin("run", probe.0.pid);
        let child = pids_in(scratch.path(), "ready")[0];
        assert!(tree.is_gone() && pids(&mut tree).is_empty());
        tree.signal_all(Signal::Kill).expect("nobody");
        assert!(proc::stat(child).is_some_and(|stat| stat.is_alive()));
    });
}

#[test]
fn an_orphan_of_the_main_group_is_known_without_its_environment() {
    with_tree(Orphans::AllOurs, |tree, scratch| {
        let script = "(sleep 60 & echo $! > r); mv r ready; exec sleep 60";
        let orphan = launch(tree, scratch, sh(script))[0];
        assert!(pids(tree).contains(&orphan));
        assert!(tree.origins.is_empty(), "whoever reads that of one that hangs may hang, too");
    });
}

#[test]
fn what_a_probe_left_behind_falls_to_the_tree_once_its_run_is_over() {
    for orphans in [Orphans::AllOurs, Orphans::OnlyIdentified] {
        let mut tree = Tree::new(mark(), Number::TERM, orphans);
        let registry = Registry::default();
        tree = tree.beside(registry.clone());
        let run = mark().of_run(3);
        let mut left = sh("exec sleep 60");
        left.env.insert(PROBE_VARIABLE.into(), run.clone().into());
        let left = Started::new(left);
        let leader = Started::new(sh("exit 0"));
        let _end = registry.begin(&run, leader.0.pid);
        let is_member = |tree: &mut Tree| pids(tree).contains(&left.0.pid);
        assert!(!is_member(&mut tree), "{orphans:?}");
        let is_alive = |pid| proc::stat(pid).is_some_and(|stat| stat.is_alive());
        until("it is dead", || !is_alive(leader.0.pid));
        assert!(registry.claim(Dead { pid: leader.0.pid, exit: Exit::Code(0) }));
        registry.give_up(&run);
        assert!(is_member(&mut tree), "{orphans:?}");
    }
}

#[test]
fn a_process_in_the_middle_of_an_exec_is_asked_again() {
    let mut tree = Tree::new(mark(), Number::TERM, Orphans::OnlyIdentified);
    let marked = Started::new(marked("exec sleep 60"));
    let process = Identified { pid: marked.0.pid, start_time: marked.0.start_time };
    // Dead and not reaped, a process has as little to show as in the middle of an exec.
    let dead = Started::new(sh("exit 0"));
    until("it is dead", || proc::stat(dead.0.pid).is_some_and(|stat| !stat.is_alive()));
    let unreadable = Identified { pid: dead.0.pid, start_time: dead.0.start_time };
    assert_eq!(tree.origin(unreadable), Origin::Unknown);
    assert!(tree.origins.is_empty(), "that was no answer");
    assert_eq!(tree.origin(process), Origin::Tree);
    assert!(tree.origins.contains_key(&process));
}

#[test]
fn waits_never_shrink_when_members_come_and_go() {
    with_tree(Orphans::AllOurs, |tree, scratch| {
        let burn = "for i in 1 2 3 4; do (while :; do :; done) & done; echo > ready; wait";
        launch(tree, scratch, sh(burn));
        let mut last = tree.waited();
        until("they wait for each other", || {
            let now = tree.waited();
            assert!(now >= last);
            last = now;
            now > Duration::from_millis(20)
        });
        tree.signal_all(Signal::Kill).expect("allowed");
        until_gone(tree);
        assert!(tree.waited() >= last);
    });
}

#[test]
fn a_socket_is_held_by_the_member_that_has_it() {
    with_tree(Orphans::AllOurs, |tree, scratch| {
        let script = "exec python3 -c 'import socket,time\ns=socket.create_server((\"127.0.0.1\",0))\nopen(\"p\",\"w\").write(str(s.getsockname()[1])+chr(10))\nimport os\nos.rename(\"p\",\"ready\")\ntime.sleep(60)'";
        let port = launch(tree, scratch, sh(script))[0];
        let listeners = proc::listeners().expect("/proc/net/tcp");
        let found =
            listeners.iter().find(|listener| u32::from(listener.port) == port).expect("it listens");
        assert_eq!(tree.holds_socket(found.inode), Some(true));
        assert_eq!(tree.holds_socket(found.inode + 1_000_000), Some(false));
        tree.signal_all(Signal::Kill).expect("allowed");
        until_gone(tree);
    });
}

#[test]
fn a_cgroup_holds_what_left_everything_else_and_dies_at_once() {
    if !root() {
        return;
    }
    with_tree(Orphans::OnlyIdentified, |_, scratch| {
        let cgroup = match Cgroup::create(&mark(), crate::config::CgroupMode::Force) {
            Ok(cgroup) => cgroup,
            Err(why) => return println!("skipped: {why}"),
        };
        let tree =
            &mut Tree::new(mark(), Number::TERM, Orphans::OnlyIdentified).within(Some(cgroup));
        let mut main = sh("setsid sh -c 'sleep 60 & echo $! > c; mv c ready'");
        main.cgroup = Some(tree.cgroup().expect("given").entrance().expect("open"));
        let inside = launch(tree, scratch, main)[0];
        until("only the orphan is left", || {
            reap_all(tree);
            pids(tree) == [inside]
        });
        assert!(!tree.is_gone());
        let holds = |pid| tree.cgroup().expect("given").holds(pid);
        assert!(holds(inside) && !holds(std::process::id()));
        tree.cgroup().expect("given").kill();
        until_gone(tree);
        until("it is empty", || tree.cgroup().expect("given").remove().is_ok());
    });
}

#[test]
fn a_tree_that_cannot_be_seen_for_want_of_descriptors_is_not_gone() {
    with_tree(Orphans::AllOurs, |tree, scratch| {
        launch(tree, scratch, sh(&format!("{DEAF_ORPHAN} echo > ready")));
        until("only the orphan is left", || {
            reap_all(tree);
            tree.main().is_none()
        });
        for free in 0..=2 {
            assert!(!with_free_descriptors(free, || tree.is_gone()), "{free} descriptors");
        }
        tree.signal_all(Signal::Kill).expect("allowed");
        until_gone(tree);
    });
}

#[test]
fn a_process_is_no_member_for_sharing_our_own_session() {
    with_tree(Orphans::OnlyIdentified, |tree, scratch| {
        launch(tree, scratch, marked("echo > ready; exec sleep 60"));
        let bystander = Started::new(sh("exec sleep 60"));
        let main = tree.main().expect("launched").pid;
        let session = |pid| proc::stat(pid).map(|stat| stat.session);
        assert_eq!(session(main), session(bystander.0.pid));
        // What the first look remembers, the second one goes by.
        assert_eq!((pids(tree), pids(tree)), (vec![main], vec![main]));
        tree.signal_all(Signal::Kill).expect("allowed");
    });
}
