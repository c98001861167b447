//! Waiting lines in closed form: Erlang's formulas and Little's law.
//!
//! Assumes Poisson arrivals. Loss (Erlang B) holds for any service time; waiting (Erlang C) for exponential ones, and
//! is an upper bound for steadier ones.

use std::time::Duration;

/// Slots up to which Erlang's recursion runs; a larger group is taken as this many slots at the same utilisation,
/// which overstates its (tiny) waiting.
const SLOTS_MAX: u64 = 2_000;

/// The part (0..1) of offered requests that finds all `slots` taken when `offered` slots would be busy on average.
pub(crate) fn erlang_b(slots: u64, offered: f64) -> f64 {
    let counted = slots.min(SLOTS_MAX);
    let offered = offered * counted as f64 / slots.max(1) as f64;
    let mut blocked = 1.0;
    for slot in 1..=counted {
        blocked = offered * blocked / (slot as f64 + offered * blocked);
    }
    blocked
}

/// A backend under a steady load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Line {
    /// Requests that it holds on average, those that wait included.
    pub(crate) in_flight: f64,
    /// Seconds that a request waits on average.
    pub(crate) queue_seconds: Option<f64>,
}

/// What `rps` make of a backend; `None` when it is loaded beyond what it can carry, where no steady state exists.
///
/// `capacity_rps` and `service` give its slots; `in_flight_max`, where it is lower, holds requests back before it.
/// Without a capacity nothing waits as far as is known.
pub(crate) fn line(
    rps: f64,
    service: Duration,
    capacity_rps: Option<f64>,
    in_flight_max: Option<u64>,
) -> Option<Line> {
    let service = service.as_secs_f64();
    let busy = rps * service;
    let slots = capacity_rps.map(|capacity| (capacity * service).round().max(1.0));
    let limit = in_flight_max.filter(|max| *max > 0).map(|max| max as f64);
    let slots = match (slots, limit) {
        (Some(slots), Some(limit)) => slots.min(limit),
        (Some(slots), None) => slots,
        (None, Some(limit)) => limit,
        (None, None) => {
            return Some(Line {
                in_flight: busy,
                queue_seconds: None,
            });
        }
    };
    if busy >= slots {
        return None;
    }
    let used = busy / slots;
    let blocked = erlang_b(slots as u64, busy);
    let waits = blocked / (1.0 - used * (1.0 - blocked));
    let queue_seconds = waits * service / (slots * (1.0 - used));
    Some(Line {
        in_flight: busy + rps * queue_seconds,
        queue_seconds: Some(queue_seconds),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{erlang_b, line};

    #[test]
    fn erlang_gives_the_values_of_the_tables() {
        assert!((erlang_b(1, 1.0) - 0.5).abs() < 1e-12);
        assert!((erlang_b(5, 3.0) - 0.110_05).abs() < 1e-4);
        assert!((erlang_b(0, 3.0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_single_slot_waits_as_its_utilisation_says_and_an_overloaded_one_has_no_steady_state() {
        // M/M/1 at 80 %: waits rho / (1 - rho) service times, and holds rho / (1 - rho) requests.
        let one = line(80.0, Duration::from_millis(10), Some(100.0), None).unwrap();
        assert!((one.queue_seconds.unwrap() - 0.04).abs() < 1e-9);
        assert!((one.in_flight - 4.0).abs() < 1e-9);
        assert_eq!(
            line(100.0, Duration::from_millis(10), Some(100.0), None),
            None
        );
        // A limit below what it could work on holds requests back.
        let held = line(80.0, Duration::from_millis(10), Some(1_000.0), Some(1)).unwrap();
        assert!((held.queue_seconds.unwrap() - 0.04).abs() < 1e-9);
        // Without a capacity only Little's law is left.
        let little = line(80.0, Duration::from_millis(10), None, None).unwrap();
        assert!((little.in_flight - 0.8).abs() < 1e-12 && little.queue_seconds.is_none());
    }
}
