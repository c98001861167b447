//! What an operator decided about the findings: severities of a pool, and waivers.
//!
//! Both are applied here, after a rule ran, and nowhere else. A waived finding stays in the list as an info with its
//! reason and its end. A waiver that has run out, or that meets nothing, is a finding of its own, because a forgotten
//! waiver is a rule that was switched off.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_model::finding::{Finding, Severity, Waived};
use evenkeel_model::policy::Waiver;
use evenkeel_model::setup::{Pool, Setup};

use crate::rule::{Rule, Subject, Words};

/// The longest that a waiver should hold: a year and a day. Later than that nobody knows why it was written.
const WAIVER_MAX: Duration = Duration::from_secs(367 * 86_400);

/// Pools by their path, to find the one that a finding is about without walking all pools.
pub(crate) struct PoolsByPath<'a>(BTreeMap<&'a str, &'a Pool>);

impl<'a> PoolsByPath<'a> {
    pub(crate) fn of(setup: &'a Setup) -> Self {
        let by_path = setup.pools.iter().map(|pool| (pool.path.as_str(), pool));
        Self(by_path.collect())
    }

    /// The pool at `path` or at its nearest ancestor.
    pub(crate) fn at(&self, path: &str) -> Option<&'a Pool> {
        let mut path = path;
        loop {
            if let Some(pool) = self.0.get(path) {
                return Some(pool);
            }
            path = path.rsplit_once('.')?.0;
        }
    }
}

/// Gives the findings of `rule` the severity that their pool sets. An info of a rule that can be worse says that it
/// could not judge; that stays an info.
pub(crate) fn set_severities(subject: &Subject<'_>, rule: &Rule, findings: &mut [Finding]) {
    let is_set = |pool: &Pool| pool.policy.severities.contains_key(rule.id);
    if findings.is_empty() || !subject.setup.pools.iter().any(is_set) {
        return;
    }
    let pools = PoolsByPath::of(subject.setup);
    for finding in findings {
        let is_judged = finding.severity > Severity::Info || rule.severity == Severity::Info;
        let pool = pools.at(&finding.path).filter(|_| is_judged);
        if let Some(severity) = pool.and_then(|pool| pool.policy.severities.get(rule.id)) {
            finding.severity = *severity;
        }
    }
}

/// Marks what is waived, and adds what is to be said about the waivers themselves.
pub(crate) fn waive(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let waivers = &subject.setup.waivers;
    if waivers.is_empty() {
        return;
    }
    let pools = PoolsByPath::of(subject.setup);
    let mut met = vec![0_usize; waivers.len()];
    for finding in findings.iter_mut() {
        let pool = pools.at(&finding.path).map(|pool| pool.name.as_str());
        for (waiver, met) in waivers.iter().zip(&mut met) {
            let meets =
                waiver.rule == finding.id && waiver.pool.as_deref().is_none_or(|p| Some(p) == pool);
            if !meets {
                continue;
            }
            *met += 1;
            if subject.now < waiver.until && finding.waived.is_none() {
                finding.severity = Severity::Info;
                finding.waived = Some(Waived {
                    reason: waiver.reason.clone(),
                    until: waiver.until,
                });
            }
        }
    }
    let about = waivers.iter().zip(met);
    findings.extend(about.filter_map(|(waiver, met)| about_waiver(subject, waiver, met)));
}

/// What is to be said about a waiver that meets `met` findings.
fn about_waiver(subject: &Subject<'_>, waiver: &Waiver, met: usize) -> Option<Finding> {
    let place = (waiver.path.as_str(), waiver.path.as_str());
    let scope = waiver
        .pool
        .as_ref()
        .map(|pool| format!(" in pool `{pool}`"));
    let what = format!("`{}`{}", waiver.rule, scope.unwrap_or_default());
    let (id, severity, words) = if subject.now >= waiver.until {
        let days = subject.now.since(waiver.until).as_secs() / 86_400;
        let words = Words {
            message: format!("the waiver of {what} ran out {}", ago(days)),
            effect: match met {
                0 => "none: the rule finds nothing there any more".to_owned(),
                1 => "the finding that it covered counts again".to_owned(),
                n => format!("the {n} findings that it covered count again"),
            },
            fix: "remove it once the finding is put right, or renew it with a reason".to_owned(),
        };
        ("AUD-01", Severity::Warning, words)
    } else if waiver.until.since(subject.now) > WAIVER_MAX {
        let days = waiver.until.since(subject.now).as_secs() / 86_400;
        let words = Words {
            message: format!(
                "the waiver of {what} holds for {days} more days; the limit is a year"
            ),
            effect: format!("{met} findings stay accepted after their reason is forgotten"),
            fix: "end it within a year and renew it while its reason holds".to_owned(),
        };
        ("AUD-01", Severity::Warning, words)
    } else if met == 0 {
        let words = Words {
            message: format!("the waiver of {what} meets no finding"),
            effect: "none now; it would hide the finding if the fault came back".to_owned(),
            fix: "remove it".to_owned(),
        };
        ("AUD-02", Severity::Info, words)
    } else {
        return None;
    };
    Some(subject.finding(id, severity, place, 0.0, words))
}

fn ago(days: u64) -> String {
    match days {
        0 => "today".to_owned(),
        1 => "a day ago".to_owned(),
        n => format!("{n} days ago"),
    }
}
