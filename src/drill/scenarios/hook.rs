//! The gateway is down, and its boot hook is what keeps it down, or what brings it back.

use rustix::process::Signal;

use crate::drill::scenario::{Expect, Scenario, Step};

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "hook-fails",
        simulates: "the boot hook fails three times before it succeeds",
        steps: &[Step::Plant("hook-fails", "3"), Step::Signal(Signal::KILL)],
        expect: Expect::Restart("hook_failed"),
        ..Scenario::USUAL
    },
    Scenario {
        name: "hook-hangs",
        simulates: "the boot hook does not end the first time",
        steps: &[Step::Plant("hook-hangs", ""), Step::Signal(Signal::KILL)],
        expect: Expect::Restart("hook_timeout"),
        ..Scenario::USUAL
    },
    Scenario {
        name: "dependency-late",
        simulates: "the boot hook needs a server that returns late; measured from its return",
        steps: &[
            Step::Dependency { there: false },
            Step::Signal(Signal::KILL),
            Step::AwaitHookFailures(3),
            Step::Dependency { there: true },
        ],
        expect: Expect::Restart("hook_failed"),
        ..Scenario::USUAL
    },
    Scenario {
        name: "damaged-file",
        simulates: "a file of the gateway is cut short, and only the boot hook repairs it",
        steps: &[Step::Plant("data", ""), Step::Signal(Signal::KILL)],
        expect: Expect::Restart("signal"),
        ..Scenario::USUAL
    },
];
