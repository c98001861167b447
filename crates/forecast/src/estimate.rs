//! Shares where the load decides: estimated by a short seeded run of the event engine.
//!
//! Assumes a backend of N requests per second to be N x 20 ms slots with exponential service (the measured service
//! time where one is known), steady Poisson traffic, no faults and no retries, one worker that sees all requests. Real
//! service times move the shares of a pool with unequal weights or capacities; with equal ones they are even whatever
//! the service time. The interval is of the run (means of batches), not of the assumptions. The same question always
//! gets the same answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::Member;
use evenkeel_model::clock::Mono;
use evenkeel_model::config::{self, Algorithm, Choices, Config};
use evenkeel_model::ids::{Epoch, Name};
use evenkeel_model::setup::{Among, Cost, LeastLoaded, Selection, Tie};

use crate::engine::Engine;
use crate::engine::peer::PeerRule;
use crate::engine::spec::{BackendModel, EngineSpec, PoolSnapshot, ServiceTime, Snapshot, Stream};
use crate::shares::{Ring, Seats, Share};

/// Steps that the engine runs of one forecast may take: requests, each times the backends that a pick looks at. Beyond
/// it shares fall back to the limit for few requests in flight.
pub const ENGINE_STEPS_MAX: u64 = 2_000_000;
/// Points that the hash tables of one forecast may have. Beyond it shares fall back to the weights.
pub const TABLE_POINTS_MAX: u64 = 2_000_000;
/// Backends of a pool that is simulated; a larger one has the limit for few requests in flight.
pub const ENGINE_BACKENDS_MAX: usize = 256;
/// Requests of a run: this many per backend, within the bounds below.
const REQUESTS_PER_BACKEND: usize = 200;
const REQUESTS_MIN: usize = 4_000;
const REQUESTS_MAX: usize = 20_000;
/// Steps of a request besides the backends that a pick looks at.
const STEPS_PER_REQUEST: u64 = 10;
const SEED: u64 = 1;
/// What a span is looked at with: requests in flight over the whole pool at one service time.
const SPAN_IN_FLIGHT: [f64; 4] = [1.0, 4.0, 16.0, 64.0];
const SPAN_SERVICE: Duration = Duration::from_millis(20);
const SPAN_REQUESTS_PER_BACKEND: usize = 100;
const SPAN_REQUESTS_MIN: usize = 2_000;
/// Parts of the counted time that are compared with each other.
const BATCHES: u32 = 10;
/// 97.5 % quantile of Student's t with one degree of freedom fewer than batches.
const T_OF_BATCHES: f64 = 2.262_157;
/// The least that is a configuration; what a run does not set has its defaults.
const TEMPLATE: &str = "[listener.l]\naddress = \"127.0.0.1:1\"\n[[route]]\nlistener = \"l\"\npool = \"p\"\n\
    [pool.p]\nalgorithm = \"least_request\"\nretry = { attempts = 0 }\n[pool.p.backend.b]\naddress = \"127.0.0.1:2\"\n";
/// Whether the pickers of this house choose so under `least_request`. Comparing everybody is run by the general rule.
const fn is_own(rule: LeastLoaded) -> bool {
    matches!(
        rule,
        LeastLoaded {
            among: Among::DrawnByWeight(_),
            cost: Cost::PerWeight,
            tie: Tie::FirstDrawn,
        }
    )
}

/// What a forecast may still spend.
#[derive(Debug)]
pub(crate) struct Budget {
    steps: u64,
    points: u64,
    /// The ring that was built last, for the many questions about one pool.
    pub(crate) ring: Ring,
}

impl Budget {
    /// That of a whole forecast.
    pub(crate) const fn full() -> Self {
        Self {
            steps: ENGINE_STEPS_MAX,
            points: TABLE_POINTS_MAX,
            ring: Ring::none(),
        }
    }

    /// Spends `points`, unless they are more than what is left.
    pub(crate) const fn take_points(&mut self, points: u64) -> bool {
        let enough = points <= self.points;
        if enough {
            self.points -= points;
        }
        enough
    }

    const fn take_steps(&mut self, steps: u64) -> bool {
        let enough = steps <= self.steps;
        if enough {
            self.steps -= steps;
        }
        enough
    }
}

/// The share of each member at `rps`, `odds` being the chances of a draw from a ring; `None` when a capacity is not known
/// or the budget is spent.
pub(crate) fn shares(
    selection: &Selection,
    seats: &Seats<'_>,
    odds: &[f64],
    rps: f64,
    budget: &mut Budget,
) -> Option<Vec<Share>> {
    let requests = (REQUESTS_PER_BACKEND * seats.members.len()).clamp(REQUESTS_MIN, REQUESTS_MAX);
    let model = |index: usize| {
        let capacity = seats
            .members
            .get(index)?
            .capacity_rps
            .filter(|c| *c > 0.0)?;
        let service = seats.service.get(index).copied().flatten();
        Some(BackendModel::with_capacity_and_service(capacity, service))
    };
    run(selection, seats, odds, (rps, requests), &model, budget)
}

/// The least and the largest share of each member over a range of loads, from few to many requests in flight, on
/// backends of equal speed where nothing waits; `None` when the budget is spent or the pool is too large.
pub(crate) fn span(
    selection: &Selection,
    seats: &Seats<'_>,
    odds: &[f64],
    budget: &mut Budget,
) -> Option<Vec<(f64, f64)>> {
    let model = BackendModel {
        service: ServiceTime::Exponential(SPAN_SERVICE),
        slots: u32::MAX,
        ..BackendModel::default()
    };
    let requests = SPAN_REQUESTS_PER_BACKEND * seats.members.len();
    let requests = requests.clamp(SPAN_REQUESTS_MIN, REQUESTS_MAX);
    let mut span = vec![(1.0f64, 0.0f64); seats.members.len()];
    for in_flight in SPAN_IN_FLIGHT {
        let rps = in_flight / SPAN_SERVICE.as_secs_f64();
        let same = |_| Some(model.clone());
        let shares = run(selection, seats, odds, (rps, requests), &same, budget)?;
        for ((low, high), share) in span.iter_mut().zip(shares) {
            *low = low.min(share.low.unwrap_or(0.0));
            *high = high.max(share.high.unwrap_or(1.0));
        }
    }
    Some(span)
}

fn run(
    selection: &Selection,
    seats: &Seats<'_>,
    odds: &[f64],
    (rps, requests): (f64, usize),
    model: &dyn Fn(usize) -> Option<BackendModel>,
    budget: &mut Budget,
) -> Option<Vec<Share>> {
    let rule = match selection {
        Selection::BySpeed(_) => None,
        Selection::LeastLoaded(rule) if is_own(*rule) => None,
        Selection::LeastLoaded(rule) => Some(PeerRule::LeastLoaded(*rule)),
        Selection::WeightOverLoad { bias } => Some(PeerRule::WeightOverLoad { bias: *bias }),
        _ => return None,
    };
    let count = seats.members.len();
    let models: Option<Vec<BackendModel>> = (0..count).map(model).collect();
    let models = models?;
    let (algorithm, choices) = match selection {
        Selection::BySpeed(algorithm) => (*algorithm, Choices::DEFAULT),
        Selection::LeastLoaded(LeastLoaded {
            among: Among::DrawnByWeight(drawn),
            ..
        }) => (Algorithm::LeastRequest, Choices::Drawn(*drawn)),
        _ => (Algorithm::LeastRequest, Choices::DEFAULT),
    };
    let looked_at = match (rule, algorithm, choices) {
        (Some(_), ..) => count as u64,
        (None, Algorithm::Prequal, _) => 16,
        (None, _, choices) => choices.count() as u64,
    };
    let is_rate = rps > 0.0 && rps.is_finite();
    let steps = requests as u64 * (STEPS_PER_REQUEST + looked_at);
    if !is_rate || count > ENGINE_BACKENDS_MAX || !budget.take_steps(steps) {
        return None;
    }
    let (mut engine, snapshot) = engine(seats, models, rps, (algorithm, choices))?;
    if let Some(rule) = rule {
        let pool = snapshot(Epoch(1)).config.pools.first()?.name.clone();
        engine.set_rule(&pool, rule, odds).ok()?;
    }
    // The first fifth only fills the pool; what is counted begins with a new epoch.
    let seconds = requests as f64 / rps;
    let at = |part: f64| Mono::ZERO.plus(Duration::from_secs_f64((seconds * part).min(1e9)));
    engine.run_until(at(0.25));
    engine.swap(&snapshot(Epoch(2)));
    let mut batches: Vec<Vec<u64>> = Vec::new();
    for batch in 1..=BATCHES {
        engine.run_until(at(0.25 + f64::from(batch) / f64::from(BATCHES)));
        let tallies = engine.take_tallies();
        let cells = tallies.first()?.pools.first()?.epochs.last()?;
        batches.push(cells.backends.iter().map(|cell| cell.picks_free).collect());
    }
    from_batches(&batches)
}

/// Shares and their intervals from the counts at the end of each batch.
fn from_batches(ends: &[Vec<u64>]) -> Option<Vec<Share>> {
    let last = ends.last()?;
    let total: u64 = last.iter().sum();
    if total == 0 {
        return None;
    }
    let share = |member: usize| {
        let count = |batch: Option<&Vec<u64>>| {
            let batch = batch?;
            Some((*batch.get(member)? as f64, batch.iter().sum::<u64>() as f64))
        };
        let parts: Vec<f64> = (0..ends.len())
            .filter_map(|batch| {
                let (mine, all) = count(ends.get(batch))?;
                let before = batch.checked_sub(1).and_then(|b| ends.get(b));
                let (mine_before, all_before) = count(before).unwrap_or((0.0, 0.0));
                (all > all_before).then(|| (mine - mine_before) / (all - all_before))
            })
            .collect();
        let mid = last
            .get(member)
            .map_or(0.0, |count| *count as f64 / total as f64);
        let batches = parts.len() as f64;
        let spread: f64 = parts.iter().map(|part| (part - mid) * (part - mid)).sum();
        let half = T_OF_BATCHES * libm::sqrt(spread / (batches - 1.0).max(1.0) / batches.max(1.0));
        Share {
            mid,
            low: Some((mid - half).max(0.0)),
            high: Some((mid + half).min(1.0)),
        }
    };
    Some((0..last.len()).map(share).collect())
}

/// An engine for the pool, and its snapshot under an epoch.
fn engine(
    seats: &Seats<'_>,
    stations: Vec<BackendModel>,
    rps: f64,
    (algorithm, choices): (Algorithm, Choices),
) -> Option<(Engine, impl Fn(Epoch) -> Snapshot)> {
    let parsed = evenkeel_model::parse::parse(TEMPLATE, None);
    let template = parsed.config?;
    let plain = template.pools.first()?;
    let model = plain.backends.first()?;
    let mut models = BTreeMap::new();
    let mut members = Vec::new();
    let mut backends = Vec::new();
    for (number, (backend, station)) in seats.members.iter().zip(stations).enumerate() {
        let name = Name::new(&format!("b{number}")).ok()?;
        models.insert((plain.name.clone(), name.clone()), station);
        members.push(Member {
            name: name.clone(),
            weight: backend.weight,
            eligible: true,
        });
        backends.push(config::Backend {
            name,
            weight: backend.weight,
            ..model.clone()
        });
    }
    let stream = Stream::to_pool(plain.name.clone(), plain.name.clone(), rps);
    let limit = seats.members.first().and_then(|b| b.in_flight_max);
    let config = Arc::new(Config {
        listeners: Vec::new(),
        routes: Vec::new(),
        pools: vec![config::Pool {
            algorithm,
            choices,
            adaptive: None,
            max_in_flight: limit.and_then(|max| u32::try_from(max).ok()),
            backends,
            ..plain.clone()
        }],
        ..template.clone()
    });
    let snapshot = move |epoch| Snapshot {
        config: config.clone(),
        pools: vec![PoolSnapshot {
            epoch,
            members: members.clone(),
        }],
    };
    let engine = Engine::new(EngineSpec {
        snapshot: snapshot(Epoch(1)),
        workers: 1,
        seed: SEED,
        streams: vec![stream],
        models,
        default_model: BackendModel::default(),
    });
    Some((engine, snapshot))
}
