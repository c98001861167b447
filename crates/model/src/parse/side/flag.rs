//! One fact from a flag of the command line.

use super::super::pool::RPS;
use super::super::reader::clip;

/// Why a flag's value is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// Not a capacity.
    #[error(
        "`--capacity {0}` is not understood; write requests per second from {min} to {max}: `600`, `POOL=600` or \
         `POOL/BACKEND=600`", min = RPS.min, max = RPS.max
    )]
    Capacity(String),
    /// Not a peak.
    #[error(
        "`--peak-rps {0}` is not understood; write requests per second from {min} to {max}: `900` or `POOL=900`",
        min = RPS.min, max = RPS.max
    )]
    PeakRps(String),
}

/// One fact.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Flag {
    /// What it is about.
    pub(super) kind: Kind,
    /// The flag as it was written, for messages.
    pub(super) written: String,
    /// What stands before the `=`; `None`: it is for everything.
    pub(super) target: Option<String>,
    /// Requests per second.
    pub(super) rps: f64,
}

/// What a flag is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Capacity,
    PeakRps,
}

impl Flag {
    pub(super) fn capacity(text: &str) -> Result<Self, FlagError> {
        let written = format!("--capacity {}", clip(text));
        read(text, Kind::Capacity, written).ok_or_else(|| FlagError::Capacity(clip(text)))
    }

    pub(super) fn peak_rps(text: &str) -> Result<Self, FlagError> {
        let written = format!("--peak-rps {}", clip(text));
        read(text, Kind::PeakRps, written).ok_or_else(|| FlagError::PeakRps(clip(text)))
    }
}

/// The name may hold a `=`, the number cannot: it is cut at the last one.
fn read(text: &str, kind: Kind, written: String) -> Option<Flag> {
    let (target, number) = match text.rsplit_once('=') {
        Some((target, number)) => (Some(target.trim()), number),
        None => (None, text),
    };
    let rps: f64 = number.trim().parse().ok()?;
    let is_sound = (RPS.min..=RPS.max).contains(&rps) && target != Some("");
    is_sound.then(|| Flag {
        kind,
        written,
        target: target.map(str::to_owned),
        rps,
    })
}
