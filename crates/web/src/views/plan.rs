//! Findings, forecast and difference: what `check` and `plan` say.
//!
//! A finding carries where it stands in the text, so that the command line can show the line.

use evenkeel_control::Judged;
use evenkeel_forecast::{Forecast, PoolForecast};
use evenkeel_model::diff::Change;
use evenkeel_model::finding::Finding;
use serde::{Deserialize, Serialize};

/// A finding.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct FindingView {
    pub id: String,
    pub severity: String,
    pub message: String,
    pub effect: String,
    pub fix: String,
    pub path: String,
    pub file: Option<String>,
    pub line: Option<u32>,
    pub column: Option<u32>,
    /// Byte range in the text, for whoever shows the line.
    pub span: Option<(usize, usize)>,
    /// Whether it refuses the change.
    pub blocking: bool,
}

impl FindingView {
    /// The view of a finding.
    pub fn of(finding: &Finding, blocking: bool) -> Self {
        let place = finding.location.as_ref();
        Self {
            id: finding.id.to_owned(),
            severity: finding.severity.as_str().to_owned(),
            message: finding.message.clone(),
            effect: finding.effect.clone(),
            fix: finding.fix.clone(),
            path: finding.path.clone(),
            file: finding.file.clone(),
            line: place.map(|p| p.line),
            column: place.map(|p| p.column),
            span: place.map(|p| (p.span.start, p.span.end)),
            blocking,
        }
    }

    /// The views of several, none of them blocking by itself.
    pub fn list(findings: &[Finding]) -> Vec<Self> {
        findings
            .iter()
            .map(|finding| Self::of(finding, false))
            .collect()
    }
}

/// A forecast.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct ForecastView {
    pub pools: Vec<PoolForecastView>,
    pub failures: Vec<FailureView>,
    pub notes: Vec<String>,
}

/// A pool of a forecast.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct PoolForecastView {
    pub name: String,
    pub rps: Option<f64>,
    pub backends: Vec<BackendForecastView>,
}

/// A backend of a forecast.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct BackendForecastView {
    pub name: String,
    pub intended_share: Option<f64>,
    pub expected_share: Option<f64>,
    pub expected_rps: Option<f64>,
    pub utilisation: Option<f64>,
}

/// Something out.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct FailureView {
    pub out: String,
    pub pools: Vec<PoolForecastView>,
}

impl ForecastView {
    /// The view of a forecast.
    pub fn of(forecast: &Forecast) -> Self {
        let failures = forecast.failures.iter().map(|failure| FailureView {
            out: failure.out.clone(),
            pools: failure.pools.iter().map(pool_forecast).collect(),
        });
        Self {
            pools: forecast.pools.iter().map(pool_forecast).collect(),
            failures: failures.collect(),
            notes: forecast.notes.clone(),
        }
    }
}

fn pool_forecast(pool: &PoolForecast) -> PoolForecastView {
    let backends = pool.backends.iter().map(|backend| BackendForecastView {
        name: backend.name.to_string(),
        intended_share: backend.intended_share,
        expected_share: backend.expected_share,
        expected_rps: backend.expected_rps,
        utilisation: backend.utilisation,
    });
    PoolForecastView {
        name: pool.name.to_string(),
        rps: pool.rps,
        backends: backends.collect(),
    }
}

/// One changed value.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct ChangeView {
    pub path: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

impl ChangeView {
    /// The views of a difference.
    pub fn list(changes: &[Change]) -> Vec<Self> {
        let view = |change: &Change| Self {
            path: change.path.clone(),
            before: change.before.clone(),
            after: change.after.clone(),
        };
        changes.iter().map(view).collect()
    }
}

/// `check` and `plan`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct PlanView {
    /// What it was compared with; null offline.
    pub revision: Option<String>,
    /// Whether the text is a configuration at all.
    pub valid: bool,
    /// Whether an apply would be refused.
    pub refused: bool,
    pub hash: Option<String>,
    pub changes: Vec<ChangeView>,
    pub findings: Vec<FindingView>,
    pub forecast: Option<ForecastView>,
    /// The forecast of what runs, for before and after.
    pub current: Option<ForecastView>,
}

impl PlanView {
    /// The view of a judgement; `current` is the forecast of what runs.
    pub fn of(judged: &Judged, revision: Option<String>, current: Option<&Forecast>) -> Self {
        Self {
            revision,
            valid: judged.config.is_some(),
            refused: !judged.blocking.is_empty(),
            hash: judged.hash.map(|hash| hash.to_string()),
            changes: ChangeView::list(&judged.changes),
            findings: judged_findings(judged),
            forecast: judged.forecast.as_ref().map(ForecastView::of),
            current: current.map(ForecastView::of),
        }
    }
}

pub(super) fn judged_findings(judged: &Judged) -> Vec<FindingView> {
    let view = |(index, finding): (usize, &Finding)| {
        FindingView::of(finding, judged.blocking.contains(&index))
    };
    judged.findings.iter().enumerate().map(view).collect()
}
