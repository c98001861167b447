//! A deployment that Evenkeel knows of: told by whoever deploys, or carried out by itself ([`super::RolloutRecord`]).

use std::fmt;

use crate::clock::Wall;
use crate::ids::{DeploymentId, Name, RevisionId};

words!(
    /// What whoever deploys says of a deployment.
    Told {
        /// It is under way: backends get the version from now on.
        Started = "started",
        /// Every backend named has it.
        Finished = "finished",
        /// It was given up; some of the backends may have it.
        Failed = "failed",
        /// The backends have the version before it again.
        RolledBack = "rolled_back",
    }
);

/// A deployment as it now stands; journalled again when more is told of it, the newest of a number counts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeploymentRecord {
    /// Its number.
    pub id: DeploymentId,
    /// Its pool.
    pub pool: Name,
    /// Its version.
    pub version: Name,
    /// The backends it reached; empty: every one of the pool.
    pub backends: Vec<Name>,
    /// When it happened, or began.
    pub at: Wall,
    /// When it was over, where its begin was told; `None`: at once, not told yet, or Evenkeel carries it out.
    pub ended_at: Option<Wall>,
    /// What was said of it last; `None`: Evenkeel carries it out.
    pub told: Option<Told>,
    /// What ran when it was recorded; `None`: recorded before this was kept.
    pub revision: Option<RevisionId>,
    /// When Evenkeel was told first.
    pub recorded_at: Wall,
    /// Who told.
    pub author: String,
    /// In words.
    pub note: String,
    /// The names of the messages that told of it, unique for an author; none for a command.
    pub messages: Vec<String>,
}

impl DeploymentRecord {
    /// Whether its begin was told and its end was not.
    pub fn is_under_way(&self) -> bool {
        self.told == Some(Told::Started)
    }
}
