//! Files that a program may expect are not there: in an empty image, a hardened or a read-only one.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use super::{hooked, kill};
use crate::crash::served_by;
use crate::support::http::free_port;
use crate::support::{
    Config, Fault, Part, Rekindle, Stopwatch, World, get, has_tool, is_root, this_test, wait_until,
};

/// Hides every place where certificates of the system are looked for.
const NO_CERTIFICATES: &str = "for dir in /etc/ssl /usr/lib/ssl /usr/share/ca-certificates \
     /usr/local/share/ca-certificates /etc/pki /etc/ca-certificates; do \
     [ ! -d $dir ] || mount -t tmpfs none $dir || exit 1; done";

/// Hides all of `/etc`.
const NO_ETC: &str = "mount -t tmpfs none /etc";

/// Another user than root.
const NOBODY: u32 = 65534;

#[test]
fn a_read_only_root_does_not_keep_it_from_healing() {
    let (world, port, listen) = (World::new(), free_port(), free_port());
    let here = world.at("");
    let shell = format!(
        "mount --bind {here} {here} && mount -o remount,bind,ro {here} && \
         mount -o remount,bind,ro /"
    );
    let run = world.prepare(&hooked(&world, Config::demo(port)).listen(listen));
    let Some(command) = world.remounted(&shell, &run) else { return };
    let rekindle = world.start(command);

    // There is no control socket to ask.
    let healthy = || get(listen, "/readyz").is_ok_and(|answer| answer.status == 200);
    wait_until("it is healthy", healthy);
    rekindle.wait_said(&["nothing is remembered across runs", "ead-only file system"]);
    rekindle.wait_said(&["cannot make the control socket", "ead-only file system"]);
    let watch = Stopwatch::start();
    get(port, "/fault?mode=crash").expect("the demo gateway takes the order");
    wait_until("it is down", || !healthy());
    wait_until("it is healthy again", healthy);

    let took = watch.elapsed();
    let row = Fault {
        part: Part::Scarcity,
        fault: "the root is read-only, and the child crashes",
        injected: "a mount namespace in which `/` is remounted read-only",
        outcome: "no state and no control socket, each told once; hook, child and port as ever",
    };
    row.recovered_after(this_test!(), took);
}

#[test]
fn a_proc_that_hides_members_of_the_tree_leaves_none_of_them_alive() {
    if !(is_root("another user and its /proc") && has_tool("setpriv")) {
        return;
    }
    let world = World::new();
    // What may be executed and not be read is hidden even from its own user, as is a program with
    // capabilities of its own.
    let secret = world.at("sleep");
    fs::copy("/bin/sleep", &secret).expect("there is a sleep");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o111)).expect("chmod");
    for owned in ["own", "run", "state"] {
        fs::create_dir_all(world.path(owned)).expect("a directory");
        chown(world.path(owned), Some(NOBODY), Some(NOBODY)).expect("chown");
    }
    let (helpers, alive) = (world.at("own/helpers"), world.at("own/alive"));
    let script = world.write(
        "child.sh",
        &format!(
            "for pid in $(cat {helpers}); do ! kill -0 $pid || echo $pid >> {alive}; done\n\
             setsid sleep 4714 & echo $! >> {helpers}\n\
             setsid {secret} 4714 & echo $! >> {helpers}\n\
             echo $$ >> {}; exec {secret} 1000",
            world.at("own/pids"),
        ),
    );
    let run = world.prepare(&Config::command(&["/bin/sh", &script]));
    let nobody = NOBODY.to_string();
    let us = ["setpriv", "--reuid", &nobody, "--regid", &nobody, "--clear-groups"];
    let run = world.wrapped(&us, &run);
    let hide = "mount -t proc -o hidepid=2 proc /proc";
    let Some(command) = world.remounted(hide, &run) else { return };
    let rekindle = world.start(command);
    rekindle.wait_up();
    rekindle.wait_state("healthy");
    assert_eq!(rekindle.lines_with("/proc hides processes (hidepid)").len(), 1);
    let first = world.lines("own/pids")[0].parse().expect("a pid");

    let watch = Stopwatch::start();
    kill(first);
    rekindle.wait("the next child runs", || world.lines("own/pids").len() == 2);

    let took = watch.elapsed();
    assert_eq!(world.read("own/alive"), "", "{}", rekindle.story());
    rekindle.wait_state("healthy");
    assert_eq!(world.processes_like("sleep 4714").len(), 2);
    let row = Fault {
        part: Part::Scarcity,
        fault: "`/proc` hides members of the tree, and the child dies",
        injected: "`hidepid=2`, all as one user, programs that this user may not read",
        outcome: "helpers in sessions of their own are gone before the new child starts; what cannot \
                  be found so after a restart of ours is said once, with the way out",
    };
    row.recovered_after(this_test!(), took);
}

#[test]
fn no_shared_memory_and_next_to_no_devices_are_enough() {
    let (world, port) = (World::new(), free_port());
    let dev = world.at("dev");
    let shell = format!(
        "mkdir {dev} && mount -t tmpfs none {dev} && touch {dev}/null && \
         mount --bind /dev/null {dev}/null && mount --move {dev} /dev"
    );
    let hook = world
        .write("boot.sh", &format!("ls /dev > {}; echo A=1 >> $REKINDLE_ENV", world.at("seen")));
    let run = world.prepare(&Config::demo(port).with(&format!("boot_hook = \"{hook}\"")));
    let Some(command) = world.remounted(&shell, &run) else { return };
    let rekindle = world.start(command);
    rekindle.wait_up();
    served_by(&rekindle, port);
    assert_eq!(world.read("seen"), "null\n");

    let watch = Stopwatch::start();
    get(port, "/fault?mode=crash").expect("the demo gateway takes the order");
    rekindle.wait_restarts("signal", 1);
    served_by(&rekindle, port);

    let row = Fault {
        part: Part::Scarcity,
        fault: "there is no `/dev/shm` and no device but `/dev/null`, and the child crashes",
        injected: "a mount namespace with a `/dev` of its own",
        outcome: "hook, hand-over and child as ever",
    };
    row.recovered_after(this_test!(), watch.elapsed());
}

#[test]
fn without_certificates_plain_http_is_probed_as_ever() {
    let (world, port) = (World::new(), free_port());
    let run = world.prepare(&Config::demo(port));
    let Some(command) = without_certificates(&world, NO_CERTIFICATES, &run) else { return };
    let rekindle = world.start(command);
    rekindle.wait_up();
    served_by(&rekindle, port);

    let watch = Stopwatch::start();
    get(port, "/fault?mode=500").expect("the demo gateway takes the order");
    rekindle.wait_restarts("probe_failed", 1);
    served_by(&rekindle, port);

    let row = Fault {
        part: Part::Scarcity,
        fault: "there are no CA files, and the child answers 500",
        injected: "a mount namespace in which they are hidden, an `http` probe",
        outcome: "healed as ever: plain HTTP needs none",
    };
    row.recovered_after(this_test!(), watch.elapsed());
}

#[test]
fn an_https_probe_without_certificates_kills_nobody_and_trusts_them_once_they_are_there() {
    if !has_tool("openssl") {
        return;
    }
    let (world, port) = (World::new(), free_port());
    let key = rcgen::generate_simple_self_signed(["gateway.test".to_owned()]).expect("a key");
    let (pem, secret) = (key.cert.pem(), key.signing_key.serialize_pem());
    let (cert, secret) = (world.write("cert.pem", &pem), world.write("key.pem", &secret));
    let hosts = world.write("hosts", "127.0.0.1 gateway.test\n");
    let server =
        format!("exec openssl s_server -quiet -www -port {port} -cert {cert} -key {secret}");
    let config = Config::script(&server)
        .with("env.OPENSSL_CONF = \"/dev/null\"")
        .probing(&format!("http = \"https://gateway.test:{port}/\""));
    let run = world.prepare(&config);
    let shell = format!("{NO_CERTIFICATES}; mount --bind {hosts} /etc/hosts");
    let Some(command) = without_certificates(&world, &shell, &run) else { return };
    let rekindle = world.start(command);
    rekindle.wait_up();
    rekindle.wait_said(&["blind", "certificate_not_trusted"]);
    assert_eq!(rekindle.state(), "starting", "the startup budget stands still");

    let watch = Stopwatch::start();
    let certs = seen_by(&rekindle, "etc/ssl/certs");
    fs::create_dir(&certs).expect("a directory");
    fs::write(certs.join("ca-certificates.crt"), pem).expect("a file");
    rekindle.wait_state("healthy");

    let took = watch.elapsed();
    assert_eq!(rekindle.all_restarts(), 0);
    let row = Fault {
        part: Part::Scarcity,
        fault: "there are no CA files for an `https` probe",
        injected: "a mount namespace in which they are hidden, and later a bundle in their place",
        outcome: "`certificate_not_trusted` kills nothing, is told, and ends without a restart",
    };
    row.recovered_after(this_test!(), took);
}

#[test]
fn a_user_by_number_needs_no_passwd() {
    let (world, port) = (World::new(), free_port());
    let run = world.prepare(&Config::demo(port).with("user = \"65534\""));
    let Some(command) = world.remounted(NO_ETC, &run) else { return };
    let rekindle = world.start(command);
    rekindle.wait_up();
    served_by(&rekindle, port);

    let watch = Stopwatch::start();
    get(port, "/fault?mode=crash").expect("the demo gateway takes the order");
    rekindle.wait_restarts("signal", 1);
    served_by(&rekindle, port);

    let row = Fault {
        part: Part::Scarcity,
        fault: "there is no `/etc/passwd` for a `user` by number, and the child crashes",
        injected: "a mount namespace with an empty `/etc`",
        outcome: "healed as ever",
    };
    row.recovered_after(this_test!(), watch.elapsed());
}

#[test]
fn a_user_by_name_without_a_passwd_is_told_and_found_once_it_is_there() {
    let (world, port) = (World::new(), free_port());
    let run = world.prepare(&Config::demo(port).with("user = \"gate\""));
    let Some(command) = world.remounted(NO_ETC, &run) else { return };
    let rekindle = world.start(command);
    rekindle.wait_up();
    rekindle.wait_said(&["child: there is no user \\\"gate\\\" in /etc/passwd; a number works"]);

    let watch = Stopwatch::start();
    fs::write(seen_by(&rekindle, "etc/passwd"), "gate:x:65534:65534::/:/bin/sh\n").expect("a file");
    served_by(&rekindle, port);

    let row = Fault {
        part: Part::Scarcity,
        fault: "there is no `/etc/passwd` for a `user` by name",
        injected: "a mount namespace with an empty `/etc`, and later the file",
        outcome: "the line says that a number would do; launches are tried until one goes well",
    };
    row.recovered_after(this_test!(), watch.elapsed());
}

/// Where we find what it knows by this path below its own root.
fn seen_by(rekindle: &Rekindle<'_>, path: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root", rekindle.pid())).join(path)
}

/// Whose variables point to certificates would find them all the same.
fn without_certificates(
    world: &World,
    shell: &str,
    run: &std::process::Command,
) -> Option<std::process::Command> {
    let mut command = world.remounted(shell, run)?;
    command.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
    Some(command)
}
