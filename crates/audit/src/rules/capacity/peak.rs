//! CAP-01: whether the peak fits.

use evenkeel_forecast::PoolForecast;
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Backend, Balancer, Pool};

use super::{EPSILON, is_served, judged_limit, limit, not_judged, unknown, whole_utilisation};
use crate::rule::{Rule, Subject, Words, percent, rate};

/// More overloaded backends of one pool than this are one finding.
const APART_MAX: usize = 8;

/// CAP-01.
pub(super) const PEAK: Rule = Rule {
    id: "CAP-01",
    title: "every backend carries its part of the peak within its capacity less headroom",
    severity: Severity::Error,
    limit: None,
    text: "\
For each backend: expected share x peak must be at most capacity_rps x (1 - headroom), by default 80 %
of the capacity. Peak is `peak_rps`; without it, the highest minute seen x 1.2. Where the peak is beyond
the capacity of all backends together, that is said once, for the pool.

Why: a backend that is planned above its capacity queues, then times out, then fails its checks, and
its load moves to the others. The headroom pays for bursts and for the loss of a backend.

Not judged, and said so as one info for all pools: no peak known, or a backend without capacity_rps.
Where the load decides the shares they are estimated: a backend counts from 5 % above its limit on.

Example: peak 900 rps on three backends of 600 rps is 50 % each. With weights 10, 1, 1 the first
carries 750 rps, 125 % of its capacity: refused.",
    check: check_peak,
};

const NOT_YET: &str = "no `peak_rps` is declared and no whole minute of traffic was seen yet";

fn check_peak(subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut unjudged = Vec::new();
    let is_recorded = subject.facts.recorded_since.is_some();
    for (pool, forecast) in subject.pools() {
        match unknown(pool, forecast) {
            // What runs is known from its first whole minute on.
            Some(_) if is_served(pool) && forecast.rps.is_none() && is_recorded => {
                unjudged.push((pool, NOT_YET.to_owned()));
            }
            Some(reason) if is_served(pool) => unjudged.push((pool, reason)),
            Some(_) => {}
            None => findings.extend(check_peak_of(subject, pool, forecast)),
        }
    }
    findings.extend(not_judged(subject, &unjudged));
    findings
}

/// A backend above its limit.
struct Overload<'p> {
    backend: &'p Backend,
    load: f64,
    capacity: f64,
    utilisation: f64,
}

fn check_peak_of(subject: &Subject<'_>, pool: &Pool, forecast: &PoolForecast) -> Vec<Finding> {
    let overloads = pool.backends.iter().zip(&forecast.backends);
    let overloads = overloads.filter_map(|(backend, f)| {
        let utilisation = f.utilisation?;
        (utilisation > judged_limit(pool) + EPSILON).then_some(Overload {
            backend,
            load: f.expected_rps?,
            capacity: backend.capacity_rps?,
            utilisation,
        })
    });
    let mut overloads: Vec<Overload<'_>> = overloads.collect();
    let whole = whole_utilisation(pool, forecast).filter(|used| *used > limit(pool) + EPSILON);
    if let Some(used) = whole {
        // The worst backend is the magnitude: a change that makes a full pool uneven as well is worse.
        let highest = forecast.highest_utilisation().unwrap_or(used);
        return vec![whole_pool(subject, pool, used, highest.max(used))];
    }
    if overloads.len() > APART_MAX {
        overloads.sort_by(|a, b| b.utilisation.total_cmp(&a.utilisation));
        let rest = overloads.len() - 1;
        let folded = overloads
            .first()
            .map(|worst| overload(subject, pool, worst, rest));
        return folded.into_iter().collect();
    }
    let apart = overloads.iter().map(|one| overload(subject, pool, one, 0));
    apart.collect()
}

/// About one backend, and `others` more of the pool that are above the limit as well. With others the finding is the
/// pool's, and covers each of its backends when two revisions are compared.
fn overload(subject: &Subject<'_>, pool: &Pool, one: &Overload<'_>, others: usize) -> Finding {
    let Overload {
        backend,
        load,
        capacity,
        utilisation,
    } = one;
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
    let more = match others {
        0 => String::new(),
        n => format!("; {n} more backends of the pool are above it too"),
    };
    let fix = match subject.setup.balancer {
        Balancer::Evenkeel => {
            "lower its weight (left out, it follows the capacity) or add capacity"
        }
        _ => "lower its weight or add capacity",
    };
    let words = Words {
        message: format!(
            "`{name}` of pool `{}` would carry {} at the peak, {} of its capacity of {}; the limit is {}{more}",
            pool.name,
            rate(*load),
            percent(*utilisation),
            rate(*capacity),
            percent(limit(pool))
        ),
        effect,
        fix: fix.to_owned(),
    };
    let path = if others > 0 {
        &pool.path
    } else {
        &backend.path
    };
    let at = backend.weight_path.clone();
    let at = at.unwrap_or_else(|| format!("{}.capacity_rps", backend.path));
    subject.finding("CAP-01", Severity::Error, (path, &at), *utilisation, words)
}

fn whole_pool(subject: &Subject<'_>, pool: &Pool, used: f64, magnitude: f64) -> Finding {
    let lost = if used > 1.0 {
        format!(
            "; {} of all requests queue up or fail at the peak",
            percent(1.0 - 1.0 / used)
        )
    } else {
        String::new()
    };
    let words = Words {
        message: format!(
            "pool `{}` would be used at {} of all its capacity at the peak; the limit is {}",
            pool.name,
            percent(used),
            percent(limit(pool))
        ),
        effect: format!("no spread of the load keeps every backend within its limit{lost}"),
        fix: match subject.setup.balancer {
            Balancer::Evenkeel => "add backends, or correct `peak_rps` or `capacity_rps`",
            _ => "add backends, or correct the peak or the capacities that were declared beside the file",
        }
        .to_owned(),
    };
    let at = format!("{}.peak_rps", pool.path);
    subject.finding(
        "CAP-01",
        Severity::Error,
        (&pool.path, &at),
        magnitude,
        words,
    )
}
