//! A change on its way: proposed, journalled, swapped in; and its way back.
//!
//! Journal first: a change is committed, and only the journal's yes leads to the swap. One exception: a rollback to
//! a verified revision in memory also swaps when the journal says no or nothing; its entries wait and are written
//! first. One change is in flight at a time: from the proposal until it is verified, held or undone, and as long
//! as its confirmation is open.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_incident::notice::{NoticeEvent, of_change};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Config, Remedy};
use evenkeel_model::finding::Finding;
use evenkeel_model::ids::{IncidentId, Name, RevisionId};
use evenkeel_model::record::{Entry, EventSource, RevisionRecord, RevisionState};

use crate::KEEP_MAX;
use crate::action::{Action, Outcome};
use crate::desk::Standing;
use crate::event::{EpochFact, Proposal, RequestId, Restorable, RollbackCommand};
use crate::refuse;
use crate::state::{Gate, Inner, SWAPS_KEPT, SwapFact};
use crate::verify::Phase;

/// A rollback does not wait longer for the journal.
const ROLLBACK_COMMIT_WAIT: Duration = Duration::from_secs(3);

/// A change between its proposal and its swap.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Change {
    /// What will run.
    pub(crate) target: Restorable,
    /// Who waits for the answer.
    pub(crate) request: Option<RequestId>,
    /// What it does.
    pub(crate) kind: Kind,
    /// Where it is.
    pub(crate) stage: Stage,
    /// Since when.
    pub(crate) since: Mono,
}

/// Forward or back.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Kind {
    /// A new revision.
    Apply {
        /// `--keep`.
        keep: Option<Duration>,
        /// The incident and remedy that it is for.
        remedy: Option<(IncidentId, Remedy)>,
    },
    /// What runs by the journal once more, for this incident.
    Reapply(IncidentId),
    /// An earlier one again.
    Rollback(Undo),
}

/// A rollback.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Undo {
    /// What is undone.
    pub(crate) undone: RevisionId,
    /// By whom: a person, or the guard.
    pub(crate) author: String,
    /// Why.
    pub(crate) why: String,
    /// The incident and pool that an automatic rollback is for.
    pub(crate) incident: Option<(IncidentId, Name)>,
    /// The content that is refused from now on.
    pub(crate) quarantine: bool,
    /// The target was verified and is in memory: it needs no disk.
    pub(crate) without_disk: bool,
}

/// How far a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Stage {
    /// The journal has not answered.
    Journalling,
    /// The data plane has not answered.
    Swapping,
}

impl Inner {
    /// `apply`.
    pub(crate) fn propose(&mut self, proposal: Proposal) {
        let request = proposal.request;
        if proposal.hash == self.running.record.hash && self.admits_base(&proposal).is_ok() {
            let (revision, state) = (self.running.record.id, self.running.record.state);
            self.reply(request, Outcome::Unchanged { revision, state });
            return;
        }
        if let Err((reason, incident)) = self.admits(&proposal) {
            let text = format!("{}: {}", reason.id, reason.message);
            let line = self.line(
                EventSource::Controller,
                "config.refused",
                &proposal.author,
                text,
            );
            self.record(vec![line]);
            let blocking = blocking(&proposal).into_iter();
            let more = blocking.filter(|f| *f != *reason).collect();
            self.reply(request, refuse::refused(*reason, more, incident));
            return;
        }
        self.accept(proposal);
    }

    fn admits_base(&self, proposal: &Proposal) -> Result<(), Box<Finding>> {
        let running = self.running.record.id;
        match proposal.base {
            Some(base) if base != running => Err(refuse::base_moved(base, running)),
            _ if proposal.judged_against != running => {
                Err(refuse::base_moved(proposal.judged_against, running))
            }
            _ => Ok(()),
        }
    }

    /// Every rule that lets a change in or keeps it out.
    fn admits(&self, proposal: &Proposal) -> Result<(), (Box<Finding>, Option<IncidentId>)> {
        let plain = |finding| (finding, None);
        if !self.ledger.is_ok() {
            return Err(plain(refuse::journal("it failed before")));
        }
        self.admits_base(proposal).map_err(plain)?;
        if proposal.force && proposal.reason.trim().is_empty() {
            return Err(plain(refuse::force_without_reason()));
        }
        if let Some((revision, doing)) = self.in_flight() {
            return Err(plain(refuse::in_flight(revision, doing)));
        }
        let touched = crate::verify::touched(&self.running.config, &proposal.config);
        let mut open = self.rollouts.open();
        if let Some(moves) = open.find(|record| touched.contains(&record.pool)) {
            return Err(plain(refuse::deployment_moves(moves)));
        }
        if let Some(pool) = touched.iter().find(|pool| self.rollouts.is_coming(pool)) {
            return Err(plain(refuse::deployment_starts(pool)));
        }
        if !proposal.force {
            if let Some(incident) = self.quarantine.get(&proposal.hash) {
                return Err((refuse::quarantined(*incident), *incident));
            }
            if let Some(first) = blocking(proposal).into_iter().next() {
                return Err(plain(Box::new(first)));
            }
        }
        self.admits_backends(&proposal.config).map_err(plain)
    }

    /// What no force overrides: `min_healthy` and at least one effective backend.
    pub(crate) fn admits_backends(&self, config: &Config) -> Result<(), Box<Finding>> {
        for pool in &config.pools {
            let name = pool.name.as_str();
            let known = self.running.config.pool(name).is_some();
            if pool.members.is_some() && pool.backends.is_empty() && !known {
                continue; // its members are looked for once it runs
            }
            if pool.backends.iter().all(|backend| backend.weight == 0) {
                return Err(refuse::none_effective(name));
            }
            let live = self.live_in(config, &pool.name);
            let now = self.live_in(&self.running.config, &pool.name);
            // What is missing already must not block the repair.
            if live < pool.min_healthy as usize && (!known || live < now) {
                return Err(refuse::too_few_live(name, live, pool.min_healthy));
            }
        }
        Ok(())
    }

    /// Backends of `pool` in `config` that have a weight and are not known to be out.
    pub(crate) fn live_in(&self, config: &Config, pool: &Name) -> usize {
        let watch = self.pools.get(pool);
        let pool = config.pool(pool.as_str()).map(|pool| self.effective(pool));
        let live = |name: &Name| watch.is_none_or(|w| !w.is_out(name));
        pool.map_or(0, |pool| {
            let backends = pool.backends.iter();
            backends.filter(|b| b.weight > 0 && live(&b.name)).count()
        })
    }

    /// The change in flight, and what it is doing.
    pub(crate) fn in_flight(&self) -> Option<(RevisionId, &'static str)> {
        if let Some(change) = &self.change {
            let doing = match (&change.kind, change.stage) {
                (Kind::Rollback(_), _) => "being rolled back to",
                (Kind::Reapply(_), _) => "being put back",
                (Kind::Apply { .. }, Stage::Journalling) => "being recorded",
                (Kind::Apply { .. }, Stage::Swapping) => "being swapped in",
            };
            return Some((change.target.record.id, doing));
        }
        let id = self.running.record.id;
        match &self.phase {
            Phase::Verifying(v) if !v.restored => Some((id, "gathering its evidence")),
            _ if self.confirm_by.is_some() => Some((id, "waiting to be confirmed")),
            _ => None,
        }
    }

    fn accept(&mut self, proposal: Proposal) {
        let Proposal {
            confirm_within,
            keep,
            ..
        } = proposal;
        let keep = keep.map(|k| k.min(KEEP_MAX));
        let record = RevisionRecord {
            id: RevisionId(self.next_revision),
            parent: Some(self.running.record.id),
            hash: proposal.hash,
            text: Arc::clone(&proposal.text),
            author: proposal.author.clone(),
            reason: proposal.reason.clone(),
            state: RevisionState::Applying,
            at: self.wall,
            forced: proposal.force,
            confirm_by: confirm_within.map(|within| self.wall.plus(within)),
            keep_until: keep.map(|keep| self.wall.plus(keep)),
            incident: None,
        };
        let mut entries = vec![Entry::Revision(record.clone())];
        if self.quarantine.contains_key(&proposal.hash) {
            entries.push(Entry::Release {
                hash: proposal.hash,
                at: self.wall,
            });
        }
        let text = format!(
            "{} on {}: {}",
            record.id, self.running.record.id, record.reason
        );
        entries.push(self.line(
            EventSource::Human,
            "config.accepted",
            &proposal.author,
            text,
        ));
        self.change = Some(Change {
            target: Restorable {
                record,
                config: proposal.config,
            },
            request: Some(proposal.request),
            kind: Kind::Apply { keep, remedy: None },
            stage: Stage::Journalling,
            since: self.now,
        });
        self.ledger
            .gate(entries, Gate::Change(self.next_revision), &mut self.out);
    }

    /// `rollback` by a person.
    pub(crate) fn rollback_command(&mut self, command: RollbackCommand) {
        let request = command.request;
        let running = self.running.record.id;
        if let Some(change) = &self.change {
            let which = change.target.record.id;
            let reason = refuse::in_flight(which, "being swapped in");
            self.reply(request, refuse::refused(*reason, Vec::new(), None));
            return;
        }
        let named = command.to.is_some();
        // Rolling back twice is rolling back once: what was just restored is not undone in turn.
        let target = command.to.or_else(|| {
            let restored = matches!(&self.phase, Phase::Verifying(v) if v.restored)
                || self.restored == Some(running);
            (!restored).then(|| self.target().cloned()).flatten()
        });
        let Some(target) = target.filter(|t| t.record.id != running) else {
            let state = self.running.record.state;
            let outcome = Outcome::Unchanged {
                revision: running,
                state,
            };
            self.reply(request, outcome);
            return;
        };
        if let Err(reason) = self.admits_rollback(&target, command.force) {
            self.reply(request, refuse::refused(*reason, Vec::new(), None));
            return;
        }
        let without_disk = self.targets.iter().any(|t| t.record.id == target.record.id);
        if !without_disk && !self.ledger.is_ok() {
            let reason = refuse::journal("only a verified revision in memory can be restored now");
            self.reply(request, refuse::refused(*reason, Vec::new(), None));
            return;
        }
        let why = if named {
            format!("rollback to {}: {}", target.record.id, command.reason)
        } else {
            format!("rollback: {}", command.reason)
        };
        let undo = Undo {
            undone: running,
            author: command.author,
            why,
            incident: None,
            quarantine: false,
            without_disk,
        };
        self.begin_rollback(target, undo, Some(request));
    }

    /// A rollback is a load change too: enough live backends, and it overloads nobody who is not overloaded now.
    fn admits_rollback(&self, target: &Restorable, force: bool) -> Result<(), Box<Finding>> {
        if let Some(incident) = self.quarantine.get(&target.record.hash).filter(|_| !force) {
            return Err(refuse::quarantined(*incident));
        }
        self.admits_backends(&target.config)?;
        let worse = self.overloads(&target.config);
        match worse {
            Some((pool, backend, load)) if !force => Err(refuse::overloads(
                format!(
                    "{} would put {:.0} % of its capacity on `{pool}/{backend}`",
                    target.record.id,
                    load * 100.0
                ),
                "the rollback would overload a backend that is not overloaded now",
                "choose another revision, or `--force`",
            )),
            _ => Ok(()),
        }
    }

    /// The last verified revision that does not run.
    pub(crate) fn target(&self) -> Option<&Restorable> {
        let running = self.running.record.id;
        let fine = |t: &&Restorable| {
            t.record.id != running && !self.quarantine.contains_key(&t.record.hash)
        };
        self.targets.iter().rev().find(fine)
    }

    /// Writes the rollback and swaps on the journal's yes, or at once when it is down.
    pub(crate) fn begin_rollback(
        &mut self,
        target: Restorable,
        undo: Undo,
        request: Option<RequestId>,
    ) {
        let incident = undo.incident.as_ref().map(|(id, _)| *id);
        let mut entries = Vec::new();
        if target.record.id.0 >= self.next_revision {
            entries.push(Entry::Revision(target.record.clone()));
        }
        self.set_state(
            undo.undone,
            RevisionState::RollingBack,
            &undo.why,
            incident,
            &mut entries,
        );
        let text = format!("{} -> {}: {}", undo.undone, target.record.id, undo.why);
        let source = if undo.incident.is_some() {
            EventSource::Controller
        } else {
            EventSource::Human
        };
        entries.push(self.line(source, "config.rolling_back", &undo.author, text));
        if undo.quarantine {
            let hash = self.running.record.hash;
            self.quarantine(hash, incident);
            entries.push(Entry::Quarantine {
                hash,
                incident,
                at: self.wall,
            });
        }
        let serial = target.record.id.0;
        let direct = undo.without_disk && !self.ledger.is_ok();
        self.change = Some(Change {
            target,
            request,
            kind: Kind::Rollback(undo),
            stage: Stage::Journalling,
            since: self.now,
        });
        if direct {
            self.ledger.wait(entries);
            self.swap();
        } else {
            self.ledger
                .gate(entries, Gate::Change(serial), &mut self.out);
        }
    }

    /// The journal said yes.
    pub(crate) fn change_written(&mut self, serial: u64) {
        let waits = |c: &Change| c.target.record.id.0 == serial && c.stage == Stage::Journalling;
        if self.change.as_ref().is_some_and(waits) {
            self.swap();
        }
    }

    /// The journal said no.
    pub(crate) fn change_not_written(&mut self, serial: u64, why: &str, entries: Vec<Entry>) {
        let without_disk = |c: &Change| matches!(&c.kind, Kind::Rollback(u) if u.without_disk);
        if self.change.as_ref().is_some_and(without_disk) {
            self.ledger.wait(entries);
            self.change_written(serial);
            return;
        }
        let Some(change) = self.change.take_if(|c| c.target.record.id.0 == serial) else {
            return;
        };
        if let Kind::Rollback(undo) = &change.kind {
            self.forget_state(undo.undone);
        }
        self.did_not_help(&change, why);
        let reason = refuse::journal(why);
        self.answer(change.request, refuse::refused(*reason, Vec::new(), None));
    }

    /// A rollback that the journal does not answer in time goes on without it.
    pub(crate) fn hurry_rollback(&mut self) {
        let late = |c: &Change| {
            matches!(&c.kind, Kind::Rollback(u) if u.without_disk)
                && c.stage == Stage::Journalling
                && self.now.since(c.since) >= ROLLBACK_COMMIT_WAIT
        };
        if self.change.as_ref().is_some_and(late) {
            self.swap();
        }
    }

    fn swap(&mut self) {
        let ramp = self.change.as_ref().and_then(|c| self.ramp_of(c));
        let Some(change) = &mut self.change else {
            return;
        };
        change.stage = Stage::Swapping;
        self.next_revision = self.next_revision.max(change.target.record.id.0 + 1);
        let action = Action::Swap {
            revision: change.target.record.id,
            config: Arc::clone(&change.target.config),
            text: Arc::clone(&change.target.record.text),
        };
        if ramp.is_some() {
            self.come_in(ramp);
        }
        self.out.push(action);
    }

    /// The data plane could not take it: what ran before still runs.
    pub(crate) fn swap_failed(&mut self, revision: RevisionId, why: &str) {
        let mine = |c: &mut Change| c.target.record.id == revision && c.stage == Stage::Swapping;
        let Some(change) = self.change.take_if(mine) else {
            return;
        };
        let mut entries = Vec::new();
        match &change.kind {
            Kind::Apply { .. } => {
                self.remember(change.target.record.clone());
                self.set_state(revision, RevisionState::Refused, why, None, &mut entries);
            }
            Kind::Reapply(_) => {}
            Kind::Rollback(undo) => {
                self.forget_state(undo.undone);
                let state = self.running.record.state;
                self.set_state(undo.undone, state, why, None, &mut entries);
            }
        }
        self.record(entries);
        if self.coming_in(revision).is_some() {
            self.come_in(None);
        }
        self.did_not_help(&change, why);
        let why = why.to_owned();
        self.answer(change.request, Outcome::Failed { why });
    }

    /// What the guard began for an incident did not come about.
    fn did_not_help(&mut self, change: &Change, why: &str) {
        match &change.kind {
            Kind::Rollback(Undo {
                incident: Some((incident, _)),
                ..
            }) => {
                let detail = format!("to {}", change.target.record.id);
                let failed = format!("failed: {why}");
                self.acted(*incident, "rollback", detail, &failed, None);
                self.not_begun(*incident);
            }
            Kind::Apply {
                remedy: Some((incident, remedy)),
                ..
            } => self.not_treated(*incident, *remedy, why),
            Kind::Reapply(incident) => self.not_treated(*incident, Remedy::Reapply, why),
            _ => {}
        }
    }

    /// Every worker runs it.
    pub(crate) fn swapped(&mut self, revision: RevisionId, epochs: Vec<EpochFact>) {
        let mine = |c: &mut Change| c.target.record.id == revision && c.stage == Stage::Swapping;
        let Some(change) = self.change.take_if(mine) else {
            return;
        };
        if let Kind::Reapply(incident) = change.kind {
            self.edited = None;
            self.reconfigure(epochs);
            let detail = format!("{revision} was swapped in again");
            self.treated(incident, Remedy::Reapply, detail, None);
            return;
        }
        let before = std::mem::replace(&mut self.running, change.target);
        if self.ramp.is_some() && self.coming_in(revision).is_none() {
            self.come_in(None);
        }
        self.swaps.push_back(SwapFact {
            id: revision,
            at: self.now,
            before: Arc::clone(&before.config),
            after: Arc::clone(&self.running.config),
            paths: crate::evidence::paths(&before.config, &self.running.config),
            automatic: matches!(&change.kind, Kind::Rollback(u) if u.incident.is_some()),
            undone_at: None,
        });
        if self.swaps.len() > SWAPS_KEPT {
            self.swaps.pop_front();
        }
        self.edited = None;
        let touched = crate::verify::touched(&before.config, &self.running.config);
        match change.kind {
            Kind::Apply { keep, remedy } => {
                self.applied(&before, keep, touched, change.request);
                if let Some((incident, remedy)) = remedy {
                    let detail = self.running.record.reason.clone();
                    let standing = Some(Standing::Revision(revision));
                    self.treated(incident, remedy, detail, standing);
                }
            }
            Kind::Rollback(undo) => self.restored(&undo, touched, change.request),
            Kind::Reapply(_) => {}
        }
        self.reconfigure(epochs);
    }

    fn applied(
        &mut self,
        before: &Restorable,
        keep: Option<Duration>,
        touched: Vec<Name>,
        request: Option<RequestId>,
    ) {
        let (id, parent) = (self.running.record.id, before.record.id);
        let mut entries = Vec::new();
        self.remember(self.running.record.clone());
        if !self.targets.iter().any(|t| t.record.id == parent) {
            let why = format!("replaced by {id} before it was verified");
            self.set_state(parent, RevisionState::Superseded, &why, None, &mut entries);
        }
        let state = RevisionState::Verifying;
        self.set_state(id, state, "swapped in", None, &mut entries);
        self.quarantine.remove(&self.running.record.hash);
        let mut text = format!("{id} runs; pools to verify: {}", names(&touched));
        if let Some(ramp) = &self.ramp {
            text = format!("{text}; {}", ramp.in_words());
        }
        let author = self.running.record.author.clone();
        entries.push(self.line(EventSource::Controller, "config.applied", &author, text));
        self.record(entries);
        self.confirm_by = self.until(self.running.record.confirm_by);
        self.keep_until = keep.and(self.until(self.running.record.keep_until));
        self.restored = None;
        self.begin_verifying(touched, false);
        self.tell_change(NoticeEvent::ChangeApplied, keep.is_some());
        self.answer(
            request,
            Outcome::Applied {
                revision: id,
                parent,
                state,
            },
        );
    }

    fn restored(&mut self, undo: &Undo, touched: Vec<Name>, request: Option<RequestId>) {
        let id = self.running.record.id;
        let incident = undo.incident.as_ref().map(|(id, _)| *id);
        let mut entries = Vec::new();
        if !self.records.iter().any(|r| r.id == id) {
            self.remember(self.running.record.clone());
        }
        self.set_state(
            undo.undone,
            RevisionState::RolledBack,
            &undo.why,
            incident,
            &mut entries,
        );
        let state = RevisionState::Verifying;
        let why = format!("restored in place of {}", undo.undone);
        self.set_state(id, state, &why, incident, &mut entries);
        let text = format!("{} is undone, {id} runs", undo.undone);
        entries.push(self.line(
            EventSource::Controller,
            "config.rolled_back",
            &undo.author,
            text,
        ));
        self.record(entries);
        if let Some(place) = self.targets.iter().position(|t| t.record.id == id) {
            self.targets.truncate(place + 1);
        } else {
            self.targets.retain(|t| t.record.id != undo.undone);
        }
        let mut swaps = self.swaps.iter_mut().rev();
        if let Some(swap) = swaps.find(|s| s.id == undo.undone) {
            swap.undone_at = Some(self.now);
        }
        // A deadline belongs to the revision that was undone.
        self.confirm_by = None;
        self.keep_until = None;
        self.restored = Some(id);
        self.begin_verifying(touched, true);
        self.tell_change(NoticeEvent::ChangeRolledBack, false);
        if let Some((incident, pool)) = &undo.incident {
            self.rolled_back(*incident, pool, undo.undone);
        }
        let outcome = Outcome::RolledBack {
            revision: id,
            undone: undo.undone,
            state,
        };
        self.answer(request, outcome);
    }

    /// `confirm`.
    pub(crate) fn confirm(
        &mut self,
        request: RequestId,
        revision: Option<RevisionId>,
        author: &str,
    ) {
        let running = self.running.record.id;
        if let Some(other) = revision.filter(|r| *r != running) {
            let reason = refuse::base_moved(other, running);
            self.reply(request, refuse::refused(*reason, Vec::new(), None));
            return;
        }
        if let Some(change) = &self.change {
            let reason = refuse::in_flight(change.target.record.id, "being swapped in");
            self.reply(request, refuse::refused(*reason, Vec::new(), None));
            return;
        }
        let with_evidence = matches!(self.phase, Phase::Settled);
        let text = if with_evidence {
            format!("{running} is confirmed")
        } else {
            format!("{running} is confirmed without evidence")
        };
        let entries = vec![
            Entry::ConfirmBy {
                id: running,
                confirm_by: None,
            },
            Entry::RevisionState {
                id: running,
                state: RevisionState::Confirmed,
                at: self.wall,
                why: text.clone(),
                incident: None,
            },
            self.line(EventSource::Human, "config.confirmed", author, text),
        ];
        let gate = Gate::Confirm {
            request,
            revision: running,
            with_evidence,
        };
        self.ledger.gate(entries, gate, &mut self.out);
    }

    /// The confirmation is on disk: a person answers for the revision, so it is in force like a verified one, over restarts
    /// too. The tests go on, and undo it like any other that they find at fault.
    pub(crate) fn confirmed(
        &mut self,
        request: RequestId,
        revision: RevisionId,
        with_evidence: bool,
    ) {
        if self.running.record.id == revision {
            self.confirm_by = None;
            self.running.record.confirm_by = None;
            self.person_confirmed = true;
            self.mark(revision, RevisionState::Confirmed);
            self.settle();
        }
        let outcome = Outcome::Confirmed {
            revision,
            with_evidence,
        };
        self.reply(request, outcome);
    }

    /// Nobody confirmed in time.
    pub(crate) fn check_confirm(&mut self) {
        if self.change.is_some() || self.confirm_by.is_none_or(|at| self.now < at) {
            return;
        }
        let Some(target) = self.target().cloned() else {
            self.confirm_by = None;
            return;
        };
        if self.admits_backends(&target.config).is_err() {
            return;
        }
        let undo = Undo {
            undone: self.running.record.id,
            author: evenkeel_incident::lifecycle::GUARD.to_owned(),
            why: "nobody confirmed it in time".to_owned(),
            incident: None,
            quarantine: false,
            without_disk: true,
        };
        self.begin_rollback(target, undo, None);
    }

    fn tell_change(&mut self, event: NoticeEvent, page: bool) {
        let record = &self.running.record;
        let title = if event == NoticeEvent::ChangeApplied {
            format!(
                "{} applied by {}: {}",
                record.id, record.author, record.reason
            )
        } else {
            format!("rolled back to {}", record.id)
        };
        let mut lines = Vec::new();
        if page {
            lines.push("automatic rollback is suspended for it (--keep)".to_owned());
        }
        let notice = of_change(event, record.id, &title, &lines, self.wall);
        self.notify_all(notice);
    }
}

/// The findings that refuse a proposal.
fn blocking(proposal: &Proposal) -> Vec<Finding> {
    let of = |i: &usize| proposal.findings.get(*i).cloned();
    proposal.blocking.iter().filter_map(of).collect()
}

fn names(pools: &[Name]) -> String {
    if pools.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<&str> = pools.iter().map(Name::as_str).collect();
    names.join(", ")
}
