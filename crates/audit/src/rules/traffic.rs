//! TRF: where traffic goes, compared with where it should go.

use std::collections::BTreeMap;

use evenkeel_forecast::PoolForecast;
use evenkeel_model::config::Intent;
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Backend, Pool};

use crate::rule::{Limit, Rule, Subject, Words, follows_load, number, percent};

/// TRF-02: how much wider the weights may span than the capacities.
const SPAN: Limit = Limit {
    default: 1.5,
    unit: "times",
};

/// Slack for rounding in a comparison of two computed fractions.
const EPSILON: f64 = 1e-9;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[SHARE, WEIGHTS, MEMBERS, DUPLICATE];

/// TRF-01.
const SHARE: Rule = Rule {
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

Not judged: least_request, where the load decides the shares; the live test covers it.

Example: three backends of 600 rps, one with `weight = 10`: it should get 33.3 % and will get 83.3 %.
Fix the weight, or leave `weight` out: it is then derived from capacity_rps and cannot be mistyped.
If the shares are meant, say so: `intent = \"weight\"`.",
    check: check_share,
};

fn check_share(subject: &Subject<'_>) -> Vec<Finding> {
    subject
        .pools()
        .filter_map(|(pool, forecast)| check_share_of(subject, pool, forecast))
        .collect()
}

/// One finding a pool, about the backend that is off the most: the others are off because it is.
fn check_share_of(subject: &Subject<'_>, pool: &Pool, forecast: &PoolForecast) -> Option<Finding> {
    if follows_load(pool) {
        return None;
    }
    let deviations = pool
        .backends
        .iter()
        .zip(&forecast.backends)
        .filter_map(|(backend, f)| {
            let (intended, expected) = (f.intended_share?, f.expected_share?);
            let deviation = if intended > 0.0 {
                (expected - intended).abs() / intended
            } else {
                expected
            };
            Some((deviation, backend, intended, expected))
        });
    let (deviation, backend, intended, expected) = deviations.max_by(|a, b| a.0.total_cmp(&b.0))?;
    let tolerance = pool.tolerance;
    if deviation <= tolerance + EPSILON {
        return None;
    }
    let load = forecast.rps.map_or_else(String::new, |rps| {
        format!(
            ": {} rps instead of {} rps at the peak",
            number(expected * rps),
            number(intended * rps)
        )
    });
    let words = Words {
        message: format!(
            "`{}` of pool `{}` should get {} of the requests but will get {}; the tolerance is {}",
            backend.name,
            pool.name,
            percent(intended),
            percent(expected),
            percent(tolerance)
        ),
        effect: format!(
            "`{}` gets {} times its share{load}",
            backend.name,
            number(expected / intended)
        ),
        fix: weight_fix(
            pool,
            "or write `intent = \"weight\"` if these shares are meant",
        ),
    };
    Some(at_weight(
        subject,
        "TRF-01",
        Severity::Warning,
        pool,
        backend,
        deviation,
        words,
    ))
}

/// TRF-02.
const WEIGHTS: Rule = Rule {
    id: "TRF-02",
    title: "weights do not span more than the capacities",
    severity: Severity::Error,
    limit: Some(SPAN),
    text: "\
The largest weight of a pool may be at most 1.5 x (largest capacity / smallest capacity) times the
smallest weight above 0. With `capacity_rps` declared by every backend a wider span is an error;
without, the backends count as equal and it is a warning. It is not judged where `intent = \"weight\"`
and no capacity is declared: nothing independent is known then.

Why: weights are typed by hand, and a slipped digit (1 -> 10, 50 -> 500) is a valid number. Declared
capacity is the independent fact that it can be held against.

Example: weights 10, 1, 1 on three backends of 600 rps span 10 : 1, the capacities 1 : 1; the limit
is 1.5. A drained backend (`weight = 0`) is left out of the comparison.",
    check: check_weights,
};

fn check_weights(subject: &Subject<'_>) -> Vec<Finding> {
    subject
        .setup
        .pools
        .iter()
        .filter_map(|pool| check_weights_of(subject, pool))
        .collect()
}

fn check_weights_of(subject: &Subject<'_>, pool: &Pool) -> Option<Finding> {
    let is_declared = pool.backends.iter().all(|b| b.capacity_rps.is_some());
    if !is_declared && pool.intent == Intent::Weight {
        return None;
    }
    let capacity = |b: &Backend| b.capacity_rps.filter(|_| is_declared).unwrap_or(1.0);
    let active: Vec<&Backend> = pool.backends.iter().filter(|b| b.weight > 0).collect();
    let weight_span = span(active.iter().map(|b| f64::from(b.weight)))?;
    let capacity_span = span(active.iter().map(|b| capacity(b)))?;
    let limit = SPAN.of("TRF-02", pool) * capacity_span;
    if weight_span <= limit * (1.0 + EPSILON) {
        return None;
    }
    let culprit = farthest_from_median(&active, |b| f64::from(b.weight) / capacity(b))?;
    let total: f64 = active.iter().map(|b| f64::from(b.weight)).sum();
    let (least, most) = (
        active.iter().map(|b| b.weight).min()?,
        active.iter().map(|b| b.weight).max()?,
    );
    let spans = if is_declared {
        format!("its capacities a factor of {}", number(capacity_span))
    } else {
        "and no capacity is declared that would explain it".to_owned()
    };
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
        fix: weight_fix(pool, "or declare the `capacity_rps` that justifies it"),
    };
    let severity = if is_declared {
        Severity::Error
    } else {
        Severity::Warning
    };
    Some(at_weight(
        subject,
        "TRF-02",
        severity,
        pool,
        culprit,
        weight_span / capacity_span,
        words,
    ))
}

/// Largest over smallest.
fn span(values: impl Iterator<Item = f64> + Clone) -> Option<f64> {
    let smallest = values.clone().min_by(f64::total_cmp)?;
    let largest = values.max_by(f64::total_cmp)?;
    Some(largest / smallest)
}

/// The backend whose `value` is off the median by the largest factor, up or down: most likely the mistyped one.
fn farthest_from_median<'b>(
    backends: &[&'b Backend],
    value: impl Fn(&Backend) -> f64,
) -> Option<&'b Backend> {
    let mut values: Vec<f64> = backends.iter().map(|b| value(b)).collect();
    values.sort_by(f64::total_cmp);
    let median = values.get(values.len() / 2).copied()?;
    let factor = |b: &Backend| (value(b) / median).max(median / value(b));
    backends
        .iter()
        .copied()
        .max_by(|a, b| factor(a).total_cmp(&factor(b)))
}

/// TRF-05.
const MEMBERS: Rule = Rule {
    id: "TRF-05",
    title: "the pool has somebody to send a request to, and a second one",
    severity: Severity::Error,
    limit: None,
    text: "\
A pool whose weights sum to 0 has nobody to send a request to: an error. A pool with a single backend
whose weight is above 0 works, but its next restart is an outage: a warning.

Why: `weight = 0` on each backend is valid to most balancers and stops all traffic at once.

Example: two backends, one with `weight = 0`: the warning names the one that carries everything.",
    check: check_members,
};

fn check_members(subject: &Subject<'_>) -> Vec<Finding> {
    subject
        .setup
        .pools
        .iter()
        .filter_map(|pool| check_members_of(subject, pool))
        .collect()
}

fn check_members_of(subject: &Subject<'_>, pool: &Pool) -> Option<Finding> {
    let active: Vec<&Backend> = pool.backends.iter().filter(|b| b.weight > 0).collect();
    let (severity, words) = match active.as_slice() {
        [] => (
            Severity::Error,
            Words {
                message: format!("every backend of pool `{}` has weight 0", pool.name),
                effect: "every request to the pool is answered 503".to_owned(),
                fix: "give at least two backends a weight above 0, or leave the weights out"
                    .to_owned(),
            },
        ),
        [only] => (
            Severity::Warning,
            Words {
                message: format!(
                    "pool `{}` sends everything to one backend, `{}`",
                    pool.name, only.name
                ),
                effect: format!(
                    "while `{}` restarts or fails, every request to the pool fails",
                    only.name
                ),
                fix: "add a second backend with a weight above 0".to_owned(),
            },
        ),
        _ => return None,
    };
    Some(subject.finding("TRF-05", severity, (&pool.path, &pool.path), 0.0, words))
}

/// TRF-07.
const DUPLICATE: Rule = Rule {
    id: "TRF-07",
    title: "no address twice in a pool",
    severity: Severity::Error,
    limit: None,
    text: "\
Two backends of one pool must not have the same address.

Why: the server behind it silently gets both shares, health and capacity are counted twice, and taking
one of the two out changes nothing. It is what copying a block and forgetting one line makes.

Example: three backends of which two are 127.0.0.1:8081: that server gets 66.7 % of the requests.",
    check: check_duplicates,
};

fn check_duplicates(subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for pool in &subject.setup.pools {
        let mut by_address: BTreeMap<&str, Vec<&Backend>> = BTreeMap::new();
        for backend in &pool.backends {
            by_address
                .entry(backend.address.as_str())
                .or_default()
                .push(backend);
        }
        let total: f64 = pool.backends.iter().map(|b| f64::from(b.weight)).sum();
        for backend in &pool.backends {
            let same = by_address
                .get(backend.address.as_str())
                .map_or(&[][..], Vec::as_slice);
            let Some(first) = same.first().filter(|first| first.name != backend.name) else {
                continue;
            };
            let weight: f64 = same.iter().map(|b| f64::from(b.weight)).sum();
            let share = if total > 0.0 { weight / total } else { 0.0 };
            let words = Words {
                message: format!(
                    "`{}` of pool `{}` has the address of `{}`, {}",
                    backend.name, pool.name, first.name, backend.address
                ),
                effect: format!(
                    "one server gets {} of the weight of the pool under {} names",
                    percent(share),
                    same.len()
                ),
                fix: format!("give `{}` its own address, or remove it", backend.name),
            };
            let path = format!("{}.address", backend.path);
            findings.push(subject.finding("TRF-07", Severity::Error, (&path, &path), share, words));
        }
    }
    findings
}

fn weight_fix(pool: &Pool, otherwise: &str) -> String {
    if pool.intent == Intent::Capacity {
        format!(
            "leave `weight` out (it is then derived from `capacity_rps`), put it right, {otherwise}"
        )
    } else {
        format!("put the weight right, {otherwise}")
    }
}

/// A finding about the spread of a pool, placed at the weight that stands out. The path is the pool's, so that
/// a repair that makes another weight stand out is not taken for a new finding.
fn at_weight(
    subject: &Subject<'_>,
    id: &'static str,
    severity: Severity,
    pool: &Pool,
    backend: &Backend,
    magnitude: f64,
    words: Words,
) -> Finding {
    let at = backend.weight_path.as_ref().unwrap_or(&backend.path);
    subject.finding(id, severity, (&pool.path, at), magnitude, words)
}
