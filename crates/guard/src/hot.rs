//! A key that brings more than its part: seen, named and placed, because no setting of weights spreads one key.
//!
//! Workers count the keys with most requests; two windows of [`WINDOW`] are kept, so what is said covers the last ten to
//! twenty seconds. Only what the counters are sure of is told, so a key may be hotter than said and never less hot.

use std::time::Duration;

use evenkeel_model::clock::Mono;
use evenkeel_model::sketch::Frequent;

/// Length of one of the two windows.
const WINDOW: Duration = Duration::from_secs(10);
/// Requests with a key below which nothing is said.
const ENOUGH: u64 = 100;
/// A key is hot from this part of what a backend has in the mean on.
const OF_A_BACKEND: f64 = 0.5;
/// And from this part of the requests of the pool on.
const OF_THE_POOL: f64 = 0.05;

/// A key and what it brings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Hot {
    pub(crate) key: u64,
    /// Its part (0..1) of the requests with a key, at least.
    pub(crate) part: f64,
}

/// The keys of one pool.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys {
    before: Frequent,
    now: Frequent,
    from: Mono,
}

impl Keys {
    /// Takes in what a worker counted since it told last.
    pub(crate) fn take(&mut self, keys: &Frequent, now: Mono) {
        let passed = now.since(self.from);
        if passed >= WINDOW {
            let last = std::mem::take(&mut self.now);
            self.before = if passed < WINDOW * 2 {
                last
            } else {
                Frequent::default()
            };
            self.from = now;
        }
        self.now.merge(keys);
    }

    /// The hottest key of a pool in which `backends` take traffic, if it is hot.
    pub(crate) fn hot(&self, backends: usize) -> Option<Hot> {
        let mut all = self.before;
        all.merge(&self.now);
        let (key, part) = all.top()?;
        let least = (OF_A_BACKEND / backends.max(1) as f64).max(OF_THE_POOL);
        (all.total() >= ENOUGH && part >= least).then_some(Hot { key, part })
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_model::clock::Mono;
    use evenkeel_model::rng::Rng;
    use evenkeel_model::sketch::Frequent;

    use super::Keys;

    /// `count` requests, one in `every` of the same key.
    fn stream(rng: &mut Rng, count: u64, every: u64) -> Frequent {
        let mut keys = Frequent::default();
        for n in 0..count {
            let is_hot = every > 0 && n % every == 0;
            keys.record(if is_hot { 42 } else { rng.below(1 << 40) });
        }
        keys
    }

    #[test]
    fn a_key_with_more_than_half_of_a_backends_part_is_hot() {
        let mut rng = Rng::new(1);
        let mut keys = Keys::default();
        keys.take(&stream(&mut rng, 2_000, 4), Mono::from_secs(1));
        let hot = keys.hot(3).unwrap();
        assert_eq!(hot.key, 42);
        assert!((0.2..=0.25).contains(&hot.part), "{hot:?}");
        // A quarter is less than half of the half that one of two has.
        assert_eq!(keys.hot(1), None);
    }

    #[test]
    fn keys_that_come_alike_and_too_few_requests_say_nothing() {
        let mut rng = Rng::new(2);
        let mut alike = Keys::default();
        alike.take(&stream(&mut rng, 10_000, 0), Mono::from_secs(1));
        assert_eq!(alike.hot(100), None);
        let mut few = Keys::default();
        few.take(&stream(&mut rng, 90, 1), Mono::from_secs(1));
        assert_eq!(few.hot(3), None);
    }

    #[test]
    fn what_was_hot_is_forgotten_in_twenty_seconds() {
        let mut rng = Rng::new(3);
        let mut keys = Keys::default();
        keys.take(&stream(&mut rng, 1_000, 2), Mono::from_secs(11));
        for second in 12..40 {
            let is_hot = keys.hot(3).is_some();
            assert!(is_hot || second > 21, "forgotten at {second} s");
            assert!(!is_hot || second < 36, "still hot at {second} s");
            keys.take(&stream(&mut rng, 20, 0), Mono::from_secs(second));
        }
    }
}
