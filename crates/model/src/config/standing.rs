//! Which backends a pool has and which of them take part: place, members, checks, ejection.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::ids::Name;
use crate::units::Ratio;

/// Which backends of a pool this instance prefers or keeps to. Default: none, all are alike to it.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// `zone_aware = true`: its own zone takes as much of its traffic as is fair. Not together with `subset`.
    pub locality: Option<Locality>,
    /// `subset = { size }`: it uses only so many backends of each level.
    pub subset: Option<Subset>,
}

/// Which backends an instance uses. The instance is part of it, as the zone is of [`Locality`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Subset {
    /// How many.
    pub size: u32,
    /// The name of this instance.
    pub instance: Name,
}

/// How much of the traffic comes in where. The zone of the instance is part of it, so that a pool says all that decides
/// its shares.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Locality {
    /// The zone of this instance.
    pub zone: Name,
    /// `[pool.NAME.zone.ZONE] origin`: the part of all requests that comes in at the instances in a zone. The zones
    /// that are not named share what is left alike.
    pub origins: Vec<(Name, Ratio)>,
}

/// `[pool.NAME.members]`: where backends are found at run time.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Members {
    /// Where they are found.
    pub source: MembersSource,
    /// The DNS server that is asked; `None`: those of the system.
    pub resolver: Option<SocketAddr>,
    /// An answer is asked again no sooner than this, however short its time to live. Default 1 s.
    pub ttl_min: Duration,
    /// An answer is asked again after this, however long its time to live. Default 1 min.
    pub ttl_max: Duration,
}

impl Members {
    /// [`Members::ttl_min`] when it is not written.
    pub const TTL_MIN: Duration = Duration::from_secs(1);
    /// [`Members::ttl_max`] when it is not written.
    pub const TTL_MAX: Duration = Duration::from_secs(60);
}

/// Where the members of a pool are found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum MembersSource {
    /// A TOML file of `[[member]]` tables, looked at once a second.
    File(PathBuf),
    /// Every A and AAAA record of a host, each with this port.
    Dns {
        /// The host name.
        host: String,
        /// The port of every member.
        port: u16,
    },
    /// The SRV records of a service, `_http._tcp.web.internal`, with their ports and weights.
    Srv(String),
}

impl fmt::Display for MembersSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Dns { host, port } => write!(f, "DNS {host}:{port}"),
            Self::Srv(service) => write!(f, "SRV {service}"),
        }
    }
}

/// `[pool.NAME.health]`: an active check.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Health {
    /// What is done.
    pub check: HealthCheck,
    /// Between two checks of one backend. Default 1 s.
    pub interval: Duration,
    /// Between two checks of one that is down. Default: `interval`.
    pub interval_down: Duration,
    /// A check without an answer by then failed. Default: interval, at most 1 s.
    pub timeout: Duration,
    /// Good checks in a row before a backend takes traffic again. Default 2.
    pub rise: u32,
    /// Failed checks in a row before a backend is taken out. Default 3.
    pub fall: u32,
}

/// What a health check does.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum HealthCheck {
    /// It connects: a backend is good that accepts the connection.
    Tcp,
    /// It asks by HTTP.
    Http(HttpCheck),
}

/// A health check by HTTP.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HttpCheck {
    /// What is requested with GET.
    pub path: String,
    /// Host header; default the backend's address.
    pub host: Option<String>,
    /// Statuses that count as good, both ends included. Default 200 to 299.
    pub expect_status: (u16, u16),
}

impl Health {
    /// The request that is made; `None`: a connection is all.
    pub const fn http(&self) -> Option<&HttpCheck> {
        match &self.check {
            HealthCheck::Tcp => None,
            HealthCheck::Http(http) => Some(http),
        }
    }

    /// From the first failure to the moment at which the backend is taken out, at most.
    pub fn acts_within(&self) -> Duration {
        self.interval * self.fall + self.timeout
    }
}

/// `[pool.NAME.ejection]`: a backend is out for a while when its answers show that it is broken.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Ejection {
    /// Failed tries in a row that take a backend out, while the others answer. Default 5.
    pub consecutive: u32,
    /// So much higher than that of the rest of the pool must the part of failed requests be. Default 30 %.
    pub success_rate: Ratio,
    /// The median response time as a multiple of the others' that takes a backend out; `None`: not by this.
    pub latency: Option<f64>,
    /// How long for, the first time; each further time doubles it. Default 30 s.
    pub time: Duration,
    /// At most this long. Default 5 min.
    pub time_max: Duration,
}

/// `[pool.NAME.reported]`: weights follow the load that backends report with their responses.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Reported {
    /// What of a report is the load. Default: the CPU.
    pub signal: ReportedSignal,
    /// Weights are looked at this often. Default 10 s.
    pub period: Duration,
    /// A backend gets at least this much of its declared weight. Default 0.25.
    pub min: f64,
    /// A backend gets at most this much of its declared weight. Default 4.
    pub max: f64,
    /// A backend that has not reported for so long gets its declared weight. Default 1 min.
    pub stale_after: Duration,
    /// What failed tries weigh: a backend that fails half of them counts as so much / 2 more utilised. Default 1.
    pub error_penalty: f64,
}

impl Default for Reported {
    fn default() -> Self {
        Self {
            signal: ReportedSignal::Cpu,
            period: Duration::from_secs(10),
            min: 0.25,
            max: 4.0,
            stale_after: Duration::from_mins(1),
            error_penalty: 1.0,
        }
    }
}

/// What of a report is the load of a backend.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum ReportedSignal {
    /// `cpu_utilization`.
    Cpu,
    /// `application_utilization`: what the backend itself says is scarce.
    Application,
}

impl ReportedSignal {
    /// Every signal.
    pub const ALL: &'static [Self] = &[Self::Cpu, Self::Application];

    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Application => "application",
        }
    }
}
