//! What a notice says, as plain data; room `notify` puts it on the wire and owns its JSON.
//!
//! One page must carry the diagnosis: whoever is woken reads what is wrong since when, which candidate
//! explains it, what was cleared, what Evenkeel did or suggests, and what happens next if nobody answers.
//! Bounded, so that a page always fits a webhook: [`LINES_MAX`] lines of [`LINE_MAX`] bytes.

use evenkeel_model::blame::Cause;
use evenkeel_model::clock::Wall;
use evenkeel_model::ids::{IncidentId, RevisionId};
use evenkeel_model::record::{
    CandidateRecord, IncidentKind, IncidentRecord, IncidentSeverity, IncidentStatus,
};

use crate::civil::{heading, span};
use crate::escalation::Page;

/// Most summary lines.
pub const LINES_MAX: usize = 16;
/// Longest line in bytes.
pub const LINE_MAX: usize = 400;
/// Candidates named besides the first.
const CLEARED_MAX: usize = 3;

/// What a notice is about.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum NoticeEvent {
    /// An incident was opened.
    IncidentOpened,
    /// A level is paged.
    IncidentPage,
    /// A person took it.
    IncidentAcknowledged,
    /// Harm stopped.
    IncidentMitigated,
    /// It is over.
    IncidentResolved,
    /// A revision was swapped in.
    ChangeApplied,
    /// A revision was undone.
    ChangeRolledBack,
}

impl NoticeEvent {
    /// The event type on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IncidentOpened => "incident.opened",
            Self::IncidentPage => "incident.page",
            Self::IncidentAcknowledged => "incident.acknowledged",
            Self::IncidentMitigated => "incident.mitigated",
            Self::IncidentResolved => "incident.resolved",
            Self::ChangeApplied => "change.applied",
            Self::ChangeRolledBack => "change.rolled_back",
        }
    }
}

/// Something to look at. The sender puts the address of the admin listener in front.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Link {
    /// What it shows: `incident`, `postmortem`, `history`.
    #[serde(deserialize_with = "evenkeel_model::recorded::word")]
    pub what: evenkeel_model::recorded::Word,
    /// Path on the admin listener.
    pub path: String,
}

/// One notice.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Notice {
    /// What it is about.
    pub event: NoticeEvent,
    /// When.
    pub at: Wall,
    /// The incident, if it is about one.
    pub incident: Option<IncidentId>,
    /// The revision, if it is about one.
    pub revision: Option<RevisionId>,
    /// Real, drill or test; the title of the last two says so as well.
    pub kind: IncidentKind,
    /// How bad.
    pub severity: IncidentSeverity,
    /// Where the incident stands; `None` for a change.
    pub status: Option<IncidentStatus>,
    /// Level that is paged, 1 for the first.
    pub level: Option<usize>,
    /// In one line.
    pub title: String,
    /// What one has to know, most important first.
    pub lines: Vec<String>,
    /// Where to look.
    pub links: Vec<Link>,
}

/// A notice that says how `incident` stands: for opened, acknowledged, mitigated and resolved.
pub fn of_incident(event: NoticeEvent, incident: &IncidentRecord, at: Wall) -> Notice {
    let mark = match incident.kind {
        IncidentKind::Real => "",
        IncidentKind::Drill => "[DRILL] ",
        IncidentKind::Test => "[TEST] ",
    };
    let title = format!(
        "{mark}{} {} {}: {}",
        incident.severity.as_str().to_uppercase(),
        incident.id,
        incident.status,
        incident.title
    );
    Notice {
        event,
        at,
        incident: Some(incident.id),
        revision: None,
        kind: incident.kind,
        severity: incident.severity,
        status: Some(incident.status),
        level: None,
        title: clip(&title),
        lines: lines(incident, at),
        links: vec![
            Link {
                what: "incident",
                path: format!("/incidents/{}", incident.id),
            },
            Link {
                what: "postmortem",
                path: format!("/incidents/{}/postmortem", incident.id),
            },
        ],
    }
}

/// The notice of a page that fired.
pub fn page(incident: &IncidentRecord, page: &Page, at: Wall) -> Notice {
    let mut notice = of_incident(NoticeEvent::IncidentPage, incident, at);
    notice.level = Some(page.level);
    let mut next = format!("paged: level {} `{}`", page.level, page.name);
    if let Some(level) = incident.escalation.levels.get(page.level)
        && let Some(when) = incident.escalation.next_at
    {
        let wait = span(when.since(at));
        next = format!(
            "{next}; `{}` follows in {wait} unless acknowledged",
            level.name
        );
    }
    notice.lines.truncate(LINES_MAX - 1);
    notice.lines.push(clip(&next));
    notice
}

/// A notice about a change that no incident came from.
pub fn of_change(
    event: NoticeEvent,
    revision: RevisionId,
    title: &str,
    text: &[String],
    at: Wall,
) -> Notice {
    Notice {
        event,
        at,
        incident: None,
        revision: Some(revision),
        kind: IncidentKind::Real,
        severity: IncidentSeverity::Sev4,
        status: None,
        level: None,
        title: clip(title),
        lines: text.iter().take(LINES_MAX).map(|line| clip(line)).collect(),
        links: vec![Link {
            what: "history",
            path: format!("/revisions/{revision}"),
        }],
    }
}

fn lines(incident: &IncidentRecord, at: Wall) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(since) = incident.fault_at {
        let ago = span(at.since(since));
        out.push(format!("since {} ({ago} ago)", heading(since)));
    }
    if incident.impact_requests > 0 {
        let users = incident
            .impact_users_share
            .map(|share| format!(", {:.0} % of the users seen", share * 100.0))
            .unwrap_or_default();
        out.push(format!(
            "harmed: {} requests{users}",
            incident.impact_requests
        ));
    }
    if let Some(diagnosis) = &incident.diagnosis {
        let subject = diagnosis
            .subject
            .as_ref()
            .map(|subject| format!(", {subject}"))
            .unwrap_or_default();
        out.push(format!(
            "best candidate: {} ({}){subject}",
            diagnosis.cause, diagnosis.mechanism
        ));
        out.extend(
            diagnosis
                .evidence
                .iter()
                .take(4)
                .map(|line| format!("- {line}")),
        );
        let others = diagnosis.candidates.iter().skip(1);
        out.extend(others.filter_map(cleared).take(CLEARED_MAX));
    }
    if let Some(action) = incident.actions.last() {
        out.push(format!(
            "{}: {} ({})",
            action.kind, action.detail, action.outcome
        ));
    }
    if let Some(by) = &incident.acknowledged_by {
        out.push(format!("acknowledged by {by}"));
    }
    out.truncate(LINES_MAX);
    out.iter().map(|line| clip(line)).collect()
}

fn cleared(candidate: &CandidateRecord) -> Option<String> {
    if candidate.cause == Cause::Unknown {
        return None;
    }
    let why = candidate.evidence_against.first()?;
    Some(format!("less likely: {}: {why}", candidate.subject))
}

/// `text` on one line, cut at a character boundary to [`LINE_MAX`] bytes.
fn clip(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(LINE_MAX));
    for c in text.chars() {
        let c = if c.is_control() { ' ' } else { c };
        if out.len() + c.len_utf8() > LINE_MAX - '…'.len_utf8() {
            out.push('…');
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use evenkeel_model::blame::{Cause, Mechanism, Subject};
    use evenkeel_model::clock::Wall;
    use evenkeel_model::ids::{DeploymentId, RevisionId};
    use evenkeel_model::record::{CandidateRecord, IncidentKind};

    use super::{LINE_MAX, LINES_MAX, NoticeEvent, of_change, of_incident, page};
    use crate::escalation::due;
    use crate::lifecycle::tests::{diagnosis, incident, name};

    #[test]
    fn a_page_carries_the_diagnosis_what_was_cleared_and_what_comes_next() {
        let mut i = incident(1_000_000);
        let mut found = diagnosis();
        let winner = CandidateRecord {
            cause: Cause::ConfigRevision,
            mechanism: Mechanism::Weight,
            subject: Subject::Revision(RevisionId(3)),
            score: 400.0,
            evidence_for: Vec::new(),
            evidence_against: Vec::new(),
        };
        let decoy = CandidateRecord {
            cause: Cause::Deployment,
            subject: Subject::Deployment {
                id: DeploymentId(1),
                pool: name("shop"),
                version: name("v2"),
            },
            evidence_against: vec!["same version, less load, healthy".to_owned()],
            ..winner.clone()
        };
        found.candidates = vec![winner, decoy];
        i.diagnosis = Some(found);
        let first = due(&mut i, Wall(1_000_000)).unwrap();
        let notice = page(&i, &first, Wall(1_000_000));
        assert_eq!(
            (notice.event.as_str(), notice.level),
            ("incident.page", Some(1))
        );
        assert!(notice.title.starts_with("SEV2 i7 detected: web-1 of pool"));
        let text = notice.lines.join("\n");
        for part in [
            "since 1970-01-01 00:16:35 UTC (5 s ago)",
            "best candidate: config_revision (weight), revision:r3",
            "less likely: deployment:shop/v2: same version, less load, healthy",
            "paged: level 1 `on-call`; `engineering` follows in 5 min unless acknowledged",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn a_drill_is_marked_in_its_title() {
        let mut i = incident(1_000_000);
        i.kind = IncidentKind::Drill;
        let notice = of_incident(NoticeEvent::IncidentOpened, &i, Wall(1_000_000));
        assert!(notice.title.starts_with("[DRILL] "));
        assert_eq!(notice.kind, IncidentKind::Drill);
    }

    #[test]
    fn a_notice_is_bounded_and_has_no_line_breaks() {
        let text = vec!["é\n".repeat(1_000); 100];
        let notice = of_change(
            NoticeEvent::ChangeApplied,
            RevisionId(3),
            &text[0],
            &text,
            Wall(0),
        );
        assert_eq!(notice.lines.len(), LINES_MAX);
        let all = notice.lines.iter().chain([&notice.title]);
        assert!(
            all.clone()
                .all(|line| line.len() <= LINE_MAX && line.ends_with('…'))
        );
        assert!(all.clone().all(|line| !line.contains('\n')));
    }
}
