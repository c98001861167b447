//! What a roster promises, by example and by property.

use std::time::Duration;

use evenkeel_model::clock::{Mono, Wall};
use evenkeel_model::config::Pool;
use evenkeel_model::ids::Name;
use evenkeel_model::tally::{BackendTally, Outcomes};
use proptest::prelude::*;

use super::{At, Roster, Rosters, STANDBY, Turn, What};
use crate::member::FailOpen;

mod joins;
mod place;
mod reported;

/// A pool with these keys and backends `b0`, `b1`, ... with these keys each.
fn pool(keys: &str, backends: &[&str]) -> Pool {
    let mut text = format!(
        "[listener.l]\naddress = \"127.0.0.1:1\"\n[[route]]\nlistener = \"l\"\npool = \"p\"\n[pool.p]\n{keys}\n"
    );
    let tables = backends.iter().enumerate().map(|(index, keys)| {
        let port = 1_000 + index;
        format!("[pool.p.backend.b{index}]\naddress = \"127.0.0.1:{port}\"\n{keys}\n")
    });
    text.extend(tables);
    let parsed = evenkeel_model::parse::parse(&text, None);
    let config = parsed.config;
    config
        .unwrap_or_else(|| panic!("{:?}", parsed.findings))
        .pools
        .remove(0)
}

const CHECKED: &str = "health = { path = \"/\", rise = 1, fall = 1 }";

fn at(ms: u64) -> At {
    At {
        mono: Mono::from_millis(ms),
        wall: Wall(1_767_225_600_000 + ms),
    }
}

fn name(index: usize) -> Name {
    Name::new(&format!("b{index}")).unwrap()
}

fn set(pool: &Pool) -> Roster {
    let mut roster = Roster::default();
    roster.configure(pool, at(0));
    roster
}

fn check(roster: &mut Roster, pool: &Pool, index: usize, ok: bool, ms: u64) -> Option<Turn> {
    roster.checked(pool, &name(index), (ok, "said"), at(ms))
}

#[test]
fn slow_starts_of_a_large_pool_of_keys_step_together_and_seldom() {
    let steps = |algorithm: &str| {
        let keys = format!("{CHECKED}\nslow_start = \"20s\"\n{algorithm}");
        let pool = pool(&keys, &vec![""; 3_000]);
        let mut roster = set(&pool);
        // One after the other comes back, a rolling restart.
        let mut moved = 0;
        for second in 0..30u64 {
            let index = second as usize;
            check(&mut roster, &pool, index, false, second * 1_000);
            check(&mut roster, &pool, index, true, second * 1_000);
            moved += usize::from(!roster.tick(&pool, at(second * 1_000)).is_empty());
        }
        for second in 30..60u64 {
            if let Some(next) = roster.next_change(&pool) {
                assert!(next >= at((second - 1) * 1_000).mono);
            }
            moved += usize::from(!roster.tick(&pool, at(second * 1_000)).is_empty());
        }
        let lineup = roster.lineup(&pool, at(60_000));
        assert!(lineup.members.iter().all(|m| m.weight == 1) && !lineup.is_passing);
        moved
    };
    assert!(steps("") >= 40);
    let of_keys = steps("algorithm = \"maglev\"\nhash = { path = true }");
    assert!((10..=20).contains(&of_keys), "{of_keys}");
}

/// Shares by effective weight, in file order.
fn shares(roster: &Roster, pool: &Pool, ms: u64) -> Vec<f64> {
    let lineup = roster.lineup(pool, at(ms));
    let weights = lineup
        .members
        .iter()
        .map(|m| f64::from(m.effective_weight()));
    let weights: Vec<f64> = weights.collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|w| w / total).collect()
}

fn close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6)
}

#[test]
fn a_lineup_without_anything_special_is_what_is_declared_and_needs_no_reason() {
    let keys = format!("{CHECKED}\nslow_start = \"30s\"");
    let pool = pool(&keys, &["weight = 3", "weight = 1", "weight = 0"]);
    let lineup = set(&pool).lineup(&pool, at(0));
    let weights: Vec<u32> = lineup.members.iter().map(|m| m.weight).collect();
    assert_eq!(weights, [3, 1, 0]);
    assert!(lineup.members.iter().all(|m| m.eligible));
    assert!(lineup.whys.iter().all(String::is_empty) && !lineup.is_passing);
}

#[test]
fn nobody_starts_slowly_when_the_process_starts_but_a_backend_that_joins_later_does() {
    let keys = "slow_start = \"10s\"";
    let (two, three) = (pool(keys, &["", ""]), pool(keys, &["", "", ""]));
    let mut roster = set(&two);
    assert!(close(&shares(&roster, &two, 0), &[0.5, 0.5]));
    roster.configure(&three, at(60_000));
    let lineup = roster.lineup(&three, at(60_000));
    assert!(close(
        &shares(&roster, &three, 60_000),
        &[1.0 / 2.1, 1.0 / 2.1, 0.1 / 2.1]
    ));
    assert!(lineup.is_passing);
    assert!(
        lineup.whys[2].starts_with("slow start: 10 % of its weight, all of it at 00:01:10 UTC")
    );
    assert!(
        lineup.whys[0].contains("b2 starts slowly"),
        "{}",
        lineup.whys[0]
    );
}

#[test]
fn a_slow_start_grows_straight_in_few_steps_and_ends_with_the_declared_weights() {
    let keys = format!("{CHECKED}\nslow_start = \"30s\"");
    let pool = pool(&keys, &["", ""]);
    let mut roster = set(&pool);
    check(&mut roster, &pool, 1, false, 0);
    check(&mut roster, &pool, 1, true, 1_000);
    let (mut steps, mut last) = (0, 0.0);
    for second in 1..=31u64 {
        let turns = roster.tick(&pool, at(second * 1_000));
        steps += turns.len();
        let share = shares(&roster, &pool, second * 1_000)[1];
        let part = share / (1.0 - share);
        let straight = 0.1 + 0.9 * (second - 1) as f64 / 30.0;
        assert!(part >= last && part <= straight + 1e-6, "{second}: {part}");
        assert!(
            part >= straight - 0.1,
            "{second}: {part} is behind {straight}"
        );
        last = part;
    }
    assert_eq!(steps, 10);
    let lineup = roster.lineup(&pool, at(31_000));
    assert!(lineup.members.iter().all(|m| m.weight == 1) && !lineup.is_passing);
    assert_eq!(roster.next_change(&pool), None);
}

#[test]
fn backends_that_come_back_together_share_evenly_at_once() {
    let keys = format!("{CHECKED}\nslow_start = \"30s\"");
    let pool = pool(&keys, &["", ""]);
    let mut roster = set(&pool);
    for (ms, ok) in [(0, false), (1_000, true)] {
        check(&mut roster, &pool, 0, ok, ms);
        check(&mut roster, &pool, 1, ok, ms);
    }
    let lineup = roster.lineup(&pool, at(1_000));
    assert!(lineup.members.iter().all(|m| m.weight == 1));
}

#[test]
fn the_next_level_joins_in_proportion_and_goes_when_it_is_not_needed() {
    let backends = ["", "", "priority = 1", "priority = 1"];
    let pool = pool(CHECKED, &backends);
    let mut roster = set(&pool);
    assert!(close(&shares(&roster, &pool, 0), &[0.5, 0.5, 0.0, 0.0]));
    let lineup = roster.lineup(&pool, at(0));
    assert!(lineup.whys[2].starts_with(STANDBY) && lineup.whys[0].is_empty());
    check(&mut roster, &pool, 0, false, 1);
    assert!(close(&shares(&roster, &pool, 1), &[0.0, 0.7, 0.15, 0.15]));
    let why = &roster.lineup(&pool, at(1)).whys[2];
    assert!(why.contains("this level takes 30 %"), "{why}");
    check(&mut roster, &pool, 1, false, 2);
    assert!(close(&shares(&roster, &pool, 2), &[0.0, 0.0, 0.5, 0.5]));
    check(&mut roster, &pool, 0, true, 3);
    check(&mut roster, &pool, 1, true, 3);
    assert!(close(&shares(&roster, &pool, 3), &[0.5, 0.5, 0.0, 0.0]));
}

#[test]
fn a_drained_backend_is_capacity_that_its_level_lacks_and_comes_back_at_its_deadline() {
    let pool = pool("", &["", "", "priority = 1"]);
    let mut roster = set(&pool);
    let turn = roster.drain(&name(0), Mono::from_secs(60), "new disk");
    assert!(turn.is_some_and(|turn| turn.moves_traffic));
    assert!(close(&shares(&roster, &pool, 0), &[0.0, 0.7, 0.3]));
    let lineup = roster.lineup(&pool, at(0));
    assert_eq!(lineup.whys[0], "drained until 00:01:00 UTC: new disk");
    assert_eq!(roster.next_change(&pool), Some(Mono::from_secs(60)));
    assert_eq!(roster.tick(&pool, at(59_999)), []);
    let turns = roster.tick(&pool, at(60_000));
    assert_eq!(turns.first().map(|t| t.what), Some(What::Undrained));
    assert!(close(&shares(&roster, &pool, 60_000), &[0.5, 0.5, 0.0]));
}

const STICKY: &str =
    "health = { path = \"/\", rise = 1, fall = 1 }\nsticky = { cookie = \"ek\", ttl = \"1h\" }";

#[test]
fn a_drained_backend_keeps_the_clients_that_a_cookie_binds_to_it_while_it_is_well() {
    let pool = pool(STICKY, &["", "weight = 2", ""]);
    let mut roster = set(&pool);
    roster.drain(&name(1), Mono::from_secs(60), "new disk");
    let lineup = roster.lineup(&pool, at(0));
    let bound = &lineup.members[1];
    assert!(bound.eligible && bound.weight == 0, "{lineup:?}");
    assert_eq!(lineup.drained, [false, true, false]);
    let why = "drained until 00:01:00 UTC: new disk; clients with cookie ek stay";
    assert_eq!(lineup.whys[1], why);
    assert!(lineup.whys[0].is_empty() && !lineup.is_passing);
    assert!(close(&shares(&roster, &pool, 0), &[0.5, 0.0, 0.5]));
    check(&mut roster, &pool, 1, false, 1);
    assert!(!roster.lineup(&pool, at(1)).members[1].eligible);
    // Its check moves no epoch of the others, and it is back for them at the deadline only.
    check(&mut roster, &pool, 1, true, 2);
    assert!(roster.lineup(&pool, at(2)).members[1].eligible);
    roster.tick(&pool, at(60_000));
    assert!(close(&shares(&roster, &pool, 60_000), &[0.25, 0.5, 0.25]));
}

#[test]
fn a_drain_waits_for_its_backend_and_ends_while_it_is_away() {
    let text = |backends: &str| {
        let head =
            "[listener.l]\naddress = \"127.0.0.1:1\"\n[[route]]\nlistener = \"l\"\npool = \"p\"\n";
        let text = format!("{head}{backends}");
        evenkeel_model::parse::parse(&text, None).config.unwrap()
    };
    let a = "[pool.p.backend.b0]\naddress = \"127.0.0.1:2\"\n";
    let b = "[pool.p.backend.b1]\naddress = \"127.0.0.1:3\"\n";
    let (both, one) = (text(&format!("{a}{b}")), text(a));
    let pool = Name::new("p").unwrap();
    let mut rosters = Rosters::default();
    let drained = |rosters: &mut Rosters, config, ms| -> Vec<bool> {
        let rounds = rosters.rounds(config, true, at(ms));
        rounds[0].lineup.drained.clone()
    };
    // Told before the first configuration, as at a start.
    assert_eq!(
        rosters.drain((&pool, &name(1)), Mono::from_secs(9), "x"),
        None
    );
    assert_eq!(drained(&mut rosters, &both, 0), [false, true]);
    assert_eq!(drained(&mut rosters, &one, 1_000), [false]);
    assert_eq!(drained(&mut rosters, &both, 2_000), [false, true]);
    assert_eq!(drained(&mut rosters, &one, 3_000), [false]);
    assert_eq!(drained(&mut rosters, &both, 9_000), [false, false]);
    rosters.drain((&pool, &name(1)), Mono::from_secs(90), "x");
    assert_eq!(drained(&mut rosters, &one, 10_000), [false]);
    assert_eq!(rosters.undrain(&one, (&pool, &name(1)), at(11_000)), None);
    assert_eq!(drained(&mut rosters, &both, 12_000), [false, false]);
}

#[test]
fn when_nobody_is_healthy_all_but_the_drained_take_traffic_whatever_their_level() {
    let pool = pool(CHECKED, &["", "weight = 2", "priority = 1", "priority = 1"]);
    let mut roster = set(&pool);
    for index in 0..4 {
        check(&mut roster, &pool, index, false, 1);
    }
    roster.drain(&name(3), Mono::from_secs(9), "x");
    let lineup = roster.lineup(&pool, at(2));
    assert_eq!(lineup.fail_open, FailOpen::Yes);
    assert!(lineup.is_passing && lineup.whys[0].contains("every health check"));
    assert!(close(&shares(&roster, &pool, 2), &[0.25, 0.5, 0.25, 0.0]));
}

const EJECTS: &str = "ejection = {}";

/// Lets a second pass in which each backend had so many (good, broken, 5xx, forced picks).
fn second(
    roster: &mut Roster,
    pool: &Pool,
    second: u64,
    seen: &[(u64, u64, u64, u64)],
) -> Vec<Turn> {
    for (index, (ok, broken, server_error, forced)) in seen.iter().enumerate() {
        let mut tally = BackendTally {
            picks_free: ok + broken + server_error - forced,
            picks_forced: *forced,
            outcomes: Outcomes {
                ok: *ok,
                connect_failed: *broken,
                server_error: *server_error,
                ..Outcomes::default()
            },
            ..BackendTally::default()
        };
        (0..*ok).for_each(|_| tally.latency.record(10_000));
        let seat = roster.seats.get_mut(&name(index)).unwrap();
        seat.window.now().add(&tally, None);
    }
    roster.tick(pool, at(second * 1_000))
}

fn ejected(turns: &[Turn]) -> Vec<&str> {
    let turns = turns.iter().filter(|turn| turn.what == What::Ejected);
    turns.map(|turn| turn.backend.as_str()).collect()
}

#[test]
fn a_backend_that_refuses_is_out_by_failures_in_a_row_even_in_a_pool_of_two() {
    let pool = pool(EJECTS, &["", ""]);
    let mut roster = set(&pool);
    let turns = second(&mut roster, &pool, 1, &[(9, 0, 0, 0), (0, 4, 0, 0)]);
    assert_eq!(turns, []);
    let turns = second(&mut roster, &pool, 2, &[(9, 0, 0, 0), (0, 1, 0, 0)]);
    assert_eq!(ejected(&turns), ["b1"]);
    assert!(close(&shares(&roster, &pool, 2_000), &[1.0, 0.0]));
    let why = &roster.lineup(&pool, at(2_000)).whys[1];
    assert!(
        why.starts_with("ejected until 00:00:32 UTC: 5 failures in a row"),
        "{why}"
    );
    assert_eq!(roster.next_change(&pool), Some(Mono::from_secs(32)));
    let turns = second(&mut roster, &pool, 32, &[]);
    assert_eq!(turns.first().map(|t| t.what), Some(What::Returned));
}

#[test]
fn ejections_double_up_to_the_limit_and_shorten_again_after_a_good_time() {
    let pool = pool(
        "ejection = { time = \"10s\", time_max = \"40s\" }",
        &["", ""],
    );
    let mut roster = set(&pool);
    let (mut now, mut lasted) = (0, Vec::new());
    for good_for in [0, 0, 0, 39, 40] {
        now += 1 + good_for;
        let turns = second(&mut roster, &pool, now, &[(9, 0, 0, 0), (0, 5, 0, 0)]);
        assert_eq!(ejected(&turns), ["b1"]);
        let end = roster.next_change(&pool).unwrap().as_secs_f64() as u64;
        lasted.push(end - now);
        now = end;
        second(&mut roster, &pool, now, &[]);
        now -= 1;
    }
    assert_eq!(lasted, [10, 20, 40, 40, 10]);
}

#[test]
fn what_all_suffer_ejects_nobody_and_neither_does_a_single_backend() {
    let three = pool(EJECTS, &["", "", ""]);
    let mut roster = set(&three);
    for n in 1..20 {
        assert_eq!(second(&mut roster, &three, n, &[(0, 50, 0, 0); 3]), []);
    }
    // A poison request: one in three fails, wherever it comes.
    for n in 20..40 {
        assert_eq!(second(&mut roster, &three, n, &[(20, 0, 10, 0); 3]), []);
    }
    let one = pool(EJECTS, &[""]);
    let mut roster = set(&one);
    for n in 1..20 {
        assert_eq!(second(&mut roster, &one, n, &[(0, 50, 0, 0)]), []);
    }
}

#[test]
fn a_fault_that_all_shared_ejects_nobody_after_it_is_over() {
    let pool = pool("ejection = { time = \"5s\" }", &["", ""]);
    let mut roster = set(&pool);
    let turns = second(&mut roster, &pool, 1, &[(0, 9, 0, 0), (30, 0, 0, 0)]);
    assert_eq!(ejected(&turns), ["b0"]);
    // While it is out the other one fails as well; when it is back both are well.
    for n in 2..6 {
        let turns = second(&mut roster, &pool, n, &[(0, 0, 0, 0), (3, 27, 0, 0)]);
        assert_eq!(turns, []);
    }
    for n in 6..20 {
        let turns = second(&mut roster, &pool, n, &[(30, 0, 0, 0); 2]);
        assert_eq!(ejected(&turns), [""; 0], "second {n}");
    }
}

#[test]
fn errors_of_one_backend_eject_it_but_not_when_clients_are_bound_to_it() {
    let pool = pool(EJECTS, &["", "", ""]);
    let bad = [(30, 0, 0, 0), (15, 0, 15, 0), (30, 0, 0, 0)];
    let mut roster = set(&pool);
    let turns = (1..4).flat_map(|n| second(&mut roster, &pool, n, &bad));
    assert_eq!(ejected(&turns.collect::<Vec<_>>()), ["b1"]);
    // The same, but of a client whose key leads it there.
    let bound = bad.map(|(ok, broken, error, _)| (ok, broken, error, error));
    let mut roster = set(&pool);
    for n in 1..30 {
        assert_eq!(second(&mut roster, &pool, n, &bound), []);
    }
}

#[test]
fn a_backend_that_is_slow_is_ejected_only_where_the_pool_says_so() {
    for (keys, out) in [(EJECTS, 0), ("ejection = { latency = 3 }", 1)] {
        let pool = pool(keys, &["", "", ""]);
        let mut roster = set(&pool);
        for (index, us) in [10_000, 80_000, 12_000].into_iter().enumerate() {
            let mut tally = BackendTally::default();
            (0..50).for_each(|_| tally.latency.record(us));
            tally.outcomes.ok = 50;
            let seat = roster.seats.get_mut(&name(index)).unwrap();
            seat.window.now().add(&tally, None);
        }
        let turns = roster.tick(&pool, at(1_000));
        assert_eq!(ejected(&turns).len(), out, "{turns:?}");
        assert!(turns.iter().all(|turn| turn.backend == name(1)));
    }
}

#[test]
fn an_ejected_backend_comes_back_early_when_too_few_others_are_healthy() {
    let keys = format!("min_healthy = 2\n{CHECKED}\n{EJECTS}");
    let pool = pool(&keys, &["", "", ""]);
    let mut roster = set(&pool);
    let turns = second(
        &mut roster,
        &pool,
        1,
        &[(9, 0, 0, 0), (0, 5, 0, 0), (9, 0, 0, 0)],
    );
    assert_eq!(ejected(&turns), ["b1"]);
    check(&mut roster, &pool, 0, false, 1_500);
    let turns = second(&mut roster, &pool, 2, &[]);
    assert_eq!(turns.first().map(|t| t.what), Some(What::Returned));
    assert!(turns[0].detail.contains("too few"));
}

proptest! {
    #[test]
    fn ejection_never_leaves_fewer_than_it_may(
        count in 1usize..12, min_healthy in 1u32..6,
        seen in prop::collection::vec(prop::collection::vec((0u64..40, 0u64..40, 0u64..40), 12), 1..40),
        down in prop::collection::vec((0usize..12, any::<bool>()), 40),
    ) {
        let keys = format!("min_healthy = {min_healthy}\n{CHECKED}\n{EJECTS}");
        let pool = pool(&keys, &vec![""; count]);
        let mut roster = set(&pool);
        for (n, (seen, (index, ok))) in seen.iter().zip(down).enumerate() {
            let n = n as u64 + 1;
            if index < count {
                check(&mut roster, &pool, index, ok, n * 1_000);
            }
            let seen: Vec<_> = seen[..count].iter().map(|(a, b, c)| (*a, *b, *c, 0)).collect();
            let turns = second(&mut roster, &pool, n, &seen);
            let out = roster.count(&pool, super::Stand::Ejected);
            let up = roster.count(&pool, super::Stand::Up);
            prop_assert!(out <= pool.ejections_max());
            if !ejected(&turns).is_empty() {
                prop_assert!(up >= min_healthy as usize);
            }
            // Somebody always takes traffic.
            let lineup = roster.lineup(&pool, at(n * 1_000));
            prop_assert!(lineup.members.iter().any(|m| m.effective_weight() > 0));
        }
    }

    #[test]
    fn shares_follow_weight_level_and_warmth_whatever_happened(
        weights in prop::collection::vec((0u32..2_000, 0u32..3), 1..20),
        over in 1u64..100, events in prop::collection::vec((0usize..20, 0u8..4, 0u64..20_000), 0..60),
    ) {
        let keys = format!("{CHECKED}\nslow_start = \"{over}s\"");
        let backends: Vec<String> =
            weights.iter().map(|(w, p)| format!("weight = {w}\npriority = {p}")).collect();
        let backends: Vec<&str> = backends.iter().map(String::as_str).collect();
        let pool = pool(&keys, &backends);
        let mut roster = set(&pool);
        let mut ms = 0;
        for (index, event, after) in events {
            ms += after;
            let index = index % weights.len();
            match event {
                0 => drop(check(&mut roster, &pool, index, false, ms)),
                1 => drop(check(&mut roster, &pool, index, true, ms)),
                2 => drop(roster.drain(&name(index), Mono::from_millis(ms + 5_000), "x")),
                _ => drop(roster.undrain(&pool, &name(index), at(ms))),
            }
            roster.tick(&pool, at(ms));
            let lineup = roster.lineup(&pool, at(ms));
            let able: Vec<_> = (0..weights.len()).filter(|i| lineup.members[*i].effective_weight() > 0).collect();
            let is_drained = |i: &usize| roster.stand(&pool, *i) == super::Stand::Drained;
            prop_assert!(!able.iter().any(is_drained));
            let any_left = weights.iter().enumerate().any(|(i, (w, _))| *w > 0 && !is_drained(&i));
            prop_assert_eq!(!able.is_empty(), any_left);
            // Within a level shares are as weight times warmth.
            for (a, b) in able.iter().zip(able.iter().skip(1)) {
                if weights[*a].1 == weights[*b].1 && lineup.fail_open == FailOpen::No {
                    let part = |i: usize| {
                        let warmth = roster.warmth(&pool, &name(i));
                        f64::from(lineup.members[i].weight) / (f64::from(weights[i].0) * warmth)
                    };
                    // Whole billionths: a very small share is off by one of them at most.
                    let least = lineup.members[*a].weight.min(lineup.members[*b].weight);
                    let off = 1e-3 + 1.0 / f64::from(least);
                    prop_assert!((part(*a) / part(*b) - 1.0).abs() < off, "{a} {b} at {ms}: {lineup:?}");
                }
            }
            // A weight that is not the declared one always comes with its reason.
            for (member, (why, (weight, _))) in lineup.members.iter().zip(lineup.whys.iter().zip(&weights)) {
                prop_assert!(member.weight == *weight || !why.is_empty());
                prop_assert!(member.eligible || !why.is_empty());
            }
            if let Some(next) = roster.next_change(&pool) {
                prop_assert!(next > Mono::from_millis(ms));
            }
        }
    }

    #[test]
    fn a_slow_start_of_any_length_is_over_in_time_and_in_few_steps(over_s in 1u64..3_600) {
        let over = Duration::from_secs(over_s);
        let keys = format!("{CHECKED}\nslow_start = \"{over_s}s\"");
        let pool = pool(&keys, &["", ""]);
        let mut roster = set(&pool);
        check(&mut roster, &pool, 1, false, 0);
        check(&mut roster, &pool, 1, true, 0);
        let mut steps = 0;
        while let Some(next) = roster.next_change(&pool) {
            steps += roster.tick(&pool, At { mono: next, wall: Wall(0) }).len();
            prop_assert!(steps <= 10 && next <= Mono::ZERO.plus(over));
        }
        prop_assert!(close(&shares(&roster, &pool, 0), &[0.5, 0.5]));
    }
}
