//! CAP-05, CAP-07, CAP-08, CAP-10: what drains, retries, a rollback and a restart add to the load.

use std::collections::BTreeMap;

use evenkeel_balance::Standing;
use evenkeel_forecast::PoolForecast;
use evenkeel_forecast::outlook::CaseKind;
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Backend, Pool};

use super::{EPSILON, limit, unknown, whole_capacity, whole_utilisation, working};
use crate::rule::{Rule, Subject, Words, number, percent, rate};
use crate::rules::fold::{Fault, told};

/// CAP-05.
pub(super) const DRAINS: Rule = Rule {
    id: "CAP-05",
    title: "the peak fits while backends are drained",
    severity: Severity::Warning,
    limit: None,
    text: "\
What is drained now is missing from the capacity. With all drains in flight the rest must carry the peak
within its limit; the rule names what is drained. Needs a running instance. That the pool is full without
any drain is the matter of CAP-01.

Why: each drain looks harmless by itself, and who drains the second does not see the first. Maintenance of
this kind is in Wikimedia's incident reports of 22 February, 17 April and 25 May 2023.

Example: four backends of 300 rps at a peak of 800 rps: 67 %. With two drained, 133 %.",
    check: check_drains,
};

fn check_drains(subject: &Subject<'_>) -> Vec<Finding> {
    subject
        .pools()
        .filter_map(|(pool, forecast)| check_drains_of(subject, pool, forecast))
        .collect()
}

fn check_drains_of(subject: &Subject<'_>, pool: &Pool, forecast: &PoolForecast) -> Option<Finding> {
    let standings = &subject.facts.pools.get(&pool.name)?.standings;
    let is_drained = |b: &&Backend| standings.get(&b.name) == Some(&Standing::Drained);
    let drained: Vec<&Backend> = working(pool).filter(is_drained).collect();
    let first = drained.first()?;
    if unknown(pool, forecast).is_some() {
        return None;
    }
    let before = whole_utilisation(pool, forecast)?;
    let gone: f64 = drained.iter().filter_map(|b| b.capacity_rps).sum();
    let left = whole_capacity(pool) - gone;
    let rps = forecast.rps?;
    let after = if left > 0.0 {
        rps / left
    } else {
        f64::INFINITY
    };
    if before > limit(pool) + EPSILON || after <= limit(pool) + EPSILON {
        return None;
    }
    let who = match drained.len() {
        1 => format!("`{}`", first.name),
        n => format!("`{}` and {} more", first.name, n - 1),
    };
    let used = if left > 0.0 {
        format!("the rest would be used at {}", percent(after))
    } else {
        "nobody is left".to_owned()
    };
    let words = Words {
        message: format!(
            "with {who} of pool `{}` drained, {used} at the peak; the limit is {}",
            pool.name,
            percent(limit(pool))
        ),
        effect: format!(
            "{} of {} capacity is out; {} of the peak has none within the limit",
            rate(gone),
            rate(gone + left),
            rate((rps - left * limit(pool)).max(0.0))
        ),
        fix: format!("bring back `{}` before the peak", first.name),
    };
    let place = (pool.path.as_str(), first.path.as_str());
    let magnitude = if left > 0.0 { after } else { rps };
    Some(subject.finding("CAP-05", Severity::Warning, place, magnitude, words))
}

/// CAP-07.
pub(super) const RETRIES: Rule = Rule {
    id: "CAP-07",
    title: "the peak with all its retries fits",
    severity: Severity::Warning,
    limit: None,
    text: "\
When backends fail, every request is tried up to 1 + attempts times, or 1 + budget times where a retry
budget bounds it. That many times the peak must not exceed the capacity of the pool. Retries of failed
connections only are not counted: they reach no backend.

Why: load that multiplies when something is slow makes everything slow. Retries turn the failure of one
backend into an overload of the others, and keep it up after the cause is gone.

Not judged: no peak known or capacities missing; a pool that CAP-01 finds full already.

Example: 900 rps on 1,800 rps of capacity with three retries and no budget: up to 3,600 rps. A budget of
20 % bounds it at 1,080.",
    check: check_retries,
};

fn check_retries(subject: &Subject<'_>) -> Vec<Finding> {
    subject
        .pools()
        .filter_map(|(pool, forecast)| check_retries_of(subject, pool, forecast))
        .collect()
}

fn check_retries_of(
    subject: &Subject<'_>,
    pool: &Pool,
    forecast: &PoolForecast,
) -> Option<Finding> {
    if !pool.retry.after_sent || unknown(pool, forecast).is_some() {
        return None;
    }
    let used = whole_utilisation(pool, forecast)?;
    let rps = forecast.rps?;
    let others = working(pool).count().saturating_sub(1) as f64;
    let attempts = pool.retry.attempts.map_or(others, f64::from);
    let factor = 1.0
        + pool
            .retry
            .budget
            .map_or(attempts, |budget| budget.min(attempts));
    let worst = used * factor;
    if used > limit(pool) + EPSILON || worst <= 1.0 + EPSILON {
        return None;
    }
    let bound = match pool.retry.budget {
        Some(budget) => format!("a retry budget of {}", percent(budget)),
        None => format!("up to {attempts} retries and no budget"),
    };
    let words = Words {
        message: format!(
            "with {bound}, failing backends of pool `{}` can turn its peak into {} times as much, \
             {} of its capacity",
            pool.name,
            number(factor),
            percent(worst)
        ),
        effect: format!(
            "{} of {} at the peak meet no capacity while backends fail",
            rate(rps * factor - whole_capacity(pool)),
            rate(rps * factor)
        ),
        fix: "bound retries by a budget of 10 % to 20 % of the requests".to_owned(),
    };
    let place = (pool.path.as_str(), pool.path.as_str());
    Some(subject.finding("CAP-07", Severity::Warning, place, worst, words))
}

/// CAP-08.
pub(super) const TARGET: Rule = Rule {
    id: "CAP-08",
    title: "what a rollback goes back to carries the present traffic",
    severity: Severity::Warning,
    limit: None,
    text: "\
The revision that a rollback would restore is forecast under the load of today: no backend of it may be
beyond its limit. Needs a running instance. Reported, and never in the way of a rollback.

Why: a rollback is itself a change of load. Reports of Argo Rollouts (#3020, #3372) tell of aborts that
moved all traffic to a stable set that had been scaled down.

Example: the last verified revision has two backends, the running one four, and traffic doubled since.",
    check: check_target,
};

fn check_target(subject: &Subject<'_>) -> Vec<Finding> {
    let target = case_of(subject, CaseKind::RollbackTarget);
    let pools = subject.setup.pools.iter();
    pools
        .filter_map(|pool| check_target_of(subject, pool, target.get(pool.name.as_str())?))
        .collect()
}

/// The pools of one case of the forecast, by name. Empty: the case was not worth telling apart.
fn case_of<'s>(subject: &Subject<'s>, kind: CaseKind) -> BTreeMap<&'s str, &'s PoolForecast> {
    let cases = subject.forecast.cases.iter();
    let pools = cases
        .filter(|case| case.case == kind)
        .flat_map(|case| &case.pools);
    pools.map(|pool| (pool.name.as_str(), pool)).collect()
}

fn check_target_of(subject: &Subject<'_>, pool: &Pool, after: &PoolForecast) -> Option<Finding> {
    let loaded = after.backends.iter();
    let loaded = loaded.filter_map(|b| Some((b.utilisation?, b.name.as_str())));
    let (used, name) = loaded.max_by(|a, b| a.0.total_cmp(&b.0))?;
    if used <= limit(pool) + EPSILON {
        return None;
    }
    let words = Words {
        message: format!(
            "a rollback would put `{name}` of pool `{}` at {} of its capacity at the peak; \
             the limit is {}",
            pool.name,
            percent(used),
            percent(limit(pool))
        ),
        effect: if used > 1.0 {
            format!(
                "{} of its requests would queue up or fail after a rollback",
                percent(1.0 - 1.0 / used)
            )
        } else {
            "a rollback would leave it no headroom".to_owned()
        },
        fix: "let a revision verify that fits the present traffic, or add capacity".to_owned(),
    };
    let place = (pool.path.as_str(), pool.path.as_str());
    Some(subject.finding("CAP-08", Severity::Warning, place, used, words))
}

/// CAP-10.
pub(super) const COLD: Rule = Rule {
    id: "CAP-10",
    title: "backends that start slowly survive a restart of the balancer",
    severity: Severity::Warning,
    limit: None,
    text: "\
A slow start says that a backend which has just come back cannot take its full share. After a restart of
the balancer, or of the whole pool, everybody is in that state at once: nobody is warm, and each gets its
full share. An info; a warning where the forecast of that moment shows a backend beyond its capacity.

Why: slow start of HAProxy never applies when HAProxy itself starts. A cache that is cold on every server
at once is an outage that no test of a single server shows.

Example: `slowstart 60s` on three servers, and a reload after the machine room lost power.",
    check: check_cold,
};

fn check_cold(subject: &Subject<'_>) -> Vec<Finding> {
    let restart = case_of(subject, CaseKind::Restart);
    let pools = subject.setup.pools.iter();
    let cold = pools.filter_map(|pool| {
        let backend = working(pool).find(|b| b.slow_start.is_some())?;
        let slow_start = backend.slow_start?;
        let after = restart.get(pool.name.as_str());
        let used = after.and_then(|after| after.highest_utilisation());
        let overload = used.filter(|used| *used > 1.0 + EPSILON);
        let words = Words {
            message: format!(
                "pool `{}` warms up backends over {} s, but not when the balancer itself starts",
                pool.name,
                number(slow_start.as_secs_f64())
            ),
            effect: match overload {
                Some(used) => format!(
                    "after a restart a backend would be used at {}",
                    percent(used)
                ),
                None => "after a restart every backend gets its full share at once".to_owned(),
            },
            fix: "warm the backends up before traffic returns, or bring it back in steps"
                .to_owned(),
        };
        let severity = match overload {
            Some(_) => Severity::Warning,
            None => Severity::Info,
        };
        Some(Fault {
            pool,
            severity,
            at: backend.path.clone(),
            kind: match overload {
                Some(_) => pool.name.clone(),
                None => String::new(),
            },
            magnitude: used.unwrap_or(0.0),
            words,
        })
    });
    told(subject, "CAP-10", cold.collect())
}
