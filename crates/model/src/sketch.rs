//! Who was seen and who was harmed, in bounded memory.
//!
//! Distinct clients by the k smallest hashes (KMV, Bar-Yossef et al. 2002; relative error about
//! 1/sqrt(k - 2), 9 % at 128; exact below 128). Heaviest harmed clients by Space-Saving
//! (Metwally et al. 2005): a count may be too high by at most harmed / 32, never too low.
//! Clients are 64-bit keyed hashes; the sketch never holds an address or a cookie.

/// Hashes kept for a distinct count.
pub const KMV_SIZE: usize = 128;
/// Harmed clients counted one by one.
pub const TOP_SIZE: usize = 32;

/// The distinct count of a set of hashes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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

#[cfg(test)]
mod tests {
    use super::ClientSketch;
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
