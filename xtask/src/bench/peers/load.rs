//! What is done to a proxy: requests as fast as it goes (wrk, h2load), requests at the moments of a schedule, connections that
//! do nothing.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use evenkeel_model::rng::Rng;

/// Connections of the schedule; requests beyond them wait, and their latency counts on.
const CONNECTIONS: usize = 64;
/// Longest that one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const REQUEST: &[u8] = b"GET /small HTTP/1.1\r\nHost: shop.test\r\n\r\n";

/// As many requests as `url` answers in `seconds` over `connections`.
pub(super) fn as_fast_as_it_goes(
    url: &str,
    headers: &[&str],
    connections: u32,
    seconds: u64,
) -> anyhow::Result<f64> {
    let mut wrk = Command::new("taskset");
    wrk.args(["-c", "1", "wrk", "-t1"])
        .arg(format!("-c{connections}"))
        .arg(format!("-d{seconds}s"));
    for header in headers {
        wrk.args(["-H", header]);
    }
    let output = wrk.arg(url).output().context("cannot start wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    // wrk counts a connection that closes after its answer as a read error.
    let closes = headers.contains(&super::CLOSE);
    if text.contains("Non-2xx") || (text.contains("Socket errors") && !closes) {
        bail!("{url}: {text}");
    }
    let requests: f64 = text
        .lines()
        .find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())
        .with_context(|| format!("wrk said {text}"))?;
    ensure!(requests > 50.0, "{url}: {text}");
    Ok(requests)
}

/// The same over HTTP/2 with `streams` at once on each connection (h2load).
pub(super) fn over_http2(
    url: &str,
    connections: u32,
    streams: u32,
    seconds: u64,
) -> anyhow::Result<f64> {
    let output = Command::new("taskset")
        .args(["-c", "1", "h2load", "-t1"])
        .arg(format!("-c{connections}"))
        .arg(format!("-m{streams}"))
        .arg(format!("-D{seconds}"))
        .arg(url)
        .output()
        .context("cannot start h2load")?;
    let text = String::from_utf8_lossy(&output.stdout);
    // `status codes: 1234 2xx, 0 3xx, 0 4xx, 0 5xx`
    let codes = text
        .lines()
        .find_map(|line| line.strip_prefix("status codes: "));
    let (good, others) = codes
        .and_then(|codes| codes.split_once(" 2xx, "))
        .with_context(|| format!("h2load said {text}"))?;
    let requests: f64 = good.parse()?;
    let is_good = others == "0 3xx, 0 4xx, 0 5xx" && requests > 50.0;
    ensure!(is_good && text.contains("h2"), "{url}: {text}");
    Ok(requests)
}

/// Latencies in milliseconds, sorted, of Poisson arrivals at `rate` for `time`, each from its scheduled moment.
pub(super) fn on_schedule(
    address: SocketAddr,
    rate: f64,
    time: Duration,
    seed: u64,
) -> anyhow::Result<Vec<f64>> {
    let (send, due) = channel::<Instant>();
    let due = Mutex::new(due);
    let mut rng = Rng::new(seed);
    let mut latencies = Vec::new();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| scope.spawn(|| client(address, &due)))
            .collect();
        let start = Instant::now();
        let mut at = Duration::ZERO;
        while at < time {
            at += Duration::from_secs_f64(rng.exponential(1.0 / rate));
            let due = start + at;
            while let Some(left) = due.checked_duration_since(Instant::now()) {
                std::thread::park_timeout(left);
            }
            send.send(due).context("every client ended")?;
        }
        drop(send);
        for client in clients {
            let done = client
                .join()
                .map_err(|_panic| anyhow::anyhow!("a client panicked"))?;
            latencies.extend(done?);
        }
        anyhow::Ok(())
    })?;
    latencies.sort_by(f64::total_cmp);
    Ok(latencies)
}

fn client(address: SocketAddr, due: &Mutex<Receiver<Instant>>) -> anyhow::Result<Vec<f64>> {
    let mut stream = connect(address)?;
    let mut latencies = Vec::new();
    loop {
        // The lock is held while waiting: whoever has it gets the next one.
        let next = due.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(due) = next else { return Ok(latencies) };
        ask(&mut stream)?;
        latencies.push(due.elapsed().as_secs_f64() * 1e3);
    }
}

fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    Ok(stream)
}

/// One request whose answer ends with the 42 bytes of `/small`.
fn ask(stream: &mut TcpStream) -> anyhow::Result<()> {
    stream.write_all(REQUEST)?;
    let mut answer = [0; 1_024];
    let mut length = 0;
    while !answer
        .get(..length)
        .is_some_and(|got| got.ends_with(&[b'x'; 42]))
    {
        let rest = answer.get_mut(length..).unwrap_or_default();
        let count = stream.read(rest)?;
        ensure!(count > 0, "closed, or an answer that is too long");
        length += count;
    }
    ensure!(answer.starts_with(b"HTTP/1.1 200 "), "not 200");
    Ok(())
}

/// Opens `count` connections with one answered request on each.
pub(super) fn idle(address: SocketAddr, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let one = |_| {
        let mut stream = connect(address)?;
        ask(&mut stream)?;
        Ok(stream)
    };
    (0..count).map(one).collect()
}
