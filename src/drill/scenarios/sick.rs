//! The gateway answers, but not as a healthy one does: a proxy answers in its place.

use crate::drill::proxy::Mode;
use crate::drill::scenario::{Expect, Scenario, Step};

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "sick-500",
        simulates: "the gateway answers 500",
        steps: &[Step::Sick(Mode::Error500)],
        ..SICK
    },
    Scenario {
        name: "sick-body",
        simulates: "the gateway answers 200, and says in the body that it is not well",
        steps: &[Step::Sick(Mode::WrongBody)],
        ..SICK
    },
    Scenario {
        name: "sick-slow",
        simulates: "the gateway answers one byte at a time",
        steps: &[Step::Sick(Mode::Slow)],
        ..SICK
    },
    Scenario {
        name: "sick-reset",
        simulates: "the gateway breaks every connection",
        steps: &[Step::Sick(Mode::Reset)],
        ..SICK
    },
    Scenario {
        name: "sick-silent",
        simulates: "the gateway takes requests and never answers",
        steps: &[Step::Sick(Mode::BlackHole)],
        ..SICK
    },
];

const SICK: Scenario = Scenario { expect: Expect::Restart("probe_failed"), ..Scenario::USUAL };
