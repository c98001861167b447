//! The days on which something is out: each single backend, with those whose state follows it, and each zone.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_model::setup::{Pool, Setup};

use crate::estimate::Budget;
use crate::facts::Facts;
use crate::outlook::{FAILURES_FULL_MAX, FailureCase, Out, PoolForecast, WORST_CASES};
use crate::pool::{self, Day};

/// Zones that are shown one by one; of more, and of set-ups beyond [`BACKENDS_FULL_MAX`], those with most backends.
pub const ZONES_FULL_MAX: usize = 16;
/// Backends of a whole set-up up to which every zone is shown.
pub const BACKENDS_FULL_MAX: usize = 1_000;

/// Values of all cases (a case holds one for each backend of its pool) up to which pools show the loss of each backend;
/// those after it show their worst cases, so that five hundred pools do not write half a gigabyte.
pub const VALUES_MAX: usize = 100_000;

/// Every backend out, pool by pool, then every zone out. `base`: the pools on a usual day.
pub(crate) fn all(
    setup: &Setup,
    facts: &Facts,
    base: &[PoolForecast],
    budget: &mut Budget,
    notes: &mut Vec<String>,
) -> Vec<FailureCase> {
    let mut failures = Vec::new();
    let mut values = VALUES_MAX;
    let backends = setup.pools.iter().flat_map(|pool| &pool.backends);
    let followed = backends.filter_map(|b| b.follows.as_ref());
    let followed: BTreeSet<(&str, &str)> = followed
        .map(|(pool, name)| (pool.as_str(), name.as_str()))
        .collect();
    for (pool, base) in setup.pools.iter().zip(base) {
        let count = pool.backends.len();
        let is_full = count <= FAILURES_FULL_MAX && count * count <= values;
        let outs = backends_shown(pool, base, is_full);
        values = values.saturating_sub(outs.len() * count);
        if outs.len() < pool.backends.len() && pool.backends.len() > 1 {
            notes.push(format!(
                "pool `{}` has {} backends; of the loss of one only the {} worst cases are shown",
                pool.name,
                pool.backends.len(),
                outs.len()
            ));
        }
        for out in outs {
            let Some(backend) = pool.backends.get(out) else {
                continue;
            };
            let name = Out::Backend {
                pool: pool.name.clone(),
                backend: backend.name.clone(),
            };
            if followed.contains(&(pool.name.as_str(), backend.name.as_str())) {
                failures.extend(one(setup, facts, &name, budget));
                continue;
            }
            let day = Day {
                out: &|index| index == out,
                ..Day::usual()
            };
            failures.push(FailureCase {
                out: name.to_string(),
                pools: vec![pool::forecast(pool, facts, &day, budget)],
            });
        }
    }
    let (zones, of) = zones_shown(setup);
    if zones.len() < of {
        notes.push(format!(
            "there are {of} zones; of the loss of one only the {} with most backends are shown",
            zones.len()
        ));
    }
    failures.extend(
        zones
            .into_iter()
            .filter_map(|zone| one(setup, facts, &Out::Zone(zone.to_owned()), budget)),
    );
    failures
}

/// The pools that `out` concerns, with it out; `None` when it concerns none.
pub(crate) fn one(
    setup: &Setup,
    facts: &Facts,
    out: &Out,
    budget: &mut Budget,
) -> Option<FailureCase> {
    let is_out = |pool: &Pool, index: usize| {
        pool.backends.get(index).is_some_and(|b| match out {
            Out::Backend { pool: p, backend } => {
                let followed = b.follows.as_ref();
                (pool.name == *p && b.name == *backend)
                    || followed.is_some_and(|(of, name)| of == p && name == backend)
            }
            Out::Zone(zone) => b.zone.as_ref() == Some(zone),
        })
    };
    let concerned = |pool: &&Pool| (0..pool.backends.len()).any(|index| is_out(pool, index));
    let mut pools = Vec::new();
    for pool in setup.pools.iter().filter(concerned) {
        let day = Day {
            out: &|index| is_out(pool, index),
            ..Day::usual()
        };
        pools.push(pool::forecast(pool, facts, &day, budget));
    }
    (!pools.is_empty()).then(|| FailureCase {
        out: out.to_string(),
        pools,
    })
}

/// The zones whose loss is shown, by name, and how many there are. None where there are fewer than two.
fn zones_shown(setup: &Setup) -> (Vec<&str>, usize) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let backends = setup.pools.iter().flat_map(|pool| &pool.backends);
    for zone in backends.clone().filter_map(|b| b.zone.as_deref()) {
        *counts.entry(zone).or_default() += 1;
    }
    let of = counts.len();
    if of < 2 {
        return (Vec::new(), 0);
    }
    let is_small = backends.count() <= BACKENDS_FULL_MAX;
    let shown = if is_small && of <= ZONES_FULL_MAX {
        of
    } else {
        WORST_CASES
    };
    let mut zones: Vec<(&str, usize)> = counts.into_iter().collect();
    zones.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    zones.truncate(shown);
    zones.sort_unstable();
    (zones.into_iter().map(|(zone, _)| zone).collect(), of)
}

/// Indices of the backends whose loss is shown.
fn backends_shown(pool: &Pool, base: &PoolForecast, is_full: bool) -> Vec<usize> {
    let count = pool.backends.len();
    let mut all: Vec<usize> = (0..count).collect();
    if !is_full {
        let weight = |index: usize| pool.backends.get(index).map_or(0, |b| b.weight);
        let share = |index: usize| {
            let backend = base.backends.get(index);
            backend.and_then(|b| b.expected_share).unwrap_or(0.0)
        };
        all.sort_by(|a, b| {
            share(*b)
                .total_cmp(&share(*a))
                .then_with(|| weight(*b).cmp(&weight(*a)))
                .then_with(|| a.cmp(b))
        });
        all.truncate(WORST_CASES);
        all.sort_unstable();
    }
    all
}
