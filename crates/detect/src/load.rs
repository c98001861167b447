//! `least_request`: shares follow speed on purpose, so load is judged, not share.
//!
//! The algorithm levels in-flight requests over capacity; a fast backend rightly gets more picks.
//! Null: of the requests in flight at a tick, each backend holds at most its part of the capacity
//! widened by [`TOLERANCE`] and by one request. Levelling makes in-flight counts vary less than chance, which only
//! makes the test quieter; requests that last several ticks are counted at each, so the counts are
//! divided by the mean dwell time (Little's law: in flight over picks per tick).
//! A second pattern is the sinkhole: a backend that fails fast looks idle, draws traffic and fails
//! it. It is named when its failures exceed those of the rest and its picks exceed its part.
//! A backend with neither picks nor load is starved (`Under`); what deviates in share otherwise is
//! `Explained`.
//!
//! Blind spots: at less than [`IN_FLIGHT_MIN`] requests in flight over the last minute nothing can be said;
//! a backend that hides its load by failing neither fast nor often.

use std::collections::VecDeque;
use std::fmt;

use crate::arl::{Arl, ArlError};
use crate::bank::{Direction, Latch, Limits, Ratios, Side};
use crate::shift::{Count, ShiftTest};
use crate::special::ln;

/// Relative tolerance around a backend's part of the load, and below its part of the picks: such
/// algorithms are not exact.
pub const TOLERANCE: f64 = 0.5;

/// Relative tolerance above its part of the picks. Two choices give one of three backends no
/// more than 2/3 of the picks, so a wider one would never see a sinkhole there.
pub const DRAW_TOLERANCE: f64 = 0.2;

/// Failures of a sinkhole exceed the pooled odds by at least this factor.
const FAILURE_MARGIN: f64 = 1.5;

/// In-flight samples (after division by dwell) within the last minute below which the test says `Unknown`.
pub const IN_FLIGHT_MIN: f64 = 30.0;

/// Ticks over which the amount of data is judged.
const RECENT_TICKS: usize = 60;

/// What the test says of one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Verdict {
    /// Load and picks follow capacity.
    Ok,
    /// It holds more of the load than its capacity justifies.
    Over,
    /// It fails fast and draws traffic.
    Sinkhole,
    /// It gets far fewer picks than its part although next to nothing is in flight there: starved.
    Under,
    /// Its share of picks deviates, its load does not: the algorithm does its work.
    Explained,
    /// Too little in flight to say.
    Unknown,
}

/// The evidence about one backend; [`fmt::Display`] gives the reason as a sentence.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LoadEvidence {
    /// What the test says.
    pub verdict: Verdict,
    /// Evidence that its in-flight share exceeds its part, nats.
    pub log_load: f64,
    /// Evidence that its share of picks exceeds its part, nats.
    pub log_picks: f64,
    /// Evidence that it fails more than the rest, nats.
    pub log_failures: f64,
    /// Share of in-flight requests over the last minute; `None` without any.
    pub load_share: Option<f64>,
    /// Share of picks over the last minute; `None` without any.
    pub pick_share: Option<f64>,
    /// Its part of the capacity.
    pub part: f64,
}

/// The counts of one backend in one tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadCount {
    /// Requests in flight when the tick ended.
    pub in_flight: u32,
    /// Picks in the tick, all kinds.
    pub picks: u64,
    /// Tries that failed in the tick.
    pub failed: u64,
    /// Tries that ended in the tick.
    pub ended: u64,
}

/// Why a test cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum LoadError {
    /// No backend has a capacity, or one is not a number at least 0.
    #[error("capacities must be at least 0 and sum to more than 0")]
    Capacity,
    /// The budget cannot be divided.
    #[error(transparent)]
    Budget(#[from] ArlError),
}

/// The test of one pool.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct LoadTest {
    watches: Vec<Watch>,
    failures: ShiftTest,
    limits: Limits,
    log_threshold: f64,
    recent: VecDeque<Vec<(f64, u64)>>,
}

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Watch {
    part: f64,
    above: Option<Ratios>,
    drawn: Option<Ratios>,
    below: Option<Ratios>,
    load: (Side, Latch),
    idle: (Side, Latch),
    picks: (Side, Latch),
    starved: (Side, Latch),
}

impl LoadTest {
    /// A test for backends with these capacities (requests per second, or weights where none are
    /// declared; 0: takes no part).
    pub fn new(capacity: &[f64], arl: Arl) -> Result<Self, LoadError> {
        let total: f64 = capacity.iter().sum();
        let fine = capacity.iter().all(|c| c.is_finite() && *c >= 0.0) && total > 0.0;
        if !fine {
            return Err(LoadError::Capacity);
        }
        // A third of the budget for too much load; a third each for starved and sinkhole, which need two
        // alarms at once and so spend no more than the rarer of the two.
        let third = arl.part(1.0 / 3.0)?;
        let log_threshold = third.log_threshold() + ln(capacity.len() as f64);
        let watch = |capacity: &f64| {
            let part = capacity / total;
            Watch {
                part,
                above: Ratios::new(part * (1.0 + TOLERANCE), Direction::Above),
                drawn: Ratios::new(part * (1.0 + DRAW_TOLERANCE), Direction::Above),
                below: Ratios::new(part * (1.0 - TOLERANCE), Direction::Below),
                load: (Side::new(), Latch::new()),
                idle: (Side::new(), Latch::new()),
                picks: (Side::new(), Latch::new()),
                starved: (Side::new(), Latch::new()),
            }
        };
        Ok(Self {
            watches: capacity.iter().map(watch).collect(),
            failures: ShiftTest::new(capacity.len(), FAILURE_MARGIN, third),
            limits: Limits::new(log_threshold, 1, f64::INFINITY),
            log_threshold,
            recent: VecDeque::new(),
        })
    }

    /// Takes the counts of one tick, one per backend.
    pub fn tick(&mut self, counts: &[LoadCount]) -> Vec<LoadEvidence> {
        let counts = counts.get(..self.watches.len()).unwrap_or(counts);
        let in_flight: f64 = counts.iter().map(|c| f64::from(c.in_flight)).sum();
        let picks: u64 = counts.iter().map(|c| c.picks).sum();
        // One request seen at ten ticks is one request.
        let dwell = (in_flight / picks.max(1) as f64).max(1.0);
        for (watch, count) in self.watches.iter_mut().zip(counts) {
            let held = f64::from(count.in_flight);
            // Levelling is exact to one request, so one is forgiven in either direction.
            let (most, least) = ((held + 1.0).min(in_flight), (held - 1.0).max(0.0));
            watch.tick(
                (least / dwell, most / dwell, in_flight / dwell),
                (count.picks as f64, picks as f64),
                (self.limits, self.log_threshold),
            );
        }
        let failures: Vec<Count> = counts
            .iter()
            .map(|c| Count {
                hits: c.failed,
                of: c.ended,
            })
            .collect();
        self.failures.tick(&failures);
        if self.recent.len() == RECENT_TICKS {
            self.recent.pop_front();
        }
        let held = |c: &LoadCount| (f64::from(c.in_flight) / dwell, c.picks);
        self.recent.push_back(counts.iter().map(held).collect());
        self.evidence()
    }

    /// The evidence after the last tick.
    pub fn evidence(&self) -> Vec<LoadEvidence> {
        let mut sums = vec![(0.0, 0u64); self.watches.len()];
        for tick in &self.recent {
            for (sum, count) in sums.iter_mut().zip(tick) {
                sum.0 += count.0;
                sum.1 += count.1;
            }
        }
        let all = sums.iter().fold((0.0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
        let failures = self.failures.evidence();
        let watches = self.watches.iter().zip(&sums).zip(&failures);
        watches
            .map(|((watch, sum), failure)| {
                let verdict = if watch.picks.1.raised() && failure.alarm {
                    Verdict::Sinkhole
                } else if watch.load.1.raised() {
                    Verdict::Over
                } else if watch.idle.1.raised() && watch.starved.1.raised() {
                    Verdict::Under
                } else if watch.picks.1.raised() || watch.starved.1.raised() {
                    Verdict::Explained
                } else if all.0 < IN_FLIGHT_MIN {
                    Verdict::Unknown
                } else {
                    Verdict::Ok
                };
                LoadEvidence {
                    verdict,
                    log_load: ln(watch.load.0.mean()),
                    log_picks: ln(watch.picks.0.mean()),
                    log_failures: failure.log_e,
                    load_share: (all.0 > 0.0).then(|| sum.0 / all.0),
                    pick_share: (all.1 > 0).then(|| sum.1 as f64 / all.1 as f64),
                    part: watch.part,
                }
            })
            .collect()
    }
}

impl Watch {
    /// `held`: its requests in flight at least, at most, and those of all; `picks`: its own and all.
    fn tick(&mut self, held: (f64, f64, f64), picks: (f64, f64), bounds: (Limits, f64)) {
        let (limits, log_threshold) = bounds;
        if let Some(ratios) = &self.above {
            self.load.0.step(ratios, held.0, held.2, limits);
        }
        if let Some(ratios) = &self.drawn {
            self.picks.0.step(ratios, picks.0, picks.1, limits);
        }
        if let Some(ratios) = &self.below {
            self.idle.0.step(ratios, held.1, held.2, limits);
            self.starved.0.step(ratios, picks.0, picks.1, limits);
        }
        let pairs = [
            &mut self.load,
            &mut self.idle,
            &mut self.picks,
            &mut self.starved,
        ];
        for (side, latch) in pairs {
            latch.update(ln(side.mean()), log_threshold);
        }
    }
}

impl fmt::Display for LoadEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = self.part * 100.0;
        let load = self.load_share.unwrap_or(0.0) * 100.0;
        let picks = self.pick_share.unwrap_or(0.0) * 100.0;
        match self.verdict {
            Verdict::Ok => write!(f, "holds {load:.1}% of the load, its part is {part:.1}%"),
            Verdict::Over => write!(
                f,
                "holds {load:.1}% of the requests in flight, its part is {part:.1}%"
            ),
            Verdict::Sinkhole => write!(
                f,
                "fails more than the rest and draws {picks:.1}% of the picks, its part is {part:.1}%"
            ),
            Verdict::Under => write!(
                f,
                "gets {picks:.1}% of the picks and holds {load:.1}% of the load, its part is {part:.1}%"
            ),
            Verdict::Explained => write!(
                f,
                "least_request gives it {picks:.1}% of the picks for its speed; its load is level"
            ),
            Verdict::Unknown => write!(f, "too few requests in flight to judge its load"),
        }
    }
}
