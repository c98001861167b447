//! Evidence for a revision: verified when every pool that it touches shows it, held when it does not come.
//!
//! For each touched pool: each backend's 99 % confidence sequence inside the tolerance band of its intended share
//! (for round robin its deterministic bound, which is certain and far narrower), the harm tests quiet on at
//! least 30 requests, all workers reporting, ten seconds passed. "No alarm yet"
//! is not evidence. Where load decides, the load test has to say so instead. A change that touches no pool's
//! routing needs the ten seconds and the workers.
//!
//! Limits: after ten minutes the revision is held; evidence that comes later still verifies it.

use std::time::Duration;

use evenkeel_detect::harm;
use evenkeel_detect::round_robin;
use evenkeel_detect::sequence::{ALPHA_VERIFIED, Interval, Standing, standing};
use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::config::{Algorithm, Config, Edits, Pool};
use evenkeel_model::ids::{Name, RevisionId};
use evenkeel_model::record::{Entry, EventSource, RevisionState};
use evenkeel_model::tally::RouteKey;

use crate::TARGETS_MAX;
use crate::state::Inner;
use crate::view::Verdict;
use crate::watch::{ENOUGH, PoolWatch};

/// Least time under observation.
pub const VERIFY_AFTER: Duration = Duration::from_secs(10);
/// Held when the evidence has not come by then.
pub const HELD_AFTER: Duration = Duration::from_mins(10);

/// Where the running revision stands.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Phase {
    /// Verified or confirmed.
    Settled,
    /// Evidence is gathered.
    Verifying(Verifying),
    /// It did not come in time; it still may.
    Held(Verifying),
}

/// A revision under observation.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Verifying {
    /// Since when.
    pub(crate) since: Mono,
    /// The pools that must show evidence.
    pub(crate) touched: Vec<Name>,
    /// It is a restored revision: it blocks no further change.
    pub(crate) restored: bool,
}

/// The pools whose traffic differs between the two configurations: who gets it, or what of it.
pub(crate) fn touched(before: &Config, after: &Config) -> Vec<Name> {
    fn routes<'c>(config: &'c Config, pool: &Name) -> Vec<(String, &'c Edits)> {
        let mine = config.routes.iter();
        mine.filter(|route| route.target.pool() == Some(pool))
            .map(|route| (RouteKey::of(route).to_string(), &route.edits))
            .collect()
    }
    after
        .pools
        .iter()
        .filter(|pool| {
            before
                .pool(pool.name.as_str())
                .is_none_or(|old| routes_differently(old, pool))
                || routes(before, &pool.name) != routes(after, &pool.name)
        })
        .map(|pool| pool.name.clone())
        .collect()
}

/// Whether anything that shapes the traffic of a pool or the judgement of its shares differs.
fn routes_differently(a: &Pool, b: &Pool) -> bool {
    let traffic = |pool: &Pool| Pool {
        peak_rps: None,
        headroom: b.headroom,
        n_plus_one: b.n_plus_one,
        objective: b.objective,
        session: b.session.clone(),
        min_healthy: b.min_healthy,
        harmed_clients_min: b.harmed_clients_min,
        ..pool.clone()
    };
    traffic(a) != traffic(b)
}

impl Inner {
    /// A revision was swapped in: its evidence starts from nothing.
    pub(crate) fn begin_verifying(&mut self, touched: Vec<Name>, restored: bool) {
        self.person_confirmed = false;
        self.phase = Phase::Verifying(Verifying {
            since: self.now,
            touched,
            restored,
        });
    }

    /// Once a tick: verified, held, or neither yet.
    pub(crate) fn check_verified(&mut self) {
        let (since, held) = match &self.phase {
            Phase::Settled => return,
            Phase::Verifying(v) => (v.since, false),
            Phase::Held(v) => (v.since, true),
        };
        let overdue = self.now.since(since) >= HELD_AFTER;
        if let Some(ramp) = self.ramp.clone().filter(|_| self.change.is_none()) {
            let goes_on = self.next_part(&ramp, since) || !overdue || held;
            if goes_on || self.take_back(&ramp, since) {
                return;
            }
        }
        let (Phase::Verifying(verifying) | Phase::Held(verifying)) = &self.phase else {
            return;
        };
        let missing = self.missing(verifying);
        let id = self.running.record.id;
        if missing.is_empty() && self.change.is_none() {
            let mut entries = Vec::new();
            let why = "every touched pool shows its evidence";
            self.set_state(id, RevisionState::Verified, why, None, &mut entries);
            let text = format!("{id} is verified");
            entries.push(self.line(EventSource::Controller, "config.verified", "guard", text));
            self.record(entries);
            self.settle();
        } else if overdue && !held {
            let why = format!("no evidence within 10 min: {}", missing.join("; "));
            let verifying = verifying.clone();
            let mut entries = Vec::new();
            self.set_state(id, RevisionState::Held, &why, None, &mut entries);
            entries.push(self.line(EventSource::Controller, "config.held", "guard", why));
            self.record(entries);
            self.phase = Phase::Held(verifying);
        }
    }

    /// What runs is now the newest rollback target.
    pub(crate) fn settle(&mut self) {
        let id = self.running.record.id;
        if self.ramp.is_some() {
            self.come_in(None);
        }
        let mut entries = Vec::new();
        let older: Vec<RevisionId> = self.targets.iter().map(|t| t.record.id).collect();
        for old in older.into_iter().filter(|old| *old != id) {
            let known = self.records.iter().find(|r| r.id == old);
            if known.is_some_and(|r| {
                matches!(r.state, RevisionState::Verified | RevisionState::Confirmed)
            }) {
                let why = format!("{id} took its place");
                self.set_state(old, RevisionState::Superseded, &why, None, &mut entries);
            }
        }
        self.record(entries);
        self.targets.retain(|t| t.record.id != id);
        self.targets.push(self.running.clone());
        if self.targets.len() > TARGETS_MAX {
            self.targets.remove(0);
        }
        self.phase = Phase::Settled;
    }

    /// What is missing, in words; empty: verified.
    pub(crate) fn missing(&self, verifying: &Verifying) -> Vec<String> {
        let mut missing = Vec::new();
        if let Some(ramp) = &self.ramp {
            missing.push(format!("all of the traffic: {}", ramp.in_words()));
            missing.extend(self.lacks_of_part(ramp, verifying.since));
            return missing;
        }
        let passed = self.now.since(verifying.since);
        if passed < VERIFY_AFTER {
            let left = VERIFY_AFTER.saturating_sub(passed).as_secs() + 1;
            missing.push(format!("{left} s under observation"));
        }
        if let Some(why) = self.hold.reason(self.now) {
            missing.push(why);
        }
        if self.keep_until.is_some() {
            missing.push("the end of --keep: shares are not judged before".to_owned());
        }
        for name in &verifying.touched {
            if let Some(watch) = self.pools.get(name) {
                let id = self.running.record.id;
                missing.extend(lacks(watch, id).map(|what| format!("pool `{name}`: {what}")));
            }
        }
        missing
    }
}

/// What pool `watch` lacks for calm under `revision`: no harm, nobody off its share; `None`: nothing.
pub(crate) fn lacks_calm(watch: &PoolWatch, revision: RevisionId) -> Option<String> {
    if watch.revision() != Some(revision) {
        return Some("no epoch of this revision yet".to_owned());
    }
    if watch.harm_alarmed() || watch.objective_missed() == Some(true) {
        return Some("the objective is missed".to_owned());
    }
    // Too few clients to open an incident about are no evidence that all is well either.
    if let Some(why) = watch.harm_withheld() {
        return Some(why.to_owned());
    }
    let quiet = |e: &Option<harm::HarmEvidence>| {
        e.as_ref()
            .is_some_and(|e| e.verdict == harm::Verdict::Quiet)
    };
    if !quiet(&watch.said.errors) || !quiet(&watch.said.slow) {
        return Some(format!("{ENOUGH} finished requests"));
    }
    let off = |v: &Verdict| matches!(v, Verdict::Over | Verdict::Under);
    if let Some(index) = watch.verdicts.iter().position(off) {
        let name = watch.pool.backends.get(index).map(|b| b.name.to_string());
        return Some(format!("{} is off its share", name.unwrap_or_default()));
    }
    if watch.epoch().is_some_and(|e| e.fact.is_passing) {
        return Some(
            "the end of a slow start or of failing open: shares are not judged before".to_owned(),
        );
    }
    None
}

/// What pool `watch` lacks as evidence for `revision`; `None`: nothing.
fn lacks(watch: &PoolWatch, revision: RevisionId) -> Option<String> {
    if let Some(lack) = lacks_calm(watch, revision) {
        return Some(lack);
    }
    if watch.key_parts.is_some() {
        // Keys decide the shares: there is nothing to pin down but that traffic flows and harms nobody.
        let enough = watch.judged_picks() >= ENOUGH;
        return (!enough).then(|| format!("{ENOUGH} picks"));
    }
    if watch.expected.is_none() {
        let enough = watch.counts.totals().iter().sum::<u64>() >= ENOUGH;
        let known = watch.verdicts.iter().all(|v| v.is_fine());
        return (!enough || !known).then(|| "enough picks to judge the load".to_owned());
    }
    lacks_shares(watch)
}

/// Which backend's share is not pinned down yet.
fn lacks_shares(watch: &PoolWatch) -> Option<String> {
    let picks = watch.counts.totals();
    let trials: u64 = picks.iter().sum();
    let tolerance = watch.pool.tolerance.as_f64();
    let members = &watch.epoch()?.fact.members;
    let eligible = members
        .iter()
        .filter(|m| m.eligible && m.weight > 0)
        .count();
    let workers = watch.counts.workers().max(1);
    // Retries and forced picks disturb the cursor: with more than a few of them nothing is certain.
    let undisturbed = watch.counts.others() * 100 <= trials;
    for (index, theta) in watch.intended.iter().enumerate() {
        let hits = picks.get(index).copied().unwrap_or(0);
        if *theta <= 0.0 {
            continue;
        }
        let band = Interval {
            lo: theta * (1.0 - tolerance),
            hi: theta * (1.0 + tolerance),
        };
        let stands = if undisturbed && watch.pool.algorithm == Algorithm::RoundRobin {
            let certain = round_robin::interval(hits, trials, eligible, workers);
            round_robin::standing(certain, band)
        } else if *theta >= 1.0 {
            // The only backend gets everything; a confidence sequence never reaches 1.
            let all = hits == trials && trials >= ENOUGH;
            if all {
                Standing::Inside
            } else {
                Standing::Undecided
            }
        } else {
            standing(hits, trials, ALPHA_VERIFIED, band)
        };
        if stands != Standing::Inside {
            let name = watch.pool.backends.get(index).map(|b| b.name.to_string());
            return Some(format!(
                "picks to pin down the share of {} ({trials} so far)",
                name.unwrap_or_default()
            ));
        }
    }
    None
}

/// A state entry of a revision.
pub(crate) fn state_entry(
    id: RevisionId,
    state: RevisionState,
    why: &str,
    incident: Option<evenkeel_model::ids::IncidentId>,
    at: Wall,
) -> Entry {
    Entry::RevisionState {
        id,
        state,
        at,
        why: why.to_owned(),
        incident,
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_model::config::Config;

    use super::touched;

    fn config(route: &str) -> Config {
        let text = format!(
            "[listener.web]\naddress = '127.0.0.1:80'\n\
             [[route]]\nlistener = 'web'\npath_prefix = '/a'\npool = 'a'\n{route}\n\
             [[route]]\nlistener = 'web'\npool = 'b'\n\
             [pool.a.backend.one]\naddress = '127.0.0.1:81'\n\
             [pool.b.backend.one]\naddress = '127.0.0.1:82'\n"
        );
        let parsed = evenkeel_model::parse::parse(&text, None);
        parsed
            .config
            .unwrap_or_else(|| panic!("{:#?}", parsed.findings))
    }

    #[test]
    fn what_backends_and_clients_are_sent_touches_the_pool_of_its_route() {
        let plain = config("");
        for route in [
            "rewrite = { path = '/b' }",
            "rewrite = { host = 'b.test' }",
            "request_headers = { remove = ['cookie'] }",
            "response_headers = { set = { x = 'y' } }",
        ] {
            let names: Vec<String> = touched(&plain, &config(route))
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(names, ["a"], "{route}");
        }
        assert!(touched(&plain, &config("priority = 'high'")).is_empty());
    }
}
