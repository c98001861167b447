//! CAP-02, CAP-03: whether the peak still fits with one backend or one zone out.

use std::collections::BTreeMap;

use evenkeel_forecast::{FailureCase, PoolForecast};
use evenkeel_model::config::NPlusOne;
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Backend, Pool};

use super::{EPSILON, judged_limit, limit, unknown, whole_capacity, working};
use crate::rule::{Rule, Subject, Words, follows_load, percent};

/// CAP-02.
pub(super) const BACKEND: Rule = Rule {
    id: "CAP-02",
    title: "the peak still fits with any one backend out",
    severity: Severity::Warning,
    limit: None,
    text: "\
For each backend of a pool: with it out, the others must carry the peak within capacity_rps x
(1 - headroom). The worst case is named. A warning; with `n_plus_one = \"refuse\"` an error that refuses
the apply.

Why: a pool that is full with all backends up turns the failure of one into the failure of all.

Not judged, as CAP-01 then says: no peak known, or a backend without capacity_rps. A pool with a single
backend is the matter of TRF-05.

Example: peak 900 rps on three backends of 600 rps: with one out 75 % each, which is within 80 %. At a
peak of 1,000 rps it would be 83.3 %.",
    check: check_backend,
};

fn check_backend(subject: &Subject<'_>) -> Vec<Finding> {
    let losses = Losses::of(subject, "backend:");
    let mut findings = Vec::new();
    for (pool, forecast) in subject.pools() {
        if working(pool).count() < 2 {
            continue;
        }
        // What is not judged CAP-01 says.
        if unknown(pool, forecast).is_none() {
            findings.extend(backend_loss(subject, &losses, pool, forecast));
        }
    }
    findings
}

/// The failure cases of the forecast, by pool.
struct Losses<'s>(BTreeMap<&'s str, Vec<(&'s str, &'s PoolForecast)>>);

impl<'s> Losses<'s> {
    /// Those whose name begins with `kind`; what is out is the rest of the name.
    fn of(subject: &Subject<'s>, kind: &str) -> Self {
        let mut by_pool: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        let cases: &'s [FailureCase] = &subject.forecast.failures;
        for case in cases {
            let Some(out) = case.out.strip_prefix(kind) else {
                continue;
            };
            for pool in &case.pools {
                by_pool.entry(&pool.name).or_default().push((out, pool));
            }
        }
        Self(by_pool)
    }

    /// The loss of `pool` that loads a backend the most: its utilisation, what is out, and the loaded backend.
    fn worst(&self, pool: &Pool) -> Option<(f64, &'s str, &'s str)> {
        let cases = self.0.get(pool.name.as_str())?.iter();
        let highest = cases.filter_map(|(out, after)| {
            let loaded = after.backends.iter();
            let loaded = loaded.filter_map(|b| Some((b.utilisation?, b.name.as_str())));
            let (used, name) = loaded.max_by(|a, b| a.0.total_cmp(&b.0))?;
            Some((used, *out, name))
        });
        // The first of equals, as in the file.
        highest.reduce(|worst, case| if case.0 > worst.0 { case } else { worst })
    }
}

fn backend_loss(
    subject: &Subject<'_>,
    losses: &Losses<'_>,
    pool: &Pool,
    forecast: &PoolForecast,
) -> Option<Finding> {
    let by_backend = losses
        .worst(pool)
        .filter(|(used, ..)| *used > judged_limit(pool) + EPSILON)
        .map(|(used, out, name)| {
            // Of another pool where one of this follows it.
            let out_all = out;
            let out = out.strip_prefix(pool.name.as_str());
            let out = out.and_then(|out| out.strip_prefix('/')).unwrap_or(out_all);
            (used, out, Some(name))
        });
    let as_a_whole = whole_loss(pool, forecast).map(|(used, backend)| (used, &*backend.name, None));
    let (used, out, loaded) = match (as_a_whole, by_backend) {
        (Some(whole), Some(by_backend)) if by_backend.0 >= whole.0 => by_backend,
        (Some(whole), _) => whole,
        (None, by_backend) => by_backend?,
    };
    let on = loaded.map_or_else(
        || "the others together".to_owned(),
        |name| format!("`{name}`"),
    );
    let words = Words {
        message: format!(
            "with `{out}` out, {on} of pool `{}` would be used at {} at the peak; the limit is {}",
            pool.name,
            percent(used),
            percent(limit(pool))
        ),
        effect: format!("the failure of `{out}` alone {}", consequence(used)),
        fix: "add a backend or capacity, or even out the weights".to_owned(),
    };
    Some(at_pool(subject, "CAP-02", pool, used, words))
}

/// Where shares are estimates: the pool without the backend whose loss costs the most, where that is beyond the limit
/// however the load is spread.
fn whole_loss<'p>(pool: &'p Pool, forecast: &PoolForecast) -> Option<(f64, &'p Backend)> {
    if !follows_load(pool) {
        return None;
    }
    let total = whole_capacity(pool);
    let capacity = |b: &Backend| b.capacity_rps.unwrap_or(0.0);
    let largest = working(pool).max_by(|a, b| capacity(a).total_cmp(&capacity(b)))?;
    let left = total - capacity(largest);
    let used = forecast.rps.filter(|_| left > 0.0)? / left;
    (used > limit(pool) + EPSILON).then_some((used, largest))
}

fn consequence(used: f64) -> String {
    if used > 1.0 {
        format!(
            "overloads what is left: {} of its requests queue up or fail",
            percent(1.0 - 1.0 / used)
        )
    } else {
        "uses up the headroom of what is left".to_owned()
    }
}

fn at_pool(
    subject: &Subject<'_>,
    id: &'static str,
    pool: &Pool,
    magnitude: f64,
    words: Words,
) -> Finding {
    let severity = match pool.n_plus_one {
        NPlusOne::Warn => Severity::Warning,
        NPlusOne::Refuse => Severity::Error,
    };
    subject.finding(id, severity, (&pool.path, &pool.path), magnitude, words)
}

/// CAP-03.
pub(super) const ZONE: Rule = Rule {
    id: "CAP-03",
    title: "the peak still fits with any one zone out",
    severity: Severity::Warning,
    limit: None,
    text: "\
In a pool of two zones or more: with all backends of one zone out, the others must carry the peak within
capacity_rps x (1 - headroom). A zone with a single backend of the pool is the matter of CAP-02. A warning;
with `n_plus_one = \"refuse\"` an error that refuses the apply.

Why: zones exist because power and network fail by zone. Two zones with 60 % of the load each carry nothing
extra between them.

Example: four backends of 600 rps in two zones at a peak of 1,200 rps: with one zone out the other is used
at 100 %.",
    check: check_zone,
};

fn check_zone(subject: &Subject<'_>) -> Vec<Finding> {
    let mut losses = Losses::of(subject, "zone:");
    let mut findings = Vec::new();
    for (pool, forecast) in subject.pools() {
        let mut members: BTreeMap<&str, usize> = BTreeMap::new();
        for backend in working(pool) {
            let zone = backend.zone.as_deref().unwrap_or("");
            *members.entry(zone).or_default() += 1;
        }
        if members.len() < 2 || unknown(pool, forecast).is_some() {
            continue;
        }
        if let Some(cases) = losses.0.get_mut(pool.name.as_str()) {
            cases.retain(|(zone, _)| members.get(zone).is_some_and(|count| *count > 1));
        }
        findings.extend(zone_loss(subject, &losses, pool));
    }
    findings
}

fn zone_loss(subject: &Subject<'_>, losses: &Losses<'_>, pool: &Pool) -> Option<Finding> {
    let (used, zone, loaded) = losses.worst(pool)?;
    if used <= judged_limit(pool) + EPSILON {
        return None;
    }
    let count = working(pool)
        .filter(|b| b.zone.as_deref() == Some(zone))
        .count();
    let words = Words {
        message: format!(
            "with zone `{zone}` out, `{loaded}` of pool `{}` would be used at {} at the peak; \
             the limit is {}",
            pool.name,
            percent(used),
            percent(limit(pool))
        ),
        effect: format!(
            "the failure of zone `{zone}` ({count} backends) {}",
            consequence(used)
        ),
        fix: "add capacity in the other zones".to_owned(),
    };
    Some(at_pool(subject, "CAP-03", pool, used, words))
}
