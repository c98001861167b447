//! A change that moves much comes in by parts: a part of the requests follows the new weights, the others the old ones.
//!
//! How much is much says TRF-03 of the audit; no step moves more, as far as [`STEPS_MAX`] steps reach. Weights are mixed, so
//! that each request is of the one or the other kind by chance; the intent is mixed alike and judges every step. A step
//! ends by evidence, the last one in the full weights, which are then verified like any other change; a step without
//! evidence is undone. Nothing of it is kept over a restart: an unverified revision does not come back.
//!
//! Limits: only where shares follow from weights. What leaves the pool leaves it at once. Nobody waits for steps who forces
//! the change, keeps it or repairs something, and nobody is spared where too few requests come to tell. Weights against the
//! intent come in at once too: the whole of them is found in seconds, a part of them takes the longer the smaller it is.

use std::time::Duration;

use evenkeel_audit::STEP_POINTS;
use evenkeel_balance::expected_shares;
use evenkeel_incident::lifecycle::GUARD;
use evenkeel_model::clock::Mono;
use evenkeel_model::config::Pool;
use evenkeel_model::ids::{Name, RevisionId};
use evenkeel_model::record::EventSource;

use crate::action::Action;
use crate::change::{Change, Kind, Undo};
use crate::remedy::members;
use crate::rollout::compare::Comparison;
use crate::rollout::overlay::weights_of;
use crate::state::Inner;
use crate::verify::{Phase, lacks_calm};
use crate::watch::PoolWatch;

/// Most steps, the full weights being the last.
const STEPS_MAX: u32 = 5;
/// Shortest step.
const STEP_AFTER: Duration = Duration::from_secs(3);
/// A pool whose requests are too few to end a step in this time is not stepped.
const STEP_WITHIN: Duration = Duration::from_mins(1);

/// A revision that comes in by parts.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Ramp {
    /// Which.
    pub revision: RevisionId,
    /// The pools of which it moves much, as they were balanced before.
    pub before: Vec<Pool>,
    /// The step that runs, from 1.
    pub step: u32,
    /// The step in which it has its full weights: then the ramp is over.
    pub of: u32,
}

impl Ramp {
    /// The part of the requests that follows the new weights, 0..1.
    pub fn share(&self) -> f64 {
        f64::from(self.step) / f64::from(self.of.max(1))
    }

    fn before(&self, pool: &Pool) -> Option<&Pool> {
        self.before.iter().find(|before| before.name == pool.name)
    }

    /// `pool` of the revision with the weights of this step; `None`: its own.
    pub fn shaped(&self, pool: &Pool) -> Option<Pool> {
        let old = carried(self.before(pool)?, pool, &weight_parts)?;
        let shares = self.mixed(&old, &weight_parts(pool));
        let mut pool = pool.clone();
        for (backend, weight) in pool.backends.iter_mut().zip(weights_of(&shares)) {
            backend.weight = weight;
        }
        Some(pool)
    }

    /// What is intended for each backend of `pool`, as its revision has it, in this step.
    pub(crate) fn intended(&self, pool: &Pool, is_in: impl Fn(usize) -> bool) -> Vec<f64> {
        let new = pool.intended_shares(&is_in);
        let lives = |name: &Name| pool.backend(name.as_str()).is_some_and(|(i, _)| is_in(i));
        let then = |before: &Pool| {
            before.intended_shares(|i| before.backends.get(i).is_some_and(|b| lives(&b.name)))
        };
        match self
            .before(pool)
            .and_then(|before| carried(before, pool, &then))
        {
            Some(old) => self.mixed(&old, &new),
            None => new,
        }
    }

    fn mixed(&self, old: &[f64], new: &[f64]) -> Vec<f64> {
        let share = self.share();
        let mixed = |(old, new): (&f64, &f64)| (1.0 - share) * old + share * new;
        old.iter().zip(new).map(mixed).collect()
    }

    /// `40 % of r12 (step 2 of 5)`.
    pub(crate) fn in_words(&self) -> String {
        let Self {
            revision, step, of, ..
        } = self;
        let percent = self.share() * 100.0;
        format!(
            "{percent:.0} % of the requests follow {revision}, the others what ran before (step {step} of {of})"
        )
    }
}

/// The part of each backend by weight.
fn weight_parts(pool: &Pool) -> Vec<f64> {
    let weights = pool.backends.iter().map(|b| f64::from(b.weight));
    let total: f64 = weights.clone().sum();
    weights.map(|w| w / total.max(f64::MIN_POSITIVE)).collect()
}

/// The parts of `before` for the backends of `after`, made whole again; `None`: it has none of them.
fn carried(before: &Pool, after: &Pool, parts: &dyn Fn(&Pool) -> Vec<f64>) -> Option<Vec<f64>> {
    let then = parts(before);
    let part = |name: &Name| {
        let place = before.backend(name.as_str()).map(|(place, _)| place);
        place.and_then(|place| then.get(place)).copied()
    };
    let parts: Vec<f64> = (after.backends.iter())
        .map(|b| part(&b.name).unwrap_or(0.0))
        .collect();
    let total: f64 = parts.iter().sum();
    (total > 0.0).then(|| parts.iter().map(|part| part / total).collect())
}

impl Inner {
    /// How `revision` comes in; `None`: not by parts.
    pub(crate) fn coming_in(&self, revision: RevisionId) -> Option<&Ramp> {
        self.ramp.as_ref().filter(|ramp| ramp.revision == revision)
    }

    /// How `change` comes in; `None`: at once.
    pub(crate) fn ramp_of(&self, change: &Change) -> Option<Ramp> {
        let at_once = match &change.kind {
            Kind::Apply { keep, remedy } => keep.is_some() || remedy.is_some(),
            Kind::Rollback(_) | Kind::Reapply(_) => true,
        };
        if at_once || change.target.record.forced {
            return None;
        }
        let mut ramp = Ramp {
            revision: change.target.record.id,
            before: Vec::new(),
            step: 1,
            of: 1,
        };
        for pool in &change.target.config.pools {
            let Some(watch) = self.pools.get(&pool.name) else {
                continue;
            };
            if let Some(steps) = self.steps_of(watch, pool) {
                ramp.of = ramp.of.max(steps);
                ramp.before.push(watch.pool.clone());
            }
        }
        (ramp.of > 1).then_some(ramp)
    }

    /// In so many steps the pool comes to what it is in the change; `None`: it moves too little, or at once.
    fn steps_of(&self, watch: &PoolWatch, pool: &Pool) -> Option<u32> {
        let (old, running) = (&watch.pool, self.running.record.id);
        let is_harmed = watch.harm_alarmed() || watch.objective_missed() == Some(true);
        if is_harmed || self.desk.open_of(&pool.name).is_some() {
            return None; // it may be the repair
        }
        let is_shaped = self.rollouts.overlaid(pool, running).is_some();
        let by_reports = old.reported.is_some() || pool.reported.is_some();
        let by_session = old.affinity.sticky.is_some() || pool.affinity.sticky.is_some();
        if is_shaped || by_reports || by_session || old.algorithm != pool.algorithm {
            return None;
        }
        let needed = Comparison::needed(pool) as f64;
        if watch.rate()? * STEP_WITHIN.as_secs_f64() < needed {
            return None;
        }
        let shares = |pool: &Pool| expected_shares(pool.algorithm, &members(watch, pool));
        let then = carried(old, pool, &|old| shares(old).unwrap_or_default())?;
        let now = shares(pool)?;
        let meant = pool.intended_shares(|place| now.get(place).is_some_and(|share| *share > 0.0));
        let tolerance = pool.tolerance.as_f64();
        let is_off = |(now, meant): (&f64, &f64)| (now - meant).abs() > meant * tolerance;
        if now.iter().zip(&meant).any(is_off) {
            return None;
        }
        let moved = now.iter().zip(&then).map(|(now, then)| (now - then).abs());
        let points = moved.fold(0.0, f64::max) * 100.0;
        let limit = pool.policy.limit("TRF-03", STEP_POINTS).max(1.0);
        let steps = (points / limit - 1e-9).ceil();
        (steps > 1.0).then_some((steps as u32).min(STEPS_MAX))
    }

    /// On to the next step if this one, which began at `since`, has its evidence; whether it has.
    pub(crate) fn next_part(&mut self, ramp: &Ramp, since: Mono) -> bool {
        if !self.lacks_of_part(ramp, since).is_empty() {
            return false;
        }
        let next = Ramp {
            step: ramp.step + 1,
            ..ramp.clone()
        };
        let next = Some(next).filter(|next| next.step < next.of);
        let text = match &next {
            Some(next) => next.in_words(),
            None => format!("all requests follow {}", ramp.revision),
        };
        let line = self.line(EventSource::Controller, "config.step", GUARD, text);
        self.record(vec![line]);
        self.come_in(next);
        if let Phase::Verifying(verifying) | Phase::Held(verifying) = &mut self.phase {
            verifying.since = self.now;
        }
        true
    }

    /// The running revision comes in by this from now on; `None`: in full.
    pub(crate) fn come_in(&mut self, ramp: Option<Ramp>) {
        let before = std::mem::replace(&mut self.ramp, ramp);
        for pool in before.into_iter().flat_map(|ramp| ramp.before) {
            self.watch_as_balanced(&pool.name);
        }
        self.outlook.stale = true;
        let ramp = self.ramp.clone().map(Box::new);
        self.out.push(Action::Ramp { ramp });
    }

    /// What this step lacks, in words; empty: it is over.
    pub(crate) fn lacks_of_part(&self, ramp: &Ramp, since: Mono) -> Vec<String> {
        let mut lacks = Vec::new();
        let left = STEP_AFTER.saturating_sub(self.now.since(since));
        if !left.is_zero() {
            lacks.push(format!("{} s of the step", left.as_secs_f64().ceil()));
        }
        lacks.extend(self.hold.reason(self.now));
        if !self.ledger.is_ok() {
            lacks.push("a journal that takes entries".to_owned());
        }
        for watch in ramp.before.iter().filter_map(|b| self.pools.get(&b.name)) {
            let name = &watch.pool.name;
            if let Some(case) = self.desk.open_of(name) {
                lacks.push(format!("the end of incident {}", case.record.id));
            }
            let (picks, needed) = (watch.judged_picks(), Comparison::needed(&watch.pool));
            let few =
                (picks < needed).then(|| format!("requests of the step: {picks} of {needed}"));
            let lack = lacks_calm(watch, ramp.revision).or(few);
            lacks.extend(lack.map(|what| format!("pool `{name}`: {what}")));
        }
        lacks
    }

    /// No evidence came: what ran before runs again, if it can; whether it does.
    pub(crate) fn take_back(&mut self, ramp: &Ramp, since: Mono) -> bool {
        let target = self.target().cloned();
        let Some(target) = target.filter(|t| self.admits_backends(&t.config).is_ok()) else {
            return false;
        };
        let lacks = self.lacks_of_part(ramp, since).join("; ");
        let Ramp {
            revision, step, of, ..
        } = ramp;
        let undo = Undo {
            undone: *revision,
            author: GUARD.to_owned(),
            why: format!("no evidence for step {step} of {of} within 10 min: {lacks}"),
            incident: None,
            quarantine: false,
            without_disk: true,
        };
        self.begin_rollback(target, undo, None);
        true
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_model::config::Pool;
    use evenkeel_model::ids::RevisionId;
    use evenkeel_model::parse::parse;
    use proptest::prelude::*;

    use super::Ramp;

    /// Name, weight and capacity of each backend.
    fn pool(intent: &str, backends: &[(usize, u32, u32)]) -> Pool {
        let head = format!(
            "[listener.l]\naddress = \"127.0.0.1:80\"\n[[route]]\nlistener = \"l\"\npool = \"p\"\n[pool.p]\nintent = \"{intent}\"\n"
        );
        let backend = |(n, weight, capacity): &(usize, u32, u32)| {
            let port = n + 1;
            format!(
                "[pool.p.backend.b{n}]\naddress = \"127.0.0.1:{port}\"\nweight = {weight}\ncapacity_rps = {capacity}\n"
            )
        };
        let text = head + &backends.iter().map(backend).collect::<String>();
        parse(&text, None).config.unwrap().pools[0].clone()
    }

    fn ramp(before: &Pool, step: u32, of: u32) -> Ramp {
        Ramp {
            revision: RevisionId(2),
            before: vec![before.clone()],
            step,
            of,
        }
    }

    fn parts(pool: &Pool) -> Vec<f64> {
        super::weight_parts(pool)
    }

    proptest! {
        #[test]
        fn each_step_is_as_far_from_the_old_weights_as_it_says(
            weights in prop::collection::vec((1u32..100, 1u32..100), 2..8),
            of in 2u32..6, step in 1u32..6,
        ) {
            prop_assume!(step < of);
            let backends = |which: &dyn Fn(&(u32, u32)) -> u32| -> Vec<(usize, u32, u32)> {
                weights.iter().enumerate().map(|(i, w)| (i, which(w), 100)).collect()
            };
            let before = pool("weight", &backends(&|w| w.0));
            let after = pool("weight", &backends(&|w| w.1));
            let ramp = ramp(&before, step, of);
            let mixed = parts(&ramp.shaped(&after).unwrap());
            let share = f64::from(step) / f64::from(of);
            for (mixed, (old, new)) in mixed.iter().zip(parts(&before).iter().zip(parts(&after))) {
                let due = old + share * (new - old);
                prop_assert!((mixed - due).abs() < 1e-3, "{mixed} {due}");
            }
            // Under this intent the weights are what is meant, in each step too.
            for (mixed, due) in mixed.iter().zip(ramp.intended(&after, |_| true)) {
                prop_assert!((mixed - due).abs() < 1e-3, "{mixed} {due}");
            }
        }
    }

    #[test]
    fn who_comes_gets_a_part_and_who_goes_leaves_its_part_to_the_others() {
        let before = pool("even", &[(0, 1, 100), (1, 1, 100)]);
        let after = pool("even", &[(1, 1, 100), (2, 1, 100)]);
        let shaped = ramp(&before, 1, 4).shaped(&after).unwrap();
        let parts = parts(&shaped);
        assert!((parts[0] - 0.875).abs() < 1e-3 && (parts[1] - 0.125).abs() < 1e-3);
        assert_eq!(
            ramp(&before, 1, 4).intended(&after, |_| true),
            [0.875, 0.125]
        );
        let strangers = pool("even", &[(5, 1, 100)]);
        assert!(ramp(&before, 1, 4).shaped(&strangers).is_none());
    }

    #[test]
    fn a_weight_that_contradicts_the_intent_does_so_in_every_step() {
        let before = pool("capacity", &[(0, 1, 600), (1, 1, 600), (2, 1, 600)]);
        let after = pool("capacity", &[(0, 10, 600), (1, 1, 600), (2, 1, 600)]);
        let ramp = ramp(&before, 2, 5);
        let shaped = parts(&ramp.shaped(&after).unwrap());
        let intended = ramp.intended(&after, |_| true);
        assert!((shaped[0] - 0.5333).abs() < 1e-3 && (intended[0] - 1.0 / 3.0).abs() < 1e-9);
    }
}
