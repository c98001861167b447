//! `POST /api/webhooks/NAME`: a signed message of whoever deploys, by the Standard Webhooks specification.
//!
//! The signature takes the place of a token: it is checked over the raw body before anything in it is read. What is
//! told goes the way of `deploy record`, so that the diagnosis makes no difference. The secret is read from its file
//! for each message, so that a rotated one works at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::routing::post;
use axum::{Extension, Json, Router};
use bytes::Bytes;
use evenkeel_control::{Handle, wall};
use evenkeel_guard::Outcome;
use evenkeel_model::record::Told;
use evenkeel_notify::{Secret, verify};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::deployments::command;
use super::{Answer, Problem, refused};
use crate::requests::DeploymentRequest;

/// Where messages come in; they need no token.
pub(crate) const PATH: &str = "/api/webhooks/";
/// Largest message; the specification asks for less than 20 kB.
const MESSAGE_MAX: usize = 64 << 10;
/// Longest name of a message.
const ID_MAX: usize = 256;
/// What a message is about, before the word.
const TYPE: &str = "deployment.";

/// What became of messages, by webhook and outcome.
#[derive(Debug, Clone, Default)]
pub(crate) struct Messages(Arc<Mutex<BTreeMap<(String, &'static str), u64>>>);

impl Messages {
    fn count(&self, webhook: &str, outcome: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((webhook.to_owned(), outcome)).or_default() += 1;
    }

    /// Every count, in order.
    pub(crate) fn counts(&self) -> Vec<((String, &'static str), u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|(key, n)| (key.clone(), *n)).collect()
    }
}

pub(super) fn routes() -> Router<Handle> {
    Router::new()
        .route(&format!("{PATH}{{name}}"), post(told))
        .layer(DefaultBodyLimit::max(MESSAGE_MAX))
}

/// A message.
#[derive(Debug, Deserialize)]
struct Message {
    #[serde(rename = "type")]
    kind: String,
    /// When it happened, RFC 3339; null: now.
    #[serde(default)]
    timestamp: Option<String>,
    data: Data,
}

/// The deployment it is about. Fields of others are passed over.
#[derive(Debug, Deserialize)]
struct Data {
    pool: String,
    version: String,
    #[serde(default)]
    backends: Vec<String>,
    #[serde(default)]
    note: String,
}

#[derive(Debug, Serialize)]
struct ToldView {
    deployment: String,
    /// The message had come before; nothing was recorded.
    repeated: bool,
}

async fn told(
    State(handle): State<Handle>,
    Extension(messages): Extension<Messages>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer<ToldView> {
    let config = Arc::clone(&handle.published().config);
    let Some(webhook) = config.webhooks.iter().find(|w| w.name.as_str() == name) else {
        // Not counted: a stranger's words are no label.
        let message = format!("there is no `[webhook.{name}]` in the running configuration");
        return Err(Problem::new(StatusCode::NOT_FOUND, &message));
    };
    let answer = match signed(webhook.secret_file.clone(), &headers, body).await {
        Ok((id, body)) => recorded(&handle, &name, id, &body).await,
        Err(refused) => Err(refused),
    };
    let outcome = match &answer {
        Ok(Json(view)) if view.repeated => "repeated",
        Ok(_) => "recorded",
        Err(problem) if problem.status == StatusCode::UNAUTHORIZED => "not_signed",
        Err(problem) if problem.status.is_server_error() => "failed",
        Err(_) => "refused",
    };
    messages.count(&name, outcome);
    if let Err(problem) = &answer {
        let status = problem.status.as_u16();
        tracing::warn!(
            webhook = name,
            status,
            why = problem.message,
            "message not taken"
        );
    }
    answer
}

/// The name and the body of a message that is believed.
async fn signed(
    secret_file: std::path::PathBuf,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(String, String), Problem> {
    let unauthorized = |why: &str| Problem::new(StatusCode::UNAUTHORIZED, why);
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let id = header("webhook-id").filter(|id| !id.is_empty() && id.len() <= ID_MAX);
    let id = id.ok_or_else(|| {
        unauthorized(&format!(
            "`webhook-id` must be given, with at most {ID_MAX} characters"
        ))
    })?;
    let body = body.map_err(|rejection| {
        let status = rejection.status();
        let why = format!("a message of at most {MESSAGE_MAX} bytes is taken");
        Problem::new(
            status,
            if status == StatusCode::PAYLOAD_TOO_LARGE {
                &why
            } else {
                "the body did not come"
            },
        )
    })?;
    let body = std::str::from_utf8(&body)
        .map_err(|_not_text| Problem::new(StatusCode::BAD_REQUEST, "the body is not UTF-8"))?;
    let read = tokio::task::spawn_blocking(move || Secret::read(&secret_file)).await;
    let secret = read.ok().and_then(|secret| {
        secret
            .inspect_err(|error| tracing::error!(%error, "the secret of a webhook cannot be used"))
            .ok()
    });
    let secret = secret.ok_or_else(|| {
        let why = "the secret of this webhook cannot be used; the log says why";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)
    })?;
    let of = |name: &str| header(name).unwrap_or_default();
    verify(
        &secret,
        id,
        of("webhook-timestamp"),
        of("webhook-signature"),
        body,
        wall(),
    )
    .map_err(|error| unauthorized(&error.to_string()))?;
    Ok((id.to_owned(), body.to_owned()))
}

async fn recorded(handle: &Handle, name: &str, id: String, body: &str) -> Answer<ToldView> {
    let wrong = |why: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, &why);
    let message: Message = serde_json::from_str(body).map_err(|error| {
        wrong(format!(
            "the message is not `{{type, timestamp, data {{pool, version, backends?, note?}}}}`: {error}"
        ))
    })?;
    let word = message.kind.strip_prefix(TYPE).and_then(Told::from_word);
    let told = word.ok_or_else(|| {
        let known: Vec<String> = Told::ALL.iter().map(|t| format!("`{TYPE}{t}`")).collect();
        let (kind, known) = (&message.kind, known.join(", "));
        wrong(format!("`type` is one of {known}, got `{kind}`"))
    })?;
    let request = DeploymentRequest {
        pool: message.data.pool,
        version: message.data.version,
        backends: message.data.backends,
        at: message.timestamp,
        state: Some(told.as_str().to_owned()),
        note: message.data.note,
    };
    let mut command = command(handle, &request, name).map_err(|problem| Problem {
        status: StatusCode::UNPROCESSABLE_ENTITY,
        ..problem
    })?;
    command.message = Some(id);
    match handle.record(command).await? {
        Outcome::Recorded {
            deployment,
            repeated,
        } => Ok(Json(ToldView {
            deployment: deployment.to_string(),
            repeated,
        })),
        other => Err(refused(&other)),
    }
}
