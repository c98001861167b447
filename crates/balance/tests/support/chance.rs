//! How far a count may stray by chance alone.
//!
//! A number of standard deviations says it only where the count is large: a backend that is owed one pick of thousands gets
//! seven of them once in twenty thousand times, which is seven deviations. This bound holds for small counts too.

/// Once in ten thousand million: a test compares thousands of counts in each of its cases.
pub(crate) const LOG_ODDS: f64 = 23.0;

/// How far a count of independent draws strays from the `mean` of them that its `share` owes it (Bernstein).
pub(crate) fn of_draws(mean: f64, share: f64) -> f64 {
    let variance = mean * (1.0 - share).max(0.0);
    (2.0 * variance * LOG_ODDS).sqrt() + LOG_ODDS / 3.0
}
