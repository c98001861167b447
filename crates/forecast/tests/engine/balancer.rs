//! The balancer: epochs, reloads, routes, limits, restarts.

use std::time::Duration;

use evenkeel_forecast::engine::Engine;
use evenkeel_forecast::engine::spec::{
    Fault, PoolSnapshot, RequestKind, ServiceTime, Snapshot, Stream, Target,
};
use evenkeel_model::clock::Mono;
use evenkeel_model::ids::Epoch;
use evenkeel_model::tally::{Tally, Waits};

use super::{MS, assert_conserved, config, key, name, spec, sum};

#[test]
fn responses_are_booked_to_the_epoch_of_their_pick() {
    let config = config(&[1, 1], "");
    let mut spec = spec(&config, 100.0, 1);
    spec.default_model.service = ServiceTime::Constant(MS(500));
    spec.default_model.slots = 1_000;
    let mut engine = Engine::new(spec);
    engine.run_until(Mono::from_secs(10));
    let before = sum(&engine.take_tallies(), Epoch(1));
    assert!(before[0].picks_free > before[0].outcomes.total());
    // web-2 is out from now on.
    let mut snapshot = Snapshot::all_up(config.clone(), Epoch(2));
    snapshot.pools[0].members[1].eligible = false;
    engine.swap(&snapshot);
    engine.run_until(Mono::from_secs(20));
    let tallies = engine.take_tallies();
    let (old, new) = (sum(&tallies, Epoch(1)), sum(&tallies, Epoch(2)));
    for (old, before) in old.iter().zip(&before) {
        assert_eq!(
            old.picks_free, before.picks_free,
            "no pick is booked to an old epoch"
        );
        assert_eq!(old.outcomes.ok, old.picks_free, "all its responses are");
    }
    assert_eq!(new[1].picks_free, 0);
    let picks: u64 = old.iter().chain(&new).map(|c| c.picks_free).sum();
    assert_eq!(picks, engine.totals().requests);
}

#[test]
fn only_the_newest_eight_epochs_are_kept_and_the_newest_is_always_reported() {
    let config = config(&[1, 1], "");
    let mut engine = Engine::new(spec(&config, 50.0, 1));
    for epoch in 2..=20 {
        engine.run_until(Mono::from_secs(epoch));
        engine.swap(&Snapshot::all_up(config.clone(), Epoch(epoch)));
    }
    let epochs = |tallies: &[Tally]| -> Vec<u64> {
        tallies[0].pools[0]
            .epochs
            .iter()
            .map(|e| e.epoch.0)
            .collect()
    };
    assert_eq!(
        epochs(&engine.take_tallies()),
        (13..=20).collect::<Vec<u64>>()
    );
    assert_eq!(epochs(&engine.take_tallies()), [20]);
}

#[test]
fn backends_and_pools_can_come_and_go() {
    let two = config(&[1, 1], "");
    let three = config(&[1, 1, 1], "");
    let mut spec = spec(&two, 300.0, 1);
    spec.default_model.cold_start = Some(evenkeel_forecast::engine::spec::ColdStart {
        factor: 10.0,
        over: Duration::from_secs(20),
    });
    let mut engine = Engine::new(spec);
    engine.run_until(Mono::from_secs(5));
    engine.swap(&Snapshot::all_up(three.clone(), Epoch(2)));
    engine.run_until(Mono::from_secs(8));
    let cells = sum(&engine.take_tallies(), Epoch(2));
    let p50 = |i: usize| cells[i].latency.quantile_us(0.5).unwrap();
    assert!(
        p50(2) > 4 * p50(0),
        "a backend that joins is cold: {} {}",
        p50(2),
        p50(0)
    );
    engine.swap(&Snapshot::all_up(two, Epoch(3)));
    engine.run_until(Mono::from_secs(40));
    assert_conserved(&engine);
    assert_eq!(engine.vitals()[0].1.len(), 2);
    assert_eq!(engine.totals().failed, 0);
}

#[test]
fn routes_decide_the_pool_and_a_request_without_a_route_is_a_404() {
    let config = config(&[1], "");
    let mut spec = spec(&config, 100.0, 1);
    spec.streams[0].target = Target::Listener(name("web"));
    spec.streams[0].kinds = vec![RequestKind::default()];
    let mut engine = Engine::new(spec);
    engine.run_until(Mono::from_secs(5));
    assert_eq!(engine.totals().client_error, 0);
    assert!(engine.totals().ok > 300);
    // Each worker counts by route, and what goes past the routes is not counted.
    let by_route = |engine: &mut Engine| -> Vec<(String, u64)> {
        let tallies = engine.take_tallies();
        let routes = tallies.iter().flat_map(|tally| &tally.routes);
        routes.map(|r| (r.route.to_string(), r.requests)).collect()
    };
    let counted = by_route(&mut engine);
    assert!(
        counted.iter().all(|(route, _)| route == "web /"),
        "{counted:?}"
    );
    let requests: u64 = counted.iter().map(|(_, requests)| requests).sum();
    assert_eq!(requests, engine.totals().requests);
    assert!(by_route(&mut engine).is_empty(), "nothing came since");
    let mut elsewhere = Stream::to_pool(name("lost"), name("shop"), 100.0);
    elsewhere.target = Target::Pool(name("nowhere"));
    engine.add_stream(elsewhere);
    engine.run_until(Mono::from_secs(10));
    assert!(engine.totals().client_error > 300);
    assert_conserved(&engine);
}

#[test]
fn a_balancer_that_restarts_fails_what_was_in_flight_and_counts_anew() {
    let config = config(&[1, 1], "");
    let mut engine = Engine::new(spec(&config, 200.0, 3));
    engine.run_until(Mono::from_secs(5));
    let in_flight = engine.totals().in_flight;
    let snapshot = Snapshot::all_up(config.clone(), Epoch(7));
    engine.restart_balancer(Duration::from_secs(1), &snapshot);
    assert_eq!(engine.totals().in_flight, 0);
    assert_eq!(engine.totals().turned_away, in_flight);
    assert!(
        engine.take_tallies().is_empty(),
        "a dead balancer reports nothing"
    );
    engine.run_until(Mono::from_secs(10));
    let tallies = engine.take_tallies();
    assert!(sum(&tallies, Epoch(1)).is_empty());
    let picks: u64 = sum(&tallies, Epoch(7)).iter().map(|c| c.picks_free).sum();
    assert!((700..900).contains(&picks), "{picks}");
    let held: u32 = engine.vitals()[0].1.iter().map(|v| v.in_flight).sum();
    assert_eq!(u64::from(held), engine.totals().in_flight);
    assert_conserved(&engine);
}

#[test]
fn least_request_sees_what_is_in_flight_over_all_workers() {
    // A backend five times slower than the others gets clearly less than a third.
    let config = config(&[1, 1, 1], "algorithm = \"least_request\"");
    let mut engine = Engine::new(spec(&config, 600.0, 3));
    let slow = Fault {
        slow_factor: 5.0,
        ..Fault::default()
    };
    engine.set_fault(&key("web-1"), slow).unwrap();
    engine.run_until(Mono::from_secs(30));
    let cells = sum(&engine.take_tallies(), Epoch(1));
    let all: u64 = cells.iter().map(|c| c.picks_free).sum();
    let share = cells[0].picks_free as f64 / all as f64;
    assert!(share < 0.2 && share > 0.02, "{share}");
}

#[test]
fn a_backend_at_its_in_flight_limit_is_passed_over_and_a_full_pool_is_unpicked() {
    let config = config(&[1], "max_in_flight = 5\n[pool.shop.retry]\nattempts = 0");
    let mut engine = Engine::new(spec(&config, 600.0, 3));
    for second in 1..=10 {
        engine.run_until(Mono::from_secs(second));
        assert!(engine.vitals()[0].1[0].in_flight <= 5);
    }
    let totals = engine.totals();
    let unpicked: u64 = engine
        .take_tallies()
        .iter()
        .map(|t| t.pools[0].unpicked)
        .sum();
    assert!(unpicked > 1_000 && unpicked == totals.unpicked && totals.failed == unpicked);
}

#[test]
fn requests_wait_in_a_queue_that_is_bounded_in_length_and_time() {
    // 12 slots of 20 ms can do 600 a second, but only 5 may be in flight: 250 a second.
    let run = |rps, more: &str| {
        let config = config(&[1], &format!("max_in_flight = 5\n{more}"));
        let mut engine = Engine::new(spec(&config, rps, 3));
        engine.run_until(Mono::from_secs(20));
        assert_conserved(&engine);
        let mut waits = Waits::default();
        for tally in engine.take_tallies() {
            waits = waits.plus_since(&tally.pools[0].waits, &Waits::default());
        }
        (engine.totals(), waits)
    };
    let (refused, none) = run(200.0, "");
    assert_eq!(none, Waits::default());
    let queue = "queue = { length = 100, timeout = \"1s\" }";
    let (totals, waits) = run(200.0, queue);
    assert!(
        refused.failed > 100 && totals.failed == 0,
        "{refused:?} {totals:?}"
    );
    assert!(waits.queued > 1_000 && waits.served + waits.waiting() == waits.queued);
    // At twice what the limit lets through the queue is full, and as many are refused as are too many.
    let (totals, waits) = run(500.0, queue);
    let share = totals.failed as f64 / totals.requests as f64;
    assert!((0.4..0.6).contains(&share), "{share}");
    assert_eq!(waits.full + waits.timed_out, totals.unpicked);
    assert!(waits.waiting() <= 100);
    // The wait at the end of a full queue is longer than this timeout: now it is time that bounds it.
    let (_, waits) = run(500.0, "queue = { length = 1000, timeout = \"50ms\" }");
    assert!(waits.timed_out > 1_000 && waits.full == 0, "{waits:?}");
}

#[test]
fn a_limit_of_the_whole_pool_holds_over_all_backends_and_workers() {
    let config = config(&[1, 1, 1], "max_in_flight_total = 7");
    let mut engine = Engine::new(spec(&config, 900.0, 3));
    for tenth in 1..=100 {
        engine.run_until(Mono::from_millis(tenth * 100));
        let held: u32 = engine.vitals()[0].1.iter().map(|v| v.in_flight).sum();
        assert!(held <= 7, "{held}");
    }
    assert!(engine.totals().unpicked > 1_000);
}

#[test]
fn a_rate_limit_of_a_route_lets_its_rate_through_and_harms_nobody() {
    let text = "[listener.web]\naddress = \"127.0.0.1:1\"\n[[route]]\nlistener = \"web\"\npool = \"shop\"\n\
        rate_limit = { rps = 50, burst = 10 }\n[pool.shop.backend.web-1]\naddress = \"127.0.0.1:2\"\n";
    let config = std::sync::Arc::new(evenkeel_model::parse::parse(text, None).config.unwrap());
    let mut spec = spec(&config, 200.0, 3);
    spec.streams[0].target = Target::Listener(name("web"));
    let mut engine = Engine::new(spec);
    engine.run_until(Mono::from_secs(20));
    assert_conserved(&engine);
    let totals = engine.totals();
    assert!((950..=1_010).contains(&totals.ok), "{totals:?}");
    assert_eq!((totals.failed, totals.unpicked), (0, 0));
    assert_eq!(
        totals.client_error,
        totals.requests - totals.ok - totals.in_flight
    );
}

#[test]
fn a_503_is_tried_elsewhere_where_the_pool_wants_it() {
    let run = |on: &str| {
        let config = config(
            &[1, 1],
            &format!("[pool.shop.retry]\nbudget = \"100%\"\n{on}"),
        );
        let mut engine = Engine::new(spec(&config, 100.0, 3));
        let fault = Fault {
            fails_fast: Some(503),
            ..Fault::default()
        };
        engine.set_fault(&key("web-1"), fault).unwrap();
        engine.run_until(Mono::from_secs(10));
        assert_conserved(&engine);
        engine.totals().failed
    };
    assert!(run("") > 400);
    assert_eq!(run("on = [\"503\"]"), 0);
}

#[test]
fn a_snapshot_without_an_eligible_backend_picks_nobody() {
    let config = config(&[1, 1], "");
    let mut spec = spec(&config, 100.0, 3);
    let members = spec.snapshot.pools[0].members.iter().cloned();
    let members = members.map(|mut m| {
        m.eligible = false;
        m
    });
    spec.snapshot.pools = vec![PoolSnapshot {
        epoch: Epoch(1),
        members: members.collect(),
    }];
    let mut engine = Engine::new(spec);
    engine.run_until(Mono::from_secs(5));
    assert_eq!(engine.totals().ok, 0);
    assert_eq!(engine.totals().unpicked, engine.totals().failed);
}
