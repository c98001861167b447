//! Deployments: recorded ones, and those that are carried out.

use std::time::Duration;

use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use evenkeel_control::{DeploymentCommand, Handle, Who};
use evenkeel_guard::rollout::{STEP_LEAST, STEP_MIN_DEFAULT, STEP_MIN_MAX};
use evenkeel_guard::{DeployVerb, Outcome, StartDeployment};
use evenkeel_journal::{Read, ReadError};
use evenkeel_model::blame::Subject;
use evenkeel_model::clock::Wall;
use evenkeel_model::ids::Name;
use evenkeel_model::record::{DeploymentRecord, IncidentRecord, Strategy, Told};
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

/// Newest incidents that are held against deployments.
const INCIDENTS_MAX: usize = 200;
/// Names that an error lists.
const NAMED_MAX: usize = 20;

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
    let incidents = journal.incidents(INCIDENTS_MAX)?;
    let view = |record: &DeploymentRecord| {
        let rollout = carried_out.iter().find(|r| r.id == record.id);
        let blamed = incidents.iter().filter(|incident| blames(incident, record));
        DeploymentView::of(record, rollout, blamed.map(|i| i.id))
    };
    Ok(journal.deployments(limit)?.iter().map(view).collect())
}

/// Whether the diagnosis of `incident` names this deployment as the cause.
fn blames(incident: &IncidentRecord, deployment: &DeploymentRecord) -> bool {
    let subject = incident.diagnosis.as_ref().and_then(|d| d.subject.as_ref());
    matches!(subject, Some(Subject::Deployment { id, .. }) if *id == deployment.id)
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
    let command = command(&handle, &request, &who.name)?;
    match handle.record(command).await? {
        Outcome::Recorded { deployment, .. } => Ok(Json(RecordedView {
            deployment: Some(deployment.to_string()),
            findings: Vec::new(),
        })),
        other => Err(refused(&other)),
    }
}

/// What is told, held against what runs.
pub(super) fn command(
    handle: &Handle,
    request: &DeploymentRequest,
    author: &str,
) -> Result<DeploymentCommand, Problem> {
    let name = |text: &str| Name::new(text).map_err(|error| bad(format!("`{text}`: {error}")));
    let config = std::sync::Arc::clone(&handle.published().config);
    let pool = config.pool(&request.pool).ok_or_else(|| {
        let known = config.pools.iter().map(|pool| &pool.name);
        let pool = &request.pool;
        not_found(format!(
            "there is no pool `{pool}`; there is {}",
            listed(known)
        ))
    })?;
    for backend in &request.backends {
        if pool.backend(backend).is_none() {
            let known = listed(pool.backends.iter().map(|b| &b.name));
            let pool = &pool.name;
            return Err(not_found(format!(
                "pool `{pool}` has no backend `{backend}`; it has {known}"
            )));
        }
    }
    let word = request.state.as_deref().unwrap_or(Told::Finished.as_str());
    let told = Told::from_word(word).ok_or_else(|| {
        bad(format!(
            "`state` must be started, finished, failed or rolled_back, got `{word}`"
        ))
    })?;
    Ok(DeploymentCommand {
        pool: pool.name.clone(),
        version: name(&request.version)?,
        backends: request
            .backends
            .iter()
            .map(|b| name(b))
            .collect::<Result<_, _>>()?,
        at: request.at.as_deref().map(read_time).transpose()?,
        told,
        author: author.to_owned(),
        note: words(&request.note)?,
        message: None,
    })
}

/// Names for a sentence, at most [`NAMED_MAX`].
fn listed<'a>(names: impl Iterator<Item = &'a Name>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    let shown = names
        .iter()
        .take(NAMED_MAX)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
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
