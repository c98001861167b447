//! Deployments: recorded ones, and those that are carried out.

use std::time::Duration;

use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use evenkeel_control::{DeploymentCommand, Handle, Who};
use evenkeel_guard::rollout::{STEP_LEAST, STEP_MIN_DEFAULT, STEP_MIN_MAX};
use evenkeel_guard::{DeployVerb, Outcome, StartDeployment};
use evenkeel_journal::{Read, ReadError};
use evenkeel_model::clock::Wall;
use evenkeel_model::ids::Name;
use evenkeel_model::record::{DeploymentRecord, Strategy};
use evenkeel_model::units::{Ratio, format_duration};
use serde::Serialize;

use super::{Answer, Limit, Problem, bad, not_found, refused, words};
use crate::requests::{AbortRequest, DeployStartRequest, DeploymentRequest, PromoteRequest};
use crate::views::{DeploymentView, FindingView, RolloutOutcomeView, RolloutView};

pub(super) fn routes() -> Router<Handle> {
    Router::new()
        .route("/api/deployments", get(deployments).post(record))
        .route("/api/deployments/start", post(start))
        .route("/api/deployments/promote", post(promote))
        .route("/api/deployments/abort", post(abort))
}

#[derive(Debug, Serialize)]
struct Deployments {
    /// Those that move traffic, or shape it still.
    rollouts: Vec<RolloutView>,
    deployments: Vec<DeploymentView>,
}

async fn deployments(
    State(handle): State<Handle>,
    Query(limit): Query<Limit>,
) -> Answer<Deployments> {
    let deployments = handle.read(|journal| recent(journal, limit.get()))?;
    let view = handle.view();
    let rollouts = view.iter().flat_map(|view| &view.rollouts);
    Ok(Json(Deployments {
        rollouts: rollouts.map(RolloutView::of).collect(),
        deployments,
    }))
}

/// The newest deployments, with what became of those that were carried out.
pub(super) fn recent(journal: &dyn Read, limit: usize) -> Result<Vec<DeploymentView>, ReadError> {
    let carried_out = journal.rollouts(limit)?;
    let view = |record: &DeploymentRecord| {
        let rollout = carried_out.iter().find(|r| r.id == record.id);
        DeploymentView::of(record, rollout)
    };
    Ok(journal.deployments(limit)?.iter().map(view).collect())
}

#[derive(Debug, Serialize)]
struct RecordedView {
    deployment: Option<String>,
    findings: Vec<FindingView>,
}

async fn record(
    State(handle): State<Handle>,
    Extension(who): Extension<Who>,
    Json(request): Json<DeploymentRequest>,
) -> Answer<RecordedView> {
    let name = |text: &str| Name::new(text).map_err(|error| bad(format!("`{text}`: {error}")));
    let pool = name(&request.pool)?;
    let config = std::sync::Arc::clone(&handle.published().config);
    let known = config
        .pool(&request.pool)
        .ok_or_else(|| not_found(format!("there is no pool `{pool}`")))?;
    let backends = request
        .backends
        .iter()
        .map(|b| name(b))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(stranger) = backends
        .iter()
        .find(|b| known.backend(b.as_str()).is_none())
    {
        return Err(not_found(format!(
            "pool `{pool}` has no backend `{stranger}`"
        )));
    }
    let command = DeploymentCommand {
        pool,
        version: name(&request.version)?,
        backends,
        at: request.at.as_deref().map(read_time).transpose()?,
        author: who.name,
        note: words(&request.note)?,
    };
    match handle.record(command).await? {
        Outcome::Recorded { deployment } => Ok(Json(RecordedView {
            deployment: Some(deployment.to_string()),
            findings: Vec::new(),
        })),
        other => Err(refused(&other)),
    }
}

fn read_time(text: &str) -> Result<Wall, Problem> {
    let at: jiff::Timestamp = text.parse().map_err(|error| {
        bad(format!(
            "`{text}` is not a time in RFC 3339, such as 2026-01-31T22:00:00Z: {error}"
        ))
    })?;
    u64::try_from(at.as_millisecond())
        .map(Wall)
        .map_err(|_before_1970| bad(format!("`{text}` lies before 1970")))
}

async fn start(
    State(handle): State<Handle>,
    Extension(who): Extension<Who>,
    Json(request): Json<DeployStartRequest>,
) -> Answer<RolloutOutcomeView> {
    let version = Name::new(&request.version);
    let version = version.map_err(|error| bad(format!("`{}`: {error}", request.version)))?;
    let word = request
        .strategy
        .as_deref()
        .unwrap_or(Strategy::Canary.as_str());
    let strategy = Strategy::from_word(word).ok_or_else(|| {
        bad(format!(
            "`strategy` must be canary, rolling or blue-green, got `{word}`"
        ))
    })?;
    let ppm = |text: &String| Ratio::parse(text).map(Ratio::ppm);
    let steps = request.steps.iter().map(ppm).collect::<Result<_, _>>();
    let step_min = request
        .step_min_ms
        .map_or(STEP_MIN_DEFAULT, Duration::from_millis);
    if !(STEP_LEAST..=STEP_MIN_MAX).contains(&step_min) {
        let (least, most) = (format_duration(STEP_LEAST), format_duration(STEP_MIN_MAX));
        return Err(bad(format!(
            "a step lasts at least {least} and at most {most}"
        )));
    }
    let verb = DeployVerb::Start(StartDeployment {
        version,
        strategy,
        steps: steps.map_err(bad)?,
        step_min,
        force: request.force,
    });
    let reason = reason(&request.reason, request.force)?;
    answer(&handle, &request.pool, (who.name, reason), verb).await
}

async fn promote(
    State(handle): State<Handle>,
    Extension(who): Extension<Who>,
    Json(request): Json<PromoteRequest>,
) -> Answer<RolloutOutcomeView> {
    let PromoteRequest { all, force, .. } = request;
    let reason = reason(&request.reason, force)?;
    let verb = DeployVerb::Promote { all, force };
    answer(&handle, &request.pool, (who.name, reason), verb).await
}

async fn abort(
    State(handle): State<Handle>,
    Extension(who): Extension<Who>,
    Json(request): Json<AbortRequest>,
) -> Answer<RolloutOutcomeView> {
    let reason = reason(&request.reason, false)?;
    answer(
        &handle,
        &request.pool,
        (who.name, reason),
        DeployVerb::Abort,
    )
    .await
}

/// The reason that was given; whoever overrides the guard has to give one.
fn reason(text: &str, force: bool) -> Result<String, Problem> {
    if force && text.trim().is_empty() {
        return Err(bad("`force` needs a `reason`"));
    }
    words(text)
}

async fn answer(
    handle: &Handle,
    pool: &str,
    by: (String, String),
    verb: DeployVerb,
) -> Answer<RolloutOutcomeView> {
    let outcome = handle.deploy(pool, by, verb).await?;
    Ok(Json(RolloutOutcomeView::of(pool, &outcome)))
}
