//! What is remembered of earlier runs, and that it goes on being remembered.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::House;
use crate::clock;
use crate::comeback::{Lookout, OnDisk};
use crate::metrics::Metric;
use crate::process::Mark;
use crate::process::instance::Records;
use crate::process::proc;
use crate::report::{Note, Remembering};
use crate::state::begin::begin;
use crate::state::{
    Beginning, Ending, Found, Host, Keeper, Recorder, Sources, Splay, Store, Written,
};
use crate::status::Shared;
use crate::supervisor::Start;

/// The start's own record gets so long before the first launch goes ahead without.
const START_PATIENCE: Duration = Duration::from_secs(1);
/// That nothing is left gets so long to be written down before we exit.
const END_PATIENCE: Duration = Duration::from_millis(500);

/// What earlier runs have left, and where this one leaves its own.
pub(super) struct Memory {
    pub(super) beginning: Beginning,
    pub(super) splay: Option<Splay>,
    boot_id: Option<String>,
    run: String,
    store: Option<Store>,
}

impl Memory {
    /// Reads what the last run has left beside `records`, tells how this one begins, and takes
    /// the counts over.
    pub(super) fn open(
        house: &House,
        mark: &Mark,
        records: Option<&Records>,
        directory: Option<&Path>,
    ) -> Self {
        let mut store = records.and_then(|records| Store::new(records.directory()).ok());
        let (found, warnings) = store.as_mut().map_or((Found::Nothing, Vec::new()), Store::read);
        let directory = directory.unwrap_or(Path::new(""));
        for warning in warnings {
            let text = format!("{}: {warning}", directory.display());
            house.teller.note(&Note::ConfigWarning { text });
        }
        let volatile = store.as_ref().and_then(Store::volatile);
        if let Some(on) = volatile {
            let note = Remembering::Volatile { path: directory.to_owned(), on };
            house.teller.note(&Note::Remembering(note));
        }
        let durable = store.is_some() && volatile.is_none();
        house.metrics.set(Metric::StateDurable, &[], if durable { 1.0 } else { 0.0 });

        let boot_id = proc::boot_id();
        let beginning = begin(&found, &host(house, boot_id.clone()));
        house.metrics.restore(&beginning.kept);
        let Beginning { start, gap, since_boot, .. } = beginning;
        let legible = found != Found::Unreadable;
        let began = Remembering::Began { start, legible, gap, since_boot };
        house.teller.note(&Note::Remembering(began));
        let run = random_name();
        let splay = splay(house, mark, start, [boot_id.as_deref().unwrap_or_default(), &run]);
        Self { beginning, splay, boot_id, run, store }
    }

    /// Starts the thread that writes this run down, and waits (not for long) until it has begun.
    pub(super) async fn go_on(
        self,
        house: &House,
        records: Option<Records>,
        shared: &Arc<Shared>,
        on_disk: OnDisk,
    ) -> io::Result<Recorder> {
        let Self { boot_id, run, store, .. } = self;
        let sources = records.zip(store).map(|(records, store)| Sources {
            records,
            store,
            run,
            boot_id,
            shared: Arc::clone(shared),
            metrics: Arc::clone(&house.metrics),
        });
        let lookout = Lookout {
            on_disk,
            shared: Arc::clone(shared),
            metrics: Arc::clone(&house.metrics),
            teller: house.teller.clone(),
        };
        let teller = house.teller.clone();
        lookout.start()?;
        let recorder = Recorder::start(&house.service.name, sources, teller)?;
        let written = recorder.keeper().has_come_to(Ending::Running);
        wait_for(written, START_PATIENCE).await;
        Ok(recorder)
    }
}

/// Has written down that nothing is left; to be waited for.
pub(super) fn has_stopped(keeper: &Keeper) -> impl Future<Output = ()> + use<> {
    wait_for_the_end(keeper.has_come_to(Ending::Stopped))
}

/// What is written at our end; to be waited for, not for long.
pub(super) fn wait_for_the_end(written: Option<Written>) -> impl Future<Output = ()> {
    wait_for(written, END_PATIENCE)
}

async fn wait_for(written: Option<Written>, patience: Duration) {
    if let Some(written) = written {
        // Whatever becomes of it, it is not worth waiting any longer.
        tokio::time::timeout(patience, written).await.ok();
    }
}

fn host(house: &House, boot_id: Option<String>) -> Host {
    Host {
        now: house.clock.now(),
        boot_id,
        booted: proc::boot_time(),
        wall: clock::wall(),
        uptime: clock::since_boot(),
    }
}

/// The wait before the first launch, if this start calls for one.
fn splay(house: &House, mark: &Mark, start: Start, boot_and_run: [&str; 2]) -> Option<Splay> {
    let span = house.service.boot_splay;
    if span.is_zero() || !matches!(start, Start::PowerCycle | Start::Reboot) {
        return None;
    }
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy();
    let [boot, run] = boot_and_run;
    let splay = Splay::new(span, &[&host, &mark.instance, &mark.service, boot, run]);
    let note = Remembering::Splayed { delay: splay.delay, seed: splay.seed };
    house.teller.note(&Note::Remembering(note));
    Some(splay)
}

fn random_name() -> String {
    let mut bytes = [0; 8];
    // Without randomness our pid tells this run from the last.
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK).is_err() {
        bytes[..4].copy_from_slice(&std::process::id().to_ne_bytes());
    }
    format!("{:016x}", u64::from_ne_bytes(bytes))
}
