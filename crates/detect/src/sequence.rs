//! Confidence sequence of a share: an interval that may be looked at after every pick.
//!
//! Robbins' beta-binomial mixture: the shares that the evidence `B(1+S, 1+n-S) / (p^S (1-p)^(n-S))` does
//! not reject at 1 / alpha. Model: independent picks with one constant share. With probability
//! 1 - alpha the true share lies in every interval of the sequence, not only in the one last read.
//!
//! Limits: it describes a constant share since the first count; after a change it is too narrow
//! around a past that is over, so start afresh at each epoch.

use crate::special::{count_ln, ln, ln_beta};

/// Error of the interval that `status` shows.
pub const ALPHA_STATUS: f64 = 0.05;
/// Error of the interval that `verified` demands.
pub const ALPHA_VERIFIED: f64 = 0.01;

/// Halvings of the search for an end of the interval: 2^-50 of the unit interval.
const HALVINGS: usize = 50;

/// An interval of shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub lo: f64,
    /// Upper end.
    pub hi: f64,
}

/// Where a confidence sequence stands relative to a band.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Wholly inside: evidence that the share is fine.
    Inside,
    /// Wholly outside: evidence that it is not.
    Outside,
    /// It still overlaps an edge: more counts are needed.
    Undecided,
}

/// Log evidence (nats) of `hits` in `trials` against the share `p`.
pub fn log_evidence(hits: u64, trials: u64, p: f64) -> f64 {
    evidence(hits, trials)(p)
}

/// The same as a function of `p`: what does not depend on it is worked out once.
fn evidence(hits: u64, trials: u64) -> impl Fn(f64) -> f64 {
    let n = trials as f64;
    let s = hits.min(trials) as f64;
    let mixture = ln_beta(1.0 + s, 1.0 + n - s);
    move |p| mixture - count_ln(s, p) - count_ln(n - s, 1.0 - p)
}

/// The confidence sequence at `hits` of `trials` with error `alpha` (0.05: 95 %). 0 to 1 without trials.
pub fn interval(hits: u64, trials: u64, alpha: f64) -> Interval {
    if trials == 0 {
        return Interval { lo: 0.0, hi: 1.0 };
    }
    let threshold = -ln(alpha);
    let middle = hits.min(trials) as f64 / trials as f64;
    let evidence = evidence(hits, trials);
    // The evidence falls towards `middle` from both sides, so each end is found by halving.
    let end = |mut rejected: f64| {
        if evidence(rejected) < threshold {
            return rejected;
        }
        let mut kept = middle;
        for _ in 0..HALVINGS {
            let half = f64::midpoint(rejected, kept);
            if evidence(half) < threshold {
                kept = half;
            } else {
                rejected = half;
            }
        }
        kept
    };
    Interval {
        lo: end(0.0),
        hi: end(1.0),
    }
}

/// Where the confidence sequence stands relative to `band`, without computing its ends: two evaluations,
/// cheap at a thousand backends.
pub fn standing(hits: u64, trials: u64, alpha: f64, band: Interval) -> Standing {
    if trials == 0 {
        return Standing::Undecided;
    }
    let threshold = -ln(alpha);
    let middle = hits.min(trials) as f64 / trials as f64;
    let evidence = evidence(hits, trials);
    // An edge at 0 or 1 is no limit.
    let low_rejected = band.lo <= 0.0 || evidence(band.lo) >= threshold;
    let high_rejected = band.hi >= 1.0 || evidence(band.hi) >= threshold;
    if middle >= band.lo && middle <= band.hi {
        if low_rejected && high_rejected {
            Standing::Inside
        } else {
            Standing::Undecided
        }
    } else if (middle < band.lo && low_rejected) || (middle > band.hi && high_rejected) {
        Standing::Outside
    } else {
        Standing::Undecided
    }
}
