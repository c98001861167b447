//! The false-alarm budget: average run length (ARL), in ticks between false alarms.
//!
//! An e-detector with threshold A alarms, while its null holds, on average no sooner than after A
//! ticks (Shin, Ramdas, Rinaldo 2022, theorem 2.4). A pool has one budget; its tests divide it by
//! weights that sum to at most 1. That is an average of e-values and holds however the tests depend
//! on each other: if some test k crosses A / v_k, the weighted sum has crossed A.

use crate::special::ln;

/// A mean number of ticks between false alarms, at least 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
pub struct Arl(f64);

/// A budget that cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ArlError {
    /// Less than one tick, or not a number.
    #[error("an average run length must be at least 1 tick, got {0}")]
    TooShort(f64),
    /// A part outside 0 to 1.
    #[error("a part of a false-alarm budget must lie above 0 and at most at 1, got {0}")]
    Part(f64),
}

impl Arl {
    /// Ten years of seconds: the default of a pool.
    pub const TEN_YEARS: Self = Self(3.15e8);

    /// `ticks` between false alarms on average.
    pub fn new(ticks: f64) -> Result<Self, ArlError> {
        if ticks.is_finite() && ticks >= 1.0 {
            Ok(Self(ticks))
        } else {
            Err(ArlError::TooShort(ticks))
        }
    }

    /// The budget of a test that gets `weight` (above 0, at most 1) of this one: a longer run length.
    /// The weights of all tests of a pool must sum to at most 1.
    pub fn part(self, weight: f64) -> Result<Self, ArlError> {
        if weight > 0.0 && weight <= 1.0 {
            Self::new(self.0 / weight)
        } else {
            Err(ArlError::Part(weight))
        }
    }

    /// The budget in ticks.
    pub const fn ticks(self) -> f64 {
        self.0
    }

    /// The threshold of an e-detector for this budget, in nats.
    pub fn log_threshold(self) -> f64 {
        ln(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Arl, ArlError};

    #[test]
    fn a_part_of_a_budget_runs_longer_in_proportion() {
        let half = Arl::TEN_YEARS.part(0.5).unwrap();
        assert!((half.ticks() / Arl::TEN_YEARS.ticks() - 2.0).abs() < 1e-12);
        assert_eq!(Arl::TEN_YEARS.part(0.0), Err(ArlError::Part(0.0)));
        assert_eq!(Arl::TEN_YEARS.part(1.5), Err(ArlError::Part(1.5)));
        assert_eq!(Arl::new(0.5), Err(ArlError::TooShort(0.5)));
    }
}
