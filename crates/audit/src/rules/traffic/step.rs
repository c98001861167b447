//! TRF-03: how far one change moves the shares.

use std::collections::BTreeMap;

use evenkeel_forecast::PoolForecast;
use evenkeel_forecast::outlook::Method;
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::Pool;

use super::EPSILON;
use crate::rule::{Limit, Rule, Subject, Words, percent, rate};

/// Points of share that one change may move at once where the pool does not say.
pub const STEP_POINTS: f64 = 10.0;

const POINTS: Limit = Limit {
    default: STEP_POINTS,
    unit: "points of share",
};

/// What a share that is estimated by simulation may differ from one run to the other.
const ESTIMATE_POINTS: f64 = 5.0;

/// TRF-03.
pub(super) const STEP: Rule = Rule {
    id: "TRF-03",
    title: "one change moves no backend's share by more than 10 points",
    severity: Severity::Warning,
    limit: Some(POINTS),
    text: "\
Compares the expected shares of the running revision with those of the change, pool by pool; a backend
that is new comes from 0, one that is gone goes to 0. More than 10 points at once is a warning. It never
blocks a change or a rollback: bringing traffic back is a large step too.

Why: a backend that is cold, or not as strong as somebody thought, meets the whole step at once. In steps
of 10 points the first sign of harm comes while nine tenths of the traffic are still where they were.

Judged only against something that runs (`plan`, `apply`). Shares under a selection by load are estimates
and get 5 points more. While traffic flows, `apply` lets such a change come in by parts of the requests,
where shares follow from weights.

Example: a third backend beside two takes the first two from 50 % to 33.3 % and goes itself from 0 to
33.3 %: 33.3 points. As a canary: weight 1 beside 4 and 4 first (11 %), then 2, then 4.",
    check: check_step,
};

fn check_step(subject: &Subject<'_>) -> Vec<Finding> {
    let Some(running) = subject.running else {
        return Vec::new();
    };
    let before: BTreeMap<&str, &PoolForecast> = running
        .forecast
        .pools
        .iter()
        .map(|pool| (pool.name.as_str(), pool))
        .collect();
    let moved = subject.pools().filter_map(|(pool, after)| {
        let before = before.get(pool.name.as_str())?;
        check_step_of(subject, pool, before, after)
    });
    moved.collect()
}

fn check_step_of(
    subject: &Subject<'_>,
    pool: &Pool,
    before: &PoolForecast,
    after: &PoolForecast,
) -> Option<Finding> {
    let mut shares: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for backend in &before.backends {
        let share = backend.expected_share?;
        shares.entry(&backend.name).or_default().0 = share;
    }
    for backend in &after.backends {
        let share = backend.expected_share?;
        shares.entry(&backend.name).or_default().1 = share;
    }
    let moved = |(from, to): &(f64, f64)| (to - from).abs();
    let (name, (from, to)) = shares
        .iter()
        .max_by(|a, b| moved(a.1).total_cmp(&moved(b.1)))?;
    let points = moved(&(*from, *to)) * 100.0;
    let is_estimate = [before.method, after.method]
        .iter()
        .any(|method| matches!(method, Method::Simulated | Method::LowLoad));
    let margin = if is_estimate { ESTIMATE_POINTS } else { 0.0 };
    let limit = POINTS.of("TRF-03", pool);
    if points <= limit + margin + EPSILON {
        return None;
    }
    let load = after.rps.map_or_else(String::new, |rps| {
        format!(
            ", {} of {} at the peak",
            rate((to - from).abs() * rps),
            rate(rps)
        )
    });
    let direction = if to > from { "meets" } else { "loses" };
    let words = Words {
        message: format!(
            "this change moves the share of `{name}` of pool `{}` from {} to {} at once; \
             the limit is {limit} points",
            pool.name,
            percent(*from),
            percent(*to)
        ),
        effect: format!("`{name}` {direction} {points:.1} points of the traffic in one step{load}"),
        fix: "do it in steps: a canary with a small weight first, then the rest".to_owned(),
    };
    let at = pool.backend(name).map(|(_, backend)| {
        let at = backend.weight_path.as_ref().unwrap_or(&backend.path);
        at.as_str()
    });
    let place = (pool.path.as_str(), at.unwrap_or(&pool.path));
    Some(subject.finding("TRF-03", Severity::Warning, place, points / 100.0, words))
}
