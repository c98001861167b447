//! The share of each backend, whatever the selection.

use evenkeel_model::setup::{Pool, Selection};

use crate::estimate::{self, Budget};
use crate::facts::Facts;
use crate::failover::Turnout;
use crate::outlook::Method;

/// A share and how far it may stray.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share {
    pub(crate) mid: f64,
    pub(crate) low: Option<f64>,
    pub(crate) high: Option<f64>,
}

impl Share {
    pub(crate) const fn exact(share: f64) -> Self {
        Self {
            mid: share,
            low: Some(share),
            high: Some(share),
        }
    }
}

/// The shares of a pool, in file order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spread {
    pub(crate) shares: Vec<Option<Share>>,
    pub(crate) method: Method,
}

/// The shares of `pool` when `turnout` takes traffic at `rps`.
pub(crate) fn of(
    pool: &Pool,
    facts: &Facts,
    turnout: &Turnout,
    rps: Option<f64>,
    budget: &mut Budget,
) -> Spread {
    let mut spread = Spread {
        shares: vec![None; pool.backends.len()],
        method: Method::Unknown,
    };
    if turnout.groups.is_empty() {
        return spread;
    }
    let mut shares = vec![Share::exact(0.0); pool.backends.len()];
    let mut method = Method::ClosedForm;
    for group in &turnout.groups {
        let weights: Vec<f64> = group
            .members
            .iter()
            .map(|i| pool.backends.get(*i).map_or(0.0, |b| f64::from(b.weight)))
            .collect();
        let total: f64 = weights.iter().sum();
        let mine: Option<Vec<Share>> = match &pool.selection {
            _ if group.members.len() == 1 => Some(vec![Share::exact(1.0)]),
            Selection::ByWeight => Some(weights.iter().map(|w| Share::exact(w / total)).collect()),
            _ => rps.and_then(|rps| {
                method = Method::Simulated;
                estimate::shares(pool, facts, group, rps * group.part, budget)
            }),
        };
        let Some(mine) = mine else {
            return spread;
        };
        for (index, share) in group.members.iter().zip(mine) {
            if let Some(place) = shares.get_mut(*index) {
                place.mid = group.part * share.mid;
                place.low = share.low.map(|s| s * group.part);
                place.high = share.high.map(|s| s * group.part);
            }
        }
    }
    spread.shares = shares.into_iter().map(Some).collect();
    spread.method = method;
    spread
}
