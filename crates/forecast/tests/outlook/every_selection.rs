//! What must hold for every selection.

use evenkeel_balance::Standing;
use evenkeel_forecast::{Facts, Keys, PoolFacts, forecast};
use evenkeel_model::setup::{Pool, Role, Selection};
use proptest::prelude::*;

use crate::{pool, selections, setup};

fn shares(pool: Pool, facts: &Facts) -> Vec<Option<f64>> {
    let forecast = forecast(&setup(pool), facts);
    forecast.pools[0]
        .backends
        .iter()
        .map(|b| b.expected_share)
        .collect()
}

fn any_pool() -> impl Strategy<Value = Pool> {
    let selection = proptest::sample::select(selections());
    let weights = proptest::collection::vec(0u32..6, 1..7);
    let roles = proptest::collection::vec(0u8..6, 7);
    (selection, weights, proptest::option::of(10.0..400.0), roles).prop_map(
        |(selection, weights, peak, roles)| {
            let mut pool = pool(&selection, &weights, peak);
            for (backend, role) in pool.backends.iter_mut().zip(roles) {
                backend.role = match role {
                    0 => Role::Backup,
                    1 => Role::Disabled,
                    _ => Role::Active,
                };
            }
            pool
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn shares_sum_to_one_and_what_takes_no_part_gets_none(pool in any_pool()) {
        let can = |role| pool.backends.iter().any(|b| b.role == role && b.weight > 0);
        let (active, backup) = (can(Role::Active), can(Role::Backup));
        let shares = shares(pool.clone(), &Facts::default());
        if !active && !backup {
            prop_assert!(shares.iter().all(Option::is_none));
            return Ok(());
        }
        let sum: f64 = shares.iter().map(|share| share.unwrap()).sum();
        prop_assert!((sum - 1.0).abs() < 1e-9, "{shares:?}");
        for (backend, share) in pool.backends.iter().zip(shares) {
            let out = backend.weight == 0
                || backend.role == Role::Disabled
                || (active && backend.role == Role::Backup);
            prop_assert!(!out || share == Some(0.0));
        }
    }

    #[test]
    fn an_interval_holds_its_share_and_stays_between_zero_and_one(pool in any_pool(), distinct in 1u32..5_000) {
        let mut facts = Facts::default();
        let keys = Some(Keys { distinct: f64::from(distinct), top_share: None });
        facts.pools.insert("p".to_owned(), PoolFacts { keys, ..PoolFacts::default() });
        let forecast = forecast(&setup(pool), &facts);
        for backend in forecast.failures.iter().flat_map(|f| &f.pools).chain(&forecast.pools).flat_map(|p| &p.backends) {
            if let (Some(share), Some(low), Some(high)) = (backend.expected_share, backend.share_low, backend.share_high) {
                prop_assert!(0.0 <= low && low <= share + 1e-9 && share <= high + 1e-9 && high <= 1.0 + 1e-9, "{backend:?}");
            }
        }
    }

    #[test]
    fn the_order_of_backends_does_not_matter_where_the_selection_says_so(
        selection in proptest::sample::select(selections()),
        weights in proptest::collection::vec(1u32..6, 2..6),
        turn in 1usize..5,
    ) {
        // In order of the file, or with points that depend on those before them.
        let by_order = matches!(selection, Selection::First)
            || matches!(&selection, Selection::Hash(h) if matches!(h.table, evenkeel_model::setup::HashTable::EnvoyRing { .. }));
        prop_assume!(!by_order);
        let pool = pool(&selection, &weights, None);
        let mut turned = pool.clone();
        let turn = turn % weights.len();
        turned.backends.rotate_left(turn);
        let mut before = shares(pool, &Facts::default());
        before.rotate_left(turn);
        for (a, b) in before.iter().zip(shares(turned, &Facts::default())) {
            prop_assert!((a.unwrap() - b.unwrap()).abs() < 1e-9);
        }
    }

    #[test]
    fn the_same_question_gets_the_same_answer(pool in any_pool()) {
        let setup = setup(pool);
        prop_assert_eq!(forecast(&setup, &Facts::default()), forecast(&setup, &Facts::default()));
    }
}

#[test]
fn nobody_left_is_no_share_and_a_note() {
    let mut facts = Facts::default();
    let standings = ["b0", "b1"].map(|name| (name.to_owned(), Standing::Drained));
    let known = PoolFacts {
        standings: standings.into(),
        ..PoolFacts::default()
    };
    facts.pools.insert("p".to_owned(), known);
    let pool = pool(&Selection::ByWeight, &[1, 1], None);
    let forecast = forecast(&setup(pool), &facts);
    assert!(
        forecast.pools[0]
            .backends
            .iter()
            .all(|b| b.expected_share.is_none())
    );
    assert!(
        forecast.notes[0].contains("nobody is left"),
        "{:?}",
        forecast.notes
    );
}

#[test]
fn an_unknown_selection_has_no_shares_and_says_so() {
    let pool = pool(&Selection::Other("rdp-cookie".to_owned()), &[1, 1], None);
    let forecast = forecast(&setup(pool), &Facts::default());
    assert_eq!(forecast.pools[0].backends[0].expected_share, None);
    assert!(forecast.notes[0].contains("rdp-cookie"));
}
