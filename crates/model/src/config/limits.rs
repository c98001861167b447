//! What bounds traffic: the process, the rate, who waits, what is tried again or twice.

use std::fmt;
use std::time::Duration;

use crate::config::HashKey;
use crate::units::{ByteSize, Ratio, format_duration};

/// `[overload]`: bounds of the whole process. Default: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Overload {
    /// Resident memory; near it no connection is kept, beyond it requests are refused, the lowest priority first.
    pub memory: Option<ByteSize>,
    /// Most client connections at once over all listeners.
    pub connections: Option<u32>,
}

/// How a request fares when there is too much: the lower, the sooner it is refused.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
pub enum Priority {
    /// Refused first.
    Low,
    /// Refused next.
    #[default]
    Normal,
    /// Refused last.
    High,
}

impl Priority {
    /// Every priority, the lowest first.
    pub const ALL: &'static [Self] = &[Self::Low, Self::Normal, Self::High];

    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

/// `rate_limit = { rps, burst, by }`: the requests beyond it are refused with 429.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RateLimit {
    /// Requests per second.
    pub rps: f64,
    /// Most requests at once. Default: `rps`, rounded up.
    pub burst: u32,
    /// What has a rate of its own. `None`: the route as a whole.
    pub by: Option<HashKey>,
}

/// `queue = { length, timeout }`: first come, first served, over all workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Queue {
    /// Most requests that wait at once. Default 100.
    pub length: u32,
    /// Longest that one waits. Default 1 s.
    pub timeout: Duration,
}

/// `adaptive = { min, max }`: the limit of each backend is found out from its response times, within these bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Adaptive {
    /// The limit never falls below it. Default 2.
    pub min: u32,
    /// The limit never grows beyond it. Default 1,000.
    pub max: u32,
}

impl Default for Adaptive {
    fn default() -> Self {
        Self { min: 2, max: 1_000 }
    }
}

/// `[pool.NAME.retry]`: only before the first byte of a response, and only where a repeat is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Retry {
    /// Tries beyond the first. Default 1, at most 5.
    pub attempts: u32,
    /// Retries per request over time, with a floor of a few. Default 20 %.
    pub budget: Ratio,
    /// What is worth a further try. Default: connect, reset, timeout.
    pub on: RetryOn,
    /// Whether a method that is not idempotent may be repeated although the backend may have acted on it.
    pub unsafe_methods: bool,
}

/// `[pool.NAME.hedge]`: a second backend for a request that can do no harm twice; the first answer wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hedge {
    /// How long the first has.
    pub after: HedgeAfter,
    /// Hedges per request over time. Default 5 %.
    pub budget: Ratio,
}

impl Hedge {
    /// [`Hedge::budget`] when it is not written.
    pub const BUDGET: Ratio = Ratio::from_percent(5);
}

/// How long the first backend has before a second is asked.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum HedgeAfter {
    /// This time.
    Time(Duration),
    /// The response time that so many percent of the pool's requests stay below at present.
    Percentile(u32),
}

impl HedgeAfter {
    /// The percentiles that may be named.
    pub const PERCENTILES: &'static [(&'static str, u32)] = &[
        ("p50", 50),
        ("p75", 75),
        ("p90", 90),
        ("p95", 95),
        ("p99", 99),
    ];
}

impl fmt::Display for HedgeAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(after) => f.write_str(&format_duration(*after)),
            Self::Percentile(percent) => write!(f, "p{percent}"),
        }
    }
}

/// What is worth a further try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetryCause {
    /// No connection.
    Connect,
    /// The connection broke before a response, or what came is no response.
    Reset,
    /// No response head within the response timeout.
    Timeout,
    /// A response with status 502.
    BadGateway,
    /// A response with status 503.
    Unavailable,
    /// A response with status 504.
    GatewayTimeout,
}

impl RetryCause {
    /// Every cause.
    pub const ALL: &'static [Self] = &[
        Self::Connect,
        Self::Reset,
        Self::Timeout,
        Self::BadGateway,
        Self::Unavailable,
        Self::GatewayTimeout,
    ];

    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::BadGateway => "502",
            Self::Unavailable => "503",
            Self::GatewayTimeout => "504",
        }
    }

    /// The cause that a response with `status` is; `None`: a response that is never repeated.
    pub const fn of_status(status: u16) -> Option<Self> {
        match status {
            502 => Some(Self::BadGateway),
            503 => Some(Self::Unavailable),
            504 => Some(Self::GatewayTimeout),
            _ => None,
        }
    }
}

/// A set of [`RetryCause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RetryOn(u8);

impl RetryOn {
    /// Without any cause: nothing is tried again.
    pub const NOTHING: Self = Self(0);

    /// The set with `cause`.
    #[must_use]
    pub const fn with(self, cause: RetryCause) -> Self {
        Self(self.0 | 1 << cause as u8)
    }

    /// Whether `cause` is in it.
    pub const fn has(self, cause: RetryCause) -> bool {
        self.0 & (1 << cause as u8) != 0
    }

    /// Its causes in the order of [`RetryCause::ALL`].
    pub fn causes(self) -> impl Iterator<Item = RetryCause> {
        let all = RetryCause::ALL.iter().copied();
        all.filter(move |cause| self.has(*cause))
    }
}

impl Default for RetryOn {
    /// Every failure without a response.
    fn default() -> Self {
        Self::NOTHING
            .with(RetryCause::Connect)
            .with(RetryCause::Reset)
            .with(RetryCause::Timeout)
    }
}
