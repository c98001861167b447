//! Highest random weight over the slots of a table.
//!
//! Each slot goes to the backend with the smallest `-ln(u) / weight`, `u` being a number in (0, 1] that slot and name
//! decide: that backend wins with a chance in proportion to its weight, and one that leaves, comes or changes its weight
//! moves its own slots only. Doing this per key costs O(n) a pick; per slot it is done once.
//!
//! Nor is every backend asked about every slot. The scores of one backend over all slots are the first arrivals of a
//! Poisson process of rate `weight` that throws its points on slots at random; so each backend's points are made in the
//! order of time until every slot has one. That takes about `m ln m` points for m slots, however many backends there
//! are.
//!
//! The part p of a backend strays from its weight as m draws would, by sqrt(p (1 - p) / m): by 0.6 % of itself for one
//! of three, by 4 % for one of a hundred.

use super::Seat;
use crate::digest::{below, nth, xxh64};

/// Seed of the points.
const SEED: u64 = 4;
/// A slot without an owner.
const FREE: u32 = u32::MAX;

/// The points of one backend in the order of time.
struct Stream {
    owner: u32,
    weight: f64,
    seed: u64,
    drawn: u64,
    /// Time of the next point in units of its own rate.
    next: f64,
}

impl Stream {
    fn new(owner: u32, seat: &Seat<'_>) -> Self {
        let mut stream = Self {
            owner,
            weight: f64::from(seat.effective_weight()),
            seed: xxh64(seat.name.as_bytes(), SEED),
            drawn: 0,
            next: 0.0,
        };
        stream.next = stream.gap();
        stream
    }

    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        nth(self.seed, self.drawn)
    }

    /// An exponential variate of mean 1.
    fn gap(&mut self) -> f64 {
        let unit = ((self.draw() >> 11) + 1) as f64 / (1u64 << 53) as f64;
        -libm::log(unit)
    }
}

/// Owner by slot.
pub(super) fn slots(seats: &[Seat<'_>], size: u64) -> Vec<u32> {
    let seated = (0u32..)
        .zip(seats)
        .filter(|(_, s)| s.effective_weight() > 0);
    let mut streams: Vec<Stream> = seated
        .map(|(owner, seat)| Stream::new(owner, seat))
        .collect();
    if streams.is_empty() {
        return Vec::new();
    }
    let rate: f64 = streams.iter().map(|stream| stream.weight).sum();
    let mut slots = vec![(f64::INFINITY, FREE); size as usize];
    let mut left = size;
    // At this time of the table's clock all but about one slot have a point.
    let mut until = size as f64 * libm::log(size as f64) / rate;
    while left > 0 {
        for stream in &mut streams {
            while stream.next < until * stream.weight {
                let time = stream.next / stream.weight;
                let slot = below(stream.draw(), size);
                stream.next += stream.gap();
                if let Some(best) = slots.get_mut(slot as usize).filter(|best| time < best.0) {
                    left -= u64::from(best.1 == FREE);
                    *best = (time, stream.owner);
                }
            }
        }
        until += size as f64 / rate;
    }
    slots.into_iter().map(|(_, owner)| owner).collect()
}
