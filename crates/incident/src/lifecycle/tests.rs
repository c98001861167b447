//! Tests of the lifecycle, and the incident that the tests of this room share.

use std::time::Duration;

use evenkeel_model::blame::{Cause, Mechanism, Subject};
use evenkeel_model::clock::Wall;
use evenkeel_model::config::EscalationLevel;
use evenkeel_model::ids::{IncidentId, Name, RevisionId};
use evenkeel_model::record::{
    ActionRecord, DiagnosisRecord, IncidentKind, IncidentRecord, IncidentSeverity, IncidentStatus,
};
use proptest::prelude::*;

use super::{
    ACTIONS_MAX, JOIN_WITHIN, MoveError, NOTE_MAX, Opening, acknowledge, acted, close, diagnosed,
    false_alarm, impact, is_open, join, mitigated, note, open, overlaps, raise_severity, relapsed,
    resolve,
};
use crate::escalation::due;

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn policy() -> Vec<EscalationLevel> {
    [("on-call", 5), ("engineering", 10), ("infrastructure", 15)]
        .map(|(level, minutes)| EscalationLevel {
            name: name(level),
            notify: vec![name(&format!("{level}-hook"))],
            ack_within: Duration::from_secs(minutes * 60),
        })
        .to_vec()
}

/// An incident of pool `shop`, found at `at`, five seconds after its onset.
pub(crate) fn incident(at: u64) -> IncidentRecord {
    open(Opening {
        id: IncidentId(7),
        kind: IncidentKind::Real,
        severity: IncidentSeverity::Sev2,
        title: "web-1 of pool `shop` gets 83 % of the traffic, intended 33 %".to_owned(),
        pool: Some(name("shop")),
        fault_at: Some(Wall(at.saturating_sub(5_000))),
        fault_between: Some((
            Wall(at.saturating_sub(6_000)),
            Wall(at.saturating_sub(4_000)),
        )),
        detected_at: Wall(at),
        detector: "share test (intent) after 1,204 picks, log e 25.1, threshold 19.6".to_owned(),
        revision: Some(RevisionId(3)),
        policy: &policy(),
    })
    .0
}

pub(crate) fn diagnosis() -> DiagnosisRecord {
    DiagnosisRecord {
        cause: Cause::ConfigRevision,
        mechanism: Mechanism::Weight,
        subject: Some(Subject::Revision(RevisionId(3))),
        evidence: vec!["r3 predicts 83 %, 33 % intended, 82 % seen".to_owned()],
        candidates: Vec::new(),
    }
}

#[test]
fn a_fault_goes_through_every_status_in_order_and_keeps_each_time() {
    let mut i = incident(100_000);
    assert_eq!(
        diagnosed(&mut i, diagnosis(), true, Wall(101_000))
            .unwrap()
            .len(),
        1
    );
    assert_eq!(i.status, IncidentStatus::Identified);
    acknowledge(&mut i, "ann", Wall(102_000)).unwrap();
    assert_eq!(i.status, IncidentStatus::Identified);
    mitigated(&mut i, Wall(108_000), Wall(113_000)).unwrap();
    assert_eq!(i.status, IncidentStatus::Mitigated);
    resolve(&mut i, "guard", "r2 restored and verified", Wall(120_000)).unwrap();
    close(&mut i, "ann", Wall(130_000)).unwrap();
    assert_eq!(i.status, IncidentStatus::Closed);
    let times = [
        i.fault_at,
        Some(i.detected_at),
        i.identified_at,
        i.acknowledged_at,
        i.mitigated_at,
        i.resolved_at,
        i.closed_at,
    ];
    let expected = [95, 100, 101, 102, 108, 120, 130].map(|s| Some(Wall(s * 1_000)));
    assert_eq!(times, expected);
    assert_eq!(i.acknowledged_by.as_deref(), Some("ann"));
}

#[test]
fn a_step_out_of_order_is_refused_and_changes_nothing() {
    let mut i = incident(100_000);
    let before = i.clone();
    assert!(matches!(
        close(&mut i, "ann", Wall(101_000)),
        Err(MoveError::Order { .. })
    ));
    assert!(matches!(
        relapsed(&mut i, Wall(101_000)),
        Err(MoveError::Order { .. })
    ));
    assert_eq!(i, before);
    resolve(&mut i, "ann", "switched off", Wall(101_000)).unwrap();
    assert_eq!(i.mitigated_at, Some(Wall(101_000)));
    let before = i.clone();
    assert!(mitigated(&mut i, Wall(102_000), Wall(102_000)).is_err());
    assert!(false_alarm(&mut i, "ann", "no", Wall(102_000)).is_err());
    assert!(acknowledge(&mut i, "ann", Wall(102_000)).is_err());
    assert!(diagnosed(&mut i, diagnosis(), true, Wall(102_000)).is_err());
    assert_eq!(i, before);
}

#[test]
fn a_false_alarm_ends_the_incident_for_good() {
    let mut i = incident(100_000);
    false_alarm(&mut i, "ann", "planned", Wall(101_000)).unwrap();
    assert_eq!(
        (i.status, due(&mut i, Wall(900_000))),
        (IncidentStatus::FalseAlarm, None)
    );
    let error = close(&mut i, "ann", Wall(102_000)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "incident i7 is false_alarm; nothing changes it any more"
    );
    assert!(!overlaps(
        &i,
        IncidentKind::Real,
        Some(&name("shop")),
        Wall(101_500)
    ));
}

#[test]
fn a_clock_that_went_back_moves_the_time_up_and_says_so() {
    let mut i = incident(100_000);
    let events = acknowledge(&mut i, "ann", Wall(40_000)).unwrap();
    assert_eq!(i.acknowledged_at, Some(Wall(100_000)));
    assert!(
        events[0]
            .text
            .contains("the clock said 1970-01-01T00:00:40.000Z")
    );
}

#[test]
fn a_second_acknowledgement_keeps_the_first_person() {
    let mut i = incident(100_000);
    acknowledge(&mut i, "ann", Wall(101_000)).unwrap();
    let events = acknowledge(&mut i, "bob", Wall(102_000)).unwrap();
    assert_eq!(
        (i.acknowledged_by.as_deref(), events[0].actor.as_str()),
        (Some("ann"), "bob")
    );
    assert_eq!(i.acknowledged_at, Some(Wall(101_000)));
}

#[test]
fn the_same_fault_joins_and_another_pool_or_a_drill_does_not() {
    let mut i = incident(100_000);
    let shop = name("shop");
    assert!(overlaps(&i, IncidentKind::Real, Some(&shop), Wall(500_000)));
    assert!(!overlaps(
        &i,
        IncidentKind::Real,
        Some(&name("api")),
        Wall(101_000)
    ));
    assert!(!overlaps(
        &i,
        IncidentKind::Drill,
        Some(&shop),
        Wall(101_000)
    ));
    resolve(&mut i, "guard", "done", Wall(200_000)).unwrap();
    let edge = Wall(200_000).plus(JOIN_WITHIN);
    assert!(overlaps(&i, IncidentKind::Real, Some(&shop), edge));
    assert!(!overlaps(
        &i,
        IncidentKind::Real,
        Some(&shop),
        Wall(edge.0 + 1)
    ));
    close(&mut i, "ann", Wall(201_000)).unwrap();
    assert!(!overlaps(
        &i,
        IncidentKind::Real,
        Some(&shop),
        Wall(200_500)
    ));
}

#[test]
fn joining_widens_the_onset_raises_the_severity_and_reopens_what_was_just_resolved() {
    let mut i = incident(100_000);
    resolve(&mut i, "guard", "done", Wall(120_000)).unwrap();
    let onset = Some(Wall(93_000));
    let events = join(
        &mut i,
        "harm test",
        onset,
        IncidentSeverity::Sev1,
        Wall(130_000),
    );
    let kinds: Vec<&str> = events.iter().map(|e| e.kind.as_str()).collect();
    assert_eq!(kinds, ["alert.joined", "status.changed", "severity.raised"]);
    assert_eq!(
        (i.status, i.severity),
        (IncidentStatus::Detected, IncidentSeverity::Sev1)
    );
    assert_eq!(i.fault_at, onset);
    assert_eq!(i.fault_between.unwrap().0, Wall(93_000));
    assert_eq!((i.resolved_at, i.mitigated_at), (None, None));
    assert!(due(&mut i, Wall(130_000)).is_some());
}

#[test]
fn severity_and_impact_only_grow() {
    let mut i = incident(100_000);
    assert_eq!(
        raise_severity(&mut i, IncidentSeverity::Sev3, Wall(101_000)),
        []
    );
    assert_eq!(
        raise_severity(&mut i, IncidentSeverity::Sev1, Wall(101_000)).len(),
        1
    );
    impact(&mut i, 40, Some(0.3));
    impact(&mut i, 30, Some(0.1));
    impact(&mut i, 30, Some(f64::NAN));
    assert_eq!((i.impact_requests, i.impact_users_share), (40, Some(0.3)));
    impact(&mut i, 50, Some(7.0));
    assert_eq!((i.impact_requests, i.impact_users_share), (50, Some(1.0)));
}

#[test]
fn a_diagnosis_is_told_when_it_changes_or_becomes_sure_and_not_every_tick() {
    let mut i = incident(100_000);
    let mut count = |sure: bool, s: u64| {
        diagnosed(&mut i, diagnosis(), sure, Wall(s * 1_000))
            .unwrap()
            .len()
    };
    assert_eq!(
        [
            count(false, 101),
            count(false, 102),
            count(true, 103),
            count(true, 104)
        ],
        [1, 0, 1, 0]
    );
    assert_eq!(i.identified_at, Some(Wall(103_000)));
}

#[test]
fn an_unknown_cause_is_never_identified() {
    let mut i = incident(100_000);
    let unknown = DiagnosisRecord {
        cause: Cause::Unknown,
        mechanism: Mechanism::None,
        subject: None,
        ..diagnosis()
    };
    diagnosed(&mut i, unknown, true, Wall(101_000)).unwrap();
    assert_eq!(
        (i.status, i.identified_at),
        (IncidentStatus::Detected, None)
    );
}

#[test]
fn notes_are_bounded_and_actions_too() {
    let mut i = incident(100_000);
    assert_eq!(note(&i, "ann", "  ", Wall(1)), Err(MoveError::NoteEmpty));
    let long = "x".repeat(NOTE_MAX + 1);
    assert_eq!(
        note(&i, "ann", &long, Wall(1)),
        Err(MoveError::NoteTooLong(NOTE_MAX + 1))
    );
    assert_eq!(note(&i, "ann", " seen ", Wall(1)).unwrap()[0].text, "seen");
    for n in 0..=ACTIONS_MAX as u64 {
        let action = ActionRecord {
            at: Wall(100_000 + n),
            kind: "suggest".to_owned(),
            detail: "rollback to r2".to_owned(),
            outcome: "suggested".to_owned(),
        };
        assert_eq!(acted(&mut i, action, None)[0].kind, "action.suggested");
    }
    assert_eq!(i.actions.len(), ACTIONS_MAX);
}

/// One random move; refused ones are part of the test.
fn step(i: &mut IncidentRecord, which: u8, at: Wall) {
    let done = match which {
        0 => acknowledge(i, "ann", at),
        1 => diagnosed(i, diagnosis(), true, at),
        2 => mitigated(i, at, at),
        3 => relapsed(i, at),
        4 => resolve(i, "guard", "done", at),
        5 => close(i, "ann", at),
        6 => false_alarm(i, "ann", "no", at),
        _ => Ok(join(i, "again", Some(at), IncidentSeverity::Sev2, at)),
    };
    assert!(done.is_ok_and(|events| events.iter().all(|e| e.incident == Some(i.id))) || which < 7);
}

proptest! {
    #[test]
    fn whatever_happens_times_keep_their_order_and_an_ended_incident_pages_nobody(
        moves in prop::collection::vec((0u8..8, 50_000u64..300_000), 0..40),
    ) {
        let mut i = incident(100_000);
        for (which, at) in moves {
            if which == 7 && matches!(i.status, IncidentStatus::Closed | IncidentStatus::FalseAlarm) {
                continue;
            }
            step(&mut i, which, Wall(at));
            prop_assert!(i.fault_at.unwrap() <= i.detected_at);
            prop_assert!(i.acknowledged_at.is_none_or(|t| t >= i.detected_at));
            prop_assert!(i.identified_at.is_none_or(|t| t >= i.detected_at));
            prop_assert!(i.mitigated_at.is_none_or(|t| t >= i.fault_at.unwrap()));
            prop_assert!(i.resolved_at.is_none_or(|t| t >= i.detected_at && Some(t) >= i.mitigated_at));
            prop_assert!(i.closed_at.is_none_or(|t| t >= i.detected_at && i.resolved_at.is_none_or(|r| t >= r)));
            if !is_open(i.status) || i.status == IncidentStatus::Mitigated {
                prop_assert_eq!(due(&mut i, Wall(u64::MAX)), None);
            }
        }
    }
}
