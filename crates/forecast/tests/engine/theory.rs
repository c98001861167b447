//! Against theory: closed-form shares, Erlang C, the queue, and determinism.

use std::time::Duration;

use evenkeel_balance::expected_shares;
use evenkeel_forecast::engine::Engine;
use evenkeel_forecast::engine::spec::{BackendModel, Fault, Overflow, ServiceTime};
use evenkeel_model::clock::Mono;
use evenkeel_model::ids::Epoch;

use super::{MS, assert_conserved, config, key, run, spec, sum};

#[test]
fn shares_follow_the_closed_form() {
    for (algorithm, weights) in [
        ("round_robin", [10, 1, 1]),
        ("round_robin", [3, 2, 1]),
        ("random", [10, 1, 1]),
        ("random", [1, 1, 0]),
    ] {
        let config = config(&weights, &format!("algorithm = \"{algorithm}\""));
        let mut engine = run(&config, 200.0, 5, 100);
        let cells = sum(&engine.take_tallies(), Epoch(1));
        let n: u64 = cells.iter().map(|c| c.picks_free).sum();
        let members = evenkeel_balance::effective_members(&config.pools[0], |_| true).0;
        let shares = expected_shares(config.pools[0].algorithm, &members).unwrap();
        for (cell, share) in cells.iter().zip(shares) {
            let sd = (n as f64 * share * (1.0 - share)).sqrt().max(1.0);
            let stray = (cell.picks_free as f64 - n as f64 * share).abs();
            assert!(stray < 4.0 * sd, "{algorithm} {weights:?}: {cells:?}");
        }
        // 20,000 expected; four standard deviations of a Poisson count.
        assert!((n as f64 - 20_000.0).abs() < 4.0 * 20_000f64.sqrt(), "{n}");
    }
}

/// Probability of waiting in M/M/c (Erlang C).
fn erlang_c(servers: u32, offered: f64) -> f64 {
    let blocked = (1..=servers).fold(1.0, |b, k| offered * b / (f64::from(k) + offered * b));
    let rho = offered / f64::from(servers);
    blocked / (1.0 - rho * (1.0 - blocked))
}

#[test]
fn a_backend_behaves_as_erlang_c_says() {
    let config = config(
        &[1],
        "request_timeout = \"10m\"\nresponse_timeout = \"10m\"",
    );
    for (slots, rho) in [(1u32, 0.7), (4, 0.8), (12, 0.75)] {
        let mean = 0.02;
        let rate = rho * f64::from(slots) / mean;
        let mut spec = spec(&config, rate, 11);
        spec.default_model = BackendModel {
            service: ServiceTime::Exponential(Duration::from_secs_f64(mean)),
            slots,
            queue_max: 1_000_000,
            ..BackendModel::default()
        };
        let mut engine = Engine::new(spec);
        // Time average of what is in flight, by Little's law the rate times the mean response time.
        let (mut sum_in_flight, mut samples) = (0.0, 0.0);
        let end_ms = (60_000.0 / rate * 1_000.0) as u64;
        for ms in (2_000..end_ms).step_by(7) {
            engine.run_until(Mono::from_millis(ms));
            sum_in_flight += engine.totals().in_flight as f64;
            samples += 1.0;
        }
        let offered = rate * mean;
        let waiting = erlang_c(slots, offered) / (f64::from(slots) / mean - rate);
        let expected = rate * (mean + waiting);
        let got = sum_in_flight / samples;
        assert!(
            (got / expected - 1.0).abs() < 0.06,
            "{slots}: {got}, theory {expected}"
        );
        let cpu = engine.vitals()[0].1[0].cpu.unwrap();
        assert!((cpu / rho - 1.0).abs() < 0.03, "{slots}: {cpu}");
    }
}

#[test]
fn a_lognormal_service_time_has_the_mean_and_p99_that_it_names() {
    let config = config(&[1], "");
    let mut spec = spec(&config, 200.0, 3);
    let (mean, p99) = (MS(10), MS(60));
    spec.default_model.service = ServiceTime::Lognormal { mean, p99 };
    spec.default_model.slots = 1_000;
    let mut engine = Engine::new(spec);
    engine.run_until(Mono::from_secs(300));
    let cells = sum(&engine.take_tallies(), Epoch(1));
    let got = cells[0].latency.quantile_us(0.99).unwrap() as f64;
    assert!((got / 60_000.0 - 1.0).abs() < 0.1, "{got}");
    // Busy slots over the rate is the mean time in a slot.
    let busy = engine.vitals()[0].1[0].cpu.unwrap() * 1_000.0;
    assert!((busy / (200.0 * 0.010) - 1.0).abs() < 0.05, "{busy}");
}

#[test]
fn an_overload_fills_the_queue_and_the_rest_gets_503() {
    let config = config(&[1], "[pool.shop.retry]\nattempts = 0");
    let mut engine = Engine::new(spec(&config, 1_200.0, 2));
    let mut highest = 0;
    for second in 1..=60 {
        engine.run_until(Mono::from_secs(second));
        highest = highest.max(engine.vitals()[0].1[0].in_flight);
        assert_conserved(&engine);
    }
    let totals = engine.totals();
    let good = totals.ok as f64 / 60.0;
    assert!((good / 600.0 - 1.0).abs() < 0.03, "{good}");
    // 12 slots, 100 waiting, and a few rejections on their way back.
    assert!((112..120).contains(&highest), "{highest}");
    let cells = sum(&engine.take_tallies(), Epoch(1));
    assert_eq!(cells[0].outcomes.server_error, totals.failed);
    assert!(totals.failed > 30_000);
    // A full queue of 100 takes 100 / 600 s to pass.
    let p50 = cells[0].latency.quantile_us(0.9).unwrap() as f64 / 1e6;
    assert!((p50 / (112.0 / 600.0) - 1.0).abs() < 0.25, "{p50}");
}

#[test]
fn a_full_queue_that_hangs_ends_in_timeouts() {
    let config = config(
        &[1],
        "response_timeout = \"500ms\"\n[pool.shop.retry]\nattempts = 0",
    );
    let mut spec = spec(&config, 900.0, 2);
    spec.default_model.overflow = Overflow::Hang;
    let mut engine = Engine::new(spec);
    engine.run_until(Mono::from_secs(20));
    let cells = sum(&engine.take_tallies(), Epoch(1));
    assert!(cells[0].outcomes.timeout > 4_000, "{cells:?}");
    assert_eq!(cells[0].outcomes.server_error, 0);
    assert_conserved(&engine);
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let config = config(&[3, 2, 1], "algorithm = \"least_request\"");
    let tallies = |seed| {
        let mut engine = Engine::new(spec(&config, 300.0, seed));
        engine.run_until(Mono::from_secs(5));
        let fault = Fault {
            error_rate: 0.1,
            slow_factor: 3.0,
            ..Fault::default()
        };
        engine.set_fault(&key("web-1"), fault).unwrap();
        engine.run_until(Mono::from_secs(10));
        (engine.take_tallies(), engine.totals())
    };
    assert_eq!(tallies(1), tallies(1));
    assert_ne!(tallies(1).0, tallies(2).0);
}

#[test]
fn a_fault_at_one_backend_leaves_the_draws_of_arrivals_alone() {
    let config = config(&[1, 1], "");
    let requests = |error_rate| {
        let mut engine = Engine::new(spec(&config, 300.0, 4));
        let fault = Fault {
            error_rate,
            ..Fault::default()
        };
        engine.set_fault(&key("web-1"), fault).unwrap();
        engine.run_until(Mono::from_secs(10));
        engine.totals().requests
    };
    assert_eq!(requests(0.0), requests(0.5));
}
