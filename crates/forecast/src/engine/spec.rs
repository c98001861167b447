//! What is simulated: traffic, backends and their faults, as plain values.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::Member;
use evenkeel_model::config::Config;
use evenkeel_model::ids::{Epoch, Name};

/// Most clients of one stream; more are cut to it.
pub const CLIENTS_MAX: u32 = 1_000_000;
/// Most keys of one stream; more are cut to it.
pub const KEYS_MAX: u32 = 1_000_000;
/// Most requests of one stream in flight when its target is a pool; a listener has its own `connections_max`.
pub const IN_FLIGHT_MAX: u32 = 1 << 20;

/// Pool and backend: a backend's identity over reloads.
pub type BackendKey = (Name, Name);

/// A whole simulation at its start.
#[derive(Debug, Clone)]
pub struct EngineSpec {
    /// What the balancer runs first.
    pub snapshot: Snapshot,
    /// Data-plane workers, at least 1.
    pub workers: u16,
    /// Same seed, same bits.
    pub seed: u64,
    /// Who sends requests.
    pub streams: Vec<Stream>,
    /// How each backend behaves; one that is not in it behaves as `default_model`.
    pub models: BTreeMap<BackendKey, BackendModel>,
    /// See `models`.
    pub default_model: BackendModel,
}

/// What the control shell hands to the data plane: a configuration, and per pool the epoch and who takes traffic.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The configuration.
    pub config: Arc<Config>,
    /// One entry per pool of the configuration, in file order.
    pub pools: Vec<PoolSnapshot>,
}

/// One pool of a [`Snapshot`].
#[derive(Debug, Clone)]
pub struct PoolSnapshot {
    /// The epoch that picks are booked to.
    pub epoch: Epoch,
    /// Every backend of the configuration, in file order.
    pub members: Vec<Member>,
}

impl Snapshot {
    /// `config` with every backend up, all pools at `epoch`.
    pub fn all_up(config: Arc<Config>, epoch: Epoch) -> Self {
        let pools = config
            .pools
            .iter()
            .map(|pool| PoolSnapshot {
                epoch,
                members: evenkeel_balance::effective_members(pool, |_| true).0,
            })
            .collect();
        Self { config, pools }
    }
}

/// Clients that send alike: an open Poisson stream of requests (RFC: independent of how fast answers come).
#[derive(Debug, Clone)]
pub struct Stream {
    /// What mutators call it.
    pub name: Name,
    /// Where its requests come in.
    pub target: Target,
    /// New requests per second (client retries come on top).
    pub rate_rps: f64,
    /// Distinct clients (sessions), at least 1.
    pub clients: u32,
    /// Skew of requests over clients: the n-th client has weight `n^-exponent`; 0: all alike.
    pub zipf_exponent: f64,
    /// Requests before a client opens a new connection; a connection stays on one worker. 1: no keep-alive.
    pub requests_per_connection: u32,
    /// What is requested, by weight; empty: GET `/`.
    pub kinds: Vec<RequestKind>,
    /// A header with one of several keys on each request. `None`: no such header.
    pub key: Option<StreamKey>,
    /// What a client does after a failed request.
    pub retry: ClientRetry,
    /// A client leaves when it waited this long. `None`: it waits for ever.
    pub patience: Option<Duration>,
}

/// Where requests of a stream come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// At a listener; host and path of the request decide the pool by the routes.
    Listener(Name),
    /// At a pool directly, past the routes.
    Pool(Name),
}

/// One kind of request of a stream.
#[derive(Debug, Clone)]
pub struct RequestKind {
    /// Relative frequency.
    pub weight: f64,
    /// Method: decides whether it may be retried.
    pub method: String,
    /// Host header.
    pub host: Option<String>,
    /// Path.
    pub path: String,
    /// Service time relative to the backend's; 1: as it is.
    pub cost: f64,
    /// A status that every backend answers it with: a poison request. `None`: 200 or what a fault says.
    pub answer: Option<u16>,
}

impl Default for RequestKind {
    fn default() -> Self {
        Self {
            weight: 1.0,
            method: "GET".to_owned(),
            host: None,
            path: "/".to_owned(),
            cost: 1.0,
            answer: None,
        }
    }
}

/// A header whose value is one of `keys` keys: `k0`, `k1` and so on.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamKey {
    /// The header, in lower case.
    pub header: String,
    /// Distinct keys, 1 to [`KEYS_MAX`].
    pub keys: u32,
    /// Skew of requests over keys: the n-th key has weight `n^-exponent`; 0: all alike.
    pub zipf_exponent: f64,
}

/// What a client does after a failed request (no response or 5xx).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ClientRetry {
    /// Further attempts.
    pub attempts: u8,
    /// Mean pause before the first; exponential.
    pub delay: Duration,
    /// Factor on the pause per further attempt; 1: none. Below 1 counts as 1.
    pub backoff: f64,
}

impl Stream {
    /// A stream of GET `/` to a pool: 1,000 equal clients, 50 requests per connection, no client retries.
    pub fn to_pool(name: Name, pool: Name, rate_rps: f64) -> Self {
        Self {
            name,
            target: Target::Pool(pool),
            rate_rps,
            clients: 1_000,
            zipf_exponent: 0.0,
            requests_per_connection: 50,
            kinds: Vec::new(),
            key: None,
            retry: ClientRetry::default(),
            patience: None,
        }
    }
}

/// How long one request keeps one slot of a backend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ServiceTime {
    /// Always the same.
    Constant(Duration),
    /// Exponential with this mean.
    Exponential(Duration),
    /// Lognormal with this mean and 99th percentile. A p99 below the mean counts as the mean, one over 14.9 times the
    /// mean (the most that a lognormal can have) as that.
    Lognormal {
        /// Mean.
        mean: Duration,
        /// 99th percentile.
        p99: Duration,
    },
}

impl ServiceTime {
    /// The mean.
    pub const fn mean(self) -> Duration {
        match self {
            Self::Constant(mean) | Self::Exponential(mean) | Self::Lognormal { mean, .. } => mean,
        }
    }
}

/// A backend: so many slots, one queue in front.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendModel {
    /// Time in a slot.
    pub service: ServiceTime,
    /// Requests worked on at once, at least 1. Capacity is `slots / mean service time`.
    pub slots: u32,
    /// Requests that may wait for a slot.
    pub queue_max: u32,
    /// What happens to one more.
    pub overflow: Overflow,
    /// Connections accepted at once (in slots or waiting); beyond it refused. `None`: no limit.
    pub connections_max: Option<u32>,
    /// How it answers health checks.
    pub health: HealthModel,
    /// Slower at first after a restart or when it is first seen in a later configuration. `None`: warm at once.
    pub cold_start: Option<ColdStart>,
}

/// What a backend does with a request that finds its queue full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// Answers 503 after 1 ms.
    Reject,
    /// Takes it and never answers.
    Hang,
}

/// How a backend answers health checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthModel {
    /// The path that it answers with 200; others get 404. `None`: every path.
    pub path: Option<String>,
    /// Time to answer while nothing is wrong; a slow backend is as much slower here.
    pub latency: Duration,
    /// Whether a check waits in line with the requests, so that an overloaded backend fails it.
    pub queued: bool,
}

/// Slower by `factor` at first, falling to 1 linearly over `over`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ColdStart {
    /// Service time at first relative to later.
    pub factor: f64,
    /// Until it is warm.
    pub over: Duration,
}

impl Default for BackendModel {
    /// 600 requests per second: 12 slots of 20 ms (exponential), 100 may wait.
    fn default() -> Self {
        Self {
            service: ServiceTime::Exponential(Duration::from_millis(20)),
            slots: 12,
            queue_max: 100,
            overflow: Overflow::Reject,
            connections_max: None,
            health: HealthModel {
                path: None,
                latency: Duration::from_millis(2),
                queued: false,
            },
            cold_start: None,
        }
    }
}

impl BackendModel {
    /// The default with as many slots as `capacity_rps` needs; the service time is adjusted so that the capacity
    /// is met exactly.
    pub fn with_capacity(capacity_rps: f64) -> Self {
        Self::with_capacity_and_service(capacity_rps, None)
    }

    /// The same for a mean service time that is known; `None`: that of the default.
    pub fn with_capacity_and_service(capacity_rps: f64, service: Option<Duration>) -> Self {
        let default = Self::default();
        let capacity = if capacity_rps > 0.0 {
            capacity_rps
        } else {
            1.0
        };
        let mean = service.unwrap_or(default.service.mean());
        let slots = (capacity * mean.as_secs_f64()).round().clamp(1.0, 1e6);
        Self {
            service: ServiceTime::Exponential(Duration::from_secs_f64(slots / capacity)),
            slots: slots as u32,
            ..default
        }
    }
}

/// What is wrong with one backend now. Default: nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Service time relative to normal; 1: normal.
    pub slow_factor: f64,
    /// Added to each service time, in the slot (a slow dependency).
    pub extra_latency: Duration,
    /// Share of requests answered with 500 after their normal service.
    pub error_rate: f64,
    /// Answers every request with this status within 1 ms, without using a slot (the sinkhole).
    pub fails_fast: Option<u16>,
    /// Refuses connections.
    pub refuses: bool,
    /// Takes requests and never answers.
    pub hangs: bool,
    /// Refuses and works by turns.
    pub flaps: Option<Flap>,
    /// What its health check says meanwhile.
    pub health: HealthFault,
}

impl Default for Fault {
    fn default() -> Self {
        Self {
            slow_factor: 1.0,
            extra_latency: Duration::ZERO,
            error_rate: 0.0,
            fails_fast: None,
            refuses: false,
            hangs: false,
            flaps: None,
            health: HealthFault::AsIs,
        }
    }
}

impl Fault {
    /// Both faults at once: factors multiply, latencies add, what either breaks is broken. Of two flaps, statuses or
    /// health faults the one of `self` counts.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            slow_factor: self.slow_factor * other.slow_factor,
            extra_latency: self.extra_latency + other.extra_latency,
            error_rate: 1.0 - (1.0 - self.error_rate) * (1.0 - other.error_rate),
            fails_fast: self.fails_fast.or(other.fails_fast),
            refuses: self.refuses || other.refuses,
            hangs: self.hangs || other.hangs,
            flaps: self.flaps.or(other.flaps),
            health: match self.health {
                HealthFault::AsIs => other.health,
                mine => mine,
            },
        }
    }
}

/// Works for `up`, then not for `down`, from the moment the fault is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flap {
    /// Time it works.
    pub up: Duration,
    /// Time it does not.
    pub down: Duration,
}

/// What a health check gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthFault {
    /// What a client of the backend would see: refused and hanging backends fail it, one that fails fast or has an
    /// error rate passes it (a shallow check).
    AsIs,
    /// 503 whatever the backend does.
    Fails,
    /// 200 while connections are accepted at all.
    Passes,
    /// 200 and 503 by turns.
    Flaps(Flap),
}

/// What is wrong between the balancer and a backend. Default: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct NetworkFault {
    /// Added to each response.
    pub latency: Duration,
    /// Share of tries that get no connection within the connect timeout.
    pub loss: f64,
    /// Connections are refused at once.
    pub refuse: bool,
}

/// What all backends of a pool wait for besides their own work. Default: nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dependency {
    /// Service time relative to normal; 1: normal.
    pub slow_factor: f64,
    /// Added to each service time, in the slot.
    pub extra_latency: Duration,
    /// Share of requests answered with 500.
    pub error_rate: f64,
}

impl Default for Dependency {
    fn default() -> Self {
        Self {
            slow_factor: 1.0,
            extra_latency: Duration::ZERO,
            error_rate: 0.0,
        }
    }
}

/// What a health check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Whether it passed by the pool's `expect_status` and timeout.
    pub ok: bool,
    /// How long it took, at most the timeout.
    pub took: Duration,
    /// The status, or what went wrong.
    pub detail: String,
}

/// What became of all requests so far, as the clients see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Requests that clients sent, their retries included.
    pub requests: u64,
    /// Of these, retries by clients.
    pub client_retries: u64,
    /// Answered below 400.
    pub ok: u64,
    /// Answered 4xx, also where no route matched.
    pub client_error: u64,
    /// Answered 5xx by a backend or by the balancer, or not at all.
    pub failed: u64,
    /// Left by the client.
    pub aborted: u64,
    /// Of the failed, those that no backend could be picked for.
    pub unpicked: u64,
    /// Of the failed, those that met a balancer that was down or full.
    pub turned_away: u64,
    /// Answered, but beyond `objective.p99`.
    pub slow: u64,
    /// Waiting for an answer now.
    pub in_flight: u64,
}
