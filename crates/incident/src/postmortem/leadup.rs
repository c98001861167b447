//! What changed before: revisions and deployments, ranked, each with the reason why it stands where it stands.

use std::time::Duration;

use evenkeel_model::blame::Subject;
use evenkeel_model::clock::Wall;
use evenkeel_model::ids::Name;
use evenkeel_model::record::IncidentRecord;

use super::people::{Roles, line};
use super::{Draft, LEADUP_MAX, LEADUP_WITHIN, format_item, format_row, todo, undone};
use crate::civil::{rfc3339, span};

/// Keys of a revision spelled out.
const KEYS_MAX: usize = 6;

/// A change with its place in the diagnosis.
struct Change {
    what: String,
    at: Wall,
    by: String,
    why: String,
    /// Rank among the candidates; those without one come last.
    rank: usize,
    reason: String,
}

pub(super) fn section(input: &Draft<'_>, roles: &Roles) -> String {
    let mut out = "## Lead-up\n\n".to_owned();
    let mut changes = collect(input, roles);
    let all = changes.len();
    changes.sort_by_key(|c| (c.rank, std::cmp::Reverse(c.at)));
    changes.truncate(LEADUP_MAX);
    if changes.is_empty() {
        let words = format!(
            "No change was recorded in the {} before.\n\n",
            span(LEADUP_WITHIN)
        );
        out.push_str(&words);
    } else {
        out.push_str(
            "| change | at | by | given reason | why it is listed here |\n|---|---|---|---|---|\n",
        );
        for c in &changes {
            out.push_str(&format_row(&[
                &c.what,
                &rfc3339(c.at),
                &c.by,
                &c.why,
                &c.reason,
            ]));
        }
        if all > changes.len() {
            out.push_str(&format_item(&format!("and {} older", all - changes.len())));
        }
        out.push('\n');
    }
    out.push_str(&todo("why these changes were made"));
    out
}

fn collect(input: &Draft<'_>, roles: &Roles) -> Vec<Change> {
    let incident = input.incident;
    let recent =
        |at: Wall| at <= incident.detected_at && incident.detected_at.since(at) <= LEADUP_WITHIN;
    let mut out = Vec::new();
    for revision in input.revisions.iter().filter(|r| recent(r.at)) {
        let subject = Subject::Revision(revision.id);
        let (rank, reason) = place(incident, &subject, revision.at);
        let keys = input.changes.iter().find(|(id, _)| *id == revision.id);
        let keys = keys.map_or(&[][..], |(_, keys)| keys.as_slice());
        let mut what = revision.id.to_string();
        if !keys.is_empty() {
            let shown: Vec<&str> = keys.iter().take(KEYS_MAX).map(String::as_str).collect();
            what = format!("{what}: {}", shown.join("; "));
        }
        if keys.len() > KEYS_MAX {
            what = format!("{what}; {} more", keys.len() - KEYS_MAX);
        }
        if revision.forced {
            what.push_str(" (forced past error findings)");
        }
        let by = roles.name(&revision.author);
        out.push(Change {
            what,
            at: revision.at,
            by,
            why: revision.reason.clone(),
            rank,
            reason,
        });
    }
    for deployment in input.deployments.iter().filter(|d| recent(d.at)) {
        let subject = Subject::Deployment {
            id: deployment.id,
            pool: deployment.pool.clone(),
            version: deployment.version.clone(),
        };
        let (rank, reason) = place(incident, &subject, deployment.at);
        let mut what = format!("{} {subject}", deployment.id);
        if !deployment.backends.is_empty() {
            let names: Vec<&str> = deployment.backends.iter().map(Name::as_str).collect();
            what = format!("{what} on {}", names.join(", "));
        }
        let by = roles.name(&deployment.author);
        out.push(Change {
            what,
            at: deployment.at,
            by,
            why: deployment.note.clone(),
            rank,
            reason,
        });
    }
    out
}

/// Where `subject` stands among the candidates, and why it is listed.
fn place(incident: &IncidentRecord, subject: &Subject, at: Wall) -> (usize, String) {
    let onset = incident.fault_at.unwrap_or(incident.detected_at);
    let when = if at > onset {
        format!("{} after the onset", span(at.since(onset)))
    } else {
        format!("{} before the onset", span(onset.since(at)))
    };
    let candidates = incident.diagnosis.iter().flat_map(|d| &d.candidates);
    let found = candidates.enumerate().find(|(_, c)| c.subject == *subject);
    let Some((rank, candidate)) = found else {
        return (usize::MAX, format!("coincident: {when}; not a candidate"));
    };
    let blamed = incident.diagnosis.as_ref().and_then(|d| d.subject.as_ref()) == Some(subject);
    let reason = if blamed {
        let causal = undone(incident).map_or_else(String::new, |text| format!("; {text}"));
        format!("best candidate, {when}{causal}")
    } else {
        let against = candidate
            .evidence_against
            .first()
            .map_or("explains less", String::as_str);
        format!("candidate {}, {when}; against: {}", rank + 1, line(against))
    };
    (rank, reason)
}

/// Kept here so that the window of the lead-up is at least as long as the one in which a rollback may act.
const _: () = assert!(LEADUP_WITHIN.as_secs() >= Duration::from_mins(30).as_secs());
