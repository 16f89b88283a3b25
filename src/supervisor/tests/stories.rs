//! Whole lives, as an operator would read them.

use super::*;

/// A life with the default policy, told line by line.
struct Story {
    core: Supervisor,
    now: Moment,
    lines: Vec<String>,
}

impl Story {
    fn new() -> Self {
        let core = Supervisor::new(defaults(), Dice::Fixed(500));
        Self { core, now: Moment::ZERO, lines: vec![] }
    }

    /// One whose service is healthy since long ago; the clock shows 1000 s.
    fn of_a_healthy_service() -> Self {
        let mut story = Self::new();
        story.starts();
        story.boots_and_launches();
        story.answers(0.1, Role::Startup, Verdict::Pass);
        story.passes_until(1000.0);
        story.lines = vec!["            … healthy for long …".to_owned()];
        story
    }

    fn happens(&mut self, event: Event) {
        let from = self.core.state();
        let actions = self.core.on(self.now, event);
        self.lines.push(line(self.now, event, from, self.core.state(), &actions));
    }

    fn after(&mut self, seconds: f64, event: Event) {
        self.now = self.now + Duration::from_secs_f64(seconds);
        self.happens(event);
    }

    /// Time passes until the next deadline.
    fn waits(&mut self) {
        self.now = self.core.deadline().expect("there is something to wait for");
        self.happens(Event::Tick);
    }

    fn starts(&mut self) {
        self.happens(Event::Start);
        self.after(0.1, Event::Swept { port: FREE });
    }

    fn spawns(&mut self) {
        self.happens(Event::Spawned(self.core.launched));
    }

    fn exits(&mut self, after: f64, exit: Exit) {
        self.after(after, Event::Exited { id: self.core.launched, exit });
    }

    fn tree_goes(&mut self, after: f64) {
        self.after(after, Event::Gone(self.core.launched));
    }

    fn answers(&mut self, after: f64, role: Role, verdict: Verdict) {
        let (id, probe) = (self.core.launched, self.core.probed);
        self.after(after, Event::Probed { id, role, probe, verdict });
    }

    fn boots_and_launches(&mut self) {
        self.spawns();
        self.exits(1.2, Exit::Code(0));
        self.spawns();
        self.waits();
    }

    /// Probes pass, and nobody listens.
    fn passes_until(&mut self, until: f64) {
        let mut heard = self.lines.len();
        while self.core.deadline().expect("probed") < at(until) {
            self.waits();
            if followed_by_a_probe(self.lines.last()) {
                self.answers(0.05, Role::Liveness, Verdict::Pass);
            }
            // What is more than an ordinary passing probe stays in the story.
            let told = self.lines.split_off(heard);
            self.lines.extend(
                told.into_iter().filter(|told| told.ends_with("led") || told.ends_with("stable")),
            );
            heard = self.lines.len();
        }
        self.now = at(until);
    }

    fn told(&self) -> String {
        format!("{}\n{}", heading(), self.lines.join("\n"))
    }
}

fn followed_by_a_probe(line: Option<&String>) -> bool {
    line.is_some_and(|line| line.ends_with("probe liveness"))
}

#[test]
fn a_crash_is_healed() {
    let mut story = Story::new();
    story.starts();
    story.boots_and_launches();
    story.answers(0.001, Role::Startup, Verdict::Fail(FailKind::Refused));
    story.waits();
    story.answers(0.02, Role::Startup, Verdict::Pass);
    story.passes_until(100.0);
    story.exits(0.0, Exit::Signal(11));
    story.tree_goes(0.01);
    story.waits();
    story.boots_and_launches();
    story.answers(0.02, Role::Startup, Verdict::Pass);
    story.passes_until(200.0);
    insta::assert_snapshot!(story.told(), @r"
    time        event                      state      → state       then
         0.000  start                      stopped    → boot_hook   sweep
         0.100  swept                      boot_hook  → boot_hook   spawn boot_hook #1 (start, attempt 1)
         0.100  spawned #1                 boot_hook  → boot_hook   boot_hook #1 runs
         1.300  exited #1 code 0           boot_hook  → starting    boot_hook ended well; spawn child #2 (start, attempt 1)
         1.300  spawned #2                 starting   → starting    child #2 runs
         1.550  tick                       starting   → starting    probe startup
         1.551  startup: refused           starting   → starting    not ready, 599.749 s left
         2.050  tick                       starting   → starting    probe startup
         2.070  startup: pass              starting   → healthy     healthy, unsettled
        12.070  tick                       healthy    → healthy     settled
        62.070  tick                       healthy    → healthy     stable
       100.000  exited #2 signal 11        healthy    → stopping    ended by itself: signal 11; send term to tree #2
       100.010  tree gone #2               stopping   → backoff     tree is gone; attempt 1 in 0 s
       100.010  tick                       backoff    → boot_hook   spawn boot_hook #3 (signal, attempt 1)
       100.010  spawned #3                 boot_hook  → boot_hook   boot_hook #3 runs
       101.210  exited #3 code 0           boot_hook  → starting    boot_hook ended well; spawn child #4 (signal, attempt 1)
       101.210  spawned #4                 starting   → starting    child #4 runs
       101.460  tick                       starting   → starting    probe startup
       101.480  startup: pass              starting   → healthy     healthy, unsettled
       111.480  tick                       healthy    → healthy     settled
       161.480  tick                       healthy    → healthy     stable
    ");
}

#[test]
fn a_hang_is_healed() {
    let mut story = Story::of_a_healthy_service();
    for _ in 0..3 {
        story.waits();
        story.answers(5.0, Role::Liveness, FAIL);
    }
    story.waits();
    story.exits(0.01, Exit::Signal(9));
    story.tree_goes(0.01);
    story.waits();
    story.boots_and_launches();
    story.answers(0.02, Role::Startup, Verdict::Pass);
    insta::assert_snapshot!(story.told(), @r"
    time        event                      state      → state       then
                … healthy for long …
      1006.650  tick                       healthy    → healthy     probe liveness
      1011.650  liveness: timeout          healthy    → healthy     liveness failed 1 of 3
      1016.650  tick                       healthy    → healthy     probe liveness
      1021.650  liveness: timeout          healthy    → healthy     liveness failed 2 of 3
      1026.650  tick                       healthy    → healthy     probe liveness
      1031.650  liveness: timeout          healthy    → degraded    liveness failed 3 of 3; unhealthy after 3 (timeout); taking down: probe_failed; send stop to main #2
      1036.650  tick                       degraded   → degraded    grace is over; send kill to tree #2
      1036.660  exited #2 signal 9         degraded   → degraded    ended as told: signal 9
      1036.670  tree gone #2               degraded   → backoff     tree is gone; attempt 1 in 0 s
      1036.670  tick                       backoff    → boot_hook   spawn boot_hook #3 (probe_failed, attempt 1)
      1036.670  spawned #3                 boot_hook  → boot_hook   boot_hook #3 runs
      1037.870  exited #3 code 0           boot_hook  → starting    boot_hook ended well; spawn child #4 (probe_failed, attempt 1)
      1037.870  spawned #4                 starting   → starting    child #4 runs
      1038.120  tick                       starting   → starting    probe startup
      1038.140  startup: pass              starting   → healthy     healthy, unsettled
    ");
}

#[test]
fn a_hook_fails_twice_and_then_ends_well() {
    let mut story = Story::new();
    story.starts();
    for _ in 0..2 {
        story.spawns();
        story.exits(0.5, Exit::Code(1));
        story.tree_goes(0.01);
        story.waits();
    }
    story.boots_and_launches();
    story.answers(0.02, Role::Startup, Verdict::Pass);
    insta::assert_snapshot!(story.told(), @r"
    time        event                      state      → state       then
         0.000  start                      stopped    → boot_hook   sweep
         0.100  swept                      boot_hook  → boot_hook   spawn boot_hook #1 (start, attempt 1)
         0.100  spawned #1                 boot_hook  → boot_hook   boot_hook #1 runs
         0.600  exited #1 code 1           boot_hook  → stopping    boot_hook failed: code 1; taking down: hook_failed; send kill to tree #1
         0.610  tree gone #1               stopping   → backoff     tree is gone; attempt 2 in 0.5 s
         1.110  tick                       backoff    → boot_hook   spawn boot_hook #2 (hook_failed, attempt 2)
         1.110  spawned #2                 boot_hook  → boot_hook   boot_hook #2 runs
         1.610  exited #2 code 1           boot_hook  → stopping    boot_hook failed: code 1; taking down: hook_failed; send kill to tree #2
         1.620  tree gone #2               stopping   → backoff     tree is gone; attempt 3 in 1 s
         2.620  tick                       backoff    → boot_hook   spawn boot_hook #3 (hook_failed, attempt 3)
         2.620  spawned #3                 boot_hook  → boot_hook   boot_hook #3 runs
         3.820  exited #3 code 0           boot_hook  → starting    boot_hook ended well; spawn child #4 (hook_failed, attempt 3)
         3.820  spawned #4                 starting   → starting    child #4 runs
         4.070  tick                       starting   → starting    probe startup
         4.090  startup: pass              starting   → healthy     healthy, unsettled
    ");
}

#[test]
fn a_child_never_comes_up() {
    let mut story = Story::new();
    story.starts();
    story.boots_and_launches();
    let heard = story.lines.len();
    while story.core.state() == State::Starting {
        story.answers(0.001, Role::Startup, Verdict::Fail(FailKind::Refused));
        story.waits();
    }
    let told = story.lines.split_off(heard);
    story.lines.push(told[0].clone());
    story.lines.push("            … refused twice a second …".to_owned());
    story.lines.extend(told.last().cloned());
    story.exits(0.3, Exit::Code(0));
    story.tree_goes(0.01);
    story.happens(Event::PortChecked { id: story.core.launched, holder: STRANGER });
    story.waits();
    insta::assert_snapshot!(story.told(), @r"
    time        event                      state      → state       then
         0.000  start                      stopped    → boot_hook   sweep
         0.100  swept                      boot_hook  → boot_hook   spawn boot_hook #1 (start, attempt 1)
         0.100  spawned #1                 boot_hook  → boot_hook   boot_hook #1 runs
         1.300  exited #1 code 0           boot_hook  → starting    boot_hook ended well; spawn child #2 (start, attempt 1)
         1.300  spawned #2                 starting   → starting    child #2 runs
         1.550  tick                       starting   → starting    probe startup
         1.551  startup: refused           starting   → starting    not ready, 599.749 s left
                … refused twice a second …
       601.300  tick                       starting   → stopping    never ready; taking down: startup_timeout; send stop to main #2
       601.600  exited #2 code 0           stopping   → stopping    ended as told: code 0; send term to tree #2
       601.610  tree gone #2               stopping   → backoff     tree is gone; attempt 2 in 0.5 s; check port
       601.610  port held by 4711          backoff    → slow_retry  port held by 4711; attempt 2 in 300 s, slow: port_held
       901.610  tick                       slow_retry → boot_hook   spawn boot_hook #3 (startup_timeout, attempt 2)
    ");
}

#[test]
fn a_stop_comes_while_backing_off() {
    let mut story = Story::of_a_healthy_service();
    story.exits(0.0, Exit::Code(1));
    story.tree_goes(0.01);
    story.waits();
    story.spawns();
    story.exits(0.1, Exit::Code(2));
    story.tree_goes(0.01);
    story.after(0.2, Event::StopRequested);
    insta::assert_snapshot!(story.told(), @r"
    time        event                      state      → state       then
                … healthy for long …
      1000.000  exited #2 code 1           healthy    → stopping    ended by itself: code 1; send term to tree #2
      1000.010  tree gone #2               stopping   → backoff     tree is gone; attempt 1 in 0 s
      1000.010  tick                       backoff    → boot_hook   spawn boot_hook #3 (exit, attempt 1)
      1000.010  spawned #3                 boot_hook  → boot_hook   boot_hook #3 runs
      1000.110  exited #3 code 2           boot_hook  → stopping    boot_hook failed: code 2; taking down: hook_failed; send kill to tree #3
      1000.120  tree gone #3               stopping   → backoff     tree is gone; attempt 2 in 0.5 s
      1000.320  stop requested             backoff    → stopped     asked to stop; finished; finish with 0
    ");
}

#[test]
fn frozen_together_and_thawed_nobody_is_hurt() {
    let mut story = Story::of_a_healthy_service();
    story.waits();
    story.after(30.0, Event::Tick);
    story.answers(0.5, Role::Liveness, FAIL);
    story.waits();
    story.answers(5.0, Role::Liveness, FAIL);
    story.waits();
    story.answers(0.01, Role::Liveness, Verdict::Pass);
    insta::assert_snapshot!(story.told(), @r"
    time        event                      state      → state       then
                … healthy for long …
      1006.650  tick                       healthy    → healthy     probe liveness
      1036.650  tick                       healthy    → healthy     late by 24 s
      1037.150  liveness: timeout          healthy    → healthy
      1040.650  tick                       healthy    → healthy     probe liveness
      1045.650  liveness: timeout          healthy    → healthy
      1050.650  tick                       healthy    → healthy     probe liveness
      1050.660  liveness: pass             healthy    → healthy
    ");
}
