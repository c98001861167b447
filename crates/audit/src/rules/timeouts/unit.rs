//! TMO-05: a number without a unit that was most likely meant in another one.

use std::collections::BTreeSet;
use std::time::Duration;

use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Balancer, Wait};
use evenkeel_model::units::format_duration;

use super::{Waiting, client_waits, pool_waits};
use crate::rule::{Rule, Subject, Words};
use crate::rules::fold::value_at;

/// Below this a wait for anything but a connection is shorter than sound answers take.
const SHORT: Duration = Duration::from_secs(1);
/// The same of a connection, which one network sets up in a few milliseconds.
const SHORT_CONNECT: Duration = Duration::from_millis(100);

/// TMO-05.
pub(super) const UNIT: Rule = Rule {
    id: "TMO-05",
    title: "a timeout without a unit is as long as it reads",
    severity: Severity::Warning,
    limit: None,
    text: "\
HAProxy takes a number without a unit for milliseconds. A timeout that is written as a bare number and
comes to less than a second (a connection: 0.1 s) was most likely meant in seconds. Each line is told once,
however many sections inherit it.

Why: the file is valid, and every answer that takes longer is given up with 504. On a quiet test machine
nothing shows; under load all of it does.

Example: `timeout server 30` is 30 ms, not 30 s.",
    check: check_unit,
};

fn check_unit(subject: &Subject<'_>) -> Vec<Finding> {
    let setup = subject.setup;
    if setup.balancer != Balancer::Haproxy {
        return Vec::new();
    }
    let mut lines = BTreeSet::new();
    let mut findings = Vec::new();
    let listeners = setup.listeners.iter();
    let of_listeners = listeners.map(|l| (l.path.as_str(), client_waits(l).to_vec()));
    let of_pools = setup
        .pools
        .iter()
        .map(|pool| (pool.path.as_str(), pool_waits(pool)));
    for (path, waits) in of_pools.chain(of_listeners) {
        for wait in waits {
            findings.extend(bare(subject, &mut lines, path, &wait));
        }
    }
    findings
}

fn bare(
    subject: &Subject<'_>,
    lines: &mut BTreeSet<(usize, usize)>,
    path: &str,
    (what, own, other, wait): &Waiting,
) -> Option<Finding> {
    let Wait::For(time) = wait else {
        return None;
    };
    let limit = if *own == "connect_timeout" {
        SHORT_CONNECT
    } else {
        SHORT
    };
    if time.is_zero() || *time >= limit {
        return None;
    }
    let at = value_at(subject, path, own, other);
    let span = subject.origin.spans.get(&at)?;
    let source = subject.origin.sources.get(span.source)?;
    let written = source.text.get(span.range.clone())?.trim();
    let is_bare = !written.is_empty() && written.bytes().all(|b| b.is_ascii_digit());
    if !is_bare || !lines.insert((span.source, span.range.start)) {
        return None;
    }
    let words = Words {
        message: format!(
            "the wait for {what} is {}: did you mean `{written}s`?",
            format_duration(*time)
        ),
        effect: format!(
            "a number without a unit is milliseconds; whatever takes longer than {} is given up",
            format_duration(*time)
        ),
        fix: format!("write the unit: `{written}s`, or `{written}ms` if that is meant"),
    };
    let magnitude = 1.0 / time.as_secs_f64();
    Some(subject.finding("TMO-05", Severity::Warning, (&at, &at), magnitude, words))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use evenkeel_forecast::Facts;
    use evenkeel_model::finding::{Finding, Origin};
    use evenkeel_model::setup::{Balancer, Wait};

    use crate::rules::probe::{pool, says_of, setup};

    /// What is said about two pools that inherit `timeout server` from one line.
    fn said(balancer: Balancer, written: &str, ms: u64) -> Vec<Finding> {
        let mut pools = vec![pool("a", 2), pool("b", 2)];
        let text = format!("timeout server {written}\n");
        let mut spans = BTreeMap::new();
        for pool in &mut pools {
            pool.timeouts.response = Wait::For(Duration::from_millis(ms));
            spans.insert(
                format!("{}.timeout.response", pool.path),
                15..text.len() - 1,
            );
        }
        let origin = Origin::of(Some("haproxy.cfg"), &text, spans);
        says_of(
            &setup(balancer, pools),
            &Facts::default(),
            &origin,
            "TMO-05",
        )
    }

    #[test]
    fn thirty_without_a_unit_is_asked_about_once_for_its_line() {
        let found = said(Balancer::Haproxy, "30", 30);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].message.ends_with("is 30ms: did you mean `30s`?"),
            "{}",
            found[0].message
        );
        assert_eq!(found[0].location.as_ref().map(|at| at.line), Some(1));
    }

    #[test]
    fn a_unit_or_a_second_and_more_are_left_alone() {
        assert!(said(Balancer::Haproxy, "30ms", 30).is_empty());
        assert!(said(Balancer::Haproxy, "5000", 5_000).is_empty());
        assert!(said(Balancer::Nginx, "30", 30).is_empty());
    }
}
