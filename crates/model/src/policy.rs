//! What an operator decided about the audit: severities and limits of a pool's rules, and findings that are accepted
//! for a while.
//!
//! A rule cannot be switched off. It can be made milder or stricter for one pool, its limit can be moved, and a finding
//! can be waived with a reason until a day; after that day it counts again.

use std::collections::BTreeMap;

use crate::clock::Wall;
use crate::finding::Severity;

/// What the rules of one pool are set to. Default: nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policy {
    /// Severity by rule id, such as `TRF-01`, instead of the rule's own.
    pub severities: BTreeMap<String, Severity>,
    /// Limit by rule id, in the unit that the rule's explanation names, instead of the rule's own.
    pub limits: BTreeMap<String, f64>,
}

/// `[[audit.waiver]]`: a finding that is accepted for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
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
