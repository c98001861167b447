//! Revisions and deployments: what `history`, `diff` and `deploy` say.

use evenkeel_model::ids::IncidentId;
use evenkeel_model::record::{DeploymentRecord, RevisionRecord, RolloutRecord};
use serde::{Deserialize, Serialize};

use super::{maybe_time, time};

/// `history`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct RevisionView {
    pub id: String,
    pub hash: String,
    pub parent: Option<String>,
    pub author: String,
    pub reason: String,
    pub state: String,
    pub at: String,
    pub forced: bool,
    pub confirm_by: Option<String>,
    pub keep_until: Option<String>,
    pub incident: Option<String>,
    /// Only for one revision.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<String>,
}

impl RevisionView {
    /// The view of a revision, without its text.
    pub fn of(record: &RevisionRecord) -> Self {
        Self {
            id: record.id.to_string(),
            hash: record.hash.to_string(),
            parent: record.parent.map(|id| id.to_string()),
            author: record.author.clone(),
            reason: record.reason.clone(),
            state: record.state.as_str().to_owned(),
            at: time(record.at),
            forced: record.forced,
            confirm_by: maybe_time(record.confirm_by),
            keep_until: maybe_time(record.keep_until),
            incident: record.incident.map(|id| id.to_string()),
            text: None,
        }
    }
}

/// A deployment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct DeploymentView {
    pub id: String,
    pub pool: String,
    pub version: String,
    pub backends: Vec<String>,
    pub at: String,
    pub recorded_at: String,
    pub author: String,
    pub note: String,
    /// Of one that Evenkeel carries out: where it stands. Null: recorded only.
    pub state: Option<String>,
    /// Of one that was recorded: what was said of it last. Null: carried out.
    pub told: Option<String>,
    /// When it was over, as told.
    pub ended_at: Option<String>,
    /// What ran when it was started or recorded.
    pub revision: Option<String>,
    /// The incident that ended it, or the newest whose diagnosis names it.
    pub incident: Option<String>,
    /// Every incident whose diagnosis names it, newest first.
    pub incidents: Vec<String>,
}

impl DeploymentView {
    /// The view of a deployment, and of what became of it where it was carried out.
    /// `blamed`: the incidents whose diagnosis names it, newest first.
    pub fn of(
        record: &DeploymentRecord,
        rollout: Option<&RolloutRecord>,
        blamed: impl Iterator<Item = IncidentId>,
    ) -> Self {
        let incidents: Vec<String> = blamed.map(|id| id.to_string()).collect();
        let ended_by = rollout.and_then(|r| r.incident).map(|id| id.to_string());
        let ran = rollout.map(|rollout| rollout.revision).or(record.revision);
        Self {
            id: record.id.to_string(),
            pool: record.pool.to_string(),
            version: record.version.to_string(),
            backends: record.backends.iter().map(ToString::to_string).collect(),
            at: time(record.at),
            recorded_at: time(record.recorded_at),
            author: record.author.clone(),
            note: record.note.clone(),
            state: rollout.map(|rollout| rollout.state.as_str().to_owned()),
            told: record.told.map(|told| told.as_str().to_owned()),
            ended_at: maybe_time(record.ended_at),
            revision: ran.map(|revision| revision.to_string()),
            incident: ended_by.or_else(|| incidents.first().cloned()),
            incidents,
        }
    }
}
