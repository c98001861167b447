//! `drain` and `undrain`.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use evenkeel_web::requests::{DrainRequest, UndrainRequest};
use evenkeel_web::views::{DrainOutcomeView, DrainView, StatusView};
use serde::Serialize;

use crate::admin::Admin;
use crate::args::{Drain, Global, Whom};
use crate::commands::change::concluded;
use crate::exit::Exit;
use crate::terminal::Terminal;

/// Between two looks at what is in flight.
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub(crate) fn drain(options: &Drain, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let admin = Admin::new(global)?;
    let started = Instant::now();
    let request = DrainRequest {
        pool: options.whom.pool.clone(),
        backend: options.whom.backend.clone(),
        for_ms: Some(u64::try_from(options.lasts.as_millis()).unwrap_or(u64::MAX)),
        reason: options.reason.clone().unwrap_or_default(),
        force: options.force,
    };
    let mut view = ask(&admin, "/api/drain", &request)?;
    let mut waited = Waited::Empty;
    if let Some(longest) = options.wait.filter(|_| view.state == "drained") {
        terminal.say(&format!(
            "{}; waiting until nothing is in flight",
            view.message
        ));
        waited = wait(&admin, &mut view, started, longest)?;
        view.message = waited.words(&view, longest);
    }
    view.waited_seconds = started.elapsed().as_secs_f64();
    let exit = conclude(&view, terminal)?;
    Ok(match (exit, waited) {
        (Exit::Ok, Waited::TooLong | Waited::Over) => Exit::Failed,
        (exit, _) => exit,
    })
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waited {
    Empty,
    /// Something is in flight still.
    TooLong,
    /// The drain ended first.
    Over,
}

impl Waited {
    fn words(self, view: &DrainOutcomeView, longest: Duration) -> String {
        let whom = format!("{}/{}", view.pool, view.backend);
        let until = view.until.as_deref().unwrap_or("-");
        let left = view
            .in_flight
            .map_or_else(|| "it is not known how many".to_owned(), |n| n.to_string());
        match self {
            Self::Empty => format!("{whom} is drained until {until}: nothing is in flight on it"),
            Self::TooLong => format!(
                "{whom} is drained until {until}; after {} s there are still requests in flight on it: {left}",
                longest.as_secs()
            ),
            Self::Over => {
                format!(
                    "the drain of {whom} ended before it was empty; in flight at the last look: {left}"
                )
            }
        }
    }
}

/// Looks at the drain until nothing is in flight, it is over, or the time is.
fn wait(
    admin: &Admin,
    view: &mut DrainOutcomeView,
    started: Instant,
    longest: Duration,
) -> anyhow::Result<Waited> {
    // Nothing is ever sent: the channel is a pause that ends by itself.
    let (_keep, pause) = channel::<()>();
    loop {
        let status: StatusView = admin.get("/api/status")?;
        let mine = |d: &&DrainView| d.pool == view.pool && d.backend == view.backend;
        let Some(drain) = status.drains.iter().find(mine) else {
            return Ok(Waited::Over);
        };
        view.in_flight = drain.in_flight.or(view.in_flight);
        if drain.in_flight == Some(0) {
            return Ok(Waited::Empty);
        }
        let is_over = started.elapsed() >= longest;
        if is_over || pause.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Disconnected) {
            return Ok(Waited::TooLong);
        }
    }
}

pub(crate) fn undrain(
    whom: &Whom,
    reason: Option<String>,
    global: &Global,
    terminal: Terminal,
) -> anyhow::Result<Exit> {
    let request = UndrainRequest {
        pool: whom.pool.clone(),
        backend: whom.backend.clone(),
        reason: reason.unwrap_or_default(),
    };
    let view = ask(&Admin::new(global)?, "/api/undrain", &request)?;
    conclude(&view, terminal)
}

fn ask<B: Serialize>(admin: &Admin, path: &str, body: &B) -> anyhow::Result<DrainOutcomeView> {
    admin.post_about(path, body)
}

fn conclude(view: &DrainOutcomeView, terminal: Terminal) -> anyhow::Result<Exit> {
    concluded(view, (&view.state, &view.findings, &view.message), terminal)
}
