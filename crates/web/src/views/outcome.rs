//! What came of a change: what `apply`, `rollback` and `confirm` say.

use evenkeel_control::Judged;
use evenkeel_guard::{Outcome, Refusal};
use evenkeel_model::ids::RevisionId;
use serde::{Deserialize, Serialize};

use super::forecast::ForecastView;
use super::plan::{FindingView, judged_findings};

/// `apply`, `rollback` and `confirm`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct ChangeOutcomeView {
    /// What runs now (or, when refused, what would have been judged against).
    pub revision: Option<String>,
    pub parent: Option<String>,
    pub state: String,
    pub findings: Vec<FindingView>,
    pub forecast: Option<ForecastView>,
    pub incident: Option<String>,
    pub waited_seconds: f64,
    /// In words, for people.
    pub message: String,
}

impl ChangeOutcomeView {
    /// The view of what the guard said; `judged` for an apply, `outcome` absent when the text was no configuration.
    pub fn of(outcome: Option<&Outcome>, judged: Option<&Judged>) -> Self {
        let view = Self {
            findings: judged.map(judged_findings).unwrap_or_default(),
            forecast: judged.and_then(|judged| {
                let (forecast, setup) = (judged.forecast.as_ref()?, judged.setup.as_ref()?);
                Some(ForecastView::of(forecast, setup))
            }),
            ..Self::said(
                "invalid",
                "the text is not a configuration; nothing was changed",
            )
        };
        match outcome {
            None => view,
            Some(Outcome::Refused(refusal)) => view.refused(refusal),
            Some(outcome) => Self {
                findings: view.findings,
                forecast: view.forecast,
                ..Self::plain(outcome)
            },
        }
    }

    /// Every outcome but a refusal, in words.
    fn plain(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Applied {
                revision,
                parent,
                state,
            } => Self::said(
                state.as_str(),
                format!("{revision} runs in place of {parent}; evidence is being gathered"),
            )
            .at(*revision, Some(*parent)),
            Outcome::Unchanged { revision, state } => Self::said(
                state.as_str(),
                format!("{revision} already runs this content; nothing was written"),
            )
            .at(*revision, None),
            Outcome::RolledBack {
                revision,
                undone,
                state,
            } => Self::said(
                state.as_str(),
                format!("{undone} is undone; {revision} runs"),
            )
            .at(*revision, Some(*undone)),
            Outcome::Confirmed {
                revision,
                with_evidence,
            } => {
                let evidence = if *with_evidence {
                    "verified by evidence"
                } else {
                    "without evidence"
                };
                Self::said("confirmed", format!("{revision} is confirmed, {evidence}"))
                    .at(*revision, None)
            }
            Outcome::Refused(_) => Self::said("refused", "refused; nothing was changed"),
            Outcome::Failed { why } => Self::said("failed", why.as_str()),
            Outcome::Drained(record) => Self::said(
                "drained",
                format!(
                    "{}/{} gets no new clients until {}",
                    record.pool,
                    record.backend,
                    super::time(record.until)
                ),
            ),
            Outcome::Undrained {
                pool,
                backend,
                was_drained: true,
            } => Self::said("undrained", format!("{pool}/{backend} takes traffic again")),
            Outcome::Undrained { pool, backend, .. } => Self::said(
                "unchanged",
                format!("{pool}/{backend} is not drained; nothing was changed"),
            ),
            Outcome::Rollout(record) => Self::said(
                record.state.as_str(),
                evenkeel_guard::rollout::overlay::reason(record),
            ),
            Outcome::Recorded { deployment, .. } => Self::said("recorded", deployment.to_string()),
            Outcome::Incident {
                incident, status, ..
            } => Self {
                incident: Some(incident.to_string()),
                ..Self::said(status.as_str(), format!("{incident} is {status}"))
            },
        }
    }

    /// The findings of the guard come first; one that the judgement also has is shown once.
    fn refused(mut self, refusal: &Refusal) -> Self {
        let stranger = |finding: &&evenkeel_model::finding::Finding| {
            !self
                .findings
                .iter()
                .any(|f| f.id == finding.id && f.path == finding.path)
        };
        let more = refusal.findings.iter().filter(stranger);
        let mut findings: Vec<FindingView> = more.map(|f| FindingView::of(f, true)).collect();
        findings.append(&mut self.findings);
        Self {
            findings,
            forecast: self.forecast,
            incident: refusal.incident.map(|id| id.to_string()),
            ..Self::said("refused", "refused; nothing was changed")
        }
    }

    fn said(state: &str, message: impl Into<String>) -> Self {
        Self {
            revision: None,
            parent: None,
            state: state.to_owned(),
            findings: Vec::new(),
            forecast: None,
            incident: None,
            waited_seconds: 0.0,
            message: message.into(),
        }
    }

    fn at(self, revision: RevisionId, parent: Option<RevisionId>) -> Self {
        Self {
            revision: Some(revision.to_string()),
            parent: parent.map(|id| id.to_string()),
            ..self
        }
    }
}
