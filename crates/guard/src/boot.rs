//! Which revision of the journal a start runs: the last one with evidence, never one that was undone.

use evenkeel_model::ids::RevisionId;
use evenkeel_model::record::{RevisionRecord, RevisionState};

use crate::TARGETS_MAX;

/// The revision to boot: the newest that is verified or confirmed; without one (a crash between undoing a
/// revision and verifying the one restored) the newest that was restored, replaced or held, in this order.
/// `None`: the journal has none that may run.
pub fn select(revisions: &[RevisionRecord]) -> Option<RevisionId> {
    let newest = |wanted: &[RevisionState]| {
        revisions
            .iter()
            .filter(|revision| wanted.contains(&revision.state))
            .map(|revision| revision.id)
            .max()
    };
    newest(&[RevisionState::Verified, RevisionState::Confirmed])
        .or_else(|| newest(&[RevisionState::Verifying]))
        .or_else(|| newest(&[RevisionState::Superseded]))
        .or_else(|| newest(&[RevisionState::Held]))
}

/// The revisions for `Boot::targets` when `running` boots: older ones that had evidence once, newest last.
pub fn targets(revisions: &[RevisionRecord], running: RevisionId) -> Vec<RevisionId> {
    let evident = |state: RevisionState| {
        matches!(
            state,
            RevisionState::Verified | RevisionState::Confirmed | RevisionState::Superseded
        )
    };
    let mut ids: Vec<RevisionId> = revisions
        .iter()
        .filter(|revision| revision.id < running && evident(revision.state))
        .map(|revision| revision.id)
        .collect();
    ids.sort_unstable();
    let surplus = ids.len().saturating_sub(TARGETS_MAX);
    ids.drain(..surplus);
    ids
}
