//! CAP: whether the load fits, now and with one backend out.
//!
//! Load is the forecast's rate at the pool's peak; the limit of a backend is its capacity less the headroom.
//! Under least_request the shares follow the load and can only be estimated. Two things are then judged: the
//! pool as a whole, which is the best that any spread could do, and each backend with a margin for the estimate.

use evenkeel_forecast::PoolForecast;
use evenkeel_model::config::NPlusOne;
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Backend, Pool};

use crate::rule::{Rule, Subject, Words, follows_load, percent, rate};

/// Slack for rounding in a comparison of a computed utilisation with its limit.
const EPSILON: f64 = 1e-9;

/// How far above its limit, relative to it, an estimated utilisation must lie to count.
const ESTIMATE_MARGIN: f64 = 0.05;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[PEAK, LOSS];

/// CAP-01.
const PEAK: Rule = Rule {
    id: "CAP-01",
    title: "every backend carries its part of the peak within its capacity less headroom",
    severity: Severity::Error,
    limit: None,
    text: "\
For each backend: expected share x peak must be at most capacity_rps x (1 - headroom), by default 80 %
of the capacity. Peak is `peak_rps`; without it, the highest minute seen x 1.2.

Why: a backend that is planned above its capacity queues, then times out, then fails its checks, and
its load moves to the others. The headroom pays for bursts and for the loss of a backend.

Not judged, and said so as info: no peak known, or a backend without capacity_rps. Under
least_request the shares are estimated: the pool is judged as a whole, and a backend from 5 % above its
limit on.

Example: peak 900 rps on three backends of 600 rps is 50 % each. With weights 10, 1, 1 the first
carries 750 rps, 125 % of its capacity: refused.",
    check: check_peak,
};

fn check_peak(subject: &Subject<'_>) -> Vec<Finding> {
    subject
        .pools()
        .flat_map(|(pool, forecast)| check_peak_of(subject, pool, forecast))
        .collect()
}

fn check_peak_of(subject: &Subject<'_>, pool: &Pool, forecast: &PoolForecast) -> Vec<Finding> {
    if let Some(reason) = unknown(pool, forecast) {
        return vec![not_judged(subject, "CAP-01", pool, &reason)];
    }
    if follows_load(pool)
        && let Some(utilisation) =
            whole_pool_utilisation(pool, forecast, None).filter(|u| *u > limit(pool) + EPSILON)
    {
        return vec![whole_pool(subject, pool, utilisation)];
    }
    let overloaded = pool
        .backends
        .iter()
        .zip(&forecast.backends)
        .filter_map(|(backend, f)| {
            let utilisation = f
                .utilisation
                .filter(|u| *u > judged_limit(pool) + EPSILON)?;
            Some(overload(
                subject,
                pool,
                backend,
                (f.expected_rps?, backend.capacity_rps?),
                utilisation,
            ))
        });
    overloaded.collect()
}

fn overload(
    subject: &Subject<'_>,
    pool: &Pool,
    backend: &Backend,
    (load, capacity): (f64, f64),
    utilisation: f64,
) -> Finding {
    let name = &backend.name;
    let effect = if load > capacity {
        format!(
            "at the peak {} more than `{name}` can carry queue up or fail: {} of its requests",
            rate(load - capacity),
            percent(1.0 - capacity / load)
        )
    } else {
        format!(
            "at the peak `{name}` has {} left for bursts and for the loss of another",
            rate(capacity - load)
        )
    };
    let words = Words {
        message: format!(
            "`{name}` of pool `{}` would carry {} at the peak, {} of its capacity of {}; the limit is {}",
            pool.name,
            rate(load),
            percent(utilisation),
            rate(capacity),
            percent(limit(pool))
        ),
        effect,
        fix: "lower its weight (left out, it follows the capacity) or add capacity".to_owned(),
    };
    let path = &backend.path;
    let at = backend.weight_path.clone();
    let at = at.unwrap_or_else(|| format!("{path}.capacity_rps"));
    subject.finding("CAP-01", Severity::Error, (path, &at), utilisation, words)
}

fn whole_pool(subject: &Subject<'_>, pool: &Pool, utilisation: f64) -> Finding {
    let words = Words {
        message: format!(
            "pool `{}` would be used at {} of all its capacity at the peak; the limit is {}",
            pool.name,
            percent(utilisation),
            percent(limit(pool))
        ),
        effect: "no spread of the load keeps every backend within its limit".to_owned(),
        fix: "add backends, or correct `peak_rps` or `capacity_rps`".to_owned(),
    };
    let path = &pool.path;
    subject.finding(
        "CAP-01",
        Severity::Error,
        (path, &format!("{path}.peak_rps")),
        utilisation,
        words,
    )
}

/// CAP-02.
const LOSS: Rule = Rule {
    id: "CAP-02",
    title: "the peak still fits with any one backend out",
    severity: Severity::Error,
    limit: None,
    text: "\
For each backend of a pool: with it out, the others must carry the peak within capacity_rps x
(1 - headroom). The worst case is named. A warning; with `n_plus_one = \"refuse\"` an error that refuses
the apply.

Why: a pool that is full with all backends up turns the failure of one into the failure of all.

Not judged, and said so as info: no peak known, or a backend without capacity_rps. A pool with a single
backend is the matter of TRF-05.

Example: peak 900 rps on three backends of 600 rps: with one out 75 % each, which is within 80 %. At a
peak of 1,000 rps it would be 83.3 %.",
    check: check_loss,
};

fn check_loss(subject: &Subject<'_>) -> Vec<Finding> {
    subject
        .pools()
        .filter_map(|(pool, forecast)| check_loss_of(subject, pool, forecast))
        .collect()
}

fn check_loss_of(subject: &Subject<'_>, pool: &Pool, forecast: &PoolForecast) -> Option<Finding> {
    if pool.backends.len() < 2 {
        return None;
    }
    if let Some(reason) = unknown(pool, forecast) {
        return Some(not_judged(subject, "CAP-02", pool, &reason));
    }
    let (utilisation, out, most_loaded) = worst_loss(subject, pool, forecast)?;
    let on = most_loaded.map_or_else(
        || "the others together".to_owned(),
        |name| format!("`{name}`"),
    );
    let words = Words {
        message: format!(
            "with `{out}` out, {on} of pool `{}` would be used at {} at the peak; the limit is {}",
            pool.name,
            percent(utilisation),
            percent(limit(pool))
        ),
        effect: format!("the failure of `{out}` alone {}", consequence(utilisation)),
        fix: "add a backend or capacity, or even out the weights".to_owned(),
    };
    let severity = match pool.n_plus_one {
        NPlusOne::Warn => Severity::Warning,
        NPlusOne::Refuse => Severity::Error,
    };
    let path = &pool.path;
    Some(subject.finding("CAP-02", severity, (path, path), utilisation, words))
}

fn consequence(utilisation: f64) -> String {
    if utilisation > 1.0 {
        format!(
            "overloads what is left: {} of its requests queue up or fail",
            percent(1.0 - 1.0 / utilisation)
        )
    } else {
        "uses up the headroom of what is left".to_owned()
    }
}

/// The highest utilisation above the limit that the loss of one backend causes, that backend, and who is then
/// loaded the most (`None`: the pool as a whole).
fn worst_loss<'s>(
    subject: &'s Subject<'_>,
    pool: &'s Pool,
    forecast: &PoolForecast,
) -> Option<(f64, &'s str, Option<&'s str>)> {
    let by_backend = subject.forecast.failures.iter().filter_map(|case| {
        let out = case
            .out
            .strip_prefix("backend:")?
            .strip_prefix(pool.name.as_str())?
            .strip_prefix('/')?;
        let after = case.pools.iter().find(|p| p.name == pool.name)?;
        let loaded = after
            .backends
            .iter()
            .filter_map(|b| Some((b.utilisation?, b.name.as_str())));
        let (utilisation, name) = loaded.max_by(|a, b| a.0.total_cmp(&b.0))?;
        (utilisation > judged_limit(pool) + EPSILON).then_some((utilisation, out, Some(name)))
    });
    let as_a_whole = pool.backends.iter().filter_map(|backend| {
        let utilisation = whole_pool_utilisation(pool, forecast, Some(backend))?;
        let counts = follows_load(pool) && utilisation > limit(pool) + EPSILON;
        counts.then_some((utilisation, backend.name.as_str(), None))
    });
    as_a_whole
        .chain(by_backend)
        .max_by(|a, b| a.0.total_cmp(&b.0))
}

/// The peak over the capacity of all backends that take traffic, without `out`.
fn whole_pool_utilisation(
    pool: &Pool,
    forecast: &PoolForecast,
    out: Option<&Backend>,
) -> Option<f64> {
    let is_in = |b: &&Backend| b.weight > 0 && out.is_none_or(|out| out.name != b.name);
    let capacity: f64 = pool
        .backends
        .iter()
        .filter(is_in)
        .filter_map(|b| b.capacity_rps)
        .sum();
    forecast
        .rps
        .filter(|_| capacity > 0.0)
        .map(|rps| rps / capacity)
}

/// Highest utilisation that may be planned.
fn limit(pool: &Pool) -> f64 {
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

/// Why the load of a pool cannot be judged; `None`: it can.
fn unknown(pool: &Pool, forecast: &PoolForecast) -> Option<String> {
    if forecast.rps.is_none() {
        return Some("no `peak_rps` is declared and no traffic was seen".to_owned());
    }
    let without: Vec<&Backend> = pool
        .backends
        .iter()
        .filter(|b| b.capacity_rps.is_none())
        .collect();
    let first = without.first()?;
    Some(match without.len() {
        1 => format!("`{}` declares no `capacity_rps`", first.name),
        n => format!(
            "`{}` and {} more declare no `capacity_rps`",
            first.name,
            n - 1
        ),
    })
}

fn not_judged(subject: &Subject<'_>, id: &'static str, pool: &Pool, reason: &str) -> Finding {
    let words = Words {
        message: format!("pool `{}` is not judged: {reason}", pool.name),
        effect: "an overload by this configuration would not be foreseen".to_owned(),
        fix: "declare `peak_rps` and a `capacity_rps` for every backend".to_owned(),
    };
    let path = &pool.path;
    subject.finding(id, Severity::Info, (path, path), 0.0, words)
}
