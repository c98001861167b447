//! The engine under every sequential test: a bank of Shiryaev-Roberts sums, one per alternative.
//!
//! Null: at each pick the probability, given everything before, lies on the quiet side of a boundary
//! `u`. For an alternative `q` beyond it, `e = (q/u)^x ((1-q)/(1-u))^(n-x)` has a conditional mean of
//! at most 1 wherever inside the null the probability wanders, because it is linear per pick.
//! The e-detector sums the products of `e` over every start tick. For a fixed `q` that sum obeys
//! `R <- (1 + R) e`, so every start since the beginning is kept in one number, and the mean over a
//! grid of alternatives is again an e-detector (Shin, Ramdas, Rinaldo 2022, section 4).
//! A grid in place of a continuous mixture costs at most ln(8) = 2.1 nats and a few per cent of the
//! growth rate; it buys constant memory and O(1) time per backend and tick.
//!
//! Limits: an effect smaller than half of the first step is never seen, on purpose.

use crate::special::{exp, ln};

/// Alternatives per boundary and direction.
pub(crate) const ALTERNATIVES: usize = 8;

/// Distance of each alternative from the boundary, in log odds: about 1.6 apart, from "a little
/// beyond" (a tenth at a share of 1/3) to "nearly all" or "nearly none".
const STEPS: [f64; ALTERNATIVES] = [0.08, 0.16, 0.3, 0.5, 0.8, 1.3, 2.0, 3.0];

/// Lowest boundary of an upward test: the probability of something that should never happen.
pub(crate) const BOUNDARY_MIN: f64 = 1e-4;

/// A sum may exceed what alone would raise the alarm by this factor (in nats), no more: capping only
/// lowers an e-value, and a test that climbed without end would take as long to come down again.
const CAP_NATS: f64 = 1.0;

/// Which side of the boundary is the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Above,
    Below,
}

/// Log-likelihood ratios of every alternative to one boundary: per hit, per miss.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub(crate) struct Ratios([(f64, f64); ALTERNATIVES]);

impl Ratios {
    /// `None` where nothing lies beyond the boundary.
    pub(crate) fn new(boundary: f64, direction: Direction) -> Option<Self> {
        let u = match direction {
            Direction::Above => boundary.max(BOUNDARY_MIN),
            Direction::Below => boundary,
        };
        if !(u > 0.0 && u < 1.0) {
            return None;
        }
        let mut ratios = [(0.0, 0.0); ALTERNATIVES];
        for (ratio, step) in ratios.iter_mut().zip(STEPS) {
            let signed = match direction {
                Direction::Above => step,
                Direction::Below => -step,
            };
            // odds(q) = odds(u) e^signed, hence (1-q)/(1-u) = 1 / (1 - u + u e^signed).
            let miss = -ln(1.0 - u + u * exp(signed));
            *ratio = (signed + miss, miss);
        }
        Some(Self(ratios))
    }
}

/// One boundary watched in one direction.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Side {
    sums: [f64; ALTERNATIVES],
}

impl Side {
    pub(crate) const fn new() -> Self {
        Self {
            sums: [0.0; ALTERNATIVES],
        }
    }

    /// One tick: `hits` of `trials`. `clip` bounds the log evidence of this one tick.
    pub(crate) fn step(&mut self, ratios: &Ratios, hits: f64, trials: f64, limits: Limits) {
        // A tick without trials says nothing; not starting there only lowers the sum.
        if trials <= 0.0 {
            return;
        }
        let misses = (trials - hits).max(0.0);
        for (sum, (hit, miss)) in self.sums.iter_mut().zip(ratios.0) {
            let log_e = (hits * hit + misses * miss).min(limits.clip);
            *sum = ((1.0 + *sum) * exp(log_e)).min(limits.cap);
        }
    }

    /// Mean over the alternatives: an e-detector by itself.
    pub(crate) fn mean(&self) -> f64 {
        self.sums.iter().sum::<f64>() / ALTERNATIVES as f64
    }
}

/// Bounds of the sums of a test.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub(crate) struct Limits {
    /// Largest log evidence of one tick, nats.
    pub(crate) clip: f64,
    /// Largest sum.
    pub(crate) cap: f64,
}

impl Limits {
    /// For a test that averages `sides` sides and alarms at `log_threshold`.
    pub(crate) fn new(log_threshold: f64, sides: usize, clip: f64) -> Self {
        let cells = (sides.max(1) * ALTERNATIVES) as f64;
        Self {
            clip,
            cap: exp(log_threshold + CAP_NATS) * cells,
        }
    }
}

/// An alarm that rises at the threshold and falls only well below it, so that it does not flutter.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub(crate) struct Latch {
    raised: bool,
}

impl Latch {
    /// How far below the threshold the evidence falls before the alarm does, nats.
    const FALL_NATS: f64 = 3.0;

    pub(crate) const fn new() -> Self {
        Self { raised: false }
    }

    /// Takes the evidence of a tick; true when the alarm rose at this tick.
    pub(crate) fn update(&mut self, log_e: f64, log_threshold: f64) -> bool {
        let was = self.raised;
        self.raised = log_e >= log_threshold || (was && log_e >= log_threshold - Self::FALL_NATS);
        self.raised && !was
    }

    pub(crate) const fn raised(self) -> bool {
        self.raised
    }
}

#[cfg(test)]
mod tests {
    use super::{Direction, Limits, Ratios, Side};

    /// Mean of the e-value of one pick under probability `p`.
    fn mean(ratio: (f64, f64), p: f64) -> f64 {
        p * ratio.0.exp() + (1.0 - p) * ratio.1.exp()
    }

    #[test]
    fn an_e_value_has_mean_one_on_the_boundary_and_less_inside() {
        for u in [1e-4, 0.01, 0.4, 0.9] {
            let above = Ratios::new(u, Direction::Above).unwrap();
            let below = Ratios::new(u, Direction::Below).unwrap();
            for ratio in above.0 {
                assert!((mean(ratio, u) - 1.0).abs() < 1e-9);
                assert!(mean(ratio, u * 0.8) < 1.0);
                assert!(mean(ratio, u * 1.05) > 1.0);
            }
            for ratio in below.0 {
                assert!((mean(ratio, u) - 1.0).abs() < 1e-9);
                assert!(mean(ratio, u * 1.05) < 1.0);
                assert!(mean(ratio, u * 0.8) > 1.0);
            }
        }
    }

    #[test]
    fn nothing_lies_beyond_zero_and_one() {
        assert!(Ratios::new(1.0, Direction::Above).is_none());
        assert!(Ratios::new(0.0, Direction::Below).is_none());
        assert!(Ratios::new(0.0, Direction::Above).is_some());
    }

    #[test]
    fn a_sum_stays_finite_and_below_its_cap() {
        let ratios = Ratios::new(0.1, Direction::Above).unwrap();
        let limits = Limits::new(19.57, 6, f64::INFINITY);
        let mut side = Side::new();
        for _ in 0..100 {
            side.step(&ratios, 1e9, 1e9, limits);
        }
        assert!(side.mean().is_finite() && side.mean() <= limits.cap * 1.000_001);
        side.step(&ratios, 0.0, 1e9, limits);
        assert!(side.mean() < 1.0);
    }

    #[test]
    fn an_empty_tick_changes_nothing() {
        let ratios = Ratios::new(0.1, Direction::Above).unwrap();
        let mut side = Side::new();
        for _ in 0..1_000 {
            side.step(&ratios, 0.0, 0.0, Limits::new(10.0, 2, f64::INFINITY));
        }
        assert!(side.mean() < 1e-12);
    }
}
