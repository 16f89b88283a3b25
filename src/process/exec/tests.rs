use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::process::testing::{
    Started, alone, alone_as_contained_root, alone_on_terminal, output, pipe, root, sh, until, wait,
};
use crate::process::{Env, Sink, proc, user};

/// The lines `NAME: VALUE` of the program's own `/proc/self/status`.
fn status(launchable: Launchable, name: &str) -> String {
    let (exit, text) = output(Launchable {
        argv: ["cat".into(), "/proc/self/status".into()].into(),
        ..launchable
    });
    assert_eq!(exit, Exit::Code(0), "{text}");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.expect("the kernel says it").trim().to_owned()
}

#[test]
fn a_process_leads_its_own_group_and_is_known_by_its_start_time() {
    let started = Started::new(sh("sleep 60"));
    let stat = proc::stat(started.0.pid).expect("it runs");
    assert_eq!((stat.group, stat.start_time), (started.0.pid, started.0.start_time));
    assert_eq!(stat.ppid, std::process::id());
}

#[test]
fn only_the_given_environment_is_passed_on() {
    let mut env = sh("");
    env.argv = ["/usr/bin/env".into()].into();
    env.env = Env::from([("A".into(), "1 2".into())]);
    assert_eq!(output(env), (Exit::Code(0), "A=1 2\n".to_owned()));
}

#[test]
fn no_descriptor_of_ours_is_inherited_whatever_its_flags() {
    let (read, _write) = pipe();
    rustix::io::fcntl_setfd(&read, rustix::io::FdFlags::empty()).expect("open");
    // The shell itself opens none; `ls` opens the directory.
    let (exit, list) = output(sh("exec ls /proc/self/fd"));
    assert_eq!((exit, list.as_str()), (Exit::Code(0), "0\n1\n2\n3\n"));
}

#[test]
fn the_hand_over_file_is_descriptor_three() {
    let (read, write) = pipe();
    let mut hook = sh("echo hello >&3; exec ls /proc/self/fd");
    hook.hand_over = Some(write);
    let (exit, list) = output(hook);
    assert_eq!((exit, list.as_str()), (Exit::Code(0), "0\n1\n2\n3\n4\n"));
    let mut text = [0; 16];
    let length = rustix::io::read(&read, &mut text).expect("a pipe");
    assert_eq!(&text[..length], b"hello\n");
}

#[test]
fn a_failed_exec_is_reported_with_the_hand_over_file_in_place() {
    alone(|| {
        let file = {
            let (_read, write) = pipe();
            rustix::io::fcntl_dupfd_cloexec(&write, 10).expect("a descriptor")
        };
        // With 0 and 3 free, std's own pipe would be exactly those.
        let free = rustix::io::dup(&file).expect("a descriptor");
        assert_eq!(free.as_raw_fd(), HAND_OVER_FD);
        drop(free);
        // SAFETY: nobody reads this test's standard input.
        unsafe { libc::close(0) };
        let mut hook = Launchable::new(["/nonexistent/hook"]);
        // For a null device, std would open a descriptor first.
        hook.stdin = Input::Inherit;
        hook.hand_over = Some(file);
        let error = spawn(hook).expect_err("it is not there");
        assert_eq!((error.step, error.errno.0), (Step::Exec, libc::ENOENT));
    });
}

#[test]
fn ignored_and_blocked_signals_do_not_outlive_the_exec() {
    alone(|| {
        // SAFETY: a disposition and a mask of this test's own process.
        unsafe {
            libc::signal(libc::SIGUSR1, libc::SIG_IGN);
            let mut set = MaybeUninit::uninit();
            libc::sigfillset(set.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
        }
        assert_eq!(status(sh(""), "SigIgn"), "0000000000000000");
        assert_eq!(status(sh(""), "SigBlk"), "0000000000000000");
    });
}

#[test]
fn limits_umask_and_directory_are_set() {
    let directory = tempfile::tempdir().expect("a directory");
    let limit = Rlimit { current: Some(123), maximum: Some(456) };
    let (exit, text) = output(Launchable {
        cwd: Some(directory.path().to_owned()),
        umask: Some(0o027),
        limits: vec![
            (Resource::Nofile, limit),
            (Resource::Core, Rlimit { current: Some(0), maximum: None }),
        ],
        ..sh("umask; ulimit -Sn; ulimit -Hn; ulimit -Sc; pwd; cat /proc/self/oom_score_adj")
    });
    let expected = format!("0027\n123\n456\n0\n{}\n0\n", directory.path().display());
    assert_eq!((exit, text), (Exit::Code(0), expected));
}

#[test]
fn a_dropped_user_has_no_group_of_ours_and_still_dies_with_us() {
    if !root() {
        return;
    }
    let identity = user::resolve(Some("65534"), Some("65533")).expect("numbers");
    let nobody = || Launchable { identity: identity.clone(), no_new_privs: true, ..sh("") };
    assert_eq!(status(nobody(), "Uid"), "65534\t65534\t65534\t65534");
    assert_eq!(status(nobody(), "Gid"), "65533\t65533\t65533\t65533");
    assert_eq!(status(nobody(), "Groups"), "65533");
    assert_eq!(status(nobody(), "NoNewPrivs"), "1");
    assert_eq!(status(nobody(), "CapEff"), "0000000000000000");

    // The thread that starts a process is the one whose end the kernel watches.
    let identity = nobody().identity;
    let process = std::thread::spawn(|| spawn(Launchable { identity, ..sh("exec sleep 60") }))
        .join()
        .expect("no panic")
        .expect("it can be started");
    assert_eq!(wait(process.pid), Exit::Signal(9));
}

#[test]
fn each_error_names_its_step() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("utf-8").to_owned();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("ours");
    let limit = Rlimit { current: Some(2), maximum: Some(1) };
    for (launchable, step, errno) in [
        (Launchable::new(["rekindle-no-such-program"]), Step::Exec, libc::ENOENT),
        (Launchable::new([&path]), Step::Exec, libc::EACCES),
        (Launchable::new(["nul\0byte"]), Step::Exec, libc::EINVAL),
        (Launchable { cwd: Some("/nonexistent".into()), ..sh("true") }, Step::Chdir, libc::ENOENT),
        (Launchable { cwd: Some(path.clone().into()), ..sh("true") }, Step::Chdir, libc::ENOTDIR),
        (
            Launchable { limits: vec![(Resource::Nofile, limit)], ..sh("true") },
            Step::Limits,
            libc::EINVAL,
        ),
    ] {
        let error = spawn(launchable).expect_err("it cannot be started");
        assert_eq!((error.step, error.errno.0), (step, errno), "{error}");
    }
}

#[test]
fn a_cgroup_that_cannot_be_joined_is_left_out() {
    let closed = fs::File::open("/dev/null").expect("there").into();
    let (exit, text) = output(Launchable { cgroup: Some(closed), ..sh("echo started") });
    assert_eq!((exit, text.as_str()), (Exit::Code(0), "started\n"));
}

#[test]
fn who_is_the_user_already_needs_no_right_to_become_it() {
    if !root() {
        return;
    }
    let me = || user::resolve(Some("65534"), Some("65533")).expect("numbers");
    alone(move || {
        let nobody = me().expect("given");
        rustix::thread::set_thread_groups(&[nobody.gid]).expect("root");
        rustix::thread::set_thread_res_gid(nobody.gid, nobody.gid, nobody.gid).expect("root");
        rustix::thread::set_thread_res_uid(nobody.uid, nobody.uid, nobody.uid).expect("root");
        let ours = || Launchable { identity: me(), ..sh("") };
        assert_eq!(status(ours(), "Uid"), "65534\t65534\t65534\t65534");
        assert_eq!(status(ours(), "Gid"), "65533\t65533\t65533\t65533");
        for other in [("65532", "65533"), ("65534", "65532")] {
            let identity = user::resolve(Some(other.0), Some(other.1)).expect("numbers");
            let error = spawn(Launchable { identity, ..sh("") }).expect_err("not allowed");
            assert_eq!((error.step, error.errno.0), (Step::Groups, libc::EPERM));
        }
    });
}

#[test]
fn root_in_a_container_reads_the_environment_of_a_user_that_it_has_started() {
    alone_as_contained_root(|| {
        let identity = user::resolve(Some("65534"), Some("65533")).expect("numbers");
        let mut other = Launchable { identity, ..sh("exec sleep 60") };
        other.env.insert("WHOSE".into(), "ours".into());
        let other = Started::new(other);
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM)).expect("a signal");
        let denied = fs::read(format!("/proc/{}/environ", other.0.pid)).expect_err("not allowed");
        assert_eq!(denied.kind(), io::ErrorKind::PermissionDenied);

        // In the middle of its shell's exec there is none.
        let ours = || proc::variable(other.0.pid, "WHOSE") == Some(b"ours".to_vec());
        until("its environment is read", ours);

        let dumpable = rustix::process::dumpable_behavior().expect("the kernel says it");
        assert_eq!(dumpable, rustix::process::DumpableBehavior::Dumpable);
        let death_signal = rustix::process::parent_process_death_signal();
        assert_eq!(death_signal, Ok(Some(Signal::TERM)));
        let own = status(sh(""), "Uid");
        assert_eq!(own, "0\t0\t0\t0", "we are root again");
    });
}

#[test]
fn the_program_is_looked_up_on_its_own_path() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("only-here");
    fs::write(&program, "#!/bin/sh\necho found\n").expect("writable");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("ours");
    let mut launchable = Launchable::new(["only-here"]);
    launchable.env.insert("PATH".into(), directory.path().into());
    assert_eq!(output(launchable), (Exit::Code(0), "found\n".to_owned()));
}

#[test]
fn a_dead_child_is_shown_again_and_again_until_it_is_reaped() {
    use crate::process::reaper::{Dead, has_children, peek, reap};
    alone(|| {
        assert!(!has_children());
        assert_eq!(peek(), None);
        let first = spawn(sh("exit 7")).expect("started").pid;
        until("it ends", || peek().is_some());
        let dead = Dead { pid: first, exit: Exit::Code(7) };
        assert_eq!((peek(), peek()), (Some(dead), Some(dead)));

        let second = spawn(sh("kill -KILL $$")).expect("started").pid;
        reap(first);
        assert!(proc::stat(first).is_none());
        until("it ends", || peek().is_some());
        assert_eq!(peek(), Some(Dead { pid: second, exit: Exit::Signal(9) }));
        assert!(has_children());
        reap(second);
        assert!(!has_children());
    });
}

#[test]
fn an_orphan_comes_to_a_subreaper() {
    use crate::process::reaper::{adopt_orphans, peek, reap};
    alone(|| {
        adopt_orphans().expect("allowed");
        let (read, write) = pipe();
        let mut parent = sh("sleep 60 & echo $!");
        parent.stdout = Sink::To(write);
        let parent = spawn(parent).expect("started");
        let mut text = [0; 16];
        let length = rustix::io::read(&read, &mut text).expect("a pipe");
        let orphan: u32 = String::from_utf8_lossy(&text[..length]).trim().parse().expect("a pid");
        until("the parent ends", || peek().is_some_and(|dead| dead.pid == parent.pid));
        reap(parent.pid);
        until("it is adopted", || {
            proc::stat(orphan).is_some_and(|stat| stat.ppid == std::process::id())
        });
        crate::process::kill::child(orphan, Signal::KILL).expect("it is ours");
        until("it ends", || peek().is_some_and(|dead| dead.pid == orphan));
        reap(orphan);
    });
}

#[test]
fn the_child_gets_the_terminal_and_gives_it_back() {
    alone_on_terminal(|| {
        let own = rustix::process::getpgrp();
        let foreground = || rustix::termios::tcgetpgrp(rustix::stdio::stdin()).expect("a terminal");
        assert_eq!(foreground(), own);
        let started = Started::new(Launchable { stdin: Input::Inherit, ..sh("read line") });
        assert_eq!(u32::try_from(foreground().as_raw_nonzero().get()), Ok(started.0.pid));
        take_terminal_back();
        assert_eq!(foreground(), own);
    });
}
