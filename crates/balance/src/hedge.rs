//! When a second backend is asked although the first has not failed: late enough to be rare, and only as often as the
//! budget says ("The Tail at Scale", Dean and Barroso 2013).
//!
//! [`Hedger`] belongs to one worker and pool. It remembers response times in the buckets of [`Latency`], forgetting the
//! older half whenever [`FORGET_AT`] are known, so that the quantile is that of the last few hundred requests, within
//! a fifth of its value. What it is told is how long the request took until some backend answered. Of a hedged request
//! the time of the first backend is not known then, but it is above the quantile either way, so the quantile stays.
//!
//! Limits: below [`KNOWN_LEAST`] response times there is no quantile and nothing is hedged. The budget is per worker.

use std::time::Duration;

use evenkeel_model::config::{Hedge, HedgeAfter};
use evenkeel_model::tally::Latency;

/// Response times that must be known before a quantile counts.
pub const KNOWN_LEAST: u32 = 100;
/// Response times at which the older half is forgotten.
pub const FORGET_AT: u32 = 2_000;
/// Most hedges that can be saved up.
pub const SAVED_MAX: u32 = 10;
/// The quantile is found anew after so many response times.
const REFRESH: u32 = 32;
const MICRO: u64 = 1_000_000;

/// What one worker knows for the hedges of one pool.
#[derive(Debug, Clone, Default)]
pub struct Hedger {
    latency: Latency,
    known: u32,
    since_refresh: u32,
    /// Of the percentile that it was asked for.
    quantile: Option<(u32, Duration)>,
    micro_tokens: u64,
}

impl Hedger {
    /// Counts a request that could be hedged; when to ask a second backend, from its first pick on.
    pub fn on_request(&mut self, hedge: &Hedge) -> Option<Duration> {
        let saved = self.micro_tokens + u64::from(hedge.budget.ppm());
        self.micro_tokens = saved.min(u64::from(SAVED_MAX) * MICRO);
        match hedge.after {
            HedgeAfter::Time(after) => Some(after),
            HedgeAfter::Percentile(percent) => self.percentile(percent),
        }
    }

    /// Takes one hedge out of the budget; `false`: it is used up.
    pub const fn take(&mut self) -> bool {
        let enough = self.micro_tokens >= MICRO;
        if enough {
            self.micro_tokens -= MICRO;
        }
        enough
    }

    /// Gives a hedge back that was not made.
    pub const fn give_back(&mut self) {
        self.micro_tokens += MICRO;
    }

    /// Takes in the time from the first pick of a request to the response head that its client gets.
    pub fn answered(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.latency.buckets.get_mut(Latency::bucket(us)) {
            *bucket += 1;
        }
        self.known += 1;
        self.since_refresh += 1;
        if self.known >= FORGET_AT {
            for bucket in &mut self.latency.buckets {
                *bucket /= 2;
            }
            self.known = self.latency.buckets.iter().sum();
        }
    }

    /// The response time that `percent` of the requests stay below, rounded up to its bucket.
    fn percentile(&mut self, percent: u32) -> Option<Duration> {
        if self.known < KNOWN_LEAST {
            return None;
        }
        match self.quantile {
            Some((known, at)) if known == percent && self.since_refresh < REFRESH => Some(at),
            _ => {
                let at = self.find(percent);
                self.quantile = Some((percent, at));
                self.since_refresh = 0;
                Some(at)
            }
        }
    }

    fn find(&self, percent: u32) -> Duration {
        let wanted = u64::from(self.known) * u64::from(percent);
        let mut below = 0;
        let index = self.latency.buckets.iter().position(|count| {
            below += u64::from(*count) * 100;
            below >= wanted
        });
        Duration::from_micros(Latency::bound_us(index.unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::{FORGET_AT, Hedger, KNOWN_LEAST, SAVED_MAX};
    use evenkeel_model::config::{Hedge, HedgeAfter};
    use evenkeel_model::rng::Rng;
    use evenkeel_model::units::Ratio;
    use proptest::prelude::*;
    use std::time::Duration;

    const fn hedge(after: HedgeAfter, percent: u32) -> Hedge {
        Hedge {
            after,
            budget: Ratio::from_percent(percent),
        }
    }

    #[test]
    fn a_percentile_is_known_after_enough_answers_and_follows_the_newer_ones() {
        let mut hedger = Hedger::default();
        let p90 = hedge(HedgeAfter::Percentile(90), 5);
        let feed = |hedger: &mut Hedger, count: u32, slow_ms: u64| {
            for n in 0..count {
                let ms = if n % 20 == 0 { 10 * slow_ms } else { slow_ms };
                hedger.answered(Duration::from_millis(ms));
            }
        };
        feed(&mut hedger, KNOWN_LEAST - 1, 10);
        assert_eq!(hedger.on_request(&p90), None);
        feed(&mut hedger, 1, 10);
        let close = |at: Option<Duration>, ms: u64| {
            let at = at.unwrap();
            at >= Duration::from_millis(ms) && at < Duration::from_millis(ms).mul_f64(1.2)
        };
        assert!(close(hedger.on_request(&p90), 10));
        feed(&mut hedger, 8 * FORGET_AT, 40);
        assert!(close(hedger.on_request(&p90), 40));
        assert!(close(
            hedger.on_request(&hedge(HedgeAfter::Percentile(99), 5)),
            400
        ));
    }

    #[test]
    fn a_percentile_does_not_drift_when_the_slow_ones_are_overtaken() {
        // Exponential times; both backends of a hedged request draw one of their own.
        let (mut hedger, mut rng) = (Hedger::default(), Rng::new(3));
        let p95 = hedge(HedgeAfter::Percentile(95), 100);
        let mut hedged = 0;
        for n in 0..50_000 {
            let mut draw = || -10.0 * (1.0 - rng.unit()).ln();
            let (own, other) = (draw(), draw());
            let after = hedger
                .on_request(&p95)
                .map_or(f64::MAX, |at| at.as_secs_f64() * 1e3);
            hedged += u32::from(n >= 10_000 && own > after);
            let took = own.min(after + other);
            hedger.answered(Duration::from_secs_f64(took / 1e3));
        }
        let part = f64::from(hedged) / 40_000.0;
        assert!((0.02..=0.06).contains(&part), "{part} of the requests");
    }

    proptest! {
        #[test]
        fn no_more_is_hedged_than_the_budget_and_what_is_saved(
            percent in 0u32..=100, requests in 1u32..3_000, given_back in any::<bool>()
        ) {
            let mut hedger = Hedger::default();
            let plan = hedge(HedgeAfter::Time(Duration::from_millis(1)), percent);
            let mut made = 0u32;
            for _ in 0..requests {
                prop_assert!(hedger.on_request(&plan).is_some());
                if hedger.take() {
                    if given_back {
                        hedger.give_back();
                    } else {
                        made += 1;
                    }
                }
            }
            let most = u64::from(requests) * u64::from(percent) / 100;
            prop_assert!(u64::from(made) <= most, "{made} of {most}");
            if !given_back {
                prop_assert!(u64::from(made) + 1 >= most, "{made} of {most}");
            }
            // What was saved is bounded.
            let left = (0..100).filter(|_| hedger.take()).count();
            prop_assert!(left <= SAVED_MAX as usize);
        }
    }
}
