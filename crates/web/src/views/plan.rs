//! Findings, gaps, difference and what an apply would be held to: what `check` and `plan` say.
//!
//! A finding carries where it stands in the text, so that the command line can show the line. How far the forecast
//! can be trusted follows from the gaps: `high` without any, `medium` when something was not understood that leaves
//! the shares within each pool alone, `low` when the shares of a pool are not known or may be others.

use evenkeel_control::Judged;
use evenkeel_model::day::Day;
use evenkeel_model::diff::Change;
use evenkeel_model::finding::Finding;
use evenkeel_model::setup::{Gap, Route, Selection, Setup, Touches};
use serde::{Deserialize, Serialize};

use super::forecast::ForecastView;

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
    /// By what it is accepted for a while; it is then an info.
    pub waived: Option<WaivedView>,
    /// Id of the finding that causes it and tells it as its effect; text and pages show that one only.
    #[serde(default)]
    pub effect_of: Option<String>,
}

/// By what a finding is accepted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct WaivedView {
    pub reason: String,
    /// The last day on which it holds, UTC.
    pub until: String,
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
            waived: finding.waived.as_ref().map(|waived| WaivedView {
                reason: waived.reason.clone(),
                until: Day::before(waived.until).to_string(),
            }),
            effect_of: finding.effect_of.map(str::to_owned),
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

/// Something that was read and not understood.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct GapView {
    pub path: String,
    pub what: String,
    /// `routing`, `pool` or `resilience`.
    pub touches: String,
    pub pool: Option<String>,
    pub file: Option<String>,
    pub line: Option<u32>,
    pub column: Option<u32>,
}

impl GapView {
    fn of(gap: &Gap, judged: &Judged) -> Self {
        let (file, place) = judged.origin.locate(&gap.path);
        let (touches, pool) = match &gap.touches {
            Touches::Routing => ("routing", None),
            Touches::Pool(pool) => ("pool", Some(pool.clone())),
            Touches::Resilience => ("resilience", None),
        };
        Self {
            path: gap.path.clone(),
            what: gap.what.clone(),
            touches: touches.to_owned(),
            pool,
            file,
            line: place.as_ref().map(|p| p.line),
            column: place.as_ref().map(|p| p.column),
        }
    }
}

/// Which requests go where.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct RouteView {
    pub listener: String,
    pub host: Option<String>,
    pub path_prefix: Option<String>,
    pub condition: Option<String>,
    pub targets: Vec<TargetView>,
}

/// A pool with its part of a route.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct TargetView {
    pub pool: String,
    pub share: f64,
}

impl RouteView {
    fn of(route: &Route) -> Self {
        let target = |(pool, share): (&str, f64)| TargetView {
            pool: pool.to_owned(),
            share,
        };
        Self {
            listener: route.listener.clone(),
            host: route.host.clone(),
            path_prefix: route.path_prefix.clone(),
            condition: route.condition.clone(),
            targets: route.parts().map(target).collect(),
        }
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

/// What an apply would be held to, and what undoing it would restore.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VerifyView {
    /// The pools whose shares must be proven: those that the change touches.
    pub pools: Vec<VerifyPoolView>,
    /// Not before so many seconds.
    pub after_seconds: f64,
    /// Held, when the evidence is not in by then.
    pub held_after_seconds: f64,
    /// The revision that a rollback would restore; null offline.
    pub rollback_to: Option<String>,
}

/// One pool of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct VerifyPoolView {
    pub name: String,
    pub tolerance: f64,
    pub min_healthy: u32,
    pub backends: usize,
}

impl VerifyView {
    fn of(judged: &Judged, rollback_to: Option<String>) -> Option<Self> {
        let config = judged.config.as_ref()?;
        let touched = |pool: &&evenkeel_model::config::Pool| {
            let path = format!(
                "pool.{}.",
                evenkeel_model::canonical::path_segment(pool.name.as_str())
            );
            let mut changes = judged.changes.iter();
            changes.any(|change| change.path.starts_with(&path))
        };
        let pools = config.pools.iter().filter(touched);
        let pools = pools.map(|pool| VerifyPoolView {
            name: pool.name.to_string(),
            tolerance: pool.tolerance.as_f64(),
            min_healthy: pool.min_healthy,
            backends: pool.backends.len(),
        });
        Some(Self {
            pools: pools.collect(),
            after_seconds: evenkeel_guard::VERIFY_AFTER.as_secs_f64(),
            held_after_seconds: evenkeel_guard::HELD_AFTER.as_secs_f64(),
            rollback_to,
        })
    }
}

/// `check` and `plan`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct PlanView {
    /// Whose configuration it is: `evenkeel`, `haproxy`, `nginx`, `envoy`.
    pub format: String,
    /// What it was compared with; null offline.
    pub revision: Option<String>,
    /// Content hash of what it was compared with; null when that is no evenkeel.toml, or nothing.
    pub base_hash: Option<String>,
    /// Whether the text is a configuration at all.
    pub valid: bool,
    /// Whether an apply would be refused.
    pub refused: bool,
    pub hash: Option<String>,
    pub changes: Vec<ChangeView>,
    pub findings: Vec<FindingView>,
    /// How far the forecast can be trusted: `high`, `medium`, `low`; null when there is none.
    pub confidence: Option<String>,
    pub gaps: Vec<GapView>,
    pub routes: Vec<RouteView>,
    pub forecast: Option<ForecastView>,
    /// The forecast of what runs, for before and after.
    pub current: Option<ForecastView>,
    pub verify: Option<VerifyView>,
}

impl PlanView {
    /// The view of a judgement; `against` is what it was compared with.
    pub fn of(judged: &Judged, against: Option<Against<'_>>) -> Self {
        let setup = judged.setup.as_deref();
        let current = against
            .as_ref()
            .and_then(|against| Some(ForecastView::of(judged.before.as_ref()?, against.setup)));
        let balancer = setup.map_or("evenkeel", |setup| setup.balancer.as_str());
        let gaps = setup.map_or(&[][..], |setup| &setup.gaps);
        let verify = against
            .as_ref()
            .and_then(|against| VerifyView::of(judged, against.rollback_to.clone()));
        let (revision, base_hash) = match against {
            Some(against) => (against.revision, against.hash),
            None => (None, None),
        };
        Self {
            format: balancer.to_owned(),
            revision,
            base_hash,
            valid: setup.is_some(),
            refused: !judged.blocking.is_empty(),
            hash: judged.hash.map(|hash| hash.to_string()),
            changes: ChangeView::list(&judged.changes),
            findings: judged_findings(judged),
            confidence: setup.map(|setup| confidence(setup).to_owned()),
            gaps: gaps.iter().map(|gap| GapView::of(gap, judged)).collect(),
            routes: setup.map_or_else(Vec::new, |s| s.routes.iter().map(RouteView::of).collect()),
            forecast: judged
                .forecast
                .as_ref()
                .zip(setup)
                .map(|(forecast, setup)| ForecastView::of(forecast, setup)),
            current,
            verify,
        }
    }
}

/// What a candidate was compared with.
#[derive(Debug, Clone)]
pub struct Against<'a> {
    /// Its revision; `None` offline.
    pub revision: Option<String>,
    /// Its content hash, where it is an evenkeel.toml.
    pub hash: Option<String>,
    /// What it sets up.
    pub setup: &'a Setup,
    /// The revision that a rollback would restore; `None` offline.
    pub rollback_to: Option<String>,
}

fn confidence(setup: &Setup) -> &'static str {
    let bends = |gap: &Gap| matches!(gap.touches, Touches::Pool(_));
    let unknown = |pool: &evenkeel_model::setup::Pool| {
        let is_unknown =
            matches!(pool.selection, Selection::Other(_)) || pool.one_unknown_key().is_some();
        is_unknown && pool.backends.len() > 1
    };
    let is_empty = setup.pools.is_empty();
    if is_empty || setup.gaps.iter().any(bends) || setup.pools.iter().any(unknown) {
        "low"
    } else if setup.gaps.is_empty() {
        "high"
    } else {
        "medium"
    }
}

pub(super) fn judged_findings(judged: &Judged) -> Vec<FindingView> {
    let blocking: std::collections::BTreeSet<usize> = judged.blocking.iter().copied().collect();
    let view =
        |(index, finding): (usize, &Finding)| FindingView::of(finding, blocking.contains(&index));
    judged.findings.iter().enumerate().map(view).collect()
}
