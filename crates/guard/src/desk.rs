//! Incidents at work: opened or joined by alarms, fed with impact and diagnosis, recovered, paged, resolved.
//!
//! One incident per fault: a further alarm of the same pool joins it. The rules of its status, its timers and its
//! words live in room `incident`; this module decides when they apply. Harm counts as stopped when every second
//! of five in a row was fine (every verdict ok or explained, the objective met); the moment is the start of the
//! five. It is resolved when the blamed revision no longer runs and what runs has its own evidence, or, for other
//! causes, after a minute of calm.
//!
//! Limits: [`crate::INCIDENTS_KEPT`] incidents in memory, the oldest that are over go first.

use std::time::Duration;

use evenkeel_detect::onset::Onset;
use evenkeel_diagnose::Window;
use evenkeel_incident::escalation::{clock_stepped, escalate, page_event};
use evenkeel_incident::lifecycle::{self, GUARD, is_open};
use evenkeel_incident::notice::{NoticeEvent, of_incident, page};
use evenkeel_incident::severity::{Facts, severity};
use evenkeel_incident::{MoveError, Opening, due};
use evenkeel_model::blame::{Cause, Subject};
use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::ids::{DeploymentId, IncidentId, Name, RevisionId};
use evenkeel_model::record::{
    ActionRecord, Entry, IncidentKind, IncidentRecord, IncidentSeverity, IncidentStatus,
    TimelineEvent,
};
use evenkeel_model::sketch::ClientSketch;

use crate::INCIDENTS_KEPT;
use crate::alarm::{Alarm, AlarmKind};
use crate::evidence::members_moved;
use crate::opinion::Opinion;
use crate::state::Inner;
use crate::verify::Phase;
use crate::watch::PoolWatch;

/// Seconds in a row that must be fine before harm counts as stopped.
const CALM_SECONDS: u32 = 5;
/// Calm after which an incident without a blamed revision is resolved.
const RESOLVE_AFTER: Duration = Duration::from_mins(1);
/// A rollback that did not help by then pages the next level.
const RECOVER_WITHIN: Duration = Duration::from_mins(1);
/// Figures of an open incident are journalled at least this often.
const SAVE_EVERY: Duration = Duration::from_secs(10);
/// What a drain, its end or another member did to a pool shows in its counts by then.
const MOVE_SHOWS_WITHIN: Duration = Duration::from_secs(10);
/// Backends from which a diagnosis is made only every fifth second.
const LARGE_POOL: usize = 100;

/// What the guard did about an incident.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Acted {
    pub(crate) at: Mono,
    /// What it rolled back.
    pub(crate) undone: Option<RevisionId>,
    /// What holds for a while.
    pub(crate) standing: Option<Standing>,
}

/// A remedy that holds for a while.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Standing {
    /// This backend is drained.
    Drain(Name),
    /// This revision waits to be confirmed.
    Revision(RevisionId),
}

/// An incident at work.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Case {
    pub(crate) record: IncidentRecord,
    /// When its fault began.
    pub(crate) onset: Onset,
    /// Requests harmed since the onset.
    harmed: u64,
    /// The quiet stretch before the onset, once it was looked for.
    pub(crate) before: Option<Window>,
    looked_before: bool,
    /// What the pool did between the latest deployments and the onset, looked for at the same time.
    pub(crate) served: Vec<(DeploymentId, Window)>,
    /// Clients since the onset.
    pub(crate) clients: ClientSketch,
    /// A rollback was begun or made for it.
    pub(crate) begun: bool,
    pub(crate) acted: Option<Acted>,
    pub(crate) opinion: Opinion,
    /// What was suggested last, so that it is said once.
    pub(crate) suggested: Option<(String, Mono)>,
    alarms: Vec<AlarmKind>,
    fine: u32,
    fine_since: (Mono, Wall),
    calm_since: Mono,
    escalated: bool,
    lines: Vec<TimelineEvent>,
    saved_at: Mono,
}

/// All incidents in memory.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Desk {
    pub(crate) cases: Vec<Case>,
    next: u64,
    /// Automatic rollbacks: pool, end of its 30 min, end of its day.
    pub(crate) rollbacks: Vec<(Name, Mono, Mono)>,
    /// Other remedies: pool, end of its day.
    pub(crate) treatments: Vec<(Name, Mono)>,
}

impl Desk {
    pub(crate) fn new(
        incidents: Vec<IncidentRecord>,
        next: u64,
        rollbacks: Vec<(Name, Mono, Mono)>,
    ) -> Self {
        let highest = incidents.iter().map(|i| i.id.0).max().unwrap_or(0);
        let mut desk = Self {
            cases: Vec::new(),
            next: next.max(highest + 1),
            rollbacks,
            treatments: Vec::new(),
        };
        for record in incidents {
            desk.cases.push(Case::new(record, None, Mono::ZERO));
        }
        desk.trim();
        desk
    }

    /// The incident `id`.
    pub(crate) fn record(&self, id: IncidentId) -> Option<&IncidentRecord> {
        self.case(id).map(|case| &case.record)
    }

    pub(crate) fn case(&self, id: IncidentId) -> Option<&Case> {
        self.cases.iter().find(|case| case.record.id == id)
    }

    pub(crate) fn case_mut(&mut self, id: IncidentId) -> Option<&mut Case> {
        self.cases.iter_mut().find(|case| case.record.id == id)
    }

    /// The open incident that matters most: worst first, then oldest.
    pub(crate) fn worst(&self) -> Option<&IncidentRecord> {
        let open = self.cases.iter().filter(|c| is_open(c.record.status));
        open.map(|c| &c.record)
            .filter(|r| r.kind != IncidentKind::Test)
            .min_by_key(|r| (r.severity, r.id))
    }

    /// The open incident of `pool`.
    pub(crate) fn open_of(&self, pool: &Name) -> Option<&Case> {
        self.cases
            .iter()
            .find(|c| is_open(c.record.status) && c.record.pool.as_ref() == Some(pool))
    }

    /// Deadlines move along with the clock.
    pub(crate) fn clock_stepped(&mut self, by_ms: i64) {
        for case in &mut self.cases {
            clock_stepped(&mut case.record.escalation, by_ms);
        }
    }

    pub(crate) fn check_invariants(&self) -> Result<(), String> {
        for case in self.cases.iter().filter(|c| is_open(c.record.status)) {
            let same = |c: &&Case| {
                is_open(c.record.status)
                    && c.record.pool == case.record.pool
                    && c.record.kind == case.record.kind
            };
            let twins = self.cases.iter().filter(same).count();
            if case.record.pool.is_some() && twins > 1 {
                return Err(format!("{twins} open incidents of one pool"));
            }
        }
        if self.cases.len() > INCIDENTS_KEPT {
            return Err(format!("{} incidents in memory", self.cases.len()));
        }
        Ok(())
    }

    fn trim(&mut self) {
        while self.cases.len() > INCIDENTS_KEPT {
            let over = self.cases.iter().position(|c| !is_open(c.record.status));
            self.cases.remove(over.unwrap_or(0));
        }
    }
}

impl Case {
    fn new(record: IncidentRecord, onset: Option<Onset>, now: Mono) -> Self {
        let at = Onset {
            lo: now,
            best: now,
            hi: now,
        };
        Self {
            record,
            onset: onset.unwrap_or(at),
            harmed: 0,
            before: None,
            looked_before: false,
            served: Vec::new(),
            clients: ClientSketch::default(),
            begun: false,
            acted: None,
            opinion: Opinion::default(),
            suggested: None,
            alarms: Vec::new(),
            fine: 0,
            fine_since: (now, Wall(0)),
            calm_since: now,
            escalated: false,
            lines: Vec::new(),
            saved_at: now,
        }
    }

    /// Adds what a move of the lifecycle says; a refused move says nothing.
    pub(crate) fn tell(&mut self, moved: Result<Vec<TimelineEvent>, MoveError>) -> bool {
        let done = moved.is_ok();
        self.lines.extend(moved.unwrap_or_default());
        done
    }
}

impl Inner {
    /// Opens or joins incidents for the tests above their thresholds.
    pub(crate) fn check_alarms(&mut self) {
        let names: Vec<Name> = self.pools.keys().cloned().collect();
        for name in names {
            let Some(watch) = self.pools.get(&name) else {
                continue;
            };
            let raised = watch.raised();
            let case = self.desk.open_of(&name);
            let known = |kind: &AlarmKind| {
                case.is_some_and(|c| {
                    c.alarms.contains(kind) && c.record.status != IncidentStatus::Mitigated
                })
            };
            if raised.is_empty() || raised.iter().all(known) {
                continue;
            }
            for alarm in watch.alarms() {
                self.alarmed(&name, &alarm);
            }
        }
    }

    fn alarmed(&mut self, pool: &Name, alarm: &Alarm) {
        let kind = self.kind();
        let fault_at = self.wall_of(alarm.onset.best);
        let Some(watch) = self.pools.get(pool) else {
            return;
        };
        let level = severity(&facts(watch, None));
        let (now, running) = (self.now, self.running.record.id);
        let overlaps = |c: &&mut Case| lifecycle::overlaps(&c.record, kind, Some(pool), fault_at);
        let open = self.desk.cases.iter_mut().rev().find(overlaps);
        if let Some(case) = open {
            let relapsed = matches!(
                case.record.status,
                IncidentStatus::Mitigated | IncidentStatus::Resolved
            );
            if !case.alarms.contains(&alarm.kind) || relapsed {
                case.alarms.push(alarm.kind);
                case.alarms.dedup();
                let text = format!("{}; {}", alarm.title, alarm.detail);
                let lines =
                    lifecycle::join(&mut case.record, &text, Some(fault_at), level, self.wall);
                case.lines.extend(lines);
                case.fine = 0;
                case.calm_since = now;
                if relapsed {
                    case.onset = alarm.onset;
                    case.looked_before = false;
                    // What the rollback restored runs no longer: a new change, to be judged anew.
                    if case.record.revision_after != Some(running) {
                        case.begun = false;
                        case.acted = None;
                        case.suggested = None;
                        case.escalated = false;
                    }
                }
            }
            return;
        }
        let words = (level, alarm.title.clone(), alarm.detail.clone());
        let id = self.open_case(pool, words, alarm.onset);
        if let Some(case) = self.desk.case_mut(id) {
            case.alarms.push(alarm.kind);
        }
    }

    /// Opens an incident of `pool` with a severity, a title and what detected it.
    pub(crate) fn open_case(
        &mut self,
        pool: &Name,
        (level, title, detector): (IncidentSeverity, String, String),
        onset: Onset,
    ) -> IncidentId {
        let id = IncidentId(self.desk.next);
        let opening = Opening {
            id,
            kind: self.kind(),
            severity: level,
            title,
            pool: Some(pool.clone()),
            fault_at: Some(self.wall_of(onset.best)),
            fault_between: Some((self.wall_of(onset.lo), self.wall_of(onset.hi))),
            detected_at: self.wall,
            detector,
            revision: Some(self.running.record.id),
            policy: &self.running.config.escalation,
        };
        let (record, lines) = lifecycle::open(opening);
        let mut case = Case::new(record, Some(onset), self.now);
        case.lines = lines;
        if let Some(watch) = self.pools.get(pool) {
            case.clients = watch.counts.recent_clients();
            // The newest second is added by the first look at the case.
            let newest = watch.harmed_since(self.now.minus(Duration::from_secs(1)));
            case.harmed = watch.harmed_since(onset.lo).saturating_sub(newest);
            let harmed = Some(case.clients.harmed_share());
            lifecycle::impact(&mut case.record, case.harmed, harmed);
        }
        self.enter(case);
        id
    }

    /// An audit found a new error.
    pub(crate) fn audit_incident(&mut self, title: String) {
        let level = severity(&Facts {
            audit_error: true,
            ..Facts::default()
        });
        let kind = self.kind();
        self.open_without_pool(kind, level, title, "the scheduled audit");
    }

    pub(crate) fn open_without_pool(
        &mut self,
        kind: IncidentKind,
        level: IncidentSeverity,
        title: String,
        detector: &str,
    ) -> IncidentId {
        let id = IncidentId(self.desk.next);
        let (record, lines) = lifecycle::open(Opening {
            id,
            kind,
            severity: level,
            title,
            pool: None,
            fault_at: None,
            fault_between: None,
            detected_at: self.wall,
            detector: detector.to_owned(),
            revision: Some(self.running.record.id),
            policy: &self.running.config.escalation,
        });
        let mut case = Case::new(record, None, self.now);
        case.lines = lines;
        self.enter(case);
        id
    }

    fn enter(&mut self, mut case: Case) {
        self.desk.next += 1;
        case.saved_at = self.now;
        let notice = of_incident(NoticeEvent::IncidentOpened, &case.record, self.wall);
        self.desk.cases.push(case);
        self.desk.trim();
        self.notify_all(notice);
    }

    const fn kind(&self) -> IncidentKind {
        if self.drill {
            IncidentKind::Drill
        } else {
            IncidentKind::Real
        }
    }

    /// Once a tick, for every open incident.
    pub(crate) fn work_incidents(&mut self) {
        let open: Vec<IncidentId> = self
            .desk
            .cases
            .iter()
            .filter(|c| is_open(c.record.status))
            .map(|c| c.record.id)
            .collect();
        for id in open {
            self.feed(id);
            self.diagnose(id);
            self.consider(id);
            self.recover(id);
            self.hurry(id);
        }
        self.save_incidents();
    }

    /// Impact and severity.
    fn feed(&mut self, id: IncidentId) {
        let Some(case) = self.desk.cases.iter_mut().find(|c| c.record.id == id) else {
            return;
        };
        let Some(watch) = case.record.pool.as_ref().and_then(|p| self.pools.get(p)) else {
            return;
        };
        if case.record.status == IncidentStatus::Mitigated {
            return;
        }
        if let Some(clients) = watch.counts.last_clients() {
            case.clients.merge(clients);
        }
        let (_, failed, slow) = watch.seen(1);
        case.harmed += failed + slow;
        let requests = case.harmed;
        let harmed = case.clients.harmed_share();
        lifecycle::impact(&mut case.record, requests, Some(harmed));
        let level = severity(&facts(watch, Some(&case.clients)));
        let lines = lifecycle::raise_severity(&mut case.record, level, self.wall);
        case.lines.extend(lines);
    }

    fn diagnose(&mut self, id: IncidentId) {
        let Some(case) = self.desk.case(id) else {
            return;
        };
        let over =
            case.begun || case.acted.is_some() || case.record.status == IncidentStatus::Mitigated;
        let Some(pool) = case.record.pool.clone().filter(|_| !over) else {
            return;
        };
        if case.record.diagnosis.is_some() && self.is_answered_for_now(&pool, case) {
            return;
        }
        if !case.looked_before {
            let before = self.quiet_before(&pool, case.onset.lo);
            let served = self.served_before(&pool, case.onset.lo);
            if let Some(case) = self.desk.case_mut(id) {
                case.before = before;
                case.served = served;
                case.looked_before = true;
            }
        }
        let case = self.desk.case(id);
        let Some(evidence) = case.and_then(|case| self.evidence(&pool, case)) else {
            return;
        };
        let found = evenkeel_diagnose::diagnose(&evidence);
        let wall = self.wall;
        if let Some(case) = self.desk.case_mut(id) {
            let known = case.record.diagnosis.as_ref();
            let Some(found) = case.opinion.take(known, found) else {
                return;
            };
            let steady = case.opinion.is_steady();
            let moved = lifecycle::diagnosed(&mut case.record, found, steady, wall);
            case.tell(moved);
        }
    }

    /// Whether the diagnosis that there is stands for the moment: a large pool is looked at now and then, what a person
    /// drained or undrained meanwhile, maybe on that very diagnosis, and who joined or left gets time to show in the
    /// counts, and seconds that were fine say nothing about the fault.
    fn is_answered_for_now(&self, pool: &Name, case: &Case) -> bool {
        let Some(watch) = self.pools.get(pool) else {
            return false;
        };
        let age = self.now.since(case.onset.hi).as_secs();
        let is_large = watch.pool.backends.len() > LARGE_POOL;
        let moved = members_moved(watch).filter(|at| *at >= case.onset.hi);
        case.fine > 0
            || (is_large && !age.is_multiple_of(5))
            || moved.is_some_and(|at| self.now.since(at) < MOVE_SHOWS_WITHIN)
    }

    /// Harm that stopped, and its end.
    fn recover(&mut self, id: IncidentId) {
        let (now, wall) = (self.now, self.wall);
        let Some(case) = self.desk.cases.iter_mut().find(|c| c.record.id == id) else {
            return;
        };
        let Some(watch) = case
            .record
            .pool
            .as_ref()
            .and_then(|p| self.pools.get_mut(p))
        else {
            return;
        };
        if watch.fine() {
            if case.fine == 0 {
                let second = Duration::from_secs(1);
                case.fine_since = (now.minus(second), wall.minus(second));
            }
            case.fine += 1;
        } else {
            case.fine = 0;
            // One bad second in a calm minute is chance; a missed objective is not.
            if watch.objective_missed() != Some(false) {
                case.calm_since = now;
            }
        }
        if case.fine >= CALM_SECONDS && case.record.status != IncidentStatus::Mitigated {
            let since = case.fine_since.1;
            let moved = lifecycle::mitigated(&mut case.record, since, wall);
            if case.tell(moved) {
                case.calm_since = case.fine_since.0;
                case.alarms.clear();
                watch.retest_harm(now);
                let notice = of_incident(NoticeEvent::IncidentMitigated, &case.record, wall);
                self.notify_all(notice);
            }
            return;
        }
        if case.record.status == IncidentStatus::Mitigated {
            let acted = case.acted.clone();
            let pool = watch.pool.name.clone();
            if acted.is_some_and(|acted| self.stands(&pool, &acted)) {
                if let Some(case) = self.desk.case_mut(id) {
                    case.calm_since = now;
                }
                return;
            }
            let Some(case) = self.desk.case(id) else {
                return;
            };
            let calm = now.since(case.calm_since);
            let subject = case
                .record
                .diagnosis
                .as_ref()
                .and_then(|d| d.subject.clone());
            let cause = case.record.diagnosis.as_ref().map(|d| d.cause);
            self.resolve_if_over(id, cause, subject.as_ref(), calm);
        }
    }

    fn resolve_if_over(
        &mut self,
        id: IncidentId,
        cause: Option<Cause>,
        subject: Option<&Subject>,
        calm: Duration,
    ) {
        let why = match (cause, subject) {
            (Some(Cause::ConfigRevision), Some(Subject::Revision(blamed))) => {
                let running = self.running.record.id;
                let acted = self.desk.case(id).and_then(|c| c.acted.as_ref());
                let known = acted.and_then(|a| a.undone);
                let gone = *blamed != running || known == Some(*blamed);
                let verified = matches!(self.phase, Phase::Settled);
                if !gone || !(verified || calm >= RESOLVE_AFTER) {
                    return;
                }
                format!("{blamed} no longer runs, {running} shows its own evidence")
            }
            _ if self.edited.is_none() && calm >= RESOLVE_AFTER => {
                format!("calm for {} s", calm.as_secs())
            }
            _ => return,
        };
        let wall = self.wall;
        let Some(case) = self.desk.case_mut(id) else {
            return;
        };
        let moved = lifecycle::resolve(&mut case.record, GUARD, &why, wall);
        if case.tell(moved) {
            let notice = of_incident(NoticeEvent::IncidentResolved, &case.record, wall);
            self.notify_all(notice);
        }
    }

    /// What was done did not help: the next level is paged, nothing more is changed.
    fn hurry(&mut self, id: IncidentId) {
        let (now, wall) = (self.now, self.wall);
        let Some(case) = self.desk.case_mut(id) else {
            return;
        };
        let late = case
            .acted
            .as_ref()
            .is_some_and(|a| now.since(a.at) >= RECOVER_WITHIN);
        if !late || case.escalated || case.record.status == IncidentStatus::Mitigated {
            return;
        }
        case.escalated = true;
        let rolled_back = case.acted.as_ref().is_some_and(|a| a.undone.is_some());
        let what = if rolled_back { "rollback" } else { "remedy" };
        let why = format!("not recovered 60 s after the {what}");
        let why = why.as_str();
        if let Ok((next, lines)) = escalate(&mut case.record, GUARD, why, wall) {
            case.lines.extend(lines);
            let notice = page(&case.record, &next, wall);
            self.notify(next.receivers, notice);
        }
    }

    /// Pages that are due.
    pub(crate) fn check_pages(&mut self) {
        let wall = self.wall;
        let mut pages = Vec::new();
        for case in &mut self.desk.cases {
            while let Some(next) = due(&mut case.record, wall) {
                let line = page_event(&case.record, &next, wall);
                case.lines.push(line);
                pages.push((next.receivers.clone(), page(&case.record, &next, wall)));
            }
        }
        for (receivers, notice) in pages {
            self.notify(receivers, notice);
        }
        self.save_incidents();
    }

    /// Journals what changed.
    pub(crate) fn save_incidents(&mut self) {
        let now = self.now;
        let mut entries = Vec::new();
        for case in &mut self.desk.cases {
            let old = is_open(case.record.status) && now.since(case.saved_at) >= SAVE_EVERY;
            if case.lines.is_empty() && !old {
                continue;
            }
            case.saved_at = now;
            entries.push(Entry::Incident(Box::new(case.record.clone())));
            entries.extend(case.lines.drain(..).map(Entry::Event));
        }
        self.record(entries);
    }

    /// Something was done or suggested about an incident.
    pub(crate) fn acted(
        &mut self,
        id: IncidentId,
        kind: &str,
        detail: String,
        outcome: &str,
        revision_after: Option<RevisionId>,
    ) {
        let at = self.wall;
        if let Some(case) = self.desk.case_mut(id) {
            let action = ActionRecord {
                at,
                kind: kind.to_owned(),
                detail,
                outcome: outcome.to_owned(),
            };
            let lines = lifecycle::acted(&mut case.record, action, revision_after);
            case.lines.extend(lines);
        }
    }

    /// The rollback for an incident did not come about.
    pub(crate) fn not_begun(&mut self, id: IncidentId) {
        if let Some(case) = self.desk.case_mut(id) {
            case.begun = false;
        }
    }

    /// The rollback for an incident is in place.
    pub(crate) fn rolled_back(&mut self, id: IncidentId, pool: &Name, undone: RevisionId) {
        let running = self.running.record.id;
        let detail = format!("{undone} -> {running} for pool `{pool}`");
        self.acted(id, "rollback", detail, "done", Some(running));
        self.is_done(id, Some(undone), None);
    }

    /// What was begun for an incident is in place; from now on it must recover.
    pub(crate) fn is_done(
        &mut self,
        id: IncidentId,
        undone: Option<RevisionId>,
        standing: Option<Standing>,
    ) {
        let at = self.now;
        if let Some(case) = self.desk.case_mut(id) {
            case.acted = Some(Acted {
                at,
                undone,
                standing,
            });
            case.fine = 0;
        }
        self.save_incidents();
    }

    /// A moment of this process for people.
    pub(crate) fn wall_of(&self, at: Mono) -> Wall {
        self.wall.minus(self.now.since(at))
    }
}

/// The facts that a severity is judged by.
pub(crate) fn facts(watch: &PoolWatch, clients: Option<&ClientSketch>) -> Facts {
    let (ended, failed, slow) = watch.seen(crate::watch::WINDOW);
    Facts {
        objective_missed: watch.harm_alarmed() || watch.objective_missed() == Some(true),
        harmed_requests_share: (failed + slow) as f64 / ended.max(1) as f64,
        harmed_users_share: clients.map(ClientSketch::harmed_share),
        nothing_served: ended >= crate::watch::ENOUGH && failed == ended,
        imbalance: watch.raised().iter().any(|kind| !kind.is_harm()),
        overloaded: watch.overloaded().is_some(),
        audit_error: false,
    }
}
