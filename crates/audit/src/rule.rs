//! What a rule is, what it judges, and how it words what it found.

use evenkeel_forecast::Forecast;
use evenkeel_model::canonical::path_segment;
use evenkeel_model::config::{Backend, Config, Pool};
use evenkeel_model::finding::{Finding, Origin, Severity};

/// What is judged.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Where its values stand.
    pub origin: &'a Origin,
    /// What it will do.
    pub forecast: &'a Forecast,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Its id, such as `TRF-01`.
    pub id: &'static str,
    /// One line.
    pub title: &'static str,
    /// The worst that it says.
    pub severity: Severity,
    /// Reason, limits and an example, for `evenkeel explain`.
    pub text: &'static str,
    /// Every finding of the rule, in file order.
    pub check: fn(&Subject<'_>) -> Vec<Finding>,
}

/// What a rule says in words.
pub(crate) struct Words {
    pub(crate) message: String,
    pub(crate) effect: String,
    pub(crate) fix: String,
}

impl Subject<'_> {
    /// A finding about `path`, placed at `at` in the file (or its nearest table).
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
        }
    }
}

/// `pool.shop`.
pub(crate) fn pool_path(pool: &Pool) -> String {
    format!("pool.{}", path_segment(pool.name.as_str()))
}

/// `pool.shop.backend.web-1`.
pub(crate) fn backend_path(pool: &Pool, backend: &Backend) -> String {
    format!(
        "{}.backend.{}",
        pool_path(pool),
        path_segment(backend.name.as_str())
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
