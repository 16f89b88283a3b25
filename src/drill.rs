//! The drill: breaks a service on purpose, in every way it knows, and measures how it comes back.
//!
//! It is a client of the product. It starts `rekindle run` in a disposable sandbox, breaks things
//! from outside (signals, a proxy, the demo gateway's `/fault`), and looks on through the control
//! socket and `/proc`; the supervisor does not know that it is a drill. What must come of each
//! scenario is in the table in `scenarios/`. Nothing outside the sandbox is signalled.

pub(crate) mod ask;
mod inside;
mod interrupt;
mod live;
mod own;
mod proxy;
mod report;
mod round;
mod sandbox;
mod scenario;
mod scenarios;
mod stage;
mod timeline;
mod watch;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::status::human;
use crate::supervisor::{Dice, DrillFault};

pub use inside::enter;
pub use own::Own;
pub use report::{Arena, Format, Report};
pub use sandbox::Kind;
pub use scenario::{Expect, Place, Scenario};
pub use scenarios::all;
pub use timeline::{Band, Marks};

use round::Round;
use stage::{Directory, Stage};

/// How long a recovery is waited for where no objective says so.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is to be drilled.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is drilled.
    pub subject: Subject,
    /// The scenarios, in their order.
    pub scenarios: Vec<&'static Scenario>,
    /// How often all of them are done.
    pub repeat: u32,
    /// From this the random moments come.
    pub seed: u64,
    /// No recovery may take longer.
    pub objective: Option<Duration>,
    /// No namespaces, even if they are allowed.
    pub own_tree: bool,
}

/// What is drilled.
#[derive(Clone, Debug)]
pub enum Subject {
    /// The demo gateway.
    Demo,
    /// The user's own service.
    Own(Box<Own>),
    /// A running instance.
    Running {
        /// Its name.
        name: String,
        /// Where its supervisor takes orders.
        socket: PathBuf,
    },
}

impl Subject {
    /// Whether this scenario can be done to it.
    pub fn fits(&self, scenario: &Scenario) -> bool {
        match self {
            Self::Demo => true,
            Self::Own(own) => own.fits(scenario),
            Self::Running { .. } => {
                DrillFault::ALL.iter().any(|fault| fault.label() == scenario.name)
            }
        }
    }

    /// The objective that its configuration sets, as far as we have it.
    pub fn objective(&self) -> Option<Duration> {
        match self {
            Self::Own(own) => own.objective(),
            Self::Demo | Self::Running { .. } => None,
        }
    }

    fn own(&self) -> Option<&Own> {
        match self {
            Self::Own(own) => Some(own),
            Self::Demo | Self::Running { .. } => None,
        }
    }
}

/// What came of one scenario.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which.
    pub scenario: &'static Scenario,
    /// In which repetition, from 1.
    pub repetition: u32,
    /// Good or bad, and why.
    pub verdict: Verdict,
    /// When what happened, from the fault on.
    pub marks: Marks,
    /// The states that the service went through, from the fault on.
    pub bands: Vec<Band>,
    /// What the sandbox wrote, kept where something was wrong.
    pub log: Option<PathBuf>,
}

/// What is to be thought of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All that was expected has come.
    Passed,
    /// This was wrong.
    Failed(Vec<String>),
    /// It cannot be done here.
    Skipped(String),
}

/// Why a drill cannot be done at all.
#[derive(Debug, thiserror::Error)]
pub enum NoDrill {
    /// No scratch directory.
    #[error("cannot make a scratch directory for the drill: {0}")]
    Scratch(#[from] std::io::Error),
    /// It could not be interrupted.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    /// The service that is to be drilled is in use.
    #[error("cannot drill {service}: {what}; stop it first")]
    InUse {
        /// The service.
        service: String,
        /// How that shows.
        what: String,
    },
    /// The running service must not be broken.
    #[error("cannot drill {service} ({scenario}): {why}")]
    Refused {
        /// The service.
        service: String,
        /// What was to be done to it.
        scenario: &'static str,
        /// As its supervisor says.
        why: String,
    },
}

/// What the drill is about to do.
#[derive(Debug)]
pub enum Progress<'s> {
    /// This scenario, which has this number in the whole drill.
    Scenario(usize, &'s Scenario),
    /// It waits, and says for what.
    Waiting(String),
}

/// Whom progress is told.
pub type Tell<'t> = dyn FnMut(&Progress<'_>) + 't;

/// Does the drill until it is over or interrupted, and tells what it is about to do.
pub fn run(plan: &Plan, tell: &mut Tell) -> Result<Report, NoDrill> {
    interrupt::listen().map_err(NoDrill::Signals)?;
    match &plan.subject {
        Subject::Running { name, socket } => return run_live(plan, name, socket, tell),
        Subject::Own(own) => own.refuse_if_in_use()?,
        Subject::Demo => {}
    }
    let directory = Directory::create()?;
    let refused = if plan.own_tree {
        Some("--own-tree was given".to_owned())
    } else {
        Kind::allowed(&directory.path).err()
    };
    let mut dice = Dice::Seeded(plan.seed);
    let outcomes = plan.each(tell, |scenario, repetition, _| {
        outcome(plan, scenario, repetition, &directory, refused.as_deref(), &mut dice)
    });
    directory.remove_unless(outcomes.iter().any(|outcome| outcome.log.is_some()));
    Ok(plan.report(refused.map_or(Arena::Namespaces, Arena::OwnTree), outcomes))
}

fn run_live(plan: &Plan, name: &str, socket: &Path, tell: &mut Tell) -> Result<Report, NoDrill> {
    live::ask_permission(name, socket, &plan.scenarios)?;
    let limit = plan.objective.map(|objective| objective * 2);
    let outcomes = plan.each(tell, |scenario, repetition, tell| {
        let mut outcome = live::drill(socket, scenario, repetition, limit, tell);
        outcome.hold_against(plan.objective);
        outcome
    });
    Ok(plan.report(Arena::Running(name.to_owned()), outcomes))
}

impl Plan {
    /// How many scenarios are done in all.
    pub fn size(&self) -> usize {
        let times = usize::try_from(self.repeat).unwrap_or(usize::MAX);
        self.scenarios.len().saturating_mul(times)
    }

    /// Does one after the other; what was being done when it was interrupted has no outcome.
    fn each(
        &self,
        tell: &mut Tell,
        mut play: impl FnMut(&'static Scenario, u32, &mut Tell) -> Outcome,
    ) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for repetition in 1..=self.repeat {
            for scenario in &self.scenarios {
                tell(&Progress::Scenario(outcomes.len() + 1, scenario));
                let outcome = play(scenario, repetition, tell);
                if interrupt::is_wanted() {
                    return outcomes;
                }
                outcomes.push(outcome);
            }
        }
        outcomes
    }

    fn report(&self, arena: Arena, outcomes: Vec<Outcome>) -> Report {
        let undone = self.size() - outcomes.len();
        Report { seed: self.seed, objective: self.objective, arena, outcomes, undone }
    }
}

fn outcome(
    plan: &Plan,
    scenario: &'static Scenario,
    repetition: u32,
    directory: &Directory,
    no_namespaces: Option<&str>,
    dice: &mut Dice,
) -> Outcome {
    let mut outcome = Outcome {
        scenario,
        repetition,
        verdict: Verdict::Passed,
        marks: Marks::default(),
        bands: Vec::new(),
        log: None,
    };
    let kind = match (scenario.place, no_namespaces) {
        (Place::OwnClock, _) => {
            let why = "no namespace has a wall clock of its own, and this machine's is left alone";
            outcome.verdict = Verdict::Skipped(why.to_owned());
            return outcome;
        }
        (Place::Namespaces, Some(why)) => {
            outcome.verdict = Verdict::Skipped(format!("it needs a mount namespace: {why}"));
            return outcome;
        }
        (Place::Anywhere, Some(why)) if plan.subject.own().is_some() && scenario.has_proxy() => {
            let why = format!("outside a PID namespace the proxy would be a stranger: {why}");
            outcome.verdict = Verdict::Skipped(why);
            return outcome;
        }
        (Place::OwnTree, _) | (Place::Anywhere, Some(_)) => Kind::OwnTree,
        (Place::Namespaces | Place::Anywhere, None) => Kind::Namespaces,
    };
    // Twice the objective: so the report can say by how much it was missed.
    let patience = || plan.subject.own().map_or(PATIENCE, Own::patience);
    let limit = plan.objective.map_or_else(patience, |objective| objective * 2);
    let played = Stage::set(scenario, kind, directory, plan.subject.own())
        .map_err(|error| format!("cannot prepare the sandbox: {error}"))
        .and_then(|stage| {
            let mut round = Round::new(scenario, &stage, kind, limit)?;
            let findings = round.play(dice);
            (outcome.marks, outcome.bands) = round.timeline();
            outcome.add(findings);
            outcome.hold_against(plan.objective);
            // Ends what an interrupted one has left running.
            drop(round);
            match outcome.verdict {
                Verdict::Failed(_) if !interrupt::is_wanted() => outcome.log = Some(stage.log()),
                Verdict::Failed(_) | Verdict::Passed | Verdict::Skipped(_) => stage.remove(),
            }
            Ok(())
        });
    if let Err(why) = played {
        outcome.add(vec![why]);
    }
    outcome
}

impl Outcome {
    /// These things were wrong, too.
    fn add(&mut self, findings: Vec<String>) {
        match &mut self.verdict {
            Verdict::Failed(found) => found.extend(findings),
            Verdict::Passed | Verdict::Skipped(_) if findings.is_empty() => {}
            Verdict::Passed | Verdict::Skipped(_) => self.verdict = Verdict::Failed(findings),
        }
    }

    /// A recovery that took longer than its objective was none.
    fn hold_against(&mut self, objective: Option<Duration>) {
        if let (Some(took), Some(objective)) = (self.marks.first_pass, objective)
            && took > objective
        {
            let (took, objective) = (human(took), human(objective));
            self.add(vec![format!("it recovered after {took}, the objective is {objective}")]);
        }
    }
}
