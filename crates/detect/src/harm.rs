//! Are requests harmed beyond the declared objective: an e-detector on a rate.
//!
//! Model: given the past, each request of a tick is harmed with some probability. Null: that
//! probability is at most the objective (say 1 %), whatever it does below it. Harm is exceedance of
//! what the operator declared, not change: a pool that always failed 3 % against an objective of 1 %
//! alarms, one that went from 0.1 % to 0.5 % does not.
//! False alarms: at least [`Arl`] ticks apart on average while the null holds.
//!
//! Failures come in bursts. Two guards: one tick never speaks alone (its evidence is clipped, which
//! keeps the e-value valid), so at least three ticks must agree; and a known factor of
//! overdispersion divides the counts (a heuristic without the formal guarantee).
//!
//! Blind spots: exceedance by less than 4 % of the odds; a burst shorter than three ticks.

use std::collections::VecDeque;
use std::fmt;

use evenkeel_model::clock::Mono;

use crate::arl::Arl;
use crate::bank::{Direction, Latch, Limits, Ratios, Side};
use crate::onset::{self, Onset, TickCount};
use crate::sequence::{self, Interval, Standing};
use crate::special::ln;

/// Requests below which the test says `Unknown`.
pub const REQUESTS_MIN: u64 = 30;

/// The part of the threshold that one tick may contribute: three ticks at least.
const CLIP_PART: f64 = 0.4;

/// Ticks kept to date the onset.
const HISTORY_TICKS: usize = onset::TICKS_MAX;

/// Ticks over which the rate is shown.
const RECENT_TICKS: usize = 10;

/// What the test says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Verdict {
    /// Nothing speaks against the objective being met.
    Quiet,
    /// The objective is missed.
    Harm,
    /// Too few requests to say.
    Unknown,
}

/// The evidence after a tick; [`fmt::Display`] gives the reason as a sentence.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct HarmEvidence {
    /// What the test says.
    pub verdict: Verdict,
    /// Evidence that the objective is missed, nats.
    pub log_e: f64,
    /// Where it alarms, nats.
    pub log_threshold: f64,
    /// The alarm is up.
    pub alarm: bool,
    /// It rose at this very tick.
    pub rose: bool,
    /// Rate of the last ten ticks; `None` below [`REQUESTS_MIN`] requests.
    pub rate: Option<f64>,
    /// The objective.
    pub objective: f64,
    /// Requests since the test began.
    pub requests: u64,
    /// When the rate changed, dated at the rise of the alarm; `None` while it is down.
    pub onset: Option<Onset>,
}

/// Why a test cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum HarmError {
    /// An objective outside 0 to 1.
    #[error("an objective must be at least 0 and below 1, got {0}")]
    Objective(f64),
    /// A factor below 1.
    #[error("a factor of overdispersion must be at least 1, got {0}")]
    Overdispersion(f64),
}

/// The test of one rate against its objective.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct HarmTest {
    objective: f64,
    overdispersion: f64,
    ratios: Ratios,
    side: Side,
    limits: Limits,
    log_threshold: f64,
    latch: Latch,
    rose: bool,
    onset: Option<Onset>,
    history: VecDeque<TickCount>,
    since: Mono,
    harmed: u64,
    requests: u64,
}

impl HarmTest {
    /// A test against `objective` (0.01: 1 %; 0 is read as 0.01 %), begun at `since`.
    pub fn new(objective: f64, arl: Arl, since: Mono) -> Result<Self, HarmError> {
        let error = HarmError::Objective(objective);
        if !(0.0..1.0).contains(&objective) {
            return Err(error);
        }
        let ratios = Ratios::new(objective, Direction::Above).ok_or(error)?;
        let log_threshold = arl.log_threshold();
        Ok(Self {
            objective,
            overdispersion: 1.0,
            ratios,
            side: Side::new(),
            limits: Limits::new(log_threshold, 1, CLIP_PART * log_threshold),
            log_threshold,
            latch: Latch::new(),
            rose: false,
            onset: None,
            history: VecDeque::new(),
            since,
            harmed: 0,
            requests: 0,
        })
    }

    /// Divides the counts by a known factor of overdispersion (variance over that of independent requests).
    pub fn with_overdispersion(mut self, factor: f64) -> Result<Self, HarmError> {
        if !(factor >= 1.0 && factor.is_finite()) {
            return Err(HarmError::Overdispersion(factor));
        }
        self.overdispersion = factor;
        Ok(self)
    }

    /// Takes `harmed` of `requests` of the tick that ended `at`.
    pub fn tick(&mut self, harmed: u64, requests: u64, at: Mono) -> HarmEvidence {
        let harmed = harmed.min(requests);
        self.harmed += harmed;
        self.requests += requests;
        let (hits, trials) = (
            harmed as f64 / self.overdispersion,
            requests as f64 / self.overdispersion,
        );
        self.side.step(&self.ratios, hits, trials, self.limits);
        if self.history.len() == HISTORY_TICKS
            && let Some(oldest) = self.history.pop_front()
        {
            self.since = oldest.at;
        }
        self.history.push_back(TickCount {
            at,
            hits: harmed,
            of: requests,
        });
        self.rose = self.latch.update(ln(self.side.mean()), self.log_threshold);
        if self.rose {
            self.onset = onset::change_point(self.history.make_contiguous(), self.since);
        } else if !self.latch.raised() {
            self.onset = None;
        }
        self.evidence()
    }

    /// The evidence after the last tick.
    pub fn evidence(&self) -> HarmEvidence {
        let recent = self.history.iter().rev().take(RECENT_TICKS);
        let (hits, of) = recent.fold((0, 0), |sum, t| (sum.0 + t.hits, sum.1 + t.of));
        let verdict = if self.latch.raised() {
            Verdict::Harm
        } else if self.requests < REQUESTS_MIN {
            Verdict::Unknown
        } else {
            Verdict::Quiet
        };
        HarmEvidence {
            verdict,
            log_e: ln(self.side.mean()),
            log_threshold: self.log_threshold,
            alarm: self.latch.raised(),
            rose: self.rose,
            rate: (of >= REQUESTS_MIN).then(|| hits as f64 / of as f64),
            objective: self.objective,
            requests: self.requests,
            onset: self.onset,
        }
    }

    /// Positive evidence over all counts since the test began: `Inside` when the confidence sequence of the
    /// rate lies below the objective, `Outside` when above it. Quiet alone is not evidence.
    pub fn standing(&self, alpha: f64) -> Standing {
        let band = Interval {
            lo: 0.0,
            hi: self.objective,
        };
        sequence::standing(self.harmed, self.requests, alpha, band)
    }

    /// The confidence sequence of the rate over all counts since the test began.
    pub fn interval(&self, alpha: f64) -> Interval {
        sequence::interval(self.harmed, self.requests, alpha)
    }
}

impl fmt::Display for HarmEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let objective = self.objective * 100.0;
        match (self.verdict, self.rate) {
            (Verdict::Unknown, _) => write!(
                f,
                "{} requests so far, {REQUESTS_MIN} are needed",
                self.requests
            ),
            (Verdict::Harm, Some(rate)) => write!(
                f,
                "{:.1}% of requests are harmed, the objective is {objective:.1}%",
                rate * 100.0
            ),
            (Verdict::Harm, None) => {
                write!(
                    f,
                    "more requests are harmed than the objective of {objective:.1}% allows"
                )
            }
            (Verdict::Quiet, Some(rate)) => write!(
                f,
                "{:.1}% of requests are harmed, within the objective of {objective:.1}%",
                rate * 100.0
            ),
            (Verdict::Quiet, None) => write!(f, "no sign of harm beyond {objective:.1}%"),
        }
    }
}
