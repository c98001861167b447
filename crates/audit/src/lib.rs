//! Rules over a set-up, a change and its forecast.
//!
//! A validator tells whether a file can be read; these rules tell what it would do. Each judges effective
//! values and the forecast of shares and load, so that the typo 1 -> 10 in a weight is a number ("web-1
//! would carry 125 % of its capacity") and not a valid integer. A rule is one small function; all are in
//! [`mod@rules`] with the text of [`explain()`]. They read the neutral [`Setup`], so that the same rules hold for
//! Evenkeel's files and for those of other balancers.
//!
//! What an operator decided (severities of a pool, waivers) is applied in one place after the rules ran, so that no
//! rule can forget it.
//!
//! Limits: what is not declared is not guessed. Without a peak or a capacity the capacity rules say
//! `not judged`. A rule sees the set-up and what the forecast was told, never the network.
//!
//! [`Setup`]: evenkeel_model::setup::Setup

mod decisions;
mod explain;
mod rule;
mod rules;

use std::collections::BTreeMap;

use evenkeel_model::finding::{Finding, Severity};

pub use explain::{Explanation, explain, topics};
pub use rule::{Limit, Rule, Running, Subject};
pub use rules::{STEP_POINTS, rules};

/// A change judged against what runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Every finding of the candidate, sorted as by [`audit`].
    pub findings: Vec<Finding>,
    /// Indices into `findings`: the errors that the change introduces or worsens. Empty: it may run.
    pub blocking: Vec<usize>,
}

/// Every finding of every rule, the worst first, then in the order of the file. Severities that a pool sets and
/// waivers are applied; a waived finding is an info that says so.
///
/// What follows from another finding is told with that one as well: of a slipped weight the finding names the overload
/// that it makes, and the finding of the overload says that it is an effect.
pub fn audit(subject: &Subject<'_>) -> Vec<Finding> {
    let findings = decided(subject).into_iter();
    let marked = rules::mark(subject, findings.map(|finding| (finding, false)).collect());
    marked.into_iter().map(|(finding, _)| finding).collect()
}

/// Every finding by itself, with the decisions of the operator, in the order of [`audit`].
fn decided(subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = spoken(subject);
    decisions::waive(subject, &mut findings);
    let place = |f: &Finding| f.location.as_ref().map_or(usize::MAX, |l| l.span.start);
    findings.sort_by(|a, b| {
        b.severity
            .cmp(&a.severity)
            .then_with(|| (place(a), a.id, &a.path).cmp(&(place(b), b.id, &b.path)))
    });
    findings
}

/// Judges a candidate against what runs ([`Subject::running`]), both forecast under the same facts. What the running
/// set-up already has is shown and never blocks its repair. With nothing running every error blocks.
pub fn judge_change(subject: &Subject<'_>) -> Verdict {
    let findings = decided(subject);
    let known = subject
        .running
        .map(|running| known_errors(subject, running));
    let known = known.unwrap_or_default();
    let pools = decisions::PoolsByPath::of(subject.setup);
    let is_new_or_worse = |finding: &Finding| {
        let at = |path: &str| known.get(&(finding.id, path.to_owned()));
        // A rule that speaks of a whole pool covers each of its backends.
        let whole = || at(&pools.at(&finding.path)?.path);
        let before = at(&finding.path).or_else(whole);
        before.is_none_or(|magnitude| finding.magnitude_ppm > *magnitude)
    };
    let judged = findings.into_iter().map(|finding| {
        let blocks = finding.severity == Severity::Error && is_new_or_worse(&finding);
        (finding, blocks)
    });
    let (findings, blocks): (Vec<Finding>, Vec<bool>) =
        rules::mark(subject, judged.collect()).into_iter().unzip();
    let blocking = (0..blocks.len())
        .filter(|index| blocks.get(*index) == Some(&true))
        .collect();
    Verdict { findings, blocking }
}

/// The errors of what runs, by id and path, with how bad each is. A waived one is among them: that its waiver runs
/// out or is removed makes the fault visible, and no newer.
fn known_errors(
    subject: &Subject<'_>,
    running: Running<'_>,
) -> BTreeMap<(&'static str, String), u64> {
    let before = Subject {
        setup: running.setup,
        origin: &evenkeel_model::finding::Origin::default(),
        forecast: running.forecast,
        running: None,
        ..*subject
    };
    let errors = spoken(&before)
        .into_iter()
        .filter(|finding| finding.severity == Severity::Error);
    errors
        .map(|finding| ((finding.id, finding.path), finding.magnitude_ppm))
        .collect()
}

/// What the rules say, with the severities that each pool sets, before any waiver.
fn spoken(subject: &Subject<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in rules() {
        let mut of_rule = (rule.check)(subject);
        decisions::set_severities(subject, rule, &mut of_rule);
        findings.append(&mut of_rule);
    }
    findings
}

#[cfg(test)]
mod tests;
