//! What a balancer is set up to do, whichever balancer it is: the form that forecast and audit read.
//!
//! A [`crate::config::Config`] is Evenkeel's own and always valid. A `Setup` is wider and may be unsound: a timeout may
//! be missing, a pool may hold backups only, a hash may be HAProxy's. Evenkeel's configuration converts into it
//! ([`Setup::of`]) and the readers of other balancers' files build it, so that one set of rules and one forecast
//! serve all. Values are effective, defaults of that balancer filled in; whether a value stands in the file is a
//! question to [`crate::finding::Origin::declares`] with the `path` that each part carries.
//!
//! Limits: it holds what decides routing, spread, load and failure, and nothing else of a file.

use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Wall;
use crate::config::{
    Algorithm, Answer, Edits, Expectation, Intent, Matcher, NPlusOne, Objective, Place,
    versions_that_wait,
};
use crate::policy::{Policy, Waiver};

mod blank;
mod of_config;

/// One balancer as it is set up.
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    /// Whose it is.
    pub balancer: Balancer,
    /// Threads or processes that each keep cursors and counts of their own; `None`: one per core, or not stated.
    pub workers: Option<u32>,
    /// Most client connections at once over the whole process; `None`: no limit stated.
    pub connections_max: Option<u64>,
    /// Open files that the process asks for; `None`: not stated.
    pub files_max: Option<u64>,
    /// Where changes can be made over the network; Evenkeel's admin address.
    pub admin: Option<SocketAddr>,
    /// Listeners in file order.
    pub listeners: Vec<Listener>,
    /// Routes in the order in which they are tried, listener by listener.
    pub routes: Vec<Route>,
    /// Pools in file order: `[pool]`, `backend` and `listen` of HAProxy, `upstream`, `cluster`.
    pub pools: Vec<Pool>,
    /// Requests whose way is known, in file order; none in files of other balancers.
    pub expectations: Vec<Expectation>,
    /// Findings that are accepted for a while.
    pub waivers: Vec<Waiver>,
    /// What was read and not understood. Never empty without a reason: a reader lists all that it passes over.
    pub gaps: Vec<Gap>,
}

/// Whose configuration it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Balancer {
    /// evenkeel.toml.
    Evenkeel,
    /// haproxy.cfg.
    Haproxy,
    /// nginx.conf.
    Nginx,
    /// An Envoy bootstrap.
    Envoy,
}

impl Balancer {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Evenkeel => "evenkeel",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
        }
    }

    /// The name that people write.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Evenkeel => "Evenkeel",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Envoy => "Envoy",
        }
    }
}

/// A part of a file that was not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Path of it, placed by the origin.
    pub path: String,
    /// What stands there, in short: the directive with its first words.
    pub what: String,
    /// What the forecast may get wrong because of it.
    pub touches: Touches,
}

/// What a gap may bend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touches {
    /// Which requests reach which pool; the split inside a pool holds.
    Routing,
    /// The spread within the pool with this name.
    Pool(String),
    /// Limits, timeouts or checks, and with them how it fails; the shares of a sound day hold.
    Resilience,
}

/// How long something may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// At most this long.
    For(Duration),
    /// Without an end.
    Endless,
}

impl Wait {
    /// The duration; `None`: without an end.
    pub const fn duration(self) -> Option<Duration> {
        match self {
            Self::For(duration) => Some(duration),
            Self::Endless => None,
        }
    }
}

/// A place where clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name, unique among the listeners.
    pub name: String,
    /// Configuration path, such as `listener.web`.
    pub path: String,
    /// As written, without resolving names.
    pub address: String,
    /// Whether single requests are seen (HTTP), or connections only (TCP).
    pub is_http: bool,
    /// Whether it terminates TLS.
    pub is_tls: bool,
    /// A whole request head, from its first byte.
    pub head_timeout: Wait,
    /// No progress of the client for this long.
    pub client_timeout: Wait,
    /// A kept-alive connection without a request.
    pub idle_timeout: Wait,
    /// Most client connections at once on it; `None`: no limit stated.
    pub connections_max: Option<u64>,
    /// What is known of the files that it speaks TLS with, its own certificates first.
    pub certificates: Vec<Certificate>,
}

/// A file of certificates of a listener or of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// As the configuration names it.
    pub file: String,
    /// Configuration path of what names it.
    pub path: String,
    /// It vouches for others, and is shown to nobody.
    pub is_authority: bool,
    /// Its DNS names, exact or `*.example.com`; `None`: it was not looked at.
    pub names: Option<Vec<String>>,
    /// The first moment at which it is no longer valid; `None`: it was not looked at.
    pub not_after: Option<Wall>,
}

/// Which requests go where.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Configuration path.
    pub path: String,
    /// Its listener.
    pub listener: String,
    /// Host, lower case, exact or `*.example.com`; `None`: every host.
    pub host: Option<String>,
    /// Path prefix; `None`: every path.
    pub path_prefix: Option<String>,
    /// Whether the prefix is compared by whole segments (`/cart` is not `/cartoon`).
    pub whole_segments: bool,
    /// A further condition as written, not evaluated here; a route that has one is taken to match sometimes.
    pub condition: Option<String>,
    /// Evenkeel's own: the path and the condition in a form that can be evaluated.
    pub matcher: Option<Matcher>,
    /// Evenkeel's own: the answer that the balancer gives in place of a pool.
    pub answer: Option<Answer>,
    /// Evenkeel's own: what is changed in heads on the way.
    pub edits: Edits,
    /// Pools by name with their parts (above 0): parts of their sum, or of 1 where the sum is less. The rest to 1 is
    /// answered without a pool, as all of it is where this is empty. [`Route::parts`] gives them as parts of 1.
    pub targets: Vec<(String, f64)>,
}

/// A group of backends that share requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Its name, unique among the pools.
    pub name: String,
    /// Configuration path, such as `pool.shop` or `backend.app`.
    pub path: String,
    /// Whether requests (HTTP) or connections (TCP) are spread.
    pub is_http: bool,
    /// How a backend is chosen.
    pub selection: Selection,
    /// The selection as written, where what is in effect is another one; with the reason.
    pub fallback: Option<Fallback>,
    /// Who returns to the backend it had.
    pub sticky: Option<Sticky>,
    /// What happens when backends are missing.
    pub failover: Failover,
    /// How traffic should be spread.
    pub intent: Intent,
    /// What it must carry, requests per second.
    pub peak_rps: Option<f64>,
    /// No backend is planned above 1 - headroom of its capacity; 0..1.
    pub headroom: f64,
    /// Relative deviation from the intended share that is still fine.
    pub tolerance: f64,
    /// Fewest live backends that an action may leave; `None`: the balancer knows no such floor.
    pub min_healthy: Option<u32>,
    /// Severity of the loss of one backend or zone.
    pub n_plus_one: NPlusOne,
    /// A request beyond it is harmed. `None`: not declared, and the balancer knows no such thing.
    pub objective: Option<Objective>,
    /// Active check of its backends; `None`: none.
    pub health: Option<Health>,
    /// Taking out by what requests show (Envoy's outlier detection, `observe` of HAProxy); `None`: none.
    pub ejection: Option<Ejection>,
    /// Whether the load that backends report shapes their weights.
    pub follows_reports: bool,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Further tries.
    pub retry: Retry,
    /// Requests that may wait for a backend; `None`: no limit; 0: nobody waits.
    pub queue_max: Option<u64>,
    /// Limits over the whole pool.
    pub breakers: Breakers,
    /// Distinct keys that a hash or a binding sees in a minute; `None`: not known.
    pub keys: Option<u32>,
    /// Share (0..1) of the requests that the most frequent key has; `None`: not known.
    pub top_key: Option<f64>,
    /// Which backends this balancer prefers or keeps to, by where and which it is (Evenkeel only).
    pub place: Place,
    /// What its rules are set to.
    pub policy: Policy,
    /// What is known of the files that it speaks TLS to its backends with.
    pub certificates: Vec<Certificate>,
    /// Backends in file order.
    pub backends: Vec<Backend>,
}

/// A selection that the balancer silently replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// What is written.
    pub requested: String,
    /// Why another one is in effect.
    pub reason: String,
}

/// How a backend is chosen.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection {
    /// In turn or at random in proportion to weight.
    ByWeight,
    /// The least loaded.
    LeastLoaded(LeastLoaded),
    /// In turn in proportion to weight / (in flight + 1)^bias: Envoy's least request with unequal weights.
    WeightOverLoad {
        /// 1 in Envoy unless set; 0 ignores the load.
        bias: f64,
    },
    /// By how fast the backends answer and how much they hold, as this algorithm of Evenkeel does.
    BySpeed(Algorithm),
    /// By a hash of the request.
    Hash(Hash),
    /// The first in file order that has room: HAProxy's `first`.
    First,
    /// Something else; the shares are not known.
    Other(String),
}

/// Choosing by requests in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeastLoaded {
    /// Who is compared.
    pub among: Among,
    /// What is compared.
    pub cost: Cost,
    /// Who wins a tie. With nothing in flight everybody ties, so this decides the shares at low load.
    pub tie: Tie,
}

/// Who is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    /// Everybody.
    All,
    /// This many, drawn at random in proportion to weight, each at most once.
    DrawnByWeight(u32),
    /// This many, drawn at random with equal chance, possibly one twice.
    DrawnEqually(u32),
    /// This many random points of [`HashTable::HaproxyRing`], possibly one backend twice: HAProxy's `random`.
    DrawnFromRing(u32),
}

/// What the least loaded has least of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Requests in flight over weight.
    PerWeight,
    /// 0 with nothing in flight, else (requests in flight + 1) over weight: HAProxy's `leastconn`.
    PlusOnePerWeight,
    /// Requests in flight; weights are ignored.
    Plain,
}

/// Who wins among equals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// Each in turn, whatever its weight.
    InTurn,
    /// Each in turn in proportion to weight.
    ByWeight,
    /// Who was drawn first.
    FirstDrawn,
    /// Who was drawn last: nginx's `random two`, which at low load turns weights round (3 to 1 becomes 1 to 3).
    LastDrawn,
}

/// Choosing by a hash.
#[derive(Debug, Clone, PartialEq)]
pub struct Hash {
    /// What is hashed.
    pub key: HashKey,
    /// How a hash becomes a backend.
    pub table: HashTable,
    /// No backend takes more than this times the average in flight (above 1); `None`: no bound.
    pub balance_factor: Option<f64>,
}

/// What is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address, or a part of it.
    ClientAddress,
    /// The path, with or without the query.
    Uri,
    /// A header's value.
    Header(String),
    /// A cookie's value.
    Cookie(String),
    /// A query parameter.
    Query(String),
    /// The same value for every request, as the balancer hashes it: one backend gets them all.
    Constant(String),
    /// Anything else, as written.
    Other(String),
}

/// How a hash becomes a backend; named by balancer because the points differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashTable {
    /// HAProxy `hash-type map-based`: modulo the sum of weights.
    HaproxyMap,
    /// HAProxy `hash-type consistent`: 16 points per unit of weight.
    HaproxyRing,
    /// nginx `hash KEY` and `ip_hash`: modulo the sum of weights.
    NginxModulo,
    /// nginx `hash KEY consistent`: 160 ketama points per unit of weight.
    NginxRing,
    /// Envoy `RING_HASH`.
    EnvoyRing {
        /// Fewest points of the ring.
        min: u64,
        /// Most points of the ring.
        max: u64,
        /// Whether keys are hashed with murmur2 rather than xxHash.
        murmur: bool,
    },
    /// Envoy `MAGLEV`.
    EnvoyMaglev {
        /// Entries of the table, a prime.
        size: u64,
    },
    /// Evenkeel's `ring_hash`.
    EvenkeelRing,
    /// Evenkeel's `maglev`.
    EvenkeelMaglev,
    /// Evenkeel's `rendezvous`.
    EvenkeelRendezvous,
}

/// Who returns to the backend it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sticky {
    /// Configuration path.
    pub path: String,
    /// By what, as written: a cookie's name, a table's key.
    pub by: String,
    /// How long a client stays bound; [`Wait::Endless`]: as long as it shows its cookie.
    pub lasts: Wait,
    /// Whether every request shows the same key, so that all are bound to one backend (HAProxy's `stick on str(x)`).
    pub one_key: bool,
}

/// What happens when backends are missing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Failover {
    /// Which backups take over when no active backend is left.
    pub backups: Backups,
    /// What happens when nobody is healthy.
    pub nobody: Nobody,
    /// Below this part of healthy backends all of them are used (Envoy's panic threshold), 0..1; 0: never.
    pub panic_below: f64,
    /// A priority level passes load on when its healthy part times this is below 1: Envoy's 1.4.
    pub overprovisioning: f64,
    /// Whether a level's healthy part is counted by weight and exactly (Evenkeel), not by backends in whole percent
    /// (Envoy).
    pub by_weight: bool,
}

/// Which backups take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backups {
    /// The first that is up.
    First,
    /// All that are up, by weight.
    All,
}

/// What happens when nobody is healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nobody {
    /// Requests are refused.
    Refuse,
    /// Everybody is used as if healthy.
    UseAll,
}

/// An active check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Configuration path.
    pub path: String,
    /// What is done.
    pub kind: CheckKind,
    /// Between two checks of one backend.
    pub interval: Duration,
    /// A check without an answer by then failed.
    pub timeout: Duration,
    /// Good checks in a row before a backend takes traffic again.
    pub rise: u32,
    /// Failed checks in a row before a backend is taken out.
    pub fall: u32,
}

/// What a check does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckKind {
    /// A connection.
    Tcp,
    /// A request.
    Http {
        /// What is requested.
        path: String,
        /// First and last status that counts as good.
        expect: (u16, u16),
    },
    /// Another protocol, as written.
    Other(String),
}

/// Taking out by what requests show.
#[derive(Debug, Clone, PartialEq)]
pub struct Ejection {
    /// Configuration path.
    pub path: String,
    /// Failures in a row that take a backend out; `None`: not by this.
    pub consecutive: Option<u32>,
    /// How long for, the first time.
    pub lasts: Duration,
    /// Largest part of the pool that may be out by it, 0..1.
    pub part_max: f64,
    /// Standard deviations of success rate from the mean that take a backend out; `None`: not by this.
    pub deviations: Option<f64>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Establishing a connection to a backend.
    pub connect: Wait,
    /// One try, from sending the request to the first byte of the response (or without progress).
    pub response: Wait,
    /// No progress of a response.
    pub idle: Wait,
    /// The whole request, tries included.
    pub request: Wait,
    /// Waiting for a backend that has room.
    pub queue: Wait,
    /// A kept connection to a backend without a request; `None`: connections are not kept, or not stated.
    pub keep: Option<Wait>,
}

/// Further tries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// How many beyond the first; `None`: as many as there are backends.
    pub attempts: Option<u32>,
    /// Retries per request over time, 0..; `None`: no budget.
    pub budget: Option<f64>,
    /// Whether requests that are not safe to repeat (POST) are tried again after they were sent.
    pub unsafe_methods: bool,
    /// Whether a response or a timeout may lead to a retry, or only a failed connection.
    pub after_sent: bool,
}

/// Limits over a whole pool (Envoy's circuit breakers): what goes beyond one is refused. Default: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Breakers {
    /// Connections to all backends together; `None`: no limit.
    pub connections_max: Option<u64>,
    /// Requests in flight to all backends together; `None`: no limit.
    pub requests_max: Option<u64>,
    /// Retries in flight at once; `None`: no limit, or a budget takes its place.
    pub retries_max: Option<u64>,
}

/// One member of a pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// Its name, unique in the pool.
    pub name: String,
    /// Configuration path, such as `pool.shop.backend.web-1`.
    pub path: String,
    /// As written, without resolving names.
    pub address: String,
    /// What a hash table knows it by: HAProxy's numeric id, nginx's and Envoy's `host:port`.
    pub identity: String,
    /// Relative weight.
    pub weight: u32,
    /// Path of the value that decides its weight, where one stands in the file.
    pub weight_path: Option<String>,
    /// Whether it takes part.
    pub role: Role,
    /// Level of fail-over, 0 first: Envoy's priority.
    pub priority: u32,
    /// Whether it starts out as unhealthy and stays so unless a check says otherwise (Envoy's `health_status`): it takes
    /// no traffic, but counts among the unhealthy.
    pub marked_down: bool,
    /// Whether it is healthy and takes only what the healthy ones are too few for (Envoy's `DEGRADED`): its level
    /// counts it neither as healthy nor as unhealthy.
    pub is_degraded: bool,
    /// Pool and backend whose checks decide over it, so that both are out together (HAProxy's `track`).
    pub follows: Option<(String, String)>,
    /// What it can carry, requests per second.
    pub capacity_rps: Option<f64>,
    /// Where it stands.
    pub zone: Option<String>,
    /// What runs on it.
    pub version: Option<String>,
    /// Most requests at once; `None`: no limit.
    pub in_flight_max: Option<u64>,
    /// Whether that limit holds in each worker by itself (nginx without `zone`).
    pub limit_per_worker: bool,
    /// Its share grows over this time after it comes back; `None`: at once.
    pub slow_start: Option<Duration>,
    /// How it is checked.
    pub check: Check,
    /// Failures that take it out for a while (nginx `max_fails`, `fail_timeout`); `None`: none.
    pub passive: Option<Passive>,
    /// Whether its certificate is verified; `None`: no TLS to it.
    pub tls_verified: Option<bool>,
}

/// Whether a backend takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Yes.
    Active,
    /// Only when active ones are missing.
    Backup,
    /// No: `disabled`, `down`.
    Disabled,
}

/// How a backend is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// As its pool says.
    AsPool,
    /// Not at all.
    Never,
    /// In its own way.
    Own(Health),
}

/// Failures that take a backend out for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passive {
    /// So many within `window`; 0: never.
    pub failures: u32,
    /// Within this time, and out for as long.
    pub window: Duration,
}

impl Setup {
    /// The pool called `name`.
    pub fn pool(&self, name: &str) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.name == name)
    }

    /// The pool that the configuration path `path` lies in.
    pub fn pool_at(&self, path: &str) -> Option<&Pool> {
        self.pools.iter().find(|pool| {
            let rest = path.strip_prefix(pool.path.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }
}

impl Route {
    /// The pools with their parts of all requests on this route, each 0..1. Their sum is at most 1: what is left is
    /// answered without a pool.
    pub fn parts(&self) -> impl Iterator<Item = (&str, f64)> {
        let sum: f64 = self.targets.iter().map(|(_, part)| part).sum();
        let whole = sum.max(1.0);
        self.targets
            .iter()
            .map(move |(pool, part)| (pool.as_str(), part / whole))
    }

    /// The part of the requests on this route that is answered without a pool, 0..1.
    pub fn rest(&self) -> f64 {
        let rest = 1.0 - self.parts().map(|(_, part)| part).sum::<f64>();
        // Decimal percentages do not add up to 1 to the last bit.
        if rest < 1e-9 { 0.0 } else { rest }
    }
}

impl Pool {
    /// The check of `backend`; `None`: it is not checked.
    pub fn check_of<'a>(&'a self, backend: &'a Backend) -> Option<&'a Health> {
        match &backend.check {
            Check::AsPool => self.health.as_ref(),
            Check::Never => None,
            Check::Own(health) => Some(health),
        }
    }

    /// What is hashed, as written, where it is the same for every request and its value is not known: one backend gets
    /// everything, and which one cannot be said. A reader states it by one key ([`Pool::keys`]) of [`HashKey::Other`].
    pub fn one_unknown_key(&self) -> Option<&str> {
        match &self.selection {
            Selection::Hash(Hash {
                key: HashKey::Other(what),
                balance_factor: None,
                ..
            }) if self.keys == Some(1) => Some(what),
            _ => None,
        }
    }

    /// The intended share of each backend, in file order, when `eligible` of them take traffic: the others share by
    /// intent, those whose version waits for its deployment excepted. All zero when none does.
    pub fn intended_shares(&self, eligible: impl Fn(usize) -> bool) -> Vec<f64> {
        let waits = self.versions_that_wait();
        let facts = self.backends.iter().map(|b| (b.capacity_rps, b.weight));
        self.intent
            .shares(facts, |i| eligible(i) && waits.get(i) != Some(&true))
    }

    /// Which backends, in file order, wait for a deployment of their version: none of that version has a weight, and some
    /// of another has.
    pub fn versions_that_wait(&self) -> Vec<bool> {
        versions_that_wait(self.backends.iter().map(|b| (b.version.as_ref(), b.weight)))
    }

    /// The backend called `name` and its index in file order.
    pub fn backend(&self, name: &str) -> Option<(usize, &Backend)> {
        let mut backends = self.backends.iter().enumerate();
        backends.find(|(_, backend)| backend.name == name)
    }
}
