//! The control loop, sans-io: [`Guard::step`] takes one event and the time and returns the actions.
//!
//! Why sans-io: production, `plan`, simulation and replay run the very same code; a seed or a recording
//! reproduces every decision. The guard has no clock, no thread and no file. It decides, the shell does:
//! nothing changes the running configuration but an [`Action::Swap`] of this room, and every change is
//! journalled first ([`Action::Commit`], and only on its success the swap). The one exception is written in
//! the rules of change: a rollback to the verified revision in memory runs without a disk.
//!
//! Limits: one change in flight; every list has a named bound below; a step costs at most O(backends of one
//! pool) for a tally or health event and O(all backends) for a tick.

pub mod action;
mod alarm;
mod audits;
mod blind;
pub mod boot;
mod change;
mod clients;
mod counts;
mod deployed;
mod desk;
mod drain;
mod drift;
pub mod epoch;
mod event;
mod evidence;
mod flaps;
mod hold;
mod hot;
mod ledger;
mod members;
mod opinion;
mod people;
mod ramp;
pub mod recording;
mod refuse;
mod remedy;
mod report;
pub mod rollout;
mod spread;
mod state;
mod treat;
mod verify;
pub mod view;
mod watch;

use std::time::Duration;

pub use action::{Action, Outcome, PoolRate, Refusal};
pub use event::{
    AuditFact, Boot, DeployCommand, DeployVerb, DeploymentReport, DrainCommand, DriftFact,
    EpochFact, Event, HealthFact, IncidentCommand, IncidentVerb, MemberFact, MembersFact, PoolLoad,
    PoolVitals, Proposal, RequestId, Restorable, RollbackCommand, StartDeployment, Token,
    UndrainCommand,
};
pub use ramp::Ramp;
pub use state::Guard;
pub use verify::{HELD_AFTER, VERIFY_AFTER};
pub use view::{
    BackendView, DrainView, GuardView, HealthView, HotKeyView, MembersView, PoolView, RolloutView,
    Status, Verdict, VerifyingView, VersionView,
};

/// Longest `--keep`.
pub const KEEP_MAX: Duration = Duration::from_hours(4);
/// Rollback targets kept in memory.
pub const TARGETS_MAX: usize = 8;
/// Recent revisions kept in memory.
pub const REVISIONS_KEPT: usize = 64;
/// Incidents kept in memory, open ones included.
pub const INCIDENTS_KEPT: usize = 64;
/// Recent deployments kept in memory.
pub const DEPLOYMENTS_KEPT: usize = 64;

/// How long a drain lasts unless it is said.
pub const DRAIN_DEFAULT: Duration = Duration::from_hours(1);
/// Longest drain: a backend that is out for longer belongs out of the configuration.
pub const DRAIN_MAX: Duration = Duration::from_hours(24);
/// Drains at once.
pub const DRAINS_MAX: usize = 1_024;

/// What the guard is told once, at its start.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    /// Whether incidents of this instance are marked as a drill (an isolated drill instance).
    pub drill: bool,
}
