//! How long a worker pauses while the configuration is swapped: `cargo xtask bench swap`, or
//! `cargo run --release -p evenkeel-proxy --example swap`.
//!
//! One worker, 100 pools of 100 backends; every swap changes all weights and half of the addresses. A client asks the
//! proxy itself (`OPTIONS` with `Max-Forwards: 0`) as fast as it answers, so a pause of the worker is the longest round trip; the
//! same without a swap shows what the machine adds. Prints one line of Markdown per row; asserts nothing.

#![expect(clippy::print_stdout, reason = "a measurement that prints a table")]

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_balance::effective_members;
use evenkeel_model::config::{Address, Config};
use evenkeel_model::ids::{Epoch, RevisionId};
use evenkeel_proxy::{Gauges, PoolRuntime, Proxy, ProxyOptions, Snapshot};
use tokio::sync::mpsc;

type AnyError = Box<dyn std::error::Error>;

const POOLS: usize = 100;
const BACKENDS: usize = 100;
const SWAPS: u64 = 41;
/// Watched from a swap on, and as long without one.
const WINDOW: Duration = Duration::from_millis(60);
const REQUEST: &[u8] = b"OPTIONS * HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\n\r\n";

fn config(round: u64) -> Result<Config, AnyError> {
    let mut text = "workers = 1\n[listener.web]\naddress = \"127.0.0.1:0\"\n".to_owned();
    for pool in 0..POOLS {
        writeln!(
            text,
            "[[route]]\nlistener = \"web\"\npath_prefix = \"/{pool}\"\npool = \"p-{pool}\""
        )?;
        writeln!(text, "[pool.p-{pool}]")?;
        for backend in 0..BACKENDS {
            let net = if pool % 2 == 0 { 0 } else { round };
            let weight = 1 + (backend as u64 + round) % 3;
            writeln!(text, "[pool.p-{pool}.backend.b-{backend}]")?;
            writeln!(
                text,
                "address = \"10.{net}.{pool}.{backend}:80\"\nweight = {weight}"
            )?;
        }
    }
    let parsed = evenkeel_model::parse::parse(&text, None);
    parsed
        .config
        .ok_or_else(|| format!("{:?}", parsed.findings).into())
}

fn snapshot(round: u64, config: Config, gauges: &Gauges) -> Result<Snapshot, AnyError> {
    let facts = config.pools.iter().map(|pool| PoolRuntime {
        epoch: Epoch(round),
        members: effective_members(pool, |_| true).0,
        drained: Vec::new(),
    });
    let facts = facts.collect();
    Ok(Snapshot::new(
        RevisionId(round),
        Arc::new(config),
        facts,
        gauges,
    )?)
}

fn main() -> Result<(), AnyError> {
    let gauges = Gauges::default();
    let first = config(0)?;
    let bound = Proxy::bind(&first)?;
    let (tally, mut tallies) = mpsc::channel(16);
    let (events, _events) = mpsc::channel(16);
    let options = ProxyOptions {
        workers: None,
        seed: 1,
        origin: Instant::now(),
        tally,
        events,
        access_log: None,
        memory: evenkeel_proxy::resident,
    };
    let proxy = Proxy::start(bound, options, snapshot(0, first, &gauges)?)?;
    let addresses = proxy.addresses();
    let Some((_, Address::Tcp(address))) = addresses.first() else {
        return Err("it listens nowhere".into());
    };
    let mut client = TcpStream::connect(address.to_string())?;
    client.set_nodelay(true)?;
    watch(&mut client)?;
    let (mut quiet, mut swapped) = (Vec::new(), Vec::new());
    for round in 1..=SWAPS {
        let next = snapshot(round % 200, config(round % 200)?, &gauges)?;
        quiet.push(watch(&mut client)?);
        // On a thread of its own, as the control thread is: building what is swapped in is not what is measured.
        let longest = std::thread::scope(|scope| {
            let swap = scope.spawn(|| proxy.swap(next));
            let longest = watch(&mut client);
            (swap.join().is_ok_and(|done| done.is_ok()), longest)
        });
        let (true, longest) = longest else {
            return Err("a swap failed".into());
        };
        swapped.push(longest?);
        while tallies.try_recv().is_ok() {}
    }
    println!("| longest round trip within {WINDOW:?}, us | median | largest of {SWAPS} |");
    println!("|---|---|---|");
    for (name, mut values) in [("without a swap", quiet), ("from a swap on", swapped)] {
        values.sort();
        let middle = values.get(values.len() / 2).map_or(0, Duration::as_micros);
        let most = values.last().map_or(0, Duration::as_micros);
        println!("| {name} | {middle} | {most} |");
    }
    proxy.drain(Duration::ZERO);
    proxy.join();
    Ok(())
}

/// The longest round trip of the window.
fn watch(client: &mut TcpStream) -> Result<Duration, AnyError> {
    let end = Instant::now() + WINDOW;
    let mut longest = Duration::ZERO;
    let mut buffer = [0; 4096];
    loop {
        let from = Instant::now();
        if from >= end {
            return Ok(longest);
        }
        client.write_all(REQUEST)?;
        let mut got = 0;
        while !buffer
            .get(..got)
            .is_some_and(|head| head.ends_with(b"\r\n\r\n"))
        {
            let read = client.read(buffer.get_mut(got..).unwrap_or_default())?;
            if read == 0 {
                return Err("the proxy closed the connection".into());
            }
            got += read;
        }
        longest = longest.max(from.elapsed());
    }
}
