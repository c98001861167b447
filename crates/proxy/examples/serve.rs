//! The data plane alone, from a configuration file, without checks and control: for measuring.
//!
//! `cargo run --release -p evenkeel-proxy --example serve -- evenkeel.toml`; SIGTERM drains it.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_balance::effective_members;
use evenkeel_model::ids::{Epoch, RevisionId};
use evenkeel_model::parse::parse;
use evenkeel_proxy::{Gauges, PoolRuntime, Proxy, ProxyOptions, Snapshot};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

type AnyError = Box<dyn std::error::Error>;

fn main() -> Result<(), AnyError> {
    let path = std::env::args().nth(1).ok_or("usage: serve CONFIG")?;
    let parsed = parse(&std::fs::read_to_string(&path)?, Some(&path));
    let config = parsed
        .config
        .ok_or_else(|| format!("{:#?}", parsed.findings))?;
    let facts = config.pools.iter().map(|pool| PoolRuntime {
        epoch: Epoch(1),
        members: effective_members(pool, |_| true).0,
        drained: Vec::new(),
    });
    let facts = facts.collect();
    let bound = Proxy::bind(&config)?;
    let mut words = std::io::stderr();
    for (name, address) in bound.addresses() {
        writeln!(words, "{name} on {address}")?;
    }
    let (tally, mut tallies) = mpsc::channel(16);
    let (events, _events) = mpsc::channel(16);
    let options = ProxyOptions {
        workers: config.workers,
        seed: getrandom::u64()?,
        origin: Instant::now(),
        tally,
        events,
        access_log: config.access_log.clone(),
        memory: evenkeel_proxy::resident,
    };
    let snapshot = Snapshot::new(RevisionId(1), Arc::new(config), facts, &Gauges::default())?;
    let proxy = Proxy::start(bound, options, snapshot)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut term = signal(SignalKind::terminate())?;
        loop {
            tokio::select! {
                _ = term.recv() => return Ok::<(), std::io::Error>(()),
                tally = tallies.recv() => drop(tally),
            }
        }
    })?;
    proxy.drain(Duration::from_secs(10));
    let report = proxy.join();
    writeln!(words, "drained, {} cut off", report.cut_off)?;
    Ok(())
}
