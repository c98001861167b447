//! `cargo xtask bench`: CPU per request beside HAProxy and nginx, in one interleaved run.
//!
//! One worker each, pinned to core 0; origin (nginx) and client (wrk) on core 1. Every round runs every proxy once, in
//! a rotating order, so that what else the machine does meets all of them alike. CPU time is what the kernel booked to
//! the proxy's threads (`schedstat`), so the client's own work does not count. Access logs are off everywhere;
//! Evenkeel's tallies and metrics are on, as shipped. Reported: median and quartiles, and the ratio to the best peer.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};

mod client;
mod configs;
mod control;
mod picks;
mod swap;
mod tail;

#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: Option<What>,
    /// Interleaved rounds.
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Seconds of load per proxy and round.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Client connections.
    #[arg(long, default_value_t = 32)]
    connections: u32,
}

#[derive(Subcommand)]
enum What {
    /// Nanoseconds and instructions per pick of every algorithm; writes the table of docs/performance.md.
    Picks(picks::Options),
    /// The longest pause of a worker while 10,000 backends are swapped; writes the table of docs/performance.md.
    Swap,
    /// CPU time of the control loop with 1,000 backends; writes the table of docs/performance.md.
    Control(control::Options),
    /// Tail latency with one slow backend of ten beside HAProxy, nginx and Envoy; writes the tables of docs/balancing.md.
    Tail(tail::Options),
}

/// A proxy under test.
struct Proxy {
    name: &'static str,
    address: String,
    child: Child,
}

/// What is asked for.
struct Case {
    name: &'static str,
    path: &'static str,
    headers: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "GET, Host only, 42 B",
        path: "/small",
        headers: &[],
    },
    Case {
        name: "GET, 10 browser headers, 42 B",
        path: "/small",
        headers: configs::BROWSER,
    },
    Case {
        name: "GET, 16 KiB",
        path: "/large",
        headers: &[],
    },
];

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    match &options.what {
        Some(What::Picks(options)) => picks::run(options),
        Some(What::Swap) => swap::run(),
        Some(What::Control(options)) => control::run(options),
        Some(What::Tail(options)) => tail::run(options),
        None => requests(options),
    }
}

/// Where a bench of so many rounds keeps its files; too few have no spread.
fn place(rounds: u64) -> anyhow::Result<PathBuf> {
    ensure!(rounds >= 3, "at least 3 rounds are needed for a spread");
    let dir = PathBuf::from("target/bench");
    fs::create_dir_all(&dir)?;
    Ok(dir.canonicalize()?)
}

fn requests(options: &Options) -> anyhow::Result<()> {
    let dir = place(options.rounds as u64)?;
    let binary = release()?;
    let origin_port = free_port()?;
    let origin = start_nginx(&dir.join("origin"), &configs::origin(origin_port), 1)?;
    wait_for(origin_port)?;
    let mut proxies = start_proxies(&binary, &dir, origin_port)?;
    let outcome = measure(options, &proxies);
    for proxy in &mut proxies {
        stop(&mut proxy.child);
    }
    let mut origin = origin;
    stop(&mut origin);
    crate::say(&outcome?);
    Ok(())
}

fn measure(options: &Options, proxies: &[Proxy]) -> anyhow::Result<String> {
    let mut report = format!(
        "CPU microseconds per request, {} rounds of {} s, {} connections, one worker each\n",
        options.rounds, options.seconds, options.connections
    );
    for case in CASES {
        let mut samples = vec![Vec::new(); proxies.len()];
        for round in 0..=options.rounds {
            for turn in 0..proxies.len() {
                let index = (round + turn) % proxies.len();
                let (Some(proxy), Some(samples)) = (proxies.get(index), samples.get_mut(index))
                else {
                    continue;
                };
                let us = one(proxy, case, options)?;
                // The first round warms connections, caches and allocators.
                if round > 0 {
                    samples.push(us);
                }
            }
        }
        table(&mut report, case, proxies, &mut samples)?;
    }
    Ok(report)
}

/// CPU per request of one proxy under one load.
fn one(proxy: &Proxy, case: &Case, options: &Options) -> anyhow::Result<f64> {
    let before = cpu_ns(proxy.child.id())?;
    let mut wrk = Command::new("taskset");
    wrk.args(["-c", "1", "wrk", "-t1"])
        .arg(format!("-c{}", options.connections))
        .arg(format!("-d{}s", options.seconds));
    for header in case.headers {
        wrk.args(["-H", header]);
    }
    let output = wrk
        .arg(format!("http://{}{}", proxy.address, case.path))
        .output()
        .context("cannot start wrk")?;
    let spent = cpu_ns(proxy.child.id())? - before;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        bail!("{}: {text}", proxy.name);
    }
    let requests: f64 = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())
        .with_context(|| format!("{}: wrk said {text}", proxy.name))?;
    ensure!(requests > 100.0, "{}: only {requests} requests", proxy.name);
    Ok(spent as f64 / 1_000.0 / requests)
}

fn table(
    report: &mut String,
    case: &Case,
    proxies: &[Proxy],
    samples: &mut [Vec<f64>],
) -> anyhow::Result<()> {
    writeln!(report, "\n{}", case.name)?;
    let mut medians = Vec::new();
    for samples in samples.iter_mut() {
        samples.sort_by(f64::total_cmp);
        medians.push(at(samples, 0.5));
    }
    let best_peer = proxies
        .iter()
        .zip(&medians)
        .filter(|(proxy, _)| proxy.name != "evenkeel")
        .map(|(_, median)| *median)
        .fold(f64::INFINITY, f64::min);
    for ((proxy, samples), median) in proxies.iter().zip(samples.iter()).zip(&medians) {
        writeln!(
            report,
            "  {:<10} {median:6.2} us  (quartiles {:.2} to {:.2})  {:.2} of the best peer",
            proxy.name,
            at(samples, 0.25),
            at(samples, 0.75),
            median / best_peer
        )?;
    }
    Ok(())
}

/// The sample at a rank of a sorted list.
fn at(sorted: &[f64], q: f64) -> f64 {
    let index = ((sorted.len().saturating_sub(1)) as f64 * q).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

fn start_proxies(binary: &Path, dir: &Path, origin: u16) -> anyhow::Result<Vec<Proxy>> {
    let mut proxies = Vec::new();
    let (port, admin) = (free_port()?, free_port()?);
    let config = dir.join("evenkeel.toml");
    fs::write(&config, configs::evenkeel(port, admin, origin))?;
    let data = dir.join("data");
    if data.exists() {
        fs::remove_dir_all(&data)?;
    }
    let child = pinned(binary)
        .args(["--quiet", "--data"])
        .arg(&data)
        .arg("run")
        .arg(&config)
        .spawn()
        .context("cannot start evenkeel")?;
    proxies.push(Proxy {
        name: "evenkeel",
        address: format!("127.0.0.1:{port}"),
        child,
    });
    wait_for(port)?;
    let port = free_port()?;
    let config = dir.join("haproxy.cfg");
    fs::write(&config, configs::haproxy(port, origin))?;
    let child = pinned(Path::new("haproxy"))
        .arg("-db")
        .arg("-f")
        .arg(&config)
        .spawn()
        .context("cannot start haproxy")?;
    proxies.push(Proxy {
        name: "haproxy",
        address: format!("127.0.0.1:{port}"),
        child,
    });
    wait_for(port)?;
    let port = free_port()?;
    let child = start_nginx(&dir.join("nginx"), &configs::nginx(port, origin), 0)?;
    proxies.push(Proxy {
        name: "nginx",
        address: format!("127.0.0.1:{port}"),
        child,
    });
    wait_for(port)?;
    Ok(proxies)
}

/// The release build of the binary, made if it has to be.
fn release() -> anyhow::Result<PathBuf> {
    crate::cargo(&["build", "--release", "--locked", "--package", "evenkeel"])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Ok(PathBuf::from(target).join("release/evenkeel"))
}

fn pinned(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command
        .args(["-c", "0"])
        .arg(program)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// A single nginx process in the foreground: its pid is the worker's.
fn start_nginx(dir: &Path, config: &str, core: u32) -> anyhow::Result<Child> {
    fs::create_dir_all(dir)?;
    let file = dir.join("nginx.conf");
    fs::write(&file, config)?;
    fs::write(dir.join("small"), "x".repeat(42))?;
    fs::write(dir.join("large"), "x".repeat(16 * 1024))?;
    Command::new("taskset")
        .args(["-c", &core.to_string(), "nginx", "-p"])
        .arg(dir)
        .arg("-c")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start nginx")
}

/// CPU time of every thread of a process, in nanoseconds.
fn cpu_ns(pid: u32) -> anyhow::Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).context("the proxy is gone")? {
        total += task_ns(&task?.path())?;
    }
    Ok(total)
}

/// CPU time of one thread, in nanoseconds.
fn task_ns(task: &Path) -> anyhow::Result<u64> {
    let text = fs::read_to_string(task.join("schedstat"))?;
    let spent = text.split_whitespace().next().context("empty schedstat")?;
    Ok(spent.parse()?)
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn wait_for(port: u16) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if std::net::TcpStream::connect_timeout(
            &([127, 0, 0, 1], port).into(),
            Duration::from_millis(200),
        )
        .is_ok()
        {
            return Ok(());
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    bail!("nothing listens on port {port}")
}

fn stop(child: &mut Child) {
    drop(child.kill());
    drop(child.wait());
}
