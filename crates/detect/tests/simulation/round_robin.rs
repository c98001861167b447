//! The bound against both schedules of round robin.

use evenkeel_detect::round_robin::{TORN_READ_SLACK, bound, check, interval, standing};
use evenkeel_detect::sequence::{Interval, Standing};
use evenkeel_model::rng::Rng;
use proptest::prelude::*;

use crate::draw::multinomial;

/// One pick of smooth weighted round robin.
fn pick(current: &mut [f64], weights: &[f64]) -> usize {
    let total: f64 = weights.iter().sum();
    let mut best = 0;
    for i in 0..weights.len() {
        current[i] += weights[i];
        if weights[i] > 0.0 && (weights[best] <= 0.0 || current[i] > current[best]) {
            best = i;
        }
    }
    current[best] -= total;
    best
}

/// One pick of earliest deadline first: `turns` holds the virtual time of each backend's next turn.
fn turn(turns: &mut [f64], weights: &[f64]) -> usize {
    let best = (0..turns.len())
        .filter(|i| weights[*i] > 0.0)
        .min_by(|a, b| turns[*a].total_cmp(&turns[*b]))
        .unwrap();
    turns[best] += weights.iter().sum::<f64>() / weights[best];
    best
}

proptest! {
    #[test]
    fn earliest_deadline_never_leaves_the_bound(
        weights in proptest::collection::vec(0u32..200, 1..12), seed in 0u64..1_000, picks in 1u64..600,
    ) {
        let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
        let total: f64 = weights.iter().sum();
        prop_assume!(total > 0.0);
        let mut rng = Rng::new(seed);
        let mut turns: Vec<f64> = weights.iter().map(|w| rng.unit() * total / w.max(1.0)).collect();
        let mut counts = vec![0u64; weights.len()];
        for _ in 0..picks {
            counts[turn(&mut turns, &weights)] += 1;
            let violation = check(&weights, &counts);
            prop_assert!(violation.is_none(), "{violation:?}");
        }
    }

    #[test]
    fn round_robin_never_leaves_the_bound(
        weights in proptest::collection::vec(0u32..200, 1..12), phase in 0u64..400, picks in 1u64..600,
    ) {
        let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
        prop_assume!(weights.iter().sum::<f64>() > 0.0);
        let mut current = vec![0.0; weights.len()];
        for _ in 0..phase {
            pick(&mut current, &weights);
        }
        let eligible = weights.iter().filter(|w| **w > 0.0).count();
        let total: f64 = weights.iter().sum();
        let mut counts = vec![0u64; weights.len()];
        for n in 1..=picks {
            counts[pick(&mut current, &weights)] += 1;
            for (count, weight) in counts.iter().zip(&weights) {
                let strayed = (*count as f64 - n as f64 * weight / total).abs();
                prop_assert!(strayed < bound(eligible) - TORN_READ_SLACK + 1e-6, "{strayed}");
            }
            prop_assert!(check(&weights, &counts).is_none());
        }
    }
}

#[test]
fn a_worker_that_ignores_a_weight_is_caught_within_a_few_cycles() {
    // Weights 10/1/1 served evenly: the first backend lacks half a pick each time.
    let weights = [10.0, 1.0, 1.0];
    let caught = (1..100u64).find(|n| check(&weights, &[*n, *n, *n]).is_some());
    assert!(caught.is_some_and(|n| 3 * n <= 15), "{caught:?}");
    let violation = check(&weights, &[10, 10, 10]).unwrap();
    assert_eq!(violation.backend, 0);
    assert_eq!(
        violation.to_string(),
        "10 picks where round robin gives 25, at most 5 apart"
    );
}

#[test]
fn random_picks_are_told_from_round_robin() {
    let mut rng = Rng::new(1);
    let counts = multinomial(&mut rng, 2_000, &[1.0, 1.0, 1.0]);
    assert!(check(&[1.0, 1.0, 1.0], &counts).is_some(), "{counts:?}");
}

#[test]
fn a_share_is_certain_after_a_few_hundred_picks() {
    let band = Interval {
        lo: 0.8 / 3.0,
        hi: 1.2 / 3.0,
    };
    assert_eq!(standing(interval(20, 60, 3, 2), band), Standing::Undecided);
    assert_eq!(standing(interval(100, 300, 3, 2), band), Standing::Inside);
    assert_eq!(standing(interval(250, 300, 3, 2), band), Standing::Outside);
    assert_eq!(interval(0, 0, 3, 2), Interval { lo: 0.0, hi: 1.0 });
}

#[test]
fn nothing_eligible_promises_nothing() {
    assert_eq!(check(&[0.0, 0.0], &[5, 5]), None);
    assert_eq!(check(&[], &[]), None);
}
