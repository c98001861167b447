//! The API: one function per path, JSON in and out.

use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use evenkeel_control::{Apply, CommandError, Handle, IncidentAction, Who};
use evenkeel_guard::Outcome;
use evenkeel_journal::Recorded;
use evenkeel_model::ids::{IncidentId, RevisionId};
use evenkeel_model::record::{IncidentKind, IncidentStatus, TimelineEvent};
use evenkeel_model::setup::Setup;
use evenkeel_model::units;
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::postmortem;
use crate::requests::{
    ApplyRequest, ConfirmRequest, DrainRequest, IncidentRequest, PlanRequest, RollbackRequest,
    UndrainRequest,
};
use crate::views::{
    Against, ChangeOutcomeView, DeploymentView, DrainOutcomeView, EventView, IncidentView,
    PlanView, RevisionView, StatusView,
};

mod deployments;
pub(crate) mod webhooks;

/// Longest list.
const LIST_MAX: usize = 1_000;
/// Longest reason, title or note.
const WORDS_MAX: usize = 4_096;
/// Lines of a timeline shown.
const TIMELINE_MAX: usize = 10_000;
/// Newest lines of the journal that a history looks through for drains.
const LINES_MAX: usize = 2_000;

pub(crate) fn routes() -> Router<Handle> {
    Router::new()
        .route("/api/status", get(status))
        .route("/api/history", get(history))
        .route("/api/revisions/{id}", get(revision))
        .route("/api/plan", post(plan))
        .route("/api/apply", post(apply))
        .route("/api/rollback", post(rollback))
        .route("/api/confirm", post(confirm))
        .route("/api/drain", post(drain))
        .route("/api/undrain", post(undrain))
        .merge(deployments::routes())
        .merge(webhooks::routes())
        .route("/api/incidents", get(incidents).post(open_incident))
        .route("/api/incidents/{id}", get(incident))
        .route("/api/incidents/{id}/postmortem", get(draft))
        .route("/api/incidents/{id}/{verb}", post(incident_verb))
}

/// An error with its status, as `{"error": ...}`.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    message: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, message: &str) -> Self {
        Self {
            status,
            message: message.to_owned(),
        }
    }
}

/// The body of an error.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ErrorView {
    /// What is wrong.
    pub(crate) error: String,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (
            self.status,
            Json(ErrorView {
                error: self.message,
            }),
        )
            .into_response()
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let status = match error {
            CommandError::Unknown(_) => StatusCode::NOT_FOUND,
            CommandError::Journal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            CommandError::Busy | CommandError::Stopping | CommandError::Late => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        Self {
            status,
            message: error.to_string(),
        }
    }
}

impl From<evenkeel_journal::ReadError> for Problem {
    fn from(error: evenkeel_journal::ReadError) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            message: error.to_string(),
        }
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "errors are handed over by map_err"
)]
fn bad(message: impl ToString) -> Problem {
    Problem {
        status: StatusCode::BAD_REQUEST,
        message: message.to_string(),
    }
}

/// A person's words on one line: they stand in lists, notices and logs, where a line end would forge the next line.
fn words(text: &str) -> Result<String, Problem> {
    if text.len() > WORDS_MAX {
        let got = text.len();
        return Err(bad(format!(
            "a reason, title or note has at most {WORDS_MAX} bytes, got {got}"
        )));
    }
    let parts: Vec<&str> = text
        .split(char::is_control)
        .filter(|part| !part.is_empty())
        .collect();
    Ok(parts.join(" "))
}

fn not_found(message: impl Into<String>) -> Problem {
    Problem {
        status: StatusCode::NOT_FOUND,
        message: message.into(),
    }
}

type Answer<T> = Result<Json<T>, Problem>;

async fn status(State(handle): State<Handle>) -> Answer<StatusView> {
    let view = handle
        .view()
        .ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the instance is starting"))?;
    let published = handle.published();
    Ok(Json(StatusView::of(
        &view,
        &published.config,
        &published.workers,
    )))
}

#[derive(Debug, Deserialize)]
struct Limit {
    limit: Option<usize>,
    #[serde(default)]
    open: bool,
}

impl Limit {
    fn get(&self) -> usize {
        self.limit.unwrap_or(100).min(LIST_MAX)
    }
}

#[derive(Debug, Serialize)]
struct History {
    revisions: Vec<RevisionView>,
    /// Deployments, newest first.
    deployments: Vec<DeploymentView>,
    /// What became of drains, newest first.
    drains: Vec<EventView>,
}

async fn history(State(handle): State<Handle>, Query(limit): Query<Limit>) -> Answer<History> {
    let (revisions, deployments, lines) = handle.read(|journal| {
        let revisions = journal.revisions(limit.get())?;
        let deployments = deployments::recent(journal, limit.get())?;
        Ok((revisions, deployments, journal.timeline(None, LINES_MAX)?))
    })?;
    let is_of_drain = |line: &&Recorded<TimelineEvent>| line.value.kind.starts_with("drain.");
    let drains = lines.iter().rev().filter(is_of_drain).take(limit.get());
    Ok(Json(History {
        revisions: revisions.iter().map(RevisionView::of).collect(),
        deployments,
        drains: drains.map(EventView::of).collect(),
    }))
}

async fn revision(State(handle): State<Handle>, Path(id): Path<String>) -> Answer<RevisionView> {
    let id: RevisionId = id.parse().map_err(bad)?;
    let record = handle.read(|journal| journal.revision(id))?;
    let record = record.ok_or_else(|| not_found(format!("there is no revision {id}")))?;
    Ok(Json(RevisionView {
        text: Some(record.text.to_string()),
        ..RevisionView::of(&record)
    }))
}

async fn plan(State(handle): State<Handle>, Json(request): Json<PlanRequest>) -> Answer<PlanView> {
    let published = handle.published();
    let (revision, judged) = handle.plan(request.text, request.file).await?;
    let verified = published.view.as_ref().map(|v| v.verified.to_string());
    let setup = Setup::of(&published.config);
    let hash = evenkeel_model::canonical::content_hash(&published.config);
    let against = Against {
        revision: Some(revision.to_string()),
        hash: Some(hash.to_string()),
        setup: &setup,
        rollback_to: verified,
    };
    Ok(Json(PlanView::of(&judged, Some(against))))
}

async fn apply(
    State(handle): State<Handle>,
    Extension(who): Extension<Who>,
    Json(request): Json<ApplyRequest>,
) -> Answer<ChangeOutcomeView> {
    let base = request
        .base
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(bad)?;
    if request.force && request.reason.trim().is_empty() {
        return Err(bad("`force` needs a `reason`"));
    }
    let applied = handle
        .apply(Apply {
            text: request.text,
            file: request.file,
            base,
            author: who.name,
            reason: words(&request.reason)?,
            force: request.force,
            confirm_within: request.confirm_within_ms.map(Duration::from_millis),
            keep: request.keep_ms.map(Duration::from_millis),
        })
        .await?;
    Ok(Json(ChangeOutcomeView::of(
        applied.outcome.as_ref(),
        Some(&applied.judged),
    )))
}

async fn rollback(
    State(handle): State<Handle>,
    Extension(who): Extension<Who>,
    Json(request): Json<RollbackRequest>,
) -> Answer<ChangeOutcomeView> {
    let to = request
        .to
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(bad)?;
    let outcome = handle
        .rollback(to, who.name, words(&request.reason)?, request.force)
        .await?;
    let mut view = ChangeOutcomeView::of(Some(&outcome), None);
    if matches!(outcome, Outcome::RolledBack { .. }) {
        let published = handle.published();
        let setup = Setup::of(&published.config);
        let forecast = evenkeel_forecast::forecast(&setup, &published.facts);
        view.forecast = Some(crate::views::ForecastView::of(&forecast, &setup));
    }
    Ok(Json(view))
}

async fn confirm(
    State(handle): State<Handle>,
    Extension(who): Extension<Who>,
    Json(request): Json<ConfirmRequest>,
) -> Answer<ChangeOutcomeView> {
    let revision = request
        .revision
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(bad)?;
    let outcome = handle.confirm(revision, who.name).await?;
    Ok(Json(ChangeOutcomeView::of(Some(&outcome), None)))
}

async fn drain(
    State(handle): State<Handle>,
    Extension(who): Extension<Who>,
    Json(request): Json<DrainRequest>,
) -> Answer<DrainOutcomeView> {
    let lasts = request
        .for_ms
        .map_or(evenkeel_guard::DRAIN_DEFAULT, Duration::from_millis);
    if lasts.is_zero() || lasts > evenkeel_guard::DRAIN_MAX {
        let most = units::format_duration(evenkeel_guard::DRAIN_MAX);
        return Err(bad(format!(
            "a drain lasts more than nothing and at most {most}"
        )));
    }
    if request.force && request.reason.trim().is_empty() {
        return Err(bad("`force` needs a `reason`"));
    }
    let asked = evenkeel_control::Drain {
        pool: request.pool.clone(),
        backend: request.backend.clone(),
        lasts,
        author: who.name,
        reason: words(&request.reason)?,
        force: request.force,
    };
    let drained = handle.drain(asked).await?;
    let (pool, backend) = (&request.pool, &request.backend);
    Ok(Json(DrainOutcomeView::of_drain(pool, backend, &drained)))
}

async fn undrain(
    State(handle): State<Handle>,
    Extension(who): Extension<Who>,
    Json(request): Json<UndrainRequest>,
) -> Answer<DrainOutcomeView> {
    let asked = evenkeel_control::Undrain {
        pool: request.pool.clone(),
        backend: request.backend.clone(),
        author: who.name,
        reason: words(&request.reason)?,
    };
    let outcome = handle.undrain(asked).await?;
    let (pool, backend) = (&request.pool, &request.backend);
    Ok(Json(DrainOutcomeView::of(pool, backend, &outcome)))
}

/// Why an outcome is not the one that was asked for.
fn refused(outcome: &Outcome) -> Problem {
    let view = ChangeOutcomeView::of(Some(outcome), None);
    let first = view
        .findings
        .first()
        .map(|f| format!("{}: {}", f.id, f.message));
    Problem {
        status: StatusCode::CONFLICT,
        message: first.unwrap_or(view.message),
    }
}

#[derive(Debug, Serialize)]
struct Incidents {
    incidents: Vec<IncidentView>,
}

async fn incidents(State(handle): State<Handle>, Query(limit): Query<Limit>) -> Answer<Incidents> {
    let over = [
        IncidentStatus::Resolved,
        IncidentStatus::Closed,
        IncidentStatus::FalseAlarm,
    ];
    let records = handle.read(|journal| journal.incidents(limit.get()))?;
    let wanted = records
        .iter()
        .filter(|i| !limit.open || !over.contains(&i.status));
    Ok(Json(Incidents {
        incidents: wanted.map(|i| IncidentView::of(i, None)).collect(),
    }))
}

async fn incident(State(handle): State<Handle>, Path(id): Path<String>) -> Answer<IncidentView> {
    let id: IncidentId = id.parse().map_err(bad)?;
    let (record, timeline) = handle.read(|journal| {
        Ok((
            journal.incident(id)?,
            journal.timeline(Some(id), TIMELINE_MAX)?,
        ))
    })?;
    let record = record.ok_or_else(|| not_found(format!("there is no incident {id}")))?;
    Ok(Json(IncidentView::of(&record, Some(&timeline))))
}

async fn draft(State(handle): State<Handle>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id: IncidentId = id.parse().map_err(bad)?;
    let text = handle.read(|journal| postmortem::draft(journal, id))?;
    let text = text.ok_or_else(|| not_found(format!("there is no incident {id}")))?;
    Ok((
        [(header::CONTENT_TYPE, "text/markdown; charset=utf-8")],
        text,
    )
        .into_response())
}

#[derive(Debug, Serialize)]
struct IncidentOutcome {
    incident: String,
    status: String,
    /// Who took it first: whoever acknowledges second is told.
    acknowledged_by: Option<String>,
}

async fn open_incident(
    State(handle): State<Handle>,
    Extension(who): Extension<Who>,
    Json(request): Json<IncidentRequest>,
) -> Answer<IncidentOutcome> {
    let verb = IncidentAction::Open {
        kind: IncidentKind::Test,
        title: words(&request.text)?,
    };
    answer_incident(handle.incident(IncidentId(0), who.name, verb).await?)
}

async fn incident_verb(
    State(handle): State<Handle>,
    Extension(who): Extension<Who>,
    Path((id, verb)): Path<(String, String)>,
    Json(request): Json<IncidentRequest>,
) -> Answer<IncidentOutcome> {
    let id: IncidentId = id.parse().map_err(bad)?;
    if handle.read(|journal| journal.incident(id))?.is_none() {
        return Err(not_found(format!("there is no incident {id}")));
    }
    let text = words(&request.text)?;
    let verb = match verb.as_str() {
        "ack" => IncidentAction::Ack,
        "note" if text.trim().is_empty() => return Err(bad("a note needs a `text`")),
        "note" => IncidentAction::Note(text),
        "escalate" => IncidentAction::Escalate,
        "resolve" => IncidentAction::Resolve(text),
        "false_alarm" => IncidentAction::FalseAlarm(text),
        "close" => IncidentAction::Close,
        other => {
            return Err(not_found(format!(
                "there is no `{other}`; ack, note, escalate, resolve, false_alarm, close"
            )));
        }
    };
    answer_incident(handle.incident(id, who.name, verb).await?)
}

fn answer_incident(outcome: Outcome) -> Answer<IncidentOutcome> {
    match outcome {
        Outcome::Incident {
            incident,
            status,
            taken_by,
        } => Ok(Json(IncidentOutcome {
            incident: incident.to_string(),
            status: status.as_str().to_owned(),
            acknowledged_by: taken_by,
        })),
        other => Err(refused(&other)),
    }
}
