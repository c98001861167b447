//! Faults of every kind over the event engine: the right cause, and a rollback only where one helps.

use evenkeel_forecast::engine::spec::Fault;
use evenkeel_model::blame::{Cause, Mechanism};
use evenkeel_model::ids::RevisionId;
use evenkeel_model::record::{DiagnosisRecord, IncidentStatus};

use crate::world::{World, shop};

const BACK: [RevisionId; 2] = [RevisionId(2), RevisionId(1)];

fn diagnosis(world: &World) -> DiagnosisRecord {
    let incidents = world.incidents();
    let incident = incidents.last().expect("an incident");
    incident.diagnosis.clone().expect("a diagnosis")
}

/// Applies `more` to a sound pool with a health check and runs a minute.
fn after(seed: u64, algorithm: &str, before: &str, more: &str) -> World {
    let mut world = World::new(seed, 900.0, shop([1, 1, 1], algorithm, before));
    world.checks = true;
    world.run(60);
    world.apply(shop([1, 1, 1], algorithm, more));
    world.run(60);
    world
}

#[test]
fn a_limit_that_is_too_low_is_undone_on_every_seed() {
    for seed in 0..10 {
        let mut world = World::new(seed, 900.0, shop([1, 1, 1], "round_robin", ""));
        // Now and then a request fails anyway, and must not be taken for the beginning.
        for backend in ["web-1", "web-2", "web-3"] {
            world.fault(backend, errors(0.002));
        }
        world.run(60);
        world.apply(shop([1, 1, 1], "round_robin", "max_in_flight = 3"));
        world.run(60);
        let found = diagnosis(&world);
        assert_eq!(
            (found.cause, found.mechanism),
            (Cause::ConfigRevision, Mechanism::Limit),
            "{seed}: {found:#?}"
        );
        assert_eq!(world.swaps, BACK, "{seed}: {:#?}", world.incidents());
        assert!(world.incidents()[0].mitigated_at.is_some(), "{seed}");
    }
}

#[test]
fn a_timeout_that_is_too_short_is_undone() {
    let more = "response_timeout = \"10ms\"";
    let world = after(2, "round_robin", "", more);
    let found = diagnosis(&world);
    assert_eq!(
        (found.cause, found.mechanism),
        (Cause::ConfigRevision, Mechanism::Timeout),
        "{found:#?}"
    );
    assert_eq!(world.swaps, BACK, "{:#?}", world.incidents());
}

#[test]
fn a_health_check_with_a_wrong_path_harms_nobody_while_the_pool_fails_open() {
    let check = |path: &str| format!("health = {{ path = \"{path}\", interval = \"1s\" }}");
    let mut world = World::new(3, 900.0, shop([1, 1, 1], "round_robin", &check("/healthz")));
    let model = World::model(|m| m.health.path = Some("/healthz".to_owned()));
    world.set_models(&model);
    world.checks = true;
    world.run(60);
    assert!(world.incidents().is_empty());
    world.apply(shop([1, 1, 1], "round_robin", &check("/health")));
    world.run(60);
    assert_eq!(world.engine.totals().failed, 0);
}

#[test]
fn a_blamed_revision_under_a_newer_one_is_taken_out_alone() {
    let mut world = World::new(8, 0.05, shop([1, 1, 1], "round_robin", ""));
    world.run(20);
    // Too little traffic to see the typo; a further change goes on top of it.
    world.apply(shop([10, 1, 1], "round_robin", ""));
    world.run(605);
    let newer = "idle_timeout = \"20s\"";
    world.apply(shop([10, 1, 1], "round_robin", newer));
    world.run(20);
    let users = crate::world::name("users");
    world.engine.set_rate(&users, 900.0).unwrap();
    world.run(40);
    assert_eq!(
        world.swaps.last(),
        Some(&RevisionId(4)),
        "{:#?}",
        world.incidents()
    );
    let pool = &world.config.pools[0];
    assert_eq!(pool.backends[0].weight, 1, "the typo is gone");
    assert_eq!(pool.idle_timeout.as_secs(), 20, "the newer change is kept");
    world.run(60);
    assert_eq!(world.view().incident, None, "{:#?}", world.incidents());
}

#[test]
fn a_bad_version_everywhere_is_the_deployment_and_no_configuration_is_undone() {
    let mut world = World::new(4, 600.0, shop([1, 1, 1], "round_robin", ""));
    world.run(60);
    world.apply(shop([11, 10, 10], "round_robin", ""));
    world.run(60);
    world.deploy("v2");
    for backend in ["web-1", "web-2", "web-3"] {
        world.fault(
            backend,
            Fault {
                error_rate: 0.1,
                ..Fault::default()
            },
        );
    }
    world.run(60);
    let found = diagnosis(&world);
    assert_eq!(found.cause, Cause::Deployment, "{found:#?}");
    assert_eq!(world.swaps, [RevisionId(2)]);
    let actions = &world.incidents()[0].actions;
    assert!(actions.iter().any(|a| a.kind == "suggest"), "{actions:?}");
}

fn errors(rate: f64) -> Fault {
    Fault {
        error_rate: rate,
        ..Fault::default()
    }
}

#[test]
fn a_bad_version_on_one_of_three_is_identified_and_its_rollback_suggested() {
    for seed in 0..6 {
        let mut world = World::new(seed, 600.0, shop([1, 1, 1], "round_robin", ""));
        world.run(60);
        world.deploy_to("v2", &["web-3"]);
        world.fault("web-3", errors(0.3));
        world.run(30);
        let incident = world.incidents()[0].clone();
        assert_eq!(diagnosis(&world).cause, Cause::Deployment, "{seed}");
        assert_eq!(incident.status, IncidentStatus::Identified, "{seed}");
        let said = incident.actions.iter().find(|a| a.kind == "suggest");
        let said = said.unwrap_or_else(|| panic!("{seed}: {:?}", incident.actions));
        assert_eq!(said.detail, "roll back deployment:shop/v2", "{seed}");
        assert!(world.swaps.is_empty(), "{seed}: a suggestion only");
    }
}

#[test]
fn a_failing_backend_is_identified_and_its_drain_suggested() {
    let mut world = World::new(12, 600.0, shop([1, 1, 1], "round_robin", ""));
    world.run(60);
    world.fault("web-3", errors(0.3));
    world.run(30);
    let incident = world.incidents()[0].clone();
    assert_eq!(incident.status, IncidentStatus::Identified);
    let said = incident.actions.iter().find(|a| a.kind == "suggest");
    let said = said.expect("a suggestion");
    assert!(
        said.detail.starts_with("drain backend:shop/web-3"),
        "{said:?}"
    );
    assert!(world.swaps.is_empty());
}

#[test]
fn a_backend_that_hung_until_its_check_threw_it_out_is_named_when_what_it_held_times_out() {
    let more = "response_timeout = \"10s\"\nhealth = { path = \"/healthz\", interval = \"1s\" }";
    let mut world = World::new(4, 300.0, shop([1, 1, 1], "round_robin", more));
    world.checks = true;
    world.run(60);
    let hangs = Fault {
        hangs: true,
        ..Fault::default()
    };
    world.fault("web-2", hangs);
    world.run(8);
    assert!(world.incidents().is_empty(), "its check was faster");
    world.run(12);
    let found = diagnosis(&world);
    assert_eq!(found.cause, Cause::BackendFault, "{found:#?}");
    let subject = found.subject.map(|s| s.to_string());
    assert_eq!(subject.as_deref(), Some("backend:shop/web-2"));
}

#[test]
fn a_sinkhole_under_least_request_is_the_backend() {
    let mut world = World::new(5, 900.0, shop([1, 1, 1], "least_request", ""));
    world.run(60);
    world.fault(
        "web-2",
        Fault {
            fails_fast: Some(500),
            ..Fault::default()
        },
    );
    world.run(30);
    let found = diagnosis(&world);
    assert_eq!(found.cause, Cause::BackendFault, "{found:#?}");
    assert_eq!(found.mechanism, Mechanism::Errors);
    assert!(world.swaps.is_empty());
}

#[test]
fn a_typo_that_harms_nobody_is_paged_with_a_suggestion_and_not_undone() {
    let mut world = World::new(9, 120.0, shop([1, 1, 1], "random", ""));
    world.run(60);
    world.apply(shop([10, 1, 1], "random", ""));
    world.run(60);
    let incident = world.incidents()[0].clone();
    assert_eq!(diagnosis(&world).cause, Cause::ConfigRevision);
    assert_eq!(world.swaps, [RevisionId(2)]);
    assert!(world.notices.iter().any(|n| n.level == Some(1)), "paged");
    let said = incident.actions.iter().find(|a| a.kind == "suggest");
    let said = said.expect("a suggestion");
    assert!(said.detail.contains("roll back r2 by hand"), "{said:?}");
}

#[test]
fn a_weight_typo_under_least_request_is_undone_too() {
    let mut world = World::new(10, 900.0, shop([1, 1, 1], "least_request", ""));
    world.run(60);
    world.apply(shop([10, 1, 1], "least_request", ""));
    let undone = world.run_until(15, |w| w.swaps == BACK);
    assert!(undone.is_some(), "{:#?}", world.incidents());
    assert_eq!(diagnosis(&world).mechanism, Mechanism::Weight);
}

#[test]
fn a_surge_above_capacity_is_a_shortfall() {
    let mut world = World::new(6, 900.0, shop([1, 1, 1], "round_robin", ""));
    world.run(60);
    let users = crate::world::name("users");
    world.engine.set_rate(&users, 2_400.0).unwrap();
    world.run(30);
    let found = diagnosis(&world);
    assert_eq!(found.cause, Cause::CapacityShortfall, "{found:#?}");
}

#[test]
fn a_surge_within_capacity_and_a_planned_drain_stay_silent() {
    let mut world = World::new(7, 600.0, shop([1, 1, 1], "random", ""));
    world.run(60);
    let users = crate::world::name("users");
    world.engine.set_rate(&users, 900.0).unwrap();
    world.run(120);
    world.take_out(&["web-3"]);
    world.run(300);
    world.take_out(&[]);
    world.run(300);
    assert!(world.incidents().is_empty(), "{:#?}", world.incidents());
}
