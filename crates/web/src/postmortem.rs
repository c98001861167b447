//! The post-mortem draft of an incident, from what the journal holds.

use evenkeel_incident::postmortem::People;
use evenkeel_incident::{Draft, draft as write};
use evenkeel_journal::{Read, ReadError};
use evenkeel_model::clock::Wall;
use evenkeel_model::ids::{IncidentId, RevisionId};
use evenkeel_model::record::{DeploymentRecord, RevisionRecord, TimelineEvent};
use evenkeel_model::{diff, parse};

/// Revisions and deployments looked at.
const CHANGES_MAX: usize = 50;
/// Lines of the timeline.
const LINES_MAX: usize = 10_000;
/// Earlier incidents looked at.
const EARLIER_MAX: usize = 50;

/// The draft in Markdown; `None` when there is no such incident.
pub fn draft(journal: &dyn Read, id: IncidentId) -> Result<Option<String>, ReadError> {
    let Some(incident) = journal.incident(id)? else {
        return Ok(None);
    };
    let timeline = journal.timeline(Some(id), LINES_MAX)?;
    let timeline: Vec<TimelineEvent> = timeline.into_iter().map(|line| line.value).collect();
    let revisions: Vec<RevisionRecord> = journal.revisions(CHANGES_MAX)?;
    let changes: Vec<(RevisionId, Vec<String>)> = revisions
        .iter()
        .map(|revision| (revision.id, changed(revision, &revisions)))
        .collect();
    let deployments: Vec<DeploymentRecord> = journal.deployments(CHANGES_MAX)?;
    let earlier: Vec<_> = journal
        .incidents(EARLIER_MAX)?
        .into_iter()
        .filter(|i| i.id < id)
        .collect();
    let at = timeline
        .iter()
        .map(|event| event.at)
        .max()
        .unwrap_or(Wall(incident.detected_at.0));
    Ok(Some(write(&Draft {
        incident: &incident,
        timeline: &timeline,
        revisions: &revisions,
        changes: &changes,
        deployments: &deployments,
        earlier: &earlier,
        at,
        people: People::Roles,
    })))
}

/// What a revision changed against its parent, a line each.
fn changed(revision: &RevisionRecord, all: &[RevisionRecord]) -> Vec<String> {
    let parent = revision
        .parent
        .and_then(|id| all.iter().find(|r| r.id == id));
    let config = |record: &RevisionRecord| parse::parse(&record.text, None).config;
    let (Some(before), Some(after)) = (parent.and_then(config), config(revision)) else {
        return Vec::new();
    };
    let word = |value: Option<String>| value.unwrap_or_else(|| "absent".to_owned());
    diff::diff(&before, &after)
        .into_iter()
        .map(|c| format!("{}: {} -> {}", c.path, word(c.before), word(c.after)))
        .collect()
}
