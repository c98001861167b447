//! What the API is sent. The command line uses the same types.

use serde::{Deserialize, Serialize};

/// `POST /api/plan`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// The configuration.
    pub text: String,
    /// Name of the file, for findings.
    #[serde(default)]
    pub file: Option<String>,
}

/// `POST /api/apply`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// The configuration.
    pub text: String,
    /// Name of the file, for findings.
    #[serde(default)]
    pub file: Option<String>,
    /// Refuse when another revision runs: `r12`.
    #[serde(default)]
    pub base: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Override error findings.
    #[serde(default)]
    pub force: bool,
    /// Roll back unless confirmed within so many milliseconds.
    #[serde(default)]
    pub confirm_within_ms: Option<u64>,
    /// Suspend automatic rollback for so many milliseconds.
    #[serde(default)]
    pub keep_ms: Option<u64>,
}

/// `POST /api/rollback`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// To which revision; null: the last verified one.
    #[serde(default)]
    pub to: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Even if it overloads a backend.
    #[serde(default)]
    pub force: bool,
}

/// `POST /api/confirm`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmRequest {
    /// Which revision; null: what runs.
    #[serde(default)]
    pub revision: Option<String>,
}

/// `POST /api/drain`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// The pool.
    pub pool: String,
    /// The backend.
    pub backend: String,
    /// How long, in milliseconds; null: an hour.
    #[serde(default)]
    pub for_ms: Option<u64>,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Although what is left cannot carry the peak.
    #[serde(default)]
    pub force: bool,
}

/// `POST /api/undrain`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndrainRequest {
    /// The pool.
    pub pool: String,
    /// The backend.
    pub backend: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `POST /api/deployments/start`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeployStartRequest {
    /// The pool.
    pub pool: String,
    /// The version that gets the traffic.
    pub version: String,
    /// `canary`, `rolling` or `blue-green`; null: canary.
    #[serde(default)]
    pub strategy: Option<String>,
    /// Shares such as `5%`, the last one `100%`; empty: those of the strategy.
    #[serde(default)]
    pub steps: Vec<String>,
    /// Shortest step, in milliseconds; null: a minute.
    #[serde(default)]
    pub step_min_ms: Option<u64>,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Although the backends of some step cannot carry the peak.
    #[serde(default)]
    pub force: bool,
}

/// `POST /api/deployments/promote`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromoteRequest {
    /// The pool.
    pub pool: String,
    /// The last step at once.
    #[serde(default)]
    pub all: bool,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Although the backends cannot carry it.
    #[serde(default)]
    pub force: bool,
}

/// `POST /api/deployments/abort`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AbortRequest {
    /// The pool.
    pub pool: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `POST /api/deployments`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentRequest {
    /// The pool.
    pub pool: String,
    /// The version.
    pub version: String,
    /// The backends it reached; empty: all.
    #[serde(default)]
    pub backends: Vec<String>,
    /// When, RFC 3339; null: now.
    #[serde(default)]
    pub at: Option<String>,
    /// `started`, `finished`, `failed`, `rolled_back`; null: finished.
    #[serde(default)]
    pub state: Option<String>,
    /// In words.
    #[serde(default)]
    pub note: String,
}

/// `POST /api/incidents/{id}/{verb}`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncidentRequest {
    /// The note, or why.
    #[serde(default)]
    pub text: String,
}
