//! The weights that a file leaves out: proportional to capacity, so that a typo in a weight cannot be made.

use crate::config::{Backend, Intent};

/// Largest weight, and the largest that is derived.
pub(super) const WEIGHT_MAX: u32 = 65_535;

/// Fills in the weights that the file leaves out: proportional to capacity under intent capacity, else 1.
pub(crate) fn derive(intent: Intent, backends: &mut [Backend]) {
    if intent != Intent::Capacity {
        return;
    }
    let capacities: Option<Vec<f64>> = backends.iter().map(|b| b.capacity_rps).collect();
    let Some(capacities) = capacities else { return };
    for (backend, weight) in backends.iter_mut().zip(weights(&capacities)) {
        if !backend.weight_declared {
            backend.weight = weight;
        }
    }
}

/// The smallest whole numbers in exactly the ratio of `capacities` where those are decimal numbers of at most
/// six places and the result fits; else the nearest ones with [`WEIGHT_MAX`] as the largest, and none below 1.
fn weights(capacities: &[f64]) -> Vec<u32> {
    const PLACES_MAX: i32 = 6;
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0; // 2^53: whole numbers up to here are exact
    let exact = (0..=PLACES_MAX).find_map(|places| {
        let scale = 10f64.powi(places);
        let scaled: Vec<f64> = capacities.iter().map(|c| c * scale).collect();
        // 0.1 x 10 is whole only up to rounding, so a scaled value may be off by one part in 2^50.
        let whole = |v: &f64| *v < EXACT_MAX && (v - v.round()).abs() <= v * 2f64.powi(-50);
        scaled
            .iter()
            .all(whole)
            .then(|| scaled.iter().map(|v| v.round() as u64).collect::<Vec<_>>())
    });
    if let Some(exact) = exact {
        let divisor = exact.iter().copied().fold(0, gcd).max(1);
        if exact.iter().all(|v| v / divisor <= u64::from(WEIGHT_MAX)) {
            return exact.iter().map(|v| (v / divisor) as u32).collect();
        }
    }
    let largest = capacities.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let nearest = |c: &f64| ((c / largest * f64::from(WEIGHT_MAX)).round() as u32).max(1);
    capacities.iter().map(nearest).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::{WEIGHT_MAX, weights};

    #[test]
    fn derived_weights_keep_exact_ratios_and_are_smallest() {
        assert_eq!(weights(&[600.0, 600.0, 600.0]), [1, 1, 1]);
        assert_eq!(weights(&[600.0, 300.0, 900.0]), [2, 1, 3]);
        assert_eq!(weights(&[0.1, 0.3]), [1, 3]);
        assert_eq!(weights(&[1.5, 2.25]), [2, 3]);
        assert_eq!(weights(&[65_535.0, 65_534.0]), [65_535, 65_534]);
    }

    #[test]
    fn derived_weights_that_do_not_fit_are_scaled_to_the_largest() {
        assert_eq!(weights(&[131_071.0, 65_536.0]), [WEIGHT_MAX, 32_768]);
        assert_eq!(weights(&[1e9, 0.001]), [WEIGHT_MAX, 1]);
        let irrational = weights(&[2f64.sqrt() * 1e3, 1e3]);
        assert_eq!(irrational, [WEIGHT_MAX, 46_340]);
    }
}
