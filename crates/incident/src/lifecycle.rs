//! Opening an incident, joining it, and moving it on.
//!
//! Each function checks first and changes the record only if it may; it gives back the timeline events to
//! append with it. The order is detected, acknowledged or identified, mitigated, resolved, closed; a false
//! alarm ends it from anywhere before resolved. The status never steps back except by [`relapsed`]. An
//! acknowledgement of an incident that is further on sets its time and keeps its status.
//!
//! Times never go back: a moment before the earliest one that makes sense (a wall clock that stepped, a
//! person at another clock) is moved up to it and the event says so; an acknowledgement at three in the
//! morning is not refused because of a clock.
//!
//! Limits: [`ACTIONS_MAX`] actions and [`NOTE_MAX`] bytes per note; further actions are left to the timeline.

use std::time::Duration;

use evenkeel_model::blame::Cause;
use evenkeel_model::clock::Wall;
use evenkeel_model::config::EscalationLevel;
use evenkeel_model::ids::{IncidentId, Name, RevisionId};
use evenkeel_model::record::{
    ActionRecord, DiagnosisRecord, EventSource, IncidentKind, IncidentRecord, IncidentSeverity,
    IncidentStatus, TimelineEvent,
};

use crate::civil::{rfc3339, span};
use crate::escalation;

/// How the guard signs what it does by itself.
pub const GUARD: &str = "guard";
/// Actions kept in the record of one incident.
pub const ACTIONS_MAX: usize = 64;
/// Longest note in bytes.
pub const NOTE_MAX: usize = 4_096;
/// A fault whose onset lies at most this long after the end of an incident of the same pool belongs to it.
pub const JOIN_WITHIN: Duration = Duration::from_mins(1);

/// What a test knows when it opens an incident.
#[derive(Debug, Clone, PartialEq)]
pub struct Opening<'a> {
    /// The number given by the journal.
    pub id: IncidentId,
    /// Real, drill or test.
    pub kind: IncidentKind,
    /// See [`crate::severity`].
    pub severity: IncidentSeverity,
    /// In one line, such as "web-1 of pool `shop` gets 83 % of the traffic, intended 33 %".
    pub title: String,
    /// The pool it is about.
    pub pool: Option<Name>,
    /// Estimated onset.
    pub fault_at: Option<Wall>,
    /// Earliest and latest plausible onset.
    pub fault_between: Option<(Wall, Wall)>,
    /// When the test crossed its threshold.
    pub detected_at: Wall,
    /// Which test, with sample and threshold; the text of the first timeline event.
    pub detector: String,
    /// The running revision.
    pub revision: Option<RevisionId>,
    /// The escalation policy as it is now; the incident keeps a copy.
    pub policy: &'a [EscalationLevel],
}

/// Why an incident does not move.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoveError {
    /// The incident is over.
    #[error("incident {id} is {status}; nothing changes it any more")]
    Over {
        /// Which.
        id: IncidentId,
        /// Where it stands.
        status: IncidentStatus,
    },
    /// The step is not allowed from here.
    #[error("incident {id} is {from}, it cannot become {to}")]
    Order {
        /// Which.
        id: IncidentId,
        /// Where it stands.
        from: IncidentStatus,
        /// Where it should go.
        to: IncidentStatus,
    },
    /// An empty note.
    #[error("a note must not be empty")]
    NoteEmpty,
    /// A note that is too long.
    #[error("a note has at most {NOTE_MAX} bytes, got {0}")]
    NoteTooLong(usize),
}

/// Whether an incident in `status` still needs someone.
pub const fn is_open(status: IncidentStatus) -> bool {
    match status {
        IncidentStatus::Detected
        | IncidentStatus::Acknowledged
        | IncidentStatus::Identified
        | IncidentStatus::Mitigated => true,
        IncidentStatus::Resolved | IncidentStatus::Closed | IncidentStatus::FalseAlarm => false,
    }
}

/// A new incident and its first event. The first page is due at once ([`escalation::due`]).
pub fn open(opening: Opening<'_>) -> (IncidentRecord, Vec<TimelineEvent>) {
    let detected_at = opening.detected_at;
    let incident = IncidentRecord {
        id: opening.id,
        kind: opening.kind,
        severity: opening.severity,
        status: IncidentStatus::Detected,
        title: opening.title,
        pool: opening.pool,
        fault_at: opening.fault_at.map(|at| at.min(detected_at)),
        fault_between: opening.fault_between.map(|(low, high)| {
            (
                low.min(high).min(detected_at),
                low.max(high).min(detected_at),
            )
        }),
        detected_at,
        acknowledged_at: None,
        acknowledged_by: None,
        identified_at: None,
        mitigated_at: None,
        resolved_at: None,
        closed_at: None,
        impact_requests: 0,
        impact_users_share: None,
        diagnosis: None,
        actions: Vec::new(),
        revision_before: opening.revision,
        revision_after: None,
        escalation: escalation::snapshot(opening.policy, opening.severity, detected_at),
    };
    let text = format!("{}; {}", incident.title, opening.detector);
    let fired = event(
        &incident,
        detected_at,
        EventSource::Detector,
        "alert.fired",
        "detector",
        text,
    );
    (incident, vec![fired])
}

/// Whether a fault of `pool` with its onset at `fault_at` belongs to `incident`: same kind, same pool, and the
/// incident is open, or was resolved (not closed) later than [`JOIN_WITHIN`] before the onset.
pub fn overlaps(
    incident: &IncidentRecord,
    kind: IncidentKind,
    pool: Option<&Name>,
    fault_at: Wall,
) -> bool {
    let just_resolved = incident.status == IncidentStatus::Resolved
        && incident
            .resolved_at
            .is_some_and(|end| fault_at <= end.plus(JOIN_WITHIN));
    incident.kind == kind
        && incident.pool.as_ref() == pool
        && (is_open(incident.status) || just_resolved)
}

/// A further test found the same fault: the incident gets its evidence and nobody is paged twice. An earlier
/// onset widens the interval; one that was resolved is open again, as mitigated no longer.
pub fn join(
    incident: &mut IncidentRecord,
    detector: &str,
    fault_at: Option<Wall>,
    severity: IncidentSeverity,
    at: Wall,
) -> Vec<TimelineEvent> {
    let mut events = vec![event(
        incident,
        at,
        EventSource::Detector,
        "alert.joined",
        "detector",
        detector.to_owned(),
    )];
    if let Some(fault_at) = fault_at.map(|f| f.min(incident.detected_at)) {
        incident.fault_at = Some(incident.fault_at.map_or(fault_at, |old| old.min(fault_at)));
        if let Some((low, _)) = &mut incident.fault_between {
            *low = (*low).min(fault_at);
        }
    }
    if !is_open(incident.status) {
        incident.resolved_at = None;
        incident.status = IncidentStatus::Mitigated;
    }
    if incident.status == IncidentStatus::Mitigated {
        events.extend(relapsed(incident, at).unwrap_or_default());
    }
    events.extend(raise_severity(incident, severity, at));
    events
}

/// A person takes it: paging stops. A second person's acknowledgement is written down, the first keeps it.
pub fn acknowledge(
    incident: &mut IncidentRecord,
    by: &str,
    at: Wall,
) -> Result<Vec<TimelineEvent>, MoveError> {
    check_open(incident)?;
    let (at, moved) = not_before(at, incident.detected_at);
    escalation::stop(&mut incident.escalation);
    if let Some(first_at) = incident.acknowledged_at {
        let text = format!("acknowledged too; it was taken at {}", rfc3339(first_at));
        return Ok(vec![event(
            incident,
            at,
            EventSource::Human,
            "acked",
            by,
            text,
        )]);
    }
    incident.acknowledged_at = Some(at);
    incident.acknowledged_by = Some(by.to_owned());
    if incident.status == IncidentStatus::Detected {
        incident.status = IncidentStatus::Acknowledged;
    }
    let after = span(at.since(incident.detected_at));
    let text = format!("acknowledged {after} after detection; paging stops{moved}");
    Ok(vec![event(
        incident,
        at,
        EventSource::Human,
        "acked",
        by,
        text,
    )])
}

/// A person's words on the timeline. Also for incidents that are over: lessons come late.
pub fn note(
    incident: &IncidentRecord,
    by: &str,
    text: &str,
    at: Wall,
) -> Result<Vec<TimelineEvent>, MoveError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(MoveError::NoteEmpty);
    }
    if text.len() > NOTE_MAX {
        return Err(MoveError::NoteTooLong(text.len()));
    }
    let text = text.to_owned();
    Ok(vec![event(
        incident,
        at,
        EventSource::Human,
        "note",
        by,
        text,
    )])
}

/// A diagnosis came in. `sure` says that its margin is enough to act on: then the cause counts as identified.
/// An event is written only when cause or subject changed or became sure, since a diagnosis runs every tick.
pub fn diagnosed(
    incident: &mut IncidentRecord,
    diagnosis: DiagnosisRecord,
    sure: bool,
    at: Wall,
) -> Result<Vec<TimelineEvent>, MoveError> {
    check_open(incident)?;
    let known = diagnosis.cause != Cause::Unknown && sure;
    let news = incident.diagnosis.as_ref().is_none_or(|old| {
        (old.cause, old.mechanism, &old.subject)
            != (diagnosis.cause, diagnosis.mechanism, &diagnosis.subject)
    });
    let first = known && incident.identified_at.is_none();
    let mut events = Vec::new();
    if news || first {
        let kind = if known {
            "cause.identified"
        } else {
            "cause.candidate"
        };
        let subject = diagnosis
            .subject
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let why = diagnosis.evidence.join("; ");
        let text = format!("{} ({}): {why}", diagnosis.cause, diagnosis.mechanism);
        let line = event(
            incident,
            at,
            EventSource::Controller,
            kind,
            "diagnosis",
            text,
        );
        events.push(TimelineEvent { subject, ..line });
    }
    incident.diagnosis = Some(diagnosis);
    if first {
        incident.identified_at = Some(at.max(incident.detected_at));
        if matches!(
            incident.status,
            IncidentStatus::Detected | IncidentStatus::Acknowledged
        ) {
            incident.status = IncidentStatus::Identified;
        }
    }
    Ok(events)
}

/// Something was done, or suggested, about it. `revision_after` is the running revision once it was done.
pub fn acted(
    incident: &mut IncidentRecord,
    action: ActionRecord,
    revision_after: Option<RevisionId>,
) -> Vec<TimelineEvent> {
    let kind = if action.outcome == "suggested" {
        "action.suggested"
    } else {
        "action.taken"
    };
    let text = format!("{}: {} ({})", action.kind, action.detail, action.outcome);
    let line = event(
        incident,
        action.at,
        EventSource::Controller,
        kind,
        GUARD,
        text,
    );
    if incident.actions.len() < ACTIONS_MAX {
        incident.actions.push(action);
    }
    if revision_after.is_some() {
        incident.revision_after = revision_after;
    }
    vec![line]
}

/// What it cost so far. Neither figure ever falls; no event, since it moves every tick.
pub fn impact(incident: &mut IncidentRecord, requests: u64, users_share: Option<f64>) {
    incident.impact_requests = incident.impact_requests.max(requests);
    if let Some(share) = users_share.filter(|share| share.is_finite()) {
        let share = share.clamp(0.0, 1.0);
        let before = incident.impact_users_share.unwrap_or(0.0);
        incident.impact_users_share = Some(share.max(before));
    }
}

/// Raises the severity; a lower one changes nothing. Information that became worse is paged now.
pub fn raise_severity(
    incident: &mut IncidentRecord,
    severity: IncidentSeverity,
    at: Wall,
) -> Vec<TimelineEvent> {
    // sev1 sorts first.
    if severity >= incident.severity || !is_open(incident.status) {
        return Vec::new();
    }
    let text = format!("severity raised from {} to {severity}", incident.severity);
    if incident.severity == IncidentSeverity::Sev4 && incident.acknowledged_at.is_none() {
        escalation::rearm(&mut incident.escalation, at);
    }
    incident.severity = severity;
    vec![event(
        incident,
        at,
        EventSource::Controller,
        "severity.raised",
        GUARD,
        text,
    )]
}

/// Harm stopped at `since`, which is known at `now` (5 s of calm later). Paging stops.
pub fn mitigated(
    incident: &mut IncidentRecord,
    since: Wall,
    now: Wall,
) -> Result<Vec<TimelineEvent>, MoveError> {
    check_step(incident, IncidentStatus::Mitigated)?;
    let (since, moved) = not_before(since, incident.fault_at.unwrap_or(incident.detected_at));
    incident.mitigated_at = Some(since);
    incident.status = IncidentStatus::Mitigated;
    escalation::stop(&mut incident.escalation);
    let text = format!(
        "harm stopped at {}, {} after the onset{moved}",
        rfc3339(since),
        span(since.since(incident.fault_at.unwrap_or(incident.detected_at)))
    );
    Ok(vec![status_event(incident, now, GUARD, text)])
}

/// Harm came back before the incident was resolved: the only step back. Paging goes on where it stopped, unless
/// somebody has acknowledged.
pub fn relapsed(incident: &mut IncidentRecord, now: Wall) -> Result<Vec<TimelineEvent>, MoveError> {
    if incident.status != IncidentStatus::Mitigated {
        return Err(MoveError::Order {
            id: incident.id,
            from: incident.status,
            to: IncidentStatus::Detected,
        });
    }
    incident.status = match (incident.identified_at, incident.acknowledged_at) {
        (Some(_), _) => IncidentStatus::Identified,
        (None, Some(_)) => IncidentStatus::Acknowledged,
        (None, None) => IncidentStatus::Detected,
    };
    let before = incident
        .mitigated_at
        .take()
        .map(rfc3339)
        .unwrap_or_default();
    if incident.acknowledged_at.is_none() {
        escalation::rearm(&mut incident.escalation, now);
    }
    let text = format!("harm is back; it had counted as stopped since {before}");
    Ok(vec![status_event(incident, now, GUARD, text)])
}

/// Recovery is verified and the cause is gone. By the guard (`by` = [`GUARD`]) or by a person, who may also say so
/// of an incident whose harm was not seen to stop.
pub fn resolve(
    incident: &mut IncidentRecord,
    by: &str,
    why: &str,
    at: Wall,
) -> Result<Vec<TimelineEvent>, MoveError> {
    check_step(incident, IncidentStatus::Resolved)?;
    let earliest = [
        Some(incident.detected_at),
        incident.acknowledged_at,
        incident.identified_at,
        incident.mitigated_at,
    ];
    let earliest = earliest.into_iter().flatten().max();
    let (at, moved) = not_before(at, earliest.unwrap_or(incident.detected_at));
    incident.resolved_at = Some(at);
    incident.mitigated_at = incident.mitigated_at.or(Some(at));
    incident.status = IncidentStatus::Resolved;
    escalation::stop(&mut incident.escalation);
    let text = format!("resolved: {why}{moved}");
    Ok(vec![status_event(incident, at, by, text)])
}

/// Done with, post-mortem included.
pub fn close(
    incident: &mut IncidentRecord,
    by: &str,
    at: Wall,
) -> Result<Vec<TimelineEvent>, MoveError> {
    check_step(incident, IncidentStatus::Closed)?;
    let (at, moved) = not_before(at, incident.resolved_at.unwrap_or(incident.detected_at));
    incident.closed_at = Some(at);
    incident.status = IncidentStatus::Closed;
    Ok(vec![status_event(
        incident,
        at,
        by,
        format!("closed{moved}"),
    )])
}

/// Nothing was wrong; only a person can say so.
pub fn false_alarm(
    incident: &mut IncidentRecord,
    by: &str,
    why: &str,
    at: Wall,
) -> Result<Vec<TimelineEvent>, MoveError> {
    check_step(incident, IncidentStatus::FalseAlarm)?;
    let (at, moved) = not_before(at, incident.detected_at);
    incident.closed_at = Some(at);
    incident.status = IncidentStatus::FalseAlarm;
    escalation::stop(&mut incident.escalation);
    let text = format!("false alarm: {why}{moved}");
    Ok(vec![status_event(incident, at, by, text)])
}

/// A timeline event of `incident`; the subject is its pool.
pub fn event(
    incident: &IncidentRecord,
    at: Wall,
    source: EventSource,
    kind: &str,
    actor: &str,
    text: String,
) -> TimelineEvent {
    TimelineEvent {
        incident: Some(incident.id),
        at,
        source,
        kind: kind.to_owned(),
        actor: actor.to_owned(),
        subject: incident
            .pool
            .as_ref()
            .map(|pool| format!("pool:{pool}"))
            .unwrap_or_default(),
        text,
    }
}

fn status_event(incident: &IncidentRecord, at: Wall, by: &str, text: String) -> TimelineEvent {
    event(incident, at, source_of(by), "status.changed", by, text)
}

/// The guard signs as [`GUARD`]; every other actor is a person.
pub(crate) fn source_of(by: &str) -> EventSource {
    if by == GUARD {
        EventSource::Controller
    } else {
        EventSource::Human
    }
}

fn check_open(incident: &IncidentRecord) -> Result<(), MoveError> {
    if is_open(incident.status) {
        Ok(())
    } else {
        Err(MoveError::Over {
            id: incident.id,
            status: incident.status,
        })
    }
}

/// Whether the status may become `to`.
fn check_step(incident: &IncidentRecord, to: IncidentStatus) -> Result<(), MoveError> {
    use IncidentStatus as S;
    let allowed = match to {
        S::Mitigated => {
            matches!(
                incident.status,
                S::Detected | S::Acknowledged | S::Identified
            )
        }
        S::Resolved | S::FalseAlarm => is_open(incident.status),
        S::Closed => incident.status == S::Resolved,
        S::Detected | S::Acknowledged | S::Identified => false,
    };
    if allowed {
        Ok(())
    } else if matches!(incident.status, S::Closed | S::FalseAlarm) {
        Err(MoveError::Over {
            id: incident.id,
            status: incident.status,
        })
    } else {
        Err(MoveError::Order {
            id: incident.id,
            from: incident.status,
            to,
        })
    }
}

/// `at`, moved up to `earliest` with the words that say so.
fn not_before(at: Wall, earliest: Wall) -> (Wall, String) {
    if at >= earliest {
        return (at, String::new());
    }
    let words = format!(" (the clock said {}, before what it follows)", rfc3339(at));
    (earliest, words)
}

#[cfg(test)]
pub(crate) mod tests;
