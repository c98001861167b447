//! A ring of points, in proportion to weight.
//!
//! Points per unit of weight are a power of two (or a fraction with one) that depends on all declared weights together,
//! whether their backends take traffic or not, and however a slow start or a level shapes them: so a backend that is out, comes back or changes its weight leaves the
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

/// Points per bucket of the index, on average: what lies on one cache line.
const POINTS_PER_BUCKET: usize = 4;

/// The points in order. Points are spread evenly over all hashes, so the first bits of a hash tell where to look: a
/// search over all points would miss the cache at each of its twenty steps.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct Ring {
    /// With its owner beside it, for the same reason.
    points: Vec<(u64, u32)>,
    /// Where the points of each bucket begin, and after the last one where they end. A bucket is the hashes with the
    /// same first bits.
    starts: Vec<u32>,
    /// How far a hash is shifted to give its bucket; at least 32.
    shift: u32,
}

impl Ring {
    pub(super) fn new(seats: &[Seat<'_>]) -> Self {
        let scale = scale(seats);
        let of_seats: Vec<(u64, u64)> = seats
            .iter()
            .map(|seat| {
                let seed = xxh64(seat.name.as_bytes(), SEED);
                // Rounded up or down by chance, a chance that the name decides: no weight is so small that it rounds up
                // for everybody.
                let chance = (mix(seed) >> 11) as f64 / (1u64 << 53) as f64;
                let count = (f64::from(seat.effective_weight()) * scale + chance).floor() as u64;
                (seed, count)
            })
            .collect();
        Self::of_points(&of_seats)
    }

    /// The ring of so many points of each seed: counted by bucket, put there, and put in order within each. Sorting them
    /// all would cost several times as much.
    fn of_points(of_seats: &[(u64, u64)]) -> Self {
        let count = of_seats.iter().map(|(_, count)| count).sum::<u64>() as usize;
        let buckets = (count / POINTS_PER_BUCKET).max(2).next_power_of_two();
        let shift = 64 - buckets.ilog2();
        let points = || {
            let of_seat = |(index, (seed, count)): (u32, &(u64, u64))| {
                let seed = *seed;
                (0..*count).map(move |n| (nth(seed, n), index))
            };
            (0u32..).zip(of_seats).flat_map(of_seat)
        };
        let mut starts = vec![0u32; buckets + 1];
        for (at, _) in points() {
            if let Some(start) = starts.get_mut((at >> shift) as usize) {
                *start += 1;
            }
        }
        // From how many there are in each to where each ends; filling from the end leaves where each begins.
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut places = vec![(0u64, 0u32); count];
        for point in points() {
            if let Some(end) = starts.get_mut((point.0 >> shift) as usize) {
                *end -= 1;
                if let Some(place) = places.get_mut(*end as usize) {
                    *place = point;
                }
            }
        }
        for bounds in starts.windows(2) {
            if let [from, to] = bounds
                && let Some(bucket) = places.get_mut(*from as usize..*to as usize)
            {
                bucket.sort_unstable();
            }
        }
        Self {
            points: places,
            starts,
            shift,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// The owners of the points from this hash on, once around.
    pub(super) fn from(&self, hash: u64) -> impl Iterator<Item = usize> {
        let bucket = (hash >> self.shift) as usize;
        let bound = |bucket: usize| self.starts.get(bucket).map_or(0, |start| *start as usize);
        let (from, to) = (bound(bucket), bound(bucket + 1));
        let within = self.points.get(from..to).unwrap_or_default();
        let next = from + within.partition_point(|(at, _)| *at < hash);
        let (before, after) = self.points.split_at(next);
        after.iter().chain(before).map(|(_, owner)| *owner as usize)
    }

    /// Each point takes the hashes after the point before it, up to and including its own.
    pub(super) fn parts(&self, seats: usize) -> Vec<f64> {
        let mut parts = vec![0.0; seats];
        let whole = u64::MAX as f64 + 1.0;
        let mut before = self.points.last().map_or(0, |(at, _)| *at);
        let alone = self.points.len() == 1;
        for (at, owner) in &self.points {
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
    let weight: u64 = seats.iter().map(|seat| u64::from(seat.full)).sum();
    let count = seats.iter().filter(|seat| seat.full > 0).count() as u64;
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
