//! The drill: breaks a service on purpose, in every way it knows, and measures how it comes back.
//!
//! It is a client of the product. It starts `rekindle run` in a disposable sandbox, breaks things
//! from outside (signals, a proxy, the demo gateway's `/fault`), and looks on through the control
//! socket and `/proc`; the supervisor does not know that it is a drill. What must come of each
//! scenario is in the table in `scenarios/`. Nothing outside the sandbox is signalled.

pub(crate) mod ask;
mod inside;
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
    /// The service that is to be drilled is in use.
    #[error("cannot drill {service}: {what}; stop it first")]
    InUse {
        /// The service.
        service: String,
        /// How that shows.
        what: String,
    },
}

/// Does the drill, and tells each outcome as soon as it is there.
///
/// `progress` is told what is being done: the number of it, and the scenario.
pub fn run(plan: &Plan, progress: &mut dyn FnMut(usize, &Scenario)) -> Result<Report, NoDrill> {
    match &plan.subject {
        Subject::Running { name, socket } => return Ok(run_live(plan, name, socket, progress)),
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
    let mut outcomes = Vec::new();
    for repetition in 1..=plan.repeat {
        for scenario in &plan.scenarios {
            progress(outcomes.len() + 1, scenario);
            let outcome =
                outcome(plan, scenario, repetition, &directory, refused.as_deref(), &mut dice);
            outcomes.push(outcome);
        }
    }
    directory.remove_unless(outcomes.iter().any(|outcome| outcome.log.is_some()));
    let arena = refused.map_or(Arena::Namespaces, Arena::OwnTree);
    Ok(Report { seed: plan.seed, objective: plan.objective, arena, outcomes })
}

fn run_live(
    plan: &Plan,
    name: &str,
    socket: &Path,
    progress: &mut dyn FnMut(usize, &Scenario),
) -> Report {
    let limit = plan.objective.map(|objective| objective * 2);
    let mut outcomes = Vec::new();
    for repetition in 1..=plan.repeat {
        for scenario in &plan.scenarios {
            progress(outcomes.len() + 1, scenario);
            let mut outcome = live::drill(socket, scenario, repetition, limit);
            outcome.hold_against(plan.objective);
            outcomes.push(outcome);
        }
    }
    let arena = Arena::Running(name.to_owned());
    Report { seed: plan.seed, objective: plan.objective, arena, outcomes }
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
            match outcome.verdict {
                Verdict::Failed(_) => outcome.log = Some(stage.log()),
                Verdict::Passed | Verdict::Skipped(_) => stage.remove(),
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
