//! What the journal keeps: revisions, deployments, incidents, timeline. Plain data without a wire form;
//! the journal, the API and the notifications each own how they write it.

use std::fmt;
use std::sync::Arc;

use crate::blame::{Cause, Mechanism, Subject};
use crate::clock::Wall;
use crate::ids::{IncidentId, Name, RevisionId};

/// SHA-256 of the canonical form of a configuration: comments, order of keys and spelled-out defaults do not matter.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct ContentHash(pub [u8; 32]);

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every word.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it stands in JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The variant of a word.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|v| v.as_str() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

mod deployment;
mod rollout;

pub use deployment::{DeploymentRecord, Told};
pub use rollout::{ALL_PPM, RolloutRecord, RolloutState, Strategy};

words!(
    /// Where a revision stands.
    RevisionState {
        /// Not let in by the guard; never ran.
        Refused = "refused",
        /// Journalled, not yet swapped in.
        Applying = "applying",
        /// Running, evidence is being gathered.
        Verifying = "verifying",
        /// Running, ten minutes were not enough evidence.
        Held = "held",
        /// Running or once run, with evidence that it does what it should.
        Verified = "verified",
        /// A person confirmed it.
        Confirmed = "confirmed",
        /// Being undone.
        RollingBack = "rolling_back",
        /// Undone.
        RolledBack = "rolled_back",
        /// A newer revision took its place.
        Superseded = "superseded",
    }
);

words!(
    /// Whether an incident is real.
    IncidentKind {
        /// Real.
        Real = "real",
        /// Part of a drill.
        Drill = "drill",
        /// A test of the paging.
        Test = "test",
    }
);

words!(
    /// How bad an incident is.
    IncidentSeverity {
        /// Critical.
        Sev1 = "sev1",
        /// Error.
        Sev2 = "sev2",
        /// Warning.
        Sev3 = "sev3",
        /// Information.
        Sev4 = "sev4",
    }
);

words!(
    /// Where an incident stands.
    IncidentStatus {
        /// Found by a test.
        Detected = "detected",
        /// A person has it.
        Acknowledged = "acknowledged",
        /// The cause is known.
        Identified = "identified",
        /// Harm stopped.
        Mitigated = "mitigated",
        /// Recovery verified, cause removed.
        Resolved = "resolved",
        /// Done with, post-mortem included.
        Closed = "closed",
        /// Nothing was wrong.
        FalseAlarm = "false_alarm",
    }
);

/// A revision of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RevisionRecord {
    /// Its number.
    pub id: RevisionId,
    /// What it was applied on.
    pub parent: Option<RevisionId>,
    /// Hash of its content.
    pub hash: ContentHash,
    /// The text as it was handed in.
    pub text: Arc<str>,
    /// Whose token applied it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// Where it stands.
    pub state: RevisionState,
    /// When it was made.
    pub at: Wall,
    /// Whether error findings were overridden.
    pub forced: bool,
    /// Unconfirmed at this moment it is rolled back.
    pub confirm_by: Option<Wall>,
    /// Automatic rollback is suspended until then.
    pub keep_until: Option<Wall>,
    /// The incident it led to or that made it.
    pub incident: Option<IncidentId>,
}

/// A backend that a person took out of traffic for a while.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DrainRecord {
    /// Its pool.
    pub pool: Name,
    /// The backend.
    pub backend: Name,
    /// Since when.
    pub at: Wall,
    /// It ends by itself then.
    pub until: Wall,
    /// By whom.
    pub author: String,
    /// Why; may be empty.
    pub reason: String,
}

/// One candidate of a diagnosis.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct CandidateRecord {
    /// What would have to be undone.
    pub cause: Cause,
    /// How it would have broken things.
    pub mechanism: Mechanism,
    /// Whom it concerns.
    pub subject: Subject,
    /// Log-likelihood in nats above the explanation "nothing changed"; minus infinity when vetoed.
    pub score: f64,
    /// Evidence for it, in plain words and numbers.
    pub evidence_for: Vec<String>,
    /// Evidence against it.
    pub evidence_against: Vec<String>,
}

/// The outcome of a diagnosis.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct DiagnosisRecord {
    /// What is to be undone.
    pub cause: Cause,
    /// How it broke things.
    pub mechanism: Mechanism,
    /// Whom it concerns; `None` for an unknown cause.
    pub subject: Option<Subject>,
    /// Evidence in plain words and numbers.
    pub evidence: Vec<String>,
    /// Every candidate, best first.
    pub candidates: Vec<CandidateRecord>,
}

/// Something Evenkeel did about an incident.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ActionRecord {
    /// When.
    pub at: Wall,
    /// `rollback`, `page`, `suggest`, ...
    pub kind: String,
    /// In words, with revision, before and after.
    pub detail: String,
    /// `done`, `failed: ...`, `suggested`.
    pub outcome: String,
}

/// Where the paging of an incident stands; times are wall clock so that they survive a restart.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct EscalationState {
    /// Level names and their `ack_within` in milliseconds, as they were when the incident opened.
    pub levels: Vec<EscalationStep>,
    /// Levels paged so far.
    pub paged: usize,
    /// When the next level is paged; `None`: acknowledged, over, or no level left.
    pub next_at: Option<Wall>,
}

/// A level of [`EscalationState`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EscalationStep {
    /// Its name.
    pub name: Name,
    /// The receivers.
    pub notify: Vec<Name>,
    /// How long it has to acknowledge, in milliseconds.
    pub ack_within_ms: u64,
}

/// One incident.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct IncidentRecord {
    /// Its number.
    pub id: IncidentId,
    /// Real, drill or test.
    pub kind: IncidentKind,
    /// How bad.
    pub severity: IncidentSeverity,
    /// Where it stands.
    pub status: IncidentStatus,
    /// In one line.
    pub title: String,
    /// The pool it is about.
    pub pool: Option<Name>,
    /// Estimated onset of the fault.
    pub fault_at: Option<Wall>,
    /// Earliest and latest plausible onset.
    pub fault_between: Option<(Wall, Wall)>,
    /// When a test crossed its threshold.
    pub detected_at: Wall,
    /// When a person took it.
    pub acknowledged_at: Option<Wall>,
    /// Who took it.
    pub acknowledged_by: Option<String>,
    /// When the cause was known.
    pub identified_at: Option<Wall>,
    /// When harm stopped.
    pub mitigated_at: Option<Wall>,
    /// When recovery was verified and the cause removed.
    pub resolved_at: Option<Wall>,
    /// When it was closed.
    pub closed_at: Option<Wall>,
    /// Requests harmed.
    pub impact_requests: u64,
    /// Share of the users seen in the incident that were harmed, 0..1.
    pub impact_users_share: Option<f64>,
    /// What explains it.
    pub diagnosis: Option<DiagnosisRecord>,
    /// What was done.
    pub actions: Vec<ActionRecord>,
    /// Running revision when it opened, and after the last action.
    pub revision_before: Option<RevisionId>,
    /// Running revision after the last action.
    pub revision_after: Option<RevisionId>,
    /// Paging.
    pub escalation: EscalationState,
}

words!(
    /// Who put an event on the timeline.
    EventSource {
        /// A statistical test.
        Detector = "detector",
        /// The data plane.
        Proxy = "proxy",
        /// The guard.
        Controller = "controller",
        /// A person.
        Human = "human",
        /// A system outside.
        Webhook = "webhook",
        /// The sender of notices.
        Notifier = "notifier",
    }
);

/// One line of the timeline. Append-only; people add notes, never edits.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TimelineEvent {
    /// The incident it belongs to, if any.
    pub incident: Option<IncidentId>,
    /// When it happened.
    pub at: Wall,
    /// Who says so.
    pub source: EventSource,
    /// What: `alert.fired`, `page.sent`, `config.rolled_back`, `deploy.seen`, `health.flipped`, `note`, ...
    pub kind: String,
    /// Person or part.
    pub actor: String,
    /// Whom it concerns, as `kind:name`; may be empty.
    pub subject: String,
    /// In words, with numbers.
    pub text: String,
}

/// One thing to append. Entries handed over together are appended together or not at all.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Entry {
    /// A new revision.
    Revision(RevisionRecord),
    /// A revision moved on.
    RevisionState {
        /// Which.
        id: RevisionId,
        /// Where to.
        state: RevisionState,
        /// When.
        at: Wall,
        /// Why.
        why: String,
        /// Because of this incident.
        incident: Option<IncidentId>,
    },
    /// The confirm deadline of a revision was set or lifted.
    ConfirmBy {
        /// Which.
        id: RevisionId,
        /// Deadline, `None`: lifted.
        confirm_by: Option<Wall>,
    },
    /// A deployment.
    Deployment(DeploymentRecord),
    /// A deployment that is carried out, as it now stands (new or changed).
    Rollout(Box<RolloutRecord>),
    /// An incident as it now stands (new or changed).
    Incident(Box<IncidentRecord>),
    /// A line of the timeline.
    Event(TimelineEvent),
    /// This content is refused until a person forces it.
    Quarantine {
        /// The content.
        hash: ContentHash,
        /// Why.
        incident: Option<IncidentId>,
        /// Since when.
        at: Wall,
    },
    /// A person forced the content out of quarantine.
    Release {
        /// The content.
        hash: ContentHash,
        /// When.
        at: Wall,
    },
    /// A drain began, or its end moved.
    Drain(DrainRecord),
    /// A drain is over.
    DrainEnd {
        /// The pool.
        pool: Name,
        /// The backend.
        backend: Name,
        /// When.
        at: Wall,
    },
    /// An audit was made.
    Audit {
        /// When.
        at: Wall,
        /// Of which revision.
        revision: RevisionId,
        /// Error findings.
        errors: u32,
        /// Warnings.
        warnings: u32,
        /// Ids of the findings, `TRF-01 pool.shop...`, those of the errors first.
        findings: Vec<String>,
    },
}

/// The newest audit, as [`Entry::Audit`] tells of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LastAudit {
    /// When.
    pub at: Wall,
    /// Error findings.
    pub errors: u32,
    /// Warnings.
    pub warnings: u32,
    /// Ids of the findings, those of the errors first; may end before the last.
    pub findings: Vec<String>,
}
