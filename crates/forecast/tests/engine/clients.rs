//! Clients: rates, connections, skew, retries, impatience, poison.

use std::time::Duration;

use evenkeel_forecast::engine::Engine;
use evenkeel_forecast::engine::spec::{ClientRetry, Fault, RequestKind, ServiceTime, Stream};
use evenkeel_model::clock::Mono;
use evenkeel_model::ids::Epoch;

use super::{MS, assert_conserved, config, key, name, spec, sum};

#[test]
fn clients_that_retry_multiply_the_load_of_a_failing_pool() {
    let config = config(&[1, 1], "[pool.shop.retry]\nattempts = 0");
    let mut spec = spec(&config, 100.0, 1);
    spec.streams[0].retry = ClientRetry {
        attempts: 3,
        delay: MS(100),
        backoff: 2.0,
    };
    let mut engine = Engine::new(spec);
    for backend in ["web-1", "web-2"] {
        let fails = Fault {
            fails_fast: Some(503),
            ..Fault::default()
        };
        engine.set_fault(&key(backend), fails).unwrap();
    }
    engine.run_until(Mono::from_secs(60));
    let totals = engine.totals();
    let amplification = totals.requests as f64 / (totals.requests - totals.client_retries) as f64;
    assert!((3.8..=4.0).contains(&amplification), "{amplification}");
}

#[test]
fn a_poison_client_harms_itself_only() {
    let config = config(&[1, 1], "");
    let mut spec = spec(&config, 100.0, 1);
    let mut poison = Stream::to_pool(name("poison"), name("shop"), 50.0);
    poison.clients = 1;
    poison.kinds = vec![RequestKind {
        answer: Some(500),
        ..RequestKind::default()
    }];
    spec.streams.push(poison);
    let mut engine = Engine::new(spec);
    engine.run_until(Mono::from_secs(10));
    let tallies = engine.take_tallies();
    let mut clients = tallies[0].pools[0].clients.clone();
    clients.merge(&tallies[1].pools[0].clients);
    assert!(clients.harmed_requests > 400);
    assert!((clients.harmed.estimate() - 1.0).abs() < 0.1);
    assert!((clients.top_harmed_share() - 1.0).abs() < 1e-9);
    assert!(clients.seen.estimate() > 300.0);
}

#[test]
fn impatient_clients_leave_and_harm_nobody() {
    let config = config(&[1], "");
    let mut spec = spec(&config, 50.0, 1);
    spec.streams[0].patience = Some(MS(200));
    spec.default_model.service = ServiceTime::Constant(Duration::from_secs(1));
    spec.default_model.slots = 1_000;
    let mut engine = Engine::new(spec);
    engine.run_until(Mono::from_secs(10));
    let cells = sum(&engine.take_tallies(), Epoch(1));
    assert_eq!(cells[0].outcomes.client_abort, cells[0].outcomes.total());
    assert_eq!(cells[0].harmed, 0);
    assert!(engine.totals().aborted > 400);
    assert_conserved(&engine);
}

#[test]
fn a_keep_alive_connection_stays_on_one_worker() {
    let config = config(&[1], "");
    let spread = |requests_per_connection| {
        let mut spec = spec(&config, 200.0, 3);
        spec.workers = 4;
        spec.streams[0].clients = 1;
        spec.streams[0].requests_per_connection = requests_per_connection;
        let mut engine = Engine::new(spec);
        engine.run_until(Mono::from_secs(10));
        let picks = engine.take_tallies();
        let picks = picks
            .iter()
            .map(|t| t.pools[0].epochs[0].backends[0].picks_free);
        picks.filter(|n| *n > 0).count()
    };
    assert_eq!(spread(1_000_000), 1);
    assert_eq!(spread(1), 4);
}

#[test]
fn skewed_clients_send_by_zipf() {
    let config = config(&[1], "[pool.shop.retry]\nattempts = 0");
    let mut spec = spec(&config, 300.0, 3);
    spec.streams[0].clients = 100;
    spec.streams[0].zipf_exponent = 1.2;
    let mut engine = Engine::new(spec);
    let fails = Fault {
        fails_fast: Some(500),
        ..Fault::default()
    };
    engine.set_fault(&key("web-1"), fails).unwrap();
    engine.run_until(Mono::from_secs(60));
    let tallies = engine.take_tallies();
    let mut clients = tallies[0].pools[0].clients.clone();
    clients.merge(&tallies[1].pools[0].clients);
    let first = 1.0 / (1..=100).map(|n| f64::from(n).powf(-1.2)).sum::<f64>();
    let got = clients.top_harmed_share();
    assert!((got / first - 1.0).abs() < 0.1, "{got}, theory {first}");
}

#[test]
fn a_rate_can_be_changed_and_stopped() {
    let config = config(&[1], "");
    let mut engine = Engine::new(spec(&config, 100.0, 3));
    engine.run_until(Mono::from_secs(10));
    let first = engine.totals().requests;
    engine.set_rate(&name("users"), 400.0).unwrap();
    engine.run_until(Mono::from_secs(20));
    let second = engine.totals().requests - first;
    engine.set_rate(&name("users"), 0.0).unwrap();
    engine.run_until(Mono::from_secs(30));
    assert!(
        (850..1_150).contains(&first) && (3_700..4_300).contains(&second),
        "{first} {second}"
    );
    assert_eq!(engine.totals().requests, first + second);
    assert_eq!(engine.totals().in_flight, 0);
    assert!(engine.set_rate(&name("nobody"), 1.0).is_err());
}
