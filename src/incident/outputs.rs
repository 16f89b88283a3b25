//! Which output of which program belongs to a record, and its text.
//!
//! The loop only notes whose output it is; it is read, and fit to be shown, by another thread.

use std::sync::Arc;
use std::time::Duration;

use super::Incident;
use super::mask::Mask;
use crate::output::{TAIL_BYTES, Tail};
use crate::supervisor::{Fact, Program};
use crate::text::printable;

/// So much of the output of a hook, or of an attempt that failed, is kept.
const SHORT: usize = 4 * 1024;

/// The outputs that belong to the current record.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// Of the programs that run, or ran last.
    latest: [Option<Arc<Tail>>; 3],
    /// Of the child that broke.
    child: Option<Arc<Tail>>,
    /// Of the last child that failed after it.
    attempt: Option<Arc<Tail>>,
    /// Of the last hook and the last repair.
    hooks: [Option<Arc<Tail>>; 3],
}

impl Outputs {
    /// A program is launched, whose output comes here.
    pub fn launched(&mut self, program: Program, output: Arc<Tail>) {
        self.latest[program as usize] = Some(output);
    }

    /// An outage began.
    pub fn began(&mut self) {
        self.over();
        self.child.clone_from(&self.latest[Program::Child as usize]);
    }

    /// Something happened during an outage.
    pub fn fact(&mut self, fact: &Fact) {
        if let Fact::Launched { program: hook @ (Program::BootHook | Program::Repair), .. } = *fact
        {
            self.hooks[hook as usize] = self.latest[hook as usize].take();
        }
        let failed = matches!(
            fact,
            Fact::Exited { expected: false, .. } | Fact::NeverReady { .. } | Fact::Unhealthy { .. }
        );
        let child = &self.latest[Program::Child as usize];
        // What broke may exit by itself while it is still looked at: that is no later attempt.
        let is_later = !matches!((child, &self.child), (Some(a), Some(b)) if Arc::ptr_eq(a, b));
        if failed && is_later {
            self.attempt.clone_from(child);
        }
    }

    /// The outage is over; what a hook has said is not kept beside a healthy child.
    pub fn over(&mut self) {
        *self = Self { latest: std::mem::take(&mut self.latest), ..Self::default() };
    }

    /// Waits until what dead children wrote has been read, not longer than `patience`.
    pub(super) fn wait(&self, patience: Duration) {
        for tail in [&self.child, &self.attempt].into_iter().flatten() {
            tail.pipes().wait_for_none(patience);
        }
    }

    /// Puts the texts into the record.
    pub(super) fn put_into(&self, record: &mut Incident, mask: &Mask) {
        let text = |tail: &Option<Arc<Tail>>| tail.as_deref().map(|tail| text(tail, mask));
        record.output = text(&self.child).unwrap_or_default();
        record.attempt_output = last(text(&self.attempt).unwrap_or_default());
        for program in [Program::BootHook, Program::Repair] {
            let run = record.hooks.iter_mut().find(|run| run.hook == program.label());
            if let (Some(run), Some(text)) = (run, text(&self.hooks[program as usize])) {
                run.output = last(text);
            }
        }
    }
}

/// An output as text. Masked before it is cut: half a secret is not recognised.
fn text(tail: &Tail, mask: &Mask) -> String {
    let bytes = tail.bytes();
    let is_cut = bytes.len() >= TAIL_BYTES;
    let text = printable(&String::from_utf8_lossy(&bytes));
    let whole = if is_cut { from_next_line(&text) } else { &text };
    mask.apply(whole).into_owned()
}

/// The end of `text`, from the beginning of a line.
pub(super) fn last(mut text: String) -> String {
    if text.len() > SHORT {
        let cut = text.ceil_char_boundary(text.len() - SHORT);
        let from = text.len() - from_next_line(&text[cut..]).len();
        text.drain(..from);
    }
    text
}

/// What follows the line, or if there is only one, the word, in the middle of which `text` begins.
pub(super) fn from_next_line(text: &str) -> &str {
    let end = text.find('\n').or_else(|| text.find(' '));
    end.map_or("", |end| &text[end + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(bytes: &[u8]) -> Arc<Tail> {
        let tail = Tail::default();
        tail.push(bytes);
        Arc::new(tail)
    }

    fn put(outputs: &Outputs) -> Incident {
        let mut record = Incident::default();
        record.hooks.push(super::super::HookRun { hook: "boot_hook".into(), ..Default::default() });
        outputs.put_into(&mut record, &Mask::default());
        record
    }

    #[test]
    fn each_output_comes_to_its_place_whatever_is_launched_later() {
        use crate::supervisor::{Exit, Incarnation, Launch, Reason};
        let id = Incarnation(1);
        let why = Launch { reason: Reason::Exit, attempt: 2, last_exit: None };
        let exited = Fact::Exited { id, exit: Exit::Code(1), expected: false };
        let mut outputs = Outputs::default();
        outputs.launched(Program::Child, tail(b"broke\n"));
        outputs.began();
        outputs.fact(&exited);
        assert_eq!(put(&outputs).attempt_output, "", "it is the one that broke");
        outputs.launched(Program::BootHook, tail(b"hook\n"));
        outputs.fact(&Fact::Launched { program: Program::BootHook, id, why });
        outputs.launched(Program::Child, tail(b"again\n"));
        outputs.fact(&Fact::Launched { program: Program::Child, id, why });
        outputs.fact(&exited);
        outputs.launched(Program::Child, tail(b"healthy\n"));
        let record = put(&outputs);
        assert_eq!(record.output, "broke\n");
        assert_eq!(record.attempt_output, "again\n");
        assert_eq!(record.hooks[0].output, "hook\n");
        outputs.over();
        assert_eq!(put(&outputs).output, "");
        outputs.began();
        assert_eq!(put(&outputs).output, "healthy\n");
    }

    #[test]
    fn what_was_cut_in_the_middle_begins_with_a_whole_line() {
        let mut long = b"ord=hunter2\n".to_vec();
        long.resize(TAIL_BYTES, b'x');
        let mut outputs = Outputs::default();
        outputs.launched(Program::Child, tail(&long));
        outputs.began();
        assert!(put(&outputs).output.starts_with("xxx"));
        long[11] = b'y';
        outputs.launched(Program::Child, tail(&long));
        outputs.began();
        assert_eq!(put(&outputs).output, "", "no beginning is known");
    }

    #[test]
    fn of_a_hook_the_last_lines_are_kept() {
        let lines: String = (0..2000)
            .flat_map(|number| ["line ".to_owned(), number.to_string(), "\n".to_owned()])
            .collect();
        let kept = last(lines);
        assert!(kept.len() <= SHORT && kept.len() > SHORT - 20, "{}", kept.len());
        assert!(kept.starts_with("line 1") && kept.ends_with("line 1999\n"), "{kept}");
        assert!(last("ä\u{0}".repeat(SHORT)).is_empty());
    }
}
