//! Which change or fault explains what is seen, with evidence for and against.
//!
//! [`Evidence`] holds facts about one pool around the onset of a fault; [`diagnose`] asks every candidate
//! what it predicts and ranks them by log-likelihood (nats) above "nothing changed". A candidate is judged by
//! its counterfactual: which shares, loads and failures would be seen without it? What an overloaded
//! backend does is credited to whoever overloaded it, so that a deployment that happens to run on it is cleared
//! aloud. Method, assumptions and blind spots: `docs/diagnosis.md`.

mod candidates;
pub mod evidence;
mod facts;
mod index;
mod score;

pub use evidence::{
    BackendWindow, ChangeFact, ChangedPath, DeploymentFact, Drift, EpochFact, Evidence, HotKey,
    LastTries, LeftFact, Onset, OutFact, OutReason, TOLD_EARLY, UNLISTED_LONG, Unlisted, Window,
};

use evenkeel_model::blame::{Cause, Mechanism};
use evenkeel_model::record::DiagnosisRecord;

use crate::candidates::Candidate;
use crate::facts::Facts;

/// Nats by which the first candidate must lead before Evenkeel acts by itself (change.md, rule 1).
pub const MARGIN_TO_ACT: f64 = 7.0;

/// A candidate below this many nats above "nothing changed" is not named as the cause.
const NAMED_FROM: f64 = 3.0;
/// Candidates kept in the record.
const CANDIDATES_MAX: usize = 16;

/// Ranks what could explain `evidence`. Pure; the work is bounded by backends times (epochs + candidates).
pub fn diagnose(evidence: &Evidence) -> DiagnosisRecord {
    let facts = Facts::new(evidence);
    let mut found = candidates::all(&facts);
    // A stable sort: of two that explain it alike the earlier generator stays first, revisions before faults.
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    keep_the_best(&mut found);
    let named = found
        .first()
        .filter(|best| best.cause != Cause::Unknown && best.score >= NAMED_FROM);
    let (cause, mechanism, subject, lines) = match named {
        Some(best) => (
            best.cause,
            best.mechanism,
            Some(best.subject.clone()),
            best.pro.clone(),
        ),
        None => (
            Cause::Unknown,
            Mechanism::None,
            None,
            vec!["no recorded change and no known kind of fault explains what is seen".to_owned()],
        ),
    };
    DiagnosisRecord {
        cause,
        mechanism,
        subject,
        evidence: lines,
        candidates: found.into_iter().map(Candidate::into_record).collect(),
    }
}

/// Keeps the best of those that say the same, and of them [`CANDIDATES_MAX`], "nothing changed" always among them: the
/// margin is measured against it too.
fn keep_the_best(found: &mut Vec<Candidate>) {
    let mut best: Vec<Candidate> = Vec::new();
    for one in found.drain(..) {
        let same = |c: &Candidate| {
            (c.cause, c.mechanism) == (one.cause, one.mechanism) && c.subject == one.subject
        };
        if !best.iter().any(same) {
            best.push(one);
        }
    }
    *found = best;
    let nothing = found.iter().position(|c| c.cause == Cause::Unknown);
    if let Some(place) = nothing.filter(|place| *place >= CANDIDATES_MAX) {
        found.swap(CANDIDATES_MAX - 1, place);
    }
    found.truncate(CANDIDATES_MAX);
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
