//! Large set-ups: the work is bounded, the answer says what it left out.

use evenkeel_forecast::{Facts, Method, WORST_CASES, forecast};
use evenkeel_model::setup::Selection;

use crate::{pool, selections, setup};

#[test]
fn ten_thousand_backends_have_shares_under_every_selection() {
    for selection in selections() {
        let weights: Vec<u32> = (0..10_000).map(|number| 1 + number % 3).collect();
        let forecast = forecast(
            &setup(pool(&selection, &weights, Some(500_000.0))),
            &Facts::default(),
        );
        let base = &forecast.pools[0];
        let sum: f64 = base
            .backends
            .iter()
            .map(|b| b.expected_share.unwrap())
            .sum();
        assert!((sum - 1.0).abs() < 1e-6, "{selection:?}");
        assert_eq!(forecast.failures.len(), WORST_CASES);
    }
}

#[test]
fn a_table_beyond_the_budget_falls_back_to_the_weights_with_a_span() {
    let ring = selections().into_iter().find(|selection| {
        matches!(selection, Selection::Hash(hash) if hash.table == evenkeel_model::setup::HashTable::HaproxyRing)
    });
    let mut large = pool(&ring.unwrap(), &[256; 1_000], None);
    large.keys = Some(1_000_000);
    let forecast = forecast(&setup(large), &Facts::default());
    let base = &forecast.pools[0];
    assert_eq!(base.method, Method::ClosedForm);
    let backend = &base.backends[0];
    assert!(backend.share_low.unwrap() < 0.001 && backend.share_high.unwrap() > 0.001);
}
