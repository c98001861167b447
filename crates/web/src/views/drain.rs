//! What came of a drain: what `drain` and `undrain` say, and what `status` lists.

use evenkeel_control::Drained;
use evenkeel_guard::{DrainView as Told, Outcome};
use evenkeel_model::clock::Wall;
use serde::{Deserialize, Serialize};

use super::forecast::PoolForecastView;
use super::outcome::ChangeOutcomeView;
use super::plan::FindingView;
use super::{ForecastView, time};

/// A drain of `status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct DrainView {
    pub pool: String,
    pub backend: String,
    pub since: String,
    /// It ends by itself then.
    pub until: String,
    pub seconds_left: u64,
    pub author: String,
    pub reason: String,
    /// Sampled since the drain took effect; null: not yet.
    pub in_flight: Option<u32>,
}

impl DrainView {
    /// The view at `now` of what the guard tells.
    pub fn of(drain: &Told, now: Wall) -> Self {
        Self {
            pool: drain.pool.to_string(),
            backend: drain.backend.to_string(),
            since: time(drain.since),
            until: time(drain.until),
            seconds_left: drain.until.since(now).as_secs(),
            author: drain.author.clone(),
            reason: drain.reason.clone(),
            in_flight: drain.in_flight,
        }
    }
}

/// `drain` and `undrain`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public JSON")]
pub struct DrainOutcomeView {
    pub pool: String,
    pub backend: String,
    pub state: String,
    pub until: Option<String>,
    pub reason: Option<String>,
    pub author: Option<String>,
    /// With `--wait`: what was in flight at the last look.
    pub in_flight: Option<u32>,
    pub findings: Vec<FindingView>,
    /// The pool at its peak without the backend.
    pub forecast: Option<PoolForecastView>,
    pub waited_seconds: f64,
    /// In words, for people.
    pub message: String,
}

impl DrainOutcomeView {
    /// What came of `drain`.
    pub fn of_drain(pool: &str, backend: &str, drained: &Drained) -> Self {
        let judged = &drained.judged;
        let forecast = ForecastView::of(&judged.forecast, &judged.setup);
        let of_pool = forecast.pools.into_iter().find(|p| p.name == pool);
        let view = Self {
            forecast: of_pool,
            ..Self::of(pool, backend, &drained.outcome)
        };
        // Of a refusal the guard tells the findings.
        let notes = judged.findings.iter();
        match &drained.outcome {
            Outcome::Drained(_) => Self {
                findings: notes.map(|f| FindingView::of(f, false)).collect(),
                ..view
            },
            _ => view,
        }
    }

    /// What came of `undrain`, and the plain part of `drain`.
    pub fn of(pool: &str, backend: &str, outcome: &Outcome) -> Self {
        let said = ChangeOutcomeView::of(Some(outcome), None);
        let drain = match outcome {
            Outcome::Drained(record) => Some(record),
            _ => None,
        };
        Self {
            pool: pool.to_owned(),
            backend: backend.to_owned(),
            state: said.state,
            until: drain.map(|record| time(record.until)),
            reason: drain.map(|record| record.reason.clone()),
            author: drain.map(|record| record.author.clone()),
            in_flight: None,
            findings: said.findings,
            forecast: None,
            waited_seconds: 0.0,
            message: said.message,
        }
    }
}
