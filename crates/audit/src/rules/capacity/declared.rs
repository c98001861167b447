//! CAP-04, CAP-06: whether the facts are declared that everything else is judged by.

use evenkeel_forecast::PoolForecast;
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Backend, Balancer, Pool};

use super::{EPSILON, limit, unknown, whole_utilisation, working};
use crate::rule::{Rule, Subject, Words, percent, rate};

/// CAP-04.
pub(super) const CAPACITIES: Rule = Rule {
    id: "CAP-04",
    title: "every backend of a pool declares its capacity, or none does",
    severity: Severity::Warning,
    limit: None,
    text: "\
Where some backends of a pool declare `capacity_rps`, all that take traffic should. Where none does, the
capacity rules say `not judged` and this one is silent.

Why: one missing number switches off every rule about the load of the pool (CAP-01, CAP-02, CAP-03), and
it is the newest backend, which nobody measured, that lacks it.

Limits: when a capacity was last measured is not part of a configuration. Measure again after a change of
hardware or version.

Example: three backends of which `web-4`, added last week, has no capacity_rps.",
    check: check_capacities,
};

fn check_capacities(subject: &Subject<'_>) -> Vec<Finding> {
    let pools = subject.setup.pools.iter();
    pools
        .filter_map(|pool| check_capacities_of(subject, pool))
        .collect()
}

fn check_capacities_of(subject: &Subject<'_>, pool: &Pool) -> Option<Finding> {
    let count = working(pool).count();
    let missing: Vec<&Backend> = working(pool).filter(|b| b.capacity_rps.is_none()).collect();
    let first = missing.first().filter(|_| missing.len() < count)?;
    let words = Words {
        message: match missing.len() {
            1 => format!(
                "`{}` of pool `{}` declares no capacity",
                first.name, pool.name
            ),
            n => format!(
                "`{}` and {} more of pool `{}` declare no capacity",
                first.name,
                n - 1,
                pool.name
            ),
        },
        effect: format!(
            "the {} declared capacities judge nothing: an overload of any of {count} backends \
             would not be foreseen",
            count - missing.len()
        ),
        fix: match subject.setup.balancer {
            Balancer::Evenkeel => {
                format!("measure `{}` and declare its `capacity_rps`", first.name)
            }
            _ => format!(
                "measure `{}` and declare it: `--capacity {}/{}=RPS`, or a side file with `--facts`",
                first.name, pool.name, first.name
            ),
        },
    };
    let magnitude = missing.len() as f64;
    let place = (pool.path.as_str(), first.path.as_str());
    Some(subject.finding("CAP-04", Severity::Warning, place, magnitude, words))
}

/// CAP-06.
pub(super) const FLOOR: Rule = Rule {
    id: "CAP-06",
    title: "the floor of live backends is enough for the peak",
    severity: Severity::Warning,
    limit: None,
    text: "\
`min_healthy` is the number of live backends that no action of Evenkeel goes below. That many, the weakest
of the pool, must be able to carry the peak. A warning where the number stands in the file; an info where
it is the default of 1.

Why: the floor is the last line of defence of every automatic action. In Seoul in November 2018 the
minimum number of healthy hosts of a DNS fleet was lost from a configuration, its very low default took
over, and too few hosts were left in service.

Not judged: no peak known or capacities missing; balancers that know no such floor.

Example: peak 900 rps on three backends of 600 rps: one alone carries 600, so the floor must be 2.",
    check: check_floor,
};

fn check_floor(subject: &Subject<'_>) -> Vec<Finding> {
    subject
        .pools()
        .filter_map(|(pool, forecast)| check_floor_of(subject, pool, forecast))
        .collect()
}

fn check_floor_of(subject: &Subject<'_>, pool: &Pool, forecast: &PoolForecast) -> Option<Finding> {
    let floor = pool.min_healthy?;
    let rps = forecast.rps.filter(|_| unknown(pool, forecast).is_none())?;
    // A pool that is full with all of its backends is the matter of CAP-01.
    whole_utilisation(pool, forecast).filter(|used| *used <= limit(pool) + EPSILON)?;
    let mut capacities: Vec<f64> = working(pool).filter_map(|b| b.capacity_rps).collect();
    capacities.sort_by(f64::total_cmp);
    let sums = capacities.iter().scan(0.0, |sum, capacity| {
        *sum += capacity;
        Some(*sum)
    });
    let sums: Vec<f64> = sums.collect();
    let needed = 1 + sums.iter().position(|sum| *sum + EPSILON >= rps)?;
    let kept = usize::try_from(floor).unwrap_or(usize::MAX);
    if kept >= needed || sums.len() < 2 {
        return None;
    }
    let carried = kept.checked_sub(1).and_then(|last| sums.get(last));
    let carried = carried.copied().unwrap_or(0.0);
    let path = format!("{}.min_healthy", pool.path);
    let is_written = subject.origin.declares(&path);
    let words = Words {
        message: format!(
            "`min_healthy` of pool `{}` is {floor}{}, and the peak of {} needs {needed} of its {} backends",
            pool.name,
            if is_written { "" } else { " by default" },
            rate(rps),
            sums.len()
        ),
        effect: format!(
            "an action may leave {} of capacity: {} of the peak would queue up or fail",
            rate(carried),
            percent(1.0 - carried / rps)
        ),
        fix: format!("write `min_healthy = {needed}`"),
    };
    let severity = if is_written {
        Severity::Warning
    } else {
        Severity::Info
    };
    let magnitude = 1.0 - carried / rps;
    Some(subject.finding("CAP-06", severity, (&pool.path, &path), magnitude, words))
}
