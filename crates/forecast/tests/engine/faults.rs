//! Each fault shows as the outcome, the latency and the health check that it would have.

use std::time::Duration;

use evenkeel_forecast::engine::Engine;
use evenkeel_forecast::engine::spec::{
    BackendModel, Dependency, Fault, Flap, HealthFault, NetworkFault, ServiceTime, Snapshot,
};
use evenkeel_model::clock::Mono;
use evenkeel_model::ids::Epoch;
use evenkeel_model::tally::BackendTally;

use super::{MS, assert_conserved, config, key, name, spec, sum};

/// Runs one fault on web-1 of three for 30 s at 150 rps; gives web-1's counts and the engine.
fn with_fault(fault: Fault, network: NetworkFault, extra: &str) -> (BackendTally, Engine) {
    let config = config(&[1, 1, 1], extra);
    let mut engine = Engine::new(spec(&config, 150.0, 9));
    engine.set_fault(&key("web-1"), fault).unwrap();
    engine.set_network(&key("web-1"), network).unwrap();
    engine.run_until(Mono::from_secs(30));
    assert_conserved(&engine);
    let cells = sum(&engine.take_tallies(), Epoch(1));
    // Every request has one free pick; what its retries pick is counted apart.
    let free: u64 = cells.iter().map(|cell| cell.picks_free).sum();
    assert_eq!(free, engine.totals().requests);
    for cell in &cells {
        let picks = cell.picks_free + cell.picks_retry;
        assert!(cell.outcomes.total() <= picks && picks <= cell.outcomes.total() + 300);
    }
    (cells[0].clone(), engine)
}

#[test]
fn each_fault_shows_as_the_outcome_it_would_have() {
    let fine = NetworkFault::default;
    let no_retry = "[pool.shop.retry]\nattempts = 0";
    let (cell, _) = with_fault(Fault::default(), fine(), "");
    assert_eq!((cell.outcomes.failed(), cell.harmed), (0, 0));

    let refuses = Fault {
        refuses: true,
        ..Fault::default()
    };
    let (cell, engine) = with_fault(refuses, fine(), "");
    assert_eq!(cell.outcomes.connect_failed, cell.outcomes.total());
    // One retry each, of which half go to each of the others; a budget of 20 % does not cover a third.
    assert!(cell.picks_retry == 0 && engine.totals().failed > 0);
    let retried = cell.outcomes.connect_failed - engine.totals().failed;
    assert!(retried > 500, "{retried}");
    assert_eq!(cell.harmed, engine.totals().failed);

    let hangs = Fault {
        hangs: true,
        ..Fault::default()
    };
    let (cell, engine) = with_fault(hangs, fine(), "response_timeout = \"1s\"");
    assert!(cell.outcomes.timeout > 1_000 && cell.outcomes.ok == 0);
    assert!(cell.latency.count() == 0 && engine.totals().ok > 2_000);

    let fails_fast = Fault {
        fails_fast: Some(503),
        ..Fault::default()
    };
    let (cell, _) = with_fault(fails_fast, fine(), no_retry);
    assert_eq!(cell.outcomes.server_error, cell.harmed);
    assert!(cell.latency.quantile_us(0.99).unwrap() < 1_300);
}

#[test]
fn each_partial_fault_shows_as_much_as_it_is() {
    let fine = NetworkFault::default;
    let no_retry = "[pool.shop.retry]\nattempts = 0";
    let errors = Fault {
        error_rate: 0.25,
        ..Fault::default()
    };
    let (cell, _) = with_fault(errors, fine(), no_retry);
    let rate = cell.outcomes.server_error as f64 / cell.outcomes.total() as f64;
    assert!((rate - 0.25).abs() < 0.05, "{rate}");

    let slow = Fault {
        slow_factor: 5.0,
        ..Fault::default()
    };
    let (cell, _) = with_fault(
        slow,
        fine(),
        "objective = { error_rate = \"1%\", p99 = \"200ms\" }",
    );
    assert!(cell.slow > 100 && cell.slow == cell.harmed && cell.outcomes.failed() == 0);

    let extra = Fault {
        extra_latency: MS(300),
        ..Fault::default()
    };
    let (cell, _) = with_fault(extra, fine(), "");
    assert!(cell.latency.quantile_us(0.5).unwrap() > 297_000);

    let flaps = Fault {
        flaps: Some(Flap {
            up: MS(900),
            down: MS(100),
        }),
        ..Fault::default()
    };
    let (cell, _) = with_fault(flaps, fine(), no_retry);
    let rate = cell.outcomes.connect_failed as f64 / cell.outcomes.total() as f64;
    assert!((rate - 0.1).abs() < 0.04, "{rate}");

    let loss = NetworkFault {
        loss: 0.3,
        ..NetworkFault::default()
    };
    let (cell, _) = with_fault(Fault::default(), loss, no_retry);
    let rate = cell.outcomes.connect_failed as f64 / cell.outcomes.total() as f64;
    assert!((rate - 0.3).abs() < 0.05, "{rate}");

    let far = NetworkFault {
        latency: MS(200),
        ..NetworkFault::default()
    };
    let (cell, _) = with_fault(Fault::default(), far, "");
    assert!(cell.latency.quantile_us(0.01).unwrap() > 168_000);
}

#[test]
fn a_health_check_sees_what_the_fault_lets_it_see() {
    let health = "[pool.shop.health]\npath = \"/healthz\"\ninterval = \"1s\"\ntimeout = \"500ms\"";
    let config = config(&[1, 1], health);
    let mut spec = spec(&config, 10.0, 1);
    spec.default_model.health.path = Some("/healthz".to_owned());
    spec.models.insert(key("web-2"), {
        let mut wrong = BackendModel::default();
        wrong.health.path = Some("/health".to_owned());
        wrong
    });
    let mut engine = Engine::new(spec);
    engine.run_until(Mono::from_secs(1));
    let mut probe = |backend: &str, change: fn(&mut Fault)| {
        let mut fault = Fault::default();
        change(&mut fault);
        engine.set_fault(&key(backend), fault).unwrap();
        let probe = engine.probe(&name("shop"), &name(backend));
        probe.unwrap().unwrap()
    };
    let wrong_path = probe("web-2", |_| {});
    assert_eq!(
        (wrong_path.ok, wrong_path.detail.as_str()),
        (false, "status 404")
    );
    let hang = probe("web-1", |f| f.hangs = true);
    assert_eq!((hang.ok, hang.took), (false, MS(500)));
    assert!(probe("web-1", |_| {}).ok);
    assert!(probe("web-1", |f| f.fails_fast = Some(500)).ok);
    assert!(!probe("web-1", |f| f.refuses = true).ok);
    assert!(!probe("web-1", |f| f.health = HealthFault::Fails).ok);
    assert!(!probe("web-1", |f| f.extra_latency = MS(600)).ok);
    assert!(engine.probe(&name("shop"), &name("web-9")).is_err());
}

#[test]
fn an_overloaded_backend_fails_a_check_that_waits_in_line() {
    let health =
        "[pool.shop.retry]\nattempts = 0\n[pool.shop.health]\npath = \"/\"\ntimeout = \"100ms\"";
    let config = config(&[1], health);
    for queued in [false, true] {
        let mut spec = spec(&config, 1_200.0, 1);
        spec.default_model.health.queued = queued;
        let mut engine = Engine::new(spec);
        engine.run_until(Mono::from_secs(5));
        let probe = engine
            .probe(&name("shop"), &name("web-1"))
            .unwrap()
            .unwrap();
        assert_eq!(probe.ok, !queued);
    }
}

#[test]
fn a_slow_dependency_slows_every_backend_of_its_pool() {
    let config = config(&[1, 1], "");
    let mut engine = Engine::new(spec(&config, 100.0, 3));
    let slow = Dependency {
        extra_latency: MS(100),
        ..Dependency::default()
    };
    engine.set_dependency(&name("shop"), slow).unwrap();
    // It is outside of the balancer: a restart there does not heal it.
    let snapshot = Snapshot::all_up(config.clone(), Epoch(1));
    engine.restart_balancer(Duration::ZERO, &snapshot);
    engine.run_until(Mono::from_secs(20));
    for cell in sum(&engine.take_tallies(), Epoch(1)) {
        assert!(cell.latency.quantile_us(0.01).unwrap() > 90_000);
    }
}

#[test]
fn a_restarting_backend_resets_what_it_held_and_refuses_until_it_is_back() {
    let config = config(&[1, 1], "[pool.shop.retry]\nattempts = 0");
    let mut spec = spec(&config, 200.0, 3);
    spec.default_model.service = ServiceTime::Constant(MS(50));
    let mut engine = Engine::new(spec);
    engine.run_until(Mono::from_secs(5));
    let held = u64::from(engine.vitals()[0].1[0].in_flight);
    engine
        .restart_backend(&key("web-1"), Duration::from_secs(2))
        .unwrap();
    assert_conserved(&engine);
    engine.run_until(Mono::from_secs(20));
    let cells = sum(&engine.take_tallies(), Epoch(1));
    assert!(
        held > 0 && cells[0].outcomes.reset == held,
        "{held} {:?}",
        cells[0].outcomes
    );
    let refused = cells[0].outcomes.connect_failed as f64;
    assert!((refused - 200.0).abs() < 4.0 * 200f64.sqrt(), "{refused}");
    assert_conserved(&engine);
}

#[test]
fn two_faults_at_once_are_both_felt() {
    let slow = Fault {
        slow_factor: 2.0,
        error_rate: 0.5,
        ..Fault::default()
    };
    let flapping = Fault {
        slow_factor: 3.0,
        extra_latency: MS(5),
        error_rate: 0.5,
        refuses: true,
        health: HealthFault::Fails,
        ..Fault::default()
    };
    let both = slow.and(&flapping);
    assert!((both.slow_factor - 6.0).abs() < 1e-12 && (both.error_rate - 0.75).abs() < 1e-12);
    assert!(both.refuses && both.extra_latency == MS(5) && both.health == HealthFault::Fails);
    assert_eq!(Fault::default().and(&slow), slow);
}
