//! Remedies besides rollback: allowed by the pool, judged like a person's, ended by time.

use std::time::Duration;

use evenkeel_forecast::engine::spec::Fault;
use evenkeel_model::blame::{Cause, Mechanism};
use evenkeel_model::config::Config;
use evenkeel_model::ids::RevisionId;
use evenkeel_model::record::{Entry, EventSource, IncidentRecord, IncidentStatus, RevisionState};

use crate::world::{World, shop};

fn allowing(remedies: &str) -> Config {
    shop(
        [1, 1, 1],
        "random",
        &format!("remedies = {{ {remedies} }}\n"),
    )
}

fn failing() -> Fault {
    Fault {
        error_rate: 0.8,
        ..Fault::default()
    }
}

fn incident(world: &World) -> IncidentRecord {
    world.incidents().first().expect("an incident").clone()
}

fn actions(world: &World) -> Vec<String> {
    let actions = incident(world).actions;
    let action = |a: &evenkeel_model::record::ActionRecord| {
        format!("{}: {} ({})", a.kind, a.detail, a.outcome)
    };
    actions.iter().map(action).collect()
}

#[test]
fn a_backend_at_fault_is_drained_for_a_while_and_for_longer_when_it_is_no_better() {
    let mut world = World::new(3, 600.0, allowing("eject = \"act\""));
    world.run(60);
    world.fault("web-2", failing());
    let drained = world.run_until(30, |w| !w.view().drains.is_empty());
    assert!(drained.is_some(), "{:#?}", world.incidents());
    let drain = world.view().drains[0].clone();
    assert_eq!(
        (drain.backend.as_str(), drain.author.as_str()),
        ("web-2", "guard")
    );
    assert_eq!(drain.until, drain.since.plus(Duration::from_mins(10)));
    let mitigated = world.run_until(30, |w| incident(w).mitigated_at.is_some());
    assert!(mitigated.is_some(), "{:#?}", world.view());
    assert_eq!(
        actions(&world),
        ["eject: shop/web-2 is drained for 10m (done)"]
    );
    // The calm while it is out says nothing about its fault.
    world.run(400);
    assert_eq!(incident(&world).status, IncidentStatus::Mitigated);
    let back = world.run_until(300, |w| w.view().drains.is_empty());
    assert!(back.is_some());
    let again = world.run_until(60, |w| !w.view().drains.is_empty());
    assert!(again.is_some(), "{:#?}", world.incidents());
    let drain = world.view().drains[0].clone();
    assert_eq!(drain.until, drain.since.plus(Duration::from_hours(1)));
    assert_eq!(world.incidents().len(), 1, "it is the same fault");
}

#[test]
fn the_incident_of_a_drained_backend_ends_a_minute_after_it_came_back_well() {
    let mut world = World::new(5, 600.0, allowing("eject = \"act\""));
    world.run(60);
    world.fault("web-2", failing());
    world.run_until(30, |w| !w.view().drains.is_empty());
    world.run(60);
    world.fault("web-2", Fault::default());
    world
        .run_until(600, |w| w.view().drains.is_empty())
        .expect("its end");
    assert_eq!(incident(&world).status, IncidentStatus::Mitigated);
    let ended = world.run_until(90, |w| incident(w).status == IncidentStatus::Resolved);
    assert!(ended.is_some_and(|seconds| seconds >= 50), "{ended:?}");
}

#[test]
fn a_drain_by_the_guard_stands_in_the_journal_as_its_own() {
    let mut world = World::new(3, 600.0, allowing("eject = \"act\""));
    world.run(60);
    world.fault("web-2", failing());
    world.run_until(30, |w| !w.view().drains.is_empty());
    let begun = world.journal.iter().find_map(|entry| match entry {
        Entry::Event(event) if event.kind == "drain.begun" => Some(event.clone()),
        _ => None,
    });
    let begun = begun.expect("a line");
    assert_eq!(begun.source, EventSource::Controller);
    assert_eq!(begun.incident, Some(incident(&world).id));
}

#[test]
fn nothing_is_done_by_default_or_where_the_others_would_be_overloaded() {
    for (rate, remedies, why) in [
        (600.0, "", "drain backend:shop/web-2 and look at it"),
        (1_500.0, "eject = \"act\"", "of its capacity"),
    ] {
        let mut world = World::new(3, rate, allowing(remedies));
        world.run(60);
        world.fault("web-2", failing());
        world.run(60);
        assert!(world.view().drains.is_empty());
        let said = actions(&world);
        assert!(said.iter().any(|line| line.contains(why)), "{said:#?}");
    }
}

#[test]
fn a_pool_may_forbid_even_the_word() {
    let mut world = World::new(3, 600.0, allowing("eject = \"off\", rollback = \"off\""));
    world.run(60);
    world.fault("web-2", failing());
    world.run(60);
    assert_eq!(
        incident(&world).diagnosis.unwrap().cause,
        Cause::BackendFault
    );
    assert_eq!(actions(&world), Vec::<String>::new());
}

#[test]
fn a_rollback_is_only_suggested_where_the_pool_wants_it_so() {
    let mut world = World::new(3, 900.0, allowing("rollback = \"suggest\""));
    world.run(60);
    let more = "remedies = { rollback = \"suggest\" }\n";
    world.apply(shop([10, 1, 1], "random", more));
    world.run(60);
    assert_eq!(world.swaps, [RevisionId(2)]);
    let said = actions(&world);
    assert!(
        said.iter()
            .any(|line| line.contains("roll back r2 by hand")),
        "{said:#?}"
    );
}

#[test]
fn what_was_edited_past_the_guard_is_put_right() {
    let mut world = World::new(9, 600.0, allowing("reapply = \"act\""));
    world.run(60);
    let more = "remedies = { reapply = \"act\" }\n";
    world.edit_past_the_guard(shop([10, 1, 1], "random", more));
    let put_right = world.run_until(30, |w| !w.swaps.is_empty());
    assert!(put_right.is_some(), "{:#?}", world.incidents());
    assert_eq!(world.swaps, [RevisionId(1)]);
    assert!(world.view().edited.is_none());
    let ended = world.run_until(120, |w| incident(w).status == IncidentStatus::Resolved);
    assert!(ended.is_some(), "{:#?}", incident(&world));
    let diagnosis = incident(&world).diagnosis.unwrap();
    assert_eq!(
        (diagnosis.cause, diagnosis.mechanism),
        (Cause::ConfigDrift, Mechanism::Weight)
    );
    assert_eq!(world.state_of(1), RevisionState::Verified);
}

#[test]
fn weights_that_no_rollback_can_take_back_are_put_right_by_the_intent() {
    let with = |weights: [u32; 3], min_healthy: u32, remedies: &str| {
        let more = format!("remedies = {{ {remedies} }}\n");
        let mut config = shop(weights, "random", &more);
        config.pools[0].min_healthy = min_healthy;
        config
    };
    for (remedies, is_allowed) in [("weights = \"act\"", true), ("", false)] {
        let mut world = World::new(3, 700.0, with([1, 1, 1], 3, remedies));
        world.run(60);
        world.take_out(&["web-1"]);
        world.run(20);
        world.apply(with([1, 10, 1], 2, remedies));
        world.run(60);
        // What ran before needs three and has two: no rollback. What runs is given other weights.
        let done = actions(&world);
        let swaps: Vec<u64> = world.swaps.iter().map(|id| id.0).collect();
        if !is_allowed {
            assert_eq!(swaps, [2], "{done:#?}");
            continue;
        }
        assert_eq!(swaps, [2, 3], "{done:#?}");
        let weights = world.config.pools[0].backends.iter().map(|b| b.weight);
        assert_eq!(weights.collect::<Vec<_>>(), [1, 1, 1]);
        assert!(done[0].starts_with("weights: "), "{done:#?}");
        // It ends by itself: what was verified last runs again.
        world
            .run_until(700, |w| w.swaps.len() > 2)
            .expect("its end");
        assert_eq!(world.swaps.last(), Some(&RevisionId(1)));
    }
}
