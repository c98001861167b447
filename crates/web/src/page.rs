//! The page: one live screen, an incident, a revision. Read only; a change is a command to type.
//!
//! It is drawn on the server and works without a script; with one, the same fragment comes once a second as a
//! server-sent event and takes the place of the old. A fragment is drawn once per published second, however many
//! look at it. Nothing is loaded from elsewhere.
//!
//! Limits: [`EVENTS_MAX`] live screens at once; a further one refreshes itself every five seconds.

mod answers;
mod bars;
mod chart;

mod incident;
mod layout;
mod pool;
mod recent;
mod revision;
mod screen;
mod shapes;
mod top;
mod words;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use evenkeel_control::{Handle, Published};
use evenkeel_model::clock::Wall;
use evenkeel_model::ids::{IncidentId, RevisionId};
use http::{StatusCode, header};
use maud::Markup;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::wrappers::IntervalStream;
use tokio_stream::{Stream, StreamExt as _};

use crate::postmortem;
pub(crate) use screen::Screen;

/// Live screens at once.
const EVENTS_MAX: usize = 64;
/// Between two fragments of a live screen.
const EVENTS_EVERY: Duration = Duration::from_secs(1);
/// Lines of a timeline shown.
const TIMELINE_MAX: usize = 2_000;

pub(crate) fn routes() -> Router<Handle> {
    Router::new()
        .route("/", get(screen))
        .route("/events", get(events))
        .route("/incidents/{id}", get(incident))
        .route("/incidents/{id}/postmortem", get(draft))
        .route("/revisions/{id}", get(revision))
        .route("/style.css", get(style))
        .route("/live.js", get(script))
        .layer(Extension(Live::default()))
}

/// What all live screens share.
#[derive(Debug, Clone)]
struct Live {
    places: Arc<Semaphore>,
    last: Arc<Mutex<Option<Drawn>>>,
}

/// A fragment, of what and when.
#[derive(Debug)]
struct Drawn {
    of: Arc<Published>,
    at: Wall,
    text: Arc<str>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(EVENTS_MAX)),
            last: Arc::default(),
        }
    }
}

impl Live {
    /// The fragment of the present, drawn again when something was published or a second has passed.
    fn fragment(&self, published: Arc<Published>, now: Wall) -> Arc<str> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(drawn) = &*last
            && Arc::ptr_eq(&drawn.of, &published)
            && now.since(drawn.at) < EVENTS_EVERY
        {
            return Arc::clone(&drawn.text);
        }
        let text: Arc<str> = Screen::of(&published, now).fragment().into_string().into();
        *last = Some(Drawn {
            of: published,
            at: now,
            text: Arc::clone(&text),
        });
        text
    }
}

fn now() -> Wall {
    Wall(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0))
}

async fn screen(State(handle): State<Handle>) -> Markup {
    Screen::of(&handle.published(), now()).page()
}

async fn events(State(handle): State<Handle>, Extension(live): Extension<Live>) -> Response {
    let Ok(place) = Arc::clone(&live.places).try_acquire_owned() else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{EVENTS_MAX} live screens are open already"),
        )
            .into_response();
    };
    Sse::new(fragments(handle, live, place))
        .keep_alive(KeepAlive::default())
        .into_response()
}

fn fragments(
    handle: Handle,
    live: Live,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let mut every = tokio::time::interval(EVENTS_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    IntervalStream::new(every).map(move |_| {
        let _held = &place;
        let fragment = live.fragment(handle.published(), now());
        Ok(Event::default().data(&*fragment))
    })
}

/// An error as a page.
#[derive(Debug)]
struct Lost(StatusCode, String);

impl IntoResponse for Lost {
    fn into_response(self) -> Response {
        (self.0, layout::lost(&self.1)).into_response()
    }
}

impl From<evenkeel_journal::ReadError> for Lost {
    fn from(error: evenkeel_journal::ReadError) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl From<evenkeel_model::ids::IdError> for Lost {
    fn from(error: evenkeel_model::ids::IdError) -> Self {
        Self(StatusCode::NOT_FOUND, error.to_string())
    }
}

fn missing(what: impl std::fmt::Display) -> Lost {
    Lost(StatusCode::NOT_FOUND, format!("there is no {what}"))
}

async fn incident(State(handle): State<Handle>, Path(id): Path<String>) -> Result<Markup, Lost> {
    let id: IncidentId = id.parse()?;
    let (record, timeline) = handle.read(|journal| {
        Ok((
            journal.incident(id)?,
            journal.timeline(Some(id), TIMELINE_MAX)?,
        ))
    })?;
    let record = record.ok_or_else(|| missing(format!("incident {id}")))?;
    Ok(incident::page(&record, &timeline, now()))
}

async fn draft(State(handle): State<Handle>, Path(id): Path<String>) -> Result<Response, Lost> {
    let id: IncidentId = id.parse()?;
    let text = handle.read(|journal| postmortem::draft(journal, id))?;
    let text = text.ok_or_else(|| missing(format!("incident {id}")))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

async fn revision(State(handle): State<Handle>, Path(id): Path<String>) -> Result<Markup, Lost> {
    let id: RevisionId = id.parse()?;
    let (record, parent) = handle.read(|journal| {
        let record = journal.revision(id)?;
        let parent = match record.as_ref().and_then(|record| record.parent) {
            Some(parent) => journal.revision(parent)?,
            None => None,
        };
        Ok((record, parent))
    })?;
    let record = record.ok_or_else(|| missing(format!("revision {id}")))?;
    Ok(revision::page(&record, parent.as_ref(), now()))
}

async fn style() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/css; charset=utf-8")],
        include_str!("page/style.css"),
    )
}

async fn script() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")],
        include_str!("page/live.js"),
    )
}

#[cfg(test)]
mod tests;
