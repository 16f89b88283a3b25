//! The thread that writes to the state directory, so that a slow disk never holds up the healing.

use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::process::Process;
use crate::process::instance::{Record, Records};
use crate::process::proc;
use crate::report::{Note, Teller};
use crate::supervisor::Program;
use crate::threads::{self, spawn_supervised};

/// Hands launches to the thread that writes them down.
#[derive(Clone, Debug)]
pub struct Recorder {
    service: String,
    boot_id: Option<String>,
    launches: Option<Sender<Record>>,
}

impl Recorder {
    /// Writes down nothing: there is no directory for it.
    pub fn nowhere() -> Self {
        Self { service: String::new(), boot_id: None, launches: None }
    }

    /// Starts the thread that writes to `records`.
    pub fn start(service: &str, records: Records, teller: Teller) -> io::Result<Self> {
        let (launches, received) = channel();
        let work = Mutex::new((records, received));
        let panics = teller.clone();
        spawn_supervised(
            threads::STATE,
            move || write_all(&work, &teller),
            move |message, again_in| {
                let message = message.to_owned();
                panics.note(&Note::ThreadPanicked { thread: threads::STATE, message, again_in });
            },
        )?;
        let service = service.to_owned();
        Ok(Self { service, boot_id: proc::boot_id(), launches: Some(launches) })
    }

    /// Has a launch written down, soon.
    pub fn record(&self, process: Process, program: Program) {
        if let (Some(launches), Some(boot_id)) = (&self.launches, &self.boot_id) {
            let record = Record {
                pid: process.pid,
                start_time: process.start_time,
                boot_id: boot_id.clone(),
                service: self.service.clone(),
                program: program.label().to_owned(),
            };
            // The thread lives as long as the process.
            launches.send(record).ok();
        }
    }
}

fn write_all(work: &Mutex<(Records, Receiver<Record>)>, teller: &Teller) {
    let mut work = work.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (records, received) = &mut *work;
    let mut failing = false;
    while let Ok(record) = received.recv() {
        match records.record(record) {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                teller.note(&Note::StateWriteFailed { error: error.to_string() });
            }
            Err(_) => {}
        }
    }
}
