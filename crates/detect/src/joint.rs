//! All shares of a pool at once: what many small deviations say together.
//!
//! The watch on each backend alone (room `share`) is blind to a fault that moves every share a little: a forgotten
//! weight, half the pool a quarter up and the other half a quarter down. Here the alternative is the whole vector,
//! learnt from the ticks before: `q` is the share seen lately, drawn towards the tested one as far as chance explains
//! what is seen (James and Stein), and the evidence of a tick is `product of (q_i / p_i)^x_i` with `p` the tolerated
//! vector nearest to `q` ([`crate::band`]). `q` is fixed before the tick is seen, so the mean of that evidence is at most
//! 1 wherever in the band the shares wander, and `R <- (1 + R) e` is an e-detector as anywhere in this room.
//! "Lately" is three spans, forgotten exponentially; their detectors are averaged.
//!
//! Limits: it needs at least one tick to learn what the next one tests; with K backends and no pattern known, it learns from
//! about K / KL picks, more than one backend alone needs.

use crate::band::Band;
use crate::bank::Limits;
use crate::special::{exp, ln};

/// Picks per backend that each learner remembers.
const SPANS: [f64; 3] = [4.0, 24.0, 144.0];
/// Fewest picks that a learner remembers, however few the backends.
const SPAN_MIN: f64 = 50.0;
/// The part of an alternative that always is the tested vector, so that no share of it is zero.
const ANCHOR: f64 = 0.02;

/// What an alternative expects at least of a backend that should get nothing.
const SHARE_MIN: f64 = 1e-6;

/// The detectors of one pool.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Joint {
    theta: Vec<f64>,
    band: Band,
    learners: Vec<Learner>,
}

/// One span.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Learner {
    /// Picks that are remembered.
    span: f64,
    /// Forgetting sums: picks of each backend, of all, and the variance of the latter.
    seen: Vec<f64>,
    picks: f64,
    variance: f64,
    sum: f64,
}

impl Joint {
    /// `theta` sums to 1.
    pub(crate) fn new(theta: &[f64], tolerance: f64) -> Self {
        let size = theta.len() as f64;
        let learner = |span: f64| Learner {
            span: (span * size).max(SPAN_MIN),
            seen: vec![0.0; theta.len()],
            picks: 0.0,
            variance: 0.0,
            sum: 0.0,
        };
        // A share of zero could never be seen to be wrong.
        let floor = |share: &f64| share.max(SHARE_MIN);
        let all: f64 = theta.iter().map(floor).sum();
        Self {
            theta: theta.iter().map(|share| floor(share) / all).collect(),
            band: Band::around(theta, tolerance),
            learners: SPANS.into_iter().map(learner).collect(),
        }
    }

    /// Takes the counts of one tick that add up to `total`.
    pub(crate) fn tick(&mut self, picks: &[u64], total: f64, limits: Limits) {
        if total <= 0.0 {
            return;
        }
        for learner in &mut self.learners {
            let seen = learner.alternative(&self.theta);
            let bet = seen
                .map(|q| (self.band.nearest(&q), q))
                .filter(|(p, q)| p != q);
            if let Some((p, q)) = bet {
                let picked = q.iter().zip(&p).zip(picks).filter(|(_, count)| **count > 0);
                let log_e: f64 = picked
                    .map(|((q, p), count)| *count as f64 * ln(q / p))
                    .sum();
                learner.sum = ((1.0 + learner.sum) * exp(log_e)).min(limits.cap);
            } else {
                // Nothing new starts without a bet, or an idle detector would climb by one a tick; what speaks
                // of the past fades with the memory of it.
                learner.sum *= learner.kept(total);
            }
            learner.learn(picks, total);
        }
    }

    /// Mean over the spans: an e-detector by itself.
    pub(crate) fn mean(&self) -> f64 {
        self.learners.iter().map(|l| l.sum).sum::<f64>() / self.learners.len() as f64
    }
}

impl Learner {
    /// What the ticks so far say the shares are; `None` while chance explains all of it.
    fn alternative(&self, theta: &[f64]) -> Option<Vec<f64>> {
        if self.picks <= 0.0 {
            return None;
        }
        let scale = self.picks * self.picks / self.variance;
        let pairs = || self.seen.iter().zip(theta);
        let distance: f64 = pairs()
            .map(|(seen, theta)| {
                let off = seen / self.picks - theta;
                off * off / theta
            })
            .sum();
        // Chance alone puts the counts K - 1 away, in units of their variance.
        let kept = 1.0 - (theta.len() - 1) as f64 / (distance * scale);
        if kept <= 0.0 {
            return None;
        }
        let kept = kept.min(1.0 - ANCHOR);
        let q = pairs().map(|(seen, theta)| theta + kept * (seen / self.picks - theta));
        Some(q.collect())
    }

    /// The part of what is remembered that outlives a tick of `total` picks.
    fn kept(&self, total: f64) -> f64 {
        exp(-total / self.span)
    }

    fn learn(&mut self, picks: &[u64], total: f64) {
        let kept = self.kept(total);
        for (seen, count) in self.seen.iter_mut().zip(picks) {
            *seen = *seen * kept + *count as f64;
        }
        self.picks = self.picks * kept + total;
        self.variance = self.variance * kept * kept + total;
    }
}
