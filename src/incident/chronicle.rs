//! Writes the record of the current outage from what the loop is told anyway.
//!
//! Pure: it is given moments and the wall clock's time, and touches nothing. It knows no output of
//! programs, which is read elsewhere. However long an outage lasts, its record stays small.

mod story;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use super::{
    Avoided, Capture, End, Exit, FORMAT, HookRun, Incident, PortHolder, ProbeAnswer, Step, step,
};
use crate::probe::Answer;
use crate::report::Note;
use crate::status::document::{rfc3339, seconds};
use crate::supervisor::{Fact, Moment, Program, Role, Verdict, Why};
use crate::tally::{Cause, News, Outage};

/// So many steps from the beginning of a long story are kept, and so many from its end.
const FIRST_STEPS: usize = 10;
const LAST_STEPS: usize = 40;
/// So many answers from before we knew are kept, and so many since.
const PROBES: usize = 10;
/// A restart that was avoided longer ago has nothing to do with it.
const SHORTLY: Duration = Duration::from_mins(10);
const AVOIDED_BEFORE: usize = 10;

/// How an outage ends.
const HEALED: &str = "healed";
const STOPPED: &str = "stopped";
const ENDED: &str = "ended";

/// A moment, and what the wall clock shows then, as the time since 1970.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the line above says it")]
pub struct Time {
    pub now: Moment,
    pub wall: Duration,
}

/// Writes one record at a time.
#[derive(Debug)]
pub struct Chronicle {
    service: String,
    /// Makes the names of records differ.
    seed: u64,
    before: Before,
    /// The story behind a launch that is about to be reported as failed.
    launch_failed: Option<String>,
    open: Option<Open>,
}

/// What may turn out to have led to an outage.
#[derive(Debug, Default)]
struct Before {
    probes: VecDeque<(Moment, ProbeAnswer)>,
    avoided: VecDeque<(Moment, Why)>,
}

/// The outage that is going on.
#[derive(Debug)]
struct Open {
    outage: Outage,
    record: Incident,
    /// What broke: a sentence without its end.
    what: String,
    /// The number of the latest attempt.
    attempt: Option<u32>,
    hook_began: Option<Moment>,
    /// So many of the record's probes are from before we knew.
    probes_before: usize,
}

impl Chronicle {
    /// Nothing has happened yet; `seed` is random.
    pub fn new(service: &str, seed: u64) -> Self {
        let service = service.to_owned();
        Self { service, seed, before: Before::default(), launch_failed: None, open: None }
    }

    /// The run begins with this outage; its record, if it is one that is recorded.
    pub fn begins_with(&mut self, time: Time, outage: &Outage) -> Option<Incident> {
        if matches!(outage.cause, Cause::Boot | Cause::Planned) {
            return None;
        }
        self.open = Some(self.begin(time, outage, story::before_this_run(outage.cause)));
        self.open.as_ref().map(|open| open.record.clone())
    }

    /// Something happened; the record if that has changed it, with its end if that was the end.
    pub fn fact(&mut self, time: Time, fact: &Fact, news: Option<&News>) -> Option<Incident> {
        if let Some(News::Began(outage)) = news {
            let mut open = self.begin(time, outage, story::what_broke(outage.cause, fact));
            open.exited(fact);
            return Some(self.open.insert(open).record.clone());
        }
        let launch_failed = self.launch_failed.take();
        let Some(open) = &mut self.open else {
            self.before.fact(time.now, fact);
            return None;
        };
        let changed = open.fact(time.now, fact, launch_failed);
        let Some((how, at)) = end(time.now, fact, news) else {
            return changed.then(|| open.record.clone());
        };
        self.before = Before::default();
        let mut over = self.open.take()?;
        over.record.end = Some(End {
            how: how.to_owned(),
            at: rfc3339(time.wall_at(at)),
            after_seconds: seconds(over.outage.until(at)),
        });
        over.record.summary = story::summary(&over.what, &over.record);
        Some(over.record)
    }

    /// A probe has answered.
    pub fn probe_answered(
        &mut self,
        now: Moment,
        role: Role,
        verdict: Verdict,
        took: Duration,
        answer: &Answer,
    ) {
        let answer = ProbeAnswer {
            after_seconds: 0.0,
            role: role.label().to_owned(),
            result: verdict.label().to_owned(),
            detail: answer.detail.clone(),
            took_seconds: seconds(took),
            body: match (verdict, &answer.body_head) {
                (Verdict::Fail(_) | Verdict::Inconclusive { .. }, Some(head)) => head.clone(),
                (Verdict::Pass, _) | (_, None) => String::new(),
            },
        };
        match &mut self.open {
            Some(open) => open.probed(now, answer),
            None => push_within(&mut self.before.probes, PROBES, (now, answer)),
        }
    }

    /// An edge has told this.
    pub fn note(&mut self, now: Moment, note: &Note) {
        if let Note::LaunchFailed { text, .. } = note {
            self.launch_failed = Some(text.clone());
        }
        if let Some(open) = &mut self.open
            && story::explains(note)
        {
            open.step(now, step::NOTED, note.to_string());
        }
    }

    /// The capture command has looked at the child.
    pub fn captured(&mut self, capture: &Capture) {
        if let Some(open) = &mut self.open {
            open.record.capture = Some(capture.clone());
        }
    }

    /// Who holds the port that the fact which follows is about.
    pub fn port_is_held_by(&mut self, pid: u32, name: String) {
        if let Some(open) = &mut self.open {
            open.record.port_holder = Some(PortHolder { pid, name });
        }
    }

    fn begin(&mut self, time: Time, outage: &Outage, what: String) -> Open {
        let began = time.wall_at(outage.began).saturating_sub(outage.earlier);
        let before = std::mem::take(&mut self.before);
        let record = Incident {
            format: FORMAT,
            id: name(began, self.seed),
            service: self.service.clone(),
            cause: outage.cause.label().to_owned(),
            began: rfc3339(began),
            detected_after_seconds: seconds(outage.detection()),
            ..Incident::default()
        };
        // Whatever the clock does, the next one has another name.
        self.seed = self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let mut open = Open {
            outage: *outage,
            record,
            what: what.clone(),
            attempt: None,
            hook_began: None,
            probes_before: before.probes.len(),
        };
        for (moment, why) in before.avoided {
            if outage.began.since(moment) <= SHORTLY {
                open.avoided(moment, why);
            }
        }
        for (moment, answer) in before.probes {
            open.record.probes.push(ProbeAnswer { after_seconds: open.after(moment), ..answer });
        }
        let broke = Step { after_seconds: 0.0, what: step::BROKE.to_owned(), detail: what };
        open.record.timeline.push(broke);
        open.step(outage.detected, step::DETECTED, String::new());
        open.record.summary = story::summary(&open.what, &open.record);
        open
    }
}

impl Time {
    fn wall_at(self, moment: Moment) -> Duration {
        self.wall.saturating_sub(self.now.since(moment)) + moment.since(self.now)
    }
}

impl Before {
    fn fact(&mut self, now: Moment, fact: &Fact) {
        if let Fact::RestartAvoided { why } = fact {
            push_within(&mut self.avoided, AVOIDED_BEFORE, (now, *why));
        }
    }
}

impl Open {
    /// Takes in what happened; whether the record has changed.
    fn fact(&mut self, now: Moment, fact: &Fact, launch_failed: Option<String>) -> bool {
        if let Fact::Launched { program, why, .. } = *fact {
            if self.attempt.replace(why.attempt) != Some(why.attempt) {
                self.record.attempts += 1;
            }
            self.hook_began = (program != Program::Child).then_some(now);
        }
        if let Fact::RestartAvoided { why } = *fact {
            self.avoided(now, why);
            return true;
        }
        if let Some((program, result, detail)) = story::hook_ended(fact) {
            let began = self.hook_began.take();
            let run = HookRun {
                hook: program.label().to_owned(),
                result: result.label().to_owned(),
                detail: launch_failed.clone().unwrap_or(detail),
                took_seconds: seconds(began.map_or(Duration::ZERO, |began| now.since(began))),
                output: String::new(),
            };
            self.record.hooks.retain(|earlier| earlier.hook != run.hook);
            self.record.hooks.push(run);
        }
        self.exited(fact);
        let Some((what, detail)) = story::step(fact) else { return false };
        self.step(now, what, launch_failed.unwrap_or(detail));
        true
    }

    /// Of several ends by itself the first is the one that is asked for.
    fn exited(&mut self, fact: &Fact) {
        if let Fact::Exited { exit, expected: false, .. } = fact
            && self.record.exit.is_none()
        {
            self.record.exit = Some(Exit { how: exit.to_string(), code: exit.code() });
        }
    }

    fn avoided(&mut self, now: Moment, why: Why) {
        self.step(now, step::AVOIDED, why.to_string());
        let avoided = &mut self.record.avoided;
        match avoided.iter_mut().find(|avoided| avoided.why == why.label()) {
            Some(known) => known.times += 1,
            None => avoided.push(Avoided { why: why.label().to_owned(), times: 1 }),
        }
    }

    fn probed(&mut self, now: Moment, answer: ProbeAnswer) {
        let after_seconds = self.after(now);
        let probes = &mut self.record.probes;
        if probes.len() >= self.probes_before + PROBES {
            probes.remove(self.probes_before);
        }
        probes.push(ProbeAnswer { after_seconds, ..answer });
    }

    fn step(&mut self, now: Moment, what: &str, detail: String) {
        let after_seconds = self.after(now);
        let timeline = &mut self.record.timeline;
        if timeline.len() >= FIRST_STEPS + LAST_STEPS {
            timeline.remove(FIRST_STEPS);
            self.record.steps_left_out += 1;
        }
        timeline.push(Step { after_seconds, what: what.to_owned(), detail });
    }

    /// From the outage's beginning until then.
    fn after(&self, moment: Moment) -> f64 {
        match self.outage.began.since(moment) {
            Duration::ZERO => seconds(self.outage.until(moment)),
            before => -seconds(before),
        }
    }
}

/// How and when an outage comes to its end, if it does so now.
fn end(now: Moment, fact: &Fact, news: Option<&News>) -> Option<(&'static str, Moment)> {
    match (fact, news) {
        (_, Some(News::Ended(outage))) => Some((HEALED, outage.ended.unwrap_or(now))),
        (Fact::StopRequested { .. }, _) => Some((STOPPED, now)),
        (Fact::Finished(_), _) => Some((ENDED, now)),
        _ => None,
    }
}

/// `20261126-201751-123-9c0f`: when it began, and something random.
fn name(began: Duration, seed: u64) -> String {
    let digits: String = rfc3339(began).chars().filter(char::is_ascii_digit).collect();
    let (day, time) = digits.split_at(digits.len().min(8));
    let (time, millis) = time.split_at(time.len().min(6));
    format!("{day}-{time}-{millis}-{:04x}", seed >> 48)
}

fn push_within<T>(kept: &mut VecDeque<T>, most: usize, item: T) {
    if kept.len() >= most {
        kept.pop_front();
    }
    kept.push_back(item);
}
