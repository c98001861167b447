//! Levels of priority: which part of the traffic each takes.
//!
//! A level takes what its healthy part times the overprovisioning covers, and passes the rest on to the next: with 1.4,
//! a level of which 72 % are healthy still takes all, one of which half are takes 70 %. So the next level joins in
//! proportion and never at once. Envoy counts hosts and whole percent ([`Grain::WholePercent`]); Evenkeel counts weight and
//! does not round. When all levels together cover less than everything, each takes its part of what there is.

/// How finely a level's coverage is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// As it is.
    Exact,
    /// Down to whole percent, as Envoy does; what rounding leaves goes to the first level that takes any.
    WholePercent,
}

/// Parts below this are nothing.
const SLIVER: f64 = 1e-9;

/// One level, in hosts or in weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// What of it is healthy.
    pub healthy: f64,
    /// All of it.
    pub all: f64,
}

/// How much of the whole traffic `level` covers, 0..=1.
pub fn coverage(level: Level, overprovisioning: f64, grain: Grain) -> f64 {
    if level.all <= 0.0 {
        return 0.0;
    }
    let covers = overprovisioning.max(0.0) * level.healthy / level.all;
    let covers = match grain {
        Grain::Exact => covers,
        // The small number keeps 70 % from becoming 69 % in binary.
        Grain::WholePercent => (covers * 100.0 + 1e-9).floor() / 100.0,
    };
    covers.clamp(0.0, 1.0)
}

/// The part of the traffic of each level, in the order of the levels (the preferred first). They sum to 1, or are all 0
/// when nothing is healthy, or too little to count.
pub fn parts(levels: &[Level], overprovisioning: f64, grain: Grain) -> Vec<f64> {
    let covers: Vec<f64> = levels
        .iter()
        .map(|level| coverage(*level, overprovisioning, grain))
        .collect();
    let total = covers.iter().sum::<f64>().min(1.0);
    if total <= 0.0 {
        return vec![0.0; levels.len()];
    }
    let mut left = 1.0f64;
    let mut parts = Vec::with_capacity(levels.len());
    for covers in covers {
        let part = match grain {
            Grain::Exact => covers / total,
            Grain::WholePercent => (covers / total * 100.0 + 1e-9).floor() / 100.0,
        };
        let part = part.min(left);
        // A sliver is an error of rounding, not a level that is needed.
        let part = if part > SLIVER { part } else { 0.0 };
        left -= part;
        parts.push(part);
    }
    if left > 0.0
        && let Some(first) = parts.iter_mut().find(|part| **part > 0.0)
    {
        *first += left;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::{Grain, Level, parts};
    use proptest::prelude::*;

    fn of(levels: &[(f64, f64)], grain: Grain) -> Vec<f64> {
        let levels = levels.iter().map(|(healthy, all)| Level {
            healthy: *healthy,
            all: *all,
        });
        parts(&levels.collect::<Vec<_>>(), 1.4, grain)
    }

    #[test]
    fn a_level_that_is_healthy_enough_takes_all_and_the_next_joins_in_proportion() {
        for grain in [Grain::Exact, Grain::WholePercent] {
            assert_eq!(of(&[(3.0, 4.0), (4.0, 4.0)], grain), [1.0, 0.0]);
            let half = of(&[(2.0, 4.0), (4.0, 4.0)], grain);
            assert!((half[0] - 0.7).abs() < 1e-9 && (half[1] - 0.3).abs() < 1e-9);
            // Both together cover 70 %: each takes its half of it.
            let little = of(&[(1.0, 4.0), (1.0, 4.0)], grain);
            assert!((little[0] - 0.5).abs() < 1e-9, "{little:?}");
            assert_eq!(of(&[(0.0, 4.0), (0.0, 4.0)], grain), [0.0, 0.0]);
            assert_eq!(of(&[], grain), Vec::<f64>::new());
        }
    }

    proptest! {
        #[test]
        fn parts_sum_to_one_and_no_level_takes_more_than_it_covers_while_others_have_room(
            levels in prop::collection::vec((0u32..50, 1u32..50), 1..6),
        ) {
            let levels: Vec<(f64, f64)> =
                levels.iter().map(|(up, all)| (f64::from(*up.min(all)), f64::from(*all))).collect();
            for grain in [Grain::Exact, Grain::WholePercent] {
                let parts = of(&levels, grain);
                let sum: f64 = parts.iter().sum();
                prop_assert!((sum - 1.0).abs() < 1e-9 || sum == 0.0, "{parts:?}");
                let covered: f64 = levels.iter().map(|(up, all)| (1.4 * up / all).min(1.0)).sum();
                for (part, (up, all)) in parts.iter().zip(&levels) {
                    prop_assert!(*part >= 0.0 && (*up > 0.0 || *part == 0.0));
                    if covered >= 1.1 && grain == Grain::Exact {
                        prop_assert!(*part <= (1.4 * up / all).min(1.0) + 1e-9);
                    }
                }
            }
        }

        #[test]
        fn one_backend_more_or_less_never_moves_a_cliff_of_traffic(all in 10u32..200, down in 0u32..200) {
            let down = down.min(all - 1);
            let first = |down: u32| of(&[(f64::from(all - down), f64::from(all)), (1.0, 1.0)], Grain::Exact)[0];
            let step = first(down) - first(down + 1);
            prop_assert!((0.0..=1.4 / f64::from(all) + 1e-9).contains(&step), "{step}");
        }
    }
}
