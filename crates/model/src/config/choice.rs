//! How a backend is chosen and how traffic should be spread.

use std::fmt;
use std::time::Duration;

/// How a backend is chosen.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Algorithm {
    /// Smooth weighted round robin.
    RoundRobin,
    /// The less loaded of two weighted choices.
    LeastRequest,
    /// Weighted random.
    Random,
    /// By a key of the request: the next of the backends' points on a ring.
    RingHash,
    /// By a key of the request: the table of Maglev.
    Maglev,
    /// By a key of the request: the highest weighted random score.
    Rendezvous,
    /// The quicker of two weighted choices: answer time, by peaks, times what is in flight.
    PeakEwma,
    /// The fastest of those drawn that do not hold unusually much: the rule of Prequal.
    Prequal,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: &'static [Self] = &[
        Self::RoundRobin,
        Self::LeastRequest,
        Self::Random,
        Self::RingHash,
        Self::Maglev,
        Self::Rendezvous,
        Self::PeakEwma,
        Self::Prequal,
    ];

    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastRequest => "least_request",
            Self::Random => "random",
            Self::RingHash => "ring_hash",
            Self::Maglev => "maglev",
            Self::Rendezvous => "rendezvous",
            Self::PeakEwma => "peak_ewma",
            Self::Prequal => "prequal",
        }
    }

    /// Whether the shares follow how loaded and how fast the backends are, so that no closed form gives them.
    pub const fn follows_load(self) -> bool {
        matches!(self, Self::LeastRequest | Self::PeakEwma | Self::Prequal)
    }

    /// Whether reported load may shape the weights: they say how traffic is spread, no key's place hangs on them, and
    /// nothing else follows how fast the backends are.
    pub const fn takes_reports(self) -> bool {
        matches!(self, Self::RoundRobin | Self::LeastRequest | Self::Random)
    }

    /// Whether a key of the request decides, so that `hash` must say which.
    pub const fn is_hash(self) -> bool {
        matches!(self, Self::RingHash | Self::Maglev | Self::Rendezvous)
    }
}

/// How many backends `least_request` compares.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Choices {
    /// So many, drawn by weight, each at most once.
    Drawn(u32),
    /// Every backend (in a pool of more than 64: 64 drawn by weight).
    All,
}

impl Choices {
    /// What a pool has that says nothing.
    pub const DEFAULT: Self = Self::Drawn(2);

    /// How many are drawn at most.
    pub const fn count(self) -> usize {
        match self {
            Self::Drawn(count) => count as usize,
            Self::All => usize::MAX,
        }
    }
}

impl fmt::Display for Choices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drawn(count) => write!(f, "{count}"),
            Self::All => f.write_str("all"),
        }
    }
}

/// What ties requests to backends. Default: nothing.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Affinity {
    /// What of a request is hashed; there exactly under the algorithms that hash.
    pub hash: Option<HashKey>,
    /// No backend takes more by its keys than this times its part of all requests in flight (above 1). `None`: no bound.
    pub bounded_load: Option<f64>,
    /// A cookie that ties a client to the backend that served it first.
    pub sticky: Option<StickyCookie>,
}

/// `sticky = { cookie, ttl }`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StickyCookie {
    /// Its name.
    pub name: String,
    /// How long a client that is not heard of stays bound. Default 1 h.
    pub ttl: Duration,
}

/// `hash = { header = ".." }` and the like: what of a request is its key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum HashKey {
    /// The value of this header (lower case).
    Header(String),
    /// The value of this cookie.
    Cookie(String),
    /// The value of this query parameter, as sent.
    Query(String),
    /// The path, as sent, without the query.
    Path,
    /// The address that the client's connection comes from.
    ClientAddress,
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header {name}"),
            Self::Cookie(name) => write!(f, "cookie {name}"),
            Self::Query(name) => write!(f, "query parameter {name}"),
            Self::Path => f.write_str("path"),
            Self::ClientAddress => f.write_str("client address"),
        }
    }
}

/// `[pool.NAME.probe]`: backends are asked how loaded they are, beside the requests and without delaying any.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Probe {
    /// What is asked for.
    pub path: String,
    /// Backends that are asked per request, in the mean.
    pub rate: f64,
    /// A later answer does not count.
    pub timeout: Duration,
    /// After so long without a probe two are sent; `None`: none without requests.
    pub idle_interval: Option<Duration>,
}

impl Probe {
    /// [`Probe::rate`] when it is not written.
    pub const RATE: f64 = 1.0;
    /// [`Probe::timeout`] when it is not written.
    pub const TIMEOUT: Duration = Duration::from_millis(50);
}

/// How traffic should be spread: the independent statement that weights are judged by.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Intent {
    /// The same to each backend.
    Even,
    /// By declared `capacity_rps`.
    Capacity,
    /// By the weights themselves.
    Weight,
}

impl Intent {
    /// Every intent.
    pub const ALL: &'static [Self] = &[Self::Even, Self::Capacity, Self::Weight];

    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Even => "even",
            Self::Capacity => "capacity",
            Self::Weight => "weight",
        }
    }
}

impl Intent {
    /// The intended share (0..1) of each backend, given as capacity and weight in file order: 0 for one that is not
    /// eligible, the others by intent. All zero when nobody is eligible.
    pub fn shares(
        self,
        backends: impl Iterator<Item = (Option<f64>, u32)>,
        eligible: impl Fn(usize) -> bool,
    ) -> Vec<f64> {
        let value = |(index, (capacity_rps, weight)): (usize, (Option<f64>, u32))| match self {
            _ if !eligible(index) => 0.0,
            Self::Even => 1.0,
            Self::Capacity => capacity_rps.unwrap_or(0.0),
            Self::Weight => f64::from(weight),
        };
        let values: Vec<f64> = backends.enumerate().map(value).collect();
        let total: f64 = values.iter().sum();
        if total > 0.0 {
            values.iter().map(|value| value / total).collect()
        } else {
            values
        }
    }
}
