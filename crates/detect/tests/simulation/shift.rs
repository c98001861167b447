//! One member against the rest: errors and response times.

use evenkeel_detect::arl::Arl;
use evenkeel_detect::shift::{
    Count, ShiftTest, compare, compare_latency, latency_counts, log_ratio,
};
use evenkeel_model::rng::Rng;
use evenkeel_model::tally::Latency;

fn counts(rng: &mut Rng, rates: &[f64], of: u64) -> Vec<Count> {
    let draw = |p: &f64| Count {
        hits: (0..of).filter(|_| rng.unit() < *p).count() as u64,
        of,
    };
    rates.iter().map(draw).collect()
}

fn responses(rng: &mut Rng, mean_us: f64, n: u64) -> Latency {
    let mut latency = Latency::default();
    for _ in 0..n {
        latency.record(2_000 + rng.exponential(mean_us) as u64);
    }
    latency
}

#[test]
fn the_slow_backend_alone_is_named() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let mut test = ShiftTest::new(3, 1.2, Arl::TEN_YEARS);
        let found = (1..=60).find(|_| {
            let members = [40_000.0, 10_000.0, 10_000.0].map(|mean| responses(&mut rng, mean, 33));
            let evidence = test.tick(&latency_counts(&members, 0.5));
            assert!(!evidence[1].alarm && !evidence[2].alarm, "seed {seed}");
            evidence[0].alarm
        });
        assert!(found.is_some_and(|t| t <= 40), "seed {seed}: {found:?}");
    }
}

#[test]
fn a_backend_that_fails_one_in_ten_is_named() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let mut test = ShiftTest::new(3, 1.2, Arl::TEN_YEARS);
        let found = (1..=60).find(|_| {
            let evidence = test.tick(&counts(&mut rng, &[0.1, 0.002, 0.002], 33));
            assert!(!evidence[1].alarm && !evidence[2].alarm, "seed {seed}");
            evidence[0].alarm
        });
        assert!(found.is_some_and(|t| t <= 45), "seed {seed}: {found:?}");
    }
}

#[test]
fn a_slowdown_that_all_share_is_no_shift() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let mut test = ShiftTest::new(3, 1.0, Arl::TEN_YEARS);
        for t in 0..300 {
            let mean = if t < 100 { 10_000.0 } else { 200_000.0 };
            let members = [mean; 3].map(|mean| responses(&mut rng, mean, 33));
            let evidence = test.tick(&latency_counts(&members, 0.5));
            assert!(evidence.iter().all(|e| !e.alarm), "seed {seed}");
        }
    }
}

#[test]
fn false_alarms_among_equals_are_no_more_frequent_than_stated() {
    let mut sum = 0;
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut test = ShiftTest::new(4, 1.0, Arl::new(300.0).unwrap());
        let first = (1..=6_000u64).find(|_| {
            test.tick(&counts(&mut rng, &[0.1; 4], 20))
                .iter()
                .any(|e| e.alarm)
        });
        sum += first.unwrap_or(6_000);
    }
    assert!(sum as f64 / 60.0 >= 240.0, "{sum}");
}

#[test]
fn a_member_that_is_the_whole_pool_differs_from_nothing() {
    let mut test = ShiftTest::new(2, 1.0, Arl::new(10.0).unwrap());
    for _ in 0..1_000 {
        let evidence = test.tick(&[Count { hits: 5, of: 50 }, Count::default()]);
        assert!(evidence.iter().all(|e| !e.alarm));
    }
}

#[test]
fn windows_with_different_rates_speak_for_a_difference_and_equal_ones_against() {
    let (bad, good) = (Count { hits: 60, of: 300 }, Count { hits: 6, of: 600 });
    let apart = compare(bad, good);
    assert!(apart.log_e > 20.0 && apart.worse(), "{apart:?}");
    let alike = compare(Count { hits: 30, of: 300 }, Count { hits: 60, of: 600 });
    assert!(alike.log_e < 0.0, "{alike:?}");
    assert_eq!(compare(Count::default(), good).rate, None);
}

#[test]
fn windows_of_response_times_are_compared_by_their_pooled_median() {
    let mut rng = Rng::new(1);
    let (slow, fast) = (
        responses(&mut rng, 40_000.0, 500),
        responses(&mut rng, 10_000.0, 1_000),
    );
    let apart = compare_latency(&slow, &fast, 0.5);
    assert!(apart.log_e > 20.0 && apart.worse());
    let again = responses(&mut rng, 10_000.0, 1_000);
    assert!(compare_latency(&fast, &again, 0.5).log_e < 3.0);
    assert!(
        compare_latency(&Latency::default(), &fast, 0.5)
            .rate
            .is_none()
    );
}

#[test]
fn a_predicted_rate_that_fits_wins() {
    let count = Count {
        hits: 50,
        of: 1_000,
    };
    assert!(log_ratio(count, 0.05, 0.01) > 30.0);
    assert!(log_ratio(count, 0.01, 0.05) < -30.0);
}
