//! Every algorithm against what it states as its expected share: backends down, weight 0, one backend, up to a thousand,
//! reloads after every k picks, one to eight workers, each started at a random phase.
//!
//! Free picks of all algorithms follow the weights while nothing is in flight: there is nothing else to go by. Picks by a
//! key follow the parts of the table. What load and speed do to shares is in `aware.rs`, windows of `round_robin` in
//! `shares.rs`, tables in `hashing.rs`.
#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test that fails is a failed test"
)]

#[path = "support/chance.rs"]
mod chance;

use evenkeel_balance::{
    Ask, KeyTable, Member, Picker, Spec, digest, expected_shares, round_robin_bound,
};
use evenkeel_model::config::{Algorithm, Choices};
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

fn members(count: impl Strategy<Value = usize>) -> impl Strategy<Value = Vec<Member>> {
    let weight = prop_oneof![1 => Just(0u32), 4 => Just(1u32), 4 => 1u32..20, 1 => 1u32..2_000];
    let one = (weight, prop::bool::weighted(0.85));
    count.prop_flat_map(move |count| {
        prop::collection::vec(one.clone(), count).prop_map(|list| {
            let member = |(i, (weight, eligible))| member(i, weight, eligible);
            list.into_iter().enumerate().map(member).collect()
        })
    })
}

/// Small pools, pools of one, and large ones.
fn counts() -> impl Strategy<Value = usize> {
    prop_oneof![1 => Just(1usize), 4 => 2usize..12, 2 => 12usize..150, 1 => 150usize..=1_000]
}

/// Every algorithm, and every way of `least_request`.
fn specs() -> Vec<Spec> {
    let mut specs: Vec<Spec> = Algorithm::ALL.iter().map(|a| Spec::from(*a)).collect();
    for choices in [Choices::Drawn(5), Choices::All] {
        specs.push(Spec {
            choices,
            ..Algorithm::LeastRequest.into()
        });
    }
    specs
}

fn free(picker: &mut Picker) -> Option<usize> {
    picker.pick(&IDLE, Ask::default()).map(|pick| pick.member)
}

fn workers(spec: &Spec, members: &[Member], count: usize, rng: &mut Rng) -> Vec<Picker> {
    (0..count)
        .map(|number| Picker::new(spec.clone(), members, rng.fork(number as u64)))
        .collect()
}

/// What was got is what was owed, but for chance, and for the turns that each worker has under way.
fn settled(spec: &Spec, got: &[f64], owed: &[f64], workers: usize) -> Result<(), TestCaseError> {
    let all: f64 = owed.iter().sum();
    let taking = owed.iter().filter(|owed| **owed > 0.0).count();
    for (index, (got, owed)) in got.iter().zip(owed).enumerate() {
        let share = owed / all;
        let turns = round_robin_bound(share, taking) * workers as f64;
        let bound = match spec.algorithm {
            Algorithm::RoundRobin => turns,
            _ => chance::of_draws(*owed, share),
        };
        prop_assert!(
            (got - owed).abs() <= bound + 1e-6,
            "{spec:?} b{index}: got {got}, owed {owed}"
        );
        prop_assert!(
            *owed > 0.0 || *got <= 0.0,
            "{spec:?} b{index} must take nothing"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn free_picks_follow_the_expected_shares_over_workers_and_reloads(
        members in members(counts()), count in 1usize..=8, every in 1usize..50, seed: u64,
    ) {
        let picks = 4_000usize;
        // By weight: the stated share of those without a closed form, while nothing is in flight.
        let shares = expected_shares(Algorithm::Random, &members);
        for spec in specs() {
            // A table of keys decides nothing here, and takes long to build.
            if spec.algorithm.is_hash() && members.len() > 150 {
                continue;
            }
            let mut rng = Rng::new(seed);
            let mut workers = workers(&spec, &members, count, &mut rng);
            let mut got = vec![0.0; members.len()];
            for n in 0..picks {
                let worker = &mut workers[rng.below(count as u64) as usize];
                if n % every == 0 {
                    worker.update(&spec, &members);
                }
                let picked = free(worker);
                prop_assert_eq!(picked.is_some(), shares.is_some());
                if let Some(index) = picked {
                    got[index] += 1.0;
                }
            }
            if let Some(shares) = &shares {
                let owed: Vec<f64> = shares.iter().map(|s| s * picks as f64).collect();
                settled(&spec, &got, &owed, count)?;
            }
            if let Some(stated) = expected_shares(spec.algorithm, &members) {
                prop_assert_eq!(Some(stated), shares.clone());
            }
        }
    }

    #[test]
    fn free_picks_follow_the_members_of_the_moment_when_they_change_every_k_picks(
        members in members(2usize..40), count in 1usize..=8, every in 1usize..30, seed: u64,
    ) {
        for spec in specs() {
            // Rhythms of a change that fall into step with a cycle are judged in `shares.rs`.
            if spec.algorithm == Algorithm::RoundRobin || spec.algorithm.is_hash() {
                continue;
            }
            let mut rng = Rng::new(seed);
            let mut now = members.clone();
            let mut workers = workers(&spec, &now, count, &mut rng);
            let (mut got, mut owed) = (vec![0.0; now.len()], vec![0.0; now.len()]);
            let mut shares = expected_shares(Algorithm::Random, &now);
            for n in 0..4_000usize {
                if n % every == 0 {
                    let which = rng.below(now.len() as u64) as usize;
                    now[which].eligible = !now[which].eligible;
                    now[which].weight = members[which].weight * (1 + rng.below(3) as u32);
                    for worker in &mut workers {
                        worker.update(&spec, &now);
                    }
                    shares = expected_shares(Algorithm::Random, &now);
                }
                let worker = rng.below(count as u64) as usize;
                if let (Some(index), Some(shares)) = (free(&mut workers[worker]), &shares) {
                    got[index] += 1.0;
                    owed.iter_mut().zip(shares).for_each(|(owed, share)| *owed += share);
                }
            }
            settled(&spec, &got, &owed, count)?;
        }
    }

    #[test]
    fn the_first_picks_of_a_fresh_worker_follow_the_shares(members in members(1usize..12), seed: u64) {
        let Some(shares) = expected_shares(Algorithm::Random, &members) else { return Ok(()) };
        for spec in specs().into_iter().filter(|spec| !spec.algorithm.is_hash()) {
            let mut rng = Rng::new(seed);
            for nth in [1, 2, 5] {
                let mut got = vec![0.0; members.len()];
                for start in 0..2_000 {
                    let mut picker = Picker::new(spec.clone(), &members, rng.fork(start));
                    let picked = (0..nth).filter_map(|_| free(&mut picker)).last();
                    got[picked.unwrap()] += 1.0;
                }
                for (index, (got, share)) in got.iter().zip(&shares).enumerate() {
                    let owed = 2_000.0 * share;
                    let chance = chance::of_draws(owed, *share);
                    prop_assert!((got - owed).abs() <= chance, "{spec:?} {nth} b{index}: {got} of {owed}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(6) })]

    #[test]
    fn picks_by_key_follow_the_parts_of_the_table_whichever_worker_makes_them(
        members in members(prop_oneof![Just(1usize), 2usize..100, Just(1_000usize)]), count in 1usize..=8, seed: u64,
    ) {
        let picks = 4_000u64;
        for algorithm in [Algorithm::RingHash, Algorithm::Maglev, Algorithm::Rendezvous] {
            let spec = Spec::from(algorithm);
            let parts = KeyTable::of(algorithm, &members).unwrap().parts();
            let mut rng = Rng::new(seed);
            let table = std::sync::Arc::new(KeyTable::of(algorithm, &members).unwrap());
            let shared = spec.clone().with_keys(Some(&table));
            let mut workers = workers(&shared, &members, count, &mut rng);
            let mut got = vec![0.0; members.len()];
            for n in 0..picks {
                let key = Some(digest::key(&(seed ^ n).to_le_bytes()));
                let worker = &mut workers[rng.below(count as u64) as usize];
                let ask = Ask { key, ..Ask::default() };
                match worker.pick(&IDLE, ask) {
                    Some(pick) => got[pick.member] += 1.0,
                    None => prop_assert!(parts.iter().all(|part| *part <= 0.0)),
                }
            }
            if parts.iter().any(|part| *part > 0.0) {
                let owed: Vec<f64> = parts.iter().map(|part| part * picks as f64).collect();
                settled(&spec, &got, &owed, count)?;
            }
        }
    }
}
