//! Incidents: what `incident list` and `incident show` say.

use evenkeel_journal::Recorded;
use evenkeel_model::record::{IncidentRecord, TimelineEvent};
use serde::{Deserialize, Serialize};

use super::{maybe_time, time};

/// `incident list` and `incident show`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct IncidentView {
    pub id: String,
    pub kind: String,
    pub severity: String,
    pub status: String,
    pub title: String,
    pub pool: Option<String>,
    pub fault_at: Option<String>,
    pub detected_at: String,
    pub acknowledged_at: Option<String>,
    pub acknowledged_by: Option<String>,
    pub identified_at: Option<String>,
    pub mitigated_at: Option<String>,
    pub resolved_at: Option<String>,
    pub closed_at: Option<String>,
    pub impact: ImpactView,
    pub diagnosis: Option<DiagnosisView>,
    pub actions: Vec<ActionView>,
    /// Only in `show`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub timeline: Option<Vec<EventView>>,
}

/// Who was harmed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct ImpactView {
    pub requests: u64,
    pub users_share: Option<f64>,
}

/// What explains it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct DiagnosisView {
    pub cause: String,
    pub mechanism: String,
    pub subject: Option<String>,
    pub evidence: Vec<String>,
    pub candidates: Vec<CandidateView>,
}

/// One candidate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct CandidateView {
    pub cause: String,
    pub mechanism: String,
    pub subject: String,
    /// Nats above "nothing changed"; null when vetoed.
    pub score: Option<f64>,
    #[serde(rename = "for")]
    pub evidence_for: Vec<String>,
    #[serde(rename = "against")]
    pub evidence_against: Vec<String>,
}

/// Something that was done.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct ActionView {
    pub at: String,
    pub kind: String,
    pub detail: String,
    pub outcome: String,
}

/// A line of the timeline.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct EventView {
    pub seq: u64,
    pub at: String,
    pub recorded_at: String,
    pub source: String,
    pub kind: String,
    pub actor: String,
    pub subject: String,
    pub text: String,
}

impl EventView {
    /// The view of a line.
    pub fn of(recorded: &Recorded<TimelineEvent>) -> Self {
        let event = &recorded.value;
        Self {
            seq: recorded.seq,
            at: time(event.at),
            recorded_at: time(recorded.recorded_at),
            source: event.source.as_str().to_owned(),
            kind: event.kind.clone(),
            actor: event.actor.clone(),
            subject: event.subject.clone(),
            text: event.text.clone(),
        }
    }
}

impl IncidentView {
    /// The view of an incident, with its timeline for `show`.
    pub fn of(record: &IncidentRecord, timeline: Option<&[Recorded<TimelineEvent>]>) -> Self {
        let diagnosis = record.diagnosis.as_ref().map(|d| DiagnosisView {
            cause: d.cause.as_str().to_owned(),
            mechanism: d.mechanism.as_str().to_owned(),
            subject: d.subject.as_ref().map(ToString::to_string),
            evidence: d.evidence.clone(),
            candidates: d.candidates.iter().map(candidate).collect(),
        });
        let actions = record.actions.iter().map(|a| ActionView {
            at: time(a.at),
            kind: a.kind.clone(),
            detail: a.detail.clone(),
            outcome: a.outcome.clone(),
        });
        Self {
            id: record.id.to_string(),
            kind: record.kind.as_str().to_owned(),
            severity: record.severity.as_str().to_owned(),
            status: record.status.as_str().to_owned(),
            title: record.title.clone(),
            pool: record.pool.as_ref().map(ToString::to_string),
            fault_at: maybe_time(record.fault_at),
            detected_at: time(record.detected_at),
            acknowledged_at: maybe_time(record.acknowledged_at),
            acknowledged_by: record.acknowledged_by.clone(),
            identified_at: maybe_time(record.identified_at),
            mitigated_at: maybe_time(record.mitigated_at),
            resolved_at: maybe_time(record.resolved_at),
            closed_at: maybe_time(record.closed_at),
            impact: ImpactView {
                requests: record.impact_requests,
                users_share: record.impact_users_share,
            },
            diagnosis,
            actions: actions.collect(),
            timeline: timeline.map(|events| events.iter().map(EventView::of).collect()),
        }
    }
}

fn candidate(c: &evenkeel_model::record::CandidateRecord) -> CandidateView {
    CandidateView {
        cause: c.cause.as_str().to_owned(),
        mechanism: c.mechanism.as_str().to_owned(),
        subject: c.subject.to_string(),
        score: c.score.is_finite().then_some(c.score),
        evidence_for: c.evidence_for.clone(),
        evidence_against: c.evidence_against.clone(),
    }
}
