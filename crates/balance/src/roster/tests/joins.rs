//! Members that discovery adds to a pool that serves: they wait for their first good check, and cost the others nothing.

use evenkeel_model::config::Pool;
use proptest::prelude::*;

use super::{CHECKED, at, check, name, pool, set};
use crate::member::FailOpen;
use crate::roster::{Lineup, Roster, Rosters, UNSEEN, What, is_unseen};

const SLOWLY: &str = "health = { path = \"/\", rise = 3, fall = 2 }";

/// `pool` with the backends from `first` on marked as found.
fn found(mut pool: Pool, first: usize) -> Pool {
    let found = pool.backends.iter_mut().skip(first);
    found.for_each(|backend| backend.discovered = true);
    pool
}

/// A roster of the first `first` backends of `pool` that then gets the others.
fn joined(pool: &Pool, first: usize) -> Roster {
    let mut before = pool.clone();
    before.backends.truncate(first);
    let mut roster = set(&before);
    roster.configure(pool, at(1_000));
    roster
}

fn eligible(lineup: &Lineup) -> Vec<bool> {
    lineup.members.iter().map(|m| m.eligible).collect()
}

#[test]
fn a_member_that_joins_takes_traffic_after_its_first_good_check() {
    let pool = found(pool(SLOWLY, &["", "", "", ""]), 1);
    let mut roster = joined(&pool, 2);
    let lineup = roster.lineup(&pool, at(1_000));
    assert_eq!(eligible(&lineup), [true, true, false, false]);
    assert_eq!(lineup.whys, ["", "", UNSEEN, UNSEEN]);
    assert_eq!((lineup.fail_open, lineup.is_passing), (FailOpen::No, false));

    let turn = check(&mut roster, &pool, 2, true, 2_000).unwrap();
    assert_eq!((turn.what, turn.moves_traffic), (What::Up, true));
    assert!(eligible(&roster.lineup(&pool, at(2_000)))[2]);
    let turn = check(&mut roster, &pool, 3, false, 2_000).unwrap();
    assert_eq!((turn.what, turn.moves_traffic), (What::Waits, false));
    let why = &roster.lineup(&pool, at(2_000)).whys[3];
    assert!(is_unseen(why) && why.ends_with(": said"), "{why}");
    let turn = check(&mut roster, &pool, 3, false, 3_000).unwrap();
    assert_eq!(turn.what, What::Down);
    let lineup = roster.lineup(&pool, at(3_000));
    assert_eq!(eligible(&lineup), [true, true, true, false]);
    assert!(
        lineup.whys[3].contains("health check"),
        "{}",
        lineup.whys[3]
    );
    // It may have been slow to start: `rise` is for those that were up before.
    let turn = check(&mut roster, &pool, 3, true, 4_000).unwrap();
    assert_eq!(turn.what, What::Up);
    for (index, ok, takes) in [(3, false, true), (3, false, false), (3, true, false)] {
        check(&mut roster, &pool, index, ok, 5_000);
        assert_eq!(eligible(&roster.lineup(&pool, at(5_000)))[3], takes);
    }
}

#[test]
fn what_changes_of_those_that_take_nothing_begins_no_epoch() {
    let declared = "[listener.l]\naddress = \"127.0.0.1:1\"\n[[route]]\nlistener = \"l\"\npool = \"p\"\n\
        [pool.p.health]\npath = \"/\"\n[pool.p.backend.b0]\naddress = \"127.0.0.1:2\"\n";
    let parse = |text: &str| evenkeel_model::parse::parse(text, None).config.unwrap();
    let with = |weights: [u32; 2]| {
        let more = |index: usize, weight| {
            format!(
                "[pool.p.backend.b{index}]\naddress = \"127.0.0.1:{}\"\nweight = {weight}\n",
                2 + index
            )
        };
        let mut config = parse(&format!(
            "{declared}{}{}",
            more(1, weights[0]),
            more(2, weights[1])
        ));
        config.pools[0].backends[2].discovered = true;
        config
    };
    let mut rosters = Rosters::default();
    let mut round = |config: &_, is_revision, ms| {
        let round = rosters.rounds(config, is_revision, at(ms)).remove(0);
        (round.begins, round.is_news)
    };
    let mut two = with([1, 1]);
    two.pools[0].backends.pop();
    assert_eq!(round(&two, true, 0), (true, true));
    assert_eq!(round(&with([1, 1]), false, 1_000), (true, true));
    // The third waits for its check, whatever its weight is.
    assert_eq!(round(&with([1, 7]), false, 2_000), (false, true));
    assert_eq!(round(&with([1, 7]), false, 3_000), (false, false));
    assert_eq!(round(&with([2, 7]), false, 4_000), (true, true));
    assert_eq!(round(&with([2, 7]), true, 5_000), (true, true));
    rosters.withdraw();
    let again = rosters.rounds(&with([2, 7]), false, at(6_000));
    assert!(again[0].begins, "nobody was told of the last one");
}

#[test]
fn a_new_address_of_a_member_is_a_new_member() {
    let mut pool = found(pool(CHECKED, &["", ""]), 0);
    let mut roster = set(&pool);
    pool.backends[1].address = pool.backends[0].address.clone();
    roster.configure(&pool, at(1_000));
    assert_eq!(roster.lineup(&pool, at(1_000)).whys, ["", UNSEEN]);
}

#[test]
fn nobody_waits_that_was_declared_or_there_at_the_start_or_is_not_checked() {
    let all = [true, true, true];
    let declared = pool(CHECKED, &["", "", ""]);
    let lineup = joined(&declared, 1).lineup(&declared, at(1_000));
    assert_eq!(eligible(&lineup), all);
    let members = found(declared, 0);
    for lineup in [
        set(&members).lineup(&members, at(0)),
        // The first answer came late: there was nobody before.
        joined(&members, 0).lineup(&members, at(1_000)),
    ] {
        assert_eq!(eligible(&lineup), all);
    }
    let unchecked = found(pool("", &["", "", ""]), 0);
    let lineup = joined(&unchecked, 1).lineup(&unchecked, at(1_000));
    assert_eq!(eligible(&lineup), all);
}

#[test]
fn who_waits_takes_traffic_when_nobody_else_is_up() {
    let pool = found(pool(CHECKED, &["", "", ""]), 1);
    let mut roster = joined(&pool, 2);
    check(&mut roster, &pool, 0, false, 2_000);
    let lineup = roster.lineup(&pool, at(2_000));
    assert_eq!(eligible(&lineup), [false, true, false]);
    check(&mut roster, &pool, 1, false, 2_000);
    let lineup = roster.lineup(&pool, at(2_000));
    assert_eq!(eligible(&lineup), [true, true, true]);
    assert_eq!(lineup.fail_open, FailOpen::Yes);
    assert!(lineup.whys[2].ends_with(UNSEEN), "{}", lineup.whys[2]);
    for index in 0..2 {
        roster.drain(&name(index), at(9_000).mono, "");
    }
    let lineup = roster.lineup(&pool, at(3_000));
    assert_eq!(eligible(&lineup), [false, false, true]);
    assert_eq!(lineup.fail_open, FailOpen::No);
}

#[test]
fn a_slow_start_begins_with_the_first_good_check() {
    let keys = format!("{CHECKED}\nslow_start = \"10s\"");
    let pool = found(pool(&keys, &["", ""]), 1);
    let mut roster = joined(&pool, 1);
    assert_eq!(roster.tick(&pool, at(9_000)), []);
    check(&mut roster, &pool, 1, true, 9_000);
    let lineup = roster.lineup(&pool, at(9_000));
    assert!(
        lineup.whys[1].starts_with("slow start: 10 %"),
        "{}",
        lineup.whys[1]
    );
}

proptest! {
    #[test]
    fn members_that_wait_move_no_share_of_the_others(
        weights in prop::collection::vec((0u32..5, 0u32..3), 2..12),
        first in 1usize..10,
        down in prop::collection::vec(any::<bool>(), 12),
    ) {
        let first = first.min(weights.len() - 1);
        let backends: Vec<String> = weights
            .iter()
            .map(|(weight, priority)| format!("weight = {weight}\npriority = {priority}"))
            .collect();
        let backends: Vec<&str> = backends.iter().map(String::as_str).collect();
        let pool = found(pool(CHECKED, &backends), first);
        let mut before = pool.clone();
        before.backends.truncate(first);
        let (mut old, mut new) = (set(&before), joined(&pool, first));
        for index in (0..first).filter(|index| down[*index]) {
            check(&mut old, &before, index, false, 2_000);
            check(&mut new, &pool, index, false, 2_000);
        }
        let (old, new) = (old.lineup(&before, at(2_000)), new.lineup(&pool, at(2_000)));
        prop_assume!(old.fail_open == FailOpen::No);
        let part = |lineup: &Lineup, index: usize| {
            let all: u64 = lineup.members.iter().map(|m| u64::from(m.effective_weight())).sum();
            f64::from(lineup.members[index].effective_weight()) / all.max(1) as f64
        };
        for index in 0..first {
            // Effective weights are whole, in a unit that a heavier member makes coarser.
            prop_assert!((part(&old, index) - part(&new, index)).abs() < 1e-6);
        }
    }
}
