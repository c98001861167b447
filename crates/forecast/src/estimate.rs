//! Shares where the load decides (`least_request`): estimated by a short seeded run of the event engine.
//!
//! Assumes a backend of N requests per second to be N x 20 ms slots with exponential service, steady Poisson traffic,
//! no faults and no retries. Real service times move the shares of a pool with unequal weights or capacities;
//! with equal ones they are even whatever the service time. The same question always gets the same answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::Member;
use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Config, Pool};
use evenkeel_model::ids::Epoch;

use crate::engine::Engine;
use crate::engine::spec::{BackendModel, EngineSpec, PoolSnapshot, Snapshot, Stream};

/// Estimates that one forecast may make; a run takes about 10 ms. Beyond it shares are `None`.
pub const ESTIMATES_MAX: u32 = 200;
/// Requests of a run: this many per backend, within the bounds below.
const REQUESTS_PER_BACKEND: usize = 500;
const REQUESTS_MIN: usize = 5_000;
const REQUESTS_MAX: usize = 50_000;
const SEED: u64 = 1;

/// How many estimates are left.
#[derive(Debug)]
pub(crate) struct Budget(pub(crate) u32);

/// The share of each member at `rps`; `None` when a capacity that matters is not declared or the budget is spent.
pub(crate) fn shares(
    config: &Config,
    pool: &Pool,
    members: &[Member],
    rps: f64,
    budget: &mut Budget,
) -> Option<Vec<f64>> {
    let takes_traffic = |index: usize| members.get(index).is_some_and(|m| m.effective_weight() > 0);
    let mut models = BTreeMap::new();
    for (index, backend) in pool.backends.iter().enumerate() {
        if takes_traffic(index) {
            let capacity = backend.capacity_rps.filter(|capacity| *capacity > 0.0)?;
            let key = (pool.name.clone(), backend.name.clone());
            models.insert(key, BackendModel::with_capacity(capacity));
        }
    }
    if models.is_empty() || rps <= 0.0 || !rps.is_finite() || budget.0 == 0 {
        return None;
    }
    budget.0 -= 1;
    let requests = (REQUESTS_PER_BACKEND * models.len()).clamp(REQUESTS_MIN, REQUESTS_MAX);
    let mut pool = pool.clone();
    pool.retry.attempts = 0;
    let stream = Stream::to_pool(pool.name.clone(), pool.name.clone(), rps);
    let config = Arc::new(Config {
        listeners: Vec::new(),
        routes: Vec::new(),
        pools: vec![pool],
        ..config.clone()
    });
    let snapshot = |epoch| Snapshot {
        config: config.clone(),
        pools: vec![PoolSnapshot {
            epoch,
            members: members.to_vec(),
        }],
    };
    let mut engine = Engine::new(EngineSpec {
        snapshot: snapshot(Epoch(1)),
        workers: 1,
        seed: SEED,
        streams: vec![stream],
        models,
        default_model: BackendModel::default(),
    });
    // The first fifth only fills the pool; what is counted begins with a new epoch.
    let seconds = requests as f64 / rps;
    let at = |part: f64| Mono::ZERO.plus(Duration::from_secs_f64((seconds * part).min(1e9)));
    engine.run_until(at(0.25));
    engine.swap(&snapshot(Epoch(2)));
    engine.run_until(at(1.25));
    let tallies = engine.take_tallies();
    let cells = tallies.first()?.pools.first()?.epochs.last()?;
    let picks: Vec<u64> = cells.backends.iter().map(|cell| cell.picks_free).collect();
    let total: u64 = picks.iter().sum();
    (total > 0).then(|| picks.iter().map(|n| *n as f64 / total as f64).collect())
}
