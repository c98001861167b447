//! A Poisson process whose rate may change at any time, without I/O and without a clock.
//!
//! Each gap is a unit exponential spread over the integral of the rate, so a change of the rate takes effect
//! inside a gap, and the process is exact for every step function. While the rate stands, nothing depends on
//! how often one asks: the same seed gives the same instants.

use std::time::Duration;

use evenkeel_model::rng::Rng;

pub(super) struct Arrivals {
    rng: Rng,
    rate: f64,
    /// Seconds since the start up to which the integral is spent.
    from: f64,
    /// What is left of the unit exponential at `from`.
    need: f64,
}

impl Arrivals {
    pub(super) fn new(mut rng: Rng, rate: f64) -> Self {
        let need = rng.exponential(1.0);
        Self {
            rng,
            rate,
            from: 0.0,
            need,
        }
    }

    /// The rate from `at` on. All arrivals before `at` must have been taken.
    pub(super) fn set_rate(&mut self, at: Duration, rate: f64) {
        let at = at.as_secs_f64().max(self.from);
        self.need = (self.need - self.rate * (at - self.from)).max(0.0);
        self.from = at;
        self.rate = rate;
    }

    /// When the next one is due under the current rate; `None`: never.
    pub(super) fn due(&self) -> Option<Duration> {
        if self.rate <= 0.0 {
            return None;
        }
        Duration::try_from_secs_f64(self.from + self.need / self.rate).ok()
    }

    /// Takes the next one if it is due by `now`.
    pub(super) fn pop(&mut self, now: Duration) -> Option<Duration> {
        let due = self.due().filter(|due| *due <= now)?;
        self.from += self.need / self.rate;
        self.need = self.rng.exponential(1.0);
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::Arrivals;
    use evenkeel_model::rng::Rng;
    use std::time::Duration;

    fn all(arrivals: &mut Arrivals, until: u64, step_ms: u64) -> Vec<Duration> {
        let mut out = Vec::new();
        for ms in (0..=until * 1_000).step_by(step_ms as usize) {
            while let Some(at) = arrivals.pop(Duration::from_millis(ms)) {
                out.push(at);
            }
        }
        out
    }

    #[test]
    fn the_same_seed_gives_the_same_instants_however_often_one_asks() {
        let a = all(&mut Arrivals::new(Rng::new(5), 300.0), 10, 1);
        let b = all(&mut Arrivals::new(Rng::new(5), 300.0), 10, 1_000);
        assert_eq!(a, b);
        assert_ne!(a, all(&mut Arrivals::new(Rng::new(6), 300.0), 10, 1));
    }

    #[test]
    fn counts_and_gaps_are_those_of_a_poisson_process() {
        let all = all(&mut Arrivals::new(Rng::new(1), 500.0), 100, 10);
        let n = all.len() as f64;
        assert!((n - 50_000.0).abs() < 4.0 * 50_000f64.sqrt(), "{n}");
        let gaps: Vec<f64> = all
            .windows(2)
            .map(|w| w[1].as_secs_f64() - w[0].as_secs_f64())
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let var = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        let cv = var.sqrt() / mean;
        assert!((cv - 1.0).abs() < 0.03, "coefficient of variation {cv}");
    }

    #[test]
    fn a_change_of_rate_counts_from_its_instant() {
        let mut arrivals = Arrivals::new(Rng::new(2), 0.0);
        assert_eq!(arrivals.pop(Duration::from_secs(100)), None);
        arrivals.set_rate(Duration::from_secs(100), 1_000.0);
        let first = all(&mut arrivals, 110, 1);
        assert!(first[0] >= Duration::from_secs(100));
        assert!(
            (first.len() as f64 - 10_000.0).abs() < 400.0,
            "{}",
            first.len()
        );
        arrivals.set_rate(Duration::from_secs(110), 0.0);
        assert_eq!(arrivals.pop(Duration::from_secs(1_000)), None);
    }
}
