//! Delay and false alarms of the harm test.

use evenkeel_detect::arl::Arl;
use evenkeel_detect::harm::{HarmError, HarmTest, Verdict};
use evenkeel_detect::sequence::Standing;
use evenkeel_model::clock::Mono;
use evenkeel_model::rng::Rng;

fn binomial(rng: &mut Rng, n: u64, p: f64) -> u64 {
    (0..n).filter(|_| rng.unit() < p).count() as u64
}

fn test(objective: f64, arl: Arl) -> HarmTest {
    HarmTest::new(objective, arl, Mono::ZERO).unwrap()
}

/// 95 % delay over 40 seeds after 60 ticks at 0.1 %.
fn late(after: f64, rate: u64) -> u64 {
    let mut delays: Vec<u64> = (0..40)
        .map(|seed| {
            let mut rng = Rng::new(seed);
            let mut test = test(0.01, Arl::TEN_YEARS.part(0.25).unwrap());
            let alarm = (1..=400).find(|t| {
                let p = if *t <= 60 { 0.001 } else { after };
                let harmed = binomial(&mut rng, rate, p);
                test.tick(harmed, rate, Mono::from_secs(*t)).alarm
            });
            let alarm = alarm.unwrap();
            assert!(alarm > 60, "seed {seed}: alarm before the change");
            alarm - 60
        })
        .collect();
    delays.sort_unstable();
    delays[37]
}

#[test]
fn five_times_the_objective_is_seen_within_ten_seconds_at_100_rps() {
    assert!(late(0.05, 100) <= 10);
}

#[test]
fn total_failure_is_seen_in_three_seconds_and_not_by_one_tick_alone() {
    assert_eq!(late(1.0, 100), 3);
    assert_eq!(late(1.0, 10), 3);
}

#[test]
fn one_second_of_failures_alone_raises_nothing() {
    let mut test = test(0.01, Arl::TEN_YEARS);
    for t in 1..=120 {
        let harmed = if t == 60 { 100 } else { 0 };
        assert!(!test.tick(harmed, 100, Mono::from_secs(t)).alarm);
    }
}

#[test]
fn a_rate_at_the_objective_is_silent_for_an_hour_at_ten_years() {
    for seed in 0..8 {
        let mut rng = Rng::new(seed);
        let mut test = test(0.01, Arl::TEN_YEARS);
        for t in 1..=3_600 {
            let harmed = binomial(&mut rng, 100, 0.01);
            assert!(
                !test.tick(harmed, 100, Mono::from_secs(t)).alarm,
                "seed {seed}"
            );
        }
    }
}

#[test]
fn false_alarms_at_the_objective_are_no_more_frequent_than_stated() {
    let mut sum = 0;
    for seed in 0..60 {
        let mut rng = Rng::new(seed ^ 0xFA15E);
        let mut test = test(0.05, Arl::new(300.0).unwrap());
        let first = (1..=6_000u64).find(|t| {
            let harmed = binomial(&mut rng, 30, 0.05);
            test.tick(harmed, 30, Mono::from_secs(*t)).alarm
        });
        sum += first.unwrap_or(6_000);
    }
    let mean = sum as f64 / 60.0;
    assert!(mean >= 240.0, "{mean}");
}

#[test]
fn bursts_divided_by_their_overdispersion_stay_silent() {
    // Failures come ten at a time: variance ten times that of single ones, long-run rate 0.8 %.
    let mut rng = Rng::new(9);
    let mut test = test(0.01, Arl::TEN_YEARS)
        .with_overdispersion(10.0)
        .unwrap();
    for t in 1..=3_600 {
        let harmed = 10 * binomial(&mut rng, 10, 0.008);
        assert!(
            !test.tick(harmed, 100, Mono::from_secs(t)).alarm,
            "tick {t}"
        );
    }
}

#[test]
fn quiet_is_not_evidence_until_enough_requests_went_well() {
    let mut test = test(0.01, Arl::TEN_YEARS);
    let few = test.tick(0, 20, Mono::from_secs(1));
    assert_eq!(few.verdict, Verdict::Unknown);
    let more = test.tick(0, 100, Mono::from_secs(2));
    assert_eq!(more.verdict, Verdict::Quiet);
    assert_eq!(test.standing(0.01), Standing::Undecided);
    test.tick(0, 2_000, Mono::from_secs(3));
    assert_eq!(test.standing(0.01), Standing::Inside);
    assert!(test.interval(0.01).hi < 0.01);
    test.tick(2_000, 2_000, Mono::from_secs(4));
    assert_eq!(test.standing(0.01), Standing::Outside);
}

#[test]
fn the_reason_names_rate_and_objective() {
    let mut test = test(0.01, Arl::TEN_YEARS);
    for t in 1..=10 {
        test.tick(30, 100, Mono::from_secs(t));
    }
    assert_eq!(
        test.evidence().to_string(),
        "30.0% of requests are harmed, the objective is 1.0%"
    );
    assert!(test.evidence().onset.is_some());
}

#[test]
fn an_objective_outside_zero_to_one_is_refused() {
    let new = |objective| HarmTest::new(objective, Arl::TEN_YEARS, Mono::ZERO).map(|_| ());
    assert_eq!(new(1.0), Err(HarmError::Objective(1.0)));
    assert_eq!(new(-0.1), Err(HarmError::Objective(-0.1)));
    assert_eq!(new(0.0), Ok(()));
}
