//! A seeded open-model load generator.
//!
//! Arrivals are a Poisson process whose rate may change over time; they never wait for responses, because a
//! closed model slows down with the server that it should be measuring (Schroeder et al., "Open Versus Closed",
//! NSDI 2006). A response time counts from the instant at which the request was *due*, so that a late generator
//! cannot hide a slow server. What the generator itself cannot take (more than `outstanding` at once) is counted
//! as `shed`, never dropped in silence.
//!
//! The same seed gives the same sequence of arrivals and requests. It runs on one thread of its own, over
//! keep-alive connections, and costs about 50 us of CPU per request (1,500 per second: 8 % of a core, measured
//! with an unoptimised build).
//!
//! Limits: HTTP/1.1 without TLS; no pipelining; redirects are not followed.

mod arrivals;
mod client;
mod engine;
mod mix;
mod report;

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub use mix::{Item, KeyHeader, Mix};
pub use report::{INSTANCES_MAX, LoadReport, SECONDS_KEPT, Second};

use report::Book;

/// Most client identities.
pub const SESSIONS_MAX: u32 = 1_000_000;
/// Most connections.
pub const CONNECTIONS_MAX: u32 = 20_000;
/// Highest rate in requests per second.
pub const RATE_MAX: f64 = 100_000.0;
/// Most requests of one arrival, the first included.
pub const ATTEMPTS_MAX: u32 = 16;

/// What to send, where, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadOptions {
    /// `http://host:port`.
    pub target: String,
    /// Arrivals per second, up to [`RATE_MAX`]; 0 sends nothing.
    pub rate: f64,
    /// Further rates: from each time (since the start, ascending) on, that rate.
    pub profile: Vec<(Duration, f64)>,
    /// When arrivals end; `None`: when the handle stops.
    pub duration: Option<Duration>,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// What is asked for.
    pub mix: Mix,
    /// Client identities, 1 to [`SESSIONS_MAX`].
    pub sessions: u32,
    /// Zipf exponent of how often each identity comes; 0: all alike.
    pub session_skew: f64,
    /// Cookie that carries the identity; `None`: no cookie.
    pub session_cookie: Option<String>,
    /// A header with a key per request, for hash balancing.
    pub key: Option<KeyHeader>,
    /// Connections that are kept, 1 to [`CONNECTIONS_MAX`]. All are opened before one is used again.
    pub connections: u32,
    /// Connections at most, up to [`CONNECTIONS_MAX`]: while all kept ones are busy further ones are opened for a
    /// single request, so that the client's connections do not throttle an overload. Below `connections`: no more
    /// than those.
    pub connections_max: u32,
    /// Requests after which a connection is closed; `None`: keep it.
    pub requests_per_connection: Option<u32>,
    /// Requests that may be under way or waiting for a connection; beyond it they are shed.
    pub outstanding: u32,
    /// Longest wait for a response, from the moment at which the attempt began.
    pub timeout: Duration,
    /// Further attempts after a failure or a 5xx, below [`ATTEMPTS_MAX`].
    pub retries: u32,
    /// Pause before each further attempt.
    pub retry_backoff: Duration,
    /// A response slower than this harmed its user.
    pub objective: Duration,
    /// Loopback source addresses to connect from, 1 to 250; above 1 the target must be IPv4 loopback.
    pub source_addresses: u32,
    /// Told apart runs of one seed on one store: part of each idempotency key. `None`: random.
    pub run: Option<String>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            target: "http://127.0.0.1:8080".to_owned(),
            rate: 100.0,
            profile: Vec::new(),
            duration: None,
            seed: 1,
            mix: Mix::Shop { products: 60 },
            sessions: 2_000,
            session_skew: 0.6,
            session_cookie: Some("sid".to_owned()),
            key: None,
            connections: 64,
            connections_max: 600,
            requests_per_connection: None,
            outstanding: 2_000,
            timeout: Duration::from_secs(5),
            retries: 0,
            retry_backoff: Duration::from_millis(100),
            objective: Duration::from_millis(500),
            source_addresses: 1,
            run: None,
        }
    }
}

/// Why the load did not start.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The target is not usable.
    #[error("`target` must be `http://host:port`, got `{0}`")]
    Target(String),
    /// An option is out of its range.
    #[error("`{name}` is out of its range, got {value}")]
    Option {
        /// The option.
        name: &'static str,
        /// What it was.
        value: String,
    },
    /// The thread or its runtime.
    #[error("the load generator could not run: {0}")]
    Run(#[from] std::io::Error),
}

/// What may change while the load runs.
#[derive(Debug, Clone)]
struct Dials {
    /// Overrides `rate` and `profile`.
    rate: Option<f64>,
    mix: Mix,
    key: Option<KeyHeader>,
    session_skew: f64,
    retries: u32,
    stop: bool,
    /// Counts the changes.
    version: u64,
}

struct Shared {
    dials: Mutex<Dials>,
    book: Mutex<Book>,
}

impl Shared {
    fn dials(&self) -> MutexGuard<'_, Dials> {
        self.dials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running load. Dropping the handle ends it.
pub struct LoadHandle {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for LoadHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadHandle").finish_non_exhaustive()
    }
}

/// Checks the options and starts the load on a thread of its own.
pub fn start(options: LoadOptions) -> Result<LoadHandle, LoadError> {
    let target = resolve(&options.target)?;
    check(&options)?;
    let shared = Arc::new(Shared {
        dials: Mutex::new(Dials {
            rate: None,
            mix: options.mix.clone(),
            key: options.key.clone(),
            session_skew: options.session_skew,
            retries: options.retries,
            stop: false,
            version: 0,
        }),
        book: Mutex::new(Book::new(options.sessions)),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let theirs = Arc::clone(&shared);
    let thread = std::thread::Builder::new()
        .name("load".to_owned())
        .spawn(move || engine::run(&runtime, target, options, theirs))?;
    Ok(LoadHandle {
        shared,
        thread: Some(thread),
    })
}

fn resolve(target: &str) -> Result<(SocketAddr, String), LoadError> {
    let wrong = || LoadError::Target(target.to_owned());
    let host = target
        .strip_prefix("http://")
        .map(|rest| rest.trim_end_matches('/'))
        .filter(|host| !host.is_empty() && !host.contains('/'))
        .ok_or_else(wrong)?;
    let with_port = if host
        .rsplit_once(':')
        .is_some_and(|(_, p)| p.parse::<u16>().is_ok())
    {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let address = with_port
        .to_socket_addrs()
        .ok()
        .and_then(|mut all| all.next())
        .ok_or_else(wrong)?;
    Ok((address, host.to_owned()))
}

fn check(options: &LoadOptions) -> Result<(), LoadError> {
    let rates = std::iter::once(options.rate).chain(options.profile.iter().map(|(_, rate)| *rate));
    for rate in rates {
        ensure("rate", &rate, (0.0..=RATE_MAX).contains(&rate))?;
    }
    let ascending = options
        .profile
        .windows(2)
        .all(|pair| pair[0].0 <= pair[1].0);
    ensure("profile", &"times that go back", ascending)?;
    let sessions = options.sessions;
    ensure(
        "sessions",
        &sessions,
        (1..=SESSIONS_MAX).contains(&sessions),
    )?;
    let skew = options.session_skew;
    ensure("session_skew", &skew, (0.0..=10.0).contains(&skew))?;
    let connections = options.connections;
    let fits = (1..=CONNECTIONS_MAX).contains(&connections);
    ensure("connections", &connections, fits)?;
    let most = options.connections_max;
    ensure("connections_max", &most, most <= CONNECTIONS_MAX)?;
    ensure("outstanding", &options.outstanding, options.outstanding > 0)?;
    ensure("timeout", &"0", !options.timeout.is_zero())?;
    ensure("retries", &options.retries, options.retries < ATTEMPTS_MAX)?;
    let sources = options.source_addresses;
    ensure("source_addresses", &sources, (1..=250).contains(&sources))?;
    options.mix.check()?;
    options.key.as_ref().map_or(Ok(()), KeyHeader::check)
}

fn ensure(name: &'static str, value: &dyn std::fmt::Display, ok: bool) -> Result<(), LoadError> {
    if ok {
        Ok(())
    } else {
        let value = value.to_string();
        Err(LoadError::Option { name, value })
    }
}

impl LoadHandle {
    fn turn(&self, change: impl FnOnce(&mut Dials)) {
        let mut dials = self.shared.dials();
        change(&mut dials);
        dials.version += 1;
    }

    /// Arrivals per second from now on, in place of the profile; cut to 0..[`RATE_MAX`].
    pub fn set_rate(&self, rate: f64) {
        self.turn(|dials| dials.rate = Some(rate.clamp(0.0, RATE_MAX)));
    }

    /// What is asked for from now on.
    pub fn set_mix(&self, mix: Mix) -> Result<(), LoadError> {
        mix.check()?;
        self.turn(|dials| dials.mix = mix);
        Ok(())
    }

    /// The key header from now on.
    pub fn set_key(&self, key: Option<KeyHeader>) -> Result<(), LoadError> {
        key.as_ref().map_or(Ok(()), KeyHeader::check)?;
        self.turn(|dials| dials.key = key);
        Ok(())
    }

    /// Zipf exponent of the client identities from now on; cut to 0..10.
    pub fn set_session_skew(&self, skew: f64) {
        self.turn(|dials| dials.session_skew = skew.clamp(0.0, 10.0));
    }

    /// Further attempts per arrival from now on; cut to below [`ATTEMPTS_MAX`].
    pub fn set_retries(&self, retries: u32) {
        self.turn(|dials| dials.retries = retries.min(ATTEMPTS_MAX - 1));
    }

    /// What was counted so far, the second under way included.
    pub fn snapshot(&self) -> LoadReport {
        self.shared.book().report()
    }

    /// The sum over all seconds so far, without the cost of a whole [`LoadHandle::snapshot`].
    pub fn total(&self) -> Second {
        self.shared.book().total()
    }

    /// Whether arrivals have ended (`duration`) and nothing is under way.
    pub fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends the arrivals, waits for what is under way (at most the timeout) and gives the final report.
    pub fn stop(mut self) -> LoadReport {
        self.turn(|dials| dials.stop = true);
        self.join();
        self.shared.book().report()
    }

    /// Waits until `duration` is over and nothing is under way, then gives the final report.
    /// Without a `duration` it never returns.
    pub fn wait(mut self) -> LoadReport {
        self.join();
        self.shared.book().report()
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the load generator's thread panicked");
        }
    }
}

impl Drop for LoadHandle {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.turn(|dials| dials.stop = true);
        }
    }
}
