//! Severities and limits of rules, and waivers of findings.

use proptest::collection::btree_map;
use proptest::option;
use proptest::prelude::*;

use crate::clock::Wall;
use crate::finding::Severity;
use crate::policy::{Policy, RULES, Waiver};

/// Severities and limits of some rules, as a file may hold them.
pub(super) fn policy() -> impl Strategy<Value = Policy> {
    let limited: Vec<&str> = RULES
        .iter()
        .filter(|r| r.limit.is_some())
        .map(|r| r.id)
        .collect();
    let severity =
        proptest::sample::select(vec![Severity::Info, Severity::Warning, Severity::Error]);
    let id = proptest::sample::select(RULES).prop_map(|rule| rule.id.to_owned());
    let limit = prop_oneof![(0u32..10).prop_map(f64::from), 0.0f64..1e9];
    let limited = proptest::sample::select(limited).prop_map(str::to_owned);
    (
        btree_map(id, severity, 0..3),
        btree_map(limited, limit, 0..3),
    )
        .prop_map(|(severities, limits)| Policy { severities, limits })
}

/// Waivers of different rules; the pool is picked by the caller.
pub(super) fn waivers() -> impl Strategy<Value = Vec<(Waiver, Option<usize>)>> {
    let rule = proptest::sample::select(RULES).prop_map(|rule| rule.id.to_owned());
    let day = (0u64..2_932_896).prop_map(|day| Wall((day + 1) * 86_400_000));
    let about = (
        "[!-~]([ -~äß€\t]{0,20}[!-~])?",
        day,
        option::of(any::<usize>()),
    );
    btree_map(rule, about, 0..3).prop_map(|waivers| {
        let waiver = |(index, (rule, (reason, until, pool)))| {
            let path = format!("audit.waiver.{index}");
            let waiver = Waiver {
                path,
                rule,
                pool: None,
                reason,
                until,
            };
            (waiver, pool)
        };
        waivers.into_iter().enumerate().map(waiver).collect()
    })
}
