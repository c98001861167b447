//! How fast new connections are accepted on one socket, over all workers.
//!
//! A worker books each connection that it accepts, and rests until the rate allows the next one. So the others wait in
//! the backlog of the kernel, where they cost next to nothing, and are served in order of arrival. In a time of `t`
//! seconds at most `rate x t` are accepted, a tenth of a second's worth at once, and one more for each worker, because
//! who rests has accepted before.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evenkeel_model::clock::Mono;

/// What may come at once: this part of a second's connections.
const BURST_PER_SECOND: u64 = 10;
const SECOND_NS: u64 = 1_000_000_000;

/// When the next connection is due, nanoseconds on the clock of the tallies.
#[derive(Debug, Default)]
pub(crate) struct Pace(AtomicU64);

impl Pace {
    /// Books a connection at `rate` a second; how long to rest before the next one is accepted.
    pub(crate) fn book(&self, rate: u32, now: Mono) -> Duration {
        let each = SECOND_NS / u64::from(rate.max(1));
        let next = |due: u64| Some(due.max(now.0).saturating_add(each));
        let update = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let due = update.map_or(now.0, |due| due.max(now.0).saturating_add(each));
        let burst = (SECOND_NS / BURST_PER_SECOND).max(each);
        Duration::from_nanos(due.saturating_sub(now.0).saturating_sub(burst))
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;
    use evenkeel_model::clock::Mono;
    use proptest::prelude::*;
    use std::time::Duration;

    proptest! {
        #[test]
        fn workers_that_rest_as_told_accept_no_more_than_the_rate_and_no_less(
            rate in 1u32..5_000, workers in 1usize..8
        ) {
            let pace = Pace::default();
            let begin = Mono::from_secs(100);
            let end = begin.plus(Duration::from_secs(4));
            let mut free = vec![begin; workers];
            let mut accepted = 0u64;
            // Connections always wait; whoever is free first takes the next one.
            loop {
                let (index, at) = free.iter().copied().enumerate().min_by_key(|(_, at)| *at).unwrap();
                if at >= end {
                    break;
                }
                accepted += 1;
                free[index] = at.plus(pace.book(rate, at).max(Duration::from_nanos(1)));
            }
            let most = 4 * u64::from(rate) + u64::from(rate).div_ceil(10).max(1) + workers as u64;
            prop_assert!(accepted <= most, "{accepted} of {most}");
            prop_assert!(accepted >= 4 * u64::from(rate), "{accepted} at {rate}");
        }
    }

    #[test]
    fn nobody_rests_at_a_lower_rate_than_allowed() {
        let pace = Pace::default();
        for n in 0..100 {
            let now = Mono(1_000_000_000 + n * 100_000_000);
            assert_eq!(pace.book(10, now), Duration::ZERO, "{n}");
        }
    }
}
