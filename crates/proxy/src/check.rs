//! Active checks: one task per backend that connects, asks for its health path where the check is one by HTTP, and
//! reports what came back.
//!
//! They run on a thread and a runtime of their own, so a busy worker never delays a check and a check never a request.
//! Each check opens a fresh connection, over TLS with a whole handshake where requests go over TLS: that a backend accepts
//! connections is part of what is checked. The times
//! between checks carry 10 % of jitter from the seeded generator, and the first check of each backend at a start comes at
//! a random point of its first interval, so that several balancers do not check in step. Whoever joins later is checked
//! soon, because it may wait for that; many who join together are spread. Whether a backend is out is not decided
//! here, only single results are reported; the same count of them (`balance::health`) is kept to know when to ask at
//! the slower pace of a backend that is down.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use evenkeel_balance::health::HealthState;
use evenkeel_http1::{BodyDecoder, Limits, Method, ResponseHead, parse_response};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Address, Backend, Config, Health, HealthCheck, HttpCheck, Pool};
use evenkeel_model::ids::Name;
use evenkeel_model::rng::Rng;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, LocalSet};

use crate::buf::{Blocks, Buf};
use crate::stream::{Stream, host_of};
use crate::tls::{Dial, Dialer, KeyRing, Refused, TlsError};

/// Bytes of a health response that are read before it is judged by its head alone.
const RESPONSE_MAX: usize = 256 * 1024;
/// Spread of the time between two checks, to both sides, as a share of it.
const JITTER: f64 = 0.1;

/// The first checks of those that join are spread over so much time for each of them, an interval at most.
const JOIN: Duration = Duration::from_millis(100);
/// A pool whose results are lost is told of this often.
const LOST_EVERY: Duration = Duration::from_secs(1);

/// What the checks need.
#[derive(Debug)]
pub struct CheckOptions {
    /// Seed of the jitter.
    pub seed: u64,
    /// The instant that [`Mono::ZERO`] is.
    pub origin: Instant,
    /// Where results go. Full: the result is dropped, which holds the state as it is.
    pub results: mpsc::Sender<CheckResult>,
    /// The files that backends are spoken to by TLS with.
    pub ring: KeyRing,
}

/// One check of one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckResult {
    /// The pool.
    pub pool: Name,
    /// The backend.
    pub backend: Name,
    /// When the result was known.
    pub at: Mono,
    /// Whether it was good.
    pub ok: bool,
    /// What came back, for a person: "status 200", "connection refused".
    pub detail: String,
    /// How long it took.
    pub took: Duration,
}

/// The running checks. Dropping it ends them.
#[derive(Debug)]
pub struct Checker {
    config: Option<watch::Sender<Arc<Config>>>,
    thread: Option<JoinHandle<()>>,
}

impl Checker {
    /// Starts the checks of `config`.
    pub fn start(options: CheckOptions, config: Arc<Config>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let (sender, receiver) = watch::channel(config);
        let thread = std::thread::Builder::new()
            .name("checks".to_owned())
            .spawn(move || LocalSet::new().block_on(&runtime, run(options, receiver)))?;
        Ok(Self {
            config: Some(sender),
            thread: Some(thread),
        })
    }

    /// Checks what `config` says from now on. A backend whose address and check stay keeps its rhythm.
    pub fn update(&self, config: Arc<Config>) {
        if let Some(sender) = &self.config {
            sender.send_replace(config);
        }
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.config = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the health checks had died");
        }
    }
}

/// What every check needs.
#[derive(Debug)]
struct Checking {
    origin: Instant,
    results: mpsc::Sender<CheckResult>,
    lost: Lost,
}

/// Results that were not taken, by pool: the log has one line for a pool and a second at most.
#[derive(Debug, Default)]
struct Lost(RefCell<BTreeMap<Name, (Option<Instant>, u64)>>);

impl Lost {
    fn add(&self, pool: &Name, now: Instant) {
        if let Some(results) = self.count(pool, now) {
            tracing::warn!(%pool, results, "check results were not taken, because too many wait");
        }
    }

    /// How many to tell of now; `None`: the pool was told of less than a second ago.
    fn count(&self, pool: &Name, now: Instant) -> Option<u64> {
        let mut pools = self.0.borrow_mut();
        let (told, count) = pools.entry(pool.clone()).or_default();
        *count += 1;
        if told.is_some_and(|told| now.saturating_duration_since(told) < LOST_EVERY) {
            return None;
        }
        *told = Some(now);
        Some(std::mem::take(count))
    }
}

/// What is asked of one backend.
#[derive(Debug, Clone)]
struct Target {
    address: Address,
    health: Health,
    /// How it is spoken to by TLS, as requests are.
    dial: Option<Arc<Dial>>,
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        let same_tls = match (&self.dial, &other.dial) {
            (None, None) => true,
            (Some(dial), Some(other)) => dial.is_like(other),
            _ => false,
        };
        self.address == other.address && self.health == other.health && same_tls
    }
}

/// What pools speak TLS with, kept while it fits.
#[derive(Debug)]
struct Dialers {
    ring: KeyRing,
    known: BTreeMap<Name, Arc<Dialer>>,
}

impl Dialers {
    fn dial(
        &mut self,
        config: &Config,
        pool: &Pool,
        backend: &Backend,
    ) -> Result<Option<Arc<Dial>>, TlsError> {
        let Some(tls) = &pool.tls else {
            return Ok(None);
        };
        let before = self.known.get(&pool.name);
        let dialer = Dialer::of((pool, tls), config, &self.ring, before)?;
        let dial = Dial::of_checks(&dialer, (pool, backend))?;
        self.known.insert(pool.name.clone(), dialer);
        Ok(Some(Arc::new(dial)))
    }
}

async fn run(options: CheckOptions, mut config: watch::Receiver<Arc<Config>>) {
    let mut rng = Rng::new(options.seed);
    let mut dialers = Dialers {
        ring: options.ring,
        known: BTreeMap::new(),
    };
    let options = Rc::new(Checking {
        origin: options.origin,
        results: options.results,
        lost: Lost::default(),
    });
    let mut tasks: BTreeMap<(Name, Name), (Target, AbortHandle)> = BTreeMap::new();
    let mut is_start = true;
    loop {
        let wanted = targets(&config.borrow_and_update(), &mut dialers);
        tasks.retain(|key, (target, task)| {
            let stays = wanted.get(key) == Some(target);
            if !stays {
                task.abort();
            }
            stays
        });
        let joining = wanted.len() - tasks.len();
        for (key, target) in wanted {
            let mut rng = rng.fork(0);
            tasks.entry(key.clone()).or_insert_with(|| {
                let interval = target.health.interval;
                let spread = if is_start {
                    interval
                } else {
                    interval.min(JOIN.saturating_mul(joining as u32))
                };
                let first = spread.mul_f64(rng.unit());
                let task = check_on(Rc::clone(&options), key, (target.clone(), first), rng);
                (target, tokio::task::spawn_local(task).abort_handle())
            });
        }
        is_start = false;
        if config.changed().await.is_err() {
            return;
        }
    }
}

fn targets(config: &Config, dialers: &mut Dialers) -> BTreeMap<(Name, Name), Target> {
    let mut targets = BTreeMap::new();
    for pool in &config.pools {
        let Some(health) = &pool.health else {
            continue;
        };
        for backend in &pool.backends {
            let dial = match dialers.dial(config, pool, backend) {
                Ok(dial) => dial,
                // Without a check its state stays as it is; requests are served with what the snapshot has.
                Err(error) => {
                    tracing::error!(%error, backend = %backend.name, "a backend cannot be checked");
                    continue;
                }
            };
            let target = Target {
                address: backend.address.clone(),
                health: health.clone(),
                dial,
            };
            targets.insert((pool.name.clone(), backend.name.clone()), target);
        }
    }
    targets
}

/// Checks one backend for ever, for the first time after `first`.
async fn check_on(
    options: Rc<Checking>,
    key: (Name, Name),
    (target, first): (Target, Duration),
    mut rng: Rng,
) {
    let health = &target.health;
    let mut next = Instant::now() + first;
    let mut state = HealthState::new();
    loop {
        tokio::time::sleep_until(next.into()).await;
        let start = Instant::now();
        let asked = tokio::time::timeout(health.timeout, ask(&target, start)).await;
        let (found, took) =
            asked.unwrap_or_else(|_| (Err(Failure::Timeout(health.timeout)), start.elapsed()));
        let ok = found.as_ref().is_ok_and(|found| found.is_good(health));
        let detail = match found {
            Ok(found) => found.to_string(),
            Err(failure) => failure.to_string(),
        };
        let now = Instant::now();
        let (pool, backend) = key.clone();
        let result = CheckResult {
            pool,
            backend,
            at: Mono::ZERO.plus(now.saturating_duration_since(options.origin)),
            ok,
            detail,
            took,
        };
        if options.results.try_send(result).is_err() {
            options.lost.add(&key.0, now);
        }
        state.observe(ok, health.rise, health.fall);
        next = (start + pause(health, state, &mut rng)).max(now);
    }
}

/// The time to the next check.
fn pause(health: &Health, state: HealthState, rng: &mut Rng) -> Duration {
    let interval = if state.is_up() {
        health.interval
    } else {
        health.interval_down
    };
    interval.mul_f64(1.0 + JITTER * (2.0 * rng.unit() - 1.0))
}

/// What a check came to.
#[derive(Debug)]
enum Found {
    /// A connection, which is all that was wanted.
    Connected,
    /// An answer with this status.
    Status(u16),
}

impl Found {
    fn is_good(&self, health: &Health) -> bool {
        match (self, health.http()) {
            (Self::Connected, _) | (_, None) => true,
            (Self::Status(status), Some(http)) => {
                let (low, high) = http.expect_status;
                (low..=high).contains(status)
            }
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("connected"),
            Self::Status(status) => write!(f, "status {status}"),
        }
    }
}

/// Why a check came to nothing.
#[derive(Debug)]
enum Failure {
    Connect(io::Error),
    Tls(Refused),
    Broken(io::Error),
    Closed,
    NotHttp(&'static str),
    Timeout(Duration),
}

impl Failure {
    /// With TLS 1.3 a backend looks at our certificate when the handshake is done for us.
    fn broken(error: io::Error) -> Self {
        match Refused::late(&error) {
            Some(refused) => Self::Tls(refused),
            None => Self::Broken(error),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                f.write_str("connection refused")
            }
            Self::Connect(error) => write!(f, "no connection: {error}"),
            Self::Tls(refused) => f.write_str(&refused.words),
            Self::Broken(error) => write!(f, "connection broken: {error}"),
            Self::Closed => f.write_str("connection closed without a response"),
            Self::NotHttp(code) => write!(f, "not an acceptable response: {code}"),
            Self::Timeout(after) => write!(f, "no answer within {} ms", after.as_millis()),
        }
    }
}

async fn ask(target: &Target, start: Instant) -> (Result<Found, Failure>, Duration) {
    let stream = match Stream::connect(&target.address).await {
        Ok(stream) => stream,
        Err(error) => return (Err(Failure::Connect(error)), start.elapsed()),
    };
    let dial = target.dial.as_deref();
    let mut stream = match dial {
        None => stream,
        Some(dial) => match dial.shake(stream).await {
            Ok((stream, _)) => stream,
            Err(refused) => return (Err(Failure::Tls(refused)), start.elapsed()),
        },
    };
    let HealthCheck::Http(http) = &target.health.check else {
        stream.say_end();
        return (Ok(Found::Connected), start.elapsed());
    };
    let own = || dial.and_then(Dial::host);
    let host = http.host.clone().or_else(own);
    let host = host.unwrap_or_else(|| host_of(&target.address));
    match converse(stream, &host, http, start).await {
        Ok((status, took)) => (Ok(Found::Status(status)), took),
        Err(failure) => (Err(failure), start.elapsed()),
    }
}

async fn converse(
    mut stream: Stream,
    host: &str,
    http: &HttpCheck,
    start: Instant,
) -> Result<(u16, Duration), Failure> {
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: evenkeel-check\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        http.path
    );
    let sent = stream.write_all(request.as_bytes()).await;
    sent.map_err(Failure::broken)?;
    let (blocks, mut buf) = (Blocks::default(), Buf::default());
    let (limits, mut head) = (Limits::default(), ResponseHead::default());
    loop {
        if poll_fn(|cx| buf.poll_fill(cx, &mut stream, &blocks))
            .await
            .map_err(Failure::broken)?
            == 0
        {
            return Err(Failure::Closed);
        }
        while let Some(length) = parse_response(buf.filled(), Method::Get, &limits, &mut head)
            .map_err(|error| Failure::NotHttp(error.code()))?
        {
            buf.consume(length);
            if !head.informational {
                let took = start.elapsed();
                drain(
                    &mut stream,
                    &mut buf,
                    &blocks,
                    BodyDecoder::new(head.body, &limits),
                )
                .await;
                stream.say_end();
                return Ok((head.status, took));
            }
        }
    }
}

/// Reads the body away, within bounds: a close with unread bytes would look like a fault in the backend's log. Whether
/// all of it came.
pub(crate) async fn drain(
    stream: &mut Stream,
    buf: &mut Buf,
    blocks: &Blocks,
    mut body: BodyDecoder,
) -> bool {
    let mut left = RESPONSE_MAX;
    loop {
        while !buf.is_empty() && !body.is_done() {
            match body.decode(buf.filled()) {
                Ok(step) if step.consumed > 0 => {
                    left = left.saturating_sub(step.consumed);
                    buf.consume(step.consumed);
                }
                _ => return false,
            }
        }
        if body.is_done() || left == 0 {
            return body.is_done();
        }
        let read = poll_fn(|cx| match buf.poll_fill(cx, stream, blocks) {
            Poll::Ready(Ok(n)) => Poll::Ready(n),
            Poll::Ready(Err(_)) => Poll::Ready(0),
            Poll::Pending => Poll::Pending,
        });
        if read.await == 0 {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{JITTER, Lost, pause};
    use evenkeel_balance::health::HealthState;
    use evenkeel_model::config::{Health, HealthCheck};
    use evenkeel_model::ids::Name;
    use evenkeel_model::rng::Rng;
    use std::time::{Duration, Instant};

    #[test]
    fn results_that_are_lost_are_told_once_a_second_for_each_pool() {
        let (lost, start) = (Lost::default(), Instant::now());
        let names = ["a", "b"].map(|name| Name::new(name).unwrap());
        let told = |pool: &Name, ms| lost.count(pool, start + Duration::from_millis(ms));
        assert_eq!(told(&names[0], 0), Some(1));
        for ms in 1..1_000 {
            assert_eq!(told(&names[0], ms), None);
        }
        assert_eq!(told(&names[1], 500), Some(1));
        assert_eq!(told(&names[0], 1_000), Some(1_000));
    }

    #[test]
    fn every_pause_is_drawn_within_the_jitter_and_is_longer_while_the_backend_is_down() {
        let health = Health {
            check: HealthCheck::Tcp,
            interval: Duration::from_secs(1),
            interval_down: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 1,
        };
        let (mut rng, mut state) = (Rng::new(7), HealthState::new());
        for (ok, mean) in [(true, 1.0), (false, 10.0), (true, 10.0), (true, 1.0)] {
            state.observe(ok, health.rise, health.fall);
            let part = |_| pause(&health, state, &mut rng).as_secs_f64() / mean;
            let drawn: Vec<f64> = (0..1_000).map(part).collect();
            let low = drawn.iter().copied().fold(f64::MAX, f64::min);
            let high = drawn.iter().copied().fold(0.0, f64::max);
            let within = low >= 1.0 - JITTER - 1e-9 && high <= 1.0 + JITTER + 1e-9;
            let spread = low < 1.0 - 0.9 * JITTER && high > 1.0 + 0.9 * JITTER;
            assert!(within && spread, "{mean}: {low} to {high}");
        }
    }
}
