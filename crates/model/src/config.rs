//! The configuration: always valid, effective values (defaults filled in), lists in file order.
//!
//! A [`Config`] can only come out of the parser, so a room that holds one never checks it again.
//! It holds what was declared, never what is true at run time (members, health, ejections, drains).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use crate::ids::Name;
use crate::policy::{Policy, Waiver};
use crate::units::{ByteSize, Ratio};

mod choice;
mod edits;
mod expectation;
mod limits;
mod log;
mod matching;
mod networks;
mod protocols;
mod remedies;
mod standing;
mod target;
mod tls;
mod tracing;
mod tunnels;

pub use choice::{Affinity, Algorithm, Choices, HashKey, Intent, Probe, StickyCookie};
pub use edits::{
    BadPath, Edits, FieldEdits, PathEdit, Template, TemplateError, Variable, check_path,
};
pub use expectation::{Expectation, Outcome, Sent};
pub use limits::{
    Adaptive, Hedge, HedgeAfter, Overload, Priority, Queue, RateLimit, Retry, RetryCause, RetryOn,
};
pub use log::LogField;
pub use matching::{CompiledPattern, Field, Matcher, PathMatch, Pattern, PatternError, ValueMatch};
pub use networks::{Network, NetworkError, ProxyProtocol};
pub use protocols::Protocols;
pub use remedies::{Leave, Remedies, Remedy};
pub use standing::{
    Ejection, Health, HealthCheck, HttpCheck, Locality, Members, MembersSource, Place, Reported,
    ReportedSignal, Subset,
};
pub use target::{Answer, NewPath, Redirect, Respond, Scheme, Target};
pub use tls::{
    BackendTls, CertificateFiles, ClientCertificates, SeenFile, Tls, TlsVersion, covers,
};
pub use tracing::Tracing;
pub use tunnels::{Tunnels, Upgrades};

/// One whole configuration.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Config {
    /// Which instance this is, and where it stands.
    pub here: Here,
    /// Data-plane workers; `None`: one per core the process may use.
    pub workers: Option<NonZeroU16>,
    /// Whether a changed file is applied by itself.
    pub watch: bool,
    /// Where the access log goes, one JSON object a line; `-` is standard output; `None`: no access log.
    pub access_log: Option<PathBuf>,
    /// What its lines say, in their order; none: [`LogField::USUAL`].
    pub access_log_fields: Vec<LogField>,
    /// Which requests are told to a collector of traces; `None`: none, and what comes with a request passes.
    pub tracing: Option<Tracing>,
    /// Page, API, metrics.
    pub admin: Admin,
    /// What the whole process holds at most, and what is refused then.
    pub overload: Overload,
    /// Scheduled audits.
    pub audit_every: Duration,
    /// Findings that are accepted for a while, in file order.
    pub waivers: Vec<Waiver>,
    /// Whether drills may run against this instance.
    pub drills_allowed: bool,
    /// Listeners in file order.
    pub listeners: Vec<Listener>,
    /// What was seen of the files of TLS, by path; nothing before the text was sealed.
    pub certificates: Vec<SeenFile>,
    /// Routes in file order; the first match wins.
    pub routes: Vec<Route>,
    /// Requests whose way is known, in file order.
    pub expectations: Vec<Expectation>,
    /// Pools in file order.
    pub pools: Vec<Pool>,
    /// Where notices go, in file order.
    pub receivers: Vec<Receiver>,
    /// Who may tell of deployments, in file order.
    pub webhooks: Vec<Webhook>,
    /// Who is paged, level by level, when nobody acknowledges. Empty: nobody.
    pub escalation: Vec<EscalationLevel>,
}

/// What tells this instance from the others that run the same pools. Default: nothing is said.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Here {
    /// `zone`: the zone that this instance stands in.
    pub zone: Option<Name>,
    /// `instance`: what this instance is called.
    pub instance: Option<Name>,
}

/// The admin listener and who may use it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Admin {
    /// Where page, API and metrics are served.
    pub address: SocketAddr,
    /// Further tokens besides the one that the first start writes.
    pub tokens: Vec<AdminToken>,
}

/// `[admin.token.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AdminToken {
    /// The author in the journal.
    pub name: Name,
    /// File that holds the token.
    pub file: PathBuf,
    /// What it allows.
    pub role: Role,
}

/// What a token allows.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum Role {
    /// Read only.
    Read,
    /// Read and change.
    Operate,
}

/// Where something listens or is reached.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub enum Address {
    /// IPv4 or IPv6 with a port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Why no backend can have this address, in words; `None`: one can.
    pub const fn why_no_host(&self) -> Option<&'static str> {
        let Self::Tcp(address) = self else {
            return None;
        };
        let ip = address.ip().to_canonical();
        if ip.is_unspecified() {
            return Some("it stands for every address of a machine");
        }
        if ip.is_multicast() {
            return Some("it is a multicast address");
        }
        match ip {
            IpAddr::V4(ip) if ip.is_broadcast() => Some("it is the broadcast address"),
            _ => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.pad(&address.to_string()),
            Self::Unix(path) => f.pad(&format!("unix:{}", path.display())),
        }
    }
}

/// `[listener.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Listener {
    /// Its name.
    pub name: Name,
    /// Where it listens.
    pub address: Address,
    /// A request head must be complete this long after its first byte. Default 10 s.
    pub head_timeout: Duration,
    /// No progress of a request body for this long ends the request. Default 30 s.
    pub body_timeout: Duration,
    /// A kept-alive connection without a request is closed after this. Default 60 s.
    pub idle_timeout: Duration,
    /// A client that takes no byte of a response for this long is cut off. Default 30 s.
    pub write_timeout: Duration,
    /// Largest request head. Default 16 KiB.
    pub head_max: ByteSize,
    /// Largest request body; 0: no limit. Default no limit.
    pub body_max: ByteSize,
    /// Most client connections at once on this listener. Default 10,000.
    pub connections_max: u32,
    /// How long a client connection may live. Default: as long as it is used.
    pub lifetime: Lifetime,
    /// New connections that are accepted per second; the others wait in the backlog. `None`: no limit.
    pub accept_rate: Option<u32>,
    /// Connections begin with a PROXY protocol header that says who the client is. `None`: they do not.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How clients are spoken to by TLS; `None`: they speak plain HTTP.
    pub tls: Option<Tls>,
    /// What clients speak. Default: HTTP/1.1.
    pub protocols: Protocols,
}

/// How long a connection is used before it is closed at the end of a message, so that it pins nothing for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Lifetime {
    /// Its age from which on it takes no further request.
    pub age_max: Option<Duration>,
    /// The requests that it takes.
    pub requests_max: Option<u32>,
}

impl Lifetime {
    /// Part of a limit by which connections differ, below it: those that began together do not end together.
    const SPREAD: f64 = 0.1;

    /// Whether a connection of this age that took so many requests has had its time. `spread`, 0 to 1, is its own.
    pub fn is_over(&self, age: impl FnOnce() -> Duration, requests: u32, spread: f64) -> bool {
        let part = 1.0 - Self::SPREAD * spread.clamp(0.0, 1.0);
        let most = |max: u32| (f64::from(max) * part).ceil().max(1.0);
        self.requests_max
            .is_some_and(|max| f64::from(requests) >= most(max))
            || self.age_max.is_some_and(|max| age() >= max.mul_f64(part))
    }
}

/// `[[route]]`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Route {
    /// Its listener.
    pub listener: Name,
    /// Host it is for, lower case, exact or `*.example.com`; `None`: every host.
    pub host: Option<String>,
    /// What else a request must be.
    pub matcher: Matcher,
    /// What becomes of the requests.
    pub target: Target,
    /// What is changed in the heads on the way. Default nothing.
    pub edits: Edits,
    /// How often requests may come. `None`: no limit.
    pub rate_limit: Option<RateLimit>,
    /// Who is refused first when there is too much. Default normal.
    pub priority: Priority,
    /// What its requests may be upgraded to. Default `websocket`.
    pub upgrades: Upgrades,
}

/// What CAP-02 and CAP-03 (loss of one backend, of one zone) do to an apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum NPlusOne {
    /// A warning.
    Warn,
    /// An error: the apply is refused.
    Refuse,
}

/// `[pool.NAME]`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Pool {
    /// Its name.
    pub name: Name,
    /// How a backend is chosen. See [`Pool::ALGORITHM_DEFAULT`].
    pub algorithm: Algorithm,
    /// What ties requests to backends.
    pub affinity: Affinity,
    /// Who is compared under `least_request`. Default 2.
    pub choices: Choices,
    /// How traffic should be spread. Default: capacity when every backend declares it, else even.
    pub intent: Intent,
    /// What the pool must carry, requests per second. `None`: the highest minute seen x 1.2, else not judged.
    pub peak_rps: Option<f64>,
    /// No backend is planned above 1 - headroom of its capacity. Default 20 %.
    pub headroom: Ratio,
    /// Relative deviation from the intended share that is still fine. Default 20 %.
    pub tolerance: Ratio,
    /// Fewest live backends that an action of Evenkeel may leave. Default 1.
    pub min_healthy: u32,
    /// Severity of CAP-02 and CAP-03.
    pub n_plus_one: NPlusOne,
    /// A request beyond it is harmed.
    pub objective: Objective,
    /// Mean time between false alarms of all tests of the pool together.
    pub false_alarm_every: Duration,
    /// Who is a user.
    pub session: Session,
    /// Active check; `None`: backends are always taken as healthy.
    pub health: Option<Health>,
    /// Taking out by what requests show; `None`: not done.
    pub ejection: Option<Ejection>,
    /// The weight of a backend that comes back or joins grows over this time; `None`: all of it at once.
    pub slow_start: Option<Duration>,
    /// How the load that backends report shapes their weights; `None`: it does not.
    pub reported: Option<Reported>,
    /// What may be done about an incident without a person.
    pub remedies: Remedies,
    /// A level of priority passes load on when its healthy part times this is below 1. Default 1.4.
    pub overprovisioning: f64,
    /// Which backends this instance prefers or keeps to, by where and which it is.
    pub place: Place,
    /// Establishing a connection to a backend. Default 1 s.
    pub connect_timeout: Duration,
    /// From the request being sent to the first byte of the response head, per try. Default 15 s.
    pub response_timeout: Duration,
    /// No progress of a response body for this long. Default 30 s.
    pub idle_timeout: Duration,
    /// The whole request, tries included, up to the response head. Default 30 s.
    pub request_timeout: Duration,
    /// How long connections last that left HTTP by an upgrade.
    pub tunnels: Tunnels,
    /// Retries.
    pub retry: Retry,
    /// When a second backend is asked for a request whose first one is slow; `None`: never.
    pub hedge: Option<Hedge>,
    /// Under `prequal`: backends are asked how loaded they are; `None`: not.
    pub probe: Option<Probe>,
    /// How long a connection to a backend may live. Default: as long as it is used.
    pub keep: Lifetime,
    /// How backends are spoken to by TLS; `None`: they speak plain HTTP.
    pub tls: Option<BackendTls>,
    /// Most requests at once on one backend; beyond it the backend is passed over. `None`: no limit.
    pub max_in_flight: Option<u32>,
    /// Within which bounds the limit of each backend is found out from its response times. `None`: it is not.
    pub adaptive: Option<Adaptive>,
    /// Most requests at once on all backends of the pool together. `None`: no limit.
    pub max_in_flight_total: Option<u32>,
    /// Where requests wait that find every backend, or the pool, at its limit. `None`: they are refused at once.
    pub queue: Option<Queue>,
    /// Fewest distinct clients that must be harmed before anything acts by itself. Default 20.
    pub harmed_clients_min: u32,
    /// What the audit's rules are set to for this pool.
    pub policy: Policy,
    /// Where further backends come from while the process runs; `None`: the pool has those of the file only.
    pub members: Option<Members>,
    /// Backends in file order, at least one unless `members` says where they come from. In an effective configuration
    /// those that were found follow ([`Backend::discovered`]).
    pub backends: Vec<Backend>,
}

/// Which backends, given as version and weight in file order, wait for a deployment: none of their version has a weight,
/// and some of another version has.
pub(crate) fn versions_that_wait<V: Ord>(
    backends: impl Iterator<Item = (Option<V>, u32)>,
) -> Vec<bool> {
    let backends: Vec<(Option<V>, u32)> = backends.collect();
    let serving: BTreeSet<&V> = backends
        .iter()
        .filter(|(_, weight)| *weight > 0)
        .filter_map(|(version, _)| version.as_ref())
        .collect();
    let waits = |version: &V| !serving.is_empty() && !serving.contains(version);
    backends
        .iter()
        .map(|(version, _)| version.as_ref().is_some_and(waits))
        .collect()
}

/// `objective = { error_rate, p99 }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Objective {
    /// Highest share of failed requests that is still fine. Default 1 %.
    pub error_rate: Ratio,
    /// Response time that 99 % of requests must keep. Default 1 s.
    pub p99: Duration,
}

/// Who is a user.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Session {
    /// The value of this cookie.
    Cookie(String),
    /// The client's address.
    ClientAddress,
}

/// `[pool.NAME.backend.NAME]`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Backend {
    /// Its name: its identity across address changes.
    pub name: Name,
    /// Where it is reached.
    pub address: Address,
    /// Relative weight, 0 to 65,535.
    pub weight: u32,
    /// Whether `weight` stands in the file; else it is derived from capacity, or 1.
    pub weight_declared: bool,
    /// What it can carry, requests per second.
    pub capacity_rps: Option<f64>,
    /// Level of fail-over: 0 takes traffic first, the next joins when too little of it is healthy. Default 0.
    pub priority: u32,
    /// Where it stands.
    pub zone: Option<Name>,
    /// What runs on it.
    pub version: Option<Name>,
    /// The name that its certificate is for. Default: that of its pool.
    pub tls_name: Option<String>,
    /// Found at run time by the pool's [`Members`]: no part of what was declared, of its text or of its hash.
    pub discovered: bool,
}

impl Backend {
    /// The last level of fail-over.
    pub const PRIORITY_MAX: u32 = 15;
}

/// `[notify.NAME]`: a signed webhook.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Receiver {
    /// Its name.
    pub name: Name,
    /// Where notices are posted.
    pub url: String,
    /// File with the secret `whsec_...` that signs them.
    pub secret_file: PathBuf,
}

/// `[webhook.NAME]`: somebody who tells of deployments by signed messages.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Webhook {
    /// The author in the journal.
    pub name: Name,
    /// File with the secret `whsec_...` that signs the messages.
    pub secret_file: PathBuf,
}

/// One entry of `[[escalation]]`: paged in file order until somebody acknowledges.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EscalationLevel {
    /// What the level is called, such as `on-call`.
    pub name: Name,
    /// The receivers that are paged.
    pub notify: Vec<Name>,
    /// The next level is paged when nobody acknowledged by then. Default 5 min.
    pub ack_within: Duration,
}

impl Config {
    /// The pool called `name`.
    pub fn pool(&self, name: &str) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.name == *name)
    }

    /// Puts the members that were found for `pool` in the place of those that it had. A pool without
    /// [`Pool::members`], and one that does not exist, stays as it is.
    pub fn set_members(&mut self, pool: &str, found: &[Backend]) {
        let pool = self.pools.iter_mut().find(|p| p.name == *pool);
        if let Some(pool) = pool.filter(|p| p.members.is_some()) {
            pool.backends.retain(|backend| !backend.discovered);
            pool.backends.extend(found.iter().cloned());
            crate::parse::derive_weights(pool.intent, &mut pool.backends);
        }
    }

    /// Takes the members that `from` has found for its pools over into the same pools here.
    pub fn take_members(&mut self, from: &Self) {
        for pool in from.pools.iter().filter(|p| p.members.is_some()) {
            let found: Vec<Backend> = pool.discovered().cloned().collect();
            if !found.is_empty() {
                self.set_members(pool.name.as_str(), &found);
            }
        }
    }

    /// The listener called `name`.
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.listeners
            .iter()
            .find(|listener| listener.name == *name)
    }

    /// Version of each backend of each pool, for the comparison by version.
    pub fn versions(&self) -> BTreeMap<(Name, Name), Name> {
        let mut versions = BTreeMap::new();
        for pool in &self.pools {
            for backend in &pool.backends {
                if let Some(version) = &backend.version {
                    versions.insert((pool.name.clone(), backend.name.clone()), version.clone());
                }
            }
        }
        versions
    }
}

impl Pool {
    /// What a pool uses when it names no algorithm.
    pub const ALGORITHM_DEFAULT: Algorithm = Algorithm::RoundRobin;
    /// The `false_alarm_every` of a pool that names none: ten years.
    pub const FALSE_ALARM_EVERY_DEFAULT: Duration = Duration::from_secs(315_000_000);

    /// The `overprovisioning` of a pool that names none.
    pub const OVERPROVISIONING_DEFAULT: f64 = 1.4;
    /// An idle connection to a backend older than this is closed. Below the 60 s and more that servers commonly use, so
    /// that it is usually this side that closes and no request meets a closed connection.
    pub const KEEP_IDLE: Duration = Duration::from_secs(30);

    /// Backends that passive ejection may have out at once: a third of the pool, at least one, and never so many that
    /// fewer than `min_healthy` are left.
    pub fn ejections_max(&self) -> usize {
        let count = self.backends.len();
        let room = count.saturating_sub(self.min_healthy.max(1) as usize);
        (count / 3).max(1).min(room)
    }

    /// Most requests that one backend may ever hold at once, declared or found out; `None`: no limit.
    pub const fn most_in_flight(&self) -> Option<u32> {
        match (self.max_in_flight, self.adaptive) {
            (None, Some(bounds)) => Some(bounds.max),
            (declared, _) => declared,
        }
    }

    /// The backend called `name` and its index in file order.
    pub fn backend(&self, name: &str) -> Option<(usize, &Backend)> {
        self.backends
            .iter()
            .enumerate()
            .find(|(_, backend)| backend.name == *name)
    }

    /// The backends that were found at run time, in order.
    pub fn discovered(&self) -> impl Iterator<Item = &Backend> {
        self.backends.iter().filter(|backend| backend.discovered)
    }

    /// The intended share of each backend, in file order, when `eligible` of them can take traffic.
    /// A backend that is not eligible, or whose version waits for its deployment, has share 0 and the others share by
    /// intent. All zero when none is.
    pub fn intended_shares(&self, eligible: impl Fn(usize) -> bool) -> Vec<f64> {
        let versions = self.backends.iter().map(|b| (b.version.as_ref(), b.weight));
        let waits = versions_that_wait(versions);
        let facts = self.backends.iter().map(|b| (b.capacity_rps, b.weight));
        self.intent
            .shares(facts, |i| eligible(i) && waits.get(i) != Some(&true))
    }
}
