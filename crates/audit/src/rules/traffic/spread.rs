//! TRF-01, TRF-02: shares against the intent, weights against the capacities.

use evenkeel_forecast::PoolForecast;
use evenkeel_model::config::{Intent, Place};
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Backend, Balancer, Pool, Selection};

use super::super::capacity::{limit, whole_utilisation};
use super::{EPSILON, active, at_weight, has_intent, uses_weights, weight_fix};
use crate::rule::{Limit, Rule, Subject, Words, follows_load, number, percent};

/// TRF-02: how much wider the weights may span than the capacities.
const SPAN: Limit = Limit {
    default: 1.5,
    unit: "times the span of the capacities",
};

/// A slipped digit makes a weight about ten times what was meant. Below that, weights of a file without capacities are
/// most likely meant.
const SLIPPED_DIGIT: f64 = 10.0;

/// TRF-01.
pub(super) const SHARE: Rule = Rule {
    id: "TRF-01",
    title: "expected share within tolerance of the intended share",
    severity: Severity::Warning,
    limit: None,
    text: "\
`intent` says how traffic should be spread (even, by capacity_rps, by weight); algorithm and weights
say how it will be. The rule compares the two shares of each backend and warns when they differ by
more than `tolerance` (default 20 %, relative to the intended share).

Why: a balancer obeys a wrong weight perfectly. Nothing fails until the backend that gets too much
does, and then the backend looks like the cause.

Not judged: selections by load (least_request), where the load decides the shares; the live test covers
it. Files of other balancers state no intent: they are judged once capacities are declared beside them,
and of a hash the weights are judged here, the table by TRF-12.

Example: three backends of 600 rps, one with `weight = 10`: it should get 33.3 % and will get 83.3 %.
Fix the weight, or leave `weight` out: it is then derived from capacity_rps and cannot be mistyped.
If the shares are meant, say so: `intent = \"weight\"`.",
    check: check_share,
};

fn check_share(subject: &Subject<'_>) -> Vec<Finding> {
    let off = subject.pools().filter_map(|(pool, forecast)| {
        let off = off_the_most(subject, pool, forecast)?;
        (off.deviation > pool.tolerance + EPSILON).then(|| share_finding(subject, pool, &off))
    });
    off.collect()
}

/// The backend whose share is farthest from the intended one.
struct Off<'p> {
    backend: &'p Backend,
    intended: f64,
    expected: f64,
    /// Relative to the intended share.
    deviation: f64,
    /// What the pool is judged at.
    rps: Option<f64>,
}

/// Whether TRF-01 speaks about `pool`: rules about consequences of a wrong share are then silent.
pub(super) fn is_off(subject: &Subject<'_>, pool: &Pool, forecast: &PoolForecast) -> bool {
    off_the_most(subject, pool, forecast)
        .is_some_and(|off| off.deviation > pool.tolerance + EPSILON)
}

/// One a pool: the others are off because it is. `None`: not judged.
fn off_the_most<'p>(
    subject: &Subject<'_>,
    pool: &'p Pool,
    forecast: &PoolForecast,
) -> Option<Off<'p>> {
    if follows_load(pool) || !has_intent(subject.setup, pool) {
        return None;
    }
    let is_hash = matches!(pool.selection, Selection::Hash(_));
    if is_hash && pool.place != Place::default() {
        return None;
    }
    let by_weight = is_hash.then(|| weight_shares(pool));
    let deviations = pool.backends.iter().zip(&forecast.backends).enumerate();
    let deviations = deviations.filter_map(|(index, (backend, f))| {
        let expected = match &by_weight {
            Some(shares) => shares.get(index).copied()?,
            None => f.expected_share?,
        };
        let intended = f.intended_share?;
        let deviation = if intended > 0.0 {
            (expected - intended).abs() / intended
        } else {
            expected
        };
        Some(Off {
            backend,
            intended,
            expected,
            deviation,
            rps: forecast.rps,
        })
    });
    deviations.max_by(|a, b| a.deviation.total_cmp(&b.deviation))
}

/// The part of the weight of each backend, in file order.
pub(super) fn weight_shares(pool: &Pool) -> Vec<f64> {
    let weight = |b: &Backend| match b.role {
        evenkeel_model::setup::Role::Active => f64::from(b.weight),
        _ => 0.0,
    };
    let total: f64 = pool.backends.iter().map(weight).sum();
    let share = |b: &Backend| if total > 0.0 { weight(b) / total } else { 0.0 };
    pool.backends.iter().map(share).collect()
}

fn share_finding(subject: &Subject<'_>, pool: &Pool, off: &Off<'_>) -> Finding {
    let Off {
        backend,
        intended,
        expected,
        ..
    } = off;
    let load = off.rps.map_or_else(String::new, |rps| {
        format!(
            ": {} rps instead of {} rps at the peak",
            number(expected * rps),
            number(intended * rps)
        )
    });
    let otherwise = match subject.setup.balancer {
        Balancer::Evenkeel => "or write `intent = \"weight\"` if these shares are meant",
        _ => "or say that these shares are meant: `intent = \"weight\"` in a side file (`--facts`)",
    };
    let gets = if *intended > 0.0 {
        format!("{} times its share", number(expected / intended))
    } else {
        "traffic that nobody meant for it".to_owned()
    };
    let words = Words {
        message: format!(
            "`{}` of pool `{}` should get {} of the requests but will get {}; the tolerance is {}",
            backend.name,
            pool.name,
            percent(*intended),
            percent(*expected),
            percent(pool.tolerance)
        ),
        effect: format!("`{}` gets {gets}{load}", backend.name),
        fix: weight_fix(subject.setup, pool, otherwise),
    };
    let rule = ("TRF-01", Severity::Warning);
    at_weight(subject, rule, (pool, backend), off.deviation, words)
}

/// TRF-02.
pub(super) const WEIGHTS: Rule = Rule {
    id: "TRF-02",
    title: "weights do not span more than the capacities",
    severity: Severity::Error,
    limit: Some(SPAN),
    text: "\
The largest weight of a pool may be at most 1.5 x (largest capacity / smallest capacity) times the
smallest weight above 0. With `capacity_rps` declared by every backend a wider span is an error;
without, the backends count as equal and it is a warning; in the files of other balancers, which have no
place to declare a capacity, an info up to a factor of 10, unless the pool sets a limit. Under
`intent = \"weight\"` the weights are what is meant: with capacities a wider span is an error only when it
plans a backend above 1 - headroom of its capacity at the peak, else an info; without capacities it is not
judged (nothing independent is known then). Nor is it where the selection ignores weights.

What the weights do to the load (CAP-01, CAP-02, TRF-01) is told with this finding, as its effect.

Why: weights are typed by hand, and a slipped digit (1 -> 10, 50 -> 500) is a valid number. Declared
capacity is the independent fact that it can be held against.

Example: weights 10, 1, 1 on three backends of 600 rps span 10 : 1, the capacities 1 : 1; the limit
is 1.5. In a haproxy.cfg, `weight 256` beside `weight 1` gives one server 99.6 %, without a word from
`haproxy -c`. Backups and drained backends (`weight = 0`) are left out of the comparison.",
    check: check_weights,
};

fn check_weights(subject: &Subject<'_>) -> Vec<Finding> {
    let pools = subject.pools();
    pools
        .filter(|(pool, _)| uses_weights(pool))
        .filter_map(|(pool, forecast)| check_weights_of(subject, pool, forecast))
        .collect()
}

/// Whether the weights plan a backend above its limit though the pool as a whole could carry its peak.
fn overloads(pool: &Pool, forecast: &PoolForecast) -> bool {
    let limit = limit(pool) + EPSILON;
    let whole = whole_utilisation(pool, forecast);
    let highest = forecast.highest_utilisation();
    whole.is_some_and(|used| used <= limit) && highest.is_some_and(|used| used > limit)
}

/// How bad a span beyond the limit is.
fn severity_of(
    subject: &Subject<'_>,
    pool: &Pool,
    forecast: &PoolForecast,
    (is_declared, weight_span): (bool, f64),
) -> Severity {
    let may_be_meant = subject.setup.balancer != Balancer::Evenkeel
        && weight_span < SLIPPED_DIGIT
        && !pool.policy.limits.contains_key("TRF-02");
    match (is_declared, pool.intent) {
        // The weights are the intent: only what they overload speaks against them.
        (true, Intent::Weight) if overloads(pool, forecast) => Severity::Error,
        (true, Intent::Weight) => Severity::Info,
        (true, Intent::Even | Intent::Capacity) => Severity::Error,
        (false, _) if may_be_meant => Severity::Info,
        (false, _) => Severity::Warning,
    }
}

fn check_weights_of(
    subject: &Subject<'_>,
    pool: &Pool,
    forecast: &PoolForecast,
) -> Option<Finding> {
    // Levels of fail-over carry traffic one after the other: only the first is compared.
    let first_level = active(pool).map(|b| b.priority).min()?;
    let active: Vec<&Backend> = active(pool)
        .filter(|b| b.weight > 0 && b.priority == first_level)
        .collect();
    let is_declared = active.iter().all(|b| b.capacity_rps.is_some());
    if !is_declared && pool.intent == Intent::Weight {
        return None;
    }
    let capacity = |b: &Backend| b.capacity_rps.filter(|_| is_declared).unwrap_or(1.0);
    let weights = active.iter().map(|b| f64::from(b.weight));
    let (least, most) = range(weights.clone())?;
    let (smallest, largest) = range(active.iter().map(|b| capacity(b)))?;
    let (weight_span, capacity_span) = (most / least, largest / smallest);
    let limit = SPAN.of("TRF-02", pool) * capacity_span;
    if weight_span <= limit * (1.0 + EPSILON) {
        return None;
    }
    let culprit = farthest_from_median(&active, |b| f64::from(b.weight) / capacity(b))?;
    let spans = if is_declared {
        format!("its capacities a factor of {}", number(capacity_span))
    } else {
        "and no capacity is declared that would explain it".to_owned()
    };
    let total: f64 = weights.sum();
    let words = Words {
        message: format!(
            "the weights of pool `{}` span a factor of {} ({least} to {most}), {spans}; \
             the limit is a factor of {}",
            pool.name,
            number(weight_span),
            number(limit)
        ),
        effect: format!(
            "`{}` with weight {} gets {} of the weight of the pool",
            culprit.name,
            culprit.weight,
            percent(f64::from(culprit.weight) / total)
        ),
        fix: weight_fix(
            subject.setup,
            pool,
            match subject.setup.balancer {
                Balancer::Evenkeel => "or declare the `capacity_rps` that justifies it",
                _ => {
                    "or declare the capacities that justify it: `--capacity`, or a side file with `--facts`"
                }
            },
        ),
    };
    let severity = severity_of(subject, pool, forecast, (is_declared, weight_span));
    let rule = ("TRF-02", severity);
    let magnitude = weight_span / capacity_span;
    Some(at_weight(subject, rule, (pool, culprit), magnitude, words))
}

/// Smallest and largest.
fn range(values: impl Iterator<Item = f64> + Clone) -> Option<(f64, f64)> {
    let smallest = values.clone().min_by(f64::total_cmp)?;
    let largest = values.max_by(f64::total_cmp)?;
    Some((smallest, largest))
}

/// The backend whose `value` is off the median by the largest factor, up or down: most likely the mistyped one.
fn farthest_from_median<'b>(
    backends: &[&'b Backend],
    value: impl Fn(&Backend) -> f64,
) -> Option<&'b Backend> {
    let mut values: Vec<f64> = backends.iter().map(|b| value(b)).collect();
    values.sort_by(f64::total_cmp);
    // Of two, the larger is the one that a digit slipped into.
    let median = values.get(values.len().saturating_sub(1) / 2).copied()?;
    let factor = |b: &Backend| (value(b) / median).max(median / value(b));
    let mut backends = backends.iter().copied();
    let first = backends.next()?;
    // The first of equals: with two backends both are as far off, and the file is read from the top.
    Some(backends.fold(
        first,
        |worst, b| if factor(b) > factor(worst) { b } else { worst },
    ))
}
