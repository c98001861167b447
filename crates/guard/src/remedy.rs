//! When the guard undoes a revision by itself, and why not.
//!
//! All of the rules of automatic rollback must hold; each that does not has its sentence, which is what the
//! suggestion says. Evidence that may still come (hold, change in flight, no harm yet) only waits.
//! A rollback is judged like any load change, at the present rate, membership and health: it must gain
//! something and overload nobody who is not overloaded now.
//!
//! Limits: loads come from the closed form; where load decides the shares, from the last forecast, and by the
//! weights when that is older than two minutes; capacity unknown: the largest share over its intended one is compared instead.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::{Member, expected_shares};
use evenkeel_incident::lifecycle::GUARD;
use evenkeel_model::blame::{Cause, Mechanism, Subject};
use evenkeel_model::canonical::{content_hash, to_toml};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Algorithm, Config, Leave, Pool, Remedy};
use evenkeel_model::diff::{RevertError, revert};
use evenkeel_model::ids::{IncidentId, Name, RevisionId};
use evenkeel_model::record::{RevisionRecord, RevisionState};

use crate::action::{Action, PoolRate};
use crate::change::Undo;
use crate::clients::top_share_max;
use crate::desk::Case;
use crate::event::{PoolLoad, Restorable, Token};
use crate::state::Inner;
use crate::treat::Treatment;
use crate::watch::{PoolWatch, WINDOW};

/// A revision older than this is not undone automatically.
const NEW_FOR: Duration = Duration::from_mins(30);
/// One automatic rollback per pool in this time.
pub(crate) const ONCE_IN: Duration = Duration::from_mins(30);
/// The span of the daily limit.
pub(crate) const DAY: Duration = Duration::from_hours(24);
/// Automatic rollbacks a day.
const PER_DAY: usize = 3;
/// The target's forecast is refreshed this often.
const FORECAST_EVERY: Duration = Duration::from_secs(30);
/// An older one is not used.
const FORECAST_MAX_AGE: Duration = Duration::from_mins(2);
/// A rollback must lower the highest load by at least this factor.
const GAIN: f64 = 0.98;

/// The forecast of the rollback target, kept fresh so that a rollback never waits.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Outlook {
    asked: Option<(Token, RevisionId)>,
    asked_at: Option<Mono>,
    ready: Option<(RevisionId, Mono, Vec<PoolLoad>)>,
    /// Membership changed since.
    pub(crate) stale: bool,
}

impl Outlook {
    /// A forecast came.
    pub(crate) fn ready(&mut self, token: Token, pools: Vec<PoolLoad>, now: Mono) {
        if let Some((_, revision)) = self.asked.take_if(|(asked, _)| *asked == token) {
            self.ready = Some((revision, now, pools));
        }
    }

    fn load(&self, revision: RevisionId, pool: &Name, now: Mono) -> Option<&PoolLoad> {
        let (of, at, pools) = self.ready.as_ref()?;
        let fresh = *of == revision && !self.stale && now.since(*at) <= FORECAST_MAX_AGE;
        pools.iter().find(|p| fresh && p.pool == *pool)
    }
}

/// A revision that harms nobody is only spoken of after this.
pub(crate) const SUGGEST_AFTER: Duration = Duration::from_secs(10);
/// Least time between two suggestions of one incident.
const SUGGEST_EVERY: Duration = Duration::from_mins(1);

/// What is to be done about an incident.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Decision {
    /// Act.
    Do(Doing),
    /// Say what a person could do, and why the guard does not.
    Suggest(String),
    /// More evidence may come, or nothing is wanted.
    Wait,
}

/// What the guard does by itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Doing {
    /// Put this in place of the revision to blame.
    Undo(Box<Restorable>, RevisionId),
    /// Another remedy.
    Treat(Treatment),
}

impl Inner {
    /// Decides about an open incident, once a tick.
    pub(crate) fn consider(&mut self, id: IncidentId) {
        let Some(case) = self.desk.case(id) else {
            return;
        };
        if case.begun || case.acted.is_some() {
            return;
        }
        let Some(pool) = case.record.pool.clone() else {
            return;
        };
        match self.decide(case, &pool) {
            Decision::Wait => {}
            Decision::Suggest(text) => {
                // Figures move every second; people need not hear each of them.
                let said = case
                    .suggested
                    .as_ref()
                    .is_some_and(|(last, at)| *last == text || self.now.since(*at) < SUGGEST_EVERY);
                if !said {
                    let now = self.now;
                    self.acted(id, "suggest", text.clone(), "suggested", None);
                    if let Some(case) = self.desk.case_mut(id) {
                        case.suggested = Some((text, now));
                    }
                }
            }
            Decision::Do(Doing::Undo(target, blamed)) => self.undo(id, pool, *target, blamed),
            Decision::Do(Doing::Treat(treatment)) => self.treat(id, pool, treatment),
        }
    }

    fn undo(&mut self, id: IncidentId, pool: Name, target: Restorable, blamed: RevisionId) {
        if let Some(case) = self.desk.case_mut(id) {
            case.begun = true;
        }
        let (half_hour, day) = (self.now.plus(ONCE_IN), self.now.plus(DAY));
        let now = self.now;
        self.desk.rollbacks.retain(|(_, _, until)| *until > now);
        self.desk.rollbacks.push((pool.clone(), half_hour, day));
        let without_disk = self.targets.iter().any(|t| t.record.id == target.record.id);
        let undo = Undo {
            undone: self.running.record.id,
            author: GUARD.to_owned(),
            why: format!("incident {id}: {blamed} is to blame"),
            incident: Some((id, pool)),
            quarantine: true,
            without_disk,
        };
        self.begin_rollback(target, undo, None);
    }

    fn decide(&self, case: &Case, pool: &Name) -> Decision {
        let Some(diagnosis) = &case.record.diagnosis else {
            return Decision::Wait;
        };
        if !case.opinion.is_steady() {
            return Decision::Wait;
        }
        let blamed = match (diagnosis.cause, &diagnosis.subject) {
            (Cause::ConfigRevision, Some(Subject::Revision(id))) => *id,
            (cause, subject) => {
                return match advice(cause, subject.as_ref()) {
                    Some(advice) => self.treatment(case, diagnosis, advice),
                    None => Decision::Wait,
                };
            }
        };
        let Some(watch) = self.pools.get(pool) else {
            return Decision::Wait;
        };
        match watch.pool.remedies.of(Remedy::Rollback) {
            Leave::Off => return Decision::Wait,
            Leave::Suggest => {
                return Decision::Suggest(format!(
                    "roll back {blamed} by hand; not done by itself: `remedies.rollback` is \"suggest\""
                ));
            }
            Leave::Act => {}
        }
        if !case.opinion.is_sure() {
            // Evidence may still come; only then is it worth a word.
            if self.now.since(case.onset.hi) < SUGGEST_AFTER {
                return Decision::Wait;
            }
            return Decision::Suggest(format!(
                "roll back {blamed} by hand; not done by itself: it leads the other candidates by less than {:.0} nats",
                evenkeel_diagnose::MARGIN_TO_ACT
            ));
        }
        if self.hold.reason(self.now).is_some() || self.change.is_some() {
            return Decision::Wait;
        }
        match self.permits(case, watch, blamed) {
            Ok(true) => {}
            Ok(false) => return Decision::Wait,
            Err(why) => {
                return Decision::Suggest(format!(
                    "roll back {blamed} by hand; not done by itself: {why}"
                ));
            }
        }
        match self.destination(watch, blamed, diagnosis.mechanism) {
            Ok(target) => Decision::Do(Doing::Undo(Box::new(target), blamed)),
            Err(why) => self.instead_of_rollback(case, diagnosis, why),
        }
    }

    /// The rules about the suspect and the evidence. `Ok(false)`: not yet; `Err`: not by the guard, and why.
    fn permits(&self, case: &Case, watch: &PoolWatch, blamed: RevisionId) -> Result<bool, String> {
        let Some(swap) = self.swaps.iter().rev().find(|s| s.id == blamed) else {
            return Err("it was not swapped in since the start".to_owned());
        };
        if self.now.since(swap.at) > NEW_FOR {
            return Err("it runs for more than 30 min".to_owned());
        }
        if swap.undone_at.is_some() {
            return Ok(false);
        }
        if swap.automatic {
            return Err("an automatic rollback put it there".to_owned());
        }
        if self.restored == Some(blamed) {
            return Err("a rollback put it there".to_owned());
        }
        if case.onset.hi < swap.at {
            return Err("the fault began before it was swapped in".to_owned());
        }
        if self.keep_until.is_some() {
            return Err("--keep suspends automatic rollback".to_owned());
        }
        if watch.revision() != Some(self.running.record.id) || watch.raised().is_empty() {
            return Ok(false);
        }
        let spent = |until: &Mono| *until > self.now;
        let mine = |(name, half_hour, _): &&(Name, Mono, Mono)| {
            *name == watch.pool.name && spent(half_hour)
        };
        if self.desk.rollbacks.iter().any(|r| mine(&r)) {
            return Err("this pool had an automatic rollback within 30 min".to_owned());
        }
        let today = self.desk.rollbacks.iter().filter(|(_, _, day)| spent(day));
        if today.count() >= PER_DAY {
            return Err("three automatic rollbacks were made within a day".to_owned());
        }
        if self.coming_in(blamed).is_some() {
            return Ok(true); // a step ends by evidence or is undone: nobody waits for harm
        }
        self.harms(case, watch)
    }

    /// Whether what is diagnosed does harm that calls for action. `Ok(false)`: not yet; `Err`: it does none, or to too few.
    pub(crate) fn harms(&self, case: &Case, watch: &PoolWatch) -> Result<bool, String> {
        // Without a check that passes anywhere fewer than `min_healthy` are known to be well.
        if watch.overloaded().is_some() || watch.blind.is_some() {
            return Ok(true);
        }
        let missed = watch.harm_alarmed() || watch.objective_missed() == Some(true);
        if missed && enough_clients(case, watch) {
            return Ok(true);
        }
        // Harm follows an overload within seconds; only then is it worth a word that there is none.
        if self.now.since(case.onset.hi) < SUGGEST_AFTER {
            return Ok(false);
        }
        Err(if missed {
            "too few different clients are harmed for the guard to act".to_owned()
        } else {
            "nobody is harmed and no backend is above its planned limit".to_owned()
        })
    }

    /// What to put in place, or why nothing.
    fn destination(
        &self,
        watch: &PoolWatch,
        blamed: RevisionId,
        mechanism: Mechanism,
    ) -> Result<Restorable, String> {
        let target = if blamed == self.running.record.id {
            let none = "there is no verified revision to go back to";
            self.target().cloned().ok_or(none)?
        } else {
            self.reverted(blamed)?
        };
        let id = target.record.id;
        for pool in &target.config.pools {
            let live = if mechanism == Mechanism::HealthCheck {
                // The blamed check is what calls them dead.
                pool.backends.iter().filter(|b| b.weight > 0).count()
            } else {
                self.live_in(&target.config, &pool.name)
            };
            let mine = pool.name == watch.pool.name;
            let now = self.live_in(&self.running.config, &pool.name);
            if live < pool.min_healthy as usize && (mine || live < now) {
                return Err(format!(
                    "not rolled back to {id}: {live} of its backends in `{}` live, `min_healthy` is {}; \
                     suggest weights by intent over the living: {}",
                    pool.name,
                    pool.min_healthy,
                    self.living_weights(pool)
                ));
            }
        }
        if let Some((pool, backend, load)) = self.overloads(&target.config) {
            return Err(format!(
                "not rolled back to {id}: it would put {:.0} % of its capacity on `{pool}/{backend}`",
                load * 100.0
            ));
        }
        if !self.gains(watch, &target, mechanism) {
            return Err(format!(
                "not rolled back to {id}: at the present rate it would not lower the highest load"
            ));
        }
        Ok(target)
    }

    /// The blamed difference taken out of what runs, as a new revision.
    fn reverted(&self, blamed: RevisionId) -> Result<Restorable, String> {
        let swap = self.swaps.iter().rev().find(|s| s.id == blamed);
        let swap = swap.ok_or("the blamed revision is not in memory")?;
        let config = revert(&self.running.config, &swap.before, &swap.after).map_err(|error| {
            match error {
                RevertError::Conflict(paths) => format!(
                    "{blamed} is to blame, but newer revisions changed the same: {}; revert it by hand",
                    paths.join(", ")
                ),
                RevertError::Invalid(_) => {
                    format!("{blamed} is to blame, but what runs is not valid without it")
                }
            }
        })?;
        if content_hash(&config) == self.running.record.hash {
            return Err(format!(
                "{blamed} is to blame, but what runs no longer has it"
            ));
        }
        let record = RevisionRecord {
            id: RevisionId(self.next_revision),
            parent: Some(self.running.record.id),
            hash: content_hash(&config),
            text: Arc::from(to_toml(&config)),
            author: GUARD.to_owned(),
            reason: format!("takes {blamed} out of {}", self.running.record.id),
            state: RevisionState::Applying,
            at: self.wall,
            forced: false,
            confirm_by: None,
            keep_until: None,
            incident: None,
        };
        let mut config = Arc::new(config);
        self.keep_members(&mut config);
        Ok(Restorable { record, config })
    }

    /// Whether the target is better for the blamed pool at the present rate.
    fn gains(&self, watch: &PoolWatch, target: &Restorable, mechanism: Mechanism) -> bool {
        let Some(then) = target.config.pool(watch.pool.name.as_str()) else {
            return false;
        };
        let returns = matches!(
            mechanism,
            Mechanism::HealthCheck
                | Mechanism::Limit
                | Mechanism::Timeout
                | Mechanism::Retry
                | Mechanism::Route
                | Mechanism::Tls
                | Mechanism::Membership
        );
        if returns {
            let routes = target.config.routes != self.running.config.routes;
            return *then != watch.pool || routes;
        }
        let highest = |loads: &[(Name, f64)]| loads.iter().map(|(_, l)| *l).fold(0.0, f64::max);
        let (now, new) = (
            present(watch),
            self.predicted(watch, target.record.id, then),
        );
        match (now, new) {
            (Some(now), Some(new)) => highest(&new) < highest(&now) * GAIN,
            _ => strain(watch, &watch.pool) * GAIN > strain(watch, then),
        }
    }

    /// The first backend that `config` would put above its capacity and that is not above it now.
    pub(crate) fn overloads(&self, config: &Config) -> Option<(Name, Name, f64)> {
        config.pools.iter().find_map(|pool| {
            let watch = self.pools.get(&pool.name)?;
            let now = present(watch).unwrap_or_default();
            let over_now = |name: &Name| now.iter().any(|(n, load)| n == name && *load > 1.0);
            let then = self.predicted(watch, RevisionId(0), pool)?;
            let worst = then
                .into_iter()
                .find(|(n, load)| *load > 1.0 && !over_now(n))?;
            Some((pool.name.clone(), worst.0, worst.1))
        })
    }

    /// Load over capacity by backend, were `pool` in place at the present rate; `None`: not known.
    fn predicted(
        &self,
        watch: &PoolWatch,
        revision: RevisionId,
        pool: &Pool,
    ) -> Option<Vec<(Name, f64)>> {
        let names = pool.backends.iter().map(|b| b.name.clone());
        let members = members(watch, &self.effective(pool));
        let mut shares = expected_shares(pool.algorithm, &members);
        if shares.is_none() {
            let forecast = self.outlook.load(revision, &pool.name, self.now);
            let loads = forecast.map(|f| f.utilisation.iter().copied().collect());
            if let Some(Some(loads)) = loads {
                let loads: Vec<f64> = loads;
                return Some(names.zip(loads).collect());
            }
            shares = by_weight(&members);
        }
        let shares = shares?;
        let rate = watch.tries_under(&pool.retry, WINDOW)?;
        let loads: Option<Vec<f64>> = pool
            .backends
            .iter()
            .zip(shares)
            .map(|(backend, share)| Some(rate * share / backend.capacity_rps?))
            .collect();
        Some(names.zip(loads?).collect())
    }

    fn living_weights(&self, pool: &Pool) -> String {
        let watch = self.pools.get(&pool.name);
        let out = |i: usize| {
            let name = pool.backends.get(i).map(|b| &b.name);
            name.is_some_and(|n| watch.is_some_and(|w| w.is_out(n)))
        };
        let shares = pool.intended_shares(|i| !out(i));
        let parts = pool.backends.iter().zip(shares);
        let parts: Vec<String> = parts
            .filter(|(_, share)| *share > 0.0)
            .map(|(backend, share)| format!("{} {:.0} %", backend.name, share * 100.0))
            .collect();
        parts.join(", ")
    }

    /// Keeps the forecast of the target fresh where no closed form can stand in for it.
    pub(crate) fn refresh_outlook(&mut self) {
        let due = self
            .outlook
            .asked_at
            .is_none_or(|at| self.now.since(at) >= FORECAST_EVERY);
        if !(due || (self.outlook.stale && self.outlook.asked.is_none())) {
            return;
        }
        let Some(target) = self.target() else {
            return;
        };
        let (revision, config) = (target.record.id, Arc::clone(&target.config));
        let pools = config.pools.iter().map(|pool| {
            let watch = self.pools.get(&pool.name);
            let backends = pool.backends.iter().map(|b| b.name.clone());
            PoolRate {
                pool: pool.name.clone(),
                rps: watch.and_then(|w| w.rates(WINDOW)).map(|r| r.iter().sum()),
                eligible: backends
                    .filter(|name| watch.is_none_or(|w| !w.is_out(name)))
                    .collect(),
            }
        });
        let pools = pools.collect();
        let token = self.ledger.token();
        self.outlook.asked = Some((token, revision));
        self.outlook.asked_at = Some(self.now);
        self.outlook.stale = false;
        self.out.push(Action::RequestForecast {
            token,
            config,
            pools,
        });
    }
}

/// Causes that no rollback of the guard removes: what a person could do. `None`: nothing is known.
fn advice(cause: Cause, subject: Option<&Subject>) -> Option<String> {
    let whom = subject.map_or_else(|| "it".to_owned(), ToString::to_string);
    let text = match cause {
        Cause::Unknown | Cause::ConfigRevision => return None,
        Cause::ConfigDrift => format!("apply the journalled revision again: {whom} was bypassed"),
        Cause::Deployment => format!("roll back {whom}"),
        Cause::BackendFault => format!("drain {whom} and look at it"),
        Cause::CapacityShortfall => format!("add capacity to {whom}; no rollback would help"),
        Cause::HealthCheck => format!("look at what the health check of {whom} answers"),
        Cause::Membership => format!("compare the members of {whom} with its registry"),
        Cause::Drain => format!("undrain backends of {whom}"),
        Cause::Limit => format!("raise the limit of {whom}"),
        Cause::RetryStorm => format!("lower the retry budget of {whom}"),
        Cause::HotKey if matches!(subject, Some(Subject::Key(_))) => {
            format!("set `bounded_load`, or split or cache {whom}")
        }
        Cause::HotKey => format!(
            "shorten the `ttl` of the sticky cookie of {whom}, or wait for its sessions to end"
        ),
        Cause::Network => format!("look at the network to {whom}"),
        Cause::Dependency => format!("look at what the backends of {whom} share"),
        Cause::Certificate => format!("renew the certificate of {whom}"),
    };
    Some(text)
}

/// Whether the harm is spread over enough clients to be the service's fault and not one client's.
fn enough_clients(case: &Case, watch: &PoolWatch) -> bool {
    let least = watch.pool.harmed_clients_min;
    let top = top_share_max(least);
    let harmed = &case.clients;
    harmed.harmed.estimate() >= f64::from(least) && harmed.top_harmed_share() <= top
}

/// Load over capacity by backend, as measured; `None`: a capacity or the rate is not known.
pub(crate) fn present(watch: &PoolWatch) -> Option<Vec<(Name, f64)>> {
    let rates = watch.rates(WINDOW)?;
    let backends = watch.pool.backends.iter().zip(rates);
    backends
        .map(|(b, rate)| Some((b.name.clone(), rate / b.capacity_rps?)))
        .collect()
}

/// The members of `pool` as they would be now.
pub(crate) fn members(watch: &PoolWatch, pool: &Pool) -> Vec<Member> {
    let backends = pool.backends.iter();
    backends
        .map(|backend| Member {
            name: backend.name.clone(),
            weight: backend.weight,
            eligible: !watch.is_out(&backend.name),
        })
        .collect()
}

/// The closed form for every algorithm: where load decides, shares follow the weights as long as speeds are alike.
pub(crate) fn by_weight(members: &[Member]) -> Option<Vec<f64>> {
    expected_shares(Algorithm::Random, members)
}

/// Highest share over intended share that `pool` implies: how uneven it is where no capacity is known.
fn strain(watch: &PoolWatch, pool: &Pool) -> f64 {
    let members = members(watch, pool);
    let intended = pool.intended_shares(|i| members.get(i).is_some_and(|m| m.eligible));
    let Some(shares) = by_weight(&members) else {
        return 0.0;
    };
    let pairs = shares.iter().zip(&intended).filter(|(_, i)| **i > 0.0);
    pairs.map(|(s, i)| s / i).fold(0.0, f64::max)
}
