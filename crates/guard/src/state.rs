//! The guard itself: its state, the dispatch of events, the order of a tick.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_diagnose::{ChangedPath, Drift};
use evenkeel_incident::Notice;
use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::config::Config;
use evenkeel_model::ids::{IncidentId, Name, RevisionId};
use evenkeel_model::record::{
    ContentHash, DrainRecord, Entry, EventSource, IncidentRecord, RevisionRecord, RevisionState,
    RolloutRecord, TimelineEvent,
};

use evenkeel_model::tally::Tally;

use crate::action::{Action, Outcome};
use crate::audits::Audits;
use crate::change::{Change, Kind, Stage};
use crate::deployed::Deployments;
use crate::desk::Desk;
use crate::drain::Drains;
use crate::event::{Boot, DriftFact, EpochFact, Event, PoolVitals, RequestId, Restorable};
use crate::hold::Hold;
use crate::ledger::{Answer, Ledger};
use crate::ramp::Ramp;
use crate::remedy::{DAY, ONCE_IN, Outlook};
use crate::rollout::Rollouts;
use crate::verify::{Phase, Verifying, state_entry};
use crate::view::GuardView;
use crate::watch::PoolWatch;
use crate::{DEPLOYMENTS_KEPT, REVISIONS_KEPT, Settings, TARGETS_MAX, refuse};

/// Swaps that are remembered for diagnosis.
pub(crate) const SWAPS_KEPT: usize = 16;
/// Quarantined contents kept in memory.
pub(crate) const QUARANTINE_MAX: usize = 1_024;

/// What a commit opens when it is written.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Gate {
    /// The change to the revision of this number may be swapped in.
    Change(u64),
    /// A confirmation counts.
    Confirm {
        request: RequestId,
        revision: RevisionId,
        with_evidence: bool,
    },
    /// A backend may be drained.
    Drain {
        request: Option<RequestId>,
        record: DrainRecord,
        until: Mono,
    },
    /// A drain may end.
    Undrain {
        request: RequestId,
        pool: Name,
        backend: Name,
    },
    /// A deployment may take a step.
    Rollout {
        request: Option<RequestId>,
        record: Box<RolloutRecord>,
    },
    /// A request is answered; `Outcome::Failed` when it was not written.
    Reply(RequestId, Outcome),
}

/// A revision that was swapped in.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct SwapFact {
    pub(crate) id: RevisionId,
    pub(crate) at: Mono,
    pub(crate) before: Arc<Config>,
    pub(crate) after: Arc<Config>,
    pub(crate) paths: Vec<ChangedPath>,
    pub(crate) automatic: bool,
    /// When it was undone: a later fault is not its doing.
    pub(crate) undone_at: Option<Mono>,
}

/// The control loop. One per instance.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Guard {
    settings: Settings,
    inner: Option<Box<Inner>>,
}

impl Guard {
    /// A guard that waits for `Event::Booted`.
    pub const fn new(settings: Settings) -> Self {
        Self {
            settings,
            inner: None,
        }
    }

    /// Takes one event at `now` and says what is to be done, in order.
    pub fn step(&mut self, event: Event, now: Mono, wall: Wall) -> Vec<Action> {
        let Some(inner) = &mut self.inner else {
            return match event {
                Event::Booted(boot) => {
                    let mut inner = Box::new(Inner::boot(*boot, self.settings.drill, now, wall));
                    inner.clean_up();
                    let out = std::mem::take(&mut inner.out);
                    self.inner = Some(inner);
                    out
                }
                other => refuse_early(&other),
            };
        };
        inner.now = inner.now.max(now);
        inner.wall = wall;
        inner.handle(event);
        debug_assert_eq!(inner.check_invariants(), Ok(()));
        std::mem::take(&mut inner.out)
    }

    /// Everything for status, page and metrics; `None` before `Event::Booted`.
    pub fn view(&self, now: Mono, wall: Wall) -> Option<GuardView> {
        self.inner.as_ref().map(|inner| inner.view(now, wall))
    }

    /// Every backend, with its pool, that is drained or about to be.
    pub fn drained(&self) -> Vec<(Name, Name)> {
        let inner = self.inner.as_ref();
        let keys = inner.map(|inner| inner.drains.keys().cloned().collect());
        keys.unwrap_or_default()
    }

    /// The incident `id`, if it is among those kept in memory.
    pub fn incident(&self, id: IncidentId) -> Option<&IncidentRecord> {
        self.inner.as_ref()?.desk.record(id)
    }
}

/// Commands before the boot get an answer too.
fn refuse_early(event: &Event) -> Vec<Action> {
    let request = match event {
        Event::Propose(p) => p.request,
        Event::Rollback(c) => c.request,
        Event::Confirm { request, .. } => *request,
        Event::Drain(c) => c.request,
        Event::Undrain(c) => c.request,
        Event::Deploy(c) => c.request,
        Event::DeploymentSeen(d) => d.request,
        Event::Incident(c) => c.request,
        _ => return Vec::new(),
    };
    let why = "still starting; try again in a moment".to_owned();
    vec![Action::Reply {
        request,
        outcome: Box::new(Outcome::Failed { why }),
    }]
}

/// Rollbacks before the start, as the moments until which they count.
fn spent(rollbacks: Vec<(Name, Wall)>, now: Mono, wall: Wall) -> Vec<(Name, Mono, Mono)> {
    let left = |span: Duration, at: Wall| now.plus(span.saturating_sub(wall.since(at)));
    rollbacks
        .into_iter()
        .map(|(pool, at)| (pool, left(ONCE_IN, at), left(DAY, at)))
        .collect()
}

/// Everything after the boot.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Inner {
    pub(crate) now: Mono,
    pub(crate) wall: Wall,
    pub(crate) out: Vec<Action>,
    pub(crate) ledger: Ledger<Gate>,
    pub(crate) running: Restorable,
    pub(crate) phase: Phase,
    /// A person confirmed the running revision.
    pub(crate) person_confirmed: bool,
    /// What a rollback put in place, as long as it runs.
    pub(crate) restored: Option<RevisionId>,
    pub(crate) targets: Vec<Restorable>,
    pub(crate) records: VecDeque<RevisionRecord>,
    pub(crate) swaps: VecDeque<SwapFact>,
    pub(crate) change: Option<Change>,
    pub(crate) confirm_by: Option<Mono>,
    pub(crate) keep_until: Option<Mono>,
    pub(crate) next_revision: u64,
    pub(crate) next_deployment: u64,
    pub(crate) quarantine: BTreeMap<ContentHash, Option<IncidentId>>,
    pub(crate) deployments: Deployments,
    pub(crate) desk: Desk,
    pub(crate) pools: BTreeMap<Name, PoolWatch>,
    pub(crate) hold: Hold,
    pub(crate) drift: Option<DriftFact>,
    /// What the data plane runs is not what the journal says.
    pub(crate) edited: Option<Drift>,
    pub(crate) drains: Drains,
    pub(crate) rollouts: Rollouts,
    /// The running revision, or the one that is being swapped in, comes in by parts.
    pub(crate) ramp: Option<Ramp>,
    pub(crate) audits: Audits,
    pub(crate) outlook: Outlook,
    pub(crate) drill: bool,
}

impl Inner {
    fn boot(boot: Boot, drill: bool, now: Mono, wall: Wall) -> Self {
        let running = boot.running;
        let state = running.record.state;
        let settled = matches!(state, RevisionState::Verified | RevisionState::Confirmed);
        let confirm_by = (state != RevisionState::Confirmed)
            .then_some(running.record.confirm_by)
            .flatten();
        let mut targets = boot.targets;
        targets.retain(|t| t.record.id != running.record.id);
        let mut phase = Phase::Settled;
        if settled {
            targets.push(running.clone());
        } else {
            phase = Phase::Verifying(Verifying {
                since: now,
                touched: running
                    .config
                    .pools
                    .iter()
                    .map(|p| p.name.clone())
                    .collect(),
                restored: true,
            });
        }
        let (drains, over) = Drains::new(boot.drains, now, wall);
        let surplus = targets.len().saturating_sub(TARGETS_MAX);
        targets.drain(..surplus);
        let mut inner = Self {
            now,
            wall,
            out: Vec::new(),
            ledger: Ledger::new(boot.journal_ok),
            phase,
            person_confirmed: false,
            restored: None,
            targets,
            records: boot.revisions.into(),
            swaps: VecDeque::new(),
            change: None,
            confirm_by: None,
            keep_until: None,
            next_revision: boot.next_revision.max(running.record.id.0 + 1),
            next_deployment: boot.next_deployment.max(1),
            quarantine: boot.quarantine.into_iter().collect(),
            deployments: Deployments::new(boot.deployments, now, wall),
            desk: Desk::new(
                boot.incidents,
                boot.next_incident,
                spent(boot.rollbacks, now, wall),
            ),
            pools: BTreeMap::new(),
            hold: Hold::new(boot.workers, now),
            drift: None,
            edited: None,
            drains,
            rollouts: Rollouts::new(boot.rollouts, now),
            ramp: None,
            audits: Audits::new(boot.last_audit, running.config.audit_every, now, wall),
            outlook: Outlook::default(),
            drill,
            running,
        };
        inner.confirm_by = inner.until(confirm_by);
        let keep = inner.running.record.keep_until.filter(|at| *at > wall);
        inner.keep_until = inner.until(keep);
        inner.trim();
        inner.reconfigure(boot.epochs);
        inner.drains_over_at_start(over);
        inner
    }

    /// What a crash left half done: revisions that were on their way and do not run were not verified, so they
    /// count as undone.
    fn clean_up(&mut self) {
        let running = self.running.record.id;
        let left: Vec<RevisionId> = self
            .records
            .iter()
            .filter(|r| {
                r.id != running
                    && matches!(
                        r.state,
                        RevisionState::Applying
                            | RevisionState::Verifying
                            | RevisionState::Held
                            | RevisionState::RollingBack
                    )
            })
            .map(|r| r.id)
            .collect();
        let mut entries = Vec::new();
        for id in left {
            let why = format!("restarted before it had evidence; {running} runs");
            self.set_state(id, RevisionState::RolledBack, &why, None, &mut entries);
            entries.push(self.line(EventSource::Controller, "config.rolled_back", "guard", why));
        }
        self.record(entries);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Booted(_) => {}
            Event::Tick => self.tick(),
            Event::Tally(tally) => self.counted(&tally),
            Event::Vitals(vitals) => self.vitals(vitals),
            Event::EpochStarted(fact) => self.epoch_started(fact),
            Event::Health(fact) => {
                let now = self.now;
                if let Some(watch) = self.pools.get_mut(&fact.pool) {
                    watch.health(&fact, now);
                }
                self.health_flipped(&fact);
                self.outlook.stale = true;
            }
            Event::Members(fact) => self.members_changed(&fact),
            Event::ClockStep { by_ms } => self.clock_stepped(by_ms),
            Event::WorkersChanged { workers } => self.hold.workers_changed(workers, self.now),
            Event::Propose(mut proposal) => {
                self.keep_members(&mut proposal.config);
                self.propose(*proposal);
            }
            Event::Rollback(mut command) => {
                if let Some(to) = &mut command.to {
                    self.keep_members(&mut to.config);
                }
                self.rollback_command(*command);
            }
            Event::Confirm {
                request,
                revision,
                author,
            } => self.confirm(request, revision, &author),
            Event::Drain(command) => self.drain_command(*command),
            Event::Undrain(command) => self.undrain_command(command),
            Event::Drift(drift) => self.drifted(drift),
            Event::Deploy(command) => self.deploy_command(*command),
            Event::DeploymentSeen(report) => self.deployed(*report),
            Event::Incident(command) => self.incident_command(command),
            Event::Committed { token, result } => {
                let answer = self.ledger.answered(token, result, self.now);
                self.answered(answer);
            }
            Event::Swapped { revision, epochs } => self.swapped(revision, epochs),
            Event::SwapFailed { revision, why } => self.swap_failed(revision, &why),
            Event::ForecastReady { token, pools } => self.outlook.ready(token, pools, self.now),
            Event::Audited { token, findings } => self.audited(token, &findings),
            Event::NoticeSent {
                incident,
                level,
                receiver,
                ok,
                detail,
            } => self.notice_sent(incident, level, &receiver, ok, detail),
            Event::Journal { ok, detail } => self.journal(ok, &detail),
            Event::Drill { running } => self.drill = running,
        }
    }

    /// Once a second, after the tallies.
    fn tick(&mut self) {
        self.ledger.flush(self.now, &mut self.out);
        self.hurry_rollback();
        self.hold.tick(self.now);
        if self.keep_until.is_some_and(|at| self.now >= at) {
            self.keep_until = None;
            self.retest_all();
        }
        let (now, wall) = (self.now, self.wall);
        for watch in self.pools.values_mut() {
            watch.tick(now, wall);
        }
        self.check_drains();
        self.check_rollouts();
        self.check_alarms();
        self.work_incidents();
        self.check_confirm();
        self.check_verified();
        self.check_pages();
        self.check_audit();
        self.refresh_outlook();
    }

    fn vitals(&mut self, vitals: Vec<PoolVitals>) {
        for told in vitals {
            self.drained_hold(&told);
            if let Some(watch) = self.pools.get_mut(&told.pool)
                && told.backends.len() == watch.pool.backends.len()
            {
                watch.vitals = told.backends;
            }
        }
    }

    fn epoch_started(&mut self, fact: EpochFact) {
        // Epochs of a revision that is being swapped in come again with `Swapped`, when its configuration is known.
        let coming = self
            .change
            .as_ref()
            .is_some_and(|c| c.stage == Stage::Swapping && c.target.record.id == fact.revision);
        if coming && fact.revision != self.running.record.id {
            return;
        }
        self.outlook.stale = true;
        self.begin_epoch(fact);
    }

    fn begin_epoch(&mut self, fact: EpochFact) {
        let running = self.running.record.id;
        let (now, kept) = (self.now, self.keep_until.is_some());
        let pushed = self.targets.iter().find(|t| t.record.id == fact.revision);
        let Some(watch) = self.pools.get_mut(&fact.pool) else {
            return;
        };
        let pushed = pushed.and_then(|t| t.config.pool(fact.pool.as_str()));
        let drift = crate::drift::of_epoch(&watch.pool, &fact, running, pushed);
        watch.drifts(drift.clone(), now);
        watch.begin(fact, kept, now);
        let told = self.drift.as_ref().is_some_and(|d| d.running);
        if drift.is_some() || !told && self.pools.values().all(|w| w.drift.is_none()) {
            self.edited = drift;
        }
    }

    /// The running configuration changed: watch its pools from these epochs on.
    pub(crate) fn reconfigure(&mut self, epochs: Vec<EpochFact>) {
        let config = Arc::clone(&self.running.config);
        self.pools
            .retain(|name, _| config.pool(name.as_str()).is_some());
        for pool in &config.pools {
            let (pool, shape) = self.balanced(pool);
            self.pools
                .entry(pool.name.clone())
                .or_insert_with(|| PoolWatch::new(pool.clone()))
                .configure(pool, shape);
        }
        self.outlook = Outlook::default();
        for fact in epochs {
            self.begin_epoch(fact);
        }
        self.lift_rollouts();
    }

    pub(crate) fn retest_all(&mut self) {
        let (now, kept) = (self.now, self.keep_until.is_some());
        for watch in self.pools.values_mut() {
            watch.retest(kept, now);
        }
    }

    fn counted(&mut self, tally: &Tally) {
        if !self.hold.seen(tally.worker, tally.at, self.now) {
            return;
        }
        for pool in &tally.pools {
            if let Some(watch) = self.pools.get_mut(&pool.pool) {
                watch.counts.take(tally.worker, pool);
                watch.keys.take(&pool.keys, self.now);
            }
        }
    }

    fn clock_stepped(&mut self, by_ms: i64) {
        self.hold.stepped(self.now);
        self.desk.clock_stepped(by_ms);
        let mut entries = Vec::new();
        if let Some(at) = self.confirm_by {
            // The time left stays what it was; the record has to say the new moment, or a restart fires early.
            let confirm_by = Some(self.wall.plus(at.since(self.now)));
            let id = self.running.record.id;
            self.running.record.confirm_by = confirm_by;
            entries.push(Entry::ConfirmBy { id, confirm_by });
        }
        entries.extend(self.drains_stepped());
        let text = format!("the wall clock stepped by {by_ms} ms; no automatic action for 10 s");
        entries.push(self.line(EventSource::Controller, "clock.stepped", "guard", text));
        self.record(entries);
    }

    fn answered(&mut self, answer: Answer<Gate>) {
        match answer {
            Answer::Nothing => {}
            Answer::Open(gate) => match gate {
                Gate::Change(serial) => self.change_written(serial),
                Gate::Confirm {
                    request,
                    revision,
                    with_evidence,
                } => self.confirmed(request, revision, with_evidence),
                Gate::Drain {
                    request,
                    record,
                    until,
                } => {
                    if request.is_none() {
                        self.ejected(&record);
                    }
                    let outcome = self.drain_written(record, until);
                    self.answer(request, outcome);
                }
                Gate::Undrain {
                    request,
                    pool,
                    backend,
                } => {
                    let outcome = self.undrain_written(pool, backend);
                    self.reply(request, outcome);
                }
                Gate::Rollout { request, record } => {
                    let outcome = self.rollout_written(*record);
                    self.answer(request, outcome);
                }
                Gate::Reply(request, outcome) => self.reply(request, outcome),
            },
            Answer::Shut(gate, why, entries) => match gate {
                Gate::Change(serial) => self.change_not_written(serial, &why, entries),
                Gate::Confirm { request, .. } | Gate::Undrain { request, .. } => {
                    let reason = refuse::journal(&why);
                    self.reply(request, refuse::refused(*reason, Vec::new(), None));
                }
                Gate::Drain {
                    request, record, ..
                } => {
                    if request.is_none() {
                        self.not_ejected(&record, &why);
                    }
                    self.drain_not_written(&(record.pool, record.backend));
                    let reason = refuse::journal(&why);
                    self.answer(request, refuse::refused(*reason, Vec::new(), None));
                }
                Gate::Rollout { request, record } => {
                    self.rollout_not_written(&record.pool);
                    let reason = refuse::journal(&why);
                    self.answer(request, refuse::refused(*reason, Vec::new(), None));
                }
                Gate::Reply(request, outcome) => {
                    // It happened; only its record is late.
                    self.ledger.wait(entries);
                    self.reply(request, outcome);
                }
            },
        }
        if !self.ledger.is_ok() && self.ledger.waiting() == 0 {
            // Something has to be tried, or a journal that recovers by itself is never noticed.
            let text = "the journal could not be written".to_owned();
            let line = self.line(EventSource::Controller, "journal.degraded", "guard", text);
            self.ledger.wait(vec![line]);
        }
    }

    fn journal(&mut self, ok: bool, detail: &str) {
        let was = self.ledger.is_ok();
        self.ledger.told(ok, self.now);
        if ok {
            self.ledger.flush(self.now, &mut self.out);
        } else if was {
            let text = format!("the journal takes no entries: {detail}");
            let line = self.line(EventSource::Controller, "journal.degraded", "guard", text);
            self.ledger.wait(vec![line]);
        }
    }

    // --- small tools of every part ---

    /// A timeline line that belongs to no incident.
    pub(crate) fn event(
        &self,
        source: EventSource,
        kind: &str,
        actor: &str,
        text: String,
    ) -> TimelineEvent {
        TimelineEvent {
            incident: None,
            at: self.wall,
            source,
            kind: kind.to_owned(),
            actor: actor.to_owned(),
            subject: format!("revision:{}", self.running.record.id),
            text,
        }
    }

    /// The same as an entry.
    pub(crate) fn line(&self, source: EventSource, kind: &str, actor: &str, text: String) -> Entry {
        Entry::Event(self.event(source, kind, actor, text))
    }

    /// Writes what happened.
    pub(crate) fn record(&mut self, entries: Vec<Entry>) {
        self.ledger.record(entries, &mut self.out);
    }

    /// Answers a request.
    pub(crate) fn reply(&mut self, request: RequestId, outcome: Outcome) {
        self.out.push(Action::Reply {
            request,
            outcome: Box::new(outcome),
        });
    }

    /// Answers a request if somebody made it.
    pub(crate) fn answer(&mut self, request: Option<RequestId>, outcome: Outcome) {
        if let Some(request) = request {
            self.reply(request, outcome);
        }
    }

    /// A moment of the wall clock on this process's clock.
    pub(crate) fn until(&self, at: Option<Wall>) -> Option<Mono> {
        at.map(|at| self.now.plus(at.since(self.wall)))
    }

    /// Tells every receiver.
    pub(crate) fn notify_all(&mut self, notice: Notice) {
        let all = &self.running.config.receivers;
        let receivers: Vec<Name> = all.iter().map(|r| r.name.clone()).collect();
        self.notify(receivers, notice);
    }

    /// Tells these receivers.
    pub(crate) fn notify(&mut self, receivers: Vec<Name>, notice: Notice) {
        if !receivers.is_empty() {
            let notice = Box::new(notice);
            self.out.push(Action::Notify { receivers, notice });
        }
    }

    /// Keeps a revision among the recent ones.
    pub(crate) fn remember(&mut self, record: RevisionRecord) {
        self.records.retain(|r| r.id != record.id);
        self.records.push_back(record);
        self.trim();
    }

    /// Moves a revision on, in memory and in `entries`.
    pub(crate) fn set_state(
        &mut self,
        id: RevisionId,
        state: RevisionState,
        why: &str,
        incident: Option<IncidentId>,
        entries: &mut Vec<Entry>,
    ) {
        self.mark(id, state);
        entries.push(state_entry(id, state, why, incident, self.wall));
        if incident.is_some()
            && let Some(record) = self.records.iter_mut().find(|r| r.id == id)
        {
            record.incident = incident;
        }
    }

    /// Moves a revision on in memory.
    pub(crate) fn mark(&mut self, id: RevisionId, state: RevisionState) {
        if self.running.record.id == id {
            self.running.record.state = state;
        }
        if let Some(record) = self.records.iter_mut().find(|r| r.id == id) {
            record.state = state;
        }
    }

    /// A rollback that did not come about: the revision is what its phase says.
    pub(crate) fn forget_state(&mut self, id: RevisionId) {
        let state = match &self.phase {
            Phase::Settled if self.person_confirmed => RevisionState::Confirmed,
            Phase::Settled => RevisionState::Verified,
            Phase::Verifying(_) => RevisionState::Verifying,
            Phase::Held(_) => RevisionState::Held,
        };
        self.mark(id, state);
    }

    pub(crate) fn quarantine(&mut self, hash: ContentHash, incident: Option<IncidentId>) {
        self.quarantine.insert(hash, incident);
        while self.quarantine.len() > QUARANTINE_MAX {
            self.quarantine.pop_first();
        }
    }

    fn trim(&mut self) {
        while self.records.len() > REVISIONS_KEPT {
            self.records.pop_front();
        }
    }

    /// What must hold after every step.
    fn check_invariants(&self) -> Result<(), String> {
        let bounds = [
            ("targets", self.targets.len(), TARGETS_MAX),
            ("revisions", self.records.len(), REVISIONS_KEPT),
            ("swaps", self.swaps.len(), SWAPS_KEPT),
            ("deployments", self.deployments.len(), DEPLOYMENTS_KEPT),
            ("quarantine", self.quarantine.len(), QUARANTINE_MAX),
            ("drains", self.drains.len(), crate::DRAINS_MAX),
            ("waiting", self.ledger.waiting(), crate::ledger::WAITING_MAX),
        ];
        if let Some((what, len, max)) = bounds.into_iter().find(|(_, len, max)| len > max) {
            return Err(format!("{what}: {len} of at most {max}"));
        }
        if let Some(change) = &self.change
            && (change.target.record.id == self.running.record.id)
                != matches!(change.kind, Kind::Reapply(_))
        {
            return Err("a change to what runs already".to_owned());
        }
        if let Some(Change {
            kind: Kind::Rollback(undo),
            ..
        }) = &self.change
            && undo.undone != self.running.record.id
        {
            return Err("a rollback of what does not run".to_owned());
        }
        let settled = matches!(self.phase, Phase::Settled);
        let id = self.running.record.id;
        let is_target = self.targets.iter().any(|t| t.record.id == id);
        if settled && !is_target {
            return Err("a settled revision is no rollback target".to_owned());
        }
        self.desk.check_invariants()
    }
}
