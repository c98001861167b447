//! Deployments that are carried out: what `deploy start`, `promote`, `abort` and `status` say.

use evenkeel_guard::{Outcome, RolloutView as Told, VersionView as Side};
use evenkeel_model::record::{ALL_PPM, RolloutRecord};
use serde::{Deserialize, Serialize};

use super::outcome::ChangeOutcomeView;
use super::plan::FindingView;
use super::time;

/// A deployment that moves traffic, or shapes it still.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct RolloutView {
    pub id: String,
    pub pool: String,
    pub version: String,
    pub stable: String,
    pub strategy: String,
    pub state: String,
    pub share: f64,
    /// From 1.
    pub step: usize,
    pub steps: Vec<f64>,
    pub step_min_seconds: f64,
    pub requests_needed: u64,
    pub at: String,
    pub since: String,
    pub author: String,
    pub reason: String,
    pub why: String,
    pub held: Vec<String>,
    pub verdict: String,
    pub verdict_reason: String,
    pub versions: Vec<VersionView>,
    pub revision: String,
    pub incident: Option<String>,
    /// It is over, and the running text does not say yet what it ended in.
    pub file_differs: bool,
}

/// A version in a step.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct VersionView {
    pub version: String,
    pub intended_share: Option<f64>,
    pub observed_share: Option<f64>,
    pub requests: u64,
    pub error_rate: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

impl RolloutView {
    /// The view of what the guard tells.
    pub fn of(told: &Told) -> Self {
        let record = &told.record;
        let part = |ppm: &u32| f64::from(*ppm) / f64::from(ALL_PPM);
        Self {
            id: record.id.to_string(),
            pool: record.pool.to_string(),
            version: record.version.to_string(),
            stable: record.stable.to_string(),
            strategy: record.strategy.as_str().to_owned(),
            state: record.state.as_str().to_owned(),
            share: record.share(),
            step: record.step + 1,
            steps: record.steps.iter().map(part).collect(),
            step_min_seconds: record.step_min_ms as f64 / 1_000.0,
            requests_needed: told.needed,
            at: time(record.at),
            since: time(record.since),
            author: record.author.clone(),
            reason: record.reason.clone(),
            why: record.why.clone(),
            held: told.held.clone(),
            verdict: told.verdict.to_owned(),
            verdict_reason: told.reason.clone(),
            versions: told.versions.iter().map(VersionView::of).collect(),
            revision: record.revision.to_string(),
            incident: record.incident.map(|id| id.to_string()),
            file_differs: told.file_differs,
        }
    }
}

impl VersionView {
    fn of(side: &Side) -> Self {
        Self {
            version: side.version.to_string(),
            intended_share: side.intended_share,
            observed_share: side.observed_share,
            requests: side.requests,
            error_rate: side.error_rate,
            p50_ms: side.p50_ms,
            p99_ms: side.p99_ms,
        }
    }
}

/// `deploy start`, `promote` and `abort`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct RolloutOutcomeView {
    pub pool: String,
    /// Null when refused.
    pub deployment: Option<String>,
    pub version: Option<String>,
    pub state: String,
    pub share: Option<f64>,
    pub incident: Option<String>,
    pub findings: Vec<FindingView>,
    pub waited_seconds: f64,
    /// In words, for people.
    pub message: String,
}

impl RolloutOutcomeView {
    /// What came of a word on the deployment of `pool`.
    pub fn of(pool: &str, outcome: &Outcome) -> Self {
        let said = ChangeOutcomeView::of(Some(outcome), None);
        let record: Option<&RolloutRecord> = match outcome {
            Outcome::Rollout(record) => Some(record),
            _ => None,
        };
        Self {
            pool: pool.to_owned(),
            deployment: record.map(|record| record.id.to_string()),
            version: record.map(|record| record.version.to_string()),
            state: said.state,
            share: record.map(RolloutRecord::share),
            incident: record.and_then(|r| r.incident).map(|id| id.to_string()),
            findings: said.findings,
            waited_seconds: 0.0,
            message: said.message,
        }
    }
}
