//! Helper threads that survive their own panics.
//!
//! A panic on a helper thread must not end the healing: it is told, and the thread's work starts
//! again after a pause. The supervision loop is not run here: when it panics, the program ends.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The thread that serves HTTP and the control socket and reads the child's pipes.
pub const HTTP: &str = "http";
/// The thread that writes to stdout.
pub const STDOUT: &str = "stdout";
/// The thread that writes to stderr.
pub const STDERR: &str = "stderr";

/// The thread that writes to the state directory.
pub const STATE: &str = "state";

/// The thread that looks whether we would come back.
pub const LOOKOUT: &str = "lookout";

/// The thread that writes the records of outages.
pub const INCIDENTS: &str = "incidents";

/// The thread that tells a webhook of incidents.
pub const WEBHOOK: &str = "webhook";

/// The names of all helper threads.
pub const NAMES: &[&str] = &[HTTP, STDOUT, STDERR, STATE, LOOKOUT, INCIDENTS, WEBHOOK];

/// Enough for our shallow stacks; memory that is never touched costs nothing, but a limit on
/// address space would count it.
const STACK_BYTES: usize = 512 * 1024;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Runs `work` on a thread of its own until it returns; after a panic, tells `panicked` its message
/// and the pause, and runs `work` again.
pub fn spawn_supervised(
    name: &'static str,
    mut work: impl FnMut() + Send + 'static,
    panicked: impl Fn(&str, Duration) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(move || {
        let mut pause = FIRST_PAUSE;
        // Whatever `work` shares with others is behind locks that ignore poison, or atomic.
        while let Err(cause) = catch_unwind(AssertUnwindSafe(&mut work)) {
            panicked(message(&*cause), pause);
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    })
}

fn message(cause: &(dyn Any + Send)) -> &str {
    let text = cause.downcast_ref::<&str>().copied();
    text.or_else(|| cause.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_panic_is_told_and_the_work_starts_again() {
        let (told, heard) = mpsc::channel();
        let mut runs = 0;
        let work = move || {
            runs += 1;
            assert!(runs >= 3, "planted panic {runs}");
        };
        let panicked = move |message: &str, pause| told.send((message.to_owned(), pause)).unwrap();
        spawn_supervised("planted", work, panicked).unwrap().join().unwrap();
        let heard: Vec<_> = heard.iter().collect();
        assert_eq!(
            heard,
            [
                ("planted panic 1".to_owned(), FIRST_PAUSE),
                ("planted panic 2".to_owned(), FIRST_PAUSE * 2),
            ]
        );
    }
}
