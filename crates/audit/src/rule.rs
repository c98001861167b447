//! What a rule is, what it judges, and how it words what it found.

use evenkeel_forecast::{Facts, Forecast, PoolForecast};
use evenkeel_model::clock::Wall;
use evenkeel_model::finding::{Finding, Origin, Severity};
use evenkeel_model::setup::{Pool, Selection, Setup};

/// What is judged.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The set-up.
    pub setup: &'a Setup,
    /// Where its values stand; may be empty.
    pub origin: &'a Origin,
    /// What it will do: of this very set-up, under `facts`.
    pub forecast: &'a Forecast,
    /// What is known from the running instance; may be nothing.
    pub facts: &'a Facts,
    /// What it would replace; `None`: nothing runs, or it is what runs.
    pub running: Option<Running<'a>>,
    /// The present, for what ends or grows old.
    pub now: Wall,
}

/// What runs.
#[derive(Debug, Clone, Copy)]
pub struct Running<'a> {
    /// The set-up.
    pub setup: &'a Setup,
    /// What it does, under the same facts as the forecast of the candidate.
    pub forecast: &'a Forecast,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Its id, such as `TRF-01`.
    pub id: &'static str,
    /// One line.
    pub title: &'static str,
    /// The worst that it says by itself; a pool may set another one.
    pub severity: Severity,
    /// The number that a pool may set; `None`: the rule has none of its own.
    pub limit: Option<Limit>,
    /// Reason, limits and an example, for `evenkeel explain`.
    pub text: &'static str,
    /// Every finding of the rule, in file order. The path of a finding about a pool begins with the pool's path.
    pub check: fn(&Subject<'_>) -> Vec<Finding>,
}

/// A number that a pool may set in `[pool.NAME.audit] limit`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// Where nothing is set.
    pub default: f64,
    /// What it counts, such as `times` or `points of share`.
    pub unit: &'static str,
}

/// What a rule says in words.
pub(crate) struct Words {
    pub(crate) message: String,
    pub(crate) effect: String,
    pub(crate) fix: String,
}

impl Limit {
    /// The limit of `rule` for `pool`.
    pub(crate) fn of(self, rule: &str, pool: &Pool) -> f64 {
        pool.policy.limit(rule, self.default)
    }
}

impl<'a> Subject<'a> {
    /// A finding about `path`, placed at `at` in the file (or its nearest table). The path is what identifies the
    /// finding, and leads to the pool whose severities and waivers it falls under; `at` may be anywhere.
    pub(crate) fn finding(
        &self,
        id: &'static str,
        severity: Severity,
        (path, at): (&str, &str),
        magnitude: f64,
        words: Words,
    ) -> Finding {
        let (file, location) = self.origin.locate(at);
        Finding {
            id,
            severity,
            message: words.message,
            effect: words.effect,
            fix: words.fix,
            path: path.to_owned(),
            // Beyond u64 the cast saturates: worse than that is not worse.
            magnitude_ppm: (magnitude * 1e6).round() as u64,
            file,
            location,
            waived: None,
            effect_of: None,
        }
    }

    /// Every pool with its forecast, in file order.
    pub(crate) fn pools(&self) -> impl Iterator<Item = (&'a Pool, &'a PoolForecast)> {
        let forecast = self.forecast;
        let (pools, forecasts) = (self.setup.pools.iter(), forecast.pools.iter());
        pools.zip(forecasts)
    }
}

/// Whether the load decides the shares of a pool, so that they are an estimate.
pub(crate) fn follows_load(pool: &Pool) -> bool {
    matches!(
        pool.selection,
        Selection::LeastLoaded(_) | Selection::WeightOverLoad { .. } | Selection::BySpeed(_)
    )
}

/// A fraction in per cent: `83.3 %`.
pub(crate) fn percent(fraction: f64) -> String {
    let text = format!("{:.1}", fraction * 100.0);
    format!("{} %", text.strip_suffix(".0").unwrap_or(&text))
}

/// A rate: `750 rps`.
pub(crate) fn rate(rps: f64) -> String {
    let text = format!("{rps:.1}");
    format!("{} rps", text.strip_suffix(".0").unwrap_or(&text))
}

/// A plain number: `2.5`.
pub(crate) fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
