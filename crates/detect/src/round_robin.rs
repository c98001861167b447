//! Round robin promises more than chance does: a hard bound on every backend's count.
//!
//! With K eligible backends of weights w_i that sum to W, and n picks of one worker between any two moments:
//!
//! - Earliest deadline (room `balance`): each backend comes up once per W / w_i of virtual time, so in a
//!   stretch v of it backend i gets `v w_i / W + e_i` picks with |e_i| < 1. Summing, n = v + (sum of e), and the
//!   count strays from `n w_i / W` by less than `(1 - w_i / W) + (K - 1) w_i / W`, which is below K.
//! - Smooth weighted round robin (nginx): the debts `n w_i / W - S_i` sum to zero and a pick takes one from the
//!   largest, so none ever falls to -1 nor exceeds K - 1; between two moments a count strays by less than K.
//!
//! Whatever the phase it began at. One pick beyond K is a fidelity fault, no probability involved.
//!
//! Limits: per worker (the sum over workers has the sum of the bounds) and per epoch; a backend
//! skipped at its in-flight limit breaks the promise for a good reason, so judge only ticks without one.
//! A cursor carried over from other weights must be carried as a part of a turn, as `balance` does.

use crate::sequence::{Interval, Standing};

/// Picks that a reader may see half-counted: the cells of a worker are not read at one instant.
pub const TORN_READ_SLACK: f64 = 2.0;

/// A count beyond the bound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Violation {
    /// Position of the backend in the slices.
    pub backend: usize,
    /// Its picks.
    pub picks: u64,
    /// The picks that its weight promises.
    pub expected: f64,
    /// Largest distance that the algorithm allows.
    pub bound: f64,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} picks where round robin gives {:.0}, at most {:.0} apart",
            self.picks, self.expected, self.bound
        )
    }
}

/// The bound for one worker over `backends` eligible backends, torn reads included.
pub fn bound(backends: usize) -> f64 {
    backends as f64 + TORN_READ_SLACK
}

/// The worst violation by one worker whose free picks in one epoch are `picks`, or `None`. `weights`
/// are the effective ones of the epoch (0: not eligible).
pub fn check(weights: &[f64], picks: &[u64]) -> Option<Violation> {
    let total: f64 = weights.iter().sum();
    if total <= 0.0 {
        return None;
    }
    let n = picks.iter().sum::<u64>() as f64;
    let eligible = weights.iter().filter(|weight| **weight > 0.0).count();
    let bound = bound(eligible);
    let strayed = weights.iter().zip(picks).enumerate();
    strayed
        .map(|(backend, (weight, picks))| Violation {
            backend,
            picks: *picks,
            expected: n * weight / total,
            bound,
        })
        .filter(|v| (v.picks as f64 - v.expected).abs() > bound)
        .max_by(|a, b| {
            let far = |v: &Violation| (v.picks as f64 - v.expected).abs();
            far(a).total_cmp(&far(b))
        })
}

/// The long-run share of a backend with `hits` of `trials` picks over `workers` workers: certain, not 99 %.
pub fn interval(hits: u64, trials: u64, backends: usize, workers: usize) -> Interval {
    if trials == 0 {
        return Interval { lo: 0.0, hi: 1.0 };
    }
    let slack = bound(backends) * workers.max(1) as f64;
    let n = trials as f64;
    Interval {
        lo: ((hits as f64 - slack) / n).max(0.0),
        hi: ((hits as f64 + slack) / n).min(1.0),
    }
}

/// Where [`interval`] stands relative to `band`.
pub fn standing(interval: Interval, band: Interval) -> Standing {
    if interval.lo >= band.lo && interval.hi <= band.hi {
        Standing::Inside
    } else if interval.hi < band.lo || interval.lo > band.hi {
        Standing::Outside
    } else {
        Standing::Undecided
    }
}
