//! The forecast of a configuration: each backend's share, rate and utilisation, now and with one backend or zone out.
//!
//! Rates are those of the pool's peak: `peak_rps`, else the highest minute seen x 1.2. A rate is per backend
//! `share x peak`; utilisation is rate over declared capacity and may exceed 1. Retries, which add load in a fault,
//! are not in these numbers.

use std::collections::BTreeMap;
use std::fmt;

use evenkeel_balance::member::{Member, Standing, effective_members_by_standing, expected_shares};
use evenkeel_model::config::{Config, Pool};
use evenkeel_model::ids::Name;

/// Pools with more backends than this get only their [`WORST_CASES`] in [`Forecast::failures`].
pub const FAILURES_FULL_MAX: usize = 64;
/// Failure cases of a very large pool: the loss of the backends with the largest shares. The highest utilisation
/// that any single loss can cause is always among them (for shares by weight).
pub const WORST_CASES: usize = 3;
/// Factor from the highest minute seen to the peak that is planned for.
pub const SEEN_TO_PEAK: f64 = 1.2;

/// What a configuration will do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Forecast {
    /// Every pool in file order.
    pub pools: Vec<PoolForecast>,
    /// Each single backend out, in file order; of pools beyond [`FAILURES_FULL_MAX`] only the worst cases.
    pub failures: Vec<FailureCase>,
    /// What a reader must know of the numbers, such as which pools show only their worst cases.
    pub notes: Vec<String>,
}

/// One pool.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolForecast {
    /// The pool.
    pub name: Name,
    /// The rate it is judged at, requests per second; `None`: not known.
    pub rps: Option<f64>,
    /// Every backend in file order.
    pub backends: Vec<BackendForecast>,
}

/// One backend.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendForecast {
    /// The backend.
    pub name: Name,
    /// Share (0..1) that the declared intent wants it to get; `None` when nobody can take traffic.
    pub intended_share: Option<f64>,
    /// Share (0..1) that the algorithm will give it; `None` where the load decides and is not known.
    pub expected_share: Option<f64>,
    /// Requests per second at the pool's rate.
    pub expected_rps: Option<f64>,
    /// Rate over declared capacity; may exceed 1.
    pub utilisation: Option<f64>,
}

/// The pools as they would be with something out.
#[derive(Debug, Clone, PartialEq)]
pub struct FailureCase {
    /// What is out: `backend:shop/web-1` or `zone:a`.
    pub out: String,
    /// The pools it concerns, in file order.
    pub pools: Vec<PoolForecast>,
}

/// What could be out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Out {
    /// One backend.
    Backend {
        /// Its pool.
        pool: Name,
        /// Its name.
        backend: Name,
    },
    /// Every backend of a zone, in all pools.
    Zone(Name),
}

impl fmt::Display for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend { pool, backend } => write!(f, "backend:{pool}/{backend}"),
            Self::Zone(zone) => write!(f, "zone:{zone}"),
        }
    }
}

/// What is known from the running instance. Default: nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// By pool name; pools that are not in it have nothing known.
    pub pools: BTreeMap<Name, PoolFacts>,
}

/// What is known of one running pool.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PoolFacts {
    /// Highest rate over a whole minute, requests per second. Used when the pool declares no `peak_rps`.
    pub highest_minute_rps: Option<f64>,
    /// How each backend stands, by name; one that is not in it counts as up.
    pub standings: BTreeMap<Name, Standing>,
}

impl Facts {
    /// The rate that `pool` is judged at: its declared peak, else the highest minute seen x 1.2.
    pub fn peak_rps(&self, pool: &Pool) -> Option<f64> {
        let seen = || self.pools.get(&pool.name)?.highest_minute_rps;
        pool.peak_rps
            .or_else(|| seen().map(|rps| rps * SEEN_TO_PEAK))
    }

    fn standing(&self, pool: &Pool, index: usize) -> Standing {
        pool.backends
            .get(index)
            .and_then(|backend| self.pools.get(&pool.name)?.standings.get(&backend.name))
            .copied()
            .unwrap_or(Standing::Up)
    }
}

impl PoolForecast {
    /// The highest utilisation of any backend; `None` when none is known.
    pub fn highest_utilisation(&self) -> Option<f64> {
        self.backends
            .iter()
            .filter_map(|backend| backend.utilisation)
            .max_by(f64::total_cmp)
    }
}

impl Forecast {
    /// The pool called `name`.
    pub fn pool(&self, name: &str) -> Option<&PoolForecast> {
        self.pools.iter().find(|pool| pool.name == *name)
    }
}

/// What `config` will do under what is known: all pools as they stand, and each single backend of pools with two or
/// more out.
pub fn forecast(config: &Config, facts: &Facts) -> Forecast {
    let mut forecast = Forecast::default();
    for pool in &config.pools {
        let base = pool_forecast(pool, facts, |_| false);
        let outs = failures_shown(pool, &base);
        if outs.len() < pool.backends.len() && pool.backends.len() > 1 {
            forecast.notes.push(format!(
                "pool `{}` has {} backends; of the loss of one only the {} worst cases are shown",
                pool.name,
                pool.backends.len(),
                outs.len()
            ));
        }
        for out in outs {
            if let Some(backend) = pool.backends.get(out) {
                let out_name = Out::Backend {
                    pool: pool.name.clone(),
                    backend: backend.name.clone(),
                };
                forecast.failures.push(FailureCase {
                    out: out_name.to_string(),
                    pools: vec![pool_forecast(pool, facts, |index| index == out)],
                });
            }
        }
        forecast.pools.push(base);
    }
    forecast
}

/// The pools that `out` concerns, with it out; `None` when it concerns none. Rule CAP-03 asks it for zones.
pub fn forecast_without(config: &Config, facts: &Facts, out: &Out) -> Option<FailureCase> {
    let is_out = |pool: &Pool, index: usize| {
        pool.backends.get(index).is_some_and(|b| match out {
            Out::Backend { pool: p, backend } => pool.name == *p && b.name == *backend,
            Out::Zone(zone) => b.zone.as_ref() == Some(zone),
        })
    };
    let pools: Vec<PoolForecast> = config
        .pools
        .iter()
        .filter(|pool| (0..pool.backends.len()).any(|index| is_out(pool, index)))
        .map(|pool| pool_forecast(pool, facts, |index| is_out(pool, index)))
        .collect();
    (!pools.is_empty()).then(|| FailureCase {
        out: out.to_string(),
        pools,
    })
}

/// Indices of the backends whose loss is shown.
fn failures_shown(pool: &Pool, base: &PoolForecast) -> Vec<usize> {
    let count = pool.backends.len();
    if count < 2 {
        return Vec::new();
    }
    let mut all: Vec<usize> = (0..count).collect();
    if count > FAILURES_FULL_MAX {
        let weight = |index: usize| pool.backends.get(index).map_or(0, |b| b.weight);
        let share = |index: usize| {
            base.backends
                .get(index)
                .and_then(|b| b.expected_share)
                .unwrap_or(0.0)
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

fn pool_forecast(pool: &Pool, facts: &Facts, out: impl Fn(usize) -> bool) -> PoolForecast {
    // What is out is gone: it takes no traffic even when the pool fails open.
    let standing = |index: usize| {
        if out(index) {
            Standing::Drained
        } else {
            facts.standing(pool, index)
        }
    };
    let (members, _) = effective_members_by_standing(pool, standing);
    let rps = facts.peak_rps(pool);
    let shares = expected_shares(pool.algorithm, &members);
    let intended = intended(pool, &members);
    let backends = pool
        .backends
        .iter()
        .enumerate()
        .map(|(index, backend)| {
            let expected_share = shares.as_ref().and_then(|s| s.get(index)).copied();
            let expected_rps = expected_share.zip(rps).map(|(share, rps)| share * rps);
            BackendForecast {
                name: backend.name.clone(),
                intended_share: intended.as_ref().and_then(|s| s.get(index)).copied(),
                expected_share,
                expected_rps,
                utilisation: expected_rps
                    .zip(backend.capacity_rps.filter(|capacity| *capacity > 0.0))
                    .map(|(rps, capacity)| rps / capacity),
            }
        })
        .collect();
    PoolForecast {
        name: pool.name.clone(),
        rps,
        backends,
    }
}

fn intended(pool: &Pool, members: &[Member]) -> Option<Vec<f64>> {
    let shares = pool.intended_shares(|index| members.get(index).is_some_and(|m| m.eligible));
    (shares.iter().sum::<f64>() > 0.0).then_some(shares)
}
