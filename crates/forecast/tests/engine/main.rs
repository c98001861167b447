//! The event engine against theory and against what its specification promises.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test that fails is a failed test"
)]

mod balancer;
mod chaos;
mod clients;
mod faults;
mod theory;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_forecast::engine::Engine;
use evenkeel_forecast::engine::spec::{BackendKey, BackendModel, EngineSpec, Snapshot, Stream};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::Config;
use evenkeel_model::ids::{Epoch, Name};
use evenkeel_model::tally::{BackendTally, Tally};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn key(backend: &str) -> BackendKey {
    (name("shop"), name(backend))
}

/// A pool `shop` with backends web-1.. of these weights; `extra` goes into the pool's table.
fn config(weights: &[u32], extra: &str) -> Arc<Config> {
    let mut parts = vec![format!(
        "[listener.web]\naddress = \"127.0.0.1:8080\"\n\n[[route]]\nlistener = \"web\"\npool = \"shop\"\n\n[pool.shop]\nintent = \"even\"\n{extra}\n"
    )];
    for (i, weight) in weights.iter().enumerate() {
        let (n, port) = (i + 1, 9_001 + i);
        parts.push(format!(
            "[pool.shop.backend.web-{n}]\naddress = \"127.0.0.1:{port}\"\nweight = {weight}\ncapacity_rps = 600\n"
        ));
    }
    let text = parts.concat();
    let parsed = evenkeel_model::parse::parse(&text, None);
    assert!(parsed.config.is_some(), "{:?}", parsed.findings);
    Arc::new(parsed.config.unwrap())
}

fn spec(config: &Arc<Config>, rate_rps: f64, seed: u64) -> EngineSpec {
    EngineSpec {
        snapshot: Snapshot::all_up(config.clone(), Epoch(1)),
        workers: 2,
        seed,
        streams: vec![Stream::to_pool(name("users"), name("shop"), rate_rps)],
        models: BTreeMap::new(),
        default_model: BackendModel::default(),
    }
}

fn run(config: &Arc<Config>, rate_rps: f64, seed: u64, seconds: u64) -> Engine {
    let mut engine = Engine::new(spec(config, rate_rps, seed));
    engine.run_until(Mono::from_secs(seconds));
    engine
}

/// Counts of one epoch over all workers, per backend.
fn sum(tallies: &[Tally], epoch: Epoch) -> Vec<BackendTally> {
    let mut sums: Vec<BackendTally> = Vec::new();
    let cells = tallies
        .iter()
        .flat_map(|t| &t.pools)
        .flat_map(|p| &p.epochs)
        .filter(|e| e.epoch == epoch);
    for cells in cells {
        sums.resize(cells.backends.len(), BackendTally::default());
        for (sum, cell) in sums.iter_mut().zip(&cells.backends) {
            sum.picks_free += cell.picks_free;
            sum.picks_retry += cell.picks_retry;
            sum.harmed += cell.harmed;
            sum.slow += cell.slow;
            sum.outcomes.ok += cell.outcomes.ok;
            sum.outcomes.client_error += cell.outcomes.client_error;
            sum.outcomes.server_error += cell.outcomes.server_error;
            sum.outcomes.connect_failed += cell.outcomes.connect_failed;
            sum.outcomes.reset += cell.outcomes.reset;
            sum.outcomes.timeout += cell.outcomes.timeout;
            sum.outcomes.client_abort += cell.outcomes.client_abort;
            sum.latency.add(&cell.latency);
        }
    }
    sums
}

fn assert_conserved(engine: &Engine) {
    let t = engine.totals();
    assert_eq!(
        t.requests,
        t.ok + t.client_error + t.failed + t.aborted + t.in_flight,
        "{t:?}"
    );
}
