//! Clears away what earlier runs of this instance left alive, before anything is launched.
//!
//! A left-over is a process that an earlier run recorded, one in its group, one with our mark, one
//! in our cgroup, or a descendant of such a one. Everything else is left alone: above all what
//! carries another instance's mark, even below a left-over.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use rustix::process::Signal;

use super::cgroup::Cgroup;
use super::instance::Record;
use super::kill::{self, Identified};
use super::proc::{self, Stat};
use super::run::PROBE_VARIABLE;
use super::world::World;
use super::{MARK_VARIABLE, Mark, exec};
use crate::gather::gather;

/// How long left-overs may take to end by themselves.
const GRACE: Duration = Duration::from_secs(1);

/// How often those that do not are killed, and for how long each kill is waited for.
const KILL_ROUNDS: usize = 50;
const KILL_WAIT: Duration = Duration::from_millis(100);

/// A process of an earlier run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeftOver {
    /// Which.
    pub process: Identified,
    /// What it is called.
    pub name: String,
}

/// What a sweep did.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Swept {
    /// These are gone.
    pub gone: Vec<LeftOver>,
    /// These could not be killed within some seconds.
    pub left: Vec<LeftOver>,
    /// Why it cannot be told what is left, if it cannot.
    pub unseen: Option<String>,
}

/// What identifies the left-overs of one service.
#[derive(Clone, Copy, Debug)]
pub struct Traces<'a> {
    /// The mark that earlier runs gave them; without a durable id nobody has it.
    pub mark: &'a Mark,
    /// The main processes that earlier runs recorded; those of other services are left alone.
    pub earlier: &'a [Record],
    /// The cgroup that earlier runs used.
    pub cgroup: Option<&'a Cgroup>,
}

/// Ends all left-overs: asks them, waits for up to a second, then kills until none is left.
pub async fn sweep(traces: Traces<'_>) -> Swept {
    match end_all(traces).await {
        Ok((gone, left)) => Swept { gone, left, unseen: None },
        Err(error) => Swept { unseen: Some(error.to_string()), ..Swept::default() },
    }
}

/// Who is gone and who is left; an error if we have not the means to look.
async fn end_all(traces: Traces<'_>) -> io::Result<(Vec<LeftOver>, Vec<LeftOver>)> {
    let boot = proc::boot_id();
    let ours = |record: &&Record| {
        record.service == traces.mark.service && Some(&record.boot_id) == boot.as_ref()
    };
    let records: Vec<&Record> = traces.earlier.iter().filter(ours).collect();
    let mut known = BTreeMap::new();
    let mut alive = find(traces, &records, &mut known)?;
    if alive.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    for signal in [Signal::TERM, Signal::CONT] {
        signal_each(&alive, signal);
    }
    ended(&alive, GRACE).await;
    for _ in 0..KILL_ROUNDS {
        alive = find(traces, &records, &mut known)?;
        if alive.is_empty() {
            break;
        }
        traces.cgroup.into_iter().for_each(Cgroup::kill);
        signal_each(&alive, Signal::KILL);
        ended(&alive, KILL_WAIT).await;
    }
    let all = known.into_iter().map(|(process, name)| LeftOver { process, name });
    Ok(all.partition(|left_over| !alive.contains(&left_over.process)))
}

/// All left-overs that are alive. What was found once is known for good, even when its parents,
/// by which it was found, are gone.
fn find(
    traces: Traces<'_>,
    records: &[&Record],
    known: &mut BTreeMap<Identified, String>,
) -> io::Result<BTreeSet<Identified>> {
    let world = World::look()?;
    let inside = traces.cgroup.map(Cgroup::members).unwrap_or_default();
    let ancestors = ancestors(&world);
    let found = world.select(|stat| {
        if stat.pid <= 1 || ancestors.contains(&stat.pid) {
            return Some(false);
        }
        let identified = known.contains_key(&Identified::from(stat))
            || inside.contains(&stat.pid)
            || records.iter().any(|record| is_recorded(stat, record, &world));
        if identified { Some(true) } else { by_mark(stat.pid, traces.mark) }
    });
    let found: BTreeSet<_> = gather(found.iter().map(Identified::from));
    for process in &found {
        known.entry(*process).or_insert_with(|| proc::name(process.pid));
    }
    Ok(found)
}

/// Ourselves and all above us: whatever an environment says, those are not left-overs.
fn ancestors(world: &World) -> BTreeSet<u32> {
    let mut ancestors = BTreeSet::new();
    let mut at = Some(world.own);
    while let Some(pid) = at.filter(|pid| ancestors.insert(*pid)) {
        at = world.processes.get(&pid).map(|stat| stat.ppid);
    }
    ancestors
}

/// Whether it is the recorded process, or in its group or a session of that number. Another
/// leader means that the number was given out again.
fn is_recorded(stat: &Stat, record: &Record, world: &World) -> bool {
    if stat.pid == record.pid {
        return stat.start_time == record.start_time;
    }
    let leader = world.processes.get(&record.pid);
    (stat.group == record.pid || stat.session == record.pid)
        && stat.start_time >= record.start_time
        && leader.is_none_or(|leader| leader.start_time == record.start_time)
}

/// What its mark says: ours, another instance's, or (without one) nothing.
fn by_mark(pid: u32, mark: &Mark) -> Option<bool> {
    let ours = mark.value().into_encoded_bytes();
    if let Some(value) = proc::variable(pid, MARK_VARIABLE) {
        return Some(value == ours);
    }
    proc::variable(pid, PROBE_VARIABLE).map(|run| mark.has_run(&run))
}

fn signal_each(processes: &BTreeSet<Identified>, signal: Signal) {
    for process in processes {
        // Gone, or not ours to signal: the next look will tell.
        kill::exactly(*process, signal).ok();
    }
}

/// Waits until all have ended, zombies of other parents included, or the time is over.
async fn ended(processes: &BTreeSet<Identified>, within: Duration) {
    let all = async {
        for process in processes {
            let Ok(pidfd) = kill::open(*process) else { continue };
            match exec::awaitable(pidfd) {
                // An error would be one of the runtime, which is about to end.
                Ok(pidfd) => drop(pidfd.readable().await),
                // Without a free descriptor, time has to do.
                Err(_) => return std::future::pending().await,
            }
        }
    };
    // Who has not ended by then is found by the next look.
    tokio::time::timeout(within, all).await.ok();
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::process::testing::{Started, alone, sh, until, with_free_descriptors};
    use crate::process::{Launchable, reaper};

    fn mark(instance: &str) -> Mark {
        // Tests run beside each other, and instances are told apart by their ids.
        Mark {
            instance: format!("{instance}-{}", std::process::id()),
            service: "gateway".to_owned(),
        }
    }

    fn marked(script: &str, mark: &Mark) -> Launchable {
        let mut launchable = sh(script);
        launchable.env.insert(MARK_VARIABLE.into(), mark.value());
        launchable
    }

    fn swept(mark: &Mark, earlier: &[Record]) -> Swept {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(sweep(Traces { mark, earlier, cgroup: None }))
    }

    fn record(process: Identified) -> Record {
        Record {
            pid: process.pid,
            start_time: process.start_time,
            boot_id: proc::boot_id().expect("/proc is mounted"),
            service: "gateway".to_owned(),
            program: "child".to_owned(),
        }
    }

    fn identified(started: &Started) -> Identified {
        Identified { pid: started.0.pid, start_time: started.0.start_time }
    }

    fn is_alive(process: Identified) -> bool {
        let stat = proc::stat(process.pid);
        stat.is_some_and(|stat| Identified::from(&stat) == process && stat.is_alive())
    }

    fn pid_in(path: &Path) -> Identified {
        let mut found = None;
        until("a pid is written", || {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            found = text.strip_suffix('\n').and_then(|pid| proc::stat(pid.parse().ok()?));
            found.is_some()
        });
        Identified::from(&found.expect("found"))
    }

    #[test]
    fn a_marked_process_that_ignores_term_is_killed_and_other_marks_are_left_alone() {
        let scratch = tempfile::tempdir().expect("a directory");
        let script = "trap '' TERM; env -i setsid sh -c 'trap \"\" TERM; echo $$ > unmarked; sleep 60; :' & \
            REKINDLE_INSTANCE=other/gateway setsid sh -c 'echo $$ > other; exec sleep 60' & wait; sleep 60";
        let ours = mark("ours");
        let left =
            Started::new(Launchable { cwd: Some(scratch.path().into()), ..marked(script, &ours) });
        let theirs = Started::new(marked("sleep 60", &mark("theirs")));
        let other_service = Mark { service: "other".to_owned(), ..ours.clone() };
        let sibling = Started::new(marked("sleep 60", &other_service));
        let unmarked = pid_in(&scratch.path().join("unmarked"));
        let other = pid_in(&scratch.path().join("other"));

        let swept = swept(&ours, &[]);
        assert_eq!(swept.left, []);
        let gone: BTreeSet<_> = swept.gone.iter().map(|left_over| left_over.process).collect();
        assert!(gone.contains(&identified(&left)) && gone.contains(&unmarked), "{swept:?}");
        assert!(!is_alive(identified(&left)) && !is_alive(unmarked));
        for process in [identified(&theirs), identified(&sibling), other] {
            assert!(is_alive(process) && !gone.contains(&process));
        }
        kill::exactly(other, Signal::KILL).expect("ours to clean up");
    }

    #[test]
    fn a_recorded_process_goes_with_its_group_and_a_reused_pid_stays() {
        let scratch = tempfile::tempdir().expect("a directory");
        let script = "sleep 60 & echo $! > member; exec sleep 60";
        let left = Started::new(Launchable { cwd: Some(scratch.path().into()), ..sh(script) });
        let member = pid_in(&scratch.path().join("member"));
        let reused = Started::new(sh("sleep 60"));
        let other_boot = Started::new(sh("sleep 60"));
        let other_service = Started::new(sh("sleep 60"));
        let (left_id, reused_id) = (identified(&left), identified(&reused));
        let records = [
            record(left_id),
            record(Identified { start_time: reused_id.start_time - 1, ..reused_id }),
            Record { boot_id: "another".to_owned(), ..record(identified(&other_boot)) },
            Record { service: "other".to_owned(), ..record(identified(&other_service)) },
        ];

        let swept = swept(&mark("recorded"), &records);
        let gone: Vec<_> = swept.gone.iter().map(|left_over| left_over.process).collect();
        assert_eq!(gone.iter().collect::<BTreeSet<_>>(), BTreeSet::from([&left_id, &member]));
        assert!(swept.gone.iter().all(|left_over| left_over.name == "sleep"));
        assert!(!is_alive(left_id) && !is_alive(member));
        assert!(is_alive(reused_id) && is_alive(identified(&other_boot)));
        assert!(is_alive(identified(&other_service)));
    }

    #[test]
    fn who_cannot_look_for_want_of_descriptors_does_not_say_that_nothing_is_left() {
        alone(|| {
            let ours = mark("unseen");
            let _left = Started::new(marked("exec sleep 60", &ours));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let swept = || sweep(Traces { mark: &ours, earlier: &[], cgroup: None });
            let runtime = runtime.expect("a runtime");
            let found = with_free_descriptors(1, || runtime.block_on(swept()));
            assert_eq!(found.gone, []);
            assert!(found.unseen.is_some_and(|why| why.starts_with("Too many open files")));
            let found = runtime.block_on(swept());
            assert_eq!((found.gone.len(), found.unseen), (1, None));
        });
    }

    #[test]
    fn a_stopped_left_over_ends_by_itself_and_nothing_is_found_the_second_time() {
        let scratch = tempfile::tempdir().expect("a directory");
        let script =
            "trap 'echo bye > bye; exit 0' TERM; echo $$ > ready; while :; do sleep 0.01; done";
        let ours = mark("stopped");
        let left =
            Started::new(Launchable { cwd: Some(scratch.path().into()), ..marked(script, &ours) });
        pid_in(&scratch.path().join("ready"));
        kill::child(left.0.pid, Signal::STOP).expect("ours");
        until("it is stopped", || proc::stat(left.0.pid).is_some_and(|stat| stat.state == b'T'));
        let first = swept(&ours, &[]);
        assert!(
            first.gone.iter().any(|gone| gone.process == identified(&left))
                && first.left.is_empty()
        );
        assert!(scratch.path().join("bye").exists());
        assert_eq!(swept(&ours, &[]), Swept::default());
        assert!(reaper::has_children(), "its zombie is still there, and counts as gone");
    }
}
