//! CAP: whether the load fits, now, with something out, and with everything that a bad day adds.
//!
//! Load is the forecast's rate at the pool's peak; the limit of a backend is its capacity less the headroom.
//! Where the load decides the shares they can only be estimated. Two things are then judged: the pool as a whole,
//! which is the best that any spread could do, and each backend with a margin for the estimate.

use evenkeel_forecast::PoolForecast;
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Backend, Balancer, Pool, Role};

use crate::rule::{Rule, Subject, Words, follows_load};

mod bad_day;
mod declared;
mod loss;
mod peak;

#[cfg(test)]
mod tests;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    peak::PEAK,
    loss::BACKEND,
    loss::ZONE,
    declared::CAPACITIES,
    bad_day::DRAINS,
    declared::FLOOR,
    bad_day::RETRIES,
    bad_day::TARGET,
    bad_day::COLD,
];

/// Slack for rounding in a comparison of a computed utilisation with its limit.
const EPSILON: f64 = 1e-9;

/// How far above its limit, relative to it, an estimated utilisation must lie to count.
const ESTIMATE_MARGIN: f64 = 0.05;

/// Highest utilisation that may be planned.
pub(super) fn limit(pool: &Pool) -> f64 {
    1.0 - pool.headroom
}

/// Above which the forecast of one backend counts: the limit, with a margin where the forecast is an estimate.
fn judged_limit(pool: &Pool) -> f64 {
    if follows_load(pool) {
        limit(pool) * (1.0 + ESTIMATE_MARGIN)
    } else {
        limit(pool)
    }
}

/// Backends that take traffic on a usual day.
pub(super) fn working(pool: &Pool) -> impl Iterator<Item = &Backend> + Clone {
    let backends = pool.backends.iter();
    backends.filter(|b| b.role == Role::Active && b.weight > 0)
}

/// What all working backends carry together, requests per second.
pub(super) fn whole_capacity(pool: &Pool) -> f64 {
    working(pool).filter_map(|b| b.capacity_rps).sum()
}

/// The peak over the capacity of all working backends; `None`: nothing known, or nobody works.
pub(super) fn whole_utilisation(pool: &Pool, forecast: &PoolForecast) -> Option<f64> {
    let capacity = whole_capacity(pool);
    let rps = forecast.rps.filter(|_| capacity > 0.0)?;
    Some(rps / capacity)
}

/// Why the load of a pool cannot be judged; `None`: it can.
fn unknown(pool: &Pool, forecast: &PoolForecast) -> Option<String> {
    if forecast.rps.is_none() {
        return Some("no `peak_rps` is declared and no traffic was seen".to_owned());
    }
    let mut without = pool
        .backends
        .iter()
        .filter(|b| b.role != Role::Disabled && b.capacity_rps.is_none());
    let first = without.next()?;
    Some(match without.count() {
        0 => format!("`{}` declares no `capacity_rps`", first.name),
        n => format!("`{}` and {n} more declare no `capacity_rps`", first.name),
    })
}

/// Whether anybody works in `pool`: of one without, TRF-05 speaks, and there is no load to judge.
fn is_served(pool: &Pool) -> bool {
    working(pool).next().is_some()
}

/// That pools are not judged: a single info, whichever rule of this family lacks what is not declared.
fn not_judged(subject: &Subject<'_>, pools: &[(&Pool, String)]) -> Option<Finding> {
    let (first, reason) = pools.first()?;
    let fix = if subject.setup.balancer == Balancer::Evenkeel {
        "declare `peak_rps` and a `capacity_rps` for every backend"
    } else {
        "declare them beside the file: `--peak-rps` and `--capacity`, or a side file with `--facts`"
    };
    let message = match pools.len() {
        1 => format!("pool `{}` is not judged: {reason}", first.name),
        n => format!(
            "{n} pools are not judged, `{}` because {reason}",
            first.name
        ),
    };
    let words = Words {
        message,
        effect:
            "an overload by this configuration, or by the loss of a backend, would not be foreseen"
                .to_owned(),
        fix: fix.to_owned(),
    };
    let place = (first.path.as_str(), first.path.as_str());
    Some(subject.finding("CAP-01", Severity::Info, place, 0.0, words))
}
