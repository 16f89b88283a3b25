//! Faults that tests plant in ourselves: with the feature `planted-faults`, and only then.
//!
//! `REKINDLE_PLANT` names one fault. `panic:PLACE:FILE` and `hang:PLACE:FILE` strike once, when
//! the thread comes by the place and finds the file, which is removed; any other word is a fault
//! that lasts: `no-healing`. Without the feature there is nothing here, and the variable means nothing.

/// Where a thread can be struck. The writers of our streams have their own names, too.
pub mod place {
    /// The supervision loop, each time it turns.
    pub const LOOP: &str = "loop";
    /// The thread that reads the child's pipes, at each piece.
    pub const PUMP: &str = "pump";
    /// The same thread, while it answers a request.
    pub const REQUEST: &str = "request";
    /// The thread that writes to the state directory, at each write.
    pub const STATE: &str = "state";
    /// The thread that looks whether we would come back, before each look.
    pub const LOOKOUT: &str = "lookout";
    /// The thread that writes the records of outages, at each of them.
    pub const INCIDENTS: &str = "incidents";
    /// The thread that tells a webhook, before each document.
    pub const WEBHOOK: &str = "webhook";
}

#[cfg(not(feature = "planted-faults"))]
mod nothing {
    /// A thread comes by a place where it may be struck.
    pub const fn pass(_place: &str) {}

    /// Whether this lasting fault was planted.
    pub const fn is_planted(_fault: &str) -> bool {
        false
    }
}

#[cfg(feature = "planted-faults")]
mod armed {
    use std::sync::OnceLock;

    fn plant() -> &'static str {
        static PLANT: OnceLock<String> = OnceLock::new();
        PLANT.get_or_init(|| std::env::var("REKINDLE_PLANT").unwrap_or_default())
    }

    /// A thread comes by a place where it may be struck.
    pub fn pass(place: &str) {
        let mut words = plant().splitn(3, ':');
        let (kind, struck, file) = (words.next(), words.next(), words.next());
        if struck != Some(place) || file.is_none_or(|file| std::fs::remove_file(file).is_err()) {
            return;
        }
        if kind == Some("hang") {
            loop {
                std::thread::park();
            }
        }
        std::panic::panic_any(format!("planted in {place}"));
    }

    /// Whether this lasting fault was planted.
    pub fn is_planted(fault: &str) -> bool {
        plant() == fault
    }
}

#[cfg(feature = "planted-faults")]
pub use armed::{is_planted, pass};
#[cfg(not(feature = "planted-faults"))]
pub use nothing::{is_planted, pass};
