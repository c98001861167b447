//! The audit clock: when the running revision is audited again and what comes of it.
//!
//! A scheduled audit records its findings and opens an incident only for an error that the audit before did not
//! have, the last one before a restart included. Limits: one audit at a time; an audit that is not answered is asked
//! for again at its next turn.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::finding::{Finding, Severity};
use evenkeel_model::record::{Entry, LastAudit};

use crate::action::Action;
use crate::event::{AuditFact, Token};
use crate::state::Inner;

/// Findings that an audit entry names.
const FINDINGS_MAX: usize = 100;
/// Least time between two audits, whatever the configuration says.
const EVERY_MIN: Duration = Duration::from_mins(1);

/// When and what.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Audits {
    pub(crate) last: Option<AuditFact>,
    pub(crate) due: Mono,
    asked: Option<Token>,
    errors: Option<BTreeSet<String>>,
}

impl Audits {
    pub(crate) fn new(last: Option<LastAudit>, every: Duration, now: Mono, wall: Wall) -> Self {
        let wait = last.as_ref().map_or(Duration::ZERO, |last| {
            every.max(EVERY_MIN).saturating_sub(wall.since(last.at))
        });
        Self {
            last: last.as_ref().map(|last| AuditFact {
                at: last.at,
                errors: last.errors,
                warnings: last.warnings,
            }),
            due: now.plus(wait),
            asked: None,
            errors: last.and_then(known_errors),
        }
    }
}

/// The errors that an audit before the start had; `None` when its entry does not name them all.
fn known_errors(last: LastAudit) -> Option<BTreeSet<String>> {
    let errors = usize::try_from(last.errors).unwrap_or(usize::MAX);
    let is_whole = errors <= last.findings.len();
    is_whole.then(|| last.findings.into_iter().take(errors).collect())
}

impl Inner {
    /// Asks for an audit when it is due.
    pub(crate) fn check_audit(&mut self) {
        if self.now < self.audits.due {
            return;
        }
        let every = self.running.config.audit_every.max(EVERY_MIN);
        self.audits.due = self.now.plus(every);
        let token = self.ledger.token();
        self.audits.asked = Some(token);
        self.out.push(Action::RequestAudit {
            token,
            revision: self.running.record.id,
            config: Arc::clone(&self.running.config),
            text: Arc::clone(&self.running.record.text),
        });
    }

    /// An audit came back.
    pub(crate) fn audited(&mut self, token: Token, findings: &[Finding]) {
        if self.audits.asked != Some(token) {
            return;
        }
        self.audits.asked = None;
        let of = |severity: Severity| {
            let count = findings.iter().filter(|f| f.severity == severity).count();
            u32::try_from(count).unwrap_or(u32::MAX)
        };
        let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
        self.audits.last = Some(AuditFact {
            at: self.wall,
            errors,
            warnings,
        });
        let key = |f: &Finding| format!("{} {}", f.id, f.path);
        let wrong = findings.iter().filter(|f| f.severity == Severity::Error);
        let now: BTreeSet<String> = wrong.clone().map(key).collect();
        let before = self.audits.errors.replace(now);
        let others = findings.iter().filter(|f| f.severity != Severity::Error);
        let named = wrong.clone().chain(others).take(FINDINGS_MAX);
        self.record(vec![Entry::Audit {
            at: self.wall,
            revision: self.running.record.id,
            errors,
            warnings,
            findings: named.map(key).collect(),
        }]);
        // Without an audit before, nothing is known to be new: what runs was judged when it was applied.
        if let Some(before) = before
            && let Some(new) = wrong.into_iter().find(|f| !before.contains(&key(f)))
        {
            let title = format!("audit: {} {}", new.id, new.message);
            self.audit_incident(title);
        }
    }
}
