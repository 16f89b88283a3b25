//! On a terminal the log is for people, and the child may have the terminal to itself.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::{Config, REKINDLE, Rekindle, Streams, World, has_tool};

/// The far side of a terminal: what a person would type and see.
struct Terminal {
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// A terminal, and the side of it that programs see.
    fn open() -> (Self, OwnedFd) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it is ours");
        let name = ptsname(&master, Vec::new()).expect("it has a name");
        let name = name.to_str().expect("an ASCII name");
        let near = OpenOptions::new().read(true).write(true).open(name).expect("its other side");
        let keyboard = File::from(master);
        let mut source = keyboard.try_clone().expect("a descriptor");
        let screen = Arc::new(Mutex::new(Vec::new()));
        let shown = Arc::clone(&screen);
        // It ends when the last program has closed the terminal.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length) = source.read(&mut bytes) {
                shown.lock().expect("no panic").extend(&bytes[..length]);
            }
        });
        (Self { keyboard, screen }, near.into())
    }

    fn types(&self, text: &str) {
        (&self.keyboard).write_all(text.as_bytes()).expect("the terminal takes it");
    }

    fn shows(&self, text: &str) -> bool {
        self.screen().contains(text)
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("no panic")).into_owned()
    }
}

/// Starts it with a terminal as its controlling one.
fn start<'w>(world: &'w World, config: &Config) -> Option<(Rekindle<'w>, Terminal)> {
    if !has_tool("setsid") {
        return None;
    }
    let run = world.prepare(config);
    let mut command = world.command("setsid");
    // It need not fork, since nothing that we start leads a group: its pid is Rekindle's.
    command.args(["--ctty", REKINDLE]).args(run.get_args());
    let (terminal, near) = Terminal::open();
    let rekindle = world.start_with(Streams::Terminal(near), command);
    Some((rekindle, terminal))
}

#[test]
fn the_log_is_for_people_and_the_child_writes_to_the_terminal_itself() {
    let world = World::new();
    let config = Config::script("[ -t 1 ] && echo on a terminal; exec sleep 1000");
    let Some((rekindle, terminal)) = start(&world, &config) else { return };

    rekindle.wait_state("healthy");

    rekindle.wait("the child has written", || terminal.shows("on a terminal"));
    assert!(terminal.shows("gateway: "), "{}", terminal.screen());
    assert!(!terminal.shows("\"level\":"), "{}", terminal.screen());
}

#[test]
fn a_child_that_inherits_stdin_reads_what_is_typed() {
    let world = World::new();
    let config = Config::script("read line; echo \"got <$line>\"; exec sleep 1000")
        .with("stdin = \"inherit\"");
    let Some((rekindle, terminal)) = start(&world, &config) else { return };
    rekindle.wait_state("healthy");

    terminal.types("hello\n");

    rekindle.wait("the child has read", || terminal.shows("got <hello>"));
}

#[test]
fn a_child_without_stdin_leaves_ctrl_c_to_us() {
    let world = World::new();
    let Some((mut rekindle, terminal)) = start(&world, &Config::script("exec sleep 1000")) else {
        return;
    };
    rekindle.wait_state("healthy");

    terminal.types("\x03");

    assert_eq!(rekindle.wait_exit(), 0, "{}", terminal.screen());
}
