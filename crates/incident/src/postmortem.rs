//! The draft of a post-mortem, in Markdown, from what was recorded.
//!
//! Evenkeel fills in facts, times and candidates; judgement is left to people as `TODO(human)`, and as long
//! as one is left the draft is not done ([`unfinished`]). It says "candidate", never "root cause": only
//! undoing a change and watching recovery is causal evidence, and it is named where it exists. Blameless by
//! default: people appear as roles in every field; what they wrote themselves (notes, reasons) stays as written.
//!
//! Limits: the newest [`TIMELINE_MAX`] lines of a timeline, [`LEADUP_MAX`] changes of the day before, and
//! [`RECURRENCE_MAX`] earlier incidents; what is left out is counted.

use std::time::Duration;

use evenkeel_model::blame::Mechanism;
use evenkeel_model::clock::Wall;
use evenkeel_model::ids::RevisionId;
use evenkeel_model::record::{
    DeploymentRecord, DiagnosisRecord, IncidentKind, IncidentRecord, IncidentSeverity,
    RevisionRecord, TimelineEvent,
};

use crate::civil::{heading, rfc3339, span};

mod leadup;
mod people;

use people::{Roles, cell, line};

/// Lines of the timeline in a draft.
pub const TIMELINE_MAX: usize = 500;
/// Changes in the lead-up.
pub const LEADUP_MAX: usize = 10;
/// Earlier incidents named.
pub const RECURRENCE_MAX: usize = 10;
/// Changes older than this before detection are not in the lead-up.
pub const LEADUP_WITHIN: Duration = Duration::from_hours(24);

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

/// Durations of an incident, by their usual names. `None`: not there yet, or the onset is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Durations {
    /// Time to detect: onset to detection.
    pub detect: Option<Duration>,
    /// Time to acknowledge: detection (when the first level is paged) to acknowledgement.
    pub acknowledge: Option<Duration>,
    /// Time to identify: detection to a cause sure enough to act on.
    pub identify: Option<Duration>,
    /// Time to mitigate: onset to the end of harm.
    pub mitigate: Option<Duration>,
    /// Time to resolve: onset to verified recovery.
    pub resolve: Option<Duration>,
}

/// The durations of `incident`. Per incident only: their means say little and are not computed.
pub fn durations(incident: &IncidentRecord) -> Durations {
    let from_fault = |end: Option<Wall>| Some(end?.since(incident.fault_at?));
    let from_detection = |end: Option<Wall>| Some(end?.since(incident.detected_at));
    Durations {
        detect: from_fault(Some(incident.detected_at)),
        acknowledge: from_detection(incident.acknowledged_at),
        identify: from_detection(incident.identified_at),
        mitigate: from_fault(incident.mitigated_at),
        resolve: from_fault(incident.resolved_at),
    }
}

/// The draft.
pub fn draft(input: &Draft<'_>) -> String {
    let mut timeline: Vec<&TimelineEvent> = input.timeline.iter().collect();
    timeline.sort_by_key(|event| event.at);
    let roles = Roles::new(input, &timeline);
    let mut out = String::new();
    let sections = [
        head(input, &roles),
        summary(input.incident),
        leadup::section(input, &roles),
        fault(input.incident, &timeline),
        impact(input.incident, &timeline),
        detection(input.incident, &timeline),
        response(input.incident, &timeline, &roles),
        timeline_table(&timeline, &roles),
        causes(input.incident),
        recurrence(input),
        lessons(),
        actions(input.incident),
    ];
    for section in sections {
        out.push_str(section.trim_end());
        out.push_str("\n\n");
    }
    let end = out.trim_end().len();
    out.truncate(end);
    out.push('\n');
    out
}

fn head(input: &Draft<'_>, roles: &Roles) -> String {
    let incident = input.incident;
    let mut out = format!(
        "# Post-mortem of {}: {}\n\n",
        incident.id,
        line(&incident.title)
    );
    match incident.kind {
        IncidentKind::Real => {}
        IncidentKind::Drill => {
            out.push_str("> **DRILL**: a rehearsal, nobody outside was harmed.\n\n");
        }
        IncidentKind::Test => out.push_str("> **TEST** of the paging: nothing was wrong.\n\n"),
    }
    let revision =
        |r: Option<RevisionId>| r.map_or_else(|| "unknown".to_owned(), |r| r.to_string());
    let pool = incident.pool.as_ref().map_or("none", |pool| pool.as_str());
    let responders = roles.responders();
    let rows = [
        ("Status of this document", "DRAFT".to_owned()),
        ("Severity", incident.severity.to_string()),
        ("Status of the incident", incident.status.to_string()),
        ("Pool", pool.to_owned()),
        ("Revision before, after", {
            let (before, after) = (incident.revision_before, incident.revision_after);
            format!("{}, {}", revision(before), revision(after.or(before)))
        }),
        (
            "Responders",
            if responders.is_empty() {
                "none".to_owned()
            } else {
                responders
            },
        ),
        ("Draft made", rfc3339(input.at)),
        ("Owner", TODO.to_owned()),
        ("Review on", TODO.to_owned()),
    ];
    out.push_str("| | |\n|---|---|\n");
    for (what, value) in rows {
        out.push_str(&format_row(&[what, &value]));
    }
    out
}

fn summary(incident: &IncidentRecord) -> String {
    let d = durations(incident);
    let mut out = format!(
        "## Summary\n\n{}: {}.",
        heading(incident.detected_at),
        line(&incident.title)
    );
    let after = |what: &str, d: Option<Duration>| {
        d.map_or_else(String::new, |d| {
            format!(" {what} {} after the onset.", span(d))
        })
    };
    out.push_str(&after("Detected", d.detect));
    out.push_str(&after("Harm stopped", d.mitigate));
    out.push_str(&after("Resolved", d.resolve));
    out.push_str(&format_impact(incident));
    if let Some(diagnosis) = &incident.diagnosis {
        out.push_str(&format_best(diagnosis));
    }
    out.push_str("\n\n");
    out.push_str(&todo("rewrite for a reader who was not there"));
    out
}

fn fault(incident: &IncidentRecord, timeline: &[&TimelineEvent]) -> String {
    let mut out = "## Fault\n\n".to_owned();
    match (incident.fault_at, incident.fault_between) {
        (Some(at), Some((low, high))) => out.push_str(&format_item(&format!(
            "Onset: {} (between {} and {})",
            rfc3339(at),
            rfc3339(low),
            rfc3339(high)
        ))),
        (Some(at), None) => out.push_str(&format_item(&format!("Onset: {}", rfc3339(at)))),
        (None, _) => out.push_str(&format_item("Onset: unknown")),
    }
    for event in of_kind(timeline, &["alert.fired", "alert.joined"]) {
        out.push_str(&format_item(&format!("Violated: {}", line(&event.text))));
    }
    out.push('\n');
    out.push_str(&todo("how the fault came to be"));
    out
}

fn impact(incident: &IncidentRecord, timeline: &[&TimelineEvent]) -> String {
    let mut out = "## Impact\n\n".to_owned();
    out.push_str(&format_item(format_impact(incident).trim()));
    if let Some(harm) = durations(incident).mitigate {
        out.push_str(&format_item(&format!(
            "Harm lasted {} (onset to its end).",
            span(harm)
        )));
    } else {
        out.push_str(&format_item("The end of harm is not recorded."));
    }
    for event in of_kind(timeline, &["severity.raised"]) {
        out.push_str(&format_item(&format!(
            "{}: {}",
            rfc3339(event.at),
            line(&event.text)
        )));
    }
    out.push('\n');
    out.push_str(&todo(
        "what it meant for customers and the business, support load",
    ));
    out
}

fn detection(incident: &IncidentRecord, timeline: &[&TimelineEvent]) -> String {
    let mut out = "## Detection\n\n".to_owned();
    let by = of_kind(timeline, &["alert.fired"])
        .next()
        .map_or_else(|| "not recorded".to_owned(), |event| line(&event.text));
    out.push_str(&format_item(&format!("By: {by}")));
    let took = durations(incident)
        .detect
        .map_or_else(|| "unknown, the onset is not known".to_owned(), span);
    out.push_str(&format_item(&format!("Time to detect: {took}")));
    out.push('\n');
    out.push_str(&todo("what would have halved the time to detect"));
    out
}

fn response(incident: &IncidentRecord, timeline: &[&TimelineEvent], roles: &Roles) -> String {
    let d = durations(incident);
    let mut out = "## Response and recovery\n\n| | |\n|---|---|\n".to_owned();
    for (what, took) in [
        ("Time to detect (onset to detection)", d.detect),
        (
            "Time to acknowledge (detection to acknowledgement)",
            d.acknowledge,
        ),
        ("Time to identify (detection to a sure cause)", d.identify),
        ("Time to mitigate (onset to end of harm)", d.mitigate),
        ("Time to resolve (onset to verified recovery)", d.resolve),
    ] {
        let took = took.map_or_else(|| "not recorded".to_owned(), span);
        out.push_str(&format_row(&[what, &took]));
    }
    out.push('\n');
    for action in &incident.actions {
        let (kind, detail, outcome) = (&action.kind, line(&action.detail), line(&action.outcome));
        let at = rfc3339(action.at);
        out.push_str(&format_item(&format!(
            "{at} action {kind}: {detail} ({outcome})"
        )));
    }
    let kinds = [
        "page.due",
        "page.sent",
        "page.failed",
        "page.suppressed",
        "acked",
        "escalated",
        "status.changed",
    ];
    for event in of_kind(timeline, &kinds) {
        let (at, who, text) = (rfc3339(event.at), roles.show(event), line(&event.text));
        out.push_str(&format_item(&format!(
            "{at} {} ({who}): {text}",
            line(&event.kind)
        )));
    }
    if incident.actions.is_empty() && incident.acknowledged_at.is_none() {
        out.push_str(&format_item("Nobody and nothing acted."));
    }
    out.push('\n');
    out.push_str(&todo("judgement calls, what was tried and why"));
    out
}

fn timeline_table(timeline: &[&TimelineEvent], roles: &Roles) -> String {
    let mut out = "## Timeline (UTC)\n\n".to_owned();
    let left_out = timeline.len().saturating_sub(TIMELINE_MAX);
    if left_out > 0 {
        let words = format!("The {left_out} oldest lines are left out; the journal has them.\n\n");
        out.push_str(&words);
    }
    out.push_str("| at | event | by | about | what |\n|---|---|---|---|---|\n");
    for event in timeline.iter().skip(left_out) {
        let at = rfc3339(event.at);
        let row = [
            at.as_str(),
            &event.kind,
            &roles.show(event),
            &event.subject,
            &event.text,
        ];
        out.push_str(&format_row(&row));
    }
    out.push('\n');
    out.push_str(&todo("gaps"));
    out
}

fn causes(incident: &IncidentRecord) -> String {
    let mut out = "## Cause candidates\n\n".to_owned();
    match &incident.diagnosis {
        Some(diagnosis) => {
            out.push_str(
                "Ranked by how well each explains what was counted; a rank is not a proof.\n\n",
            );
            for (rank, candidate) in diagnosis.candidates.iter().enumerate() {
                let score = if candidate.score.is_finite() {
                    format!("{:.1} nats", candidate.score)
                } else {
                    "ruled out".to_owned()
                };
                let (cause, mechanism) = (candidate.cause, candidate.mechanism);
                let title = format!(
                    "{}. Candidate {cause} ({mechanism}), {}: {score}\n",
                    rank + 1,
                    candidate.subject
                );
                out.push_str(&title);
                for text in &candidate.evidence_for {
                    out.push_str(&sub_item("for", text));
                }
                for text in &candidate.evidence_against {
                    out.push_str(&sub_item("against", text));
                }
            }
        }
        None => out.push_str("No diagnosis was recorded.\n"),
    }
    out.push('\n');
    match undone(incident) {
        Some(text) => out.push_str(&format_item(&format!("Causal evidence: {text}"))),
        None => out.push_str(&format_item(
            "Causal evidence: none recorded; every candidate is coincident.",
        )),
    }
    out.push('\n');
    out.push_str(&todo("contributing factors; five whys"));
    out
}

/// The rollback after which harm stopped, if there was one.
pub(crate) fn undone(incident: &IncidentRecord) -> Option<String> {
    let stopped = incident.mitigated_at?;
    let action = incident
        .actions
        .iter()
        .rfind(|a| a.kind == "rollback" && a.outcome == "done" && a.at <= stopped)?;
    let after = span(stopped.since(action.at));
    Some(format!(
        "{}, and harm stopped {after} later",
        line(&action.detail)
    ))
}

fn recurrence(input: &Draft<'_>) -> String {
    let mut out = "## Recurrence\n\n".to_owned();
    let cause = |i: &IncidentRecord| i.diagnosis.as_ref().map(|d| (d.cause, d.mechanism));
    let same_pool = |i: &IncidentRecord| i.pool.is_some() && i.pool == input.incident.pool;
    let same_cause = |i: &IncidentRecord| cause(i).is_some() && cause(i) == cause(input.incident);
    let mut alike: Vec<&IncidentRecord> = input
        .earlier
        .iter()
        .filter(|i| i.id != input.incident.id && i.detected_at <= input.incident.detected_at)
        .filter(|i| same_pool(i) || same_cause(i))
        .collect();
    alike.sort_by_key(|i| std::cmp::Reverse((i.detected_at, i.id)));
    for other in alike.iter().take(RECURRENCE_MAX) {
        let why = match (same_pool(other), same_cause(other)) {
            (true, true) => "same pool, same cause and mechanism",
            (true, false) => "same pool",
            _ => "same cause and mechanism",
        };
        let (at, title) = (heading(other.detected_at), line(&other.title));
        out.push_str(&format_item(&format!(
            "{} ({at}; {why}): {title}",
            other.id
        )));
    }
    if alike.is_empty() {
        out.push_str("No earlier incident on record is like it.\n");
    }
    if alike.len() > RECURRENCE_MAX {
        out.push_str(&format_item(&format!(
            "and {} more",
            alike.len() - RECURRENCE_MAX
        )));
    }
    out
}

fn lessons() -> String {
    format!(
        "## Lessons\n\n- What went well: {TODO}\n- What went badly: {TODO}\n- Where we were lucky: {TODO}\n"
    )
}

fn actions(incident: &IncidentRecord) -> String {
    let mut out = "## Corrective actions\n\n| action | owner | due |\n|---|---|---|\n".to_owned();
    let mechanism = incident
        .diagnosis
        .as_ref()
        .map_or(Mechanism::None, |d| d.mechanism);
    for text in suggestions(mechanism) {
        out.push_str(&format_row(&[&format!("suggested: {text}"), TODO, TODO]));
    }
    if incident.severity <= IncidentSeverity::Sev2 && incident.kind == IncidentKind::Real {
        let text = "suggested: rehearse it: write a drill with this fault and run it against every release";
        out.push_str(&format_row(&[text, TODO, TODO]));
    }
    out
}

/// What would stop a fault of this mechanism earlier.
const fn suggestions(mechanism: Mechanism) -> &'static [&'static str] {
    match mechanism {
        Mechanism::Weight | Mechanism::Algorithm => &[
            "declare `capacity_rps` for every backend and leave `weight` out, so that a typo in it cannot be made",
            "set `peak_rps` so that `check` and `plan` refuse a spread that overloads a backend",
            "apply with `--confirm-within`",
        ],
        Mechanism::HealthCheck => &["try a changed health check on one backend before the pool"],
        Mechanism::Limit | Mechanism::Timeout | Mechanism::Retry => {
            &["derive the limit from measured in-flight requests and response times, and note how"]
        }
        Mechanism::Version | Mechanism::Latency | Mechanism::Errors => &[
            "roll a new version out to one backend first and compare it with the rest at equal load",
        ],
        Mechanism::Zone | Mechanism::Membership => {
            &["plan each zone's loss: `n_plus_one = \"refuse\"`"]
        }
        Mechanism::Tls => &["watch the end of each certificate"],
        Mechanism::Route | Mechanism::Key | Mechanism::None => {
            &["find a check that would have found it earlier"]
        }
    }
}

fn format_impact(incident: &IncidentRecord) -> String {
    let users = incident.impact_users_share.map_or_else(
        || "the share of users is unknown".to_owned(),
        |share| format!("{:.1} % of the users seen", share * 100.0),
    );
    format!(
        " {} requests were harmed; {users}.",
        incident.impact_requests
    )
}

fn format_best(diagnosis: &DiagnosisRecord) -> String {
    let subject = diagnosis
        .subject
        .as_ref()
        .map(|subject| format!(", {subject}"))
        .unwrap_or_default();
    format!(
        " Best candidate: {} ({}){subject}.",
        diagnosis.cause, diagnosis.mechanism
    )
}

fn of_kind<'a>(
    timeline: &'a [&TimelineEvent],
    kinds: &'a [&str],
) -> impl Iterator<Item = &'a TimelineEvent> {
    timeline
        .iter()
        .copied()
        .filter(|event| kinds.contains(&event.kind.as_str()))
}

fn todo(what: &str) -> String {
    format!("{TODO}: {what}\n")
}

fn sub_item(what: &str, text: &str) -> String {
    format!("   - {what}: {}\n", line(text))
}

pub(crate) fn format_item(text: &str) -> String {
    format!("- {text}\n")
}

pub(crate) fn format_row(cells: &[&str]) -> String {
    let mut out = "|".to_owned();
    for text in cells {
        out.push(' ');
        out.push_str(&cell(text));
        out.push_str(" |");
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests;
