//! One epoch of a pool: who took which part of its traffic, and where those parts came from.

use evenkeel_balance::Member;
use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Algorithm, Pool};

use crate::alarm::AlarmKind;
use crate::event::EpochFact;
use crate::ramp::Ramp;

/// An epoch and since when it runs.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct EpochInfo {
    /// As the shell told it.
    pub(crate) fact: EpochFact,
    /// Since when.
    pub(crate) from: Mono,
    /// The algorithm of its revision.
    pub(crate) algorithm: Algorithm,
    /// Who takes which part by the journalled configuration (slow start and the like followed).
    pub(crate) members: Vec<Member>,
    /// The weights that its configuration declares, like `members`.
    pub(crate) declared: Vec<u32>,
    /// Its weights are between those before its revision and its own.
    pub(crate) comes_in: bool,
    /// What was intended and, where it follows from the configuration, expected in it.
    pub(crate) shares: (Vec<f64>, Option<Vec<f64>>),
}

impl EpochInfo {
    /// The share of free picks that the backend at `place` was due in it, as the test of `kind` sees it.
    pub(crate) fn due(&self, kind: AlarmKind, place: usize) -> Option<f64> {
        let shares = match kind {
            AlarmKind::Fidelity => self.shares.1.as_ref()?,
            _ => &self.shares.0,
        };
        shares.get(place).copied()
    }
}

/// Where the weights of a pool come from.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Shape {
    /// From the running text.
    Text,
    /// From a deployment: they say what is intended.
    Deployment,
    /// From a revision that comes in by parts, with the pool as its text has it.
    Ramp(Box<(Ramp, Pool)>),
}
