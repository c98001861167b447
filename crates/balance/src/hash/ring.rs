//! A ring of points, in proportion to weight.
//!
//! Points per unit of weight are a power of two (or a fraction with one) that depends on all declared weights together,
//! whether their backends take traffic or not: so a backend that is out, comes back or changes its weight leaves the
//! points of the others where they are, unless the sum of weights passes a doubling. The n-th point of a backend is the
//! same whatever its weight: more weight adds points and moves none.

use super::Seat;
use crate::digest::{mix, nth, xxh64};

/// Seed of the points.
const SEED: u64 = 1;
/// Points at least, over all backends. The part of a backend with v points strays by 1 / sqrt(v) of itself.
const POINTS_MIN: u64 = 32_768;
/// Points per backend of average weight that are aimed at (a stray of 3 %) while the ring stays below [`POINTS_MAX`].
const POINTS_PER_BACKEND: u64 = 1_024;
/// Points per backend of average weight at least: beyond it the largest part of many is above 1.1 times its weight.
const POINTS_PER_BACKEND_MIN: u64 = 160;
/// See [`POINTS_PER_BACKEND`].
const POINTS_MAX: u64 = 1 << 20;

/// The points in order.
pub(super) struct Ring {
    at: Vec<u64>,
    owner: Vec<u32>,
}

impl Ring {
    pub(super) fn new(seats: &[Seat<'_>]) -> Self {
        let scale = scale(seats);
        let mut points = Vec::new();
        for (index, seat) in (0u32..).zip(seats) {
            let seed = xxh64(seat.name.as_bytes(), SEED);
            // Rounded up or down by chance, a chance that the name decides: no weight is so small that it rounds up
            // for everybody.
            let chance = (mix(seed) >> 11) as f64 / (1u64 << 53) as f64;
            let count = (f64::from(seat.effective_weight()) * scale + chance).floor() as u64;
            points.extend((0..count).map(|n| (nth(seed, n), index)));
        }
        points.sort_unstable();
        let (at, owner) = points.into_iter().unzip();
        Self { at, owner }
    }

    pub(super) fn len(&self) -> usize {
        self.at.len()
    }

    /// The owners of the points from this hash on, once around.
    pub(super) fn from(&self, hash: u64) -> impl Iterator<Item = usize> {
        let next = self.at.partition_point(|at| *at < hash);
        let (before, after) = self.owner.split_at(next);
        after.iter().chain(before).map(|owner| *owner as usize)
    }

    /// Each point takes the hashes after the point before it, up to and including its own.
    pub(super) fn parts(&self, seats: usize) -> Vec<f64> {
        let mut parts = vec![0.0; seats];
        let whole = u64::MAX as f64 + 1.0;
        let mut before = self.at.last().copied().unwrap_or(0);
        let alone = self.at.len() == 1;
        for (at, owner) in self.at.iter().zip(&self.owner) {
            if let Some(part) = parts.get_mut(*owner as usize) {
                let taken = at.wrapping_sub(before) as f64 / whole;
                *part += if alone { 1.0 } else { taken };
            }
            before = *at;
        }
        parts
    }
}

/// Points per unit of weight.
fn scale(seats: &[Seat<'_>]) -> f64 {
    let weight: u64 = seats.iter().map(|seat| u64::from(seat.weight)).sum();
    let count = seats.iter().filter(|seat| seat.weight > 0).count() as u64;
    let wanted = (count * POINTS_PER_BACKEND)
        .min(POINTS_MAX)
        .max(count * POINTS_PER_BACKEND_MIN)
        .max(POINTS_MIN);
    let mut scale = 1.0;
    if weight == 0 {
        return scale;
    }
    while weight as f64 * scale < wanted as f64 {
        scale *= 2.0;
    }
    while weight as f64 * scale >= 2.0 * wanted as f64 {
        scale /= 2.0;
    }
    scale
}
