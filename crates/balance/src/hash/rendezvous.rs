//! Highest random weight over the slots of a table.
//!
//! Each slot goes to the backend with the smallest `-ln(u) / weight`, `u` being a number in (0, 1] that slot and name
//! decide: that backend wins with a chance in proportion to its weight, and one that leaves, comes or changes its weight
//! moves its own slots only. Doing this per key costs O(n) a pick; per slot it is done once.
//!
//! Nor is every backend asked about every slot. The scores of one backend over all slots are the first arrivals of a
//! Poisson process of rate `weight` that throws its points on slots at random; so each backend's points are made about in
//! the order of time until every slot has one. That takes about `m ln m` points for m slots, however many backends there
//! are. Points are made by spans of the backend's own time: how many fall into it is one Poisson variate, and where they
//! fall in it is uniform, so that no point costs a logarithm: one hash gives its slot and its time.
//!
//! The part p of a backend strays from its weight as m draws would, by sqrt(p (1 - p) / m): by 0.6 % of itself for one
//! of three, by 4 % for one of a hundred.

use super::{Bits, Seat};
use crate::digest::{nth, xxh64};

/// Seed of the points.
const SEED: u64 = 4;
/// A slot without an owner.
const FREE: u32 = u32::MAX;
/// Points per span of a backend's own time, in the mean. Its own time is counted in points.
const SPAN: f64 = 16.0;
/// Values of a backend's sequence that belong to one span: how many points, then the points. More than 63 of them come
/// once in 10^18 spans; they are left out.
const VALUES: u64 = 64;

/// The points of one backend, span by span.
struct Stream {
    owner: u32,
    weight: f64,
    seed: u64,
    /// The next span.
    span: u64,
}

/// Who has a slot so far.
#[derive(Clone, Copy)]
struct Best {
    time: f64,
    owner: u32,
}

/// Owner by slot.
pub(super) fn slots(seats: &[Seat<'_>], size: u64) -> Vec<u32> {
    let seated = (0u32..)
        .zip(seats)
        .filter(|(_, s)| s.effective_weight() > 0);
    let stream = |(owner, seat): (u32, &Seat<'_>)| Stream {
        owner,
        weight: f64::from(seat.effective_weight()),
        seed: xxh64(seat.name.as_bytes(), SEED),
        span: 0,
    };
    let mut streams: Vec<Stream> = seated.map(stream).collect();
    if streams.is_empty() {
        return Vec::new();
    }
    let counts = counts();
    let rate: f64 = streams.iter().map(|stream| stream.weight).sum();
    let nobody = Best {
        time: f64::INFINITY,
        owner: FREE,
    };
    let mut slots = vec![nobody; size as usize];
    // In rounds of about one point per slot. Whoever has a slot from before the end of a round keeps it, and most points of
    // the later rounds fall on such slots: the bits that say so fit into the cache, the slots of a large table do not.
    let mut settled = Bits::new(size);
    let mut open: Vec<u32> = (0..size as u32).collect();
    let mut until = 0.0;
    while !open.is_empty() {
        until += size as f64 / rate;
        for stream in &mut streams {
            while stream.span as f64 * SPAN < until * stream.weight {
                stream.throw(&counts, &settled, &mut slots);
            }
        }
        open.retain(|slot| {
            let best = slots.get(*slot as usize);
            let is_open = best.is_some_and(|best| best.time >= until);
            if !is_open {
                settled.set(u64::from(*slot));
            }
            is_open
        });
    }
    slots.into_iter().map(|best| best.owner).collect()
}

impl Stream {
    /// Throws the points of the next span on the slots that are not settled.
    fn throw(&mut self, counts: &[u64], settled: &Bits, slots: &mut [Best]) {
        let first = self.span * VALUES;
        let drawn = nth(self.seed, first);
        let count = counts.partition_point(|end| *end <= drawn) as u64;
        for n in 0..count {
            // The whole part of the product is the slot; what is left is uniform again.
            let product = u128::from(nth(self.seed, first + 1 + n)) * slots.len() as u128;
            let slot = (product >> 64) as u64;
            if settled.has(slot) {
                continue;
            }
            let within = product as u64 as f64 / (u64::MAX as f64 + 1.0);
            let time = (self.span as f64 + within) * SPAN / self.weight;
            if let Some(best) = slots.get_mut(slot as usize).filter(|b| time < b.time) {
                *best = Best {
                    time,
                    owner: self.owner,
                };
            }
        }
        self.span += 1;
    }
}

/// The distribution function of the number of points in a span, over 2^64.
fn counts() -> Vec<u64> {
    let mut one = libm::exp(-SPAN);
    let mut sum = 0.0;
    let up_to = |n: u64| {
        sum += one;
        one *= SPAN / (n + 1) as f64;
        (sum * (u64::MAX as f64 + 1.0)) as u64
    };
    (0..VALUES - 1).map(up_to).collect()
}
