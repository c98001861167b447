//! What the control loop wants done: everything that it does goes out through [`Action`].
//!
//! Actions of one step are carried out in order. An action that has an answer names it; the shell sends the
//! answer exactly once, in any later step.

use std::sync::Arc;

use evenkeel_incident::Notice;
use evenkeel_model::clock::Mono;
use evenkeel_model::config::Config;
use evenkeel_model::finding::Finding;
use evenkeel_model::ids::{DeploymentId, IncidentId, Name, RevisionId};
use evenkeel_model::record::{DrainRecord, Entry, IncidentStatus, RevisionState, RolloutRecord};

use crate::event::{RequestId, Token};
use crate::ramp::Ramp;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Action {
    /// Append the entries together or not at all, durably. Answer: `Event::Committed`. Commits keep their order.
    Commit {
        /// Names the answer.
        token: Token,
        /// What to append.
        entries: Vec<Entry>,
    },
    /// Make this the running configuration; runtime state (members, health, drains, cursors) is kept.
    /// Answer: `Event::Swapped` or `Event::SwapFailed`.
    Swap {
        /// The revision.
        revision: RevisionId,
        /// Its configuration.
        config: Arc<Config>,
        /// Its text.
        text: Arc<str>,
    },
    /// Send this backend no new clients until then, at every worker; whether it is there now or comes later. The epoch that
    /// it begins follows.
    Drain {
        /// The pool.
        pool: Name,
        /// The backend.
        backend: Name,
        /// When it ends by itself.
        until: Mono,
        /// In words.
        reason: String,
    },
    /// End a drain. The epoch that it begins follows.
    Undrain {
        /// The pool.
        pool: Name,
        /// The backend.
        backend: Name,
    },
    /// Let the weights of the pool follow its deployment (`rollout::overlay`). The epoch that it begins follows.
    Overlay {
        /// As it now stands.
        deployment: Box<RolloutRecord>,
    },
    /// Let the weights of this revision come in by parts (`rollout::overlay`), from its swap on; `None`: in full. The epochs
    /// that it begins follow.
    Ramp {
        /// As it now stands.
        ramp: Option<Box<Ramp>>,
    },
    /// Work out off the loop what a configuration implies. Answer: `Event::ForecastReady`; without one the closed form decides.
    RequestForecast {
        /// Names the answer.
        token: Token,
        /// The configuration.
        config: Arc<Config>,
        /// Present rate and eligible backends per pool.
        pools: Vec<PoolRate>,
    },
    /// Audit the running revision off the loop. Answer: `Event::Audited`.
    RequestAudit {
        /// Names the answer.
        token: Token,
        /// The revision.
        revision: RevisionId,
        /// Its configuration.
        config: Arc<Config>,
        /// Its text.
        text: Arc<str>,
    },
    /// Tell people. Each attempt is answered by `Event::NoticeSent`.
    Notify {
        /// To whom: names of `[notify.NAME]` of the running configuration.
        receivers: Vec<Name>,
        /// What they are told.
        notice: Box<Notice>,
    },
    /// Answer a request.
    Reply {
        /// Which.
        request: RequestId,
        /// What came of it.
        outcome: Box<Outcome>,
    },
}

/// Present load of a pool.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PoolRate {
    /// The pool.
    pub pool: Name,
    /// Requests per second; `None`: not known.
    pub rps: Option<f64>,
    /// Which backends (by name) can take traffic now.
    pub eligible: Vec<Name>,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Outcome {
    /// The revision runs; evidence is being gathered. Watch its state in `GuardView::revisions`.
    Applied {
        /// The new revision.
        revision: RevisionId,
        /// What ran before.
        parent: RevisionId,
        /// Its state now.
        state: RevisionState,
    },
    /// The content runs already; nothing was written.
    Unchanged {
        /// What runs.
        revision: RevisionId,
        /// Its state.
        state: RevisionState,
    },
    /// The guard did not let it in.
    Refused(Refusal),
    /// An earlier revision runs again.
    RolledBack {
        /// What runs now.
        revision: RevisionId,
        /// What was undone.
        undone: RevisionId,
        /// State of what runs now.
        state: RevisionState,
    },
    /// A person takes responsibility for the revision.
    Confirmed {
        /// Which.
        revision: RevisionId,
        /// Whether it was verified by evidence before.
        with_evidence: bool,
    },
    /// A backend is drained.
    Drained(Box<DrainRecord>),
    /// A backend is not drained.
    Undrained {
        /// The pool.
        pool: Name,
        /// The backend.
        backend: Name,
        /// Whether it was before.
        was_drained: bool,
    },
    /// A deployment is carried out, and stands so.
    Rollout(Box<RolloutRecord>),
    /// A deployment was recorded.
    Recorded {
        /// Its number.
        deployment: DeploymentId,
        /// The same message told of it before; nothing was written.
        repeated: bool,
    },
    /// An incident command was carried out.
    Incident {
        /// Which.
        incident: IncidentId,
        /// Where it stands now.
        status: IncidentStatus,
        /// Who acknowledged it first.
        taken_by: Option<String>,
    },
    /// The journal or the data plane failed; what ran before still runs.
    Failed {
        /// Why.
        why: String,
    },
}

/// Why the guard did not let a change in.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Refusal {
    /// The `CHG-..` finding that says why, then the blocking findings of the proposal.
    pub findings: Vec<Finding>,
    /// The incident that is named (quarantine).
    pub incident: Option<IncidentId>,
}
