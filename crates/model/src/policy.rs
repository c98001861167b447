//! What an operator decided about the audit: severities and limits of a pool's rules, and findings that are accepted
//! for a while.
//!
//! A rule cannot be switched off. It can be made milder or stricter for one pool, its limit can be moved, and a finding
//! can be waived with a reason until a day; after that day it counts again. The list of rules stands here, above the
//! rules themselves, because the reader of a file must know which ids and limits exist.

use std::collections::BTreeMap;

use crate::clock::Wall;
use crate::finding::Severity;

/// What a policy may say about one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleId {
    /// Its id.
    pub id: &'static str,
    /// What its limit is, with the unit; `None`: it has none that can be set here.
    pub limit: Option<&'static str>,
}

const fn plain(id: &'static str) -> RuleId {
    RuleId { id, limit: None }
}

const fn limited(id: &'static str, limit: &'static str) -> RuleId {
    RuleId {
        id,
        limit: Some(limit),
    }
}

/// Every rule of the audit by family.
pub const RULES: &[RuleId] = &[
    plain("TRF-01"),
    limited(
        "TRF-02",
        "factor by which the weights may span more than the capacities",
    ),
    limited("TRF-03", "points of share that one revision may move"),
    plain("TRF-04"),
    plain("TRF-05"),
    plain("TRF-06"),
    plain("TRF-07"),
    plain("TRF-08"),
    plain("TRF-09"),
    limited(
        "TRF-10",
        "deviation of a zone's share from its part of the capacity, per cent",
    ),
    plain("TRF-11"),
    limited("TRF-12", "keys per backend"),
    plain("TRF-13"),
    plain("TRF-14"),
    plain("TRF-15"),
    plain("TRF-16"),
    plain("TRF-17"),
    plain("CAP-01"),
    plain("CAP-02"),
    plain("CAP-03"),
    plain("CAP-04"),
    plain("CAP-05"),
    plain("CAP-06"),
    plain("CAP-07"),
    plain("CAP-08"),
    plain("CAP-10"),
    plain("HC-01"),
    limited("HC-02", "shortest timeout of a check, in ms"),
    limited(
        "HC-03",
        "fewest failed checks in a row that take a backend out",
    ),
    plain("HC-05"),
    plain("HC-06"),
    plain("HC-07"),
    plain("HC-08"),
    limited(
        "HC-09",
        "longest time from a fault to the backend being out, in s",
    ),
    plain("TMO-01"),
    plain("TMO-02"),
    limited(
        "TMO-03",
        "longest time that an idle connection to a backend is kept, in s",
    ),
    limited("TMO-04", "longest wait in the queue, in s"),
    plain("TMO-05"),
    limited("RTY-01", "retries per request over time, 0.2 is 20 %"),
    limited("RTY-02", "tries of one request over all layers"),
    limited("RTY-03", "most tries where the file sets no limit"),
    plain("RTY-04"),
    limited(
        "CON-01",
        "connections that must be allowed per connection needed at the peak",
    ),
    plain("CON-02"),
    plain("CON-03"),
    plain("CON-04"),
    limited("CON-05", "ports for connections to one address"),
    plain("CON-06"),
    plain("SLW-01"),
    plain("TLS-01"),
    plain("TLS-03"),
    plain("TLS-04"),
    plain("ADM-01"),
    plain("DRF-04"),
    plain("DRF-05"),
    plain("RBK-01"),
    plain("RBK-02"),
];

/// The rule called `id`.
pub fn rule(id: &str) -> Option<&'static RuleId> {
    RULES.iter().find(|rule| rule.id == id)
}

/// What the rules of one pool are set to. Default: nothing.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Policy {
    /// Severity by rule id, such as `TRF-01`, instead of the rule's own.
    pub severities: BTreeMap<String, Severity>,
    /// Limit by rule id, in the unit that the rule's explanation names, instead of the rule's own.
    pub limits: BTreeMap<String, f64>,
}

/// `[[audit.waiver]]`: a finding that is accepted for a while.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Waiver {
    /// Configuration path, such as `audit.waiver.0`.
    pub path: String,
    /// The rule's id.
    pub rule: String,
    /// The pool it is for, by name; `None`: wherever the rule speaks.
    pub pool: Option<String>,
    /// Why it is accepted.
    pub reason: String,
    /// The first moment at which it no longer holds: the end of the day that is written, UTC.
    pub until: Wall,
}

impl Policy {
    /// The limit of `rule`, `default` unless it is set.
    pub fn limit(&self, rule: &str, default: f64) -> f64 {
        self.limits.get(rule).copied().unwrap_or(default)
    }
}
