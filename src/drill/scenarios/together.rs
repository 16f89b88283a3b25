//! Several things break together, as they do.

use rustix::process::Signal;

use crate::drill::scenario::{Expect, Scenario, Step};

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "power-and-dependency",
        simulates: "after a power cycle a server that the boot hook needs is back last",
        steps: &[
            Step::Dependency { there: false },
            Step::CutPower,
            Step::AwaitHookFailures(3),
            Step::Dependency { there: true },
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "power-and-damage",
        simulates: "a power cycle leaves a damaged file, a stale lock and a hook that fails once",
        steps: &[
            Step::Plant("data", ""),
            Step::StaleLock,
            Step::Plant("hook-fails", "1"),
            Step::CutPower,
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "hang-and-hook",
        simulates: "the gateway hangs, its helper stays, and the boot hook hangs and fails",
        files: &[("helper", "")],
        steps: &[
            Step::Plant("hook-hangs", ""),
            Step::Plant("hook-fails", "2"),
            Step::Signal(Signal::STOP),
        ],
        expect: Expect::Restart("hook_failed"),
        ..Scenario::USUAL
    },
];
