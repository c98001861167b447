//! How long all rules take over 10,000 backends, in one pool and in 100, each with a fault.
//! `cargo run --release -p evenkeel-audit --example audit_speed`. Prints times; asserts none.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement: it reads the clock and prints"
)]

use evenkeel_audit::{Subject, audit};
use evenkeel_forecast::{Facts, forecast};
use evenkeel_model::clock::Wall;
use evenkeel_model::finding::Origin;
use evenkeel_model::setup::{Backend, Balancer, Pool, Route, Setup};

fn pool(number: u32, backends: u32) -> Pool {
    let path = format!("backend.p{number}");
    let backend = |i: u32| Backend {
        weight: 1 + i % 50,
        capacity_rps: Some(100.0),
        zone: Some(format!("z{}", i % 3)),
        ..Backend::blank(
            &format!("s{i}"),
            &format!("{path}.server.s{i}"),
            &format!("10.{}.{}.{}:80", i / 65_536, i / 256 % 256, i % 250),
        )
    };
    Pool {
        backends: (0..backends).map(backend).collect(),
        peak_rps: Some(f64::from(backends) * 90.0),
        ..Pool::blank(&format!("p{number}"), &path)
    }
}

fn setup(pools: u32, backends: u32) -> Setup {
    let mut setup = Setup::blank(Balancer::Haproxy);
    setup.pools = (0..pools).map(|i| pool(i, backends)).collect();
    let route = |i: u32| Route {
        path: format!("route.{i}"),
        listener: "web".to_owned(),
        host: None,
        path_prefix: Some(format!("/{i}")),
        whole_segments: true,
        condition: None,
        matcher: None,
        answer: None,
        edits: evenkeel_model::config::Edits::default(),
        targets: vec![(format!("p{}", i % pools), 1.0)],
    };
    setup.routes = (0..10_000).map(route).collect();
    setup
}

fn main() {
    let (facts, origin) = (Facts::default(), Origin::default());
    for (pools, backends) in [(1, 10_000), (100, 100), (10_000, 1)] {
        let setup = setup(pools, backends);
        let forecast = forecast(&setup, &facts);
        let started = std::time::Instant::now();
        let findings = audit(&Subject {
            setup: &setup,
            origin: &origin,
            forecast: &forecast,
            facts: &facts,
            running: None,
            now: Wall(0),
        });
        let took = started.elapsed();
        println!(
            "{pools} x {backends}: {} findings in {took:?}",
            findings.len()
        );
    }
}
