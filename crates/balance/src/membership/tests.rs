//! Joining is free, leaving is bounded: over every sequence of answers, and in the cases that people report.

use std::collections::BTreeSet;

use super::{Floor, Membership, Peer, WINDOW};
use evenkeel_model::clock::Mono;
use evenkeel_model::config::{Address, Backend};
use evenkeel_model::ids::Name;
use proptest::prelude::*;

const ALONE: Floor<'_> = Floor {
    declared: &[],
    min_healthy: 1,
};

fn member(number: u16) -> Backend {
    Backend {
        name: Name::new(&format!("m{number:02}")).unwrap(),
        address: Address::Tcp(([10, 0, 0, 1], 1_000 + number).into()),
        weight: 1,
        weight_declared: true,
        capacity_rps: None,
        priority: 0,
        zone: None,
        version: None,
        tls_name: None,
        discovered: true,
    }
}

fn members(numbers: impl IntoIterator<Item = u16>) -> Vec<Backend> {
    numbers.into_iter().map(member).collect()
}

fn names(membership: &Membership) -> Vec<String> {
    membership.current().map(|m| m.name.to_string()).collect()
}

#[test]
fn a_collapse_to_one_address_takes_a_third_of_the_pool_in_a_window() {
    let mut pool = Membership::new(members(0..9));
    pool.answer(members([4]));
    let first = pool.step(Mono::from_secs(1), ALONE, |_| true);
    assert_eq!((first.removed.len(), first.held.len()), (3, 5));
    let again = pool.step(Mono::from_secs(30), ALONE, |_| true);
    assert!(!again.moves(), "{again:?}");
    let mut now = Mono::from_secs(1);
    let mut sizes = Vec::new();
    for _ in 0..6 {
        now = now.plus(WINDOW);
        pool.step(now, ALONE, |_| true);
        sizes.push(pool.current().count());
    }
    assert_eq!(sizes, [4, 3, 2, 1, 1, 1]);
    assert_eq!(names(&pool), ["m04"]);
}

#[test]
fn an_empty_answer_leaves_min_healthy_and_never_nobody() {
    let floor = Floor {
        min_healthy: 2,
        ..ALONE
    };
    let mut pool = Membership::new(members(0..4));
    pool.answer([]);
    for second in 1..20 {
        pool.step(Mono::from_secs(second * 31), floor, |_| true);
    }
    assert_eq!(pool.current().count(), 2);
    let mut down = Membership::new(members(0..4));
    down.answer([]);
    for second in 1..20 {
        down.step(Mono::from_secs(second * 31), ALONE, |_| false);
    }
    assert_eq!(
        down.current().count(),
        1,
        "nobody is up, and one stays to be tried"
    );
}

#[test]
fn a_member_that_is_named_again_before_its_turn_was_never_gone() {
    let mut pool = Membership::new(members(0..3));
    let mut removed = 0;
    for second in 0..300u64 {
        pool.answer(if second % 2 == 0 {
            members(0..1)
        } else {
            members(0..3)
        });
        removed += pool
            .step(Mono::from_secs(second), ALONE, |_| true)
            .removed
            .len();
    }
    assert!(removed <= 10, "{removed} removals by flapping in 300 s");
    assert!(pool.current().count() >= 2);
}

#[test]
fn who_is_down_goes_first_and_a_moved_member_keeps_its_name() {
    let mut pool = Membership::new(members(0..3));
    pool.answer(members([0]));
    let step = pool.step(Mono::ZERO, ALONE, |name| name.as_str() != "m02");
    assert_eq!(step.removed, [Name::new("m02").unwrap()]);
    let mut alone = Membership::new(members([7]));
    let elsewhere = Backend {
        address: member(99).address,
        ..member(7)
    };
    alone.answer([elsewhere.clone()]);
    let step = alone.step(Mono::ZERO, ALONE, |_| true);
    assert_eq!((step.changed.len(), step.removed.len()), (1, 0));
    assert_eq!(alone.current().next(), Some(&elsewhere));
}

fn levels(of: &[(u16, u32, u32)]) -> Vec<Backend> {
    let member = |(number, priority, weight): &(u16, u32, u32)| Backend {
        priority: *priority,
        weight: *weight,
        ..member(*number)
    };
    of.iter().map(member).collect()
}

#[test]
fn standbys_leave_first_and_do_not_stand_in_for_min_healthy() {
    let floor = Floor {
        min_healthy: 2,
        ..ALONE
    };
    let all = levels(&[(0, 0, 1), (1, 0, 1), (2, 0, 1), (8, 1, 1), (9, 1, 1)]);
    let mut pool = Membership::new(all);
    pool.answer([]);
    let mut left = Vec::new();
    for second in 1..20 {
        let step = pool.step(Mono::from_secs(second * 31), floor, |_| true);
        left.extend(step.removed.iter().map(ToString::to_string));
    }
    assert_eq!(left, ["m08", "m09", "m00"]);
    assert_eq!(names(&pool), ["m01", "m02"]);
}

#[test]
fn the_last_of_a_level_leaves_when_the_next_level_has_enough() {
    let both = levels(&[(0, 0, 1), (1, 1, 1)]);
    let mut pool = Membership::new(both.clone());
    pool.answer([both[1].clone()]);
    let step = pool.step(Mono::ZERO, ALONE, |_| true);
    assert_eq!(
        (step.removed.len(), names(&pool)),
        (1, vec!["m01".to_owned()])
    );
    let mut pool = Membership::new(both.clone());
    pool.answer([both[1].clone()]);
    let step = pool.step(Mono::ZERO, ALONE, |name| name.as_str() == "m00");
    assert_eq!(
        (step.held.len(), step.next),
        (1, None),
        "nobody would be up"
    );
}

#[test]
fn a_third_of_the_pool_is_a_third_of_the_weight_that_takes_traffic() {
    let mut pool = Membership::new(levels(&[
        (0, 0, 10),
        (1, 0, 10),
        (2, 0, 1),
        (3, 0, 1),
        (4, 1, 1),
        (5, 1, 1),
    ]));
    pool.answer(levels(&[(4, 1, 1), (5, 1, 1)]));
    let step = pool.step(Mono::ZERO, ALONE, |_| true);
    let gone: Vec<&str> = step.removed.iter().map(Name::as_str).collect();
    assert_eq!(
        gone,
        ["m02", "m03"],
        "2 of 22; 12 would be more than a third"
    );
    assert_eq!(step.next, Some(Mono::ZERO.plus(WINDOW)));
    let mut sizes = Vec::new();
    for window in 1..4 {
        pool.step(Mono::ZERO.plus(WINDOW * window), ALONE, |_| true);
        sizes.push(pool.current().count());
    }
    assert_eq!(sizes, [3, 2, 2], "one heavy member a window");
}

#[test]
fn who_was_never_seen_up_lets_nobody_go() {
    let mut pool = Membership::new(members(0..4));
    pool.answer(members(10..50));
    let is_old = |name: &Name| *name < member(10).name;
    let step = pool.step(Mono::ZERO, ALONE, is_old);
    assert_eq!(step.removed.len(), 1);
    // The joiners are down, and many; of those that serve a third goes in a window all the same.
    let step = pool.step(Mono::from_secs(1), ALONE, is_old);
    assert_eq!(step.removed.len(), 0);
}

#[test]
fn without_an_answer_nothing_moves() {
    let mut pool = Membership::new(members(0..3));
    assert!(!pool.step(Mono::from_secs(99), ALONE, |_| true).moves());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_window_loses_more_than_its_part_and_the_floor_holds(
        start in 0u16..12,
        declared in 0usize..3,
        min_healthy in 1usize..4,
        answers in prop::collection::vec((prop::collection::btree_set(0u16..14, 0..14), 1u64..20, 0u16..14), 1..40),
    ) {
        let peer = Peer { level: 0, weight: 1, is_up: true };
        let peers = vec![peer; declared];
        let floor = Floor { declared: &peers, min_healthy };
        let mut pool = Membership::new(members(0..start));
        let mut now = 0u64;
        let mut gone: Vec<(u64, usize, usize)> = Vec::new();
        for (answer, pause, down) in answers {
            now += pause;
            let before: BTreeSet<Name> = pool.current().map(|m| m.name.clone()).collect();
            let down = member(down).name;
            let up = |name: &Name| *name != down;
            let live = |pool: &Membership| declared + pool.current().filter(|m| up(&m.name)).count();
            pool.answer(members(answer.iter().copied()));
            let live_before = live(&pool);
            let step = pool.step(Mono::from_secs(now), floor, up);
            for number in &answer {
                prop_assert!(pool.current().any(|m| m.name == member(*number).name));
            }
            if !step.removed.is_empty() {
                prop_assert!(live(&pool) >= min_healthy.min(live_before));
                prop_assert!(declared + pool.current().count() >= 1);
            }
            let after: BTreeSet<Name> = pool.current().map(|m| m.name.clone()).collect();
            prop_assert_eq!(before.difference(&after).count(), step.removed.len());
            gone.push((now, step.removed.len(), declared + before.len()));
            // The largest the pool can have been in the window bounds what may have left it.
            let window = gone.iter().filter(|(at, ..)| now - at < 30);
            let (lost, largest) = window.fold((0, 0), |(l, s), (_, n, size)| (l + n, s.max(*size + n)));
            prop_assert!(lost <= ((largest + lost) / 3).max(1), "{lost} of {largest}");
        }
    }
}
