//! Shares against the closed form: what every user complaint about uneven load comes down to.
//!
//! Every test draws its pools from a strategy: backends down, weight 0, one backend, up to 1,000 backends, reloads
//! after every k picks, several workers, failing picks.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test that fails is a failed test"
)]

#[path = "support/chance.rs"]
mod chance;

use evenkeel_balance::{Ask, Load, Member, Picker, Spec, expected_shares, round_robin_bound};
use evenkeel_model::config::Algorithm;
use evenkeel_model::ids::Name;
use evenkeel_model::rng::Rng;
use proptest::prelude::*;

const IDLE: fn(usize) -> u32 = |_| 0;

fn member(index: usize, weight: u32, eligible: bool) -> Member {
    Member {
        name: Name::new(&format!("b{index}")).unwrap(),
        weight,
        eligible,
    }
}

fn even(count: usize) -> Vec<Member> {
    (0..count).map(|i| member(i, 1, true)).collect()
}

/// Weights of very different sizes, zeros included, some backends down.
fn members(count_max: usize) -> impl Strategy<Value = Vec<Member>> {
    let weight = prop_oneof![
        1 => Just(0u32),
        6 => 1u32..20,
        2 => 1u32..2_000,
        1 => 1u32..=65_535,
        3 => Just(1u32),
    ];
    prop::collection::vec((weight, prop::bool::weighted(0.85)), 1..=count_max).prop_map(|list| {
        list.into_iter()
            .enumerate()
            .map(|(i, (weight, eligible))| member(i, weight, eligible))
            .collect()
    })
}

fn picker(algorithm: Algorithm, members: &[Member], seed: u64) -> Picker {
    Picker::new(algorithm.into(), members, Rng::new(seed))
}

fn limited(algorithm: Algorithm, max_in_flight: Option<u32>) -> Spec {
    Spec {
        max_in_flight,
        ..algorithm.into()
    }
}

fn pick(picker: &mut Picker, load: &impl Load, tried: &[usize]) -> Option<usize> {
    let ask = Ask {
        tried,
        ..Ask::default()
    };
    picker.pick(load, ask).map(|pick| pick.member)
}

fn counts(picker: &mut Picker, picks: usize, load: &impl Load) -> Vec<u64> {
    let mut counts = vec![0u64; picker.members().len()];
    for _ in 0..picks {
        if let Some(index) = pick(picker, load, &[]) {
            counts[index] += 1;
        }
    }
    counts
}

/// Runs a picker and checks every member in every window of the run: the range of `S_i - n p_i` is what the worst
/// window strays by.
fn assert_bounded(picker: &mut Picker, picks: usize) {
    let shares = expected_shares(Algorithm::RoundRobin, picker.members()).unwrap();
    let eligible = shares.iter().filter(|share| **share > 0.0).count();
    let mut got = vec![0.0; shares.len()];
    let mut range = vec![(0.0f64, 0.0f64); shares.len()];
    for n in 1..=picks {
        got[pick(picker, &IDLE, &[]).unwrap()] += 1.0;
        for (i, (low, high)) in range.iter_mut().enumerate() {
            let stray = got[i] - n as f64 * shares[i];
            *low = low.min(stray);
            *high = high.max(stray);
        }
    }
    for (i, ((low, high), share)) in range.iter().zip(&shares).enumerate() {
        let bound = round_robin_bound(*share, eligible);
        assert!(
            high - low <= bound + 1e-6,
            "{i}: {} over {bound}",
            high - low
        );
    }
}

fn assert_close(counts: &[u64], shares: &[f64]) {
    let n: u64 = counts.iter().sum();
    for (i, (count, share)) in counts.iter().zip(shares).enumerate() {
        let owed = n as f64 * share;
        let stray = (*count as f64 - owed).abs();
        assert!(
            stray <= chance::of_draws(owed, *share),
            "{i}: {count} of {n}, share {share}"
        );
        assert!(*share > 0.0 || *count == 0, "{i} must take nothing");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn round_robin_keeps_its_bound_in_every_window(members in members(60), seed: u64) {
        prop_assume!(expected_shares(Algorithm::RoundRobin, &members).is_some());
        assert_bounded(&mut picker(Algorithm::RoundRobin, &members, seed), 3_000);
    }

    #[test]
    fn round_robin_keeps_its_bound_after_every_change_of_members(
        first in members(30), second in members(30), third in members(30), seed: u64, between in 1usize..200,
    ) {
        let mut picker = picker(Algorithm::RoundRobin, &first, seed);
        counts(&mut picker, between, &IDLE);
        picker.update(&Algorithm::RoundRobin.into(), &second);
        counts(&mut picker, between, &IDLE);
        picker.update(&Algorithm::RoundRobin.into(), &third);
        if expected_shares(Algorithm::RoundRobin, &third).is_some() {
            assert_bounded(&mut picker, 2_000);
        }
    }

    #[test]
    fn the_sum_over_workers_strays_by_at_most_the_bound_per_worker(
        members in members(20), seed: u64, workers in 1usize..=8,
    ) {
        let Some(shares) = expected_shares(Algorithm::RoundRobin, &members) else { return Ok(()) };
        let mut rng = Rng::new(seed);
        let mut pickers: Vec<Picker> =
            (0..workers).map(|_| picker(Algorithm::RoundRobin, &members, rng.next_u64())).collect();
        let eligible = shares.iter().filter(|share| **share > 0.0).count();
        let mut got = vec![0.0; members.len()];
        for n in 1..=2_000 {
            let worker = rng.below(workers as u64) as usize;
            got[pick(&mut pickers[worker], &IDLE, &[]).unwrap()] += 1.0;
            for (got, share) in got.iter().zip(&shares) {
                let bound = round_robin_bound(*share, eligible) * workers as f64;
                prop_assert!((got - f64::from(n) * share).abs() <= bound + 1e-6);
            }
        }
    }

    #[test]
    fn random_follows_the_weights(members in members(40), seed: u64) {
        let shares = expected_shares(Algorithm::Random, &members);
        let counts = counts(&mut picker(Algorithm::Random, &members, seed), 10_000, &IDLE);
        if let Some(shares) = shares {
            assert_close(&counts, &shares);
        } else {
            prop_assert_eq!(counts.iter().sum::<u64>(), 0);
        }
    }

    #[test]
    fn least_request_follows_the_weights_when_nothing_is_in_flight(members in members(40), seed: u64) {
        let shares = expected_shares(Algorithm::Random, &members);
        let counts = counts(&mut picker(Algorithm::LeastRequest, &members, seed), 10_000, &IDLE);
        if let Some(shares) = shares {
            assert_close(&counts, &shares);
        } else {
            prop_assert_eq!(counts.iter().sum::<u64>(), 0);
        }
    }

    #[test]
    fn nobody_is_picked_who_must_not_be(
        members in members(20), seed: u64, loads in prop::collection::vec(0u32..4, 20),
        tried in prop::collection::vec(0usize..20, 0..5), limit in prop::option::of(1u32..4), algorithm in 0..Algorithm::ALL.len(),
    ) {
        let load = |i: usize| loads[i];

        let mut picker = Picker::new(limited(Algorithm::ALL[algorithm], limit), &members, Rng::new(seed));
        let may = |i: usize| {
            members[i].effective_weight() > 0 && !tried.contains(&i) && limit.is_none_or(|l| loads[i] < l)
        };
        let any = (0..members.len()).any(may);
        for _ in 0..100 {
            let pick = pick(&mut picker, &load, &tried);
            prop_assert_eq!(pick.is_some(), any);
            prop_assert!(pick.is_none_or(may));
        }
    }

    #[test]
    fn a_reload_without_a_change_changes_no_pick(members in members(20), seed: u64, every in 1usize..20) {
        let mut quiet = picker(Algorithm::RoundRobin, &members, seed);
        let mut reloaded = quiet.clone();
        for n in 0..500 {
            if n % every == 0 {
                reloaded.update(&Algorithm::RoundRobin.into(), &members);
            }
            prop_assert_eq!(pick(&mut quiet, &IDLE, &[]), pick(&mut reloaded, &IDLE, &[]));
        }
    }

    #[test]
    fn reloads_that_change_one_backend_starve_nobody(
        count in 3usize..12, every in prop::sample::select(vec![1u64, 2, 5, 20]), seed: u64, regular: bool,
    ) {
        // One backend leaves and comes back all the time, after every k picks or after 1 to 2 k - 1. Each gets its part
        // of the picks made while it was in. A regular rhythm can fall into step with one picker's cycle,
        // so that is judged over 16 workers and only as far as nobody starves; a change at every
        // single pick of a pool of three is the worst (0.64).
        let all = even(count);
        let mut without = all.clone();
        without[0].eligible = false;
        let mut rng = Rng::new(seed);
        let (mut got, mut owed) = (vec![0.0; count], vec![0.0; count]);
        for _ in 0..16 {
            let mut picker = picker(Algorithm::RoundRobin, &all, rng.next_u64());
            let (mut inside, mut left) = (true, 0);
            for _ in 0..500 {
                if left == 0 {
                    inside = !inside;
                    left = if regular { every } else { 1 + rng.below(2 * every - 1) };
                }
                left -= 1;
                let now = if inside { &all } else { &without };
                picker.update(&Algorithm::RoundRobin.into(), now);
                for (owed, share) in owed.iter_mut().zip(expected_shares(Algorithm::RoundRobin, now).unwrap()) {
                    *owed += share;
                }
                got[pick(&mut picker, &IDLE, &[]).unwrap()] += 1.0;
            }
        }
        for (i, (got, owed)) in got.iter().zip(&owed).enumerate() {
            let tolerance = if regular || every == 1 { 0.5 } else { 0.12 };
            prop_assert!((got / owed - 1.0).abs() < tolerance, "{i}: got {got}, owed {owed}");
        }
    }

    #[test]
    fn reloads_that_change_weights_every_k_picks_starve_nobody(
        every in prop::sample::select(vec![1usize, 2, 5, 20]), seed: u64, heavy in 2u32..30,
    ) {
        let weights = [[heavy, 1, 1, 3], [1, heavy, 1, 3]];
        let mut rng = Rng::new(seed);
        let list = |weights: [u32; 4]| -> Vec<Member> {
            weights.iter().enumerate().map(|(i, w)| member(i, *w, true)).collect()
        };
        let mut picker = picker(Algorithm::RoundRobin, &list(weights[0]), seed);
        let (mut got, mut owed) = ([0.0; 4], [0.0; 4]);
        let mut now = list(weights[0]);
        for n in 0..6_000 {
            if n % every == 0 {
                now = list(weights[rng.below(2) as usize]);
                picker.update(&Algorithm::RoundRobin.into(), &now);
            }
            for (owed, share) in owed.iter_mut().zip(expected_shares(Algorithm::RoundRobin, &now).unwrap()) {
                *owed += share;
            }
            got[pick(&mut picker, &IDLE, &[]).unwrap()] += 1.0;
        }
        for (i, (got, owed)) in got.iter().zip(&owed).enumerate() {
            prop_assert!((got - owed).abs() < 0.05 * owed + 20.0, "{i}: got {got}, owed {owed}");
        }
    }

    #[test]
    fn retries_fall_to_the_others_by_weight_and_leave_first_tries_alone(
        weights in prop::collection::vec(1u32..20, 3..8), seed: u64, algorithm in 0usize..2,
    ) {
        // Backend 0 fails every try: free picks still give it its share, retries go to the rest by weight.
        let algorithm = [Algorithm::RoundRobin, Algorithm::Random][algorithm];
        let members: Vec<Member> = weights.iter().enumerate().map(|(i, w)| member(i, *w, true)).collect();
        let mut rest = members.clone();
        rest[0].eligible = false;
        let mut picker = picker(algorithm, &members, seed);
        let (mut free, mut retried) = (vec![0u64; weights.len()], vec![0u64; weights.len()]);
        for _ in 0..8_000 {
            let first = pick(&mut picker, &IDLE, &[]).unwrap();
            free[first] += 1;
            if first == 0 {
                retried[pick(&mut picker, &IDLE, &[0]).unwrap()] += 1;
            }
        }
        assert_close(&free, &expected_shares(algorithm, &members).unwrap());
        assert_close(&retried, &expected_shares(algorithm, &rest).unwrap());
    }

    #[test]
    fn the_part_of_a_backend_at_its_limit_falls_to_the_others_by_weight(
        weights in prop::collection::vec(1u32..20, 3..8), seed: u64, algorithm in 0usize..2,
    ) {
        let algorithm = [Algorithm::RoundRobin, Algorithm::Random][algorithm];
        let members: Vec<Member> = weights.iter().enumerate().map(|(i, w)| member(i, *w, true)).collect();
        let mut rest = members.clone();
        rest[0].eligible = false;

        let mut picker = Picker::new(limited(algorithm, Some(5)), &members, Rng::new(seed));
        let counts = counts(&mut picker, 8_000, &|i: usize| if i == 0 { 5 } else { 0 });
        assert_close(&counts, &expected_shares(algorithm, &rest).unwrap());
    }
}

#[test]
fn a_thousand_backends_of_any_weight_keep_the_bound() {
    let mut heavy = even(1_000);
    heavy[500].weight = 65_535;
    let mut mixed = even(1_000);
    for (i, member) in mixed.iter_mut().enumerate() {
        member.weight = if i % 11 == 0 { 10 } else { 128 };
    }
    for (seed, members) in [(1, &heavy), (2, &mixed), (3, &even(1_000))] {
        let mut picker = picker(Algorithm::RoundRobin, members, seed);
        assert_bounded(&mut picker, 4_000);
    }
}

#[test]
fn the_first_picks_of_fresh_workers_follow_the_weights() {
    // First-pick bias: 20,000 pickers, each asked for its first k picks only.
    for weights in [
        vec![1, 1, 1, 1],
        vec![10, 1, 1],
        vec![90, 10],
        vec![128, 128, 128, 10, 10],
        vec![7, 5, 3, 2, 1],
    ] {
        let members: Vec<Member> = weights
            .iter()
            .enumerate()
            .map(|(i, w)| member(i, *w, true))
            .collect();
        let shares = expected_shares(Algorithm::RoundRobin, &members).unwrap();
        for k in [1, 2, 5] {
            let mut sum = vec![0u64; members.len()];
            for seed in 0..20_000 {
                let mut picker = picker(Algorithm::RoundRobin, &members, seed);
                for (sum, count) in sum.iter_mut().zip(counts(&mut picker, k, &IDLE)) {
                    *sum += count;
                }
            }
            assert_close(&sum, &shares);
        }
    }
}

#[test]
fn a_backend_that_fails_fast_captures_at_most_two_nths_under_least_request() {
    // The sinkhole: nothing is ever in flight at one backend, the others are always busy. With two drawn of n it is
    // seen, and then wins, in 2 / n of the draws; a scan of all would give it everything.
    for idle in [0, 4, 9] {
        let mut picker = picker(Algorithm::LeastRequest, &even(10), 7);
        let load = |i: usize| if i == idle { 0 } else { 8 };
        let counts = counts(&mut picker, 20_000, &load);
        let share = counts[idle] as f64 / 20_000.0;
        assert!((share - 0.2).abs() < 0.015, "{idle}: {share}");
    }
}

#[test]
fn least_request_weighs_what_is_in_flight_by_weight() {
    // 30 in flight at weight 10 is less than 6 at weight 1.
    let members = [member(0, 10, true), member(1, 1, true)];
    let mut picker = picker(Algorithm::LeastRequest, &members, 7);
    let counts = counts(&mut picker, 1_000, &|i: usize| if i == 0 { 30 } else { 6 });
    assert_eq!(counts, [1_000, 0]);
}

#[test]
fn picks_go_on_past_the_point_where_virtual_time_is_counted_anew() {
    let members = [member(0, 3, true), member(1, 1, true)];
    let mut picker = picker(Algorithm::RoundRobin, &members, 7);
    counts(&mut picker, (1 << 24) - 1_000, &IDLE);
    assert_bounded(&mut picker, 2_000);
}
