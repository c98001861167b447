//! Clients cannot steer the guard: harm counts when it is the harm of many, and what is withheld is said.

use evenkeel_forecast::engine::spec::{Fault, RequestKind, Stream};
use evenkeel_model::blame::Cause;
use evenkeel_model::ids::RevisionId;
use evenkeel_model::record::RevisionState;

use crate::world::{World, name, shop};

/// `rps` requests per second of one client, each answered with 500 by whichever backend.
fn poison(rps: f64) -> Stream {
    let mut stream = Stream::to_pool(name("poison"), name("shop"), rps);
    stream.clients = 1;
    stream.kinds = vec![RequestKind {
        answer: Some(500),
        ..RequestKind::default()
    }];
    stream
}

fn users(rps: f64, clients: u32) -> Stream {
    let mut stream = Stream::to_pool(name("users"), name("shop"), rps);
    stream.clients = clients;
    stream
}

fn errors(rate: f64) -> Fault {
    Fault {
        error_rate: rate,
        ..Fault::default()
    }
}

fn reasons(world: &World) -> String {
    let backends = &world.view().pools[0].backends;
    let all: Vec<&str> = backends.iter().map(|b| b.reason.as_str()).collect();
    all.join("\n")
}

#[test]
fn one_client_whose_requests_all_fail_raises_nothing_and_keeps_no_change_from_being_verified() {
    for seed in 0..4 {
        for rps in [4.0, 20.0, 200.0] {
            let streams = vec![users(480.0, 2_000), poison(rps)];
            let mut world = World::with_streams(seed, streams, shop([1, 1, 1], "random", ""));
            world.run(120);
            assert!(
                world.incidents().is_empty(),
                "{seed} {rps}: {:#?}",
                world.incidents()
            );
            assert!(
                reasons(&world).contains("not held against the pool"),
                "{seed} {rps}: {}",
                reasons(&world)
            );
            world.apply(shop([11, 10, 10], "random", ""));
            world.run(120);
            assert_eq!(world.state_of(2), RevisionState::Verified, "{seed} {rps}");
            assert!(world.incidents().is_empty(), "{seed} {rps}");
        }
    }
}

#[test]
fn harm_to_many_on_top_of_a_poison_client_is_found_dated_and_seen_to_end() {
    for seed in 0..4 {
        let streams = vec![users(480.0, 2_000), poison(20.0)];
        let mut world = World::with_streams(seed, streams, shop([1, 1, 1], "random", ""));
        world.run(90);
        world.fault("web-3", errors(0.3));
        world.run(15);
        let incident = world.incidents()[0].clone();
        let late = incident.fault_at.unwrap().0 - crate::world::START.0;
        assert!((88_000..=93_000).contains(&late), "{seed}: {late} ms");
        let found = incident.diagnosis.unwrap();
        assert_eq!(found.cause, Cause::BackendFault, "{seed}: {found:#?}");
        world.fault("web-3", Fault::default());
        world.run(30);
        let incident = world.incidents()[0].clone();
        assert!(incident.mitigated_at.is_some(), "{seed}: {incident:#?}");
    }
}

#[test]
fn harm_to_fewer_clients_than_asked_for_is_withheld_with_a_reason_until_configuration_lowers_it() {
    let world = |more: &str| {
        let config = shop([1, 1, 1], "random", more);
        let mut world = World::with_streams(5, vec![users(300.0, 3)], config);
        world.run(60);
        world.fault("web-3", errors(0.3));
        world.run(30);
        world
    };
    let silent = world("");
    assert!(silent.incidents().is_empty(), "{:#?}", silent.incidents());
    let said = reasons(&silent);
    assert!(said.contains("harmed_clients_min = 20"), "{said}");
    let told = world("harmed_clients_min = 3");
    assert_eq!(told.incidents().len(), 1);
}

#[test]
fn a_private_service_of_three_clients_is_covered_by_total_failure_and_by_the_share_tests() {
    let private = || {
        let config = shop([1, 1, 1], "random", "");
        World::with_streams(6, vec![users(900.0, 3)], config)
    };
    let mut world = private();
    world.run(60);
    for backend in ["web-1", "web-2", "web-3"] {
        world.fault(backend, errors(1.0));
    }
    let detected = world.run_until(10, |w| !w.incidents().is_empty());
    assert!(detected.is_some(), "{}", reasons(&world));
    let mut world = private();
    world.run(60);
    world.apply(shop([10, 1, 1], "random", ""));
    world.run(30);
    assert_eq!(world.swaps, [RevisionId(2), RevisionId(1)]);
}
