//! Who was seen and who was harmed, in bounded memory.
//!
//! Distinct clients by the k smallest hashes (KMV, Bar-Yossef et al. 2002; relative error about
//! 1/sqrt(k - 2), 9 % at 128; exact below 128). Heaviest harmed clients by Space-Saving
//! (Metwally et al. 2005): a count may be too high by at most harmed / 32, never too low.
//! Most frequent clients by Space-Saving in eight sets of four counters: a request touches one set only, and what a
//! counter took over from others is kept apart, so that the share of the most frequent is never too high. It is too
//! low by at most a quarter of what came to its set: about 1/32 of the requests, more for a client that fills its set.
//! Clients are 64-bit keyed hashes; the sketch never holds an address or a cookie.

/// Hashes kept for a distinct count.
pub const KMV_SIZE: usize = 128;
/// Harmed clients counted one by one.
pub const TOP_SIZE: usize = 32;

/// The distinct count of a set of hashes.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Distinct {
    /// The smallest hashes, ascending, at most [`KMV_SIZE`].
    smallest: Vec<u64>,
}

impl Distinct {
    /// Adds one hash.
    pub fn insert(&mut self, hash: u64) {
        if self.smallest.len() == KMV_SIZE && self.smallest.last().is_some_and(|last| hash >= *last)
        {
            return;
        }
        if let Err(place) = self.smallest.binary_search(&hash) {
            self.smallest.insert(place, hash);
            self.smallest.truncate(KMV_SIZE);
        }
    }

    /// Adds every hash of `other`.
    pub fn merge(&mut self, other: &Self) {
        for hash in &other.smallest {
            self.insert(*hash);
        }
    }

    /// Estimated number of distinct hashes.
    pub fn estimate(&self) -> f64 {
        match self.smallest.last() {
            Some(last) if self.smallest.len() == KMV_SIZE => {
                (KMV_SIZE - 1) as f64 / ((*last as f64 + 1.0) / 18_446_744_073_709_551_616.0)
            }
            _ => self.smallest.len() as f64,
        }
    }
}

/// Clients of one pool over some window.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct ClientSketch {
    /// All clients.
    pub seen: Distinct,
    /// Clients with at least one harmed request.
    pub harmed: Distinct,
    /// Requests harmed in the window.
    pub harmed_requests: u64,
    /// The clients with most harmed requests: (hash, count), at most [`TOP_SIZE`], in no order.
    pub top_harmed: Vec<(u64, u64)>,
}

impl ClientSketch {
    /// Counts one finished request of the client `hash`.
    pub fn record(&mut self, hash: u64, harmed: bool) {
        self.seen.insert(hash);
        if harmed {
            self.harmed.insert(hash);
            self.harmed_requests += 1;
            self.count_harmed(hash, 1);
        }
    }

    /// Adds the window `other`.
    pub fn merge(&mut self, other: &Self) {
        self.seen.merge(&other.seen);
        self.harmed.merge(&other.harmed);
        self.harmed_requests += other.harmed_requests;
        for (hash, count) in &other.top_harmed {
            self.count_harmed(*hash, *count);
        }
    }

    /// Share of the harm that falls on the most harmed client; 0 without harm.
    pub fn top_harmed_share(&self) -> f64 {
        let top = self
            .top_harmed
            .iter()
            .map(|(_, count)| *count)
            .max()
            .unwrap_or(0);
        if self.harmed_requests == 0 {
            0.0
        } else {
            top as f64 / self.harmed_requests as f64
        }
    }

    /// Share of the clients seen that were harmed; 0 when none was seen.
    pub fn harmed_share(&self) -> f64 {
        let seen = self.seen.estimate();
        if seen > 0.0 {
            (self.harmed.estimate() / seen).min(1.0)
        } else {
            0.0
        }
    }

    fn count_harmed(&mut self, hash: u64, by: u64) {
        if let Some(entry) = self.top_harmed.iter_mut().find(|(h, _)| *h == hash) {
            entry.1 += by;
        } else if self.top_harmed.len() < TOP_SIZE {
            self.top_harmed.push((hash, by));
        } else if let Some(least) = self.top_harmed.iter_mut().min_by_key(|(_, count)| *count) {
            *least = (hash, least.1 + by);
        }
    }
}

/// Sets of [`Frequent`].
const SETS: usize = 8;
/// Counters of a set.
const WAYS: usize = 4;

/// One counter of [`Frequent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
struct Slot {
    hash: u64,
    /// Requests counted here; 0: free.
    count: u64,
    /// How many of them may be those of others that had the counter before.
    others: u64,
}

/// The most frequent of a stream of hashes, in 32 counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Frequent {
    slots: [[Slot; WAYS]; SETS],
    total: u64,
}

impl Frequent {
    /// Counts one request of `hash`.
    pub fn record(&mut self, hash: u64) {
        self.total += 1;
        self.add(hash, 1, 0);
    }

    /// Adds the window `other`.
    pub fn merge(&mut self, other: &Self) {
        self.total += other.total;
        for slot in other.slots.iter().flatten().filter(|slot| slot.count > 0) {
            self.add(slot.hash, slot.count, slot.others);
        }
    }

    /// Part (0..1) of the requests that the most frequent hash has, at least; `None` without requests.
    pub fn top_share(&self) -> Option<f64> {
        self.top().map(|(_, part)| part)
    }

    /// The most frequent hash and its part (0..1) of the requests, at least; `None` without requests.
    pub fn top(&self) -> Option<(u64, f64)> {
        let sure = |slot: &&Slot| slot.count - slot.others;
        let top = self.slots.iter().flatten().max_by_key(sure)?;
        (self.total > 0).then(|| (top.hash, sure(&top) as f64 / self.total as f64))
    }

    /// Requests counted.
    pub const fn total(&self) -> u64 {
        self.total
    }

    fn add(&mut self, hash: u64, count: u64, others: u64) {
        // The hashes are keyed, so the lowest bits spread as well as any.
        let Some(set) = self.slots.get_mut((hash % SETS as u64) as usize) else {
            return;
        };
        let mut least = usize::MAX;
        let mut fewest = u64::MAX;
        for (way, slot) in set.iter_mut().enumerate() {
            if slot.hash == hash && slot.count > 0 {
                slot.count += count;
                slot.others += others;
                return;
            }
            if slot.count < fewest {
                (least, fewest) = (way, slot.count);
            }
        }
        if let Some(slot) = set.get_mut(least) {
            *slot = Slot {
                hash,
                count: fewest + count,
                others: fewest + others,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ClientSketch, Frequent};
    use crate::rng::Rng;

    #[test]
    fn distinct_counts_are_exact_when_small_and_close_when_large() {
        let mut rng = Rng::new(5);
        let mut sketch = ClientSketch::default();
        let clients: Vec<u64> = (0..10_000).map(|_| rng.next_u64()).collect();
        for hash in clients.iter().take(100).cycle().take(1_000) {
            sketch.record(*hash, false);
        }
        assert!((sketch.seen.estimate() - 100.0).abs() < 0.5);
        for hash in &clients {
            sketch.record(*hash, *hash % 4 == 0);
        }
        assert!((sketch.seen.estimate() / 10_000.0 - 1.0).abs() < 0.3);
        assert!(
            (sketch.harmed_share() - 0.25).abs() < 0.1,
            "{}",
            sketch.harmed_share()
        );
    }

    /// Adds windows of 500 requests, as workers hand them over.
    fn windows(hashes: impl Iterator<Item = u64>) -> Frequent {
        let (mut all, mut window) = (Frequent::default(), Frequent::default());
        for hash in hashes {
            window.record(hash);
            if window.total() == 500 {
                all.merge(&std::mem::take(&mut window));
            }
        }
        all.merge(&window);
        all
    }

    #[test]
    fn the_share_of_the_most_frequent_is_close_and_never_too_high() {
        for (seed, part) in [(1, 3), (2, 10), (3, 20)] {
            let mut rng = Rng::new(seed);
            let hot = rng.next_u64();
            let next = |n: u64| {
                if n.is_multiple_of(part) {
                    hot
                } else {
                    rng.next_u64()
                }
            };
            let top = windows((0..20_000).map(next)).top_share().unwrap();
            let truth = 20_000u64.div_ceil(part) as f64 / 20_000.0;
            assert!(
                top <= truth + 1e-9 && top > truth - 0.035,
                "{top} of {truth}"
            );
        }
        assert_eq!(Frequent::default().top_share(), None);
    }

    #[test]
    fn nobody_is_called_frequent_among_many_alike() {
        let mut rng = Rng::new(9);
        let top = windows((0..20_000).map(|_| rng.next_u64())).top_share();
        assert!(top.unwrap() < 0.001, "{top:?}");
        let few = windows((0..20_000u64).map(|n| (n % 20).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        assert!((few.top_share().unwrap() - 0.05).abs() < 0.02, "{few:?}");
    }

    #[test]
    fn one_client_that_causes_most_of_the_harm_is_seen_as_such() {
        let mut rng = Rng::new(6);
        let mut sketch = ClientSketch::default();
        for n in 0..2_000u64 {
            sketch.record(if n % 2 == 0 { 42 } else { rng.next_u64() }, true);
        }
        assert!(sketch.top_harmed_share() >= 0.5 && sketch.top_harmed_share() < 0.56);
    }
}
