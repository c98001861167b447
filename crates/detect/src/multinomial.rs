//! Anytime-valid evidence of counts against one exact vector of shares.
//!
//! Lindon and Malek 2020 (arXiv 2011.03567): the Bayes factor of a Dirichlet mixture to the point null.
//! Model: independent picks with constant shares. Null: the shares are `theta`. Under it the chance
//! that the evidence ever reaches ln(1 / alpha) is at most alpha, however often one looks.
//!
//! Limits: an exact null is always wrong in the last digit, so at large counts everything is
//! "significant"; verdicts come from [`crate::share`] with its tolerance, this one serves comparisons.

use crate::special::{count_ln, ln_gamma};

/// Log evidence (nats) of `counts` against the shares `theta`, with a Dirichlet(1, ..., 1) mixture.
/// `theta` must sum to 1; entries beyond the shorter of the two are left out. Infinite when a share of zero
/// was picked.
pub fn log_evidence(counts: &[u64], theta: &[f64]) -> f64 {
    let cells = counts.len().min(theta.len()) as f64;
    let mut picks = 0.0;
    let mut log_e = ln_gamma(cells);
    for (count, share) in counts.iter().zip(theta) {
        let count = *count as f64;
        picks += count;
        log_e += ln_gamma(1.0 + count) - count_ln(count, *share);
    }
    log_e - ln_gamma(cells + picks)
}

/// Log-likelihood (nats) of `counts` under `theta` less that under `other`: which of two predictions the
/// counts speak for. Only counted entries matter; infinite when one of the two excludes what happened.
pub fn log_ratio(counts: &[u64], theta: &[f64], other: &[f64]) -> f64 {
    counts
        .iter()
        .zip(theta.iter().zip(other))
        .filter(|(count, _)| **count > 0)
        .map(|(count, (a, b))| count_ln(*count as f64, *a) - count_ln(*count as f64, *b))
        .sum()
}
