//! Seeded traffic for the simulations: one tick of picks at a time.

use evenkeel_model::rng::Rng;

/// `n` independent picks with probabilities proportional to `shares`.
pub(crate) fn multinomial(rng: &mut Rng, n: u64, shares: &[f64]) -> Vec<u64> {
    let mut all = 0.0;
    let sums = shares.iter().map(|share| {
        all += share;
        all
    });
    let sums: Vec<f64> = sums.collect();
    let mut counts = vec![0; shares.len()];
    for _ in 0..n {
        let at = rng.unit() * all;
        if let Some(count) = counts.get_mut(sums.partition_point(|sum| *sum <= at)) {
            *count += 1;
        }
    }
    counts
}

/// Arrivals of one tick at a mean rate (Poisson by exponential gaps).
pub(crate) fn arrivals(rng: &mut Rng, rate: f64) -> u64 {
    let (mut at, mut n) = (0.0, 0);
    loop {
        at += rng.exponential(1.0 / rate.max(1e-9));
        if at >= 1.0 {
            return n;
        }
        n += 1;
    }
}

/// The shares of `backends` of which the first has `first` and the others divide the rest evenly.
pub(crate) fn one_off(backends: usize, first: f64) -> Vec<f64> {
    let rest = (1.0 - first) / (backends.max(2) - 1) as f64;
    (0..backends)
        .map(|i| if i == 0 { first } else { rest })
        .collect()
}
