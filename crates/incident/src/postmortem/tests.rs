//! A whole draft as a snapshot, and what it must never do.

use evenkeel_model::blame::{Cause, Mechanism, Subject};
use evenkeel_model::clock::Wall;
use evenkeel_model::ids::{DeploymentId, IncidentId, RevisionId};
use evenkeel_model::record::{
    ActionRecord, CandidateRecord, ContentHash, DeploymentRecord, IncidentKind, IncidentRecord,
    IncidentSeverity, RevisionRecord, RevisionState, TimelineEvent, Told,
};

use super::{Draft, People, TIMELINE_MAX, draft, durations, unfinished};
use crate::escalation::{Delivery, delivery_event, due, page_event};
use crate::lifecycle::tests::{diagnosis, incident, name, policy};
use crate::lifecycle::{
    Opening, acknowledge, acted, diagnosed, impact, mitigated, note, open, raise_severity, resolve,
};

/// 2026-11-22 22:00:05 UTC.
const FOUND: u64 = 1_795_384_805_000;

fn revision(id: u64, at: u64, author: &str, reason: &str) -> RevisionRecord {
    RevisionRecord {
        id: RevisionId(id),
        parent: Some(RevisionId(id - 1)),
        hash: ContentHash([id as u8; 32]),
        text: "".into(),
        author: author.to_owned(),
        reason: reason.to_owned(),
        state: RevisionState::Superseded,
        at: Wall(at),
        forced: id == 3,
        confirm_by: None,
        keep_until: None,
        incident: None,
    }
}

fn deployment() -> DeploymentRecord {
    DeploymentRecord {
        id: DeploymentId(1),
        pool: name("shop"),
        version: name("v2"),
        backends: vec![name("web-1"), name("web-2")],
        at: Wall(FOUND - 300_000),
        recorded_at: Wall(FOUND - 300_000),
        author: "carol".to_owned(),
        note: "faster | search".to_owned(),
        ended_at: None,
        told: Some(Told::Finished),
        revision: None,
        messages: Vec::new(),
    }
}

fn candidates() -> Vec<CandidateRecord> {
    let candidate =
        |cause, mechanism, subject, score, pro: &[&str], con: &[&str]| CandidateRecord {
            cause,
            mechanism,
            subject,
            score,
            evidence_for: pro.iter().map(|s| (*s).to_owned()).collect(),
            evidence_against: con.iter().map(|s| (*s).to_owned()).collect(),
        };
    let v2 = Subject::Deployment {
        id: DeploymentId(1),
        pool: name("shop"),
        version: name("v2"),
    };
    vec![
        candidate(
            Cause::ConfigRevision,
            Mechanism::Weight,
            Subject::Revision(RevisionId(3)),
            1_331.4,
            &["it explains the spread: web-1 got 83 % of 3604 picks, expected 83 %, intended 33 %"],
            &[],
        ),
        candidate(
            Cause::Deployment,
            Mechanism::Version,
            v2,
            -14.0,
            &[],
            &["web-2 got it as well and did not get worse"],
        ),
        candidate(
            Cause::ConfigRevision,
            Mechanism::Timeout,
            Subject::Revision(RevisionId(4)),
            f64::NEG_INFINITY,
            &[],
            &["it was made 2 s after the latest plausible onset"],
        ),
    ]
}

/// The outage of the product's story, ended by a rollback.
fn story() -> (IncidentRecord, Vec<TimelineEvent>) {
    let (mut i, mut events) = open(Opening {
        id: IncidentId(7),
        kind: IncidentKind::Real,
        severity: IncidentSeverity::Sev3,
        title: "web-1 of pool `shop` gets 83 % of the traffic, intended 33 %".to_owned(),
        pool: Some(name("shop")),
        fault_at: Some(Wall(FOUND - 5_000)),
        fault_between: Some((Wall(FOUND - 6_000), Wall(FOUND - 4_000))),
        detected_at: Wall(FOUND),
        detector: "share test (intent) after 1,204 picks, log e 25.1, threshold 19.6".to_owned(),
        revision: Some(RevisionId(3)),
        policy: &policy(),
    });
    let page = due(&mut i, Wall(FOUND)).unwrap();
    events.push(page_event(&i, &page, Wall(FOUND)));
    let hook = page.receivers[0].clone();
    events.push(delivery_event(
        &i,
        1,
        &hook,
        &Delivery::Sent,
        Wall(FOUND + 120),
    ));
    let mut found = diagnosis();
    found.candidates = candidates();
    events.extend(diagnosed(&mut i, found, true, Wall(FOUND + 1_000)).unwrap());
    events.extend(raise_severity(
        &mut i,
        IncidentSeverity::Sev1,
        Wall(FOUND + 1_000),
    ));
    let action = ActionRecord {
        at: Wall(FOUND + 1_100),
        kind: "rollback".to_owned(),
        detail: "r3 was undone, r5 restores r2".to_owned(),
        outcome: "done".to_owned(),
    };
    events.extend(acted(&mut i, action, Some(RevisionId(5))));
    events.extend(acknowledge(&mut i, "anna", Wall(FOUND + 40_000)).unwrap());
    events.extend(
        note(
            &i,
            "anna",
            "looking | <b>at</b> [it](x)\nnow",
            Wall(FOUND + 45_000),
        )
        .unwrap(),
    );
    impact(&mut i, 1_834, Some(0.412));
    events.extend(mitigated(&mut i, Wall(FOUND + 6_000), Wall(FOUND + 11_000)).unwrap());
    events.extend(resolve(&mut i, "guard", "r5 verified", Wall(FOUND + 60_000)).unwrap());
    (i, events)
}

fn text(incident: &IncidentRecord, timeline: &[TimelineEvent], people: People) -> String {
    let mut other = self::incident(FOUND - 86_400_000 * 30);
    other.id = IncidentId(2);
    draft(&Draft {
        incident,
        timeline,
        revisions: &[
            revision(2, FOUND - 86_400_000 * 3, "bob", "old"),
            revision(3, FOUND - 5_200, "bob", "more traffic for web-1"),
            revision(4, FOUND - 2_000, "bob", "timeout"),
            revision(5, FOUND + 1_100, "guard", "automatic rollback"),
        ],
        changes: &[(
            RevisionId(3),
            vec!["pool.shop.backend.web-1.weight: 1 -> 10".to_owned()],
        )],
        deployments: &[deployment()],
        earlier: &[other],
        at: Wall(FOUND + 120_000),
        people,
    })
}

#[test]
fn a_whole_draft_reads_as_it_should() {
    let (incident, timeline) = story();
    insta::assert_snapshot!(text(&incident, &timeline, People::Roles));
}

#[test]
fn an_incident_with_nothing_known_still_gives_a_draft() {
    let mut bare = incident(FOUND);
    bare.kind = IncidentKind::Drill;
    (
        bare.fault_at,
        bare.fault_between,
        bare.pool,
        bare.revision_before,
    ) = (None, None, None, None);
    insta::assert_snapshot!(draft(&Draft {
        incident: &bare,
        timeline: &[],
        revisions: &[],
        changes: &[],
        deployments: &[],
        earlier: &[],
        at: Wall(FOUND),
        people: People::Roles,
    }));
}

#[test]
fn people_appear_as_roles_and_candidates_are_never_called_root_cause() {
    let (incident, timeline) = story();
    let roles = text(&incident, &timeline, People::Roles);
    assert!(
        ["anna", "bob", "carol"]
            .iter()
            .all(|who| !roles.contains(who)),
        "{roles}"
    );
    assert!(!roles.to_lowercase().contains("root cause"));
    assert!(unfinished(&roles) >= 12);
    let names = text(&incident, &timeline, People::Names);
    assert!(
        ["anna", "bob", "carol"]
            .iter()
            .all(|who| names.contains(who))
    );
}

#[test]
fn text_of_others_breaks_no_table_and_brings_no_markup() {
    let (incident, timeline) = story();
    let all = text(&incident, &timeline, People::Roles);
    assert!(all.contains("looking \\| &lt;b>at&lt;/b> \\[it](x) now |"));
    assert!(all.contains("faster \\| search"));
}

#[test]
fn the_order_of_the_timeline_does_not_matter_and_its_length_is_bounded() {
    let (incident, mut timeline) = story();
    let before = text(&incident, &timeline, People::Roles);
    // Events of one moment keep their order, so only different moments are swapped.
    timeline.sort_by_key(|e| std::cmp::Reverse(e.at));
    assert_eq!(
        text(&incident, &timeline, People::Roles).len(),
        before.len()
    );
    let many: Vec<TimelineEvent> = timeline
        .iter()
        .cycle()
        .take(TIMELINE_MAX + 7)
        .cloned()
        .collect();
    let long = text(&incident, &many, People::Roles);
    assert!(long.contains("The 7 oldest lines are left out"));
}

#[test]
fn durations_run_from_the_onset_or_from_detection() {
    let (incident, _) = story();
    let d = durations(&incident);
    let seconds =
        [d.detect, d.acknowledge, d.identify, d.mitigate, d.resolve].map(|d| d.unwrap().as_secs());
    assert_eq!(seconds, [5, 40, 1, 11, 65]);
}
