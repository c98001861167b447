//! Rules over a configuration, a change and its forecast.
//!
//! A validator tells whether a file can be read; these rules tell what it would do. Each judges effective
//! values and the forecast of shares and load, so that the typo 1 -> 10 in a weight is a number ("web-1
//! would carry 125 % of its capacity") and not a valid integer. A rule is one small function; all are in
//! [`mod@rules`] with the text of [`explain()`].
//!
//! Limits: what is not declared is not guessed. Without a peak or a capacity the capacity rules say
//! `not judged`. A rule sees the configuration and what the forecast was told, never the network.

mod explain;
mod rule;
mod rules;

use std::collections::BTreeMap;

use evenkeel_forecast::Forecast;
use evenkeel_model::config::Config;
use evenkeel_model::finding::{Finding, Origin, Severity};

pub use explain::{Explanation, explain, topics};
pub use rule::{Rule, Subject};
pub use rules::rules;

/// A change judged against what runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Every finding of the candidate, sorted as by [`audit`].
    pub findings: Vec<Finding>,
    /// Indices into `findings`: the errors that the change introduces or worsens. Empty: it may run.
    pub blocking: Vec<usize>,
}

/// Every finding of every rule, the worst first, then in the order of the file.
/// `forecast` must be of `config`; `origin` places the findings and may be empty.
pub fn audit(config: &Config, origin: &Origin, forecast: &Forecast) -> Vec<Finding> {
    let subject = Subject {
        config,
        origin,
        forecast,
    };
    let mut findings: Vec<Finding> = rules()
        .iter()
        .flat_map(|rule| (rule.check)(&subject))
        .collect();
    let place = |f: &Finding| f.location.as_ref().map_or(usize::MAX, |l| l.span.start);
    findings.sort_by(|a, b| {
        b.severity
            .cmp(&a.severity)
            .then_with(|| (place(a), a.id, &a.path).cmp(&(place(b), b.id, &b.path)))
    });
    findings
}

/// Judges `candidate` against what runs, with the forecast of each under the same facts. What the running
/// configuration already has is shown and never blocks its repair. With nothing running every error blocks.
pub fn judge_change(
    running: Option<(&Config, &Forecast)>,
    candidate: &Config,
    origin: &Origin,
    forecast: &Forecast,
) -> Verdict {
    let findings = audit(candidate, origin, forecast);
    let known: BTreeMap<(&str, String), u64> = running
        .map(|(config, forecast)| audit(config, &Origin::default(), forecast))
        .unwrap_or_default()
        .into_iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| ((finding.id, finding.path), finding.magnitude_ppm))
        .collect();
    let is_new_or_worse = |finding: &Finding| {
        let before = known.get(&(finding.id, finding.path.clone()));
        before.is_none_or(|magnitude| finding.magnitude_ppm > *magnitude)
    };
    let blocking = findings
        .iter()
        .enumerate()
        .filter(|(_, f)| f.severity == Severity::Error && is_new_or_worse(f))
        .map(|(index, _)| index)
        .collect();
    Verdict { findings, blocking }
}

#[cfg(test)]
mod tests;
