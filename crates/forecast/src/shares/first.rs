//! Shares under HAProxy's `first`: file order, each up to its limit.
//!
//! With Poisson arrivals and one service time the first k backends together carry what does not find all their slots
//! taken, by Erlang B, whatever the distribution of the service time. What finds every slot taken waits and is taken by
//! whoever is free first; it is spread like the rest.

use super::{Seats, Share};
use crate::queueing::erlang_b;

/// The shares at `rps`; the flag says whether they are exact. A backend without a limit takes all that reaches it.
/// Where rate or service time are not known, all goes to the first: the low-load limit.
pub(super) fn shares(seats: &Seats<'_>, rps: Option<f64>) -> (Vec<Share>, bool) {
    let count = seats.members.len();
    let only_first = |low_of_first: Option<f64>| {
        let mut shares = vec![
            Share {
                mid: 0.0,
                low: Some(0.0),
                high: low_of_first.map(|low| 1.0 - low),
            };
            count
        ];
        if let Some(first) = shares.first_mut() {
            *first = Share {
                mid: 1.0,
                low: low_of_first,
                high: Some(1.0),
            };
        }
        shares
    };
    if seats
        .members
        .first()
        .is_none_or(|b| b.in_flight_max.is_none_or(|max| max == 0))
    {
        return (only_first(Some(1.0)), true);
    }
    let known: Option<Vec<f64>> = seats
        .service
        .iter()
        .map(|s| s.map(|s| s.as_secs_f64()))
        .collect();
    let (Some(rps), Some(services)) = (rps, known) else {
        return (only_first(None), false);
    };
    // Unequal service times: their mean decides how many slots are busy.
    let mean = services.iter().sum::<f64>() / services.len().max(1) as f64;
    let offered = rps * mean;
    let mut slots = 0u64;
    let mut passed = 1.0;
    let mut shares = Vec::with_capacity(count);
    for backend in &seats.members {
        let still = match backend.in_flight_max.filter(|max| *max > 0) {
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
