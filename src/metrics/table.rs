//! The one table of metrics: name, kind, labels, buckets and help, each stated once.
//!
//! Registration, the page's own families, `docs/metrics.md` and the tests of rules and dashboards
//! all read it. Label words come from the enums that the rest of the program uses.

use crate::output::Stream;
use crate::supervisor::{self, DrillResult, FailKind, Program, Reason, Role, State, Why};
use crate::tally::Cause;

/// What a metric is to Prometheus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts durations by size.
    Histogram,
}

impl Kind {
    /// The word on a `# TYPE` line.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Who writes a family on the page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The recorder: whole-number counters, gauges and histograms.
    Recorder,
    /// Our own writer: counters with fractions, and what is read at the time of the scrape.
    Page,
}

/// One metric family.
#[derive(Debug)]
pub struct Family {
    /// Its full name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels, in the order in which their words are given.
    pub labels: &'static [Label],
    /// Upper bounds in seconds, for histograms.
    pub buckets: &'static [f64],
    /// What it means.
    pub help: &'static str,
    /// Who writes it.
    pub source: Source,
    /// Left out where the value is unknown or not configured.
    pub optional: bool,
    /// It belongs to the service rather than to one run: the state file carries it over.
    pub kept: bool,
}

impl Family {
    /// The unit that the name ends with, if it has one.
    pub fn unit(&self) -> &'static str {
        let name = self.name.trim_end_matches("_total");
        ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit)).unwrap_or("")
    }

    const fn new(
        kind: Kind,
        name: &'static str,
        labels: &'static [Label],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            labels,
            buckets: &[],
            help,
            source: Source::Recorder,
            optional: false,
            kept: false,
        }
    }

    const fn on_page(self) -> Self {
        Self { source: Source::Page, ..self }
    }

    const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    const fn kept(self) -> Self {
        Self { kept: true, ..self }
    }
}

/// A label: its name on the page and the words it can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "`words` says what each stands for")]
pub enum Label {
    Service,
    Version,
    Os,
    Arch,
    State,
    To,
    Reason,
    Cause,
    IncidentCause,
    DrillResult,
    Start,
    StartKind,
    Probe,
    ProbeResult,
    Hook,
    HookResult,
    Why,
    Handler,
    Code,
    Level,
    Stream,
    Thread,
}

impl Label {
    /// Its name on the page.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Version => "version",
            Self::Os => "os",
            Self::Arch => "arch",
            Self::State => "state",
            Self::To => "to",
            Self::Reason => "reason",
            Self::Cause | Self::IncidentCause => "cause",
            Self::Start => "start",
            Self::StartKind => "kind",
            Self::Probe => "probe",
            Self::ProbeResult | Self::HookResult | Self::DrillResult => "result",
            Self::Hook => "hook",
            Self::Why => "why",
            Self::Handler => "handler",
            Self::Code => "code",
            Self::Level => "level",
            Self::Stream => "stream",
            Self::Thread => "thread",
        }
    }

    /// Every word it can have; none for `service`, whose value is the configured name.
    pub fn words(self) -> Vec<&'static str> {
        match self {
            Self::Service => Vec::new(),
            Self::Version => vec![env!("CARGO_PKG_VERSION")],
            Self::Os => vec![std::env::consts::OS],
            Self::Arch => vec![std::env::consts::ARCH],
            Self::State | Self::To => State::ALL.iter().map(|state| state.label()).collect(),
            Self::Reason => restart_reasons(),
            Self::Cause => Cause::ALL.iter().map(|cause| cause.label()).collect(),
            Self::IncidentCause => incident_causes(),
            Self::DrillResult => DrillResult::ALL.iter().map(|result| result.label()).collect(),
            Self::StartKind => supervisor::Start::ALL.iter().map(|start| start.label()).collect(),
            Self::Start => LaunchKind::ALL.iter().map(|kind| kind.label()).collect(),
            Self::Probe => Role::ALL.iter().map(|role| role.label()).collect(),
            Self::ProbeResult => probe_results(),
            Self::Hook => {
                [Program::BootHook, Program::Repair].into_iter().filter_map(hook).collect()
            }
            Self::HookResult => HookResult::ALL.iter().map(|result| result.label()).collect(),
            Self::Why => Why::ALL.iter().map(|why| why.label()).collect(),
            Self::Handler => Handler::ALL.iter().map(|handler| handler.label()).collect(),
            Self::Code => CODES.to_vec(),
            Self::Level => LEVELS.to_vec(),
            Self::Stream => Stream::ALL.iter().map(|stream| stream.label()).collect(),
            Self::Thread => crate::threads::NAMES.to_vec(),
        }
    }
}

/// The levels whose log lines are counted.
pub(super) const LEVELS: &[&str] = &["warn", "error"];

/// The statuses that our own HTTP server answers with.
pub(super) const CODES: &[&str] = &["200", "404", "405", "503"];

/// Whether a launch's way to healthy began cold or was a restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LaunchKind {
    /// The first launch of the run.
    Cold,
    /// Any later one.
    Restart,
}

impl LaunchKind {
    /// Both.
    pub const ALL: &[Self] = &[Self::Cold, Self::Restart];

    /// The value of the `start` label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Restart => "restart",
        }
    }
}

/// How a run of the boot hook or of `repair` ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HookResult {
    /// With code 0.
    Success,
    /// With anything else, or it could not be started.
    Failure,
    /// It was still running at its timeout.
    Timeout,
    /// There was nothing to run.
    Skipped,
}

impl HookResult {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Success, Self::Failure, Self::Timeout, Self::Skipped];

    /// The value of the `result` label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Timeout => "timeout",
            Self::Skipped => "skipped",
        }
    }
}

/// What answered an HTTP request: the route, never the raw path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(
    missing_docs,
    reason = "each is the route of its name, `Events` a part of the page; `Other` is any unknown \
              path or refused method"
)]
pub enum Handler {
    Page,
    Events,
    Metrics,
    Livez,
    Readyz,
    Status,
    Other,
}

impl Handler {
    /// One for each label.
    pub const ALL: &[Self] =
        &[Self::Page, Self::Metrics, Self::Livez, Self::Readyz, Self::Status, Self::Other];

    /// The value of the `handler` label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Page | Self::Events => "page",
            Self::Metrics => "metrics",
            Self::Livez => "livez",
            Self::Readyz => "readyz",
            Self::Status => "status",
            Self::Other => "other",
        }
    }

    /// The statuses it can answer with.
    pub const fn codes(self) -> &'static [&'static str] {
        match self {
            Self::Page | Self::Events | Self::Metrics | Self::Status => &["200"],
            Self::Livez | Self::Readyz => &["200", "503"],
            Self::Other => &["404", "405"],
        }
    }
}

/// The value of the `hook` label, for programs that are hooks.
pub const fn hook(program: Program) -> Option<&'static str> {
    match program {
        Program::BootHook => Some("boot"),
        Program::Repair => Some("repair"),
        Program::Child => None,
    }
}

fn restart_reasons() -> Vec<&'static str> {
    Reason::ALL.iter().filter(|reason| **reason != Reason::Start).map(|r| r.label()).collect()
}

fn incident_causes() -> Vec<&'static str> {
    Cause::ALL.iter().filter(|cause| cause.is_incident()).map(|cause| cause.label()).collect()
}

fn probe_results() -> Vec<&'static str> {
    let pass = supervisor::Verdict::Pass;
    let unknown = supervisor::Verdict::unknown(Why::Lost);
    let failures = FailKind::ALL.iter().map(|kind| kind.label());
    std::iter::once(pass.label()).chain(failures).chain([unknown.label()]).collect()
}

const fn counter(name: &'static str, labels: &'static [Label], help: &'static str) -> Family {
    Family::new(Kind::Counter, name, labels, help)
}

const fn gauge(name: &'static str, labels: &'static [Label], help: &'static str) -> Family {
    Family::new(Kind::Gauge, name, labels, help)
}

const fn histogram(
    name: &'static str,
    labels: &'static [Label],
    buckets: &'static [f64],
    help: &'static str,
) -> Family {
    Family { buckets, ..Family::new(Kind::Histogram, name, labels, help).on_page() }
}

const LAG: &[f64] = &[0.001, 0.005, 0.01, 0.025, 0.1, 1.0, 10.0];
const PROBE: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const HOOK: &[f64] = &[0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
const TO_HEALTHY: &[f64] = &[0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
const RECOVERY: &[f64] =
    &[0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];

/// Declares the metrics and the table of their families in one go, so that neither can lack a row.
macro_rules! table {
    ($($metric:ident = $family:expr;)+) => {
        /// The name by which the program speaks of a metric; see its row in [`TABLE`].
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[expect(missing_docs, reason = "each family has its help")]
        pub enum Metric { $($metric),+ }

        impl Metric {
            /// Every metric, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$metric),+];

            /// Its row.
            pub const fn family(self) -> &'static Family {
                &TABLE[self as usize]
            }
        }

        /// Every family that `/metrics` can show.
        pub const TABLE: &[Family] = &[$($family),+];
    };
}

use Label::{
    Arch, Code, Hook, IncidentCause, Level, Os, ProbeResult, Service, Start, StartKind, Thread, To,
    Version,
};

table! {
    BuildInfo = gauge("rekindle_build_info", &[Version, Os, Arch], "Constant 1, about this build.");
    LoopLag = histogram("rekindle_loop_lag_seconds", &[], LAG,
        "How late the supervision loop woke up.");
    LoopLastTick = gauge("rekindle_loop_last_tick_timestamp_seconds", &[],
        "When the supervision loop last turned; it may sleep until something is due.").on_page();
    LoopOverdue = gauge("rekindle_loop_overdue_seconds", &[],
        "How far the supervision loop is behind what was due, 0 while it is on time.").on_page();
    HttpRequests = counter("rekindle_http_requests_total", &[Label::Handler, Code],
        "HTTP requests answered, by route and status.");
    HttpBindFailures = counter("rekindle_http_bind_failures_total", &[],
        "Failed attempts to listen, because the address was busy or unusable.");
    LogMessages = counter("rekindle_log_messages_total", &[Level],
        "Log messages written, from warnings up.");
    LogDropped = counter("rekindle_log_dropped_lines_total", &[],
        "Log lines dropped because stderr was not being read.");
    ThreadPanics = counter("rekindle_thread_panics_total", &[Thread],
        "Panics of helper threads; each was started again.");
    SupervisorStarts = counter("rekindle_supervisor_starts_total", &[StartKind],
        "Starts of the supervisor, by how the run before it had ended.").kept();
    StopsCutShort = counter("rekindle_supervisor_stops_cut_short_total", &[],
        "Runs that ended while they were stopping the service: it was not given the time.").kept();
    LastPowerCycle = gauge("rekindle_last_power_cycle_timestamp_seconds", &[],
        "When the supervisor came back from the last power cycle, 0 before any.").kept();
    StateDurable = gauge("rekindle_state_durable", &[],
        "1 if what is remembered outlives the sandbox and could be written the last time, else 0.");
    StateHeartbeat = gauge("rekindle_state_heartbeat_timestamp_seconds", &[],
        "When the state file was last written, 0 before.");
    StateWriteErrors = counter("rekindle_state_write_errors_total", &[],
        "Failed writes to the state directory.");
    StateWriteDuration = gauge("rekindle_state_write_duration_seconds", &[],
        "How long the last write of the state file took, syncing included.");
    ConfigFileValid = gauge("rekindle_config_file_valid", &[],
        "1 if a start from the configuration and hook that are on disk now would work, else 0.");
    ConfigFileDiffers = gauge("rekindle_config_file_differs", &[],
        "1 if the configuration on disk is not the one that runs, else 0.");
    StaleEvents = counter("rekindle_stale_events_total", &[Service],
        "News about launches that were over, dropped.");

    ProcessCpu = counter("process_cpu_seconds_total", &[],
        "Processor time of the supervisor itself.").on_page().optional();
    ProcessResident = gauge("process_resident_memory_bytes", &[],
        "Resident memory of the supervisor itself.").on_page().optional();
    ProcessVirtual = gauge("process_virtual_memory_bytes", &[],
        "Virtual memory of the supervisor itself.").on_page().optional();
    ProcessOpenFds = gauge("process_open_fds", &[],
        "Open file descriptors of the supervisor itself.").on_page().optional();
    ProcessMaxFds = gauge("process_max_fds", &[],
        "Soft limit on the supervisor's own file descriptors.").on_page().optional();
    ProcessThreads = gauge("process_threads", &[],
        "Threads of the supervisor itself.").on_page().optional();
    ProcessStartTime = gauge("process_start_time_seconds", &[],
        "When the supervisor itself was started.").on_page().optional();

    ServiceState = gauge("rekindle_service_state", &[Service, Label::State],
        "1 for the state that the service is in, 0 for the others.").on_page();
    ServiceUp = gauge("rekindle_service_up", &[Service], "1 if the service is healthy, else 0.")
        .on_page();
    ServiceReady = gauge("rekindle_service_ready", &[Service],
        "1 if the service is healthy and its readiness probe, if any, passes, else 0.").on_page();
    Transitions = counter("rekindle_service_transitions_total", &[Service, To],
        "Changes of state, by the state entered.");
    Restarts = counter("rekindle_restarts_total", &[Service, Label::Reason],
        "Launches of a replacement child, by why the previous attempt ended.").kept();
    RestartsAvoided = counter("rekindle_restarts_avoided_total", &[Service, Label::Why],
        "Failures that would have restarted the child but were not believed, by why.");
    SpawnFailures = counter("rekindle_child_spawn_failures_total", &[Service],
        "Programs of the service that could not be started.");
    LastExitCode = gauge("rekindle_child_last_exit_code", &[Service],
        "Code of the child's last exit, 128 + n for signal n, -1 before any.").kept();
    LastExitTime = gauge("rekindle_child_last_exit_timestamp_seconds", &[Service],
        "When the child last exited, 0 before any.").kept();
    Backoff = gauge("rekindle_restart_backoff_seconds", &[Service],
        "Delay before the scheduled attempt, 0 if none is scheduled.");
    NextRestart = gauge("rekindle_next_restart_timestamp_seconds", &[Service],
        "When the scheduled attempt is due, 0 if none is scheduled.");
    Attempt = gauge("rekindle_restart_attempt", &[Service],
        "Number of the current attempt since the last stable run, from 1.");
    BudgetRemaining = gauge("rekindle_restart_budget_remaining", &[Service],
        "Restarts left within the window, where `max_restarts` is set.").optional();
    Uptime = counter("rekindle_uptime_seconds_total", &[Service],
        "Seconds that the service was up.").on_page().kept();
    Downtime = counter("rekindle_downtime_seconds_total", &[Service, Label::Cause],
        "Seconds that the service was not up, by cause; grows during an outage.")
        .on_page().kept();
    Incidents = counter("rekindle_incidents_total", &[Service, IncidentCause],
        "Outages that began while the service was up, by cause.").kept();
    LastIncident = gauge("rekindle_last_incident_timestamp_seconds", &[Service],
        "When the last incident began, 0 before any.").kept();
    DrillActive = gauge("rekindle_drill_active", &[Service],
        "1 while a drill of the running service is not over, else 0.").on_page();
    Drills = counter("rekindle_drills_total", &[Service, Label::DrillResult],
        "Drills of the running service, by their result.").kept();
    LastDrill = gauge("rekindle_last_drill_timestamp_seconds", &[Service],
        "When the last drill of the running service was over, 0 before any.").kept();
    LastDrillSuccess = gauge("rekindle_last_drill_success", &[Service],
        "1 if the last drill of the running service was a success, else 0.").kept();
    OutageStart = gauge("rekindle_outage_start_timestamp_seconds", &[Service],
        "When the current outage began, 0 if there is none; a run begins with one.");
    Recovery = histogram("rekindle_recovery_duration_seconds", &[Service], RECOVERY,
        "From the beginning of an incident until the service was healthy again.");
    LastRecovery = gauge("rekindle_last_recovery_duration_seconds", &[Service],
        "Duration of the last recovery, 0 before any.").kept();
    LastRecoveryTime = gauge("rekindle_last_recovery_timestamp_seconds", &[Service],
        "When the last recovery was complete, 0 before any.").kept();
    PowerOnToHealthy = gauge("rekindle_last_power_cycle_recovery_seconds", &[Service],
        "From the host's boot until the service was healthy, at the last power cycle; 0 before any.")
        .kept();
    TimeToHealthy = histogram("rekindle_time_to_healthy_seconds", &[Service, Start], TO_HEALTHY,
        "From the start of the child until it was healthy.");
    RecoveryObjective = gauge("rekindle_recovery_objective_seconds", &[Service],
        "The configured recovery time objective.").optional();

    ProbeAttempts = counter("rekindle_probe_attempts_total", &[Service, Label::Probe, ProbeResult],
        "Probes answered, by what they said.");
    ProbeDuration = histogram("rekindle_probe_duration_seconds", &[Service, Label::Probe], PROBE,
        "How long probes took, timeouts included.");
    ProbeSuccess = gauge("rekindle_probe_success", &[Service, Label::Probe],
        "1 if the last conclusive probe passed, else 0.");
    ProbeFailures = gauge("rekindle_probe_consecutive_failures", &[Service, Label::Probe],
        "Failures in a row.");
    ProbeLastSuccess = gauge("rekindle_probe_last_success_timestamp_seconds",
        &[Service, Label::Probe], "When a probe last passed, 0 before any.");
    ProbeTimeout = gauge("rekindle_probe_timeout_seconds", &[Service, Label::Probe],
        "The configured timeout of one probe.");
    ProbeThreshold = gauge("rekindle_probe_failure_threshold", &[Service, Label::Probe],
        "The configured number of failures in a row that counts.");
    ProbeBlind = gauge("rekindle_probe_blind", &[Service, Label::Probe],
        "1 if the probe could not tell anything about this launch for ten periods, else 0.");

    HookRuns = counter("rekindle_hook_runs_total", &[Service, Hook, Label::HookResult],
        "Runs of the boot hook and of `repair`, by result.");
    HookDuration = histogram("rekindle_hook_duration_seconds", &[Service, Hook], HOOK,
        "How long runs of the boot hook and of `repair` took.");
    HookLastSuccess = gauge("rekindle_hook_last_success_timestamp_seconds", &[Service, Hook],
        "When the hook last succeeded, 0 before any.");

    OutputDropped = counter("rekindle_output_dropped_bytes_total", &[Service, Label::Stream],
        "Bytes of the child's output dropped because ours was not being read.");
    ChildCpu = counter("rekindle_child_cpu_seconds_total", &[Service],
        "Processor time of the child and its living descendants; starts over with each child.")
        .on_page().optional();
    ChildResident = gauge("rekindle_child_resident_memory_bytes", &[Service],
        "Resident memory of the child and its descendants.").on_page().optional();
    ChildOpenFds = gauge("rekindle_child_open_fds", &[Service],
        "Open file descriptors of the child's main process.").on_page().optional();
    ChildMaxFds = gauge("rekindle_child_max_fds", &[Service],
        "Soft limit on file descriptors of the child's main process.").on_page().optional();
    ChildThreads = gauge("rekindle_child_threads", &[Service],
        "Threads of the child and its descendants.").on_page().optional();
    ChildProcesses = gauge("rekindle_child_processes", &[Service],
        "The child and its descendants.").on_page().optional();
    ChildStartTime = gauge("rekindle_child_start_time_seconds", &[Service],
        "When the child's main process was started.").on_page().optional();
    ChildOomKills = counter("rekindle_child_oom_kills_total", &[Service],
        "Kills for lack of memory in the child's memory cgroup, as the kernel counts them there.")
        .on_page().optional();
}
