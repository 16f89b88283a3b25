//! The gateway itself breaks, and its supervisor sees it end or sees it no longer.

use rustix::process::Signal;

use crate::drill::scenario::{Expect, Scenario, Step};

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "crash",
        simulates: "the gateway aborts",
        steps: &[Step::Ask("mode=crash")],
        expect: Expect::Restart("signal"),
        ..Scenario::USUAL
    },
    Scenario {
        name: "killed",
        simulates: "the gateway is killed, as by the kernel when memory is short",
        steps: &[Step::Signal(Signal::KILL)],
        expect: Expect::Restart("signal"),
        ..Scenario::USUAL
    },
    Scenario {
        name: "exit",
        simulates: "the gateway gives up with code 3",
        steps: &[Step::Ask("mode=exit&code=3")],
        expect: Expect::Restart("exit"),
        ..Scenario::USUAL
    },
    Scenario {
        name: "clean-exit",
        simulates: "the gateway ends with code 0 although it is wanted",
        steps: &[Step::Ask("mode=exit&code=0")],
        expect: Expect::Restart("clean_exit"),
        ..Scenario::USUAL
    },
    Scenario {
        name: "hang",
        simulates: "the gateway's process stands still and keeps its port",
        steps: &[Step::Signal(Signal::STOP)],
        expect: Expect::Restart("probe_failed"),
        ..Scenario::USUAL
    },
    Scenario {
        name: "deaf",
        simulates: "the gateway runs on but listens no longer",
        steps: &[Step::Ask("mode=close")],
        expect: Expect::Restart("probe_failed"),
        ..Scenario::USUAL
    },
    Scenario {
        name: "never-up",
        simulates: "the gateway is started again and does not come up the first time",
        steps: &[Step::Plant("slow-start", "1h"), Step::Signal(Signal::KILL)],
        expect: Expect::Restart("startup_timeout"),
        ..Scenario::USUAL
    },
    Scenario {
        name: "wrong-health-url",
        simulates: "the configured health URL does not exist: reported, not healed for ever",
        keys: "health = \"{gateway}/no-such-page\"",
        expect: Expect::Report("the probe is probably wrong"),
        ..Scenario::USUAL
    },
];
