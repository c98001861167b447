//! What a diagnosis is made from: facts about one pool since well before the onset.
//!
//! The caller fills it from tallies, the journal and its own state; nothing here is judged yet. Moments are
//! [`Mono`] of this process; a change made before the process started has its moment clamped to 0 by the
//! caller. Lists of backends are in the file order of [`Evidence::pool`]; a backend that the running
//! configuration no longer has is left out.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_balance::Member;
use evenkeel_model::blame::Mechanism;
use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Algorithm, Config, Pool};
use evenkeel_model::ids::{Epoch, Name, RevisionId};
use evenkeel_model::record::DeploymentRecord;
use evenkeel_model::sketch::ClientSketch;
use evenkeel_model::tally::{Latency, Outcomes};

/// Facts about one pool around the onset of a fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// The pool as it is configured now.
    pub pool: Pool,
    /// The running revision.
    pub revision: RevisionId,
    /// When the diagnosis is made.
    pub now: Mono,
    /// When it began.
    pub onset: Onset,
    /// A quiet stretch that ends before `onset.lo`: 10 s to 5 min, `None` when there is none (just booted).
    pub before: Option<Window>,
    /// From about `onset.best` to now.
    pub after: Window,
    /// The epochs that overlap `after` (those the workers still count), oldest first, with free picks.
    pub epochs: Vec<EpochFact>,
    /// Revisions swapped in during the last 30 min or so, oldest first, whatever they touch.
    pub changes: Vec<ChangeFact>,
    /// Recorded deployments of this pool during the last hours, in any order.
    pub deployments: Vec<DeploymentFact>,
    /// Backends that take no traffic now (or did not for a while since the onset), and why.
    pub out: Vec<OutFact>,
    /// Clients of the `after` window.
    pub clients: ClientSketch,
    /// The key that brings most of the requests of a pool with keys since the onset, if one brings far more than its part.
    pub hot: Option<HotKey>,
    /// What runs differs from the journal: an edit outside it, or an old revision that was pushed.
    pub drift: Option<Drift>,
    /// The list of the pool's members is not renewed.
    pub unlisted: Option<Unlisted>,
    /// Members that discovery took away lately.
    pub left: Vec<LeftFact>,
}

/// A member that discovery no longer names and that is no longer there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftFact {
    /// As it was.
    pub member: Member,
    /// Since when.
    pub since: Mono,
}

/// What came of the last tries at a backend before its check took it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastTries {
    /// Most were fine, or there were hardly any.
    Well,
    /// Connections were refused.
    Refused,
    /// Half or more failed.
    Failed,
    /// Half or more were slow, or never came back.
    Slow,
}

/// A list of members that is not renewed for so long is a fault by itself: members come and go more often.
pub const UNLISTED_LONG: Duration = Duration::from_mins(5);

/// Looks for members that give no list that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlisted {
    /// Since when.
    pub since: Mono,
    /// What the last look said.
    pub why: String,
}

/// A key that brings more than its part.
#[derive(Debug, Clone, PartialEq)]
pub struct HotKey {
    /// Its hash.
    pub hash: u64,
    /// Part (0..1) of the requests of the pool that carry it, at least.
    pub part: f64,
    /// The backend that it belongs to.
    pub backend: Name,
}

/// How what runs differs from what the journal says that runs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Drift {
    /// In words.
    pub what: String,
    /// What differs, as far as it was told; [`Mechanism::None`]: not known.
    pub mechanism: Mechanism,
    /// The revision that runs instead of the journalled one, where there is one.
    pub pushed: Option<RevisionId>,
}

/// When a fault began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Onset {
    /// Earliest plausible moment.
    pub lo: Mono,
    /// Likeliest moment.
    pub best: Mono,
    /// Latest plausible moment.
    pub hi: Mono,
}

/// Counts over a stretch of time, summed over workers and epochs.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Window {
    /// Its start.
    pub from: Mono,
    /// Its end.
    pub to: Mono,
    /// One entry per backend of the running configuration, in file order; zeros for one that was not there.
    pub backends: Vec<BackendWindow>,
    /// Requests that no backend could be picked for.
    pub unpicked: u64,
    /// Requests that went to backends which the running configuration no longer has.
    pub elsewhere: u64,
}

/// What one backend did in a [`Window`]. Counts, not rates.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct BackendWindow {
    /// Picks by the algorithm alone.
    pub picks_free: u64,
    /// Picks forced by a cookie or a key.
    pub picks_forced: u64,
    /// Picks for a further try.
    pub picks_retry: u64,
    /// What became of them.
    pub outcomes: Outcomes,
    /// Requests harmed.
    pub harmed: u64,
    /// Response times.
    pub latency: Latency,
    /// Requests in flight, mean over the window.
    pub in_flight: f64,
}

/// What one epoch (constant revision, eligible set and weights) counted.
#[derive(Debug, Clone, PartialEq)]
pub struct EpochFact {
    /// Which.
    pub epoch: Epoch,
    /// The revision it ran.
    pub revision: RevisionId,
    /// The algorithm it ran.
    pub algorithm: Algorithm,
    /// When it began.
    pub from: Mono,
    /// Who was there, with weights and eligibility, in the file order of its revision.
    pub members: Vec<Member>,
    /// The weights that its revision declares, like `members`. Where those are others (reported load, slow start), they are
    /// the declared ones times what each backend has of its own, in whatever unit.
    pub declared: Vec<u32>,
    /// Its revision comes in by parts: the weights lie between those before it and its own.
    pub comes_in: bool,
    /// Free picks since `from` or since `after.from`, whichever is later; like `members`.
    pub picks_free: Vec<u64>,
}

impl EpochFact {
    /// What each member has of its declared weight, in a unit of their own; `None`: all have all of it.
    pub(crate) fn shape(&self) -> Option<Vec<f64>> {
        let pairs = || self.members.iter().zip(&self.declared);
        let is_plain =
            pairs().all(|(member, declared)| !member.eligible || member.weight == *declared);
        let part = |(member, declared): (&Member, &u32)| {
            f64::from(member.weight) / f64::from((*declared).max(1))
        };
        (!is_plain).then(|| pairs().map(part).collect())
    }
}

/// A revision that was swapped in.
#[derive(Debug, Clone, PartialEq)]
pub struct ChangeFact {
    /// Its number.
    pub id: RevisionId,
    /// When it was swapped in.
    pub at: Mono,
    /// What ran before.
    pub before: Arc<Config>,
    /// What it put there.
    pub after: Arc<Config>,
    /// Paths that differ (`model::diff`), such as `pool.shop.backend.web-1.weight`, with before and after in
    /// words: `pool.shop.backend.web-1.weight: 1 -> 10`.
    pub paths: Vec<ChangedPath>,
    /// Whether it is a rollback that Evenkeel made.
    pub automatic_rollback: bool,
}

/// One key that a revision changed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ChangedPath {
    /// Its path.
    pub path: String,
    /// The value before; `None`: it was not there.
    pub before: Option<String>,
    /// The value after; `None`: it is gone.
    pub after: Option<String>,
}

/// A deployment, and when it happened on this process's clock.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentFact {
    /// As it was recorded.
    pub record: DeploymentRecord,
    /// When it happened, or began.
    pub at: Mono,
    /// The last moment at which a backend may have got it; `at` when it happened at once.
    pub until: Mono,
    /// What the pool did between [`TOLD_EARLY`] after it and the onset; `None`: no second of that is known.
    pub quiet: Option<Window>,
}

/// A deployment may be told so long before it takes effect.
pub const TOLD_EARLY: Duration = Duration::from_secs(2);

/// A backend that takes no traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutFact {
    /// Which.
    pub backend: Name,
    /// Why.
    pub reason: OutReason,
    /// Since when.
    pub since: Mono,
    /// How often its check took it out in the last 5 min, this time included.
    pub flips: u32,
    /// What came of its last tries, if its check took it out.
    pub last: LastTries,
    /// In words: `/healthz answered 404`.
    pub detail: String,
}

/// Why a backend takes no traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OutReason {
    /// Its health check fails, or it was ejected for its failures.
    Health,
    /// A person drained it.
    Drain,
    /// Discovery no longer lists it.
    Membership,
    /// Discovery lists it, and it was never found up.
    NeverIn,
}

impl Window {
    /// Its length, at least one second so that rates stay sane.
    pub fn length(&self) -> Duration {
        self.to.since(self.from).max(Duration::from_secs(1))
    }

    /// All picks per second, retries included.
    pub fn picks_per_second(&self) -> f64 {
        let picks: u64 = self.backends.iter().map(BackendWindow::picks).sum();
        (picks + self.elsewhere) as f64 / self.length().as_secs_f64()
    }

    /// Requests offered per second: first picks and those that found no backend.
    pub fn offered_per_second(&self) -> f64 {
        let first: u64 = self.backends.iter().map(BackendWindow::first_picks).sum();
        (first + self.unpicked + self.elsewhere) as f64 / self.length().as_secs_f64()
    }
}

impl BackendWindow {
    /// All picks: first tries and retries.
    pub const fn picks(&self) -> u64 {
        self.first_picks() + self.picks_retry
    }

    /// Picks of first tries.
    pub const fn first_picks(&self) -> u64 {
        self.picks_free + self.picks_forced
    }

    /// Tries that ended and were not aborted by the client.
    pub const fn finished(&self) -> u64 {
        self.outcomes.total() - self.outcomes.unknown()
    }
}
