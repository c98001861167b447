//! Other days than a usual one, where they differ from it or matter: more than the peak, retries, a start, nobody
//! healthy, the end of drains, a rollback.
//!
//! A case shows the pools that it concerns and leaves the others out. Work is bounded: of the cases that name a single
//! pool only the first [`POOLS_MAX`] are looked at.

use evenkeel_balance::Standing;
use evenkeel_model::setup::{Pool, Selection, Setup};

use crate::estimate::Budget;
use crate::facts::{Facts, SEEN_TO_PEAK};
use crate::failover::Why;
use crate::outlook::{Case, CaseKind, PoolForecast};
use crate::pool::{self, Day};
use crate::routed;

/// Pools that cases naming a single pool are worked out for.
pub const POOLS_MAX: usize = 64;
/// How much more than the peak is looked at.
const MORE: f64 = 1.2;

/// Every case that matters. `seen`: the facts as they are now, wherever the routes of `setup` lead; `base`: the pools
/// on a usual day.
pub(crate) fn all(
    setup: &Setup,
    facts: &Facts,
    seen: &Facts,
    base: &[PoolForecast],
    budget: &mut Budget,
) -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(peak_and_fifth(setup, facts, budget));
    for pool in setup.pools.iter().take(POOLS_MAX) {
        cases.extend(retries(pool, facts, budget));
        cases.extend(restart(pool, facts, budget));
    }
    cases.extend(nobody_healthy(setup, facts, budget));
    cases.extend(drains_end(setup, facts, budget));
    cases.extend(rollback_target(setup, seen, base, budget));
    cases
}

fn case(case: CaseKind, title: String, pools: Vec<PoolForecast>) -> Option<Case> {
    (!pools.is_empty()).then_some(Case { case, title, pools })
}

/// Whether some backend of `pool` would be above what is planned for.
fn is_above_plan(pool: &Pool, forecast: &PoolForecast) -> bool {
    let limit = 1.0 - pool.headroom;
    forecast
        .highest_utilisation()
        .is_some_and(|highest| highest > limit + 1e-9)
}

fn peak_and_fifth(setup: &Setup, facts: &Facts, budget: &mut Budget) -> Option<Case> {
    let mut pools = Vec::new();
    for pool in &setup.pools {
        if facts.peak_rps(pool).is_none() {
            continue;
        }
        let day = Day {
            rate: MORE,
            ..Day::usual()
        };
        let forecast = pool::forecast(pool, facts, &day, budget);
        if is_above_plan(pool, &forecast) {
            pools.push(forecast);
        }
    }
    let title = "a fifth more than the peak".to_owned();
    case(CaseKind::PeakAndFifth, title, pools)
}

/// Attempts per request when a part `failing` of the tries fails and up to `further` tries follow the first:
/// (1 - f^(r + 1)) / (1 - f), at worst 1 + r, and never above what the budget leaves.
pub(crate) fn attempts(failing: f64, further: u32, budget: Option<f64>) -> f64 {
    let all = f64::from(further) + 1.0;
    let attempts = if failing >= 1.0 {
        all
    } else {
        (1.0 - libm::pow(failing.max(0.0), all)) / (1.0 - failing)
    };
    budget.map_or(attempts, |budget| attempts.min(1.0 + budget.max(0.0)))
}

fn retries(pool: &Pool, facts: &Facts, budget: &mut Budget) -> Option<Case> {
    facts.peak_rps(pool)?;
    let others = u32::try_from(pool.backends.len().saturating_sub(1)).unwrap_or(u32::MAX);
    let further = pool.retry.attempts.unwrap_or(others);
    let worst = attempts(1.0, further, pool.retry.budget);
    if worst <= 1.0 {
        return None;
    }
    let day = Day {
        rate: worst,
        ..Day::usual()
    };
    let forecast = pool::forecast(pool, facts, &day, budget);
    if !is_above_plan(pool, &forecast) {
        return None;
    }
    let shares = forecast
        .backends
        .iter()
        .filter_map(|b| Some((b.expected_share?, &b.name)));
    let largest = shares.max_by(|a, b| a.0.total_cmp(&b.0));
    let single = largest.map(|(share, name)| {
        let factor = attempts(share, further, pool.retry.budget);
        format!(" (with `{name}` alone failing {factor:.2} times)")
    });
    let title = format!(
        "every try in pool `{}` fails and is repeated: {worst:.2} times the requests{}",
        pool.name,
        single.unwrap_or_default()
    );
    case(CaseKind::Retries, title, vec![forecast])
}

/// Half-way through its slow start the backend with the largest weight has half of it.
fn restart(pool: &Pool, facts: &Facts, budget: &mut Budget) -> Option<Case> {
    let ramping = pool
        .backends
        .iter()
        .enumerate()
        .filter(|(_, b)| b.slow_start.is_some());
    let (index, backend) =
        ramping.max_by_key(|(index, b)| (b.weight, std::cmp::Reverse(*index)))?;
    let time = backend.slow_start?.as_secs_f64();
    if pool.selection != Selection::ByWeight || pool.backends.len() < 2 {
        return None;
    }
    let mut ramped = pool.clone();
    for (other, backend) in ramped.backends.iter_mut().enumerate() {
        if other != index {
            backend.weight = backend.weight.saturating_mul(2);
        }
    }
    let title = format!(
        "`{}` of pool `{}` has come back and has half its weight after {} s of its slow start of {time} s; after a start \
         of the balancer itself everybody has the whole weight at once",
        backend.name,
        pool.name,
        time / 2.0
    );
    let forecast = pool::forecast(&ramped, facts, &Day::usual(), budget);
    case(CaseKind::Restart, title, vec![forecast])
}

fn nobody_healthy(setup: &Setup, facts: &Facts, budget: &mut Budget) -> Vec<Case> {
    let fall = |standing| match standing {
        Standing::Drained => Standing::Drained,
        Standing::Up | Standing::Down => Standing::Down,
    };
    let day = Day {
        standing: &fall,
        ..Day::usual()
    };
    let can_fall = |pool: &&Pool| {
        let judged = |b| pool.check_of(b).is_some() || b.passive.is_some_and(|p| p.failures > 0);
        pool.ejection.is_some() || pool.backends.iter().any(judged)
    };
    let (mut open, mut shut) = (Vec::new(), Vec::new());
    for pool in setup.pools.iter().filter(can_fall) {
        let forecast = pool::forecast(pool, facts, &day, budget);
        match pool::turnout(pool, facts, &day).why {
            Why::Nobody => shut.push(forecast),
            Why::Usual | Why::Backups | Why::Panic => open.push(forecast),
        }
    }
    let used = "no backend is healthy: all are used as if they were".to_owned();
    let refused = "no backend is healthy: requests are refused".to_owned();
    let cases = [
        case(CaseKind::NobodyHealthy, used, open),
        case(CaseKind::NobodyHealthy, refused, shut),
    ];
    cases.into_iter().flatten().collect()
}

fn drains_end(setup: &Setup, facts: &Facts, budget: &mut Budget) -> Option<Case> {
    let back = |standing| match standing {
        Standing::Drained => Standing::Up,
        Standing::Up | Standing::Down => standing,
    };
    let day = Day {
        standing: &back,
        ..Day::usual()
    };
    let mut pools = Vec::new();
    for pool in &setup.pools {
        if facts.standings(pool).contains(&Standing::Drained) {
            pools.push(pool::forecast(pool, facts, &day, budget));
        }
    }
    let title = "what is drained now takes traffic again".to_owned();
    case(CaseKind::Draining, title, pools)
}

/// What a rollback goes back to, under the traffic of now; only pools that would differ.
fn rollback_target(
    setup: &Setup,
    facts: &Facts,
    base: &[PoolForecast],
    budget: &mut Budget,
) -> Option<Case> {
    let target = facts.rollback_target.clone()?;
    let (there, _) = routed::under(&target, facts);
    let mut pools = Vec::new();
    for pool in &target.pools {
        let seen = there
            .pools
            .get(&pool.name)
            .and_then(|facts| facts.highest_minute_rps);
        let now = setup.pool(&pool.name).and_then(|pool| facts.peak_rps(pool));
        let now_here = Pool {
            peak_rps: seen.map(|rps| rps * SEEN_TO_PEAK).or(now).or(pool.peak_rps),
            ..pool.clone()
        };
        let forecast = pool::forecast(&now_here, facts, &Day::usual(), budget);
        if !base.contains(&forecast) {
            pools.push(forecast);
        }
    }
    let title = "a rollback, under the traffic of now".to_owned();
    case(CaseKind::RollbackTarget, title, pools)
}
