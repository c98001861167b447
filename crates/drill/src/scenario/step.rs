//! What can happen in a scenario: one step does one thing.

use std::collections::BTreeMap;

use evenkeel_guard::{DeployVerb, StartDeployment};
use evenkeel_model::ids::Name;
use evenkeel_model::record::{ALL_PPM, Strategy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{Percent, Span};

/// One thing that happens, at a time or on a condition. Exactly one of the action keys (`apply` and those after it).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// When, counted from the steady state. Either this or `after`.
    pub at: Option<Span>,
    /// On the first moment at which this is true. Either this or `at`.
    pub after: Option<Condition>,
    /// That much later than `after`. Default 0.
    pub delay: Option<Span>,
    /// Whether this step is the injected fault, from which detection and restoration are timed. Default: the first
    /// step that does harm by its nature (a fault, a forced `apply`, a `deploy` with an effect, a `traffic` step and so
    /// on), else the first `apply` that is not to be refused. Say false to leave a step out of that search.
    pub injects: Option<bool>,
    /// A remark for the timeline.
    pub note: Option<String>,
    /// A change through the guard.
    pub apply: Option<Apply>,
    /// A person's `evenkeel rollback`.
    pub rollback: Option<Rollback>,
    /// A person's `evenkeel confirm`.
    pub confirm: Option<Confirm>,
    /// A deployment, recorded or not, with or without an effect.
    pub deploy: Option<Deploy>,
    /// A deployment that Evenkeel carries out in steps.
    pub deploy_steps: Option<DeploySteps>,
    /// Something is wrong with backends.
    pub backend_fault: Option<BackendFault>,
    /// A dependency that all backends of a pool share is slow or fails.
    pub dependency_fault: Option<DependencyFault>,
    /// The way between the balancer and some backends is bad.
    pub network_fault: Option<NetworkFault>,
    /// A stream of requests changes.
    pub traffic: Option<TrafficStep>,
    /// What the data plane runs is changed past the guard and the journal.
    pub edit_outside: Option<EditOutside>,
    /// A stale control plane pushes an old revision into the data plane.
    pub stale_push: Option<StalePush>,
    /// Backends are drained.
    pub drain: Option<Drain>,
    /// Drains end.
    pub undrain: Option<Undrain>,
    /// Members come or go in discovery.
    pub discovery: Option<Discovery>,
    /// A certificate is near its end or past it.
    pub certificate: Option<Certificate>,
    /// The journal cannot be written.
    pub journal_fault: Option<JournalFault>,
    /// The balancer is killed and started again.
    pub restart: Option<Restart>,
    /// A person's command on an incident.
    pub operator: Option<Operator>,
}

/// The action of a step, one of its keys.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(
    missing_docs,
    reason = "each variant is the key of the step that it is named for"
)]
pub enum Action<'s> {
    Apply(&'s Apply),
    Rollback(&'s Rollback),
    Confirm(&'s Confirm),
    Deploy(&'s Deploy),
    DeploySteps(&'s DeploySteps),
    BackendFault(&'s BackendFault),
    DependencyFault(&'s DependencyFault),
    NetworkFault(&'s NetworkFault),
    Traffic(&'s TrafficStep),
    EditOutside(&'s EditOutside),
    StalePush(&'s StalePush),
    Drain(&'s Drain),
    Undrain(&'s Undrain),
    Discovery(&'s Discovery),
    Certificate(&'s Certificate),
    JournalFault(&'s JournalFault),
    Restart(&'s Restart),
    Operator(&'s Operator),
}

impl Step {
    /// Every action key that is there; a checked scenario has exactly one.
    pub fn actions(&self) -> Vec<Action<'_>> {
        let Self {
            at: _,
            after: _,
            delay: _,
            injects: _,
            note: _,
            apply,
            rollback,
            confirm,
            deploy,
            deploy_steps,
            backend_fault,
            dependency_fault,
            network_fault,
            traffic,
            edit_outside,
            stale_push,
            drain,
            undrain,
            discovery,
            certificate,
            journal_fault,
            restart,
            operator,
        } = self;
        [
            apply.as_ref().map(Action::Apply),
            rollback.as_ref().map(Action::Rollback),
            confirm.as_ref().map(Action::Confirm),
            deploy.as_ref().map(Action::Deploy),
            deploy_steps.as_ref().map(Action::DeploySteps),
            backend_fault.as_ref().map(Action::BackendFault),
            dependency_fault.as_ref().map(Action::DependencyFault),
            network_fault.as_ref().map(Action::NetworkFault),
            traffic.as_ref().map(Action::Traffic),
            edit_outside.as_ref().map(Action::EditOutside),
            stale_push.as_ref().map(Action::StalePush),
            drain.as_ref().map(Action::Drain),
            undrain.as_ref().map(Action::Undrain),
            discovery.as_ref().map(Action::Discovery),
            certificate.as_ref().map(Action::Certificate),
            journal_fault.as_ref().map(Action::JournalFault),
            restart.as_ref().map(Action::Restart),
            operator.as_ref().map(Action::Operator),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The action.
    pub fn action(&self) -> Option<Action<'_>> {
        self.actions().into_iter().next()
    }

    /// Whether this step does harm by its nature.
    pub fn harms(&self) -> bool {
        match self.action() {
            Some(Action::Apply(apply)) => apply.force && apply.refused_by.is_empty(),
            Some(Action::Drain(drain)) => drain.refused_by.is_empty(),
            Some(Action::Deploy(deploy)) => deploy.has_effect(),
            Some(Action::Discovery(change)) => change.stale || !change.remove.is_empty(),
            Some(Action::DeploySteps(deploy)) => {
                deploy.has_effect() && deploy.refused_by.is_empty()
            }
            Some(
                Action::BackendFault(_)
                | Action::DependencyFault(_)
                | Action::NetworkFault(_)
                | Action::Traffic(_)
                | Action::EditOutside(_)
                | Action::StalePush(_)
                | Action::Certificate(_)
                | Action::JournalFault(_)
                | Action::Restart(_),
            ) => true,
            Some(
                Action::Rollback(_) | Action::Confirm(_) | Action::Undrain(_) | Action::Operator(_),
            )
            | None => false,
        }
    }
}

impl Step {
    /// Whether this step may do harm: a change that is to be let in.
    pub fn may_harm(&self) -> bool {
        self.apply
            .as_ref()
            .is_some_and(|apply| apply.refused_by.is_empty())
    }
}

impl Action<'_> {
    /// The key in the scenario.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Apply(_) => "apply",
            Self::Rollback(_) => "rollback",
            Self::Confirm(_) => "confirm",
            Self::Deploy(_) => "deploy",
            Self::DeploySteps(_) => "deploy_steps",
            Self::BackendFault(_) => "backend_fault",
            Self::DependencyFault(_) => "dependency_fault",
            Self::NetworkFault(_) => "network_fault",
            Self::Traffic(_) => "traffic",
            Self::EditOutside(_) => "edit_outside",
            Self::StalePush(_) => "stale_push",
            Self::Drain(_) => "drain",
            Self::Undrain(_) => "undrain",
            Self::Discovery(_) => "discovery",
            Self::Certificate(_) => "certificate",
            Self::JournalFault(_) => "journal_fault",
            Self::Restart(_) => "restart",
            Self::Operator(_) => "operator",
        }
    }
}

/// What a step can wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// The step before this one in the file was carried out.
    Previous,
    /// An incident is open.
    Detected,
    /// An incident has a diagnosis with a cause other than `unknown`.
    Diagnosed,
    /// Evenkeel rolled a revision back.
    RolledBack,
    /// Every verdict ok or explained and the objective met for 5 s, after the injected fault.
    Restored,
    /// The running revision, another one than at the start, is verified.
    Verified,
    /// The running revision is held for want of traffic.
    Held,
}

/// Values to set in the running configuration, by path.
pub type Edit = BTreeMap<String, toml::Value>;

/// A change through the guard: `evenkeel apply`. One of `set` (with `unset`), `text` and `file`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Apply {
    /// Values to set in what runs, by path: `{ "pool.shop.backend.web-1.weight" = 10 }`. A path may also be written
    /// as nested tables. Elements of lists are counted from 0: `route.0.pool`.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub set: Edit,
    /// Paths to remove from what runs; a default takes their place.
    pub unset: Vec<String>,
    /// A whole new configuration.
    pub text: Option<String>,
    /// A file with it, relative to the scenario.
    pub file: Option<String>,
    /// `--force`: error findings are overridden. Default false.
    pub force: bool,
    /// `--reason`. Default `drill`.
    pub reason: Option<String>,
    /// `--confirm-within`: rolled back unless confirmed by then.
    pub confirm_within: Option<Span>,
    /// `--keep`: no automatic rollback for that long.
    pub keep: Option<Span>,
    /// The guard must refuse it, and these rules must be among the reasons. Empty: it must be let in.
    pub refused_by: Vec<String>,
}

/// `evenkeel rollback`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rollback {
    /// To which revision (`r1`); default the last verified one before what runs.
    pub to: Option<String>,
    /// Even if it overloads a backend. Default false.
    pub force: bool,
    /// Why.
    pub reason: Option<String>,
}

/// `evenkeel confirm`. An empty table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Confirm {}

/// A deployment. Its effect lasts until the next deployment to the same backends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    /// The pool.
    pub pool: String,
    /// The version.
    pub version: String,
    /// The backends it reaches; default all of the pool.
    #[serde(default)]
    pub backends: Vec<String>,
    /// Whether Evenkeel is told (`evenkeel deploy record`). Default true.
    #[serde(default = "yes")]
    pub record: bool,
    /// Service time of the version relative to the one before; 1 is no effect. Default 1.
    #[serde(default = "one")]
    pub slow_factor: f64,
    /// Share of requests that the version answers with 500. Default 0%.
    #[serde(default)]
    pub error_rate: Percent,
    /// In words, for the journal.
    #[serde(default)]
    pub note: Option<String>,
}

const fn yes() -> bool {
    true
}

const fn one() -> f64 {
    1.0
}

impl Deploy {
    /// Whether the version behaves otherwise than the one before.
    pub fn has_effect(&self) -> bool {
        (self.slow_factor - 1.0).abs() > f64::EPSILON || self.error_rate.0 > 0.0
    }
}

/// A deployment that Evenkeel carries out: `evenkeel deploy start`. The backends of the version are those that have it in
/// the configuration; they behave so from now on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeploySteps {
    /// The pool.
    pub pool: String,
    /// The version of its backends that gets the traffic.
    pub version: String,
    /// `--strategy`. Default `canary`.
    #[serde(default)]
    pub strategy: StrategyWord,
    /// `--steps`: the shares of the version. Empty: those of the strategy.
    #[serde(default)]
    pub steps: Vec<Percent>,
    /// `--step-min`: the shortest step, at least 1s. Default 10s.
    #[serde(default = "ten_seconds")]
    pub step_min: Span,
    /// Service time of the version relative to the other one; 1 is no effect. Default 1.
    #[serde(default = "one")]
    pub slow_factor: f64,
    /// Share of requests that the version answers with 500. Default 0%.
    #[serde(default)]
    pub error_rate: Percent,
    /// `--force`: although some step is above the capacity. Default false.
    #[serde(default)]
    pub force: bool,
    /// `--reason`. Default `drill`.
    #[serde(default)]
    pub reason: Option<String>,
    /// The guard must refuse it, and these findings must be among the reasons. Empty: it must be let in.
    #[serde(default)]
    pub refused_by: Vec<String>,
}

const fn ten_seconds() -> Span {
    Span::secs(10)
}

impl DeploySteps {
    /// Whether the version behaves otherwise than the one before.
    pub fn has_effect(&self) -> bool {
        (self.slow_factor - 1.0).abs() > f64::EPSILON || self.error_rate.0 > 0.0
    }

    /// What is asked of the guard.
    pub(crate) fn verb(&self) -> Result<DeployVerb, String> {
        let ppm = |share: &Percent| (share.0 * f64::from(ALL_PPM)).round() as u32;
        Ok(DeployVerb::Start(StartDeployment {
            version: Name::new(&self.version).map_err(|e| e.to_string())?,
            strategy: match self.strategy {
                StrategyWord::Canary => Strategy::Canary,
                StrategyWord::Rolling => Strategy::Rolling,
                StrategyWord::BlueGreen => Strategy::BlueGreen,
            },
            steps: self.steps.iter().map(ppm).collect(),
            step_min: self.step_min.0,
            force: self.force,
        }))
    }
}

/// How traffic moves from one version to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StrategyWord {
    /// In the shares of `steps`.
    #[default]
    Canary,
    /// Backend after backend.
    Rolling,
    /// A look at a small share, then everything at once.
    BlueGreen,
}

/// Something is wrong with backends. Faults add up; each undoes itself after `for`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackendFault {
    /// The backends, as `POOL/NAME`.
    pub backends: Vec<String>,
    /// Service time relative to normal. Default 1.
    #[serde(default = "one")]
    pub slow_factor: f64,
    /// Added to each service time, while the slot is held. Default 0.
    #[serde(default)]
    pub extra_latency: Span,
    /// Share of requests answered with 500 after their normal service. Default 0%.
    #[serde(default)]
    pub error_rate: Percent,
    /// Answers every request with this status at once, without work: the sinkhole. `--live` knows 500 only.
    #[serde(default)]
    pub fails_fast: Option<u16>,
    /// Refuses connections. Default false.
    #[serde(default)]
    pub refuses: bool,
    /// Takes requests and never answers. Default false.
    #[serde(default)]
    pub hangs: bool,
    /// Refuses and works by turns. Simulation only.
    #[serde(default)]
    pub flaps: Option<Flaps>,
    /// Restarts: what it holds is lost, connections are refused for this long, then it starts cold.
    #[serde(default)]
    pub restarts: Option<Span>,
    /// What its health check says meanwhile. Default `as_is`.
    #[serde(default)]
    pub health: HealthWord,
    /// Its health check passes and fails by turns.
    #[serde(default)]
    pub health_flaps: Option<Flaps>,
    /// How long it lasts. Default: to the end of the run.
    #[serde(default, rename = "for")]
    pub lasts: Option<Span>,
}

/// Works for `up`, then not for `down`, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flaps {
    /// Time it works.
    pub up: Span,
    /// Time it does not.
    pub down: Span,
}

/// What a health check gets from a faulty backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthWord {
    /// What a client would see: refusing and hanging backends fail it, one with an error rate passes it.
    #[default]
    AsIs,
    /// 503 whatever the backend does.
    Fails,
    /// 200 while connections are accepted at all.
    Passes,
}

/// A dependency that all backends of a pool wait for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DependencyFault {
    /// The pool.
    pub pool: String,
    /// Service time of its backends relative to normal. Default 1.
    #[serde(default = "one")]
    pub slow_factor: f64,
    /// Added to each service time, while the slot is held. Default 0.
    #[serde(default)]
    pub extra_latency: Span,
    /// Share of requests answered with 500. Default 0%.
    #[serde(default)]
    pub error_rate: Percent,
    /// How long it lasts. Default: to the end of the run.
    #[serde(default, rename = "for")]
    pub lasts: Option<Span>,
}

/// The way between the balancer and some backends. Simulation only.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkFault {
    /// The backends, as `POOL/NAME`. Either this or `zone`.
    pub backends: Vec<String>,
    /// All backends of this zone.
    pub zone: Option<String>,
    /// Added to each response. Default 0.
    pub latency: Span,
    /// Share of tries that get no connection. Default 0%.
    pub loss: Percent,
    /// Connections are refused at once. Default false.
    pub refuses: bool,
    /// How long it lasts. Default: to the end of the run.
    #[serde(rename = "for")]
    pub lasts: Option<Span>,
}

/// A stream changes. Keys that are not there stay as they are.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrafficStep {
    /// Which stream. Default `users`.
    pub stream: Option<String>,
    /// New requests per second.
    pub rate: Option<f64>,
    /// The present rate times this. Either this or `rate`.
    pub factor: Option<f64>,
    /// How long the way to the new rate takes, in a straight line. Default: at once.
    pub over: Span,
    /// New skew over the clients (Zipf exponent).
    pub client_skew: Option<f64>,
    /// New number of client retries.
    pub retries: Option<u8>,
    /// New skew over the keys (Zipf exponent).
    pub key_skew: Option<f64>,
    /// After this long everything is as it was before the step. Default: it stays.
    #[serde(rename = "for")]
    pub lasts: Option<Span>,
}

/// What the data plane runs is changed past the guard and the journal. One of `set` (with `unset`) and `text`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EditOutside {
    /// As in `apply`.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub set: Edit,
    /// As in `apply`.
    pub unset: Vec<String>,
    /// As in `apply`.
    pub text: Option<String>,
}

/// An old revision pushed into the data plane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StalePush {
    /// Which, such as `r1`.
    pub revision: String,
}

/// `evenkeel drain` of each backend in turn. The first that is refused ends the step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// The backends, as `POOL/NAME`.
    pub backends: Vec<String>,
    /// How long, at most 24 h. Default 1 h.
    #[serde(default, rename = "for")]
    pub lasts: Option<Span>,
    /// `--force`: although what is left cannot carry the peak. Default false.
    #[serde(default)]
    pub force: bool,
    /// `--reason`. Default `drill`.
    #[serde(default)]
    pub reason: Option<String>,
    /// The guard must refuse one of them, and these rules must be among the reasons. Empty: all must be let in.
    #[serde(default)]
    pub refused_by: Vec<String>,
}

/// `evenkeel undrain` of each backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Undrain {
    /// The backends, as `POOL/NAME`.
    pub backends: Vec<String>,
    /// `--reason`. Default `drill`.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What discovery names changes, and what is true. Those that come join the pool, those that go leave it at its bounded
/// rate and serve until then; unless the answer is stale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Discovery {
    /// The pool.
    pub pool: String,
    /// Members that come: names of `member`, or new ones with its defaults.
    #[serde(default)]
    pub add: Vec<String>,
    /// Members that go.
    #[serde(default)]
    pub remove: Vec<String>,
    /// From now on the answer is not renewed: a name server that lost its zone, a list that cannot be read. The pool
    /// keeps the members of the last good one; those of `add` run and are never named, those of `remove` are
    /// gone and refuse connections. False, the default, ends that: everything is named as it is by then.
    #[serde(default)]
    pub stale: bool,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// `listener:web` or `backend:shop/web-1`.
    pub of: String,
    /// Time left; 0 is expired.
    pub expires_in: Span,
}

/// The journal cannot be written. Simulation only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JournalFault {
    /// How long it lasts. Default: to the end of the run.
    #[serde(rename = "for")]
    pub lasts: Option<Span>,
}

/// The balancer is killed and started again from its journal. Simulation only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Restart {
    /// Until it is back. Default 2 s.
    pub down_for: Option<Span>,
}

/// A person's command on the open incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// What.
    pub incident: OperatorVerb,
    /// The text of a note, or why it is resolved.
    #[serde(default)]
    pub text: Option<String>,
}

/// What a person does about an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperatorVerb {
    /// Takes it.
    Ack,
    /// Writes a line.
    Note,
    /// Pages the next level.
    Escalate,
    /// Says that it is over.
    Resolve,
    /// Says that nothing was wrong.
    FalseAlarm,
}
