//! The shares that a test tolerates, and the tolerated vector nearest to any other.
//!
//! The band is every vector of shares with each entry between its own limits, summing to 1: a convex set. For a vector
//! `q` outside it, `p` is the point of the band with the smallest divergence `KL(q || p) = sum q ln(q / p)`.
//! Two uses of that point. No test can tell `q` from the band sooner than from `p`, so `ln(ARL) / KL` picks bound
//! every delay. And `q_i / p_i`, read at the picked backend, is an e-value against the whole band at once: its mean
//! under any tolerated vector is at most 1 (the reverse information projection onto a convex set: Grünwald, de Heide,
//! Koolen, *Safe testing*, theorem 1), and no e-value of `q` grows faster.
//!
//! Limits: a share of zero tolerates [`BOUNDARY_MIN`], as everywhere in this room.

use crate::bank::BOUNDARY_MIN;
use crate::special::ln;

/// Rounds of the search for the nearest point; the sum it solves is piecewise linear, so a handful suffice.
const ROUNDS_MAX: usize = 100;
/// How far from 1 the shares of the nearest point may sum.
const SUM_ERROR: f64 = 1e-12;

/// A band of shares.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Band {
    limits: Vec<(f64, f64)>,
}

impl Band {
    /// The shares `theta` (summing to 1), each give or take `tolerance` of itself.
    pub fn around(theta: &[f64], tolerance: f64) -> Self {
        let limits = theta.iter().map(|share| {
            let lo = (share * (1.0 - tolerance)).max(0.0);
            let hi = (share * (1.0 + tolerance)).clamp(BOUNDARY_MIN, 1.0);
            (lo.min(hi), hi)
        });
        Self {
            limits: limits.collect(),
        }
    }

    /// The tolerated vector that is nearest to `q`, a vector of positive shares that sum to 1.
    ///
    /// It is `q` scaled by one factor and clamped to the limits, with the factor that makes the sum 1 (the condition of
    /// Karush, Kuhn and Tucker): Newton's steps, kept between the two factors known to be too small and too large.
    pub fn nearest(&self, q: &[f64]) -> Vec<f64> {
        let clamped = |scale: f64| {
            let pairs = q.iter().zip(&self.limits);
            pairs.map(move |(q, (lo, hi))| (q * scale).clamp(*lo, *hi))
        };
        let (mut below, mut above, mut scale) = (0.0, f64::INFINITY, 1.0);
        for _ in 0..ROUNDS_MAX {
            let excess = clamped(scale).sum::<f64>() - 1.0;
            if excess.abs() <= SUM_ERROR {
                break;
            }
            if excess < 0.0 {
                below = scale;
            } else {
                above = scale;
            }
            let free = q.iter().zip(&self.limits);
            let slope: f64 = free
                .filter(|(q, (lo, hi))| *q * scale > *lo && *q * scale < *hi)
                .map(|(q, _)| q)
                .sum();
            let step = scale - excess / slope;
            let inside = slope > 0.0 && step > below && step < above;
            scale = match inside {
                true => step,
                false if above.is_finite() => f64::midpoint(below, above),
                false => scale * 2.0,
            };
        }
        clamped(scale).collect()
    }

    /// Divergence (nats per pick) of `q` from the nearest tolerated vector; 0 inside the band.
    pub fn divergence(&self, q: &[f64]) -> f64 {
        divergence(q, &self.nearest(q))
    }
}

/// `KL(q || p)` in nats.
pub fn divergence(q: &[f64], p: &[f64]) -> f64 {
    let pairs = q.iter().zip(p).filter(|(q, _)| **q > 0.0);
    pairs.map(|(q, p)| q * ln(q / p)).sum::<f64>().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::{Band, divergence};
    use proptest::prelude::*;

    fn normal(raw: &[f64]) -> Vec<f64> {
        let sum: f64 = raw.iter().sum();
        raw.iter().map(|x| x / sum).collect()
    }

    /// A vector inside the band, reached from `theta` by moving shares between pairs as far as `moves` say.
    fn inside(theta: &[f64], tolerance: f64, moves: &[(usize, usize, f64)]) -> Vec<f64> {
        let mut p = theta.to_vec();
        for (from, to, part) in moves {
            let (from, to) = (from % p.len(), to % p.len());
            if from != to {
                let room = (p[from] - theta[from] * (1.0 - tolerance))
                    .min(theta[to] * (1.0 + tolerance) - p[to]);
                p[from] -= room * part;
                p[to] += room * part;
            }
        }
        p
    }

    #[test]
    fn one_backend_beyond_its_limit_is_as_far_as_a_coin_from_that_limit() {
        let band = Band::around(&[1.0 / 3.0; 3], 0.2);
        let q = [0.5, 0.25, 0.25];
        let coin = 0.5 * (0.5f64 / 0.4).ln() + 0.5 * (0.5f64 / 0.6).ln();
        assert!((band.divergence(&q) - coin).abs() < 1e-9);
        assert!(band.divergence(&[0.38, 0.31, 0.31]) < 1e-12);
    }

    proptest! {
        #[test]
        fn no_other_tolerated_vector_is_nearer_and_no_tolerated_vector_gains_by_the_ratio(
            theta in proptest::collection::vec(0.01f64..1.0, 2..12),
            q in proptest::collection::vec(0.001f64..1.0, 12),
            tolerance in 0.0f64..0.9,
            moves in proptest::collection::vec((0usize..12, 0usize..12, 0.0f64..1.0), 0..30),
        ) {
            let theta = normal(&theta);
            let q = normal(&q[..theta.len()]);
            let band = Band::around(&theta, tolerance);
            let p = band.nearest(&q);
            prop_assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            for (p, share) in p.iter().zip(&theta) {
                prop_assert!((p / share - 1.0).abs() <= tolerance + 1e-9);
            }
            let other = inside(&theta, tolerance, &moves);
            prop_assert!(divergence(&q, &p) <= divergence(&q, &other) + 1e-9);
            let mean: f64 = other.iter().zip(q.iter().zip(&p)).map(|(r, (q, p))| r * q / p).sum();
            prop_assert!(mean <= 1.0 + 1e-9, "{mean}");
        }
    }
}
