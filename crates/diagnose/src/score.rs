//! Log-likelihoods in nats, kept sane.
//!
//! Counts of one fault are not independent (a queue that is full fails everyone in it), and a window of a minute
//! would yield numbers that no prior could ever answer. So every count is tempered before it speaks: at most
//! [`PICKS_MAX`] picks and [`TRIES_MAX`] tries per backend, and tries are halved again ([`OVERDISPERSION`]).
//! Ratios stay as they are; only certainty is capped.

use evenkeel_model::config::Pool;

/// Picks that a share likelihood counts at most.
pub(crate) const PICKS_MAX: f64 = 2_000.0;
/// Tries per backend that a failure or latency likelihood counts at most.
pub(crate) const TRIES_MAX: f64 = 400.0;
/// Variance of failures over that of independent ones; tries are divided by it.
pub(crate) const OVERDISPERSION: f64 = 2.0;
/// Shares and rates are kept this far from 0 and 1.
const EDGE: f64 = 1e-4;

/// Hits among tries, and the rate of hits before.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Signal {
    /// Hits, as counted.
    pub(crate) hits: f64,
    /// Tries, as counted.
    pub(crate) tries: f64,
    /// Rate before.
    pub(crate) base: f64,
    /// How much of it is explained already (0..1) and must not be credited twice.
    pub(crate) explained: f64,
}

impl Signal {
    /// Rate of hits.
    pub(crate) fn rate(&self) -> f64 {
        if self.tries > 0.0 {
            self.hits / self.tries
        } else {
            0.0
        }
    }

    /// Hits and tries as they may speak.
    fn tempered(&self, with_explained: bool) -> (f64, f64) {
        let open = if with_explained {
            1.0
        } else {
            1.0 - self.explained
        };
        let scale = (TRIES_MAX / self.tries.max(1.0)).min(1.0) / OVERDISPERSION * open;
        (self.hits * scale, self.tries * scale)
    }

    /// Nats for "its rate is `rate`" above "the rate before".
    fn gain_at(&self, rate: f64, whole: bool) -> f64 {
        let (h, n) = self.tempered(whole);
        let base = self.base.clamp(EDGE, 1.0 - EDGE);
        h * libm::log(rate / base) + (n - h) * libm::log((1.0 - rate) / (1.0 - base))
    }

    /// Nats for "its own rate" above "the rate before"; 0 when it is no worse than before.
    pub(crate) fn gain_alone(&self) -> f64 {
        group_gain(std::slice::from_ref(self), true)
    }
}

/// Nats for "all of `signals` have one common new rate" above "each has its rate before". Negative when the common
/// rate fits badly; 0 when it is no worse than before. `whole`: count what is explained already as well.
pub(crate) fn group_gain(signals: &[Signal], whole: bool) -> f64 {
    let (mut hits, mut tries, mut expected) = (0.0, 0.0, 0.0);
    for signal in signals {
        let (h, n) = signal.tempered(whole);
        hits += h;
        tries += n;
        expected += n * signal.base;
    }
    if tries < 1.0 || hits <= expected {
        return 0.0;
    }
    let rate = (hits / tries).clamp(EDGE, 1.0 - EDGE);
    let gain: f64 = signals.iter().map(|s| s.gain_at(rate, whole)).sum();
    gain - 0.5 * libm::log(1.0 + tries)
}

/// Nats for "`signals` have the common rate of `like`" above "each has its rate before".
pub(crate) fn rate_gain(signals: &[Signal], like: &[Signal]) -> f64 {
    let sum = |of: fn(&Signal) -> f64| like.iter().map(of).sum::<f64>();
    let rate = (sum(|s| s.hits) / sum(|s| s.tries).max(1.0)).clamp(EDGE, 1.0 - EDGE);
    signals
        .iter()
        .map(|signal| signal.gain_at(rate, true))
        .sum()
}

/// Nats of the picks under shares `p` above shares `q`: sum of S ln(p / q), tempered.
pub(crate) fn share_gain(picks: &[u64], p: &[f64], q: &[f64]) -> f64 {
    let total: f64 = picks.iter().map(|n| *n as f64).sum();
    let scale = (PICKS_MAX / total.max(1.0)).min(1.0);
    picks
        .iter()
        .zip(p.iter().zip(q))
        .filter(|(n, _)| **n > 0)
        .map(|(n, (p, q))| scale * *n as f64 * libm::log(p.max(EDGE) / q.max(EDGE)))
        .sum()
}

/// What shares fitted to the picks cost: (K - 1) / 2 ln n (Schwarz 1978).
pub(crate) fn fit_penalty(picks: &[u64]) -> f64 {
    let total: f64 = picks.iter().map(|n| *n as f64).sum();
    let free = picks.len().saturating_sub(1) as f64;
    free / 2.0 * libm::log(total.clamp(1.0, PICKS_MAX))
}

/// Observed shares; `None` without picks.
pub(crate) fn observed(picks: &[u64]) -> Option<Vec<f64>> {
    let total: f64 = picks.iter().map(|n| *n as f64).sum();
    (total > 0.0).then(|| picks.iter().map(|n| *n as f64 / total).collect())
}

/// The acceptable shares nearest to `p`: each clipped to the tolerance band around `intended`, then normalised.
pub(crate) fn acceptable(p: &[f64], intended: &[f64], pool: &Pool) -> Vec<f64> {
    let tolerance = pool.tolerance.as_f64();
    let clipped: Vec<f64> = p
        .iter()
        .zip(intended)
        .map(|(p, theta)| {
            p.clamp(
                theta * (1.0 - tolerance).max(0.0),
                theta * (1.0 + tolerance),
            )
        })
        .collect();
    let total: f64 = clipped.iter().sum();
    if total > 0.0 {
        clipped.iter().map(|c| c / total).collect()
    } else {
        intended.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::{Signal, fit_penalty, group_gain, share_gain};

    fn signal(hits: f64, tries: f64, base: f64) -> Signal {
        Signal {
            hits,
            tries,
            base,
            explained: 0.0,
        }
    }

    #[test]
    fn a_group_that_holds_healthy_ones_fits_worse_than_the_bad_one_alone() {
        let bad = signal(200.0, 400.0, 0.01);
        let good = signal(4.0, 400.0, 0.01);
        let alone = bad.gain_alone();
        let group = group_gain(&[bad, good, good], false);
        assert!(alone > 250.0 && group < alone - 50.0, "{alone} {group}");
    }

    #[test]
    fn all_bad_alike_fit_better_together_than_one_by_one() {
        let bad = signal(100.0, 400.0, 0.01);
        let sum = 3.0 * bad.gain_alone();
        let group = group_gain(&[bad; 3], false);
        assert!(group > sum && group > 2.0 * bad.gain_alone());
    }

    #[test]
    fn no_worse_than_before_or_explained_already_earns_nothing() {
        assert!(signal(3.0, 400.0, 0.01).gain_alone().abs() < 1e-9);
        let explained = Signal {
            explained: 1.0,
            ..signal(300.0, 400.0, 0.01)
        };
        assert!(group_gain(&[explained], false).abs() < 1e-9);
        assert!(group_gain(&[explained], true) > 100.0);
    }

    #[test]
    fn certainty_is_capped_and_ratios_are_not() {
        let p = [10.0 / 12.0, 1.0 / 12.0, 1.0 / 12.0];
        let q = [1.0 / 3.0; 3];
        let at = |n: u64| share_gain(&[n * 10, n, n], &p, &q);
        assert!((at(500) - at(50_000)).abs() < 1e-6);
        assert!((at(10) / at(100) - 0.1).abs() < 1e-6);
        assert!((fit_penalty(&[200, 200, 200]) - libm::log(600.0)).abs() < 1e-9);
    }
}
