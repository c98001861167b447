//! Is each backend getting the share it should: the e-detector with a tolerance band.
//!
//! Model: given the past, each free pick of a tick falls on backend i with some probability p_i.
//! Null: every p_i lies in `theta_i (1 - tolerance)` to `theta_i (1 + tolerance)`, wherever in that band it
//! wanders and however the rate of requests varies. Alternatives: one backend gets more, or less.
//! Both directions of every backend are watched and their e-detectors averaged, which is valid
//! however they depend on each other and costs ln(2K) nats.
//! False alarms: on average at least [`Arl`] ticks apart while the null holds; counts that vary less
//! than chance (round robin) only make it quieter. Use one test per null: `theta` from the running
//! configuration tests fidelity, `theta` from the declared intent tests intent.
//!
//! Blind spots: picks that come in clusters (a share counted in requests but decided per connection)
//! break the model, so feed picks of the algorithm only, never those forced by a cookie or a key;
//! deviations inside the band; effects below 4 % in odds beyond it. Start a new test at each epoch.
//!
//! Cost per tick: 16 exponentials per backend; memory 1.5 KB per backend.

use std::collections::VecDeque;
use std::fmt;

use evenkeel_model::clock::Mono;

use crate::arl::Arl;
use crate::bank::{Direction, Latch, Limits, Ratios, Side};
use crate::joint::Joint;
use crate::onset::{self, Onset, TickCount};
use crate::special::ln;

/// Picks below which a test says `Unknown`.
pub const PICKS_MIN: u64 = 30;

/// Ticks kept to date the onset.
const HISTORY_TICKS: usize = onset::TICKS_MAX;

/// Once the pool has alarmed, a backend with this much evidence of its own is named too, nats
/// (a factor of 20,000; naming, not alarming, hence no claim on run length).
const NAMED_NATS: f64 = 9.9;

/// The part of the budget that the whole vector gets; the rest is that of each backend alone.
const PART_JOINT: f64 = 0.4;

/// What a test says of one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Verdict {
    /// Within the band as far as the counts can tell.
    Ok,
    /// Above the band.
    Over,
    /// Below the band.
    Under,
    /// Too few picks to say.
    Unknown,
}

/// Why a verdict is what it is; [`fmt::Display`] gives the sentence.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Reason {
    /// Fewer than [`PICKS_MIN`] picks since the start of the epoch.
    TooFewPicks {
        /// Picks so far.
        picks: u64,
    },
    /// The test is quiet.
    Quiet {
        /// Observed share of the last ten ticks.
        share: f64,
        /// The share that was tested.
        expected: f64,
        /// Relative tolerance.
        tolerance: f64,
    },
    /// The share lies outside the band.
    Outside {
        /// Observed share of the last ten ticks.
        share: f64,
        /// The share that was tested.
        expected: f64,
        /// Relative tolerance.
        tolerance: f64,
        /// Evidence of this backend, nats.
        log_e: f64,
    },
}

/// The evidence about one backend.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct BackendEvidence {
    /// What the test says.
    pub verdict: Verdict,
    /// Evidence that it gets too much, nats; its own e-detector, before averaging.
    pub log_over: f64,
    /// Evidence that it gets too little, nats.
    pub log_under: f64,
    /// Free picks since the test began.
    pub picks: u64,
    /// Share of the last ten ticks; `None` below [`PICKS_MIN`] picks.
    pub share: Option<f64>,
    /// Why.
    pub reason: Reason,
}

/// The evidence about a pool after a tick.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ShareEvidence {
    /// Evidence against the null, nats.
    pub log_e: f64,
    /// Where it alarms, nats.
    pub log_threshold: f64,
    /// The alarm is up. It falls when the evidence is 3 nats below the threshold again.
    pub alarm: bool,
    /// It rose at this very tick.
    pub rose: bool,
    /// One per backend, in the order of `theta`.
    pub backends: Vec<BackendEvidence>,
    /// Free picks since the test began.
    pub picks: u64,
    /// When the change began, dated at the rise of the alarm; `None` while it is down.
    pub onset: Option<Onset>,
}

/// Why a test cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ShareError {
    /// No backend has a share.
    #[error("the tested shares must sum to more than 0")]
    NoShare,
    /// A share is negative or not a number.
    #[error("a tested share must be at least 0, got {0}")]
    Share(f64),
    /// A tolerance below 0 or not a number.
    #[error("a tolerance must be at least 0, got {0}")]
    Tolerance(f64),
}

/// The test of one pool against one vector of shares.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct ShareTest {
    tolerance: f64,
    log_threshold: f64,
    limits: Limits,
    watches: Vec<Watch>,
    joint: Joint,
    picks: u64,
    log_e: f64,
    latch: Latch,
    rose: bool,
    onset: Option<Onset>,
    history: VecDeque<Tick>,
    since: Mono,
}

/// One backend under watch.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Watch {
    theta: f64,
    above: Option<Ratios>,
    below: Option<Ratios>,
    over: Side,
    under: Side,
    picks: u64,
}

/// The counts of one tick.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Tick {
    at: Mono,
    total: u64,
    picks: Vec<u32>,
}

impl ShareTest {
    /// A test of the shares `theta` (any scale; normalised) with a relative `tolerance` (0.2: 20 %), begun at
    /// `since`, with the false-alarm budget `arl`.
    pub fn new(theta: &[f64], tolerance: f64, arl: Arl, since: Mono) -> Result<Self, ShareError> {
        if !(tolerance >= 0.0 && tolerance.is_finite()) {
            return Err(ShareError::Tolerance(tolerance));
        }
        if let Some(bad) = theta.iter().find(|t| !(t.is_finite() && **t >= 0.0)) {
            return Err(ShareError::Share(*bad));
        }
        let total: f64 = theta.iter().sum();
        if total <= 0.0 {
            return Err(ShareError::NoShare);
        }
        let theta: Vec<f64> = theta.iter().map(|share| share / total).collect();
        let watch = |share: &f64| Watch::new(*share, tolerance);
        let watches: Vec<Watch> = theta.iter().map(watch).collect();
        let log_threshold = arl.log_threshold();
        Ok(Self {
            tolerance,
            log_threshold,
            limits: Limits::new(log_threshold, 2 * watches.len(), f64::INFINITY),
            watches,
            joint: Joint::new(&theta, tolerance),
            picks: 0,
            log_e: f64::NEG_INFINITY,
            latch: Latch::new(),
            rose: false,
            onset: None,
            history: VecDeque::new(),
            since,
        })
    }

    /// Takes the new free picks of the tick that ended `at`, one count per backend in the order of `theta`.
    pub fn tick(&mut self, picks: &[u64], at: Mono) -> ShareEvidence {
        let total: u64 = picks.iter().take(self.watches.len()).sum();
        self.picks += total;
        let mut sum = 0.0;
        for (watch, count) in self.watches.iter_mut().zip(picks) {
            watch.tick(*count, total, self.limits);
            sum += watch.over.mean() + watch.under.mean();
        }
        self.joint.tick(picks, total as f64, self.limits);
        if total > 0 {
            let alone = sum / (2 * self.watches.len()) as f64;
            self.log_e = ln((1.0 - PART_JOINT) * alone + PART_JOINT * self.joint.mean());
        }
        self.remember(picks, total, at);
        self.rose = self.latch.update(self.log_e, self.log_threshold);
        if self.rose {
            self.onset = self.date();
        } else if !self.latch.raised() {
            self.onset = None;
        }
        self.evidence()
    }

    /// The evidence after the last tick.
    pub fn evidence(&self) -> ShareEvidence {
        let strongest = self.latch.raised().then(|| self.strongest()).flatten();
        let recent = self.recent();
        let backends = self.watches.iter().enumerate();
        ShareEvidence {
            log_e: self.log_e,
            log_threshold: self.log_threshold,
            alarm: self.latch.raised(),
            rose: self.rose,
            backends: backends
                .map(|(index, watch)| {
                    let hits = recent.0.get(index).copied().unwrap_or(0);
                    self.judge(watch, strongest == Some(index), (hits, recent.1))
                })
                .collect(),
            picks: self.picks,
            onset: self.onset,
        }
    }

    /// The shares that are tested, normalised.
    pub fn theta(&self) -> impl Iterator<Item = f64> + '_ {
        self.watches.iter().map(|watch| watch.theta)
    }

    /// Verdict on one backend; `recent` are its picks and all picks of the last ticks.
    fn judge(&self, watch: &Watch, strongest: bool, recent: (u64, u64)) -> BackendEvidence {
        let (log_over, log_under) = (ln(watch.over.mean()), ln(watch.under.mean()));
        let log_e = log_over.max(log_under);
        let share = (recent.1 >= PICKS_MIN).then(|| recent.0 as f64 / recent.1 as f64);
        let named = self.latch.raised() && (strongest || log_e >= NAMED_NATS);
        let shown = share.unwrap_or_else(|| watch.picks as f64 / self.picks.max(1) as f64);
        let (verdict, reason) = if named {
            let reason = Reason::Outside {
                share: shown,
                expected: watch.theta,
                tolerance: self.tolerance,
                log_e,
            };
            if log_over >= log_under {
                (Verdict::Over, reason)
            } else {
                (Verdict::Under, reason)
            }
        } else if self.picks < PICKS_MIN {
            (Verdict::Unknown, Reason::TooFewPicks { picks: self.picks })
        } else {
            let reason = Reason::Quiet {
                share: shown,
                expected: watch.theta,
                tolerance: self.tolerance,
            };
            (Verdict::Ok, reason)
        };
        BackendEvidence {
            verdict,
            log_over,
            log_under,
            picks: watch.picks,
            share,
            reason,
        }
    }

    /// The backend with the most evidence.
    fn strongest(&self) -> Option<usize> {
        let evidence = |watch: &Watch| watch.over.mean().max(watch.under.mean());
        let watches = self.watches.iter().enumerate();
        watches
            .max_by(|a, b| evidence(a.1).total_cmp(&evidence(b.1)))
            .map(|(index, _)| index)
    }

    fn remember(&mut self, picks: &[u64], total: u64, at: Mono) {
        if self.history.len() == HISTORY_TICKS
            && let Some(oldest) = self.history.pop_front()
        {
            self.since = oldest.at;
        }
        let picks = picks.iter().take(self.watches.len());
        let narrow = |count: &u64| u32::try_from(*count).unwrap_or(u32::MAX);
        self.history.push_back(Tick {
            at,
            total,
            picks: picks.map(narrow).collect(),
        });
    }

    /// Picks per backend and in all over the last [`RECENT_TICKS`].
    fn recent(&self) -> (Vec<u64>, u64) {
        let mut picks = vec![0u64; self.watches.len()];
        let mut total = 0;
        for tick in self.history.iter().rev().take(RECENT_TICKS) {
            total += tick.total;
            for (sum, count) in picks.iter_mut().zip(&tick.picks) {
                *sum += u64::from(*count);
            }
        }
        (picks, total)
    }

    /// Dates the change by the counts of the backend with the most evidence.
    fn date(&self) -> Option<Onset> {
        let index = self.strongest()?;
        let counts: Vec<TickCount> = self
            .history
            .iter()
            .map(|tick| TickCount {
                at: tick.at,
                hits: tick.picks.get(index).copied().map_or(0, u64::from),
                of: tick.total,
            })
            .collect();
        onset::change_point(&counts, self.since)
    }
}

/// Ticks over which an observed share is shown.
const RECENT_TICKS: usize = 10;

impl Watch {
    fn new(theta: f64, tolerance: f64) -> Self {
        Self {
            theta,
            above: Ratios::new(theta * (1.0 + tolerance), Direction::Above),
            below: Ratios::new(theta * (1.0 - tolerance), Direction::Below),
            over: Side::new(),
            under: Side::new(),
            picks: 0,
        }
    }

    fn tick(&mut self, count: u64, total: u64, limits: Limits) {
        self.picks += count;
        let (hits, trials) = (count as f64, total as f64);
        if let Some(ratios) = &self.above {
            self.over.step(ratios, hits, trials, limits);
        }
        if let Some(ratios) = &self.below {
            self.under.step(ratios, hits, trials, limits);
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewPicks { picks } => {
                write!(f, "{picks} picks so far, {PICKS_MIN} are needed")
            }
            Self::Quiet {
                share,
                expected,
                tolerance,
            } => write!(
                f,
                "gets {:.1}%, should get {:.1}%, within {:.0}% of it as far as the counts tell",
                share * 100.0,
                expected * 100.0,
                tolerance * 100.0
            ),
            Self::Outside {
                share,
                expected,
                tolerance,
                log_e,
            } => write!(
                f,
                "gets {:.1}%, should get {:.1}%; beyond the tolerance of {:.0}% (evidence {:.0} nats)",
                share * 100.0,
                expected * 100.0,
                tolerance * 100.0,
                log_e
            ),
        }
    }
}
