//! The new version against the old one, second by second: who fails more, who is slower.
//!
//! Both see the same seconds, so what hits both is no difference. Two e-detectors (`detect::shift`), one for failed tries
//! and one for tries among the slowest tenth of their second; each may be looked at after every second. Nothing is
//! said for the new version before it ended [`Comparison::needed`] tries in the step.
//!
//! Limits: a version that has all the traffic has nothing to be compared with; 4xx are no failures.

use evenkeel_detect::arl::Arl;
use evenkeel_detect::shift::{Count, ShiftTest, latency_counts};
use evenkeel_model::blame::Mechanism;
use evenkeel_model::config::Pool;
use evenkeel_model::ids::Name;
use evenkeel_model::tally::Latency;

use crate::counts::Cell;

/// Seconds between two false alarms of each test: 200 days, so 100 of both together.
const RUN_LENGTH: f64 = 200.0 * 86_400.0;
/// Odds of failing up to so many times those of both versions together are tolerated.
const MARGIN_ERRORS: f64 = 1.5;
/// The same of being among the slowest.
const MARGIN_SLOW: f64 = 2.0;
/// Slower than this part of the second's tries is slow.
const QUANTILE: f64 = 0.9;
/// Part of the threshold (in nats) from which on the evidence is neither here nor there.
const DOUBT: f64 = 0.5;
/// Failures at the rate of the objective after which, with 95 % certainty, one was seen: the rule of three.
const RULE_OF_THREE: f64 = 3.0;
/// Fewest and most tries of the new version that a step needs.
const NEEDED: (f64, f64) = (100.0, 3_000.0);

/// What one version did in a step.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Seen {
    /// Free picks.
    pub(crate) free: u64,
    /// Tries that ended.
    pub(crate) ended: u64,
    /// Those that failed.
    pub(crate) failed: u64,
    /// How long they took.
    pub(crate) latency: Latency,
}

impl Seen {
    fn add(&mut self, cell: &Cell, latency: Option<&Latency>) {
        self.free += u64::from(cell.free);
        self.ended += cell.ended();
        self.failed += cell.failed();
        if let Some(latency) = latency {
            self.latency.add(latency);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.free += other.free;
        self.ended += other.ended;
        self.failed += other.failed;
        self.latency.add(&other.latency);
    }

    /// Failed tries among those that ended.
    pub(crate) fn error_rate(&self) -> Option<f64> {
        (self.ended > 0).then(|| self.failed as f64 / self.ended as f64)
    }
}

/// How the versions compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The new one is worse, and how.
    Worse(Mechanism),
    /// It may be.
    Doubtful,
    /// Nothing speaks against it.
    Alike,
}

/// Both versions in a step, and the tests over the whole deployment.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Comparison {
    errors: Option<ShiftTest>,
    slow: Option<ShiftTest>,
    /// Of the step.
    pub(crate) new: Seen,
    pub(crate) old: Seen,
}

impl Comparison {
    pub(crate) fn begin() -> Self {
        let test = |margin| Some(ShiftTest::new(2, margin, Arl::new(RUN_LENGTH).ok()?));
        Self {
            errors: test(MARGIN_ERRORS),
            slow: test(MARGIN_SLOW),
            new: Seen::default(),
            old: Seen::default(),
        }
    }

    /// A new step: it counts from nothing, the tests go on.
    pub(crate) fn step(&mut self) {
        (self.new, self.old) = (Seen::default(), Seen::default());
    }

    /// Tries of the new version that a step needs.
    pub(crate) fn needed(pool: &Pool) -> u64 {
        let rate = pool.objective.error_rate.as_f64().max(f64::MIN_POSITIVE);
        (RULE_OF_THREE / rate).clamp(NEEDED.0, NEEDED.1).ceil() as u64
    }

    /// Takes in a second.
    pub(crate) fn tick(
        &mut self,
        pool: &Pool,
        (version, stable): (&Name, &Name),
        cells: &[Cell],
        latency: &[Latency],
    ) {
        let (mut new, mut old) = (Seen::default(), Seen::default());
        for (index, (backend, cell)) in pool.backends.iter().zip(cells).enumerate() {
            let side = match &backend.version {
                Some(of) if of == version => &mut new,
                Some(of) if of == stable => &mut old,
                _ => continue,
            };
            side.add(cell, latency.get(index));
        }
        if let Some(test) = &mut self.errors {
            let count = |seen: &Seen| Count {
                hits: seen.failed,
                of: seen.ended,
            };
            test.tick(&[count(&new), count(&old)]);
        }
        if let Some(test) = &mut self.slow {
            let members = [new.latency.clone(), old.latency.clone()];
            test.tick(&latency_counts(&members, QUANTILE));
        }
        self.new.merge(&new);
        self.old.merge(&old);
    }

    /// What the tests say.
    pub(crate) fn standing(&self) -> Standing {
        let tests = [
            (Mechanism::Errors, &self.errors),
            (Mechanism::Latency, &self.slow),
        ];
        let mut standing = Standing::Alike;
        for (mechanism, test) in tests {
            let Some(test) = test else { continue };
            let Some(evidence) = test.evidence().into_iter().next() else {
                continue;
            };
            if evidence.alarm {
                return Standing::Worse(mechanism);
            }
            if evidence.log_e > DOUBT * test.log_threshold() {
                standing = Standing::Doubtful;
            }
        }
        standing
    }

    /// The figures of both versions in this step.
    pub(crate) fn in_words(&self, version: &Name, stable: &Name) -> String {
        let side = |name: &Name, seen: &Seen| {
            let errors = seen.error_rate().map_or_else(
                || "no request ended".to_owned(),
                |rate| {
                    let (percent, of) = (rate * 100.0, seen.ended);
                    format!("{percent:.2} % of {of} requests failed")
                },
            );
            let p99 = seen.latency.quantile_us(0.99);
            let p99 = p99.map_or_else(String::new, |us| {
                format!(", p99 {:.0} ms", us as f64 / 1_000.0)
            });
            format!("{name}: {errors}{p99}")
        };
        format!("{}; {}", side(version, &self.new), side(stable, &self.old))
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_model::blame::Mechanism;
    use evenkeel_model::config::Pool;
    use evenkeel_model::ids::Name;
    use evenkeel_model::parse::parse;
    use evenkeel_model::rng::Rng;
    use evenkeel_model::tally::Latency;

    use super::{Comparison, Standing};
    use crate::counts::Cell;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn pool() -> Pool {
        let text = "[listener.l]\naddress = \"127.0.0.1:80\"\n[[route]]\nlistener = \"l\"\npool = \"p\"\n\
            [pool.p.backend.a]\naddress = \"127.0.0.1:1\"\nversion = \"v1\"\n\
            [pool.p.backend.b]\naddress = \"127.0.0.1:2\"\nversion = \"v2\"\n";
        parse(text, None).config.unwrap().pools[0].clone()
    }

    /// Seconds until the comparison says that v2 is worse, at most `seconds`: v2 has a twentieth of `rate`.
    fn worse_after(
        seed: u64,
        rate: u32,
        seconds: usize,
        (errors, slower): (f64, f64),
    ) -> Option<(usize, Mechanism)> {
        let (pool, mut rng) = (pool(), Rng::new(seed));
        let mut comparison = Comparison::begin();
        for second in 1..=seconds {
            let mut side = |count: u32, errors: f64, slower: f64| {
                let mut latency = Latency::default();
                let mut cell = Cell::default();
                for _ in 0..count {
                    let failed = rng.unit() < errors;
                    cell.free += 1;
                    cell.ok += u32::from(!failed);
                    cell.server_error += u32::from(failed);
                    latency.record(rng.exponential(slower * 20_000.0) as u64);
                }
                (cell, latency)
            };
            let (old, new) = (
                side(rate * 19 / 20, 0.01, 1.0),
                side(rate / 20, errors, slower),
            );
            let (cells, latency) = ([old.0, new.0], [old.1, new.1]);
            comparison.tick(&pool, (&name("v2"), &name("v1")), &cells, &latency);
            if let Standing::Worse(mechanism) = comparison.standing() {
                return Some((second, mechanism));
            }
        }
        None
    }

    #[test]
    fn a_version_that_fails_or_is_slow_is_found_and_named_by_how() {
        for seed in 0..20 {
            let (second, how) = worse_after(seed, 200, 60, (0.5, 1.0)).unwrap();
            assert!(second <= 10 && how == Mechanism::Errors, "{seed}: {second}");
            let (_, how) = worse_after(seed, 200, 120, (0.1, 1.0)).unwrap();
            assert_eq!(how, Mechanism::Errors, "{seed}");
            let (second, how) = worse_after(seed, 200, 60, (0.01, 5.0)).unwrap();
            assert!(
                second <= 20 && how == Mechanism::Latency,
                "{seed}: {second}"
            );
        }
    }

    /// At a run length of 100 days for both tests, 20 x 3,600 s give an alarm with a chance below 1 in 100; the seeds are
    /// fixed, so the test says the same each time.
    #[test]
    fn versions_that_do_not_differ_and_one_that_is_better_raise_nothing() {
        for seed in 0..20 {
            assert_eq!(worse_after(seed, 200, 3_600, (0.01, 1.0)), None, "{seed}");
            assert_eq!(worse_after(seed, 200, 600, (0.0, 0.5)), None, "{seed}");
        }
    }

    #[test]
    fn a_step_needs_three_over_the_objective_within_bounds() {
        let mut pool = pool();
        assert_eq!(Comparison::needed(&pool), 300);
        let rate = |text: &str| evenkeel_model::units::Ratio::parse(text).unwrap();
        pool.objective.error_rate = rate("10%");
        assert_eq!(Comparison::needed(&pool), 100);
        pool.objective.error_rate = rate("0.01%");
        assert_eq!(Comparison::needed(&pool), 3_000);
    }
}
