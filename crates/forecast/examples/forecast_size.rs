//! How long a forecast takes: one pool of 10,000 backends and 100 pools of 100, under every selection.
//!
//! `cargo run --release -p evenkeel-forecast --example forecast_size`

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it measures and prints; the room itself does neither"
)]

use std::time::Instant;

use evenkeel_forecast::{Facts, forecast};
use evenkeel_model::setup::{
    Among, Backend, Balancer, Cost, Hash, HashKey, HashTable, LeastLoaded, Pool, Selection, Setup,
    Tie,
};

fn selections() -> Vec<(&'static str, Selection)> {
    let least = |among, cost, tie| Selection::LeastLoaded(LeastLoaded { among, cost, tie });
    let hash = |table| {
        Selection::Hash(Hash {
            key: HashKey::Uri,
            table,
            balance_factor: None,
        })
    };
    let ring = HashTable::EnvoyRing {
        min: 1_024,
        max: 8_388_608,
        murmur: false,
    };
    vec![
        ("by weight", Selection::ByWeight),
        (
            "evenkeel least_request",
            least(Among::DrawnByWeight(2), Cost::PerWeight, Tie::FirstDrawn),
        ),
        (
            "haproxy leastconn",
            least(Among::All, Cost::PlusOnePerWeight, Tie::InTurn),
        ),
        (
            "nginx least_conn",
            least(Among::All, Cost::PerWeight, Tie::ByWeight),
        ),
        (
            "nginx random two",
            least(Among::DrawnByWeight(2), Cost::PerWeight, Tie::LastDrawn),
        ),
        (
            "haproxy random",
            least(Among::DrawnFromRing(2), Cost::PerWeight, Tie::LastDrawn),
        ),
        (
            "envoy least request",
            Selection::WeightOverLoad { bias: 1.0 },
        ),
        ("haproxy ring", hash(HashTable::HaproxyRing)),
        ("nginx ring", hash(HashTable::NginxRing)),
        ("envoy ring", hash(ring)),
        (
            "envoy maglev",
            hash(HashTable::EnvoyMaglev { size: 65_537 }),
        ),
        ("first", Selection::First),
    ]
}

fn pool(name: &str, selection: &Selection, backends: usize) -> Pool {
    let backend = |number: usize| {
        let address = format!("10.1.{}.{}:80", number / 250, number % 250 + 1);
        Backend {
            weight: 1 + (number % 3) as u32,
            capacity_rps: Some(100.0 + (number % 7) as f64),
            identity: address.clone(),
            zone: Some(format!("z{}", number % 3)),
            ..Backend::blank(
                &format!("b{number}"),
                &format!("pool.{name}.b{number}"),
                &address,
            )
        }
    };
    Pool {
        selection: selection.clone(),
        peak_rps: Some(50.0 * backends as f64),
        backends: (0..backends).map(backend).collect(),
        ..Pool::blank(name, &format!("pool.{name}"))
    }
}

fn main() {
    for (name, selection) in selections() {
        for (pools, backends) in [(1, 10_000), (100, 100), (20, 10)] {
            let pools = (0..pools).map(|n| pool(&format!("p{n}"), &selection, backends));
            let setup = Setup {
                pools: pools.collect(),
                ..Setup::blank(Balancer::Haproxy)
            };
            let start = Instant::now();
            let forecast = forecast(&setup, &Facts::default());
            let took = start.elapsed();
            let methods = forecast.pools.iter().map(|p| p.method.as_str());
            let methods: std::collections::BTreeSet<&str> = methods.collect();
            println!(
                "{name:24} {:3} x {backends:5}: {:6.1} ms, {} failures, {methods:?}",
                setup.pools.len(),
                took.as_secs_f64() * 1e3,
                forecast.failures.len()
            );
        }
    }
}
