//! A deployment that Evenkeel carries out itself: traffic moved from one version of a pool's backends to another.

use std::fmt;

use crate::clock::Wall;
use crate::ids::{DeploymentId, IncidentId, Name, RevisionId};

/// Parts per million that are everything.
pub const ALL_PPM: u32 = 1_000_000;

words!(
    /// How traffic moves.
    Strategy {
        /// In given shares.
        Canary = "canary",
        /// Backend after backend.
        Rolling = "rolling",
        /// A look at a small share, then everything at once.
        BlueGreen = "blue-green",
    }
);

words!(
    /// Where a deployment stands.
    RolloutState {
        /// A step gathers its evidence.
        Running = "running",
        /// Traffic goes back to the old version.
        Aborting = "aborting",
        /// It went back.
        Aborted = "aborted",
        /// The new version has everything.
        Done = "done",
    }
);

/// A deployment as it now stands; journalled at every transition, the newest of a pool counts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RolloutRecord {
    /// Its number, among those of all deployments.
    pub id: DeploymentId,
    /// The pool.
    pub pool: Name,
    /// The new version.
    pub version: Name,
    /// The version that had the traffic.
    pub stable: Name,
    /// How traffic moves.
    pub strategy: Strategy,
    /// What the new version has in each step, parts per million, ascending; the last is [`ALL_PPM`].
    pub steps: Vec<u32>,
    /// Shortest step, milliseconds.
    pub step_min_ms: u64,
    /// Place in `steps` of the step that was reached.
    pub step: usize,
    /// What the new version has now, parts per million.
    pub share_ppm: u32,
    /// Where it stands.
    pub state: RolloutState,
    /// When it was started.
    pub at: Wall,
    /// Since when it stands there, or the step runs.
    pub since: Wall,
    /// By whom.
    pub author: String,
    /// Why it was started; may be empty.
    pub reason: String,
    /// Why it stands there.
    pub why: String,
    /// Whether the load was not to refuse it.
    pub forced: bool,
    /// What ran when it was started.
    pub revision: RevisionId,
    /// The incident that ended it.
    pub incident: Option<IncidentId>,
    /// The revision whose text says the same as the deployment ended in: from it on the text decides.
    pub lifted_by: Option<RevisionId>,
}

impl RolloutRecord {
    /// Whether it still moves traffic.
    pub const fn is_open(&self) -> bool {
        matches!(self.state, RolloutState::Running | RolloutState::Aborting)
    }

    /// Whether it shapes the traffic while `running` runs.
    pub fn is_in_force(&self, running: RevisionId) -> bool {
        self.lifted_by.is_none_or(|by| running < by)
    }

    /// What the new version has now, 0..1.
    pub fn share(&self) -> f64 {
        f64::from(self.share_ppm) / f64::from(ALL_PPM)
    }
}
