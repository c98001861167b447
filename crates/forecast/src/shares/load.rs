//! Shares where requests in flight decide, as far as a closed form goes.
//!
//! With nothing in flight everybody ties, and the tie decides: the low-load limit. With very much in flight and
//! backends of equal speed the cost decides: requests in flight per weight are equal, so rates go by weight; requests
//! in flight are equal, so rates are. In between whoever is idle goes before whoever is not, whatever its weight, which
//! draws the shares towards even ones: the span covers the two limits and even shares. Backends that are alike in every
//! respect share evenly at any load, by symmetry.

use evenkeel_model::setup::{Among, Backend, Cost, LeastLoaded, Selection, Tie};

use super::{Seats, Share};

/// Whether all members are alike in all that the load could tell them apart by. Backends of unknown capacity are alike
/// as far as is known; the caller states that.
pub(super) fn alike(seats: &Seats<'_>) -> bool {
    let key = |index: usize| {
        let backend = seats.members.get(index)?;
        let service = seats.service.get(index)?;
        Some((
            backend.weight,
            backend.capacity_rps.map(f64::to_bits),
            service,
            backend.in_flight_max,
        ))
    };
    (1..seats.members.len()).all(|index| key(index) == key(0))
}

/// The shares with nothing in flight, with the span up to very much in flight on backends of equal speed; `None`:
/// there is no closed form. `odds`: chances of a draw from a ring.
pub(super) fn limits(
    selection: &Selection,
    members: &[&Backend],
    odds: &[f64],
) -> Option<Vec<Share>> {
    let even = 1.0 / members.len().max(1) as f64;
    let (low, heavy, between) = match selection {
        Selection::LeastLoaded(rule) => {
            let low = match rule.among {
                // Each draw is as the other, so whoever wins a tie was drawn by the odds.
                Among::DrawnFromRing(_) => odds.to_vec(),
                _ => low_load(*rule, members)?,
            };
            (low, heavy_load(*rule, members), Some(even))
        }
        Selection::WeightOverLoad { bias } => {
            // Rates r with r ~ w / (r S)^bias, so r ~ w^(1 / (1 + bias)).
            let power = 1.0 / (1.0 + bias.max(0.0));
            (
                in_proportion(members, |w| w),
                in_proportion(members, |w| libm::pow(w, power)),
                None,
            )
        }
        _ => return None,
    };
    let share = |(low, heavy): (f64, f64)| Share {
        mid: low,
        low: Some(low.min(heavy).min(between.unwrap_or(low))),
        high: Some(low.max(heavy).max(between.unwrap_or(low))),
    };
    Some(low.into_iter().zip(heavy).map(share).collect())
}

/// The chance of each to be the only one drawn; `None`: more than one is drawn. `odds`: as in [`limits`].
pub(super) fn of_one_draw(
    rule: LeastLoaded,
    members: &[&Backend],
    odds: &[f64],
) -> Option<Vec<f64>> {
    match rule.among {
        Among::DrawnByWeight(1) => Some(in_proportion(members, |w| w)),
        Among::DrawnEqually(1) => Some(in_proportion(members, |_| 1.0)),
        Among::DrawnFromRing(1) => Some(odds.to_vec()),
        _ => None,
    }
}

fn low_load(rule: LeastLoaded, members: &[&Backend]) -> Option<Vec<f64>> {
    match (rule.among, rule.tie) {
        (Among::All, Tie::ByWeight) | (Among::DrawnByWeight(_), Tie::FirstDrawn) => {
            Some(in_proportion(members, |w| w))
        }
        (Among::All | Among::DrawnEqually(_), _) => Some(in_proportion(members, |_| 1.0)),
        (Among::DrawnByWeight(2), Tie::LastDrawn) => Some(second_of_two(members)),
        (Among::DrawnByWeight(_) | Among::DrawnFromRing(_), _) => None,
    }
}

/// The second of two distinct draws by weight: P(j) = sum over i != j of w_i / W x w_j / (W - w_i).
fn second_of_two(members: &[&Backend]) -> Vec<f64> {
    let total: f64 = members.iter().map(|b| f64::from(b.weight)).sum();
    let odds = |b: &Backend| {
        let weight = f64::from(b.weight);
        weight / (total - weight).max(f64::MIN_POSITIVE)
    };
    if members.len() < 2 {
        return vec![1.0; members.len()];
    }
    let sum: f64 = members.iter().map(|b| odds(b)).sum();
    members
        .iter()
        .map(|b| f64::from(b.weight) / total * (sum - odds(b)))
        .collect()
}

fn heavy_load(rule: LeastLoaded, members: &[&Backend]) -> Vec<f64> {
    match rule.cost {
        Cost::PerWeight | Cost::PlusOnePerWeight => in_proportion(members, |w| w),
        Cost::Plain => in_proportion(members, |_| 1.0),
    }
}

/// Shares in proportion to a function of the weight.
pub(super) fn in_proportion(members: &[&Backend], of: impl Fn(f64) -> f64) -> Vec<f64> {
    let values: Vec<f64> = members.iter().map(|b| of(f64::from(b.weight))).collect();
    let total: f64 = values.iter().sum();
    values.into_iter().map(|value| value / total).collect()
}
