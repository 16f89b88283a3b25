//! What must hold under faults that are not the child's own: each test is a row of
//! `docs/reliability.md`, and `tests/system/faults/run` runs them all.

mod attackers;
mod away;
mod floods;
mod killed;
mod port;
mod probes;
mod scarcity;
mod soak;
