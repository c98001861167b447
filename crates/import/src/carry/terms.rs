//! Values within what Evenkeel accepts: durations, counts, rates, percentages.

use std::time::Duration;

use evenkeel_model::setup::Wait;
use evenkeel_model::units::{Ratio, format_duration};

/// Most connections of a listener, and most requests at once on a backend.
pub(super) const COUNT_MAX: u64 = 1_000_000;
/// Most further tries: what the audit accepts (RTY-02).
pub(super) const ATTEMPTS_MAX: u32 = 3;
/// Largest weight.
pub(super) const WEIGHT_MAX: u32 = 65_535;
/// Most checks in a row.
pub(super) const CHECKS_MAX: u32 = 100;
/// Longest time that something of a backend may take.
pub(super) const BACKEND_WAIT_MAX: Duration = Duration::from_hours(1);
/// Longest time that something of a client may take.
pub(super) const CLIENT_WAIT_MAX: Duration = Duration::from_hours(24);
/// Shortest interval of checks.
pub(super) const INTERVAL_MIN: Duration = Duration::from_millis(10);

const WAIT_MIN: Duration = Duration::from_millis(1);
const RATE: (f64, f64) = (0.001, 1e9);

/// A duration as TOML.
pub(super) fn duration(value: Duration) -> String {
    format!("\"{}\"", format_duration(value))
}

/// `wait` within 1 ms and `max`, and whether that is what it was.
pub(super) fn wait(wait: Wait, max: Duration) -> (Duration, bool) {
    match wait {
        Wait::For(time) => {
            let fits = time.clamp(WAIT_MIN, max);
            (fits, fits == time)
        }
        Wait::Endless => (max, false),
    }
}

/// A rate as TOML; `None`: it is outside what is accepted.
pub(super) fn rate(value: f64) -> Option<String> {
    const WHOLE_MAX: f64 = 1e15;
    let fits = value >= RATE.0 && value <= RATE.1;
    fits.then(|| {
        if value.fract() == 0.0 && value < WHOLE_MAX {
            format!("{value:.0}")
        } else {
            format!("{value:?}")
        }
    })
}

/// A fraction as a percentage in TOML, within `min` and `max`.
pub(super) fn percent(value: f64, min: f64, max: f64) -> String {
    let ppm = (value.clamp(min, max) * 1e6).round() as u32;
    format!("\"{}\"", Ratio::from_ppm(ppm))
}

/// Weights within what is accepted, in the same proportion, and whether the proportion is exact.
pub(super) fn weights(weights: &[u32]) -> (Vec<u32>, bool) {
    let largest = weights.iter().copied().max().unwrap_or(0);
    if largest <= WEIGHT_MAX {
        return (weights.to_vec(), true);
    }
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    if largest / divisor <= WEIGHT_MAX {
        return (weights.iter().map(|w| w / divisor).collect(), true);
    }
    let scale = f64::from(WEIGHT_MAX) / f64::from(largest);
    let nearest = |w: &u32| match w {
        0 => 0,
        w => ((f64::from(*w) * scale).round() as u32).max(1),
    };
    (weights.iter().map(nearest).collect(), false)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
