//! What the control loop is told: everything that it knows comes in through [`Event`].
//!
//! Events are plain data without handles, so that the shell can record them and replay them. Work that needs a
//! parser, an audit or a forecast is done off the loop by whoever sends the event; the guard only decides.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::roster::{Change, Lineup, What};
use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::config::{Backend, Config, Pool};
use evenkeel_model::finding::Finding;
use evenkeel_model::ids::{Epoch, IncidentId, Name, RevisionId};
use evenkeel_model::record::{
    ContentHash, DeploymentRecord, DrainRecord, IncidentKind, IncidentRecord, LastAudit,
    RevisionRecord, RolloutRecord, Strategy, Told,
};
use evenkeel_model::tally::{Tally, Vitals};

/// Names a request that wants an answer. Given by whoever asks; the guard only echoes it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct RequestId(pub u64);

/// Names work that the guard handed out. Given by the guard, ascending, never reused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Token(pub u64);

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Event {
    /// The process is up and serves traffic; the first event, once. Before it every command is refused.
    Booted(Box<Boot>),
    /// A second has passed. Sent after the tallies of that second.
    Tick,
    /// What one worker counted.
    Tally(Tally),
    /// In-flight, CPU and memory of the backends of some pools, sampled with the tallies.
    Vitals(Vec<PoolVitals>),
    /// A pool has a new epoch. Sent before any worker can count in it.
    EpochStarted(EpochFact),
    /// A health check (or passive ejection) changed its mind about a backend.
    Health(HealthFact),
    /// The members that were found for a pool changed: runtime state, no revision. The epoch that it begins follows
    /// before anything else is told of the pool.
    Members(MembersFact),
    /// The wall clock was stepped by this many milliseconds. Sent for steps of more than a second.
    ClockStep {
        /// New minus expected time.
        by_ms: i64,
    },
    /// The number of data-plane workers that must report.
    WorkersChanged {
        /// Workers.
        workers: u16,
    },
    /// `apply`: a new configuration, already parsed and judged.
    Propose(Box<Proposal>),
    /// `rollback`: by a person.
    Rollback(Box<RollbackCommand>),
    /// `confirm`: by a person.
    Confirm {
        /// Who wants an answer.
        request: RequestId,
        /// What is confirmed; `None`: what runs.
        revision: Option<RevisionId>,
        /// By whom.
        author: String,
    },
    /// `drain`: by a person, already judged.
    Drain(Box<DrainCommand>),
    /// `undrain`: by a person.
    Undrain(UndrainCommand),
    /// Whether the file CONFIG (or what the data plane runs) differs from the running revision.
    Drift(Option<DriftFact>),
    /// `deploy start`, `promote`, `abort`: by a person.
    Deploy(Box<DeployCommand>),
    /// A deployment was recorded; the guard gives it its number.
    DeploymentSeen(Box<DeploymentReport>),
    /// A person did something about an incident.
    Incident(IncidentCommand),
    /// Answer to `Action::Commit`.
    Committed {
        /// Of which commit.
        token: Token,
        /// `Err`: nothing was written, and why.
        result: Result<(), String>,
    },
    /// Answer to `Action::Swap`: every worker got the snapshot. `epochs` are the epochs that it started.
    Swapped {
        /// Which revision.
        revision: RevisionId,
        /// One per pool of the configuration.
        epochs: Vec<EpochFact>,
    },
    /// Answer to `Action::Swap`: nothing was changed, and why (a listener that cannot be bound).
    SwapFailed {
        /// Which revision.
        revision: RevisionId,
        /// Why.
        why: String,
    },
    /// Answer to `Action::RequestForecast`.
    ForecastReady {
        /// Of which request.
        token: Token,
        /// What the configuration implies at the rates of the request.
        pools: Vec<PoolLoad>,
    },
    /// Answer to `Action::RequestAudit`.
    Audited {
        /// Of which request.
        token: Token,
        /// What the rules found.
        findings: Vec<Finding>,
    },
    /// What became of a notice at one receiver.
    NoticeSent {
        /// About which incident.
        incident: Option<IncidentId>,
        /// `Notice::level` of the notice: the level that was paged, 1 for the first.
        level: Option<usize>,
        /// To whom.
        receiver: Name,
        /// Whether it arrived.
        ok: bool,
        /// `200`, `connection refused`, ...
        detail: String,
    },
    /// The journal stopped or resumed taking entries. The first `ok` after a failure makes the guard hand over what waited.
    Journal {
        /// Whether it takes entries.
        ok: bool,
        /// Why not.
        detail: String,
    },
    /// A live drill begins (incidents opened from now on are marked) or ends.
    Drill {
        /// Whether one runs.
        running: bool,
    },
}

/// What the guard starts from: read from the journal by the shell, with the configurations parsed.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Boot {
    /// Data-plane workers.
    pub workers: u16,
    /// What the data plane runs now: what [`crate::boot::select`] chose, or the baseline r1 of an empty journal
    /// (record already journalled, state verified).
    pub running: Restorable,
    /// What to fall back to: older revisions with evidence, newest last, at most [`crate::TARGETS_MAX`] are kept.
    pub targets: Vec<Restorable>,
    /// Recent revisions with their state, oldest first; at most [`crate::REVISIONS_KEPT`] are kept.
    pub revisions: Vec<RevisionRecord>,
    /// Number of the next revision.
    pub next_revision: u64,
    /// Number of the next incident.
    pub next_incident: u64,
    /// Number of the next deployment.
    pub next_deployment: u64,
    /// Incidents that are not closed.
    pub incidents: Vec<IncidentRecord>,
    /// Content that is refused, and because of which incident.
    pub quarantine: Vec<(ContentHash, Option<IncidentId>)>,
    /// Recent deployments, oldest first.
    pub deployments: Vec<DeploymentRecord>,
    /// The newest deployment of each pool that was carried out.
    pub rollouts: Vec<RolloutRecord>,
    /// Drains that nobody ended, in no order; those whose time is over as well.
    pub drains: Vec<DrainRecord>,
    /// Automatic rollbacks of the last day, pool and time, oldest first (from the incidents' actions).
    pub rollbacks: Vec<(Name, Wall)>,
    /// The epochs that the data plane started with, one per pool.
    pub epochs: Vec<EpochFact>,
    /// Whether the journal takes entries.
    pub journal_ok: bool,
    /// The last audit.
    pub last_audit: Option<LastAudit>,
}

/// A revision that can be put in place at once: its record and its parsed configuration.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Restorable {
    /// The record, text included.
    pub record: RevisionRecord,
    /// The configuration of that text.
    pub config: Arc<Config>,
}

/// The last audit in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AuditFact {
    /// When.
    pub at: Wall,
    /// Error findings.
    pub errors: u32,
    /// Warnings.
    pub warnings: u32,
}

/// A new epoch of a pool.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EpochFact {
    /// The pool.
    pub pool: Name,
    /// The epoch.
    pub epoch: Epoch,
    /// Of which revision.
    pub revision: RevisionId,
    /// One per backend of the configuration, in file order.
    pub members: Vec<MemberFact>,
    /// Whether it cannot stay so: a slow start is under way, or the pool fails open. Nothing is verified meanwhile.
    pub is_passing: bool,
}

impl EpochFact {
    /// The epoch of `pool` in which this lineup takes traffic.
    pub fn of(pool: &Pool, epoch: Epoch, revision: RevisionId, lineup: &Lineup) -> Self {
        let said = lineup.whys.iter().zip(&lineup.drained);
        let members = lineup.members.iter().zip(said);
        let members = members.map(|(member, (why, drained))| MemberFact {
            name: member.name.clone(),
            weight: member.weight,
            eligible: member.eligible,
            drained: *drained,
            why: why.clone(),
        });
        Self {
            pool: pool.name.clone(),
            epoch,
            revision,
            members: members.collect(),
            is_passing: lineup.is_passing,
        }
    }
}

/// A backend in an epoch.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MemberFact {
    /// Its name.
    pub name: Name,
    /// Effective weight: 0 takes no free pick.
    pub weight: u32,
    /// Whether it can take traffic; a drained one may, of clients that are bound to it.
    pub eligible: bool,
    /// Whether a person drained it.
    pub drained: bool,
    /// Why not, or what else shapes its share (`health: 3 failed checks`, `drained until 14:00`, `slow start`).
    /// Non-empty and still eligible: its share is explained, not judged.
    pub why: String,
}

impl MemberFact {
    /// Whether it takes traffic of its own right, not only of clients that are bound to it.
    pub const fn is_in(&self) -> bool {
        self.eligible && !self.drained
    }
}

/// A flip of a backend's health.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HealthFact {
    /// The pool.
    pub pool: Name,
    /// The backend.
    pub backend: Name,
    /// Whether it is up now.
    pub up: bool,
    /// Whether its check says so, not what it answered.
    pub by_check: bool,
    /// What the check said.
    pub detail: String,
}

impl HealthFact {
    /// What a change of the roster says of a backend's health; `None`: nothing.
    pub fn of(change: &Change) -> Option<Self> {
        let turn = &change.turn;
        let up = match turn.what {
            What::Up => true,
            What::Down | What::Ejected => false,
            // Its check may have found it down meanwhile.
            What::Returned if turn.moves_traffic => true,
            What::Returned
            | What::Waits
            | What::Drained
            | What::Undrained
            | What::Warmer
            | What::Weighed => return None,
        };
        Some(Self {
            pool: change.pool.clone(),
            backend: turn.backend.clone(),
            up,
            by_check: matches!(turn.what, What::Up | What::Down),
            detail: turn.detail.clone(),
        })
    }
}

/// The members that a pool has found.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct MembersFact {
    /// The pool.
    pub pool: Name,
    /// Every member that is in the pool now besides its declared backends, in order.
    pub found: Vec<Backend>,
    /// Members that stay although they are no longer named.
    pub held: Vec<Name>,
    /// When the next of them may leave; `None`: the pool needs those that stay.
    pub next: Option<Mono>,
    /// Why the last look gave no answer, or what is wrong with it.
    pub error: Option<String>,
    /// Whether the last look gave no list that can be used, so that the members before it stay.
    pub failed: bool,
    /// What changed and why, in words; empty: nothing that the journal should keep.
    pub text: String,
}

/// Vitals of a pool.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PoolVitals {
    /// The pool.
    pub pool: Name,
    /// One per backend of the configuration, in file order.
    pub backends: Vec<Vitals>,
}

/// A configuration that somebody wants to run.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Proposal {
    /// Who wants an answer.
    pub request: RequestId,
    /// The configuration.
    pub config: Arc<Config>,
    /// The text that it was parsed from.
    pub text: Arc<str>,
    /// Hash of its content.
    pub hash: ContentHash,
    /// What the parser and the audit found.
    pub findings: Vec<Finding>,
    /// Those of `findings` (indices) that refuse the change unless it is forced.
    pub blocking: Vec<usize>,
    /// The running revision that it was judged against. If another one runs by now, the answer is `CHG-01`:
    /// judge again and propose again.
    pub judged_against: RevisionId,
    /// `--base`: refuse with `CHG-01` when another revision runs.
    pub base: Option<RevisionId>,
    /// By whom.
    pub author: String,
    /// Why.
    pub reason: String,
    /// Override error findings and quarantine. Needs a reason. Never set by SIGHUP, watch or automation.
    pub force: bool,
    /// Roll back unless confirmed within.
    pub confirm_within: Option<Duration>,
    /// Suspend automatic rollback of this revision for so long, at most [`crate::KEEP_MAX`].
    pub keep: Option<Duration>,
}

/// A person wants an earlier revision back.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RollbackCommand {
    /// Who wants an answer.
    pub request: RequestId,
    /// To which revision; `None`: the last verified one before what runs.
    pub to: Option<Restorable>,
    /// By whom.
    pub author: String,
    /// Why.
    pub reason: String,
    /// Do it even if it overloads a backend that is not overloaded now.
    pub force: bool,
}

/// A person wants a backend out of traffic for a while.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct DrainCommand {
    /// Who wants an answer.
    pub request: RequestId,
    /// The pool.
    pub pool: Name,
    /// The backend.
    pub backend: Name,
    /// How long, at most [`crate::DRAIN_MAX`].
    pub lasts: Duration,
    /// By whom.
    pub author: String,
    /// Why; may be empty unless forced.
    pub reason: String,
    /// Override [`Self::blocking`]. Needs a reason.
    pub force: bool,
    /// What the forecast says against it.
    pub blocking: Vec<Finding>,
    /// The revision that it was judged against. If another one runs by now, the answer is `CHG-01`.
    pub judged_against: RevisionId,
    /// [`crate::GuardView::drain_changes`] when it was judged. If it grew since, the answer is `CHG-01`.
    pub judged_drains: u64,
}

/// A person ends a drain.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UndrainCommand {
    /// Who wants an answer.
    pub request: RequestId,
    /// The pool.
    pub pool: Name,
    /// The backend.
    pub backend: Name,
    /// By whom.
    pub author: String,
    /// Why; may be empty.
    pub reason: String,
}

/// CONFIG and the running revision are not the same.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DriftFact {
    /// What differs or what is wrong with the file, in words.
    pub detail: String,
    /// Error findings if the file is invalid.
    pub errors: u32,
    /// Not the file but what the data plane runs differs from the journalled revision: an edit that bypassed
    /// the guard, or a stale push.
    pub running: bool,
}

/// A person's word on the deployment of a pool.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeployCommand {
    /// Who wants an answer.
    pub request: RequestId,
    /// The pool.
    pub pool: Name,
    /// By whom.
    pub author: String,
    /// Why; may be empty unless forced.
    pub reason: String,
    /// What is asked for.
    pub verb: DeployVerb,
}

/// What is asked of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum DeployVerb {
    /// Begin.
    Start(StartDeployment),
    /// Take the next step now.
    Promote {
        /// The last one.
        all: bool,
        /// Although the backends cannot carry it.
        force: bool,
    },
    /// Go back.
    Abort,
}

/// How a deployment is to go.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StartDeployment {
    /// To which version.
    pub version: Name,
    /// In which way.
    pub strategy: Strategy,
    /// Shares, parts per million; empty: those of the strategy.
    pub steps: Vec<u32>,
    /// Shortest step, at most [`crate::rollout::STEP_MIN_MAX`].
    pub step_min: Duration,
    /// Although the backends of some step cannot carry the peak.
    pub force: bool,
}

/// A deployment as it was reported.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeploymentReport {
    /// Who wants an answer.
    pub request: RequestId,
    /// Its pool.
    pub pool: Name,
    /// Its version.
    pub version: Name,
    /// The backends it reached; empty: every one of the pool.
    pub backends: Vec<Name>,
    /// When it happened; `None`: now.
    pub at: Option<Wall>,
    /// What is said of it.
    pub told: Told,
    /// Who told.
    pub author: String,
    /// In words.
    pub note: String,
    /// The name of the message, unique for the author: what it tells is recorded once.
    pub message: Option<String>,
}

/// What a person does about an incident.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct IncidentCommand {
    /// Who wants an answer.
    pub request: RequestId,
    /// Which incident; for [`IncidentVerb::Open`] it is ignored.
    pub incident: IncidentId,
    /// By whom.
    pub author: String,
    /// What.
    pub verb: IncidentVerb,
}

/// What is done about an incident.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum IncidentVerb {
    /// Open one by hand (`test` for a test of the paging).
    Open {
        /// Real or test.
        kind: IncidentKind,
        /// In one line.
        title: String,
    },
    /// I have it.
    Ack,
    /// Put a line on the timeline.
    Note(String),
    /// Page the next level now.
    Escalate,
    /// It is over.
    Resolve(String),
    /// Nothing was wrong.
    FalseAlarm(String),
    /// Post-mortem done.
    Close,
}

/// Forecast load of a pool.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PoolLoad {
    /// The pool.
    pub pool: Name,
    /// Expected rate over capacity of each backend in file order; `None`: not known.
    pub utilisation: Vec<Option<f64>>,
}
