//! Shares under HAProxy's `first`: file order, each up to its limit.
//!
//! With Poisson arrivals and one service time the first k backends together carry what does not find all their slots
//! taken, by Erlang B, whatever the distribution of the service time. What finds every slot taken waits and is taken by
//! whoever is free first; it is spread like the rest.

use evenkeel_model::setup::Backend;

use super::{Seats, Share};
use crate::queueing::erlang_b;

/// The shares at `rps`; the flag says whether they are exact. A backend without a limit takes all that reaches it.
/// Where rate or service time are not known, all goes to the first, the low-load limit, and the span reaches to
/// shares by limit, when everybody is full.
pub(super) fn shares(seats: &Seats<'_>, rps: Option<f64>) -> (Vec<Share>, bool) {
    let count = seats.members.len();
    let limit = |backend: &Backend| backend.in_flight_max.filter(|max| *max > 0);
    if seats.members.first().is_none_or(|b| limit(b).is_none()) {
        let first = |index| Share::exact(if index == 0 { 1.0 } else { 0.0 });
        return ((0..count).map(first).collect(), true);
    }
    let known: Option<Vec<f64>> = seats
        .service
        .iter()
        .map(|s| s.map(|s| s.as_secs_f64()))
        .collect();
    let (Some(rps), Some(services)) = (rps, known) else {
        return (low_load(seats), false);
    };
    // Unequal service times: their mean decides how many slots are busy.
    let mean = services.iter().sum::<f64>() / services.len().max(1) as f64;
    let offered = rps * mean;
    let mut slots = 0u64;
    let mut passed = 1.0;
    let mut shares = Vec::with_capacity(count);
    for backend in &seats.members {
        let still = match limit(backend) {
            Some(max) if passed > 0.0 => {
                slots = slots.saturating_add(max);
                erlang_b(slots, offered)
            }
            _ => 0.0,
        };
        let still = still.min(passed);
        shares.push(passed - still);
        passed = still;
    }
    let carried = (1.0 - passed).max(f64::MIN_POSITIVE);
    let share = |share: f64| Share {
        mid: share / carried,
        low: None,
        high: None,
    };
    (shares.into_iter().map(share).collect(), true)
}

/// All to the first. Under more load the k-th gets at most its part of the limits up to its own, and the first at least
/// its part of all limits.
fn low_load(seats: &Seats<'_>) -> Vec<Share> {
    let limits = seats
        .members
        .iter()
        .map(|b| b.in_flight_max.filter(|max| *max > 0));
    let limits: Vec<f64> = limits
        .map(|max| max.map_or(f64::INFINITY, |max| max as f64))
        .collect();
    let total: f64 = limits.iter().sum();
    let mut sum = 0.0;
    let share = |(index, limit): (usize, &f64)| {
        sum += limit;
        let part = if limit.is_finite() { limit / sum } else { 1.0 };
        let is_first = index == 0;
        Share {
            mid: if is_first { 1.0 } else { 0.0 },
            low: Some(if is_first { limit / total } else { 0.0 }),
            high: Some(part),
        }
    };
    limits.iter().enumerate().map(share).collect()
}
