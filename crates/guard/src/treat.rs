//! Remedies besides rollback: what the guard does by itself about a cause that no rollback removes.
//!
//! Each is one of the means that people have, in the guard's name: a drain, or a revision that waits to be confirmed. So it is
//! judged, journalled, shown, ends by itself and can be taken back by the same commands. A pool allows each by
//! `[pool.NAME.remedies]`; what is not allowed, or what its rules forbid, is suggested with the reason.
//!
//! Limits: one remedy at a time for an incident, [`PER_DAY`] for a pool in a day. It stands for [`STANDS`], when the fault comes
//! back within the day for [`STANDS_AGAIN`]. Where nothing says what the others can carry, a backend is only taken out while
//! two others are left.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_incident::lifecycle::GUARD;
use evenkeel_model::blame::{Cause, Mechanism, Subject};
use evenkeel_model::canonical::{content_hash, to_toml};
use evenkeel_model::config::{Config, Intent, Leave, Pool, Remedy};
use evenkeel_model::ids::{IncidentId, Name, RevisionId};
use evenkeel_model::parse::parse;
use evenkeel_model::record::{
    DiagnosisRecord, DrainRecord, Entry, EventSource, RevisionRecord, RevisionState,
};
use evenkeel_model::units::format_duration;

use crate::change::{Change, Kind, Stage};
use crate::desk::{Acted, Case, Standing};
use crate::event::Restorable;
use crate::remedy::{DAY, Decision, Doing, SUGGEST_AFTER, by_weight, members, present};
use crate::state::{Gate, Inner};
use crate::watch::{PoolWatch, WINDOW};

/// How long a remedy stands.
const STANDS: Duration = Duration::from_mins(10);
/// How long the next ones of a day stand.
const STANDS_AGAIN: Duration = Duration::from_hours(1);
/// Remedies for a pool in a day.
const PER_DAY: usize = 6;

/// A remedy that may be carried out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Treatment {
    /// Drain this backend.
    Eject(Name),
    /// Run this configuration, until it is confirmed or its time is over.
    Run(Remedy, Box<Config>),
    /// Swap in once more what the journal says.
    Reapply,
}

/// The remedy for a cause, whether or not it is allowed.
fn remedy_for(cause: Cause, subject: Option<&Subject>) -> Option<Remedy> {
    match (cause, subject) {
        (Cause::BackendFault, Some(Subject::Backend { .. })) => Some(Remedy::Eject),
        (Cause::RetryStorm, _) => Some(Remedy::Retries),
        (Cause::HealthCheck, _) => Some(Remedy::FailOpen),
        (Cause::ConfigDrift, _) => Some(Remedy::Reapply),
        _ => None,
    }
}

impl Inner {
    /// What to do about a diagnosed cause that no rollback removes; `advice` is for a person.
    pub(crate) fn treatment(
        &self,
        case: &Case,
        diagnosis: &DiagnosisRecord,
        advice: String,
    ) -> Decision {
        match remedy_for(diagnosis.cause, diagnosis.subject.as_ref()) {
            Some(remedy) => self.treatment_by(remedy, case, diagnosis, advice),
            None => Decision::Suggest(advice),
        }
    }

    /// The same for a revision that is to blame and cannot be undone, for the reason that `advice` gives.
    pub(crate) fn instead_of_rollback(
        &self,
        case: &Case,
        diagnosis: &DiagnosisRecord,
        advice: String,
    ) -> Decision {
        match diagnosis.mechanism {
            Mechanism::Weight => self.treatment_by(Remedy::Weights, case, diagnosis, advice),
            _ => Decision::Suggest(advice),
        }
    }

    fn treatment_by(
        &self,
        remedy: Remedy,
        case: &Case,
        diagnosis: &DiagnosisRecord,
        advice: String,
    ) -> Decision {
        let pool = case.record.pool.as_ref();
        let Some(watch) = pool.and_then(|pool| self.pools.get(pool)) else {
            return Decision::Wait;
        };
        match watch.pool.remedies.of(remedy) {
            Leave::Off => return Decision::Wait,
            Leave::Suggest => return Decision::Suggest(advice),
            Leave::Act => {}
        }
        let not_by_itself =
            |why: String| Decision::Suggest(format!("{advice}; not done by itself: {why}"));
        if !case.opinion.is_sure() {
            // Evidence may still come; only then is it worth a word.
            return if self.now.since(case.onset.hi) < SUGGEST_AFTER {
                Decision::Wait
            } else {
                not_by_itself(format!(
                    "it leads the other candidates by less than {:.0} nats",
                    evenkeel_diagnose::MARGIN_TO_ACT
                ))
            };
        }
        if self.hold.reason(self.now).is_some() || self.change.is_some() {
            return Decision::Wait;
        }
        match self.permits_remedy(remedy, case, watch) {
            Ok(true) => {}
            Ok(false) => return Decision::Wait,
            Err(why) => return not_by_itself(why),
        }
        match self.prescribe(remedy, watch, diagnosis.subject.as_ref()) {
            Ok(treatment) => Decision::Do(Doing::Treat(treatment)),
            Err(why) => not_by_itself(why),
        }
    }

    /// The rules about the evidence. `Ok(false)`: not yet; `Err`: not by the guard, and why.
    fn permits_remedy(
        &self,
        remedy: Remedy,
        case: &Case,
        watch: &PoolWatch,
    ) -> Result<bool, String> {
        if !self.ledger.is_ok() {
            return Err("the journal takes no entries".to_owned());
        }
        if self.treatments_today(&watch.pool.name) >= PER_DAY {
            return Err(format!("{PER_DAY} remedies were tried within a day"));
        }
        if remedy == Remedy::Reapply {
            return Ok(true); // what runs was never let in, harm or not
        }
        self.harms(case, watch)
    }

    fn treatments_today(&self, pool: &Name) -> usize {
        let treated = self.desk.treatments.iter();
        let today = treated.filter(|(name, until)| name == pool && *until > self.now);
        today.count()
    }

    /// What exactly is done, or why nothing.
    fn prescribe(
        &self,
        remedy: Remedy,
        watch: &PoolWatch,
        subject: Option<&Subject>,
    ) -> Result<Treatment, String> {
        let running = self.running.record.id;
        let run = |edit: &dyn Fn(&mut Pool)| {
            let mut config = Config::clone(&self.running.config);
            config
                .pools
                .iter_mut()
                .filter(|pool| pool.name == watch.pool.name)
                .for_each(edit);
            // Read anew: what is left out is derived.
            let read = parse(&to_toml(&config), None).config;
            let config = read.ok_or("what runs is not valid with it")?;
            if content_hash(&config) == self.running.record.hash {
                return Err("the running revision has it already".to_owned());
            }
            if self.ramp.is_some() {
                return Err(format!("{running} is still coming in by parts"));
            }
            if self.confirm_by.is_some() {
                return Err(format!("{running} waits to be confirmed"));
            }
            Ok(Treatment::Run(remedy, Box::new(config)))
        };
        let running = self.running.record.id;
        match (remedy, subject) {
            (Remedy::Eject, Some(Subject::Backend { backend, .. })) => self.ejects(watch, backend),
            (Remedy::Weights, _) if watch.pool.intent == Intent::Weight => {
                Err("the weights are the intent".to_owned())
            }
            (Remedy::Weights, _) if self.rollouts.overlaid(&watch.pool, running).is_some() => {
                Err("a deployment gives the weights".to_owned())
            }
            (Remedy::Weights, _) => run(&|pool| by_intent(pool)),
            (Remedy::Retries, _) => run(&|pool| pool.retry.attempts = 0),
            (Remedy::FailOpen, _) => run(&|pool| pool.health = None),
            (Remedy::Reapply, _) => Ok(Treatment::Reapply),
            _ => Err("there is nothing that could be done".to_owned()),
        }
    }

    /// Whether `backend` can be spared.
    fn ejects(&self, watch: &PoolWatch, backend: &Name) -> Result<Treatment, String> {
        let pool = &watch.pool.name;
        match self.admits_fewer(pool, backend) {
            Ok(true) => {}
            Ok(false) => return Err(format!("`{pool}/{backend}` takes no traffic already")),
            Err(finding) => return Err(finding.message),
        }
        let out = self.drains.keys().filter(|(name, _)| name == pool).count();
        if out >= watch.pool.ejections_max() {
            return Err(format!(
                "{out} of {} backends are drained already",
                watch.pool.backends.len()
            ));
        }
        let mut left = members(watch, &watch.pool);
        for member in left.iter_mut().filter(|member| member.name == *backend) {
            member.eligible = false;
        }
        let Some((name, load)) = highest_load(watch, by_weight(&left).unwrap_or_default()) else {
            let others = left.iter().filter(|m| m.eligible && m.weight > 0).count();
            return if others >= 2 {
                Ok(Treatment::Eject(backend.clone()))
            } else {
                Err("nothing says whether the other backend can carry it all".to_owned())
            };
        };
        let now = present(watch).unwrap_or_default();
        let is_over_now = now.iter().any(|(n, load)| *n == name && *load > 1.0);
        if load > 1.0 && !is_over_now {
            return Err(format!(
                "without it `{pool}/{name}` would be at {:.0} % of its capacity",
                load * 100.0
            ));
        }
        Ok(Treatment::Eject(backend.clone()))
    }

    /// Begins a remedy; the journal is asked first.
    pub(crate) fn treat(&mut self, id: IncidentId, pool: Name, treatment: Treatment) {
        let now = self.now;
        self.desk.treatments.retain(|(_, until)| *until > now);
        let lasts = match self.treatments_today(&pool) {
            0 => STANDS,
            _ => STANDS_AGAIN,
        };
        let day = now.plus(DAY);
        self.desk.treatments.push((pool.clone(), day));
        if let Some(case) = self.desk.case_mut(id) {
            case.begun = true;
        }
        match treatment {
            Treatment::Eject(backend) => self.eject(id, pool, backend, lasts),
            Treatment::Run(remedy, config) => self.run_for(id, remedy, *config, lasts),
            Treatment::Reapply => {
                let running = self.running.record.id;
                let text = format!("{running} is swapped in again: something else runs");
                let line = self.line(EventSource::Controller, "config.reapplying", GUARD, text);
                let target = self.running.clone();
                self.begin_change(target, Kind::Reapply(id), vec![line]);
            }
        }
    }

    fn eject(&mut self, id: IncidentId, pool: Name, backend: Name, lasts: Duration) {
        let record = DrainRecord {
            at: self.wall,
            until: self.wall.plus(lasts),
            pool,
            backend,
            author: GUARD.to_owned(),
            reason: format!("incident {id}: it is at fault"),
        };
        self.begin_drain(record, lasts, None);
    }

    /// The drain of a backend at fault is in place.
    pub(crate) fn ejected(&mut self, record: &DrainRecord) {
        let Some(id) = self.desk.open_of(&record.pool).map(|case| case.record.id) else {
            return;
        };
        let detail = format!(
            "{}/{} is drained for {}",
            record.pool,
            record.backend,
            format_duration(record.until.since(record.at))
        );
        let standing = Standing::Drain(record.backend.clone());
        self.treated(id, Remedy::Eject, detail, Some(standing));
    }

    /// The journal did not take the drain.
    pub(crate) fn not_ejected(&mut self, record: &DrainRecord, why: &str) {
        if let Some(id) = self.desk.open_of(&record.pool).map(|case| case.record.id) {
            self.not_treated(id, Remedy::Eject, why);
        }
    }

    fn run_for(&mut self, id: IncidentId, remedy: Remedy, config: Config, lasts: Duration) {
        let record = RevisionRecord {
            id: RevisionId(self.next_revision),
            parent: Some(self.running.record.id),
            hash: content_hash(&config),
            text: Arc::from(to_toml(&config)),
            author: GUARD.to_owned(),
            reason: format!(
                "incident {id}: remedy `{}` for {}",
                remedy.as_str(),
                format_duration(lasts)
            ),
            state: RevisionState::Applying,
            at: self.wall,
            forced: false,
            confirm_by: Some(self.wall.plus(lasts)),
            keep_until: None,
            incident: Some(id),
        };
        let text = format!(
            "{} on {}: {}",
            record.id, self.running.record.id, record.reason
        );
        let mut entries = vec![Entry::Revision(record.clone())];
        entries.push(self.line(EventSource::Controller, "config.accepted", GUARD, text));
        let mut config = Arc::new(config);
        self.keep_members(&mut config);
        let target = Restorable { record, config };
        let kind = Kind::Apply {
            keep: None,
            remedy: Some((id, remedy)),
        };
        self.begin_change(target, kind, entries);
    }

    fn begin_change(&mut self, target: Restorable, kind: Kind, entries: Vec<Entry>) {
        let serial = target.record.id.0;
        self.change = Some(Change {
            target,
            request: None,
            kind,
            stage: Stage::Journalling,
            since: self.now,
        });
        self.ledger
            .gate(entries, Gate::Change(serial), &mut self.out);
    }

    /// A remedy is in place.
    pub(crate) fn treated(
        &mut self,
        id: IncidentId,
        remedy: Remedy,
        detail: String,
        standing: Option<Standing>,
    ) {
        let after = match &standing {
            Some(Standing::Revision(revision)) => Some(*revision),
            _ => None,
        };
        self.acted(id, remedy.as_str(), detail, "done", after);
        self.is_done(id, None, standing);
    }

    /// A remedy did not come about.
    pub(crate) fn not_treated(&mut self, id: IncidentId, remedy: Remedy, why: &str) {
        let failed = format!("failed: {why}");
        self.acted(id, remedy.as_str(), String::new(), &failed, None);
        self.not_begun(id);
    }

    /// Whether what was done about an incident of `pool` still holds, so that calm proves nothing of the cause.
    pub(crate) fn stands(&self, pool: &Name, acted: &Acted) -> bool {
        match &acted.standing {
            Some(Standing::Drain(backend)) => self.drains.holds(pool, backend),
            Some(Standing::Revision(id)) => {
                *id == self.running.record.id && self.confirm_by.is_some()
            }
            None => false,
        }
    }
}

/// Weights as the intent has them: from the capacities, else alike. A version that waits for its deployment goes on waiting.
fn by_intent(pool: &mut Pool) {
    let intended = pool.intended_shares(|_| true);
    let meant = pool.backends.iter_mut().zip(intended);
    for (backend, _) in meant.filter(|(_, share)| *share > 0.0) {
        backend.weight_declared = pool.intent != Intent::Capacity;
        backend.weight = 1;
    }
}

/// The backend that would have the highest load over capacity under `shares` of the present rate; `None`: a capacity or the
/// rate is not known.
fn highest_load(watch: &PoolWatch, shares: Vec<f64>) -> Option<(Name, f64)> {
    let rate: f64 = watch.rates(WINDOW)?.iter().sum();
    let loads = watch.pool.backends.iter().zip(shares);
    let loads: Option<Vec<(Name, f64)>> = loads
        .map(|(backend, share)| {
            let load = rate * share / backend.capacity_rps?;
            Some((backend.name.clone(), load))
        })
        .collect();
    loads?.into_iter().max_by(|a, b| a.1.total_cmp(&b.1))
}
