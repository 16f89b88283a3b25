//! One look at processes, and the group and session ids by which a tree's members are known.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::kill::Identified;
use super::proc::{self, Stat};
use crate::gather::gather;

/// All processes that we can see, or those below some of them, at about one moment.
pub(super) struct World {
    pub(super) own: u32,
    /// Our own group and session: everybody in our shell's session shares them.
    pub(super) own_ids: [u32; 2],
    pub(super) processes: BTreeMap<u32, Stat>,
}

impl World {
    /// Us, `others`, and whatever descends from us or them, without a look at what runs on the
    /// machine beside them. Where that would cost more than a look at everybody, and where the
    /// kernel does not list children: all processes.
    ///
    /// An error if we have not the means to look at everybody: who is missing may be alive.
    pub(super) fn look_below(others: impl IntoIterator<Item = u32>) -> io::Result<Self> {
        match walk_down(others, proc::count()?)? {
            Some(processes) => Ok(Self::of(processes)),
            None => Self::look(),
        }
    }

    /// All processes. An error if we have not the means to look at everybody, as above.
    pub(super) fn look() -> io::Result<Self> {
        let mut processes: BTreeMap<u32, Stat> =
            gather(proc::processes()?.into_iter().map(|stat| (stat.pid, stat)));
        // A parent that ended while we looked leaves a gap: its children have another one by now.
        let lost: Vec<u32> = processes
            .values()
            .filter(|stat| stat.ppid > 0 && !processes.contains_key(&stat.ppid))
            .map(|stat| stat.pid)
            .collect();
        for pid in lost {
            match proc::look_at(pid)? {
                Some(stat) => processes.insert(pid, stat),
                None => processes.remove(&pid),
            };
        }
        Ok(Self::of(processes))
    }

    fn of(processes: BTreeMap<u32, Stat>) -> Self {
        let own = std::process::id();
        let own_ids = processes.get(&own).map_or([0, 0], |stat| [stat.group, stat.session]);
        Self { own, own_ids, processes }
    }

    /// The living processes for which `decide` says yes, and what descends from them. It is asked
    /// about a process and then about its ancestors, up to the first about which it says anything.
    ///
    /// Climbs without recursion: a chain of parents may be as long as there are pids.
    pub(super) fn select(&self, mut decide: impl FnMut(&Stat) -> Option<bool>) -> Vec<Stat> {
        let mut verdicts: BTreeMap<u32, bool> = BTreeMap::new();
        for pid in self.processes.keys() {
            let mut path = Vec::new();
            let mut at = *pid;
            let verdict = loop {
                if let Some(verdict) = verdicts.get(&at) {
                    break *verdict;
                }
                let Some(stat) = self.processes.get(&at) else { break false };
                // Provisional, so that parents that seem to form a ring end the climb.
                verdicts.insert(at, false);
                path.push(at);
                if let Some(verdict) = decide(stat) {
                    break verdict;
                }
                at = stat.ppid;
            };
            verdicts.extend(path.into_iter().map(|pid| (pid, verdict)));
        }
        let selected =
            self.processes.values().filter(|stat| verdicts.get(&stat.pid) == Some(&true));
        selected.filter(|stat| stat.is_alive()).copied().collect()
    }

    pub(super) fn has(&self, process: Identified) -> bool {
        self.processes.get(&process.pid).is_some_and(|stat| Identified::from(stat) == process)
    }
}

/// The living descendants of ours for which `is_left` says yes, and what descends from them.
///
/// As a subreaper we are the parent of the first of them, so that one look at our own children
/// mostly shows that there are none; the kernel may not list them, though.
pub(super) fn left(is_left: impl Fn(&Stat) -> bool) -> Vec<Identified> {
    let children = proc::children(std::process::id());
    let first = children.map(|mut children| {
        children
            .retain(|pid| proc::stat(*pid).is_some_and(|stat| stat.is_alive() && is_left(&stat)));
        children
    });
    if first.as_ref().is_some_and(Vec::is_empty) {
        return Vec::new();
    }
    // What cannot be looked at now falls to the tree.
    let Ok(world) = World::look_below([]) else { return Vec::new() };
    let left = world.select(|stat| {
        if stat.pid == world.own {
            return Some(false);
        }
        let is_first = match &first {
            Some(first) => first.contains(&stat.pid),
            None => is_left(stat),
        };
        is_first.then_some(true)
    });
    left.iter().map(Identified::from).collect()
}

/// Us, `others`, and whatever descends from us or them. `None` if the kernel does not list children,
/// or more than `most` of its lists would have to be read: there is one for each thread.
///
/// Who is born or gets another parent while we look can be missing, but for those whose parents are
/// all dead: they are our children by then, and a child of ours is in our list until it is reaped.
fn walk_down(
    others: impl IntoIterator<Item = u32>,
    most: usize,
) -> io::Result<Option<BTreeMap<u32, Stat>>> {
    let own = std::process::id();
    let (mut processes, mut seen, mut lists) = (BTreeMap::new(), BTreeSet::new(), 0);
    let mut ahead: Vec<u32> = others.into_iter().chain([own]).collect();
    while let Some(pid) = ahead.pop() {
        let is_new = seen.insert(pid);
        if lists.max(seen.len()) + ahead.len() > most {
            return Ok(None);
        }
        if is_new && let Some(stat) = proc::look_at(pid)? {
            processes.insert(pid, stat);
            lists += usize::try_from(stat.threads).unwrap_or(usize::MAX).max(1);
            match proc::look_at_children(pid)? {
                Some(children) => ahead.extend(children),
                None if proc::look_at(pid)?.is_some_and(|stat| stat.is_alive()) => return Ok(None),
                // It has ended meanwhile.
                None => {}
            }
        }
        if ahead.is_empty() {
            let Some(children) = proc::look_at_children(own)? else { return Ok(None) };
            ahead.extend(children.into_iter().filter(|pid| !seen.contains(pid)));
        }
    }
    Ok(Some(processes))
}

impl From<&Stat> for Identified {
    fn from(stat: &Stat) -> Self {
        Self { pid: stat.pid, start_time: stat.start_time }
    }
}

/// Ids of groups and sessions that members had, each with the start time of its leader.
#[derive(Default, Debug)]
pub(super) struct Ids(BTreeMap<u32, Option<u64>>);

impl Ids {
    pub(super) fn remember(&mut self, id: u32, leader: Option<u64>) {
        self.0.entry(id).or_insert(leader);
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.0.contains_key(&id)
    }

    /// Drops ids that nobody has any more, and those that were given out again: a pid is not used
    /// while a group or session still has it for its id, so another leader means another group.
    pub(super) fn forget_stale(&mut self, world: &World) {
        self.0.retain(|id, leader| {
            let now = world.processes.get(id).map(|stat| stat.start_time);
            let same = now.is_none() || now == *leader;
            same && world.processes.values().any(|stat| stat.group == *id || stat.session == *id)
        });
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::process::Signal;

    use super::*;
    use crate::process::testing::{Started, alone, sh, until};
    use crate::process::{kill, reaper};

    fn world(processes: &[(u32, u32, u64)]) -> World {
        let stat = |&(pid, group, start_time): &(u32, u32, u64)| {
            let stat =
                Stat { pid, state: b'S', ppid: 1, group, session: 1, threads: 1, start_time };
            (pid, stat)
        };
        World { own: 2, own_ids: [2, 2], processes: processes.iter().map(stat).collect() }
    }

    #[test]
    fn an_id_is_kept_while_a_member_has_it_and_dropped_when_it_is_given_out_again() {
        for (case, processes, kept) in [
            ("leader lives", &[(10, 10, 5)][..], true),
            ("leader is gone, a member has it", &[(11, 10, 6)], true),
            ("nobody has it", &[(11, 11, 6)], false),
            ("another leader", &[(10, 10, 9)], false),
        ] {
            let mut ids = Ids::default();
            ids.remember(10, Some(5));
            ids.forget_stale(&world(processes));
            assert_eq!(ids.contains(10), kept, "{case}");
        }
    }

    #[test]
    fn a_leader_that_appears_after_its_group_is_not_its_leader() {
        let mut ids = Ids::default();
        ids.remember(10, None);
        ids.forget_stale(&world(&[(11, 10, 6)]));
        assert!(ids.contains(10));
        ids.forget_stale(&world(&[(10, 10, 7)]));
        assert!(!ids.contains(10));
    }

    #[test]
    fn what_is_below_us_is_found_without_a_look_at_anybody_else() {
        alone(|| {
            reaper::adopt_orphans().expect("allowed");
            let scratch = tempfile::tempdir().expect("a directory");
            let file = scratch.path().join("pids");
            // A child, its child, and one in its own session whose parent has ended.
            let script = format!(
                "sleep 60 & a=$!; (setsid sleep 60 & echo $! > {0}.new); \
                 echo $$ $a >> {0}.new; mv {0}.new {0}; wait",
                file.display()
            );
            let child = Started::new(sh(&script));
            until("it has started them", || file.exists());
            let pids = fs::read_to_string(&file).expect("a file");
            let pids = pids.split_whitespace().map(|pid| pid.parse::<u32>().expect("a pid"));
            let started: BTreeSet<u32> = pids.chain([std::process::id()]).collect();

            let found = |others: &[u32]| -> BTreeSet<u32> {
                let all = walk_down(others.iter().copied(), 1000).expect("we can look");
                all.expect("our kernels list children").into_keys().collect()
            };
            until("the orphan is ours", || found(&[]) == started);
            let above = std::os::unix::process::parent_id();
            assert!(found(&[above]).is_superset(&started), "we are below it");
            assert!(found(&[above]).contains(&above));
            assert_eq!(walk_down([], started.len() - 1).expect("we can look"), None, "too many");
            let world = World::look_below([]).expect("we can look");
            for stat in world.processes.values().filter(|stat| stat.pid != world.own) {
                kill::exactly(stat.into(), Signal::KILL).expect("ours");
            }
            child.wait();
        });
    }
}
