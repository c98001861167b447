//! What a stream of requests does now, and what a step turns of it. The same on both stages.

use crate::scenario::{Traffic, TrafficStep};

/// What a stream does now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dial {
    pub(crate) rate: f64,
    pub(crate) skew: f64,
    pub(crate) key_skew: f64,
    pub(crate) retries: u8,
}

impl Dial {
    pub(crate) fn of(traffic: &Traffic) -> Self {
        Self {
            rate: traffic.rate,
            skew: traffic.client_skew,
            key_skew: traffic.key.as_ref().map_or(0.0, |key| key.skew),
            retries: traffic.retries,
        }
    }

    /// Takes what `turn` turns but the rate, which has a way to go.
    pub(crate) fn take(&mut self, turn: Turn) {
        self.skew = turn.skew.unwrap_or(self.skew);
        self.key_skew = turn.key_skew.unwrap_or(self.key_skew);
        self.retries = turn.retries.unwrap_or(self.retries);
    }
}

/// What is turned; the rest stays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) rate: Option<f64>,
    pub(crate) skew: Option<f64>,
    pub(crate) key_skew: Option<f64>,
    pub(crate) retries: Option<u8>,
}

impl Turn {
    /// What `step` asks for while the stream stands at `dial`.
    pub(crate) fn of(step: &TrafficStep, dial: Dial) -> Self {
        let by_factor = || step.factor.map(|factor| dial.rate * factor);
        Self {
            rate: step.rate.or_else(by_factor),
            skew: step.client_skew,
            key_skew: step.key_skew,
            retries: step.retries,
        }
    }

    /// What brings all of it back to `dial`.
    pub(crate) fn back(self, dial: Dial) -> Self {
        Self {
            rate: self.rate.map(|_| dial.rate),
            skew: self.skew.map(|_| dial.skew),
            key_skew: self.key_skew.map(|_| dial.key_skew),
            retries: self.retries.map(|_| dial.retries),
        }
    }
}
