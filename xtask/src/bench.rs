//! `cargo xtask bench`: what Evenkeel costs, beside its peers where they have the same.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};

mod client;
mod control;
mod peers;
mod picks;
mod swap;
mod tail;

#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// CPU time, latency and memory beside HAProxy, nginx and Envoy; writes the tables of docs/performance.md.
    Peers(peers::Options),
    /// Nanoseconds and instructions per pick of every algorithm; writes the table of docs/performance.md.
    Picks(picks::Options),
    /// The longest pause of a worker while 10,000 backends are swapped; writes the table of docs/performance.md.
    Swap,
    /// CPU time of the control loop with 1,000 backends; writes the table of docs/performance.md.
    Control(control::Options),
    /// Tail latency with one slow backend of ten beside HAProxy, nginx and Envoy; writes the tables of docs/balancing.md.
    Tail(tail::Options),
    /// The floor of `peers`: passes bytes on, and nothing else.
    #[command(hide = true)]
    Relay(peers::Relay),
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    match &options.what {
        What::Peers(options) => peers::run(options),
        What::Picks(options) => picks::run(options),
        What::Swap => swap::run(),
        What::Control(options) => control::run(options),
        What::Tail(options) => tail::run(options),
        What::Relay(relay) => relay.run(),
    }
}

/// Where a bench of so many rounds keeps its files; too few have no spread.
fn place(rounds: u64) -> anyhow::Result<PathBuf> {
    ensure!(rounds >= 3, "at least 3 rounds are needed for a spread");
    let dir = PathBuf::from("target/bench");
    fs::create_dir_all(&dir)?;
    Ok(dir.canonicalize()?)
}

/// The sample at a rank of a sorted list.
fn at(sorted: &[f64], q: f64) -> f64 {
    let index = ((sorted.len().saturating_sub(1)) as f64 * q).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// The binary of Evenkeel: as told, else a release build.
fn binary(told: Option<&Path>) -> anyhow::Result<PathBuf> {
    told.map_or_else(release, |told| Ok(told.to_owned()))
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
    fs::write(dir.join("huge"), "x".repeat(1 << 20))?;
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
