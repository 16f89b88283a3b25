//! What is around the gateway breaks: its supervisor, its sandbox, its disk, its clock.

use rustix::process::Signal;

use crate::drill::scenario::{Expect, Place, Scenario, Step};

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "supervisor-killed",
        simulates: "rekindle itself is killed and started again, beside what it has left",
        place: Place::OwnTree,
        files: &[("helper", "")],
        steps: &[Step::KillSupervisor],
        ..Scenario::USUAL
    },
    Scenario {
        name: "power-cycle",
        simulates: "the power goes and comes back",
        steps: &[Step::CutPower],
        ..Scenario::USUAL
    },
    Scenario {
        name: "power-cut-in-hook",
        simulates: "the power goes again while the boot hook runs",
        steps: &[Step::CutPower, Step::AwaitState("boot_hook"), Step::CutPower],
        ..Scenario::USUAL
    },
    Scenario {
        name: "power-cut-at-start",
        simulates: "the power goes again while the gateway starts",
        steps: &[
            Step::Plant("slow-start", "2s"),
            Step::CutPower,
            Step::AwaitState("starting"),
            Step::CutPower,
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "power-cuts",
        simulates: "the power goes five times at random moments, state being written or not",
        steps: &[
            Step::CutPower,
            Step::Pause(400),
            Step::CutPower,
            Step::Pause(400),
            Step::CutPower,
            Step::Pause(400),
            Step::CutPower,
            Step::Pause(400),
            Step::CutPower,
        ],
        ..Scenario::USUAL
    },
    Scenario {
        name: "stale-lock",
        simulates: "after a power cycle the gateway's lock names a pid that lives again",
        steps: &[Step::StaleLock, Step::CutPower],
        ..Scenario::USUAL
    },
    Scenario {
        name: "read-only-state",
        simulates: "the state directory cannot be written, and the gateway crashes",
        place: Place::Namespaces,
        files: &[(crate::drill::inside::READ_ONLY, "")],
        steps: &[Step::Signal(Signal::KILL)],
        expect: Expect::Restart("signal"),
        ..Scenario::USUAL
    },
    Scenario {
        name: "clock-1970",
        simulates: "the machine starts with a clock that says 1970",
        place: Place::OwnClock,
        ..Scenario::USUAL
    },
];
