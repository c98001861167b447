//! The client: requests at the moments of a schedule, whether the ones before are answered or not. A latency counts from
//! the scheduled moment, so that a balancer that stalls does not hide what it delayed.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use evenkeel_model::rng::Rng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// A request without an answer for so long counts as failed, with this as its latency.
const REQUEST_MAX: Duration = Duration::from_secs(5);
/// Requests that may be on their way at once; more fail.
const OUTSTANDING_MAX: usize = 4_096;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n";

/// What came of the requests that count.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) latencies_ms: Vec<f64>,
    pub(super) failed: u64,
}

/// What is offered.
pub(super) struct Offer {
    pub(super) port: u16,
    /// Requests per second, Poisson.
    pub(super) rate: f64,
    /// Not counted.
    pub(super) warm: Duration,
    pub(super) counted: Duration,
    pub(super) seed: u64,
}

type Idle = Rc<RefCell<Vec<TcpStream>>>;

/// Sends what `offer` says; calls `begin` when the counted part begins.
pub(super) async fn run(offer: &Offer, begin: impl Fn()) -> Answers {
    let address: SocketAddr = ([127, 0, 0, 1], offer.port).into();
    let idle = Idle::default();
    let answers = Rc::new(RefCell::new(Answers::default()));
    let mut rng = Rng::new(offer.seed);
    let mut requests = tokio::task::JoinSet::new();
    let start = Instant::now();
    let mut at = Duration::ZERO;
    let mut has_begun = false;
    loop {
        at += Duration::from_secs_f64(rng.exponential(1.0 / offer.rate));
        if at > offer.warm + offer.counted {
            break;
        }
        let due = start + at;
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        let counts = at >= offer.warm;
        if counts && !has_begun {
            has_begun = true;
            begin();
        }
        while requests.try_join_next().is_some() {}
        if requests.len() >= OUTSTANDING_MAX {
            answers.borrow_mut().failed += u64::from(counts);
            continue;
        }
        let (idle, answers) = (Rc::clone(&idle), Rc::clone(&answers));
        requests.spawn_local(async move {
            let done = tokio::time::timeout_at(due + REQUEST_MAX, request(address, &idle)).await;
            if !counts {
                return;
            }
            let took = Instant::now().saturating_duration_since(due);
            let mut answers = answers.borrow_mut();
            answers.latencies_ms.push(took.as_secs_f64() * 1e3);
            answers.failed += u64::from(!matches!(done, Ok(Ok(()))));
        });
    }
    // Each ends by its own timeout.
    while requests.join_next().await.is_some() {}
    answers.take()
}

/// One request over a kept connection or a new one.
async fn request(address: SocketAddr, idle: &Idle) -> anyhow::Result<()> {
    let kept = idle.borrow_mut().pop();
    if let Some(mut stream) = kept
        && exchange(&mut stream).await.is_ok()
    {
        idle.borrow_mut().push(stream);
        return Ok(());
    }
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    exchange(&mut stream).await?;
    idle.borrow_mut().push(stream);
    Ok(())
}

async fn exchange(stream: &mut TcpStream) -> anyhow::Result<()> {
    stream.write_all(REQUEST).await?;
    let mut buffer = Vec::with_capacity(512);
    let mut whole = None;
    while whole.is_none_or(|whole| buffer.len() < whole) {
        ensure!(stream.read_buf(&mut buffer).await? > 0, "closed");
        if whole.is_none()
            && let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n")
        {
            let head = String::from_utf8_lossy(buffer.get(..end).unwrap_or_default());
            ensure!(head.split(' ').nth(1) == Some("200"), "{head}");
            let head = head.to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| {
                    line.strip_prefix("content-length:")?
                        .trim()
                        .parse::<usize>()
                        .ok()
                })
                .context("no length")?;
            whole = Some(end + 4 + length);
        }
    }
    Ok(())
}
