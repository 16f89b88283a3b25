//! The thread that writes to the state directory, so that a slow disk never holds up the healing.
//!
//! A launch is handed over, not waited for: `docs/adr/0008` says why that is enough.

use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use crate::planted::{self, place};
use crate::process::Process;
use crate::process::instance::{Record, Records};
use crate::process::proc;
use crate::report::{Note, Teller};
use crate::supervisor::Program;
use crate::threads::{self, spawn_supervised};

/// So many launches wait for the disk. More are not remembered in the file, either.
const MOST_WAITING: usize = 16;

/// A directory that could not be written is tried again so often.
const AGAIN: Duration = Duration::from_secs(10);

/// Hands launches to the thread that writes them down.
pub struct Recorder {
    service: String,
    boot_id: Option<String>,
    launches: Option<SyncSender<Record>>,
    teller: Teller,
    /// The disk was too slow the last time.
    dropping: bool,
}

impl Recorder {
    /// Starts the thread that writes to `records`; without them nothing is written down.
    pub fn start(service: &str, records: Option<Records>, teller: Teller) -> io::Result<Self> {
        let launches = match records {
            Some(records) => Some(start_writing(records, &teller)?),
            None => None,
        };
        let service = service.to_owned();
        Ok(Self { service, boot_id: proc::boot_id(), launches, teller, dropping: false })
    }

    /// Has a launch written down, soon; one that finds too many waiting is not.
    pub fn record(&mut self, process: Process, program: Program) {
        let (Some(launches), Some(boot_id)) = (&self.launches, &self.boot_id) else { return };
        let record = Record {
            pid: process.pid,
            start_time: process.start_time,
            boot_id: boot_id.clone(),
            service: self.service.clone(),
            program: program.label().to_owned(),
        };
        // The thread lives as long as this does, so that it can only be full.
        let dropped = launches.try_send(record).is_err();
        if dropped && !self.dropping {
            let error = format!("{MOST_WAITING} launches wait for the disk, others are dropped");
            self.teller.note(&Note::StateWriteFailed { error });
        }
        self.dropping = dropped;
    }
}

fn start_writing(records: Records, teller: &Teller) -> io::Result<SyncSender<Record>> {
    let (launches, received) = sync_channel(MOST_WAITING);
    let work = Mutex::new((records, received));
    let (tells, panics) = (teller.clone(), teller.clone());
    spawn_supervised(
        threads::STATE,
        move || write_all(&work, &tells),
        move |message, again_in| {
            let message = message.to_owned();
            panics.note(&Note::ThreadPanicked { thread: threads::STATE, message, again_in });
        },
    )?;
    Ok(launches)
}

fn write_all(work: &Mutex<(Records, Receiver<Record>)>, teller: &Teller) {
    let mut work = work.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (records, received) = &mut *work;
    // That it was behind from the start was told by whoever opened it.
    let mut told = records.is_behind();
    loop {
        planted::pass(place::STATE);
        let written = match next(received, records.is_behind()) {
            Ok(record) => records.record(record),
            Err(RecvTimeoutError::Timeout) => records.catch_up(),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        match written {
            Ok(()) => told = false,
            Err(error) if !told => {
                told = true;
                teller.note(&Note::StateWriteFailed { error: error.to_string() });
            }
            Err(_) => {}
        }
    }
}

/// The next launch; while the file is behind, nothing after a while.
fn next(received: &Receiver<Record>, is_behind: bool) -> Result<Record, RecvTimeoutError> {
    if is_behind {
        return received.recv_timeout(AGAIN);
    }
    received.recv().map_err(|_| RecvTimeoutError::Disconnected)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn a_disk_that_is_too_slow_costs_records_and_never_the_launch() {
        let metrics = Arc::new(Metrics::new(&crate::report::tests::service()));
        let (launches, received) = sync_channel(MOST_WAITING);
        let mut recorder = Recorder {
            service: "gateway".to_owned(),
            boot_id: Some("b".to_owned()),
            launches: Some(launches),
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
        assert_eq!(received.recv().map(|record| record.pid), Ok(0));
        assert!(!record(most + 1));
        assert_eq!(received.iter().take(MOST_WAITING).last().map(|last| last.pid), Some(most + 1));
    }
}
