//! The child's output arrives unchanged. What a flood of it does is in `faults/floods.rs`.

use crate::support::{Config, World};

#[test]
fn every_byte_arrives_on_the_stream_that_it_was_written_to() {
    let world = World::new();
    let out: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let err = b"\xff\x00 no line end, not even text \x80\r".as_slice();
    std::fs::write(world.path("out"), &out).expect("a scratch file");
    std::fs::write(world.path("err"), err).expect("a scratch file");
    let script = format!("cat {}; cat {} >&2; exec sleep 1000", world.at("out"), world.at("err"));
    let rekindle = world.run(&Config::script(&script).with("output = \"pump\""));

    rekindle.wait("all of it is there", || rekindle.output().len() >= out.len());
    let log = world.path("stderr-0");
    let arrived = || std::fs::read(&log).unwrap_or_default();
    rekindle.wait("stderr too", || arrived().windows(err.len()).any(|part| part == err));

    assert!(rekindle.output() == out, "stdout differs");
}

#[test]
fn the_last_words_of_a_dying_child_are_not_lost() {
    // The reader is on another thread, which loses the race now and then.
    for _ in 0..10 {
        let world = World::new();
        let script = "head -c 100000 /dev/zero; echo last words; exit 3";
        let mut rekindle = world.run(&Config::script(script).with("restart = \"never\""));

        assert_eq!(rekindle.wait_exit(), 3);
        assert_eq!(rekindle.output().len(), 100_011);
        assert!(rekindle.output().ends_with(b"last words\n"));
    }
}

#[test]
fn where_output_is_inherited_the_child_writes_it_itself() {
    let world = World::new();
    let script = "readlink /proc/self/fd/1; exec sleep 1000";
    for (output, target) in [("inherit", world.at("stdout-0")), ("pump", "pipe:".to_owned())] {
        let rekindle = world.run(&Config::script(script).with(&format!("output = \"{output}\"")));
        rekindle.wait("it has written", || !rekindle.output().is_empty());

        let written = String::from_utf8_lossy(&rekindle.output()).into_owned();

        assert!(written.starts_with(&target), "{written} rather than {target}");
    }
}
