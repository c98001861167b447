//! What the guard knows, as plain data for `status`, the page and the metrics.
//!
//! Shares and rates of error are fractions 0..1; what is unknown is `None`; lists are in file order.

use evenkeel_model::clock::Wall;
use evenkeel_model::config::{Algorithm, Intent};
use evenkeel_model::ids::{Epoch, IncidentId, Name, RevisionId};
use evenkeel_model::record::{
    ContentHash, DeploymentRecord, IncidentRecord, RevisionRecord, RevisionState, RolloutRecord,
};

use crate::event::{AuditFact, DriftFact};

/// `status.state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Status {
    /// Nothing to say.
    #[default]
    Ok,
    /// CONFIG differs from what runs.
    Drift,
    /// A change gathers its evidence.
    Verifying,
    /// A change did not get enough evidence in time.
    Held,
    /// A change is being undone.
    RollingBack,
    /// An incident is open.
    Incident,
}

impl Status {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Drift => "drift",
            Self::Verifying => "verifying",
            Self::Held => "held",
            Self::RollingBack => "rolling_back",
            Self::Incident => "incident",
        }
    }
}

/// Verdict about a backend's share.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
pub enum Verdict {
    /// Gets what it should.
    Ok,
    /// Gets more than intended.
    Over,
    /// Gets less than intended.
    Under,
    /// Not enough picks to say.
    #[default]
    Unknown,
    /// Differs for a known, legitimate reason.
    Explained,
}

impl Verdict {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Over => "over",
            Self::Under => "under",
            Self::Unknown => "unknown",
            Self::Explained => "explained",
        }
    }

    /// Whether recovery may count it: ok or explained.
    pub const fn is_fine(self) -> bool {
        matches!(self, Self::Ok | Self::Explained)
    }
}

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardView {
    /// Of this moment.
    pub at: Wall,
    /// What runs.
    pub revision: RevisionId,
    /// Its content.
    pub hash: ContentHash,
    /// Its state.
    pub revision_state: RevisionState,
    /// In one word.
    pub state: Status,
    /// The rollback target: the last revision with evidence.
    pub verified: RevisionId,
    /// The open incident that matters most.
    pub incident: Option<IncidentId>,
    /// Open incidents first, then recent ones, newest first; at most [`crate::INCIDENTS_KEPT`].
    pub incidents: Vec<IncidentRecord>,
    /// Recent revisions, oldest first.
    pub revisions: Vec<RevisionRecord>,
    /// Recent deployments, oldest first.
    pub deployments: Vec<DeploymentRecord>,
    /// Deployments that move traffic or shape it still, by pool.
    pub rollouts: Vec<RolloutView>,
    /// Gathering of evidence, while it lasts.
    pub verifying: Option<VerifyingView>,
    /// Unconfirmed by then, the running revision is rolled back.
    pub confirm_by: Option<Wall>,
    /// No automatic rollback of the running revision until then.
    pub keep_until: Option<Wall>,
    /// The next page: incident, level, time.
    pub next_page: Option<(IncidentId, Name, Wall)>,
    /// CONFIG differs from what runs.
    pub drift: Option<DriftFact>,
    /// What the data plane runs is not what the journal says, in words.
    pub edited: Option<String>,
    /// Drains under way, by pool and backend.
    pub drains: Vec<DrainView>,
    /// Grows whenever a drain comes or goes.
    pub drain_changes: u64,
    /// Whether the journal takes entries (`journal: ok | degraded`).
    pub journal_ok: bool,
    /// Entries that wait for the journal.
    pub journal_waiting: usize,
    /// Timeline lines lost because too many waited.
    pub journal_dropped: u64,
    /// Why no automatic action is taken at present (missing tallies, clock step, restart).
    pub hold: Option<String>,
    /// The last audit.
    pub audit: Option<AuditFact>,
    /// The next audit.
    pub audit_next: Option<Wall>,
    /// Whether a live drill runs.
    pub drill: bool,
    /// Every pool.
    pub pools: Vec<PoolView>,
}

/// A drain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainView {
    /// The pool.
    pub pool: Name,
    /// The backend.
    pub backend: Name,
    /// Since when.
    pub since: Wall,
    /// It ends by itself then.
    pub until: Wall,
    /// By whom.
    pub author: String,
    /// Why; may be empty.
    pub reason: String,
    /// Requests in flight on it, sampled since it took effect; `None`: not yet.
    pub in_flight: Option<u32>,
}

/// A deployment that is carried out, or whose outcome is in force.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutView {
    /// Where it stands.
    pub record: RolloutRecord,
    /// What the step still lacks, or why the way back rests, a line each.
    pub held: Vec<String>,
    /// Requests of the new version that a step needs.
    pub needed: u64,
    /// What the comparison says: `ok`, `worse`, `unknown`, `aborted`.
    pub verdict: &'static str,
    /// Why, in words.
    pub reason: String,
    /// It is over, and the running text does not say yet what it ended in.
    pub file_differs: bool,
    /// The new version, then the old one, in this step.
    pub versions: Vec<VersionView>,
}

/// One version in a step.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionView {
    /// The version.
    pub version: Name,
    /// What its backends should have together.
    pub intended_share: Option<f64>,
    /// Free picks of this step; `None` below 30 of them.
    pub observed_share: Option<f64>,
    /// Tries that ended.
    pub requests: u64,
    /// Failed ones among them.
    pub error_rate: Option<f64>,
    /// Median response time.
    pub p50_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
}

/// How far the evidence for a revision is.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifyingView {
    /// The revision.
    pub revision: RevisionId,
    /// Since when.
    pub since: Wall,
    /// Held after this moment.
    pub until: Wall,
    /// What is still missing, a line each; empty: about to be verified.
    pub missing: Vec<String>,
}

/// A pool.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolView {
    /// Its name.
    pub name: Name,
    /// How a backend is chosen.
    pub algorithm: Algorithm,
    /// How traffic should be spread.
    pub intent: Intent,
    /// Its epoch.
    pub epoch: Option<Epoch>,
    /// Picks per second, last 10 s.
    pub rps: Option<f64>,
    /// Requests per second that no backend was picked for, last 10 s: shed, queue full or too slow, all at their limit,
    /// nobody there.
    pub refused_rps: f64,
    /// Failed requests among those that reached a backend, last 10 s.
    pub error_rate: Option<f64>,
    /// Requests beyond the objective, last 10 s.
    pub harmed_rate: Option<f64>,
    /// Median response time, last 10 s.
    pub p50_ms: Option<f64>,
    /// 99th percentile, last 10 s.
    pub p99_ms: Option<f64>,
    /// Whether the objective is met; `None`: too little traffic.
    pub objective_met: Option<bool>,
    /// The open incident of this pool.
    pub incident: Option<IncidentId>,
    /// What is found of its members at run time; `None`: it has those of the configuration only.
    pub members: Option<MembersView>,
    /// The key that brings more than half of what a backend has in the mean; `None`: no `hash`, or no such key.
    pub hot_key: Option<HotKeyView>,
    /// Every backend.
    pub backends: Vec<BackendView>,
}

/// A key with far more requests than others, last 10 to 20 s.
#[derive(Debug, Clone, PartialEq)]
pub struct HotKeyView {
    /// Its part (0..1) of the requests with a key, at least.
    pub part: f64,
    /// The backend that owns it.
    pub backend: Name,
}

/// What is found of a pool's members.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MembersView {
    /// Where: `file members.toml`, `DNS web.internal:8080`.
    pub source: String,
    /// Members in the pool that were found.
    pub found: usize,
    /// Members that the source no longer names and that stay until it is their turn to leave.
    pub held: Vec<Name>,
    /// Why the last look gave no answer (the members before it stay), or what is wrong with the one that it gave.
    pub error: Option<String>,
}

/// Health of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum HealthView {
    /// Takes traffic.
    Up,
    /// Does not.
    Down,
    /// Not told yet.
    #[default]
    Unknown,
}

impl HealthView {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

/// A backend.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendView {
    /// Its name.
    pub name: Name,
    /// Configured weight.
    pub weight: u32,
    /// Declared capacity.
    pub capacity_rps: Option<f64>,
    /// Zone.
    pub zone: Option<Name>,
    /// Version.
    pub version: Option<Name>,
    /// By intent over the eligible backends.
    pub intended_share: Option<f64>,
    /// By the running configuration over the eligible backends; `None` where load decides.
    pub expected_share: Option<f64>,
    /// Free picks of the last 10 s under the running revision; `None` below 30 picks.
    pub observed_share: Option<f64>,
    /// 95 % confidence sequence over the counts of the running epoch, low end.
    pub ci_low: Option<f64>,
    /// High end.
    pub ci_high: Option<f64>,
    /// What the test says.
    pub verdict: Verdict,
    /// Why this share, in words.
    pub reason: String,
    /// Picks per second, last 10 s.
    pub rps: Option<f64>,
    /// Picks per second over capacity.
    pub utilisation: Option<f64>,
    /// Median response time, last 10 s.
    pub p50_ms: Option<f64>,
    /// 99th percentile, last 10 s.
    pub p99_ms: Option<f64>,
    /// Failed tries, last 10 s.
    pub error_rate: Option<f64>,
    /// Requests in flight.
    pub in_flight: Option<u32>,
    /// The most that it may hold, where that is found out at run time.
    pub in_flight_limit: Option<u32>,
    /// CPU as reported.
    pub cpu: Option<f64>,
    /// Memory as reported.
    pub memory: Option<f64>,
    /// Health.
    pub health: HealthView,
    /// What the last flip said.
    pub health_detail: String,
}
