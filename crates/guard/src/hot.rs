//! A key that brings more than its part: seen, named and placed, because no setting of weights spreads one key.
//!
//! Workers count the keys with most requests; the seconds of the last [`KEPT`] are kept, so that a diagnosis can ask for those
//! since an onset. Only what the counters are sure of is told, so a key may be hotter than said and never less hot.

use std::collections::VecDeque;
use std::time::Duration;

use evenkeel_model::clock::Mono;
use evenkeel_model::sketch::Frequent;

/// How long seconds are kept.
const KEPT: Duration = Duration::from_secs(20);
/// Nanoseconds in which what the workers tell is kept as one.
const SECOND: u64 = 1_000_000_000;
/// Requests with a key below which nothing is said.
const ENOUGH: u64 = 100;
/// A key is hot from this part of what a backend has in the mean on.
const OF_A_BACKEND: f64 = 0.5;
/// And from this part of the requests of the pool on.
const OF_THE_POOL: f64 = 0.05;

/// A key and what it brings.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Hot {
    pub(crate) key: u64,
    /// Its part (0..1) of the requests with a key, at least.
    pub(crate) part: f64,
}

/// The keys of one pool, by the second in which they were told.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Keys {
    seconds: VecDeque<(Mono, Frequent)>,
}

impl Keys {
    /// Takes in what a worker counted since it told last.
    pub(crate) fn take(&mut self, keys: &Frequent, now: Mono) {
        while self
            .seconds
            .front()
            .is_some_and(|(at, _)| now.since(*at) >= KEPT)
        {
            self.seconds.pop_front();
        }
        match self.seconds.back_mut() {
            Some((at, same)) if at.0 / SECOND == now.0 / SECOND => same.merge(keys),
            _ => self.seconds.push_back((now, *keys)),
        }
    }

    /// The hottest key since `from` of a pool in which `backends` take traffic, if it is hot.
    pub(crate) fn hot(&self, backends: usize, from: Mono) -> Option<Hot> {
        let mut all = Frequent::default();
        for (_, keys) in self.seconds.iter().filter(|(at, _)| *at > from) {
            all.merge(keys);
        }
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
        let hot = keys.hot(3, Mono::ZERO).unwrap();
        assert_eq!(hot.key, 42);
        assert!((0.2..=0.25).contains(&hot.part), "{hot:?}");
        // A quarter is less than half of the half that one of two has.
        assert_eq!(keys.hot(1, Mono::ZERO), None);
    }

    #[test]
    fn keys_that_come_alike_and_too_few_requests_say_nothing() {
        let mut rng = Rng::new(2);
        let mut alike = Keys::default();
        alike.take(&stream(&mut rng, 10_000, 0), Mono::from_secs(1));
        assert_eq!(alike.hot(100, Mono::ZERO), None);
        let mut few = Keys::default();
        few.take(&stream(&mut rng, 90, 1), Mono::from_secs(1));
        assert_eq!(few.hot(3, Mono::ZERO), None);
    }

    #[test]
    fn what_was_hot_is_forgotten_in_twenty_seconds() {
        let mut rng = Rng::new(3);
        let mut keys = Keys::default();
        keys.take(&stream(&mut rng, 1_000, 2), Mono::from_secs(11));
        for second in 12..40 {
            let is_hot = keys.hot(3, Mono::ZERO).is_some();
            assert!(is_hot || second > 21, "forgotten at {second} s");
            assert!(!is_hot || second < 36, "still hot at {second} s");
            keys.take(&stream(&mut rng, 20, 0), Mono::from_secs(second));
        }
    }
}
