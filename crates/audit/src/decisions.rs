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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use evenkeel_forecast::{Facts, Forecast, forecast};
    use evenkeel_model::clock::Wall;
    use evenkeel_model::finding::{Finding, Origin, Severity};
    use evenkeel_model::policy::Waiver;
    use evenkeel_model::setup::{Backend, Balancer, Pool, Setup};

    use crate::{Running, Subject, audit, judge_change};

    const DAY_MS: u64 = 86_400_000;
    const NOW: Wall = Wall(1_000 * DAY_MS);

    /// Two pools, each with a weight of 10 beside 1 on equal capacities: TRF-02 is an error in both.
    fn typo() -> Setup {
        let pool = |name: &str| {
            let path = format!("pool.{name}");
            let backend = |index: u32| Backend {
                weight: 1 + 9 * index,
                capacity_rps: Some(100.0),
                ..Backend::blank(
                    &format!("b{index}"),
                    &format!("{path}.backend.b{index}"),
                    &format!("10.0.0.{index}:80"),
                )
            };
            Pool {
                backends: vec![backend(0), backend(1)],
                ..Pool::blank(name, &path)
            }
        };
        let mut setup = Setup::blank(Balancer::Evenkeel);
        setup.pools = vec![pool("a"), pool("b")];
        setup
    }

    fn waiver(rule: &str, pool: Option<&str>, days: i64) -> Waiver {
        Waiver {
            path: "audit.waiver.0".to_owned(),
            rule: rule.to_owned(),
            pool: pool.map(str::to_owned),
            reason: "moving out".to_owned(),
            until: Wall(NOW.0.saturating_add_signed(days * 86_400_000)),
        }
    }

    fn waived(waiver: Waiver) -> Setup {
        let waivers = vec![waiver];
        Setup { waivers, ..typo() }
    }

    fn subject<'a>(
        setup: &'a Setup,
        forecast: &'a Forecast,
        origin: &'a Origin,
        facts: &'a Facts,
    ) -> Subject<'a> {
        Subject {
            setup,
            origin,
            forecast,
            facts,
            running: None,
            now: NOW,
        }
    }

    fn judged(setup: &Setup) -> Vec<Finding> {
        let (facts, origin) = (Facts::default(), Origin::default());
        audit(&subject(setup, &forecast(setup, &facts), &origin, &facts))
    }

    /// Severity and path of what `id` says, as `error pool.a`.
    fn heads(setup: &Setup, id: &str) -> Vec<String> {
        let findings = judged(setup);
        let of_rule = findings.iter().filter(|finding| finding.id == id);
        of_rule
            .map(|f| format!("{} {}", f.severity, f.path))
            .collect()
    }

    /// How many errors of TRF-02 `to` may not bring in place of `from`.
    fn blocking(from: &Setup, to: &Setup) -> usize {
        let (facts, origin) = (Facts::default(), Origin::default());
        let (before, after) = (forecast(from, &facts), forecast(to, &facts));
        let verdict = judge_change(&Subject {
            running: Some(Running {
                setup: from,
                forecast: &before,
            }),
            ..subject(to, &after, &origin, &facts)
        });
        verdict.blocking.len()
    }

    #[test]
    fn a_waiver_makes_its_finding_an_info_with_reason_and_end_in_its_pool_only() {
        let setup = waived(waiver("TRF-02", Some("b"), 30));
        assert_eq!(heads(&setup, "TRF-02"), ["error pool.a", "info pool.b"]);
        let findings = judged(&setup);
        let mine = findings.iter().find_map(|finding| finding.waived.as_ref());
        assert_eq!(
            mine.map(|waived| (waived.reason.as_str(), waived.until)),
            Some(("moving out", setup.waivers[0].until))
        );
        let anywhere = waived(waiver("TRF-02", None, 30));
        assert_eq!(heads(&anywhere, "TRF-02"), ["info pool.a", "info pool.b"]);
        assert!(heads(&anywhere, "AUD-01").is_empty() && heads(&anywhere, "AUD-02").is_empty());
    }

    #[test]
    fn a_waiver_ends_at_its_moment_and_then_its_finding_counts_again() {
        let mut setup = waived(waiver("TRF-02", None, 0));
        assert_eq!(heads(&setup, "TRF-02"), ["error pool.a", "error pool.b"]);
        assert_eq!(heads(&setup, "AUD-01"), ["warning audit.waiver.0"]);
        setup.waivers[0].until = Wall(NOW.0 + 1);
        assert_eq!(heads(&setup, "TRF-02"), ["info pool.a", "info pool.b"]);
        assert!(heads(&setup, "AUD-01").is_empty());
    }

    #[test]
    fn a_waiver_that_meets_nothing_is_an_info_and_one_for_years_a_warning() {
        let idle = waived(waiver("TRF-07", None, 30));
        assert_eq!(heads(&idle, "AUD-02"), ["info audit.waiver.0"]);
        let other_pool = waived(waiver("TRF-02", Some("c"), 30));
        assert_eq!(heads(&other_pool, "AUD-02"), ["info audit.waiver.0"]);
        assert_eq!(
            heads(&waived(waiver("TRF-02", None, 368)), "AUD-01").len(),
            1
        );
        assert!(heads(&waived(waiver("TRF-02", None, 366)), "AUD-01").is_empty());
    }

    #[test]
    fn a_pool_sets_the_severity_of_a_rule_for_itself_and_not_of_what_is_not_judged() {
        let mut setup = typo();
        let set = |rule: &str, severity| BTreeMap::from([(rule.to_owned(), severity)]);
        setup.pools[0].policy.severities = set("TRF-02", Severity::Warning);
        assert_eq!(heads(&setup, "TRF-02"), ["error pool.b", "warning pool.a"]);
        setup.pools[0].policy.severities = set("CAP-01", Severity::Error);
        assert_eq!(heads(&setup, "CAP-01"), ["info pool.a"]);
    }

    #[test]
    fn a_waived_error_blocks_nothing_and_that_its_waiver_goes_is_no_new_fault() {
        let sound = Setup::blank(Balancer::Evenkeel);
        assert_eq!(blocking(&sound, &typo()), 2);
        assert_eq!(
            blocking(&sound, &waived(waiver("TRF-02", Some("a"), 30))),
            1
        );
        assert_eq!(blocking(&waived(waiver("TRF-02", None, 30)), &typo()), 0);
        assert_eq!(blocking(&typo(), &waived(waiver("TRF-02", None, -1))), 0);
    }
}
