//! Keys on backends: how even, how stable, what a bound and a limit do. The keys are the hashes of a counter.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test that fails is a failed test"
)]

#[path = "support/chance.rs"]
mod chance;

use evenkeel_balance::{
    Ask, KeyTable, Load, Member, Pick, Picker, Spec, Why, digest, expected_shares,
};
use evenkeel_model::config::Algorithm;
use evenkeel_model::ids::Name;
use evenkeel_model::rng::Rng;
use proptest::prelude::*;

const HASHES: [Algorithm; 3] = [
    Algorithm::RingHash,
    Algorithm::Maglev,
    Algorithm::Rendezvous,
];
const IDLE: fn(usize) -> u32 = |_| 0;

fn member(name: usize, weight: u32, eligible: bool) -> Member {
    Member {
        name: Name::new(&format!("b{name}")).unwrap(),
        weight,
        eligible,
    }
}

fn even(count: usize) -> Vec<Member> {
    (0..count).map(|i| member(i, 1, true)).collect()
}

fn keys(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|n| digest::key(&n.to_le_bytes()))
}

fn table(algorithm: Algorithm, members: &[Member]) -> KeyTable {
    KeyTable::of(algorithm, members).unwrap()
}

fn picker(spec: Spec, members: &[Member]) -> Picker {
    Picker::new(spec, members, Rng::new(7))
}

fn pick(picker: &mut Picker, load: &impl Load, key: u64, tried: &[usize]) -> Option<Pick> {
    let ask = Ask {
        tried,
        key: Some(key),
        ..Ask::default()
    };
    picker.pick(load, ask)
}

/// Owner by name of each key, so that lists in another order compare.
fn owners(table: &KeyTable, members: &[Member], count: u64) -> Vec<Name> {
    keys(count)
        .map(|key| members[table.owner(key).unwrap()].name.clone())
        .collect()
}

/// The part of `before` that is elsewhere in `after`, of the keys that `counts`.
fn moved(before: &[Name], after: &[Name], counts: impl Fn(&Name, &Name) -> bool) -> f64 {
    let pairs = before.iter().zip(after);
    let counted: Vec<_> = pairs.filter(|(a, b)| counts(a, b)).collect();
    let moved = counted.iter().filter(|(a, b)| a != b).count();
    moved as f64 / counted.len().max(1) as f64
}

fn members(count_max: usize) -> impl Strategy<Value = Vec<Member>> {
    let weight = prop_oneof![1 => Just(0u32), 6 => 1u32..20, 1 => 1u32..=65_535, 3 => Just(1u32)];
    prop::collection::vec((weight, prop::bool::weighted(0.85)), 1..=count_max).prop_map(|list| {
        let member = |(i, (weight, eligible))| member(i, weight, eligible);
        list.into_iter().enumerate().map(member).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn each_backend_has_the_part_of_the_keys_that_its_weight_asks_for(members in members(40)) {
        let Some(shares) = expected_shares(Algorithm::Maglev, &members) else {
            for algorithm in HASHES {
                prop_assert_eq!(table(algorithm, &members).owner(1), None);
            }
            return Ok(());
        };
        for algorithm in HASHES {
            let table = table(algorithm, &members);
            let parts = table.parts();
            prop_assert!((parts.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            for (part, share) in parts.iter().zip(&shares) {
                // To one slot; as many draws as there are slots; gaps of a ring, whose tail is a gamma's.
                let places = table.places() as f64;
                let bound = match algorithm {
                    Algorithm::Maglev => 1.0,
                    Algorithm::Rendezvous => chance::of_draws(share * places, *share),
                    _ => chance::of_draws(share * places, *share) + chance::LOG_ODDS,
                };
                prop_assert!((part - share).abs() <= bound / places, "{algorithm:?}: {part} for {share}");
                prop_assert!(*share > 0.0 || *part == 0.0);
            }
        }
    }

    #[test]
    fn keys_fall_as_the_parts_say(members in members(10)) {
        for algorithm in HASHES {
            let table = table(algorithm, &members);
            let mut counts = vec![0.0; members.len()];
            for key in keys(20_000) {
                if let Some(owner) = table.owner(key) {
                    counts[owner] += 1.0;
                }
            }
            for (count, part) in counts.iter().zip(table.parts()) {
                let owed = 20_000.0 * part;
                let chance = chance::of_draws(owed, part);
                prop_assert!((count - owed).abs() <= chance, "{algorithm:?}: {count} of {owed}");
            }
        }
    }

    #[test]
    fn only_the_keys_of_a_backend_that_is_out_move(members in members(30), out: prop::sample::Index) {
        let mut rest = members.clone();
        let out = out.index(members.len());
        rest[out].eligible = false;
        if expected_shares(Algorithm::Maglev, &rest).is_none() {
            return Ok(());
        }
        for algorithm in HASHES {
            let before = owners(&table(algorithm, &members), &members, 5_000);
            let after = owners(&table(algorithm, &rest), &members, 5_000);
            prop_assert!(!after.contains(&members[out].name));
            let others = moved(&before, &after, |was, _| *was != members[out].name);
            // Maglev pays for its exact parts with a few keys of the others.
            let bound = if algorithm == Algorithm::Maglev { 0.03 } else { 0.0 };
            prop_assert!(others <= bound, "{algorithm:?}: {others}");
        }
    }

    #[test]
    fn more_weight_draws_keys_to_it_and_moves_no_other(members in members(30), which: prop::sample::Index) {
        let mut heavier = members.clone();
        let which = which.index(members.len());
        heavier[which].eligible = true;
        let mut lighter = heavier.clone();
        heavier[which].weight = heavier[which].weight.max(1) + 1;
        if expected_shares(Algorithm::Maglev, &lighter).is_none() {
            return Ok(());
        }
        lighter[which].eligible = lighter[which].weight > 0;
        let before = owners(&table(Algorithm::Rendezvous, &lighter), &members, 5_000);
        let after = owners(&table(Algorithm::Rendezvous, &heavier), &members, 5_000);
        let others = moved(&before, &after, |_, is| *is != members[which].name);
        prop_assert!(others <= 0.0, "{others}");
    }

    #[test]
    fn the_order_of_the_file_moves_no_key(members in members(20), seed: u64) {
        let mut shuffled = members.clone();
        let mut rng = Rng::new(seed);
        for i in (1..shuffled.len()).rev() {
            shuffled.swap(i, rng.below(i as u64 + 1) as usize);
        }
        if expected_shares(Algorithm::Maglev, &members).is_some() {
            for algorithm in HASHES {
                prop_assert_eq!(
                    owners(&table(algorithm, &members), &members, 1_000),
                    owners(&table(algorithm, &shuffled), &shuffled, 1_000)
                );
            }
        }
    }

    #[test]
    fn nobody_is_picked_who_must_not_be_and_somebody_is_if_anybody_may(
        members in members(20), loads in prop::collection::vec(0u32..4, 20), limit in prop::option::of(1u32..4),
        tried in prop::collection::vec(0usize..20, 0..5), algorithm in 0usize..3, bounded: bool,
    ) {
        let load = |i: usize| loads[i];
        let spec = Spec {
            max_in_flight: limit,
            bounded_load: bounded.then_some(1.25),
            ..HASHES[algorithm].into()
        };
        let mut picker = picker(spec, &members);
        let may = |i: usize| {
            members[i].effective_weight() > 0 && !tried.contains(&i) && limit.is_none_or(|l| loads[i] < l)
        };
        let any = (0..members.len()).any(may);
        for key in keys(200) {
            let picked = pick(&mut picker, &load, key, &tried);
            prop_assert_eq!(picked.is_some(), any);
            prop_assert!(picked.is_none_or(|p| may(p.member)));
            let why = if tried.is_empty() { Why::Forced } else { Why::Retry };
            prop_assert!(picked.is_none_or(|p| p.why == why));
            prop_assert_eq!(picked, pick(&mut picker, &load, key, &tried));
        }
    }

    #[test]
    fn a_bounded_load_holds_nobody_above_the_factor(
        weights in prop::collection::vec(1u32..10, 2..12), algorithm in 0usize..3, factor in 1.05f64..3.0,
    ) {
        // All requests carry one of three keys and none ends: the worst that keys can do.
        let members: Vec<Member> = weights.iter().enumerate().map(|(i, w)| member(i, *w, true)).collect();
        let shares = expected_shares(Algorithm::Maglev, &members).unwrap();
        let spec = Spec { bounded_load: Some(factor), ..HASHES[algorithm].into() };
        let mut picker = picker(spec, &members);
        let mut held = vec![0u32; members.len()];
        let three: Vec<u64> = keys(3).collect();
        for n in 1..=600usize {
            let load = |i: usize| held[i];
            let picked = pick(&mut picker, &load, three[n % 3], &[]).unwrap().member;
            held[picked] += 1;
            let bound = (factor * n as f64 * shares[picked]).ceil();
            prop_assert!(f64::from(held[picked]) <= bound, "{held:?}");
        }
    }
}

#[test]
fn a_request_without_a_key_is_a_free_pick_by_weight() {
    let members = [member(0, 3, true), member(1, 1, true)];
    for algorithm in HASHES {
        let mut picker = picker(algorithm.into(), &members);
        let mut first = 0;
        for _ in 0..10_000 {
            let pick = picker.pick(&IDLE, Ask::default()).unwrap();
            assert_eq!(pick.why, Why::Free);
            first += i32::from(pick.member == 0);
        }
        assert!((7_200..7_800).contains(&first), "{algorithm:?}: {first}");
    }
}

#[test]
fn a_retry_goes_to_the_next_of_its_key_wherever_it_is_made() {
    let members = even(5);
    for algorithm in HASHES {
        let mut one = picker(algorithm.into(), &members);
        let mut other = Picker::new(algorithm.into(), &members, Rng::new(99));
        let mut next = vec![0; members.len()];
        for key in keys(2_000) {
            let first = pick(&mut one, &IDLE, key, &[]).unwrap().member;
            let second = pick(&mut one, &IDLE, key, &[first]).unwrap();
            assert_ne!(first, second.member);
            assert_eq!(second.why, Why::Retry);
            assert_eq!(Some(second), pick(&mut other, &IDLE, key, &[first]));
            next[second.member] += i32::from(first == 0);
        }
        // What one backend loses falls to all others, not to a neighbour.
        assert!(
            next.iter().skip(1).all(|n| *n > 40),
            "{algorithm:?}: {next:?}"
        );
    }
}

#[test]
fn a_reload_of_the_same_members_keeps_every_key() {
    for algorithm in HASHES {
        let mut picker = picker(algorithm.into(), &even(7));
        let before: Vec<_> = keys(500)
            .map(|k| pick(&mut picker, &IDLE, k, &[]))
            .collect();
        let mut without = even(7);
        without[3].eligible = false;
        picker.update(&algorithm.into(), &without);
        picker.update(&algorithm.into(), &even(7));
        let after: Vec<_> = keys(500)
            .map(|k| pick(&mut picker, &IDLE, k, &[]))
            .collect();
        assert_eq!(before, after, "{algorithm:?}");
    }
}

#[test]
fn one_more_of_ten_takes_an_eleventh_of_the_keys() {
    for algorithm in HASHES {
        let (ten, eleven) = (even(10), even(11));
        let before = owners(&table(algorithm, &ten), &ten, 20_000);
        let after = owners(&table(algorithm, &eleven), &eleven, 20_000);
        let all = moved(&before, &after, |_, _| true);
        let bound = if algorithm == Algorithm::Maglev {
            0.03
        } else {
            0.012
        };
        assert!((all - 1.0 / 11.0).abs() < bound, "{algorithm:?}: {all}");
    }
}

#[test]
fn a_ring_of_ten_gives_nobody_a_tenth_more_than_its_part() {
    let parts = table(Algorithm::RingHash, &even(10)).parts();
    assert!(
        parts.iter().all(|part| (0.09..0.11).contains(part)),
        "{parts:?}"
    );
}

#[test]
fn a_thousand_backends_all_get_keys() {
    for algorithm in HASHES {
        let parts = table(algorithm, &even(1_000)).parts();
        let most = parts.iter().copied().fold(0.0, f64::max) * 1_000.0;
        let least = parts.iter().copied().fold(1.0, f64::min) * 1_000.0;
        assert!(
            most < 1.6 && least > 0.5,
            "{algorithm:?}: {least} to {most}"
        );
    }
}

#[test]
fn all_but_one_at_their_limit_leaves_the_one_to_every_key() {
    for algorithm in HASHES {
        let members = even(1_000);
        let spec = Spec {
            max_in_flight: Some(5),
            ..algorithm.into()
        };
        let mut picker = picker(spec, &members);
        let load = |i: usize| if i == 777 { 0 } else { 5 };
        for key in keys(50) {
            assert_eq!(pick(&mut picker, &load, key, &[]).unwrap().member, 777);
        }
        assert_eq!(pick(&mut picker, &|_| 5, 1, &[]), None);
    }
}

#[test]
fn keys_stay_where_this_version_puts_them() {
    // Other instances and later versions must agree: a change here sends every client elsewhere.
    let members = [member(0, 1, true), member(1, 2, true), member(2, 1, true)];
    let owner = |algorithm| {
        let table = table(algorithm, &members);
        let keys = ["alice", "bob", "carol", "dave", "erin", "frank"];
        keys.map(|k| table.owner(digest::key(k.as_bytes())).unwrap())
    };
    let owners = HASHES.map(owner);
    let pinned = [[1, 0, 0, 0, 0, 2], [0, 2, 1, 2, 1, 2], [0, 2, 1, 1, 1, 1]];
    assert_eq!(owners, pinned);
}

#[test]
fn a_bound_request_goes_to_its_backend_under_every_algorithm_also_at_weight_0_unless_it_may_not() {
    let mut members = even(4);
    members[1].weight = 0;
    members[2].eligible = false;
    for algorithm in Algorithm::ALL {
        let spec = Spec {
            max_in_flight: Some(5),
            ..(*algorithm).into()
        };
        let mut picker = picker(spec, &members);
        let mut bound = |to, load: &dyn Fn(usize) -> u32, tried: &[usize]| {
            let ask = Ask {
                bound: Some(to),
                tried,
                ..Ask::default()
            };
            picker.pick(&|i: usize| load(i), ask).unwrap()
        };
        for home in [0, 1, 3] {
            let pick = bound(home, &|_| 4, &[]);
            assert_eq!(
                (pick.member, pick.why),
                (home, Why::Forced),
                "{algorithm:?}"
            );
        }
        // Out, gone, at its limit, or just failed: chosen anew.
        assert_eq!(bound(2, &|_| 0, &[]).why, Why::Free);
        assert_eq!(bound(9, &|_| 0, &[]).why, Why::Free);
        let full = bound(0, &|i| if i == 0 { 5 } else { 0 }, &[]);
        assert_eq!((full.member, full.why), (3, Why::Free));
        assert_eq!(
            (bound(0, &|_| 0, &[0]).member, bound(0, &|_| 0, &[0]).why),
            (3, Why::Retry)
        );
    }
}
