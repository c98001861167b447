//! One fault that many pools have is one finding.
//!
//! A `defaults` section without timeouts is one mistake, and twenty findings would bury the others. Pools with the
//! same fault are told together from four on (infos from two on); a pool that has a policy or a waiver for the rule speaks for itself, or
//! its severity and its waiver would be lost.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_forecast::PoolForecast;
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::setup::{Backend, Balancer, Pool, Role, Setup};

use crate::rule::{Subject, Words};

/// So many pools with the same fault are still told one by one; of what is only worth knowing, a single one.
const APART_MAX: usize = 3;
/// So many names are shown of those that are told together.
const NAMES_MAX: usize = 5;

/// A fault of one pool.
pub(super) struct Fault<'a> {
    pub(super) pool: &'a Pool,
    pub(super) severity: Severity,
    /// Where it is shown.
    pub(super) at: String,
    /// What must be equal for two faults to be the same one.
    pub(super) kind: String,
    pub(super) magnitude: f64,
    pub(super) words: Words,
}

/// The findings of the rule `id` about `faults`, in file order.
pub(super) fn told(
    subject: &Subject<'_>,
    id: &'static str,
    faults: Vec<Fault<'_>>,
) -> Vec<Finding> {
    let of_rule = |waiver: &&evenkeel_model::policy::Waiver| waiver.rule == id;
    let waived = subject.setup.waivers.iter().filter(of_rule);
    let waived: BTreeSet<&str> = waived.filter_map(|w| w.pool.as_deref()).collect();
    let is_apart = |pool: &Pool| {
        let policy = &pool.policy;
        let is_set = policy.severities.contains_key(id) || policy.limits.contains_key(id);
        is_set || waived.contains(pool.name.as_str())
    };
    let mut same: BTreeMap<(Severity, String), Vec<&str>> = BTreeMap::new();
    for fault in faults.iter().filter(|fault| !is_apart(fault.pool)) {
        let kind = (fault.severity, fault.kind.clone());
        same.entry(kind).or_default().push(&fault.pool.name);
    }
    let mut findings = Vec::new();
    for Fault {
        pool,
        severity,
        at,
        kind,
        magnitude,
        mut words,
    } in faults
    {
        let names = match same.get(&(severity, kind)) {
            Some(names) if names.len() > apart(severity) && !is_apart(pool) => names.as_slice(),
            _ => &[],
        };
        match names.split_first() {
            Some((first, others)) if *first == pool.name => words.message += &also(others),
            Some(_) => continue,
            None => {}
        }
        findings.push(subject.finding(id, severity, (&pool.path, &at), magnitude, words));
    }
    findings
}

const fn apart(severity: Severity) -> usize {
    match severity {
        Severity::Info => 1,
        Severity::Warning | Severity::Error => APART_MAX,
    }
}

/// `; the same in 12 more pools: a, b, c, d, e and 7 more`.
fn also(others: &[&str]) -> String {
    let shown: Vec<String> = others
        .iter()
        .take(NAMES_MAX)
        .map(|name| format!("`{name}`"))
        .collect();
    let rest = others.len() - shown.len();
    let rest = if rest == 0 {
        String::new()
    } else {
        format!(" and {rest} more")
    };
    if let [only] = shown.as_slice() {
        return format!("; the same in pool {only}");
    }
    format!(
        "; the same in {} more pools: {}{rest}",
        others.len(),
        shown.join(", ")
    )
}

/// The backends that take traffic on a sound day.
pub(super) fn serving(pool: &Pool) -> impl Iterator<Item = &Backend> {
    let serves = |backend: &&Backend| backend.role == Role::Active && backend.weight > 0;
    pool.backends.iter().filter(serves)
}

/// The backends that a request can reach, the backups among them, tried one after the other.
pub(super) fn reachable(pool: &Pool) -> impl Iterator<Item = &Backend> {
    let takes = |backend: &&Backend| backend.role != Role::Disabled && backend.weight > 0;
    pool.backends.iter().filter(takes)
}

/// The largest share that one of the backends which `is_meant` has on a usual day; an even part where it is not known.
pub(super) fn largest_share(
    pool: &Pool,
    forecast: &PoolForecast,
    is_meant: impl Fn(&Backend) -> bool,
) -> f64 {
    let backends = pool.backends.iter().zip(&forecast.backends);
    let shares = backends
        .filter(|(backend, _)| is_meant(backend))
        .filter_map(|(_, forecast)| forecast.expected_share);
    let largest = shares.max_by(f64::total_cmp).filter(|share| *share > 0.0);
    largest.unwrap_or_else(|| 1.0 / serving(pool).count().max(1) as f64)
}

/// Whether `pool` is an address that nginx passes requests to without an `upstream` of its own.
pub(super) fn is_literal(setup: &Setup, pool: &Pool) -> bool {
    setup.balancer == Balancer::Nginx && pool.path.contains("_pass.")
}

/// Where a value of `pool` stands: by Evenkeel's key, or by the path that the readers of other files use.
pub(super) fn value_at(subject: &Subject<'_>, path: &str, own: &str, other: &str) -> String {
    if subject.setup.balancer == Balancer::Evenkeel {
        format!("{path}.{own}")
    } else {
        format!("{path}.{other}")
    }
}
