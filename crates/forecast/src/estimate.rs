//! Shares where the load decides: estimated by a short seeded run of the event engine.
//!
//! Assumes a backend of N requests per second to be N x 20 ms slots with exponential service (the measured service
//! time where one is known), steady Poisson traffic, no faults and no retries. Real service times move the shares of a
//! pool with unequal weights or capacities; with equal ones they are even whatever the service time. The same question
//! always gets the same answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::Member;
use evenkeel_model::clock::Mono;
use evenkeel_model::config::{self, Algorithm, Config};
use evenkeel_model::ids::{Epoch, Name};
use evenkeel_model::setup::Pool;

use crate::engine::Engine;
use crate::engine::spec::{BackendModel, EngineSpec, PoolSnapshot, Snapshot, Stream};
use crate::facts::Facts;
use crate::failover::Group;
use crate::shares::Share;

/// Estimates that one forecast may make; a run takes about 10 ms. Beyond it shares are `None`.
pub const ESTIMATES_MAX: u32 = 200;
/// Requests of a run: this many per backend, within the bounds below.
const REQUESTS_PER_BACKEND: usize = 500;
const REQUESTS_MIN: usize = 5_000;
const REQUESTS_MAX: usize = 50_000;
const SEED: u64 = 1;
/// The least that is a configuration; what a run does not set has its defaults.
const TEMPLATE: &str = "[listener.l]\naddress = \"127.0.0.1:1\"\n[[route]]\nlistener = \"l\"\npool = \"p\"\n\
    [pool.p]\nalgorithm = \"least_request\"\nretry = { attempts = 0 }\n[pool.p.backend.b]\naddress = \"127.0.0.1:2\"\n";

/// How many estimates are left.
#[derive(Debug)]
pub(crate) struct Budget(pub(crate) u32);

/// The share of each member of `group` at `rps`; `None` when a capacity is not declared or the budget is spent.
pub(crate) fn shares(
    pool: &Pool,
    facts: &Facts,
    group: &Group,
    rps: f64,
    budget: &mut Budget,
) -> Option<Vec<Share>> {
    if rps <= 0.0 || !rps.is_finite() || budget.0 == 0 {
        return None;
    }
    let parsed = evenkeel_model::parse::parse(TEMPLATE, None);
    let template = parsed.config?;
    let plain = template.pools.first()?;
    let model = plain.backends.first()?;
    let mut models = BTreeMap::new();
    let mut members = Vec::new();
    let mut backends = Vec::new();
    for (number, index) in group.members.iter().enumerate() {
        let backend = pool.backends.get(*index)?;
        let capacity = backend.capacity_rps.filter(|capacity| *capacity > 0.0)?;
        let name = Name::new(&format!("b{number}")).ok()?;
        let service = facts.service_mean(pool, *index);
        let station = BackendModel::with_capacity_and_service(capacity, service);
        models.insert((plain.name.clone(), name.clone()), station);
        members.push(Member {
            name: name.clone(),
            weight: backend.weight,
            eligible: true,
        });
        backends.push(config::Backend {
            name,
            weight: backend.weight,
            capacity_rps: Some(capacity),
            ..model.clone()
        });
    }
    budget.0 -= 1;
    let requests = (REQUESTS_PER_BACKEND * members.len()).clamp(REQUESTS_MIN, REQUESTS_MAX);
    let stream = Stream::to_pool(plain.name.clone(), plain.name.clone(), rps);
    let config = Arc::new(Config {
        listeners: Vec::new(),
        routes: Vec::new(),
        pools: vec![config::Pool {
            algorithm: Algorithm::LeastRequest,
            backends,
            ..plain.clone()
        }],
        ..template.clone()
    });
    let snapshot = |epoch| Snapshot {
        config: config.clone(),
        pools: vec![PoolSnapshot {
            epoch,
            members: members.clone(),
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
    let share = |picks: &u64| Share {
        mid: *picks as f64 / total as f64,
        low: None,
        high: None,
    };
    (total > 0).then(|| picks.iter().map(share).collect())
}
