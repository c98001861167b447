//! What both stages hand in, second by second, and what is made of it: steady state, times, false alarms, verdict.
//!
//! The referee looks at what the guard publishes and at what the clients saw; it takes no part. One referee for both
//! stages, so that a number means the same on both. Times have the grain of a second.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_guard::GuardView;
use evenkeel_model::blame::Cause;
use evenkeel_model::clock::Wall;
use evenkeel_model::config::Objective;
use evenkeel_model::ids::{IncidentId, RevisionId};
use evenkeel_model::record::{IncidentKind, IncidentRecord, RevisionState};

use crate::outcome::{ActionTaken, Diagnosis, Moment, Outcome};
use crate::scenario::{Condition, Scenario, Stage};

mod verdict;

/// Restored: well for this many seconds.
const WELL_SECONDS: u32 = 5;
/// Share of requests that may be slower than the objective's p99.
const SLOW_SHARE: f64 = 0.01;
/// Most lines of a timeline.
pub(crate) const TIMELINE_MAX: usize = 500;

/// What became of the requests of one pool in the last second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    /// Ended.
    pub(crate) ended: u64,
    /// Failed.
    pub(crate) failed: u64,
    /// Slower than the objective.
    pub(crate) slow: u64,
}

/// Requests since the start, as the clients saw them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counted {
    /// Ended.
    pub(crate) requests: u64,
    /// Of these, failed.
    pub(crate) failed: u64,
    /// Of these, failed or slow.
    pub(crate) harmed: u64,
}

/// Watches one run.
#[derive(Debug)]
pub(crate) struct Referee<'s> {
    scenario: &'s Scenario,
    stage: Stage,
    seed: u64,
    started: Wall,
    now: Wall,
    /// The steady state.
    zero: Option<Wall>,
    steady_since: Option<Wall>,
    last_trouble: String,
    fault: Option<Wall>,
    /// Counts at the fault (or the steady state), and now.
    base: Counted,
    counted: Counted,
    first_revision: Option<RevisionId>,
    injected_revision: Option<RevisionId>,
    revision_at: Option<Wall>,
    verified_at: Option<Wall>,
    incidents: BTreeMap<IncidentId, IncidentRecord>,
    main: Option<IncidentId>,
    blamed: BTreeSet<(IncidentId, Cause)>,
    unwell_seen: bool,
    well_since: Option<(Wall, u32)>,
    restored: Option<Wall>,
    running: Option<RevisionId>,
    state: Option<RevisionState>,
    failures: Vec<String>,
    timeline: Vec<(Wall, String)>,
    notes: Vec<String>,
}

impl<'s> Referee<'s> {
    pub(crate) fn new(scenario: &'s Scenario, stage: Stage, seed: u64, now: Wall) -> Self {
        Self {
            scenario,
            stage,
            seed,
            started: now,
            now,
            zero: None,
            steady_since: None,
            last_trouble: "no traffic was seen".to_owned(),
            fault: None,
            base: Counted::default(),
            counted: Counted::default(),
            first_revision: None,
            injected_revision: None,
            revision_at: None,
            verified_at: None,
            incidents: BTreeMap::new(),
            main: None,
            blamed: BTreeSet::new(),
            unwell_seen: false,
            well_since: None,
            restored: None,
            running: None,
            state: None,
            failures: Vec::new(),
            timeline: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// A line for the timeline.
    pub(crate) fn note_moment(&mut self, at: Wall, what: String) {
        if self.timeline.len() < TIMELINE_MAX {
            self.timeline.push((at, what));
        }
    }

    /// The timeline so far, for a reader who waits.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |(at, what): &(Wall, String)| {
            if self.zero.is_some() {
                format!("{:6.1} s  {what}", self.offset(*at))
            } else {
                what.clone()
            }
        };
        self.timeline.iter().map(line).collect()
    }

    /// Something that a reader of the outcome should know.
    pub(crate) fn note(&mut self, what: String) {
        if !self.notes.contains(&what) {
            self.notes.push(what);
        }
    }

    /// Something that fails the run, besides what is expected at its end.
    pub(crate) fn fail(&mut self, what: String) {
        self.failures.push(what);
    }

    /// The fault was injected now.
    pub(crate) fn injected(&mut self, at: Wall, counted: Counted) {
        self.fault = Some(at);
        self.base = counted;
    }

    /// A revision was applied by the step that injects, or by any step when none does.
    pub(crate) fn applied(&mut self, revision: RevisionId, at: Wall, by_injected: bool) {
        if by_injected || self.scenario.injected().is_none() {
            self.injected_revision = Some(revision);
            self.revision_at = Some(at);
            self.verified_at = None;
        }
    }

    /// Whether the steady state was reached.
    pub(crate) fn is_steady(&self) -> bool {
        self.zero.is_some()
    }

    /// Takes in one second. `seen` has one entry per pool that could be measured.
    pub(crate) fn second(
        &mut self,
        at: Wall,
        view: &GuardView,
        seen: &[(Objective, Seen)],
        counted: Counted,
    ) {
        self.now = at;
        self.counted = counted;
        self.first_revision.get_or_insert(view.revision);
        self.follow_revisions(at, view);
        for incident in &view.incidents {
            self.follow_incident(at, incident);
        }
        let trouble = trouble(view, seen);
        if self.zero.is_none() {
            self.settle(at, trouble.as_deref());
        } else if self.fault.is_some_and(|fault| at > fault) {
            self.recover(at, trouble.is_none());
        }
        if let Some(trouble) = trouble {
            self.last_trouble = trouble;
        }
    }

    fn settle(&mut self, at: Wall, trouble: Option<&str>) {
        if trouble.is_some() {
            self.steady_since = None;
            return;
        }
        let since = *self.steady_since.get_or_insert(at);
        if at.since(since) >= self.scenario.steady.hold.0 {
            self.zero = Some(at);
            self.base = self.counted;
            self.note_moment(at, "steady state".to_owned());
        }
    }

    fn recover(&mut self, at: Wall, well: bool) {
        if !well {
            self.unwell_seen = true;
            self.well_since = None;
            return;
        }
        let (since, seconds) = self.well_since.unwrap_or((at, 0));
        self.well_since = Some((since, seconds + 1));
        if self.unwell_seen && self.restored.is_none() && seconds + 1 >= WELL_SECONDS {
            self.restored = Some(since);
            self.note_moment(
                at,
                format!("restored, well since {:.0} s", self.offset(since)),
            );
        }
    }

    fn follow_revisions(&mut self, at: Wall, view: &GuardView) {
        if self.running != Some(view.revision) || self.state != Some(view.revision_state) {
            let what = format!("running {} ({})", view.revision, view.revision_state);
            self.note_moment(at, what);
            self.running = Some(view.revision);
            self.state = Some(view.revision_state);
        }
        if let Some(revision) = self.injected_revision
            && self.verified_at.is_none()
        {
            let verified = view.revisions.iter().any(|r| {
                r.id == revision
                    && matches!(r.state, RevisionState::Verified | RevisionState::Confirmed)
            });
            self.verified_at = verified.then_some(at);
        }
    }

    fn follow_incident(&mut self, at: Wall, incident: &IncidentRecord) {
        if incident.kind == IncidentKind::Test {
            return;
        }
        let before = self.incidents.insert(incident.id, incident.clone());
        let id = incident.id;
        if before.is_none() {
            let what = format!("incident {id} opened: {}", incident.title);
            self.note_moment(incident.detected_at, what);
            let after_fault = self
                .fault
                .is_some_and(|fault| incident.detected_at >= fault);
            if self.main.is_none() && after_fault && !self.scenario.expect.silent {
                self.main = Some(id);
                self.unwell_seen = true;
                self.restored = None;
                self.well_since = None;
            }
        }
        let said = |record: &IncidentRecord| {
            let diagnosis = record.diagnosis.as_ref()?;
            let subject = diagnosis.subject.as_ref().map(ToString::to_string);
            Some((diagnosis.cause, diagnosis.mechanism, subject))
        };
        let (old, new) = (before.as_ref().and_then(&said), said(incident));
        if let Some((cause, mechanism, subject)) = new.clone().filter(|_| old != new) {
            let subject = subject.unwrap_or_else(|| "nobody".to_owned());
            self.note_moment(
                at,
                format!("{id} diagnosed: {cause}, {mechanism}, {subject}"),
            );
            let forbidden = &self.scenario.expect.not_blamed;
            if forbidden.iter().any(|word| Cause::from(*word) == cause) {
                self.blamed.insert((id, cause));
            }
        }
        let known = before.as_ref().map_or(0, |b| b.actions.len());
        for action in incident.actions.iter().skip(known) {
            let what = format!(
                "{id} {}: {} ({})",
                action.kind, action.detail, action.outcome
            );
            self.note_moment(action.at, what);
        }
        if let Some(acknowledged) = incident.acknowledged_at
            && before.as_ref().is_none_or(|b| b.acknowledged_at.is_none())
        {
            let who = incident.acknowledged_by.as_deref().unwrap_or("somebody");
            self.note_moment(acknowledged, format!("{id} acknowledged by {who}"));
        }
        if before.as_ref().is_none_or(|b| b.status != incident.status) {
            self.note_moment(at, format!("{id} {}", incident.status));
        }
    }

    /// Whether `condition` holds now. `Previous` is the caller's.
    pub(crate) fn holds(&self, condition: Condition) -> bool {
        let incidents = || self.incidents.values();
        match condition {
            Condition::Previous => false,
            Condition::Detected => incidents().any(|i| i.resolved_at.is_none()),
            Condition::Diagnosed => incidents().any(|i| {
                i.diagnosis
                    .as_ref()
                    .is_some_and(|d| d.cause != Cause::Unknown)
            }),
            Condition::RolledBack => incidents().any(|i| {
                i.actions
                    .iter()
                    .any(|a| a.kind == "rollback" && a.outcome == "done")
            }),
            Condition::Restored => self.restored.is_some(),
            Condition::Verified => {
                self.running != self.first_revision
                    && matches!(
                        self.state,
                        Some(RevisionState::Verified | RevisionState::Confirmed)
                    )
            }
            Condition::Held => self.state == Some(RevisionState::Held),
        }
    }

    /// Seconds from the steady state.
    fn offset(&self, at: Wall) -> f64 {
        let zero = self.zero.unwrap_or(self.now);
        if at >= zero {
            at.since(zero).as_secs_f64()
        } else {
            -zero.since(at).as_secs_f64()
        }
    }

    fn since_fault(&self, at: Wall) -> f64 {
        let from = self.fault.or(self.zero).unwrap_or(self.started);
        at.since(from).as_secs_f64()
    }
}

/// What keeps a second from being well; `None`: every verdict is ok or explained and the objective met.
fn trouble(view: &GuardView, seen: &[(Objective, Seen)]) -> Option<String> {
    let mut any = false;
    for pool in view
        .pools
        .iter()
        .filter(|p| p.rps.is_some_and(|rps| rps > 0.0))
    {
        any = true;
        for backend in &pool.backends {
            if !backend.verdict.is_fine() {
                let (name, verdict) = (&backend.name, backend.verdict.as_str());
                return Some(format!("{name} of pool `{}` is {verdict}", pool.name));
            }
        }
    }
    for (objective, seen) in seen {
        let errors = objective.error_rate.as_f64();
        if exceeds(seen.failed, seen.ended, errors) {
            return Some(format!("{} of {} requests failed", seen.failed, seen.ended));
        }
        if exceeds(seen.slow, seen.ended, SLOW_SHARE) {
            return Some(format!(
                "{} of {} requests were slow",
                seen.slow, seen.ended
            ));
        }
    }
    (!any).then(|| "no traffic was seen".to_owned())
}

/// Whether `hits` of `of` exceed `rate` beyond what chance explains in one second (about 1 %, one-sided).
fn exceeds(hits: u64, of: u64, rate: f64) -> bool {
    let mean = rate * of as f64;
    hits as f64 > mean + 2.33 * mean.sqrt() + 0.5
}
