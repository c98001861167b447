//! The share of each backend, whatever the selection.
//!
//! By weight: weight over the sum of weights, exact. By load: evenly where backends are alike, else the event engine
//! where rates and capacities are known, else the limit for few requests in flight. By hash: the very table is built; under a key that
//! never changes one backend gets everything. In order: Erlang's loss formula. Limits on requests in flight count only where the engine or that formula runs.

mod constant;
mod digest;
mod first;
mod hash;
mod load;
mod ring;

use std::time::Duration;

pub(crate) use ring::Ring;

use evenkeel_model::setup::{
    Among, Backend, Hash, HashKey, HashTable, LeastLoaded, Pool, Selection,
};

use crate::estimate::{self, Budget};
use crate::facts::Facts;
use crate::failover::{Group, Turnout};
use crate::outlook::Method;

/// A share and how far it may stray, at 95 %.
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

/// The shares within a group and where they come from.
pub(crate) struct Estimated {
    pub(crate) shares: Vec<Share>,
    pub(crate) method: Method,
}

/// The members of a group with what is known of them.
pub(crate) struct Seats<'a> {
    pub(crate) members: Vec<&'a Backend>,
    /// Mean service time of each.
    pub(crate) service: Vec<Option<Duration>>,
}

impl<'a> Seats<'a> {
    fn of(pool: &'a Pool, facts: &Facts, group: &Group) -> Self {
        let members = group
            .members
            .iter()
            .filter_map(|index| pool.backends.get(*index));
        let service = group
            .members
            .iter()
            .map(|index| facts.service_mean(pool, *index));
        Self {
            members: members.collect(),
            service: service.collect(),
        }
    }
}

/// The shares of `pool` when `turnout` takes traffic at `rps`.
pub(crate) fn of(
    pool: &Pool,
    facts: &Facts,
    turnout: &Turnout,
    rps: Option<f64>,
    budget: &mut Budget,
) -> Spread {
    let unknown = || Spread {
        shares: vec![None; pool.backends.len()],
        method: Method::Unknown,
    };
    if turnout.groups.is_empty() {
        return unknown();
    }
    let mut shares = vec![Some(Share::exact(0.0)); pool.backends.len()];
    let mut method = Method::ClosedForm;
    for group in &turnout.groups {
        let seats = Seats::of(pool, facts, group);
        let rps = rps.map(|rps| rps * group.part);
        let Some(mine) = within(pool, facts, &seats, rps, budget) else {
            return unknown();
        };
        method = worst(method, mine.method);
        for (index, share) in group.members.iter().zip(mine.shares) {
            if let Some(place) = shares.get_mut(*index) {
                *place = Some(Share {
                    mid: group.part * share.mid,
                    low: share.low.map(|s| s * group.part),
                    high: share.high.map(|s| s * group.part),
                });
            }
        }
    }
    Spread { shares, method }
}

/// The less certain of two methods.
fn worst(a: Method, b: Method) -> Method {
    let rank = |method: Method| match method {
        Method::ClosedForm => 0,
        Method::Table => 1,
        Method::Simulated => 2,
        Method::LowLoad => 3,
        Method::Unknown => 4,
    };
    if rank(a) < rank(b) { b } else { a }
}

fn within(
    pool: &Pool,
    facts: &Facts,
    seats: &Seats<'_>,
    rps: Option<f64>,
    budget: &mut Budget,
) -> Option<Estimated> {
    let exactly = |shares: Vec<f64>| Estimated {
        shares: shares.into_iter().map(Share::exact).collect(),
        method: Method::ClosedForm,
    };
    if seats.members.len() == 1 {
        return Some(exactly(vec![1.0]));
    }
    // All are bound to the first one picked, whatever would have been picked after it.
    if pool.sticky.as_ref().is_some_and(|sticky| sticky.one_key) {
        return None;
    }
    if pool.one_unknown_key().is_some() {
        return None;
    }
    match &pool.selection {
        Selection::ByWeight => Some(exactly(load::in_proportion(&seats.members, |w| w))),
        Selection::LeastLoaded(_) | Selection::WeightOverLoad { .. } | Selection::BySpeed(_) => {
            by_load(&pool.selection, seats, rps, budget)
        }
        Selection::Hash(Hash {
            key: HashKey::Constant(value),
            table,
            ..
        }) => {
            let winner = constant::winner(*table, value, pool, &seats.members, budget)?;
            let share = |index| Share::exact(if index == winner { 1.0 } else { 0.0 });
            Some(Estimated {
                shares: (0..seats.members.len()).map(share).collect(),
                method: Method::Table,
            })
        }
        Selection::Hash(hash) => {
            let keys = facts.keys(pool);
            let members = &seats.members;
            Some(hash::shares(hash, &pool.backends, members, keys, budget))
        }
        Selection::First => {
            let (shares, known) = first::shares(seats, rps);
            let method = if known {
                Method::ClosedForm
            } else {
                Method::LowLoad
            };
            Some(Estimated { shares, method })
        }
        Selection::Other(_) => None,
    }
}

fn by_load(
    selection: &Selection,
    seats: &Seats<'_>,
    rps: Option<f64>,
    budget: &mut Budget,
) -> Option<Estimated> {
    let members = &seats.members;
    let from_ring = matches!(
        selection,
        Selection::LeastLoaded(LeastLoaded {
            among: Among::DrawnFromRing(_),
            ..
        })
    );
    let odds = if from_ring {
        hash::parts(HashTable::HaproxyRing, members, budget).0
    } else {
        Vec::new()
    };
    // One draw compares nobody, so the load has no say.
    if let Selection::LeastLoaded(rule) = selection
        && let Some(shares) = load::of_one_draw(*rule, members, &odds)
    {
        let method = if from_ring {
            Method::Table
        } else {
            Method::ClosedForm
        };
        return Some(Estimated {
            shares: shares.into_iter().map(Share::exact).collect(),
            method,
        });
    }
    // On a ring backends of equal weight are not alike.
    let alike = !from_ring && load::alike(seats);
    if alike && members.iter().all(|b| b.capacity_rps.is_some()) {
        return Some(Estimated {
            shares: load::in_proportion(members, |_| 1.0)
                .into_iter()
                .map(Share::exact)
                .collect(),
            method: Method::ClosedForm,
        });
    }
    let simulated = rps
        .filter(|_| !alike)
        .and_then(|rps| estimate::shares(selection, seats, &odds, rps, budget));
    if let Some(shares) = simulated {
        return Some(Estimated {
            shares,
            method: Method::Simulated,
        });
    }
    if let Selection::BySpeed(_) = selection {
        let span = estimate::span(selection, seats, &odds, budget)?;
        let share = |(low, high): (f64, f64)| Share {
            mid: f64::midpoint(low, high),
            low: Some(low),
            high: Some(high),
        };
        return Some(Estimated {
            shares: span.into_iter().map(share).collect(),
            method: Method::LowLoad,
        });
    }
    let mut shares = load::limits(selection, members, &odds)?;
    if !alike && let Some(span) = estimate::span(selection, seats, &odds, budget) {
        for (share, (low, high)) in shares.iter_mut().zip(span) {
            share.low = share.low.map(|limit| limit.min(low));
            share.high = share.high.map(|limit| limit.max(high));
        }
    }
    Some(Estimated {
        shares,
        method: Method::LowLoad,
    })
}
