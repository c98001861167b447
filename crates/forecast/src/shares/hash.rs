//! Shares under a hash of the request: the table gives the parts of the hashes, the keys decide how near the requests
//! come to them.
//!
//! With K keys that are asked for alike, the share of a backend with part p strays from p with variance p (1 - p) / K;
//! with unlike keys 1 / K becomes the sum of the squared parts of the keys. The interval is that of a binomial of as many
//! draws as that sum stands for. Which keys exist is not known, so the expected share is the part itself.

use evenkeel_model::setup::{Backend, Hash, HashTable};

use super::load::in_proportion;
use super::{Estimated, Share, ring};
use crate::estimate::Budget;
use crate::facts::Keys;
use crate::outlook::Method;

/// Standard normal quantile of a two-sided 95 % interval, and what it leaves out on each side.
const Z95: f64 = 1.959_963_984_540_054;
const TAIL: f64 = 0.025;

/// The share of each of `members`, who take traffic, of the backends `all` of a pool.
pub(super) fn shares(
    hash: &Hash,
    all: &[Backend],
    members: &[&Backend],
    keys: Option<Keys>,
    budget: &mut Budget,
) -> Estimated {
    let by_weight = in_proportion(members, |w| w);
    let (parts, per_weight) = match ring::own(hash.table, all, members, budget) {
        Some(parts) => (parts, None),
        None => parts(hash.table, members, budget),
    };
    let is_built = per_weight.is_none() && ring::points(hash.table, members) > 0;
    let method = if is_built {
        Method::Table
    } else {
        Method::ClosedForm
    };
    let rough = |share: f64, weight: f64| match per_weight {
        Some(points) if !matches!(hash.table, HashTable::EnvoyMaglev { .. }) => {
            let stray = Z95 * share / (points * weight).max(1.0).sqrt();
            ((share - stray).max(0.0), (share + stray).min(1.0))
        }
        _ => (share, share),
    };
    let shares = parts.iter().zip(&by_weight).zip(members);
    let shares = shares.map(|((part, weight_share), backend)| {
        let (mut low, mut high) = rough(*part, f64::from(backend.weight));
        if hash.balance_factor.is_some() {
            // Who is above the bound passes requests on, which draws the shares towards the weights.
            (low, high) = (low.min(*weight_share), high.max(*weight_share));
        }
        Share {
            mid: *part,
            low: keys.map(|keys| predicted(low, draws(keys)).0.min(*part)),
            high: keys.map(|keys| predicted(high, draws(keys)).1.max(*part)),
        }
    });
    Estimated {
        shares: shares.collect(),
        method,
    }
}

/// The part of the hashes that falls on each member. A table that is too large to build has shares near the weights;
/// then the points that it has per unit of weight come with it.
pub(super) fn parts(
    table: HashTable,
    members: &[&Backend],
    budget: &mut Budget,
) -> (Vec<f64>, Option<f64>) {
    let by_weight = in_proportion(members, |w| w);
    let points = ring::points(table, members);
    let built = ring::parts(table, members, budget);
    if let Some(parts) = built {
        return (parts, None);
    }
    let total: f64 = members.iter().map(|b| f64::from(b.weight)).sum();
    (by_weight, (points > 0).then_some(points as f64 / total))
}

/// As how many keys that are asked for alike these keys spread.
fn draws(keys: Keys) -> f64 {
    let distinct = keys.distinct.max(1.0);
    let top = keys.top_share.unwrap_or(0.0).clamp(1.0 / distinct, 1.0);
    let others = (1.0 - top) * (1.0 - top) / (distinct - 1.0).max(1.0);
    1.0 / (top * top + others)
}

/// Variance of a count beyond which a normal takes the place of a binomial.
const NORMAL_FROM: f64 = 100.0;

/// Between which parts the share of a backend lies in 95 of 100 choices of keys, when a key falls on it with chance
/// `part`: the quantiles of a binomial.
fn predicted(part: f64, draws: f64) -> (f64, f64) {
    if part <= 0.0 || part >= 1.0 {
        return (part, part);
    }
    if part > 0.5 {
        let (low, high) = predicted(1.0 - part, draws);
        return (1.0 - high, 1.0 - low);
    }
    let count = draws.round().max(1.0);
    let variance = count * part * (1.0 - part);
    if variance > NORMAL_FROM {
        let half = (Z95 * libm::sqrt(variance) + 0.5) / count;
        return ((part - half).max(0.0), (part + half).min(1.0));
    }
    let mut chance = libm::pow(1.0 - part, count);
    let mut sum = chance;
    let mut hits = 0.0;
    let mut low = None;
    while hits < count {
        if low.is_none() && sum > TAIL {
            low = Some(hits);
        }
        if sum >= 1.0 - TAIL {
            break;
        }
        chance *= (count - hits) / (hits + 1.0) * part / (1.0 - part);
        hits += 1.0;
        sum += chance;
    }
    (low.unwrap_or(hits) / count, hits / count)
}

#[cfg(test)]
mod tests {
    use super::{draws, predicted};
    use crate::facts::Keys;

    #[test]
    fn few_or_unlike_keys_widen_the_interval() {
        let keys = |distinct, top_share| {
            draws(Keys {
                distinct,
                top_share,
            })
        };
        assert!((keys(100.0, None) - 100.0).abs() < 1e-9);
        // One key with half of the requests: no better than three or four keys.
        assert!((3.0..4.1).contains(&keys(1_000.0, Some(0.5))));
        // Binomial quantiles: 3 and 11 of 20 at a third.
        assert_eq!(predicted(1.0 / 3.0, 20.0), (0.15, 0.55));
        let (low, high) = predicted(2.0 / 3.0, 20.0);
        assert!((low - 0.45).abs() < 1e-9 && (high - 0.85).abs() < 1e-9);
        let (low, high) = predicted(0.25, 1_000.0);
        assert!(
            (low - 0.2227).abs() < 1e-3 && (high - 0.2773).abs() < 1e-3,
            "{low} {high}"
        );
        assert!(predicted(0.25, 10.0).1 > high && predicted(0.0, 10.0).1 < 1e-12);
        assert_eq!(predicted(0.001, 100.0), (0.0, 0.01));
    }
}
