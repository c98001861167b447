//! The loop closed over the event engine: what the guard sees, decides and does, second by second.

use std::time::Duration;

use crate::world::{World, name, shop};
use evenkeel_forecast::engine::spec::Fault;
use evenkeel_guard::{Outcome, Status, Verdict};
use evenkeel_model::blame::{Cause, Mechanism, Subject};
use evenkeel_model::ids::RevisionId;
use evenkeel_model::record::{IncidentStatus, RevisionState};

#[test]
fn a_weight_typo_is_found_blamed_undone_and_recovered_and_the_decoy_deployment_cleared() {
    for algorithm in ["round_robin", "random"] {
        for seed in 0..10 {
            let mut world = World::new(seed, 900.0, shop([1, 1, 1], algorithm, ""));
            world.run(60);
            world.deploy("v2");
            world.run(30);
            assert_eq!(world.view().incident, None, "{algorithm} {seed}");
            let outcome = world.apply(shop([10, 1, 1], algorithm, ""));
            assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
            let detected = world.run_until(10, |w| w.view().incident.is_some());
            assert!(detected.is_some(), "{algorithm} {seed}: not detected");
            let restored = world.run_until(30, |w| w.incidents()[0].mitigated_at.is_some());
            let incident = world.incidents()[0].clone();
            assert!(restored.is_some(), "{algorithm} {seed}: {incident:#?}");
            let diagnosis = incident.diagnosis.clone().unwrap();
            assert_eq!(
                (diagnosis.cause, diagnosis.mechanism, diagnosis.subject),
                (
                    Cause::ConfigRevision,
                    Mechanism::Weight,
                    Some(Subject::Revision(RevisionId(2)))
                )
            );
            let decoy = diagnosis
                .candidates
                .iter()
                .find(|c| c.cause == Cause::Deployment);
            let decoy = decoy.expect("the deployment is among the candidates");
            assert!(!decoy.evidence_against.is_empty(), "{decoy:?}");
            assert_eq!(world.swaps, [RevisionId(2), RevisionId(1)]);
            assert_eq!(world.state_of(2), RevisionState::RolledBack);
            let resolved = world.run_until(60, |w| w.view().state == Status::Ok);
            assert!(
                resolved.is_some(),
                "{algorithm} {seed}: {:#?}",
                world.view()
            );
            assert_eq!(world.incidents()[0].status, IncidentStatus::Resolved);
            assert_eq!(world.state_of(1), RevisionState::Verified);
            let took = incident.mitigated_at.unwrap().0 - incident.fault_at.unwrap().0;
            assert!(took <= 30_000, "{algorithm} {seed}: {took} ms");
        }
    }
}

#[test]
fn the_undone_content_is_refused_until_a_person_forces_it() {
    let mut world = World::new(3, 900.0, shop([1, 1, 1], "round_robin", ""));
    world.run(30);
    let bad = shop([10, 1, 1], "round_robin", "");
    world.apply(bad.clone());
    world.run(90);
    assert_eq!(world.view().state, Status::Ok);
    let mut again = world.proposal(bad.clone());
    again.force = false;
    let outcome = world.propose(again);
    let Outcome::Refused(refusal) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(refusal.findings[0].id, "CHG-02");
    assert_eq!(refusal.incident, Some(world.incidents()[0].id));
    // Forced, it runs again; a second automatic rollback within 30 min is not made, it is suggested.
    assert!(matches!(world.apply(bad), Outcome::Applied { .. }));
    world.run(60);
    assert_eq!(world.swaps.len(), 3);
    let actions = &world.incidents()[0].actions;
    assert!(
        actions.iter().any(|a| a.kind == "suggest"),
        "{:#?}",
        world.view()
    );
}

#[test]
fn a_quiet_hour_raises_nothing_and_a_sound_change_is_verified() {
    for algorithm in ["round_robin", "random", "least_request"] {
        let mut world = World::new(7, 300.0, shop([1, 1, 1], algorithm, ""));
        world.run(30);
        // A planned shift of ten per cent, within the tolerance.
        let outcome = world.apply(shop([11, 10, 10], algorithm, ""));
        assert!(matches!(outcome, Outcome::Applied { .. }));
        let verified = world.run_until(120, |w| w.state_of(2) == RevisionState::Verified);
        assert!(
            verified.is_some(),
            "{algorithm}: {:?}",
            world.view().verifying
        );
        assert_eq!(world.state_of(1), RevisionState::Superseded);
        world.run(3_600);
        let view = world.view();
        assert!(
            view.incidents.is_empty(),
            "{algorithm}: {:#?}",
            view.incidents
        );
        assert_eq!(view.state, Status::Ok);
        for backend in &view.pools[0].backends {
            assert!(backend.verdict.is_fine(), "{algorithm}: {backend:?}");
        }
    }
}

#[test]
fn too_little_traffic_is_held_and_can_be_confirmed() {
    let mut world = World::new(1, 0.05, shop([1, 1, 1], "round_robin", ""));
    world.run(20);
    world.apply(shop([2, 2, 1], "round_robin", ""));
    world.run(595);
    assert_eq!(world.state_of(2), RevisionState::Verifying);
    world.run(10);
    assert_eq!(world.state_of(2), RevisionState::Held);
    assert_eq!(world.view().state, Status::Held);
    assert_eq!(world.view().verified, RevisionId(1));
    let request = world.request();
    world.send(evenkeel_guard::Event::Confirm {
        request,
        revision: None,
        author: "ann".to_owned(),
    });
    assert_eq!(
        world.replies[&request.0],
        Outcome::Confirmed {
            revision: RevisionId(2),
            with_evidence: false
        }
    );
    assert_eq!(world.state_of(2), RevisionState::Confirmed);
    assert_eq!(world.view().verified, RevisionId(2));
}

#[test]
fn a_revision_is_not_blamed_for_a_backend_that_was_slow_before_it() {
    let mut world = World::new(11, 600.0, shop([1, 1, 1], "round_robin", ""));
    world.run(60);
    world.fault(
        "web-2",
        Fault {
            error_rate: 0.5,
            ..Fault::default()
        },
    );
    world.run(3);
    world.apply(shop([21, 20, 20], "round_robin", ""));
    world.run(60);
    let incident = world.incidents()[0].clone();
    let diagnosis = incident.diagnosis.clone().unwrap();
    assert_ne!(diagnosis.cause, Cause::ConfigRevision, "{diagnosis:#?}");
    assert_eq!(world.swaps, [RevisionId(2)], "nothing was undone");
    assert!(incident.actions.iter().all(|a| a.kind != "rollback"));
}

#[test]
fn traffic_that_rose_gains_nothing_from_a_rollback_so_none_is_made() {
    let mut world = World::new(5, 600.0, shop([1, 1, 1], "round_robin", ""));
    world.run(60);
    world.apply(shop([21, 20, 20], "round_robin", ""));
    world.run(30);
    world.engine.set_rate(&name("users"), 2_600.0).unwrap();
    world.run(60);
    assert!(!world.incidents().is_empty());
    assert_eq!(world.swaps, [RevisionId(2)]);
}

#[test]
fn an_edit_past_the_guard_is_seen_as_drift() {
    let mut world = World::new(9, 600.0, shop([1, 1, 1], "round_robin", ""));
    world.run(60);
    world.edit_past_the_guard(shop([10, 1, 1], "round_robin", ""));
    world.run(10);
    let view = world.view();
    assert!(view.edited.is_some());
    let incident = world.incidents()[0].clone();
    let found = incident.diagnosis.unwrap();
    assert_eq!(
        (found.cause, found.mechanism),
        (Cause::ConfigDrift, Mechanism::Weight),
        "how the edit broke it is known: {found:#?}"
    );
    assert!(world.swaps.is_empty());
}

#[test]
fn a_silent_worker_holds_every_automatic_action() {
    let mut world = World::new(2, 900.0, shop([1, 1, 1], "random", ""));
    world.run(60);
    world.silent_workers = vec![1];
    world.run(5);
    world.apply(shop([10, 1, 1], "random", ""));
    world.run(30);
    assert!(world.view().hold.is_some());
    assert!(!world.incidents().is_empty(), "alarms go on");
    assert_eq!(world.swaps, [RevisionId(2)]);
    world.silent_workers.clear();
    world.run(20);
    assert_eq!(world.swaps, [RevisionId(2), RevisionId(1)]);
}

#[test]
fn a_kept_revision_is_not_undone_before_its_time() {
    let mut world = World::new(4, 900.0, shop([1, 1, 1], "round_robin", ""));
    world.run(30);
    let mut proposal = world.proposal(shop([10, 1, 1], "round_robin", ""));
    proposal.keep = Some(Duration::from_mins(2));
    world.propose(proposal);
    world.run(100);
    assert_eq!(world.swaps, [RevisionId(2)]);
    assert!(world.view().keep_until.is_some());
    assert!(!world.incidents().is_empty(), "harm is still paged");
    world.run(60);
    assert_eq!(world.swaps, [RevisionId(2), RevisionId(1)]);
}

#[test]
fn a_rollback_needs_no_journal_and_its_record_is_written_first_when_it_is_back() {
    let mut world = World::new(6, 900.0, shop([1, 1, 1], "round_robin", ""));
    world.run(30);
    world.apply(shop([10, 1, 1], "round_robin", ""));
    world.journal_ok = false;
    world.run(40);
    assert_eq!(world.swaps, [RevisionId(2), RevisionId(1)]);
    let view = world.view();
    assert!(!view.journal_ok && view.journal_waiting > 0);
    let outcome = world.apply(shop([2, 1, 1], "round_robin", ""));
    let Outcome::Refused(refusal) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(refusal.findings[0].id, "CHG-06");
    let before = world.journal.len();
    world.journal_ok = true;
    world.run(20);
    let view = world.view();
    assert!(view.journal_ok, "{view:?}");
    assert_eq!(view.journal_waiting, 0);
    let states: Vec<RevisionState> = world.journal[before..]
        .iter()
        .filter_map(|entry| match entry {
            evenkeel_model::record::Entry::RevisionState { id, state, .. }
                if *id == RevisionId(2) =>
            {
                Some(*state)
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        states,
        [RevisionState::RollingBack, RevisionState::RolledBack]
    );
}

#[test]
fn a_small_service_gets_the_same_protection() {
    let mut slow = Vec::new();
    for seed in 0..10 {
        let config = |weights| {
            let mut config = shop(weights, "random", "");
            for backend in &mut config.pools[0].backends {
                backend.capacity_rps = Some(60.0);
            }
            config
        };
        let mut world = World::new(seed, 90.0, config([1, 1, 1]));
        world.run(60);
        world.apply(config([10, 1, 1]));
        let undone = world.run_until(20, |w| w.swaps.len() == 2);
        slow.push(undone);
        assert!(undone.is_some(), "{seed}: {:#?}", world.incidents());
    }
    assert!(slow.iter().all(|s| s.is_some_and(|s| s <= 12)), "{slow:?}");
}

#[test]
fn verdicts_name_who_gets_too_much() {
    let mut world = World::new(8, 900.0, shop([1, 1, 1], "round_robin", ""));
    world.run(30);
    world.silent_workers = Vec::new();
    let mut proposal = world.proposal(shop([10, 1, 1], "round_robin", ""));
    proposal.keep = Some(Duration::from_secs(1));
    world.propose(proposal);
    let named = world.run_until(20, |w| {
        w.view().pools[0].backends[0].verdict == Verdict::Over
    });
    assert!(named.is_some(), "{:#?}", world.view().pools[0].backends[0]);
}

#[test]
fn who_left_before_does_not_date_what_came_after() {
    for seed in 0..4 {
        let mut world = World::new(seed, 700.0, shop([1, 1, 1], "random", ""));
        world.run(60);
        world.take_out(&["web-1"]);
        world.run(20);
        // Its share went from a third to a half by right; now it goes to ten elevenths.
        world.apply(shop([1, 10, 1], "random", ""));
        let found = world.run_until(20, |world| !world.incidents().is_empty());
        assert!(found.is_some_and(|s| s <= 5), "{seed}: {found:?}");
        world.run(20);
        let incident = &world.incidents()[0];
        let blamed = incident.diagnosis.as_ref().and_then(|d| d.subject.clone());
        assert_eq!(blamed, Some(Subject::Revision(RevisionId(2))), "{seed}");
        assert_eq!(world.swaps, [RevisionId(2), RevisionId(1)], "{seed}");
    }
}
