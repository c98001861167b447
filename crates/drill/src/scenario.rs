//! What a scenario says: the types of the format, from which its JSON Schema is made.
//!
//! One file runs on both stages, so nothing here knows of virtual time or of sockets. The doc comments of this
//! file are the reference of the format: they are what the schema shows. Keys hold their unit in the value, as in
//! the configuration. Limits: the bounds at the top of `check`.

mod check;
mod needs;
mod read;
mod step;
mod value;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use check::{BACKENDS_MAX, DURATION_MAX, RATE_MAX, STEPS_MAX, STREAMS_MAX};
pub use needs::{Feature, Stage};
pub use read::{Problem, parse};
pub use step::{
    Action, Apply, BackendFault, Certificate, Condition, Confirm, DependencyFault, Deploy,
    DeploySteps, Discovery, Drain, Edit, EditOutside, Flaps, HealthWord, JournalFault,
    NetworkFault, Operator, OperatorVerb, Restart, Rollback, StalePush, Step, TrafficStep, Undrain,
};
pub use value::{Percent, Span};

/// The only version of the format so far.
pub const SCHEMA: u32 = 1;

/// A drill: a world, what happens in it, and what must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Version of the format. Always 1.
    pub schema: u32,
    /// Name of the drill: letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// What happens, in one line, for people.
    pub title: String,
    /// Anything more a reader should know.
    #[serde(default)]
    pub description: Option<String>,
    /// Features that the drill needs. What its keys use is found by itself; name here what only its expectations
    /// need. A drill that needs something that is not built is refused.
    #[serde(default)]
    pub needs: Vec<Feature>,
    /// The configuration that runs at the start, as the verified revision r1.
    pub config: ConfigSource,
    /// How long the run goes on after the steady state was reached. Steps count from that moment.
    #[serde(default = "default_duration")]
    pub duration: Span,
    /// Steady state first: without it the run is void.
    #[serde(default)]
    pub steady: Steady,
    /// Share of the seeds that must pass. Default 0.8; 1.0 for a silent drill and for a single run.
    #[serde(default)]
    pub pass_share: Option<f64>,
    /// The users: the first stream of requests, called `users`.
    #[serde(default)]
    pub traffic: Traffic,
    /// Further streams by name, with the keys of `traffic`: `[stream.scraper]`.
    #[serde(default)]
    pub stream: BTreeMap<String, Traffic>,
    /// How backends behave, by `"*"` (all), `NAME` (in any pool) or `"POOL/NAME"`; the most exact entry wins as a
    /// whole. Without an entry a backend really carries the `capacity_rps` of the configuration (600 if none).
    #[serde(default)]
    pub backend: BTreeMap<String, Backend>,
    /// Members that discovery names, by `"POOL/NAME"`, for pools with `[pool.NAME.members]`. Where those tables look
    /// (file, DNS) does not matter: in a drill this is what they find. How they behave is said in `backend`.
    #[serde(default)]
    pub member: BTreeMap<String, Member>,
    /// What happens, in any order.
    #[serde(default)]
    pub step: Vec<Step>,
    /// What must hold at the end.
    #[serde(default)]
    pub expect: Expect,
}

const fn default_duration() -> Span {
    Span::secs(60)
}

/// Where the configuration comes from: exactly one of the two keys.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConfigSource {
    /// The configuration itself, in a multi-line string. Addresses of backends and listeners may be any
    /// placeholder: `--live` assigns free ports.
    pub text: Option<String>,
    /// A file, relative to the scenario.
    pub file: Option<String>,
}

/// When the world counts as steady: every verdict ok or explained and the objective met, without a break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Steady {
    /// For this long. Default 10 s.
    pub hold: Span,
    /// Reached within this time from the start, else the run is void. Default 60 s.
    pub within: Span,
}

impl Default for Steady {
    fn default() -> Self {
        Self {
            hold: Span::secs(10),
            within: Span::secs(60),
        }
    }
}

/// A stream of requests: an open Poisson process, which does not slow down when answers do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Traffic {
    /// New requests per second. Default 300.
    pub rate: f64,
    /// Where they come in; default the first listener of the configuration.
    pub listener: Option<String>,
    /// Distinct clients (sessions). Default 1000.
    pub clients: u32,
    /// Skew of the requests over the clients: Zipf exponent, 0 is none. Default 0.
    pub client_skew: f64,
    /// Requests on one connection before the client opens a new one; 1 is no keep-alive. Default 50.
    pub requests_per_connection: u32,
    /// Further attempts of a client after a 5xx or no answer. Default 0.
    pub retries: u8,
    /// Mean pause before a client's further attempt. Default 100 ms.
    pub retry_delay: Span,
    /// Factor on that pause per attempt. Default 1.
    pub retry_backoff: f64,
    /// A client leaves after this long without an answer. Default: it waits.
    pub patience: Option<Span>,
    /// Starts at this time (0 is the steady state); default: from the very beginning.
    pub start: Option<Span>,
    /// A header with a key per request, for hash balancing.
    pub key: Option<Key>,
    /// What is requested, by weight; default GET `/`.
    pub request: Vec<Request>,
    /// Changes of the rate.
    pub change: Vec<RateChange>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            rate: 300.0,
            listener: None,
            clients: 1_000,
            client_skew: 0.0,
            requests_per_connection: 50,
            retries: 0,
            retry_delay: Span::millis(100),
            retry_backoff: 1.0,
            patience: None,
            start: None,
            key: None,
            request: Vec::new(),
            change: Vec::new(),
        }
    }
}

/// Keys of requests for hash balancing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The header that carries the key.
    pub header: String,
    /// Distinct keys.
    pub keys: u32,
    /// Skew of the requests over the keys: Zipf exponent, 0 is none.
    #[serde(default)]
    pub skew: f64,
}

/// One kind of request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// Relative frequency. Default 1.
    pub weight: f64,
    /// Method: decides whether the balancer may retry it. Default GET.
    pub method: String,
    /// Path. Default `/`.
    pub path: String,
    /// Host header.
    pub host: Option<String>,
    /// Service time relative to the backend's. Default 1.
    pub cost: f64,
    /// The status with which every backend answers it: a poison request when it is 500. Default: 200, or what a
    /// fault says.
    pub answer: Option<u16>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            weight: 1.0,
            method: "GET".to_owned(),
            path: "/".to_owned(),
            host: None,
            cost: 1.0,
            answer: None,
        }
    }
}

/// A change of a stream's rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateChange {
    /// When it begins; 0 is the steady state.
    pub at: Span,
    /// New requests per second.
    pub rate: f64,
    /// How long the way there takes, in a straight line. Default: at once.
    #[serde(default)]
    pub over: Span,
}

/// How a backend really behaves, whatever its configuration declares: `workers` slots of `service_time` behind a
/// queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Backend {
    /// Requests worked on at once. Default: so many that the backend carries `capacity`.
    pub workers: Option<u32>,
    /// Mean time in a slot. Default 20 ms; adjusted so that `workers` of them carry `capacity` if both are given.
    pub service_time: Option<Span>,
    /// What it can really carry, requests per second. Default: `workers / service_time` if both are given, else the
    /// `capacity_rps` of the configuration, else 600.
    pub capacity: Option<f64>,
    /// How service times are spread around their mean. Default exponential.
    pub distribution: Distribution,
    /// 99th percentile of a lognormal service time. Default 3 x the mean.
    pub p99: Option<Span>,
    /// Requests that may wait for a slot. Default 100.
    pub queue: u32,
    /// What happens to one more. Default `reject`.
    pub overflow: Overflow,
    /// Connections accepted at once; beyond it refused. Default: no limit.
    pub connections_max: Option<u32>,
    /// How it answers health checks.
    pub health: Health,
    /// Slower at first, after a restart or as a new member. Default: warm at once.
    pub cold_start: Option<ColdStart>,
}

impl Default for Backend {
    fn default() -> Self {
        Self {
            workers: None,
            service_time: None,
            capacity: None,
            distribution: Distribution::Exponential,
            p99: None,
            queue: 100,
            overflow: Overflow::Reject,
            connections_max: None,
            health: Health::default(),
            cold_start: None,
        }
    }
}

/// A member as discovery describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Member {
    /// Whether discovery names it from the start; else it waits for `add` of a `discovery` step. Default true.
    pub listed: bool,
    /// Its weight. Default 1.
    pub weight: Option<u32>,
    /// Its capacity, requests per second; required under `intent = "capacity"`.
    pub capacity_rps: Option<f64>,
    /// Its level of priority. Default 0.
    pub priority: Option<u32>,
    /// Its zone.
    pub zone: Option<String>,
    /// Its version.
    pub version: Option<String>,
}

impl Default for Member {
    fn default() -> Self {
        Self {
            listed: true,
            weight: None,
            capacity_rps: None,
            priority: None,
            zone: None,
            version: None,
        }
    }
}

/// How service times are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Always the mean.
    Constant,
    /// Exponential.
    Exponential,
    /// Lognormal with `p99`. Simulation only; `--live` takes exponential instead and says so.
    Lognormal,
}

/// What a backend does with a request that finds its queue full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// Answers 503 at once.
    Reject,
    /// Takes it and never answers. `--live` cuts the connection instead and says so.
    Hang,
}

/// How a backend answers health checks while nothing is wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// The path that it answers with 200; any other path gets 404. Default: every path.
    pub path: Option<String>,
    /// Time to answer. Default 2 ms.
    pub latency: Span,
    /// Whether a check waits in line with the requests, so that an overloaded backend fails it. Default false.
    pub queued: bool,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            path: None,
            latency: Span::millis(2),
            queued: false,
        }
    }
}

/// Slower by `factor` at first, falling to 1 in a straight line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColdStart {
    /// Service time at first relative to later, 1 or more.
    pub factor: f64,
    /// Until it is warm.
    pub over: Span,
}

/// What must hold at the end. A key that is not there demands nothing, except that without `silent` the fault must
/// be detected as soon as any of `detect_within`, `cause`, `mechanism`, `subject` is there, and that false alarms
/// always fail the run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// A control: no incident at all, and no action. Default false.
    pub silent: bool,
    /// Rules (`TRF-02`) with which the guard must refuse the first `apply` step that says no `refused_by` of its
    /// own and is not forced.
    pub refused_by: Vec<String>,
    /// An incident is detected within this time from the injected fault.
    pub detect_within: Option<Span>,
    /// The cause that the diagnosis names.
    pub cause: Option<CauseWord>,
    /// How it broke things.
    pub mechanism: Option<MechanismWord>,
    /// Whom it concerns: `revision` (the one that the injected step applied) or `kind:name` in full, such as
    /// `backend:shop/web-1`.
    pub subject: Option<String>,
    /// Causes that the diagnosis must never name, at any moment of the run.
    pub not_blamed: Vec<CauseWord>,
    /// Actions that must have been done: `rollback`, `page`, `suggest`.
    pub actions: Vec<String>,
    /// Actions that must not have been done.
    pub no_actions: Vec<String>,
    /// Restored within this time from the injected fault: every verdict ok or explained and the objective met for
    /// 5 s, counted from the start of these 5 s.
    pub restored_within: Option<Span>,
    /// The revision of the injected step (or of the last `apply` step) is verified within this time from that step.
    pub verified_within: Option<Span>,
    /// The revision that runs at the end, such as `r1`.
    pub running: Option<String>,
    /// Most requests that may be harmed (failed, or slower than the objective) from the injected fault on.
    pub harmed_at_most: Option<u64>,
    /// The same as a share of the requests of that time.
    pub harmed_share_at_most: Option<Percent>,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident of $model:ident { $($(#[$vdoc:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        #[expect(missing_docs, reason = "the variants are the words of the public JSON")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl From<$name> for evenkeel_model::blame::$model {
            fn from(word: $name) -> Self {
                match word { $($name::$variant => Self::$variant),+ }
            }
        }
    };
}

words!(
    /// What is to be undone.
    CauseWord of Cause {
        ConfigRevision, ConfigDrift, Deployment, BackendFault, CapacityShortfall, HealthCheck, Membership, Drain,
        Limit, RetryStorm, HotKey, Network, Dependency, Certificate, Unknown,
    }
);

words!(
    /// How the cause broke what it broke.
    MechanismWord of Mechanism {
        Weight, Algorithm, HealthCheck, Limit, Timeout, Retry, Route, Tls, Membership, Version, Latency, Errors, Key,
        Zone, None,
    }
);

impl Scenario {
    /// Every stream by name, `users` first.
    pub fn streams(&self) -> impl Iterator<Item = (&str, &Traffic)> {
        let more = self
            .stream
            .iter()
            .map(|(name, stream)| (name.as_str(), stream));
        std::iter::once((USERS, &self.traffic)).chain(more)
    }

    /// The entry of `backend` that counts for a backend of a pool.
    pub fn behaviour(&self, pool: &str, backend: &str) -> Option<&Backend> {
        let exact = format!("{pool}/{backend}");
        [exact.as_str(), backend, "*"]
            .into_iter()
            .find_map(|key| self.backend.get(key))
    }

    /// Index of the step that injects the fault: the one marked `injects = true`, else the first that does harm by
    /// its nature, else the first `apply` that is to be let in. None in a silent drill without a mark.
    pub fn injected(&self) -> Option<usize> {
        let marked = self.step.iter().position(|step| step.injects == Some(true));
        if marked.is_some() || self.expect.silent {
            return marked;
        }
        let first = |suits: fn(&Step) -> bool| {
            self.step
                .iter()
                .position(|step| step.injects.is_none() && suits(step))
        };
        first(Step::harms).or_else(|| first(Step::may_harm))
    }

    /// Share of seeds that must pass when `runs` are made.
    pub fn share_needed(&self, runs: usize) -> f64 {
        let default = if self.expect.silent || runs <= 1 {
            1.0
        } else {
            0.8
        };
        self.pass_share.unwrap_or(default)
    }
}

/// Name of the stream of `[traffic]`.
pub const USERS: &str = "users";
