//! `evenkeel demo`: three replicas of a real shop in zones a, b and c, the balancer, traffic and the page. Everything
//! lives in one temporary directory and in processes that end with this one.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use evenkeel_control::{Options, Prepared, boot};
use evenkeel_model::config::Address;
use evenkeel_shop::load::{LoadHandle, LoadOptions};

use crate::args::{Demo, Global};
use crate::commands::run::{log_to_stderr, serve};
use crate::exit::{Exit, coded};
use crate::render::Text as _;
use crate::terminal::Terminal;

/// Where the page is when nobody else is there.
const ADMIN: &str = "127.0.0.1:7700";
/// Each replica carries 200 requests per second: 4 at a time, 20 ms each. At the default rate of 300 the typo then
/// puts 250 on one of them: overload, harm and an automatic rollback, not only a spread that is off.
const CAPACITY_RPS: u32 = 200;
/// What the pool must carry; with one replica out the others are at 75 %.
const PEAK_RPS: u32 = 300;

pub(crate) fn demo(options: &Demo, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    if let Some(name) = &options.drill {
        return crate::commands::drill::live(name, options.seed, terminal);
    }
    log_to_stderr(&Global {
        quiet: true,
        ..global.clone()
    });
    let dir = tempfile::Builder::new()
        .prefix("evenkeel-demo-")
        .tempdir()?;
    let shops = ["a", "b", "c"]
        .iter()
        .enumerate()
        .map(|(n, zone)| Replica::start(n + 1, zone, dir.path()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let listen = free_or_any(options.listen)?;
    let admin = free_or_any(global.admin.unwrap_or(ADMIN.parse()?))?;
    let config = dir.path().join("evenkeel.toml");
    fs::write(&config, configuration(listen, admin, &shops, false))?;
    fs::write(
        dir.path().join("typo.toml"),
        configuration(listen, admin, &shops, true),
    )?;
    let prepared = prepare(&config, &dir.path().join("data"))?;
    let target = prepared
        .addresses()
        .into_iter()
        .find_map(|(_, address)| match address {
            Address::Tcp(address) => Some(address),
            Address::Unix(_) => None,
        })
        .context("the demo has no TCP listener")?;
    let admin = prepared
        .admin_address()
        .context("the demo has no admin address")?;
    let load = LoadOptions {
        target: format!("http://{target}"),
        rate: options.rate,
        seed: options.seed,
        duration: options.limit,
        ..LoadOptions::default()
    };
    announce(target, admin, dir.path(), options, terminal)?;
    let limit = options.limit;
    let load = evenkeel_shop::load::start(load)?;
    let stop = async move {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let outcome = serve(prepared, stop);
    finish(load, shops, terminal)?;
    dir.close()
        .context("the demo's directory could not be removed")?;
    outcome
}

fn prepare(config: &Path, data: &Path) -> anyhow::Result<Prepared> {
    Ok(boot::prepare(Options {
        config: config.to_owned(),
        data: data.to_owned(),
        author: "demo".to_owned(),
        force: None,
        adopt: false,
        drill: false,
        drain: Duration::from_secs(5),
        seed: getrandom::u64().unwrap_or(1),
    })?)
}

/// Ends traffic and shops and says what the traffic saw.
fn finish(load: LoadHandle, shops: Vec<Replica>, terminal: Terminal) -> anyhow::Result<()> {
    let total = load.stop().total;
    let failed = total.connect_failed + total.reset + total.timeout + total.server_error;
    if terminal.json {
        terminal.json(&serde_json::json!({ "requests": total.sent, "requests_failed": failed, "requests_harmed": total.harmed }))?;
    } else {
        terminal.say(&format!(
            "{} requests, {failed} failed, {} harmed; everything is cleaned up",
            total.sent, total.harmed
        ));
    }
    shops.into_iter().try_for_each(Replica::stop)
}

fn announce(
    target: SocketAddr,
    admin: SocketAddr,
    dir: &Path,
    options: &Demo,
    terminal: Terminal,
) -> anyhow::Result<()> {
    if terminal.json {
        return terminal.json(&serde_json::json!({
            "shop": format!("http://{target}/"), "page": format!("http://{admin}/"),
            "directory": dir, "admin": admin.to_string(),
        }));
    }
    let dir = dir.display();
    let here = format!("--admin {admin} --data {dir}/data");
    terminal.data(&format!(
        "shop     http://{target}/
page     http://{admin}/
traffic  {} requests/s, three replicas of {CAPACITY_RPS}/s each in zones a, b, c

Try, in a second terminal:
  evenkeel status {here}
  evenkeel plan {dir}/typo.toml {here}
        one weight is 10 instead of 1: refused before it touches traffic
  evenkeel apply {dir}/typo.toml {here} --yes --force --reason \"try it\"
        forced: watch the page notice, name the revision and undo it
  evenkeel incident list {here}

Ctrl-C ends everything and removes {dir}.",
        options.rate
    ));
    Ok(())
}

/// `wanted` if nobody listens there, else a free port of the same host.
fn free_or_any(wanted: SocketAddr) -> anyhow::Result<SocketAddr> {
    if TcpListener::bind(wanted).is_ok() {
        return Ok(wanted);
    }
    let free = TcpListener::bind((wanted.ip(), 0))
        .with_context(|| format!("no free port on {}", wanted.ip()))?;
    Ok(free.local_addr()?)
}

fn configuration(listen: SocketAddr, admin: SocketAddr, shops: &[Replica], typo: bool) -> String {
    let mut text = format!(
        r#"[admin]
address = "{admin}"

[listener.web]
address = "{listen}"

[[route]]
listener = "web"
path_prefix = "/"
pool = "shop"

[pool.shop]
algorithm = "round_robin"
intent = "capacity"                  # how traffic should be spread
peak_rps = {PEAK_RPS}
headroom = "20%"
tolerance = "20%"
min_healthy = 2
objective = {{ error_rate = "1%", p99 = "500ms" }}
session = {{ cookie = "sid" }}
[pool.shop.health]
path = "/healthz"
interval = "1s"
"#
    );
    for (index, shop) in shops.iter().enumerate() {
        let weight = if typo && index == 0 { 10 } else { 1 };
        text.line(format_args!(
            "\n[pool.shop.backend.{}]\naddress = \"{}\"\nweight = {weight}\ncapacity_rps = {CAPACITY_RPS}\nzone = \"{}\"\nversion = \"v1\"",
            shop.name, shop.address, shop.zone
        ));
    }
    text
}

/// One shop, its own process. It ends when this end of its standard input closes, however this process ends.
struct Replica {
    name: String,
    zone: String,
    address: SocketAddr,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Replica {
    fn start(number: usize, zone: &str, dir: &Path) -> anyhow::Result<Self> {
        let name = format!("web-{number}");
        let program: PathBuf = std::env::current_exe()?;
        let mut child = Command::new(program)
            .args([
                "shop",
                "--listen",
                "127.0.0.1:0",
                "--exit-with-stdin",
                "--name",
                &name,
                "--zone",
                zone,
            ])
            .args(["--workers", "4", "--service-time", "20ms", "--queue", "200"])
            .arg("--database")
            .arg(dir.join("shop.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("a shop does not start")?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("a shop has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().parse().map_err(|_no_address| {
            coded(
                Exit::Failed,
                format!("shop {name} did not say where it listens"),
            )
        })?;
        Ok(Self {
            name,
            zone: zone.to_owned(),
            address,
            child,
            stdin,
        })
    }

    fn stop(mut self) -> anyhow::Result<()> {
        drop(self.stdin.take());
        self.child.wait().context("a shop does not end")?;
        Ok(())
    }
}
