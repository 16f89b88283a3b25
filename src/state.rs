//! The thread that writes to the state directory, so that a slow disk never holds up the healing.
//!
//! Launches go to `instance`, handed over and not waited for: `docs/adr/0008` says why that is
//! enough. Everything that is kept across runs goes to `state.json`: after each fact that changes
//! it, and every 10 s as a sign of life. Orders that come while the disk is busy become one write.
//! What is written is put together here, from what the loop has published; what it means for the
//! next run is decided in [`begin`].

pub mod begin;
mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod property;
mod splay;

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock;
use crate::metrics::{Metric, Metrics};
use crate::planted::{self, place};
use crate::process::Process;
use crate::process::instance::{Record, Records};
use crate::report::{Note, Remembering, Teller};
use crate::status::Shared;
use crate::supervisor::Program;
use crate::threads::{self, spawn_supervised};

pub use begin::{Beginning, Ending, Found, Host};
pub use file::{Store, is_in_own_layer};
pub use splay::Splay;

use begin::{Broken, State};

/// So many launches wait for the disk. More are not remembered in the file, either.
const MOST_WAITING: usize = 16;

/// A sign of life is written so often, and what could not be written is tried again.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What is written to, and where what is written comes from.
pub struct Sources {
    /// Launches.
    pub records: Records,
    /// The rest.
    pub store: Store,
    /// The random name of this run.
    pub run: String,
    /// The host's name for the time since it booted.
    pub boot_id: Option<String>,
    /// The sums and the outage.
    pub shared: Arc<Shared>,
    /// The counts.
    pub metrics: Arc<Metrics>,
}

/// Hands launches to the thread that writes them down.
pub struct Recorder {
    service: String,
    boot_id: Option<String>,
    keeper: Keeper,
    teller: Teller,
    /// The disk was too slow the last time.
    dropping: bool,
}

/// Has written down what is kept across runs; without a state directory, does nothing.
#[derive(Clone, Default)]
pub struct Keeper(Option<Arc<Desk>>);

/// That something was written down, or could not be: whoever waits need not wait longer.
pub type Written = oneshot::Receiver<()>;

/// Where orders lie until the thread takes them.
#[derive(Default)]
struct Desk {
    tray: Mutex<Tray>,
    bell: Condvar,
}

#[derive(Default)]
struct Tray {
    launches: Vec<Record>,
    /// The state is to be written.
    changed: bool,
    ending: Ending,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Recorder {
    /// Starts the thread that writes to `sources`; without them nothing is written down.
    pub fn start(service: &str, sources: Option<Sources>, teller: Teller) -> io::Result<Self> {
        let boot_id = sources.as_ref().and_then(|sources| sources.boot_id.clone());
        let keeper = match sources {
            Some(sources) => start_writing(sources, &teller)?,
            None => Keeper::default(),
        };
        Ok(Self { service: service.to_owned(), boot_id, keeper, teller, dropping: false })
    }

    /// Has a launch written down, soon; one that finds too many waiting is not.
    pub fn record(&mut self, process: Process, program: Program) {
        let (Some(desk), Some(boot_id)) = (&self.keeper.0, &self.boot_id) else { return };
        let record = Record {
            pid: process.pid,
            start_time: process.start_time,
            boot_id: boot_id.clone(),
            service: self.service.clone(),
            program: program.label().to_owned(),
        };
        let dropped = desk.order(|tray| {
            let full = tray.launches.len() >= MOST_WAITING;
            if !full {
                tray.launches.push(record);
            }
            full
        });
        if dropped && !self.dropping {
            let error = format!("{MOST_WAITING} launches wait for the disk, others are dropped");
            self.teller.note(&Note::StateWriteFailed { error });
        }
        self.dropping = dropped;
    }

    /// Has the rest written down.
    pub fn keeper(&self) -> Keeper {
        self.keeper.clone()
    }
}

impl Keeper {
    /// Something that is kept has changed.
    pub fn remember(&self) {
        if let Some(desk) = &self.0 {
            desk.order(|tray| tray.changed = true);
        }
    }

    /// The run has come so far; `None` if that is known already, or nothing is written anyway.
    pub fn has_come_to(&self, ending: Ending) -> Option<Written> {
        self.0.as_ref()?.order(|tray| {
            let (told, written) = oneshot::channel();
            let news = ending > tray.ending || ending == Ending::Running;
            news.then(|| {
                tray.ending = ending;
                tray.waiting.push(told);
                written
            })
        })
    }
}

impl Desk {
    fn tray(&self) -> MutexGuard<'_, Tray> {
        self.tray.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order<T>(&self, order: impl FnOnce(&mut Tray) -> T) -> T {
        let done = order(&mut self.tray());
        self.bell.notify_one();
        done
    }

    /// What lies there; after a while, nothing.
    fn next(&self) -> Tray {
        let idle = |tray: &mut Tray| tray.is_empty();
        let waited = self.bell.wait_timeout_while(self.tray(), HEARTBEAT, idle);
        let (mut tray, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let ending = tray.ending;
        std::mem::replace(&mut *tray, Tray { ending, ..Tray::default() })
    }
}

impl Tray {
    fn is_empty(&self) -> bool {
        self.launches.is_empty() && !self.changed && self.waiting.is_empty()
    }
}

fn start_writing(sources: Sources, teller: &Teller) -> io::Result<Keeper> {
    let desk = Arc::new(Desk::default());
    let keeper = Keeper(Some(Arc::clone(&desk)));
    let (tells, panics) = (teller.clone(), teller.clone());
    // That it could not be written from the start was told by whoever opened it.
    let mut writer = Writer { told: sources.records.is_behind(), sources, teller: tells };
    spawn_supervised(
        threads::STATE,
        move || loop {
            planted::pass(place::STATE);
            writer.write(desk.next());
        },
        move |message, again_in| {
            let message = message.to_owned();
            panics.note(&Note::ThreadPanicked { thread: threads::STATE, message, again_in });
        },
    )?;
    Ok(keeper)
}

/// The work of the thread.
struct Writer {
    sources: Sources,
    teller: Teller,
    /// That it cannot be written.
    told: bool,
}

impl Writer {
    fn write(&mut self, tray: Tray) {
        let launches = self.write_launches(tray.launches);
        let written = self.write_state(tray.ending);
        self.tell(launches.and(written));
        for waiting in tray.waiting {
            // Whoever has stopped waiting need not know.
            waiting.send(()).ok();
        }
    }

    fn write_launches(&mut self, launches: Vec<Record>) -> io::Result<()> {
        let records = &mut self.sources.records;
        let mut written = Ok(());
        for launch in launches {
            written = records.record(launch);
        }
        if records.is_behind() { records.catch_up() } else { written }
    }

    fn write_state(&mut self, ending: Ending) -> io::Result<()> {
        let state = self.sources.state(ending);
        let Sources { store, shared, metrics, .. } = &mut self.sources;
        let began = shared.now();
        store.replace(&state)?;
        let took = shared.now().since(began);
        metrics.set(Metric::StateWriteDuration, &[], took.as_secs_f64());
        metrics.set(Metric::StateHeartbeat, &[], clock::wall().as_secs_f64());
        Ok(())
    }

    fn tell(&mut self, written: io::Result<()>) {
        let Sources { store, shared, metrics, .. } = &self.sources;
        let forgets = match &written {
            Ok(()) => store.forgets(),
            Err(error) => Some(format!("state_dir cannot be written: {error}")),
        };
        metrics.set(Metric::StateDurable, &[], if forgets.is_none() { 1.0 } else { 0.0 });
        shared.set_forgets(forgets);
        match written {
            Ok(()) => {
                if std::mem::take(&mut self.told) {
                    self.teller.note(&Note::Remembering(Remembering::WrittenAgain));
                }
            }
            Err(error) => {
                metrics.add(Metric::StateWriteErrors, &[], 1);
                if !std::mem::replace(&mut self.told, true) {
                    self.teller.note(&Note::StateWriteFailed { error: error.to_string() });
                }
            }
        }
    }
}

impl Sources {
    /// All that the next run is to know, as it is now.
    fn state(&self, ending: Ending) -> State {
        let (now, wall, status) = (self.shared.now(), clock::wall(), self.shared.status());
        let sums = status.tally.sums_at_the_end(now);
        let mut kept = self.metrics.kept();
        kept.set_sums(&sums);
        State {
            run: self.run.clone(),
            boot_id: self.boot_id.clone(),
            ending,
            heartbeat: wall.as_secs_f64(),
            uptime: clock::since_boot().as_secs_f64(),
            outage: status.tally.outage().map(|outage| Broken {
                cause: outage.cause.label().to_owned(),
                seconds: outage.until(now).as_secs_f64(),
            }),
            kept,
            history: status.history.until(now, wall, &sums),
            forward: status.forward.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_too_slow_costs_records_and_never_the_launch() {
        let metrics = Arc::new(Metrics::new(&crate::report::tests::service()));
        let desk = Arc::new(Desk::default());
        let mut recorder = Recorder {
            service: "gateway".to_owned(),
            boot_id: Some("b".to_owned()),
            keeper: Keeper(Some(Arc::clone(&desk))),
            teller: Teller::new("gateway", metrics),
            dropping: false,
        };
        let mut record = |pid| {
            recorder.record(Process { pid, start_time: 7 }, Program::Child);
            recorder.dropping
        };
        let most = u32::try_from(MOST_WAITING).expect("a few");
        assert!((0..most).all(|pid| !record(pid)));
        assert!(record(most), "there is no room");
        assert_eq!(desk.next().launches.len(), MOST_WAITING);
        assert!(!record(most + 1));
        let pids: Vec<u32> = desk.next().launches.iter().map(|record| record.pid).collect();
        assert_eq!(pids, [most + 1]);
    }

    #[test]
    fn orders_that_come_while_the_disk_is_busy_become_one_write() {
        let keeper = Keeper(Some(Arc::default()));
        let desk = keeper.0.as_ref().expect("there is one");
        keeper.remember();
        keeper.remember();
        let mut stopping = keeper.has_come_to(Ending::Stopping).expect("that is news");
        assert!(keeper.has_come_to(Ending::Stopping).is_none(), "it is not any more");
        let tray = desk.next();
        assert_eq!((tray.changed, tray.ending, tray.waiting.len()), (true, Ending::Stopping, 1));
        assert!(stopping.try_recv().is_err(), "not written yet");
        drop(tray);
        stopping.try_recv().expect_err("a thread that panics leaves nobody waiting for good");
        assert!(desk.tray().is_empty());
        assert_eq!(desk.tray().ending, Ending::Stopping, "an ending holds for all later writes");
    }

    #[test]
    fn without_a_state_directory_nobody_waits() {
        let keeper = Keeper::default();
        keeper.remember();
        assert!(keeper.has_come_to(Ending::Stopping).is_none());
    }
}
