//! The thread that completes records: adds outputs, takes secrets out, writes them down, and shows
//! them to whoever else may know.
//!
//! The supervision loop only hands over what it has. A disk that is slow, full or read-only is
//! never in its way: it costs a warning, and records are written later as far as there is room for
//! them to wait.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Incident;
use super::file;
use super::mask::{Mask, Pattern};
use super::outputs::Outputs;
use crate::announce::Announcer;
use crate::metrics::{Metric, Metrics};
use crate::planted::{self, place};
use crate::report::{Note, Remembering, Teller};
use crate::state::Written;
use crate::status::Shared;
use crate::threads::{self, spawn_supervised};

/// So many records that are over wait for the thread, and so many for the disk.
const MOST_WAITING: usize = 16;

/// So many are remembered to be shown.
const SHOWN: usize = 10;

/// What could not be written is tried again after this.
const WRITE_AGAIN: Duration = Duration::from_mins(1);

/// What a child wrote last gets so long to be read once it is gone.
const READ_PATIENCE: Duration = Duration::from_millis(300);

/// A record, and the outputs that belong to it.
#[derive(Debug)]
pub struct Draft {
    /// As far as it has got, without outputs.
    pub record: Incident,
    /// Still to be read.
    pub outputs: Outputs,
}

/// What the thread needs.
pub struct Setup {
    /// The state directory, if there is one.
    pub directory: Option<OwnedFd>,
    /// What nobody may see, beside what always is a secret.
    pub mask: Vec<Pattern>,
    /// Where records are shown.
    pub shared: Arc<Shared>,
    /// Who is told of them elsewhere.
    pub announcer: Option<Announcer>,
    /// Where failed writes are counted.
    pub metrics: Arc<Metrics>,
    /// Where they are told.
    pub teller: Teller,
}

/// Hands records to the thread; by default there is none.
#[derive(Clone, Default)]
pub struct Ledger(Option<Arc<Desk>>);

/// Where they lie until the thread takes them.
#[derive(Default)]
struct Desk {
    tray: Mutex<Tray>,
    bell: Condvar,
}

#[derive(Default)]
struct Tray {
    /// Of the outage that is going on, the latest.
    current: Option<Draft>,
    over: VecDeque<Draft>,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Ledger {
    /// Starts the thread.
    pub fn start(setup: Setup) -> io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let ledger = Self(Some(Arc::clone(&desk)));
        let teller = setup.teller.clone();
        let mut clerk = Clerk::new(setup);
        spawn_supervised(
            threads::INCIDENTS,
            move || {
                clerk.read_back();
                loop {
                    planted::pass(place::INCIDENTS);
                    clerk.take(desk.next(clerk.patience()));
                }
            },
            move |message, again_in| {
                let message = message.to_owned();
                let thread = threads::INCIDENTS;
                teller.note(&Note::ThreadPanicked { thread, message, again_in });
            },
        )?;
        Ok(ledger)
    }

    /// Hands a record over, the whole of it each time.
    pub fn take(&self, draft: Draft) {
        let Some(desk) = &self.0 else { return };
        desk.order(|tray| {
            if !draft.record.is_over() {
                tray.current = Some(draft);
                return;
            }
            tray.current = None;
            if tray.over.len() >= MOST_WAITING {
                tray.over.pop_front();
            }
            tray.over.push_back(draft);
        });
    }

    /// Everything that was handed over is written, or could not be; to be waited for.
    pub fn written(&self) -> Option<Written> {
        let (told, written) = oneshot::channel();
        self.0.as_ref()?.order(|tray| tray.waiting.push(told));
        Some(written)
    }
}

impl Desk {
    fn tray(&self) -> MutexGuard<'_, Tray> {
        self.tray.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, order: impl FnOnce(&mut Tray)) {
        order(&mut self.tray());
        self.bell.notify_one();
    }

    /// What lies there; after `patience`, nothing.
    fn next(&self, patience: Duration) -> Tray {
        let idle = |tray: &mut Tray| tray.is_empty();
        let waited = self.bell.wait_timeout_while(self.tray(), patience, idle);
        std::mem::take(&mut *waited.unwrap_or_else(PoisonError::into_inner).0)
    }
}

impl Tray {
    fn is_empty(&self) -> bool {
        self.current.is_none() && self.over.is_empty() && self.waiting.is_empty()
    }
}

/// The work of the thread.
struct Clerk {
    setup: Setup,
    /// Made when it is needed: most runs have no outage.
    mask: OnceCell<Mask>,
    /// Whose beginning was told.
    begun: String,
    /// Latest first.
    past: VecDeque<Arc<Incident>>,
    /// Lines that could not be written.
    unwritten: VecDeque<String>,
    /// That they could not.
    told: bool,
}

impl Clerk {
    fn new(setup: Setup) -> Self {
        let (past, unwritten) = (VecDeque::new(), VecDeque::new());
        Self { setup, mask: OnceCell::new(), begun: String::new(), past, unwritten, told: false }
    }

    /// Takes up what earlier runs have written.
    fn read_back(&mut self) {
        let Some(directory) = &self.setup.directory else { return };
        match file::read(directory, Some(SHOWN)) {
            Ok(records) => {
                self.past =
                    records.into_iter().rev().map(Incident::in_short).map(Arc::new).collect();
                self.show(None);
            }
            Err(error) => self.failed(&error),
        }
    }

    fn patience(&self) -> Duration {
        if self.unwritten.is_empty() { Duration::MAX } else { WRITE_AGAIN }
    }

    fn take(&mut self, tray: Tray) {
        // Otherwise what is shown stays: somebody waits, or it is time to write again.
        let is_news = tray.current.is_some() || !tray.over.is_empty();
        for draft in tray.over {
            draft.outputs.wait(READ_PATIENCE);
            let record = self.complete(draft);
            self.tell(&record);
            self.keep(record);
        }
        let current = tray.current.map(|draft| self.complete(draft));
        if let Some(record) = &current
            && record.id != self.begun
        {
            self.begun.clone_from(&record.id);
            self.tell(record);
        }
        if is_news {
            self.show(current.map(Arc::new));
        }
        self.write();
        for waiting in tray.waiting {
            // Whoever has stopped waiting need not know.
            waiting.send(()).ok();
        }
    }

    fn complete(&self, draft: Draft) -> Incident {
        let Draft { mut record, outputs } = draft;
        let mask = self.mask.get_or_init(|| Mask::new(&self.setup.mask));
        mask.apply_to(&mut record);
        outputs.put_into(&mut record, mask);
        record
    }

    /// Where others hear of it: once when an outage begins, and once when it is over.
    fn tell(&self, record: &Incident) {
        let Incident { id, cause, summary, .. } = record;
        tracing::debug!(service = record.service, cause, "incident {id}: {summary}");
        if let Some(announcer) = self.setup.announcer.as_ref().filter(|_| record.is_incident()) {
            announcer.tell(Arc::new(record.clone()));
        }
    }

    fn keep(&mut self, record: Incident) {
        if self.setup.directory.is_some() {
            if self.unwritten.len() >= MOST_WAITING {
                self.unwritten.pop_front();
            }
            let line = serde_json::to_string(&record).expect("text and numbers have a JSON form");
            self.unwritten.push_back(line);
        }
        self.past.truncate(SHOWN - 1);
        self.past.push_front(Arc::new(record.in_short()));
    }

    fn show(&self, current: Option<Arc<Incident>>) {
        self.setup.shared.show_incidents(current, self.past.iter().cloned().collect());
    }

    fn write(&mut self) {
        let Some(directory) = &self.setup.directory else { return };
        while let Some(line) = self.unwritten.front() {
            if let Err(error) = file::append(directory, line) {
                return self.failed(&error);
            }
            self.unwritten.pop_front();
            if std::mem::take(&mut self.told) {
                self.setup.teller.note(&Note::Remembering(Remembering::IncidentsWritten));
            }
        }
    }

    fn failed(&mut self, error: &io::Error) {
        self.setup.metrics.add(Metric::StateWriteErrors, &[], 1);
        if !std::mem::replace(&mut self.told, true) {
            let note = Remembering::IncidentUnwritten { error: error.to_string() };
            self.setup.teller.note(&Note::Remembering(note));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use super::super::file::FILE;
    use super::super::{Capture, End};
    use super::*;
    use crate::clock::Clock;

    struct Rig {
        shared: Arc<Shared>,
        ledger: Ledger,
    }

    fn rig(directory: Option<&Path>) -> Rig {
        let directory = directory.map(|path| File::open(path).unwrap().into());
        let setup = Setup { directory, ..setup() };
        let shared = Arc::clone(&setup.shared);
        Rig { shared, ledger: Ledger::start(setup).unwrap() }
    }

    fn setup() -> Setup {
        let metrics = Arc::new(Metrics::new(&crate::report::tests::service()));
        Setup {
            directory: None,
            mask: Vec::new(),
            announcer: None,
            shared: Arc::new(Shared::new(Clock::start(), "gateway")),
            teller: Teller::new("gateway", Arc::clone(&metrics)),
            metrics,
        }
    }

    fn record(id: &str, over: bool) -> Incident {
        Incident {
            format: 1,
            id: id.to_owned(),
            timeline: vec![super::super::Step {
                detail: "token=hunter2".to_owned(),
                ..Default::default()
            }],
            end: over.then(End::default),
            ..Incident::default()
        }
    }

    impl Rig {
        fn take(&self, id: &str, over: bool) {
            self.ledger.take(Draft { record: record(id, over), outputs: Outputs::default() });
            let written = self.ledger.written().expect("there is a thread");
            written.blocking_recv().unwrap();
        }

        /// The ids of the current record and of the last ones.
        fn shown(&self) -> (Option<String>, Vec<String>) {
            let status = self.shared.status();
            let id = |record: &Arc<Incident>| record.id.clone();
            (status.incident.as_ref().map(id), status.incidents.iter().map(id).collect())
        }
    }

    #[test]
    fn a_record_is_shown_while_it_grows_and_written_when_it_is_over() {
        let scratch = tempfile::tempdir().unwrap();
        let rig = rig(Some(scratch.path()));
        rig.take("a", false);
        assert_eq!(rig.shown(), (Some("a".to_owned()), vec![]));
        let shown = rig.shared.status();
        assert_eq!(shown.incident.as_ref().unwrap().timeline[0].detail, "token=[masked]");
        rig.shared.publish((*shown).clone());
        assert_eq!(rig.shown().0.as_deref(), Some("a"), "the loop's news change nothing in it");
        assert!(!scratch.path().join(FILE).exists());
        rig.take("a", true);
        rig.take("b", true);
        assert_eq!(rig.shown(), (None, vec!["b".to_owned(), "a".to_owned()]));
        let text = std::fs::read_to_string(scratch.path().join(FILE)).unwrap();
        assert!(text.lines().count() == 2 && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn the_next_run_shows_the_last_ten_in_short() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = File::open(scratch.path()).unwrap();
        for number in 0..20 {
            let output = "long\n".repeat(10_000);
            let capture = Some(Capture { output: output.clone(), ..Capture::default() });
            let record = Incident { capture, output, ..record(&format!("{number:02}"), true) };
            file::append(&directory, &serde_json::to_string(&record).unwrap()).unwrap();
        }
        let rig = rig(Some(scratch.path()));
        rig.take("20", true);
        let (_, past) = rig.shown();
        assert_eq!((past.len(), &*past[0], &*past[9]), (SHOWN, "20", "11"));
        let shown = &rig.shared.status().incidents[1];
        let capture = shown.capture.as_ref().unwrap();
        assert!(shown.output.len() <= 4096 && capture.output.len() <= 4096);
    }

    #[test]
    fn what_cannot_be_written_waits_and_is_not_lost_when_it_can() {
        let scratch = tempfile::tempdir().unwrap();
        let in_the_way = scratch.path().join(FILE);
        let mut clerk = Clerk::new(Setup {
            directory: Some(File::open(scratch.path()).unwrap().into()),
            ..setup()
        });
        let over = |id: String| Tray {
            over: [Draft { record: record(&id, true), outputs: Outputs::default() }].into(),
            ..Tray::default()
        };
        std::fs::create_dir(&in_the_way).unwrap();
        let lines = crate::report::tests::logged(|| {
            for number in 0..MOST_WAITING + 2 {
                clerk.take(over(format!("{number:02}")));
            }
        });
        let warnings: Vec<_> = lines.iter().filter(|line| line.starts_with("WARN")).collect();
        assert!(matches!(warnings[..], [line] if line.contains("incidents.jsonl")), "{lines:?}");
        assert_eq!(clerk.patience(), WRITE_AGAIN);
        std::fs::remove_dir(&in_the_way).unwrap();
        let lines = crate::report::tests::logged(|| clerk.take(Tray::default()));
        assert!(lines[0].contains("can be written again"), "{lines:?}");
        let written = file::read(File::open(scratch.path()).unwrap(), None).unwrap();
        assert_eq!((written.len(), &*written[0].id), (MOST_WAITING, "02"));
        assert_eq!(clerk.patience(), Duration::MAX);
    }

    #[test]
    fn a_thread_that_is_stuck_costs_the_oldest_records_and_no_memory() {
        let desk = Arc::new(Desk::default());
        let ledger = Ledger(Some(Arc::clone(&desk)));
        for number in 0..1_000 {
            for over in [false, true] {
                let record = record(&number.to_string(), over);
                ledger.take(Draft { record, outputs: Outputs::default() });
            }
        }
        let tray = desk.next(Duration::ZERO);
        assert_eq!((tray.over.len(), &*tray.over[0].record.id), (MOST_WAITING, "984"));
        assert!(tray.current.is_none());
    }
}
