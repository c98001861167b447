//! One fault is one finding: what follows from it is told with it.
//!
//! A slipped weight is a wrong share, an overload at the peak and a pool that cannot lose a backend. Four findings about
//! one number bury the others; the one that names the number stays, and what the others found becomes its effect.
//! Nothing is hidden by it: an effect stays by itself where it is worse than its cause, where cause or effect is
//! accepted by a waiver, where the effect would block a change and the cause would not, and where it would be there
//! without the cause, such as a peak that no spread could carry.

use std::collections::BTreeMap;

use evenkeel_forecast::PoolForecast;
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Backend, Pool};

use super::capacity::{limit, whole_capacity, whole_utilisation, working};
use super::traffic::is_one_key;
use crate::decisions::PoolsByPath;
use crate::rule::Subject;

/// What may follow from another finding about the same pool.
const EFFECTS: &[&str] = &["TRF-01", "CAP-01", "CAP-02", "CAP-03"];

/// Slack for rounding.
const EPSILON: f64 = 1e-9;

/// A finding, and whether it blocks the change that is judged.
pub(crate) type Told = (Finding, bool);

/// `findings`, in their order, without those that follow from another one.
pub(crate) fn fold(subject: &Subject<'_>, mut findings: Vec<Told>) -> Vec<Told> {
    let is_cause = |(finding, _): &Told| {
        matches!(finding.id, "TRF-02" | "TRF-15" | "TRF-16")
            && finding.severity > Severity::Info
            && finding.waived.is_none()
    };
    if !findings.iter().any(is_cause) {
        return findings;
    }
    let pools = PoolsByPath::of(subject.setup);
    let forecasts: BTreeMap<&str, &PoolForecast> = subject
        .pools()
        .map(|(pool, forecast)| (pool.path.as_str(), forecast))
        .collect();
    let path_of = |finding: &Finding| pools.at(&finding.path).map(|pool| pool.path.as_str());
    // By pool: ten thousand findings must not be compared with each other.
    let mut by_pool: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
    for (index, (finding, _)) in findings.iter().enumerate() {
        let key = path_of(finding).filter(|_| EFFECTS.contains(&finding.id));
        by_pool.entry(key).or_default().push(index);
    }
    let mut folded = vec![false; findings.len()];
    for cause in 0..findings.len() {
        let Some((told, blocks)) = findings.get(cause).filter(|told| is_cause(told)) else {
            continue;
        };
        let pool = pools.at(&told.path);
        let judged = pool.and_then(|pool| Some((pool, *forecasts.get(pool.path.as_str())?)));
        let near = by_pool.get(&pool.map(|pool| pool.path.as_str()));
        let mut effects = Vec::new();
        for index in near.into_iter().flatten().copied() {
            let Some((effect, is_blocking)) = findings.get(index) else {
                continue;
            };
            let may = effect.severity <= told.severity
                && effect.waived.is_none()
                && (*blocks || !is_blocking);
            if may && folded.get(index) == Some(&false) && follows(told, effect, judged) {
                effects.push(index);
            }
        }
        let texts: Vec<String> = effects
            .iter()
            .filter_map(|index| findings.get(*index).map(|(effect, _)| short(effect)))
            .collect();
        for index in effects {
            if let Some(folded) = folded.get_mut(index) {
                *folded = true;
            }
        }
        if let Some((told, _)) = findings.get_mut(cause) {
            for text in texts {
                told.effect.push_str("; ");
                told.effect.push_str(&text);
            }
        }
    }
    let kept = findings.into_iter().zip(folded);
    kept.filter(|(_, folded)| !folded)
        .map(|(told, _)| told)
        .collect()
}

/// Id and message, without the limit.
fn short(effect: &Finding) -> String {
    let message = effect.message.split("; the ").next();
    format!("{}: {}", effect.id, message.unwrap_or(&effect.message))
}

/// Whether `effect` is there because of `cause`; both are about `judged`, or about no pool.
fn follows(cause: &Finding, effect: &Finding, judged: Option<(&Pool, &PoolForecast)>) -> bool {
    // When nothing is forwarded, each route that hides is a part of why.
    if cause.id == "TRF-16" {
        return cause.severity == Severity::Error && effect.id == "TRF-08";
    }
    let Some((pool, forecast)) = judged else {
        return false;
    };
    // Which backend stands first in the file is no slip: its load is a fault of its own.
    if (cause.id == "TRF-15" && !is_one_key(pool)) || effect.severity == Severity::Info {
        return false;
    }
    match effect.id {
        "TRF-01" => true,
        "CAP-01" => fits(pool, forecast, |_| false),
        "CAP-02" => {
            let mut outs = working(pool);
            outs.all(|out| fits(pool, forecast, |b| b.name == out.name))
        }
        "CAP-03" => {
            let mut zones = working(pool).filter_map(|b| b.zone.as_deref());
            zones.all(|zone| fits(pool, forecast, |b| b.zone.as_deref() == Some(zone)))
        }
        _ => false,
    }
}

/// Whether some spread of the peak over the backends that are not out keeps each within its limit.
fn fits(pool: &Pool, forecast: &PoolForecast, out: impl Fn(&Backend) -> bool) -> bool {
    let lost: f64 = working(pool)
        .filter(|b| out(b))
        .filter_map(|b| b.capacity_rps)
        .sum();
    let whole = whole_capacity(pool);
    let used = whole_utilisation(pool, forecast).map(|used| used * whole / (whole - lost));
    used.is_some_and(|used| used <= limit(pool) + EPSILON)
}
