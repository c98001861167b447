//! What is known beside the set-up: declared in a side file, or seen by a running instance.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::Standing;
use evenkeel_model::clock::Wall;
use evenkeel_model::setup::{Backend, Pool, Setup};
use evenkeel_model::tally::RouteKey;

/// Factor from the highest minute seen to the peak that is planned for.
pub const SEEN_TO_PEAK: f64 = 1.2;

/// What is known from outside the set-up. Default: nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// By pool name; pools that are not in it have nothing known.
    pub pools: BTreeMap<String, PoolFacts>,
    /// Where the requests come in now, by route; empty: not known. The rate of a pool follows from them where a set-up
    /// sends other routes to it than go there now.
    pub routes: BTreeMap<RouteKey, RouteFacts>,
    /// What a rollback would go back to; `None`: nothing, or not known.
    pub rollback_target: Option<Arc<Setup>>,
    /// When a rollback was last made that ended well, in a drill or in earnest; `None`: never, or not known.
    pub rehearsed_at: Option<Wall>,
    /// Since when changes are recorded; `None`: not known.
    pub recorded_since: Option<Wall>,
}

/// What is known of one route of the running configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteFacts {
    /// Highest rate over a whole minute, requests per second.
    pub highest_minute_rps: f64,
    /// The pool that it leads to now; `None`: the balancer answers.
    pub pool: Option<String>,
}

/// What is known of one pool.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PoolFacts {
    /// Highest rate over a whole minute, requests per second. Used when the pool declares no `peak_rps`.
    pub highest_minute_rps: Option<f64>,
    /// How each backend stands, by name; one that is not in it counts as up, unless its set-up marks it as down.
    pub standings: BTreeMap<String, Standing>,
    /// What was measured at each backend, by name.
    pub backends: BTreeMap<String, BackendFacts>,
    /// How requests fall on keys (hash keys, sessions); `None`: not known.
    pub keys: Option<Keys>,
}

/// What is known of one running backend.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BackendFacts {
    /// Mean time that it takes for one request; waiting for a slot not included where that can be told apart.
    pub service_mean: Option<Duration>,
    /// Median of the same.
    pub service_p50: Option<Duration>,
    /// Requests it holds now.
    pub in_flight: Option<u32>,
}

/// How requests fall on keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Keys {
    /// Distinct keys over the time that matters (a minute of a live sketch).
    pub distinct: f64,
    /// Part (0..1) of the requests that carry the most frequent key; `None`: not known, all alike is assumed.
    pub top_share: Option<f64>,
}

impl Facts {
    /// Takes `backend` of `pool` for drained.
    pub fn drain(&mut self, pool: &str, backend: &str) {
        let pool = self.pools.entry(pool.to_owned()).or_default();
        pool.standings.insert(backend.to_owned(), Standing::Drained);
    }

    /// The rate that `pool` is judged at: its declared peak, else the highest minute seen x 1.2.
    pub fn peak_rps(&self, pool: &Pool) -> Option<f64> {
        let seen = || self.pools.get(&pool.name)?.highest_minute_rps;
        pool.peak_rps
            .or_else(|| seen().map(|rps| rps * SEEN_TO_PEAK))
    }

    /// How requests of `pool` fall on keys: as seen, else as declared.
    pub fn keys(&self, pool: &Pool) -> Option<Keys> {
        let seen = self.pools.get(&pool.name).and_then(|facts| facts.keys);
        let declared = || {
            Some(Keys {
                distinct: f64::from(pool.keys?),
                top_share: pool.top_key,
            })
        };
        seen.or_else(declared)
    }

    /// How each backend stands, in file order.
    pub fn standings(&self, pool: &Pool) -> Vec<Standing> {
        let known = self.pools.get(&pool.name).map(|facts| &facts.standings);
        let standing = |backend: &Backend| {
            let known = known.and_then(|known| known.get(&backend.name)).copied();
            known.unwrap_or(if backend.marked_down {
                Standing::Down
            } else {
                Standing::Up
            })
        };
        pool.backends.iter().map(standing).collect()
    }

    /// Mean service time of the backend with this index in file order; `None`: not known.
    pub fn service_mean(&self, pool: &Pool, index: usize) -> Option<Duration> {
        let backend = pool.backends.get(index)?;
        let facts = self.pools.get(&pool.name)?.backends.get(&backend.name)?;
        facts.service_mean.filter(|mean| !mean.is_zero())
    }
}
