//! The record keeps what it was given, whole, chained, and says clearly when it cannot.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::io::Write as _;

use evenkeel_journal::{
    Append, AppendError, MemoryJournal, OpenError, Read, ReadError, SqliteJournal, Submission,
    Writer,
};
use evenkeel_model::blame::{Cause, Mechanism, Subject};
use evenkeel_model::clock::Wall;
use evenkeel_model::ids::{DeploymentId, IncidentId, Name, RevisionId};
use evenkeel_model::record::{
    ALL_PPM, ActionRecord, CandidateRecord, ContentHash, DeploymentRecord, DiagnosisRecord,
    DrainRecord, Entry, EscalationState, EscalationStep, EventSource, IncidentKind, IncidentRecord,
    IncidentSeverity, IncidentStatus, RevisionRecord, RevisionState, RolloutRecord, RolloutState,
    Strategy, TimelineEvent, Told,
};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn revision(id: u64) -> RevisionRecord {
    RevisionRecord {
        id: RevisionId(id),
        parent: (id > 1).then(|| RevisionId(id - 1)),
        hash: ContentHash([id as u8; 32]),
        text: format!("# revision {id}\n").into(),
        author: "alice".to_owned(),
        reason: "because \"quoted\" \u{fc}".to_owned(),
        state: RevisionState::Applying,
        at: Wall(1_000 + id),
        forced: id.is_multiple_of(2),
        confirm_by: Some(Wall(9_000)),
        keep_until: None,
        incident: None,
    }
}

fn incident() -> IncidentRecord {
    let subjects = vec![
        Subject::Revision(RevisionId(2)),
        Subject::Deployment {
            id: DeploymentId(1),
            pool: name("shop"),
            version: name("v2"),
        },
        Subject::Backend {
            pool: name("shop"),
            backend: name("web-1"),
        },
        Subject::Pool(name("shop")),
        Subject::Zone(name("a")),
        Subject::Key(7),
        Subject::Listener(name("web")),
    ];
    let candidates = subjects
        .into_iter()
        .enumerate()
        .map(|(n, subject)| CandidateRecord {
            cause: Cause::ALL[n],
            mechanism: Mechanism::ALL[n],
            subject,
            score: if n == 0 { 412.5 } else { f64::NEG_INFINITY },
            evidence_for: vec!["for".to_owned()],
            evidence_against: vec!["against".to_owned()],
        });
    IncidentRecord {
        id: IncidentId(3),
        kind: IncidentKind::Drill,
        severity: IncidentSeverity::Sev2,
        status: IncidentStatus::Identified,
        title: "web-1 gets 83 % instead of 33 %".to_owned(),
        pool: Some(name("shop")),
        fault_at: Some(Wall(5)),
        fault_between: Some((Wall(4), Wall(6))),
        detected_at: Wall(7),
        acknowledged_at: Some(Wall(8)),
        acknowledged_by: Some("bob".to_owned()),
        identified_at: Some(Wall(9)),
        mitigated_at: None,
        resolved_at: None,
        closed_at: None,
        impact_requests: 1_234,
        impact_users_share: Some(0.25),
        diagnosis: Some(DiagnosisRecord {
            cause: Cause::ConfigRevision,
            mechanism: Mechanism::Weight,
            subject: Some(Subject::Revision(RevisionId(2))),
            evidence: vec!["479 nats/s".to_owned()],
            candidates: candidates.collect(),
        }),
        actions: vec![ActionRecord {
            at: Wall(10),
            kind: "rollback".to_owned(),
            detail: "r2 -> r1".to_owned(),
            outcome: "done".to_owned(),
        }],
        revision_before: Some(RevisionId(2)),
        revision_after: None,
        escalation: EscalationState {
            levels: vec![EscalationStep {
                name: name("on-call"),
                notify: vec![name("hook")],
                ack_within_ms: 300_000,
            }],
            paged: 1,
            next_at: Some(Wall(11)),
        },
    }
}

fn event(text: &str, incident: Option<u64>) -> Entry {
    Entry::Event(TimelineEvent {
        incident: incident.map(IncidentId),
        at: Wall(5),
        source: EventSource::Controller,
        kind: "note".to_owned(),
        actor: "guard".to_owned(),
        subject: "pool:shop".to_owned(),
        text: text.to_owned(),
    })
}

fn drain(backend: &str, until: u64) -> Entry {
    Entry::Drain(DrainRecord {
        pool: name("shop"),
        backend: name(backend),
        at: Wall(5),
        until: Wall(until),
        author: "ann".to_owned(),
        reason: "new disk".to_owned(),
    })
}

fn rollout(step: usize, state: RolloutState) -> Entry {
    Entry::Rollout(Box::new(RolloutRecord {
        id: DeploymentId(1),
        pool: name("shop"),
        version: name("v2"),
        stable: name("v1"),
        strategy: Strategy::BlueGreen,
        steps: vec![50_000, ALL_PPM],
        step_min_ms: 60_000,
        step,
        share_ppm: 50_000,
        state,
        at: Wall(3),
        since: Wall(4),
        author: "ann".to_owned(),
        reason: "release".to_owned(),
        why: String::new(),
        forced: true,
        revision: RevisionId(2),
        incident: Some(IncidentId(3)),
        lifted_by: None,
    }))
}

fn drains() -> Vec<Entry> {
    vec![
        drain("web-1", 7),
        drain("web-2", 8),
        Entry::DrainEnd {
            pool: name("shop"),
            backend: name("web-1"),
            at: Wall(6),
        },
        drain("web-2", 9),
    ]
}

fn everything() -> Vec<Entry> {
    vec![
        Entry::Revision(revision(1)),
        Entry::RevisionState {
            id: RevisionId(1),
            state: RevisionState::Verified,
            at: Wall(2),
            why: "baseline".to_owned(),
            incident: None,
        },
        Entry::Revision(revision(2)),
        Entry::ConfirmBy {
            id: RevisionId(2),
            confirm_by: None,
        },
        Entry::RevisionState {
            id: RevisionId(2),
            state: RevisionState::RolledBack,
            at: Wall(3),
            why: "typo".to_owned(),
            incident: Some(IncidentId(3)),
        },
        Entry::Deployment(DeploymentRecord {
            id: DeploymentId(1),
            pool: name("shop"),
            version: name("v2"),
            backends: vec![name("web-1")],
            at: Wall(1),
            recorded_at: Wall(2),
            author: "ci".to_owned(),
            note: "decoy".to_owned(),
            ended_at: Some(Wall(2)),
            told: Some(Told::Failed),
            revision: Some(RevisionId(2)),
            messages: vec!["msg_1".to_owned()],
        }),
        rollout(0, RolloutState::Running),
        rollout(1, RolloutState::Done),
        Entry::Incident(Box::new(incident())),
        event("one", Some(3)),
        event("two", None),
        Entry::Quarantine {
            hash: ContentHash([2; 32]),
            incident: Some(IncidentId(3)),
            at: Wall(4),
        },
        Entry::Quarantine {
            hash: ContentHash([9; 32]),
            incident: None,
            at: Wall(4),
        },
        Entry::Release {
            hash: ContentHash([9; 32]),
            at: Wall(5),
        },
        Entry::Audit {
            at: Wall(5),
            revision: RevisionId(1),
            errors: 1,
            warnings: 0,
            findings: vec!["CAP-01 pool.shop".to_owned()],
        },
        Entry::Audit {
            at: Wall(6),
            revision: RevisionId(1),
            errors: 0,
            warnings: 1,
            findings: vec!["CAP-02 pool.shop".to_owned()],
        },
    ]
}

#[test]
fn every_entry_reads_back_as_it_was_written_and_both_stores_agree() {
    let dir = tempfile::tempdir().unwrap();
    let mut sqlite = SqliteJournal::open(dir.path()).unwrap();
    let mut memory = MemoryJournal::default();
    let all = [everything(), drains()].concat();
    for chunk in all.chunks(3) {
        sqlite.append(chunk, Wall(100)).unwrap();
        memory.append(chunk, Wall(100)).unwrap();
    }
    let reader = sqlite.reader().unwrap();
    let state = reader.state().unwrap();
    assert_eq!(state, memory.state().unwrap());
    assert_eq!(state.incidents[&IncidentId(3)], incident());
    assert_eq!(state.verified().unwrap().id, RevisionId(1));
    assert_eq!(
        state.revisions[&RevisionId(2)].state,
        RevisionState::RolledBack
    );
    assert_eq!(
        state.revisions[&RevisionId(2)].incident,
        Some(IncidentId(3))
    );
    assert_eq!(state.revisions[&RevisionId(2)].confirm_by, None);
    assert_eq!(state.quarantine.len(), 1);
    let drains = state.drains.values();
    let drains: Vec<_> = drains.map(|d| (d.backend.as_str(), d.until)).collect();
    assert_eq!(drains, [("web-2", Wall(9))]);
    let audit = state.last_audit.unwrap();
    assert_eq!((audit.at, audit.errors, audit.warnings), (Wall(6), 0, 1));
    assert_eq!(audit.findings, ["CAP-02 pool.shop"]);
    assert_eq!(
        reader.timeline(None, 10).unwrap(),
        memory.timeline(None, 10).unwrap()
    );
    assert_eq!(reader.timeline(Some(IncidentId(3)), 10).unwrap().len(), 1);
    assert_eq!(reader.timeline(None, 1).unwrap()[0].value.text, "two");
    assert_eq!(reader.revisions(1).unwrap()[0].id, RevisionId(2));
    reader.verify().unwrap();
}

#[test]
fn a_reopened_journal_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    for entry in everything() {
        let mut journal = SqliteJournal::open(dir.path()).unwrap();
        journal.append(&[entry], Wall(1)).unwrap();
    }
    let journal = SqliteJournal::open(dir.path()).unwrap();
    let reader = journal.reader().unwrap();
    reader.verify().unwrap();
    assert_eq!(reader.state().unwrap().revisions.len(), 2);
}

#[test]
fn a_second_instance_on_the_same_directory_is_told_whose_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let _first = SqliteJournal::open(dir.path()).unwrap();
    let error = SqliteJournal::open(dir.path()).unwrap_err();
    assert!(
        matches!(&error, OpenError::Locked { pid: Some(pid), .. } if *pid == std::process::id().to_string()),
        "{error}"
    );
}

#[test]
fn a_newer_journal_is_refused_by_name_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(SqliteJournal::open(dir.path()).unwrap());
    let file = dir.path().join("journal.db");
    rusqlite::Connection::open(&file)
        .unwrap()
        .pragma_update(None, "user_version", 7)
        .unwrap();
    let error = SqliteJournal::open(dir.path()).unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Newer {
                found: 7,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_file_that_is_no_journal_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("journal.db");
    std::fs::write(
        &file,
        "this is not a database, it only stands where one should be",
    )
    .unwrap();
    let error = SqliteJournal::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    assert!(std::fs::read(&file).unwrap().starts_with(b"this is not"));
}

#[test]
fn bytes_damaged_in_the_middle_of_the_file_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    {
        let mut journal = SqliteJournal::open(dir.path()).unwrap();
        for n in 0..200 {
            journal
                .append(
                    &[event(&format!("event {n} {}", "x".repeat(200)), None)],
                    Wall(n),
                )
                .unwrap();
        }
    }
    let file = dir.path().join("journal.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    for byte in &mut bytes[middle..middle + 300] {
        *byte ^= 0x55;
    }
    std::fs::File::create(&file)
        .unwrap()
        .write_all(&bytes)
        .unwrap();
    let error = SqliteJournal::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
}

#[test]
fn an_entry_changed_behind_our_back_breaks_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = SqliteJournal::open(dir.path()).unwrap();
    journal.append(&everything(), Wall(1)).unwrap();
    let reader = journal.reader().unwrap();
    let intruder = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    assert!(
        intruder
            .execute("UPDATE entry SET body = '{}' WHERE seq = 8", [])
            .is_err()
    );
    intruder
        .execute_batch(
            "DROP TRIGGER entry_is_never_changed; UPDATE entry SET recorded_at = 2 WHERE seq = 8",
        )
        .unwrap();
    assert_eq!(reader.verify(), Err(ReadError::Chain { seq: 8 }));
}

#[test]
fn a_full_disk_fails_the_append_whole_and_loses_nothing_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = SqliteJournal::open(dir.path()).unwrap();
    journal.append(&everything(), Wall(1)).unwrap();
    journal.limit_pages(1).unwrap();
    let big: Vec<Entry> = (0..200).map(|_| event(&"x".repeat(1_000), None)).collect();
    assert_eq!(journal.append(&big, Wall(2)), Err(AppendError::DiskFull));
    assert_eq!(
        journal
            .reader()
            .unwrap()
            .timeline(None, 1_000)
            .unwrap()
            .len(),
        2
    );
    journal.limit_pages(100_000).unwrap();
    journal.append(&big, Wall(3)).unwrap();
    journal.reader().unwrap().verify().unwrap();
}

#[test]
fn a_clean_end_leaves_the_whole_record_in_one_file_although_somebody_still_reads() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut journal = SqliteJournal::open(dir.path()).unwrap();
    let reader = journal.reader().unwrap();
    journal.append(&everything(), Wall(1)).unwrap();
    let seen = reader.timeline(None, 100).unwrap();
    drop(journal);
    let file = "journal.db";
    std::fs::copy(dir.path().join(file), copy.path().join(file)).unwrap();
    let copied = SqliteJournal::open(copy.path()).unwrap().reader().unwrap();
    assert_eq!(copied.timeline(None, 100).unwrap(), seen);
    assert!(!seen.is_empty());
}

#[test]
fn the_writer_answers_each_submission_and_finishes_what_is_queued() {
    let dir = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(dir.path()).unwrap();
    let reader = journal.reader().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let writer = Writer::start(Box::new(journal)).unwrap();
    for n in 0..50u64 {
        let sender = sender.clone();
        writer
            .submit(Submission {
                entries: vec![event(&n.to_string(), None)],
                at: Wall(n),
                done: Box::new(move |outcome| sender.send((n, outcome)).unwrap()),
            })
            .unwrap();
    }
    drop(writer);
    let answers: Vec<_> = receiver.try_iter().collect();
    assert_eq!(answers.len(), 50);
    assert!(
        answers
            .iter()
            .enumerate()
            .all(|(i, (n, outcome))| *n == i as u64 && outcome.is_ok())
    );
    assert_eq!(reader.timeline(None, 100).unwrap().len(), 50);
}
