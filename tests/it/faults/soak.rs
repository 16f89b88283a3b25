//! Long days: one fault after the other, about one a second. Nothing grows, every heal is accounted
//! for, and what needs no heal is not healed.
//!
//! `REKINDLE_SOAK_MINUTES` says for how long; 2 if it is not set.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::crash::served_by;
use crate::support::http::free_port;
use crate::support::seeded::Seeded;
use crate::support::{
    Config, Fault, Part, Rekindle, Stopwatch, Streams, World, get, processes, this_test,
};

/// From one fault's end to the next fault, at most.
const PAUSE: Duration = Duration::from_millis(600);

/// What can befall the gateway or its supervisor.
#[derive(Clone, Copy, Debug)]
enum Blow {
    /// An order to the demo gateway: the query of its `/fault`.
    Order(&'static str),
    /// A signal to the gateway.
    Signal(Signal),
    /// The gateway hangs, and comes back deaf to SIGTERM when it is told to end.
    HangAndIgnoreTerm,
    /// The supervisor is stopped for a moment.
    StopSupervisor,
}

/// What a blow leads to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    /// It ends the gateway.
    Crash,
    /// The gateway lives on and serves no more.
    Sickness,
    /// It needs no heal.
    Harmless,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Crash, Self::Sickness, Self::Harmless];

    const fn blows(self) -> &'static [Blow] {
        match self {
            Self::Crash => &[
                Blow::Order("mode=crash"),
                Blow::Order("mode=exit&code=3"),
                Blow::Order("mode=exit&code=0"),
                Blow::Order("mode=orphan"),
                Blow::Signal(Signal::KILL),
                Blow::Signal(Signal::TERM),
            ],
            Self::Sickness => &[
                Blow::Order("mode=hang"),
                Blow::Order("mode=500"),
                Blow::Order("mode=slow&seconds=30"),
                Blow::Order("mode=wrong-body"),
                Blow::Order("mode=close"),
                Blow::Signal(Signal::STOP),
                Blow::HangAndIgnoreTerm,
            ],
            Self::Harmless => &[Blow::Order("mode=flood&seconds=0.1"), Blow::StopSupervisor],
        }
    }
}

#[test]
#[ignore = "takes as long as REKINDLE_SOAK_MINUTES says"]
fn a_fault_every_second_leaves_nothing_behind_and_nothing_unaccounted_for() {
    let world = World::new();
    let mut soak = Soak::begin(&world);
    // Memory is warm once everything has happened often: with glibc, each of our threads has a heap
    // of its own, which takes some hundred faults to find its size.
    let mut warm_up = Vec::new();
    for kind in [Kind::ALL; 20].concat() {
        for blow in kind.blows() {
            soak.take(kind, *blow);
            warm_up.push(soak.usage());
        }
    }

    let (mut days, mut seeded, watch) = (Vec::new(), Seeded::new(1), Stopwatch::start());
    while watch.elapsed() < minutes() {
        // Most need a heal.
        let kind = *seeded.one_of(&[Kind::Crash, Kind::Sickness, Kind::Harmless, Kind::Crash]);
        soak.take(kind, *seeded.one_of(kind.blows()));
        days.push(soak.usage());
        thread::sleep(seeded.span_below(PAUSE));
    }

    // Now and then an output is being written down, or a probe under way, just when we look: what is
    // usual counts, and what is always there.
    let (warm, at_last) = (&warm_up[warm_up.len() * 2 / 3..], &days[days.len() / 2..]);
    let (before, after) = (least(warm), least(at_last));
    let (warm, at_last) = (usual_memory(warm), usual_memory(at_last));
    let figure = format!(
        "{} faults in {} min, resident memory {warm} KB after the warm-up, {at_last} KB in the \
         second half",
        days.len(),
        minutes().as_secs() / 60,
    );
    println!("{figure}");
    soak.is_accounted_for();
    assert!(at_last * 100 <= warm * 105, "memory grows from {warm} to {at_last} KB: {days:?}");
    assert_eq!(Usage { memory: 0, ..after }, Usage { memory: 0, ..before });
    let row = Fault {
        part: Part::LongDays,
        fault: "about every second another fault of 15 kinds, for minutes",
        injected: "random orders and signals to the gateway, SIGSTOP to the supervisor",
        outcome: "each that needs a heal is one incident and one restart, the others are none; \
                  no more descriptors, threads or processes than before, memory within 5 %",
    };
    row.measured(this_test!(), &figure);
}

/// How long it takes.
fn minutes() -> Duration {
    let minutes = std::env::var("REKINDLE_SOAK_MINUTES").map_or(2, |minutes| {
        minutes.parse().expect("REKINDLE_SOAK_MINUTES is a whole number of minutes")
    });
    Duration::from_mins(minutes)
}

/// What the supervisor uses while all is well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Usage {
    /// Resident, in KB.
    memory: usize,
    descriptors: usize,
    threads: usize,
    /// Its own, its children's that are not reaped, and whoever else belongs to this test.
    processes: usize,
}

/// The least of each: what has leaked is there in all later ones.
fn least(usages: &[Usage]) -> Usage {
    let least = |of: fn(&Usage) -> usize| usages.iter().map(of).min().expect("some looks");
    Usage {
        memory: least(|usage| usage.memory),
        descriptors: least(|usage| usage.descriptors),
        threads: least(|usage| usage.threads),
        processes: least(|usage| usage.processes),
    }
}

/// The median.
fn usual_memory(usages: &[Usage]) -> usize {
    let mut memory: Vec<usize> = usages.iter().map(|usage| usage.memory).collect();
    memory.sort_unstable();
    memory[memory.len() / 2]
}

/// A supervisor whose days are long, its gateway, and how many blows of each kind they have taken.
struct Soak<'w> {
    rekindle: Rekindle<'w>,
    world: &'w World,
    port: u16,
    taken: BTreeMap<Kind, u64>,
}

impl<'w> Soak<'w> {
    fn begin(world: &'w World) -> Self {
        let port = free_port();
        let config = Config::demo(port).supervisor("log_level = \"info\"").with(
            r#"
            probe.liveness.timeout = "500ms"
            probe.liveness.expect_json = { "/ok" = true }
            unhealthy_stop_timeout = "300ms"
            settle = "100ms"
            backoff.stable_after = "200ms"
            "#,
        );
        let nowhere = OpenOptions::new().write(true).open("/dev/null").expect("it is there");
        let streams = Streams::Stdout(nowhere.into());
        let rekindle = world.start_with(streams, world.prepare(&config));
        Self { rekindle, world, port, taken: BTreeMap::new() }
    }

    /// Takes one blow, and waits until what has to follow has followed.
    fn take(&mut self, kind: Kind, blow: Blow) {
        let child = self.is_well();
        let incidents = self.incidents("");
        self.deal(blow, child);
        *self.taken.entry(kind).or_default() += 1;
        if kind == Kind::Harmless {
            let passes = || self.rekindle.probes("liveness", "success");
            let before = passes();
            self.rekindle.wait("it passes on", || passes() >= before + 3);
            assert_eq!(self.is_well(), child, "{blow:?} needs no heal");
        } else {
            self.rekindle
                .wait(&format!("{blow:?} is an incident"), || self.incidents("") == incidents + 1);
            assert_ne!(self.is_well(), child, "{blow:?} is healed");
        }
    }

    fn deal(&self, blow: Blow, child: i32) {
        let order = |order: &str| get(self.port, &format!("/fault?{order}")).expect("it obeys");
        match blow {
            Blow::Order(query) => drop(order(query)),
            Blow::Signal(signal) => processes::send(child, signal),
            Blow::HangAndIgnoreTerm => {
                order("mode=ignore-term");
                processes::send(child, Signal::STOP);
            }
            Blow::StopSupervisor => {
                self.rekindle.signal(Signal::STOP);
                thread::sleep(Duration::from_millis(700));
                self.rekindle.signal(Signal::CONT);
            }
        }
    }

    /// Waits until the last outage is over; the pid that serves.
    fn is_well(&self) -> i32 {
        let service = || self.rekindle.status()["services"][0].clone();
        self.rekindle.wait("the outage is over", || {
            let service = service();
            service["state"] == "healthy" && service["outage"].is_null()
        });
        served_by(&self.rekindle, self.port)
    }

    fn incidents(&self, labels: &str) -> u64 {
        self.rekindle.count("rekindle_incidents_total", labels)
    }

    fn is_accounted_for(&self) {
        let taken = |kind| self.taken[&kind];
        let (crashes, sicknesses) = (taken(Kind::Crash), taken(Kind::Sickness));
        assert_eq!(self.incidents("cause=\"crash\""), crashes);
        assert_eq!(self.incidents("cause=\"unhealthy\""), sicknesses);
        assert_eq!(self.rekindle.restarts("probe_failed"), sicknesses);
        assert_eq!(self.rekindle.all_restarts(), crashes + sicknesses);
    }

    /// What it uses once it is well and asked nothing.
    fn usage(&self) -> Usage {
        self.is_well();
        let pid = self.rekindle.pid();
        let entries =
            |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, Iterator::count);
        Usage {
            descriptors: entries("fd"),
            threads: entries("task"),
            processes: self.world.processes().len() + processes::children(pid).len(),
            memory: resident(pid),
        }
    }
}

fn resident(pid: i32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number of KB")
}
