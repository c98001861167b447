//! From a deployment to weights: what its share means for each backend, and what each would then carry.
//!
//! The overlay replaces the declared weights of a pool as if the file said so; health, drains, slow starts and zones then
//! shape them as ever. A backend that is out is not made up for by its version alone: who is left shares by weight.
//!
//! Limits: where load decides the shares, these are what they follow as long as speeds are alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use evenkeel_model::config::{Backend, Config, Intent, Pool};
use evenkeel_model::ids::{Name, RevisionId};
use evenkeel_model::record::{ALL_PPM, RolloutRecord, RolloutState, Strategy};

use crate::ramp::Ramp;

/// The weight of whoever has the largest share: the largest that a file may give.
const HEAVIEST: f64 = 65_535.0;

/// Weights in file order while `rollout` has this share (parts per million); `None`: one of its versions is not there, so
/// that the file decides.
pub fn weights(pool: &Pool, rollout: &RolloutRecord, share_ppm: u32) -> Option<Vec<u32>> {
    let new = side(pool, &rollout.version);
    let old = side(pool, &rollout.stable);
    if new.is_empty() || old.is_empty() {
        return None;
    }
    let share = f64::from(share_ppm) / f64::from(ALL_PPM);
    let mut shares = vec![0.0; pool.backends.len()];
    let mut spread = |side: &[(usize, f64)], part: f64| {
        let total: f64 = side.iter().map(|(_, value)| value).sum();
        for (index, value) in side {
            if let Some(mine) = shares.get_mut(*index) {
                *mine = part * value / total.max(f64::MIN_POSITIVE);
            }
        }
    };
    if rollout.strategy == Strategy::Rolling {
        // For a part of the new ones as many of the old ones go, rounded so that never too few are there.
        let come = part_of(new.len(), share_ppm, true);
        let gone = part_of(old.len(), share_ppm, false);
        let (new, old) = (new.get(..come)?, old.get(gone..)?);
        let sum = |side: &[(usize, f64)]| side.iter().map(|(_, value)| value).sum::<f64>();
        let part = sum(new) / (sum(new) + sum(old)).max(f64::MIN_POSITIVE);
        spread(new, part);
        spread(old, 1.0 - part);
    } else {
        spread(&new, share);
        spread(&old, 1.0 - share);
    }
    Some(weights_of(&shares))
}

/// Weights that have these shares.
pub(crate) fn weights_of(shares: &[f64]) -> Vec<u32> {
    let most = shares.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let weight = |share: &f64| match share {
        share if *share <= 0.0 => 0,
        share => (HEAVIEST * share / most).round().max(1.0) as u32,
    };
    shares.iter().map(weight).collect()
}

/// So many of `count` are this part of them.
fn part_of(count: usize, share_ppm: u32, up: bool) -> usize {
    let all = u64::from(ALL_PPM);
    let whole = count as u64 * u64::from(share_ppm);
    let parts = if up { whole.div_ceil(all) } else { whole / all };
    usize::try_from(parts).unwrap_or(count).min(count)
}

/// The backends of a version with what they count for in it: by the intent of the pool. One that the file takes out (by
/// a weight of 0, where others of its version have one) stays out.
fn side(pool: &Pool, version: &Name) -> Vec<(usize, f64)> {
    let mine = || {
        let backends = pool.backends.iter().enumerate();
        backends.filter(|(_, b)| b.version.as_ref() == Some(version))
    };
    let waits = mine().all(|(_, b)| b.weight == 0);
    let value = |b: &Backend| match pool.intent {
        Intent::Even => 1.0,
        Intent::Capacity => b.capacity_rps.unwrap_or(1.0),
        Intent::Weight => f64::from(b.weight.max(1)),
    };
    mine()
        .filter(|(_, b)| waits || b.weight > 0)
        .map(|(index, b)| (index, value(b)))
        .collect()
}

/// Why shares are as they are while `rollout` is in force.
pub fn reason(rollout: &RolloutRecord) -> String {
    let RolloutRecord {
        id,
        version,
        stable,
        ..
    } = rollout;
    let percent = percent(rollout.share_ppm);
    match rollout.state {
        RolloutState::Running => {
            let (step, of) = (rollout.step + 1, rollout.steps.len());
            let strategy = rollout.strategy;
            let what = match strategy {
                Strategy::Rolling => format!("{percent} of {version} takes part"),
                _ => format!("{version} gets {percent}"),
            };
            format!("deployment {id}: {what} ({strategy}, step {step} of {of})")
        }
        RolloutState::Aborting => {
            format!("deployment {id}: goes back to {stable}, {version} still gets {percent}")
        }
        RolloutState::Aborted => format!("deployment {id}: aborted, {stable} has it all"),
        RolloutState::Done => format!("deployment {id}: done, {version} has it all"),
    }
}

/// `5 %`, `33.3 %`.
pub fn percent(share_ppm: u32) -> String {
    let tenths = (share_ppm + 500) / 1_000;
    match tenths % 10 {
        0 => format!("{} %", tenths / 10),
        tenth => format!("{}.{tenth} %", tenths / 10),
    }
}

/// `pool` with the weights that `rollout` gives it while `running` runs, if it is in force.
pub fn overlaid(pool: &Pool, rollout: &RolloutRecord, running: RevisionId) -> Option<Pool> {
    if rollout.pool != pool.name || !rollout.is_in_force(running) {
        return None;
    }
    let weights = weights(pool, rollout, rollout.share_ppm)?;
    let mut pool = pool.clone();
    for (backend, weight) in pool.backends.iter_mut().zip(weights) {
        backend.weight = weight;
    }
    Some(pool)
}

/// What a data plane follows besides the text: the newest deployment of each pool, and a revision that comes in by parts.
#[derive(Debug, Clone, Default)]
pub struct Overlays {
    by_pool: BTreeMap<Name, RolloutRecord>,
    ramp: Option<Ramp>,
}

impl Overlays {
    /// Follows `rollout` from now on.
    pub fn follow(&mut self, rollout: RolloutRecord) {
        self.by_pool.insert(rollout.pool.clone(), rollout);
    }

    /// A revision comes in by this from now on; `None`: in full. Whether that changes what runs as `running`; where it does
    /// not, the swap is still to come.
    pub fn come_in(&mut self, ramp: Option<Ramp>, running: RevisionId) -> bool {
        let is_now = |ramp: &Ramp| ramp.revision == running;
        let changes = ramp.as_ref().is_none_or(is_now);
        self.ramp = ramp;
        changes
    }

    /// `config` with the weights that its pools have while it runs as `running`; the same where nothing shapes them.
    pub fn overlaid(&self, config: &Arc<Config>, running: RevisionId) -> Arc<Config> {
        let mut shaped = Arc::clone(config);
        let ramp = self.ramp.as_ref().filter(|ramp| ramp.revision == running);
        for (place, pool) in config.pools.iter().enumerate() {
            let rollout = self.by_pool.get(&pool.name);
            let by_rollout = rollout.and_then(|rollout| overlaid(pool, rollout, running));
            if let Some(pool) = by_rollout.or_else(|| ramp?.shaped(pool))
                && let Some(mine) = Arc::make_mut(&mut shaped).pools.get_mut(place)
            {
                *mine = pool;
            }
        }
        shaped
    }

    /// Why the shares of which pools of `config` are as they are while it runs as `running`.
    pub fn reasons(&self, config: &Config, running: RevisionId) -> BTreeMap<Name, String> {
        let said = |rollout: &RolloutRecord| {
            let pool = config.pool(rollout.pool.as_str())?;
            overlaid(pool, rollout, running)?;
            Some((pool.name.clone(), reason(rollout)))
        };
        self.by_pool.values().filter_map(said).collect()
    }
}

/// Whether the file says by itself what the deployment ended in, so that it can decide again. One that declares all of
/// its backends and has none of one of the two versions says so too.
pub(crate) fn says_the_same(pool: &Pool, rollout: &RolloutRecord) -> bool {
    let only = |version: &Name| {
        let mut serving = pool.backends.iter().filter(|b| b.weight > 0).peekable();
        serving.peek().is_some() && serving.all(|b| b.version.as_ref() == Some(version))
    };
    let is_gone = pool.members.is_none() && weights(pool, rollout, 0).is_none();
    is_gone && !rollout.is_open()
        || match rollout.state {
            RolloutState::Done => only(&rollout.version),
            RolloutState::Aborted => only(&rollout.stable),
            RolloutState::Running | RolloutState::Aborting => false,
        }
}

/// What one backend would carry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Load {
    pub(crate) backend: Name,
    pub(crate) capacity_rps: f64,
    /// Rate over capacity.
    pub(crate) utilisation: f64,
}

/// The load of each backend that would take traffic at these weights and this rate; `None`: a capacity is not declared.
pub(crate) fn loads(
    pool: &Pool,
    weights: &[u32],
    rps: f64,
    lives: impl Fn(&Name) -> bool,
) -> Option<Vec<Load>> {
    let backends = pool.backends.iter().zip(weights);
    let taking: Vec<(&Backend, u32)> = backends
        .filter(|(b, weight)| **weight > 0 && lives(&b.name))
        .map(|(b, weight)| (b, *weight))
        .collect();
    let total: u64 = taking.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let load = |(backend, weight): &(&Backend, u32)| {
        let capacity_rps = backend.capacity_rps?;
        Some(Load {
            backend: backend.name.clone(),
            capacity_rps,
            utilisation: rps * f64::from(*weight) / total.max(1) as f64 / capacity_rps,
        })
    };
    taking.iter().map(load).collect()
}

#[cfg(test)]
mod tests {
    use evenkeel_model::clock::Wall;
    use evenkeel_model::config::Pool;
    use evenkeel_model::ids::{DeploymentId, Name, RevisionId};
    use evenkeel_model::parse::parse;
    use evenkeel_model::record::{ALL_PPM, RolloutRecord, RolloutState, Strategy};
    use proptest::prelude::*;

    use super::{overlaid, percent, says_the_same, weights};

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn rollout(strategy: Strategy, state: RolloutState) -> RolloutRecord {
        RolloutRecord {
            id: DeploymentId(1),
            pool: name("p"),
            version: name("v2"),
            stable: name("v1"),
            strategy,
            steps: vec![ALL_PPM],
            step_min_ms: 0,
            step: 0,
            share_ppm: ALL_PPM,
            state,
            at: Wall(0),
            since: Wall(0),
            author: String::new(),
            reason: String::new(),
            why: String::new(),
            forced: false,
            revision: RevisionId(1),
            incident: None,
            lifted_by: None,
        }
    }

    /// Version, weight and capacity of each backend.
    fn pool(backends: &[(&str, u32, u32)]) -> Pool {
        let head = "[listener.l]\naddress = \"127.0.0.1:80\"\n[[route]]\nlistener = \"l\"\npool = \"p\"\n[pool.p]\n";
        let backend = |(n, (version, weight, capacity)): (usize, &(&str, u32, u32))| {
            format!(
                "[pool.p.backend.b{n}]\naddress = \"127.0.0.1:{}\"\nversion = \"{version}\"\nweight = {weight}\ncapacity_rps = {capacity}\n",
                n + 1
            )
        };
        let text = head.to_owned() + &backends.iter().enumerate().map(backend).collect::<String>();
        parse(&text, None).config.unwrap().pools[0].clone()
    }

    fn parts(pool: &Pool, weights: &[u32]) -> Vec<f64> {
        let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
        assert_eq!(weights.len(), pool.backends.len());
        weights
            .iter()
            .map(|weight| f64::from(*weight) / total as f64)
            .collect()
    }

    proptest! {
        #[test]
        fn a_share_is_that_of_the_version_and_within_it_goes_by_capacity(
            old in prop::collection::vec(1u32..1_000, 1..8),
            new in prop::collection::vec(1u32..1_000, 1..8),
            share in 0..=ALL_PPM,
        ) {
            let backends: Vec<(&str, u32, u32)> = old.iter().map(|c| ("v1", 1, *c))
                .chain(new.iter().map(|c| ("v2", 0, *c))).collect();
            let pool = pool(&backends);
            let rollout = rollout(Strategy::Canary, RolloutState::Running);
            let weights = weights(&pool, &rollout, share).unwrap();
            let parts = parts(&pool, &weights);
            let share = f64::from(share) / f64::from(ALL_PPM);
            let sum: f64 = parts[old.len()..].iter().sum();
            prop_assert!((sum - share).abs() < 1e-3, "{sum} {share}");
            let all: f64 = new.iter().map(|c| f64::from(*c)).sum();
            for (part, capacity) in parts[old.len()..].iter().zip(&new) {
                let due = share * f64::from(*capacity) / all;
                prop_assert!((part - due).abs() < 1e-3, "{part} {due}");
            }
        }

        #[test]
        fn rolling_takes_backends_in_and_out_whole_and_never_leaves_too_few(
            old in 1usize..9, new in 1usize..9, share in 0..=ALL_PPM,
        ) {
            let backends: Vec<(&str, u32, u32)> = (0..old).map(|_| ("v1", 1, 100))
                .chain((0..new).map(|_| ("v2", 0, 100))).collect();
            let pool = pool(&backends);
            let rollout = rollout(Strategy::Rolling, RolloutState::Running);
            let weights = weights(&pool, &rollout, share).unwrap();
            let on: Vec<u32> = weights.iter().copied().filter(|w| *w > 0).collect();
            prop_assert!(on.iter().all(|weight| *weight == on[0]));
            prop_assert!(on.len() >= old.min(new), "{weights:?}");
            let (out, come) = weights.split_at(old);
            prop_assert_eq!(share == 0, come.iter().all(|w| *w == 0));
            prop_assert_eq!(share == ALL_PPM, out.iter().all(|w| *w == 0));
        }
    }

    #[test]
    fn who_is_taken_out_within_a_version_and_who_has_no_version_stays_out() {
        let pool = pool(&[
            ("v1", 1, 100),
            ("v1", 0, 100),
            ("v2", 0, 100),
            ("v3", 5, 100),
        ]);
        let rollout = rollout(Strategy::Canary, RolloutState::Running);
        let weights = weights(&pool, &rollout, 500_000).unwrap();
        assert_eq!(weights, [65_535, 0, 65_535, 0]);
    }

    #[test]
    fn a_file_that_says_the_same_or_has_one_version_only_decides_again() {
        let done = rollout(Strategy::Canary, RolloutState::Done);
        let aborted = rollout(Strategy::Canary, RolloutState::Aborted);
        let before = pool(&[("v1", 1, 100), ("v2", 0, 100)]);
        let after = pool(&[("v1", 0, 100), ("v2", 1, 100)]);
        let both = pool(&[("v1", 1, 100), ("v2", 1, 100)]);
        let alone = pool(&[("v2", 1, 100), ("v3", 0, 100)]);
        assert!(!says_the_same(&before, &done) && says_the_same(&before, &aborted));
        assert!(says_the_same(&after, &done) && !says_the_same(&after, &aborted));
        assert!(!says_the_same(&both, &done) && !says_the_same(&both, &aborted));
        assert!(says_the_same(&alone, &done) && says_the_same(&alone, &aborted));
        let lifted = RolloutRecord {
            lifted_by: Some(RevisionId(5)),
            ..done
        };
        assert!(overlaid(&before, &lifted, RevisionId(5)).is_none());
        let older = overlaid(&before, &lifted, RevisionId(4)).unwrap();
        assert_eq!(older.backends[0].weight, 0);
    }

    #[test]
    fn shares_are_told_in_percent() {
        assert_eq!(percent(50_000), "5 %");
        assert_eq!(percent(333_333), "33.3 %");
        assert_eq!(percent(ALL_PPM), "100 %");
    }
}
