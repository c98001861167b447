//! The forecast over any set-up: what must hold whatever the selection, and agreement of closed forms with the engine.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod cases;
mod engine;
mod every_selection;
mod one_key;
mod size;

use evenkeel_model::setup::{
    Among, Backend, Balancer, Cost, Hash, HashKey, HashTable, LeastLoaded, Pool, Selection, Setup,
    Tie,
};

/// Every selection that spreads.
fn selections() -> Vec<Selection> {
    let least = |among, cost, tie| Selection::LeastLoaded(LeastLoaded { among, cost, tie });
    let hash = |table| {
        Selection::Hash(Hash {
            key: HashKey::Uri,
            table,
            balance_factor: None,
        })
    };
    let ring = |murmur| HashTable::EnvoyRing {
        min: 1_024,
        max: 8_388_608,
        murmur,
    };
    vec![
        Selection::ByWeight,
        least(Among::All, Cost::PlusOnePerWeight, Tie::InTurn),
        least(Among::All, Cost::PerWeight, Tie::ByWeight),
        least(Among::DrawnByWeight(2), Cost::PerWeight, Tie::FirstDrawn),
        least(Among::DrawnByWeight(2), Cost::PerWeight, Tie::LastDrawn),
        least(Among::DrawnEqually(2), Cost::Plain, Tie::FirstDrawn),
        least(Among::DrawnFromRing(2), Cost::PerWeight, Tie::LastDrawn),
        Selection::WeightOverLoad { bias: 1.0 },
        hash(HashTable::HaproxyMap),
        hash(HashTable::HaproxyRing),
        hash(HashTable::NginxModulo),
        hash(HashTable::NginxRing),
        hash(ring(false)),
        hash(ring(true)),
        hash(HashTable::EnvoyMaglev { size: 65_537 }),
        Selection::First,
    ]
}

/// A backend by number, known to tables by the same number.
fn backend(number: usize, weight: u32, capacity_rps: Option<f64>, is_haproxy: bool) -> Backend {
    let address = format!("10.0.{}.{}:80", number / 250, number % 250 + 1);
    let identity = if is_haproxy {
        (number + 1).to_string()
    } else {
        address.clone()
    };
    Backend {
        weight,
        capacity_rps,
        identity,
        ..Backend::blank(
            &format!("b{number}"),
            &format!("pool.p.backend.b{number}"),
            &address,
        )
    }
}

/// Whether the tables of `selection` know backends by number.
fn is_haproxy(selection: &Selection) -> bool {
    match selection {
        Selection::Hash(hash) => hash.table == HashTable::HaproxyRing,
        Selection::LeastLoaded(rule) => matches!(rule.among, Among::DrawnFromRing(_)),
        _ => false,
    }
}

/// A pool with these weights; every backend carries 100 rps.
fn pool(selection: &Selection, weights: &[u32], peak_rps: Option<f64>) -> Pool {
    let by_number = is_haproxy(selection);
    let numbered = weights.iter().enumerate();
    Pool {
        selection: selection.clone(),
        peak_rps,
        backends: numbered
            .map(|(number, weight)| backend(number, *weight, Some(100.0), by_number))
            .collect(),
        ..Pool::blank("p", "pool.p")
    }
}

fn setup(pool: Pool) -> Setup {
    Setup {
        pools: vec![pool],
        ..Setup::blank(Balancer::Haproxy)
    }
}
