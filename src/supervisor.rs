//! The pure state machine: `on(now, event) -> actions`, `deadline()`.

mod event;
mod policy;

pub use event::*;
pub use policy::*;
