//! A made-up incident: one backend gets far too much after a change of weights.

use evenkeel_journal::Recorded;
use evenkeel_model::blame::{Cause, Mechanism, Subject};
use evenkeel_model::clock::Wall;
use evenkeel_model::ids::{DeploymentId, IncidentId, RevisionId};
use evenkeel_model::record::{
    ActionRecord, CandidateRecord, DiagnosisRecord, EscalationState, EscalationStep, EventSource,
    IncidentKind, IncidentRecord, IncidentSeverity, IncidentStatus, TimelineEvent,
};

use super::{NOW, ago, name};

/// The incident with its timeline.
pub(crate) fn incident_record() -> (IncidentRecord, Vec<Recorded<TimelineEvent>>) {
    (record(), timeline())
}

fn record() -> IncidentRecord {
    let step = |level: &str| EscalationStep {
        name: name(level),
        notify: vec![name("pager")],
        ack_within_ms: 300_000,
    };
    IncidentRecord {
        id: IncidentId(7),
        kind: IncidentKind::Real,
        severity: IncidentSeverity::Sev2,
        status: IncidentStatus::Identified,
        title: "shop: web-1 gets 83 % of the traffic instead of 33 %, p99 1.84 s".to_owned(),
        pool: Some(name("shop")),
        fault_at: Some(ago(37)),
        fault_between: Some((ago(38), ago(36))),
        detected_at: ago(29),
        acknowledged_at: None,
        acknowledged_by: None,
        identified_at: Some(ago(28)),
        mitigated_at: None,
        resolved_at: None,
        closed_at: None,
        impact_requests: 5_912,
        impact_users_share: Some(0.176),
        diagnosis: Some(diagnosis()),
        actions: vec![ActionRecord {
            at: ago(27),
            kind: "page".to_owned(),
            detail: "on-call by pager".to_owned(),
            outcome: "done".to_owned(),
        }],
        revision_before: Some(RevisionId(42)),
        revision_after: None,
        escalation: EscalationState {
            levels: vec![step("on-call"), step("lead")],
            paged: 1,
            next_at: Some(Wall(NOW.0 + 281_000)),
        },
    }
}

fn diagnosis() -> DiagnosisRecord {
    let said = |text: &str| text.lines().map(str::to_owned).collect();
    let candidate =
        |cause, mechanism, subject, score: f64, pro: &str, contra: &str| CandidateRecord {
            cause,
            mechanism,
            subject,
            score,
            evidence_for: said(pro),
            evidence_against: said(contra),
        };
    let shift = "predicts 83.3 / 8.3 / 8.3 %, seen 83.4 / 8.3 / 8.3 %";
    DiagnosisRecord {
        cause: Cause::ConfigRevision,
        mechanism: Mechanism::Weight,
        subject: Some(Subject::Revision(RevisionId(42))),
        evidence: vec![
            format!("the weights of r42 explain the shares: {shift}"),
            "r42 began 1 s before the onset".to_owned(),
        ],
        candidates: vec![
            candidate(
                Cause::ConfigRevision,
                Mechanism::Weight,
                Subject::Revision(RevisionId(42)),
                1_204.6,
                shift,
                "",
            ),
            candidate(
                Cause::Deployment,
                Mechanism::Version,
                Subject::Deployment {
                    id: DeploymentId(3),
                    pool: name("shop"),
                    version: name("v2"),
                },
                f64::NEG_INFINITY,
                "",
                "6 min before the onset; a version does not move picks",
            ),
        ],
    }
}

fn timeline() -> Vec<Recorded<TimelineEvent>> {
    let events = [
        event(
            29,
            EventSource::Detector,
            "alert.fired",
            "intent test",
            "web-1 over by 50.0 points",
        ),
        event(
            28,
            EventSource::Controller,
            "diagnosis",
            "guard",
            "weights of r42",
        ),
        event(
            27,
            EventSource::Notifier,
            "page.sent",
            "pager",
            "on-call: 200 in 14 ms",
        ),
    ];
    let timeline = events.into_iter().enumerate().map(|(seq, value)| Recorded {
        seq: seq as u64 + 90,
        recorded_at: value.at,
        value,
    });
    timeline.collect()
}

fn event(seconds: u64, source: EventSource, kind: &str, actor: &str, text: &str) -> TimelineEvent {
    TimelineEvent {
        incident: Some(IncidentId(7)),
        at: ago(seconds),
        source,
        kind: kind.to_owned(),
        actor: actor.to_owned(),
        subject: "revision:r42".to_owned(),
        text: text.to_owned(),
    }
}
