//! One pool on one day: shares, rates, utilisation, requests in flight.

use evenkeel_balance::Standing;
use evenkeel_model::setup::{Backend, Pool};

use crate::estimate::Budget;
use crate::facts::Facts;
use crate::failover::Turnout;
use crate::outlook::{BackendForecast, PoolForecast};
use crate::queueing::{self, Line};
use crate::shares::{self, Share};

/// What is unlike a usual day.
pub(crate) struct Day<'a> {
    /// Backends that fail. Where the pool counts its unhealthy (levels, a panic threshold) or has a single backend, they
    /// count and may be used when too few are healthy; elsewhere they are gone and take nothing even when the pool fails
    /// open, so that the load on the others is not understated.
    pub(crate) out: &'a dyn Fn(usize) -> bool,
    /// How backends stand, where it is not as the facts say.
    pub(crate) standing: &'a dyn Fn(Standing) -> Standing,
    /// Rate relative to the peak.
    pub(crate) rate: f64,
}

impl Day<'_> {
    /// Nothing out, as the facts say, at the peak.
    pub(crate) const fn usual() -> Self {
        Day {
            out: &|_| false,
            standing: &|standing| standing,
            rate: 1.0,
        }
    }
}

/// Who takes the traffic of `pool` on such a day.
pub(crate) fn turnout(pool: &Pool, facts: &Facts, day: &Day<'_>) -> Turnout {
    let stands = facts.standings(pool);
    let counts_the_unhealthy = pool.failover.panic_below > 0.0
        || pool.backends.len() == 1
        || pool
            .backends
            .iter()
            .any(|b| b.priority > 0 || b.is_degraded);
    let failed = if counts_the_unhealthy {
        Standing::Down
    } else {
        Standing::Drained
    };
    Turnout::of(pool, |index| {
        if (day.out)(index) {
            failed
        } else {
            (day.standing)(stands.get(index).copied().unwrap_or(Standing::Up))
        }
    })
}

/// The forecast of `pool` on such a day.
pub(crate) fn forecast(
    pool: &Pool,
    facts: &Facts,
    day: &Day<'_>,
    budget: &mut Budget,
) -> PoolForecast {
    let turnout = turnout(pool, facts, day);
    let rps = facts.peak_rps(pool).map(|rps| rps * day.rate);
    let spread = shares::of(pool, facts, &turnout, rps, budget);
    let intended = turnout.intended(pool);
    let backends = pool.backends.iter().enumerate().map(|(index, backend)| {
        let share = spread.shares.get(index).copied().flatten();
        let intended = intended.as_ref().and_then(|s| s.get(index)).copied();
        backend_forecast(
            backend,
            share,
            intended,
            rps,
            facts.service_mean(pool, index),
        )
    });
    PoolForecast {
        name: pool.name.clone(),
        rps,
        method: spread.method,
        backends: backends.collect(),
    }
}

fn backend_forecast(
    backend: &Backend,
    share: Option<Share>,
    intended_share: Option<f64>,
    rps: Option<f64>,
    service: Option<std::time::Duration>,
) -> BackendForecast {
    let expected_share = share.map(|share| share.mid);
    let expected_rps = expected_share.zip(rps).map(|(share, rps)| share * rps);
    let capacity = backend.capacity_rps.filter(|capacity| *capacity > 0.0);
    // A limit that each worker keeps by itself says nothing of all of them.
    let limit = backend.in_flight_max.filter(|_| !backend.limit_per_worker);
    let line: Option<Line> = expected_rps
        .zip(service)
        .and_then(|(rps, service)| queueing::line(rps, service, capacity, limit));
    BackendForecast {
        name: backend.name.clone(),
        intended_share,
        expected_share,
        share_low: share.and_then(|share| share.low),
        share_high: share.and_then(|share| share.high),
        expected_rps,
        utilisation: expected_rps
            .zip(capacity)
            .map(|(rps, capacity)| rps / capacity),
        in_flight: line.map(|line| line.in_flight),
        queue_seconds: line.and_then(|line| line.queue_seconds),
    }
}
