//! How often each client (or key) comes: a bounded table for all workers, without a lock.
//!
//! A key has its place in one set of [`WAYS`]; where all are taken, the one that has been idle longest makes room. So
//! memory is bounded whatever clients send. Who can send under very many keys is not held back by a limit per key
//! anyway. A request reads one cache line or two and changes one number.
//!
//! Kept by route over reloads, so that a change of the configuration gives nobody a fresh burst.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use evenkeel_balance::rate::Gcra;
use evenkeel_http1::RequestHead;
use evenkeel_model::clock::Mono;
use evenkeel_model::config::{HashKey, Route};
use evenkeel_model::tally::RouteKey;

use crate::connection::Connection;
use crate::gauge::Gauges;
use crate::ident::hash_key;

/// Keys that one route remembers.
const KEYS: usize = 16_384;
/// Places that a key may have.
const WAYS: usize = 8;
/// Stands for requests that have no such key, and for all of a route without one.
const NO_KEY: u64 = 1;

/// The limit of one route.
#[derive(Debug)]
pub(crate) struct RouteLimit {
    gcra: Gcra,
    by: Option<HashKey>,
    pub(crate) rates: Arc<Rates>,
}

impl RouteLimit {
    /// The limit of `route`, with what has come on it so far.
    pub(crate) fn of(route: &Route, gauges: &Gauges) -> Option<Self> {
        let limit = route.rate_limit.as_ref()?;
        Some(Self {
            gcra: Gcra::new(limit.rps, limit.burst),
            by: limit.by.clone(),
            rates: gauges.rates(&RouteKey::of(route), limit.by.as_ref()),
        })
    }

    /// Counts a request; how long until one would be let through when this one is not. Requests without what the limit
    /// goes by have one rate together.
    pub(crate) fn admit(
        &self,
        connection: &Connection,
        head: &RequestHead,
        text: &[u8],
        now: Instant,
    ) -> Result<(), Duration> {
        let by = self.by.as_ref();
        let key = by.and_then(|by| hash_key(by, head, text, connection.peer));
        self.rates.take(self.gcra, key, connection.worker.mono(now))
    }
}

#[derive(Debug, Default)]
struct Place {
    /// 0: empty.
    key: AtomicU64,
    /// Theoretical arrival time, nanoseconds on the clock of the tallies.
    tat: AtomicU64,
}

/// What came on one route.
#[derive(Debug)]
pub(crate) struct Rates {
    /// What the keys are made of; a table of other keys says nothing.
    by: Option<HashKey>,
    places: Box<[Place]>,
    refused: AtomicU64,
}

impl Rates {
    pub(crate) fn new(by: Option<HashKey>) -> Self {
        let places = if by.is_some() { KEYS } else { WAYS };
        Self {
            by,
            places: (0..places).map(|_| Place::default()).collect(),
            refused: AtomicU64::new(0),
        }
    }

    /// Whether it can go on under a configuration that counts `by`.
    pub(crate) fn fits(&self, by: Option<&HashKey>) -> bool {
        self.by.as_ref() == by
    }

    /// Requests refused so far.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Counts a request of `key`; how long until the next would be let through when this one is not.
    pub(crate) fn take(&self, gcra: Gcra, key: Option<u64>, now: Mono) -> Result<(), Duration> {
        let key = key.unwrap_or(NO_KEY).max(NO_KEY);
        let Some(place) = self.place(key) else {
            return Ok(());
        };
        let mut tat = place.tat.load(Ordering::Relaxed);
        loop {
            let next = gcra.judge(tat, now).inspect_err(|_| {
                self.refused.fetch_add(1, Ordering::Relaxed);
            })?;
            let swapped =
                place
                    .tat
                    .compare_exchange_weak(tat, next, Ordering::Relaxed, Ordering::Relaxed);
            match swapped {
                Ok(_) => return Ok(()),
                Err(newer) => tat = newer,
            }
        }
    }

    /// The place of `key`; one that is made for it starts with a whole burst.
    fn place(&self, key: u64) -> Option<&Place> {
        let sets = self.places.len() / WAYS;
        let set = usize::try_from(key % sets as u64).unwrap_or(0) * WAYS;
        let set = self.places.get(set..set + WAYS)?;
        let known = |place: &&Place| place.key.load(Ordering::Relaxed) == key;
        if let Some(place) = set.iter().find(known) {
            return Some(place);
        }
        let age = |place: &&Place| place.tat.load(Ordering::Relaxed);
        let oldest = set.iter().min_by_key(age)?;
        let old = oldest.key.load(Ordering::Relaxed);
        let mine = oldest
            .key
            .compare_exchange(old, key, Ordering::Relaxed, Ordering::Relaxed);
        if mine.is_ok() {
            // A request that another worker counts at this very moment is forgotten; that is all that can happen.
            oldest.tat.store(0, Ordering::Relaxed);
        }
        Some(oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::{KEYS, Rates};
    use evenkeel_balance::rate::Gcra;
    use evenkeel_model::clock::Mono;
    use evenkeel_model::config::HashKey;

    #[test]
    fn each_key_has_its_own_rate_and_a_flood_of_keys_only_forgets_the_idle() {
        let rates = Rates::new(Some(HashKey::ClientAddress));
        let gcra = Gcra::new(1.0, 2);
        let now = Mono::from_secs(100);
        for key in [7, 8] {
            let three = [(); 3].map(|()| rates.take(gcra, Some(key), now).is_ok());
            assert_eq!(three, [true, true, false], "{key}");
        }
        assert_eq!(rates.refused(), 2);
        for key in 1_000..1_000 + 10 * KEYS as u64 {
            assert!(rates.take(gcra, Some(key), now).is_ok());
        }
        assert_eq!(rates.places.len(), KEYS);
    }

    #[test]
    fn workers_share_one_bucket() {
        let rates = Rates::new(None);
        let gcra = Gcra::new(0.001, 1_000);
        let now = Mono::from_secs(1);
        let take = || {
            (0..1_000)
                .filter(|_| rates.take(gcra, None, now).is_ok())
                .count()
        };
        let all: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            workers.into_iter().map(|w| w.join().unwrap()).sum()
        });
        assert_eq!(all, 1_000);
    }
}
