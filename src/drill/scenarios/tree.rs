//! The gateway goes and something of it stays.

use rustix::process::Signal;

use crate::drill::proxy::Mode;
use crate::drill::scenario::{Expect, Scenario, Step};

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "port-stolen",
        simulates: "the gateway ends and leaves a process behind that holds its port",
        steps: &[Step::Ask("mode=orphan")],
        expect: Expect::Restart("exit"),
        ..Scenario::USUAL
    },
    Scenario {
        name: "orphan",
        simulates: "a helper of the gateway has a session of its own and ignores SIGTERM",
        files: &[("helper", "")],
        steps: &[Step::Signal(Signal::KILL)],
        expect: Expect::Restart("signal"),
        ..Scenario::USUAL
    },
    Scenario {
        name: "ignores-term",
        simulates: "the gateway is sick and ignores SIGTERM",
        steps: &[Step::Ask("mode=ignore-term"), Step::Sick(Mode::Error500)],
        expect: Expect::Restart("probe_failed"),
        ..Scenario::USUAL
    },
];
