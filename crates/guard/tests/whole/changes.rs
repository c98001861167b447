//! The rules of change, one by one, over the event engine.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_guard::{
    Action, Boot, Event, Guard, IncidentCommand, IncidentVerb, Outcome, Restorable, Settings,
    Status, boot,
};
use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::ids::{IncidentId, RevisionId};
use evenkeel_model::record::{Entry, IncidentKind, IncidentStatus, RevisionState};

use crate::world::{START, World, boot_of, record, shop};

fn refused_with(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Refused(refusal) => refusal.findings[0].id,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_second_change_is_refused_while_the_first_gathers_its_evidence() {
    let mut world = World::new(1, 300.0, shop([1, 1, 1], "round_robin", ""));
    world.run(12);
    world.apply(shop([11, 10, 10], "round_robin", ""));
    let second = world.apply(shop([12, 11, 11], "round_robin", ""));
    assert_eq!(refused_with(&second), "CHG-03");
    world.run(20);
    assert_eq!(world.state_of(2), RevisionState::Verified);
    let third = world.apply(shop([12, 11, 11], "round_robin", ""));
    assert!(matches!(third, Outcome::Applied { .. }), "{third:?}");
}

#[test]
fn a_moved_base_is_refused() {
    let mut world = World::new(1, 300.0, shop([1, 1, 1], "round_robin", ""));
    world.run(12);
    let mut first = world.proposal(shop([11, 10, 10], "round_robin", ""));
    first.base = Some(RevisionId(1));
    assert!(matches!(world.propose(first), Outcome::Applied { .. }));
    world.run(20);
    let mut second = world.proposal(shop([12, 11, 11], "round_robin", ""));
    second.base = Some(RevisionId(1));
    assert_eq!(refused_with(&world.propose(second)), "CHG-01");
    let mut stale = world.proposal(shop([12, 11, 11], "round_robin", ""));
    stale.judged_against = RevisionId(1);
    assert_eq!(refused_with(&world.propose(stale)), "CHG-01");
}

#[test]
fn what_runs_already_is_not_applied_again() {
    let mut world = World::new(1, 300.0, shop([1, 1, 1], "round_robin", ""));
    let written = world.journal.len();
    let outcome = world.apply(shop([1, 1, 1], "round_robin", ""));
    assert!(matches!(outcome, Outcome::Unchanged { .. }), "{outcome:?}");
    assert_eq!(world.journal.len(), written);
}

#[test]
fn force_overrides_findings_but_neither_min_healthy_nor_the_last_effective_backend() {
    let mut world = World::new(1, 300.0, shop([1, 1, 1], "round_robin", ""));
    world.run(12);
    let none = world.apply(shop([0, 0, 0], "round_robin", ""));
    assert_eq!(refused_with(&none), "CHG-05");
    let one = world.apply(shop([1, 0, 0], "round_robin", ""));
    assert_eq!(refused_with(&one), "CHG-04");
    world.take_out(&["web-1"]);
    let dead = world.apply(shop([1, 1, 0], "round_robin", ""));
    assert_eq!(refused_with(&dead), "CHG-04");
    let mut silent = world.proposal(shop([11, 10, 10], "round_robin", ""));
    silent.reason = " ".to_owned();
    assert_eq!(refused_with(&world.propose(silent)), "CHG-02");
}

#[test]
fn an_unconfirmed_revision_is_rolled_back_at_its_deadline_and_a_confirmed_one_is_not() {
    for confirm in [false, true] {
        let mut world = World::new(1, 300.0, shop([1, 1, 1], "round_robin", ""));
        world.run(12);
        let mut proposal = world.proposal(shop([11, 10, 10], "round_robin", ""));
        proposal.confirm_within = Some(Duration::from_mins(1));
        world.propose(proposal);
        world.run(30);
        assert_eq!(world.state_of(2), RevisionState::Verified);
        let next = world.apply(shop([12, 11, 11], "round_robin", ""));
        assert_eq!(refused_with(&next), "CHG-03");
        if confirm {
            let request = world.request();
            world.send(Event::Confirm {
                request,
                revision: Some(RevisionId(2)),
                author: "ann".to_owned(),
            });
        }
        world.run(29);
        assert_eq!(world.swaps, [RevisionId(2)]);
        world.run(3);
        if confirm {
            assert_eq!(world.state_of(2), RevisionState::Confirmed);
            assert_eq!(world.swaps, [RevisionId(2)]);
        } else {
            assert_eq!(world.state_of(2), RevisionState::RolledBack);
            assert_eq!(world.swaps, [RevisionId(2), RevisionId(1)]);
        }
    }
}

#[test]
fn a_revision_confirmed_before_its_evidence_is_in_force_and_still_watched() {
    let mut world = World::new(1, 900.0, shop([1, 1, 1], "round_robin", ""));
    world.run(12);
    world.apply(shop([11, 10, 10], "round_robin", ""));
    world.run(3);
    assert_eq!(world.state_of(2), RevisionState::Verifying);
    let request = world.request();
    world.send(Event::Confirm {
        request,
        revision: None,
        author: "ann".to_owned(),
    });
    assert_eq!(world.state_of(2), RevisionState::Confirmed);
    // The next change need not wait, and what is wrong with it is undone to what the person confirmed.
    world.apply(shop([110, 10, 10], "round_robin", ""));
    world.run(60);
    assert_eq!(world.swaps, [RevisionId(2), RevisionId(3), RevisionId(2)]);
    assert_eq!(world.state_of(3), RevisionState::RolledBack);
}

/// A guard that boots at `wall` with r2 verified but unconfirmed until `confirm_by`.
fn boot_unconfirmed(confirm_by: Wall, wall: Wall) -> Guard {
    let (old, new) = (
        Arc::new(shop([1, 1, 1], "round_robin", "")),
        Arc::new(shop([11, 10, 10], "round_robin", "")),
    );
    let mut second = record(2, &new, RevisionState::Verified);
    second.confirm_by = Some(confirm_by);
    let first = record(1, &old, RevisionState::Superseded);
    let records = vec![first.clone(), second.clone()];
    assert_eq!(boot::select(&records), Some(RevisionId(2)));
    assert_eq!(boot::targets(&records, RevisionId(2)), [RevisionId(1)]);
    let mut guard = Guard::new(Settings::default());
    let running = Restorable {
        record: second,
        config: new,
    };
    let boot = Boot {
        targets: vec![Restorable {
            record: first,
            config: old,
        }],
        revisions: records,
        next_revision: 3,
        ..boot_of(running)
    };
    guard.step(Event::Booted(Box::new(boot)), Mono::ZERO, wall);
    guard
}

#[test]
fn the_confirm_deadline_survives_a_restart_and_a_clock_step() {
    let begins = |actions: &[Action]| {
        let rolling = |e: &Entry| matches!(e, Entry::RevisionState { id, state: RevisionState::RollingBack, .. } if *id == RevisionId(2));
        actions.iter().any(|a| match a {
            Action::Commit { entries, .. } => entries.iter().any(rolling),
            _ => false,
        })
    };
    let at = |s: u64| (Mono::from_secs(s), START.plus(Duration::from_secs(s)));
    let mut guard = boot_unconfirmed(START.plus(Duration::from_secs(30)), START);
    for s in 1..30 {
        let (now, wall) = at(s);
        assert!(!begins(&guard.step(Event::Tick, now, wall)), "{s}");
    }
    let (now, wall) = at(30);
    assert!(begins(&guard.step(Event::Tick, now, wall)));

    // The wall clock jumps an hour ahead: the time left stays what it was.
    let mut guard = boot_unconfirmed(START.plus(Duration::from_secs(30)), START);
    let hour = Duration::from_hours(1);
    let (now, wall) = at(5);
    let step = Event::ClockStep { by_ms: 3_600_000 };
    guard.step(step, now, wall.plus(hour));
    for s in 6..30 {
        let (now, wall) = at(s);
        let actions = guard.step(Event::Tick, now, wall.plus(hour));
        assert!(!begins(&actions), "{s}");
    }
    let (now, wall) = at(30);
    assert!(begins(&guard.step(Event::Tick, now, wall.plus(hour))));

    // It passed while the process was down: at once.
    let mut guard = boot_unconfirmed(START, START.plus(hour));
    let actions = guard.step(Event::Tick, Mono::from_secs(1), START.plus(hour));
    assert!(begins(&actions));
}

#[test]
fn a_revision_that_was_gathering_evidence_when_the_process_died_counts_as_undone() {
    let config = Arc::new(shop([1, 1, 1], "round_robin", ""));
    let other = shop([10, 1, 1], "round_robin", "");
    let first = record(1, &config, RevisionState::Verified);
    let second = record(2, &other, RevisionState::Verifying);
    let records = vec![first.clone(), second];
    assert_eq!(boot::select(&records), Some(RevisionId(1)));
    let mut guard = Guard::new(Settings::default());
    let running = Restorable {
        record: first,
        config,
    };
    let boot = Boot {
        revisions: records,
        next_revision: 3,
        ..boot_of(running)
    };
    let actions = guard.step(Event::Booted(Box::new(boot)), Mono::ZERO, START);
    let undone = |e: &Entry| matches!(e, Entry::RevisionState { id, state: RevisionState::RolledBack, .. } if *id == RevisionId(2));
    assert!(actions.iter().any(|a| match a {
        Action::Commit { entries, .. } => entries.iter().any(undone),
        _ => false,
    }));
}

#[test]
fn rolling_back_twice_is_rolling_back_once() {
    let mut world = World::new(1, 300.0, shop([1, 1, 1], "round_robin", ""));
    world.run(12);
    for weights in [[11, 10, 10], [12, 11, 11]] {
        world.apply(shop(weights, "round_robin", ""));
        world.run(20);
    }
    let first = world.rollback(None);
    assert!(
        matches!(&first, Outcome::RolledBack { revision, .. } if *revision == RevisionId(2)),
        "{first:?}"
    );
    let second = world.rollback(None);
    assert!(matches!(second, Outcome::Unchanged { .. }), "{second:?}");
    world.run(30);
    assert_eq!(world.view().state, Status::Ok);
    assert_eq!(world.state_of(3), RevisionState::RolledBack);
    assert_eq!(world.state_of(2), RevisionState::Verified);
    let third = world.rollback(None);
    assert!(matches!(third, Outcome::Unchanged { .. }), "{third:?}");
}

#[test]
fn a_rollback_that_would_overload_a_backend_is_refused() {
    let mut world = World::new(1, 900.0, shop([1, 1, 1], "round_robin", ""));
    world.run(12);
    let bad = shop([10, 1, 1], "round_robin", "");
    let target = Restorable {
        record: record(9, &bad, RevisionState::Superseded),
        config: Arc::new(bad),
    };
    assert_eq!(refused_with(&world.rollback(Some(target))), "CAP-01");
}

#[test]
fn paging_goes_on_until_somebody_acknowledges() {
    let mut world = World::new(1, 900.0, shop([1, 1, 1], "round_robin", ""));
    world.run(12);
    world.take_out(&["web-1", "web-2"]);
    world.run(30);
    assert_eq!(world.view().state, Status::Incident);
    let pages = |w: &World| w.notices.iter().filter(|n| n.level.is_some()).count();
    assert_eq!(pages(&world), 1);
    world.run(290);
    assert_eq!(pages(&world), 2, "the second level after five minutes");
    let request = world.request();
    let incident = world.incidents()[0].id;
    world.send(Event::Incident(IncidentCommand {
        request,
        incident,
        author: "ann".to_owned(),
        verb: IncidentVerb::Ack,
    }));
    assert!(matches!(
        world.replies[&request.0],
        Outcome::Incident { .. }
    ));
    world.run(600);
    assert_eq!(pages(&world), 2);
    assert!(world.incidents()[0].acknowledged_at.is_some());
}

#[test]
fn a_person_opens_notes_and_resolves_an_incident() {
    let mut world = World::new(1, 300.0, shop([1, 1, 1], "round_robin", ""));
    let command = |world: &mut World, incident: u64, verb: IncidentVerb| {
        let request = world.request();
        world.send(Event::Incident(IncidentCommand {
            request,
            incident: IncidentId(incident),
            author: "ann".to_owned(),
            verb,
        }));
        world.replies[&request.0].clone()
    };
    let open = IncidentVerb::Open {
        kind: IncidentKind::Test,
        title: "test of the paging".to_owned(),
    };
    command(&mut world, 0, open);
    assert!(world.notices.iter().any(|n| n.level == Some(1)));
    assert_eq!(world.view().state, Status::Ok, "a test is no incident");
    let note = IncidentVerb::Note("it rang".to_owned());
    command(&mut world, 1, note);
    let resolved = command(&mut world, 1, IncidentVerb::Resolve("it rang".to_owned()));
    assert_eq!(
        resolved,
        Outcome::Incident {
            incident: IncidentId(1),
            status: IncidentStatus::Resolved,
            taken_by: None,
        }
    );
    let again = command(&mut world, 1, IncidentVerb::Ack);
    assert!(matches!(again, Outcome::Failed { .. }), "{again:?}");
    let unknown = command(&mut world, 77, IncidentVerb::Ack);
    assert!(matches!(unknown, Outcome::Failed { .. }), "{unknown:?}");
}

#[test]
fn commands_before_the_boot_get_an_answer() {
    let mut guard = Guard::new(Settings::default());
    let event = Event::Confirm {
        request: evenkeel_guard::RequestId(5),
        revision: None,
        author: "ann".to_owned(),
    };
    let actions = guard.step(event, Mono::ZERO, START);
    assert!(
        matches!(&actions[..], [Action::Reply { .. }]),
        "{actions:?}"
    );
    assert!(guard.step(Event::Tick, Mono::ZERO, START).is_empty());
    assert!(guard.view(Mono::ZERO, START).is_none());
}
