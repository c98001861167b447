//! Coverage of the confidence sequence and of the point-null evidence under constant looking.

use evenkeel_detect::multinomial;
use evenkeel_detect::sequence::{self, Interval, Standing};
use evenkeel_model::rng::Rng;
use proptest::prelude::*;

use crate::draw::multinomial as draw;

#[test]
fn looking_after_every_pick_keeps_the_error_rate() {
    let (runs, alpha) = (1_500, 0.05);
    let threshold = -f64::ln(alpha);
    let mut missed = 0;
    for seed in 0..runs {
        let mut rng = Rng::new(seed);
        let mut hits = 0;
        missed += u32::from((1..=800u64).any(|n| {
            hits += u64::from(rng.unit() < 1.0 / 3.0);
            sequence::log_evidence(hits, n, 1.0 / 3.0) >= threshold
        }));
    }
    // 75 expected at most; three standard deviations are 25.
    assert!(missed <= 100, "{missed} of {runs}");
    assert!(missed >= 15, "{missed} of {runs}: needlessly wide");
}

#[test]
fn looking_after_every_pick_keeps_the_error_rate_of_the_vector_test() {
    let (runs, threshold) = (600, -f64::ln(0.05));
    let theta = [0.5, 0.3, 0.2];
    let mut missed = 0;
    for seed in 0..runs {
        let mut rng = Rng::new(seed);
        let mut counts = [0u64; 3];
        missed += u32::from((0..800).any(|_| {
            for (count, pick) in counts.iter_mut().zip(draw(&mut rng, 1, &theta)) {
                *count += pick;
            }
            multinomial::log_evidence(&counts, &theta) >= threshold
        }));
    }
    assert!(missed <= 46, "{missed} of {runs}");
}

#[test]
fn the_vector_test_gives_the_published_delay() {
    // Lindon and Malek's test at alpha = 1e-6, 1/3 -> 1/2: 286 requests in the median.
    let threshold = -f64::ln(1e-6);
    let theta = [1.0 / 3.0; 3];
    let mut needed: Vec<u64> = (0..101)
        .map(|seed| {
            let mut rng = Rng::new(seed);
            let mut counts = [0u64; 3];
            (1..5_000)
                .find(|_| {
                    for (count, pick) in
                        counts.iter_mut().zip(draw(&mut rng, 1, &[0.5, 0.25, 0.25]))
                    {
                        *count += pick;
                    }
                    multinomial::log_evidence(&counts, &theta) >= threshold
                })
                .unwrap()
        })
        .collect();
    needed.sort_unstable();
    assert!((240..=340).contains(&needed[50]), "{}", needed[50]);
}

#[test]
fn a_prediction_that_fits_has_the_higher_likelihood() {
    // Weight 1 -> 10 on one of three at 900 picks: some 479 nats a second.
    let nats = multinomial::log_ratio(
        &[750, 75, 75],
        &[10.0 / 12.0, 1.0 / 12.0, 1.0 / 12.0],
        &[1.0 / 3.0; 3],
    );
    assert!((nats - 479.0).abs() < 2.0, "{nats}");
    let excluded = multinomial::log_ratio(&[0, 5], &[1.0, 0.0], &[0.5, 0.5]);
    assert!(excluded.is_infinite() && excluded < 0.0, "{excluded}");
}

#[test]
fn an_interval_ends_where_the_evidence_reaches_one_in_alpha() {
    for alpha in [0.05, 0.01] {
        let found = sequence::interval(300, 900, alpha);
        for end in [found.lo, found.hi] {
            let evidence = sequence::log_evidence(300, 900, end);
            assert!(
                (evidence + f64::ln(alpha)).abs() < 1e-6,
                "{alpha}: {evidence}"
            );
        }
        let inside = Interval {
            lo: found.lo - 1e-6,
            hi: found.hi + 1e-6,
        };
        assert_eq!(
            sequence::standing(300, 900, alpha, inside),
            Standing::Inside
        );
        let narrow = Interval {
            lo: found.lo + 1e-6,
            hi: found.hi - 1e-6,
        };
        assert_eq!(
            sequence::standing(300, 900, alpha, narrow),
            Standing::Undecided
        );
    }
}

#[test]
fn no_counts_give_the_whole_interval() {
    assert_eq!(
        sequence::interval(0, 0, 0.05),
        Interval { lo: 0.0, hi: 1.0 }
    );
    let none = sequence::interval(0, 1_000, 0.05);
    assert!(
        none.lo <= 0.0 && none.hi < 0.011 && none.hi > 0.005,
        "{none:?}"
    );
    let all = sequence::interval(1_000, 1_000, 0.05);
    assert!(all.hi >= 1.0 && all.lo > 0.989, "{all:?}");
}

proptest! {
    #[test]
    fn the_interval_holds_the_estimate_and_narrows_with_error(n in 1u64..2_000_000, part in 0.0f64..=1.0) {
        let hits = (n as f64 * part) as u64;
        let estimate = hits as f64 / n as f64;
        let wide = sequence::interval(hits, n, 0.01);
        let narrow = sequence::interval(hits, n, 0.05);
        prop_assert!(wide.lo <= narrow.lo && narrow.hi <= wide.hi);
        prop_assert!(narrow.lo <= estimate && estimate <= narrow.hi);
        prop_assert!(0.0 <= wide.lo && wide.hi <= 1.0);
    }

    #[test]
    fn the_standing_agrees_with_the_interval(
        n in 1u64..100_000, part in 0.0f64..=1.0, lo in 0.0f64..0.9, width in 0.01f64..0.5,
    ) {
        let hits = (n as f64 * part) as u64;
        let band = Interval { lo, hi: (lo + width).min(1.0) };
        let interval = sequence::interval(hits, n, 0.01);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        prop_assume!(![interval.lo, interval.hi].iter().any(|x| near(*x, band.lo) || near(*x, band.hi)));
        let expected = if interval.lo >= band.lo && interval.hi <= band.hi {
            Standing::Inside
        } else if interval.hi < band.lo || interval.lo > band.hi {
            Standing::Outside
        } else {
            Standing::Undecided
        };
        prop_assert_eq!(sequence::standing(hits, n, 0.01, band), expected);
    }
}
