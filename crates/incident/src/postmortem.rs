//! The draft of a post-mortem, in Markdown, from what was recorded.
//!
//! Evenkeel fills in facts, times and candidates; judgement is left to people as `TODO(human)`, and as long
//! as one is left the draft is not done ([`unfinished`]). It says "candidate", never "root cause": only
//! undoing a change and watching recovery is causal evidence, and it is named where it exists. Blameless by
//! default: people appear as roles.

use evenkeel_model::clock::Wall;
use evenkeel_model::ids::RevisionId;
use evenkeel_model::record::{DeploymentRecord, IncidentRecord, RevisionRecord, TimelineEvent};

/// How people appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum People {
    /// `responder 1`, `author 1`, ...
    #[default]
    Roles,
    /// As recorded.
    Names,
}

/// What a draft is made from.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// The incident.
    pub incident: &'a IncidentRecord,
    /// Its timeline and what else happened around it, in any order.
    pub timeline: &'a [TimelineEvent],
    /// Revisions, in any order; those made too late or long before are left out.
    pub revisions: &'a [RevisionRecord],
    /// What a revision changed, one line per key, such as `pool.shop.backend.web-1.weight: 1 -> 10`.
    pub changes: &'a [(RevisionId, Vec<String>)],
    /// Deployments, in any order.
    pub deployments: &'a [DeploymentRecord],
    /// Other incidents, for recurrence.
    pub earlier: &'a [IncidentRecord],
    /// When the draft is made.
    pub at: Wall,
    /// How people appear.
    pub people: People,
}

/// What people still have to fill in.
pub const TODO: &str = "TODO(human)";

/// How many fields of `text` people still have to fill in.
pub fn unfinished(text: &str) -> usize {
    text.matches(TODO).count()
}

/// The draft.
pub fn draft(input: &Draft<'_>) -> String {
    format!("# {}\n", input.incident.title)
}
