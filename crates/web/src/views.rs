//! The public JSON: what `--json` prints and the API answers.
//!
//! Shares, rates of error and utilisation are fractions; times are RFC 3339 in UTC with milliseconds; ids are strings;
//! what is unknown is null, never 0 or absent. Lists are in file order.

mod carried;
mod drain;
mod forecast;
mod history;
mod incident;
mod outcome;
mod plan;
mod rollout;
mod status;

pub use carried::{CarriedView, LossView, RenamedView};
pub use drain::{DrainOutcomeView, DrainView};
pub use forecast::{BackendForecastView, CaseView, FailureView, ForecastView, PoolForecastView};
pub use history::{DeploymentView, RevisionView};
pub use incident::{ActionView, CandidateView, DiagnosisView, EventView, ImpactView, IncidentView};
pub use outcome::ChangeOutcomeView;
pub use plan::{
    Against, ChangeView, FindingView, GapView, PlanView, RouteView, TargetView, VerifyPoolView,
    VerifyView, WaivedView,
};
pub use rollout::{RolloutOutcomeView, RolloutView, VersionView};
pub use status::{
    AuditView, BackendView, CertificateView, HotKeyView, ListenerView, MembersView, PoolView,
    StatusView, WorkerBackendView, WorkerView,
};

use evenkeel_model::clock::Wall;

/// RFC 3339 in UTC with milliseconds.
pub fn time(at: Wall) -> String {
    evenkeel_incident::civil::rfc3339(at)
}

fn maybe_time(at: Option<Wall>) -> Option<String> {
    at.map(time)
}
