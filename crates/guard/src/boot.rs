//! Which revision of the journal a start runs: the last one with evidence, never one that was undone.

use evenkeel_model::ids::RevisionId;
use evenkeel_model::record::{RevisionRecord, RevisionState};

/// The revision to boot: the newest that is verified or confirmed; without one the newest that ran and was not
/// undone (a crash between undoing a revision and verifying the one below). `None`: the journal has none.
pub fn select(revisions: &[RevisionRecord]) -> Option<RevisionId> {
    let newest = |wanted: &[RevisionState]| {
        revisions
            .iter()
            .filter(|revision| wanted.contains(&revision.state))
            .map(|revision| revision.id)
            .max()
    };
    newest(&[RevisionState::Verified, RevisionState::Confirmed])
        .or_else(|| newest(&[RevisionState::Verifying, RevisionState::Superseded]))
        .or_else(|| newest(&[RevisionState::Held]))
}
