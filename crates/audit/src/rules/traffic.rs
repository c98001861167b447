//! TRF: where traffic goes, compared with where it should go.

use evenkeel_model::config::Intent;
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Backend, Balancer, Pool, Role, Selection, Setup};

use crate::rule::{Rule, Subject, Words};

mod address;
mod expected;
mod loops;
mod members;
mod one_key;
mod reach;
mod redirects;
mod routes;
mod selection;
mod spread;
mod standby;
mod step;
mod zones;

pub(super) use one_key::is_one_key;
pub use step::STEP_POINTS;

#[cfg(test)]
mod answers_tests;
#[cfg(test)]
mod sent_tests;
#[cfg(test)]
mod tests;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    spread::SHARE,
    spread::WEIGHTS,
    step::STEP,
    standby::DRAINED,
    members::MEMBERS,
    selection::FALLBACK,
    members::DUPLICATE,
    routes::UNREACHABLE,
    expected::EXPECTED,
    zones::ZONES,
    selection::PER_WORKER,
    selection::KEYS,
    selection::CONNECTIONS,
    standby::BACKUPS,
    one_key::ONE_KEY,
    reach::REACHED,
    redirects::ARRIVES,
];

/// Slack for rounding in a comparison of two computed fractions.
const EPSILON: f64 = 1e-9;

/// Backends that take part, whatever their weight: neither backup nor disabled.
fn active(pool: &Pool) -> impl Iterator<Item = &Backend> + Clone {
    pool.backends.iter().filter(|b| b.role == Role::Active)
}

/// Whether weights decide anything under the pool's selection.
fn uses_weights(pool: &Pool) -> bool {
    use evenkeel_model::setup::{Among, Cost, LeastLoaded, Tie};
    match &pool.selection {
        Selection::ByWeight
        | Selection::WeightOverLoad { .. }
        | Selection::BySpeed(_)
        | Selection::Hash(_) => true,
        Selection::LeastLoaded(LeastLoaded { among, cost, tie }) => {
            matches!(among, Among::DrawnByWeight(_))
                || *cost != Cost::Plain
                || *tie == Tie::ByWeight
        }
        Selection::First | Selection::Other(_) => false,
    }
}

/// Whether somebody said how the traffic of the pool should be spread. Evenkeel's intent always counts, with its
/// default `even`; that of a file which knows no intent only where capacities are declared beside it.
fn has_intent(setup: &Setup, pool: &Pool) -> bool {
    match pool.intent {
        Intent::Capacity => true,
        Intent::Even => setup.balancer == Balancer::Evenkeel,
        Intent::Weight => false,
    }
}

/// How to put a weight right.
fn weight_fix(setup: &Setup, pool: &Pool, otherwise: &str) -> String {
    if setup.balancer == Balancer::Evenkeel && pool.intent == Intent::Capacity {
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
    (id, severity): (&'static str, Severity),
    (pool, backend): (&Pool, &Backend),
    magnitude: f64,
    words: Words,
) -> Finding {
    let at = backend.weight_path.as_ref().unwrap_or(&backend.path);
    subject.finding(id, severity, (&pool.path, at), magnitude, words)
}
