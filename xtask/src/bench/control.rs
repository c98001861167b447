//! `cargo xtask bench control`: CPU time of the control loop with 1,000 backends in one pool under a steady load.
//!
//! Two instances of the release build, one that checks every backend once a second and one that does not, in turns; both run
//! all the time and only one is under load. CPU time is what the kernel booked to each thread by its name (`schedstat`): the
//! main thread is the control loop, `checks` asks the backends, `worker-0` serves. One nginx answers for all the backends.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;

use super::client::{Offer, run as offer};
use super::{at, free_port, stop, wait_for};

const PAGE: &str = "docs/performance.md";
const MARKS: (&str, &str) = ("<!-- control:begin -->", "<!-- control:end -->");
const BACKENDS: usize = 1_000;
/// Requests per second.
const RATE: f64 = 450.0;
/// Before each measurement: verdicts, windows and connections settle.
const WARM: Duration = Duration::from_secs(5);
/// Threads of the table, by the name that the kernel has for them.
const THREADS: &[(&str, &str)] = &[
    ("evenkeel", "control loop"),
    ("checks", "health checks"),
    ("worker-0", "worker"),
];

#[derive(Args)]
pub(crate) struct Options {
    /// Turns of each instance.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Seconds that each turn is measured.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

/// An instance under test.
struct Instance {
    name: &'static str,
    port: u16,
    child: Child,
    /// Part of a core, by thread, one for each turn.
    spent: BTreeMap<String, Vec<f64>>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let dir = super::place(options.rounds)?.join(format!("control-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let binary = super::release()?;
    let port = free_port()?;
    let mut origin = super::start_nginx(&dir.join("origin"), &nginx(port), 1)?;
    let outcome = wait_for(port).and_then(|()| measure(options, &binary, &dir, port));
    stop(&mut origin);
    fs::remove_dir_all(&dir)?;
    let report = outcome?;
    crate::say(&report);
    crate::page::publish(Path::new(PAGE), MARKS, &report)?;
    crate::say(&format!("the table is in {PAGE}"));
    Ok(())
}

fn measure(options: &Options, binary: &Path, dir: &Path, origin: u16) -> anyhow::Result<String> {
    let mut instances = Vec::new();
    let checked = [("checked once a second", true), ("not checked", false)];
    let outcome = checked
        .into_iter()
        .try_for_each(|(name, checks)| {
            instances.push(start(binary, dir, origin, (name, checks))?);
            Ok(())
        })
        .and_then(|()| turns(options, &mut instances));
    for instance in &mut instances {
        stop(&mut instance.child);
    }
    outcome?;
    table(options, &mut instances)
}

fn turns(options: &Options, instances: &mut [Instance]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for round in 0..options.rounds {
        for instance in instances.iter_mut() {
            let pid = instance.child.id();
            let what = Offer {
                port: instance.port,
                rate: RATE,
                warm: WARM,
                counted: Duration::from_secs(options.seconds),
                seed: round,
            };
            let before = std::cell::RefCell::default();
            let local = tokio::task::LocalSet::new();
            let answers = local.block_on(
                &runtime,
                offer(&what, || {
                    before.replace(threads(pid).ok());
                }),
            );
            let after = threads(pid)?;
            let (failed, asked) = (answers.failed, answers.latencies_ms.len());
            ensure!(failed == 0, "{failed} of {asked} requests failed");
            let before = before.take().context("nothing was measured")?;
            for (thread, spent) in after {
                let spent = spent - before.get(&thread).copied().unwrap_or(0);
                let part = spent as f64 / 1e9 / options.seconds as f64;
                instance.spent.entry(thread).or_default().push(part);
            }
        }
    }
    Ok(())
}

fn table(options: &Options, instances: &mut [Instance]) -> anyhow::Result<String> {
    let mut report = "| thread |".to_owned();
    for instance in instances.iter() {
        write!(report, " {} |", instance.name)?;
    }
    report.push_str("\n|---|---|---|\n");
    for (thread, name) in THREADS {
        write!(report, "| {name} |")?;
        for instance in instances.iter_mut() {
            let Some(spent) = instance.spent.get_mut(*thread) else {
                report.push_str(" none |");
                continue;
            };
            spent.sort_by(f64::total_cmp);
            let percent = |q| at(spent, q) * 100.0;
            let (least, median, most) = (percent(0.0), percent(0.5), percent(1.0));
            write!(report, " {median:.2} % ({least:.2} to {most:.2}) |")?;
        }
        report.push('\n');
    }
    write!(
        report,
        "\nParts of one core, median and range of {} turns of {} s.\n",
        options.rounds, options.seconds
    )?;
    Ok(report)
}

/// CPU time of the threads of a process, nanoseconds, by name.
fn threads(pid: u32) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut threads = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).context("the instance is gone")? {
        let task = task?.path();
        let name = fs::read_to_string(task.join("comm"))?.trim().to_owned();
        *threads.entry(name).or_insert(0) += super::task_ns(&task)?;
    }
    Ok(threads)
}

fn start(
    binary: &Path,
    dir: &Path,
    origin: u16,
    (name, checks): (&'static str, bool),
) -> anyhow::Result<Instance> {
    let (port, admin) = (free_port()?, free_port()?);
    let dir = dir.join(if checks { "checked" } else { "plain" });
    fs::create_dir_all(&dir)?;
    let config: PathBuf = dir.join("evenkeel.toml");
    fs::write(&config, configuration((port, admin, origin), checks))?;
    let child = Command::new(binary)
        .args(["--quiet", "--data"])
        .arg(dir.join("data"))
        .arg("run")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start evenkeel")?;
    let mut instance = Instance {
        name,
        port,
        child,
        spent: BTreeMap::new(),
    };
    if let Err(error) = wait_for(port) {
        stop(&mut instance.child);
        return Err(error);
    }
    Ok(instance)
}

fn addresses() -> impl Iterator<Item = String> {
    (0..BACKENDS).map(|n| format!("127.0.{}.{}", n / 250, n % 250 + 1))
}

fn configuration((port, admin, origin): (u16, u16, u16), checks: bool) -> String {
    let mut text = format!(
        "workers = 1
[admin]
address = \"127.0.0.1:{admin}\"
[listener.web]
address = \"127.0.0.1:{port}\"
[[route]]
listener = \"web\"
path_prefix = \"/\"
pool = \"shop\"
[pool.shop]
"
    );
    if checks {
        text.push_str("[pool.shop.health]\npath = \"/small\"\ninterval = \"1s\"\n");
    }
    for (n, address) in addresses().enumerate() {
        let backend = format!("[pool.shop.backend.web-{n}]\naddress = \"{address}:{origin}\"\n");
        text.push_str(&backend);
    }
    text
}

fn nginx(port: u16) -> String {
    let listens: String = addresses().map(|a| format!("listen {a}:{port};")).collect();
    format!(
        "daemon off;
master_process off;
pid nginx.pid;
error_log stderr crit;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  keepalive_requests 10000000;
  server {{ {listens} location / {{ return 200 small; }} }}
}}
"
    )
}
