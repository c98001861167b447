//! Coverage and resolution of the onset.

use evenkeel_detect::onset::{TICKS_MAX, TickCount, change_point};
use evenkeel_model::clock::Mono;
use evenkeel_model::rng::Rng;

/// Seconds since the start of the simulation at which the change happens.
fn series(
    rng: &mut Rng,
    truth: f64,
    rates: (f64, f64),
    per_tick: u64,
    ticks: u64,
) -> Vec<TickCount> {
    (1..=ticks)
        .map(|t| {
            let changed = (t as f64 - truth).clamp(0.0, 1.0);
            let p = rates.1 * changed + rates.0 * (1.0 - changed);
            TickCount {
                at: Mono::from_secs(t),
                hits: (0..per_tick).filter(|_| rng.unit() < p).count() as u64,
                of: per_tick,
            }
        })
        .collect()
}

#[test]
fn the_interval_holds_the_truth_in_nine_of_ten_runs_at_least() {
    for (rates, per_tick, after) in [
        ((1.0 / 3.0, 0.5), 10, 60),
        ((1.0 / 3.0, 0.5), 100, 12),
        ((0.001, 0.05), 100, 8),
        ((1.0 / 3.0, 0.0), 100, 3),
    ] {
        let held = (0..100)
            .filter(|seed| {
                let mut rng = Rng::new(*seed);
                let truth = 60.0 + rng.unit();
                let ticks = series(&mut rng, truth, rates, per_tick, 61 + after);
                let onset = change_point(&ticks, Mono::ZERO).unwrap();
                onset.lo.as_secs_f64() <= truth && truth <= onset.hi.as_secs_f64()
            })
            .count();
        assert!(held >= 92, "{rates:?} at {per_tick}: {held}");
    }
}

#[test]
fn a_plain_change_is_dated_to_its_tick() {
    let mut rng = Rng::new(3);
    let ticks = series(&mut rng, 60.0, (0.33, 0.83), 300, 65);
    let onset = change_point(&ticks, Mono::ZERO).unwrap();
    assert_eq!(onset.best, Mono::from_secs(60));
    assert!(onset.lo >= Mono::from_secs(58) && onset.hi <= Mono::from_secs(62));
}

#[test]
fn a_change_before_the_series_shows_at_its_start() {
    let mut rng = Rng::new(4);
    let ticks = series(&mut rng, -10.0, (0.33, 0.83), 300, 20);
    let onset = change_point(&ticks, Mono::from_millis(500)).unwrap();
    assert_eq!(onset.lo, Mono::from_millis(500));
}

#[test]
fn nothing_counted_has_no_onset() {
    assert_eq!(change_point(&[], Mono::ZERO), None);
    let empty = TickCount {
        at: Mono::from_secs(1),
        hits: 0,
        of: 0,
    };
    assert_eq!(change_point(&[empty; 5], Mono::ZERO), None);
}

#[test]
fn a_long_series_is_cut_to_its_end() {
    let mut rng = Rng::new(5);
    let total = TICKS_MAX as u64 + 400;
    let ticks = series(&mut rng, (total - 10) as f64, (0.33, 0.83), 100, total);
    let onset = change_point(&ticks, Mono::ZERO).unwrap();
    assert_eq!(onset.best, Mono::from_secs(total - 10));
    let early = series(&mut rng, 5.0, (0.33, 0.83), 100, total);
    let cut = change_point(&early, Mono::ZERO).unwrap();
    assert!(cut.lo >= Mono::from_secs(400), "{cut:?}");
}
