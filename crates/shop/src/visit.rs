//! What every request brings along: the session, the wished form of the answer, the connection.

use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Form, Json};
use serde::de::DeserializeOwned;

use crate::checkout::KEY_MAX;
use crate::machine::Cut;

/// Name of the session's cookie.
pub(crate) const COOKIE: &str = "sid";
/// Longest session id that is taken.
const SESSION_MAX: usize = 64;

const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// Who asks, and how.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    pub(crate) session: String,
    /// The session was made for this request and must be told to the client.
    pub(crate) new: bool,
    pub(crate) json: bool,
    /// Value of `Idempotency-Key`.
    pub(crate) key: Option<String>,
    pub(crate) cut: Cut,
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let ConnectInfo(cut) = ConnectInfo::<Cut>::from_request_parts(parts, state)
            .await
            .map_err(IntoResponse::into_response)?;
        let text = |name: HeaderName| parts.headers.get(name).and_then(|v| v.to_str().ok());
        let known = session(&parts.headers);
        let new = known.is_none();
        let session = match known {
            Some(session) => session,
            None => fresh_id().ok_or_else(|| StatusCode::INTERNAL_SERVER_ERROR.into_response())?,
        };
        Ok(Self {
            session,
            new,
            json: text(header::ACCEPT).is_some_and(|v| v.contains("application/json")),
            key: text(KEY_HEADER).map(str::to_owned),
            cut,
        })
    }
}

/// An id that nobody guesses: 128 bits from the operating system.
pub(crate) fn fresh_id() -> Option<String> {
    let (high, low) = (getrandom::u64().ok()?, getrandom::u64().ok()?);
    Some(format!("{high:016x}{low:016x}"))
}

fn session(headers: &HeaderMap) -> Option<String> {
    let fits = |id: &str| {
        (1..=SESSION_MAX).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, id)| (name == COOKIE && fits(id)).then(|| id.to_owned()))
}

/// Whether `text` may be a key: printable ASCII, bounded.
pub(crate) fn is_key(text: &str) -> bool {
    (1..=KEY_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
}

/// Fields of a form or of a JSON object.
#[derive(Debug)]
pub(crate) struct Fields<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Fields<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|v| v.starts_with("application/json"));
        if json {
            let read = Json::<T>::from_request(request, state).await;
            return read
                .map(|Json(fields)| Self(fields))
                .map_err(IntoResponse::into_response);
        }
        let read = Form::<T>::from_request(request, state).await;
        read.map(|Form(fields)| Self(fields))
            .map_err(IntoResponse::into_response)
    }
}
